"""Searches for neighbours against a stable argsort of pairwise_distances, bit for bit."""

import itertools
import subprocess
import sys
import threading
import time

import lanewise as lw
import ml_dtypes
import numpy as np
import pytest
from distances import DISTANCES, same
from hypothesis import given
from hypothesis import strategies as st

METRICS = DISTANCES
DTYPES = [
    np.float32,
    np.float64,
    np.float16,
    ml_dtypes.bfloat16,
    np.int8,
    np.uint8,
    np.int32,
    np.int64,
    np.bool_,
]
all_metrics = pytest.mark.parametrize(("metric", "p"), METRICS)


def sample(rng, shape, dtype):
    """Few values, so that distances are often equal, and now and then more."""
    x = rng.integers(0, 3, shape) * np.where(rng.random(shape) < 0.9, 1, 2.25)
    return x.astype(dtype)


def rows_of_any_kind(rng, m, n, d, dtype):
    """x and y, where the dtype allows with NaN and infinity."""
    x, y = sample(rng, (m, d), dtype), sample(rng, (n, d), dtype)
    if np.dtype(dtype).kind == "f" and d:
        x[rng.random(m) < 0.1, 0] = np.nan
        y[rng.random(n) < 0.1, 0] = rng.choice([np.nan, np.inf])
    return x, y


def expected(x, y, k, metric="euclidean", p=None):
    """The first k of a stable order by distance; argsort has NaN last."""
    distances = lw.pairwise_distances(x, y, metric, p=p)
    wide = distances.astype(float)  # ml_dtypes' NaN are not sorted last
    indices = np.argsort(wide, axis=-1, kind="stable")[..., :k]
    return np.take_along_axis(distances, indices, -1), indices


def check(x, y, k, metric="euclidean", p=None):
    distances, indices = lw.nearest_neighbors(x, y, k, metric, p=p)
    want_distances, want_indices = expected(x, y, k, metric, p)
    same(indices, want_indices)
    same(distances, want_distances)
    if k == 1:
        nearest, distance = lw.pairwise_argmin(x, y, metric, p=p, return_distance=True)
        same(nearest, want_indices[..., 0])
        same(distance, want_distances[..., 0])
        same(lw.pairwise_argmin(x, y, metric, p=p), want_indices[..., 0])


# ---------------------------------------------------------------------------------- the definition


@all_metrics
@pytest.mark.parametrize("dtype", DTYPES)
def test_nearest_are_the_first_of_a_stable_argsort(simd, rng, metric, p, dtype):
    x, y = sample(rng, (23, 9), dtype), sample(rng, (70, 9), dtype)
    for k in (1, 2, 10, 24, 69, 70):
        check(x, y, k, metric, p)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sizes_around_tiles(simd, rng, dtype):
    x, y = sample(rng, (40, 5), dtype), sample(rng, (70, 5), dtype)
    for n in [*range(1, 70)]:
        for k in {1, 2, min(n, 10), max(1, n - 1), n}:
            if k <= n:
                check(x[: 1 + n % 13], y[:n], k)
    for m in range(1, 40):
        check(x[:m], y[:50], 3)


@pytest.mark.parametrize(("m", "n", "d"), [(1100, 1030, 3), (5, 9000, 4), (1, 30_000, 2)])
@pytest.mark.parametrize("k", [1, 2, 10, 300])
@pytest.mark.parametrize("threads", [1, 3])
def test_sizes_around_blocks(rng, m, n, d, k, threads):
    lw.set_num_threads(threads)
    check(rng.integers(0, 9, (m, d)).astype(np.float32), rng.integers(0, 9, (n, d)).astype("f4"), k)
    check(rng.normal(size=(m, d)), rng.normal(size=(n, d)), k)


@pytest.mark.parametrize("d", [0, 1, 63, 65, 300, 50_000])
def test_numbers_of_coordinates(rng, d):
    x, y = sample(rng, (31, d), np.float32), sample(rng, (40, d), np.float32)
    for k in (1, 5, 40):
        check(x, y, k)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("n", [4200, 10_000])
