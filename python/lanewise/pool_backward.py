"""Gradients of pooling over windows of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import SupportsIndex

from numpy.typing import ArrayLike

from . import _core
from ._array import Array
from ._window import Layout2d, Padding, PerAxis


def max_pool2d_backward(
    dy: ArrayLike,
    indices: ArrayLike,
    input_shape: Sequence[SupportsIndex],
    *,
    layout: Layout2d = "NHWC",
    out: Array | None = None,
) -> Array:
    """The gradient of `max_pool2d` or `min_pool2d` by its input.

    ``dx[n, h, w, c] = Σ dy[n, i, j, c]`` over the windows ``(i, j)`` whose winner is that pixel,
    ``indices[n, i, j, c] == h * W + w``; 0 where no window chose it. The windows' terms are added
    to 0 in row-major order, so the sum does not depend on threads, strides or the layout.

    Parameters
    ----------
    dy : array_like, shape (N, OH, OW, C), or (N, C, OH, OW) with `layout` "NCHW"
        The gradient by the result; without the batch axis N where `input_shape` is without it. Any
        integer, bool, float16, bfloat16, float32 or float64.
    indices : array_like of integers, shape of `dy`
        What ``max_pool2d(x, ..., return_indices=True)`` returned beside the values.
    input_shape : sequence of ints
        The shape of the input: (N, H, W, C), or (N, C, H, W), or without N.
    layout : {"NHWC", "NCHW"}, default "NHWC"
        The order of the axes of `dy`, `indices` and the result.
    out : ndarray, shape `input_shape` and dtype of `dy`, optional
        Where to put the result. It must not overlap `dy` or `indices`.

    Returns
    -------
    ndarray, shape `input_shape`
        In ``dy.dtype``. float16 and bfloat16 are summed in float32 and rounded once; integers wrap
        around; of bool, a sum says whether any term is true.

    Raises
    ------
    IndexError
        An index outside the plane of H × W pixels. `out` is untouched.
    ValueError
        Shapes that do not fit each other, or an `out` that cannot hold the result.
    TypeError
        `indices` that are no integers, a complex, object or other non-numeric `dy`, or an `out` of
        another dtype.

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> x = np.array([[1, 5, 2], [0, 3, 4], [7, 6, 8]], dtype=np.float32)[..., None]
    >>> y, indices = lw.max_pool2d(x, 2, stride=1, return_indices=True)
    >>> lw.max_pool2d_backward(np.ones_like(y), indices, x.shape)[..., 0]
    array([[0., 2., 0.],
           [0., 0., 0.],
           [1., 0., 1.]], dtype=float32)
    """
    return _core.max_pool2d_backward(dy, indices, input_shape, layout, out)


def avg_pool2d_backward(
    dy: ArrayLike,
    input_shape: Sequence[SupportsIndex],
    window: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    layout: Layout2d = "NHWC",
    out: Array | None = None,
) -> Array:
    """The gradient of `avg_pool2d` by its input.

    ``dx[n, h, w, c] = Σ dy[n, i, j, c] / count`` over the windows ``(i, j)`` that cover the pixel;
    count is what `avg_pool2d` divides that window by. Quotients are summed over i, then over j, in
    pairs of pairs of neighbours: the cost grows with the logarithm of the windows over a pixel, and
    nothing is ever subtracted again, so a NaN or inf reaches the pixels of its own window only.

    Parameters
    ----------
    dy : array_like, shape (N, OH, OW, C), or (N, C, OH, OW) with `layout` "NCHW"
        The gradient by the result; without the batch axis N where `input_shape` is without it. Any
        integer, bool, float16, bfloat16, float32 or float64.
    input_shape : sequence of ints
        The shape of the input: (N, H, W, C), or (N, C, H, W), or without N.
    window, stride, padding, dilation, ceil_mode, count_include_pad
        As they were given to `avg_pool2d`.
    layout : {"NHWC", "NCHW"}, default "NHWC"
        The order of the axes of `dy` and the result.
    out : ndarray, shape `input_shape` and dtype of the result, optional
        Where to put the result. It must not overlap `dy`.

    Returns
    -------
    ndarray, shape `input_shape`
        In ``dy.dtype``, or float64 if that is an integer or bool. float16 and bfloat16 are summed
        in float32 and rounded once.

    Raises
    ------
    ValueError
        Options that do not fit `input_shape`, a `dy` of another shape than they imply, or an `out`
        that cannot hold the result.
    TypeError
        Complex, object or other non-numeric `dy`, or an `out` of another dtype.

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> dy = np.array([[4, 8]], dtype=np.float32)[..., None]
    >>> lw.avg_pool2d_backward(dy, (2, 3, 1), 2, stride=1)[..., 0]
    array([[1., 3., 2.],
           [1., 3., 2.]], dtype=float32)
    """
    return _core.avg_pool2d_backward(
        dy, input_shape, window, stride, padding, dilation, ceil_mode, layout, count_include_pad,
        out,
    )  # fmt: skip
