"""The softmax family against its definitions, and the library's laws."""

import re

import lanewise as lw
import ml_dtypes
import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from reference import one_axis
from tolerance import assert_within, gamma, tiny, u

FLOATS = [np.float32, np.float64]
NARROW = [np.float16, ml_dtypes.bfloat16]
FORWARD = ["softmax", "log_softmax"]
BACKWARD = ["softmax_backward", "log_softmax_backward"]
OPS = [*FORWARD, *BACKWARD, "logsumexp"]
ELEMENTWISE = FORWARD + BACKWARD  # the result has the shape of the arguments

# Rows, short rows, panels across, several axes.
SHAPES = [
    ((200, 1000), -1),
    ((3000, 10), -1),
    ((4, 300, 9, 9), 1),
    ((3, 40, 500), 1),
    ((9000, 20), 0),
    ((4, 30, 9, 70), (1, 3)),
    ((70, 5, 40, 3), (2, 0)),
    ((300, 2, 60), (0, 2)),
]

# The kernels' elementary functions in rounding units, one ulp being at most two of them: the
# largest errors seen (math-inl.h, 1.04 and 2.47 ulp, not proven bounds), rounded up.
EXP_U = 2 * 1.1
LOG1P_U = 2 * 2.5


def compute_type(dtype):
    return np.float32 if np.dtype(dtype).itemsize == 2 else dtype


def count(shape, axis):
    """Elements along the axis, or axes."""
    return int(np.prod([shape[a] for a in np.atleast_1d(axis).astype(int)], dtype=np.int64))


def partials(dtype):
    """B: how many partial sums an axis has, four vectors full."""
    vector = {"avx512": 64, "avx2": 32}.get(lw.config()["simd"], 16)
    return 4 * vector // np.dtype(compute_type(dtype)).itemsize