def test_many_neighbors_are_kept_in_the_results(simd, rng, dtype, n):
    """Of so many that a list of more does not fit in a cache."""
    x, y = rng.normal(size=(7, 3)).astype(dtype), rng.normal(size=(n, 3)).astype(dtype)
    y[rng.integers(0, n, 50), 0] = np.nan
    for k in (2100, 4095, 4096, 4097, n - 1, n):
        if k <= n:
            check(x, y, k)
    nearer = y[np.argsort(np.abs(y.astype(float)).sum(-1))[::-1]]  # each is better than the last
    check(np.zeros((2, 3), dtype), nearer, n // 2)


def test_every_row_is_better_than_the_last_or_worse(simd):
    y = np.arange(3000.0)[:, None]
    for rows in (y, y[::-1], np.zeros_like(y)):
        for k in (1, 2, 7, 22, 23, 100):
            check(np.array([[0.0], [1500.0], [4000.0]]), rows, k)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
def test_nan_comes_last_and_infinity_before_it(simd, dtype):
    y = np.array([[np.nan], [np.inf], [1], [np.nan], [-np.inf], [1], [3]], dtype)
    x = np.array([[1.0], [np.inf], [np.nan]], dtype)
    for k in range(1, 8):
        check(x, y, k)
    distances, indices = lw.nearest_neighbors(x[:1], y, 7)
    same(indices, np.array([[2, 5, 6, 1, 4, 0, 3]]))
    same(distances.astype(float), np.array([[0, 0, 2, np.inf, np.inf, np.nan, np.nan]]))
    same(lw.pairwise_argmin(x, y), np.array([2, 2, 0]))
    assert np.isnan(lw.pairwise_argmin(x, y, return_distance=True)[1].astype(float)[2])


def test_zero_rows_have_no_cosine(simd, rng):
    x, y = sample(rng, (30, 2), np.float32), sample(rng, (90, 2), np.float32)
    x[::3], y[::4] = 0, 0
    for k in (1, 30, 90):
        check(x, y, k, "cosine")
        check(x, y, k, "correlation")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_that_leave_the_range_are_computed_again(simd, rng, dtype):
    tiny = np.sqrt(np.finfo(dtype).tiny)
    x, y = rng.normal(size=(9, 5)).astype(dtype) * tiny, rng.normal(size=(60, 5)).astype(dtype)
    y[::2] *= tiny
    y[1::4] /= tiny
    for metric in ("euclidean", "cosine"):
        check(x, y, 10, metric)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_limits_at_the_ends_of_the_range(simd, rng, dtype):
    """Squares of distances that overflow, underflow, or just do not."""
    info = np.finfo(dtype)
    for scale in (np.sqrt(info.max), np.sqrt(info.tiny), np.sqrt(info.smallest_subnormal)):
        y = (rng.random((300, 1)) * 2 + 0.1).astype(dtype) * dtype(scale)
        for d in (1, 3):
            x = np.zeros((8, d), dtype)
            for k in (1, 3, 100):
                check(x, np.repeat(y, d, 1), k)
            check_radius(x, np.repeat(y, d, 1), float(y[5, 0]) * d**0.5)


def test_distances_are_compared_after_they_are_rounded():
    y = np.array([[2049.0], [2048.5], [2048.0]]).astype(np.float32)
    x = np.zeros((1, 1), np.float16)
    assert lw.pairwise_argmin(x.astype(np.float32), y)[0] == 2
    rows = np.array([[1.0], [1.0]], np.float16)
    near = np.array([[1 + 2**-10, 2**-10], [1 + 2**-10, 0.0]], np.float16)
    origin = np.zeros((1, 2), np.float16)
    exact = lw.pairwise_distances(origin.astype(np.float32), near.astype(np.float32))[0]
    assert exact[1] < exact[0]
    assert lw.pairwise_argmin(origin, near)[0] == 0  # equal in float16
    check(rows, rows, 2)


@given(
    st.tuples(st.integers(1, 60), st.integers(1, 200), st.integers(0, 20)),
    st.sampled_from(METRICS),
    st.sampled_from(DTYPES),
    st.floats(0, 1),
    st.integers(1, 3),
    st.integers(0, 2**32),
)
def test_any_search(shape, case, dtype, share, threads, seed):
    metric, p = case
    m, n, d = shape
    rng = np.random.default_rng(seed)
    x, y = rows_of_any_kind(rng, m, n, d, dtype)
    lw.set_num_threads(threads)
    check(x, y, max(1, round(share * n)), metric, p)


@pytest.mark.parametrize(
    ("x_dtype", "y_dtype"), [("f4", "f8"), ("f2", "f4"), ("f2", "u1"), ("?", "i8"), ("u1", "f4")]
)
def test_mixed_dtypes(rng, x_dtype, y_dtype):
    check(sample(rng, (20, 5), x_dtype), sample(rng, (40, 5), y_dtype), 7)


def test_zero_sizes():
    y = np.ones((3, 2), np.float32)
    distances, indices = lw.nearest_neighbors(np.ones((0, 2), np.float32), y, 2)
    same(distances, np.ones((0, 2), np.float32))
    same(indices, np.ones((0, 2), np.int64))
    same(lw.pairwise_argmin(np.ones((4, 0, 2)), y), np.ones((4, 0), np.int64))
    same(lw.nearest_neighbors(np.ones((0, 5, 2)), y, 3)[1], np.ones((0, 5, 3), np.int64))


# ------------------------------------------------------------------------------------------- radius


def check_radius(x, y, radius, metric="euclidean", p=None):
    indptr, indices, distances = lw.radius_neighbors(x, y, radius, metric, p=p)
    matrix = lw.pairwise_distances(x, y, metric, p=p)
    within = matrix.astype(float) <= radius
    assert indptr.dtype == indices.dtype == np.int64
    same(indptr, np.concatenate([[0], within.sum(1).cumsum()]).astype(np.int64))
    same(indices, np.nonzero(within)[1])
    same(distances, matrix[within])


@all_metrics
@pytest.mark.parametrize("dtype", DTYPES)
def test_within_a_radius(simd, rng, metric, p, dtype):
    x, y = sample(rng, (23, 9), dtype), sample(rng, (70, 9), dtype)
    distances = np.unique(lw.pairwise_distances(x, y, metric, p=p).astype(float))
    distances = distances[np.isfinite(distances)]
    for radius in (0, distances[len(distances) // 2], np.median(distances), 1e300, np.inf):
        check_radius(x, y, radius, metric, p)


def test_a_radius_between_two_numbers():
    y = np.arange(8.0, dtype=np.float32)[:, None]
    x = np.zeros((1, 1), np.float32)
    for radius in (np.nextafter(3.0, 0), 3.0, np.nextafter(3.0, 4), 1e39, 5e-324, -0.0, 0.1):
        check_radius(x, y, radius)
        check_radius(x.astype(np.float16), y.astype(np.float16), radius)


@all_metrics
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_no_coordinates(simd, metric, p, dtype):
    """All at distance 0, which is within a radius of 0, or at NaN."""
    x, y = np.ones((5, 0), dtype), np.ones((9, 0), dtype)
    for radius in (0, 1e-300, 1, np.inf):
        check_radius(x, y, radius, metric, p)
    for k in (1, 3, 9):
        check(x, y, k, metric, p)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("m", "n", "radius"), [(1100, 1030, 0.1), (1100, 2100, 2), (3, 30_000, 0.05), (1, 30_000, 9)]
)
def test_radius_around_blocks(rng, m, n, radius, threads):
    lw.set_num_threads(threads)
    check_radius(rng.random((m, 2), np.float32), rng.random((n, 2), np.float32), radius)


@given(
    st.tuples(st.integers(0, 60), st.integers(0, 200), st.integers(0, 20)),
    st.sampled_from(METRICS),
    st.sampled_from(DTYPES),
    st.one_of(st.floats(0, 5), st.just(np.inf)),
    st.integers(1, 3),
    st.integers(0, 2**32),
)
def test_any_radius(shape, case, dtype, radius, threads, seed):
    metric, p = case
    m, n, d = shape
    rng = np.random.default_rng(seed)
    x, y = rows_of_any_kind(rng, m, n, d, dtype)
    lw.set_num_threads(threads)
    check_radius(np.flip(x), y[::-1], radius, metric, p)


def test_radius_makes_a_sparse_matrix(rng):
    sparse = pytest.importorskip("scipy.sparse")
    x = rng.normal(size=(50, 3))
    indptr, indices, distances = lw.radius_neighbors(x, x, 1.0)
    matrix = sparse.csr_matrix((distances, indices, indptr), shape=(50, 50)).toarray()
    full = lw.pairwise_distances(x)
    same(matrix, np.where(full <= 1, full, 0))


def test_radius_of_nothing():
    for shapes in [((0, 3), (4, 3)), ((4, 3), (0, 3)), ((0, 3), (0, 3))]:
        shares = []
        x, y = (np.ones(shape, np.float32) for shape in shapes)
        indptr, indices, distances = lw.radius_neighbors(x, y, 1, progress=shares.append)
        same(indptr, np.zeros(len(x) + 1, np.int64))
        same(indices, np.zeros(0, np.int64))
        same(distances, np.zeros(0, np.float32))
        assert shares == [1.0]


# --------------------------------------------------------------------------------------- the laws


@given(st.lists(st.integers(1, 3), max_size=3), st.lists(st.booleans(), max_size=3), st.integers())
def test_leading_axes_broadcast(lead, kept, seed):
    rng = np.random.default_rng(abs(seed))
    y_lead = [size if keep else 1 for size, keep in zip(lead[::-1], kept, strict=False)][::-1]
    x, y = rng.normal(size=(*lead, 4, 3)), rng.normal(size=(*y_lead, 6, 3))
    check(x, y, 1)
    check(x, y, 3)
    check(y, x, 2)


@all_metrics
def test_bits_do_not_depend_on_threads_rows_or_strides(simd, rng, metric, p):
    x, y = (rng.normal(size=(n, 13)).astype(np.float32) for n in (531, 1207))
    for k in (1, 12):
        distances, indices = lw.nearest_neighbors(x, y, k, metric, p=p)
        wide = np.zeros((531, 26), np.float32)
        wide[:, ::2] = x
        views = [wide[:, ::2], np.asfortranarray(x), np.flip(np.flip(x).copy()), x.astype(">f4")]
        for threads in (1, 2, 3):
            lw.set_num_threads(threads)
            for view in [x, *views] if threads == 3 else [x]:
                other = lw.nearest_neighbors(view, y, k, metric, p=p)
                same(other[0], distances)
                same(other[1], indices)
        for rows in (slice(0, 1), slice(100, 107), slice(530, 531)):
            other = lw.nearest_neighbors(x[rows], np.asfortranarray(y), k, metric, p=p)
            same(other[0], distances[rows])
            same(other[1], indices[rows])
    row = np.broadcast_to(x[:1], (9, 13))
    same(lw.pairwise_argmin(row, y, metric, p=p), np.repeat(indices[:1, 0], 9))


# -------------------------------------------------------------------------------- progress, Ctrl-C


def test_progress_ascends_to_one_in_the_calling_thread(rng):
    x, y = rng.normal(size=(1000, 60)), rng.normal(size=(7000, 60))
    shares, threads, times = [], set(), []

    def progress(share):
        shares.append(share)
        threads.add(threading.get_ident())
        times.append(time.perf_counter())

    distances, indices = lw.nearest_neighbors(x, y, 4, "minkowski", p=3.3, progress=progress)
    assert len(shares) >= 2
    assert shares[0] > 0
    assert all(a < b for a, b in itertools.pairwise(shares))
    assert shares[-1] == 1
    assert all(type(share) is float for share in shares)
    assert threads == {threading.get_ident()}
    assert min(np.diff(times[:-1]), default=1) > 0.05
    other = lw.nearest_neighbors(x[:50], y, 4, "minkowski", p=3.3)
    same(distances[:50], other[0])
    same(indices[:50], other[1])


def test_progress_of_a_radius(rng):
    x = rng.normal(size=(2500, 40))
    shares = []
    found = lw.radius_neighbors(x, x, 3.0, "minkowski", p=3.3, progress=shares.append)
    assert len(shares) >= 2
    assert shares == sorted(set(shares))
    assert shares[-1] == 1
    for a, b in zip(found, lw.radius_neighbors(x, x, 3.0, "minkowski", p=3.3), strict=True):
        same(a, b)


def test_progress_of_nothing_ends_at_one():
    shares = []
    lw.nearest_neighbors(np.ones((0, 2)), np.ones((3, 2)), 2, progress=shares.append)
    lw.nearest_neighbors(np.ones((1, 2)), np.ones((3, 2)), 2, progress=shares.append)
    assert shares == [1.0, 1.0]


SEARCHES = [
    lambda x, y, **options: lw.nearest_neighbors(x, y, 4, **options),
    lambda x, y, **options: lw.radius_neighbors(x, y, 3.0, **options),
]


@pytest.mark.parametrize("when", [0.0, 1.0])
@pytest.mark.parametrize("search", SEARCHES)
def test_an_exception_in_progress_ends_the_search(rng, search, when):
    x = rng.normal(size=(20_000 if when == 0 else 10, 60))
    calls = []

    def progress(share):
        calls.append(share)
        if share >= when:
            raise KeyError(share)

    started = time.perf_counter()
    with pytest.raises(KeyError):
        search(x, x, metric="minkowski", p=3.3, progress=progress)
    assert calls[:-1] == [c for c in calls[:-1] if c < when]
    assert time.perf_counter() - started < 20  # of minutes
    check(x[:20], x[:30], 4)


def test_ctrl_c_ends_a_search():
    code = """
import threading, _thread, time
import lanewise as lw, numpy as np
x = np.random.default_rng(0).normal(size=(20000, 60))
threading.Timer(0.5, _thread.interrupt_main).start()
try:
    lw.nearest_neighbors(x, x, 3, "minkowski", p=3.3)
except KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "interrupted\n", done.stderr


# -------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((np.ones((2, 3)), np.ones((4, 3)), 5), {}, ValueError, "k is 5, but y has n = 4 rows"),
        ((np.ones((2, 3)), np.ones((0, 3)), 1), {}, ValueError, "k is 1, but y has n = 0 rows"),
        ((np.ones((0, 3)), np.ones((0, 3)), 1), {}, ValueError, "k is 1, but y has n = 0 rows"),
        ((np.ones((2, 3)), np.ones((4, 3)), 0), {}, ValueError, "k is 0, expected at least 1"),
        ((np.ones((2, 3)), np.ones((4, 3)), -1), {}, ValueError, "k is -1, expected at least 1"),
        ((np.ones((2, 3)), np.ones((4, 3)), 2**70), {}, ValueError, "k is .*64 bits"),
        ((np.ones((2, 3)), np.ones((4, 3)), True), {}, TypeError, "k is True, expected an int"),
        ((np.ones((2, 3)), np.ones((4, 3)), np.True_), {}, TypeError, "k is .*True.*, expected"),
        ((np.ones((2, 3)), np.ones((4, 3)), 2.0), {}, TypeError, "k is 2.0, expected an int"),
        ((np.ones((2, 3)), np.ones((4, 3)), None), {}, TypeError, "k is None, expected an int"),
        ((np.ones((2, 3)), np.ones((4, 2)), 1), {}, ValueError, r"x has shape \(2, 3\) and y has"),
        ((np.ones(3), np.ones((4, 3)), 1), {}, ValueError, r"at least 2 axes.*shape \(3,\)"),
        ((np.ones((2, 2, 3)), np.ones((3, 4, 3)), 1), {}, ValueError, "do not broadcast"),
        ((np.ones((2, 3)), np.ones((4, 3)), 1), {"metric": "dot"}, ValueError, "a similarity"),
        ((np.ones((2, 3)), np.ones((4, 3)), 1), {"metric": "dots"}, ValueError, "one of"),
        ((np.ones((2, 3)), np.ones((4, 3)), 1), {"p": 3}, ValueError, "p is 3, but metric"),
        (
            (np.ones((2, 3)), np.ones((4, 3)), 1),
            {"metric": "minkowski", "p": -1},
            ValueError,
            "p is -1",
        ),
        ((np.ones((2, 3), complex), np.ones((4, 3)), 1), {}, TypeError, "x has dtype complex128"),
        ((np.ones((2, 3)), None, 1), {}, TypeError, "y is None, expected an array"),
        ((np.ones((2, 2)), [[1, 2], [3]], 1), {}, ValueError, "y is no array: .*inhomogeneous"),
        (
            (np.ones((2, 3)), np.ones((4, 3)), 1),
            {"metric": "minkowsky", "p": 3},
            ValueError,
            "p is 3, but metric 'minkowsky' has no exponent: only 'minkowski'",
        ),
        ((np.ones((2, 3)), np.ones((4, 3)), 1), {"progress": 3}, TypeError, "progress is 3"),
    ],
)
def test_bad_input(arguments, options, error, message):
    with pytest.raises(error, match=f"^nearest_neighbors: .*{message}"):
        lw.nearest_neighbors(*arguments, **options)
    if not message.startswith(("k is", "progress")):
        with pytest.raises(error, match=f"^pairwise_argmin: .*{message}"):
            lw.pairwise_argmin(*arguments[:2], **options)


def test_argmin_of_no_rows():
    with pytest.raises(ValueError, match=r"^pairwise_argmin: y has n = 0 rows, .* k = 1"):
        lw.pairwise_argmin(np.ones((2, 3)), np.ones((0, 3)))


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((np.ones((2, 3)), np.ones((4, 3)), -1), {}, ValueError, "radius is -1, expected at least"),
        ((np.ones((2, 3)), np.ones((4, 3)), np.nan), {}, ValueError, "radius is nan, expected"),
        ((np.ones((2, 3)), np.ones((4, 3)), "1"), {}, TypeError, "radius is '1', expected a real"),
        ((np.ones((2, 3)), np.ones((4, 3)), 1j), {}, TypeError, "radius is 1j, expected a real"),
        ((np.ones((2, 3)), np.ones((4, 3)), 10**400), {}, ValueError, "radius is out of the range"),
        ((np.ones((2, 3)), np.ones((4, 2)), 1), {}, ValueError, r"x has shape \(2, 3\) and y has"),
        ((np.ones(3), np.ones((4, 3)), 1), {}, ValueError, r"at least 2 axes.*shape \(3,\)"),
        ((np.float64(3), np.ones((4, 3)), 1), {}, ValueError, r"at least 2 axes.*shape \(\)"),
        ((np.ones((1, 2, 3)), np.ones((4, 3)), 1), {}, ValueError, "expected 2 axes each"),
        ((np.ones((2, 3)), np.ones((4, 3)), 1), {"metric": "dot"}, ValueError, "a similarity"),
        ((np.ones((2, 3)), np.ones((4, 3)), 1), {"p": 3}, ValueError, "p is 3, but metric"),
        ((np.ones((2, 3), complex), np.ones((4, 3)), 1), {}, TypeError, "x has dtype complex128"),
        ((np.ones((2, 3)), np.ones((4, 3)), 1), {"progress": 3}, TypeError, "progress is 3"),
    ],
)
def test_bad_radius(arguments, options, error, message):
    with pytest.raises(error, match=f"^radius_neighbors: .*{message}"):
        lw.radius_neighbors(*arguments, **options)


def test_k_is_any_integer():
    x = np.arange(6.0).reshape(3, 2)
    for k in (np.int8(2), np.uint64(2), np.array(2)):
        same(lw.nearest_neighbors(x, x, k)[1], expected(x, x, 2)[1])


def test_huge_shapes_are_refused():
    huge = np.broadcast_to(1.0, (2**40, 1)), np.broadcast_to(1.0, (2**24, 1))
    with pytest.raises(ValueError, match="64 bits"):
        lw.nearest_neighbors(*huge, 2**24)


# ------------------------------------------------------------------------------- memory, processes


def test_the_matrix_is_never_stored():
    code = """
import resource
import lanewise as lw, numpy as np
lw.set_num_threads(2)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
rng = np.random.default_rng(0)
x, y = rng.random((200_000, 16), np.float32), rng.random((5000, 16), np.float32)
lw.nearest_neighbors(x[:300], y, 10)
before = peak()
distances, indices = lw.nearest_neighbors(x, y, 10)
nearest = lw.pairwise_argmin(x, y)
extra = peak() - before - distances.nbytes - indices.nbytes - 3 * nearest.nbytes
assert extra < 64 * 2**20, f"{extra / 2**20:.0f} MB beyond the result"
assert (indices[:, 0] == nearest).all()
before = peak()
found = lw.radius_neighbors(x, y, 0.4)
bytes = sum(a.nbytes for a in found)
extra = peak() - before - bytes
assert bytes > 2**20
assert extra < bytes + 64 * 2**20, f"{extra / 2**20:.0f} MB beyond {bytes / 2**20:.0f}"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


def test_after_a_fork():
    code = """
import os, sys
import lanewise as lw, numpy as np
lw.set_num_threads(2)
x = np.random.default_rng(0).random((3000, 16), np.float32)
expected = lw.nearest_neighbors(x, x, 5)
child = os.fork()
if child == 0:
    found = lw.nearest_neighbors(x, x, 5, progress=float)
    os._exit(not all((a == b).all() for a, b in zip(found, expected)))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
