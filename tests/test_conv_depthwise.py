"""Depthwise convolution and few channels per group: every way of reading x gives the same bits."""

import lanewise as lw
import numpy as np
import pytest
import reference
from convolutions import BORDERS, assert_same, integers, same_everywhere


def check(rng, x_shape, w_shape, groups, dtype=np.float32, **options):
    x, w = integers(rng, x_shape, dtype), integers(rng, w_shape, dtype)
    y = same_everywhere(x, w, groups=groups, **options)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, reference.conv2d(x, w, groups=groups, **options))


# ---------------------------------------------------------------------------------- the definition


@pytest.mark.parametrize("window", [1, 2, 3, 4, 5, 6, 7, 8, 9, 31])
@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_depthwise_windows_and_strides(simd, rng, window, dilation):
    for stride, channels in [(1, 17), (2, 35), (3, 16), ((1, 2), 5), ((2, 1), 33)]:
        size = 9 + 2 * window
        check(
            rng,
            (1, size, size + 3, channels),
            (window, window, 1, channels),
            channels,
            stride=stride,
            dilation=dilation,
            padding=dilation * (window // 2),
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
def test_depthwise_channels_and_columns_around_the_vector(simd, rng, dtype):
    for channels in range(1, 36):
        check(rng, (1, 5, 6, channels), (3, 3, 1, channels), channels, dtype, padding=1)
    for columns in range(1, 36):
        check(rng, (1, 4, columns, 18), (3, 3, 1, 18), 18, dtype, padding=1)
        check(rng, (1, 4, columns, 18), (5, 5, 1, 18), 18, dtype, padding=2)


@pytest.mark.parametrize("width", [*range(1, 18), 24, 32, 33])
def test_group_widths(simd, rng, width):
    for groups in (2, 5):
        for window, stride in [(1, 1), (3, 1), (3, 2), ((1, 4), 1)]:
            r, s = (window, window) if isinstance(window, int) else window
            channels = groups * width
            check(
                rng, (2, 7, 13, channels), (r, s, width, channels), groups, stride=stride, padding=1
            )


@pytest.mark.parametrize(
    ("group_c", "group_k"),
    [(1, 2), (1, 3), (1, 16), (2, 1), (3, 1), (4, 8), (8, 4), (5, 12), (16, 2), (16, 16), (7, 16)],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
def test_groups_of_different_widths_in_and_out(simd, rng, group_c, group_k, dtype):
    for groups in (2, 3, 11):
        x_shape, w_shape = (1, 6, 9, groups * group_c), (3, 3, group_c, groups * group_k)
        check(rng, x_shape, w_shape, groups, dtype, padding=1)
        check(rng, x_shape, w_shape, groups, dtype, padding=2, dilation=2, stride=(2, 1))


@pytest.mark.parametrize("pad_mode", ["constant", *BORDERS])
@pytest.mark.parametrize(("h", "width"), [(1, 1), (2, 5), (9, 3)])
def test_padding_wider_than_the_image(simd, rng, pad_mode, h, width):
    for group_c, group_k, groups in [(1, 1, 20), (1, 1, 3), (4, 4, 8), (16, 16, 2), (3, 5, 3)]:
        check(
            rng,
            (1, h, width, groups * group_c),
            (3, 2, group_c, groups * group_k),
            groups,
            padding=((7, 4), (3, 11)),
            pad_mode=pad_mode,
        )


@pytest.mark.parametrize(
    ("x_shape", "window", "groups"),
    [
        ((1, 9, 2000, 4), (3, 31), 4),  # strips in pieces of columns
        ((1, 4, 3000, 20), (1, 9), 20),  # few rows, many columns
        ((1, 90, 90, 3), (80, 80), 3),  # a part of the window at a time
        ((1, 1, 9000, 18), (1, 8000), 18),  # a part of its row at a time
        ((1, 70, 3, 8), (65, 1), 2),
    ],
)
def test_shapes_that_are_cut_in_pieces(simd, rng, x_shape, window, groups):
    channels = x_shape[3]
    for padding in (0, (0, 3)):
        check(rng, x_shape, (*window, channels // groups, channels), groups, padding=padding)


# ----------------------------------------------------------------------------------------- the laws

LAYERS = [
    (24, 24, 24, 3, 1),
    (40, 40, 40, 5, 2),
    (20, 20, 20, 9, 1),
    (32, 32, 8, 3, 1),
    (48, 96, 12, 3, 2),
    (48, 48, 3, 3, 1),
    (36, 36, 3, 3, 1),
    (20, 60, 20, 3, 1),
]


@pytest.mark.parametrize(("c", "k", "groups", "window", "stride"), LAYERS)
def test_bits_do_not_depend_on_threads_batch_or_strides(simd, rng, c, k, groups, window, stride):
    x = rng.normal(size=(3, 30, 37, c)).astype(np.float32)
    w = rng.normal(size=(window, window, c // groups, k)).astype(np.float32)
    bias = rng.normal(size=k).astype(np.float32)
    options = {"groups": groups, "padding": window // 2, "stride": stride}
    for activation in (None, "relu", "relu6", "silu"):
        y = same_everywhere(x, w, bias=bias, activation=activation, **options)
        for threads in (1, 2, 3):
            lw.set_num_threads(threads)
            again = lw.conv2d(x, w, bias, activation=activation, **options)
            np.testing.assert_array_equal(again, y)
        for i in range(len(x)):
            alone = lw.conv2d(x[i], w, bias, activation=activation, **options)
            np.testing.assert_array_equal(alone, y[i])

        def views(a):
            every_second = np.zeros([2 * n for n in a.shape], a.dtype)[::2, ::2, ::2, ::2]
            every_second[...] = a
            raw = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
            raw[...] = a
            return every_second, raw, np.flip(np.flip(a).copy())

        every_second, _, reverse = views(np.zeros_like(y))
        outs = (every_second, np.zeros_like(y), reverse)  # a result must be aligned
        for x_view, w_view, out in zip(views(x), views(w), outs):
            lw.conv2d(x_view, w_view, bias, activation=activation, out=out, **options)
            np.testing.assert_array_equal(out, y)


@pytest.mark.parametrize(("c", "k", "groups", "window", "stride"), LAYERS)
def test_activation_is_applied_to_the_same_sums(simd, rng, c, k, groups, window, stride):
    x = rng.normal(size=(1, 11, 12, c)).astype(np.float32)
    w = rng.normal(size=(window, window, c // groups, k)).astype(np.float32)
    options = {"groups": groups, "padding": window // 2, "stride": stride}
    y = lw.conv2d(x, w, **options)
    np.testing.assert_array_equal(lw.conv2d(x, w, activation="relu", **options), np.maximum(y, 0))
    np.testing.assert_array_equal(lw.conv2d(x, w, activation="relu6", **options), np.clip(y, 0, 6))


@pytest.mark.parametrize(("c", "k", "groups", "window", "stride"), LAYERS)
@pytest.mark.parametrize("dtype", ["float16", "int8", "uint8"])
def test_narrow_types(simd, rng, c, k, groups, window, stride, dtype):
    low, high = (0, 2) if dtype == "uint8" else (-2, 3)
    x = rng.integers(low, high, (1, 10, 13, c)).astype(dtype)
    w = rng.integers(low, high, (window, window, c // groups, k)).astype(dtype)
    options = {"groups": groups, "padding": window // 2, "stride": stride}
    y = same_everywhere(x, w, **options)
    exact = reference.conv2d(x.astype(np.float64), w.astype(np.float64), **options)
    np.testing.assert_array_equal(y, exact.astype(np.int64).astype(dtype))


def test_a_bank_of_filters_per_image(simd, rng):
    for c, k, groups in [(20, 20, 20), (32, 32, 8), (32, 32, 2), (12, 24, 4)]:
        x = rng.normal(size=(4, 8, 9, c)).astype(np.float32)
        w = rng.normal(size=(4, 3, 3, c // groups, k)).astype(np.float32)
        bias = rng.normal(size=(4, k)).astype(np.float32)
        y = same_everywhere(x, w, bias=bias, groups=groups, padding=1)
        for i in range(4):
            alone = lw.conv2d(x[i], w[i], bias[i], groups=groups, padding=1)
            np.testing.assert_array_equal(y[i], alone)


@pytest.mark.parametrize(("c", "k", "groups", "window", "stride"), LAYERS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_reach_exactly_their_windows(
    simd, rng, c, k, groups, window, stride, value
):
    options = {"groups": groups, "padding": window // 2, "stride": stride}
    x = integers(rng, (1, 13, 14, c))
    x[0, 0, 13, 0] = x[0, 6, 7, c - 1] = x[0, 12, 0, c // 2] = value
    w = np.abs(integers(rng, (window, window, c // groups, k))) + 1
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(
            same_everywhere(x, w, **options), reference.conv2d(x, w, **options)
        )
    # In a filter it meets the padding, too: 0·inf is NaN.
    x, w = integers(rng, x.shape), integers(rng, w.shape)
    w[0, window - 1, 0, k - 1] = w[window - 1, 0, 0, 0] = value
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(
            same_everywhere(x, w, **options), reference.conv2d(x, w, **options)
        )


# --------------------------------------------------------------------------------------- the choice


@pytest.mark.parametrize(
    ("group_c", "group_k", "groups", "name"),
    [
        (1, 1, 2, "depthwise"),
        (1, 2, 2, "grouped"),
        (4, 4, 32, "grouped"),
        (16, 16, 2, "grouped"),
        (24, 32, 2, "winograd"),
        (4, 17, 2, "direct"),
        (16, 16, 1, "winograd"),
    ],
)
def test_the_choice(group_c, group_k, groups, name):
    x_shape, w_shape = (1, 56, 56, groups * group_c), (3, 3, group_c, groups * group_k)
    assert lw.conv2d_algorithm(x_shape, w_shape, padding=1, groups=groups)[0] == name


@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"stride": (1, 2), "padding": 1}])
@pytest.mark.parametrize(("group_c", "group_k"), [(1, 1), (2, 3)])
def test_planes_whose_channels_run_backwards_or_are_one(simd, rng, options, group_c, group_k):
    """Rows of memory, and yet nothing that can be transposed where it is."""
    channels = 50 * group_c
    options = options | {"groups": 50, "layout": "NCHW"}
    x = integers(rng, (2, channels, 8, 9))
    w = integers(rng, (50 * group_k, group_c, 5, 5))
    shape = lw.conv2d(x, w, **options).shape
    for view in (x[:, ::-1].copy()[:, ::-1], np.broadcast_to(x[:, :1], x.shape)):
        y = lw.conv2d(view, w, **options)
        np.testing.assert_array_equal(y, lw.conv2d(view.copy(), w, **options))
    dy = integers(rng, shape)
    for view in (dy[:, ::-1].copy()[:, ::-1], np.broadcast_to(dy[:, :1], shape)):
        grads = lw.conv2d_backward(view, x, w, **options)
        assert_same(grads, lw.conv2d_backward(view.copy(), x, w, **options))
