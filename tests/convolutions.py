"""What the tests of the convolutions share: problems with exact sums, and the other layout."""

import lanewise as lw
import numpy as np
import reference
from hypothesis import strategies as st
from tolerance import assert_within, sum_of_products

BORDERS = ["reflect", "symmetric", "edge", "wrap"]
TO_NCHW, TO_OIHW, TO_OIHW_OF_BANKS = (0, 3, 1, 2), (3, 2, 0, 1), (0, 4, 3, 1, 2)
TO_IOHW = TO_OIHW  # the filters of transposed convolutions, whose axes of channels are swapped


def integers(rng, shape, dtype=np.float32):
    """Small integers: every sum is exact, so results can be compared with ==."""
    return rng.integers(-4, 5, shape).astype(dtype)


def whole_range(rng, shape, dtype=np.int64):
    """Of an integer type: sums wrap around."""
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)


def to_oihw(w):
    """The same filters, or banks of them, in the layout that goes with NCHW (a view)."""
    return w.transpose(TO_OIHW if w.ndim == 4 else TO_OIHW_OF_BANKS)


def same_everywhere(x, w, **options):
    """The convolution in NHWC, after it was seen to have the same bits in NCHW."""
    y = lw.conv2d(x, w, **options)
    nchw = lw.conv2d(
        np.ascontiguousarray(x.transpose(TO_NCHW)),
        np.ascontiguousarray(to_oihw(w)),
        layout="NCHW",
        **options,
    )
    np.testing.assert_array_equal(y, nchw.transpose(0, 2, 3, 1))
    return y


def gradients_everywhere(dy, x, w, **options):
    """The gradients in NHWC, after they were seen to have the same bits in NCHW."""
    grads = lw.conv2d_backward(dy, x, w, **options)
    planes = lw.conv2d_backward(
        *map(np.ascontiguousarray, (dy.transpose(TO_NCHW), x.transpose(TO_NCHW), to_oihw(w))),
        layout="NCHW",
        **options,
    )
    assert_same(planes, (grads.x.transpose(TO_NCHW), to_oihw(grads.w), grads.bias))
    return grads


def assert_same(grads, others):
    """The same bits and types (but any NaN is like another)."""
    for gradient, other in zip(grads, others, strict=True):
        np.testing.assert_array_equal(gradient, other, strict=True)


def assert_exact(grads, dy, x, w, backward=reference.conv2d_backward, **options):
    """The gradients are exact; for integers that left their range, modulo 2^bits."""
    for gradient, exact in zip(grads, backward(dy, x, w, **options), strict=True):
        if gradient.dtype.kind in "iu":
            exact = exact.astype(np.int64)
        np.testing.assert_array_equal(gradient, exact.astype(gradient.dtype), strict=True)


def assert_are_gradients(grads, dy, x, w, backward=reference.conv2d_backward, **options):
    """The gradients are within the bound of sums of products in any order."""
    arrays = [np.asarray(a, np.float64) for a in (dy, x, w)]
    exact = backward(*arrays, **options)
    sizes = backward(*map(np.abs, arrays), **options)
    terms = backward(*map(np.ones_like, arrays), **options)
    for gradient, right, size, count in zip(grads, exact, sizes, terms, strict=True):
        limit = sum_of_products(count.max(initial=0), size, gradient.dtype)
        assert_within(gradient, right, limit)


@st.composite
def convolutions(draw, most_c=19, most_k=35, most_groups=37, most_more=20):
    """Shapes and options, small enough to be many and ragged enough to meet every edge."""
    groups = draw(st.integers(1, 4))
    group_c, group_k = draw(st.integers(1, most_c)), draw(st.integers(1, most_k))
    if draw(st.booleans()):
        groups, group_c, group_k = draw(st.integers(1, most_groups)), 1, 1
    window = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    stride = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    dilation = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    pads = st.tuples(st.integers(0, 4), st.integers(0, 4))
    padding = draw(
        st.one_of(
            st.sampled_from(["valid", "same", "same_lower", "full"]),
            st.integers(0, 3),
            st.tuples(pads, pads),
            st.tuples(st.integers(0, 3), st.integers(0, 3)),
        )
    )
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, window)]
    size = tuple(draw(st.integers(n, n + most_more)) for n in reach)
    x_shape = (draw(st.integers(1, 2)), *size, groups * group_c)
    w_shape = (*window, group_c, groups * group_k)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    options["pad_mode"] = draw(st.sampled_from(["constant", *BORDERS]))
    options["flip"] = draw(st.booleans())
    if draw(st.integers(0, 3)) == 0:
        w_shape = (x_shape[0], *w_shape)
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    return x_shape, w_shape, dtype, options, draw(st.integers(0, 2**32))


@st.composite
def transposed_convolutions(draw, most_c=9, most_k=20, most_groups=20, most_size=9):
    """Shapes and options of transposed convolutions whose result has pixels."""
    groups = draw(st.integers(1, 3))
    group_c, group_k = draw(st.integers(1, most_c)), draw(st.integers(1, most_k))
    if draw(st.integers(0, 3)) == 0:
        groups, group_c, group_k = draw(st.integers(1, most_groups)), 1, 1
    size = draw(st.tuples(st.integers(1, most_size), st.integers(1, most_size)))
    window, stride, dilation = (
        draw(st.tuples(st.integers(1, n), st.integers(1, n))) for n in (5, 5, 4)
    )
    covered = [(n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip(size, stride, dilation, window)]
    if draw(st.booleans()):
        rules = ["valid", "same", "same_lower"]
        full = [c - 2 * d * (k - 1) for c, d, k in zip(covered, dilation, window)]
        padding = draw(st.sampled_from(rules + ["full"] * (min(full) > 0)))
    else:
        befores = [draw(st.integers(0, min(4, c - 1))) for c in covered]
        padding = tuple(
            (before, draw(st.integers(0, min(4, c - 1 - before))))
            for before, c in zip(befores, covered)
        )
    extra = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation))
    if padding in ("same", "same_lower"):
        extra = 0
    options = {
        "stride": stride,
        "padding": padding,
        "output_padding": extra,
        "dilation": dilation,
        "groups": groups,
    }
    x_shape = (draw(st.integers(1, 2)), *size, groups * group_c)
    return x_shape, (*window, group_k, groups * group_c), options, draw(st.integers(0, 2**32))
