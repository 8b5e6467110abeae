"""Gradients of distances: against their formulas, differences of distances, the laws, and peers."""

import lanewise as lw
import ml_dtypes
import numpy as np
import pytest
import reference
from distances import NAMED, depth
from distances import same as same_array
from hypothesis import given
from hypothesis import strategies as st
from tolerance import assert_within, gamma, tiny

METRICS = [
    ("euclidean", None),
    ("sqeuclidean", None),
    ("manhattan", None),
    ("chebyshev", None),
    ("cosine", None),
    ("correlation", None),
    ("canberra", None),
    ("braycurtis", None),
    ("dot", None),
    ("minkowski", 0.5),
    ("minkowski", 1.5),
    ("minkowski", 3),
    ("minkowski", 3.3),
]
all_metrics = pytest.mark.parametrize(("metric", "p"), METRICS)
both_ops = pytest.mark.parametrize("pairwise", [True, False])


def ops(pairwise):
    if pairwise:
        return lw.pairwise_distances, lw.pairwise_distances_backward
    return lw.paired_distances, lw.paired_distances_backward


def problem(rng, x_shape, y_shape, metric, p, dtype=np.float64, pairwise=True):
    """x, y, their distances and a gradient; some coordinates are 0 or shared."""
    x, y = (rng.normal(size=shape) for shape in (x_shape, y_shape))
    x, y = (np.where(rng.random(a.shape) < 0.05, 0, a).astype(dtype) for a in (x, y))
    d = ops(pairwise)[0](x, y, metric, p=p)
    return x, y, d, rng.normal(size=d.shape).astype(d.dtype)


def roundings(metric, p, d):
    """Those of one term, apart from its sum's."""
    if metric == "minkowski" and p in NAMED:
        return roundings(NAMED[p], None, d)
    if metric == "minkowski":
        # Difference, inverse and product, to the power of p - 1, and a power's own (forward's).
        return 3 * abs(p - 1) + 4.6 * abs(p - 1) + 4 + 3
    return {
        "euclidean": 3,  # difference, quotient, product
        "sqeuclidean": 2,
        "canberra": 8,  # halves, sum, two quotients that hold it, difference of signs, product
        "braycurtis": depth(d)
        + d // 4
        + 5,  # the sum in lanes, quotient, product with d, difference
        "cosine": 8,  # lengths, two quotients, difference; the row's part; the length again
        "correlation": 8,
    }.get(metric, 1)


