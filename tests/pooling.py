"""What the tests of the poolings share: spellings, problems, and the reference in any layout."""

import lanewise as lw
import ml_dtypes
import numpy as np
import reference
from hypothesis import strategies as st

FLOATS = [np.float32, np.float64]
NARROW_FLOATS = [np.float16, ml_dtypes.bfloat16]
INTEGERS = [np.dtype(f"{sign}{size}").type for sign in "iu" for size in (1, 2, 4, 8)]
DTYPES = [*FLOATS, *NARROW_FLOATS, *INTEGERS, np.bool_]
LANES = 16  # of the widest vectors: 64 bytes of float32
LAYOUTS = {1: ["NWC", "NCW"], 2: ["NHWC", "NCHW"]}

# ---------------------------------------------------------------------------------------- spellings


def pair(value):
    return tuple(value) if np.iterable(value) else (value, value)


def sides(padding, axes=2):
    """One rule or (before, after) per axis, as the reference takes it."""
    if isinstance(padding, str):
        return (padding,) * axes
    if isinstance(padding, int):
        return ((padding, padding),) * axes
    return tuple(pair(entry) for entry in padding)


def every_axis(value, axes):
    return tuple(value) if np.iterable(value) else (value,) * axes


def resolved(axes, window, stride=None, padding="valid", dilation=1, ceil_mode=False):
    """The options with one entry per axis, the stride filled in."""
    return {
        "window": every_axis(window, axes),
        "stride": every_axis(window if stride is None else stride, axes),
        "padding": sides(padding, axes),
        "dilation": every_axis(dilation, axes),
        "ceil_mode": ceil_mode,
    }


def channels_last(x, axes, layout):
    """x as (N, H, W, C), a signal as an image of one row."""
    images = x if x.ndim == axes + 2 else x[None]
    if layout in ("NCW", "NCHW"):
        images = np.moveaxis(images, 1, -1)
    return images if axes == 2 else images[:, None]


def as_given(y, x, axes, layout):
    """The way back."""
    y = y if axes == 2 else y[:, 0]
    if layout in ("NCW", "NCHW"):
        y = np.moveaxis(y, -1, 1)
    return y if x.ndim == axes + 2 else y[0]


def expected(op, x, window, *, layout=None, nan_policy=None, count_include_pad=None, **options):
    """The reference's result for x in any layout: (values, indices), or averages."""
    axes = int(op[-2])
    layout = layout or LAYOUTS[axes][0]
    each = resolved(axes, window, **options)
    if axes == 1:
        none = {"window": 1, "stride": 1, "padding": (0, 0), "dilation": 1}
        each = {name: (none[name], *v) if name in none else v for name, v in each.items()}
    images = channels_last(x, axes, layout)
    if op.startswith("avg"):
        y = reference.avg_pool2d(images, **each, count_include_pad=bool(count_include_pad))
        return as_given(y, x, axes, layout)
    pool = reference.max_pool2d if op.startswith("max") else reference.min_pool2d
    both = pool(images, **each, nan_policy=nan_policy or "propagate")
    return tuple(as_given(y, x, axes, layout) for y in both)


# ----------------------------------------------------------------------------------------- problems


