"""avg_pool2d, avg_pool1d and global_avg_pool2d: within derived bounds, the same bits on all paths.

A term of a sum over R x S pixels goes through at most min(R, 16) + ⌈R/16⌉ additions down its column
and min(S, 16) + ⌈S/16⌉ along the row of sums, and less where long windows are made of shorter ones;
the quotient rounds once, and so may its divisor. The reference, in float64, adds R·S terms one by
one.
"""

import lanewise as lw
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from pooling import (
    DTYPES,
    FLOATS,
    INTEGERS,
    NARROW_FLOATS,
    bits,
    every_axis,
    expected,
    on_each_path,
    problems,
    valid,
    views,
)
from tolerance import assert_within, gamma, tiny, u

BLOCK = 16


def result_dtype(x):
    return np.dtype(np.float64) if x.dtype.kind in "iub" else x.dtype


def bound(op, x, window, exact, **options):
    """How far from the reference a right result can be."""
    axes = int(op[-2])
    window = every_axis(window, axes)
    computed = np.float64 if result_dtype(x) == np.float64 else np.float32
    roundings = sum(min(n, BLOCK) + -(-n // BLOCK) for n in window) + 2
    with np.errstate(invalid="ignore"):
        sizes = expected(op, np.abs(x.astype(np.float64)), window, **options)
        allowed = (gamma(roundings, computed) + gamma(np.prod(window) + 1, np.float64)) * sizes
        allowed += tiny(computed)
        if result_dtype(x) != computed:
            allowed += u(x.dtype) * (np.abs(exact) + allowed) + tiny(x.dtype)
    return allowed


def check(op, x, window, **options):
    (actual,) = on_each_path(op, x, window, options)
    assert actual.dtype == result_dtype(x)
    exact = expected(op, x, window, **options)
    assert_within(actual, exact, bound(op, x, window, exact, **options))
    return actual


def pixels(rng, shape, dtype=np.float32):
    """Values of both signs, or the whole range of an integer type."""
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    if dtype is np.bool_:
        return rng.random(shape) < 0.5
    return rng.standard_normal(shape).astype(dtype)


# ---------------------------------------------------------------------------- against the reference


@given(problem=problems(DTYPES), count_include_pad=st.booleans())
@pytest.mark.parametrize("target", lw.config()["simd_available"])
def test_any_options(target, problem, count_include_pad):
    axes, x, window, options = problem
    op = f"avg_pool{axes}d"
    lw.set_simd_target(target)
    if valid(x, window, **options):
        check(op, x, window, count_include_pad=count_include_pad, **options)
    else:
        with pytest.raises(ValueError, match=rf"^{op}: (a|the) window of"):
            getattr(lw, op)(x, window, count_include_pad=count_include_pad, **options)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_dtypes(simd, rng, dtype, layout):
    for channels in (1, 3, 40):
        shape = (2, 9, 10, channels) if layout == "NHWC" else (2, channels, 9, 10)
        x = pixels(rng, shape, dtype)
        for window, stride, padding in [(2, 2, 0), (3, 1, 1), (3, 2, 1), ((1, 7), 1, "same")]:
            check("avg_pool2d", x, window, stride=stride, padding=padding, layout=layout)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("size", range(1, 34))
def test_sizes_around_the_vector_width(simd, rng, layout, size):
    x = pixels(rng, (1, 4, 5, size) if layout == "NHWC" else (1, 2, 4, size))
    for window, stride in [(1, 1), (2, 2), (3, 1), (3, 2)]:
        check("avg_pool2d", x, window, stride=stride, padding="same", layout=layout)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("window", [15, 16, 17, 33, (40, 1), (1, 40), (33, 5)])
def test_windows_of_several_blocks(simd, rng, layout, window):
    shape = (1, 41, 42, 5) if layout == "NHWC" else (1, 5, 41, 42)
    for dtype in (np.float32, np.float16):
        x = pixels(rng, shape, dtype)
        for stride in (1, 7):
            check("avg_pool2d", x, window, stride=stride, layout=layout)
            check("avg_pool2d", x, window, stride=stride, padding="same", layout=layout)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_windows_taller_than_what_is_taken_at_once(rng, layout):
    x = pixels(rng, (1, 2100, 3, 20))
    x = x if layout == "NHWC" else x.transpose(0, 3, 1, 2).copy()
    for window in (64, 65, 129, 1024, 1025, 2049, 2100):
        options = {"stride": (500, 1), "layout": layout}
        y = check("avg_pool2d", x, (window, 3), **options)
        for view in views(x):
            assert_array_equal(bits(lw.avg_pool2d(view, (window, 3), **options)), bits(y))
        check("avg_pool2d", x.astype(np.float16), (window, 2), layout=layout)


def test_integers_add_up_exactly(simd, rng):
    """As long as the sums fit: the quotient of two integers rounds once."""
    for dtype in INTEGERS:
        top = min(2**40, np.iinfo(dtype).max)
        x = rng.integers(max(-top, np.iinfo(dtype).min), top, (7, 8, 20)).astype(dtype)
        wide = np.lib.stride_tricks.sliding_window_view(x.astype(np.int64), (3, 5), axis=(0, 1))
        assert_array_equal(lw.avg_pool2d(x, (3, 5), stride=1), wide.sum((-2, -1)) / 15)


def test_narrow_floats_round_once(simd, rng):
    """float16 sums do not stop at 2048, nor overflow at 65504."""
    x = np.ones((100, 100, 3), np.float16)
    assert_array_equal(lw.avg_pool2d(x, 100), np.ones((1, 1, 3)))
    x[...] = 60000
    assert_array_equal(lw.avg_pool2d(x, 50), np.full((2, 2, 3), 60000.0))
    for dtype in NARROW_FLOATS:
        x = pixels(rng, (8, 8, 20), dtype)
        exactly = lw.avg_pool2d(x.astype(np.float32), 2).astype(dtype)
        assert_array_equal(bits(lw.avg_pool2d(x, 2)), bits(exactly))


# ---------------------------------------------------------------------------------- peculiar values


@pytest.mark.parametrize("dtype", [*FLOATS, *NARROW_FLOATS])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_nan_and_inf_stay_within_their_windows(simd, rng, dtype, layout):
    for value in (np.nan, np.inf, -np.inf):
        x = pixels(rng, (2, 19, 20, 9) if layout == "NHWC" else (2, 9, 19, 20), dtype)
        x[rng.random(x.shape) < 0.02] = value
        for window, stride in [(2, 2), (3, 1), (17, 1), ((3, 18), 1)]:
            check("avg_pool2d", x, window, stride=stride, layout=layout)
            check("avg_pool2d", x, window, stride=stride, padding="same", layout=layout)
    x[rng.random(x.shape) < 0.1] = np.inf
    check("avg_pool2d", x, 2, layout=layout)  # inf - inf


def test_sums_begin_with_plus_zero(simd):
    for layout in ("NHWC", "NCHW"):
        for channels in (1, 20):
            for window, padding in [(2, 0), (3, 1), (17, 8)]:
                x = np.full((1, 18, 18, channels), -0.0, np.float32)
                x = x if layout == "NHWC" else x.transpose(0, 3, 1, 2).copy()
                y = lw.avg_pool2d(x, window, stride=1, padding=padding, layout=layout)
                assert_array_equal(bits(y), 0)


def test_overflow_is_that_of_the_sum(simd):
    big = np.finfo(np.float32).max
    y = lw.avg_pool2d(np.full((1, 2, 1), big, np.float32), (1, 2))
    assert y[0, 0, 0] == np.inf


def test_an_average_of_equal_numbers(simd, rng):
    """Divided by the count, not multiplied by its reciprocal: three times a third is one."""
    for window in (3, 5, 7, 11):
        x = np.full((window, window, 20), 3.0, np.float32)
        assert_array_equal(lw.avg_pool2d(x, window), x[:1, :1])


# ------------------------------------------------------------------------------------ the same bits


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.uint8])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_strides_do_not_matter(simd, rng, dtype, layout):
    x = pixels(rng, (2, 19, 20, 18), dtype)
    for window, stride, padding in [
        (3, 2, 1),
        (3, 1, 1),
        (2, 2, 0),
        ((2, 17), 1, 1),
        ((17, 2), (1, 3), 1),
        ((5, 18), (3, 2), (2, 8)),
    ]:
        options = {"stride": stride, "padding": padding, "layout": layout}
        y = lw.avg_pool2d(x, window, **options)
        for view in views(x):
            assert_array_equal(bits(lw.avg_pool2d(view, window, **options)), bits(y))
        for out in views(np.zeros_like(y)):
            assert lw.avg_pool2d(x, window, out=out, **options) is out
            assert_array_equal(bits(out), bits(y))


