"""lanewise itself: as it comes, in NCHW, with `out=`, without recycled memory, and others."""

from __future__ import annotations

import functools
from collections.abc import Callable

import lanewise as lw
import numpy as np
from cases import GRADIENTS, Case, Data, found_distances, inside, joined

from . import Prepared


def planes(x: np.ndarray) -> np.ndarray:
    """NHWC to contiguous NCHW."""
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


def nhwc(y: np.ndarray) -> np.ndarray:
    """NCHW to NHWC, as a view."""
    return y.transpose(0, 2, 3, 1)


def prepared(variant: str, call: Callable[..., np.ndarray]) -> Prepared:
    """The call as it is, writing the same array each time, or without recycled memory."""
    if variant == "nopool":
        lw.set_pool_limit(0)
    if variant == "out":
        out = call()
        return lambda: call(out=out), np.asarray
    return call, np.asarray


def conv(case: Case, data: Data, variant: str) -> Prepared:
    x, w, options = data["x"], data["w"], dict(case.options)
    if variant == "nchw":
        x, w = planes(x), np.ascontiguousarray(w.transpose(3, 2, 0, 1))
        return lambda: lw.conv2d(x, w, layout="NCHW", **options), nhwc
    if variant == "packed":
        w = lw.pack_filter(w, x_shape=x.shape, **options)
    if variant == "direct":
        options["algorithm"] = "direct"
    return prepared(variant, lambda **out: lw.conv2d(x, w, **options, **out))


def conv_backward(case: Case, data: Data, variant: str) -> Prepared:
    (x, w, dy), options = data.values(), {**case.options, "wrt": GRADIENTS[case.what]}
    if variant == "direct":
        options["algorithm"] = "direct"
    if variant != "nchw":
        return lambda: lw.conv2d_backward(dy, x, w, **options), joined
    x, dy, w = planes(x), planes(dy), np.ascontiguousarray(w.transpose(3, 2, 0, 1))

    def canonical(grads: lw.ConvGrads) -> np.ndarray:
        dx = None if grads.x is None else nhwc(grads.x)
        dw = None if grads.w is None else grads.w.transpose(2, 3, 1, 0)
        return joined((dx, dw, grads.bias))

    return lambda: lw.conv2d_backward(dy, x, w, layout="NCHW", **options), canonical


def pool(case: Case, data: Data, variant: str) -> Prepared:
    x, dy, options = data["x"], data.get("dy"), dict(case.options)
    if variant == "nchw":
        x, dy = planes(x), None if dy is None else planes(dy)
        options["layout"] = "NCHW"
    if case.what == "average gradient":
        call = functools.partial(lw.avg_pool2d_backward, dy, x.shape, **options)
    elif case.what == "gradient":
        _, indices = lw.max_pool2d(x, **options, return_indices=True)
        layout = {"layout": options.get("layout", "NHWC")}
        call = functools.partial(lw.max_pool2d_backward, dy, indices, x.shape, **layout)
    elif case.what == "average":
        call = functools.partial(lw.avg_pool2d, x, **options)
    else:
        call = functools.partial(lw.max_pool2d, x, **options)
        if case.what == "indices":
            both = functools.partial(call, return_indices=True)
            return both, lambda y: nhwc(y[0]) if variant == "nchw" else y[0]
    return (call, nhwc) if variant == "nchw" else prepared(variant, call)


def softmax(case: Case, data: Data, variant: str) -> Prepared:
    if "dy" in data:
        dy, y = data["dy"], data["y"]
        return prepared(variant, lambda **out: lw.softmax_backward(dy, y, **case.options, **out))
    return prepared(variant, lambda **out: lw.softmax(data["x"], **case.options, **out))


def cross_entropy(case: Case, data: Data, variant: str) -> Prepared:
    result = (lambda y: y[1]) if case.options["return_grad"] else np.asarray
    if variant == "nopool":
        lw.set_pool_limit(0)
    return lambda: lw.cross_entropy(data["x"], data["t"], **case.options), result


def distance(case: Case, data: Data, variant: str) -> Prepared:
    x, y = data["x"], data.get("y")
    return prepared(variant, lambda **out: lw.pairwise_distances(x, y, **case.options, **out))


def distance_backward(case: Case, data: Data, variant: str) -> Prepared:
    x, y, grad = data["x"], data["y"], data["grad"]
    d = lw.pairwise_distances(x, y, **case.options)
    return lambda: lw.pairwise_distances_backward(grad, x, y, d, **case.options), np.concatenate


def neighbors(case: Case, data: Data, variant: str) -> Prepared:
    x, y, options = data["x"], data["y"], case.options
    if case.what == "argmin":
        argmin = functools.partial(lw.pairwise_argmin, x, y, **options)
        return argmin, lambda indices: found_distances(case, data, None, indices)
    if case.what == "radius":
        radius = functools.partial(lw.radius_neighbors, x, y, **options)
        return radius, lambda found: inside(case, found[2], np.diff(found[0]))
    search = functools.partial(lw.nearest_neighbors, x, y, **options)
    return search, lambda found: found_distances(case, data, *found)


def roof(kind: str, of: str | int) -> float:
    """The machine's limit now: multiply-adds of a dtype in flops per second, or bytes per second.

    Bytes go in three streams that together are `of` bytes, so that what fits a cache is compared
    with that cache; below 3 x 256 KB the start of threads would be measured instead. Stores: of an
    array of `of` bytes.
    """
    if kind == "fma":
        return lw._core.fma_peak(np.dtype(of))
    if kind == "store":
        return lw._core.stores(int(of))
    return lw._core.bandwidth(max(int(of) // 3, 1 << 18))


def version() -> str:
    return f"{lw.__version__} {lw.config()['simd']}"
