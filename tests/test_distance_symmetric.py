"""Distances of rows from each other: half of them are computed and mirrored, with the same bits."""

import lanewise as lw
import ml_dtypes
import numpy as np
import pytest
from distances import METRICS, all_metrics, same, sample


def full(x, metric, p=None):
    """All distances, each computed: y is a copy elsewhere."""
    return lw.pairwise_distances(x, x.copy(), metric, p=p)


@all_metrics
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sizes_around_tiles_and_blocks(simd, rng, metric, p, dtype):
    sizes = [(n, 40) for n in (*range(1, 8), 31, 32, 33, 63, 64, 65, 95, 96, 97, 130)]
    sizes += [(241, 33), (289, 64), (500, 65), (130, 200), (70, 31), (97, 1)]
    x = sample(rng, (500, 200), dtype, metric, p)
    for n, d in sizes:
        rows = x[:n, : d // 8 + 1 if p in (3.3, 4.7) else d]  # general powers are slow
        result = lw.pairwise_distances(rows, metric=metric, p=p)
        np.testing.assert_array_equal(result, result.T)
        same(result, full(rows, metric, p))
        same(lw.pairwise_distances(rows, rows, metric, p=p), result)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads(simd, rng, dtype):
    for n, d in [(1100, 70), (2100, 33), (150, 20_000), (70, 60_000)]:
        x = rng.normal(size=(n, d)).astype(dtype)
        result = full(x, "euclidean")
        for threads in (1, 2, 3):
            lw.set_num_threads(threads)
            same(lw.pairwise_distances(x), result)


@all_metrics
def test_batches_and_views(simd, rng, metric, p):
    x = sample(rng, (3, 2, 100, 66), np.float32, metric, p)
    result = full(x, metric, p)
    wide = np.zeros((3, 2, 200, 132), np.float32)
    wide[..., ::2, ::2] = x
    flipped = x[:, :, ::-1, ::-1].copy()[:, :, ::-1, ::-1]
    for view in (x, wide[..., ::2, ::2], np.asfortranarray(x), flipped):
        same(lw.pairwise_distances(view, metric=metric, p=p), result)
    repeated = np.broadcast_to(x[:1], x.shape)
    same(lw.pairwise_distances(repeated, metric=metric, p=p), np.repeat(result[:1], 3, 0))
    # Two views of the same memory that are not the same rows.
    rows = x[0, 0]
    same(lw.pairwise_distances(rows, rows[::-1], metric, p=p), result[0, 0][:, ::-1])
    same(lw.pairwise_distances(rows[:64], rows, metric, p=p), result[0, 0][:64])
    square = rows[:66]
    same(
        lw.pairwise_distances(square, square.T, metric, p=p),
        lw.pairwise_distances(square, square.T.copy(), metric, p=p),
    )


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.int8, np.bool_])
def test_other_types(rng, dtype):
    x = rng.integers(0, 2, (150, 70)).astype(dtype)
    for metric, p in METRICS:
        same(lw.pairwise_distances(x, metric=metric, p=p), full(x, metric, p))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_out_in_any_strides(simd, rng, dtype):
    x = rng.normal(size=(2, 131, 48)).astype(dtype)
    result = full(x, "euclidean")
    big = np.full((2, 262, 262), -1, dtype)
    for out in [
        np.empty_like(result),
        big[:, ::2, ::2],
        big[:, :131, 130::-1],
        np.empty((131, 131, 2), dtype).T,
        np.empty((2, 131, 144), dtype)[..., 3:134],
    ]:
        assert lw.pairwise_distances(x, out=out) is out
        same(np.ascontiguousarray(out), result)


@pytest.mark.parametrize("columns", [3072, 3073])
@pytest.mark.parametrize("begin", [0, 1, 16])
def test_results_stored_past_the_caches(simd, rng, columns, begin):
    x = rng.normal(size=(3072 - 16, 40)).astype(np.float32)
    x[77] = x[78] = x[2000]
    result = full(x, "euclidean")
    out = np.zeros((len(x), columns), np.float32)[:, begin : begin + len(x)]
    for threads in (1, 2):
        lw.set_num_threads(threads)
        out[...] = -1
        lw.pairwise_distances(x, out=out)
        same(out, result)


def test_zeros_far_below_the_range(simd, rng):
    x = (rng.normal(size=(100, 64)) * 1e-30).astype(np.float32)
    x[3], x[50], x[70] = x[40], np.nan, np.inf
    for metric, p in [("euclidean", None), ("minkowski", 3), ("cosine", None), ("canberra", None)]:
        result = lw.pairwise_distances(x, metric=metric, p=p)
        same(result, full(x, metric, p))
        finite = np.delete(np.diagonal(result), [50, 70])
        assert (np.abs(finite) < 1e-6).all()
        assert np.isnan(result[50]).all()
        assert np.isnan(result[70, 70])
