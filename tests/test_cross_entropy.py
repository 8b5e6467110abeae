"""Cross-entropy and its gradient against their definition, torch, and the library's laws."""

import itertools
import re

import lanewise as lw
import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from reference import one_axis
from test_softmax import (
    EXP_U,
    FLOATS,
    LOG1P_U,
    NARROW,
    compute_type,
    depth,
    draw_axes,
    draw_layout,
    partials,
    rounded_once,
    same_bits,
)
from tolerance import assert_within, gamma, tiny, u

# hn::Log's own bound, 4 ulp, in rounding units.
LOG_U = 2 * 4

# Rows, short rows, panels across; and what takes several blocks of rows to sum.
SHAPES = [
    ((200, 1000), -1),
    ((9000, 10), -1),
    ((70000, 3), -1),
    ((4, 300, 9, 9), 1),
    ((3, 40, 500), 1),
    ((20, 5000), 0),
]
KINDS = ["labels", "probabilities"]
INTEGERS = np.typecodes["AllInteger"]


def rows_of(shape, axis):
    axes = {a % len(shape) for a in np.atleast_1d(axis).astype(int)}
    return tuple(n for a, n in enumerate(shape) if a not in axes)


def inputs(kind, rng, shape, dtype, axis=-1, from_probs=False):
    """x, and class indices or probabilities."""
    x = 3 * rng.standard_normal(shape)
    if from_probs:
        x = reference.softmax(x, axis)
    if kind == "labels":
        return x.astype(dtype), rng.integers(0, shape[axis], rows_of(shape, axis))
    t = rng.random(shape) * rng.integers(0, 2, shape)  # zeros among them
    return x.astype(dtype), t.astype(dtype)


def both(x, target, **options):
    """Loss and gradient, after a loss without a gradient has had the same bits."""
    loss, gradient = lw.cross_entropy(x, target, return_grad=True, **options)
    same_bits(lw.cross_entropy(x, target, **options), loss)
    return loss, gradient


def row_bounds(x, target, dtype, additions, axis=-1, label_smoothing=0.0, **options):
    """How far losses of rows, and gradients of their sum, computed in `dtype` may be off."""
    weight, from_probs = options.get("weight"), options.get("from_probs", False)
    unit, sums, smallest = u(dtype), gamma(additions + 1, dtype), 2 * tiny(dtype)
    x = one_axis(np.asarray(x, np.float64), axis)
    classes = x.shape[-1]
    w = np.ones(classes) if weight is None else np.asarray(weight, np.float64)
    if np.asarray(target).dtype.kind in "iu":
        t = (np.asarray(target)[..., None] == np.arange(classes)).astype(np.float64)
    else:
        t = one_axis(np.asarray(target, np.float64), axis)
    q = w * ((1 - label_smoothing) * t + label_smoothing / classes)
    # 1 − e, e/C, two products, a sum and w itself, of positive terms; and e itself in 1 − e.
    dq = 6 * unit * q + unit * label_smoothing * w * t
    total, dtotal = q.sum(-1, keepdims=True), dq.sum(-1, keepdims=True)
    dtotal = dtotal + sums * total
    if from_probs:
        size = np.abs(np.log(np.where(q > 0, x, 1)))
        loss = (dq * size + (LOG_U * unit + sums) * q * size).sum(-1)
        gradient = np.where(q > 0, (dq + 4 * unit * q) / np.where(q > 0, x, 1), 0)
    else:
        below = x.max(-1, keepdims=True) - x
        e = np.exp(-below)
        # max − x is off by u·|max − x|, which is relative after exp.
        relative = np.where(e > 0, np.minimum(below, 800), 0) * unit + EXP_U * unit
        rest = e.sum(-1, keepdims=True) - 1
        of_rest = (e * relative).sum(-1, keepdims=True) + sums * rest
        log_sum = np.log1p(rest)
        dlog = of_rest / (1 + rest) + LOG1P_U * unit * log_sum
        distance = np.where(q > 0, below, 0)
        loss = (dq * distance + (2 * unit + sums) * q * distance).sum(-1, keepdims=True)
        loss = loss + dtotal * log_sum + total * dlog
        loss = (loss + 2 * unit * ((q * distance).sum(-1, keepdims=True) + total * log_sum))[..., 0]
        p = e / (1 + rest)
        off = relative + of_rest / (1 + rest) + 3 * unit
        gradient = total * p * off + dtotal * p + dq + unit * (total * p + 2 * q)
    small = 4 * smallest * classes * (1 + w.max(initial=1))
    return loss * (1 + 4 * sums) + small, gradient * (1 + 4 * sums) + small


