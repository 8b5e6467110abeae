"""max_pool2d and min_pool2d: exact values and places, whatever the layout, strides and threads."""

import lanewise as lw
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from pooling import FLOATS, LANES, bits, expected, image, pair, valid, views


def check(x, window, *, smallest=False, **options):
    """Values alone, values and indices, and the reference agree."""
    op = "min_pool2d" if smallest else "max_pool2d"
    values, indices = expected(op, x, window, **options)
    actual = getattr(lw, op)(x, window, return_indices=True, **options)
    assert isinstance(actual, tuple)
    assert actual[0].dtype == values.dtype.newbyteorder("=")
    assert actual[1].dtype == np.int64
    assert_array_equal(actual[0], values)
    assert_array_equal(actual[1], indices)
    assert_array_equal(getattr(lw, op)(x, window, **options), values)


# ---------------------------------------------------------------------------- against the reference


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("size", range(1, 2 * LANES + 2))
def test_sizes_around_the_vector_width(simd, rng, dtype, layout, size):
    shape = (1, 5, 4, size) if layout == "NHWC" else (1, 2, 5, size)
    for window, stride in [(1, 1), (2, 2), (3, 1), (3, 2), (3, 3), ((2, 1), (1, 3))]:
        for padding in ["valid", "same"]:
            if padding == "same" or size >= pair(window)[1] or layout == "NHWC":
                x = image(rng, shape, dtype, levels=4)
                check(x, window, stride=stride, padding=padding, layout=layout)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("window", [7, 13, (1, 20), (20, 1), (23, 23)])
def test_windows_larger_than_vectors(simd, rng, window, layout):
    x = image(rng, (1, 23, 24, 5) if layout == "NHWC" else (1, 5, 23, 24), levels=1000)
    for stride in [1, 2, 5, None]:
        check(x, window, stride=stride, layout=layout)
    if window != (23, 23):
        check(x, window, stride=1, padding="same", layout=layout)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "int64"])
@pytest.mark.parametrize("channels", [1, 5, 20, 40])
def test_long_windows_slide_over_images_of_any_width(simd, rng, dtype, layout, channels):
    for height, width, window, options in [
        (70, 3, (50, 1), {"stride": (1, 1), "padding": (25, 0)}),
        (90, 45, (41, 33), {"stride": (3, 1), "padding": (20, 16)}),
        (150, 37, (61, 37), {"stride": (2, 1), "padding": (30, 18)}),
    ]:
        x = rng.integers(0, 200, (height, width, channels)).astype(dtype)
        want = reference_of_long_windows(x, window, **options)
        x = x if layout == "NHWC" else np.ascontiguousarray(np.moveaxis(x, -1, 0))
        result = lw.max_pool2d(x, window, layout=layout, **options)
        result = result if layout == "NHWC" else np.moveaxis(result, 0, -1)
        assert np.array_equal(result, want)


def reference_of_long_windows(x, window, stride, padding):
    for axis in (0, 1):
        n = (x.shape[axis] + 2 * padding[axis] - window[axis]) // stride[axis] + 1
        starts = np.arange(n) * stride[axis] - padding[axis]
        x = np.stack(
            [
                x.take(range(max(s, 0), min(s + window[axis], x.shape[axis])), axis).max(axis)
                for s in starts
            ],
            axis,
        )
    return x


def test_a_tile_cut_by_columns_and_channels(rng):
    """Scratch is bounded, so long rows and deep pixels are taken in pieces."""
    x = image(rng, (1, 3, 70000), np.float64, levels=1000)[..., None]
    windows = np.lib.stride_tricks.sliding_window_view(x[0, ..., 0], (2, 9))
    assert_array_equal(lw.max_pool2d(x, (2, 9), stride=1)[0, ..., 0], windows.max((-2, -1)))
    x = image(rng, (1, 4, 5, 20000), levels=1000)
    for a in (x, x[:, ::-1, ::-1, ::-1]):
        windows = np.lib.stride_tricks.sliding_window_view(a, (3, 4), axis=(1, 2))
        values, indices = lw.max_pool2d(a, (3, 4), stride=1, return_indices=True)
        assert_array_equal(values, windows.max((-2, -1)))
        found = np.take_along_axis(a.reshape(1, 20, -1), indices.reshape(1, 4, -1), 1)
        assert_array_equal(found.reshape(values.shape), values)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("width", [1, 2, 3])
