"""Gradients of convolution by Winograd's algorithm: within the bounds of its transforms.

dx is the convolution of dy with the filters turned round, and has its bound, with K in place of C.
"""

import lanewise as lw
import numpy as np
import pytest
import reference
from convolutions import assert_same, convolutions, gradients_everywhere
from hypothesis import given
from hypothesis import strategies as st
from test_conv_backward import normal, problem
from test_conv_winograd import TILES, bound, published_bound, transforms
from tolerance import assert_within, gamma, sum_of_products, tiny


def adjoint_filters(w, groups=1):
    """w as the filters of the convolution of dy that dx is: (R, S, K/groups, C)."""
    rows, columns, group_c, k = w.shape
    split = w[::-1, ::-1].reshape(rows, columns, group_c, groups, k // groups)
    return split.transpose(0, 1, 4, 3, 2).reshape(rows, columns, k // groups, groups * group_c)


def adjoint_padding(padding, window, dilation=1):
    """What dy is padded with."""
    return tuple(
        tuple(dilation * (taps - 1) - side for side in sides)
        for sides, taps in zip([(padding, padding)] * 2, window)
    )


def dx_bound(dy, w, padding, groups=1, dilation=1):
    padding = adjoint_padding(padding, w.shape[:2], dilation)
    return bound(dy, adjoint_filters(w, groups), padding, groups=groups, dilation=dilation)


def tiled_filter_gradient(tile, x, dy, padding, groups=1, size=lambda a: a):
    """dW = Gᵀ[Σ (A·dY·Aᵀ) ⊙ (Bᵀ·X·B)]G over all tiles, with size(each matrix); stride 1."""
    matrices = [[size(matrix) for matrix in transforms(axis)] for axis in tile]
    (into_h, filter_h, out_h), (into_w, filter_w, out_w) = matrices
    (down, r), (across, s) = tile
    height, width = dy.shape[1:3]
    x = np.pad(x, [(0, 0), (padding, padding), (padding, padding), (0, 0)])
    x = np.pad(x, [(0, 0), (0, -height % down), (0, -width % across), (0, 0)])
    dy = np.pad(dy, [(0, 0), (0, -height % down), (0, -width % across), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(
        x, (down + r - 1, across + s - 1), axis=(1, 2)
    )[:, ::down, ::across]
    outputs = np.lib.stride_tricks.sliding_window_view(dy, (down, across), axis=(1, 2))
    outputs = outputs[:, ::down, ::across]
    v = np.einsum("ia,nhwcab,jb->nhwcij", into_h, windows, into_w, optimize=True)
    m = np.einsum("ai,nhwkab,bj->nhwkij", out_h, outputs, out_w, optimize=True)
    group_c, group_k = x.shape[3] // groups, dy.shape[3] // groups
    sums = [
        np.einsum(
            "nhwcij,nhwkij->ijck",
            v[:, :, :, g * group_c : (g + 1) * group_c],
            m[:, :, :, g * group_k : (g + 1) * group_k],
            optimize=True,
        )
        for g in range(groups)
    ]
    return np.einsum("ia,ijck,jb->abck", filter_h, np.concatenate(sums, 3), filter_w, optimize=True)


def dw_bound(x, dy, window, padding, groups=1):
    """Of the error of one element of dw, by ordered sums or by any tile that there is.

    The transposed transforms have the same matrices, and so at most the roundings that
    test_conv_winograd counts: 5 in B, 7 in G and 5 in A, along each axis, and one for each tile in
    the sum of the products (two where they do not fuse), in any order.
    """
    x, dy = np.abs(x.astype(np.float64)), np.abs(dy.astype(np.float64))
    pixels = dy[..., 0].size
    shape = (*window, x.shape[3] // groups, dy.shape[3])
    size = reference.conv2d_backward(dy, x, np.zeros(shape), padding=padding, groups=groups)[1]
    limits = [sum_of_products(pixels, size, np.float32)]
    for tile in TILES[window]:
        tiles = len(dy) * np.prod([-(-n // axis[0]) for n, axis in zip(dy.shape[1:3], tile)])
        reach = tiled_filter_gradient(tile, x, dy, padding, groups, np.abs)
        terms = 2 * int(tiles) + 35
        limits.append(gamma(terms, np.float32) * reach + terms * 160 * tiny(np.float32))
    return np.maximum.reduce(limits)


@pytest.mark.parametrize("window", TILES)
def test_the_transforms_are_those_of_the_gradients(rng, window):
    dy, x, w = problem(rng, (2, 11, 9, 4), (*window, 2, 6), np.float64, normal, groups=2, padding=1)
    dx, dw, _ = reference.conv2d_backward(dy, x, w, groups=2, padding=1)
    for tile in TILES[window]:
        np.testing.assert_allclose(tiled_filter_gradient(tile, x, dy, 1, 2), dw, atol=1e-11)
    padding = adjoint_padding(1, window)
    if min(min(padding)) >= 0:
        again = reference.conv2d(dy, adjoint_filters(w, 2), padding=padding, groups=2)
        np.testing.assert_allclose(again, dx, atol=1e-11)


def check(rng, x_shape, w_shape, padding, groups=1, magnitude=1):
    """Both gradients, both layouts, within the bounds."""
    options = {"padding": padding, "groups": groups}
    dy, x, w = problem(rng, x_shape, w_shape, np.float32, normal, **options)
    dy *= np.float32(magnitude)
    dx, dw, _ = reference.conv2d_backward(dy, x, w, **options)
    grads = gradients_everywhere(dy, x, w, algorithm="winograd", **options)
    assert_within(grads.x, dx, dx_bound(dy, w, padding, groups))
    assert_within(grads.w, dw, dw_bound(x, dy, w_shape[:2], padding, groups))


@st.composite
def layers(draw):
    window = draw(st.sampled_from(sorted(TILES)))
    groups = draw(st.integers(1, 3))
    group_c, group_k = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    padding = draw(st.integers(0, min(window) // 2))
    size = [draw(st.integers(n, n + 13)) for n in window]
    x_shape = (draw(st.integers(1, 3)), *size, groups * group_c)
    w_shape = (*window, group_c, groups * group_k)
    magnitude = draw(st.sampled_from([1, 1e-30, 1e15]))
    return x_shape, w_shape, padding, groups, magnitude, draw(st.integers(0, 2**32))


@given(layers())
def test_is_within_the_bounds(case):
    *arguments, seed = case
    check(np.random.default_rng(seed), *arguments)


@pytest.mark.parametrize("channels", [*range(1, 20), 31, 33])
def test_sweep_of_channels_around_the_vector_width(simd, rng, channels):
    check(rng, (1, 7, 9, channels), (3, 3, channels, 20), 1)
    check(rng, (2, 6, 5, 20), (3, 3, 20, channels), 1)


def test_every_size_of_the_last_tile(simd, rng):
    for height in range(3, 12):
        for width in range(3, 12):
            check(rng, (1, height, width, 5), (3, 3, 5, 6), (height + width) % 2)


@pytest.mark.parametrize(
    ("x_shape", "k"),
    [((6, 14, 15, 33), 40), ((9, 5, 4, 130), 65), ((1, 60, 33, 17), 18), ((33, 3, 3, 20), 17)],
)
def test_layers_of_many_kinds(simd, rng, x_shape, k):
    check(rng, x_shape, (3, 3, x_shape[3], k), 1)


def test_dx_is_within_the_published_bound(simd, rng):
    for k in (1, 16, 200):
        dy, x, w = problem(rng, (1, 14, 15, 24), (3, 3, 24, k), np.float32, normal, padding=1)
        dx = lw.conv2d_backward(dy, x, w, wrt="x", padding=1, algorithm="winograd").x
        limit = published_bound(dy, adjoint_filters(w)) * (2 if simd == "sse4" else 1)
        assert_within(dx, reference.conv2d_backward(dy, x, w, padding=1)[0], limit)


def test_is_within_1e_5_of_the_gradients_size_on_normal_data(simd, rng):
    """What is typical is far below the bounds, which hold for any data."""
    for x_shape, window, k in [
        ((2, 28, 28, 64), (3, 3), 64),
        ((8, 14, 14, 96), (3, 3), 96),
        ((4, 7, 7, 200), (3, 3), 70),
        ((1, 28, 28, 48), (5, 5), 48),
    ]:
        w_shape = (*window, x_shape[3], k)
        dy, x, w = problem(rng, x_shape, w_shape, np.float32, normal, padding=1)
        exact = reference.conv2d_backward(dy, x, w, padding=1)
        grads = lw.conv2d_backward(dy, x, w, padding=1, algorithm="winograd")
        for gradient, right in zip(grads, exact, strict=True):
            assert np.abs(gradient - right).max() < 1e-5 * np.sqrt((right**2).mean())


@pytest.mark.parametrize("options", [{}, {"groups": 2}, {"dilation": 2}, {"flip": True}])
def test_bits_do_not_depend_on_threads_or_batch(simd, rng, options):
    options = options | {"padding": 1, "algorithm": "winograd"}
    w_shape = (3, 3, 48 // options.get("groups", 1), 34)
    dy, x, w = problem(rng, (3, 17, 14, 48), w_shape, np.float32, normal, **options)
    grads = gradients_everywhere(dy, x, w, **options)
    for threads in (1, 2, 3):
        lw.set_num_threads(threads)
        assert_same(lw.conv2d_backward(dy, x, w, **options), grads)
    for i in range(3):
        alone = lw.conv2d_backward(dy[i], x.shape[1:], w, wrt="x", **options).x
        np.testing.assert_array_equal(alone, grads.x[i])


def test_a_bank_of_filters_per_image(rng):
    x_shape, w_shape = (3, 9, 10, 24), (3, 3, 3, 24, 20)
    dy, x, w = problem(rng, x_shape, w_shape, np.float32, normal, padding=1)
    grads = gradients_everywhere(dy, x, w, padding=1, algorithm="winograd")
    for i in range(3):
        alone = lw.conv2d_backward(
            dy[i], x_shape[1:], w[i], wrt="x", padding=1, algorithm="winograd"
        )
        np.testing.assert_array_equal(alone.x, grads.x[i])
        one = slice(i, i + 1)
        dw = reference.conv2d_backward(dy[one], x[one], w[i], padding=1)[1]
        assert_within(grads.w[i], dw, dw_bound(x[one], dy[one], (3, 3), 1))


def copies(n, before_and_after, pad_mode):
    """How often the padded axis shows one and the same of its n elements."""
    return np.bincount(reference.places(n, before_and_after, pad_mode))[:n].max(initial=1)


def check_auto(dy, x, w, **options):
    """Ordered sums or Winograd's: these are off by no more than the published factor, 158.

    For dx it is conv2d's bound, K in place of C, once for each copy of a pixel in the padding; dw
    has the factor of the same matrices, Σ of the magnitudes of dy for those of w, and a product
    for each tile, of which there are not more than pixels.
    """
    exact = reference.conv2d_backward(dy, x, w, **options)
    sizes = reference.conv2d_backward(*map(np.abs, (dy, x, w)), **options)
    terms = reference.conv2d_backward(*map(np.ones_like, (dy, x, w)), **options)
    pads = reference.pads(
        x.shape,
        w.shape[-4:],
        *(reference.pair(options.get("stride", 1)), options.get("padding", "valid")),
        reference.pair(options.get("dilation", 1)),
    )
    seen = [copies(n, p, options.get("pad_mode", "constant")) for n, p in zip(x.shape[1:3], pads)]
    filters = w.shape[-1] // options.get("groups", 1)
    largest = [np.abs(a).max().astype(np.float64) for a in (dy, x)]
    of_w = np.abs(w.astype(np.float64)).sum((-4, -3, -2, -1)).max()
    of_dy = np.abs(dy.astype(np.float64)).sum((0, 1, 2))
    winograd = [
        158
        * gamma(2 * filters + 35 + np.prod(seen), np.float32)
        * largest[0]
        * of_w
        * np.prod(seen),
        158 * gamma(2 * dy[..., 0].size + 35, np.float32) * largest[1] * of_dy,
        0,
    ]
    grads = gradients_everywhere(dy, x, w, algorithm="auto", **options)
    for gradient, right, size, count, more in zip(grads, exact, sizes, terms, winograd):
        limit = sum_of_products(count.max(initial=0), size, np.float32)
        assert_within(gradient, right, np.maximum(limit, more))


@given(convolutions())
def test_whatever_is_chosen_is_within_the_bounds(case):
    x_shape, w_shape, _, options, seed = case
    check_auto(
        *problem(np.random.default_rng(seed), x_shape, w_shape, np.float32, normal, **options),
        **options,
    )


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options"),
    [
        ((2, 28, 28, 64), (3, 3, 64, 64), {"padding": 1}),
        ((1, 14, 14, 128), (3, 3, 128, 40), {"padding": 1, "pad_mode": "reflect"}),
        ((1, 29, 30, 48), (5, 5, 48, 64), {"padding": 2, "stride": 2}),
        ((1, 17, 18, 96), (1, 7, 96, 96), {"padding": (0, 3)}),
    ],
)
def test_layers_of_which_winograd_may_be_chosen(simd, rng, x_shape, w_shape, options):
    check_auto(*problem(rng, x_shape, w_shape, np.float32, normal, **options), **options)


@pytest.mark.parametrize("of", ["x", "dy"])
def test_what_overflows_on_the_way_is_the_ordered_sum(simd, rng, of):
    """2.5·3e38 leaves float32; what an element sums does not."""
    dy, x, w = problem(rng, (2, 12, 12, 16), (3, 3, 16, 17), np.float32, normal, padding=1)
    array, other = (x, dy) if of == "x" else (dy, x)
    array[...], w[...] = 0, 2.0**-8
    array[0, 5, 5, 3], array[0, 7, 5, 3] = 3e38, -3e38
    other *= 2.0**-4
    exact = reference.conv2d_backward(dy, x, w, padding=1)
    for algorithm in ("winograd", "direct"):
        grads = gradients_everywhere(dy, x, w, padding=1, algorithm=algorithm)
        for gradient, right in zip(grads, exact, strict=True):
            finite = np.abs(right) < np.finfo(np.float32).max
            assert np.isfinite(gradient[finite]).all()


def test_infinity_and_nan_reach_exactly_their_taps_and_windows(simd, rng):
    dy, x, w = problem(rng, (2, 13, 14, 20), (3, 3, 20, 18), np.float32, normal, padding=1)
    x[0, 0, 13, 2], x[1, 8, 9, 19], dy[1, 12, 3, 5], dy[0, 6, 6, 0] = (
        np.inf,
        np.nan,
        -np.inf,
        np.inf,
    )
    with np.errstate(invalid="ignore"):
        exact = reference.conv2d_backward(dy, x, w, padding=1)
    grads = gradients_everywhere(dy, x, w, padding=1, algorithm="winograd")
    for gradient, right in zip(grads, exact, strict=True):
        finite = np.isfinite(right)
        np.testing.assert_array_equal(gradient[~finite], right[~finite])
        assert np.isfinite(gradient[finite]).all()