def check(x, target, result=None, **options):
    """Loss and gradient are within the bounds of the definition, whose own are bounded likewise."""
    loss, gradient = both(x, target, **options) if result is None else result
    axis, reduction = options.get("axis", -1), options.get("reduction", "mean")
    exact_loss, exact = reference.cross_entropy(x, target, **options)
    dtype = loss.dtype
    computed = compute_type(dtype)
    gradient = one_axis(gradient, axis)
    classes = exact.shape[-1]
    rest = {k: v for k, v in options.items() if k not in ("reduction", "ignore_index")}
    loss_bound, bound = row_bounds(x, target, computed, depth(classes, computed), **rest)
    own_loss_bound, own_bound = row_bounds(x, target, np.float64, classes, **rest)
    loss_bound, bound = loss_bound + own_loss_bound, bound + own_bound
    if reduction != "none":
        rows, _ = reference.cross_entropy(x, target, **{**options, "reduction": "none"})
        summed = np.abs(rows).sum()
        # Sums of rows in float64, here and in the definition, and a quotient.
        loss_bound = loss_bound.sum() + 2 * gamma(rows.size + 1, np.float64) * summed
        if reduction == "mean":
            divisor = rows.sum() / exact_loss if exact_loss else 1
            loss_bound = loss_bound / divisor
            bound = bound / divisor + 4 * u(computed) * np.abs(exact) + 4 * tiny(computed)
        loss_bound = loss_bound + u(computed) * np.abs(exact_loss)
    assert_within(loss, exact_loss, rounded_once(exact_loss, loss_bound, dtype))
    assert_within(gradient, exact, rounded_once(exact, bound, dtype))


