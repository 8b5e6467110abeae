"""PyTorch on the CPU, in NCHW and in channels_last."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator

import numpy as np
import torch
from cases import GRADIENTS, Case, Data, found_distances, joined
from torch.nn import functional

from . import Prepared

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
torch.set_grad_enabled(False)


def _image(array: np.ndarray, axes: tuple[int, ...], variant: str) -> torch.Tensor:
    tensor = torch.from_numpy(array).permute(axes)
    last = torch.channels_last if variant == "nhwc" else torch.contiguous_format
    return tensor.contiguous(memory_format=last)


def _nhwc(y: torch.Tensor) -> np.ndarray:
    return y.permute(0, 2, 3, 1).numpy()


def conv(case: Case, data: Data, variant: str) -> Prepared:
    x = _image(data["x"], (0, 3, 1, 2), variant)
    w = _image(data["w"], (3, 2, 0, 1), variant)
    return lambda: functional.conv2d(x, w, **case.options), _nhwc


def conv_backward(case: Case, data: Data, variant: str) -> Prepared:
    x, dy = (_image(data[name], (0, 3, 1, 2), variant) for name in ("x", "dy"))
    w, o = _image(data["w"], (3, 2, 0, 1), variant), case.options
    asked = [name in GRADIENTS[case.what] for name in ("x", "w", "bias")]
    sizes = ([o["stride"]] * 2, [o["padding"]] * 2, [o["dilation"]] * 2, False, [0, 0])
    call = functools.partial(
        torch.ops.aten.convolution_backward, dy, x, w, [len(w)], *sizes, o["groups"], asked
    )

    def canonical(gradients: tuple[torch.Tensor | None, ...]) -> np.ndarray:
        axes = ((0, 2, 3, 1), (2, 3, 1, 0), (0,))
        found = zip(gradients, axes, asked, strict=True)
        return joined(
            [grad.permute(order).numpy() if wanted else None for grad, order, wanted in found]
        )

    return call, canonical


def pool(case: Case, data: Data, variant: str) -> Prepared:
    x, o = _image(data["x"], (0, 3, 1, 2), variant), case.options
    windows = (o["window"], o["stride"], o["padding"])
    if case.what == "indices":
        both = functools.partial(functional.max_pool2d, x, *windows, return_indices=True)
        return both, lambda y: _nhwc(y[0])
    if case.what == "average":
        average = functools.partial(functional.avg_pool2d, x, *windows, count_include_pad=False)
        return average, _nhwc
    if not case.what:
        return lambda: functional.max_pool2d(x, *windows), _nhwc
    dy, aten = _image(data["dy"], (0, 3, 1, 2), variant), torch.ops.aten
    if case.what == "average gradient":
        return lambda: aten.avg_pool2d_backward(dy, x, *windows, False, False, None), _nhwc
    _, indices = functional.max_pool2d(x, *windows, return_indices=True)
    gradient = aten.max_pool2d_with_indices_backward
    return lambda: gradient(dy, x, *windows, 1, False, indices), _nhwc


def softmax(case: Case, data: Data, variant: str) -> Prepared:
    axis, tensors = case.options["axis"], {k: torch.from_numpy(a) for k, a in data.items()}
    if "dy" in data:
        dy, y = tensors["dy"], tensors["y"]
        return lambda: torch._softmax_backward_data(dy, y, axis, y.dtype), torch.Tensor.numpy
    return lambda: torch.softmax(tensors["x"], axis), torch.Tensor.numpy


def cross_entropy(case: Case, data: Data, variant: str) -> Prepared:
    x, labels = torch.from_numpy(data["x"]), torch.from_numpy(data["t"])
    axes = list(range(x.ndim))
    axes.insert(1, axes.pop(case.options["axis"]))
    x = x.permute(axes)
    if not case.options["return_grad"]:
        return lambda: functional.cross_entropy(x, labels), torch.Tensor.numpy
    x.requires_grad_()

    def call() -> torch.Tensor:
        with torch.enable_grad():
            return torch.autograd.grad(functional.cross_entropy(x, labels), x)[0]

    return call, torch.Tensor.numpy


P = {"euclidean": 2.0, "manhattan": 1.0, "chebyshev": float("inf")}  # cdist's names of metrics


def distance(case: Case, data: Data, variant: str) -> Prepared | None:
    metric, exact = case.options["metric"], variant == "exact"
    if data["x"].dtype == bool:
        return None
    x = torch.from_numpy(data["x"])
    y = torch.from_numpy(data["y"]) if "y" in data else x
    if metric == "cosine":
        unit = functional.normalize
        return None if exact else (lambda: 1 - unit(x) @ unit(y).T, torch.Tensor.numpy)
    return lambda: torch.cdist(x, y, P[metric], compute_mode=mode(exact)), torch.Tensor.numpy


def distance_backward(case: Case, data: Data, variant: str) -> Prepared:
    x, y, grad = (torch.from_numpy(data[name]) for name in ("x", "y", "grad"))
    for tensor in (x, y):
        tensor.requires_grad_()
    with torch.enable_grad():
        d = torch.cdist(x, y, P[case.options["metric"]], compute_mode=mode(variant == "exact"))
    return lambda: torch.autograd.grad(d, (x, y), grad, retain_graph=True), torch.cat


CHUNK = 1 << 24  # distances at a time: 64 MB


def neighbors(case: Case, data: Data, variant: str) -> Prepared | None:
    x, y = torch.from_numpy(data["x"]), torch.from_numpy(data["y"])
    o, compute_mode = case.options, mode(variant == "exact")

    def distances() -> Iterator[torch.Tensor]:
        for part in x.split(max(1, CHUNK // len(y))):
            yield torch.cdist(part, y, P[o["metric"]], compute_mode=compute_mode)

    if case.what == "radius":
        return None
    if case.what == "argmin":
        return (
            lambda: torch.cat([part.argmin(1) for part in distances()]),
            lambda indices: found_distances(case, data, None, indices.numpy()),
        )

    def search() -> list[torch.Tensor]:
        parts = [part.topk(o["k"], largest=False) for part in distances()]
        return [torch.cat(tensors) for tensors in zip(*parts, strict=True)]

    return search, lambda found: found_distances(case, data, *(a.numpy() for a in found))


def mode(exact: bool) -> str:
    """Of cdist: its own choice for euclidean distances, or differences."""
    return "donot_use_mm_for_euclid_dist" if exact else "use_mm_for_euclid_dist_if_necessary"


def version() -> str:
    return torch.__version__