def depth(n, dtype):
    """The most additions that one element goes through: its partial sum's, then the tree's."""
    b = partials(dtype)
    return -(-n // b) + b.bit_length() - 1


def inputs(op, rng, shape, dtype, axis=-1):
    """Arguments of `op`: x, or dy and a y that is a result of the forward op."""
    x = (3 * rng.standard_normal(shape)).astype(dtype)
    if op not in BACKWARD:
        return (x,)
    y = getattr(reference, op.removesuffix("_backward"))(x, axis).astype(dtype)
    return rng.standard_normal(shape).astype(dtype), y


def run(op, args, axis=-1, **options):
    return getattr(lw, op)(*args, axis, **options)


def error_bound(op, args, axis, dtype, additions):
    """How far `op` computed in `dtype` may be off, each step bounded in turn."""
    unit, sums = u(dtype), gamma(additions + 1, dtype)
    a = np.asarray(args[0], np.float64)
    smallest, n = 2 * tiny(dtype), count(a.shape, axis)
    if op not in BACKWARD:
        # x − max is off by u·|x − max|, which is relative after exp.
        top = a.max(axis, keepdims=True)
        with np.errstate(invalid="ignore"):
            difference = a - top
        e = np.exp(difference)
        relative = np.where(e > 0, -np.maximum(difference, -800), 0) * unit + EXP_U * unit
        if op == "softmax":
            total = e.sum(axis, keepdims=True)
            # its own exponential, those in the sum, the sum, the reciprocal and the product
            off = relative + (e * relative).sum(axis, keepdims=True) / total + sums + 2 * unit
            return e / total * off / (1 - off) + 4 * smallest
        rest = e.sum(axis, keepdims=True) - 1
        of_rest = (e * relative).sum(axis, keepdims=True) + sums * rest
        log_sum = np.log1p(rest)
        size = of_rest / (1 + rest) + LOG1P_U * unit * log_sum
        if op == "logsumexp":
            size = (size + unit * np.abs(top + log_sum)).squeeze(axis)
        else:
            size = size - difference * unit + unit * (np.abs(difference) + log_sum)
        return size * (1 + 4 * sums) + 4 * smallest * n
    y = np.asarray(args[1], np.float64)
    if op == "softmax_backward":
        terms = (np.abs(a) * np.abs(y)).sum(axis, keepdims=True)
        # the dot product, the difference and the product
        size = np.abs(y) * (sums * terms + 2 * unit * (np.abs(a) + terms))
    else:
        total = np.abs(a).sum(axis, keepdims=True)
        size = np.exp(y) * total * (sums + (EXP_U + 1) * unit)
        size += unit * (np.abs(a) + np.exp(y) * total)
    return size * (1 + 4 * sums) + 4 * smallest * n


def result_dtype(args):
    dtype = np.result_type(*args)
    return np.dtype(np.float64) if dtype.kind in "biu" else dtype


def rounded_once(exact, bound, dtype):
    """The bound of a result that is off by `bound` before it is rounded to `dtype`."""
    if compute_type(dtype) == dtype:
        return bound
    return bound + u(dtype) * (np.abs(exact) + bound) + tiny(dtype)


def check(op, args, axis=-1, result=None):
    """The result is within the bound of the definition, whose own error is bounded likewise."""
    dtype = result_dtype(args)
    result = run(op, args, axis) if result is None else result
    exact = getattr(reference, op)(*args, axis)
    assert result.dtype == dtype
    assert result.shape == exact.shape
    n = count(args[0].shape, axis)
    computed = compute_type(dtype)
    bound = error_bound(op, args, axis, computed, depth(n, computed))
    bound = rounded_once(exact, bound, dtype)
    bound = bound + error_bound(op, args, axis, np.float64, n)
    assert_within(result, exact, bound)


def same_bits(a, b):
    assert a.dtype == b.dtype
    integer = f"i{a.itemsize}"
    np.testing.assert_array_equal(
        np.ascontiguousarray(a).view(integer), np.ascontiguousarray(b).view(integer)
    )


# --------------------------------------------------------------------------------------- definition


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_every_length_around_the_vectors(simd, rng, op, dtype):
    b = partials(dtype)
    for n in [*range(1, 2 * b + 2), 1000, 1024, 1025]:
        check(op, inputs(op, rng, (3, n), dtype))  # rows
        check(op, inputs(op, rng, (40, n), dtype))  # full panels and a part of one, if short
        check(op, inputs(op, rng, (n, 19), dtype, 0), 0)  # panels across


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_axes_longer_than_scratch(simd, rng, op, dtype):
    """L2/2 holds fewer: the axis is worked through in chunks."""
    b = partials(dtype)
    for n in (20000, 20000 // b * b, 20000 // b * b + 1):
        check(op, inputs(op, rng, (n, 20), dtype, 0), 0)
    strided = [np.stack([a, a], -1)[..., 0] for a in inputs(op, rng, (2, 300001), dtype)]
    check(op, strided)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("positions", [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 255, 256, 257, 700])
@pytest.mark.parametrize("op", OPS)
def test_every_number_of_positions(rng, op, positions, dtype):
    check(op, inputs(op, rng, (positions, 5), dtype))
    check(op, inputs(op, rng, (5, positions), dtype, 0), 0)
    check(op, inputs(op, rng, (3, 70, positions), dtype, 1), 1)


def draw_axes(data, ndim):
    """An axis, or a tuple of some in any order, counted from either end."""
    order = data.draw(st.permutations(range(ndim)))
    axes = tuple(a - ndim * data.draw(st.booleans()) for a in order)
    axes = axes[: data.draw(st.integers(0, ndim))]
    return axes[0] if len(axes) == 1 and data.draw(st.booleans()) else axes


def draw_layout(data, array, broadcast):
    """The same elements, permuted, reversed, stepped over; if `broadcast`, perhaps one repeated."""
    order = data.draw(st.permutations(range(array.ndim)))
    array = np.transpose(np.transpose(array, order).copy("C"), np.argsort(order))
    for a in range(array.ndim):
        kind = data.draw(st.sampled_from(["", "", "reversed", "stepped", "broadcast"]))
        whole = (slice(None),) * a
        if kind == "reversed":
            array = np.ascontiguousarray(array[(*whole, slice(None, None, -1))])
            array = array[(*whole, slice(None, None, -1))]
        elif kind == "stepped":
            array = np.repeat(array, 2, a)[(*whole, slice(None, None, 2))]
        elif kind == "broadcast" and broadcast:
            array = np.broadcast_to(array[(*whole, slice(1))], array.shape)
    return array


def along_one_axis(op, args, axis):
    """`op` on contiguous copies whose last axis holds the elements along `axis`."""
    return run(op, [np.ascontiguousarray(one_axis(a, axis)) for a in args])


def as_one_axis(op, result, axis):
    return one_axis(result, axis) if op in ELEMENTWISE else result


@given(data=st.data())
def test_any_array_any_axes_any_dtype(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    op = data.draw(st.sampled_from(OPS))
    dtype = data.draw(st.sampled_from(FLOATS + NARROW))
    shape = tuple(data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=5)))
    axis = draw_axes(data, len(shape))
    args = [
        draw_layout(data, a, broadcast=op not in BACKWARD)
        for a in inputs(op, rng, shape, dtype, axis)
    ]
    result = run(op, args, axis)
    check(op, args, axis, result)
    same_bits(as_one_axis(op, result, axis), along_one_axis(op, args, axis))


@pytest.mark.parametrize("dtype", FLOATS)
def test_probabilities_sum_to_one(simd, rng, dtype):
    for n in (1, 2, 10, 1000, 32000):
        y = lw.softmax((5 * rng.standard_normal((7, n))).astype(dtype))
        # Errors of single exponentials are common to numerator and sum; what is left is the sum's
        # rounding, the reciprocal's and the products', and underflow.
        off = gamma(depth(n, dtype) + 2, dtype) + n * np.finfo(dtype).smallest_subnormal
        assert np.abs(y.astype(np.float64).sum(-1) - 1).max() <= off + gamma(n, np.float64)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("n", [3, 70])
def test_extreme_inputs(simd, rng, dtype, n):
    huge = rng.choice([-1e30, 1e30, 0, 1], (20, n)).astype(dtype)
    tiny = rng.integers(-9, 9, (20, n)) * np.finfo(dtype).smallest_subnormal
    largest = rng.choice([-1, 1], (20, n)).astype(dtype) * np.finfo(dtype).max
    for x in (huge, tiny.astype(dtype)):
        for op in FORWARD:
            check(op, (x,))
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(lw.softmax(largest) > 0, largest == largest.max(-1)[:, None])
    # exp(x − max) down to the last denormal and past it
    steps = np.linspace(0, 2 * np.log(np.finfo(dtype).tiny), n).astype(dtype)
    check("softmax", (np.stack([steps] * 20),))


@pytest.mark.parametrize("dtype", FLOATS)
def test_one_dominating_element_keeps_its_digits(simd, dtype):
    gap = dtype(40)
    expected = -np.exp(-np.float64(gap))  # −log1p(e^-40) = −e^-40 to 17 digits
    for args, axis in (([gap, 0], -1), (np.tile([[gap], [0]], (1, 20)), 0)):
        y = lw.log_softmax(np.array(args, dtype), axis)
        top = np.take(y, 0, axis).astype(np.float64)
        np.testing.assert_allclose(top, expected, rtol=(EXP_U + LOG1P_U + 2) * u(dtype))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(1,), (5, 1), (2, 1, 3)])
def test_an_axis_of_one(simd, rng, shape, dtype):
    axis = shape.index(1)
    x = rng.standard_normal(shape).astype(dtype)
    same_bits(lw.softmax(x, axis), np.ones_like(x))
    same_bits(lw.log_softmax(x, axis), np.zeros_like(x))