# --------------------------------------------------------------------------------------- definition


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("from_probs", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_every_length_around_the_vectors(simd, rng, kind, from_probs, dtype):
    b = partials(dtype)
    for n in [*range(1, 20), *range(b - 1, b + 2), 2 * b + 1, 1000]:
        for shape, axis in (((3, n), -1), ((40, n), -1), ((n, 19), 0)):
            x, target = inputs(kind, rng, shape, dtype, axis, from_probs)
            check(x, target, axis=axis, from_probs=from_probs)


OPTIONS = list(
    itertools.product(
        KINDS, [False, True], [False, True], [0.0, 0.1, 1.0], ["mean", "sum", "none"], [None, 2]
    )
)


@pytest.mark.parametrize(
    ("kind", "from_probs", "weighted", "smoothing", "reduction", "ignore"),
    [case for case in OPTIONS if case[0] == "labels" or case[-1] is None],
)
@pytest.mark.parametrize("dtype", FLOATS)
def test_every_option(rng, dtype, kind, from_probs, weighted, smoothing, reduction, ignore):
    for shape, axis in (((7, 200), -1), ((50, 6), -1), ((3, 5, 40), 1), ((5,), 0)):
        x, target = inputs(kind, rng, shape, dtype, axis, from_probs)
        options = {"axis": axis, "from_probs": from_probs, "label_smoothing": smoothing}
        if weighted:
            options["weight"] = (rng.random(shape[axis]) + 0.1).astype(dtype)
        if ignore is not None and x.ndim > 1:
            options["ignore_index"] = ignore
        check(x, target, reduction=reduction, **options)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", KINDS)
def test_axes_longer_than_scratch(simd, rng, kind, dtype):
    """L2/2 holds fewer: the classes are worked through in chunks."""
    b = partials(dtype)
    for n in (20000 // b * b, 20000 // b * b + 1):
        x, target = inputs(kind, rng, (n, 20), dtype, 0)
        check(x, target, axis=0)
        check(x, target, axis=0, label_smoothing=0.25)
    x, target = inputs(kind, rng, (2, 300001), dtype)
    expected = both(x, target, label_smoothing=0.25)
    strided = both(np.stack([x, x], -1)[..., 0], target, label_smoothing=0.25)
    for a, other in zip(expected, strided, strict=True):
        same_bits(a, other)
    check(x, target, expected, label_smoothing=0.25)


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("kind", KINDS)
def test_narrow_types_in_chunks(rng, kind, dtype):
    """What is computed twice, as it cannot wait in the gradient."""
    x, target = inputs(kind, rng, (20001, 20), dtype, 0)
    same_as_rounded(x, target, axis=0)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("positions", [1, 2, 7, 8, 9, 15, 16, 17, 33, 255, 256, 257, 700])
@pytest.mark.parametrize("kind", KINDS)
def test_every_number_of_rows(rng, kind, positions, dtype):
    for shape, axis in (((positions, 5), -1), ((5, positions), 0), ((3, 70, positions), 1)):
        x, target = inputs(kind, rng, shape, dtype, axis)
        check(x, target, axis=axis, reduction="none")
        check(x, target, axis=axis, label_smoothing=0.5)


@given(data=st.data())
def test_any_array_any_axis_any_dtype(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    dtype = data.draw(st.sampled_from(FLOATS + NARROW))
    kind = data.draw(st.sampled_from(KINDS))
    shape = tuple(data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=5)))
    axis = draw_axes(data, len(shape))
    if kind == "labels":
        axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    options = {
        "label_smoothing": data.draw(st.sampled_from([0.0, 0.25])),
        "from_probs": data.draw(st.booleans()),
        "reduction": data.draw(st.sampled_from(["mean", "sum", "none"])),
    }
    x, target = inputs(kind, rng, shape, dtype, axis, options["from_probs"])
    if options["from_probs"]:
        x = np.maximum(x, dtype(2**-10))
    x, target = (draw_layout(data, a, broadcast=True) for a in (x, target))
    if data.draw(st.booleans()):
        classes = one_axis(x, axis).shape[-1]
        options["weight"] = (rng.random(2 * classes) + 0.1).astype(dtype)[::-2]
    if kind == "labels" and data.draw(st.booleans()):
        # 0 may be every label there is, and the mean then none
        options["ignore_index"], options["reduction"] = 0, "sum"
    result = both(x, target, axis=axis, **options)
    check(x, target, result, axis=axis, **options)
    flat = target if kind == "labels" else np.ascontiguousarray(one_axis(target, axis))
    loss, gradient = both(np.ascontiguousarray(one_axis(x, axis)), flat, **options)
    same_bits(result[0], loss)
    same_bits(one_axis(result[1], axis), gradient)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("from_probs", [False, True])
def test_gradient_by_central_differences(rng, kind, from_probs):
    x, target = inputs(kind, rng, (4, 5), np.float64, -1, from_probs)
    options = {"weight": rng.random(5), "label_smoothing": 0.125, "from_probs": from_probs}
    _, gradient = both(x, target, **options)
    h = 1e-6 * (x if from_probs else np.ones_like(x))
    loss_bound, bound = row_bounds(x, target, np.float64, 5, **options)
    for index in np.ndindex(*x.shape):
        step = np.zeros_like(x)
        step[index] = h[index]
        change = lw.cross_entropy(x + step, target, **options)
        change = change - lw.cross_entropy(x - step, target, **options)
        # Rounding of two losses and of x ± h; third derivatives are at most Σ q of logits, and
        # 2q/x³ of probabilities: both times h² are below 2e-12 of what a loss or gradient can be.
        size = np.abs(gradient).max() + 5
        rounding = (2 * loss_bound.max() + 2 * u(np.float64) * np.abs(x[index]) * size) / h[index]
        allowed = rounding + bound.max() + 2e-12 * size
        assert abs(change / (2 * h[index]) - gradient[index]) <= allowed


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_certain_right_answer_keeps_its_digits(simd, dtype):
    """−log p for p next to 1: log(1 + e^-gap), and a gradient of ±e^-gap / (1 + e^-gap)."""
    gap = dtype(40)
    small = np.exp(-np.float64(gap))
    for rows, axis in (([gap, 0], -1), (np.tile([[gap], [0]], (1, 20)), 0)):
        x = np.array(rows, dtype)
        target = np.zeros(x.shape[1:], np.int64)
        loss, gradient = both(x, target, axis=axis, reduction="none")
        gradient = np.moveaxis(gradient, axis, 0).astype(np.float64)
        np.testing.assert_allclose(loss, small, rtol=(EXP_U + LOG1P_U + 3) * u(dtype))
        for c, sign in ((0, -1), (1, 1)):
            np.testing.assert_allclose(gradient[c], sign * small, rtol=(EXP_U + 5) * u(dtype))
        both_classes = np.moveaxis(np.stack([target + 1, target]), 0, axis).astype(dtype)
        np.testing.assert_allclose(
            lw.cross_entropy(x, both_classes, axis=axis),
            small,
            rtol=(EXP_U + LOG1P_U + 3) * u(dtype),
        )


# ------------------------------------------------------------------------------------------- torch


@pytest.mark.parametrize("kind", KINDS)
def test_torch_agrees(rng, kind):
    torch = pytest.importorskip("torch")
    cases = itertools.product([False, True], [0.0, 0.1, 1.0], ["mean", "sum", "none"], [None, 2])
    for weighted, smoothing, reduction, ignore in cases:
        for shape in ((60, 7), (4, 9, 5, 6), (3, 200)):
            x, target = inputs(kind, rng, shape, np.float64, 1)
            options = {"label_smoothing": smoothing, "reduction": reduction}
            theirs = dict(options)
            if weighted:
                options["weight"] = rng.random(shape[1])
                theirs["weight"] = torch.from_numpy(options["weight"])
            if kind == "labels" and ignore is not None:
                options["ignore_index"] = theirs["ignore_index"] = ignore
            leaf = torch.from_numpy(x).requires_grad_()
            peer = torch.nn.functional.cross_entropy(leaf, torch.from_numpy(target), **theirs)
            peer.sum().backward()
            loss, gradient = both(x, target, axis=1, **options)
            row_options = {k: v for k, v in options.items() if k in ("weight", "label_smoothing")}
            bounds, slopes = row_bounds(x, target, np.float64, shape[1], axis=1, **row_options)
            # A peer adds the maximum's 1 to its sum, and up to all rows one after another.
            w = options.get("weight", np.ones(1)).max()
            total = 1 if kind == "labels" else one_axis(target, 1).sum(-1).max()
            ones = gamma(shape[1], np.float64) * w * max(1, total)
            bounds = 2 * bounds + ones
            peer = peer.detach().numpy()
            if reduction != "none":
                bounds = bounds.max() * bounds.size
                bounds = bounds + 2 * gamma(x.size, np.float64) * np.abs(peer) * bounds
                bounds = bounds + gamma(x.size, np.float64) * np.abs(peer)
            assert_within(loss, peer, bounds)
            slopes = 2 * slopes.max() + ones + 4 * u(np.float64) * np.abs(gradient).max()
            assert_within(gradient, leaf.grad.numpy(), slopes)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_nothing_counts_as_torch_has_it(reduction):
    torch = pytest.importorskip("torch")
    for shape, labels in (((0, 3), []), ((2, 3), [-7, -7])):
        x, target = np.ones(shape, np.float32), np.array(labels, np.int64)
        peer = torch.nn.functional.cross_entropy(
            torch.from_numpy(x), torch.from_numpy(target), ignore_index=-7, reduction=reduction
        )
        loss, gradient = both(x, target, ignore_index=-7, reduction=reduction)
        np.testing.assert_array_equal(loss, peer.numpy())
        assert loss.shape == tuple(peer.shape)
        same_bits(gradient, np.zeros_like(x))


def test_no_classes_and_no_rows():
    for shape, axis in (((0, 3), 1), ((3, 0), 1), ((2, 0, 4), 1), ((0, 0), 0)):
        x = np.empty(shape)
        rows = np.prod(rows_of(shape, axis), dtype=int)
        for reduction, expected in (("sum", 0), ("mean", 0 if rows else np.nan)):
            loss, gradient = both(x, x, axis=axis, reduction=reduction)
            np.testing.assert_array_equal(loss, expected)
            assert gradient.shape == shape
        loss = lw.cross_entropy(x, x, axis=axis, reduction="none")
        same_bits(loss, np.zeros(rows_of(shape, axis)))
    with pytest.raises(IndexError, match=r"target\[0\] is 0, which is out of bounds for 0 classes"):
        lw.cross_entropy(np.empty((3, 0)), [0, 0, 0])
    same_bits(
        lw.cross_entropy(np.empty((2, 0)), [5, 5], ignore_index=5, reduction="none"), np.zeros(2)
    )


# -------------------------------------------------------------------------------------- NaN and inf


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("n", [3, 33, 200])
def test_infinities_and_nan(simd, n, dtype):
    inf, nan = np.inf, np.nan
    rows = np.full((6, n), -1, dtype)
    rows[:, :3] = [
        [-inf, 1, -inf],
        [1, -inf, 2],
        [inf, 0, 0],
        [nan, 0, 0],
        [0, 1, nan],
        [0, 0, 0],
    ]
    rows = np.concatenate([rows, np.full((1, n), -inf, dtype)])
    target = np.array([1, 1, 1, 1, 1, 1, 1])
    one_hot = np.eye(n, dtype=dtype)[target]
    for x, axis in ((rows, -1), (np.asfortranarray(rows), -1), (rows.T.copy(), 0)):
        for t in (target, one_hot if axis else one_hot.T):
            loss, gradient = both(x, t, axis=axis, reduction="none")
            gradient = one_axis(gradient, axis)
            assert np.isfinite(loss[[0, 5]]).all()
            assert loss[1] == inf
            assert np.isnan(loss[[2, 3, 4, 6]]).all()
            assert np.isfinite(gradient[[0, 1, 5]]).all()
            assert np.isnan(gradient[[2, 3, 4, 6]]).all()
            assert gradient[0, 0] == 0
            assert gradient[1, 1] == -1
    check(rows[[0, 5]], target[[0, 5]], reduction="none")


@pytest.mark.parametrize("n", [3, 200])
@pytest.mark.parametrize("from_probs", [False, True])
@pytest.mark.parametrize("smoothing", [0, 0.25])
def test_ignored_rows_are_nothing_whatever_they_hold(simd, rng, n, from_probs, smoothing):
    options = {"ignore_index": -100, "label_smoothing": smoothing, "from_probs": from_probs}
    for count in (5, 40):
        x, target = inputs("labels", rng, (count, n), np.float32, -1, from_probs)
        target[1::3] = -100
        clean = x.copy()
        x[1::3] = rng.choice([np.nan, np.inf, -np.inf], x[1::3].shape)
        for reduction in ("mean", "sum", "none"):
            expected = both(clean, target, reduction=reduction, **options)
            result = both(x, target, reduction=reduction, **options)
            for a, b in zip(result, expected, strict=True):
                same_bits(a, b)
            assert (result[1][1::3] == 0).all()
        for a in (result[0], expected[0]):
            same_bits(a[1::3], np.zeros_like(a[1::3]))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("n", [3, 200])
def test_probabilities_of_zero_and_above_one(simd, dtype, n):
    p = np.full((4, n), 0.5, dtype)
    t = np.full((4, n), 0.25, dtype)
    p[0, 0], t[0, 0] = 0, 0  # 0·log 0 = 0
    p[1, 0] = 0
    p[2, 0] = -1
    p[3, 0], t[3, 0] = np.nan, 0
    for x, target, axis in ((p, t, -1), (p.T.copy(), t.T.copy(), 0)):
        loss, gradient = both(x, target, axis=axis, from_probs=True, reduction="none")
        gradient = one_axis(gradient, axis)
        assert np.isfinite(loss[0])
        assert loss[1] == np.inf
        assert np.isnan(loss[2:]).all()
        assert gradient[0, 0] == 0
        assert gradient[1, 0] == -np.inf
        assert np.isnan(gradient[3, 0])
    smallest = np.full((1, n), np.finfo(dtype).smallest_subnormal)
    loss = lw.cross_entropy(smallest, np.ones((1, n), dtype), from_probs=True)
    exact = -n * np.log(np.float64(smallest[0, 0]))
    assert abs(loss - exact) <= (LOG_U * u(dtype) + gamma(n, dtype)) * exact


# --------------------------------------------------------------------------------------------- laws


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", KINDS)
def test_same_bits_whatever_the_threads_and_strides(simd, rng, kind, dtype, shape, axis):
    x, target = inputs(kind, rng, shape, dtype, axis)
    options = {"axis": axis, "weight": rng.random(shape[axis]).astype(dtype)}
    if kind == "labels":
        options["ignore_index"] = 1
    lw.set_num_threads(1)
    expected = both(x, target, **options)

    def same(*result):
        for a, b in zip(result, expected, strict=True):
            same_bits(a, b)

    for threads in (2, 3):
        lw.set_num_threads(threads)
        same(*both(x, target, **options))
    same(*both(np.asfortranarray(x), np.asfortranarray(target), **options))
    same(*both(np.stack([x, x], -1)[..., 0], np.stack([target, target], -1)[..., 0], **options))
    same(*both(np.ascontiguousarray(x[::-1])[::-1], target, **options))
    along = np.ascontiguousarray(one_axis(x, axis))
    flat = target if kind == "labels" else np.ascontiguousarray(one_axis(target, axis))
    loss, gradient = both(along, flat, **{**options, "axis": -1})
    same_bits(loss, expected[0])
    same_bits(gradient, one_axis(expected[1], axis))
    # a row alone
    options["axis"] = -1
    losses, gradients = both(along, flat, reduction="none", **options)
    for row in ((0,) * losses.ndim, tuple(n - 1 for n in losses.shape)):
        loss, gradient = both(along[row], flat[row], reduction="none", **options)
        same_bits(loss, losses[row])
        same_bits(gradient, gradients[row])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("from_probs", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_few_rows_across_axes_have_the_bits_of_each_alone(simd, rng, kind, from_probs, dtype):
    """Too few for panels, and not in place: several rows are packed one after another."""
    for shape, axis in (((50, 7), 0), ((3, 300, 2), 1), ((20000, 7), 0), ((5000, 5), 0)):
        x, target = inputs(kind, rng, shape, dtype, axis, from_probs)
        along = np.ascontiguousarray(one_axis(x, axis))
        flat = target if kind == "labels" else np.ascontiguousarray(one_axis(target, axis))
        ignored = {None}
        if kind == "labels":  # none, the first row's class, and all
            ignored |= {int(target.flat[0]), shape[axis]}
        for weighted, smoothing, ignore in itertools.product((False, True), (0, 0.25), ignored):
            options = {"from_probs": from_probs, "label_smoothing": smoothing, "reduction": "none"}
            if weighted:
                options["weight"] = rng.random(shape[axis]).astype(dtype)
            labels, each = target, flat
            if ignore is not None:
                options["ignore_index"] = ignore
            if ignore == shape[axis]:
                labels, each = np.full_like(target, ignore), np.full_like(flat, ignore)
            for threads in (1, 2, 3):
                lw.set_num_threads(threads)
                losses, gradients = both(x, labels, axis=axis, **options)
                for row in np.ndindex(losses.shape):
                    loss, gradient = both(along[row], each[row], **options)
                    same_bits(loss, losses[row])
                    same_bits(gradient, one_axis(gradients, axis)[row])


def sum_of_rows(values):
    """The rule: blocks of 4096, in a block 16 partial sums and a tree, blocks in order."""
    total = 0.0
    for begin in range(0, len(values), 4096):
        partial = np.zeros(16)
        for i, value in enumerate(values[begin : begin + 4096].astype(np.float64)):
            partial[i % 16] += value
        while len(partial) > 1:
            half = len(partial) // 2
            partial = partial[:half] + partial[half:]
        total += partial[0]
    return total


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_order_of_rows_is_the_one_stated(rng, dtype):
    x, target = inputs("labels", rng, (70001, 3), dtype)
    weight = rng.random(3).astype(dtype)
    rows = lw.cross_entropy(x, target, weight=weight, reduction="none")
    total = lw.cross_entropy(x, target, weight=weight, reduction="sum")
    assert total == dtype(sum_of_rows(rows))
    mean = lw.cross_entropy(x, target, weight=weight)
    assert mean == dtype(sum_of_rows(rows) / sum_of_rows(weight[target]))
    assert lw.cross_entropy(x, target) == dtype(
        sum_of_rows(lw.cross_entropy(x, target, reduction="none")) / 70001
    )


def test_inputs_are_left_alone(rng):
    for kind in KINDS:
        args = [*inputs(kind, rng, (50, 70), np.float32), rng.random(70)]
        copies = [a.copy() for a in args]
        for a in args:
            a.flags.writeable = False
        both(args[0], args[1], weight=args[2], label_smoothing=0.1)
        for a, copy in zip(args, copies, strict=True):
            same_bits(a, copy)


# ----------------------------------------------------------------------------- arguments and dtypes


def same_as_rounded(x, target, **options):
    """Narrow results are those of float32, rounded once."""
    dtype = x.dtype
    wide = target if target.dtype.kind in "iu" else target.astype(np.float32)
    loss, gradient = both(x, target, reduction="none", **options)
    expected = both(x.astype(np.float32), wide, reduction="none", **options)
    with np.errstate(over="ignore"):
        same_bits(loss, expected[0].astype(dtype))
        same_bits(gradient, expected[1].astype(dtype))


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("kind", KINDS)
def test_narrow_types_are_computed_in_float32_and_rounded_once(rng, kind, dtype, shape, axis):
    x, target = inputs(kind, rng, shape, dtype, axis)
    same_as_rounded(x, target, axis=axis)
    same_as_rounded(np.asfortranarray(x), target, axis=axis)
    same_as_rounded(np.stack([x, x], -1)[..., 0], target, axis=axis, label_smoothing=0.25)


@pytest.mark.parametrize("dtype", NARROW)
def test_a_narrow_sum_is_rounded_once(rng, dtype):
    """Pairs of rows whose sum, rounded to float32 first, would round to another neighbour."""
    p = rng.random((2**20, 2, 1)).astype(dtype)
    p[p == 0] = 1
    target = np.zeros((2**20, 2), np.int64)
    weight = np.array([np.float32(0.7310586)])
    rows = lw.cross_entropy(
        p.astype(np.float32), target, weight=weight, from_probs=True, reduction="none"
    )
    sums = rows.astype(np.float64).sum(1)
    differ = np.flatnonzero(sums.astype(dtype) != sums.astype(np.float32).astype(dtype))
    for i in [*differ[:50], *range(50)]:
        result = lw.cross_entropy(p[i], target[i], weight=weight, from_probs=True, reduction="sum")
        assert result.dtype == dtype
        assert result == sums[i].astype(dtype)


@pytest.mark.parametrize("dtype", [bool, *INTEGERS])
def test_integer_logits_become_float64(rng, dtype):
    x = rng.integers(0, 2, (40, 5)).astype(dtype)
    for target in (rng.integers(0, 5, 40), rng.random((40, 5))):
        for a, b in zip(both(x, target), both(x.astype(float), target), strict=True):
            assert a.dtype == np.float64
            same_bits(a, b)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_labels_of_any_integer_type_and_layout(rng, dtype):
    x, target = inputs("labels", rng, (6, 30, 7), np.float32, 2)
    for ignore in (None, 3, 120):
        if ignore == 120:
            target[2, 5:9] = 120
        expected = both(x, target, ignore_index=ignore)
        labels = target.astype(dtype)
        memory = np.empty(labels.nbytes + 1, np.uint8)[1:]
        memory[:] = np.frombuffer(labels.tobytes(), np.uint8)
        for t in (
            labels,
            labels.astype(labels.dtype.newbyteorder()),
            memory.view(dtype).reshape(labels.shape),
            np.asfortranarray(labels),
            np.stack([labels, labels], -1)[..., 0],
            np.ascontiguousarray(labels[:, ::-1])[:, ::-1],
        ):
            for a, b in zip(both(x, t, ignore_index=ignore), expected, strict=True):
                same_bits(a, b)
    same = np.broadcast_to(dtype(3) if callable(dtype) else np.array(3, dtype), (6, 30))
    same_bits(lw.cross_entropy(x, same), lw.cross_entropy(x, np.full((6, 30), 3)))


@pytest.mark.parametrize("kind", KINDS)
def test_misaligned_and_byte_swapped(rng, kind):
    x, target = inputs(kind, rng, (20, 33), np.float32)
    weight = rng.random(33).astype(np.float32)
    expected = both(x, target, weight=weight)
    changed = []
    for a in (x, target, weight):
        memory = np.empty(a.nbytes + 1, np.uint8)[1:]
        memory[:] = np.frombuffer(a.tobytes(), np.uint8)
        changed.append((memory.view(a.dtype).reshape(a.shape), a.astype(a.dtype.newbyteorder())))
    for x, target, weight in zip(*changed, strict=True):
        for a, b in zip(both(x, target, weight=weight), expected, strict=True):
            same_bits(a, b)


@pytest.mark.parametrize("dtype", [*FLOATS, *NARROW, np.int32, np.uint8])
def test_weights_promote_nothing(rng, dtype):
    x, target = inputs("labels", rng, (20, 6), np.float32)
    weight = (10 * rng.random(6) + 1).astype(dtype)
    expected = both(x, target, weight=weight.astype(np.float32), label_smoothing=0.25)
    for w in (weight, np.repeat(weight, 2)[::2], np.ascontiguousarray(weight[::-1])[::-1]):
        for a, b in zip(both(x, target, weight=w, label_smoothing=0.25), expected, strict=True):
            assert a.dtype == np.float32
            same_bits(a, b)
    narrow = x.astype(np.float16)
    loss = lw.cross_entropy(narrow, target, weight=weight.astype(np.float64))
    assert loss.dtype == np.float16


def test_probabilities_promote(rng):
    x, t = inputs("probabilities", rng, (20, 6), np.float32)
    for a, b in ((np.float32, np.float64), (np.float16, np.float32), (np.int8, np.float16)):
        dtype = np.result_type(a, b)
        loss, gradient = both(x.astype(a), t.astype(b))
        assert loss.dtype == gradient.dtype == dtype
        wide = compute_type(dtype)
        same_bits(
            gradient, both(x.astype(a).astype(wide), t.astype(b).astype(wide))[1].astype(dtype)
        )


def test_result_is_an_array_without_axes(rng):
    x, target = inputs("labels", rng, (4, 6), np.float32)
    loss = lw.cross_entropy(x, target)
    assert isinstance(loss, np.ndarray)
    assert loss.shape == ()
    assert loss.dtype == np.float32
    assert lw.cross_entropy(x[0], int(target[0]), reduction="none").shape == ()
    same_bits(lw.cross_entropy(x.tolist(), target.tolist()), both(x.astype(float), target)[0])


# ------------------------------------------------------------------------------------------- errors


def test_labels_that_are_no_classes(rng):
    x, target = inputs("labels", rng, (40, 5, 300), np.float32, 1)
    for threads in (1, 3):
        lw.set_num_threads(threads)
        for value in (5, -1, 2**40):
            bad = target.copy()
            bad[3, 7] = value
            bad[3, 8] = bad[30, 1] = 77
            for t in (bad, np.asfortranarray(bad)):
                message = f"cross_entropy: target[3, 7] is {value}, which is out of bounds for 5"
                with pytest.raises(IndexError, match=re.escape(message)):
                    lw.cross_entropy(x, t, axis=1)
            bad[bad == 77] = value
            assert np.isfinite(lw.cross_entropy(x, bad, axis=1, ignore_index=value))
    with pytest.raises(IndexError, match=r"cross_entropy: target is 4, .* for 4 classes"):
        lw.cross_entropy(np.ones(4), 4)
    with pytest.raises(IndexError, match=r"target\[1\] is 1, which is out of bounds for 1 class"):
        lw.cross_entropy(np.ones((2, 1)), [0, 1])


def test_labels_of_64_unsigned_bits():
    x = np.ones((2, 3))
    huge = np.array([1, 2**64 - 100], np.uint64)
    for ignore in (None, -100, 2**63, 2**70, -(2**70)):
        with pytest.raises(IndexError, match=r"target\[1\] is 18446744073709551516"):
            lw.cross_entropy(x, huge, ignore_index=ignore)
    one = lw.cross_entropy(x[:1], [1])
    same_bits(lw.cross_entropy(x, huge, ignore_index=2**64 - 100), one)
    # What no label of the type can be, ignores nothing.
    same_bits(lw.cross_entropy(x, np.array([1, 2], np.int8), ignore_index=258), one)


def test_shapes_that_do_not_fit():
    x = np.ones((2, 3, 4), np.float32)
    message = (
        r"cross_entropy: target has shape {}, expected {} for {} and logits of shape \(2, 3, 4\)"
    )
    for target, expected, kind in (
        (np.zeros((2, 3), int), r"\(2, 4\)", "class indices"),
        (np.zeros((2, 3, 4), int), r"\(2, 4\)", "class indices"),
        (np.zeros((2, 4)), r"\(2, 3, 4\)", "probabilities"),
    ):
        seen = re.escape(str(target.shape))
        with pytest.raises(ValueError, match=message.format(seen, expected, kind)):
            lw.cross_entropy(x, target, axis=1)
    for weight in (np.ones(4), np.ones((3, 1)), np.float32(1)):
        with pytest.raises(ValueError, match=r"cross_entropy: weight has shape .* expected \(3,\)"):
            lw.cross_entropy(x, np.zeros((2, 4), int), axis=1, weight=weight)


def test_bad_axes():
    x, labels = np.ones((2, 3)), np.zeros(2, int)
    for axis in (2, -3):
        with pytest.raises(np.exceptions.AxisError, match=f"cross_entropy: axis {axis} is out of"):
            lw.cross_entropy(x, labels, axis=axis)
    for axis in ((0, 1), (1,), ()):
        with pytest.raises(ValueError, match="expected one int for class indices"):
            lw.cross_entropy(x, labels, axis=axis)
    with pytest.raises(ValueError, match="cross_entropy: axis -1 is given twice"):
        lw.cross_entropy(x, x, axis=(1, -1))
    for axis in (1.0, None, "1", [0]):
        with pytest.raises(TypeError, match=r"cross_entropy: axis is .* expected an int"):
            lw.cross_entropy(x, labels, axis=axis)


def test_bad_options():
    x, labels = np.ones((2, 3)), np.zeros(2, int)
    with pytest.raises(ValueError, match="ignore_index is for class indices, but target has dtype"):
        lw.cross_entropy(x, x, ignore_index=0)
    with pytest.raises(TypeError, match=r"ignore_index is 1\.5, expected an int"):
        lw.cross_entropy(x, labels, ignore_index=1.5)
    for smoothing in (-0.1, 1.1, np.nan, np.inf):
        with pytest.raises(ValueError, match=r"label_smoothing is .* expected 0 to 1"):
            lw.cross_entropy(x, labels, label_smoothing=smoothing)
    with pytest.raises(TypeError, match="label_smoothing is None, expected a number"):
        lw.cross_entropy(x, labels, label_smoothing=None)
    for reduction in ("batchmean", None):
        with pytest.raises(ValueError, match=r"reduction is .* one of 'mean', 'sum', 'none'"):
            lw.cross_entropy(x, labels, reduction=reduction)


@pytest.mark.parametrize("dtype", [np.complex64, object, "U1", "M8[s]", np.longdouble])
def test_dtypes_that_are_no_real_numbers(dtype):
    good, labels, bad = np.ones((2, 3)), np.zeros(2, int), np.zeros((2, 3), dtype)
    for name, args, weight in (
        ("logits", (bad, labels), None),
        ("target", (good, bad), None),
        ("weight", (good, labels), bad[0]),
    ):
        with pytest.raises(TypeError, match=f"cross_entropy: {name} has dtype"):
            lw.cross_entropy(*args, weight=weight)
    with pytest.raises(TypeError, match="cross_entropy: target has dtype bool"):
        lw.cross_entropy(good, np.zeros((2, 3), bool))
