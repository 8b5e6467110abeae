"""Convolution."""

from __future__ import annotations

import operator
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from . import _core
from ._array import Array, as_array, output, promoted
from ._window import Layout2d, Padding, PerAxis, layout_code, padding_code, per_axis

_ACTIVATIONS = {
    None: _core.Activation.NONE,
    "relu": _core.Activation.RELU,
    "relu6": _core.Activation.RELU6,
    "silu": _core.Activation.SILU,
    "gelu": _core.Activation.GELU,
    "leaky_relu": _core.Activation.LEAKY_RELU,
    "sigmoid": _core.Activation.SIGMOID,
    "tanh": _core.Activation.TANH,
}
_PAD_MODES = ("constant", "reflect", "symmetric", "edge", "wrap")
_ALGORITHMS = ("auto", "direct", "winograd")


def conv2d(
    x: ArrayLike,
    w: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: PerAxis = 1,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    groups: SupportsIndex = 1,
    layout: Layout2d = "NHWC",
    pad_mode: str = "constant",
    flip: bool = False,
    activation: str | None = None,
    algorithm: str = "auto",
    dtype: DTypeLike | None = None,
    out: Array | None = None,
) -> Array:
    """Batched two-dimensional convolution (cross-correlation, as in deep learning).

    ``out[n, i, j, k] = activation(bias[k] + Σ_{r,s,c} x[n, i·stride + r·dilation − before,
    j·stride + s·dilation − before, c] · w[r, s, c, k])``, with zeros outside the image and `c`
    running over the input channels of `k`'s group. The sum runs in the order (r, s, c), in both
    layouts, for any number of threads.

    Parameters
    ----------
    x : array_like
        Images: (N, H, W, C) in layout "NHWC", (N, C, H, W) in "NCHW"; or one image without N, and
        then the result is without it too. float32 or float64.
    w : array_like
        Filters: (R, S, C/groups, K) in layout "NHWC", as tf.nn.conv2d; (K, C/groups, R, S) in
        "NCHW", as torch.
    bias : array_like, shape (K,), optional
        Added to each output channel. Cast to the result's dtype, never promoting it.
    stride, dilation : int or one int per spatial axis, default 1
        Distance between windows, and between the taps of a window.
    padding : str, int, or a sequence of one int or (before, after) per spatial axis
        "valid" (default) none; "same" such that ``out = ceil(in / stride)``, the odd row at the
        end, as TensorFlow; "same_lower" with the odd row at the beginning; "full"
        ``dilation·(window − 1)`` on each side.
    groups : int, default 1
        Number of groups that C and K are cut into; C is a depthwise convolution.
    layout : {"NHWC", "NCHW"}
        Meaning of the axes. Both are computed without transposing.
    pad_mode : {"constant"}
        Zeros. "reflect", "symmetric", "edge" and "wrap" are not there yet.
    flip : bool, default False
        True, the mathematical convolution, is not there yet.
    activation : {None, "relu", "relu6", "silu", "gelu", "leaky_relu", "sigmoid", "tanh"}
        Applied after the bias. "gelu" is exact (by erf); "leaky_relu" has slope 0.01.
    algorithm : {"auto", "direct"}
        Both are the ordered sum today. "winograd" is not there yet.
    dtype : dtype, optional
        For integer operands, which are not there yet.
    out : ndarray, optional
        Where to put the result: of its shape and dtype, not overlapping `x`, `w` or `bias`.

    Returns
    -------
    ndarray
        (N, OH, OW, K) or (N, K, OH, OW), in ``np.result_type(x, w)``.

    Raises
    ------
    ValueError
        Shapes or options that do not fit, or an `out` that cannot hold the result.
    TypeError
        Complex, object or other non-numeric input, or a bias that is not a "same_kind" cast.

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> image = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    >>> box = np.ones((3, 3, 1, 1), dtype=np.float32) / 9
    >>> lw.conv2d(image, box)[0, :, :, 0].round(3)
    array([[ 5.,  6.],
           [ 9., 10.]], dtype=float32)
    >>> lw.conv2d(image, box, stride=2, padding="same").shape
    (1, 2, 2, 1)
    """
    op = "conv2d"
    if pad_mode != "constant" or flip or algorithm == "winograd" or dtype is not None:
        _refuse_pending(op, pad_mode, flip, algorithm, dtype)
    if algorithm not in _ALGORITHMS:
        raise ValueError(f"{op}: algorithm is {algorithm!r}, expected 'auto' or 'direct'")
    if activation not in _ACTIVATIONS:
        names = ", ".join(map(repr, _ACTIVATIONS))
        raise ValueError(f"{op}: activation is {activation!r}, expected one of {names}")
    options = _core.Conv2dOptions(
        per_axis(op, "stride", stride),
        per_axis(op, "dilation", dilation),
        *padding_code(op, padding),
        operator.index(groups),
        layout_code(op, layout),
        _ACTIVATIONS[activation],
    )
    x, w = promoted(op, False, x=as_array(op, "x", x), w=as_array(op, "w", w))
    if w.ndim == 5:
        raise NotImplementedError(f"{op}: w with a leading axis (shape {w.shape}) is not there yet")
    images = x[None] if x.ndim == 3 else x
    shape = _core.conv2d_shape(images, w, options)
    operands = {"x": x, "w": w}
    if bias is not None:
        bias = operands["bias"] = _cast_bias(op, bias, x.dtype)
    out = output(op, out, shape if images is x else shape[1:], x.dtype, **operands)
    _core.conv2d(images, w, bias, options, out if images is x else out[None])
    return out


def _cast_bias(op: str, bias: ArrayLike, dtype: np.dtype[Any]) -> Array:
    array = as_array(op, "bias", bias)
    if array.dtype == dtype:
        return array
    if not np.can_cast(array.dtype, dtype, "same_kind"):
        raise TypeError(
            f"{op}: bias has dtype {array.dtype}, which is no 'same_kind' cast to {dtype}"
        )
    return array.astype(dtype)


def _refuse_pending(op: str, pad_mode: str, flip: bool, algorithm: str, dtype: Any) -> None:
    if pad_mode not in _PAD_MODES:
        raise ValueError(f"{op}: pad_mode is {pad_mode!r}, expected one of {', '.join(_PAD_MODES)}")
    seen = {
        f"pad_mode={pad_mode!r}": pad_mode != "constant",
        "flip=True": flip,
        "algorithm='winograd'": algorithm == "winograd",
        f"dtype={dtype!r}": dtype is not None,
    }
    pending = ", ".join(option for option, asked in seen.items() if asked)
    raise NotImplementedError(f"{op}: {pending} is not there yet")
