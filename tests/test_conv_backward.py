"""conv2d_backward against its definition, and the definition against central differences."""

import lanewise as lw
import numpy as np
import pytest
import reference
from convolutions import (
    BORDERS,
    assert_are_gradients,
    assert_exact,
    assert_same,
    convolutions,
    gradients_everywhere,
    integers,
    transposed_convolutions,
)
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("ordered_sums")


def problem(rng, x_shape, w_shape, dtype=np.float32, draw=integers, **options):
    """(dy, x, w), of small integers if nothing else is said."""
    y_shape = lw.conv2d(np.zeros(x_shape, "f4"), np.zeros(w_shape, "f4"), **options).shape
    return [draw(rng, shape, dtype) for shape in (y_shape, x_shape, w_shape)]


def check(rng, x_shape, w_shape, dtype=np.float32, **options):
    """Exactness for small integers, in both layouts."""
    arrays = problem(rng, x_shape, w_shape, dtype, **options)
    assert_exact(gradients_everywhere(*arrays, **options), *arrays, **options)


# ---------------------------------------------------------------------------- central differences


def central_differences(function, at):
    """(f(a + h) - f(a - h)) / 2h for every element of `at`; exact where f is linear, as h = 1 and
    all values are small integers."""
    slopes = np.empty_like(at)
    for place in np.ndindex(at.shape):
        step = np.zeros_like(at)
        step[place] = 1
        slopes[place] = (function(at + step) - function(at - step)) / 2
    return slopes


SMALL = convolutions(most_c=2, most_k=2, most_groups=3, most_more=3)


@pytest.mark.parametrize("of", ["reference", "lanewise"])
@settings(max_examples=25)
@given(case=SMALL)
def test_central_differences(of, case):
    """Of Σ dy·y, whose slopes are the gradients; for the reference, and for lanewise itself."""
    x_shape, w_shape, _, options, seed = case
    module = {"reference": reference, "lanewise": lw}[of]
    dy, x, w = problem(np.random.default_rng(seed), x_shape, w_shape, np.float64, **options)

    def total(x, w):
        return (dy * module.conv2d(x, w, **options)).sum()

    dx, dw, dbias = module.conv2d_backward(dy, x, w, **options)
    np.testing.assert_array_equal(dx, central_differences(lambda x: total(x, w), x))
    np.testing.assert_array_equal(dw, central_differences(lambda w: total(x, w), w))
    bank_axes = (1, 2) if w.ndim == 5 else (0, 1, 2)
    np.testing.assert_array_equal(dbias, dy.sum(bank_axes))


@pytest.mark.parametrize("of", ["reference", "lanewise"])
@settings(max_examples=15)
@given(case=transposed_convolutions(most_c=2, most_k=2, most_groups=3, most_size=4))
def test_central_differences_of_the_transposed_convolution(of, case):
    x_shape, w_shape, options, seed = case
    module = {"reference": reference, "lanewise": lw}[of]
    rng = np.random.default_rng(seed)
    x, w = integers(rng, x_shape, np.float64), integers(rng, w_shape, np.float64)
    dy = integers(rng, lw.conv_transpose2d(x, w, **options).shape, np.float64)

    def total(x, w):
        return (dy * module.conv_transpose2d(x, w, **options)).sum()

    dx, dw, dbias = module.conv_transpose2d_backward(dy, x, w, **options)
    np.testing.assert_array_equal(dx, central_differences(lambda x: total(x, w), x))
    np.testing.assert_array_equal(dw, central_differences(lambda w: total(x, w), w))
    np.testing.assert_array_equal(dbias, dy.sum((0, 1, 2)))


# ---------------------------------------------------------------------------------- the definition


@given(convolutions())
def test_is_exact_for_integers_in_both_layouts(case):
    x_shape, w_shape, dtype, options, seed = case
    check(np.random.default_rng(seed), x_shape, w_shape, dtype, **options)


def normal(rng, shape, dtype):
    return rng.normal(size=shape).astype(dtype)