def assert_are_gradients(result, grad, x, y, d, metric, p=None, pairwise=True):
    """Against the formula, in float64, for these distances."""
    exact = reference.distances_backward(grad, x, y, d, metric, 2 if p is None else p, pairwise)
    for got, (gradient, size), own in zip(result, exact, (x, y), strict=True):
        assert got.dtype == x.dtype
        assert got.shape == own.shape
        terms = depth(max(1, d.size * x.shape[-1] // max(1, own.size)))
        off = gamma(terms + roundings(metric, p, x.shape[-1]), x.dtype)
        if metric == "correlation":  # centring, in float64, by less than 8 lengths here
            off += 8 * gamma(depth(x.shape[-1]) + 4, np.float64)
        assert_within(got, gradient, off * size + tiny(x.dtype))


def same(a, b):
    """Equal bit for bit, where all NaN are one."""
    for one, other in zip(a, b, strict=True):
        same_array(one, other)


# ----------------------------------------------------------------------------------- the definition


@all_metrics
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sweep_of_sizes(simd, rng, metric, p, dtype):
    sizes = [(n, 20, 9) for n in range(1, 26)] + [(7, n, 5) for n in [*range(1, 20), 63, 64, 65]]
    sizes += [(20, 70, d) for d in [*range(2, 18), 31, 32, 33, 63, 64, 65, 130]]
    for m, n, d in sizes:
        x, y, distances, grad = problem(rng, (m, d), (n, d), metric, p, dtype)
        result = lw.pairwise_distances_backward(grad, x, y, distances, metric, p=p)
        assert_are_gradients(result, grad, x, y, distances, metric, p)


@all_metrics
@pytest.mark.parametrize(("m", "n", "d"), [(300, 290, 5), (3, 9, 6000), (1, 900, 64), (900, 1, 3)])
def test_shapes_that_are_cut_in_blocks(simd, rng, metric, p, m, n, d):
    x, y, distances, grad = problem(rng, (m, d), (n, d), metric, p, np.float32)
    result = lw.pairwise_distances_backward(grad, x, y, distances, metric, p=p)
    assert_are_gradients(result, grad, x, y, distances, metric, p)


@all_metrics
@both_ops
def test_central_differences(rng, metric, p, pairwise):
    forward, backward = ops(pairwise)
    x, y = rng.uniform(0.5, 1.5, (2, 5, 4)) * rng.choice([-1, 1], (2, 5, 4))
    distances = forward(x, y, metric, p=p)
    grad = rng.normal(size=distances.shape)
    result = backward(grad, x, y, distances, metric, p=p)
    step = 1e-6
    for k, gradient in enumerate(result):
        for index in np.ndindex(gradient.shape):
            values = []
            for sign in (1, -1):
                moved = [x.copy(), y.copy()]
                moved[k][index] += sign * step
                values.append((grad * forward(*moved, metric, p=p)).sum())
            # The truncation error, and eps times a loss of some 10 over the step.
            slope = (values[0] - values[1]) / (2 * step)
            np.testing.assert_allclose(gradient[index], slope, rtol=1e-6, atol=1e-7)


@given(
    st.lists(st.integers(0, 3), min_size=3, max_size=3),
    st.tuples(*[st.sampled_from("xy+")] * 3),
    st.integers(0, 3),
    st.booleans(),
    st.sampled_from(METRICS),
    st.integers(0, 2**32),
)
def test_what_is_broadcast_is_summed(sizes, who, missing, pairwise, case, seed):
    metric, p = case
    rng = np.random.default_rng(seed)
    lead = [[n if w in (own, "+") else 1 for n, w in zip(sizes, who)] for own in "xy"]
    rows = ((4, 5), (3, 5)) if pairwise else ((5,), (5,))
    shapes = (*lead[0], *rows[0]), (*lead[1][missing:], *rows[1])
    x, y, d, grad = problem(rng, *shapes, metric, p, pairwise=pairwise)
    result = ops(pairwise)[1](grad, x, y, d, metric, p=p)
    assert_are_gradients(result, grad, x, y, d, metric, p, pairwise)


@pytest.mark.parametrize(
    ("p", "metric"), [(1, "manhattan"), (2, "euclidean"), (np.inf, "chebyshev")]
)
@both_ops
def test_minkowski_of_these_exponents_is_the_metric_of_that_name(rng, p, metric, pairwise):
    x, y, d, grad = problem(rng, (30, 70), (30, 70), metric, None, np.float32, pairwise)
    backward = ops(pairwise)[1]
    same(backward(grad, x, y, d, "minkowski", p=p), backward(grad, x, y, d, metric))


@all_metrics
def test_pairs_have_the_bits_of_single_pairs(simd, rng, metric, p):
    x, y, d, grad = problem(rng, (40, 33), (40, 33), metric, p, np.float32, pairwise=False)
    dx, dy = lw.paired_distances_backward(grad, x, y, d, metric, p=p)
    for i in range(40):
        at = slice(i, i + 1)
        single = lw.pairwise_distances_backward(
            grad[at, None], x[at], y[at], d[at, None], metric, p=p
        )
        same((dx[at], dy[at]), single)


def test_result_is_a_named_tuple(rng):
    x, y, d, grad = problem(rng, (3, 2), (4, 2), "euclidean", None)
    result = lw.pairwise_distances_backward(grad, x, y, d)
    assert isinstance(result, lw.DistanceGrads)
    assert result.x.shape == (3, 2)
    assert result.y.shape == (4, 2)


# --------------------------------------------------------------------------------------- edge cases


@all_metrics
@both_ops
def test_rows_that_are_equal_have_no_gradient(simd, rng, metric, p, pairwise):
    """Every metric whose gradient does not exist at 0, and those that have one there: it is 0."""
    x = np.repeat(rng.normal(size=(1, 20)), 7, axis=0).astype(np.float32)
    forward, backward = ops(pairwise)
    d = forward(x, x, metric, p=p)
    if metric == "dot":
        return
    np.testing.assert_array_equal(d, 0)
    for gradient in backward(np.ones_like(d), x, x, d, metric, p=p):
        np.testing.assert_array_equal(gradient, 0)


@all_metrics
def test_duplicated_rows_among_others(simd, rng, metric, p):
    x, y, _, _ = problem(rng, (20, 9), (30, 9), metric, p, np.float32)
    y[3] = y[17] = x[5]
    d = lw.pairwise_distances(x, y, metric, p=p)
    grad = rng.normal(size=d.shape).astype(np.float32)
    result = lw.pairwise_distances_backward(grad, x, y, d, metric, p=p)
    assert np.isfinite(result.x).all()
    assert_are_gradients(result, grad, x, y, d, metric, p)


def test_ties_of_chebyshev_have_the_whole_gradient_each():
    x, y = np.array([[3.0, -3.0, 1.0]]), np.zeros((1, 3))
    dx, dy = lw.pairwise_distances_backward([[2.0]], x, y, [[3.0]], "chebyshev")
    same((dx, dy), ([[2.0, -2.0, 0.0]] * np.ones((1, 1)), [[-2.0, 2.0, 0.0]] * np.ones((1, 1))))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("metric", "p"), [("euclidean", None), ("minkowski", 3), ("minkowski", 1.5)]
)
@pytest.mark.parametrize("exponent", [-0.995, -0.9, 0.9, 0.95])
def test_distances_at_the_ends_of_the_exponent_range(simd, rng, dtype, metric, p, exponent):
    """Their gradients are of size 1 all the same."""
    info = np.finfo(dtype)
    scale = float(info.max) ** exponent if exponent > 0 else float(info.tiny) ** -exponent
    # Few digits, so that a subnormal difference has all of its own.
    x, y = rng.integers(1, 9, (5, 6)), rng.integers(-8, 0, (7, 6))
    near = lw.pairwise_distances(x, y, metric, p=p).astype(dtype)
    scale = dtype(2.0 ** np.round(np.log2(scale)))
    grad = rng.normal(size=near.shape).astype(dtype)
    result = lw.pairwise_distances_backward(
        grad, x.astype(dtype) * scale, y.astype(dtype) * scale, near * scale, metric, p=p
    )
    assert_are_gradients(result, grad, x.astype(dtype), y.astype(dtype), near, metric, p)


@all_metrics
def test_infinity_and_nan(simd, metric, p):
    x = np.array(
        [[1.0, 2.0, 5.0], [np.inf, 0.5, 1], [np.nan, 1, 2], [-np.inf, 0.5, 7], [3, -1, 0.5]], "f4"
    )
    d = lw.pairwise_distances(x, x, metric, p=p)
    grad = np.arange(1, 26, dtype=np.float32).reshape(5, 5)
    with np.errstate(all="ignore"):
        exact = reference.distances_backward(grad, x, x, d, metric, 2 if p is None else p)
    result = lw.pairwise_distances_backward(grad, x, x, d, metric, p=p)
    for got, (gradient, _) in zip(result, exact):
        np.testing.assert_allclose(got, gradient, rtol=1e-5, atol=1e-6)


def test_rows_without_a_direction_give_nan():
    x, y = np.array([[0.0, 0.0], [1.0, 2.0]]), np.array([[2.0, 1.0]])
    d = lw.pairwise_distances(x, y, "cosine")
    dx, dy = lw.pairwise_distances_backward(np.ones_like(d), x, y, d, "cosine")
    assert np.isnan(dx[0]).all()
    assert np.isfinite(dx[1]).all()
    assert np.isnan(dy).all()


@all_metrics
@both_ops
def test_zero_sizes(metric, p, pairwise):
    forward, backward = ops(pairwise)
    shapes = [((2, 0), (2, 0)), ((1, 2, 3), (0, 2, 3)), ((0, 2, 3), (2, 3))]
    if pairwise:
        shapes += [((0, 3), (4, 3)), ((4, 3), (0, 3)), ((2, 0, 3), (4, 3))]
    for shapes_of_two in shapes:
        x, y = (np.ones(shape, np.float32) for shape in shapes_of_two)
        d = forward(x, y, metric, p=p)
        result = backward(np.ones_like(d), x, y, d, metric, p=p)
        same(result, (np.zeros_like(x), np.zeros_like(y)))


# ----------------------------------------------------------------------------------------- the laws


@all_metrics
@both_ops
def test_bits_do_not_depend_on_threads_or_strides(simd, rng, metric, p, pairwise):
    d = 17 if p in (0.5, 3.3) else 37  # general powers are slow
    shapes = ((3, 120, d), (1, 97, d)) if pairwise else ((3, 5, 400, d), (5, 1, d))
    x, y, d, grad = problem(rng, *shapes, metric, p, np.float32, pairwise)
    backward = ops(pairwise)[1]
    result = backward(grad, x, y, d, metric, p=p)
    for threads in (1, 2, 3):
        lw.set_num_threads(threads)
        same(backward(grad, x, y, d, metric, p=p), result)

    def strided(a):
        wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
        wide[..., ::2] = a
        return wide[..., ::2]

    for view in (np.asfortranarray, strided, lambda a: np.flip(np.flip(a).copy())):
        same(backward(view(grad), view(x), view(y), view(d), metric, p=p), result)
        same(backward(view(grad), x, y, d, metric, p=p), result)
        same(backward(grad, x, view(y), view(d), metric, p=p), result)


@all_metrics
def test_bits_do_not_depend_on_the_batch_or_other_rows(simd, rng, metric, p):
    x, y, d, grad = problem(rng, (4, 70, 20), (4, 130, 20), metric, p, np.float32)
    result = lw.pairwise_distances_backward(grad, x, y, d, metric, p=p)
    for i in range(4):
        single = lw.pairwise_distances_backward(grad[i], x[i], y[i], d[i], metric, p=p)
        same(single, (result.x[i], result.y[i]))
    rows = slice(11, 12)
    single = lw.pairwise_distances_backward(
        grad[0, rows], x[0, rows], y[0], d[0, rows], metric, p=p
    )
    np.testing.assert_array_equal(single.x, result.x[0, rows])


def test_a_distance_rounded_to_0_has_no_gradient_whatever_the_other_rows():
    x, y = np.array([[1e-9, 0], [3, 4]], np.float32), np.zeros((1, 2), np.float32)
    for other in (5, np.nan, np.inf):
        x[1, 0] = other
        d = lw.pairwise_distances(x, y, "chebyshev").astype(np.float16)
        dx, _ = lw.pairwise_distances_backward(np.ones((2, 1), np.float32), x, y, d, "chebyshev")
        np.testing.assert_array_equal(dx[0], 0)


# ------------------------------------------------------------------------------------------- dtypes


@all_metrics
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_narrow_floats_are_computed_in_float32_and_rounded_once(simd, rng, metric, p, dtype):
    x, y, d, grad = problem(rng, (20, 33), (31, 33), metric, p, dtype)
    result = lw.pairwise_distances_backward(grad, x, y, d, metric, p=p)
    wide = [a.astype(np.float32) for a in (grad, x, y, d)]
    if metric == "chebyshev":  # whose d says which coordinate is meant only as it was
        wide[3] = lw.pairwise_distances(*wide[1:3], metric)
    wide = lw.pairwise_distances_backward(*wide, metric, p=p)
    for got, want in zip(result, wide, strict=True):
        assert got.dtype == dtype
        if p == 0.5:  # which is computed in float64, and so rounded to float32 in between
            continue
        np.testing.assert_array_equal(got.astype("f4"), want.astype(dtype).astype("f4"))


@all_metrics
@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, np.bool_])
def test_integers_and_bool_become_float64(rng, metric, p, dtype):
    x, y = (rng.integers(0, 9, (n, 7)).astype(dtype) for n in (10, 12))
    d = lw.pairwise_distances(x, y, metric, p=p)
    grad = rng.integers(-3, 3, d.shape)
    wide = lw.pairwise_distances_backward(
        grad.astype(float), x.astype(float), y.astype(float), d, metric, p=p
    )
    same(lw.pairwise_distances_backward(grad, x, y, d, metric, p=p), wide)


