"""Softmax, log-softmax and their gradients along one axis."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import SupportsIndex, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from . import _core
from ._array import Array, as_array, output, promoted, same_elements

Axis: TypeAlias = SupportsIndex | Sequence[SupportsIndex]


def softmax(
    x: ArrayLike, axis: Axis = -1, *, mask: ArrayLike | None = None, out: Array | None = None
) -> Array:
    """Exponentials of `x`, scaled to sum to 1 along an axis.

    ``y = exp(x − max) / Σ exp(x − max)``, maximum and sum running along `axis`. Nothing overflows.
    A NaN, a +inf, or nothing but −inf along the axis gives NaN all along it.

    Parameters
    ----------
    x : array_like, any shape of at least one axis
        float32 and float64 keep their dtype; integers and bool become float64.
    axis : int, default -1
        The axis to normalise. A tuple of axes is not there yet.
    mask : array_like, optional
        Which elements take part; not there yet.
    out : ndarray, shape of `x`, optional
        Where to put the result: of the result's dtype. It may be `x` itself, and must not overlap
        `x` otherwise.

    Returns
    -------
    ndarray, shape of `x`

    Raises
    ------
    numpy.exceptions.AxisError
        If `x` has no such axis; an array without axes has none.
    ValueError
        An `out` that cannot hold the result.
    TypeError
        Complex, object or other non-numeric input.

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> lw.softmax(np.log([[1.0, 3.0], [4.0, 4.0]])).round(6)
    array([[0.25, 0.75],
           [0.5 , 0.5 ]])
    """
    op = "softmax"
    if mask is not None:
        raise NotImplementedError(f"{op}: mask is not there yet")
    x, index, out = _forward(op, x, axis, out)
    _core.softmax(x, index, out)
    return out


def log_softmax(x: ArrayLike, axis: Axis = -1, *, out: Array | None = None) -> Array:
    """Logarithm of `softmax`, accurate where the probability is close to 0 or 1.

    ``y = (x − max) − log Σ exp(x − max)``. The maximum's own term, which is 1, is left out of the
    sum and put back by ``log1p``, so that the largest entry keeps its digits as it approaches 0.
    A NaN, a +inf, or nothing but −inf along the axis gives NaN all along it.

    Parameters
    ----------
    x : array_like, any shape of at least one axis
        float32 and float64 keep their dtype; integers and bool become float64.
    axis : int, default -1
        The axis to normalise. A tuple of axes is not there yet.
    out : ndarray, shape of `x`, optional
        Where to put the result: of the result's dtype. It may be `x` itself, and must not overlap
        `x` otherwise.

    Returns
    -------
    ndarray, shape of `x`

    Raises
    ------
    numpy.exceptions.AxisError
        If `x` has no such axis; an array without axes has none.
    ValueError
        An `out` that cannot hold the result.
    TypeError
        Complex, object or other non-numeric input.

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> lw.log_softmax([50.0, 0.0])
    array([-1.92874985e-22, -5.00000000e+01])
    """
    op = "log_softmax"
    x, index, out = _forward(op, x, axis, out)
    _core.log_softmax(x, index, out)
    return out


def softmax_backward(
    dy: ArrayLike, y: ArrayLike, axis: Axis = -1, *, out: Array | None = None
) -> Array:
    """Gradient of `softmax`: from that of its result `y` to that of its input.

    ``dx = y·(dy − Σ dy·y)``, the sum running along `axis`.

    Parameters
    ----------
    dy : array_like, any shape of at least one axis
        Gradient with respect to `y`.
    y : array_like, shape of `dy`
        What ``softmax(x, axis)`` returned.
    axis : int, default -1
        The axis that was normalised. A tuple of axes is not there yet.
    out : ndarray, shape of `dy`, optional
        Where to put the result: of the result's dtype. It may be `dy` itself, and must not overlap
        `dy` or `y` otherwise.

    Returns
    -------
    ndarray, shape of `dy`
        In ``np.result_type(dy, y)``; integers and bool become float64.

    Raises
    ------
    numpy.exceptions.AxisError
        If `dy` has no such axis; an array without axes has none.
    ValueError
        `dy` and `y` of different shapes, or an `out` that cannot hold the result.
    TypeError
        Complex, object or other non-numeric input.

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> lw.softmax_backward([1.0, 0.0], [0.25, 0.75])
    array([ 0.1875, -0.1875])
    """
    op = "softmax_backward"
    dy, y, index, out = _backward(op, dy, y, axis, out)
    _core.softmax_backward(dy, y, index, out)
    return out


def log_softmax_backward(
    dy: ArrayLike, y: ArrayLike, axis: Axis = -1, *, out: Array | None = None
) -> Array:
    """Gradient of `log_softmax`: from that of its result `y` to that of its input.

    ``dx = dy − exp(y)·Σ dy``, the sum running along `axis`.

    Parameters
    ----------
    dy : array_like, any shape of at least one axis
        Gradient with respect to `y`.
    y : array_like, shape of `dy`
        What ``log_softmax(x, axis)`` returned: logarithms of probabilities.
    axis : int, default -1
        The axis that was normalised. A tuple of axes is not there yet.
    out : ndarray, shape of `dy`, optional
        Where to put the result: of the result's dtype. It may be `dy` itself, and must not overlap
        `dy` or `y` otherwise.

    Returns
    -------
    ndarray, shape of `dy`
        In ``np.result_type(dy, y)``; integers and bool become float64.

    Raises
    ------
    numpy.exceptions.AxisError
        If `dy` has no such axis; an array without axes has none.
    ValueError
        `dy` and `y` of different shapes, or an `out` that cannot hold the result.
    TypeError
        Complex, object or other non-numeric input.

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> lw.log_softmax_backward([1.0, 0.0], np.log([0.25, 0.75])).round(6)
    array([ 0.75, -0.75])
    """
    op = "log_softmax_backward"
    dy, y, index, out = _backward(op, dy, y, axis, out)
    _core.log_softmax_backward(dy, y, index, out)
    return out


def _forward(op: str, x: ArrayLike, axis: Axis, out: Array | None) -> tuple[Array, int, Array]:
    (x,) = promoted(op, True, x=as_array(op, "x", x))
    index = _axis_index(op, axis, x.ndim)
    others = {} if out is not None and same_elements(out, x) else {"x": x}
    return x, index, output(op, out, x.shape, x.dtype, **others)


def _backward(
    op: str, dy: ArrayLike, y: ArrayLike, axis: Axis, out: Array | None
) -> tuple[Array, Array, int, Array]:
    dy, y = promoted(op, True, dy=as_array(op, "dy", dy), y=as_array(op, "y", y))
    shape = _core.softmax_backward_shape(op, dy, y)
    index = _axis_index(op, axis, dy.ndim)
    others = {"y": y} if out is not None and same_elements(out, dy) else {"dy": dy, "y": y}
    return dy, y, index, output(op, out, shape, dy.dtype, **others)


def _axis_index(op: str, axis: Axis, ndim: int) -> int:
    """`axis` counted from the front."""
    if isinstance(axis, (tuple, list)):
        raise NotImplementedError(f"{op}: axis is {axis!r}; more than one axis is not there yet")
    try:
        index = operator.index(axis)  # type: ignore[arg-type]  # a TypeError is what we want
    except TypeError:
        raise TypeError(f"{op}: axis is {axis!r}, expected an int") from None
    if not -ndim <= index < ndim:
        raise np.exceptions.AxisError(index, ndim, op)
    return index % ndim