@given(convolutions())
def test_is_within_the_bound(case):
    x_shape, w_shape, dtype, options, seed = case
    arrays = problem(np.random.default_rng(seed), x_shape, w_shape, dtype, normal, **options)
    assert_are_gradients(gradients_everywhere(*arrays, **options), *arrays, **options)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sweep_of_channels_around_the_vector_width(simd, rng, dtype):
    for n in range(1, 34):
        check(rng, (1, 5, 7, n), (3, 2, n, 5), dtype, padding=1)
        check(rng, (1, 5, 7, 5), (3, 2, 5, n), dtype, padding=1)
        check(rng, (2, 4, 3, n), (1, 1, n, 34 - n), dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("window", [3, 5])
def test_sweep_of_depthwise_channels_and_widths(simd, rng, dtype, window):
    for stride in (1, 2):
        options = {"padding": window // 2, "stride": stride}
        for c in range(1, 34):
            check(rng, (1, 7, 6, c), (window, window, 1, c), dtype, groups=c, **options)
        for width in range(1, 35):
            check(rng, (1, 7, width, 3), (window, window, 1, 3), dtype, groups=3, **options)


@pytest.mark.parametrize("width", [*range(1, 18), 24, 32, 33])
def test_sweep_of_group_widths(simd, rng, width):
    for groups, window, stride in [(2, 3, 1), (5, 3, 2), (3, 1, 1)]:
        channels = groups * width
        w_shape = (window, window, width, channels)
        check(rng, (2, 6, 9, channels), w_shape, groups=groups, stride=stride, padding=1)


@pytest.mark.parametrize(
    ("group_c", "group_k"),
    [(1, 2), (1, 3), (1, 16), (2, 1), (3, 1), (4, 8), (8, 4), (5, 12), (16, 2), (16, 16), (7, 16)],
)
def test_groups_of_different_widths_in_and_out(simd, rng, group_c, group_k):
    for groups in (2, 3, 11):
        x_shape, w_shape = (1, 6, 9, groups * group_c), (3, 3, group_c, groups * group_k)
        check(rng, x_shape, w_shape, groups=groups, padding=1)
        check(rng, x_shape, w_shape, groups=groups, padding=2, dilation=2, stride=(2, 1))


# What decides how sums are cut and operands read: image, window, filters, and options.
SHAPES = {
    "one pixel, one channel": ((1, 1, 1, 1), (1, 1), 1, {}),
    "first layer": ((2, 31, 33, 3), (7, 7), 40, {"stride": 2, "padding": 3}),
    "patches": ((2, 24, 33, 3), (8, 8), 20, {"stride": 8}),
    "one channel": ((2, 28, 27, 1), (5, 5), 6, {}),
    "one filter": ((2, 14, 15, 37), (3, 3), 1, {"padding": 1}),
    "large image": ((1, 150, 131, 3), (3, 3), 8, {"padding": 1}),
    "many pixels": ((5, 45, 47, 35), (3, 3), 40, {"padding": 1}),
    "many pixels, strided": ((5, 61, 63, 9), (3, 2), 70, {"padding": 1, "stride": (1, 2)}),
    "very deep": ((2, 9, 10, 700), (1, 1), 300, {}),
    "very deep, few pixels": ((1, 5, 5, 600), (3, 3), 35, {}),
    "very wide": ((1, 2, 9000, 5), (1, 3), 6, {}),
    "small images, many": ((40, 3, 2, 20), (3, 3), 17, {"padding": 1}),
    "deep": ((2, 7, 7, 130), (3, 3), 70, {"padding": 1}),
    "deep, one pixel": ((3, 3, 3, 70), (3, 3), 140, {}),
    "every pixel": ((2, 13, 14, 70), (1, 1), 90, {}),
    "every second pixel": ((2, 13, 14, 70), (1, 1), 33, {"stride": 2}),
    "windows far apart": ((1, 30, 50, 3), (2, 1), 20, {"stride": (7, 11), "padding": 2}),
    "dilated": ((1, 23, 19, 20), (3, 3), 24, {"dilation": (2, 6), "padding": "same"}),
    "stride and dilation": ((1, 22, 31, 5), (3, 4), 9, {"stride": (2, 3), "dilation": (3, 2)}),
    "taps in the padding": ((1, 9, 8, 9), (3, 3), 10, {"dilation": 6, "padding": 6}),
    "windows in the padding": ((1, 4, 5, 9), (3, 3), 10, {"padding": ((17, 9), (8, 14))}),
    "tall": ((1, 90, 2, 17), (9, 1), 20, {"padding": ((4, 4), (0, 0))}),
    "wide": ((1, 1, 700, 17), (1, 9), 20, {"padding": ((0, 0), (4, 4))}),
    "more taps than pixels": ((1, 6, 7, 4), (13, 11), 5, {"padding": "same"}),
    "depthwise": ((2, 30, 21, 40), (7, 7), 40, {"groups": 40, "padding": 3}),
    "depthwise, many pixels": ((4, 60, 61, 20), (3, 3), 20, {"groups": 20, "padding": 1}),
    "depthwise, many channels": ((1, 9, 9, 700), (3, 3), 700, {"groups": 700, "padding": 1}),
    "depthwise, few channels": ((2, 40, 41, 2), (3, 3), 2, {"groups": 2, "padding": 1}),
    "depthwise, large window": ((1, 30, 31, 17), (21, 19), 17, {"groups": 17, "padding": "same"}),
    "depthwise, wide": ((1, 5, 700, 4), (3, 31), 4, {"groups": 4, "padding": "same"}),
    "depthwise, strided": ((1, 29, 30, 19), (5, 5), 19, {"groups": 19, "stride": 3, "padding": 2}),
    "depthwise, dilated": ((1, 29, 30, 19), (3, 3), 19, {"groups": 19, "dilation": 4}),
    "depthwise, very wide": ((1, 2, 5000, 3), (2, 3), 3, {"groups": 3}),
    "depth multiplier": ((1, 12, 13, 9), (3, 3), 27, {"groups": 9, "padding": 1}),
    "grouped": ((2, 12, 13, 64), (3, 3), 64, {"groups": 16, "padding": 1}),
    "grouped, many pixels": ((3, 60, 61, 24), (3, 3), 24, {"groups": 6, "padding": 1}),
    "wide groups": ((1, 9, 8, 80), (3, 3), 60, {"groups": 2, "padding": 1}),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_of_many_kinds(simd, rng, shape):
    x_shape, window, k, options = SHAPES[shape]
    w_shape = (*window, x_shape[3] // options.get("groups", 1), k)
    check(rng, x_shape, w_shape, **options)
    arrays = problem(rng, x_shape, w_shape, np.float32, normal, **options)
    assert_are_gradients(gradients_everywhere(*arrays, **options), *arrays, **options)


# ----------------------------------------------------------------------------------------- options


@pytest.mark.parametrize("pad_mode", ["constant", *BORDERS])
@pytest.mark.parametrize(("h", "width"), [(1, 1), (1, 4), (2, 3), (5, 2), (9, 8)])
def test_padding_wider_than_the_image(simd, rng, pad_mode, h, width):
    for c, k, groups in [(3, 5, 1), (17, 3, 1), (6, 6, 6), (8, 8, 2)]:
        w_shape = (3, 2, c // groups, k)
        options = {"pad_mode": pad_mode, "groups": groups}
        for stride in (1, 3):
            padding = ((7, 4), (3, 11))
            check(rng, (2, h, width, c), w_shape, padding=padding, stride=stride, **options)
        check(rng, (2, h, width, c), w_shape, padding="same", **options)


@pytest.mark.parametrize("pad_mode", BORDERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_borders_add_to_the_pixels_that_they_repeat(simd, rng, pad_mode, dtype):
    """In sums that round: within the bound of all that a pixel gets."""
    for x_shape, window, groups in [((2, 9, 8, 20), 3, 1), ((1, 6, 7, 9), 5, 9)]:
        w_shape = (window, window, x_shape[3] // groups, 18)
        options = {"padding": window // 2 + 2, "pad_mode": pad_mode, "groups": groups}
        arrays = problem(rng, x_shape, w_shape, dtype, normal, **options)
        assert_are_gradients(gradients_everywhere(*arrays, **options), *arrays, **options)


def test_a_bank_of_filters_per_image(simd, rng):
    for c, k, groups, window in [(20, 24, 1, 3), (8, 8, 8, 5), (70, 40, 1, 3), (6, 4, 2, 1)]:
        x_shape, w_shape = (10, 6, 7, c), (10, window, window, c // groups, k)
        for flip in (False, True):
            check(rng, x_shape, w_shape, groups=groups, padding="same", flip=flip)
    dy, x, w = problem(rng, (3, 5, 5, 2), (3, 3, 3, 2, 4))
    assert lw.conv2d_backward(dy, x, w).bias.shape == (3, 4)


@settings(max_examples=30)
@given(convolutions(most_c=9, most_k=17))
def test_packed_filters(case):
    """The same bits as of the filters that were packed."""
    x_shape, w_shape, dtype, options, seed = case
    dy, x, w = problem(np.random.default_rng(seed), x_shape, w_shape, dtype, normal, **options)
    packed = lw.pack_filter(w, groups=options["groups"], flip=options["flip"])
    expected = lw.conv2d_backward(dy, x, w, **options)
    assert_same(lw.conv2d_backward(dy, x, packed, **options), expected)
    lw.conv2d(x, packed, **options)
    assert_same(lw.conv2d_backward(dy, x, packed, **options), expected)
    options["flip"] = not options["flip"]
    with pytest.raises(ValueError, match=r"^conv2d_backward: flip is .* packed with flip="):
        lw.conv2d_backward(dy, x, packed, **options)


def test_one_image_without_batch_axis(simd, rng):
    dy, x, w = problem(rng, (6, 7, 3), (3, 3, 3, 4))
    grads = lw.conv2d_backward(dy, x, w)
    batch = lw.conv2d_backward(dy[None], x[None], w)
    assert_same(grads, (batch.x[0], batch.w, batch.bias))


@settings(max_examples=30)
@given(
    convolutions(most_c=6, most_k=9),
    st.sets(st.sampled_from(["x", "w", "bias"]), min_size=1),
    st.booleans(),
)
def test_only_what_was_asked_for(case, wrt, by_shape):
    """Each gradient has the bits that it has with others; shapes stand in for unused values."""
    x_shape, w_shape, dtype, options, seed = case
    dy, x, w = problem(np.random.default_rng(seed), x_shape, w_shape, dtype, normal, **options)
    everything = lw.conv2d_backward(dy, x, w, **options)
    x_given = x_shape if by_shape and "w" not in wrt else x
    w_given = w_shape if by_shape and "x" not in wrt else w
    grads = lw.conv2d_backward(dy, x_given, w_given, wrt=sorted(wrt), **options)
    for name in ("x", "w", "bias"):
        if name in wrt:
            np.testing.assert_array_equal(getattr(grads, name), getattr(everything, name))
        else:
            assert getattr(grads, name) is None
    for name in wrt:
        alone = lw.conv2d_backward(dy, x_given, w_given, wrt=name, **options)
        np.testing.assert_array_equal(getattr(alone, name), getattr(everything, name))


def test_result_is_a_named_tuple(rng):
    grads = lw.conv2d_backward(*problem(rng, (1, 4, 4, 2), (3, 3, 2, 3)))
    assert isinstance(grads, lw.ConvGrads)
    assert grads._fields == ("x", "w", "bias")
    assert all(gradient.flags.c_contiguous for gradient in grads)


@given(convolutions(most_c=9, most_k=20))
def test_conv1d_is_conv2d_of_height_one(case):
    (n, _, width, c), (*banks, _, taps, group_c, k), dtype, options, seed = case
    padding = reference.axis_padding(options["padding"], 1)
    for name in ("stride", "dilation"):
        options[name] = options[name][1]
    options["padding"] = padding if isinstance(padding, str) else [padding]
    rng = np.random.default_rng(seed)
    x, w = normal(rng, (n, width, c), dtype), normal(rng, (*banks, taps, group_c, k), dtype)
    dy = normal(rng, lw.conv1d(x, w, **options).shape, dtype)
    dx, dw, dbias = lw.conv1d_backward(dy, x, w, **options)
    ncw = lw.conv1d_backward(
        *map(np.ascontiguousarray, (dy.swapaxes(1, 2), x.swapaxes(1, 2), w.swapaxes(-3, -1))),
        layout="NCW",
        **options,
    )
    assert_same(ncw, (dx.swapaxes(1, 2), dw.swapaxes(-3, -1), dbias))
    if not isinstance(padding, str):
        options["padding"] = [(0, 0), padding]
    one_row = dy[:, None], x[:, None], np.expand_dims(w, -4)
    image = lw.conv2d_backward(*one_row, **options)
    assert_same(image, (dx[:, None], np.expand_dims(dw, -4), dbias))
