"""Convolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from . import _core
from ._array import Array, as_array, cast_array
from ._window import Layout1d, Layout2d, Padding, PerAxis
from .packed_filter import PackedFilter


def conv2d(
    x: ArrayLike,
    w: ArrayLike | PackedFilter,
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
    j·stride + s·dilation − before, c] · w[r, s, c, k])``, `c` running over the input channels of
    `k`'s group. Both layouts, and any number of threads, give the same bits.

    Parameters
    ----------
    x : array_like
        Images: (N, H, W, C) in layout "NHWC", (N, C, H, W) in "NCHW"; or one image without N, and
        then the result is without it too. Any real dtype.
    w : array_like or PackedFilter
        Filters: (R, S, C/groups, K) in layout "NHWC", as tf.nn.conv2d; (K, C/groups, R, S) in
        "NCHW", as torch. With one more leading axis of length N: one bank of filters per image. Or
        such filters packed by `pack_filter`, with the same `groups`, `layout` and `flip`.
    bias : array_like, shape (K,), optional
        Added to each output channel; also (N, K) where `w` has a bank per image. Cast to the
        result's dtype, never promoting it.
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
    pad_mode : {"constant", "reflect", "symmetric", "edge", "wrap"}
        What the padding holds: zeros, or pixels of the image as numpy.pad has it, for any width.
        They are read where they are; the image is not copied.
    flip : bool, default False
        True is the mathematical convolution, with the taps of `w` in reverse order, as
        scipy.signal.convolve2d.
    activation : {None, "relu", "relu6", "silu", "gelu", "leaky_relu", "sigmoid", "tanh"}
        Applied after the bias. "gelu" is exact (by erf); "leaky_relu" has slope 0.01. Integers
        take "relu" and "relu6" only.
    algorithm : {"auto", "direct", "winograd"}
        "direct" is the ordered sum. "winograd" is for windows of 3×3, 5×5, or 3, 5 or 7 in a row
        or column, with stride 1 and float32 results: a quarter to a half of the products, each
        output off by at most ``A·(C/groups + 29)·eps/2 · max|x under its tile| · Σ|w|``, where A is
        158 for 3×3 and 5×5, 13 for 3 and 5, and 40 for 7 in line; by 2e-6 to 9e-6 of the outputs'
        size on random data. Infinities and NaN reach just the outputs they should.
        "auto" takes whichever is faster, by the shape of one image only; `conv2d_algorithm` says
        which, and `set_conv_algorithm` makes it "direct" everywhere.
    dtype : dtype, optional
        Of operands and result. The default is ``np.result_type(x, w)``.
    out : ndarray, optional
        Where to put the result: of its shape and dtype, not overlapping `x`, `w` or `bias`.

    Returns
    -------
    ndarray
        (N, OH, OW, K) or (N, K, OH, OW). float16 and bfloat16 are computed in float32 and rounded
        once; integers wrap around, as in NumPy.

    Raises
    ------
    ValueError
        Shapes or options that do not fit, or an `out` that cannot hold the result.
    TypeError
        Complex, object or other non-numeric input, bool with bool, a bias or `dtype` that is not a
        "same_kind" cast, or an activation that integers do not have.

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
    >>> lw.conv2d(image, box, padding=1, pad_mode="edge")[0, 0, :, 0].round(3)
    array([1.667, 2.333, 3.333, 4.   ], dtype=float32)
    """
    if dtype is not None:
        x, w, dtype = _cast_operands("conv2d", x, w, dtype)
    return _core.conv2d(
        x, w, bias, stride, padding, dilation, groups, layout, pad_mode, flip, activation,
        algorithm, dtype, out,
    )  # fmt: skip