@pytest.mark.parametrize("window", [(3, 3), (2, 20), (20, 2), (13, 17)])
def test_both_layouts_give_the_same_bits(simd, rng, window):
    x = pixels(rng, (2, 21, 22, 19))
    y = lw.avg_pool2d(x, window, stride=1, padding="same")
    planes = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    again = lw.avg_pool2d(planes, window, stride=1, padding="same", layout="NCHW")
    assert_array_equal(bits(again.transpose(0, 2, 3, 1).copy()), bits(y))


@pytest.mark.parametrize("shape", [(1, 70, 90, 3), (3, 7, 7, 40), (1, 300, 80, 33)])
def test_global_averages_are_those_of_both_layouts(simd, rng, shape):
    """Also where threads share the columns, or planes are taken together."""
    x = pixels(rng, shape)
    for threads in (1, 3):
        lw.set_num_threads(threads)
        y = lw.global_avg_pool2d(x)
        planes = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        again = lw.global_avg_pool2d(planes, layout="NCHW")
        assert_array_equal(bits(again.reshape(y.shape)), bits(y))
        check("avg_pool2d", x, shape[1:3])


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_images_do_not_matter_to_each_other(rng, layout):
    x = pixels(rng, (5, 20, 21, 20))
    for window in (3, (2, 19)):
        y = lw.avg_pool2d(x, window, stride=2, layout=layout)
        for n in range(len(x)):
            alone = lw.avg_pool2d(x[n], window, stride=2, layout=layout)
            assert_array_equal(bits(y[n]), bits(alone))


