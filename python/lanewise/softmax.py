"""Softmax, log-softmax, their gradients, log-sum-exp and the Jacobian, along any axes."""

from __future__ import annotations

from typing import SupportsIndex, TypeAlias

from numpy.typing import ArrayLike

from . import _core
from ._array import Array

Axis: TypeAlias = SupportsIndex | tuple[SupportsIndex, ...]


def softmax(
    x: ArrayLike, axis: Axis = -1, *, mask: ArrayLike | None = None, out: Array | None = None
) -> Array:
    """Exponentials of `x`, scaled to sum to 1 along one axis or several.

    ``y = exp(x − max) / Σ exp(x − max)``, maximum and sum running along `axis`. Nothing overflows.
    A NaN, a +inf, or nothing but −inf along the axis gives NaN all along it.

    Parameters
    ----------
    x : array_like, any shape
        float16 and bfloat16 are computed in float32 and rounded once; float32 and float64 keep
        their dtype; integers and bool become float64.
    axis : int or tuple of ints, default -1
        The axes to normalise along, several of them as if they were one. Along no axes, ``()``,
        every element is a row of its own.
    mask : array_like of bool, optional
        Which elements take part; of a shape that broadcasts to `x`. Where it is False, the
        probability is exactly 0, whatever `x` holds there, and the others are what they were if
        there were no such element; where it is False all along the axes, they are all 0.
    out : ndarray, shape of `x`, optional
        Where to put the result: of the result's dtype. It may be `x` itself, and must not overlap
        `x` otherwise, nor `mask`.

    Returns
    -------
    ndarray, shape of `x`

    Raises
    ------
    numpy.exceptions.AxisError
        If `x` has no such axis.
    ValueError
        An axis given twice, a `mask` that does not broadcast to `x`, or an `out` that cannot hold
        the result.
    TypeError
        Complex, object or other non-numeric input, or a `mask` that is not bool.

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> lw.softmax(np.log([[1.0, 3.0], [4.0, 4.0]])).round(6)
    array([[0.25, 0.75],
           [0.5 , 0.5 ]])
    >>> lw.softmax([[1.0, np.nan], [np.inf, 2.0]], mask=[[True, False], [False, False]])
    array([[1., 0.],
           [0., 0.]])
    """
    return _core.softmax(x, axis, mask, out)


def log_softmax(x: ArrayLike, axis: Axis = -1, *, out: Array | None = None) -> Array:
    """Logarithm of `softmax`, accurate where the probability is close to 0 or 1.

    ``y = (x − max) − log Σ exp(x − max)``. The maximum's own term, which is 1, is left out of the
    sum and put back by ``log1p``, so that the largest entry keeps its digits as it approaches 0.
    A NaN, a +inf, or nothing but −inf along the axis gives NaN all along it.

    Parameters
    ----------
    x : array_like, any shape
        float16 and bfloat16 are computed in float32 and rounded once; float32 and float64 keep
        their dtype; integers and bool become float64.
    axis : int or tuple of ints, default -1
        The axes to normalise along, several of them as if they were one. Along no axes, ``()``,
        every element is a row of its own.
    out : ndarray, shape of `x`, optional
        Where to put the result: of the result's dtype. It may be `x` itself, and must not overlap
        `x` otherwise.

    Returns
    -------
    ndarray, shape of `x`

    Raises
    ------
    numpy.exceptions.AxisError
        If `x` has no such axis.
    ValueError
        An axis given twice, or an `out` that cannot hold the result.
    TypeError
        Complex, object or other non-numeric input.

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> lw.log_softmax([50.0, 0.0])
    array([-1.92874985e-22, -5.00000000e+01])
    """
    return _core.log_softmax(x, axis, out)


def softmax_backward(
    dy: ArrayLike, y: ArrayLike, axis: Axis = -1, *, out: Array | None = None
) -> Array:
    """Gradient of `softmax`: from that of its result `y` to that of its input.

    ``dx = y·(dy − Σ dy·y)``, the sum running along `axis`.

    Parameters
    ----------
    dy : array_like, any shape
        Gradient with respect to `y`.
    y : array_like, shape of `dy`
        What ``softmax(x, axis)`` returned.
    axis : int or tuple of ints, default -1
        The axes that were normalised along.
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
        If `dy` has no such axis.
    ValueError
        `dy` and `y` of different shapes, an axis given twice, or an `out` that cannot hold the
        result.
    TypeError
        Complex, object or other non-numeric input.

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> lw.softmax_backward([1.0, 0.0], [0.25, 0.75])
    array([ 0.1875, -0.1875])
    """
    return _core.softmax_backward(dy, y, axis, out)


