"""max_pool2d_backward and avg_pool2d_backward: by definition, as adjoints, the same bits always.

Maxima: a pixel's sum is that of NumPy's add.at, term by term in row-major order, so float32,
float64 and integers agree bit by bit; narrow floats are summed in float32 and round once.

Averages: a quotient rounds once, and so may its divisor. Along an axis of at most m windows over a
pixel, a term goes through at most log2(m) additions within its power of two, and one per power of
two after that: 2·⌈log2(m + 1)⌉ in all. The reference, in float64, adds m·m' terms one by one.
"""

import functools

import lanewise as lw
import ml_dtypes
import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from pooling import (
    DTYPES,
    FLOATS,
    INTEGERS,
    NARROW_FLOATS,
    as_given,
    bits,
    channels_last,
    problems,
    resolved,
    unaligned,
    valid,
    views,
)
from tolerance import assert_within, gamma, tiny, u

LAYOUTS = ["NHWC", "NCHW"]


def gradients(rng, shape, dtype=np.float32):
    """Values of both signs, or the whole range of an integer type."""
    dtype = np.dtype(dtype)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    return rng.standard_normal(shape).astype(dtype)


def plane_of(shape, layout):
    return shape[-3:-1] if layout == "NHWC" else shape[-2:]


def computed(dtype):
    """What sums of floating-point numbers of this type are computed in."""
    return np.float64 if dtype == np.float64 else np.float32


def in_one_thread_and_three(function):
    results = []
    for threads in (1, 3):
        lw.set_num_threads(threads)
        results.append(function())
    assert_array_equal(bits(results[0]), bits(results[1]))
    return results[0]


def other_layout(x, layout):
    """x in the other layout, contiguous."""
    axes = (0, 3, 1, 2) if layout == "NHWC" else (0, 2, 3, 1)
    axes = axes if x.ndim == 4 else [axis - 1 for axis in axes[1:]]
    return np.ascontiguousarray(x.transpose(axes))


def both_layouts(layout):
    return layout, LAYOUTS[1 - LAYOUTS.index(layout)]


# ------------------------------------------------------------------------------------------ maxima


def exact_max(dy, indices, shape, layout):
    """The reference: in dy's own type, or for narrow floats in float32, rounded."""
    wide = dy.astype(np.float32) if dy.dtype.name in ("float16", "bfloat16") else dy
    images = [channels_last(a, 2, layout) for a in (wide, indices)]
    dx = reference.max_pool2d_backward(*images, *plane_of(shape, layout))
    return as_given(dx, dy, 2, layout).astype(dy.dtype)


def check_max(dy, indices, shape, layout="NHWC"):
    def call():
        return lw.max_pool2d_backward(dy, indices, shape, layout=layout)

    dx = in_one_thread_and_three(call)
    assert dx.shape == tuple(shape)
    assert dx.dtype == dy.dtype
    assert_array_equal(bits(dx), bits(np.ascontiguousarray(exact_max(dy, indices, shape, layout))))
    return dx