def test_images_narrower_than_window_and_stride(simd, rng, width, layout):
    shape = (2, 40, width, 3) if layout == "NHWC" else (2, 3, 40, width)
    for window, padding in [((1, 3), (2, 2)), ((2, 4), (3, 3)), ((3, 7), (5, 6)), ((2, 9), (8, 0))]:
        for stride in [1, 2, 3, 4]:
            options = {"stride": (1, stride), "padding": (0, padding), "layout": layout}
            x = image(rng, shape, levels=9)
            if valid(x, window, **options):
                check(x, window, **options)


def test_a_window_over_the_whole_image(rng):
    for layout, axes in [("NHWC", (1, 2)), ("NCHW", (2, 3))]:
        x = image(rng, (2, 40, 50, 30))
        window = tuple(x.shape[axis] for axis in axes)
        values = lw.max_pool2d(x, window, layout=layout)
        assert_array_equal(values, x.max(axes, keepdims=True))


def test_huge_options_around_a_small_image(rng):
    x = image(rng, (1, 4, 3, 20))
    far = 10**9
    for layout, axes in [("NHWC", (1, 2)), ("NCHW", (2, 3))]:
        options = {"padding": far - 1, "stride": far + 1, "layout": layout}
        values, indices = lw.max_pool2d(x, far, return_indices=True, **options)
        corner = tuple(slice(1) if axis in axes else slice(None) for axis in range(4))
        inner = tuple(slice(2, None) if axis in axes else slice(None) for axis in range(4))
        assert_array_equal(values[corner], x[corner])
        assert_array_equal(
            values[..., -1:, -1:] if layout == "NCHW" else values[:, -1:, -1:],
            x[inner].max(axes, keepdims=True),
        )
        assert indices.max() < 60


# ---------------------------------------------------------------------------------- peculiar values


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("smallest", [False, True])
def test_nan_wins_and_the_first_one_is_reported(simd, rng, dtype, layout, smallest):
    x = image(rng, (2, 6, 7, 9), dtype, levels=5)
    x[rng.random(x.shape) < 0.3] = np.nan
    x[rng.random(x.shape) < 0.1] = -np.nan
    x[rng.random(x.shape) < 0.1] = np.inf
    for window, stride, padding in [(3, 1, 1), (3, 2, 1), (2, 2, 0), ((3, 1), 1, 0)]:
        check(x, window, stride=stride, padding=padding, layout=layout, smallest=smallest)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("often", [0.3, 0.95])
def test_nan_omitted(simd, rng, dtype, layout, often):
    x = image(rng, (2, 6, 7, 20), dtype, levels=5)
    x[rng.random(x.shape) < 0.2] = -np.inf
    x[rng.random(x.shape) < 0.2] = np.inf
    x[rng.random(x.shape) < often] = np.nan
    x[0, 1:5, 2:6] = np.nan  # windows of nothing else
    for smallest in (False, True):
        for window, stride, padding in [(3, 1, 1), (3, 2, 1), (2, 2, 0), ((3, 1), 1, 0), (6, 1, 0)]:
            options = {"stride": stride, "padding": padding, "layout": layout}
            check(x, window, smallest=smallest, nan_policy="omit", **options)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("channels", [1, 5, 24])
@pytest.mark.parametrize("nan_policy", ["propagate", "omit"])
def test_padding_never_wins(simd, channels, layout, nan_policy):
    for smallest, worst in [(False, -np.inf), (True, np.inf), (False, np.nan), (True, np.nan)]:
        x = np.full((1, 6, 7, channels), worst, np.float32)
        x = x if layout == "NHWC" else x.transpose(0, 3, 1, 2).copy()
        options = {"smallest": smallest, "nan_policy": nan_policy, "layout": layout}
        for stride in (1, 2):
            check(x, 3, stride=stride, padding=1, **options)
            check(x, (2, 5), stride=stride, padding="same", **options)
            check(x, 3, stride=stride, padding=2, dilation=2, **options)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("value", [0.0, 7.0, np.inf, np.nan])
def test_ties_go_to_the_first_in_row_major_order(simd, value, layout):
    x = np.full((1, 9, 9, 17), value)
    for stride in (1, 2):
        check(x, 4, stride=stride, padding=2, layout=layout)


