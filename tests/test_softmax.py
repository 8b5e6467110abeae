"""softmax, log_softmax and their gradients against their definitions, and the library's laws."""

import lanewise as lw
import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from tolerance import assert_within, gamma, u

FLOATS = [np.float32, np.float64]
FORWARD = ["softmax", "log_softmax"]
BACKWARD = ["softmax_backward", "log_softmax_backward"]
OPS = FORWARD + BACKWARD

# The kernels' elementary functions in rounding units, one ulp being at most two of them: the
# largest errors seen (math-inl.h, 1.04 and 2.47 ulp, not proven bounds), rounded up.
EXP_U = 2 * 1.1
LOG1P_U = 2 * 2.5


def partials(dtype):
    """B: how many partial sums an axis has, four vectors full."""
    vector = {"avx512": 64, "avx2": 32}.get(lw.config()["simd"], 16)
    return 4 * vector // np.dtype(dtype).itemsize


def depth(n, dtype):
    """The most additions that one element goes through: its partial sum's, then the tree's."""
    b = partials(dtype)
    return -(-n // b) + b.bit_length() - 1


def inputs(op, rng, shape, dtype, axis=-1):
    """Arguments of `op`: x, or dy and a y that is a result of the forward op."""
    x = (3 * rng.standard_normal(shape)).astype(dtype)
    if op in FORWARD:
        return (x,)
    y = getattr(reference, op.removesuffix("_backward"))(x, axis).astype(dtype)
    return rng.standard_normal(shape).astype(dtype), y


def run(op, args, axis=-1, **options):
    return getattr(lw, op)(*args, axis, **options)


def error_bound(op, args, axis, dtype, additions):
    """How far `op` computed in `dtype` may be off, each step bounded in turn."""
    unit, sums = u(dtype), gamma(additions + 1, dtype)
    smallest = np.finfo(dtype).smallest_subnormal
    a = np.asarray(args[0], np.float64)
    if op in FORWARD:
        # x − max is off by u·|x − max|, which is relative after exp.
        difference = a - a.max(axis, keepdims=True)
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
        result = np.abs(difference) + log_sum
        size = -difference * unit + of_rest / (1 + rest) + LOG1P_U * unit * log_sum + unit * result
        return size * (1 + 4 * sums) + 4 * smallest * a.shape[axis]
    y = np.asarray(args[1], np.float64)
    if op == "softmax_backward":
        terms = (np.abs(a) * np.abs(y)).sum(axis, keepdims=True)
        # the dot product, the difference and the product
        size = np.abs(y) * (sums * terms + 2 * unit * (np.abs(a) + terms))
    else:
        total = np.abs(a).sum(axis, keepdims=True)
        size = np.exp(y) * total * (sums + (EXP_U + 1) * unit)
        size += unit * (np.abs(a) + np.exp(y) * total)
    return size * (1 + 4 * sums) + 4 * smallest * a.shape[axis]


def check(op, args, axis=-1, result=None):
    """The result is within the bound of the definition, whose own error is bounded likewise."""
    dtype = np.result_type(*args)
    result = run(op, args, axis) if result is None else result
    assert result.dtype == dtype
    assert result.shape == args[0].shape
    n = args[0].shape[axis]
    bound = error_bound(op, args, axis, dtype, depth(n, dtype))
    bound = bound + error_bound(op, args, axis, np.float64, n)
    assert_within(result, getattr(reference, op)(*args, axis), bound)


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


@given(data=st.data())
def test_any_array(data):
    """Every axis of arrays with 1 to 5 axes, permuted, reversed, broadcast, stepped over."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    op = data.draw(st.sampled_from(OPS))
    dtype = data.draw(st.sampled_from(FLOATS))
    shape = tuple(data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=5)))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    args = []
    for base in inputs(op, rng, shape, dtype, axis):
        array = base
        order = data.draw(st.permutations(range(array.ndim)))
        array = np.transpose(np.ascontiguousarray(np.transpose(array, order)), np.argsort(order))
        for a in range(array.ndim):
            kind = data.draw(st.sampled_from(["", "", "reversed", "stepped", "broadcast"]))
            whole = (slice(None),) * a
            if kind == "reversed":
                array = np.ascontiguousarray(array[(*whole, slice(None, None, -1))])
                array = array[(*whole, slice(None, None, -1))]
            elif kind == "stepped":
                array = np.repeat(array, 2, a)[(*whole, slice(None, None, 2))]
            elif kind == "broadcast" and op in FORWARD:
                array = np.broadcast_to(array[(*whole, slice(1))], array.shape)
        args.append(array)
    result = run(op, args, axis)
    check(op, args, axis, result)
    same_bits(result, run(op, [np.ascontiguousarray(a) for a in args], axis))


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
def test_special_rows(simd, op, n, dtype):
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
    n = args[0].shape[axis]
    bound = 2 * error_bound(op, args, axis, np.float64, n)
    return bound + gamma(n, np.float64) if op == "log_softmax" else bound


@pytest.mark.parametrize("op", FORWARD)
def test_scipy_agrees(rng, op):
    special = pytest.importorskip("scipy.special")
    x = 10 * rng.standard_normal((6, 5, 4))
    for axis in (0, 1, -1):
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


# --------------------------------------------------------------------------------------------- laws


SHAPES = [
    ((200, 1000), -1),
    ((3000, 10), -1),
    ((4, 300, 9, 9), 1),
    ((3, 40, 500), 1),
    ((9000, 20), 0),
]


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
    last = [np.moveaxis(a, axis, -1) for a in args]
    same_bits(run(op, [np.ascontiguousarray(a) for a in last]), np.moveaxis(expected, axis, -1))
    same_bits(run(op, [np.asfortranarray(a) for a in args], axis), expected)
    same_bits(run(op, [np.stack([a, a], -1)[..., 0] for a in args], axis), expected)
    backwards = [np.ascontiguousarray(a[::-1])[::-1] for a in args]
    same_bits(run(op, backwards, axis), expected)


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("op", OPS)
def test_a_row_alone_equals_itself_in_the_batch(simd, rng, op, shape, axis):
    args = inputs(op, rng, shape, np.float32, axis)
    expected = np.moveaxis(run(op, args, axis), axis, -1)
    rows = [np.moveaxis(a, axis, -1) for a in args]
    for index in ((0,) * (len(shape) - 1), tuple(s - 1 for s in expected.shape[:-1])):
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
@pytest.mark.parametrize("op", OPS)
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
@pytest.mark.parametrize("op", OPS)
def test_nothing_in_nothing_out(op, shape):
    args = (np.empty(shape, np.float32),) * (1 if op in FORWARD else 2)
    for axis in range(len(shape)):
        result = run(op, args, axis)
        assert result.shape == shape
        assert result.dtype == np.float32


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int32, np.int64, np.uint64])
def test_integers_become_float64(rng, dtype):
    x = rng.integers(0, 2, (4, 5)).astype(dtype)
    same_bits(lw.softmax(x), lw.softmax(x.astype(np.float64)))
    y = lw.softmax(x)
    same_bits(lw.softmax_backward(x, y), lw.softmax_backward(x.astype(np.float64), y))


def test_mixed_dtypes_promote(rng):
    dy, y = inputs("softmax_backward", rng, (4, 5), np.float64)
    dy32 = dy.astype(np.float32)
    same_bits(lw.softmax_backward(dy32, y), lw.softmax_backward(dy32.astype(np.float64), y))
    assert lw.softmax_backward(dy32, y.astype(np.float32)).dtype == np.float32


def test_lists_and_array_protocol():
    class Wrapped:
        def __array__(self, dtype=None, copy=None):
            return np.array([1.0, 2.0])

    np.testing.assert_array_equal(lw.softmax([1, 2]), lw.softmax(Wrapped()))


@pytest.mark.parametrize("op", OPS)
def test_bad_axes(op):
    args = (np.ones((2, 3)),) * (1 if op in FORWARD else 2)
    for axis in (2, -3, 10**30):
        with pytest.raises(np.exceptions.AxisError, match=f"{op}: axis {axis} is out of bounds"):
            run(op, args, axis)
    with pytest.raises(np.exceptions.AxisError, match=f"{op}: axis -1 .* dimension 0"):
        run(op, [a[0, 0] for a in args])
    for axis in ((0, 1), [0], ()):
        with pytest.raises(NotImplementedError, match=f"{op}: axis is"):
            run(op, args, axis)
    for axis in (1.0, None, "1"):
        with pytest.raises(TypeError, match=f"{op}: axis is {axis!r}, expected an int"):
            run(op, args, axis)


@pytest.mark.parametrize("op", BACKWARD)
def test_shapes_must_be_equal(op):
    with pytest.raises(ValueError, match=rf"{op}: dy has shape \(2, 3\) but y has shape \(3,\)"):
        run(op, (np.ones((2, 3)), np.ones(3)))


def test_what_is_not_there_yet():
    x = np.ones((2, 3))
    with pytest.raises(NotImplementedError, match="softmax: mask"):
        lw.softmax(x, mask=x > 0)
    with pytest.raises(NotImplementedError, match="softmax: dtype float16"):
        lw.softmax(x.astype(np.float16))


@pytest.mark.parametrize("dtype", [np.complex64, object, "U1", "M8[s]", np.longdouble])
@pytest.mark.parametrize("op", OPS)
def test_dtypes_that_are_no_real_numbers(op, dtype):
    bad = np.zeros((2, 3), dtype)
    name = "x" if op in FORWARD else "dy"
    with pytest.raises(TypeError, match=f"{op}: {name} has dtype"):
        run(op, (bad,) if op in FORWARD else (bad, np.ones((2, 3))))


@pytest.mark.parametrize("op", OPS)
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


@pytest.mark.parametrize("op", OPS)
def test_partial_overlap_is_refused(rng, op):
    name = "x" if op in FORWARD else "dy"
    memory = rng.random((9, 9)).astype(np.float32)
    before = memory.copy()
    first = memory[:8, :8]
    rest = () if op in FORWARD else (before[:8, :8],)
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