def test_a_tile_cut_by_columns(rng):
    """Scratch is bounded, so long rows are cut; blocks of columns are not cut with them."""
    x = pixels(rng, (3, 70000))
    whole = lw.avg_pool2d(x[..., None], (2, 39), stride=1)
    for first in (1, 1234, 69000):
        part = lw.avg_pool2d(x[:, first : first + 139, None], (2, 39), stride=1)
        assert_array_equal(bits(part), bits(whole[:, first : first + 101]))


# ------------------------------------------------------------------------------------ other options


def test_what_is_counted(rng):
    x = np.ones((1, 5, 5, 1), np.float32)
    y = lw.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=True)[0, ..., 0]
    assert_array_equal(y, np.outer([2 / 3, 1, 2 / 3], [2 / 3, 1, 2 / 3]).astype(np.float32))
    # The last window covers one pixel, one padding element, and what ceil_mode adds to them.
    y = lw.avg_pool1d(np.ones((6, 1)), 4, stride=3, padding=1, ceil_mode=True)
    assert_array_equal(y[:, 0], [1, 1, 1])
    y = lw.avg_pool1d(
        np.ones((6, 1)), 4, stride=3, padding=1, ceil_mode=True, count_include_pad=True
    )
    assert_array_equal(y[:, 0], [3 / 4, 1, 1 / 2])


def test_one_dimension(rng):
    x = pixels(rng, (3, 50, 4))
    check("avg_pool1d", x, 3)
    check("avg_pool1d", x[0], [3], stride=[2], padding=[(1, 0)], dilation=[2])
    check("avg_pool1d", x.transpose(0, 2, 1), 40, stride=1, padding="same", layout="NCW")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_global_average(simd, rng, dtype, layout):
    x = pixels(rng, (2, 37, 19, 5), dtype)
    size = x.shape[1:3] if layout == "NHWC" else x.shape[2:]
    y = lw.global_avg_pool2d(x, layout=layout)
    assert y.dtype == result_dtype(x)
    exact = expected("avg_pool2d", x, size, layout=layout)
    assert_within(y, exact, bound("avg_pool2d", x, size, exact, layout=layout))
    assert_array_equal(bits(lw.global_avg_pool2d(x[1], layout=layout)), bits(y[1]))
    out = np.empty_like(y)
    assert lw.global_avg_pool2d(x, layout=layout, out=out) is out
    assert_array_equal(bits(out), bits(y))


