"""pairwise_distances against scipy on all kinds of data, on data that other libraries fail on, and
on the inputs of published bug reports, each asserting the true number."""

import lanewise as lw
import numpy as np
import pytest
from distances import (
    DISTANCES,
    SCIPY_NAMES,
    all_distances,
    bound,
    expected,
    quotient,
    same,
    sample,
    scipy_slack,
)
from scipy.spatial.distance import cdist
from tolerance import assert_within, gamma, u

FLOATS = [np.float32, np.float64]
floats = pytest.mark.parametrize("dtype", FLOATS)
TO_SCIPY = [(metric, p) for metric, p in DISTANCES if p != 0]  # which has no p = 0
all_of_scipy = pytest.mark.parametrize(("metric", "p"), [*TO_SCIPY, ("minkowski", 1.4)])

# ---------------------------------------------------------------------------- scipy's kinds of data


def measured_flowers(rng, rows):
    """Four lengths in tenths, in three groups, many of them equal."""
    means = np.array([[50, 34, 15, 2], [59, 28, 43, 13], [66, 30, 55, 20]])
    return (means[rng.integers(0, 3, rows)] + rng.integers(-5, 6, (rows, 4))) / 10


def with_twins(rng, rows):
    """Each row twice in turn, or nearly: one coordinate is the next number."""
    x = rng.normal(size=(rows, 17)).repeat(2, axis=0)[:rows]
    x[1::4, 3] = np.nextafter(x[1::4, 3], np.inf)
    return x


KINDS = {
    "float": lambda rng, rows: rng.random((rows, 110)),
    "normal": lambda rng, rows: rng.normal(size=(rows, 33)),
    "float32": lambda rng, rows: rng.normal(size=(rows, 40)).astype(np.float32),
    "bool": lambda rng, rows: rng.random((rows, 100)) < 0.3,
    "integer": lambda rng, rows: rng.integers(-5, 100, (rows, 20)),
    "uint8": lambda rng, rows: rng.integers(0, 256, (rows, 65)).astype(np.uint8),
    "flowers": measured_flowers,
    "twins": with_twins,
    "sparse": lambda rng, rows: rng.normal(size=(rows, 30)) * (rng.random((rows, 30)) < 0.15),
    "one coordinate": lambda rng, rows: rng.normal(size=(rows, 1)),
}


def centring_slack(x, y):
    """By how much the angle of two rows turns in scipy, whose means are off by d roundings."""

    def turn(a):
        length = np.linalg.norm(a - a.mean(-1, keepdims=True), axis=-1)
        return 2 * gamma(a.shape[-1] + 2, float) * quotient(np.linalg.norm(a, axis=-1), length)

    return turn(x)[:, None] + turn(y)


