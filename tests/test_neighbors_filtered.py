"""Searches that compute few of the distances, against those that compute all, bit for bit."""

import lanewise as lw
import ml_dtypes
import numpy as np
import pytest
from test_neighbors import check, check_radius, same

N, M = 1300, 30


def rows(kind, rng, d, dtype):
    """M rows of x, of M + N in all, which the rest are searched for."""
    shape = (M + N, d)
    limits = np.finfo(dtype)
    z = rng.normal(size=shape)
    if kind == "clusters":
        z = rng.normal(size=(20, d))[rng.integers(0, 20, M + N)] + 1e-3 * z
    elif kind == "far from the origin":
        z += 1e6
    elif kind == "x far from y":
        z[:M] += 50
    elif kind == "integers":
        z = np.round(20 * z)
    elif kind == "duplicates":
        z = z[rng.integers(0, 50, M + N)]
    elif kind == "constant":
        z[:] = 3
    elif kind == "denormal":
        z *= 100 * float(limits.smallest_subnormal)
    elif kind == "small":
        z *= np.sqrt(float(limits.tiny))
    elif kind == "huge":
        z *= 0.1 * float(limits.max)
    elif kind == "outliers":
        z[rng.random(M + N) < 0.005] *= 1e5
    elif kind == "outliers of y":
        z[M:][rng.random(N) < 0.005] *= 1e5
    elif kind == "not finite":
        z[rng.random(M + N) < 0.01, 0] = np.nan
        z[rng.random(M + N) < 0.01, -1] = np.inf
    elif kind == "y not finite":
        z[M:][rng.random(N) < 0.01, -1] = np.nan
    elif kind == "ever nearer":
        z[M:] *= np.linspace(5, 0.1, N)[:, None]
    elif kind == "ever farther":
        z[M:] *= np.linspace(0.1, 5, N)[:, None]
    z = z.astype(dtype)
    # All of the denormal are computed one by one: no more than what is filtered for a few of them.
    return z[:M], z[M:][: 560 if kind == "denormal" else N]


KINDS = [
    "normal",
    "clusters",
    "far from the origin",
    "x far from y",
    "integers",
    "duplicates",
    "constant",
    "denormal",
    "small",
    "huge",
    "outliers",
    "outliers of y",
    "not finite",
    "y not finite",
    "ever nearer",
    "ever farther",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.filterwarnings("ignore:overflow")
def test_nearest_are_those_of_all_distances(simd, rng, kind, dtype):
    x, y = rows(kind, rng, 41, dtype)
    for metric in ("euclidean", "sqeuclidean"):
        for k, threads in [(1, 1), (10, 2), (3, 3)]:
            lw.set_num_threads(threads)
            check(x, y, k, metric)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.filterwarnings("ignore:overflow")
def test_radius_neighbors_are_those_of_all_distances(simd, rng, kind, dtype):
    x, y = rows(kind, rng, 41, dtype)
    for metric, threads in [("euclidean", 1), ("sqeuclidean", 3)]:
        lw.set_num_threads(threads)
        distances = lw.pairwise_distances(x, y, metric).astype(float)
        distances = np.sort(distances[np.isfinite(distances)])
        for share in (0, 0.001, 0.02, 0.5):
            if len(distances):
                check_radius(x, y, distances[int(share * len(distances))], metric)


@pytest.mark.parametrize("d", [8, 9, 23, 127, 128, 130, 384])
@pytest.mark.parametrize("threads", [1, 2])
def test_numbers_of_rows_and_coordinates(rng, d, threads):
    lw.set_num_threads(threads)
    x, y = (rng.normal(size=(n, d)).astype(np.float32) for n in (1100, 4001))
    for m, n, k in [(1100, 3000, 10), (29, 4001, 1), (700, 3001, 20), (100, 4000, 30)]:
        check(x[:m], y[:n], k)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [[0], [199], [7, 8, 9, 150]])
@pytest.mark.filterwarnings("ignore:overflow")
def test_some_rows_of_x_that_the_filter_does_not_test(simd, rng, dtype, bad):
    x, y = (rng.normal(size=(n, 20)).astype(dtype) for n in (200, N))
    y[::100] *= 1e4
    far = lw.pairwise_distances(x[5:6], y).max()
    for value in (np.nan, np.inf, 1e5, 0.1 * np.finfo(dtype).max):
        x[bad, 3] = value
        for k, threads in [(1, 1), (10, 2)]:
            lw.set_num_threads(threads)
            check(x, y, k)
            check(x, y, k, "sqeuclidean")
        for radius in (4.0, far, 1e5):
            check_radius(x, y, radius)


def test_matrices_of_a_batch_strides_and_types(simd, rng):
    x, y = rng.normal(size=(2, 3, 40, 33)), rng.normal(size=(3, 1000, 33))
    check(x, y, 3)
    check(np.asfortranarray(x.astype(np.float32))[..., ::-1], y.astype(np.float32)[:, ::-1], 3)
    check((20 * x).astype(np.int8), (20 * y).astype(np.int8), 3)
    check(x.astype(np.float16).astype(np.float32), (20 * y).astype(np.int8), 3)
    check(x.astype(np.float32), y.astype(ml_dtypes.bfloat16), 3)


def test_a_row_of_y_is_its_own_neighbour(rng):
    y = rng.normal(size=(5000, 40)).astype(np.float32)
    distances, indices = lw.nearest_neighbors(y, y, 1)
    same(indices[:, 0], np.arange(5000))
    assert not distances.any()