@given(problem=problems([np.float32, np.int8]), dtype=st.sampled_from(DTYPES), least=st.booleans())
@pytest.mark.parametrize("target", lw.config()["simd_available"])
def test_indices_of_any_pooling(target, problem, dtype, least):
    axes, x, window, options = problem
    if axes == 1 or not valid(x, window, **options):
        return
    lw.set_simd_target(target)
    pool = lw.min_pool2d if least else lw.max_pool2d
    y, indices = pool(x, window, return_indices=True, **options)
    dy = gradients(np.random.default_rng(y.size), y.shape, dtype)
    layout = options["layout"]
    dx = check_max(dy, indices, x.shape, layout)
    _, other = both_layouts(layout)
    swapped = [other_layout(a, layout) for a in (dy, indices, dx)]
    again = lw.max_pool2d_backward(*swapped[:2], swapped[2].shape, layout=other)
    assert_array_equal(bits(again), bits(swapped[2]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_indices_and_types(simd, rng, dtype, layout):
    """No window needs to be where its index is: any place of the plane will do."""
    for channels in (1, 3, 17, 40):
        shape, small = [
            (2, h, w, channels) if layout == "NHWC" else (2, channels, h, w)
            for h, w in ((11, 13), (7, 9))
        ]
        dy = gradients(rng, small, dtype)
        check_max(dy, rng.integers(0, 11 * 13, small), shape, layout)
        check_max(dy, np.full(small, 5), shape, layout)
        check_max(dy[0], rng.integers(0, 11 * 13, small[1:]), shape[1:], layout)


@pytest.mark.parametrize("index_dtype", INTEGERS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_integers_of_any_type_are_indices(simd, rng, index_dtype, layout):
    indices = rng.integers(0, 120, (2, 5, 6, 20)).astype(index_dtype)
    shape = (2, 10, 12, 20) if layout == "NHWC" else (2, 5, 10, 12)
    indices = indices if layout == "NHWC" else indices[..., :9]
    check_max(gradients(rng, indices.shape), indices, shape, layout)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.uint8, np.uint64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_do_not_matter_to_maxima(simd, rng, dtype, layout):
    shape = (2, 21, 19, 18) if layout == "NHWC" else (2, 18, 21, 19)
    small = (2, 10, 9, 18) if layout == "NHWC" else (2, 18, 10, 9)
    dy, indices = gradients(rng, small, dtype), rng.integers(0, 21 * 19, small)
    dx = check_max(dy, indices, shape, layout)
    for view in views(dy):
        assert_array_equal(
            bits(lw.max_pool2d_backward(view, indices, shape, layout=layout)), bits(dx)
        )
    for view in views(indices):
        assert_array_equal(bits(lw.max_pool2d_backward(dy, view, shape, layout=layout)), bits(dx))
    for out in views(np.ones_like(dx)):
        assert lw.max_pool2d_backward(dy, indices, shape, layout=layout, out=out) is out
        assert_array_equal(bits(out), bits(dx))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_broadcast_and_odd_memory(rng, layout):
    shape, small = (2, 8, 8, 8), (2, 4, 4, 8) if layout == "NHWC" else (2, 8, 4, 4)
    indices = rng.integers(0, 64, small)
    dy = np.broadcast_to(np.float32(0.5), small)
    dx = check_max(dy, indices, shape, layout)
    indices.flags.writeable = False
    for other in (dy.astype(">f4"), unaligned(dy)):
        assert_array_equal(lw.max_pool2d_backward(other, indices, shape, layout=layout), dx)
    for other in (indices.astype(">i8"), unaligned(indices)):
        assert_array_equal(lw.max_pool2d_backward(dy, other, shape, layout=layout), dx)
    same = np.broadcast_to(np.int64(7), small)
    assert lw.max_pool2d_backward(dy, same, shape, layout=layout).sum() == dy.sum()


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_planes_that_do_not_fit_scratch_or_one_thread(simd, rng, dtype, layout):
    """One large image: threads share its planes, narrow types are summed in bands of it."""
    x = rng.standard_normal((700, 500, 3) if layout == "NHWC" else (3, 700, 500), np.float32)
    y, indices = lw.max_pool2d(x, 3, stride=2, padding=1, layout=layout, return_indices=True)
    dy = gradients(rng, y.shape, dtype)
    dx = check_max(dy, indices, x.shape, layout)
    again = lw.max_pool2d_backward(
        other_layout(dy, layout),
        other_layout(indices, layout),
        other_layout(x, layout).shape,
        layout=both_layouts(layout)[1],
    )
    assert_array_equal(bits(again), bits(other_layout(dx, layout)))
    indices = rng.integers(0, 700 * 500, dy.shape)  # each band meets each group
    check_max(dy, indices, x.shape, layout)
    wide = np.ones((*x.shape[:2], 2 * x.shape[2]), dtype)[..., ::2]
    lw.max_pool2d_backward(dy, indices, x.shape, layout=layout, out=wide)
    assert_array_equal(wide, lw.max_pool2d_backward(dy, indices, x.shape, layout=layout))


def test_large_images_are_cleared_as_they_are_needed(rng):
    for order in (1, -1):
        x = rng.standard_normal((4, 150, 160, 24), np.float32)
        y, indices = lw.max_pool2d(x, 2, stride=3, return_indices=True)
        indices = np.ascontiguousarray(indices[:, ::order])
        check_max(gradients(rng, y.shape), indices, x.shape)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_images_and_channels_do_not_matter_to_each_other(rng, layout):
    x = rng.standard_normal((5, 20, 18, 16), np.float32)
    y, indices = lw.max_pool2d(x, 3, stride=1, layout=layout, return_indices=True)
    dy = gradients(rng, y.shape)
    dx = lw.max_pool2d_backward(dy, indices, x.shape, layout=layout)
    for n in range(len(x)):
        alone = lw.max_pool2d_backward(dy[n], indices[n], x.shape[1:], layout=layout)
        assert_array_equal(bits(alone), bits(dx[n]))


def test_sums_begin_with_plus_zero(simd):
    dy, indices = np.full((2, 2, 5), -0.0, np.float32), np.zeros((2, 2, 5), np.int64)
    assert_array_equal(bits(lw.max_pool2d_backward(dy, indices, (4, 4, 5))), 0)


def test_narrow_floats_round_once(simd):
    """2048 + 1 + 1 is not 2048, as it is where every sum rounds to float16."""
    dy = np.ones((1, 3, 4), np.float16)
    dy[:, 0] = 2048
    dx = lw.max_pool2d_backward(dy, np.zeros((1, 3, 4), int), (2, 2, 4))
    assert_array_equal(dx[0, 0], 2050)


@pytest.mark.parametrize("index_dtype", [np.int64, np.int8, np.uint64, np.int32])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_first_bad_index_is_named(simd, rng, index_dtype, dtype, layout):
    shape, small = (
        ((2, 9, 7, 5), (2, 4, 3, 5)) if layout == "NHWC" else ((2, 5, 9, 7), (2, 5, 4, 3))
    )
    dy = np.ones(small, dtype)
    for bad in (63, 100, -1) if np.dtype(index_dtype).kind == "i" else (63, 2**64 - 2):
        indices = np.zeros(small, index_dtype)
        indices[1, 2, 1, 2] = indices[1, 2, 2, 0] = bad
        for view in (indices, *views(indices)):
            for threads in (1, 3):
                lw.set_num_threads(threads)
                out = np.full(shape, 7, dtype)
                message = (
                    rf"^max_pool2d_backward: indices\[1, 2, 1, 2\] is {bad}, .*plane of 9 x 7$"
                )
                with pytest.raises(IndexError, match=message):
                    lw.max_pool2d_backward(dy, view, shape, layout=layout, out=out)
                assert (out == 7).all()
                with pytest.raises(IndexError, match=message):
                    lw.max_pool2d_backward(dy, view, shape, layout=layout)


def test_bad_indices_of_large_and_of_shared_planes(rng):
    for images, layout in ((1, "NHWC"), (1, "NCHW"), (9, "NHWC"), (9, "NCHW")):
        indices = rng.integers(0, 300 * 300, (images, 150, 150, 8))
        indices = indices if layout == "NHWC" else indices[..., :150, :].transpose(0, 3, 1, 2)
        shape = (images, 300, 300, 8) if layout == "NHWC" else (images, 8, 300, 300)
        at = tuple(n - 1 for n in indices.shape)
        indices[at] = 300 * 300
        out = np.full(shape, 7, np.float32)
        for options in ({"out": out}, {}):
            with pytest.raises(IndexError, match="is 90000, which is no place in a plane of 300"):
                lw.max_pool2d_backward(
                    np.ones(indices.shape, np.float32), indices, shape, layout=layout, **options
                )
        assert (out == 7).all()


def test_an_empty_plane_has_no_place():
    with pytest.raises(IndexError, match=r"indices\[0, 0, 0\] is 0, .* plane of 0 x 4"):
        lw.max_pool2d_backward(np.ones((1, 1, 1)), np.zeros((1, 1, 1), int), (0, 4, 1))


def test_no_window_is_no_gradient():
    for shape in [(0, 2, 2, 3), (2, 2, 2, 0), (2, 0, 2, 3), (2, 2, 0, 3)]:
        dy, images, channels = np.zeros(shape, np.float32), shape[0], shape[3]
        dx = lw.max_pool2d_backward(dy, np.zeros(shape, int), (images, 4, 5, channels))
        assert_array_equal(dx, np.zeros((images, 4, 5, channels)))


DY = np.zeros((1, 2, 3, 4), np.float32)
INDICES = np.zeros(DY.shape, np.int64)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((DY, INDICES, (4, 4)), {}, ValueError, r"input_shape is \(4, 4\), expected 4 axes"),
        ((DY, INDICES, (4, 6, 4)), {}, ValueError, r"dy has shape \(1, 2, 3, 4\), expected the"),
        (
            (DY, INDICES, (1, 4, 6, 5)),
            {},
            ValueError,
            r"dy has shape .* input_shape \(1, 4, 6, 5\)",
        ),
        ((DY, INDICES, (2, 4, 6, 4)), {}, ValueError, "as many images and channels"),
        ((DY, INDICES[:, :1], (1, 4, 6, 4)), {}, ValueError, r"indices has shape \(1, 1, 3, 4\)"),
        (
            (DY, INDICES * 1.0, (1, 4, 6, 4)),
            {},
            TypeError,
            "indices has dtype float64, expected int",
        ),
        ((DY, INDICES > 0, (1, 4, 6, 4)), {}, TypeError, "indices has dtype bool"),
        ((DY * 1j, INDICES, (1, 4, 6, 4)), {}, TypeError, "dy has dtype complex64"),
        ((DY, INDICES, 4), {}, TypeError, "input_shape is 4, expected a sequence of ints"),
        ((DY, INDICES, (1, 4, 6.0, 4)), {}, TypeError, "expected a sequence of ints"),
        ((DY, INDICES, (1, -4, 6, 4)), {}, ValueError, "expected sizes in"),
        ((DY, INDICES, (1, 2**62, 6, 4)), {}, ValueError, "do not fit in 64 bits"),
        ((DY, INDICES, (1, 4, 6, 4)), {"layout": "NCW"}, ValueError, "layout is 'NCW'"),
        ((DY, INDICES, (1, 2, 6, 4)), {"layout": "NCHW"}, ValueError, "out has shape"),
        ((DY * 1.0, INDICES, (1, 4, 6, 4)), {"out": np.zeros(96)}, TypeError, "out has dtype"),
    ],
)
def test_bad_arguments_of_maxima_are_named(arguments, options, error, message):
    out = np.full((1, 4, 6, 4), 7, np.float32)
    with pytest.raises(error, match=f"^max_pool2d_backward: .*{message}"):
        lw.max_pool2d_backward(*arguments, **{"out": out, **options})
    assert (out == 7).all()


def test_out_overlaps_no_argument():
    memory = np.zeros((1, 4, 6, 4))
    dy = DY.astype(np.float64)
    for name, arguments in [
        ("dy", (memory[:, :2, :3], INDICES)),
        ("indices", (dy, memory.view(np.int64)[:, 2:, 3:])),
    ]:
        with pytest.raises(ValueError, match=f"^max_pool2d_backward: out overlaps {name}"):
            lw.max_pool2d_backward(*arguments, memory.shape, out=memory)
    with pytest.raises(ValueError, match=r"^avg_pool2d_backward: out overlaps dy"):
        lw.avg_pool2d_backward(memory[:, :2, :3], memory.shape, 2, out=memory)


# ---------------------------------------------------------------------------------------- averages


def exact_avg(dy, shape, window, layout="NHWC", count_include_pad=False, **options):
    """The reference for dy in either layout."""
    each = resolved(2, window, **options)
    images = channels_last(np.asarray(dy).astype(np.float64), 2, layout)
    plane = plane_of(shape, layout)
    dx = reference.avg_pool2d_backward(images, *plane, **each, count_include_pad=count_include_pad)
    return as_given(dx, dy, 2, layout)


def bound(dy, shape, window, exact, **options):
    """How far from the reference a right result can be."""
    window = resolved(2, window)["window"]
    working = computed(np.float64 if dy.dtype.kind in "iub" else dy.dtype)
    roundings = 2 + sum(2 * int(np.ceil(np.log2(n + 1))) for n in window)
    with np.errstate(invalid="ignore"):
        sizes = exact_avg(np.abs(dy.astype(np.float64)), shape, window, **options)
        allowed = (gamma(roundings, working) + gamma(np.prod(window) + 1, np.float64)) * sizes
        allowed += np.prod(window) * tiny(working)
        if dy.dtype.kind not in "iub" and dy.dtype != working:
            allowed += u(dy.dtype) * (np.abs(exact) + allowed) + tiny(dy.dtype)
    return allowed


def check_avg(dy, shape, window, **options):
    def call():
        return lw.avg_pool2d_backward(dy, shape, window, **options)

    dx = in_one_thread_and_three(call)
    assert dx.shape == tuple(shape)
    assert dx.dtype == (np.float64 if dy.dtype.kind in "iub" else dy.dtype)
    exact = exact_avg(dy, shape, window, **options)
    assert_within(dx, exact, bound(dy, shape, window, exact, **options))
    return dx


def check_both_layouts(dy, shape, window, layout="NHWC", **options):
    dx = check_avg(dy, shape, window, layout=layout, **options)
    other = lw.avg_pool2d_backward(
        other_layout(dy, layout),
        other_layout(dx, layout).shape,
        window,
        layout=both_layouts(layout)[1],
        **options,
    )
    assert_array_equal(bits(other), bits(other_layout(dx, layout)))
    return dx


@given(problem=problems(DTYPES), count_include_pad=st.booleans())
@pytest.mark.parametrize("target", lw.config()["simd_available"])
def test_any_options_of_averages(target, problem, count_include_pad):
    axes, x, window, options = problem
    if axes == 1:
        return
    lw.set_simd_target(target)
    options["count_include_pad"] = count_include_pad
    if valid(x, window, **{k: v for k, v in options.items() if k != "count_include_pad"}):
        y = lw.avg_pool2d(x, window, **options)
        dy = gradients(np.random.default_rng(y.size), y.shape, x.dtype)
        if x.flags.c_contiguous:
            check_both_layouts(dy, x.shape, window, **options)
        else:
            check_avg(dy, x.shape, window, **options)
    else:
        dy = np.zeros(x.shape, np.float32)
        with pytest.raises(ValueError, match=r"^avg_pool2d_backward: (a|the) window of"):
            lw.avg_pool2d_backward(dy, x.shape, window, **options)


@given(problem=problems([np.float64]), count_include_pad=st.booleans())
def test_adjoint_of_the_average(problem, count_include_pad):
    """<A x, y> = <x, A' y>: each side is a sum of products of numbers that are off by γ."""
    axes, x, window, options = problem
    if axes == 1 or not valid(x, window, **options):
        return
    rng = np.random.default_rng(x.size)
    x = rng.standard_normal(x.shape)
    options["count_include_pad"] = count_include_pad
    average = lw.avg_pool2d(x, window, **options)
    dy = rng.standard_normal(average.shape)
    dx = lw.avg_pool2d_backward(dy, x.shape, window, **options)
    terms = x.size + dy.size + 2 * np.prod(resolved(2, window)["window"]) + 8
    sizes = (np.abs(dy) * lw.avg_pool2d(np.abs(x), window, **options)).sum()
    assert abs((average * dy).sum() - (x * dx).sum()) <= 2 * gamma(terms, np.float64) * sizes


def test_adjoint_of_the_maximum(rng):
    """Where indices stay as they are a maximum is linear: it picks elements."""
    x = rng.standard_normal((2, 9, 8, 3))
    y, indices = lw.max_pool2d(x, 3, stride=2, padding=1, return_indices=True)
    dy = rng.standard_normal(y.shape)
    dx = lw.max_pool2d_backward(dy, indices, x.shape)
    bounds = gamma(y.size + x.size, np.float64) * (np.abs(y) * np.abs(dy)).sum()
    assert abs((y * dy).sum() - (x * dx).sum()) <= 2 * bounds


@pytest.mark.parametrize("op", ["max_pool2d", "avg_pool2d"])
def test_central_differences(rng, op):
    """(f(x + h) - f(x - h)) / 2h of f = Σ dy·y, whose pieces are linear in x: only rounding.

    Both sums are off by γ(terms)·Σ|dy||y|, which the difference divides by 2h.
    """
    x = rng.permutation(7 * 6 * 2).reshape(7, 6, 2).astype(np.float64)  # no maximum changes by h
    options, h = {"stride": 2, "padding": 1}, 2.0**-4

    def forward(x):
        return getattr(lw, op)(x, 3, **options)

    dy = rng.standard_normal(forward(x).shape)
    if op == "max_pool2d":
        _, indices = lw.max_pool2d(x, 3, return_indices=True, **options)
        dx = lw.max_pool2d_backward(dy, indices, x.shape)
    else:
        dx = lw.avg_pool2d_backward(dy, x.shape, 3, **options)
    allowed = 2 * gamma(dy.size + 16, np.float64) * (np.abs(dy) * (forward(x) + h)).sum() / h
    for place in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[place] = h
        slope = ((forward(x + step) - forward(x - step)) * dy).sum() / (2 * h)
        assert abs(slope - dx[place]) <= allowed


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_dtypes_of_averages(simd, rng, dtype, layout):
    for channels in (1, 3, 40):
        shape = (2, 9, 10, channels) if layout == "NHWC" else (2, channels, 9, 10)
        x = np.zeros(shape, np.float32)
        for window, stride, padding in [(2, 2, 0), (3, 1, 1), (3, 2, 1), ((1, 7), 1, "same")]:
            options = {"stride": stride, "padding": padding, "layout": layout}
            dy = gradients(rng, lw.avg_pool2d(x, window, **options).shape, dtype)
            check_both_layouts(dy, shape, window, **options)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", range(1, 34))
def test_sizes_around_the_vector_width(simd, rng, layout, size):
    shape = (1, 4, 5, size) if layout == "NHWC" else (1, 2, 4, size)
    for window, stride in [(1, 1), (2, 2), (3, 1), (3, 2), (2, 5), (4, 4)]:
        options = {"stride": stride, "padding": "same", "layout": layout}
        y = lw.avg_pool2d(np.zeros(shape, np.float32), window, **options)
        check_avg(gradients(rng, y.shape), shape, window, **options)


@pytest.mark.parametrize(
    ("window", "stride", "dilation", "padding"),
    [
        *(((n, n), 1, 1, "same") for n in (5, 6, 7, 8, 13, 16, 17, 31)),
        ((13, 1), 1, 1, (6, 0)),
        ((1, 40), 1, 1, 0),
        ((9, 11), (2, 3), 1, 4),
        ((5, 4), (4, 3), (3, 2), 2),
        ((4, 3), (6, 4), (4, 6), 3),
        ((3, 5), (2, 2), (2, 4), "same"),
        ((40, 42), 1, 1, 0),
        ((40, 42), 1, 1, 20),
        ((2, 2), (100, 1000), 1, 1),
        ((300, 1), 1, 1, [(299, 0), 0]),
        ((1, 201), (1, 3), 1, [0, (150, 170)]),
        ((1, 20), 1, 9, [0, (140, 100)]),
        ((2, 3), (7, 50), (11, 13), 5),
    ],
)
def test_windows_of_many_kinds(simd, rng, window, stride, dilation, padding):
    options = {"stride": stride, "dilation": dilation, "padding": padding}
    for channels in (1, 20):
        x = np.zeros((1, 40, 42, channels), np.float32)
        dy = gradients(rng, lw.avg_pool2d(x, window, **options).shape)
        check_both_layouts(dy, x.shape, window, **options)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_windows_larger_than_scratch(rng, layout):
    """Sums down the columns are then made of parts.

    The reference would take minutes: of quotients of 1 a pixel's sum is its number of windows.
    """
    for plane, window, channels in [((3000, 12), (1001, 3), 16), ((40, 5000), (9, 2047), 3)]:
        shape = (1, *plane, channels)
        out = tuple(n - k + 1 for n, k in zip(plane, window))
        dy = np.full((1, *out, channels), np.prod(window, dtype=np.float32))
        covering = [
            np.minimum.reduce([np.arange(1, n + 1), np.arange(n, 0, -1), np.full(n, k)])
            for n, k in zip(plane, np.minimum(window, out))
        ]
        expected = np.broadcast_to(np.multiply.outer(*covering)[None, :, :, None], shape)
        if layout == "NCHW":
            shape, dy, expected = [
                (1, channels, *plane),
                other_layout(dy, "NHWC"),
                expected.transpose(0, 3, 1, 2),
            ]
        options = {"stride": 1, "layout": layout}
        call = functools.partial(lw.avg_pool2d_backward, dy, shape, window, **options)
        dx = in_one_thread_and_three(call)
        assert_array_equal(dx, expected)
        random = gradients(rng, dy.shape)
        dx = lw.avg_pool2d_backward(random, shape, window, stride=1, layout=layout)
        other = lw.avg_pool2d_backward(
            other_layout(random, layout),
            other_layout(dx, layout).shape,
            window,
            stride=1,
            layout=both_layouts(layout)[1],
        )
        assert_array_equal(bits(other), bits(other_layout(dx, layout)))


@pytest.mark.parametrize("dtype", [*FLOATS, *NARROW_FLOATS])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_nan_and_inf_stay_within_their_windows(simd, rng, dtype, layout):
    shape = (2, 19, 20, 9) if layout == "NHWC" else (2, 9, 19, 20)
    for value in (np.nan, np.inf, -np.inf):
        for window, stride in [(2, 2), (3, 1), (17, 1), ((3, 18), 1), (5, 3)]:
            for padding in ("valid", "same"):
                options = {"stride": stride, "padding": padding, "layout": layout}
                y = lw.avg_pool2d(np.zeros(shape, dtype), window, **options)
                dy = gradients(rng, y.shape, dtype)
                dy[rng.random(y.shape) < 0.02] = value
                check_avg(dy, shape, window, **options)


def test_narrow_averages_round_once(simd, rng):
    for dtype in NARROW_FLOATS:
        dy = gradients(rng, (8, 8, 20), dtype)
        exactly = lw.avg_pool2d_backward(dy.astype(np.float32), (10, 10, 20), 3, stride=1)
        assert_array_equal(
            bits(lw.avg_pool2d_backward(dy, (10, 10, 20), 3, stride=1)),
            bits(exactly.astype(dtype)),
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.uint8])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_do_not_matter_to_averages(simd, rng, dtype, layout):
    shape = (2, 19, 20, 18)
    for window, stride, padding in [(3, 2, 1), (3, 1, 1), (2, 2, 0), ((2, 17), 1, 1), (7, 7, 0)]:
        options = {"stride": stride, "padding": padding, "layout": layout}
        dy = gradients(rng, lw.avg_pool2d(np.zeros(shape), window, **options).shape, dtype)
        dx = lw.avg_pool2d_backward(dy, shape, window, **options)
        for view in (*views(dy), dy.astype(dy.dtype.newbyteorder()), unaligned(dy)):
            assert_array_equal(
                bits(lw.avg_pool2d_backward(view, shape, window, **options)), bits(dx)
            )
        for out in views(np.zeros_like(dx)):
            assert lw.avg_pool2d_backward(dy, shape, window, out=out, **options) is out
            assert_array_equal(bits(out), bits(dx))
        one = np.broadcast_to(dy[:1, :1, :1, :1], dy.shape)
        assert_array_equal(
            lw.avg_pool2d_backward(one, shape, window, **options),
            lw.avg_pool2d_backward(one.copy(), shape, window, **options),
        )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_window_over_everything(simd, rng, layout):
    """The gradient of a global average, over planes in line and over others."""
    for channels in (1, 5, 64):
        for plane in [(7, 7), (1, 9), (9, 1), (13, 40)]:
            shape = (3, *plane, channels) if layout == "NHWC" else (3, channels, *plane)
            small = (3, 1, 1, channels) if layout == "NHWC" else (3, channels, 1, 1)
            dy = gradients(rng, small)
            dx = check_avg(dy, shape, plane, layout=layout)
            assert_array_equal(dx, np.broadcast_to(dy / np.float32(np.prod(plane)), shape))
            for out in views(np.zeros_like(dx)):
                lw.avg_pool2d_backward(dy, shape, plane, layout=layout, out=out)
                assert_array_equal(out, dx)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_images_do_not_matter_to_each_other(rng, layout):
    shape = (5, 20, 21, 20)
    for window in (3, (2, 19)):
        y = lw.avg_pool2d(np.zeros(shape, np.float32), window, stride=2, layout=layout)
        dy = gradients(rng, y.shape)
        dx = lw.avg_pool2d_backward(dy, shape, window, stride=2, layout=layout)
        for n in range(len(dx)):
            alone = lw.avg_pool2d_backward(dy[n], shape[1:], window, stride=2, layout=layout)
            assert_array_equal(bits(alone), bits(dx[n]))