def test_zeros_of_both_signs_are_ties(simd, rng):
    x = np.where(rng.random((1, 8, 8, 20)) < 0.5, np.float32(0.0), np.float32(-0.0))
    for layout in ("NHWC", "NCHW"):
        check(x, 3, stride=1, layout=layout)


def test_denormals_and_extremes_are_kept(simd):
    info = np.finfo(np.float32)
    x = np.array([info.smallest_subnormal, 0, -info.max, info.min], np.float32).reshape(1, 4, 1)
    check(x, (1, 2), stride=1)


# ------------------------------------------------------------------------------------ the same bits


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_threads_do_not_matter(simd, rng, layout):
    x = image(rng, (3, 40, 44, 40), levels=50)
    x[rng.random(x.shape) < 0.01] = np.nan
    for window, stride in [(3, 2), (3, 1), (2, 2), (9, 1)]:
        results = []
        for threads in (1, 2, 3):
            lw.set_num_threads(threads)
            results.append(
                lw.max_pool2d(x, window, stride=stride, layout=layout, return_indices=True)
            )
        for values, indices in results[1:]:
            assert_array_equal(bits(values), bits(results[0][0]))
            assert_array_equal(indices, results[0][1])


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_images_do_not_matter_to_each_other(rng, layout):
    x = image(rng, (5, 12, 13, 20), levels=9)
    values, indices = lw.max_pool2d(x, 3, stride=2, layout=layout, return_indices=True)
    for n in range(len(x)):
        alone = lw.max_pool2d(x[n], 3, stride=2, layout=layout, return_indices=True)
        assert_array_equal(bits(values[n]), bits(alone[0]))
        assert_array_equal(indices[n], alone[1])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_strides_do_not_matter(simd, rng, dtype, layout):
    x = image(rng, (2, 11, 12, 18), dtype, levels=6)
    x[rng.random(x.shape) < 0.05] = np.nan
    x[rng.random(x.shape) < 0.2] = -0.0
    for window, stride, padding in [(3, 2, 1), (3, 1, 1), (2, 2, 0), (6, 1, 0)]:
        options = {"stride": stride, "padding": padding, "layout": layout}
        values = lw.max_pool2d(x, window, **options)
        both = lw.max_pool2d(x, window, return_indices=True, **options)
        for view in views(x):
            assert_array_equal(bits(lw.max_pool2d(view, window, **options)), bits(values))
            again = lw.max_pool2d(view, window, return_indices=True, **options)
            assert_array_equal(bits(again[0]), bits(both[0]))
            assert_array_equal(again[1], both[1])
        for out in views(np.zeros_like(values)):
            assert lw.max_pool2d(x, window, out=out, **options) is out
            assert_array_equal(bits(out), bits(values))


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_broadcast_inputs(rng, layout):
    full = image(rng, (2, 6, 7, 20), levels=30)
    for axis in range(4):
        x = np.broadcast_to(full.take([0], axis), full.shape)
        check(x, 3, stride=2, layout=layout)
    check(np.broadcast_to(np.float32(3), (1, 4, 5, 6)), 2, layout=layout)


# ---------------------------------------------------------------------------------- other arguments


def test_misaligned_and_byte_swapped_and_read_only(rng):
    x = image(rng, (1, 6, 6, 5))
    values = lw.max_pool2d(x, 2)
    memory = np.zeros(x.nbytes + 1, np.uint8)
    misaligned = memory[1:].view(np.float32).reshape(x.shape)
    misaligned[...] = x
    read_only = x.copy()
    read_only.flags.writeable = False
    for same in (misaligned, x.astype(">f4"), read_only, x.tolist()):
        assert_array_equal(lw.max_pool2d(same, 2), values)


def test_inputs_that_begin_anywhere(simd, rng):
    memory = image(rng, (8 * 6 * 7 * 9,))
    for offset in range(17):
        check(memory[offset : offset + 6 * 7 * 9].reshape(6, 7, 9), 3, stride=1, padding=1)


@pytest.mark.parametrize(
    ("shape", "result"),
    [
        ((0, 4, 4, 3), (0, 2, 2, 3)),
        ((2, 4, 4, 0), (2, 2, 2, 0)),
        ((4, 4, 0), (2, 2, 0)),
    ],
)
def test_empty(shape, result):
    values, indices = lw.max_pool2d(np.zeros(shape, np.float32), 2, return_indices=True)
    assert values.shape == indices.shape == result
    assert lw.max_pool2d(np.zeros((1, 0, 4, 3)), 2, padding="same").shape == (1, 0, 2, 3)


