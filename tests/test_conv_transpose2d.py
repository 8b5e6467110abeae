"""conv_transpose2d against its definition, as the adjoint of conv2d, and against torch."""

import itertools

import lanewise as lw
import ml_dtypes
import numpy as np
import pytest
import reference
from convolutions import TO_IOHW, TO_NCHW, integers, transposed_convolutions, whole_range
from hypothesis import given
from hypothesis import strategies as st
from tolerance import assert_within, gamma


def same_everywhere(x, w, **options):
    """The result in NHWC, after it was seen to have the same bits in NCHW."""
    y = lw.conv_transpose2d(x, w, **options)
    nchw = lw.conv_transpose2d(
        np.ascontiguousarray(x.transpose(TO_NCHW)),
        np.ascontiguousarray(w.transpose(TO_IOHW)),
        layout="NCHW",
        **options,
    )
    np.testing.assert_array_equal(y, nchw.transpose(0, 2, 3, 1))
    return y


@given(
    transposed_convolutions(),
    st.sampled_from([np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int8]),
)
def test_is_exact_for_integers_in_both_layouts(case, dtype):
    x_shape, w_shape, options, seed = case
    rng = np.random.default_rng(seed)
    x, w = integers(rng, x_shape, dtype), integers(rng, w_shape, dtype)
    expected = reference.conv_transpose2d(x, w, **options)
    if dtype is np.int8:
        expected = expected.astype(np.int64)
    np.testing.assert_array_equal(
        same_everywhere(x, w, **options), expected.astype(dtype), strict=True
    )


@given(transposed_convolutions())
def test_is_within_the_bound(case):
    x_shape, w_shape, options, seed = case
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=x_shape).astype("f4"), rng.normal(size=w_shape).astype("f4")
    bias = rng.normal(size=w_shape[2] * options["groups"]).astype("f4")
    exact = reference.conv_transpose2d(x, w, **options) + bias
    size = reference.conv_transpose2d(np.abs(x), np.abs(w), **options) + np.abs(bias)
    terms = w_shape[0] * w_shape[1] * x_shape[3] // options["groups"] + 1
    y = lw.conv_transpose2d(x, w, bias, **options)
    assert_within(y, exact, gamma(terms + 1, np.float32) * size)


@given(transposed_convolutions())
def test_is_the_adjoint_of_conv2d(case):
    """⟨conv2d(z, w), x⟩ = ⟨z, conv_transpose2d(x, w)⟩, exactly for integers that wrap around."""
    x_shape, w_shape, options, seed = case
    rng = np.random.default_rng(seed)
    x, w = whole_range(rng, x_shape), whole_range(rng, w_shape)
    # From stride on, more rows would be enough for another window.
    extra = reference.pair(options.pop("output_padding"))
    extra = tuple(min(e, s - 1) for e, s in zip(extra, options["stride"]))
    y = lw.conv_transpose2d(x, w, output_padding=extra, **options)
    z = whole_range(rng, y.shape)
    # As w of conv2d: K are x's channels, C are y's.
    there = lw.conv2d(z, w, **options)
    assert there.shape == x.shape
    assert (there * x).sum() == (z * y).sum()


