"""conv2d against its definition, the laws, bad input, and torch and scipy."""

import itertools

import lanewise as lw
import numpy as np
import pytest
import reference
import scipy.ndimage
import scipy.signal
from convolutions import BORDERS, TO_NCHW, TO_OIHW, convolutions, integers, same_everywhere
from hypothesis import given
from hypothesis import strategies as st
from tolerance import assert_within, gamma, tiny, u

pytestmark = pytest.mark.usefixtures("ordered_sums")


ACTIVATIONS = [None, "relu", "relu6", "silu", "gelu", "leaky_relu", "sigmoid", "tanh"]

# Each activation's slope is at most this, so it magnifies the sum's error by no more; and its own
# evaluation is within this many units of rounding of max(|v|, 1)·slope (Highway's exp has 1 ulp and
# its tanh 4, Cody's rational erf about 8 operations of rounding beside exp and its argument x²).
SLOPE = dict.fromkeys(ACTIVATIONS, 1) | {"silu": 1.1, "gelu": 1.13, "sigmoid": 0.25}
OWN_UNITS = dict.fromkeys(ACTIVATIONS, 0) | {
    "leaky_relu": 1,
    "sigmoid": 5,
    "silu": 6,
    "tanh": 9,
    "gelu": 40,
}


def assert_is_conv2d(y, x, w, bias=None, activation=None, **options):
    """`y` (NHWC) is the convolution, within the bound of a chain of multiply-adds and the bias."""
    exact = reference.conv2d(x, w, **options)
    size = reference.conv2d(np.abs(x), np.abs(w), **options)
    terms = np.prod(w.shape[-4:-1]) + 1
    if bias is not None:
        exact, size = exact + np.float64(bias), size + np.abs(bias)
    # Without fused multiply-add each product rounds as well: terms + 1 roundings on any path.
    bound = gamma(terms + 1, y.dtype) * size + terms * 2 * tiny(y.dtype)
    v = reference.ACTIVATIONS[activation](exact)
    own = OWN_UNITS[activation] * u(y.dtype) * np.maximum(np.abs(exact), 1)
    assert_within(y, v, SLOPE[activation] * bound + own)


# ---------------------------------------------------------------------------------- the definition


@given(convolutions())
def test_is_exact_for_integers_in_both_layouts(case):
    x_shape, w_shape, dtype, options, seed = case
    rng = np.random.default_rng(seed)
    x, w = integers(rng, x_shape, dtype), integers(rng, w_shape, dtype)
    y = same_everywhere(x, w, **options)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, reference.conv2d(x, w, **options))


