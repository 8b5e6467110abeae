"""Searches against scikit-learn's, and against true distances where other libraries lose them."""

import lanewise as lw
import numpy as np
import pytest
from distances import SCIPY_NAMES, bound, expected
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from test_distance_peers import GPS_QUERY, gps_index, wide_type

METRICS = [
    *(("euclidean", None), ("sqeuclidean", None), ("manhattan", None), ("chebyshev", None)),
    *(("cosine", None), ("correlation", None), ("canberra", None), ("braycurtis", None)),
    *(("minkowski", 0.5), ("minkowski", 3)),
]
all_metrics = pytest.mark.parametrize(("metric", "p"), METRICS)


@all_metrics
@pytest.mark.parametrize(("m", "n", "d", "k"), [(40, 300, 5, 7), (3, 1500, 70, 1), (90, 30, 2, 30)])
def test_finds_what_scipy_finds(simd, rng, metric, p, m, n, d, k):
    """Random rows are nowhere equally far, but for correlations of two coordinates; nor, since they
    are positive, in terms of canberra's that are 1."""
    if (metric, d) == ("correlation", 2):
        d = 3
    x, y = rng.random((m, d)) + 0.1, rng.random((n, d)) + 0.1
    options = {} if p is None else {"p": p}
    scipy = cdist(x, y, SCIPY_NAMES.get(metric, metric), **options)
    distances, indices = lw.nearest_neighbors(x, y, k, metric, p=p)
    np.testing.assert_array_equal(indices, scipy.argsort(1)[:, :k])
    np.testing.assert_allclose(distances, np.sort(scipy, 1)[:, :k], rtol=1e-11, atol=1e-14)
    np.testing.assert_array_equal(lw.pairwise_argmin(x, y, metric, p=p), scipy.argmin(1))


@pytest.mark.parametrize(
    ("p", "metric"), [(1, "manhattan"), (2, "euclidean"), (np.inf, "chebyshev")]
)
def test_finds_what_a_tree_finds(rng, p, metric):
    x, y = rng.random((500, 3)), rng.random((4000, 3))
    expect, where = cKDTree(y).query(x, 8, p=p)
    distances, indices = lw.nearest_neighbors(x, y, 8, metric)
    np.testing.assert_array_equal(indices, where)
    np.testing.assert_allclose(distances, expect, rtol=1e-14)


@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "chebyshev", "cosine", "canberra"])
def test_agrees_with_scikit_learn(rng, metric):
    neighbors = pytest.importorskip("sklearn.neighbors")
    metrics = pytest.importorskip("sklearn.metrics")
    x, y = rng.normal(size=(70, 9)), rng.normal(size=(500, 9))
    model = neighbors.NearestNeighbors(n_neighbors=6, metric=metric, algorithm="brute").fit(y)
    expect, where = model.kneighbors(x)
    distances, indices = lw.nearest_neighbors(x, y, 6, metric)
    np.testing.assert_array_equal(indices, where)
    np.testing.assert_allclose(distances, expect, rtol=1e-11)
    nearest, distance = metrics.pairwise_distances_argmin_min(x, y, metric=metric)
    indices, distances = lw.pairwise_argmin(x, y, metric, return_distance=True)
    np.testing.assert_array_equal(indices, nearest)
    np.testing.assert_allclose(distances, distance, rtol=1e-11)


@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "chebyshev", "cosine"])
def test_radius_agrees_with_scikit_learn(rng, metric):
    neighbors = pytest.importorskip("sklearn.neighbors")
    x, y = rng.normal(size=(70, 4)), rng.normal(size=(500, 4))
    for radius in (0.01, 0.7, 2.5):
        model = neighbors.NearestNeighbors(radius=radius, metric=metric, algorithm="brute").fit(y)
        expect = model.radius_neighbors_graph(x, mode="distance")
        expect.sort_indices()
        indptr, indices, distances = lw.radius_neighbors(x, y, radius, metric)
        np.testing.assert_array_equal(indptr, expect.indptr)
        np.testing.assert_array_equal(indices, expect.indices)
        np.testing.assert_allclose(distances, expect.data, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "chebyshev"])
@pytest.mark.parametrize("d", [2, 40])
def test_the_nearest_far_from_the_origin(simd, rng, metric, dtype, d):
    """None of the found is further than the truly nearest, but for twice a distance's bound."""
    for far in (1e4, 1e6, 1e8):
        apart = max(1e-4, far * 2 * np.finfo(dtype).eps)
        centre = rng.choice([-far, far], d)
        x, y = ((centre + apart * rng.normal(0, 9, (n, d))).astype(dtype) for n in (30, 200))
        exact = expected(x, y, metric, wide=wide_type(dtype))
        limit = 2 * bound(x, y, metric, exact=exact)
        for k in (1, 5, 200):
            distances, indices = lw.nearest_neighbors(x, y, k, metric)
            chosen = np.take_along_axis(exact, indices, 1)
            allowed = np.sort(exact, 1)[:, :k] + np.take_along_axis(limit, indices, 1)
            assert (np.sort(chosen, 1) <= allowed).all()
            np.testing.assert_array_equal(np.diff(distances, axis=1) >= 0, True)


@all_metrics
def test_a_row_is_its_own_nearest(simd, rng, metric, p):
    """At distance 0, and of equal rows the first."""
    x = (1e3 + rng.normal(size=(300, 20))).astype(np.float32)
    x[200:] = x[100:200]
    first = np.r_[0:200, 100:200]
    distances, indices = lw.nearest_neighbors(x, x, 2, metric, p=p)
    np.testing.assert_array_equal(distances[:, 0], 0)
    if metric not in ("cosine", "correlation"):  # in whose digits others may be at 0 as well
        np.testing.assert_array_equal(indices[:, 0], first)
        np.testing.assert_array_equal(indices[100:200, 1], np.arange(200, 300))
        np.testing.assert_array_equal(lw.pairwise_argmin(x, x, metric, p=p), first)


def test_faiss_issue_3245(simd, rng):
    """IndexFlatL2 found the place at 951 where there is one at 7.6."""
    index = gps_index(rng)
    for queries in (1, 19, 20, 21, 100):
        query = np.tile(np.array(GPS_QUERY, np.float32), (queries, 1))
        distances, indices = lw.nearest_neighbors(query, index, 3)
        np.testing.assert_array_equal(indices[:, 0], len(index) - 1)
        np.testing.assert_allclose(distances[:, 0], 7.603453, rtol=1e-7)
        np.testing.assert_array_equal(lw.pairwise_argmin(query, index), indices[:, 0])


def test_faiss_issue_1956(simd, rng):
    """Vectors that differ from the sixth decimal on: each is its own nearest."""
    x = (rng.normal(size=512) + 1e-6 * rng.normal(size=(600, 512))).astype(np.float32)
    np.testing.assert_array_equal(lw.pairwise_argmin(x, x.copy()), np.arange(600))