@given(transposed_convolutions())
def test_agrees_with_torch(case):
    torch = pytest.importorskip("torch")
    x_shape, w_shape, options, seed = case
    rng = np.random.default_rng(seed)
    x, w = integers(rng, x_shape, np.float32), integers(rng, w_shape, np.float32)
    bias = integers(rng, w_shape[2] * options["groups"], np.float32)
    if isinstance(options["padding"], str):
        options["padding"] = 0
    before = reference.pair(options["padding"])
    pads = [p if isinstance(p, int) else p[0] for p in before]
    options["padding"] = tuple(pads)
    try:
        expected = torch.nn.functional.conv_transpose2d(
            torch.from_numpy(x.transpose(TO_NCHW).copy()),
            torch.from_numpy(w.transpose(TO_IOHW).copy()),
            torch.from_numpy(bias),
            **options,
        ).numpy()
    except RuntimeError:  # symmetric padding may leave no pixel
        with pytest.raises(ValueError, match="the result's"):
            lw.conv_transpose2d(x, w, bias, **options)
        return
    y = lw.conv_transpose2d(x, w, bias, **options)
    np.testing.assert_array_equal(y.transpose(TO_NCHW), expected)


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options"),
    [
        ((3, 14, 15, 20), (4, 4, 24, 20), {"stride": 2, "padding": 1}),
        ((3, 12, 13, 24), (3, 3, 1, 24), {"groups": 24, "stride": 2, "output_padding": 1}),
        ((3, 20, 21, 70), (3, 3, 40, 70), {"padding": "same"}),
        ((3, 5, 6, 8), (2, 3, 4, 8), {"stride": 4, "dilation": (1, 3)}),  # phases without a tap
    ],
)
def test_bits_do_not_depend_on_threads_batch_or_strides(simd, rng, x_shape, w_shape, options):
    x, w = rng.normal(size=x_shape).astype(np.float32), rng.normal(size=w_shape).astype(np.float32)
    bias = rng.normal(size=w_shape[2] * options.get("groups", 1)).astype(np.float32)
    y = same_everywhere(x, w, bias=bias, **options)
    for threads in (1, 2, 3):
        lw.set_num_threads(threads)
        np.testing.assert_array_equal(lw.conv_transpose2d(x, w, bias, **options), y)
    for i in range(len(x)):
        np.testing.assert_array_equal(lw.conv_transpose2d(x[i], w, bias, **options), y[i])
    for permutation in itertools.permutations(range(4)):
        inverse = np.argsort(permutation)
        strided = [
            np.ascontiguousarray(a.transpose(permutation)).transpose(inverse) for a in (x, w)
        ]
        out = np.empty_like(y.transpose(permutation), order="C").transpose(inverse)
        assert lw.conv_transpose2d(*strided, bias, out=out, **options) is out
        np.testing.assert_array_equal(out, y)


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options", "message"),
    [
        ((8, 8), (3, 3, 1, 1), {}, r"x has shape \(8, 8\), expected 4 axes in layout NHWC"),
        (
            (1, 8, 8, 3),
            (2, 3, 3, 4, 3),
            {},
            r"w has shape .* \(height, width, filters / groups, chan",
        ),
        (
            (1, 8, 8, 3),
            (3, 3, 4, 5),
            {},
            r"w has 5 input channels \(shape \(3, 3, 4, 5\), .* but x has 3 channels",
        ),
        ((1, 8, 8, 3), (3, 3, 4, 3), {"groups": 2}, "groups=2 divides not both"),
        ((1, 8, 8, 3), (3, 3, 4, 3), {"output_padding": 1}, "output_padding is 1 along the height"),
        (
            (1, 8, 8, 3),
            (3, 3, 4, 3),
            {"stride": 2, "padding": "same", "output_padding": 1},
            "padding 'same' leaves no room",
        ),
        ((1, 8, 8, 3), (3, 3, 4, 3), {"padding": 6}, "the result's height would be -2"),
        ((1, 8, 8, 3), (3, 3, 4, 3), {"stride": 0}, "stride is 0"),
        ((1, 8, 8, 3), (3, 3, 4, 3), {"dilation": 2**62}, "dilation is"),
        ((1, 8, 8, 3), (3, 3, 4, 3), {"stride": 2**60}, "do not fit in 64 bits|stride"),
        ((1, 8, 8, 3), (3, 3, 4, 3), {"padding": -1}, "padding is -1"),
        ((1, 0, 8, 3), (3, 3, 4, 3), {}, "no pixels along the height"),
        ((1, 8, 8, 3), (0, 3, 4, 3), {}, "window is 0"),
        (
            (1, 8, 8, 3),
            (3, 3, 4, 3),
            {"bias": np.zeros(3)},
            r"bias has shape \(3,\), expected \(4,\)",
        ),
        ((1, 8, 8, 3), (3, 3, 4, 3), {"out": np.zeros((1, 8, 8, 4))}, "out has shape"),
    ],
)
def test_bad_input(x_shape, w_shape, options, message):
    with pytest.raises(ValueError, match=f"conv_transpose2d: .*{message}"):
        lw.conv_transpose2d(np.zeros(x_shape), np.zeros(w_shape), **options)


def test_zero_sizes():
    for x_shape, w_shape, expected in [
        ((0, 5, 5, 3), (3, 3, 4, 3), (0, 7, 7, 4)),
        ((2, 5, 5, 0), (3, 3, 4, 0), (2, 7, 7, 4)),
        ((2, 5, 5, 3), (3, 3, 0, 3), (2, 7, 7, 0)),
    ]:
        y = lw.conv_transpose2d(np.ones(x_shape), np.ones(w_shape), np.full(w_shape[2], 2.0))
        assert y.shape == expected
        assert (y == 2).all()
