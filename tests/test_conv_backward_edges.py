"""Gradients of convolution: infinity and NaN, nothing at all, bad input."""

import lanewise as lw
import numpy as np
import pytest
import reference
from convolutions import assert_exact, assert_same, gradients_everywhere
from test_conv_backward import problem
from test_conv_backward_laws import LAYERS
from test_runtime import run

FINITE = [layer for layer in LAYERS if len(layer[1]) == 4]


# --------------------------------------------------------------------------------- infinity and NaN


@pytest.mark.parametrize(("x_shape", "w_shape", "options"), FINITE)
@pytest.mark.parametrize("algorithm", ["auto", "direct"])
def test_of_dy_reaches_exactly_its_windows(simd, rng, x_shape, w_shape, options, algorithm):
    """In dw a zero of the padding counts: 0·inf is NaN."""
    dy, x, w = problem(rng, x_shape, w_shape, **options)
    x, w = np.abs(x) + 1, np.abs(w) + 1
    height, width, k = dy.shape[1:]
    dy[0, 0, 0, 0], dy[1, height // 2, width - 1, k // 2] = np.inf, -np.inf
    dy[2, -1, -1, -1] = np.nan
    check_places(dy, x, w, algorithm, options)


@pytest.mark.parametrize(("x_shape", "w_shape", "options"), FINITE)
@pytest.mark.parametrize("algorithm", ["auto", "direct"])
def test_of_x_reaches_exactly_its_taps(simd, rng, x_shape, w_shape, options, algorithm):
    dy, x, w = problem(rng, x_shape, w_shape, **options)
    x[0, 0, 0, 0], x[1, 2, 3, x_shape[3] // 2], x[2, -1, -1, -1] = np.nan, np.inf, -np.inf
    check_places(dy, x, w, algorithm, options)


def check_places(dy, x, w, algorithm, options):
    """Whatever is not finite is as by definition, and all else is finite."""
    grads = gradients_everywhere(dy, x, w, algorithm=algorithm, **options)
    with np.errstate(invalid="ignore"):
        exact = reference.conv2d_backward(dy, x, w, **options)
    for gradient, right in zip(grads, exact, strict=True):
        if algorithm == "auto":  # whose sums of integers are not exact
            gradient = np.where(np.isfinite(gradient), 0, gradient)
            right = np.where(np.isfinite(right), 0, right)
        np.testing.assert_array_equal(gradient, right)


@pytest.mark.parametrize(("x_shape", "w_shape", "options"), FINITE)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_of_a_filter_stays_in_its_channel(simd, rng, x_shape, w_shape, options, value):
    """There it reaches all that it should, and more only as a NaN, where it met padding."""
    dy, x, w = problem(rng, x_shape, w_shape, **options)
    dy = np.abs(dy) + 1
    w[0, -1, 0, -1] = value
    options = options | {"algorithm": "direct"}
    dx, dw, dbias = gradients_everywhere(dy, x, w, **options)
    with np.errstate(invalid="ignore"):
        exact = reference.conv2d_backward(
            dy, x, w, **{name: v for name, v in options.items() if name != "algorithm"}
        )
    meets_padding = np.isnan(dx) & ~np.isnan(exact[0])
    np.testing.assert_array_equal(
        np.where(meets_padding, 0, dx), np.where(meets_padding, 0, exact[0])
    )
    last_group = x_shape[3] - w_shape[2]
    assert not meets_padding[..., np.arange(x_shape[3]) != last_group].any()
    assert_same((dw, dbias), [a.astype(np.float32) for a in exact[1:]])


# -------------------------------------------------------------------------------------- zero sizes


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options"),
    [
        ((0, 5, 6, 3), (3, 3, 3, 4), {}),
        ((2, 5, 6, 0), (3, 3, 0, 4), {}),
        ((2, 5, 6, 3), (3, 3, 3, 0), {}),
        ((0, 5, 6, 4), (3, 3, 1, 4), {"groups": 4}),
        ((2, 0, 6, 3), (3, 3, 3, 4), {"padding": 2}),
        ((2, 5, 0, 3), (3, 2, 3, 4), {"padding": (0, 2), "stride": 2}),
    ],
)
def test_zero_sizes(x_shape, w_shape, options, layout):
    """Sums of nothing are 0; of padding alone, too."""
    x, w = np.ones(x_shape, np.float32), np.ones(w_shape, np.float32)
    dy = np.ones_like(lw.conv2d(x, w, **options))
    expected = np.zeros_like(x), np.zeros_like(w), dy.sum((0, 1, 2))
    if w.shape[3] == 0 or w.shape[2] == 0 or 0 in x_shape[:3]:
        assert_same(lw.conv2d_backward(dy, x, w, **options), expected)
    assert_exact(gradients_everywhere(dy, x, w, **options), dy, x, w, **options)


def test_no_images_with_a_bank_each():
    grads = lw.conv2d_backward(
        np.ones((0, 3, 3, 4)), np.ones((0, 5, 5, 2)), np.ones((0, 3, 3, 2, 4))
    )
    assert [gradient.shape for gradient in grads] == [(0, 5, 5, 2), (0, 3, 3, 2, 4), (0, 4)]


def test_pixels_that_no_window_sees(rng):
    """A stride beyond the window, and rows that are left over: their gradient is 0."""
    dy, x, w = problem(rng, (2, 11, 13, 3), (2, 2, 3, 4), stride=(5, 4))
    assert_exact(gradients_everywhere(dy, x, w, stride=(5, 4)), dy, x, w, stride=(5, 4))
    dx = lw.conv2d_backward(np.ones_like(dy), x, np.ones_like(w), stride=(5, 4)).x
    assert set(np.unique(dx)) == {0, 4}


# -------------------------------------------------------------------------------------- bad input

DY, X, W = (np.ones(shape, np.float32) for shape in [(1, 3, 4, 4), (1, 5, 6, 2), (3, 3, 2, 4)])
BOOL = [a.astype(bool) for a in (DY, X, W)]
HUGE = np.broadcast_to(np.float32(1), (1, 2**40, 2**20, 1))
ONE = np.ones((1, 1, 1, 1), np.float32)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (
            (DY[:, :2], X, W),
            {},
            ValueError,
            r"dy has shape \(1, 2, 4, 4\), expected \(1, 3, 4, 4\), that of the result for x "
            r"\(1, 5, 6, 2\) and w \(3, 3, 2, 4\)",
        ),
        ((DY[0], X, W), {}, ValueError, r"dy has shape \(3, 4, 4\), expected \(1, 3, 4, 4\)"),
        ((DY, X[0], W), {}, ValueError, r"dy has shape \(1, 3, 4, 4\), expected \(3, 4, 4\)"),
        ((DY, X, W), {"stride": 2}, ValueError, r"dy has .*expected \(1, 2, 2, 4\)"),
        ((DY[..., :3], X, W), {}, ValueError, r"dy has shape \(1, 3, 4, 3\), expected"),
        ((np.float32(1), X, W), {}, ValueError, r"dy has shape \(\), expected"),
        ((DY, X[0, 0], W), {}, ValueError, r"x has shape \(6, 2\), expected 4 axes in layout NHWC"),
        ((DY, X, W[0, 0]), {}, ValueError, r"w has shape \(2, 4\), expected 4 axes"),
        ((DY, X, W[:, :, :1]), {}, ValueError, "w has 1 input channels per group .* x has 2 chan"),
        ((DY, np.ones((3, 5, 6, 2)), np.stack([W, W])), {}, ValueError, "w has 2 banks of filters"),
        ((DY, X.shape, W), {}, ValueError, "x is a shape, but its values .* gradient of w"),
        ((DY, X, W.shape), {}, ValueError, "w is a shape, but its values .* gradient of x"),
        ((DY, X.shape, W), {"wrt": "w"}, ValueError, "x is a shape"),
        ((DY, X, W.shape), {"wrt": ["bias", "x"]}, ValueError, "w is a shape"),
        ((DY, (1, 5, 6, 2.5), W), {"wrt": "x"}, TypeError, "x is .*, or a tuple of its sizes"),
        ((DY, (1, 5, -6, 2), W), {"wrt": "x"}, ValueError, r"x is .*expected sizes in \[0, 2\^63"),
        ((DY, (), W), {"wrt": "x"}, ValueError, r"x has shape \(\)"),
        ((DY, X, W), {"wrt": "y"}, ValueError, "wrt is 'y', expected one of 'x', 'w', 'bias'"),
        ((DY, X, W), {"wrt": ("x", "dw")}, ValueError, "wrt is 'dw', expected one of"),
        ((DY, X, W), {"wrt": ["x", 1]}, ValueError, "wrt is 1, expected one of"),
        ((DY, X, W), {"wrt": None}, TypeError, "wrt is None, expected a name or a sequence"),
        ((DY, X, W), {"wrt": 3}, TypeError, "wrt is 3, expected a name or a sequence"),
        ((DY, X, W), {"wrt": ()}, ValueError, r"wrt is \(\), expected at least one name"),
        ((DY, X, W), {"wrt": ["x", "x"]}, ValueError, "wrt is .*expected no name twice"),
        (BOOL, {}, TypeError, "dy has dtype bool; a sum of products is no bool"),
        ((DY * 1j, X, W), {}, TypeError, "dy has dtype complex64, expected real"),
        ((DY, X * 1j, W), {}, TypeError, "x has dtype complex64, expected real"),
        ((DY, X, W * 1j), {}, TypeError, "w has dtype complex64, expected real"),
        ((DY, X, W.astype(object)), {}, TypeError, "w has dtype object"),
        ((DY.astype("M8[s]"), X, W), {}, TypeError, "dy has dtype datetime64"),
        ((DY, X.astype("S1"), W), {}, TypeError, r"x has dtype \|S1"),
        ((DY, X, W), {"groups": 3}, ValueError, "groups=3 divides not both the 2 channels of x"),
        ((DY, X, W), {"groups": 0}, ValueError, "groups is 0"),
        ((DY, X, W), {"stride": 0}, ValueError, "stride is 0 along the height"),
        ((DY, X, W), {"dilation": 3}, ValueError, "window of 3 .* larger than the padded height 5"),
        ((DY, X, W), {"padding": "big"}, ValueError, "padding is 'big'"),
        ((DY, X, W), {"padding": -1}, ValueError, "padding is -1"),
        ((DY, X, W), {"layout": "NWC"}, ValueError, "layout is 'NWC'"),
        ((DY, X, W), {"pad_mode": "zero"}, ValueError, "pad_mode is 'zero'"),
        ((DY, X, W), {"algorithm": "fft"}, ValueError, "algorithm is 'fft'"),
        ((DY, X, W), {"padding": 2**62}, ValueError, "overflows 64 bits"),
        ((DY, X, W), {"padding": 2**40}, ValueError, "do not fit in 64 bits"),
        ((DY, X, W), {"dilation": 2**62}, ValueError, "dilation 4611686018427387904 is larger"),
        ((DY, (2**40,) * 3 + (2,), W), {"wrt": "x"}, ValueError, "no array can have"),
        ((HUGE, HUGE.shape, ONE), {"wrt": "x"}, MemoryError, "allocate"),
        ((DY, (1, 5, 6, 2**62), (3, 3, 2**62, 4)), {"wrt": "x"}, ValueError, "w is a sh|no array"),
        (
            (DY, (1, 0, 6, 2), W),
            {"wrt": "x", "padding": 2, "pad_mode": "edge"},
            ValueError,
            "no pixels to fill the padding with",
        ),
    ],
)
def test_bad_input(arguments, options, error, message):
    prefix = "" if error is MemoryError else "^conv2d_backward: .*"
    with pytest.raises(error, match=prefix + message):
        lw.conv2d_backward(*arguments, **options)