def conv1d(
    x: ArrayLike,
    w: ArrayLike | PackedFilter,
    bias: ArrayLike | None = None,
    *,
    stride: PerAxis = 1,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    groups: SupportsIndex = 1,
    layout: Layout1d = "NWC",
    pad_mode: str = "constant",
    flip: bool = False,
    activation: str | None = None,
    algorithm: str = "auto",
    dtype: DTypeLike | None = None,
    out: Array | None = None,
) -> Array:
    """Batched one-dimensional convolution (cross-correlation, as in deep learning).

    ``out[n, j, k] = activation(bias[k] + Σ_{s,c} x[n, j·stride + s·dilation − before, c] ·
    w[s, c, k])``: `conv2d` along one axis.

    Parameters
    ----------
    x : array_like
        Signals: (N, W, C) in layout "NWC", (N, C, W) in "NCW"; or one signal without N, and then
        the result is without it too. Any real dtype.
    w : array_like or PackedFilter
        Filters: (S, C/groups, K) in layout "NWC", (K, C/groups, S) in "NCW". With one more leading
        axis of length N: one bank of filters per signal. Or such filters packed by `pack_filter`.
    bias : array_like, shape (K,), optional
        Added to each output channel; also (N, K) where `w` has a bank per signal.
    stride, dilation : int or a sequence of one int, default 1
        Distance between windows, and between the taps of a window.
    padding : str, int, or a sequence of one int or (before, after), default "valid"
        As for `conv2d`; ``padding=[(2, 0)]`` with S = 3 makes a causal convolution.
    layout : {"NWC", "NCW"}
        Meaning of the axes.
    groups, pad_mode, flip, activation, algorithm, dtype, out
        As for `conv2d`.

    Returns
    -------
    ndarray
        (N, OW, K) or (N, K, OW), in ``np.result_type(x, w)`` unless `dtype` says otherwise.

    Raises
    ------
    ValueError
        Shapes or options that do not fit, or an `out` that cannot hold the result.
    TypeError
        As for `conv2d`.

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> signal = np.array([1.0, 2.0, 4.0, 8.0]).reshape(1, 4, 1)
    >>> difference = np.array([-1.0, 1.0]).reshape(2, 1, 1)
    >>> lw.conv1d(signal, difference)[0, :, 0]
    array([1., 2., 4.])
    >>> lw.conv1d(signal, difference, padding=[(1, 0)], pad_mode="edge")[0, :, 0]
    array([0., 1., 2., 4.])
    """
    if dtype is not None:
        x, w, dtype = _cast_operands("conv1d", x, w, dtype)
    return _core.conv1d(
        x, w, bias, stride, padding, dilation, groups, layout, pad_mode, flip, activation,
        algorithm, dtype, out,
    )  # fmt: skip


def conv_transpose2d(
    x: ArrayLike,
    w: ArrayLike | PackedFilter,
    bias: ArrayLike | None = None,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    output_padding: PerAxis = 0,
    dilation: PerAxis = 1,
    groups: SupportsIndex = 1,
    layout: Layout2d = "NHWC",
    out: Array | None = None,
) -> Array:
    """Transposed two-dimensional convolution: the adjoint of `conv2d` with zero padding.

    ``out[n, i·stride + r·dilation − before, j·stride + s·dilation − before, k] +=
    x[n, i, j, c] · w[r, s, k, c]`` for all i, j, r, s and the `c` of `k`'s group, from ``bias[k]``
    on. No zeros are inserted between the pixels of `x`.

    Parameters
    ----------
    x : array_like
        Images: (N, H, W, C) in layout "NHWC", (N, C, H, W) in "NCHW"; or one image without N, and
        then the result is without it too. Any real dtype.
    w : array_like or PackedFilter
        Filters: (R, S, K/groups, C) in layout "NHWC", as tf.nn.conv2d_transpose; (C, K/groups, R,
        S) in "NCHW", as torch. Or such filters packed by `pack_filter`.
    bias : array_like, shape (K,), optional
        Added to each output channel. Cast to the result's dtype, never promoting it.
    stride, dilation : int or one int per spatial axis, default 1
        Of the convolution whose adjoint this is: `stride` enlarges the image.
    padding : int, str, or a sequence of one int or (before, after) per spatial axis, default 0
        Of the convolution whose adjoint this is: rows and columns cut off the result. "same" and
        "same_lower" give ``OH = H·stride``, "valid" is 0, "full" is ``dilation·(window − 1)``.
    output_padding : int or one int per spatial axis, default 0
        Rows and columns more at the end, less than stride or dilation: which of the image sizes
        that the convolution would map to (H, W) is meant.
    groups : int, default 1
        Number of groups that C and K are cut into.
    layout : {"NHWC", "NCHW"}
        Meaning of the axes.
    out : ndarray, optional
        Where to put the result: of its shape and dtype, not overlapping `x`, `w` or `bias`.

    Returns
    -------
    ndarray
        (N, OH, OW, K) or (N, K, OH, OW) in ``np.result_type(x, w)``,
        ``OH = (H − 1)·stride + dilation·(R − 1) + 1 − before − after + output_padding``.

    Raises
    ------
    ValueError
        Shapes or options that do not fit, or an `out` that cannot hold the result.
    TypeError
        As for `conv2d`.

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> image = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)
    >>> lw.conv_transpose2d(image, np.ones((2, 2, 1, 1)), stride=2)[0, :, :, 0]
    array([[1., 1., 2., 2.],
           [1., 1., 2., 2.],
           [3., 3., 4., 4.],
           [3., 3., 4., 4.]])
    """
    return _core.conv_transpose2d(
        x, w, bias, stride, padding, output_padding, dilation, groups, layout, out
    )