@all_of_scipy
@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_scipy_on_all_kinds_of_data(simd, rng, kind, metric, p):
    options = {} if p is None else {"p": p}
    for m, n in [(1, 1), (1, 40), (40, 1), (30, 37)]:
        x, y = KINDS[kind](rng, m), KINDS[kind](rng, n)
        y[: n // 4] = np.resize(x, (n // 4, x.shape[1]))  # rows in common
        if metric in ("cosine", "correlation"):  # rows that have no direction are tested elsewhere
            x, y = (a[np.ptp(a.astype(float), axis=-1) > 0] for a in (x, y))
        result = lw.pairwise_distances(x, y, metric, p=p)
        computed = np.float32 if x.dtype == np.float32 else np.float64
        wide_x, wide_y = x.astype(float), y.astype(float)
        with np.errstate(invalid="ignore", divide="ignore"):
            scipy = cdist(wide_x, wide_y, SCIPY_NAMES.get(metric, metric), **options)
        slack = bound(x.astype(computed), y.astype(computed), metric, p)
        slack = slack + scipy_slack(metric, p, x.shape[1], scipy)
        if metric == "correlation":
            slack = slack + centring_slack(wide_x, wide_y)
        assert_within(result, scipy, slack)


@all_of_scipy
@floats
def test_rows_that_are_not_finite_spoil_no_others(simd, rng, metric, p, dtype):
    """Whatever a row holds, each distance is that of its two rows alone."""
    x, y = sample(rng, (37, 70), dtype, metric, p), sample(rng, (45, 70), dtype, metric, p)
    for a, step in ((x, 5), (y, 7)):
        a[0::step, 9] = np.inf
        a[1::step, 69] = np.nan
        a[2::step] = 0
        a[3::step] = 2  # constant
        a[4, :3] = np.inf, -np.inf, np.nan
    result = lw.pairwise_distances(x, y, metric, p=p)
    with np.errstate(all="ignore"):
        limit = bound(x, y, metric, p)
        exact = expected(x, y, metric, p)
    assert_within(result, exact, np.where(np.isfinite(exact), limit, 0))
    for i in (0, 1, 2, 3, 4, 36):
        same(lw.pairwise_distances(x[i : i + 1], y, metric, p=p)[0], result[i])
    options = {} if p is None else {"p": p}
    with np.errstate(all="ignore"):
        scipy = cdist(x.astype(float), y.astype(float), SCIPY_NAMES.get(metric, metric), **options)
    if metric != "chebyshev":  # of which cdist drops a NaN
        np.testing.assert_array_equal(np.isnan(result), np.isnan(scipy))
        np.testing.assert_array_equal(np.isinf(result), np.isinf(scipy))


@all_of_scipy
def test_no_rows_and_no_coordinates_as_scipy(metric, p):
    options = {} if p is None else {"p": p}
    name = SCIPY_NAMES.get(metric, metric)
    for m, n, d in [(0, 3, 4), (3, 0, 4), (0, 0, 1)]:
        shape = cdist(np.ones((m, d)), np.ones((n, d)), name, **options).shape
        assert lw.pairwise_distances(np.ones((m, d)), np.ones((n, d)), metric, p=p).shape == shape
    if metric != "correlation":  # NumPy warns of an empty mean
        with np.errstate(all="ignore"):
            scipy = cdist(np.ones((3, 0)), np.ones((2, 0)), name, **options)
        same(lw.pairwise_distances(np.ones((3, 0)), np.ones((2, 0)), metric, p=p), scipy)


# ------------------------------------------------------------------------- data made to go wrong


def wide_type(dtype):
    """In which a reference loses nothing: with twice the digits, or more digits and exponents."""
    return np.float64 if dtype == np.float32 else np.longdouble


def assert_close(x, y, metric, p=None, least=0):
    """Within the metric's bound of a wide reference; `least` is what underflow may add."""
    exact = expected(x, y, metric, p, wide_type(x.dtype))
    limit = bound(x, y, metric, p, exact) + u(float) * np.abs(exact) + least  # compared in float64
    exact = np.where(np.abs(exact) > np.finfo(x.dtype).max, np.inf, exact)
    result = lw.pairwise_distances(x, y, metric, p=p)
    assert_within(result, exact, np.where(np.isfinite(exact), limit, 0))
    return result, exact


NEARBY = [
    *(("euclidean", None), ("sqeuclidean", None), ("manhattan", None), ("chebyshev", None)),
    *(("minkowski", 0.5), ("minkowski", 3), ("minkowski", 3.3), ("minkowski", 4.7)),
    *(("canberra", None), ("braycurtis", None)),
]


@pytest.mark.parametrize(("metric", "p"), NEARBY)
@floats
@pytest.mark.parametrize("d", [2, 70])
def test_points_close_together_and_far_from_the_origin(simd, rng, metric, p, dtype, d):
    """Differences of neighbours are exact, and so all their digits are right."""
    for far in (1e4, 1e5, 1e6, 1e8):
        apart = max(1e-4, far * 2 * u(dtype))  # in float32 a few of the last digits' units
        centre = rng.choice([-far, far], d)
        x, y = (centre + apart * rng.integers(-9, 10, (n, d)) for n in (17, 21))
        x, y = x.astype(dtype), y.astype(dtype)
        y[7] = x[5]
        result, exact = assert_close(x, y, metric, p)
        assert result[5, 7] == 0
        assert (result > 0).sum() == (exact > 0).sum()


@floats
def test_places_on_the_earth(simd, rng, dtype):
    """Degrees of a town's places, some metres apart: the nearest is found, at its distance."""
    step = 1e-5  # a metre and more; float32 tells degrees below 64 apart by 4e-6, above by 8e-6
    for town in [(48.8566, 2.3522), (-33.8688, 151.2093), (64.1466, -21.9426)]:
        places = (town + step * rng.integers(-400, 400, (300, 2))).astype(dtype)
        near = (places + 2 * step * rng.choice([-1, 1], (300, 2))).astype(dtype)
        result, exact = assert_close(near, places, "euclidean")
        np.testing.assert_array_equal(result == 0, exact == 0)
        chosen = np.take_along_axis(exact, result.argmin(1)[:, None], 1)[:, 0]
        least = exact.min(1)
        assert (chosen <= least * (1 + 2 * gamma(4, dtype))).all()


@all_distances
@pytest.mark.parametrize(
    "dtype", [np.float16, np.float32, np.float64, np.uint8, np.int32, np.bool_]
)
def test_equal_rows_are_at_distance_zero(simd, rng, metric, p, dtype):
    """Wherever they stand, also among the rows of another array."""
    for rows, d in [(1, 2), (50, 3), (133, 64), (21, 300)]:
        x = rng.normal(size=(rows, d)) * 30 + 100
        x[:, 0], x[:, 1] = 1, 0  # neither zero nor constant
        x = (x > 100).astype(dtype) if dtype == np.bool_ else x.astype(dtype)
        x[:, 0] = 1
        order = rng.integers(0, rows, 2 * rows)
        result = lw.pairwise_distances(x, x[order], metric, p=p)
        np.testing.assert_array_equal(result[order, np.arange(2 * rows)], 0)
        np.testing.assert_array_equal(lw.paired_distances(x[order], x[order], metric, p=p), 0)


def scaled(x):
    """Rows times powers of two, to where products neither overflow nor vanish."""
    _, exponent = np.frexp(np.abs(x.astype(float)).max(-1, keepdims=True))
    return np.ldexp(x.astype(float), -exponent)


def lost_in_centring(x):
    """What rounding a centred row to numbers no smaller than the smallest turns it by, at most."""
    wide = x.astype(np.longdouble)
    length = np.sqrt(((wide - wide.mean(-1, keepdims=True)) ** 2).sum(-1))
    smallest = np.finfo(x.dtype).smallest_subnormal
    return 2 * quotient(smallest * np.sqrt(x.shape[-1]), length).astype(float)


def assert_same_angles(x, y, metric):
    """Of rows whose squares may leave the range; what powers of two they are scaled by is nothing
    to the exact distance, nor to its bound."""
    limit = bound(scaled(x).astype(x.dtype), scaled(y).astype(y.dtype), metric)
    if metric == "correlation":
        limit = limit + lost_in_centring(x)[:, None] + lost_in_centring(y)
    exact = expected(x, y, metric, wide=wide_type(x.dtype))
    assert_within(lw.pairwise_distances(x, y, metric), exact, limit + u(float))


@all_distances
@floats
@pytest.mark.parametrize("varies", ["rows", "coordinates"])
@pytest.mark.parametrize("end", ["both", "large", "small"])
def test_magnitudes_up_to_both_ends_of_the_range(simd, rng, metric, p, dtype, varies, end):
    """From denormals to nearly the largest number, in one array."""
    info = np.finfo(dtype)
    least, most = np.log10(float(info.smallest_subnormal)) + 1, np.log10(float(info.max)) - 1e-3
    least, most = {"both": (least, most), "large": (most - 9, most), "small": (least, least + 9)}[
        end
    ]
    for d in (2, 12, 70):

        def rows(n, d=d):
            shape = (n, 1) if varies == "rows" else (n, d)
            return (rng.uniform(-1, 1, (n, d)) * 10.0 ** rng.uniform(least, most, shape)).astype(
                dtype
            )

        x, y = rows(40), rows(35)
        y[3], x[11] = x[2], -y[4]
        if metric in ("cosine", "correlation"):
            assert_same_angles(x, y, metric)
        else:
            assert_close(x, y, metric, p, (d + 2) * info.smallest_subnormal)


def test_integers_that_float32_cannot_count(simd, rng):
    """Beyond 2^24 float32 holds even numbers: differences of these, and small sums, are exact."""
    x, y = (2**24 + 2 * rng.integers(0, 2**18, (n, 3)) for n in (30, 40))
    difference = np.abs(x[:, None] - y)
    x, y = x.astype(np.float32), y.astype(np.float32)
    same(lw.pairwise_distances(x, y, "manhattan"), difference.sum(-1).astype("f4"))
    same(lw.pairwise_distances(x, y, "chebyshev"), difference.max(-1).astype("f4"))
    exact = np.sqrt((difference.astype(float) ** 2).sum(-1))
    assert_within(lw.pairwise_distances(x, y), exact, bound(x, y, "euclidean"))
    # Pythagorean triples anywhere there
    legs = np.array([[0, 0], [6, 8], [10, 24], [16, 30], [40, 42]]) + 2**24
    np.testing.assert_array_equal(
        lw.pairwise_distances(legs.astype(np.float32))[0], [0, 10, 26, 34, 58]
    )


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64])
def test_large_integers_are_counted_exactly(simd, rng, dtype):
    low, high = (0, 2**32) if dtype == np.uint32 else (-(2**31), 2**31)
    x, y = rng.integers(low, high, (30, 9)), rng.integers(low, high, (40, 9))
    difference = np.abs(x[:, None] - y)
    x, y = x.astype(dtype), y.astype(dtype)
    same(lw.pairwise_distances(x, y, "manhattan"), difference.sum(-1).astype(float))
    same(lw.pairwise_distances(x, y, "chebyshev"), difference.max(-1).astype(float))


