"""Maxima and minima of every dtype, in one and two dimensions, over all options."""

import lanewise as lw
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from pooling import (
    DTYPES,
    INTEGERS,
    LANES,
    NARROW_FLOATS,
    bits,
    expected,
    image,
    on_each_path,
    problems,
    valid,
    views,
)


def plain(a):
    """NumPy takes bfloat16 for a structure, and so no NaN of it for equal to another."""
    return a.astype(np.float64) if a.dtype.kind == "V" else a


def check(op, x, window, **options):
    """Values alone, values and indices, and the reference agree."""
    values, indices = expected(op, x, window, **options)
    (alone,) = on_each_path(op, x, window, options)
    both = on_each_path(op, x, window, {**options, "return_indices": True})
    for actual in (alone, both[0]):
        assert actual.dtype == x.dtype
        assert_array_equal(plain(actual), plain(values))
    assert both[1].dtype == np.int64
    assert_array_equal(both[1], indices)


@given(
    problem=problems(DTYPES),
    extremum=st.sampled_from(["max", "min"]),
    nan_policy=st.sampled_from(["propagate", "omit"]),
)
@pytest.mark.parametrize("target", lw.config()["simd_available"])
def test_any_options(target, problem, extremum, nan_policy):
    axes, x, window, options = problem
    op = f"{extremum}_pool{axes}d"
    lw.set_simd_target(target)
    if valid(x, window, **options):
        check(op, x, window, nan_policy=nan_policy, **options)
    else:
        with pytest.raises(ValueError, match=rf"^{op}: (a|the) window of"):
            getattr(lw, op)(x, window, nan_policy=nan_policy, **options)


def extremes(dtype):
    if np.dtype(dtype).kind in "iu":
        return np.iinfo(dtype).min, np.iinfo(dtype).max
    return (False, True) if dtype is np.bool_ else (-np.inf, np.inf)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_padding_never_wins(simd, dtype, layout):
    """Not where all pixels are as small, or as large, as their dtype allows; nor do their bits."""
    lowest, highest = extremes(dtype)
    for op, worst in [("max_pool2d", lowest), ("min_pool2d", highest)]:
        for channels in (1, 7, 70):
            shape = (1, 5, 7, channels) if layout == "NHWC" else (1, channels, 5, 7)
            x = np.full(shape, worst, dtype)
            for window, stride, padding in [(3, 1, 1), (3, 2, 1), ((2, 9), 1, (1, 4))]:
                check(op, x, window, stride=stride, padding=padding, layout=layout)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_are_compared_as_what_they_are(simd, rng, dtype):
    """Neighbours at both ends of the range, and around where another type would change sign."""
    info = np.iinfo(dtype)
    middle = info.max // 2 + 1
    some = [info.min, info.min + 1, info.max - 1, info.max, middle - 1, middle, middle + 1, 0, 1]
    x = rng.choice(np.array(some, dtype), (2, 9, 10, 40))
    for layout in ("NHWC", "NCHW"):
        for op in ("max_pool2d", "min_pool2d"):
            for window, stride in [(2, 2), (3, 1), ((4, 1), 3)]:
                check(op, x, window, stride=stride, layout=layout)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_sizes_around_the_vector_width(simd, rng, dtype, layout):
    lanes = 4 * LANES // np.dtype(dtype).itemsize
    for size in {
        1,
        2,
        3,
        5,
        lanes // 2 - 1,
        lanes // 2,
        lanes - 1,
        lanes,
        lanes + 1,
        2 * lanes + 1,
    }:
        shape = (1, 4, 5, size) if layout == "NHWC" else (1, 2, 4, size)
        x = image(rng, shape, np.int64, levels=90).astype(dtype)
        for window, stride in [(1, 1), (2, 2), (3, 1), (3, 2)]:
            check("max_pool2d", x, window, stride=stride, padding="same", layout=layout)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_strides_do_not_matter(simd, rng, dtype, layout):
    x = image(rng, (2, 7, 8, 18), np.int64, levels=6).astype(dtype)
    if np.dtype(dtype).kind == "f" or dtype in NARROW_FLOATS:
        x[rng.random(x.shape) < 0.05] = np.nan
        x[rng.random(x.shape) < 0.2] = -0.0
    for window, stride, padding in [(3, 2, 1), (3, 1, 1), (2, 2, 0)]:
        options = {"stride": stride, "padding": padding, "layout": layout}
        for op in ("max_pool2d", "min_pool2d"):
            pool = getattr(lw, op)
            values = pool(x, window, **options)
            both = pool(x, window, return_indices=True, **options)
            for view in views(x):
                assert_array_equal(bits(pool(view, window, **options)), bits(values))
                again = pool(view, window, return_indices=True, **options)
                assert_array_equal(bits(again[0]), bits(both[0]))
                assert_array_equal(again[1], both[1])
            for out in views(np.zeros_like(values)):
                assert pool(x, window, out=out, **options) is out
                assert_array_equal(bits(out), bits(values))


