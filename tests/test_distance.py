"""pairwise_distances against its definition, the laws, bad input, scipy, scikit-learn and torch."""

import lanewise as lw
import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from tolerance import assert_within, gamma, u

METRICS = ["euclidean", "sqeuclidean", "manhattan", "chebyshev", "cosine", "dot"]
SCIPY_NAMES = {"manhattan": "cityblock"}
BLOCK = 64  # sums run in blocks of this many terms


def bound(x, y, metric):
    """The largest error of a sum in blocks of 64: 64 + d/64 roundings on the path of any term."""
    d, dtype = x.shape[-1], x.dtype
    depth = min(d, BLOCK) + -(-d // BLOCK)
    exact = np.abs(reference.pairwise_distances(x, y, metric))
    if metric == "euclidean":  # the square root halves it; 1 for the difference, 1 for the root
        return (gamma(depth, dtype) / 2 + 2 * u(dtype)) * exact
    if metric == "sqeuclidean":
        return gamma(depth + 3, dtype) * exact  # the difference counts twice, the square once
    if metric == "manhattan":
        return gamma(depth + 1, dtype) * exact
    if metric == "chebyshev":
        return u(dtype) * exact
    size = reference.pairwise_distances(np.abs(x), np.abs(y), "dot")
    if metric == "dot":
        return gamma(depth + 1, dtype) * size
    norms = np.sqrt((x.astype(float) ** 2).sum(-1)[:, None] * (y.astype(float) ** 2).sum(-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        # x·y, the root of the norms, the quotient, and the difference from 1
        error = gamma(depth + 1, dtype) * (size / norms + 1) + 4 * u(dtype)
    return np.where(norms > 0, error, 0)


def assert_are_distances(result, x, y, metric):
    assert result.dtype == x.dtype
    assert_within(result, reference.pairwise_distances(x, y, metric), bound(x, y, metric))


# ---------------------------------------------------------------------------------- the definition


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sweep_of_sizes(simd, rng, metric, dtype):
    x, y = rng.normal(size=(40, 200)).astype(dtype), rng.normal(size=(40, 200)).astype(dtype)
    sizes = [(n, 40, 9) for n in range(1, 34)] + [(7, n, 9) for n in range(1, 34)]
    sizes += [(40, 40, d) for d in [*range(1, 18), 63, 64, 65, 127, 128, 129, 192, 200]]
    for m, n, d in sizes:
        a, b = x[:m, :d], y[:n, :d]
        assert_are_distances(lw.pairwise_distances(a, b, metric), a, b, metric)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("m", "n", "d"),
    [(70, 50, 9000), (13, 20, 50_000), (600, 1100, 5), (1, 3000, 64), (3000, 1, 64)],
)
def test_shapes_that_are_cut_in_blocks(simd, rng, metric, m, n, d):
    x, y = rng.normal(size=(m, d)).astype(np.float32), rng.normal(size=(n, d)).astype(np.float32)
    result = lw.pairwise_distances(x, y, metric)
    rows = rng.integers(0, m, 20)
    assert_are_distances(result[rows], x[rows], y, metric)
    np.testing.assert_array_equal(lw.pairwise_distances(x[rows], y, metric), result[rows])


@given(
    st.lists(st.integers(1, 3), max_size=3),
    st.lists(st.integers(1, 3), max_size=3),
    st.sampled_from(METRICS),
    st.integers(0, 2**32),
)
def test_leading_axes_broadcast(x_lead, y_lead, metric, seed):
    rng = np.random.default_rng(seed)
    keep = rng.random(3) < 0.5
    common = rng.integers(1, 4, 3)
    x_lead = [
        int(c) if k else 1 for c, k in zip(common[3 - len(x_lead) :], keep[3 - len(x_lead) :])
    ]
    y_lead = [int(c) for c in common[3 - len(y_lead) :]]
    x, y = rng.normal(size=(*x_lead, 4, 5)), rng.normal(size=(*y_lead, 3, 5))
    result = lw.pairwise_distances(x, y, metric)
    lead = np.broadcast_shapes(tuple(x_lead), tuple(y_lead))
    assert result.shape == (*lead, 4, 3)
    xs, ys = np.broadcast_to(x, (*lead, 4, 5)), np.broadcast_to(y, (*lead, 3, 5))
    for index in np.ndindex(*lead):
        np.testing.assert_array_equal(
            result[index], lw.pairwise_distances(xs[index], ys[index], metric)
        )


def test_integers_and_bool_become_float64(rng):
    x = rng.integers(-5, 5, (4, 3))
    for dtype in (np.int8, np.uint8, np.int64):
        result = lw.pairwise_distances(x.astype(dtype))
        assert result.dtype == np.float64
        np.testing.assert_array_equal(result, lw.pairwise_distances(x.astype(dtype).astype(float)))
    assert lw.pairwise_distances(x > 0, metric="manhattan").dtype == np.float64
    assert lw.pairwise_distances(x.astype("f4"), x.astype("f8")).dtype == np.float64
    assert lw.pairwise_distances([[0, 3], [4, 0]])[0, 1] == 5


@pytest.mark.parametrize("metric", METRICS)
def test_zero_sizes(metric):
    for shapes in [((0, 3), (4, 3)), ((4, 3), (0, 3)), ((2, 0, 3), (4, 3))]:
        x, y = (np.ones(s, np.float32) for s in shapes)
        assert lw.pairwise_distances(x, y, metric).size == 0
    result = lw.pairwise_distances(np.ones((2, 0)), np.ones((3, 0)), metric)
    np.testing.assert_array_equal(result, np.full((2, 3), np.nan if metric == "cosine" else 0.0))


# --------------------------------------------------------------------------------- exact euclidean


@pytest.mark.parametrize("metric", [m for m in METRICS if m != "dot"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_with_itself_the_diagonal_is_zero_and_the_matrix_symmetric(simd, rng, metric, dtype):
    for m, d in [(50, 3), (133, 64), (40, 300)]:
        x = (rng.normal(size=(m, d)) * 10.0 ** rng.integers(-3, 3, (m, 1))).astype(dtype)
        result = lw.pairwise_distances(x, metric=metric)
        np.testing.assert_array_equal(result, result.T)
        np.testing.assert_array_equal(np.diagonal(result), 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("exponent", [-1.0, -0.9, -0.6, -0.5, -0.45, 0.45, 0.5, 0.6, 0.9])
def test_squares_that_underflow_or_overflow(simd, rng, dtype, exponent):
    """The distance is right wherever it is itself representable."""
    info = np.finfo(dtype)
    scale = (
        dtype(info.max) ** dtype(exponent) if exponent > 0 else dtype(info.tiny) ** dtype(-exponent)
    )
    x = (rng.normal(size=(9, 70)) * scale).astype(dtype)
    y = (rng.normal(size=(20, 70)) * scale).astype(dtype)
    y[3] = x[2]
    # Exact in long double, whose exponent range has room for the squares of float64.
    exact = np.sqrt(((x[:, None].astype(np.longdouble) - y[None]) ** 2).sum(-1)).astype(float)
    limit = (gamma(66, dtype) / 2 + 2 * u(dtype)) * exact + info.smallest_subnormal
    assert_within(lw.pairwise_distances(x, y), exact, limit)
    norms = np.sqrt(
        (x.astype(np.longdouble) ** 2).sum(-1)[:, None] * (y.astype(np.longdouble) ** 2).sum(-1)
    )
    cosine = (1 - x.astype(np.longdouble) @ y.T.astype(np.longdouble) / norms).astype(float)
    units = 70 if exponent > -1 else 0.1 / info.eps  # denormals have lost digits already
    assert_within(lw.pairwise_distances(x, y, "cosine"), cosine, 2 * units * info.eps)


def test_infinity_and_nan(simd):
    x = np.array([[1.0, 2.0], [np.inf, 0.0], [np.nan, 1.0], [-np.inf, 0.0]], np.float32)
    for metric in METRICS:
        with np.errstate(invalid="ignore"):
            expected = reference.pairwise_distances(x, x, metric)
            np.testing.assert_allclose(lw.pairwise_distances(x, metric=metric), expected, rtol=1e-6)


def test_zero_rows_have_no_cosine():
    result = lw.pairwise_distances(np.array([[0.0, 0.0], [1.0, 0.0]]), metric="cosine")
    np.testing.assert_array_equal(result, [[np.nan, np.nan], [np.nan, 0.0]])


def test_published_failures_of_inexact_distances():
    """Inputs on which x² − 2xy + y² loses its digits (the issues' own numbers or their like)."""
    # scikit-learn#9354: float32 points far from the origin
    x = np.array([[10000.0, 10000.0], [10000.0, 10001.0]], np.float32)
    np.testing.assert_array_equal(lw.pairwise_distances(x), [[0, 1], [1, 0]])
    # pytorch#42479: 0 instead of a large distance
    a, b = np.array([[1e5, 1.0, 3.0]], np.float32), np.array([[1e5, 1.0, 112.0]], np.float32)
    assert lw.pairwise_distances(a, b)[0, 0] == 109
    # pytorch#37734: the answer depends on the number of rows
    rows = np.tile(a, (40, 1))
    np.testing.assert_array_equal(lw.pairwise_distances(rows, b), np.full((40, 1), 109))
    # pytorch#57690: a diagonal that is not zero
    points = np.random.default_rng(0).normal(1e4, 1, (64, 8)).astype(np.float32)
    assert not np.diagonal(lw.pairwise_distances(points)).any()


# --------------------------------------------------------------------------------------- the laws


@pytest.mark.parametrize("metric", METRICS)
def test_bits_do_not_depend_on_threads_rows_or_strides(simd, rng, metric):
    x, y = (
        rng.normal(size=(531, 130)).astype(np.float32),
        rng.normal(size=(607, 130)).astype(np.float32),
    )
    expected = lw.pairwise_distances(x, y, metric)
    for threads in (1, 2, 3):
        lw.set_num_threads(threads)
        np.testing.assert_array_equal(lw.pairwise_distances(x, y, metric), expected)
    for i in (0, 100, 530):
        np.testing.assert_array_equal(
            lw.pairwise_distances(x[i : i + 1], y, metric)[0], expected[i]
        )
    wide = np.zeros((531, 260), np.float32)
    wide[:, ::2] = x
    views = [
        wide[:, ::2],
        np.asfortranarray(x),
        x[::-1].copy()[::-1],
        np.flip(np.flip(x, 1).copy(), 1),
    ]
    misaligned = np.zeros(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
    misaligned[...] = x
    read_only = x.copy()
    read_only.flags.writeable = False
    for view in [*views, misaligned, read_only, x.astype(">f4")]:
        np.testing.assert_array_equal(lw.pairwise_distances(view, y, metric), expected)
        np.testing.assert_array_equal(
            lw.pairwise_distances(y, view, metric), lw.pairwise_distances(y, x, metric)
        )
    row = np.broadcast_to(x[:1], x.shape)
    np.testing.assert_array_equal(
        lw.pairwise_distances(row, y, metric), np.broadcast_to(expected[:1], expected.shape)
    )


@pytest.mark.parametrize("metric", METRICS)
def test_out_in_any_strides(rng, metric):
    x, y = rng.normal(size=(3, 20, 7)), rng.normal(size=(31, 7))
    expected = lw.pairwise_distances(x, y, metric)
    big = np.full((3, 40, 62), -1.0)
    for out in [
        np.empty_like(expected),
        big[:, ::2, ::2],
        big[:, 19::-1, 30::-1],
        np.empty((31, 20, 3)).T,
    ]:
        assert lw.pairwise_distances(x, y, metric, out=out) is out
        np.testing.assert_array_equal(out, expected)


# -------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("x", "y", "options", "error", "message"),
    [
        (np.ones(3), np.ones((2, 3)), {}, ValueError, r"at least 2 axes.*x has shape \(3,\)"),
        (
            np.ones((2, 3)),
            np.ones((2, 4)),
            {},
            ValueError,
            r"x has shape \(2, 3\) and y .* \(2, 4\)",
        ),
        (np.ones((2, 5, 3)), np.ones((3, 5, 3)), {}, ValueError, "do not broadcast"),
        (
            np.ones((2, 3)),
            None,
            {"metric": "euclid"},
            ValueError,
            "metric is 'euclid', expected one",
        ),
        (np.ones((2, 3)), None, {"p": 3}, ValueError, "p is 3"),
        (np.ones((2, 3), complex), None, {}, TypeError, "x has dtype complex128"),
        (np.ones((2, 3)), np.ones((2, 3), object), {}, TypeError, "y has dtype object"),
        (np.ones((2, 3), np.longdouble), None, {}, TypeError, "x has dtype"),
        (np.ones((2, 3)), None, {"out": np.ones((2, 3))}, ValueError, r"out has shape \(2, 3\)"),
        (np.ones((2, 3)), None, {"out": np.ones((2, 2), "f4")}, TypeError, "out has dtype"),
        (np.ones((2, 3)), None, {"out": np.ones((2, 2), ">f8")}, TypeError, "out has dtype"),
        (np.ones((2, 3)), None, {"metric": "hamming"}, NotImplementedError, "metric 'hamming'"),
        (np.ones((2, 3), "f2"), None, {}, NotImplementedError, "float16"),
        (
            np.broadcast_to(1.0, (2**31, 1)),
            np.broadcast_to(1.0, (4, 2**31, 1)),
            {},
            ValueError,
            "64 bits",
        ),
    ],
)
def test_bad_input(x, y, options, error, message):
    with pytest.raises(error, match=message):
        lw.pairwise_distances(x, y, **options)


def test_bad_out_is_refused_untouched():
    x = np.arange(16.0).reshape(4, 4)
    read_only = np.full((4, 4), 3.0)
    read_only.flags.writeable = False
    overlapping = np.lib.stride_tricks.as_strided(np.full(9, 3.0), (4, 4), (8, 8))
    misaligned = np.zeros(129, np.uint8)[1:].view(np.float64).reshape(4, 4)
    for out, message in [
        (x, "overlaps x"),
        (read_only, "read-only"),
        (overlapping, "elements of out overlap"),
        (misaligned, "not aligned"),
    ]:
        before = out.copy()
        with pytest.raises(ValueError, match=message):
            lw.pairwise_distances(x, out=out)
        np.testing.assert_array_equal(out, before)


# ------------------------------------------------------------------------------------------- peers


@pytest.mark.parametrize("metric", [m for m in METRICS if m != "dot"])
def test_agrees_with_scipy(simd, rng, metric):
    for m, n, d in [(1, 1, 1), (12, 17, 5), (40, 33, 150)]:
        x, y = rng.normal(size=(m, d)), rng.normal(size=(n, d))
        expected = cdist(x, y, SCIPY_NAMES.get(metric, metric))
        # scipy sums one term after the other
        slack = gamma(2 * d + 8, np.float64) * (np.abs(expected) + (metric == "cosine"))
        assert_within(lw.pairwise_distances(x, y, metric), expected, bound(x, y, metric) + slack)


def test_agrees_with_scikit_learn_where_that_is_accurate(rng):
    sklearn = pytest.importorskip("sklearn.metrics")
    x, y = rng.normal(size=(30, 10)), rng.normal(size=(20, 10))
    for metric in ["euclidean", "manhattan", "chebyshev", "cosine"]:
        expected = sklearn.pairwise_distances(x, y, metric=metric)
        np.testing.assert_allclose(lw.pairwise_distances(x, y, metric), expected, rtol=1e-12)


def test_agrees_with_torch(rng):
    torch = pytest.importorskip("torch")
    x, y = rng.normal(size=(3, 30, 10)), rng.normal(size=(1, 20, 10))
    for metric, p in [("euclidean", 2.0), ("manhattan", 1.0), ("chebyshev", float("inf"))]:
        expected = torch.cdist(
            torch.from_numpy(x),
            torch.from_numpy(y),
            p=p,
            compute_mode="donot_use_mm_for_euclid_dist",
        ).numpy()
        np.testing.assert_allclose(lw.pairwise_distances(x, y, metric), expected, rtol=1e-12)