def image(rng, shape, dtype=np.float32, levels=None):
    """Random pixels: all different, or with `levels` so few values that there are many ties."""
    if levels is None:
        return rng.permutation(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    return rng.integers(levels, size=shape).astype(dtype)


def bits(a):
    return a.view(f"i{a.itemsize}")


def views(x):
    """Arrays equal to x with other strides."""
    yield np.asfortranarray(x)
    back = (slice(None, None, -1),) * x.ndim
    yield x[back].copy()[back]
    for axis in range(x.ndim):
        wide = np.zeros([2 * n if a == axis else n for a, n in enumerate(x.shape)], x.dtype)
        view = wide[tuple(slice(None, None, 2 if a == axis else 1) for a in range(x.ndim))]
        view[...] = x
        yield view
    for order in [(0, 2, 3, 1), (0, 3, 1, 2), (3, 2, 1, 0), (0, 2, 1, 3)]:
        order = [*(axis for axis in order if axis < x.ndim), *range(4, x.ndim)]
        yield x.transpose(order).copy().transpose(np.argsort(order))


def unaligned(x):
    """The same array one byte further."""
    memory = np.empty(x.nbytes + 1, np.uint8)[1:]
    copy = np.frombuffer(memory, x.dtype).reshape(x.shape)
    copy[...] = x
    assert not copy.flags.aligned or x.dtype.itemsize == 1
    return copy


def taps_inside(n, window, stride, dilation, padding, ceil_mode):
    """How many of each output's taps are pixels, along an axis of n; None if no window fits."""
    before, after, outputs = reference.window_axis(n, window, stride, dilation, padding, ceil_mode)
    if before + n + after < dilation * (window - 1) + 1:
        return None
    taps = np.arange(window) * dilation + np.arange(outputs)[:, None] * stride - before
    return ((taps >= 0) & (taps < n)).sum(1)


def valid(x, window, layout="NHWC", **options):
    """Whether every window holds a pixel."""
    axes = len(layout) - 2
    each = resolved(axes, window, **options)
    first = x.ndim - axes - (layout[-1] == "C")
    for a in range(axes):
        inside = taps_inside(
            x.shape[first + a],
            each["window"][a],
            each["stride"][a],
            each["dilation"][a],
            each["padding"][a],
            each["ceil_mode"],
        )
        if inside is None or not inside.all():
            return False
    return True


def pixels(draw, rng, shape, dtype):
    """Few or many values, extremes and NaN among them."""
    dtype = np.dtype(dtype)
    x = image(rng, shape, np.int64, draw(st.sampled_from([100, 3]))).astype(dtype)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        special = draw(st.sampled_from([(), (info.min,), (info.max,), (info.min, info.max)]))
    elif dtype.kind == "b":
        special = draw(st.sampled_from([(), (False,), (True,)]))
    else:
        special = draw(st.sampled_from([(), (np.nan,), (-np.inf,), (np.nan, np.inf, -np.inf)]))
    often = draw(st.sampled_from([0.2, 0.8]))
    for value in special:
        x[rng.random(x.shape) < often] = value
    return x


@st.composite
def problems(draw, dtypes):
    """(axes, x, window, options): any dtype, shape, strides and geometry, also impossible ones."""
    axes = draw(st.sampled_from([1, 2]))
    layout = draw(st.sampled_from(LAYOUTS[axes]))
    size, side = st.integers(1, 9 if axes == 2 else 40), st.integers(0, 3)
    spatial = [draw(size) for _ in range(axes)]
    channels = draw(st.integers(1, 2 * LANES + 1))
    shape = [draw(st.integers(1, 2))]
    shape += [*spatial, channels] if layout[-1] == "C" else [channels, *spatial]
    shape = shape[draw(st.integers(0, 1)) :]

    def per_axis(strategy):
        return draw(strategy | st.tuples(*[strategy] * axes))

    window = per_axis(st.integers(1, 5 if axes == 2 else 35))
    padding = st.sampled_from(["valid", "same", "same_lower"])
    padding |= side | st.tuples(*[side | st.tuples(side, side)] * axes)
    options = {
        "stride": draw(st.none()) if draw(st.booleans()) else per_axis(st.integers(1, 4)),
        "padding": draw(padding),
        "dilation": per_axis(st.integers(1, 3)),
        "ceil_mode": draw(st.booleans()),
        "layout": layout,
    }
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = pixels(draw, rng, shape, draw(st.sampled_from(dtypes)))
    if draw(st.booleans()):
        x = draw(st.sampled_from(list(views(x))))
    return axes, x, window, options


def on_each_path(op, x, window, options):
    """The op in one thread and in three; the bits must agree."""
    results = []
    for threads in (1, 3):
        lw.set_num_threads(threads)
        result = getattr(lw, op)(x, window, **options)
        results.append(result if isinstance(result, tuple) else (result,))
    for one, three in zip(*results, strict=True):
        np.testing.assert_array_equal(bits(one), bits(three))
    return results[0]
