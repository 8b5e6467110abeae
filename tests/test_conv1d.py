"""conv1d: conv2d along one axis, in its own words."""

import lanewise as lw
import numpy as np
import pytest
import reference
import scipy.signal
from convolutions import integers
from hypothesis import given
from hypothesis import strategies as st
from tolerance import assert_within, gamma


@st.composite
def convolutions(draw):
    groups = draw(st.integers(1, 3))
    group_c, group_k = draw(st.integers(1, 12)), draw(st.integers(1, 20))
    window, stride, dilation = (draw(st.integers(1, n)) for n in (6, 4, 3))
    padding = draw(
        st.one_of(
            st.sampled_from(["valid", "same", "same_lower", "full"]),
            st.integers(0, 5),
            st.tuples(st.tuples(st.integers(0, 5), st.integers(0, 5))),
        )
    )
    width = draw(st.integers(dilation * (window - 1) + 1, 50))
    n = draw(st.integers(1, 3))
    x_shape, w_shape = (n, width, groups * group_c), (window, group_c, groups * group_k)
    if draw(st.booleans()):
        w_shape = (n, *w_shape)
    options = {
        "stride": stride,
        "dilation": dilation,
        "padding": padding,
        "groups": groups,
        "pad_mode": draw(st.sampled_from(["constant", "reflect", "symmetric", "edge", "wrap"])),
        "flip": draw(st.booleans()),
    }
    dtype = draw(st.sampled_from([np.float32, np.float64, np.float16, np.int16]))
    return x_shape, w_shape, dtype, options, draw(st.integers(0, 2**32))


def in_two_dimensions(x, w, stride, dilation, padding, **options):
    """The definition, with a height of 1."""
    if not isinstance(padding, str):
        padding = ((0, 0), reference.axis_padding(padding, 0))
    elif padding == "full":
        reach = dilation * (w.shape[-3] - 1)
        padding = ((0, 0), (reach, reach))
    w = np.expand_dims(w, -4)
    return reference.conv2d(x[:, None], w, (1, stride), padding, (1, dilation), **options)[:, 0]


@given(convolutions())
def test_is_conv2d_of_height_one(case):
    x_shape, w_shape, dtype, options, seed = case
    rng = np.random.default_rng(seed)
    x, w = integers(rng, x_shape, dtype), integers(rng, w_shape, dtype)
    y = lw.conv1d(x, w, **options)
    expected = in_two_dimensions(x, w, **options)
    np.testing.assert_array_equal(y, expected.astype(dtype), strict=True)
    ncw = lw.conv1d(x.swapaxes(1, 2), w.swapaxes(-3, -1), layout="NCW", **options)
    np.testing.assert_array_equal(ncw.swapaxes(1, 2), y)


@given(convolutions())
def test_agrees_with_torch(case):
    torch = pytest.importorskip("torch")
    x_shape, w_shape, _, options, seed = case
    if len(w_shape) == 4:
        w_shape = w_shape[1:]
    rng = np.random.default_rng(seed)
    x, w = integers(rng, x_shape, np.float32), integers(rng, w_shape, np.float32)
    stride, dilation, groups = (options[name] for name in ("stride", "dilation", "groups"))
    padding = reference.axis_padding(options["padding"], 0)
    before, after, _ = reference.window_axis(x.shape[1], len(w), stride, dilation, padding)
    padded = np.pad(x, [(0, 0), (before, after), (0, 0)], mode=options["pad_mode"])
    expected = torch.nn.functional.conv1d(
        torch.from_numpy(padded.swapaxes(1, 2).copy()),
        torch.from_numpy((w[::-1] if options["flip"] else w).transpose(2, 1, 0).copy()),
        stride=stride,
        dilation=dilation,
        groups=groups,
    ).numpy()
    y = lw.conv1d(x, w, **options)
    np.testing.assert_array_equal(y.swapaxes(1, 2), expected)


def test_agrees_with_numpy_convolve(rng):
    x, w = rng.normal(size=50), rng.normal(size=7)
    for padding in ("valid", "full"):
        y = lw.conv1d(x[:, None], w[:, None, None], padding=padding, flip=True)[:, 0]
        bound = 2 * gamma(8, np.float64) * np.convolve(np.abs(x), np.abs(w), padding)
        assert_within(y, np.convolve(x, w, padding), bound)
        np.testing.assert_allclose(y, scipy.signal.fftconvolve(x, w, padding), atol=1e-12)


def test_one_signal_bias_and_activation(rng):
    x, w = integers(rng, (20, 3), np.float32), integers(rng, (5, 3, 4), np.float32)
    bias = np.arange(4)
    y = lw.conv1d(x, w, bias, activation="relu")
    assert y.shape == (16, 4)
    np.testing.assert_array_equal(y, lw.conv1d(x[None], w, bias, activation="relu")[0])
    np.testing.assert_array_equal(y, np.maximum(lw.conv1d(x, w) + bias, 0))
    out = np.empty_like(y)
    assert lw.conv1d(x, w, bias, activation="relu", out=out) is out
    np.testing.assert_array_equal(out, y)


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options", "message"),
    [
        (
            (1, 8, 8, 3),
            (3, 3, 4),
            {},
            r"conv1d: x has shape \(1, 8, 8, 3\), expected 3 axes .* NWC",
        ),
        ((1, 8, 3), (3, 3), {}, r"conv1d: w has shape \(3, 3\), expected 3 axes \(width, channels"),
        (
            (1, 8, 3),
            (3, 4, 8),
            {},
            r"conv1d: w has 4 input channels per group \(shape \(3, 4, 8\), layout WIO\), but x "
            r"has 3 channels \(shape \(1, 8, 3\), layout NWC\)",
        ),
        ((1, 8, 3), (9, 3, 4), {}, "conv1d: a window of 9 .* padded width 8"),
        ((1, 8, 3), (3, 3, 4), {"layout": "NHWC"}, "conv1d: layout is 'NHWC', expected 'NWC'"),
        ((1, 8, 3), (3, 3, 4), {"padding": (1, 2)}, r"conv1d: padding is \(1, 2\)"),
        ((1, 8, 3), (3, 3, 4), {"stride": (1, 2)}, r"conv1d: stride is \(1, 2\)"),
        ((1, 8, 3), (3, 3, 4), {"stride": 0}, "conv1d: stride is 0 along the width"),
        ((1, 0, 3), (3, 3, 4), {"padding": 2, "pad_mode": "wrap"}, r"\(1, 0, 3\) and no pixels"),
    ],
)
def test_bad_input(x_shape, w_shape, options, message):
    with pytest.raises(ValueError, match=message):
        lw.conv1d(np.zeros(x_shape), np.zeros(w_shape), **options)