@given(convolutions(), st.sampled_from(ACTIVATIONS), st.booleans())
def test_is_within_the_bound(case, activation, with_bias):
    x_shape, w_shape, dtype, options, seed = case
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=x_shape).astype(dtype), rng.normal(size=w_shape).astype(dtype)
    bias = rng.normal(size=w_shape[-1]).astype(dtype) if with_bias else None
    y = lw.conv2d(x, w, bias, activation=activation, **options)
    assert_is_conv2d(y, x, w, bias, activation, **options)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sweep_of_channels_around_the_vector_width(simd, rng, dtype):
    x = integers(rng, (1, 5, 7, 33), dtype)
    w = integers(rng, (3, 2, 33, 33), dtype)
    for c in range(1, 34):
        np.testing.assert_array_equal(
            same_everywhere(x[..., :c].copy(), w[:, :, :c, :5].copy(), padding=1),
            reference.conv2d(x[..., :c], w[:, :, :c, :5], padding=1),
        )
        np.testing.assert_array_equal(
            same_everywhere(x[..., :5].copy(), w[:, :, :5, :c].copy(), padding=1),
            reference.conv2d(x[..., :5], w[:, :, :5, :c], padding=1),
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sweep_of_depthwise_channels_and_widths(simd, rng, dtype):
    for c, width in itertools.chain(
        zip(range(1, 35), itertools.repeat(6)), zip([3] * 34, range(3, 37))
    ):
        x, w = integers(rng, (1, 7, width, c), dtype), integers(rng, (3, 3, 1, c), dtype)
        for stride in (1, 2):
            np.testing.assert_array_equal(
                same_everywhere(x, w, groups=c, padding=1, stride=stride),
                reference.conv2d(x, w, groups=c, padding=1, stride=stride),
            )


@pytest.mark.parametrize(
    ("shape", "window", "filters", "options"),
    [
        ((1, 28, 28, 128), 3, 128, {"padding": 1}),  # several term blocks
        ((2, 7, 7, 700), 1, 300, {}),  # slices of one tap; channels in two blocks
        ((1, 30, 31, 3), 7, 20, {"stride": 2, "padding": 3}),  # pixels copied, not pointed at
        ((1, 40, 40, 2), 13, 9, {"padding": "same"}),
        ((1, 9, 2000, 4), (3, 31), 4, {"groups": 4}),  # wide depthwise strips
        ((1, 70, 3, 8), (65, 1), 8, {"padding": "same"}),  # more taps than one table of pointers
    ],
)
def test_shapes_that_are_cut_in_blocks(simd, rng, shape, window, filters, options):
    window = (window, window) if isinstance(window, int) else window
    x = integers(rng, shape, np.float32)
    w = integers(rng, (*window, shape[3] // options.get("groups", 1), filters), np.float32)
    np.testing.assert_array_equal(
        same_everywhere(x, w, **options), reference.conv2d(x, w, **options)
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activation_over_the_whole_range(simd, activation, dtype):
    v = np.concatenate([np.linspace(-30, 30, 4001), [-1e30, -800, -104, 0, 1e-30, 104, 800, 1e30]])
    x = v.astype(dtype).reshape(1, -1, 1, 1)
    y = lw.conv2d(x, np.ones((1, 1, 1, 1), dtype), activation=activation)
    assert_is_conv2d(y, x, np.ones((1, 1, 1, 1)), activation=activation)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation_of_nan_and_infinity(simd, activation):
    x = np.array([np.nan, np.inf, -np.inf], np.float32).reshape(1, 3, 1, 1)
    y = lw.conv2d(x, np.ones((1, 1, 1, 1), np.float32), activation=activation).ravel()
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(y, reference.ACTIVATIONS[activation](x.ravel().astype(float)))


def test_nan_and_infinity_reach_exactly_their_windows(rng):
    x = integers(rng, (1, 9, 9, 5), np.float32)
    x[0, 4, 4, 2], x[0, 0, 8, 0] = np.nan, np.inf
    w = np.abs(integers(rng, (3, 3, 5, 20), np.float32)) + 1
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(
            same_everywhere(x, w, padding=1), reference.conv2d(x, w, padding=1)
        )


def test_infinity_in_a_filter_makes_nan_of_padding(simd, rng):
    options = {"dilation": 6, "padding": 6}
    x = np.abs(integers(rng, (2, 13, 14, 20), np.float32)) + 1
    w = np.abs(integers(rng, (3, 3, 20, 40), np.float32)) + 1
    w[0, 1, 3, 7] = np.inf
    y = same_everywhere(x, w, **options)
    assert np.isnan(y[:, :6, :, 7]).all()
    assert np.isposinf(y[:, 6:, :, 7]).all()
    w[0, 1, 3, 7] = 1
    finite = same_everywhere(x, w, **options)
    others = np.arange(40) != 7
    np.testing.assert_array_equal(y[..., others], finite[..., others])


# What decides how an image is read: channels, filters, image, window, and options.
WAYS = {
    "windows of few channels": (3, 40, (13, 37), (5, 4), {"padding": ((1, 3), (3, 2))}),
    "windows wider than the image": (2, 33, (9, 3), (2, 7), {"padding": ((0, 1), (5, 4))}),
    "one channel": (1, 32, (11, 29), (5, 5), {"padding": 2}),
    "windows side by side": (3, 40, (12, 36), (4, 4), {"stride": 4}),
    "windows with pixels in between": (3, 40, (14, 40), (2, 3), {"stride": (3, 5)}),
    "windows far apart": (3, 40, (30, 90), (2, 1), {"stride": (7, 11), "padding": 2}),
    "columns left over": (7, 20, (9, 38), (3, 3), {"stride": (1, 2)}),
    "large patches": (3, 50, (40, 57), (16, 16), {"stride": 16, "padding": 3}),
    "strides of three": (5, 70, (20, 41), (5, 7), {"stride": 3, "padding": "same"}),
    "strides of four, dilated": (5, 20, (20, 90), (3, 3), {"stride": 4, "dilation": 3}),
    "dilated": (20, 60, (23, 19), (3, 3), {"dilation": (2, 6), "padding": "same"}),
    "dilated, few channels": (4, 9, (23, 35), (3, 3), {"dilation": 5, "padding": 4}),
    "taps in the padding": (20, 40, (13, 14), (3, 3), {"dilation": 6, "padding": 6}),
    "taps in the padding, strided": (
        *(20, 40, (19, 14), (5, 3)),
        {"dilation": (5, 6), "padding": ((9, 12), (11, 3)), "stride": (2, 3)},
    ),
    "windows in the padding": (
        9,
        40,
        (4, 5),
        (3, 3),
        {"dilation": 5, "padding": ((17, 9), (8, 14))},
    ),
    "pixels in the padding": (19, 9, (9, 11), (1, 1), {"padding": 3}),
    "pixels in the padding, many filters": (19, 40, (9, 11), (1, 1), {"padding": 3}),
    "one pixel": (40, 33, (3, 3), (3, 3), {}),
    "few pixels, strided": (40, 90, (7, 7), (3, 3), {"stride": 3, "padding": 1}),
    "few pixels": (40, 70, (7, 7), (3, 3), {"padding": 1}),
    "few pixels of many channels": (800, 70, (7, 7), (1, 1), {}),
    "every pixel, far planes": (37, 90, (29, 23), (1, 1), {}),
    "every pixel, near planes": (37, 90, (11, 13), (1, 1), {}),
    "every pixel, few filters": (19, 9, (29, 23), (1, 1), {}),
    "every second pixel": (37, 90, (29, 23), (1, 1), {"stride": 2}),
    "tall": (17, 40, (90, 2), (9, 1), {"padding": ((4, 4), (0, 0))}),
    "wide": (17, 40, (1, 700), (1, 9), {"padding": ((0, 0), (4, 4))}),
    "more terms than fit a block": (2200, 9, (5, 6), (3, 3), {"padding": 1}),
    "more pixels than fit a strip": (3100, 20, (3, 45), (3, 3), {"padding": 1}),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", ["f4", "f2", "i1"])
def test_every_way_through_an_image(simd, rng, way, dtype):
    """In both layouts, for whole images and for views, and types that are widened on the way."""
    c, k, size, window, options = WAYS[way]
    x, w = integers(rng, (2, *size, c), dtype), integers(rng, (*window, c, k), dtype)
    wide = {"dtype": "i4"} if dtype == "i1" else {"dtype": "f4"}
    expected = reference.conv2d(x, w, **options)
    np.testing.assert_array_equal(same_everywhere(x, w, **options, **wide), expected)
    padded = np.pad(x, ((0, 0), (1, 2), (3, 1), (2, 1)))
    view = padded[:, 1:-2, 3:-1, 2:-1]
    np.testing.assert_array_equal(lw.conv2d(view, w, **options, **wide), expected)


@pytest.mark.parametrize("pad_mode", BORDERS)
def test_borders_of_strips(simd, rng, pad_mode):
    for way in ("windows of few channels", "strides of three", "dilated, few channels"):
        c, k, size, window, options = WAYS[way]
        x, w = integers(rng, (1, *size, c), "f4"), integers(rng, (*window, c, k), "f4")
        np.testing.assert_array_equal(
            same_everywhere(x, w, pad_mode=pad_mode, **options),
            reference.conv2d(x, w, pad_mode=pad_mode, **options),
        )


@pytest.mark.parametrize("activation", [None, "relu", "gelu"])
@pytest.mark.parametrize("k", [16, 31, 32, 48, 49, 64])
def test_results_of_whole_and_of_partial_tiles(simd, rng, activation, k):
    """The same bits whether the kernel finishes them or what comes after it does."""
    x = rng.normal(size=(2, 9, 32, 21)).astype(np.float32)
    w = rng.normal(size=(1, 1, 21, k)).astype(np.float32)
    bias = rng.normal(size=k).astype(np.float32)
    y = same_everywhere(x, w, bias=bias, activation=activation)
    for rows, columns in [(slice(2, 7), slice(None)), (slice(None), slice(3, 20))]:
        part = lw.conv2d(x[:, rows, columns], w, bias, activation=activation)
        np.testing.assert_array_equal(part, y[:, rows, columns])
    few = lw.conv2d(x, w[..., :13], bias[:13], activation=activation)
    np.testing.assert_array_equal(few, y[..., :13])
    spaced = np.empty((2, 9, 32, k + 3), np.float32)[..., :k]
    lw.conv2d(x, w, bias, activation=activation, out=spaced)
    np.testing.assert_array_equal(spaced, y)


def test_filters_that_threads_keep(rng):
    """More pieces of pixels and of filters than threads, of several images, groups and banks."""
    x = integers(rng, (3, 70, 61, 12), np.float32)
    shared = integers(rng, (3, 3, 6, 80), np.float32)
    banks = integers(rng, (3, 3, 3, 6, 80), np.float32)
    for w in (shared, banks):
        expected = reference.conv2d(x, w, padding=1, groups=2)
        for threads in (1, 2, 3):
            lw.set_num_threads(threads)
            np.testing.assert_array_equal(same_everywhere(x, w, padding=1, groups=2), expected)


@pytest.mark.parametrize("pad_mode", BORDERS)
@pytest.mark.parametrize(("h", "width"), [(1, 1), (1, 4), (2, 3), (5, 2)])
def test_padding_wider_than_the_image(simd, rng, pad_mode, h, width):
    padding = ((7, 4), (3, 11))
    for c, k, groups in [(3, 5, 1), (17, 3, 1), (6, 6, 6)]:
        x = integers(rng, (2, h, width, c), np.float32)
        w = integers(rng, (3, 2, c // groups, k), np.float32)
        options = {"padding": padding, "pad_mode": pad_mode, "groups": groups}
        for stride in (1, 3):
            np.testing.assert_array_equal(
                same_everywhere(x, w, stride=stride, **options),
                reference.conv2d(x, w, stride, **options),
            )


def test_one_filter_bank_per_image(simd, rng):
    """The same bits as one call per image; more images than are packed at a time."""
    for c, k, groups, window in [(20, 24, 1, 3), (8, 8, 8, 5), (300, 200, 1, 3), (6, 4, 2, 1)]:
        n = 10
        x = rng.normal(size=(n, 6, 7, c)).astype(np.float32)
        w = rng.normal(size=(n, window, window, c // groups, k)).astype(np.float32)
        bias = rng.normal(size=(n, k)).astype(np.float32)
        y = same_everywhere(x, w, padding="same", groups=groups)
        for i in range(n):
            np.testing.assert_array_equal(
                y[i], lw.conv2d(x[i], w[i], padding="same", groups=groups)
            )
        for b in (bias, bias[0]):
            y = lw.conv2d(x, w, b, padding="same", groups=groups, activation="relu")
            for i in range(n):
                own = b if b.ndim == 1 else b[i]
                alone = lw.conv2d(x[i], w[i], own, padding="same", groups=groups, activation="relu")
                np.testing.assert_array_equal(y[i], alone)


def test_one_image_without_batch_axis(rng):
    x, w = integers(rng, (6, 7, 3), np.float32), integers(rng, (3, 3, 3, 4), np.float32)
    y = lw.conv2d(x, w)
    assert y.shape == (4, 5, 4)
    np.testing.assert_array_equal(y, lw.conv2d(x[None], w)[0])
    out = np.empty_like(y)
    assert lw.conv2d(x, w, out=out) is out
    np.testing.assert_array_equal(out, y)


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "expected"),
    [
        ((0, 5, 5, 3), (3, 3, 3, 4), (0, 3, 3, 4)),
        ((2, 5, 5, 0), (3, 3, 0, 4), (2, 3, 3, 4)),
        ((2, 5, 5, 3), (3, 3, 3, 0), (2, 3, 3, 0)),
    ],
)
def test_zero_sizes(x_shape, w_shape, expected):
    y = lw.conv2d(np.ones(x_shape), np.ones(w_shape), np.full(w_shape[3], 2.0))
    assert y.shape == expected
    assert (y == 2).all()


# --------------------------------------------------------------------------------------- the laws

LAYERS = [
    ((3, 14, 15, 20), (3, 3, 20, 24), {"padding": 1}),
    ((3, 17, 16, 3), (5, 5, 3, 40), {"stride": 2, "padding": "same"}),
    ((3, 12, 13, 24), (3, 3, 1, 24), {"groups": 24, "padding": 1}),
    ((3, 12, 13, 24), (3, 3, 6, 8), {"groups": 4}),
    ((3, 14, 15, 21), (3, 3, 21, 3), {"stride": (1, 2), "padding": 2, "pad_mode": "reflect"}),
    ((3, 9, 10, 70), (1, 1, 70, 2), {}),
    ((3, 14, 15, 20), (3, 3, 20, 5), {"padding": 3, "dilation": 3}),
    ((3, 1, 2, 70), (1, 2, 70, 75), {}),
    ((2, 3, 3, 20), (3, 3, 20, 33), {}),
    ((4, 2, 1, 70), (3, 3, 35, 80), {"groups": 2, "padding": 1}),
]


@pytest.mark.parametrize(("x_shape", "w_shape", "options"), LAYERS)
@pytest.mark.parametrize("scale", [1, 4])
def test_bits_do_not_depend_on_threads_batch_strides_or_layout(
    simd, rng, x_shape, w_shape, options, scale
):
    n, h, width, c = x_shape
    x = rng.normal(size=(n, h * scale, width * scale, c)).astype(np.float32)
    w = rng.normal(size=w_shape).astype(np.float32)
    y = same_everywhere(x, w, activation="silu", **options)
    for threads in (1, 2, 3):
        lw.set_num_threads(threads)
        np.testing.assert_array_equal(lw.conv2d(x, w, activation="silu", **options), y)
    for i in range(n):
        np.testing.assert_array_equal(lw.conv2d(x[i], w, activation="silu", **options), y[i])
    for permutation in itertools.permutations(range(4)):
        inverse = np.argsort(permutation)
        strided_x = np.ascontiguousarray(x.transpose(permutation)).transpose(inverse)
        strided_w = np.ascontiguousarray(w.transpose(permutation)).transpose(inverse)
        out = np.empty_like(y.transpose(permutation), order="C").transpose(inverse)
        lw.conv2d(strided_x, strided_w, activation="silu", out=out, **options)
        np.testing.assert_array_equal(out, y)


@pytest.mark.parametrize(("x_shape", "w_shape", "options"), LAYERS)
def test_every_kind_of_view(rng, x_shape, w_shape, options):
    x, w = integers(rng, x_shape, np.float32), integers(rng, w_shape, np.float32)
    expected = lw.conv2d(x, w, **options)

    def check(x_view, w_view):
        np.testing.assert_array_equal(lw.conv2d(x_view, w_view, **options), expected)

    def every_second(a):
        big = np.zeros([2 * n for n in a.shape], a.dtype)
        view = big[tuple([slice(None, None, 2)] * a.ndim)]
        view[...] = a
        return view

    def reversed_view(a):
        return np.flip(np.flip(a).copy())

    def misaligned(a):
        raw = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
        raw[...] = a
        assert not raw.flags.aligned
        return raw

    def read_only(a):
        a = a.copy()
        a.flags.writeable = False
        return a

    for view in (every_second, reversed_view, misaligned, read_only):
        check(view(x), view(w))
    check(x.astype(">f4"), w.astype(">f4"))
    check(x.tolist(), w)  # becomes float64, in which these sums are exact as well
    broadcast = np.broadcast_to(x[:1, :, :, :1], x_shape)
    np.testing.assert_array_equal(
        lw.conv2d(broadcast, w, **options), lw.conv2d(broadcast.copy(), w, **options)
    )


def test_mixed_dtypes_and_bias_cast(rng):
    x, w = rng.normal(size=(1, 4, 4, 2)).astype(np.float32), rng.normal(size=(3, 3, 2, 4))
    assert lw.conv2d(x, w).dtype == np.float64
    y = lw.conv2d(x, w.astype(np.float32), np.zeros(4))
    assert y.dtype == np.float32
    assert lw.conv2d(x, w.astype(np.float32), np.arange(4)).dtype == np.float32


# -------------------------------------------------------------------------------------- bad input


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


BAD = [
    (zeros(3, 3), zeros(3, 3, 1, 1), {}, ValueError, r"x has shape \(3, 3\), expected 4 axes"),
    (zeros(1, 8, 8, 3), zeros(3, 3), {}, ValueError, r"w has shape \(3, 3\), expected 4 axes"),
    (
        zeros(1, 8, 8, 3),
        zeros(3, 3, 4, 8),
        {},
        ValueError,
        r"conv2d: w has 4 input channels per group \(shape \(3, 3, 4, 8\), layout HWIO\), but x "
        r"has 3 channels \(shape \(1, 8, 8, 3\), layout NHWC\) and groups=1",
    ),
    (zeros(1, 8, 8, 4), zeros(3, 3, 2, 3), {"groups": 2}, ValueError, "groups=2 divides not both"),
    (zeros(1, 8, 8, 4), zeros(3, 3, 2, 3), {"groups": 0}, ValueError, "groups is 0"),
    (
        zeros(1, 8, 8, 1),
        zeros(3, 3, 1, 1),
        {"stride": 0},
        ValueError,
        "stride is 0 along the height",
    ),
    (
        zeros(1, 8, 8, 1),
        zeros(3, 3, 1, 1),
        {"stride": (1, -2)},
        ValueError,
        "stride is -2 .* width",
    ),
    (zeros(1, 8, 8, 1), zeros(3, 3, 1, 1), {"stride": (1, 2, 3)}, ValueError, "stride is"),
    (zeros(1, 8, 8, 1), zeros(3, 3, 1, 1), {"stride": 1.5}, ValueError, "stride is 1.5"),
    (zeros(1, 8, 8, 1), zeros(3, 3, 1, 1), {"dilation": 0}, ValueError, "dilation is 0"),
    (zeros(1, 8, 8, 1), zeros(3, 3, 1, 1), {"padding": -1}, ValueError, "padding is -1"),
    (zeros(1, 8, 8, 1), zeros(3, 3, 1, 1), {"padding": "large"}, ValueError, "padding is 'large'"),
    (zeros(1, 8, 8, 1), zeros(3, 3, 1, 1), {"padding": ((1, 2, 3), 1)}, ValueError, "padding is"),
    (zeros(1, 8, 8, 1), zeros(9, 3, 1, 1), {}, ValueError, "window of 9 .* padded height 8"),
    (zeros(1, 8, 8, 1), zeros(0, 3, 1, 1), {}, ValueError, "window is 0"),
    (zeros(1, 8, 8, 1), zeros(3, 3, 1, 1), {"layout": "NHCW"}, ValueError, "layout is 'NHCW'"),
    (zeros(1, 8, 8, 1), zeros(3, 3, 1, 1), {"activation": "swish"}, ValueError, "activation is"),
    (zeros(1, 8, 8, 1), zeros(3, 3, 1, 1), {"algorithm": "fft"}, ValueError, "algorithm is 'fft'"),
    (zeros(1, 8, 8, 1), zeros(3, 3, 1, 1), {"pad_mode": "mirror"}, ValueError, "pad_mode is"),
    (
        zeros(1, 8, 8, 1),
        zeros(3, 3, 1, 1),
        {"bias": zeros(2)},
        ValueError,
        r"bias has shape \(2,\)",
    ),
    (zeros(1, 8, 8, 1), zeros(3, 3, 1, 1), {"bias": zeros(1, dtype=complex)}, TypeError, "bias"),
    (zeros(1, 8, 8, 1, dtype=complex), zeros(3, 3, 1, 1), {}, TypeError, "x has dtype complex128"),
    (zeros(1, 8, 8, 1), zeros(3, 3, 1, 1, dtype=object), {}, TypeError, "w has dtype object"),
    (zeros(1, 8, 8, 1, dtype="S1"), zeros(3, 3, 1, 1), {}, TypeError, "x has dtype"),
    (zeros(1, 8, 8, 1, dtype="M8[s]"), zeros(3, 3, 1, 1), {}, TypeError, "x has dtype"),
    (zeros(1, 8, 8, 1), zeros(3, 3, 1, 1), {"padding": 2**40}, ValueError, "do not fit in 64 bits"),
    (zeros(1, 8, 8, 1), zeros(3, 3, 1, 1), {"padding": 2**62}, ValueError, "overflows 64 bits"),
    (zeros(1, 8, 8, 1), zeros(3, 3, 1, 1), {"padding": 2**30}, ValueError, "no array can have"),
    (zeros(1, 8, 8, 1), zeros(3, 3, 1, 1), {"padding": 2**29}, MemoryError, "allocate"),
    (zeros(1, 8, 8, 1), zeros(3, 3, 1, 1), {"out": zeros(1, 6, 6, 2)}, ValueError, "out has shape"),
    (
        zeros(1, 8, 8, 1),
        zeros(3, 3, 1, 1),
        {"out": zeros(1, 6, 6, 1, dtype="f8")},
        TypeError,
        "out",
    ),
    (zeros(1, 8, 8, 1), zeros(3, 3, 1, 1), {"out": [1]}, TypeError, "out is a list"),
    (
        zeros(2, 8, 8, 1),
        zeros(3, 3, 3, 1, 1),
        {},
        ValueError,
        r"w has 3 banks of filters \(shape \(3, 3, 3, 1, 1\)\), but x has 2 images",
    ),
    (zeros(8, 8, 1), zeros(1, 3, 3, 1, 1), {}, ValueError, "w has shape .* expected 4 axes"),
    (zeros(1, 8, 8, 1), zeros(3, 3, 1, 1), {"bias": zeros(1, 1)}, ValueError, "bias has shape"),
    (
        zeros(2, 8, 8, 1),
        zeros(2, 3, 3, 1, 1),
        {"bias": zeros(3, 1)},
        ValueError,
        r"bias has shape \(3, 1\), expected \(2, 1\)",
    ),
    (
        zeros(1, 0, 8, 1),
        zeros(3, 3, 1, 1),
        {"padding": 2, "pad_mode": "edge"},
        ValueError,
        "no pixels to fill the padding with",
    ),
    (
        zeros(1, 8, 8, 1, dtype=bool),
        zeros(3, 3, 1, 1, dtype=bool),
        {},
        TypeError,
        "x has dtype bool and w bool",
    ),
    (
        zeros(1, 8, 8, 1, dtype="i4"),
        zeros(3, 3, 1, 1, dtype="i4"),
        {"activation": "gelu"},
        TypeError,
        "only relu and relu6 apply to integers",
    ),
    (zeros(1, 8, 8, 1), zeros(3, 3, 1, 1), {"dtype": "i4"}, TypeError, "x has dtype float32"),
    (zeros(1, 8, 8, 1), zeros(3, 3, 1, 1), {"groups": 1.0}, TypeError, "groups is 1.0"),
]


@pytest.mark.parametrize(("x", "w", "options", "error", "message"), BAD)
def test_bad_input(x, w, options, error, message):
    with pytest.raises(error, match=message):
        lw.conv2d(x, w, **options)


def test_bad_out_is_refused_untouched(rng):
    x, w = integers(rng, (1, 8, 8, 4), np.float32), integers(rng, (3, 3, 4, 4), np.float32)
    wide = np.full((1, 6, 6, 8), 7, np.float32)
    read_only = wide[..., :4]
    read_only.flags.writeable = False
    overlapping = np.lib.stride_tricks.as_strided(wide, (1, 6, 6, 4), (0, 8, 4, 4))
    for out, message in [
        (x[:, :6, :6], "overlaps x"),
        (w.reshape(1, 6, 6, 4), "overlaps w"),
        (read_only, "read-only"),
        (overlapping, "overlap"),
    ]:
        before = out.copy()
        with pytest.raises(ValueError, match=message):
            lw.conv2d(x, w, out=out)
        np.testing.assert_array_equal(out, before)


# ------------------------------------------------------------------------------------------- peers


def test_agrees_with_scipy(rng):
    x, w = rng.normal(size=(20, 23)), rng.normal(size=(4, 5))
    for flip, scipys in [(False, scipy.signal.correlate2d), (True, scipy.signal.convolve2d)]:
        for padding, mode in [("valid", "valid"), ("full", "full")]:
            y = lw.conv2d(x[..., None], w[..., None, None], padding=padding, flip=flip)[..., 0]
            size = scipys(np.abs(x), np.abs(w), mode)
            assert_within(y, scipys(x, w, mode), 2 * gamma(21, np.float64) * size)


@pytest.mark.parametrize(
    ("pad_mode", "scipys"),
    [("reflect", "mirror"), ("symmetric", "reflect"), ("edge", "nearest"), ("wrap", "wrap")],
)
def test_border_modes_are_scipy_ndimages_by_their_numpy_names(rng, pad_mode, scipys):
    x, w = integers(rng, (9, 11), np.float64), integers(rng, (5, 7), np.float64)
    y = lw.conv2d(x[..., None], w[..., None, None], padding=(2, 3), pad_mode=pad_mode)[..., 0]
    np.testing.assert_array_equal(y, scipy.ndimage.correlate(x, w, mode=scipys))


def test_a_single_row_of_windows_in_the_padding(rng):
    x, w = integers(rng, (1, 3, 40, 4), np.float32), integers(rng, (1, 1, 4, 2), np.float32)
    options = {"stride": (5, 1), "padding": ((1, 0), (0, 0))}
    for layout, (x_, w_) in {
        "NHWC": (x, w),
        "NCHW": (x.transpose(TO_NCHW).copy(), w.transpose(TO_OIHW).copy()),
    }.items():
        assert not lw.conv2d(x_, w_, layout=layout, **options).any()


@given(convolutions(), st.booleans())
def test_agrees_with_torch(case, with_bias):
    torch = pytest.importorskip("torch")
    x_shape, w_shape, dtype, options, seed = case
    rng = np.random.default_rng(seed)
    x, w = integers(rng, x_shape, dtype), integers(rng, w_shape, dtype)
    bias = integers(rng, w_shape[-1], dtype) if with_bias else None
    geometry = [options[name] for name in ("stride", "padding", "dilation")]
    pads = reference.pads(x_shape, w_shape[-4:], *geometry)
    padded = np.pad(x, [(0, 0), *pads, (0, 0)], mode=options["pad_mode"])
    y = lw.conv2d(x, w, bias, **options)
    for i, image in enumerate(padded):
        bank = w[i] if w.ndim == 5 else w
        bank = bank[::-1, ::-1] if options["flip"] else bank
        expected = torch.nn.functional.conv2d(
            torch.from_numpy(image[None].transpose(TO_NCHW).copy()),
            torch.from_numpy(bank.transpose(TO_OIHW).copy()),
            None if bias is None else torch.from_numpy(bias),
            stride=options["stride"],
            dilation=options["dilation"],
            groups=options["groups"],
        )
        np.testing.assert_array_equal(y[i : i + 1].transpose(TO_NCHW), expected.numpy())