def test_threads_write_no_pixel_between_their_own(rng):
    """Where images take turns in memory, a task's pixels have another's between them."""
    shape = (2, 4, 400, 400)
    dy = gradients(rng, (2, 4, 398, 398))
    dx = lw.avg_pool2d_backward(dy, shape, 3, stride=1, layout="NCHW")
    for _ in range(30):
        out = np.zeros((4, 400, 400, 2), np.float32).transpose(3, 0, 1, 2)
        lw.avg_pool2d_backward(dy, shape, 3, stride=1, layout="NCHW", out=out)
        assert_array_equal(bits(out), bits(dx))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_windows_that_are_almost_all_padding(rng, layout):
    """Only windows that exist are summed: 2^40 rows more of padding change nothing."""
    shape = (4, 4, 3) if layout == "NHWC" else (3, 4, 4)
    dy = gradients(rng, shape)
    small, large = (
        lw.avg_pool2d_backward(dy, shape, (n, 1), stride=1, padding=[(n - 1, 0), 0], layout=layout)
        for n in (8, 2**40)
    )
    assert_array_equal(bits(small), bits(large))
    options = {"stride": 2**61, "layout": layout}
    first = (slice(1), slice(1)) if layout == "NHWC" else (slice(None), slice(1), slice(1))
    dx = lw.avg_pool2d_backward(dy[first], shape, 1, **options)
    assert_array_equal(dx[first], dy[first])
    assert np.count_nonzero(dx) == 3