@pytest.mark.parametrize("dtype", NARROW_FLOATS)
def test_narrow_floats_keep_their_values(simd, rng, dtype):
    """Every one of the 65536, denormals, infinities and NaN: a maximum never rounds."""
    x = rng.permutation(2**16).astype(np.uint16).view(dtype).reshape(64, 64, 16)
    with np.errstate(invalid="ignore"):  # ml_dtypes compares NaN with a warning
        for op in ("max_pool2d", "min_pool2d"):
            for window in ((1, 1), 2):
                check(op, x, window)
                check(op, x, window, nan_policy="omit")


@pytest.mark.parametrize("dtype", DTYPES)
def test_byte_swapped_misaligned_and_read_only(rng, dtype):
    x = image(rng, (4, 6, 5), np.int64, levels=100).astype(dtype)
    values = lw.max_pool2d(x, 2)
    memory = np.zeros(x.nbytes + 1, np.uint8)
    misaligned = memory[1:].view(dtype).reshape(x.shape)
    misaligned[...] = x
    read_only = x.copy()
    read_only.flags.writeable = False
    for same in (misaligned, read_only):
        assert_array_equal(lw.max_pool2d(same, 2), values)
    if dtype not in NARROW_FLOATS or dtype is np.float16:
        assert_array_equal(lw.max_pool2d(x.astype(x.dtype.newbyteorder(">")), 2), values)


TORCH = ["uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]


@pytest.mark.parametrize("dtype", TORCH)
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(
    ("window", "stride", "padding", "dilation"), [(2, 2, 0, 1), (3, 2, 1, 1), (3, 1, 1, 2)]
)
def test_as_torch(rng, dtype, window, stride, padding, dilation, ceil_mode):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    theirs = torch.from_numpy(rng.integers(0, 100, (2, 5, 12, 13))).to(getattr(torch, dtype))
    options = {"stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}
    numpy = theirs.float().numpy() if dtype == "bfloat16" else theirs.numpy()
    ours = numpy.astype(dtype if dtype != "bfloat16" else NARROW_FLOATS[1])
    for axes in (1, 2):
        layout = "NCW" if axes == 1 else "NCHW"
        t, x = (theirs[:, :, 3], ours[:, :, 3]) if axes == 1 else (theirs, ours)
        pool = getattr(functional, f"max_pool{axes}d")
        for op, sign in [("max", 1), ("min", -1)]:
            if sign < 0 and dtype == "uint8":
                continue  # has no negative
            values, indices = pool(sign * t, window, **options, return_indices=True)
            actual = getattr(lw, f"{op}_pool{axes}d")(
                x, window, **options, layout=layout, return_indices=True
            )
            assert_array_equal(
                actual[0].astype(np.float64), (sign * values).to(torch.float64).numpy()
            )
            assert_array_equal(actual[1], indices.numpy())


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint64, np.float64])
@pytest.mark.parametrize("size", [1, 3, 5, 9])
def test_as_scipy(rng, dtype, size):
    ndimage = pytest.importorskip("scipy.ndimage")
    x = rng.integers(0, 200, (20, 23)).astype(dtype)
    for op, peer in [
        (lw.max_pool2d, ndimage.maximum_filter),
        (lw.min_pool2d, ndimage.minimum_filter),
    ]:
        # Edge pixels again add nothing to a window that holds them.
        filtered = peer(x, size, mode="nearest")
        actual = op(x[None], size, stride=1, padding="same", layout="NCHW")
        assert_array_equal(actual[0], filtered)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8, np.int64])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize(
    ("window", "options"),
    [
        (12, {}),
        (13, {"padding": "same"}),
        (31, {"padding": 15}),
        ((33, 2), {"padding": (16, 0), "stride": (2, 1)}),
        ((3, 40), {"padding": (1, 20), "stride": (3, 1)}),
        ((17, 20), {"dilation": 2, "padding": "same", "ceil_mode": True}),
    ],
)
def test_long_windows(simd, rng, dtype, layout, window, options):
    """They are made of shorter ones: values and places are those of all their elements."""
    shape = (41, 45, 19) if layout == "NHWC" else (19, 41, 45)
    for levels, op, policy in [(100, "max_pool2d", "propagate"), (3, "min_pool2d", "omit")]:
        x = image(rng, shape, np.int64, levels).astype(dtype)
        if np.dtype(dtype).kind == "f":
            x[rng.random(shape) < 0.001] = np.nan
            x[rng.random(shape) < 0.3] = -np.inf
        elif dtype is np.int64:
            x[rng.random(shape) < 0.3] = np.iinfo(dtype).min
        check(op, x, window, layout=layout, nan_policy=policy, **options)
        given = {"layout": layout, "nan_policy": policy, **options}
        values = getattr(lw, op)(x, window, **given)
        numbered, _ = getattr(lw, op)(x, window, return_indices=True, **given)
        for view in list(views(x))[::2]:
            assert_array_equal(bits(getattr(lw, op)(view, window, **given)), bits(values))
            again, _ = getattr(lw, op)(view, window, return_indices=True, **given)
            assert_array_equal(bits(again), bits(numbered))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int8])
