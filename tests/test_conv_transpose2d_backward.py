"""conv_transpose2d_backward by definition, and how both gradients are each other's convolutions."""

import itertools

import lanewise as lw
import ml_dtypes
import numpy as np
import pytest
import reference
from convolutions import (
    TO_IOHW,
    TO_NCHW,
    assert_are_gradients,
    assert_exact,
    assert_same,
    convolutions,
    integers,
    transposed_convolutions,
)
from hypothesis import given
from hypothesis import strategies as st
from pooling import unaligned, views
from test_conv_backward import normal, problem

pytestmark = pytest.mark.usefixtures("ordered_sums")


def transposed_problem(rng, x_shape, w_shape, dtype=np.float32, draw=integers, **options):
    """(dy, x, w), of small integers if nothing else is said."""
    x, w = draw(rng, x_shape, dtype), draw(rng, w_shape, dtype)
    y = lw.conv_transpose2d(np.zeros(x_shape, "f4"), np.zeros(w_shape, "f4"), **options)
    return [draw(rng, y.shape, dtype), x, w]


def transposed_everywhere(dy, x, w, **options):
    """The gradients in NHWC, after they were seen to have the same bits in NCHW."""
    grads = lw.conv_transpose2d_backward(dy, x, w, **options)
    planes = lw.conv_transpose2d_backward(
        *map(np.ascontiguousarray, (dy.transpose(TO_NCHW), x.transpose(TO_NCHW))),
        np.ascontiguousarray(w.transpose(TO_IOHW)),
        layout="NCHW",
        **options,
    )
    assert_same(planes, (grads.x.transpose(TO_NCHW), grads.w.transpose(TO_IOHW), grads.bias))
    return grads


DTYPES = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int8, np.uint32]


@given(transposed_convolutions(), st.sampled_from(DTYPES))
def test_is_exact_for_integers_in_both_layouts(case, dtype):
    x_shape, w_shape, options, seed = case
    arrays = transposed_problem(np.random.default_rng(seed), x_shape, w_shape, np.int8, **options)
    arrays = [a.astype(dtype) % dtype(3) if dtype == np.uint32 else a.astype(dtype) for a in arrays]
    grads = transposed_everywhere(*arrays, **options)
    assert_exact(grads, *arrays, reference.conv_transpose2d_backward, **options)


@given(transposed_convolutions(), st.sampled_from(DTYPES[:4]))
def test_is_within_the_bound(case, dtype):
    x_shape, w_shape, options, seed = case
    rng = np.random.default_rng(seed)
    arrays = transposed_problem(rng, x_shape, w_shape, dtype, normal, **options)
    grads = transposed_everywhere(*arrays, **options)
    assert_are_gradients(grads, *arrays, reference.conv_transpose2d_backward, **options)


@given(transposed_convolutions())
def test_dx_is_conv2d_of_dy(case):
    """Bit by bit, where no row of dy is left over for another window."""
    x_shape, w_shape, options, seed = case
    extra = reference.pair(options.pop("output_padding"))
    extra = tuple(min(e, s - 1) for e, s in zip(extra, options["stride"]))
    rng = np.random.default_rng(seed)
    dy, x, w = transposed_problem(
        rng, x_shape, w_shape, np.float32, normal, output_padding=extra, **options
    )
    dx = lw.conv_transpose2d_backward(dy, x_shape, w, wrt="x", output_padding=extra, **options).x
    np.testing.assert_array_equal(dx, lw.conv2d(dy, w, **options))
    # And so dw is conv2d's, with image and gradient in each other's place.
    dw = lw.conv_transpose2d_backward(dy, x, w_shape, wrt="w", output_padding=extra, **options).w
    other = lw.conv2d_backward(x, dy, w_shape, wrt="w", **options).w
    np.testing.assert_array_equal(dw, other)


