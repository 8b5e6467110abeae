"""Searches for the nearest rows, without the matrix of all distances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, SupportsIndex, overload

from numpy.typing import ArrayLike

from . import _core
from ._array import Array
from .distance import exponent, real_number


@overload
def pairwise_argmin(
    x: ArrayLike,
    y: ArrayLike,
    metric: str = ...,
    *,
    p: float | None = ...,
    return_distance: Literal[False] = ...,
) -> Array: ...
@overload
def pairwise_argmin(
    x: ArrayLike,
    y: ArrayLike,
    metric: str = ...,
    *,
    p: float | None = ...,
    return_distance: Literal[True],
) -> tuple[Array, Array]: ...
def pairwise_argmin(
    x: ArrayLike,
    y: ArrayLike,
    metric: str = "euclidean",
    *,
    p: float | None = None,
    return_distance: bool = False,
) -> Array | tuple[Array, Array]:
    """The nearest row of `y` for each row of `x`.

    ``indices[…, i]`` is the first index of the smallest ``pairwise_distances(x, y, metric)[…, i]``,
    whose bits the distances have, but the matrix of these distances is never stored. A distance
    that is NaN is no number and comes after all others (``np.argmin`` takes it for the smallest):
    its index is 0, and the distance NaN, only where all of a row are NaN.

    Parameters
    ----------
    x : array_like, shape (…, m, d)
        Rows: real numbers or bool.
    y : array_like, shape (…, n, d)
        The rows to search, one at least; the leading axes broadcast with those of `x`.
    metric : str, default "euclidean"
        As for `pairwise_distances`, except "dot", which is a similarity.
    p : float, optional
        The exponent of "minkowski", at least 0, 2 by default.
    return_distance : bool, default False
        Whether to return the distances as well.

    Returns
    -------
    indices : ndarray, shape (…, m)
        In int64.
    distances : ndarray, shape (…, m), if `return_distance`
        In the dtype that `pairwise_distances` has. Distances are compared as this dtype holds them:
        of float16 and bfloat16, after they are rounded.

    Raises
    ------
    ValueError
        No rows in `y`, shapes that do not fit, an unknown metric or "dot", or a `p` that is
        negative, NaN, or of another metric.
    TypeError
        Complex, object or other non-numeric input.

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> x, y = np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[3.0, 3.0], [9.0, 9.0], [3.0, 5.0]])
    >>> lw.pairwise_argmin(x, y)
    array([0, 0])
    >>> indices, distances = lw.pairwise_argmin(x, y, "manhattan", return_distance=True)
    >>> distances
    array([6., 1.])
    """
    p = exponent("pairwise_argmin", metric, p)
    return _core.pairwise_argmin(x, y, metric, p, return_distance)


def nearest_neighbors(
    x: ArrayLike,
    y: ArrayLike,
    k: SupportsIndex,
    metric: str = "euclidean",
    *,
    p: float | None = None,
    progress: Callable[[float], Any] | None = None,
) -> tuple[Array, Array]:
    """The `k` nearest rows of `y` for each row of `x`, the nearest first.

    ``indices[…, i, :]`` are the first `k` of a stable argsort of
    ``pairwise_distances(x, y, metric)[…, i]``, whose bits the distances have: equal distances are
    in the order of their indices, and those that are NaN come last. The matrix of all distances is
    never stored: beside the results, memory is bounded whatever the sizes.

    Parameters
    ----------
    x : array_like, shape (…, m, d)
        Rows: real numbers or bool.
    y : array_like, shape (…, n, d)
        The rows to search; the leading axes broadcast with those of `x`.
    k : int
        How many, from 1 to n.
    metric : str, default "euclidean"
        As for `pairwise_distances`, except "dot", which is a similarity.
    p : float, optional
        The exponent of "minkowski", at least 0, 2 by default.
    progress : callable, optional
        Called during a long search with the share that is done, a float in (0, 1], ascending, about
        ten times a second at most, and with 1.0 at the end. It runs in the calling thread. What it
        raises ends the search, and so does Ctrl-C.

    Returns
    -------
    distances : ndarray, shape (…, m, k)
        In the dtype that `pairwise_distances` has. Distances are compared as this dtype holds them:
        of float16 and bfloat16, after they are rounded.
    indices : ndarray, shape (…, m, k)
        In int64.

    Raises
    ------
    ValueError
        A `k` that is less than 1 or more than n, shapes that do not fit, an unknown metric or
        "dot", or a `p` that is negative, NaN, or of another metric.
    TypeError
        Complex, object or other non-numeric input, or a `k` that is no integer (or a bool).

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> x, y = np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[3.0, 3.0], [9.0, 9.0], [3.0, 5.0]])
    >>> distances, indices = lw.nearest_neighbors(x, y, 2, "manhattan")
    >>> distances
    array([[6., 8.],
           [1., 1.]])
    >>> indices
    array([[0, 2],
           [0, 2]])
    """
    _check_progress("nearest_neighbors", progress)
    p = exponent("nearest_neighbors", metric, p)
    return _core.nearest_neighbors(x, y, k, metric, p, progress)


def radius_neighbors(
    x: ArrayLike,
    y: ArrayLike,
    radius: float,
    metric: str = "euclidean",
    *,
    p: float | None = None,
    progress: Callable[[float], Any] | None = None,
) -> tuple[Array, Array, Array]:
    """All rows of `y` within a distance of each row of `x`.

    Row i has ``indices[indptr[i]:indptr[i + 1]]``, ascending, which are those of
    ``pairwise_distances(x, y, metric)[i] <= radius``, and the distances at the same places, whose
    bits these are. So ``scipy.sparse.csr_array((distances, indices, indptr), shape=(m, n))`` is the
    matrix of them. A distance that is NaN is never within. The matrix of all distances is never
    stored; what is found is kept twice until it is in its place.

    Parameters
    ----------
    x : array_like, shape (m, d)
        Rows: real numbers or bool.
    y : array_like, shape (n, d)
        The rows to search.
    radius : float
        The largest distance that is within, at least 0; infinity is within an infinite radius.
    metric : str, default "euclidean"
        As for `pairwise_distances`, except "dot", which is a similarity.
    p : float, optional
        The exponent of "minkowski", at least 0, 2 by default.
    progress : callable, optional
        As for `nearest_neighbors`.

    Returns
    -------
    indptr : ndarray, shape (m + 1,)
        Where each row begins, and the last ends, in int64.
    indices : ndarray, shape (indptr[m],)
        In int64.
    distances : ndarray, shape (indptr[m],)
        In the dtype that `pairwise_distances` has. Distances are compared as this dtype holds them:
        of float16 and bfloat16, after they are rounded.

    Raises
    ------
    ValueError
        A `radius` that is negative or NaN, shapes that do not fit or that have not two axes each,
        an unknown metric or "dot", or a `p` that is negative, NaN, or of another metric.
    TypeError
        Complex, object or other non-numeric input.

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> x, y = np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[3.0, 3.0], [9.0, 9.0], [3.0, 5.0]])
    >>> indptr, indices, distances = lw.radius_neighbors(x, y, 5.0)
    >>> indptr
    array([0, 1, 3])
    >>> indices
    array([0, 0, 2])
    >>> distances
    array([4.24264069, 1.        , 1.        ])
    """
    _check_progress("radius_neighbors", progress)
    p = exponent("radius_neighbors", metric, p)
    within = real_number("radius_neighbors", "radius", radius)
    return _core.radius_neighbors(x, y, within, metric, p, progress)


def _check_progress(op: str, progress: object) -> None:
    if progress is not None and not callable(progress):
        raise TypeError(f"{op}: progress is {progress!r}, expected a callable or None")
