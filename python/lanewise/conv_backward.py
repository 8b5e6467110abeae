"""Gradients of convolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, SupportsIndex

from numpy.typing import ArrayLike

from . import _core
from ._array import Array
from ._window import Layout1d, Layout2d, Padding, PerAxis
from .packed_filter import PackedFilter


class ConvGrads(NamedTuple):
    """The gradients by `x`, `w` and `bias`; None where one was not asked for.

    Type checkers see `Any` in place of None, as which gradients there are is up to `wrt`.
    """

    x: Array | Any
    w: Array | Any
    bias: Array | Any


def conv2d_backward(
    dy: ArrayLike,
    x: ArrayLike | tuple[int, ...],
    w: ArrayLike | PackedFilter | tuple[int, ...],
    *,
    wrt: str | Sequence[str] = ("x", "w", "bias"),
    stride: PerAxis = 1,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    groups: SupportsIndex = 1,
    layout: Layout2d = "NHWC",
    pad_mode: str = "constant",
    flip: bool = False,
    algorithm: str = "auto",
) -> ConvGrads:
    """The gradients of `conv2d` by its image, its filters and its bias.

    With ``xp`` for `x` and its padding, and the sums over all n, i, j (and k),

    | ``dx[n, p, q, c] = Σ dy[n, i, j, k] · w[r, s, c, k]`` where the window of (i, j) has pixel
      (p, q), or a copy of it in the padding, under its tap (r, s);
    | ``dw[r, s, c, k] = Σ dy[n, i, j, k] · xp[n, i·stride + r·dilation, j·stride + s·dilation,
      c]``;
    | ``dbias[k] = Σ dy[n, i, j, k]``.

    (Dumoulin and Visin, A guide to convolution arithmetic for deep learning, 2016.) `dx` is a
    convolution itself, with the accuracy of `conv2d` for K / groups input channels. The sums of
    `dw` and `dbias` over images and pixels are cut in blocks, whose sums are added in order. No bit
    depends on threads, strides of the arrays, or the layout, nor those of `dx` on the rest of the
    batch.

    Parameters
    ----------
    dy : array_like
        The gradient by the result of `conv2d`, and of its shape: (N, OH, OW, K), or
        (N, K, OH, OW) in layout "NCHW".
    x : array_like, or tuple of ints
        The image that `conv2d` was given. Its shape is enough where "w" is not in `wrt`; a tuple is
        a shape, and a list an array.
    w : array_like or PackedFilter, or tuple of ints
        The filters that `conv2d` was given. Their shape is enough where "x" is not in `wrt`.
    wrt : str or sequence of str, default ("x", "w", "bias")
        Which gradients to compute: one or more of these names.
    stride, padding, dilation, groups, layout, pad_mode, flip
        As they were given to `conv2d`. An activation is not part of this: multiply `dy` by its
        derivative first.
    algorithm : {"auto", "direct", "winograd"}
        As for `conv2d`: "direct" are ordered sums, "auto" may use Winograd's algorithm for
        float32, in `dx` and in `dw`.

    Returns
    -------
    ConvGrads
        A named tuple (x, w, bias) of arrays of the shapes of `x`, `w` and of the bias, (K,) or
        (N, K) where `w` has one bank of filters per image; None where `wrt` does not name them.
        In ``np.result_type`` of the arrays given. float16 and bfloat16 are summed in float32 and
        rounded once; integers wrap around.

    Raises
    ------
    ValueError
        Shapes or options that do not fit, or a shape where values are needed; a `wrt` that names
        nothing, something else, or a gradient twice; an option that differs from what a
        `PackedFilter` was packed with.
    TypeError
        Complex, object or other non-numeric input, or only bool.

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> x = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
    >>> w = np.array([[1, 2], [3, 4]], dtype=np.float32).reshape(2, 2, 1, 1)
    >>> dy = np.ones_like(lw.conv2d(x, w))
    >>> grads = lw.conv2d_backward(dy, x, w)
    >>> grads.x[0, :, :, 0]
    array([[ 1.,  3.,  2.],
           [ 4., 10.,  6.],
           [ 3.,  7.,  4.]], dtype=float32)
    >>> grads.w[:, :, 0, 0]
    array([[ 8., 12.],
           [20., 24.]], dtype=float32)
    >>> lw.conv2d_backward(dy, x.shape, w, wrt="x").w is None
    True
    """
    return ConvGrads(
        *_core.conv2d_backward(
            dy, x, w, wrt, stride, padding, dilation, groups, layout, pad_mode, flip, algorithm
        )
    )


def conv1d_backward(
    dy: ArrayLike,
    x: ArrayLike | tuple[int, ...],
    w: ArrayLike | PackedFilter | tuple[int, ...],
    *,
    wrt: str | Sequence[str] = ("x", "w", "bias"),
    stride: PerAxis = 1,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    groups: SupportsIndex = 1,
    layout: Layout1d = "NWC",
    pad_mode: str = "constant",
    flip: bool = False,
    algorithm: str = "auto",
) -> ConvGrads:
    """The gradients of `conv1d` by its signal, its filters and its bias.

    `conv2d_backward` along one axis: with ``xp`` for `x` and its padding,
    ``dx[n, q, c] = Σ dy[n, j, k] · w[s, c, k]`` where the window of j has element q, or a copy of
    it in the padding, under its tap s; ``dw[s, c, k] = Σ dy[n, j, k] · xp[n, j·stride +
    s·dilation, c]``; ``dbias[k] = Σ dy[n, j, k]``.

    Parameters
    ----------
    dy : array_like
        The gradient by the result of `conv1d`: (N, OW, K), or (N, K, OW) in layout "NCW".
    x : array_like, or tuple of ints
        The signal that `conv1d` was given. Its shape is enough where "w" is not in `wrt`.
    w : array_like or PackedFilter, or tuple of ints
        The filters that `conv1d` was given. Their shape is enough where "x" is not in `wrt`.
    wrt : str or sequence of str, default ("x", "w", "bias")
        Which gradients to compute.
    stride, padding, dilation, groups, layout, pad_mode, flip, algorithm
        As for `conv2d_backward`.

    Returns
    -------
    ConvGrads
        As of `conv2d_backward`.

    Raises
    ------
    ValueError, TypeError
        As `conv2d_backward`.

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> x = np.array([1, 2, 3, 4], dtype=np.float32).reshape(1, 4, 1)
    >>> w = np.array([1, 10], dtype=np.float32).reshape(2, 1, 1)
    >>> dy = np.array([1, 2, 3], dtype=np.float32).reshape(1, 3, 1)
    >>> grads = lw.conv1d_backward(dy, x, w)
    >>> grads.x.ravel()
    array([ 1., 12., 23., 30.], dtype=float32)
    >>> grads.w.ravel()
    array([14., 20.], dtype=float32)
    >>> grads.bias
    array([6.], dtype=float32)
    """
    return ConvGrads(
        *_core.conv1d_backward(
            dy, x, w, wrt, stride, padding, dilation, groups, layout, pad_mode, flip, algorithm
        )
    )


def conv_transpose2d_backward(
    dy: ArrayLike,
    x: ArrayLike | tuple[int, ...],
    w: ArrayLike | PackedFilter | tuple[int, ...],
    *,
    wrt: str | Sequence[str] = ("x", "w", "bias"),
    stride: PerAxis = 1,
    padding: Padding = 0,
    output_padding: PerAxis = 0,
    dilation: PerAxis = 1,
    groups: SupportsIndex = 1,
    layout: Layout2d = "NHWC",
) -> ConvGrads:
    """The gradients of `conv_transpose2d` by its image, its filters and its bias.

    With ``dyp`` for `dy` and the padding that was cut off, as zeros,

    | ``dx[n, i, j, c] = Σ_{r,s,k} dyp[n, i·stride + r·dilation, j·stride + s·dilation, k] ·
      w[r, s, k, c]``, the convolution of `dy`;
    | ``dw[r, s, k, c] = Σ_{n,i,j} dyp[n, i·stride + r·dilation, j·stride + s·dilation, k] ·
      x[n, i, j, c]``;
    | ``dbias[k] = Σ_{n,i,j} dy[n, i, j, k]``.

    Parameters
    ----------
    dy : array_like
        The gradient by the result of `conv_transpose2d`, and of its shape.
    x : array_like, or tuple of ints
        The image that `conv_transpose2d` was given. Its shape is enough where "w" is not in `wrt`.
    w : array_like or PackedFilter, or tuple of ints
        The filters that `conv_transpose2d` was given: (R, S, K/groups, C), or (C, K/groups, R, S).
        Their shape is enough where "x" is not in `wrt`.
    wrt : str or sequence of str, default ("x", "w", "bias")
        Which gradients to compute.
    stride, padding, output_padding, dilation, groups, layout
        As they were given to `conv_transpose2d`.

    Returns
    -------
    ConvGrads
        As of `conv2d_backward`.

    Raises
    ------
    ValueError, TypeError
        As `conv2d_backward`.

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> x = np.array([[1, 2], [3, 4]], dtype=np.float32).reshape(1, 2, 2, 1)
    >>> w = np.ones((2, 2, 1, 1), dtype=np.float32)
    >>> y = lw.conv_transpose2d(x, w, stride=2)
    >>> grads = lw.conv_transpose2d_backward(y, x, w, stride=2)
    >>> grads.x[0, :, :, 0]
    array([[ 4.,  8.],
           [12., 16.]], dtype=float32)
    >>> grads.w[:, :, 0, 0], grads.bias
    (array([[30., 30.],
           [30., 30.]], dtype=float32), array([40.], dtype=float32))
    """
    return ConvGrads(
        *_core.conv_transpose2d_backward(
            dy, x, w, wrt, stride, padding, output_padding, dilation, groups, layout
        )
    )
