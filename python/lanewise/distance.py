"""Distances between the rows of two arrays."""

from __future__ import annotations

from numpy.typing import ArrayLike

from . import _core
from ._array import Array, as_array, output, promoted

_METRICS = {
    "euclidean": _core.Metric.EUCLIDEAN,
    "sqeuclidean": _core.Metric.SQEUCLIDEAN,
    "manhattan": _core.Metric.MANHATTAN,
    "chebyshev": _core.Metric.CHEBYSHEV,
    "cosine": _core.Metric.COSINE,
    "dot": _core.Metric.DOT,
}
_PENDING_METRICS = ("minkowski", "hamming", "canberra", "braycurtis", "correlation", "jaccard")


def pairwise_distances(
    x: ArrayLike,
    y: ArrayLike | None = None,
    metric: str = "euclidean",
    *,
    p: float | None = None,
    out: Array | None = None,
) -> Array:
    """Distances between all pairs of rows of `x` and `y`.

    ``out[…, i, j] = metric(x[…, i, :], y[…, j, :])``, with scipy.spatial.distance's definitions.
    Differences are formed before they are squared and summed (not ``x² − 2xy + y²``), so nothing
    cancels: the relative error of a euclidean distance is below ``((64 + d/64)/4 + 2)·eps``.

    Parameters
    ----------
    x : array_like, shape (…, m, d)
        Rows. float32 and float64 keep their dtype; integers and bool become float64.
    y : array_like, shape (…, n, d), optional
        Other rows; the leading axes broadcast with those of `x`. The default is `x` itself, which
        gives a bitwise symmetric matrix with an exactly zero diagonal where rows are finite.
    metric : str, default "euclidean"
        "euclidean" ``sqrt(Σ (x−y)²)``, "sqeuclidean" ``Σ (x−y)²``, "manhattan" ``Σ |x−y|``,
        "chebyshev" ``max |x−y|``, "cosine" ``1 − Σxy / (|x||y|)`` (NaN for a zero row), or the
        similarity "dot" ``Σ xy``.
    p : float, optional
        The exponent of "minkowski", which is not there yet.
    out : ndarray, shape (…, m, n), optional
        Where to put the result: of the result's dtype, not overlapping `x` or `y`.

    Returns
    -------
    ndarray, shape (…, m, n)
        In ``np.result_type(x, y)``.

    Raises
    ------
    ValueError
        Shapes that do not fit, an unknown metric, or an `out` that cannot hold the result.
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
    """
    op = "pairwise_distances"
    code = _METRICS.get(metric)
    if code is None:
        if metric in _PENDING_METRICS:
            raise NotImplementedError(f"{op}: metric {metric!r} is not there yet")
        raise ValueError(f"{op}: metric is {metric!r}, expected one of {', '.join(_METRICS)}")
    if p is not None:
        raise ValueError(f"{op}: p is {p!r}, but metric {metric!r} has no exponent")
    x = as_array(op, "x", x)
    y = x if y is None else as_array(op, "y", y)
    x, y = promoted(op, True, x=x, y=y)
    out = output(op, out, _core.pairwise_distances_shape(x, y), x.dtype, x=x, y=y)
    _core.pairwise_distances(x, y, code, out)
    return out
