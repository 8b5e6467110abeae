"""Metrics that count true coordinates: exact counts, so that everything here holds by ==."""

import lanewise as lw
import ml_dtypes
import numpy as np
import pytest
from distances import same
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

# Around the borders of bytes, words, vectors of words, and blocks of 31 words.
DEPTHS = [0, 1, 2, 7, 8, 9, 31, 63, 64, 65, 127, 128, 129, 511, 512, 513, 1000, 1983, 1984, 1985]
DTYPES = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", ml_dtypes.bfloat16]
METRICS = [("jaccard", None), ("hamming", None), ("minkowski", 0)]
all_metrics = pytest.mark.parametrize(("metric", "p"), METRICS)


def sample(rng, shape, dtype, share=0.3):
    return np.where(rng.random(shape) < share, rng.integers(1, 100, shape), 0).astype(dtype)


def result_type(x, y):
    dtype = np.result_type(x, y)
    return dtype if dtype.kind in "fV" else np.dtype(float)


def expected(x, y, metric, p=None):
    """The quotient of two counts, rounded once, and once more where results are narrow."""
    dtype = result_type(x, y)
    x, y = (np.asarray(a != 0, np.float64) for a in (x, y))
    both = x @ y.T
    either = x.sum(-1)[:, None] + y.sum(-1) - both
    differ = either - both
    if p == 0:
        return differ.astype(dtype)
    below = np.maximum(either, 1) if metric == "jaccard" else np.full_like(either, x.shape[-1])
    computed = np.float64 if dtype == np.float64 else np.float32
    with np.errstate(invalid="ignore"):
        return (differ.astype(computed) / below.astype(computed)).astype(dtype)


def assert_right(x, y, metric, p=None):
    result = lw.pairwise_distances(x, y, metric, p=p)
    same(result, expected(x, y, metric, p))
    k = min(len(x), len(y))
    same(lw.paired_distances(x[:k], y[:k], metric, p=p), np.diagonal(result[:k, :k]))


@all_metrics
@pytest.mark.parametrize("d", DEPTHS)
def test_sweep_of_depths(simd, rng, metric, p, d):
    x, y = sample(rng, (21, d), bool), sample(rng, (35, d), bool)
    x[3], y[5] = False, False
    x[4], y[6] = True, True
    assert_right(x, y, metric, p)


@all_metrics
def test_sweep_of_sizes(simd, rng, metric, p):
    x, y = sample(rng, (70, 90), bool), sample(rng, (70, 90), bool)
    for n in [*range(1, 35), 63, 64, 65, 70]:
        assert_right(x[:n], y[:19], metric, p)
        assert_right(x[:7], y[:n], metric, p)


@pytest.mark.parametrize("x_dtype", DTYPES)
def test_truth_of_any_type(simd, rng, x_dtype):
    for y_dtype in (x_dtype, "?"):
        for d in (5, 64, 150):
            x, y = sample(rng, (9, d), x_dtype), sample(rng, (20, d), y_dtype)
            assert_right(x, y, "jaccard")


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ml_dtypes.bfloat16])
def test_what_is_not_zero_is_true(simd, dtype):
    smallest = {2: 6e-8, 4: 1.5e-45, 8: 5e-324}[np.dtype(dtype).itemsize]
    smallest = 1e-40 if dtype == ml_dtypes.bfloat16 else smallest
    values = np.array([0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, smallest, -smallest, 1], dtype)
    x = np.tile(values, 15)[None]
    assert_right(x, x != 0, "jaccard")
    assert lw.pairwise_distances(x, np.ones_like(x), "jaccard") == np.dtype(dtype).type(2 / 9)


