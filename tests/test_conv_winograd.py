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

A, B = np.sqrt(0.5), np.sqrt(2)
INPUT = np.array(
    [
        [1, 0, -2.5, 0, 1, 0],
        [0, -2 * A, -2, A, 1, 0],
        [0, 2 * A, -2, -A, 1, 0],
        [0, -B / 2, -0.5, B, 1, 0],
        [0, B / 2, -0.5, -B, 1, 0],
        [0, 1, 0, -2.5, 0, 1],
    ]
)
FILTER = np.array(
    [
        [1, 0, 0],
        [-2 / 3, -2 * A / 3, -1 / 3],
        [-2 / 3, 2 * A / 3, -1 / 3],
        [1 / 6, B / 6, 1 / 3],
        [1 / 6, -B / 6, 1 / 3],
        [0, 0, 1],
    ]
)
OUTPUT = np.array(
    [
        [1, 1, 1, 1, 1, 0],
        [0, A, -A, B, -B, 0],
        [0, 0.5, 0.5, 2, 2, 0],
        [0, A / 2, -A / 2, 2 * B, -2 * B, 1],
    ]
)


def tiled(transforms, x, w, padding, pad_mode="constant", groups=1, dilation=1):
    """The formula, with these three matrices; x (N, H, W, C), w (3, 3, C/groups, K), float64.

    With a dilation d, the outputs that leave the same rest by d are made of every d-th input.
    """
    x, w = x.astype(np.float64), w.astype(np.float64)
    pads = reference.pads(x.shape, w.shape, (1, 1), padding, (dilation, dilation))
    x = np.pad(x, [(0, 0), *pads, (0, 0)], mode=pad_mode)
    y = np.empty((len(x), x.shape[1] - 2 * dilation, x.shape[2] - 2 * dilation, w.shape[3]))
    for i, j in itertools.product(range(dilation), repeat=2):
        phase = y[:, i::dilation, j::dilation]
        if phase.size > 0:
            phase[:] = dense_tiled(transforms, x[:, i::dilation, j::dilation], w, groups)
    return y