def test_tiles_change_no_bit(rng):
    """A pixel's sum is the same at the border of a tile: parts of a large plane, one by one."""
    dy = gradients(rng, (1, 1, 300, 700))
    dx = lw.avg_pool2d_backward(dy, (1, 1, 304, 704), 5, stride=1, layout="NCHW")
    for i, j in rng.integers(0, (290, 690), (40, 2)):
        part = dy[..., i : i + 9, j : j + 9]
        small = lw.avg_pool2d_backward(part, (1, 1, 13, 13), 5, stride=1, layout="NCHW")
        assert_array_equal(bits(dx[..., i + 4 : i + 9, j + 4 : j + 9]), bits(small[..., 4:9, 4:9]))


def test_empty_averages():
    for shape, small in [((0, 4, 4, 3), (0, 2, 2, 3)), ((2, 4, 4, 0), (2, 2, 2, 0))]:
        assert lw.avg_pool2d_backward(np.zeros(small, np.float32), shape, 2).shape == shape


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((DY, (6, 4), 2), {}, ValueError, r"input_shape is \(6, 4\), expected 4 axes"),
        ((DY, (1, 4, 8, 4), 2), {}, ValueError, r"dy has shape \(1, 2, 3, 4\), expected \(1, 2, 4"),
        ((DY, (4, 6, 4), 2), {}, ValueError, r"dy has .* for input_shape \(4, 6, 4\) and these"),
        ((DY, (1, 4, 6, 4), 7), {}, ValueError, "window of 7 .* larger than the padded height 4"),
        ((DY, (1, 4, 6, 4), 2), {"padding": "full"}, ValueError, "padding is 'full'"),
        ((DY, (1, 4, 6, 4), 2), {"layout": "NCW"}, ValueError, "layout is 'NCW'"),
        ((DY, (1, 4, 6, 4), 2), {"stride": 0}, ValueError, "stride is 0"),
        ((DY * 1j, (1, 4, 6, 4), 2), {}, TypeError, "dy has dtype complex64"),
        ((DY.astype(int), (1, 4, 6, 4), 2), {}, TypeError, "out has dtype .*expected .*float64"),
        ((DY, (1, 4, 6, "a"), 2), {}, TypeError, "expected a sequence of ints"),
        ((DY, (2**40, 2**40, 4, 4), 2), {}, ValueError, "do not fit in 64 bits"),
    ],
)
def test_bad_arguments_of_averages_are_named(arguments, options, error, message):
    out = np.full((1, 4, 6, 4), 7, np.float32)
    with pytest.raises(error, match=f"^avg_pool2d_backward: .*{message}"):
        lw.avg_pool2d_backward(*arguments, **{"out": out, **options})
    assert (out == 7).all()