def test_mixed_dtypes(rng):
    x, y, d, grad = problem(rng, (5, 3), (4, 3), "euclidean", None, np.float32)
    result = lw.pairwise_distances_backward(grad, x, y.astype(float), d)
    wide = lw.pairwise_distances_backward(*(a.astype(float) for a in (grad, x, y, d)))
    same(result, wide)


# ---------------------------------------------------------------------------------------- bad input

X, Y, D = np.ones((2, 3)), np.ones((4, 3)), np.ones((2, 4))


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((D.T, X, Y, D), {}, ValueError, r"grad has shape \(4, 2\), expected \(2, 4\)"),
        ((D, X, Y, D[0]), {}, ValueError, r"d has shape \(4,\), expected \(2, 4\)"),
        ((D, X, Y[:, :2], D), {}, ValueError, r"x has shape \(2, 3\) and y has shape \(4, 2\)"),
        ((D, np.ones((2, 2, 3)), np.ones((3, 4, 3)), D), {}, ValueError, "do not broadcast"),
        ((D, X[0], Y, D), {}, ValueError, "at least 2 axes"),
        ((D, X, Y, D), {"metric": "hamming"}, ValueError, "'hamming' is piecewise constant"),
        ((D, X, Y, D), {"metric": "jaccard"}, ValueError, "'jaccard' is piecewise constant"),
        ((D, X, Y, D), {"metric": "minkowski", "p": 0}, ValueError, "p = 0 is piecewise constant"),
        ((D, X, Y, D), {"metric": "minkowski", "p": -1}, ValueError, "p is -1"),
        ((D, X, Y, D), {"p": 3}, ValueError, "p is 3, but metric 'euclidean'"),
        ((D, X, Y, D), {"metric": "euclid"}, ValueError, "metric is 'euclid', expected one"),
        ((D, X.astype("f4"), Y.astype("f4"), D), {}, TypeError, "grad has dtype float64"),
        ((D.astype("f4"), X.astype("f4"), Y.astype("f4"), D), {}, TypeError, "d has dtype float64"),
        ((D * 1j, X, Y, D), {}, TypeError, "grad has dtype complex128"),
        ((D, X, Y, D.astype(object)), {}, TypeError, "d has dtype object"),
    ],
)
def test_bad_input(arguments, options, error, message):
    with pytest.raises(error, match=f"^pairwise_distances_backward: .*{message}"):
        lw.pairwise_distances_backward(*arguments, **options)