@pytest.mark.parametrize("op", FORWARD)
def test_gradient_by_central_differences(rng, op):
    x, dy = rng.standard_normal((2, 4, 5, 3))
    for axis in range(3):
        y = run(op, (x,), axis)
        dx = run(op + "_backward", (dy, y), axis)
        h = 1e-5
        # Rounding of the two results, of x ± h (slopes are at most 1), and of dx; the third
        # derivative of a softmax along one variable is at most 1/8, that of its logarithm less.
        rounding = error_bound(op, (x,), axis, np.float64, x.shape[axis]).max()
        backward = error_bound(op + "_backward", (dy, y), axis, np.float64, x.shape[axis]).max()
        off = (2 * rounding + u(np.float64) * (np.abs(x).max() + h)) / h + h * h / 48
        bound = np.abs(dy).sum() * off + backward
        for index in np.ndindex(*x.shape):
            step = np.zeros_like(x)
            step[index] = h
            change = run(op, (x + step,), axis) - run(op, (x - step,), axis)
            assert abs((dy * change).sum() / (2 * h) - dx[index]) <= bound


# -------------------------------------------------------------------------------------- NaN and inf


SPECIAL = [
    [-np.inf, -np.inf, -np.inf],
    [np.inf, 1, 2],
    [np.inf, np.inf, 0],
    [np.inf, -np.inf, 0],
    [np.nan, 1, 2],
    [5, np.nan, -np.inf],
    [-np.inf, 1, 2],
    [0, -np.inf, -np.inf],
]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("n", [3, 33, 200])
@pytest.mark.parametrize("op", FORWARD)
def test_special_rows_as_torch(simd, op, n, dtype):
    torch = pytest.importorskip("torch")
    rows = np.full((len(SPECIAL), n), -1, dtype)
    rows[:, :3] = SPECIAL
    rows[0] = -np.inf
    rows = np.concatenate([rows, np.roll(rows, n // 2, 1), rows[:, ::-1]])
    with np.errstate(invalid="ignore"):
        expected = getattr(reference, op)(rows)
        bound = error_bound(op, (rows,), -1, dtype, n)
    for result in (run(op, (rows,)), run(op, (np.asfortranarray(rows),)), run(op, (rows.T,), 0).T):
        assert_within(result, expected, bound)
    peer = getattr(torch, op)(torch.from_numpy(rows.copy()), -1).numpy()
    np.testing.assert_array_equal(np.isnan(expected), np.isnan(peer))
    np.testing.assert_array_equal(np.isneginf(expected), np.isneginf(peer))


@pytest.mark.parametrize("n", [3, 200])
@pytest.mark.parametrize("op", BACKWARD)
def test_nan_in_a_gradient_reaches_its_row_only(simd, rng, op, n):
    for which in range(2):
        args = inputs(op, rng, (20, n), np.float32)
        clean = run(op, args)
        args[which][4, n // 2] = np.nan
        dx = run(op, args)
        rows = np.isnan(dx).any(-1)
        np.testing.assert_array_equal(np.flatnonzero(rows), [4])
        if which == 0:
            assert np.isnan(dx[4]).all()
        same_bits(np.delete(dx, 4, 0), np.delete(clean, 4, 0))


def peer_bound(op, args, axis):
    """Ours and a peer's error in float64; peers take log Σ, with the maximum's 1 in the sum."""
    n = count(args[0].shape, axis)
    bound = 2 * error_bound(op, args, axis, np.float64, n)
    return bound + gamma(n, np.float64) if op == "log_softmax" else bound


@pytest.mark.parametrize("op", FORWARD)
def test_scipy_agrees(rng, op):
    special = pytest.importorskip("scipy.special")
    x = 10 * rng.standard_normal((6, 5, 4))
    for axis in (0, 1, -1, (0, 1), (2, 0), (0, 1, 2)):
        peer = getattr(special, op)(x, axis)
        assert_within(run(op, (x,), axis), peer, peer_bound(op, (x,), axis))


@pytest.mark.parametrize("op", FORWARD)
def test_torch_agrees(rng, op):
    torch = pytest.importorskip("torch")
    x, dy = rng.standard_normal((2, 6, 70, 4))
    for axis in range(3):
        leaf = torch.from_numpy(x).requires_grad_()
        y = getattr(torch, op)(leaf, axis)
        y.backward(torch.from_numpy(dy))
        y = y.detach().numpy()
        assert_within(run(op, (x,), axis), y, peer_bound(op, (x,), axis))
        dx = run(op + "_backward", (dy, y), axis)
        assert_within(dx, leaf.grad.numpy(), peer_bound(op + "_backward", (dy, y), axis))


# -------------------------------------------------------------------------------------- tuple axes


@pytest.mark.parametrize("op", OPS)
def test_several_axes_are_one_in_the_order_of_the_array(simd, rng, op):
    args = inputs(op, rng, (5, 6, 7, 8), np.float32, (0, 2))
    expected = along_one_axis(op, args, (0, 2))
    for axis in ((0, 2), (2, 0), (-2, 0), (-4, -2)):
        same_bits(as_one_axis(op, run(op, args, axis), axis), expected)
    check(op, args, (0, 2))
    fortran = [np.asfortranarray(a) for a in args]
    same_bits(as_one_axis(op, run(op, fortran, (0, 2)), (0, 2)), expected)


@pytest.mark.parametrize("op", OPS)
def test_along_no_axes_every_element_is_alone(rng, op):
    args = inputs(op, rng, (5, 40), np.float32, ())
    alone = run(op, [a[..., None] for a in args])
    same_bits(run(op, args, ()), alone.reshape(5, 40))
    same_bits(run(op, [a[0, 0] for a in args], ()), alone[0, 0].reshape(()))
    for dtype in FLOATS:
        x = rng.standard_normal((3, 4)).astype(dtype)
        same_bits(lw.softmax(x, ()), np.ones_like(x))
        same_bits(lw.logsumexp(x, ()), x)


# ------------------------------------------------------------------------------------------- masks


GARBAGE = [np.nan, np.inf, -np.inf, 6e4, 5]


def masked_bound(x, mask, axis, dtype):
    """The bound of softmax, masked elements counting as −inf."""
    computed = compute_type(dtype)
    with np.errstate(invalid="ignore"):
        left = np.where(mask, x.astype(np.float64), -np.inf)
        some = mask.any(axis, keepdims=True) & np.ones(mask.shape, bool)
        left[~some] = 0
        bound = error_bound("softmax", (left,), axis, computed, count(x.shape, axis))
    return np.where(mask, rounded_once(1, bound, dtype), 0)


MASKED_SHAPES = [
    ((4, 200), -1),  # rows
    ((300, 10), -1),  # rows as panels
    ((3, 70, 50), 1),  # panels across
    ((2, 70, 90), 1),  # columns
    ((2, 9, 6, 7), (1, 3)),
]


@pytest.mark.parametrize(("shape", "axis"), MASKED_SHAPES)
@pytest.mark.parametrize("dtype", FLOATS + NARROW)
def test_what_is_masked_is_not_there(simd, rng, dtype, shape, axis):
    for kept in (0.02, 0.5, 0.98):
        x = (3 * rng.standard_normal(shape)).astype(dtype)
        mask = rng.random(shape) < kept
        x[~mask] = rng.choice(GARBAGE, (~mask).sum()).astype(dtype)
        y = lw.softmax(x, axis, mask=mask)
        assert y.dtype == x.dtype
        assert (y[~mask] == 0).all()
        some = mask.any(axis, keepdims=True) & np.ones(shape, bool)
        with np.errstate(invalid="ignore"):
            expected = np.where(some, reference.softmax(x, axis, mask), 0)
        assert_within(y, expected, masked_bound(x, mask, axis, dtype))
        other = x.copy()
        other[~mask] = 0
        same_bits(lw.softmax(other, axis, mask=mask), y)
        dy = rng.standard_normal(shape).astype(dtype)
        assert (lw.softmax_backward(dy, y, axis)[~mask] == 0).all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("n", [4, 40, 200])
def test_special_rows_under_a_mask(simd, n, dtype):
    """Unmasked elements are what they are in a row of their own; masked ones are 0."""
    rows = np.full((len(SPECIAL) + 1, n), -np.inf, dtype)
    rows[: len(SPECIAL), :3] = SPECIAL
    for masked in range(4):
        mask = np.ones((len(rows), n), bool)
        mask[:, masked] = False
        mask[-1] = False
        for x, axis in ((rows, -1), (np.asfortranarray(rows), -1), (rows.T, 0)):
            y = lw.softmax(x, axis, mask=mask if axis else mask.T)
            y = y if axis else y.T
            np.testing.assert_array_equal(y[:, masked], 0)
            np.testing.assert_array_equal(y[-1], 0)
            with np.errstate(invalid="ignore"):
                left = np.delete(rows[:-1], masked, 1)
                expected = reference.softmax(left)
                bound = error_bound("softmax", (left,), -1, dtype, n)
            assert_within(np.delete(y[:-1], masked, 1), expected, bound)


@pytest.mark.parametrize(("shape", "axis"), [*SHAPES, ((20000, 20), 0), ((2, 300001), -1)])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_masked_same_bits_on_every_path(simd, rng, dtype, shape, axis):
    x = rng.standard_normal(shape).astype(dtype)
    mask = rng.random(shape) < 0.7
    flat, flat_mask = (np.ascontiguousarray(one_axis(a, axis)) for a in (x, mask))
    expected = lw.softmax(flat, mask=flat_mask)
    same_bits(one_axis(lw.softmax(x, axis, mask=mask), axis), expected)
    same_bits(one_axis(lw.softmax(np.asfortranarray(x), axis, mask=mask), axis), expected)
    same_bits(one_axis(lw.softmax(x, axis, mask=np.asfortranarray(mask)), axis), expected)
    stepped = np.stack([mask, ~mask], -1)[..., 0]
    for threads in (1, 2):
        lw.set_num_threads(threads)
        y = np.stack([x, x], -1)[..., 0]
        assert lw.softmax(y, axis, mask=stepped, out=y) is y
        same_bits(one_axis(y, axis), expected)
    same_bits(lw.softmax(x, axis, mask=np.ones(shape, bool)), lw.softmax(x, axis))


@pytest.mark.parametrize("dtype", FLOATS)
def test_masked_columns_are_masked_rows(simd, rng, dtype):
    """Of NaN and infinities, with nothing left, and under masks of one element for many."""
    shape = (3, 40, 150)
    x = rng.standard_normal(shape).astype(dtype)
    x.transpose(0, 2, 1)[0, : len(SPECIAL), :3] = SPECIAL
    kept = rng.random(shape) < 0.7
    kept[:, :, 100:110] = False
    for mask in (kept, kept[1], kept[2, :, :1], kept[0, 0], np.asfortranarray(kept)):
        rows = np.swapaxes(np.broadcast_to(mask, shape), 1, 2).copy()
        expected = lw.softmax(np.swapaxes(x, 1, 2).copy(), mask=rows)
        same_bits(lw.softmax(x, 1, mask=mask), np.swapaxes(expected, 1, 2))


@given(data=st.data())
def test_a_mask_broadcasts(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    dtype = data.draw(st.sampled_from(FLOATS + NARROW))
    shape = tuple(data.draw(st.lists(st.integers(1, 9), max_size=5)))
    axis = draw_axes(data, len(shape))
    x = draw_layout(data, rng.standard_normal(shape).astype(dtype), broadcast=True)
    lengths = [data.draw(st.sampled_from([1, n])) for n in shape]
    small = rng.random(lengths[data.draw(st.integers(0, len(shape))) :]) < 0.7
    small = draw_layout(data, small, broadcast=False)
    mask = np.broadcast_to(small, shape)
    y = lw.softmax(x, axis, mask=small)
    same_bits(y, lw.softmax(x, axis, mask=mask.copy()))
    some = mask.any(axis, keepdims=True) & np.ones(shape, bool)
    with np.errstate(invalid="ignore"):
        expected = np.where(some, reference.softmax(x, axis, mask), 0)
    assert_within(y, expected, masked_bound(x, mask, axis, dtype))


def test_any_byte_but_zero_keeps(rng):
    x = rng.standard_normal((3, 100)).astype(np.float32)
    bytes_ = rng.integers(0, 3, (3, 100), np.uint8)
    for axis in range(2):
        expected = lw.softmax(x, axis, mask=bytes_ > 0)
        same_bits(lw.softmax(x, axis, mask=bytes_.view(bool)), expected)


def test_bad_masks():
    x = np.ones((2, 3), np.float32)
    for mask in (np.ones(3), np.ones((2, 3), np.uint8), [[1, 0, 1]], np.ones(3, object)):
        with pytest.raises(TypeError, match="softmax: mask has dtype"):
            lw.softmax(x, mask=mask)
    for shape in ((2,), (3, 2), (1, 2, 3), (0,), (2, 0)):
        message = re.escape(f"softmax: mask has shape {shape}, which does not broadcast to x's")
        with pytest.raises(ValueError, match=message + r" \(2, 3\)"):
            lw.softmax(x, mask=np.ones(shape, bool))
    memory = np.zeros(64, np.float32)
    with pytest.raises(ValueError, match="softmax: out overlaps mask in memory"):
        lw.softmax(x, mask=memory.view(bool)[:3], out=memory[:6].reshape(2, 3))
    assert (memory == 0).all()
    np.testing.assert_array_equal(lw.softmax(x, mask=False), np.zeros((2, 3)))
    np.testing.assert_array_equal(lw.softmax(x[:0], mask=np.ones((1, 3), bool)), x[:0])


# --------------------------------------------------------------------------------------- logsumexp


def test_logsumexp_special_rows_as_torch(simd):
    torch = pytest.importorskip("torch")
    for dtype in FLOATS:
        for n in (3, 33, 200):
            rows = np.full((len(SPECIAL), n), -1, dtype)
            rows[:, :3] = SPECIAL
            rows[0] = -np.inf
            rows = np.concatenate([rows, np.roll(rows, n // 2, 1), rows[:, ::-1]] * 2)
            with np.errstate(invalid="ignore"):
                expected = reference.logsumexp(rows)
                bound = error_bound("logsumexp", (rows,), -1, dtype, n)
            for result in (
                lw.logsumexp(rows),
                lw.logsumexp(rows[:3]),
                lw.logsumexp(np.asfortranarray(rows)),
                lw.logsumexp(rows.T, 0),
            ):
                assert_within(result, expected[: len(result)], bound[: len(result)])
            peer = torch.logsumexp(torch.from_numpy(rows.copy()), -1).numpy()
            np.testing.assert_array_equal(np.isfinite(peer), np.isfinite(expected))
            infinite = ~np.isfinite(peer)
            np.testing.assert_array_equal(peer[infinite], expected[infinite])


def test_logsumexp_shapes_and_out(rng):
    x = rng.standard_normal((4, 5, 6))
    for axis in (0, 1, -1, (0, 1), (2, 0), (0, 1, 2), ()):
        expected = reference.logsumexp(x, axis)
        plain, kept = lw.logsumexp(x, axis), lw.logsumexp(x, axis, keepdims=True)
        assert plain.shape == expected.shape
        assert kept.shape == reference.logsumexp(x, axis, keepdims=True).shape
        same_bits(kept.reshape(plain.shape), plain)
        for result in (plain, kept):
            out = np.stack([np.full_like(result, 7)] * 2, -1)[..., 0]
            assert lw.logsumexp(x, axis, keepdims=result is kept, out=out) is out
            same_bits(out, result)
    memory = x.copy()
    for out, error, message in (
        (memory[0], ValueError, "out overlaps x in memory"),
        (np.empty((5, 5)), ValueError, r"out has shape \(5, 5\), expected \(5, 6\)"),
        (np.empty((5, 6), np.float32), TypeError, "out has dtype"),
    ):
        with pytest.raises(error, match=f"logsumexp: {message}"):
            lw.logsumexp(memory, 0, out=out)
    same_bits(memory, x)


def test_logsumexp_of_nothing_is_minus_infinity():
    for shape, axis in (((0,), 0), ((3, 0), 1), ((3, 0), 0), ((2, 0, 4), (0, 1)), ((0, 3), ())):
        for dtype in (np.float16, np.float32, np.float64, np.int8):
            x = np.empty(shape, dtype)
            result = lw.logsumexp(x, axis)
            assert result.dtype == result_dtype([x])
            np.testing.assert_array_equal(result, np.logaddexp.reduce(x, axis))


def test_logsumexp_agrees_with_scipy_and_torch(rng):
    special = pytest.importorskip("scipy.special")
    torch = pytest.importorskip("torch")
    x = 10 * rng.standard_normal((6, 5, 70))
    for axis in (0, 1, 2, (0, 2), (2, 1), (0, 1, 2)):
        # peers take log Σ, the maximum's 1 in the sum, of which n terms are added up
        bound = 2 * error_bound("logsumexp", (x,), axis, np.float64, count(x.shape, axis))
        bound = bound + gamma(count(x.shape, axis), np.float64)
        result = lw.logsumexp(x, axis)
        assert_within(result, special.logsumexp(x, axis), bound)
        assert_within(result, torch.logsumexp(torch.from_numpy(x), axis).numpy(), bound)


@pytest.mark.parametrize("dtype", FLOATS)
def test_logsumexp_of_a_dominating_element_is_that_element_and_a_little(dtype):
    for gap in (10, 40):
        x = np.array([0, -gap], dtype)
        expected = np.log1p(np.exp(-np.float64(gap)))
        for result in (lw.logsumexp(x), lw.logsumexp(np.tile(x, (20, 1)).T.copy(), 0)[3]):
            np.testing.assert_allclose(
                np.float64(result), expected, rtol=(EXP_U + LOG1P_U + 2) * u(dtype)
            )


# ---------------------------------------------------------------------------------------- Jacobian


def check_jacobian(y, axis):
    jacobian, exact = lw.softmax_jacobian(y, axis), reference.softmax_jacobian(y, axis)
    dtype = result_dtype([y])
    assert jacobian.dtype == dtype
    assert jacobian.shape == exact.shape
    # a difference and a product in either precision
    bound = np.abs(exact) * gamma(2, compute_type(dtype)) + 2 * tiny(compute_type(dtype))
    bound = rounded_once(exact, bound, dtype)
    assert_within(jacobian, exact, bound + np.abs(exact) * gamma(2, np.float64))
    same_bits(jacobian, np.swapaxes(jacobian, -1, -2))
    return jacobian


@pytest.mark.parametrize("dtype", FLOATS + NARROW)
def test_jacobian_of_every_length_around_the_vectors(simd, rng, dtype):
    for n in [*range(1, 2 * partials(dtype) + 2), 300]:
        check_jacobian(reference.softmax(rng.standard_normal((3, n))).astype(dtype), -1)


@given(data=st.data())
def test_jacobian_of_any_array(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    dtype = data.draw(st.sampled_from(FLOATS + NARROW))
    shape = tuple(data.draw(st.lists(st.integers(1, 6), max_size=4)))
    axis = draw_axes(data, len(shape))
    y = draw_layout(data, rng.random(shape).astype(dtype), broadcast=True)
    jacobian = check_jacobian(y, axis)
    flat = np.ascontiguousarray(one_axis(y, axis))
    same_bits(jacobian, lw.softmax_jacobian(flat))
    out = draw_layout(data, np.empty_like(jacobian), broadcast=False)
    assert lw.softmax_jacobian(y, axis, out=out) is out
    same_bits(out, jacobian)


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_jacobian_same_bits_whatever_the_threads_and_blocks(simd, rng, dtype):
    """2100 columns are more than scratch holds at a time."""
    for shape in ((2100,), (7, 300), (3000, 10)):
        y = reference.softmax(rng.standard_normal(shape)).astype(dtype)
        results = []
        for threads in (1, 2, 3):
            lw.set_num_threads(threads)
            results.append(lw.softmax_jacobian(y))
        same_bits(results[1], results[0])
        same_bits(results[2], results[0])
        same_bits(lw.softmax_jacobian(np.stack([y, y], -1)[..., 0]), results[0])
        out = np.empty((*results[0].shape, 2), dtype)[..., 0]
        same_bits(lw.softmax_jacobian(y, out=out), results[0])
        index = (-1,) * (y.ndim - 1)
        same_bits(lw.softmax_jacobian(y[index]), results[0][index])
        check_jacobian(y[index], -1)


def test_jacobian_times_a_gradient_is_the_gradient(rng):
    x = rng.standard_normal((4, 5, 6))
    for axis in (0, -1, (0, 2)):
        y = lw.softmax(x, axis)
        dy = rng.standard_normal(x.shape)
        product = (lw.softmax_jacobian(y, axis) @ one_axis(dy, axis)[..., None])[..., 0]
        n = count(x.shape, axis)
        terms = (
            np.abs(lw.softmax_jacobian(y, axis)) * np.abs(one_axis(dy, axis))[..., None, :]
        ).sum(-1)
        bound = one_axis(error_bound("softmax_backward", (dy, y), axis, np.float64, n), axis)
        bound = bound + gamma(n + 2, np.float64) * terms
        assert_within(product, one_axis(lw.softmax_backward(dy, y, axis), axis), bound)


def test_jacobian_errors():
    y = np.ones((3, 4), np.float32)
    with pytest.raises(np.exceptions.AxisError, match="softmax_jacobian: axis 2 is out of bounds"):
        lw.softmax_jacobian(y, 2)
    with pytest.raises(ValueError, match="softmax_jacobian: axis -2 is given twice"):
        lw.softmax_jacobian(y, (0, -2))
    for n in (2**40, 2**31):
        huge = np.lib.stride_tricks.as_strided(y, (n,), (0,))
        with pytest.raises(ValueError, match=r"softmax_jacobian: .*(elements|array)"):
            lw.softmax_jacobian(huge)
    with pytest.raises(ValueError, match="softmax_jacobian: no array can have the result's shape"):
        lw.softmax_jacobian(y.reshape((1,) * 62 + (3, 4)), ())
    with pytest.raises(TypeError, match="softmax_jacobian: y has dtype complex64"):
        lw.softmax_jacobian(y.astype(np.complex64))
    with pytest.raises(
        ValueError, match=r"softmax_jacobian: out has shape .* expected \(3, 4, 4\)"
    ):
        lw.softmax_jacobian(y, out=np.empty((4, 4), np.float32))
    memory = np.ones(64, np.float32)
    with pytest.raises(ValueError, match="softmax_jacobian: out overlaps y in memory"):
        lw.softmax_jacobian(memory[:4], out=memory[:16].reshape(4, 4))
    for shape, axis, expected in (
        ((0,), 0, (0, 0)),
        ((3, 0), 0, (0, 3, 3)),
        ((3, 0), 1, (3, 0, 0)),
    ):
        assert lw.softmax_jacobian(np.empty(shape), axis).shape == expected


# --------------------------------------------------------------------------------------------- laws


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_same_bits_whatever_the_threads(simd, rng, op, dtype, shape, axis):
    args = inputs(op, rng, shape, dtype, axis)
    results = []
    for threads in (1, 2, 3, 3):
        lw.set_num_threads(threads)
        results.append(run(op, args, axis))
    for result in results[1:]:
        same_bits(result, results[0])


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_same_bits_whatever_the_strides(simd, rng, op, dtype, shape, axis):
    """The same rows through every path: rows, panels, gathered, copied and transposed."""
    args = inputs(op, rng, shape, dtype, axis)
    expected = run(op, args, axis)
    same_bits(along_one_axis(op, args, axis), as_one_axis(op, expected, axis))
    same_bits(run(op, [np.asfortranarray(a) for a in args], axis), expected)
    same_bits(run(op, [np.stack([a, a], -1)[..., 0] for a in args], axis), expected)
    backwards = [np.ascontiguousarray(a[::-1])[::-1] for a in args]
    same_bits(run(op, backwards, axis), expected)


@pytest.mark.parametrize(
    ("shape", "axis"), [((170, 50001), 1), ((33, 70, 61, 61), 1), ((9, 1000, 32, 32), 1)]
)
@pytest.mark.parametrize("op", ELEMENTWISE)
def test_same_bits_past_the_caches(rng, op, shape, axis):
    """Results of 32 MB and more are stored past the caches, unless they are written in place."""
    args = [np.resize(a, shape) for a in inputs(op, rng, (1, *shape[1:]), np.float32, axis)]
    args[0] += np.arange(shape[0], dtype=np.float32).reshape(-1, *[1] * (len(shape) - 1))
    expected = np.concatenate(
        [run(op, [a[i : i + 1] for a in args], axis) for i in range(shape[0])]
    )
    memory = np.ones(args[0].size + 1, np.float32)  # used before
    for out in (memory[:-1].reshape(shape), memory[1:].reshape(shape)):
        same_bits(run(op, args, axis, out=out), expected)
    same_bits(run(op, args, axis, out=args[0]), expected)


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("op", OPS)
def test_a_row_alone_equals_itself_in_the_batch(simd, rng, op, shape, axis):
    args = inputs(op, rng, shape, np.float32, axis)
    expected = as_one_axis(op, run(op, args, axis), axis)
    rows = [one_axis(a, axis) for a in args]
    for index in ((0,) * (rows[0].ndim - 1), tuple(s - 1 for s in rows[0].shape[:-1])):
        same_bits(run(op, [a[index] for a in rows]), expected[index])


@pytest.mark.parametrize("dtype", FLOATS)
def test_zeros_have_one_sign_on_every_path(simd, dtype):
    """Sums of −0 and of underflowing products, where absent partial sums might show."""
    smallest = np.finfo(dtype).smallest_subnormal
    for fill in (-0.0, 0.0):
        for n in (1, 3, 10, 40):
            dy = np.full((20, n), fill, dtype)
            dy[:, ::2] = -smallest
            y = np.full((20, n), 0.25, dtype)
            for op in BACKWARD:
                expected = run(op, (dy, y))
                same_bits(run(op, (dy.T.copy(), y.T.copy()), 0).T, expected)
                same_bits(run(op, (dy[0], y[0])), expected[0])


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("op", ELEMENTWISE)
def test_out_in_place_and_strided(simd, rng, op, shape, axis):
    args = inputs(op, rng, shape, np.float32, axis)
    expected = run(op, args, axis)
    for make in (
        np.empty,
        lambda s, t: np.empty(s[::-1], t).T,
        lambda s, t: np.empty((*s, 2), t)[..., 0],
    ):
        out = make(shape, np.float32)
        out.fill(7)
        assert run(op, args, axis, out=out) is out
        same_bits(out, expected)
        first = make(shape, np.float32)
        first[...] = args[0]
        assert run(op, (first, *args[1:]), axis, out=first) is first
        same_bits(first, expected)


def test_inputs_are_left_alone(rng):
    for op in OPS:
        args = inputs(op, rng, (50, 70), np.float32)
        copies = [a.copy() for a in args]
        for a in args:
            a.flags.writeable = False
        run(op, args)
        run(op, args, 0)
        for a, copy in zip(args, copies, strict=True):
            same_bits(a, copy)


# ----------------------------------------------------------------------------- arguments and dtypes


@pytest.mark.parametrize("op", OPS)
def test_misaligned_and_byte_swapped(rng, op):
    args = inputs(op, rng, (20, 33), np.float32)
    expected = run(op, args)
    misaligned = []
    for a in args:
        memory = np.empty(a.nbytes + 1, np.uint8)[1:]
        memory[:] = np.frombuffer(a.tobytes(), np.uint8)
        misaligned.append(memory.view(a.dtype).reshape(a.shape))
        assert not misaligned[-1].flags.aligned
    same_bits(run(op, misaligned), expected)
    same_bits(run(op, [a.astype(a.dtype.newbyteorder()) for a in args]), expected)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 3)])
@pytest.mark.parametrize("op", ELEMENTWISE)
def test_nothing_in_nothing_out(op, shape):
    args = (np.empty(shape, np.float32),) * (2 if op in BACKWARD else 1)
    for axis in range(len(shape)):
        result = run(op, args, axis)
        assert result.shape == shape
        assert result.dtype == np.float32


INTEGERS = [bool, *np.typecodes["AllInteger"]]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_become_float64(rng, dtype):
    x = rng.integers(0, 2, (40, 5, 3)).astype(dtype)
    for axis in (0, 1, -1, (0, 2)):
        wide = x.astype(np.float64)
        y = lw.softmax(x, axis)
        same_bits(y, lw.softmax(wide, axis))
        same_bits(lw.log_softmax(x, axis), lw.log_softmax(wide, axis))
        same_bits(lw.logsumexp(x, axis), lw.logsumexp(wide, axis))
        same_bits(lw.softmax_jacobian(x, axis), lw.softmax_jacobian(wide, axis))
        for op in BACKWARD:
            same_bits(run(op, (x, y), axis), run(op, (wide, y), axis))
            same_bits(run(op, (x, x), axis), run(op, (wide, wide), axis))


@pytest.mark.parametrize(("shape", "axis"), [*SHAPES, ((20000, 20), 0), ((2, 300001), -1)])
@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("op", OPS)
def test_narrow_types_are_computed_in_float32_and_rounded_once(simd, rng, op, dtype, shape, axis):
    """Through rows, panels and chunks, into any memory, in place as well."""
    args = inputs(op, rng, shape, dtype, axis)
    wide = [a.astype(np.float32) for a in args]
    with np.errstate(over="ignore"):
        expected = run(op, wide, axis).astype(dtype)
    same_bits(run(op, args, axis), expected)
    same_bits(run(op, [np.asfortranarray(a) for a in args], axis), expected)
    same_bits(run(op, [np.stack([a, a], -1)[..., 0] for a in args], axis), expected)
    if op in ELEMENTWISE:
        out = args[0]
        assert run(op, args, axis, out=out) is out
        same_bits(out, expected)


MIXED = [
    (np.float32, np.float64),
    (np.float16, np.float32),
    (ml_dtypes.bfloat16, np.float32),
    (np.float16, np.float64),
    (np.int32, np.float32),
    (np.int8, np.float16),
    (bool, ml_dtypes.bfloat16),
    (np.uint64, np.float64),
]


@pytest.mark.parametrize(("shape", "axis"), [((40, 5), -1), ((3, 200), -1), ((3, 50, 20), 1)])
@pytest.mark.parametrize(("one", "other"), MIXED)
@pytest.mark.parametrize("op", BACKWARD)
def test_mixed_dtypes_promote(rng, op, one, other, shape, axis):
    y = (4 * rng.random(shape)).astype(one)
    dy = rng.standard_normal(shape).astype(other)
    dtype = np.result_type(dy, y)
    computed = compute_type(dtype)
    for args in ((dy, y), (y, dy)):
        expected = run(op, [a.astype(computed) for a in args], axis).astype(dtype)
        same_bits(run(op, args, axis), expected)
        if args[0].dtype == dtype:
            out = args[0].copy()
            assert run(op, (out, args[1]), axis, out=out) is out
            same_bits(out, expected)


def test_dtypes_that_have_no_common_one():
    y = np.ones((2, 3), np.float16)
    with pytest.raises(
        TypeError, match="softmax_backward: no dtype holds the values of dy bfloat16"
    ):
        lw.softmax_backward(y.astype(ml_dtypes.bfloat16), y)


@pytest.mark.parametrize("op", ["softmax", "logsumexp"])
def test_torch_rounds_narrow_types_alike(rng, op):
    """Two results that agree within float32's error are neighbours, or the same, once rounded.

    Its log_softmax is left out: it rounds log Σ to the narrow type and is off by up to 14 units.
    """
    torch = pytest.importorskip("torch")
    x = (3 * rng.standard_normal((40, 70))).astype(np.float32)
    for dtype, theirs in zip(NARROW, (torch.float16, torch.bfloat16), strict=True):
        narrow = x.astype(dtype)
        peer = getattr(torch, op)(torch.from_numpy(x).to(theirs), -1).float().numpy()
        # in float32 a peer adds up 70 terms in any order, the maximum's 1 among them
        bound = error_bound(op, (narrow,), -1, np.float32, 70) + gamma(70, np.float32)
        exact = getattr(reference, op)(narrow)
        assert_within(run(op, (narrow,)), peer, 2 * rounded_once(exact, bound, dtype))


def test_lists_and_array_protocol():
    class Wrapped:
        def __array__(self, dtype=None, copy=None):
            return np.array([1.0, 2.0])

    np.testing.assert_array_equal(lw.softmax([1, 2]), lw.softmax(Wrapped()))


@pytest.mark.parametrize("op", OPS)
def test_bad_axes(op):
    args = (np.ones((2, 3)),) * (2 if op in BACKWARD else 1)
    for axis in (2, -3, 10**30):
        with pytest.raises(np.exceptions.AxisError, match=f"{op}: axis {axis} is out of bounds"):
            run(op, args, axis)
    with pytest.raises(np.exceptions.AxisError, match=f"{op}: axis -1 .* dimension 0"):
        run(op, [a[0, 0] for a in args])
    for axis in ((0, 2), (-3,)):
        with pytest.raises(np.exceptions.AxisError, match=f"{op}: axis -?[23] is out of bounds"):
            run(op, args, axis)
    for axis in ((0, 0), (1, -1)):
        with pytest.raises(ValueError, match=f"{op}: axis {axis[1]} is given twice"):
            run(op, args, axis)
    for axis in (1.0, None, "1", [0], (0, 1.0), ((0,), 1), np.array([0, 1])):
        message = re.escape(f"{op}: axis is {axis!r}, expected an int or a tuple of ints")
        with pytest.raises(TypeError, match=message):
            run(op, args, axis)


@pytest.mark.parametrize("op", BACKWARD)
def test_shapes_must_be_equal(op):
    with pytest.raises(ValueError, match=rf"{op}: dy has shape \(2, 3\) but y has shape \(3,\)"):
        run(op, (np.ones((2, 3)), np.ones(3)))


@pytest.mark.parametrize("dtype", [np.complex64, object, "U1", "M8[s]", np.longdouble])
@pytest.mark.parametrize("op", OPS)
def test_dtypes_that_are_no_real_numbers(op, dtype):
    bad = np.zeros((2, 3), dtype)
    name = "dy" if op in BACKWARD else "x"
    with pytest.raises(TypeError, match=f"{op}: {name} has dtype"):
        run(op, (bad, np.ones((2, 3))) if op in BACKWARD else (bad,))


@pytest.mark.parametrize("op", ELEMENTWISE)
def test_bad_out_is_left_untouched(rng, op):
    args = inputs(op, rng, (4, 6), np.float32)
    memory = np.full((8, 12), 7, np.float32)
    read_only = memory[:4, :6].view()
    read_only.flags.writeable = False
    cases = [
        (memory[:4, :5], ValueError, r"out has shape \(4, 5\), expected \(4, 6\)"),
        (memory[:4, :6].astype(np.float64), TypeError, "out has dtype"),
        (memory[:4, :6].astype(">f4"), TypeError, "out has dtype"),
        (read_only, ValueError, "out is read-only"),
        (np.lib.stride_tricks.as_strided(memory, (4, 6), (4, 4)), ValueError, "elements of out"),
        (memory.tolist(), TypeError, "out is a list"),
    ]
    for out, error, message in cases:
        with pytest.raises(error, match=f"{op}: {message}"):
            run(op, args, out=out)
    assert (memory == 7).all()


@pytest.mark.parametrize("op", ELEMENTWISE)
def test_partial_overlap_is_refused(rng, op):
    name = "dy" if op in BACKWARD else "x"
    memory = rng.random((9, 9)).astype(np.float32)
    before = memory.copy()
    first = memory[:8, :8]
    rest = (before[:8, :8],) if op in BACKWARD else ()
    for out in (memory[1:, :8], memory[:8, 1:], first[::-1], first.T):
        with pytest.raises(ValueError, match=f"{op}: out overlaps {name} in memory"):
            run(op, (first, *rest), out=out)
    same_bits(memory, before)


@pytest.mark.parametrize("op", BACKWARD)
def test_out_must_not_be_y(rng, op):
    dy, y = inputs(op, rng, (4, 6), np.float32)
    for args in ((dy, y), (y, y)):
        with pytest.raises(ValueError, match=f"{op}: out overlaps y in memory"):
            run(op, args, out=y)
