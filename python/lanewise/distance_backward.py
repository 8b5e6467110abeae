"""Gradients of distances between the rows of two arrays."""

from __future__ import annotations

from typing import NamedTuple

from numpy.typing import ArrayLike

from . import _core
from ._array import Array
from .distance import exponent


class DistanceGrads(NamedTuple):
    """The gradients by `x` and by `y`."""

    x: Array
    y: Array


def pairwise_distances_backward(
    grad: ArrayLike,
    x: ArrayLike,
    y: ArrayLike,
    d: ArrayLike,
    metric: str = "euclidean",
    *,
    p: float | None = None,
) -> DistanceGrads:
    """The gradients of `pairwise_distances` by its inputs.

    ``dx[…, i, :] = Σ_j grad[…, i, j] · ∂d[…, i, j]/∂x[…, i, :]``, and `dy` likewise as a sum over
    i. With ``t = x − y``, ``g = grad`` and ``sign(0) = 0``, the terms of `dx` are

    ============= =========================================== ====================================
    metric        term                                        where there is no gradient
    ============= =========================================== ====================================
    "euclidean"   ``g·t/d``                                   0 for d = 0
    "sqeuclidean" ``2·g·t``
    "manhattan"   ``g·sign(t)``                               0 for t = 0
    "chebyshev"   ``g·sign(t)`` where ``|t| = d``             0 for d = 0; all of g for each of
                                                              several largest differences
    "minkowski"   ``g·sign(t)·(|t|/d)^(p−1)``                 0 for t = 0
    "cosine"      ``g·(t' − d·x/|x|)/|x|``, where             NaN for a zero row
                  ``t' = x/|x| − y/|y|``
    "correlation" cosine's, of ``x − mean(x)`` and so on      NaN for a constant row
    "canberra"    ``g·sign(t)·(1 + sign(xy))·|y|/(|x|+|y|)²`` 0 for t = 0
    "braycurtis"  ``g·(sign(t) − d·sign(x+y))/Σ|x+y|``        NaN for d = 0/0
    "dot"         ``g·y``
    ============= =========================================== ====================================

    and those of `dy` the same with x and y exchanged. "hamming", "jaccard" and "minkowski" with
    p = 0 are piecewise constant and have no gradient to speak of: a ValueError.

    Differences are formed before they are weighted and summed, so nothing cancels: a euclidean
    gradient is off by ``(64 + terms/64 + 3)·eps/2`` of ``Σ|g||t|/d`` at most, as far as `d` is
    exact. Sums run over the axes in order, in blocks of 64 terms, and do not depend on threads or
    strides. NaN and infinity are what the formulas make of them.

    Parameters
    ----------
    grad : array_like, shape (…, m, n)
        The gradient by the distances. It is read as the result's dtype, to which it must convert
        safely.
    x, y : array_like, shapes (…, m, d) and (…, n, d)
        What the distances are of; their leading axes broadcast. Of distances within one array pass
        it twice: its gradient is the sum of the two.
    d : array_like, shape (…, m, n)
        What ``pairwise_distances(x, y, metric, p=p)`` returned, cast as `grad` is.
    metric : str, default "euclidean"
        As it was given to `pairwise_distances`.
    p : float, optional
        The exponent of "minkowski", greater than 0, 2 by default. p = 1, 2 and inf give the bits of
        "manhattan", "euclidean" and "chebyshev".

    Returns
    -------
    DistanceGrads
        A named tuple ``(x, y)`` of arrays with the shapes of `x` and `y`; what was broadcast is
        summed. In ``np.result_type(x, y)``, where integers and bool become float64. float16 and
        bfloat16 are computed in float32 and rounded once.

    Raises
    ------
    ValueError
        Shapes that do not fit, an unknown metric or one that has no gradient, or a `p` that is
        negative, NaN, or of another metric.
    TypeError
        Complex, object or other non-numeric input, or a `grad` or `d` of a wider dtype than the
        result's.

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> x, y = np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[3.0, 4.0]])
    >>> d = lw.pairwise_distances(x, y)
    >>> dx, dy = lw.pairwise_distances_backward(np.ones_like(d), x, y, d)
    >>> dx
    array([[-0.6, -0.8],
           [ 0. ,  0. ]])
    >>> dy
    array([[0.6, 0.8]])
    """
    p = exponent("pairwise_distances_backward", metric, p)
    return DistanceGrads(*_core.pairwise_distances_backward(grad, x, y, d, metric, p))


def paired_distances_backward(
    grad: ArrayLike,
    x: ArrayLike,
    y: ArrayLike,
    d: ArrayLike,
    metric: str = "euclidean",
    *,
    p: float | None = None,
) -> DistanceGrads:
    """The gradients of `paired_distances` by its inputs.

    ``dx[…, :] = grad[…] · ∂d[…]/∂x[…, :]``, summed over axes along which `x` was broadcast, with
    the terms that `pairwise_distances_backward` has; its definitions and accuracy hold here.

    Parameters
    ----------
    grad : array_like, shape (…)
        The gradient by the distances, which must convert safely to the result's dtype.
    x, y : array_like, shapes (…, d)
        What the distances are of; their leading axes broadcast.
    d : array_like, shape (…)
        What ``paired_distances(x, y, metric, p=p)`` returned, cast as `grad` is.
    metric : str, default "euclidean"
        As it was given to `paired_distances`.
    p : float, optional
        The exponent of "minkowski", greater than 0, 2 by default.

    Returns
    -------
    DistanceGrads
        A named tuple ``(x, y)`` of arrays with the shapes of `x` and `y`, in
        ``np.result_type(x, y)``, where integers and bool become float64.

    Raises
    ------
    ValueError
        Shapes that do not fit, an unknown metric or one that has no gradient, or a `p` that is
        negative, NaN, or of another metric.
    TypeError
        Complex, object or other non-numeric input, or a `grad` or `d` of a wider dtype than the
        result's.

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> x, y = np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([3.0, 5.0])
    >>> d = lw.paired_distances(x, y, "sqeuclidean")
    >>> dx, dy = lw.paired_distances_backward([1.0, 10.0], x, y, d, "sqeuclidean")
    >>> dx
    array([[ -6., -10.],
           [  0., -20.]])
    >>> dy
    array([ 6., 30.])
    """
    p = exponent("paired_distances_backward", metric, p)
    return DistanceGrads(*_core.paired_distances_backward(grad, x, y, d, metric, p))
