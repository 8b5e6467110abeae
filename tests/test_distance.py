"""pairwise_ and paired_distances against their definitions, the laws, bad input, and peers."""

import lanewise as lw
import ml_dtypes
import numpy as np
import pytest
from distances import (
    DISTANCES,
    METRICS,
    SCIPY_NAMES,
    all_distances,
    all_metrics,
    assert_are_distances,
    bound,
    expected,
    same,
    sample,
    scipy_slack,
)
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from tolerance import assert_within, gamma, tiny, u

# ---------------------------------------------------------------------------------- the definition


@all_metrics
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sweep_of_sizes(simd, rng, metric, p, dtype):
    x, y = (sample(rng, (40, 200), dtype, metric, p) for _ in "xy")
    x[:, 0] += 1  # no zero row
    y[:, 0] += 1
    x[:, 1] += 2  # nor a constant one
    y[:, 1] += 2
    sizes = [(n, 40, 9) for n in range(1, 34)] + [(7, n, 9) for n in range(1, 34)]
    sizes += [(40, 40, d) for d in [*range(2, 18), 63, 64, 65, 127, 128, 129, 192, 200]]
    if metric != "correlation":  # which has no value for a single coordinate
        sizes.append((40, 40, 1))
    for m, n, d in sizes:
        a, b = x[:m, :d], y[:n, :d]
        assert_are_distances(lw.pairwise_distances(a, b, metric, p=p), a, b, metric, p)


@all_metrics
@pytest.mark.parametrize(
    ("m", "n", "d"),
    [(70, 50, 9000), (13, 20, 50_000), (600, 1100, 5), (1, 3000, 64), (3000, 1, 64)],
)
def test_shapes_that_are_cut_in_blocks(simd, rng, metric, p, m, n, d):
    x, y = (sample(rng, (rows, d), np.float32, metric, p) for rows in (m, n))
    result = lw.pairwise_distances(x, y, metric, p=p)
    rows = rng.integers(0, m, 4)
    assert_are_distances(result[rows], x[rows], y, metric, p)
    same(lw.pairwise_distances(x[rows], y, metric, p=p), result[rows])


@given(
    st.lists(st.integers(1, 3), max_size=3),
    st.lists(st.integers(1, 3), max_size=3),
    st.sampled_from(METRICS),
    st.integers(0, 2**32),
)
def test_leading_axes_broadcast(x_lead, y_lead, case, seed):
    metric, p = case
    rng = np.random.default_rng(seed)
    keep = rng.random(3) < 0.5
    common = rng.integers(1, 4, 3)
    x_lead = [
        int(c) if k else 1 for c, k in zip(common[3 - len(x_lead) :], keep[3 - len(x_lead) :])
    ]
    y_lead = [int(c) for c in common[3 - len(y_lead) :]]
    x, y = rng.normal(size=(*x_lead, 4, 5)), rng.normal(size=(*y_lead, 3, 5))
    result = lw.pairwise_distances(x, y, metric, p=p)
    lead = np.broadcast_shapes(tuple(x_lead), tuple(y_lead))
    assert result.shape == (*lead, 4, 3)
    xs, ys = np.broadcast_to(x, (*lead, 4, 5)), np.broadcast_to(y, (*lead, 3, 5))
    for index in np.ndindex(*lead):
        same(result[index], lw.pairwise_distances(xs[index], ys[index], metric, p=p))
    paired = lw.paired_distances(x[..., :3, :], y, metric, p=p)
    assert paired.shape == (*lead, 3)
    same(paired, np.diagonal(result[..., :3, :], axis1=-2, axis2=-1))