def test_out_is_for_values_and_is_returned(rng):
    x = image(rng, (1, 8, 8, 3))
    out = np.empty((1, 4, 4, 3), np.float32)
    assert lw.max_pool2d(x, 2, out=out) is out
    values, indices = lw.max_pool2d(x, 2, out=out, return_indices=True)
    assert values is out
    assert_array_equal(indices, expected("max_pool2d", x, 2)[1])


def test_defaults_and_spellings(rng):
    x = image(rng, (1, 9, 8, 3))
    values = lw.max_pool2d(x, (3, 2))
    for same in [
        lw.max_pool2d(x, [3, 2], stride=(3, 2)),
        lw.max_pool2d(x, tuple(np.array([3, 2])), padding=0, dilation=(1, 1)),
        lw.max_pool2d(x, window=(np.int64(3), 2), padding=((0, 0), (0, 0))),
        lw.max_pool2d(x, (3, 2), padding=(0, 0), nan_policy="propagate", layout="NHWC"),
    ]:
        assert_array_equal(same, values)


class Unprintable:
    def __repr__(self):
        return "\ud800"


X = np.zeros((1, 5, 6, 3), np.float32)
BAD = [
    (X[0, 0], {}, ValueError, r"x has shape \(6, 3\), expected 4 axes"),
    (X[None], {}, ValueError, r"x has shape \(1, 1, 5, 6, 3\), expected 4 axes"),
    (X, {"window": 0}, ValueError, "window is 0 along the height"),
    (X, {"window": (2, -1)}, ValueError, "window is -1 along the width"),
    (X, {"window": (2, 2, 2)}, ValueError, r"window is \(2, 2, 2\), expected an int"),
    (X, {"window": 2.5}, ValueError, "window is 2.5, expected an int"),
    (X, {"window": "2"}, ValueError, "window is '2', expected an int"),
    (X, {"stride": 0}, ValueError, "stride is 0 along the height"),
    (X, {"dilation": (1, 0)}, ValueError, "dilation is 0 along the width"),
    (X, {"window": 6}, ValueError, "window of 6 .* larger than the padded height 5"),
    (X, {"dilation": 6}, ValueError, "window of 2 with dilation 6"),
    (X, {"stride": Unprintable()}, ValueError, r"stride is \\ud800, expected an int"),
    (X, {"padding": -1}, ValueError, "padding is -1"),
    (X, {"padding": "wide"}, ValueError, "padding is 'wide'"),
    (X, {"padding": "full"}, ValueError, "padding is 'full'"),
    (X, {"padding": (1, 2, 3)}, ValueError, r"padding is \(1, 2, 3\)"),
    (X, {"padding": 2}, ValueError, r"output 0 along the height holds no pixel .*\(1, 5, 6, 3\)"),
    (X, {"padding": (0, (0, 3))}, ValueError, "output 3 along the width holds no pixel"),
    (X[:, :1], {"padding": 1, "dilation": (2, 1)}, ValueError, "output 0 along the height holds"),
    (X[:, :0], {"padding": 2}, ValueError, r"holds no pixel of x \(shape \(1, 0, 6, 3\)\)"),
    (X, {"layout": "NWHC"}, ValueError, "layout is 'NWHC'"),
    (X, {"nan_policy": "raise"}, ValueError, "nan_policy is 'raise'"),
    (X.astype(np.int32), {}, TypeError, "out has dtype .*float32.*, expected .*int32"),
    (X.astype(complex), {}, TypeError, "x has dtype complex128"),
    (X.astype(object), {}, TypeError, "x has dtype object"),
    (X.astype(str), {}, TypeError, "x has dtype <U"),
    (X.astype("M8[s]"), {}, TypeError, "x has dtype datetime64"),
]


@pytest.mark.parametrize(("x", "options", "error", "message"), BAD)
def test_bad_arguments_are_named_and_out_is_untouched(x, options, error, message):
    out = np.full((1, 2, 3, 3), 7, np.float32)
    with pytest.raises(error, match=f"^max_pool2d: .*{message}"):
        lw.max_pool2d(x, **{"window": 2, "out": out, **options})
    assert (out == 7).all()


