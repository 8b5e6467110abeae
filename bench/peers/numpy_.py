"""NumPy as its users write it: windows and a matrix product, and the formulas."""

from __future__ import annotations

import numpy as np
from cases import GRADIENTS, Case, Data, joined, pair
from numpy.lib.stride_tricks import sliding_window_view

from . import Prepared


def _windows(
    x: np.ndarray,
    window: tuple[int, int],
    stride: int,
    pad: int | tuple[int, int],
    fill: float,
    dilation: int = 1,
) -> np.ndarray:
    """N, OH, OW, C, R, S."""
    if pad:
        rows, columns = pair(pad)
        x = np.pad(x, ((0, 0), (rows,) * 2, (columns,) * 2, (0, 0)), constant_values=fill)
    reach = [dilation * (extent - 1) + 1 for extent in window]
    windows = sliding_window_view(x, reach, axis=(1, 2))[:, ::stride, ::stride]
    return windows[..., ::dilation, ::dilation]


def conv(case: Case, data: Data, variant: str) -> Prepared:
    x, w, (stride, pad, dilation, groups) = data["x"], data["w"], case.options.values()
    size = w.shape[:2]

    def windows() -> np.ndarray:
        return _windows(x, size, stride, pad, 0, dilation)

    if groups == 1:
        axes = ((4, 5, 3), (0, 1, 2))
        return lambda: np.tensordot(windows(), w, axes), np.asarray

    filters = w.reshape(*w.shape[:3], groups, -1)

    def call() -> np.ndarray:
        taps = windows()
        taps = taps.reshape(*taps.shape[:3], groups, -1, *size)
        y = np.einsum("nhwgcrs,rscgk->nhwgk", taps, filters)
        return y.reshape(*y.shape[:3], -1)

    return call, np.asarray


def conv_backward(case: Case, data: Data, variant: str) -> Prepared | None:
    x, w, dy = data.values()
    stride, pad, dilation, groups = case.options.values()
    if groups > 1:
        return None
    size, asked = w.shape[:2], GRADIENTS[case.what]

    def of_image() -> np.ndarray:
        """The gradient of all windows, each tap of which is added to its pixels."""
        windows = np.tensordot(dy, w, (3, 3))
        padded = np.zeros((x.shape[0], *(n + 2 * pad for n in x.shape[1:3]), x.shape[3]), x.dtype)
        for r, s in np.ndindex(size):
            taps = padded[:, r * dilation :: stride, s * dilation :: stride]
            taps[:, : dy.shape[1], : dy.shape[2]] += windows[:, :, :, r, s]
        return padded[:, pad : pad + x.shape[1], pad : pad + x.shape[2]]

    def of_filters() -> np.ndarray:
        windows, pixels = _windows(x, size, stride, pad, 0, dilation), (0, 1, 2)
        return np.tensordot(windows, dy, (pixels, pixels)).transpose(1, 2, 0, 3)

    ways = {"x": of_image, "w": of_filters, "bias": lambda: dy.sum((0, 1, 2))}
    return lambda: [ways[name]() for name in asked], joined


def pool(case: Case, data: Data, variant: str) -> Prepared | None:
    if case.what:
        return None
    x, (window, stride, pad) = data["x"], case.options.values()

    def call() -> np.ndarray:
        return _windows(x, (window, window), stride, pad, -np.inf).max(axis=(4, 5))

    return call, np.asarray


def softmax(case: Case, data: Data, variant: str) -> Prepared:
    axis = case.options["axis"]
    if "dy" in data:
        dy, y = data["dy"], data["y"]
        return lambda: y * (dy - (dy * y).sum(axis, keepdims=True)), np.asarray

    def call() -> np.ndarray:
        e = np.exp(data["x"] - data["x"].max(axis, keepdims=True))
        return e / e.sum(axis, keepdims=True)

    return call, np.asarray


def cross_entropy(case: Case, data: Data, variant: str) -> Prepared:
    axis, labels = case.options["axis"], np.expand_dims(data["t"], case.options["axis"])

    def loss() -> np.ndarray:
        shifted = data["x"] - data["x"].max(axis, keepdims=True)
        chosen = np.take_along_axis(shifted, labels, axis)
        return (np.log(np.exp(shifted).sum(axis, keepdims=True)) - chosen).mean()

    def gradient() -> np.ndarray:
        e = np.exp(data["x"] - data["x"].max(axis, keepdims=True))
        e /= e.sum(axis, keepdims=True)
        chosen = np.take_along_axis(e, labels, axis)
        np.put_along_axis(e, labels, chosen - 1, axis)
        e /= np.float32(labels.size)
        return e

    return gradient if case.options["return_grad"] else loss, np.asarray


def distance(case: Case, data: Data, variant: str) -> Prepared | None:
    x, y, metric = data["x"], data.get("y", data["x"]), case.options["metric"]

    def euclidean() -> np.ndarray:
        square = (x * x).sum(-1)[..., None] + (y * y).sum(-1)[..., None, :]
        square -= 2 * (x @ y.swapaxes(-1, -2))
        return np.sqrt(np.maximum(square, 0, out=square), out=square)

    def cosine() -> np.ndarray:
        a, b = (v / np.sqrt((v * v).sum(-1, keepdims=True)) for v in (x, y))
        return 1 - a @ b.T

    call = {"euclidean": euclidean, "cosine": cosine}.get(metric)
    return call and (call, np.asarray)


def distance_backward(case: Case, data: Data, variant: str) -> Prepared | None:
    if case.options["metric"] != "euclidean":
        return None
    x, y, grad = data["x"], data["y"], data["grad"]
    d = distance(case, data, variant)[0]()

    def call() -> tuple[np.ndarray, np.ndarray]:
        r = grad / d
        return x * r.sum(1)[:, None] - r @ y, y * r.sum(0)[:, None] - r.T @ x

    return call, np.concatenate


def version() -> str:
    return np.__version__