@given(
    st.sampled_from([metric for metric, p in METRICS if p is None] + ["minkowski"]),
    st.one_of(st.sampled_from([0, 1, 2, 3, 4, 64, 65, np.inf]), st.floats(0.25, 200)),
    st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(1, 150)),
    st.sampled_from([np.float32, np.float64]),
    st.booleans(),
    st.sampled_from([-3, 0, 3]),
    st.integers(0, 2**32),
)
def test_any_options(metric, p, shape, dtype, alone, exponent, seed):
    p = p if metric == "minkowski" else None
    rng = np.random.default_rng(seed)
    m, n, d = shape
    x = sample(rng, (m, d), dtype, metric, p) * dtype(10.0**exponent)
    y = x if alone else sample(rng, (n, d), dtype, metric, p)
    result = lw.pairwise_distances(x, None if alone else y, metric, p=p)
    limit = bound(x, y, metric, p)
    if metric == "correlation":  # of rows that are constant but for roundings there is no telling
        flat = [np.ptp(a, axis=-1) == 0 for a in (x, y)]
        assert np.isnan(result[flat[0]]).all()
        assert np.isnan(result[:, flat[1]]).all()
        x, y = x[~flat[0]], y[~flat[1]]
        result, limit = (a[~flat[0]][:, ~flat[1]] for a in (result, limit))
    assert_within(result, expected(x, y, metric, p), limit)
    k = min(len(x), len(y))
    same(lw.paired_distances(x[:k], y[:k], metric, p=p), np.diagonal(result[:k, :k]))


