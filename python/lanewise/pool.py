"""Pooling over windows of images."""

from __future__ import annotations

from typing import Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from . import _core
from ._array import Array, as_array, output, promoted
from ._window import Layout2d, Padding, PerAxis, layout_code, padding_code, per_axis

_INT64 = np.dtype(np.int64)


@overload
def max_pool2d(
    x: ArrayLike,
    window: PerAxis,
    *,
    stride: PerAxis | None = ...,
    padding: Padding = ...,
    dilation: PerAxis = ...,
    ceil_mode: bool = ...,
    layout: Layout2d = ...,
    return_indices: Literal[False] = ...,
    nan_policy: str = ...,
    out: Array | None = ...,
) -> Array: ...
@overload
def max_pool2d(
    x: ArrayLike,
    window: PerAxis,
    *,
    stride: PerAxis | None = ...,
    padding: Padding = ...,
    dilation: PerAxis = ...,
    ceil_mode: bool = ...,
    layout: Layout2d = ...,
    return_indices: Literal[True],
    nan_policy: str = ...,
    out: Array | None = ...,
) -> tuple[Array, Array]: ...
def max_pool2d(
    x: ArrayLike,
    window: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
    layout: Layout2d = "NHWC",
    return_indices: bool = False,
    nan_policy: str = "propagate",
    out: Array | None = None,
) -> Array | tuple[Array, Array]:
    """The largest element in each position of a window that slides over images.

    ``out[n, i, j, c] = max over r, s of x[n, i·stride − before + r·dilation,
    j·stride − before + s·dilation, c]``, as far as these lie in the image: padding never wins.

    Parameters
    ----------
    x : array_like, shape (N, H, W, C), or (N, C, H, W) with `layout` "NCHW"
        Images; without the batch axis N the result is without it too. float32 or float64.
    window : int or (int, int)
        Height and width of the window.
    stride : int or (int, int), optional
        Steps between windows. The default is `window`.
    padding : str, int, or one int or (before, after) per spatial axis, default "valid"
        "valid" is none, "same" gives ``ceil(size / stride)`` outputs with the odd element at the
        end, "same_lower" with the odd one at the beginning.
    dilation : int or (int, int), default 1
        Steps between the window's elements.
    ceil_mode : bool, default False
        Keep a last, partial window that starts in the image or the padding before it.
    layout : {"NHWC", "NCHW"}, default "NHWC"
        The order of the axes of `x` and the result.
    return_indices : bool, default False
        Also return where the maxima are.
    nan_policy : {"propagate"}
        A NaN in the window gives NaN. "omit" is not there yet.
    out : ndarray, shape of the result, optional
        Where to put the maxima: of dtype ``x.dtype``, not overlapping `x`.

    Returns
    -------
    values : ndarray, shape (N, OH, OW, C), or (N, C, OH, OW)
        In ``x.dtype``.
    indices : ndarray of int64, shape of `values`
        Only with `return_indices`: ``h * W + w`` of the maximum; of equal elements the first in
        row-major order, and of NaNs the first.

    Raises
    ------
    ValueError
        Shapes or options that do not fit, a window that would hold nothing but padding, or an
        `out` that cannot hold the result.
    TypeError
        Complex, object or other non-numeric input.
    NotImplementedError
        Integers, bool, float16 and bfloat16, and ``nan_policy="omit"``, which are not there yet.

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> x = np.arange(16, dtype=np.float32).reshape(4, 4, 1)
    >>> lw.max_pool2d(x, 2)[..., 0]
    array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    >>> values, indices = lw.max_pool2d(x, 3, stride=2, padding="same", return_indices=True)
    >>> indices[..., 0]
    array([[10, 11],
           [14, 15]])
    """
    op = "max_pool2d"
    if nan_policy == "omit":
        raise NotImplementedError(f"{op}: nan_policy 'omit' is not there yet")
    if nan_policy != "propagate":
        raise ValueError(f"{op}: nan_policy is {nan_policy!r}, expected 'propagate' or 'omit'")
    options = _core.PoolOptions(
        per_axis(op, "window", window),
        None if stride is None else per_axis(op, "stride", stride),
        per_axis(op, "dilation", dilation),
        *padding_code(op, padding),
        bool(ceil_mode),
        layout_code(op, layout),
    )
    (x,) = promoted(op, False, x=as_array(op, "x", x))
    shape = _core.max_pool2d_shape(x, options)
    out = output(op, out, shape, x.dtype, x=x)
    indices = output(op, None, shape, _INT64) if return_indices else None
    _core.max_pool2d(x, options, out, indices)
    return out if indices is None else (out, indices)
