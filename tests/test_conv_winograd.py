"""conv2d by Winograd's F(4×4, 3×3): its error bound, its edges, and the choice of algorithm."""

import itertools

import lanewise as lw
import ml_dtypes
import numpy as np
import pytest
import reference
from convolutions import same_everywhere
from hypothesis import given
from hypothesis import strategies as st
from test_conv2d import OWN_UNITS, SLOPE
from test_runtime import run
from tolerance import assert_within, gamma, tiny, u

SIX = [0, np.sqrt(0.5), -np.sqrt(0.5), np.sqrt(2), -np.sqrt(2)]
# F(outputs, taps) along one axis: its points but for infinity.
POINTS = {
    (1, 1): [],
    (2, 3): [0, 1, -1],
    (4, 3): SIX,
    (2, 5): SIX,
    (2, 7): [0, 0.5, -0.5, 1, -1, 2, -2],
}
# Windows, and the tiles that there are for them.
TILES = {
    (3, 3): [((4, 3), (4, 3)), ((2, 3), (2, 3))],
    (5, 5): [((2, 5), (2, 5))],
    (1, 3): [((1, 1), (4, 3))],
    (3, 1): [((4, 3), (1, 1))],
    (1, 5): [((1, 1), (2, 5))],
    (5, 1): [((2, 5), (1, 1))],
    (1, 7): [((1, 1), (2, 7))],
    (7, 1): [((2, 7), (1, 1))],
}
# The factor in the published bound.
AMPLIFICATION = {(3, 3): 158, (5, 5): 158, (3,): 13, (5,): 13, (7,): 40}


def transforms(axis):
    """B, G and A transposed, of the polynomial product at these points (Cook and Toom)."""
    outputs, taps = axis
    points = POINTS[axis]
    into, of_filter, out_of = [], [], []
    for i, p in enumerate(points):
        others = points[:i] + points[i + 1 :]
        into.append([*np.poly(others)[::-1], 0])
        of_filter.append(p ** np.arange(taps) / np.prod([p - q for q in others]))
        out_of.append(p ** np.arange(outputs))
    into.append(np.atleast_1d(np.poly(points))[::-1])
    of_filter.append(np.eye(taps)[-1])
    out_of.append(np.eye(outputs)[-1])
    return np.array(into), np.array(of_filter), np.array(out_of).T


def tiled(tile, x, w, padding, pad_mode="constant", groups=1, dilation=1, size=lambda a: a):
    """The formula, with size(each matrix); x (N, H, W, C), w (R, S, C/groups, K), float64.

    With a dilation d, the outputs that leave the same rest by d are made of every d-th input.
    """
    x, w = x.astype(np.float64), w.astype(np.float64)
    pads = reference.pads(x.shape, w.shape, (1, 1), padding, (dilation, dilation))
    x = np.pad(x, [(0, 0), *pads, (0, 0)], mode=pad_mode)
    reach = [(taps - 1) * dilation for taps in w.shape[:2]]
    y = np.empty((len(x), x.shape[1] - reach[0], x.shape[2] - reach[1], w.shape[3]))
    for i, j in itertools.product(range(dilation), repeat=2):
        phase = y[:, i::dilation, j::dilation]
        if phase.size > 0:
            inputs = x[:, i::dilation, j::dilation]
            phase[:] = dense_tiled(tile, inputs, w, phase.shape[1:3], groups, size)
    return y