@all_metrics
def test_zero_sizes(metric, p):
    for shapes in [((0, 3), (4, 3)), ((4, 3), (0, 3)), ((2, 0, 3), (4, 3))]:
        x, y = (np.ones(s, np.float32) for s in shapes)
        assert lw.pairwise_distances(x, y, metric, p=p).size == 0
    undefined = metric in ("cosine", "correlation", "hamming", "braycurtis")
    expect = np.full((2, 3), np.nan if undefined else 0.0)
    same(lw.pairwise_distances(np.ones((2, 0)), np.ones((3, 0)), metric, p=p), expect)
    assert lw.paired_distances(np.ones((0, 3)), np.ones((0, 3)), metric, p=p).shape == (0,)
    same(lw.paired_distances(np.ones((2, 0)), np.ones(0), metric, p=p), expect[:, 0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("p", "metric"),
    [(1, "manhattan"), (2, "euclidean"), (None, "euclidean"), (np.inf, "chebyshev")],
)
def test_minkowski_of_these_exponents_is_the_metric_of_that_name(rng, dtype, p, metric):
    x, y = rng.normal(size=(2, 30, 70)).astype(dtype)
    same(lw.pairwise_distances(x, y, "minkowski", p=p), lw.pairwise_distances(x, y, metric))
    same(lw.paired_distances(x, y, "minkowski", p=p), lw.paired_distances(x, y, metric))


# -------------------------------------------------------------------------------------------- pairs


@all_metrics
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pairs_have_the_bits_of_all_pairs(simd, rng, metric, p, dtype):
    for n, d in [*((n, 5) for n in range(1, 35)), *((21, d) for d in (1, 63, 64, 65, 300, 9000))]:
        x, y = (sample(rng, (n, d), dtype, metric, p) for _ in "xy")
        all_pairs = lw.pairwise_distances(x, y, metric, p=p)
        for threads in (1, 3):
            lw.set_num_threads(threads)
            same(lw.paired_distances(x, y, metric, p=p), np.diagonal(all_pairs))


def test_many_pairs(simd, rng):
    x, y = rng.normal(size=(2, 50_000, 3))
    for metric, p in METRICS:
        result = lw.paired_distances(x, y, metric, p=p)
        some = rng.integers(0, len(x), 50)
        same(result[some], np.diagonal(lw.pairwise_distances(x[some], y[some], metric, p=p)))


@all_metrics
def test_pairs_in_any_strides(rng, metric, p):
    x, y = rng.normal(size=(3, 1, 5, 7)), rng.normal(size=(4, 1, 7))
    result = lw.paired_distances(x, y, metric, p=p)
    assert result.shape == (3, 4, 5)
    for i, j, k in np.ndindex(result.shape):
        assert lw.paired_distances(x[i, 0, k], y[j, 0], metric, p=p) == result[i, j, k] or (
            np.isnan(result[i, j, k])
        )
    views = [np.asfortranarray(x), x[::-1].copy()[::-1], np.flip(np.flip(x, 3).copy(), 3)]
    for view in views:
        same(lw.paired_distances(view, y, metric, p=p), result)
    big = np.full((6, 8, 10), -1.0)
    for out in [
        np.empty_like(result),
        big[::2, ::2, ::2],
        big[2::-1, :4, 4::-1],
        big.T[:3, :4, :5],
    ]:
        assert lw.paired_distances(x, y, metric, p=p, out=out) is out
        same(np.ascontiguousarray(out), result)


def test_one_pair_gives_an_array_without_axes():
    result = lw.paired_distances(np.zeros(2, np.float32), np.array([3, 4], np.float32))
    assert isinstance(result, np.ndarray)
    assert (result.shape, result.dtype, float(result)) == ((), np.float32, 5.0)


# ------------------------------------------------------------------------------------------- dtypes

NARROW = [np.float16, ml_dtypes.bfloat16]
INTEGERS = [np.bool_, np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64]


def both(x, y, metric, p):
    return (
        lw.pairwise_distances(x, y, metric, p=p),
        lw.paired_distances(x[: len(y)], y[: len(x)], metric, p=p),
    )


@all_metrics
@pytest.mark.parametrize("dtype", NARROW)
def test_narrow_floats_are_computed_in_float32_and_rounded_once(simd, rng, metric, p, dtype):
    x, y = sample(rng, (20, 70), dtype, metric, p), sample(rng, (33, 70), dtype, metric, p)
    for result, wide in zip(
        both(x, y, metric, p), both(x.astype("f4"), y.astype("f4"), metric, p), strict=True
    ):
        assert result.dtype == dtype
        same(result.astype("f4"), wide.astype(dtype).astype("f4"))
    exact = expected(x, y, metric, p)
    wide_bound = bound(x.astype("f4"), y.astype("f4"), metric, p)
    limit = wide_bound + u(dtype) * (np.abs(exact) + wide_bound) + tiny(dtype)
    assert_within(both(x, y, metric, p)[0].astype(float), exact, limit)


@all_metrics
@pytest.mark.parametrize("dtype", [*INTEGERS, np.uint64])
def test_integers_and_bool_become_float64(rng, metric, p, dtype):
    x, y = (rng.integers(0, 100, (20, 70)).astype(dtype) for _ in "xy")
    for result, wide in zip(
        both(x, y, metric, p), both(x.astype("f8"), y.astype("f8"), metric, p), strict=True
    ):
        same(result, wide)


@all_metrics
@pytest.mark.parametrize(
    ("x_dtype", "y_dtype"),
    [
        ("f4", "f8"),
        ("f2", "f4"),
        ("f2", "u1"),
        ("i2", "f4"),
        ("i4", "f4"),
        ("u8", "f4"),
        ("?", "f4"),
        ("?", "i8"),
        (ml_dtypes.bfloat16, "f4"),
        (ml_dtypes.bfloat16, "f8"),
    ],
)
def test_mixed_dtypes(rng, metric, p, x_dtype, y_dtype):
    x, y = rng.integers(0, 4, (2, 19, 33))
    x, y = x.astype(x_dtype), y.astype(y_dtype)
    dtype = np.result_type(x, y)
    dtype = dtype if dtype.kind != "i" else np.dtype(float)
    computed = np.float32 if dtype == np.float16 else dtype
    for result, wide in zip(
        both(x, y, metric, p), both(x.astype(computed), y.astype(computed), metric, p), strict=True
    ):
        same(result, wide.astype(dtype))
    wide = np.zeros((19, 99), x_dtype)
    wide[:, ::3] = x
    same(lw.pairwise_distances(wide[:, ::3], y, metric, p=p), both(x, y, metric, p)[0])


def test_lists_are_arrays():
    assert lw.pairwise_distances([[0, 3], [4, 0]])[0, 1] == 5


def test_anything_but_zero_is_true_in_jaccard():
    x, y = np.array([[1.5, 0, 2, np.nan, -0.0]]), np.array([[1, 3, 7, np.inf, 0]])
    assert lw.pairwise_distances(x, y, "jaccard") == 0.25 == cdist(x, y, "jaccard")
    same(
        lw.pairwise_distances(x != 0, y != 0, "jaccard"),
        cdist(x != 0, y != 0, "jaccard"),
    )


# --------------------------------------------------------------------------------- exact euclidean


@all_distances
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_with_itself_the_diagonal_is_zero_and_the_matrix_symmetric(simd, rng, metric, p, dtype):
    for m, d in [(50, 3), (133, 64), (40, 300)]:
        x = (rng.normal(size=(m, d)) * 10.0 ** rng.integers(-3, 3, (m, 1))).astype(dtype)
        result = lw.pairwise_distances(x, metric=metric, p=p)
        np.testing.assert_array_equal(result, result.T)
        np.testing.assert_array_equal(np.diagonal(result), 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("exponent", [-1.0, -0.9, -0.6, -0.5, -0.45, 0.45, 0.5, 0.6, 0.9])
def test_squares_that_underflow_or_overflow(simd, rng, dtype, exponent):
    info = np.finfo(dtype)
    scale = (
        dtype(info.max) ** dtype(exponent) if exponent > 0 else dtype(info.tiny) ** dtype(-exponent)
    )
    x = (rng.normal(size=(9, 70)) * scale).astype(dtype)
    y = (rng.normal(size=(20, 70)) * scale).astype(dtype)
    y[3] = x[2]
    # Exact in long double, whose exponent range has room for the squares of float64.
    wide_x, wide_y = x.astype(np.longdouble), y.astype(np.longdouble)
    exact = np.sqrt(((wide_x[:, None] - wide_y) ** 2).sum(-1)).astype(float)
    limit = (gamma(66, dtype) / 2 + 2 * u(dtype)) * exact + info.smallest_subnormal
    assert_within(lw.pairwise_distances(x, y), exact, limit)
    same(lw.paired_distances(x, y[:9]), np.diagonal(lw.pairwise_distances(x, y)))
    units = 70 if exponent > -1 else 0.1 / info.eps  # subnormals have lost digits already
    for metric in ("cosine", "correlation"):
        if metric == "correlation":
            wide_x, wide_y = (a - a.mean(-1, keepdims=True) for a in (wide_x, wide_y))
        norms = np.sqrt((wide_x**2).sum(-1)[:, None] * (wide_y**2).sum(-1))
        cosine = (1 - wide_x @ wide_y.T / norms).astype(float)
        assert_within(lw.pairwise_distances(x, y, metric), cosine, 2 * units * info.eps)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("p", [0.3, 2.5, 3, 9, 64, 65, 1000])
def test_powers_that_underflow_or_overflow(simd, rng, dtype, p):
    info = np.finfo(dtype)
    spread = np.log(np.sqrt(float(info.max))) * 1.9
    x = np.exp(rng.uniform(-spread, spread, (60, 12))).astype(dtype)
    y = np.zeros((1, 12), dtype)
    x[7] = 0
    x[8] = info.smallest_subnormal
    with np.errstate(over="ignore"):
        exact = expected(x, y, "minkowski", p)
        exact = np.where(exact > info.max, np.inf, exact)
    # What is computed again, by quotients with the largest difference, is off by no more.
    limit = bound(x, y, "minkowski", p) + info.smallest_subnormal
    result = lw.pairwise_distances(x, y, "minkowski", p=p)
    assert_within(result, exact, limit)
    same(lw.paired_distances(x, y, "minkowski", p=p), result[:, 0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_that_overflow_on_the_way_to_a_quotient(simd, rng, dtype):
    x, y = rng.uniform(-1, 1, (2, 12, 40)).astype(dtype)
    x, y = np.abs(x) + dtype(0.01), y + dtype(0.02)
    half = dtype(2.0 ** (np.finfo(dtype).maxexp - 1))
    largest = half * (1 - np.finfo(dtype).eps) * dtype(2)
    for metric in ("canberra", "braycurtis"):
        result = lw.pairwise_distances(x * half, y * half, metric)
        assert_are_distances(result, x, y, metric)
        same(lw.paired_distances(x * half, y * half, metric), np.diagonal(result))
    a, b = np.full((1, 2), largest), np.full((1, 2), largest / 2)
    for metric, value in [("canberra", 2 / 3), ("braycurtis", 1 / 3)]:
        result = lw.pairwise_distances(a, b, metric)
        assert_within(result, [[value]], bound(a / half, b / half, metric))
        assert lw.pairwise_distances(a, -a, metric) == {"canberra": 2}.get(metric, np.inf)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_correlation_of_rows_far_from_zero(simd, rng, dtype):
    x, y = (rng.integers(-8, 9, (10, 100)) for _ in "xy")
    offset = 2**20 if dtype == np.float32 else 2**49
    near, far = ((x + o).astype(dtype) for o in (0, offset))
    # Centred in float64 from the first coordinate on, rows lose nothing to their offset.
    assert_within(
        lw.pairwise_distances(far, y.astype(dtype), "correlation"),
        expected(near, y, "correlation"),
        bound(near, y.astype(dtype), "correlation"),
    )
    constant = np.full((3, 7), 0.1, dtype)
    assert np.isnan(lw.pairwise_distances(constant, metric="correlation")).all()


def test_infinity_and_nan(simd):
    x = np.array(
        [[1.0, 2.0], [np.inf, 0.0], [np.nan, 1.0], [-np.inf, 0.0], [np.inf, np.inf]], np.float32
    )
    for metric, p in [*METRICS, ("minkowski", 1), ("minkowski", np.inf)]:
        result = lw.pairwise_distances(x, metric=metric, p=p)
        np.testing.assert_allclose(result, expected(x, x, metric, p), rtol=1e-6)
        for i in range(len(x)):
            same(lw.paired_distances(x, x[i], metric, p=p), result[:, i])


def test_rows_without_a_distance():
    x = np.array([[0.0, 0.0], [1.0, 0.0]])
    expect = np.array([[np.nan, np.nan], [np.nan, 0.0]])
    same(lw.pairwise_distances(x, metric="cosine"), expect)
    x = np.array([[3.0, 3.0], [1.0, 0.0]])
    same(lw.pairwise_distances(x, metric="correlation"), expect)
    zero = np.zeros((1, 2))
    for metric, value in [("braycurtis", np.nan), ("jaccard", 0), ("canberra", 0), ("hamming", 0)]:
        np.testing.assert_array_equal(lw.pairwise_distances(zero, metric=metric), [[value]])


# --------------------------------------------------------------------------------------- the laws


@all_metrics
def test_bits_do_not_depend_on_threads_rows_or_strides(simd, rng, metric, p):
    # General powers are so slow that a few of them are cut into many tasks.
    m, n, d = (131, 157, 70) if p in (3.3, 4.7) else (531, 607, 130)
    x, y = (sample(rng, (rows, d), np.float32, metric, p) for rows in (m, n))
    result = lw.pairwise_distances(x, y, metric, p=p)
    for threads in (1, 2, 3):
        lw.set_num_threads(threads)
        same(lw.pairwise_distances(x, y, metric, p=p), result)
    for i in (0, 100, m - 1):
        same(lw.pairwise_distances(x[i : i + 1], y, metric, p=p)[0], result[i])
    transposed = lw.pairwise_distances(y, x, metric, p=p)
    wide = np.zeros((m, 2 * d), np.float32)
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
        same(lw.pairwise_distances(view, y, metric, p=p), result)
        same(lw.pairwise_distances(y, view, metric, p=p), transposed)
    row = np.broadcast_to(x[:1], x.shape)
    same(lw.pairwise_distances(row, y, metric, p=p), np.broadcast_to(result[:1], result.shape))


@all_metrics
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_out_in_any_strides(rng, metric, p, dtype):
    x, y = rng.normal(size=(3, 20, 7)).astype(dtype), rng.normal(size=(31, 7)).astype(dtype)
    result = lw.pairwise_distances(x, y, metric, p=p)
    big = np.full((3, 40, 62), -1.0, dtype)
    for out in [
        np.empty_like(result),
        big[:, ::2, ::2],
        big[:, 19::-1, 30::-1],
        np.empty((31, 20, 3), dtype).T,
    ]:
        assert lw.pairwise_distances(x, y, metric, p=p, out=out) is out
        same(np.ascontiguousarray(out), result)


# -------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("x", "y", "options", "error", "message"),
    [
        (np.ones((2, 3)), np.ones((2, 4)), {}, ValueError, r"x has shape \(2, 3\) and y .* \(2, 4"),
        (np.ones((2, 5, 3)), np.ones((3, 5, 3)), {}, ValueError, "do not broadcast"),
        (
            np.ones((2, 3)),
            np.ones((2, 3)),
            {"metric": "euclid"},
            ValueError,
            "metric is 'euclid', expected one",
        ),
        (np.ones((2, 3)), np.ones((2, 3)), {"p": 3}, ValueError, "p is 3, but metric 'euclidean'"),
        (np.ones((2, 3), complex), np.ones((2, 3)), {}, TypeError, "x has dtype complex128"),
        (np.ones((2, 3)), np.ones((2, 3), object), {}, TypeError, "y has dtype object"),
        (np.ones((2, 3), np.longdouble), np.ones((2, 3)), {}, TypeError, "x has dtype"),
        (np.ones((2, 3), "f2"), np.ones((2, 3), ml_dtypes.bfloat16), {}, TypeError, "no dtype"),
        (np.ones((2, 3)), np.ones((2, 3)), {"out": np.ones((2, 4))}, ValueError, r"out has shape"),
        (np.ones((2, 3)), np.ones((2, 3)), {"out": np.ones((2, 2), "f4")}, TypeError, "out has"),
        (np.ones((2, 3)), np.ones((2, 3)), {"out": np.ones((2, 2), ">f8")}, TypeError, "out has"),
        *(
            (np.ones((2, 3)), np.ones((2, 3)), {"metric": "minkowski", "p": p}, error, "p is .*exp")
            for p, error in [
                (-1, ValueError),
                (np.nan, ValueError),
                (-np.inf, ValueError),
                ("3", TypeError),
                (1j, TypeError),
                ([1, 2], TypeError),
            ]
        ),
    ],
)
@pytest.mark.parametrize("op", ["pairwise_distances", "paired_distances"])
def test_bad_input(op, x, y, options, error, message):
    with pytest.raises(error, match=f"^{op}: .*{message}"):
        getattr(lw, op)(x, y, **options)


def test_bad_shapes():
    with pytest.raises(ValueError, match=r"at least 2 axes.*x has shape \(3,\)"):
        lw.pairwise_distances(np.ones(3), np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"at least 1 axis.*y has shape \(\)"):
        lw.paired_distances(np.ones(3), 1.0)
    huge = np.broadcast_to(1.0, (2**31, 1)), np.broadcast_to(1.0, (4, 2**31, 1))
    with pytest.raises(ValueError, match="64 bits"):
        lw.pairwise_distances(*huge)
    huge = np.broadcast_to(1.0, (2**32, 1, 1)), np.broadcast_to(1.0, (2**32, 1))
    with pytest.raises(ValueError, match="64 bits"):
        lw.paired_distances(*huge)


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
        with pytest.raises(ValueError, match=message):
            lw.paired_distances(x[:, None], x, out=out)
        np.testing.assert_array_equal(out, before)


# ------------------------------------------------------------------------------------------- peers


@pytest.mark.parametrize(
    ("metric", "p"),
    [*[c for c in DISTANCES if c[1] != 0], *(("minkowski", p) for p in (0.3, 1.5, 7))],
)
def test_agrees_with_scipy(simd, rng, metric, p):
    options = {} if p is None else {"p": p}
    for m, n, d in [(1, 1, 2), (12, 17, 5), (40, 33, 150)]:
        x, y = (sample(rng, (rows, d), float, metric, p) for rows in (m, n))
        for a in (x, y):
            a[:, 0], a[:, 1] = a[:, 0] + 1, a[:, 1] + 3
        scipy = cdist(x, y, SCIPY_NAMES.get(metric, metric), **options)
        slack = bound(x, y, metric, p) + scipy_slack(metric, p, d, scipy)
        assert_within(lw.pairwise_distances(x, y, metric, p=p), scipy, slack)


EDGES = np.array(
    [
        [0.0, 0.0],
        [1.0, 0.0],
        [np.nan, 1.0],
        [np.inf, 1.0],
        [-np.inf, 1.0],
        [1.0, 2.0],
        [-1.0, -2.0],
        [-0.0, 1.0],
        [2.0, 2.0],
    ]
)


@pytest.mark.parametrize(
    ("metric", "p"),
    [
        *[c for c in DISTANCES if c[1] != 0 and c[0] != "chebyshev"],
        ("minkowski", 1),
        ("minkowski", 2),
    ],
)
def test_edge_cases_of_scipy(simd, metric, p):
    options = {} if p is None else {"p": p}
    name = SCIPY_NAMES.get(metric, metric)
    for d in (2, 1, 0) if metric != "correlation" else (2, 1):  # NumPy warns of an empty mean
        x = np.ascontiguousarray(EDGES[:, :d])
        with np.errstate(all="ignore"):
            scipy = cdist(x, x, name, **options)
        result = lw.pairwise_distances(x, metric=metric, p=p)
        np.testing.assert_allclose(result, scipy, rtol=1e-14, atol=1e-15)


def test_chebyshev_keeps_the_nan_that_cdist_drops():
    x, y = np.array([[np.nan, 1.0]]), np.array([[1.0, 1.0]])
    assert cdist(x, y, "chebyshev") == 0
    assert np.isnan(lw.pairwise_distances(x, y, "chebyshev"))


def test_agrees_with_scikit_learn_where_that_is_accurate(rng):
    sklearn = pytest.importorskip("sklearn.metrics")
    pairwise = pytest.importorskip("sklearn.metrics.pairwise")
    x, y = rng.normal(size=(30, 10)), rng.normal(size=(20, 10))
    for metric in [m for m, p in DISTANCES if p is None and m not in ("hamming", "jaccard")]:
        expect = sklearn.pairwise_distances(x, y, metric=metric)
        np.testing.assert_allclose(lw.pairwise_distances(x, y, metric), expect, rtol=1e-12)
    for metric in ["euclidean", "manhattan", "cosine"]:
        expect = pairwise.paired_distances(x[:20], y, metric=metric)
        np.testing.assert_allclose(lw.paired_distances(x[:20], y, metric), expect, rtol=1e-12)


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 10.0, np.inf])
def test_agrees_with_torch(rng, p):
    torch = pytest.importorskip("torch")
    x, y = rng.normal(size=(3, 30, 10)), rng.normal(size=(1, 20, 10))
    exact = {"compute_mode": "donot_use_mm_for_euclid_dist"}
    expect = torch.cdist(torch.from_numpy(x), torch.from_numpy(y), p=p, **exact).numpy()
    result = lw.pairwise_distances(x, y, "minkowski", p=p)
    np.testing.assert_allclose(result, expect, rtol=1e-12)
    expect = torch.nn.functional.pairwise_distance(
        torch.from_numpy(x[:, :20]), torch.from_numpy(y), p=p, eps=0
    ).numpy()
    np.testing.assert_allclose(
        lw.paired_distances(x[:, :20], y, "minkowski", p=p), expect, rtol=1e-12
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("metric", ["euclidean", "cosine", "chebyshev"])
def test_results_that_are_stored_past_the_caches(simd, rng, metric, dtype):
    """Large ones, in memory that was used before: the bits of small ones, wherever they lie."""
    m = 3000 if dtype == np.float32 else 1500
    x, y = rng.normal(size=(m, 3)).astype(dtype), rng.normal(size=(2816, 3)).astype(dtype)
    tiny = np.sqrt(np.finfo(dtype).tiny)
    for scale, rows in ((1 / tiny, slice(5, None, 97)), (tiny, slice(7, None, 89))):
        x[rows] *= scale  # whose squares leave the range, so that results are computed again
        y[rows] *= scale
    parts = [lw.pairwise_distances(x[i : i + 500], y, metric) for i in range(0, m, 500)]
    expected = np.concatenate(parts)
    for offset in (0, 1, 8, 16):
        memory = np.full(expected.size + 64, -1, dtype)
        start = -memory.ctypes.data // memory.itemsize % (64 // memory.itemsize) + offset
        out = memory[start:][: expected.size].reshape(expected.shape)
        np.testing.assert_array_equal(lw.pairwise_distances(x, y, metric, out=out), expected)
        assert np.all(memory[:start] == -1)
        assert np.all(memory[start + expected.size :] == -1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_roots_are_rounded_to_nearest(simd, rng, dtype):
    """Those of all sums that are neither too small nor too large to be trusted."""
    largest = np.finfo(dtype).maxexp // 2 - 4
    x, y = (rng.normal(size=(1000, 3)) for _ in "xy")
    x *= 2.0 ** rng.integers(-largest, largest, (1000, 1))
    y *= 2.0 ** rng.integers(-largest, largest, (1000, 1))
    x[:9], y[:9] = x[9], x[9]  # among roots of 0
    x, y = x.astype(dtype), y.astype(dtype)
    squares = lw.pairwise_distances(x, y, "sqeuclidean")
    trusted = (squares == 0) | (squares > np.finfo(dtype).tiny * 16)
    assert trusted.mean() > 0.99
    same(lw.pairwise_distances(x, y)[trusted], np.sqrt(squares)[trusted])