def dense_tiled(transforms, x, w, groups):
    into, of_filter, out_of = transforms
    height, width = x.shape[1] - 2, x.shape[2] - 2
    x = np.pad(x, [(0, 0), (0, -height % 4), (0, -width % 4), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(x, (6, 6), axis=(1, 2))[:, ::4, ::4]
    v = np.einsum("ia,nhwcab,jb->nhwcij", into, windows, into, optimize=True)
    filters = np.einsum("ia,abck,jb->ijck", of_filter, w, of_filter, optimize=True)
    group_c, group_k = w.shape[2], w.shape[3] // groups
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
    y = np.einsum("ai,nhwkij,bj->nhawbk", out_of, m, out_of, optimize=True)
    n, th, _, tw, _, k = y.shape
    return y.reshape(n, th * 4, tw * 4, k)[:, :height, :width]


def bound(x, w, padding, **options):
    """Of the error of one output.

    Each element goes through at most 2·4 roundings in Bᵀ·d·B (a product with a rounded √, two
    multiply-adds and a sum, twice), 2·4 in G·g·Gᵀ, C of the chain of multiply-adds (2·C
    where they do not fuse), and 2·5 in Aᵀ·m·A; all of it applied to the sizes of what is added. One
    more for the bias.
    """
    sizes = [np.abs(transform) for transform in (INPUT, FILTER, OUTPUT)]
    reach = tiled(sizes, np.abs(x), np.abs(w), padding, **options)
    terms = 2 * w.shape[2]
    return gamma(terms + 27, np.float32) * reach + (terms + 27) * 160 * tiny(np.float32)


def published_bound(x, w):
    """What the docstring says: 158·(C + 27)·eps/2·max|x|·Σ|w|, with fused multiply-adds."""
    size = np.abs(w.astype(np.float64)).sum((0, 1, 2))
    return 158 * (w.shape[2] + 27) * u(np.float32) * np.abs(x.astype(np.float64)).max() * size


def test_the_transforms_are_those_of_a_convolution(rng):
    x, w = rng.normal(size=(1, 11, 9, 3)), rng.normal(size=(3, 3, 3, 2))
    exact = reference.conv2d(x, w, padding=1)
    np.testing.assert_allclose(tiled((INPUT, FILTER, OUTPUT), x, w, 1), exact, atol=1e-12)
    amplification = np.abs(OUTPUT) @ (np.abs(FILTER) * np.abs(INPUT).sum(1)[:, None])
    assert amplification.max() ** 2 < 158


@st.composite
def layers(draw):
    groups = draw(st.integers(1, 3))
    group_c, group_k = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    pads = st.tuples(st.integers(0, 6), st.integers(0, 6))
    padding = draw(st.one_of(st.sampled_from(["valid", "same", "full"]), st.tuples(pads, pads)))
    size = draw(st.tuples(st.integers(3, 20), st.integers(3, 20)))
    x_shape = (draw(st.integers(1, 2)), *size, groups * group_c)
    dilation = draw(st.integers(1, (min(size) - 1) // 2))
    options = {
        "dilation": dilation,
        "padding": padding,
        "groups": groups,
        "pad_mode": draw(st.sampled_from(["constant", "reflect", "symmetric", "edge", "wrap"])),
    }
    return x_shape, (3, 3, group_c, groups * group_k), options, draw(st.integers(0, 2**32))


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


@pytest.mark.parametrize("dilation", [2, 5, 30])
def test_dilation(simd, rng, dilation):
    x = rng.normal(size=(2, 27, 22, 33)).astype(np.float32)
    w = rng.normal(size=(3, 3, 33, 40)).astype(np.float32)
    options = {"padding": dilation, "dilation": dilation}
    x[1, 7, 8, 3] = np.inf
    exact = reference.conv2d(x, w, **options)
    y = same_everywhere(x, w, algorithm="winograd", **options)
    finite = np.isfinite(exact)
    np.testing.assert_array_equal(y[~finite], exact[~finite])
    x[1, 7, 8, 3] = 0
    assert_within(y[finite], exact[finite], bound(x, w, **options)[finite])


@pytest.mark.parametrize("magnitude", [1e-30, 1, 1e15])
def test_is_within_the_published_bound(simd, rng, magnitude):
    for c in (1, 16, 200):
        x = (rng.uniform(-1, 1, (1, 14, 15, c)) * magnitude).astype(np.float32)
        w = rng.normal(size=(3, 3, c, 24)).astype(np.float32)
        y = lw.conv2d(x, w, padding=1, algorithm="winograd")
        limit = published_bound(x, w) * (2 if simd == "sse4" else 1)  # which does not fuse
        assert_within(y, reference.conv2d(x, w, padding=1), limit)


def test_is_within_1e_5_of_the_outputs_size_on_normal_data(simd, rng):
    for size, c, k in [(56, 64, 64), (14, 256, 256), (9, 512, 40)]:
        x = rng.normal(size=(1, size, size, c)).astype(np.float32)
        w = rng.normal(size=(3, 3, c, k)).astype(np.float32)
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


def test_every_size_of_the_last_tile(simd, rng):
    for height, width in itertools.product(range(3, 12), repeat=2):
        x = rng.normal(size=(1, height, width, 17)).astype(np.float32)
        w = rng.normal(size=(3, 3, 17, 18)).astype(np.float32)
        y = same_everywhere(x, w, algorithm="winograd")
        assert_within(y, reference.conv2d(x, w), bound(x, w, "valid"))


def test_infinities_and_nan_reach_exactly_their_windows(simd, rng):
    x = np.abs(rng.normal(size=(2, 17, 18, 20))).astype(np.float32)
    w = np.abs(rng.normal(size=(3, 3, 20, 30))).astype(np.float32)
    x[0, 4, 4, 2], x[0, 0, 17, 0], x[1, 8, 9, 19] = np.nan, np.inf, -np.inf
    w[0, 1, 3, 29] = np.inf
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


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("size", [(9, 30), (41, 13)])
def test_bits_do_not_depend_on_threads_batch_or_strides(simd, rng, groups, size):
    x = rng.normal(size=(3, *size, 48)).astype(np.float32)
    w = rng.normal(size=(3, 3, 48 // groups, 34)).astype(np.float32)
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


# --------------------------------------------------------------------------------------- the choice


def test_the_choice_is_explained_and_is_what_runs(rng):
    x = rng.normal(size=(2, 30, 30, 64)).astype(np.float32)
    w = rng.normal(size=(3, 3, 64, 64)).astype(np.float32)
    name, reason = lw.conv2d_algorithm(x.shape, w.shape, padding=1)
    assert name == "winograd"
    assert "quarter of the products" in reason
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
        ((1, 56, 56, 64), (3, 3, 1, 64), {"groups": 64}, "depthwise"),
    ],
)
def test_the_choice(x_shape, w_shape, options, name):
    assert lw.conv2d_algorithm(x_shape, w_shape, padding=1, **options)[0] == name


def test_bad_choices():
    x, w = np.zeros((1, 8, 8, 4), np.float32), np.zeros((3, 3, 4, 4), np.float32)
    with pytest.raises(
        ValueError, match=r"conv2d: algorithm 'winograd' is for 3x3 .* stride \(2, 2\)"
    ):
        lw.conv2d(x, w, stride=2, algorithm="winograd")
    with pytest.raises(ValueError, match="and float64"):
        lw.conv2d(x.astype(float), w, algorithm="winograd")
    with pytest.raises(ValueError, match="conv1d: algorithm 'winograd'"):
        lw.conv1d(x[0], w[0], algorithm="winograd")
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