@pytest.mark.parametrize(("metric", "p"), [*DISTANCES, ("dot", None)])
@floats
@pytest.mark.parametrize("d", [3, 64, 129])
def test_alternating_signs(simd, rng, metric, p, dtype, d):
    """Sums and products that cancel, or are each other's negatives to the last digits."""
    sign = 1 - 2.0 * (np.arange(d) % 2)
    x = (rng.uniform(0.5, 1, (20, d)) * sign).astype(dtype)
    y = -np.resize(x, (45, d))
    y[::3] = np.nextafter(y[::3], dtype(2))
    y[1::3] = np.roll(y[1::3], 1, axis=1)
    assert_close(x, y, metric, p)


# ----------------------------------------------------------------------- published bug reports


def assert_euclidean(x, y, dtype=np.float32):
    """All of x to all of y, held to the bound of exact differences."""
    return assert_close(np.asarray(x, dtype), np.asarray(y, dtype), "euclidean")[0]


def test_scikit_learn_issue_9354(simd):
    """euclidean_distances of float32: right digits lost by cancellation."""
    a = [[61.221637725830078125, 71.60662841796875, -65.7512664794921875]]
    b = [[61.221637725830078125, 71.60894012451171875, -65.72847747802734375]]
    true = 0.022905950644001987  # these are float32 numbers
    assert_within(assert_euclidean(a, b), [[true]], 6 * u(np.float32) * true)
    assert_within(assert_euclidean(a, b, np.float64), [[true]], 6 * u(np.float64) * true)
    # from the discussion of its mending, 13410: the square of 1.000 and 1.001 came out negative
    result = assert_euclidean(np.full((1, 1000), 1.0), np.full((1, 1000), 1.001))
    assert abs(result - np.sqrt(1000) * (float(np.float32(1.001)) - 1)) < 1e-6