# ------------------------------------------------------------------------------------------- peers


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(
    ("window", "stride", "padding", "dilation"),
    [
        (2, 2, 0, 1),
        (3, 2, 1, 1),
        (3, 1, 1, 1),
        ((3, 2), (2, 3), (1, 0), 1),
        (4, 3, 2, 2),
        (2, 3, 1, 3),
        (9, 2, 4, 1),
        (13, 1, 6, 1),
    ],
)
def test_as_torch(rng, window, stride, padding, dilation, ceil_mode):
    torch = pytest.importorskip("torch")
    x = rng.permutation(2 * 5 * 17 * 14).reshape(2, 5, 17, 14).astype(np.float64)
    options = {"ceil_mode": ceil_mode, "stride": stride, "padding": padding}
    functional = torch.nn.functional

    planes = torch.from_numpy(x).requires_grad_()
    y, indices = functional.max_pool2d(
        planes, window, dilation=dilation, return_indices=True, **options
    )
    dy = rng.integers(-99, 99, y.shape).astype(np.float64)  # whose sums are exact
    y.backward(torch.from_numpy(dy))
    _, at = lw.max_pool2d(
        x, window, dilation=dilation, layout="NCHW", return_indices=True, **options
    )
    assert_array_equal(at, indices.numpy())
    dx = lw.max_pool2d_backward(dy, at, x.shape, layout="NCHW")
    assert_array_equal(dx, planes.grad.numpy())

    for count_include_pad in (False, True):
        options["count_include_pad"] = count_include_pad
        planes.grad = None
        y = functional.avg_pool2d(planes, window, **options)
        dy = rng.standard_normal(tuple(y.shape))
        y.backward(torch.from_numpy(dy))
        dx = lw.avg_pool2d_backward(dy, x.shape, window, layout="NCHW", **options)
        terms = 2 * np.prod(resolved(2, window)["window"]) + 4
        sizes = exact_avg(np.abs(dy), x.shape, window, layout="NCHW", **options)
        assert_within(dx, planes.grad.numpy(), gamma(terms, np.float64) * sizes)


def test_bfloat16_keeps_its_type(rng):
    dy = gradients(rng, (2, 2, 3), ml_dtypes.bfloat16)
    assert lw.avg_pool2d_backward(dy, (4, 4, 3), 2).dtype == dy.dtype
    assert lw.max_pool2d_backward(dy, np.zeros(dy.shape, int), (4, 4, 3)).dtype == dy.dtype