def dense_tiled(tile, x, w, shape, groups, size):
    rows, columns = ([size(matrix) for matrix in transforms(axis)] for axis in tile)
    (down, r), (across, s) = tile
    (height, width), (group_c, group_k) = shape, (w.shape[2], w.shape[3] // groups)
    x = x[:, : height + r - 1, : width + s - 1]
    x = np.pad(x, [(0, 0), (0, -height % down), (0, -width % across), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(
        x, (down + r - 1, across + s - 1), axis=(1, 2)
    )[:, ::down, ::across]
    v = np.einsum("ia,nhwcab,jb->nhwcij", rows[0], windows, columns[0], optimize=True)
    filters = np.einsum("ia,abck,jb->ijck", rows[1], w, columns[1], optimize=True)
    m = np.concatenate(
        [
            np.einsum(
                "nhwcij,ijck->nhwkij",
                v[:, :, :, g * group_c : (g + 1) * group_c],
                filters[..., g * group_k : (g + 1) * group_k],
                optimize=True,
            )
            for g in range(groups)
        ],
        axis=3,
    )
    y = np.einsum("ai,nhwkij,bj->nhawbk", rows[2], m, columns[2], optimize=True)
    n, th, _, tw, _, k = y.shape
    return y.reshape(n, th * down, tw * across, k)[:, :height, :width]


def bound(x, w, padding, **options):
    """Of the error of one output, by any of the tiles that there are for these filters.

    Along each axis an element goes through at most 5 roundings in B, 7 in G and 5 in A, a rounded
    constant counting as one (F(2, 5); F(2, 7), which is along one axis only, has 5, 9 and 4), and C
    of the chain of multiply-adds (2·C where they do not fuse); all of it applied to the sizes of
    what is added. One more for the bias.
    """
    x, w = np.abs(x), np.abs(w)
    reach = [tiled(tile, x, w, padding, size=np.abs, **options) for tile in TILES[w.shape[:2]]]
    terms = 2 * w.shape[2] + 35
    return gamma(terms, np.float32) * np.maximum.reduce(reach) + terms * 160 * tiny(np.float32)


def published_bound(x, w):
    """What the docstring says: A·(C + 29)·eps/2·max|x|·Σ|w|, with fused multiply-adds."""
    size = np.abs(w.astype(np.float64)).sum((0, 1, 2))
    factor = AMPLIFICATION[tuple(taps for taps in w.shape[:2] if taps > 1)]
    largest = np.abs(x.astype(np.float64)).max()
    return factor * (w.shape[2] + 29) * u(np.float32) * largest * size


@pytest.mark.parametrize("window", TILES)
def test_the_transforms_are_those_of_a_convolution(rng, window):
    x, w = rng.normal(size=(1, 11, 9, 3)), rng.normal(size=(*window, 3, 2))
    exact = reference.conv2d(x, w, padding=1)
    for tile in TILES[window]:
        np.testing.assert_allclose(tiled(tile, x, w, 1), exact, atol=1e-12)
        amplification = 1
        for axis in tile:
            into, of_filter, out_of = (np.abs(matrix) for matrix in transforms(axis))
            amplification *= (out_of @ (of_filter * into.sum(1)[:, None])).max()
        assert amplification < AMPLIFICATION[tuple(taps for taps in window if taps > 1)]


@st.composite
def layers(draw):
    groups = draw(st.integers(1, 3))
    group_c, group_k = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    pads = st.tuples(st.integers(0, 6), st.integers(0, 6))
    padding = draw(st.one_of(st.sampled_from(["valid", "same", "full"]), st.tuples(pads, pads)))
    window = draw(st.sampled_from(list(TILES)))
    size = draw(st.tuples(*(st.integers(taps, 20) for taps in window)))
    x_shape = (draw(st.integers(1, 2)), *size, groups * group_c)
    fitting = [(n - 1) // (taps - 1) for n, taps in zip(size, window, strict=True) if taps > 1]
    dilation = draw(st.integers(1, min(fitting)))
    options = {
        "dilation": dilation,
        "padding": padding,
        "groups": groups,
        "pad_mode": draw(st.sampled_from(["constant", "reflect", "symmetric", "edge", "wrap"])),
    }
    return x_shape, (*window, group_c, groups * group_k), options, draw(st.integers(0, 2**32))


@given(layers(), st.sampled_from(list(SLOPE)), st.booleans())
def test_is_within_the_bound_in_both_layouts(case, activation, adversarial):
    x_shape, w_shape, options, seed = case
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=x_shape), rng.normal(size=w_shape)
    if adversarial:  # neighbours of very different size
        x, w = x * 10.0 ** rng.integers(-6, 7, x_shape), w * 10.0 ** rng.integers(-6, 7, w_shape)
    x, w = x.astype(np.float32), w.astype(np.float32)
    bias = rng.normal(size=w_shape[3]).astype(np.float32)
    exact = reference.conv2d(x, w, **options)
    limit = bound(x, w, **options)
    y = same_everywhere(x, w, algorithm="winograd", **options)
    assert_within(y, exact, limit)
    y = same_everywhere(x, w, bias=bias, activation=activation, algorithm="winograd", **options)
    v = exact + bias
    own = OWN_UNITS[activation] * u(np.float32) * np.maximum(np.abs(v), 1)
    limit = SLOPE[activation] * (limit + u(np.float32) * np.abs(v)) + own
    assert_within(y, reference.ACTIVATIONS[activation](v), limit)


@pytest.mark.parametrize("window", TILES)
@pytest.mark.parametrize("dilation", [2, 5, 30])
def test_dilation(simd, rng, dilation, window):
    x = rng.normal(size=(2, 27, 22, 33)).astype(np.float32)
    w = rng.normal(size=(*window, 33, 40)).astype(np.float32)
    options = {"padding": "same", "dilation": dilation}
    x[1, 7, 8, 3] = np.inf
    exact = reference.conv2d(x, w, **options)
    y = same_everywhere(x, w, algorithm="winograd", **options)
    finite = np.isfinite(exact)
    np.testing.assert_array_equal(y[~finite], exact[~finite])
    x[1, 7, 8, 3] = 0
    assert_within(y[finite], exact[finite], bound(x, w, **options)[finite])


@pytest.mark.parametrize("window", TILES)
@pytest.mark.parametrize("magnitude", [1e-30, 1, 1e15])
def test_is_within_the_published_bound(simd, rng, magnitude, window):
    for c in (1, 16, 200):
        x = (rng.uniform(-1, 1, (1, 14, 15, c)) * magnitude).astype(np.float32)
        w = rng.normal(size=(*window, c, 24)).astype(np.float32)
        y = lw.conv2d(x, w, padding=1, algorithm="winograd")
        limit = published_bound(x, w) * (2 if simd == "sse4" else 1)  # which does not fuse
        assert_within(y, reference.conv2d(x, w, padding=1), limit)


def test_is_within_1e_5_of_the_outputs_size_on_normal_data(simd, rng):
    for size, c, k, window in [
        (56, 64, 64, (3, 3)),
        (14, 256, 256, (3, 3)),
        (9, 512, 40, (3, 3)),
        (28, 64, 64, (5, 5)),
        (17, 192, 192, (1, 7)),
        (17, 192, 192, (7, 1)),
    ]:
        x = rng.normal(size=(1, size, size, c)).astype(np.float32)
        w = rng.normal(size=(*window, c, k)).astype(np.float32)
        exact = reference.conv2d(x, w, padding=1)
        error = np.abs(lw.conv2d(x, w, padding=1, algorithm="winograd") - exact).max()
        assert error < 1e-5 * np.sqrt((exact**2).mean())


@pytest.mark.parametrize(("c", "k"), [(300, 70), (70, 300), (513, 129)])
def test_filters_too_many_to_share(simd, rng, c, k):
    x = rng.normal(size=(3, 9, 13, c)).astype(np.float32)
    w = rng.normal(size=(3, 3, c, k)).astype(np.float32)
    y = same_everywhere(x, w, padding=1, algorithm="winograd")
    assert_within(y, reference.conv2d(x, w, padding=1), 2 * published_bound(x, w))
    for image in range(3):
        one = lw.conv2d(x[image], w, padding=1, algorithm="winograd")
        assert (one == y[image]).all()


@pytest.mark.parametrize("channels", [*range(1, 20), 31, 33, 64])
def test_sweep_of_channels_around_the_vector_width(simd, rng, channels):
    x = rng.normal(size=(1, 7, 9, channels)).astype(np.float32)
    w = rng.normal(size=(3, 3, channels, 70)).astype(np.float32)
    for c, k in [(channels, 5), (5, channels)]:
        a, b = x[..., :c].copy(), w[:, :, :c, :k].copy()
        a, b = (
            (a, b)
            if c <= channels
            else (np.repeat(a, 5, -1)[..., :5], np.repeat(b, 5, 2)[:, :, :5])
        )
        y = same_everywhere(a, b, padding=1, algorithm="winograd")
        assert_within(y, reference.conv2d(a, b, padding=1), bound(a, b, 1))


@pytest.mark.parametrize("window", TILES)
def test_every_size_of_the_last_tile(simd, rng, window):
    for height, width in itertools.product(range(9), repeat=2):
        shape = (1, height + window[0], width + window[1], 17)
        x = rng.normal(size=shape).astype(np.float32)
        w = rng.normal(size=(*window, 17, 18)).astype(np.float32)
        y = same_everywhere(x, w, algorithm="winograd")
        assert_within(y, reference.conv2d(x, w), bound(x, w, "valid"))


@pytest.mark.parametrize("window", TILES)
def test_infinities_and_nan_reach_exactly_their_windows(simd, rng, window):
    x = np.abs(rng.normal(size=(2, 17, 18, 20))).astype(np.float32)
    w = np.abs(rng.normal(size=(*window, 20, 30))).astype(np.float32)
    x[0, 4, 4, 2], x[0, 0, 17, 0], x[1, 8, 9, 19] = np.nan, np.inf, -np.inf
    w[0, -1, 3, 29] = np.inf
    with np.errstate(invalid="ignore"):
        exact = reference.conv2d(x, w, padding=1)
    y = same_everywhere(x, w, padding=1, algorithm="winograd", activation="relu")
    exact = np.where(exact < 0, 0, exact)
    np.testing.assert_array_equal(
        np.where(np.isfinite(exact), 0, y), np.where(np.isfinite(exact), 0, exact)
    )
    assert np.isfinite(y[np.isfinite(exact)]).all()


def test_tiles_that_overflow_on_the_way_are_the_ordered_sum(simd, rng):
    """2.5·3e38 leaves float32; what the window sums does not."""
    x = np.zeros((1, 12, 12, 16), np.float32)
    x[0, 5, 5], x[0, 7, 5] = 3e38, -3e38
    w = np.full((3, 3, 16, 16), 2.0**-8, np.float32)
    y = same_everywhere(x, w, padding=1, algorithm="winograd")
    direct = same_everywhere(x, w, padding=1, algorithm="direct")
    assert np.isfinite(direct).all()
    np.testing.assert_array_equal(y[0, 4:8, 4:8], direct[0, 4:8, 4:8])


@pytest.mark.parametrize("window", TILES)
@pytest.mark.parametrize(("groups", "size"), [(1, (9, 30)), (2, (41, 13))])
def test_bits_do_not_depend_on_threads_batch_or_strides(simd, rng, groups, size, window):
    x = rng.normal(size=(3, *size, 48)).astype(np.float32)
    w = rng.normal(size=(*window, 48 // groups, 34)).astype(np.float32)
    options = {"padding": 1, "groups": groups, "activation": "silu", "algorithm": "winograd"}
    y = same_everywhere(x, w, **options)
    for threads in (1, 2, 3):
        lw.set_num_threads(threads)
        np.testing.assert_array_equal(lw.conv2d(x, w, **options), y)
    for i in range(3):
        np.testing.assert_array_equal(lw.conv2d(x[i], w, **options), y[i])
    for permutation in itertools.permutations(range(4)):
        inverse = np.argsort(permutation)
        a, b = (np.ascontiguousarray(z.transpose(permutation)).transpose(inverse) for z in (x, w))
        out = np.empty_like(y.transpose(permutation), order="C").transpose(inverse)
        lw.conv2d(a, b, out=out, **options)
        np.testing.assert_array_equal(out, y)
    np.testing.assert_array_equal(
        lw.conv2d(x[:, ::-1, ::-1].copy()[:, ::-1, ::-1], w, **options), y
    )


def test_filter_banks_and_flip(rng):
    x = rng.normal(size=(3, 9, 10, 24)).astype(np.float32)
    w = rng.normal(size=(3, 3, 3, 24, 20)).astype(np.float32)
    y = same_everywhere(x, w, padding=1, flip=True, algorithm="winograd")
    for i in range(3):
        turned = w[i, ::-1, ::-1]
        np.testing.assert_array_equal(
            y[i], lw.conv2d(x[i], turned, padding=1, algorithm="winograd")
        )


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, ml_dtypes.bfloat16])
def test_narrow_operands_are_widened(rng, dtype):
    x = rng.integers(0, 100, (1, 9, 10, 24)).astype(dtype)
    w = rng.normal(size=(3, 3, 24, 20)).astype(np.float32)
    y = same_everywhere(x, w, padding=1, algorithm="winograd")
    wide = lw.conv2d(x.astype(np.float32), w, padding=1, algorithm="winograd")
    np.testing.assert_array_equal(y, wide, strict=True)


def test_signals(simd, rng):
    for taps in (3, 5, 7):
        x = rng.normal(size=(2, 50, 33)).astype(np.float32)
        w = rng.normal(size=(taps, 33, 40)).astype(np.float32)
        y = lw.conv1d(x, w, padding="same", algorithm="winograd")
        image = lw.conv2d(x[:, None], w[None], padding="same", algorithm="winograd")
        np.testing.assert_array_equal(y, image[:, 0])


@pytest.mark.parametrize(
    ("size", "c", "k", "tile"),
    [(8, 256, 256, "F(2x2, 3x3)"), (10, 128, 128, "F(2x2, 3x3)"), (28, 64, 64, "F(4x4, 3x3)")],
)
def test_the_smaller_tile(simd, rng, size, c, k, tile):
    """Where transforming the filters takes longer than what a larger tile saves."""
    x = rng.normal(size=(1, size, size, c)).astype(np.float32)
    w = rng.normal(size=(3, 3, c, k)).astype(np.float32)
    name, reason = lw.conv2d_algorithm(x.shape, w.shape, padding=1)
    assert (name, reason[: len(tile)]) == ("winograd", tile)
    y = same_everywhere(x, w, padding=1)
    np.testing.assert_array_equal(y, lw.conv2d(x, w, padding=1, algorithm="winograd"))
    assert_within(y, reference.conv2d(x, w, padding=1), bound(x, w, 1))


# --------------------------------------------------------------------------------------- the choice


def test_the_choice_is_explained_and_is_what_runs(rng):
    x = rng.normal(size=(2, 30, 30, 64)).astype(np.float32)
    w = rng.normal(size=(3, 3, 64, 64)).astype(np.float32)
    name, reason = lw.conv2d_algorithm(x.shape, w.shape, padding=1)
    assert name == "winograd"
    assert reason.startswith("F(4x4, 3x3): 2.25 products for each output instead of 9")
    fast = lw.conv2d(x, w, padding=1)
    direct = lw.conv2d(x, w, padding=1, algorithm="direct")
    np.testing.assert_array_equal(fast, lw.conv2d(x, w, padding=1, algorithm="winograd"))
    assert (fast != direct).any()
    lw.set_conv_algorithm("direct")
    assert lw.conv2d_algorithm(x.shape, w.shape, padding=1) == ("direct", "asked for")
    np.testing.assert_array_equal(lw.conv2d(x, w, padding=1), direct)
    np.testing.assert_array_equal(lw.conv2d(x, w, padding=1, algorithm="winograd"), fast)


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options", "name"),
    [
        ((1, 56, 56, 64), (3, 3, 64, 64), {}, "winograd"),
        ((64, 56, 56, 64), (3, 3, 64, 64), {}, "winograd"),
        ((1, 64, 56, 56), (64, 64, 3, 3), {"layout": "NCHW"}, "winograd"),
        ((1, 56, 56, 64), (3, 3, 64, 64), {"stride": 2}, "direct"),
        ((1, 56, 56, 64), (3, 3, 64, 64), {"dilation": 2}, "winograd"),
        ((1, 66, 66, 64), (3, 3, 64, 64), {"dilation": 30}, "direct"),
        ((1, 56, 56, 64), (3, 3, 64, 64), {"dtype": np.float64}, "direct"),
        ((1, 56, 56, 64), (3, 3, 64, 64), {"dtype": np.float16}, "direct"),
        ((1, 56, 56, 3), (3, 3, 3, 64), {}, "direct"),
        ((1, 4, 4, 512), (3, 3, 512, 512), {}, "direct"),
        ((1, 56, 56, 64), (1, 1, 64, 64), {}, "direct"),
        ((1, 28, 28, 64), (5, 5, 64, 64), {}, "winograd"),
        ((1, 56, 56, 8), (5, 5, 8, 16), {}, "direct"),
        ((1, 17, 17, 192), (1, 7, 192, 192), {}, "winograd"),
        ((1, 17, 17, 192), (7, 1, 192, 192), {}, "winograd"),
        ((1, 17, 17, 192), (1, 7, 192, 192), {"stride": (1, 2)}, "direct"),
        ((1, 17, 17, 192), (7, 7, 192, 192), {}, "direct"),
        ((1, 56, 56, 64), (3, 3, 1, 64), {"groups": 64}, "depthwise"),
    ],
)
def test_the_choice(x_shape, w_shape, options, name):
    assert lw.conv2d_algorithm(x_shape, w_shape, padding=1, **options)[0] == name


def test_bad_choices():
    x, w = np.zeros((1, 8, 8, 4), np.float32), np.zeros((3, 3, 4, 4), np.float32)
    with pytest.raises(
        ValueError, match=r"conv2d: algorithm 'winograd' is for windows .* stride \(2, 2\)"
    ):
        lw.conv2d(x, w, stride=2, algorithm="winograd")
    with pytest.raises(ValueError, match="and float64"):
        lw.conv2d(x.astype(float), w, algorithm="winograd")
    with pytest.raises(ValueError, match="conv1d: algorithm 'winograd'"):
        lw.conv1d(x[0], np.zeros((4, 4, 4), np.float32), algorithm="winograd")
    with pytest.raises(ValueError, match="set_conv_algorithm: algorithm is 'winograd'"):
        lw.set_conv_algorithm("winograd")
    with pytest.raises(ValueError, match="w has 4 input channels"):
        lw.conv2d_algorithm((1, 8, 8, 3), (3, 3, 4, 4))


def test_the_environment_variable():
    code = "import lanewise as lw; print(lw.conv2d_algorithm((1, 56, 56, 64), (3, 3, 64, 64))[0])"
    assert run(code, LANEWISE_CONV="direct").stdout == "direct\n"
    assert run(code, LANEWISE_CONV="auto").stdout == "winograd\n"
    result = run(code, LANEWISE_CONV="fast")
    assert "ValueError: LANEWISE_CONV: algorithm is 'fast'" in result.stderr