def test_scikit_learn_issue_13905(simd, rng):
    """float32 that came out as 0, or as far too much, since blocks were computed in float64."""
    x = rng.gamma(0.1, 1e3, (100, 10_000)).astype(np.float32)
    result = assert_euclidean(x[:8], x[4:14])
    np.testing.assert_array_equal(result == 0, np.eye(8, 10, -4))
    all_pairs = lw.pairwise_distances(x)
    same(all_pairs[:8, 4:14], result)
    np.testing.assert_array_equal(all_pairs == 0, np.eye(100))


def test_pytorch_issue_42479(simd):
    """0 instead of 109."""
    assert assert_euclidean([[512695]], [[512804]]) == 109
    assert assert_euclidean([[5000]], [[6500]]) == 1500
    for rows in (24, 25, 26, 400):
        a, b = np.full((rows, 1), 512695, np.float32), np.full((rows, 1), 512804, np.float32)
        np.testing.assert_array_equal(lw.pairwise_distances(a, b), np.full((rows, rows), 109))


def test_pytorch_issue_37734(simd, rng):
    """0 or 0.0004 for the same two rows, whether or not there are more than 25 others."""
    a, b = rng.normal(size=(95, 39)).astype("f4"), rng.normal(size=(295, 39)).astype("f4")
    b[233] = a[75]
    b[233, 4] += np.float32(0.0004)
    result = assert_euclidean(a, b)
    assert result[75, 233] == abs(b[233, 4] - a[75, 4])
    assert 0.00039 < result[75, 233] < 0.00041
    for m in (1, 24, 25, 26, 95):
        for n in (1, 24, 25, 26, 295):
            first, last = slice(76 - min(m, 76), None), slice(234 - min(n, 234), None)
            same(lw.pairwise_distances(a[first][:m], b[last][:n]), result[first, last][:m, :n])