def log_softmax_backward(
    dy: ArrayLike, y: ArrayLike, axis: Axis = -1, *, out: Array | None = None
) -> Array:
    """Gradient of `log_softmax`: from that of its result `y` to that of its input.

    ``dx = dy − exp(y)·Σ dy``, the sum running along `axis`.

    Parameters
    ----------
    dy : array_like, any shape
        Gradient with respect to `y`.
    y : array_like, shape of `dy`
        What ``log_softmax(x, axis)`` returned: logarithms of probabilities.
    axis : int or tuple of ints, default -1
        The axes that were normalised along.
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
        If `dy` has no such axis.
    ValueError
        `dy` and `y` of different shapes, an axis given twice, or an `out` that cannot hold the
        result.
    TypeError
        Complex, object or other non-numeric input.

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> lw.log_softmax_backward([1.0, 0.0], np.log([0.25, 0.75])).round(6)
    array([ 0.75, -0.75])
    """
    return _core.log_softmax_backward(dy, y, axis, out)


def logsumexp(
    x: ArrayLike, axis: Axis = -1, *, keepdims: bool = False, out: Array | None = None
) -> Array:
    """Logarithm of the sum of exponentials along one axis or several.

    ``max + log Σ exp(x − max)``, the logarithm taken as in `log_softmax`. Nothing overflows. A NaN
    gives NaN; else a +inf gives +inf, and nothing but −inf gives −inf, as does an axis of length 0.

    Parameters
    ----------
    x : array_like, any shape
        float16 and bfloat16 are computed in float32 and rounded once; float32 and float64 keep
        their dtype; integers and bool become float64.
    axis : int or tuple of ints, default -1
        The axes to sum along. Along no axes, ``()``, the result is `x`.
    keepdims : bool, default False
        Whether the axes stay in the result, with length 1.
    out : ndarray, shape of the result, optional
        Where to put the result: of the result's dtype. It must not overlap `x`.

    Returns
    -------
    ndarray, shape of `x` without the axes

    Raises
    ------
    numpy.exceptions.AxisError
        If `x` has no such axis.
    ValueError
        An axis given twice, or an `out` that cannot hold the result.
    TypeError
        Complex, object or other non-numeric input.

    Examples
    --------
    >>> import lanewise as lw
    >>> lw.logsumexp([[1000.0, 1000.0], [0.0, -1000.0]])
    array([1000.69314718,    0.        ])
    """
    return _core.logsumexp(x, axis, keepdims, out)


def softmax_jacobian(y: ArrayLike, axis: Axis = -1, *, out: Array | None = None) -> Array:
    """All derivatives of `softmax`'s result `y` by its input.

    ``J[…, i, j] = y_i·(δ_ij − y_j)``, i and j counting the C elements along `axis`; exactly
    symmetric. ``J @ dy`` is what `softmax_backward` computes without storing J.

    Parameters
    ----------
    y : array_like, any shape
        What ``softmax(x, axis)`` returned. float16 and bfloat16 are computed in float32 and rounded
        once; float32 and float64 keep their dtype; integers and bool become float64.
    axis : int or tuple of ints, default -1
        The axes that were normalised along; several are flattened into one, in their order in `y`.
    out : ndarray, shape of the result, optional
        Where to put the result: of the result's dtype. It must not overlap `y`.

    Returns
    -------
    ndarray, shape of `y` without the axes, then (C, C)

    Raises
    ------
    numpy.exceptions.AxisError
        If `y` has no such axis.
    ValueError
        An axis given twice, a result of more elements than an array can have, or an `out` that
        cannot hold the result.
    TypeError
        Complex, object or other non-numeric input.

    Examples
    --------
    >>> import lanewise as lw
    >>> lw.softmax_jacobian([0.25, 0.75])
    array([[ 0.1875, -0.1875],
           [-0.1875,  0.1875]])
    """
    return _core.softmax_jacobian(y, axis, out)