def test_integers_whose_low_bits_are_zero(simd):
    for dtype in ("i2", "i4", "i8", "u8"):
        x = np.array([[np.iinfo(dtype).max // 2 + 1, 0, np.iinfo(dtype).min, 256]]).astype(dtype)
        assert_right(x, x != 0, "jaccard")


@all_metrics
@pytest.mark.parametrize("d", [1, 64, 100, 3000])
def test_bools_have_the_bits_of_numbers(simd, rng, metric, p, d):
    """Hamming distances of numbers are sums of comparisons, those of bools counts of bits."""
    x, y = sample(rng, (20, d), bool), sample(rng, (33, d), bool)
    for op in (
        lw.pairwise_distances,
        lambda x, y, *a, **b: lw.paired_distances(x, y[:20], *a, **b),
    ):
        numbers = op(x.astype(float), y.astype(float), metric, p=p)
        same(op(x, y, metric, p=p), numbers)
        same(op(x, y.astype(float), metric, p=p), numbers)


@pytest.mark.parametrize("metric", ["jaccard", "hamming"])
def test_agrees_with_scipy(simd, rng, metric):
    for m, n, d in [(1, 1, 2), (12, 17, 5), (40, 33, 150), (5, 6, 2000)]:
        x, y = sample(rng, (m, d), bool), sample(rng, (n, d), bool)
        x[0] = y[0] = False
        same(lw.pairwise_distances(x, y, metric), cdist(x, y, metric))


@all_metrics
def test_with_itself(simd, rng, metric, p):
    x = sample(rng, (133, 300), bool)
    result = lw.pairwise_distances(x, metric=metric, p=p)
    np.testing.assert_array_equal(result, result.T)
    np.testing.assert_array_equal(np.diagonal(result), 0)
    same(result, lw.pairwise_distances(x, x.copy(), metric, p=p))


@all_metrics
@pytest.mark.parametrize(
    ("m", "n", "d"),
    [(5, 40, 300_001), (300, 20, 263_000), (600, 1100, 5), (1, 3000, 64), (3000, 1, 64)],
)
def test_shapes_that_are_cut_in_blocks(rng, metric, p, m, n, d):
    x, y = (
        np.unpackbits(rng.integers(0, 256, (rows, -(-d // 8)), np.uint8), axis=1)[:, :d].view(bool)
        for rows in (m, n)
    )
    result = lw.pairwise_distances(x, y, metric, p=p)
    rows = rng.integers(0, m, 4)
    same(result[rows], expected(x[rows], y, metric, p))
    lw.set_num_threads(1)
    same(lw.pairwise_distances(x, y, metric, p=p), result)


@given(
    st.sampled_from(METRICS),
    st.sampled_from(DTYPES),
    st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(0, 300)),
    st.sampled_from([0.01, 0.3, 0.99]),
    st.integers(1, 3),
    st.integers(0, 2**32),
)
def test_any_shape(case, dtype, shape, share, threads, seed):
    metric, p = case
    rng = np.random.default_rng(seed)
    m, n, d = shape
    dtype = dtype if metric == "jaccard" else "?"
    lw.set_num_threads(threads)
    assert_right(sample(rng, (m, d), dtype, share), sample(rng, (n, d), dtype, share), metric, p)


# -------------------------------------------------------------------------------------------- laws


@all_metrics
@pytest.mark.parametrize("dtype", ["?", "f2", "f4", "f8"])
def test_any_strides(rng, metric, p, dtype):
    dtype = dtype if metric == "jaccard" else "?"
    x, y = sample(rng, (3, 40, 333), dtype), sample(rng, (25, 333), dtype)
    result = lw.pairwise_distances(x, y, metric, p=p)
    paired = lw.paired_distances(x[:, :25], y, metric, p=p)
    for i in range(3):
        same(result[i], expected(x[i], y, metric, p))
    wide = np.ones((3, 80, 666), dtype)
    wide[:, ::2, ::2] = x
    for view in [
        wide[:, ::2, ::2],
        np.asfortranarray(x),
        np.moveaxis(np.moveaxis(x, 1, 2).copy(), 1, 2),
        x[:, ::-1, ::-1].copy()[:, ::-1, ::-1],
    ]:
        same(lw.pairwise_distances(view, y, metric, p=p), result)
        same(lw.pairwise_distances(y, view, metric, p=p), np.moveaxis(result, 1, 2))
        same(lw.paired_distances(view[:, :25], y, metric, p=p), paired)
    row = np.broadcast_to(x[0, :1], (7, 333))
    same(lw.pairwise_distances(row, y, metric, p=p), np.broadcast_to(result[0, :1], (7, 25)))
    column = np.broadcast_to(x[0, :, :1], (40, 333))
    same(lw.pairwise_distances(column, y, metric, p=p), expected(column, y, metric, p))


@all_metrics
@pytest.mark.parametrize("dtype", ["?", "f2", "f4", ml_dtypes.bfloat16])
def test_out_in_any_strides(simd, rng, metric, p, dtype):
    dtype = dtype if metric == "jaccard" else "?"
    x, y = sample(rng, (3, 20, 70), dtype), sample(rng, (31, 70), dtype)
    result = lw.pairwise_distances(x, y, metric, p=p)
    big = np.full((3, 40, 62), -1, result.dtype)
    for out in [
        np.empty_like(result),
        big[:, ::2, ::2],
        big[:, 19::-1, 30::-1],
        np.empty((31, 20, 3), result.dtype).T,
        np.moveaxis(np.empty((3, 31, 20), result.dtype), 1, 2),
    ]:
        assert lw.pairwise_distances(x, y, metric, p=p, out=out) is out
        same(np.ascontiguousarray(out), result)
    paired = lw.paired_distances(x, y[:20], metric, p=p)
    for out in [big[:, ::2, 0], big[:, 19::-1, 5], np.empty((20, 3), result.dtype).T]:
        assert lw.paired_distances(x, y[:20], metric, p=p, out=out) is out
        same(np.ascontiguousarray(out), paired)


@all_metrics
def test_leading_axes_broadcast(rng, metric, p):
    x, y = sample(rng, (4, 1, 6, 100), bool), sample(rng, (3, 5, 100), bool)
    result = lw.pairwise_distances(x, y, metric, p=p)
    assert result.shape == (4, 3, 6, 5)
    for i, j in np.ndindex(4, 3):
        same(result[i, j], lw.pairwise_distances(x[i, 0], y[j], metric, p=p))
    paired = lw.paired_distances(x[:, :, :5], y, metric, p=p)
    same(paired, np.diagonal(result[:, :, :5], axis1=2, axis2=3))
    one = lw.paired_distances(x, y[0, 0], metric, p=p)
    same(one[:, 0], result[:, 0, :, 0])


@all_metrics
def test_many_pairs(simd, rng, metric, p):
    x, y = sample(rng, (2, 50_000, 30), bool)
    result = lw.paired_distances(x, y, metric, p=p)
    some = rng.integers(0, len(x), 50)
    same(result[some], np.diagonal(lw.pairwise_distances(x[some], y[some], metric, p=p)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_results_that_are_stored_past_the_caches(simd, rng, dtype):
    m = 3000 if dtype == np.float32 else 1500
    x, y = sample(rng, (m, 70), dtype), sample(rng, (2816, 70), dtype)
    expected = np.concatenate(
        [lw.pairwise_distances(x[i : i + 500], y, "jaccard") for i in range(0, m, 500)]
    )
    for offset in (0, 1, 8):
        memory = np.full(expected.size + 64, -1, dtype)
        start = -memory.ctypes.data // memory.itemsize % (64 // memory.itemsize) + offset
        out = memory[start:][: expected.size].reshape(expected.shape)
        np.testing.assert_array_equal(lw.pairwise_distances(x, y, "jaccard", out=out), expected)
        assert np.all(memory[:start] == -1)
        assert np.all(memory[start + expected.size :] == -1)