def conv2d_algorithm(
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    *,
    dtype: DTypeLike = np.float32,
    stride: PerAxis = 1,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    groups: SupportsIndex = 1,
    layout: Layout2d = "NHWC",
) -> tuple[str, str]:
    """What `conv2d` with ``algorithm="auto"`` would do, and why.

    The choice depends on the shape of one image, the dtype of the result and the options; never on
    the batch, the number of threads or the strides. So results do not either.

    Parameters
    ----------
    x_shape, w_shape : sequence of int
        Shapes of the images and filters.
    dtype : dtype, default float32
        Of the result.
    stride, padding, dilation, groups, layout
        As for `conv2d`.

    Returns
    -------
    name : {"direct", "depthwise", "grouped", "winograd"}
        "depthwise" and "grouped" are the same ordered sum as "direct".
    reason : str
        One sentence.

    Raises
    ------
    ValueError
        Shapes or options that do not fit.
    TypeError
        A dtype that no convolution has.

    Examples
    --------
    >>> import lanewise as lw
    >>> lw.conv2d_algorithm((1, 56, 56, 64), (3, 3, 64, 64), padding=1)[0]
    'winograd'
    >>> lw.conv2d_algorithm((1, 56, 56, 64), (1, 1, 64, 64))
    ('direct', 'Winograd is for windows of 3x3, 5x5, or 3, 5 or 7 in line, stride 1 and float32')
    """
    result = as_array("conv2d_algorithm", "dtype", np.empty(0, dtype))
    return _core.conv2d_algorithm(
        tuple(x_shape), tuple(w_shape), result, stride, padding, dilation, groups, layout
    )


def set_conv_algorithm(name: str) -> None:
    """Set what ``algorithm="auto"`` means in this process.

    Parameters
    ----------
    name : {"auto", "direct"}
        "direct" computes the ordered sum everywhere. The default is the environment variable
        LANEWISE_CONV, else "auto".

    Raises
    ------
    ValueError
        Any other name.

    Examples
    --------
    >>> import lanewise as lw
    >>> lw.set_conv_algorithm("direct")
    >>> lw.conv2d_algorithm((1, 56, 56, 64), (3, 3, 64, 64), padding=1)
    ('direct', 'asked for')
    >>> lw.set_conv_algorithm("auto")
    """
    _core.set_conv_algorithm(name)


def _cast_operands(
    op: str, x: ArrayLike, w: ArrayLike | PackedFilter, dtype: DTypeLike
) -> tuple[Array, Array | PackedFilter, np.dtype[Any]]:
    """The operands as kernels can read them for a result of this dtype, and that as a dtype."""
    result = np.dtype(dtype)
    if type(w) is not PackedFilter:
        w = as_array(op, "w", w)
    x = cast_array(op, "x", as_array(op, "x", x), result)
    return x, cast_array(op, "w", w, result), result