@pytest.mark.parametrize(
    ("window", "dtype", "options", "message"),
    [
        (5, np.float32, {"stride": 2}, r"5x5 with stride \(2, 2\)"),
        (3, np.float64, {}, "float64"),
        (2, np.float32, {}, "this is 2x2"),
    ],
)
def test_winograd_is_refused_where_conv2d_refuses_it(rng, window, dtype, options, message):
    arrays = problem(rng, (1, 9, 9, 4), (window, window, 4, 4), dtype, **options)
    for wrt in ("x", "w", "bias"):
        with pytest.raises(ValueError, match=f"^conv2d_backward: algorithm 'winograd'.*{message}"):
            lw.conv2d_backward(*arrays, wrt=wrt, algorithm="winograd", **options)


def test_bad_input_of_signals_and_of_transposed_convolutions():
    dy, x, w = DY[:, 0], X[:, 0], W[0]
    with pytest.raises(ValueError, match=r"^conv1d_backward: x has shape .*3 axes in layout NWC"):
        lw.conv1d_backward(dy, X, w)
    with pytest.raises(ValueError, match=r"^conv1d_backward: dy has shape .*expected \(1, 4, 4\)"):
        lw.conv1d_backward(dy[:, :3], x, w)
    with pytest.raises(ValueError, match=r"^conv1d_backward: layout is 'NHWC'"):
        lw.conv1d_backward(dy, x, w, layout="NHWC")
    with pytest.raises(ValueError, match=r"^conv1d_backward: w is a shape"):
        lw.conv1d_backward(dy, x, w.shape)
    backward, filters = lw.conv_transpose2d_backward, np.ones((3, 3, 4, 2), np.float32)
    dy = np.ones((1, 7, 8, 4), np.float32)
    for arguments, options, message in [
        ((DY, X, filters), {}, r"dy has shape \(1, 3, 4, 4\), expected \(1, 7, 8, 4\)"),
        ((dy, X, W), {}, r"w has 4 input channels .* but x has 2 channels"),
        ((dy, X.shape, filters), {}, "x is a shape, but its values"),
        ((dy, X, filters.shape), {}, "w is a shape, but its values"),
        ((dy, X, filters), {"output_padding": 1}, "output_padding is 1 along the height"),
        ((dy, X, filters), {"padding": 4}, "the result's height would be -1"),
        ((dy, X, filters), {"wrt": "bank"}, "wrt is 'bank'"),
        ((dy, X, np.stack([filters])), {}, "w has shape .* expected 4 axes"),
    ]:
        with pytest.raises(ValueError, match=f"^conv_transpose2d_backward: .*{message}"):
            backward(*arguments, **options)
    with pytest.raises(TypeError, match=r"^conv_transpose2d_backward: dy has dtype bool"):
        backward(*(a.astype(bool) for a in (dy, X, filters)))


def test_no_memory_is_a_memory_error():
    code = """
import resource
import numpy as np, lanewise as lw
dy = np.broadcast_to(np.float32(1), (1, 2**14, 2**14, 1))
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
try:
    lw.conv2d_backward(dy, dy.shape, np.ones((1, 1, 1, 1), np.float32), wrt="x")
except MemoryError:
    print("refused")
"""
    assert run(code, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1").stdout == "refused\n"