def test_bad_input_of_pairs():
    with pytest.raises(ValueError, match=r"^paired_distances_backward: grad has shape \(3,\)"):
        lw.paired_distances_backward(np.ones(3), X, X, np.ones(2))
    with pytest.raises(ValueError, match=r"^paired_distances_backward: .*piecewise constant"):
        lw.paired_distances_backward(np.ones(2), X, X, np.ones(2), "hamming")


# -------------------------------------------------------------------------------------------- peers


def torch_gradients(torch, forward, grad, x, y):
    x, y = (torch.from_numpy(a).requires_grad_() for a in (x, y))
    forward(x, y).backward(torch.from_numpy(grad))
    return x.grad.numpy(), y.grad.numpy()


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0, np.inf])
def test_agrees_with_torch(rng, p):
    torch = pytest.importorskip("torch")
    x, y, d, grad = problem(rng, (3, 30, 10), (3, 20, 10), "minkowski", p)
    mode = "donot_use_mm_for_euclid_dist"
    expect = torch_gradients(
        torch, lambda x, y: torch.cdist(x, y, p=p, compute_mode=mode), grad, x, y
    )
    result = lw.pairwise_distances_backward(grad, x, y, d, "minkowski", p=p)
    for got, want in zip(result, expect, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)


def test_cosine_agrees_with_torch(rng):
    torch = pytest.importorskip("torch")
    x, y, d, grad = problem(rng, (30, 1, 10), (20, 10), "cosine", None, pairwise=False)
    similarity = torch.nn.functional.cosine_similarity
    expect = torch_gradients(torch, lambda x, y: 1 - similarity(x, y, dim=-1), grad, x, y)
    result = lw.paired_distances_backward(grad, x, y, d, "cosine")
    for got, want in zip(result, expect, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)