@given(convolutions())
def test_dx_of_conv2d_is_conv_transpose2d(case):
    """Bit by bit, for zeros around the image and one bank of filters."""
    x_shape, w_shape, dtype, options, seed = case
    options["pad_mode"], w_shape = "constant", w_shape[-4:]
    rng = np.random.default_rng(seed)
    dy, _, w = problem(rng, x_shape, w_shape, dtype, normal, **options)
    dx = lw.conv2d_backward(dy, x_shape, w, wrt="x", **options).x
    if options.pop("flip"):
        w = w[::-1, ::-1]
    del options["pad_mode"]
    stride, dilation = options["stride"], options["dilation"]
    pads = reference.pads(x_shape, w_shape, stride, options.pop("padding"), dilation)
    # What the windows cover may be less than the padded image: rows are left over at its end.
    covered = [
        (n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip(dy.shape[1:], stride, dilation, w_shape)
    ]
    rest = [n + sum(p) - c for n, p, c in zip(x_shape[1:], pads, covered)]
    cut = [(before, max(after - r, 0)) for (before, after), r in zip(pads, rest)]
    extra = [max(r - after, 0) for (_, after), r in zip(pads, rest)]
    there = lw.conv_transpose2d(dy, w, padding=cut, output_padding=extra, **options)
    np.testing.assert_array_equal(dx, there)


LAYERS = [
    ((3, 9, 10, 20), (4, 4, 24, 20), {"stride": 2, "padding": 1}),
    ((3, 9, 10, 24), (3, 3, 1, 24), {"groups": 24, "stride": 2, "output_padding": 1}),
    ((3, 11, 12, 33), (3, 3, 20, 33), {"padding": "same"}),
    ((3, 5, 6, 8), (2, 3, 4, 8), {"stride": 4, "dilation": (1, 3)}),
    ((2, 7, 8, 32), (3, 3, 4, 32), {"groups": 8, "padding": 1}),
    ((2, 14, 13, 3), (7, 7, 20, 3), {"stride": 2, "padding": 3}),
]


@pytest.mark.parametrize(("x_shape", "w_shape", "options"), LAYERS)
@pytest.mark.parametrize("algorithm", ["auto", "direct"])
def test_bits_do_not_depend_on_threads_strides_or_layout(
    simd, rng, x_shape, w_shape, options, algorithm
):
    lw.set_conv_algorithm(algorithm)
    dy, x, w = arrays = transposed_problem(rng, x_shape, w_shape, np.float32, normal, **options)
    grads = transposed_everywhere(*arrays, **options)
    for threads in (1, 2, 3):
        lw.set_num_threads(threads)
        assert_same(lw.conv_transpose2d_backward(*arrays, **options), grads)
    for one_view_each in itertools.islice(zip(*map(views, arrays)), 0, None, 3):
        assert_same(lw.conv_transpose2d_backward(*one_view_each, **options), grads)
    assert_same(lw.conv_transpose2d_backward(*map(unaligned, arrays), **options), grads)
    for i in range(len(x)):
        alone = lw.conv_transpose2d_backward(dy[i], x_shape[1:], w, wrt="x", **options).x
        np.testing.assert_array_equal(alone, grads.x[i])


@pytest.mark.parametrize(("x_shape", "w_shape", "options"), LAYERS)
def test_only_what_was_asked_for(rng, x_shape, w_shape, options):
    dy, x, w = transposed_problem(rng, x_shape, w_shape, np.float32, normal, **options)
    dx, dw, dbias = lw.conv_transpose2d_backward(dy, x, w, **options)
    for wrt, x_given, w_given, expected in [
        ("x", x_shape, w, (dx, None, None)),
        (["w"], x, w_shape, (None, dw, None)),
        ("bias", x_shape, w_shape, (None, None, dbias)),
        (("bias", "x"), x_shape, w, (dx, None, dbias)),
        (["w", "bias"], x, w_shape, (None, dw, dbias)),
    ]:
        grads = lw.conv_transpose2d_backward(dy, x_given, w_given, wrt=wrt, **options)
        for gradient, right in zip(grads, expected, strict=True):
            np.testing.assert_array_equal(gradient, right)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(("x_shape", "w_shape", "options"), LAYERS)
def test_infinity_and_nan(simd, rng, x_shape, w_shape, options, value):
    """In dy they reach their windows, in x their taps; a zero that was cut off counts in dw."""
    for place in (0, 1):
        arrays = transposed_problem(rng, x_shape, w_shape, **options)
        arrays[2] = np.abs(arrays[2]) + 1
        arrays[place][0, 0, 0, 0] = arrays[place][-1, -1, 2, -1] = value
        with np.errstate(invalid="ignore"):
            grads = transposed_everywhere(*arrays, **options)
            assert_exact(grads, *arrays, reference.conv_transpose2d_backward, **options)


def test_zero_sizes():
    for x_shape, w_shape in [
        ((0, 5, 5, 3), (3, 3, 4, 3)),
        ((2, 5, 5, 0), (3, 3, 4, 0)),
        ((2, 5, 5, 3), (3, 3, 0, 3)),
    ]:
        x, w = np.ones(x_shape), np.ones(w_shape)
        dy = np.ones_like(lw.conv_transpose2d(x, w))
        grads = transposed_everywhere(dy, x, w)
        assert_same(grads, (np.zeros_like(x), np.zeros_like(w), dy.sum((0, 1, 2))))