def test_empty():
    assert lw.avg_pool2d(np.zeros((0, 4, 4, 3), np.float32), 2).shape == (0, 2, 2, 3)
    assert lw.avg_pool1d(np.zeros((4, 0), np.uint8), 2).shape == (2, 0)
    assert lw.global_avg_pool2d(np.zeros((2, 4, 4, 0))).shape == (2, 1, 1, 0)


X = np.zeros((1, 5, 6, 3), np.float32)


@pytest.mark.parametrize(
    ("x", "options", "error", "message"),
    [
        (X[0, 0], {}, ValueError, r"x has shape \(6, 3\), expected 4 axes"),
        (X, {"window": 6}, ValueError, "window of 6 .* larger than the padded height 5"),
        (X, {"padding": 2}, ValueError, "output 0 along the height holds no pixel"),
        (X, {"padding": "full"}, ValueError, "padding is 'full'"),
        (X, {"padding": 2, "count_include_pad": True}, ValueError, "output 0 .* holds no pixel"),
        (X, {"layout": "NCW"}, ValueError, "layout is 'NCW', expected 'NHWC' or 'NCHW'"),
        (X.astype(np.float64), {}, TypeError, "out has dtype .*float32.*, expected .*float64"),
        (X.astype(object), {}, TypeError, "x has dtype object"),
    ],
)
def test_bad_arguments_are_named_and_out_is_untouched(x, options, error, message):
    out = np.full((1, 2, 3, 3), 7, np.float32)
    with pytest.raises(error, match=f"^avg_pool2d: .*{message}"):
        lw.avg_pool2d(x, **{"window": 2, "out": out, **options})
    assert (out == 7).all()


# -------------------------------------------------------------------------------------------- peers


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("count_include_pad", [False, True])
@pytest.mark.parametrize(
    ("window", "stride", "padding"),
    [(2, 2, 0), (3, 2, 1), (3, 1, 1), ((3, 2), (2, 3), (1, 0)), (4, 3, 2), (2, 3, 1), (9, 2, 4)],
)
def test_as_torch(rng, window, stride, padding, ceil_mode, count_include_pad):
    torch = pytest.importorskip("torch")
    options = {"ceil_mode": ceil_mode, "count_include_pad": count_include_pad}
    x = rng.integers(-99, 99, (2, 5, 17, 14)).astype(np.float64)  # whose sums are exact
    planes = torch.from_numpy(x)
    theirs = torch.nn.functional.avg_pool2d(planes, window, stride, padding, **options).numpy()
    options.update(stride=stride, padding=padding)
    assert_array_equal(lw.avg_pool2d(x, window, layout="NCHW", **options), theirs)
    pixels = x.transpose(0, 2, 3, 1).copy()
    actual = lw.avg_pool2d(pixels, window, **options)
    assert_array_equal(actual, theirs.transpose(0, 2, 3, 1))

    if isinstance(window, int):
        theirs = torch.nn.AvgPool1d(window, stride, padding, ceil_mode, count_include_pad)
        actual = lw.avg_pool1d(x[:, :, 3], window, layout="NCW", **options)
        assert_array_equal(actual, theirs(planes[:, :, 3]).numpy())


def test_global_poolings_as_torch(rng):
    torch = pytest.importorskip("torch")
    x = rng.integers(-99, 99, (2, 5, 17, 14)).astype(np.float64)
    functional, planes = torch.nn.functional, torch.from_numpy(x)
    assert_array_equal(
        lw.global_avg_pool2d(x, layout="NCHW"), functional.adaptive_avg_pool2d(planes, 1).numpy()
    )
    assert_array_equal(
        lw.global_max_pool2d(x, layout="NCHW"), functional.adaptive_max_pool2d(planes, 1).numpy()
    )


@pytest.mark.parametrize("size", [1, 3, 5, 9, 17])
def test_as_scipy(rng, size):
    ndimage = pytest.importorskip("scipy.ndimage")
    x = rng.integers(-99, 99, (30, 33)).astype(np.float64)
    sums = ndimage.convolve(x, np.ones((size, size)), mode="constant")
    actual = lw.avg_pool2d(
        x[None], size, stride=1, padding="same", layout="NCHW", count_include_pad=True
    )
    assert_array_equal(actual[0], sums / size**2)