def test_pytorch_issue_57690(simd, rng):
    """Points that are not at distance 0 from themselves (likewise 123082)."""
    clouds = rng.random((2, 30, 2), np.float32), 1e4 + rng.normal(size=(1, 64, 8)).astype("f4")
    for x in clouds:
        for result in (lw.pairwise_distances(x), lw.pairwise_distances(x, x.copy())):
            assert not np.diagonal(result, axis1=-2, axis2=-1).any()
            same(result, result.swapaxes(-1, -2))


def test_pytorch_issue_187179(simd, rng):
    """Small exponents: infinite only where the distance itself leaves the range."""
    x, y = rng.random((3, 4)), rng.random((5, 4))
    for p in (1e-4, 1e-3, 0.01, 0.1):
        for dtype in FLOATS:
            a, b = x.astype(dtype), y.astype(dtype)
            exact = expected(a, b, "minkowski", p, np.longdouble)
            exact = np.where(exact > np.finfo(dtype).max, np.inf, exact)
            result = lw.pairwise_distances(a, b, "minkowski", p=p)
            np.testing.assert_array_equal(np.isinf(result), np.isinf(exact))


GPS_QUERY = [4208848.0, 2334863.5, 4171170.2]
GPS_FOUND = [4208292.0, 2335623.5, 4171305.0]
GPS_RIGHT = [4208843.5, 2334869.5, 4171171.5]


def gps_index(rng):
    """The report's two places among a hundred others no nearer than the first, 951 away."""
    others = GPS_FOUND + rng.normal(0, 30, (100, 3)) + [-200, 300, 100]
    return np.vstack([others, [GPS_FOUND], [GPS_RIGHT]]).astype(np.float32)


def test_faiss_issue_3245(simd, rng):
    """The place at 951 is found as the nearest, instead of the one at 7.6."""
    index, query = gps_index(rng), np.array([GPS_QUERY], np.float32)
    result = assert_euclidean(query, index)[0]
    np.testing.assert_allclose(result[-2:], [951.2589, 7.603453], rtol=1e-7)
    assert result.argmin() == len(index) - 1
    for queries in (1, 19, 20, 21, 100):  # it changes its formula at 20
        same(lw.pairwise_distances(np.tile(query, (queries, 1)), index)[-1], result)


def test_faiss_issue_297(simd, rng):
    """Squared distances below 0, where some coordinates vary far more than others."""
    x = rng.normal(size=(60, 50)) * 10.0 ** rng.uniform(-3, 3, 50) + 1e3
    x = x.astype(np.float32)
    y = x + np.float32(1e-4)
    for metric in ("euclidean", "sqeuclidean"):
        result = lw.pairwise_distances(x, y, metric)
        assert (result >= 0).all()
        assert_within(result, expected(x, y, metric), bound(x, y, metric))


def test_faiss_issue_1956(simd, rng):
    """Vectors of 512 that differ from the sixth decimal on: each is its own nearest."""
    first = rng.normal(size=512)
    x = (first + 1e-6 * rng.normal(size=(40, 512))).astype(np.float32)
    result = assert_euclidean(x, x.copy())
    np.testing.assert_array_equal(result.argmin(1), np.arange(40))
    np.testing.assert_array_equal(np.count_nonzero(result == 0, axis=1), 1)