def test_tall_windows_of_many_channels(simd, rng, dtype):
    """All rows of a window that a single pass takes are copied, where they are copied."""
    for channels in (LANES, 2 * LANES + 1):
        for window in [(17, 1), (20, 3), (48, 1), (64, 1)]:
            x = image(rng, (129, 7, channels), np.int64, 100).astype(dtype)
            for policy in ("propagate", "omit"):
                check("max_pool2d", x, window, nan_policy=policy, ceil_mode=True)
                check("min_pool2d", x[::-1], window, dilation=(2, 1), nan_policy=policy)


def test_a_window_of_a_hundred(rng):
    x = image(rng, (110, 110, 3), np.int64, 1000).astype(np.float32)
    for layout in ("NHWC", "NCHW"):
        given = x if layout == "NHWC" else x.transpose(2, 0, 1).copy()
        check("max_pool2d", given, 101, stride=(20, 1), padding=50, layout=layout)


# ------------------------------------------------------------------------- one dimension and global


@pytest.mark.parametrize("op", ["max_pool1d", "min_pool1d"])
def test_one_dimension(rng, op):
    x = image(rng, (3, 50, 4))
    check(op, x, 3)
    check(op, x[0], [3], stride=[2], padding=[(1, 0)], dilation=[2])
    check(op, x, 5, stride=1, padding="same_lower", layout="NWC")
    check(op, x.transpose(0, 2, 1), 4, padding=[2], layout="NCW", ceil_mode=True)
    values, indices = getattr(lw, op)(x, 4, return_indices=True)
    assert_array_equal(np.take_along_axis(x, indices, 1), values)


X1 = np.zeros((2, 6, 3), np.float32)
BAD1 = [
    (X1[0, 0], {}, r"x has shape \(3,\), expected 3 axes, or 2 without the batch"),
    (X1[None], {}, r"x has shape \(1, 2, 6, 3\), expected 3 axes, or 2"),
    (X1, {"window": 0}, "window is 0 along the width"),
    (X1, {"window": (2, 2)}, r"window is \(2, 2\), expected an int"),
    (X1, {"stride": (1, 1)}, r"stride is \(1, 1\), expected an int"),
    (X1, {"dilation": 0}, "dilation is 0 along the width"),
    (X1, {"window": 7}, "window of 7 .* larger than the padded width 6"),
    (X1, {"padding": (1, 2)}, r"padding is \(1, 2\)"),
    (X1, {"padding": "full"}, "padding is 'full'"),
    (X1, {"padding": 2}, r"output 4 along the width holds no pixel of x \(shape \(2, 6, 3\)\)"),
    (X1, {"layout": "NHWC"}, "layout is 'NHWC', expected 'NWC' or 'NCW'"),
    (X1, {"out": np.full((2, 3, 2), 7, np.float32)}, r"shape \(2, 3, 2\), expected \(2, 3, 3\)"),
]