def read_only(a):
    a.flags.writeable = False
    return a


@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        (np.zeros((1, 2, 3, 2), np.float32), ValueError, r"shape \(1, 2, 3, 2\), expected \(1, 2"),
        (np.zeros((1, 2, 3, 3)), TypeError, "out has dtype"),
        (np.zeros((1, 2, 3, 3), ">f4"), TypeError, "out has dtype"),
        (read_only(np.zeros((1, 2, 3, 3), np.float32)), ValueError, "read-only"),
        (X[:, :2, :3], ValueError, "out overlaps x"),
        ([[0.0]], TypeError, "out is a list"),
    ],
)
def test_bad_out(out, error, message):
    with pytest.raises(error, match=f"^max_pool2d: .*{message}"):
        lw.max_pool2d(X, 2, out=out)


@pytest.mark.parametrize("dtype", ["float32", "uint32", "int8"])
def test_indices_of_a_window_too_wide_for_their_type(dtype):
    x = np.broadcast_to(np.zeros((), dtype), (2, 2**31, 1))
    with pytest.raises(ValueError, match=f"^max_pool2d: indices of {dtype} need a window"):
        lw.max_pool2d(x, (2, 2), stride=(1, 2**30), return_indices=True)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("nan_policy", ["propagate", "omit"])
def test_windows_taller_than_what_is_taken_at_once(rng, layout, nan_policy):
    """Rows come in chunks: of 1024, or of 16 where they are copied for one output each."""
    x = image(rng, (1, 2100, 3, 20), levels=50) + np.float32(7)
    x[:, ::7, 1] = np.nan
    x = x if layout == "NHWC" else x.transpose(0, 3, 1, 2).copy()
    height = 1 if layout == "NHWC" else 2
    for window in (65, 129, 1024, 1025, 2049, 2100):
        # The last winner of each window, in its last chunk; and one in the first.
        x[(slice(None),) * height + (slice(window - 1, None, window),)] = 99
        for same in (x, x.astype(np.float16), x[..., ::-1].copy()[..., ::-1]):
            options = {"layout": layout, "nan_policy": nan_policy}
            check(same, (window, 3), **options)
            check(same, (window, 2), smallest=True, **options)
    check(x, (1025, 3), stride=(400, 1), layout=layout, nan_policy=nan_policy)


# -------------------------------------------------------------------------------------------- peers


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(
    ("window", "stride", "padding", "dilation"),
    [
        (2, 2, 0, 1),
        (3, 2, 1, 1),
        (3, 1, 1, 1),
        ((3, 2), (2, 3), (1, 0), 1),
        (3, 2, 1, 2),
        ((2, 4), 1, (1, 2), (3, 2)),
        (7, 3, 3, 1),
    ],
)
def test_as_torch(rng, window, stride, padding, dilation, ceil_mode, layout):
    torch = pytest.importorskip("torch")
    x = image(rng, (2, 17, 15, 14), levels=40)
    x[rng.random(x.shape) < 0.01] = -np.inf
    values, indices = torch.nn.functional.max_pool2d(
        torch.from_numpy(x), window, stride, padding, dilation, ceil_mode, return_indices=True
    )
    values, indices = values.numpy(), indices.numpy()
    if layout == "NHWC":
        x = x.transpose(0, 2, 3, 1).copy()
        values, indices = values.transpose(0, 2, 3, 1), indices.transpose(0, 2, 3, 1)
    actual = lw.max_pool2d(
        x,
        window,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        layout=layout,
        return_indices=True,
    )
    assert_array_equal(actual[0], values)
    assert_array_equal(actual[1], indices)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("size", [1, 3, 5, 9, 15])
def test_as_scipy(rng, dtype, size):
    ndimage = pytest.importorskip("scipy.ndimage")
    x = image(rng, (30, 33), dtype)
    filtered = ndimage.maximum_filter(x, size, mode="constant", cval=-np.inf)
    assert_array_equal(
        lw.max_pool2d(x[..., None], size, stride=1, padding="same")[..., 0], filtered
    )
    assert_array_equal(
        lw.max_pool2d(x[None], size, stride=1, padding="same", layout="NCHW")[0], filtered
    )
