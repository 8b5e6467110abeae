"""Distances between the rows of two arrays."""

from __future__ import annotations

from numpy.typing import ArrayLike

from . import _core
from ._array import Array


def pairwise_distances(
    x: ArrayLike,
    y: ArrayLike | None = None,
    metric: str = "euclidean",
    *,
    p: float | None = None,
    out: Array | None = None,
) -> Array:
    """Distances between all pairs of rows of `x` and `y`.

    ``out[…, i, j] = metric(x[…, i, :], y[…, j, :])``, with scipy.spatial.distance's definitions:

    ============= ===================================== ==========================================
    metric        formula                               where it is not a number, and what else
    ============= ===================================== ==========================================
    "euclidean"   ``sqrt(Σ (x−y)²)``
    "sqeuclidean" ``Σ (x−y)²``
    "manhattan"   ``Σ |x−y|``
    "chebyshev"   ``max |x−y|``
    "minkowski"   ``(Σ |x−y|^p)^(1/p)``                 p = 0 counts the coordinates that differ
    "cosine"      ``1 − Σxy / (|x||y|)``                NaN for a zero row
    "correlation" cosine of ``x − mean(x)`` and so on   NaN for a constant row
    "hamming"     share of coordinates with ``x ≠ y``   NaN for no coordinates; NaN ≠ NaN
    "canberra"    ``Σ |x−y| / (|x|+|y|)``               terms 0/0 are 0
    "braycurtis"  ``Σ |x−y| / Σ |x+y|``                 NaN for 0/0
    "jaccard"     ``1 − Σ [x and y] / Σ [x or y]``      0 for 0/0; what is not 0 is true, NaN too
    "dot"         ``Σ xy``, a similarity
    ============= ===================================== ==========================================

    Differences are formed before they are squared or summed (not ``x² − 2xy + y²``), so nothing
    cancels: the relative error of a euclidean distance is below ``((64 + d/64)/4 + 2)·eps``.
    Sums that leave the range of their dtype on the way to a result that does not are computed
    again, scaled or in float64.

    Parameters
    ----------
    x : array_like, shape (…, m, d)
        Rows: real numbers or bool.
    y : array_like, shape (…, n, d), optional
        Other rows; the leading axes broadcast with those of `x`. The default is `x` itself, which
        gives a bitwise symmetric matrix with an exactly zero diagonal where rows are finite (and
        not zero or constant, where the metric is NaN for these; "dot" excepted).
    metric : str, default "euclidean"
        One of the table's.
    p : float, optional
        The exponent of "minkowski", at least 0, 2 by default. p = 1, 2 and inf give the bits of
        "manhattan", "euclidean" and "chebyshev". Powers above 4 are summed in float64 whatever the
        dtype. The relative error is below ``((73 + d/64)/p + 10)·eps/2``.
    out : ndarray, shape (…, m, n), optional
        Where to put the result: of the result's dtype, not overlapping `x` or `y`.

    Returns
    -------
    ndarray, shape (…, m, n)
        In ``np.result_type(x, y)``, where integers and bool become float64. float16 and bfloat16
        are computed in float32 and rounded once.

    Raises
    ------
    ValueError
        Shapes that do not fit, an unknown metric, a `p` that is negative, NaN, or of another
        metric, or an `out` that cannot hold the result.
    TypeError
        Complex, object or other non-numeric input.

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> x = np.array([[0.0, 0.0], [3.0, 4.0]], dtype=np.float32)
    >>> lw.pairwise_distances(x)
    array([[0., 5.],
           [5., 0.]], dtype=float32)
    >>> lw.pairwise_distances(x, [[1.0, 1.0]], "manhattan")
    array([[2.],
           [5.]])
    >>> lw.pairwise_distances([[1, 0, 1, 1]], [[1, 1, 0, 1]], "jaccard")
    array([[0.5]])
    """
    return _core.pairwise_distances(x, y, metric, exponent("pairwise_distances", metric, p), out)


def paired_distances(
    x: ArrayLike,
    y: ArrayLike,
    metric: str = "euclidean",
    *,
    p: float | None = None,
    out: Array | None = None,
) -> Array:
    """Distances between the rows of `x` and the same rows of `y`.

    ``out[…] = metric(x[…, :], y[…, :])``, with the bits that `pairwise_distances` has for these two
    rows; its definitions and accuracy hold here.

    Parameters
    ----------
    x, y : array_like, shapes (…, d)
        Rows, whose leading axes broadcast: real numbers or bool.
    metric : str, default "euclidean"
        As for `pairwise_distances`.
    p : float, optional
        The exponent of "minkowski", at least 0, 2 by default.
    out : ndarray, shape (…), optional
        Where to put the result: of the result's dtype, not overlapping `x` or `y`.

    Returns
    -------
    ndarray, shape (…)
        In ``np.result_type(x, y)``, where integers and bool become float64. Of two single rows the
        array has no axes; ``float()`` or ``.item()`` takes the number out of it.

    Raises
    ------
    ValueError
        Shapes that do not fit, an unknown metric, a `p` that is negative, NaN, or of another
        metric, or an `out` that cannot hold the result.
    TypeError
        Complex, object or other non-numeric input.

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> lw.paired_distances([[0.0, 0.0], [3.0, 4.0]], [[3.0, 4.0], [3.0, 5.0]])
    array([5., 1.])
    >>> lw.paired_distances([[0.0, 0.0], [3.0, 4.0]], [1.0, 1.0], "chebyshev")
    array([1., 3.])
    >>> lw.paired_distances([1, 2, 4], [1, 2, 2], "minkowski", p=3)
    array(2.)
    """
    return _core.paired_distances(x, y, metric, exponent("paired_distances", metric, p), out)


def exponent(op: str, metric: str, p: float | None) -> float:
    """`p` as a number, which only minkowski has."""
    if p is None:
        return 2.0
    if metric != "minkowski":
        raise ValueError(
            f"{op}: p is {p!r}, but metric {metric!r} has no exponent: only 'minkowski' has"
        )
    return real_number(op, "p", p)


def real_number(op: str, name: str, value: float) -> float:
    """`value` as a float; a TypeError for what is none, as a string."""
    if not isinstance(value, str):
        try:
            return float(value)
        except OverflowError:  # an int
            raise ValueError(f"{op}: {name} is out of the range that a float holds") from None
        except (TypeError, ValueError):
            pass
    raise TypeError(f"{op}: {name} is {value!r}, expected a real number")