@pytest.mark.parametrize("op", ["max_pool1d", "min_pool1d", "avg_pool1d"])
@pytest.mark.parametrize(("x", "options", "message"), BAD1)
def test_errors_of_one_dimension_show_what_the_user_passed(op, x, options, message):
    out = options.get("out", np.full((2, 3, 3), 7, np.float32))
    with pytest.raises(ValueError, match=f"^{op}: .*{message}"):
        getattr(lw, op)(x, **{"window": 2, **options, "out": out})
    assert (out == 7).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_global_max(simd, rng, dtype):
    x = image(rng, (2, 9, 10, 20), np.int64, levels=100).astype(dtype)
    assert_array_equal(lw.global_max_pool2d(x), x.max((1, 2), keepdims=True))
    assert_array_equal(lw.global_max_pool2d(x, layout="NCHW"), x.max((2, 3), keepdims=True))
    assert_array_equal(lw.global_max_pool2d(x[0]), x[0].max((0, 1), keepdims=True))
    out = np.empty((2, 1, 1, 20), dtype)
    assert lw.global_max_pool2d(x, out=out) is out
    assert lw.global_max_pool2d(x[:0]).shape == (0, 1, 1, 20)


def test_global_max_of_nan(rng):
    x = image(rng, (1, 5, 6, 3))
    x[0, 2, 3, 1] = np.nan
    assert_array_equal(np.isnan(lw.global_max_pool2d(x))[0, 0, 0], [False, True, False])


@pytest.mark.parametrize("op", ["global_max_pool2d", "global_avg_pool2d"])
@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (np.zeros((5, 6)), {}, r"x has shape \(5, 6\), expected 4 axes, or 3 without the batch"),
        (np.zeros((1, 0, 6, 3)), {}, r"x has shape \(1, 0, 6, 3\), whose images hold no pixel"),
        (np.zeros((2, 3, 4, 0)), {"layout": "NCHW"}, "hold no pixel"),
        (np.zeros((2, 3, 4, 5)), {"layout": "NWC"}, "layout is 'NWC', expected 'NHWC' or 'NCHW'"),
        (np.zeros((2, 3, 4, 5)), {"out": np.zeros((2, 1, 5))}, r"expected \(2, 1, 1, 5\)"),
    ],
)
def test_bad_arguments_of_global_poolings(op, x, options, message):
    with pytest.raises(ValueError, match=f"^{op}: .*{message}"):
        getattr(lw, op)(x, **options)


@pytest.mark.parametrize("dtype", [complex, object, "U1", "M8[s]", np.longdouble])
@pytest.mark.parametrize("axes", [1, 2])
def test_other_dtypes_are_refused(axes, dtype):
    x = np.zeros((1, 4, 4, 2)[: axes + 2], dtype)
    for extremum in ("max", "min", "avg"):
        op = f"{extremum}_pool{axes}d"
        with pytest.raises(TypeError, match=f"^{op}: x has dtype"):
            getattr(lw, op)(x, 2)


def test_the_dtype_of_out_is_the_one_of_the_result():
    x = np.zeros((4, 4, 2), np.uint8)
    with pytest.raises(TypeError, match=r"^max_pool2d: out has dtype .*float32"):
        lw.max_pool2d(x, 2, out=np.zeros((2, 2, 2), np.float32))
    with pytest.raises(TypeError, match=r"^avg_pool2d: out has dtype .*uint8.*expected .*float64"):
        lw.avg_pool2d(x, 2, out=np.zeros((2, 2, 2), np.uint8))
