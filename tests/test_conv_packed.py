"""pack_filter: the bits of the call with w, what is kept and when, threads, forks, bad input."""

import concurrent.futures
import copy
import itertools
import pickle
import sys
import threading

import lanewise as lw
import ml_dtypes
import numpy as np
import pytest
import test_conv1d
from convolutions import TO_NCHW, convolutions, integers, to_oihw, transposed_convolutions
from hypothesis import given
from hypothesis import strategies as st
from test_runtime import run

# x, w in NHWC, options: each way of computing, and the filters that it packs.
CASES = {
    "panels": ((2, 9, 10, 19), (3, 2, 19, 37), {"stride": (1, 2), "padding": 1}),
    "one tap": ((1, 7, 9, 20), (1, 1, 20, 70), {}),
    "few channels": ((1, 9, 8, 3), (5, 4, 3, 17), {"padding": "same", "dilation": 2}),
    "groups": ((1, 8, 9, 24), (3, 3, 12, 40), {"groups": 2, "stride": 2}),
    "groups of few filters": ((1, 8, 9, 24), (3, 3, 4, 12), {"groups": 6, "padding": 1}),
    "depthwise": ((2, 8, 9, 21), (3, 3, 1, 21), {"groups": 21, "padding": 1}),
    "winograd": ((2, 13, 11, 40), (3, 3, 40, 70), {"padding": 1, "algorithm": "winograd"}),
    "winograd in groups": (
        (1, 9, 10, 20),
        (3, 3, 10, 34),
        {"groups": 2, "algorithm": "winograd"},
    ),
    "banks": ((3, 7, 8, 5), (3, 3, 3, 5, 20), {"padding": 1}),
    "banks, depthwise": ((3, 7, 8, 5), (3, 3, 3, 1, 5), {"groups": 5}),
    "banks, winograd": ((3, 7, 8, 12), (3, 3, 3, 12, 20), {"algorithm": "winograd"}),
    "flip": ((1, 8, 9, 10), (3, 2, 10, 33), {"flip": True, "pad_mode": "wrap", "padding": 2}),
    "flip, depthwise": ((1, 8, 9, 10), (3, 2, 1, 10), {"flip": True, "groups": 10}),
    "flip, winograd": ((1, 8, 9, 10), (3, 3, 10, 33), {"flip": True, "algorithm": "winograd"}),
}
DTYPES = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int8, np.int32, np.int64]


def normal(rng, shape, dtype=np.float32):
    return (4 * rng.normal(size=shape)).astype(dtype)


def operands(case, rng, layout="NHWC", dtype=np.float32):
    """x, w, what pack_filter takes of the options, and the options of the call."""
    x_shape, w_shape, options = CASES[case]
    x, w = normal(rng, x_shape, dtype), normal(rng, w_shape, dtype)
    if layout == "NCHW":
        x = np.ascontiguousarray(x.transpose(TO_NCHW))
        w = np.ascontiguousarray(to_oihw(w))
    options = {**options, "layout": layout}
    of_filter = {name: options[name] for name in ("groups", "layout", "flip") if name in options}
    return x, w, of_filter, options


def geometry(options):
    """What pack_filter takes with x_shape."""
    return {name: options[name] for name in ("stride", "padding", "dilation") if name in options}


def same(a, b):
    np.testing.assert_array_equal(a, b, strict=True)


# ---------------------------------------------------------------------------------------- same bits


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("case", CASES)
def test_same_bits_everywhere(simd, rng, case, layout):
    x, w, of_filter, options = operands(case, rng, layout)
    bias = normal(rng, CASES[case][1][-1])
    y = lw.conv2d(x, w, bias, activation="silu", **options)
    packed = lw.pack_filter(w, **of_filter)
    for threads in (1, 2, 3):
        lw.set_num_threads(threads)
        fresh = lw.pack_filter(w, **of_filter)
        for filters in (packed, fresh, packed):
            same(lw.conv2d(x, filters, bias, activation="silu", **options), y)
    if w.ndim == 4:
        for i in range(len(x)):
            same(lw.conv2d(x[i], packed, bias, activation="silu", **options), y[i])
    for order in itertools.permutations(range(4)):  # strides decide which form is read
        inverse = np.argsort(order)
        a = np.ascontiguousarray(x.transpose(order)).transpose(inverse)
        out = np.empty_like(y.transpose(order), order="C").transpose(inverse)
        assert lw.conv2d(a, packed, bias, activation="silu", out=out, **options) is out
        same(out, y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("case", [name for name in CASES if "winograd" not in name])
def test_same_bits_in_every_dtype(rng, case, layout, dtype):
    x, w, of_filter, options = operands(case, rng, layout, dtype)
    same(lw.conv2d(x, lw.pack_filter(w, **of_filter), **options), lw.conv2d(x, w, **options))


@given(convolutions(), st.sampled_from(["NHWC", "NCHW"]), st.booleans())
def test_conv2d_of_any_shape(case, layout, early):
    x_shape, w_shape, dtype, options, seed = case
    rng = np.random.default_rng(seed)
    x, w = normal(rng, x_shape, dtype), normal(rng, w_shape, dtype)
    if layout == "NCHW":
        x, w = x.transpose(TO_NCHW), to_oihw(w)
    now = {"x_shape": x.shape, **geometry(options)} if early else {}
    packed = lw.pack_filter(w, groups=options["groups"], layout=layout, flip=options["flip"], **now)
    same(lw.conv2d(x, packed, layout=layout, **options), lw.conv2d(x, w, layout=layout, **options))


@given(test_conv1d.convolutions(), st.booleans(), st.booleans())
def test_conv1d_of_any_shape(case, channels_last, early):
    x_shape, w_shape, dtype, options, seed = case
    rng = np.random.default_rng(seed)
    x, w = integers(rng, x_shape, dtype), integers(rng, w_shape, dtype)
    layout = "NWC" if channels_last else "NCW"
    if not channels_last:
        x, w = x.transpose(0, 2, 1), w.transpose(*range(w.ndim - 3), -1, -2, -3)
    now = {"x_shape": x.shape, **geometry(options)} if early else {}
    packed = lw.pack_filter(w, groups=options["groups"], layout=layout, flip=options["flip"], **now)
    assert packed.layout == layout
    same(lw.conv1d(x, packed, layout=layout, **options), lw.conv1d(x, w, layout=layout, **options))


@given(transposed_convolutions(), st.booleans())
def test_conv_transpose2d_of_any_shape(case, channels_last):
    x_shape, w_shape, options, seed = case
    rng = np.random.default_rng(seed)
    x, w = normal(rng, x_shape), normal(rng, w_shape)
    layout = "NHWC" if channels_last else "NCHW"
    if not channels_last:
        x, w = x.transpose(TO_NCHW), to_oihw(w)
    packed = lw.pack_filter(w, groups=options["groups"], layout=layout)
    y = lw.conv_transpose2d(x, w, layout=layout, **options)
    for _ in range(2):
        same(lw.conv_transpose2d(x, packed, layout=layout, **options), y)


def test_one_filter_serves_every_geometry_and_function(rng):
    w = normal(rng, (3, 3, 16, 16))
    packed = lw.pack_filter(w)
    for size, stride, dilation in itertools.product((8, 15, 40), (1, 2), (1, 3)):
        x = normal(rng, (1, size, size, 16))
        options = {"stride": stride, "dilation": dilation, "padding": "same"}
        same(lw.conv2d(x, packed, **options), lw.conv2d(x, w, **options))
        same(lw.conv_transpose2d(x, packed, **options), lw.conv_transpose2d(x, w, **options))


def test_filters_that_one_call_would_cut_into_parts(rng):
    x, w = normal(rng, (1, 12, 12, 512)), normal(rng, (3, 3, 512, 300))  # 22 MB transformed
    options = {"padding": 1, "algorithm": "winograd"}
    packed = lw.pack_filter(w)
    same(lw.conv2d(x, packed, **options), lw.conv2d(x, w, **options))
    x, w = normal(rng, (3, 5, 5, 256)), normal(rng, (3, 5, 5, 256, 300))  # 7 MB each
    same(lw.conv2d(x, lw.pack_filter(w)), lw.conv2d(x, w))


@pytest.mark.parametrize("case", ["winograd", "winograd in groups", "banks, winograd"])
def test_infinities_and_nan(rng, case):
    x, w, of_filter, options = operands(case, rng)
    x[0, 4, 4, 2], x[0, 0, 5, 0] = np.nan, np.inf
    packed = lw.pack_filter(w, **of_filter)
    y = lw.conv2d(x, w, **options)
    for _ in range(2):
        same(lw.conv2d(x, packed, **options), y)


@pytest.mark.parametrize(
    ("x_dtype", "w_dtype"),
    [
        (np.float64, np.float32),
        (np.float32, np.float64),
        (np.uint8, np.int8),
        (np.uint8, np.float32),
        (np.float16, np.float32),
        (np.int32, np.float32),
        (np.float32, np.bool_),
        (np.float32, ml_dtypes.bfloat16),
    ],
)
def test_the_result_has_the_type_of_the_call_with_w(rng, x_dtype, w_dtype):
    x, w = (rng.integers(0, 5, shape) for shape in ((1, 8, 9, 12), (3, 3, 12, 20)))
    x, w = x.astype(x_dtype), w.astype(w_dtype)
    packed = lw.pack_filter(w)
    y = lw.conv2d(x, w)
    for _ in range(2):
        same(lw.conv2d(x, packed), y)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("w_dtype", [np.float32, np.float64, np.int8])
def test_the_dtype_of_the_call(rng, w_dtype, dtype):
    x, w = normal(rng, (1, 8, 9, 12)), normal(rng, (3, 3, 12, 20), w_dtype)
    packed = lw.pack_filter(w, flip=True)
    same(lw.conv2d(x, packed, flip=True, dtype=dtype), lw.conv2d(x, w, flip=True, dtype=dtype))
    with pytest.raises(ValueError, match="flip is False, but w was packed with flip=True"):
        lw.conv2d(x, packed, dtype=dtype)


def test_auto_decides_as_for_w(rng):
    x, w = normal(rng, (1, 30, 30, 64)), normal(rng, (3, 3, 64, 64))
    packed = lw.pack_filter(w, x_shape=x.shape, padding=1)
    fast = lw.conv2d(x, packed, padding=1)
    same(fast, lw.conv2d(x, w, padding=1, algorithm="winograd"))
    lw.set_conv_algorithm("direct")
    direct = lw.conv2d(x, packed, padding=1)
    same(direct, lw.conv2d(x, w, padding=1))
    assert (fast != direct).any()


# ------------------------------------------------------------------------------------- what is kept


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_later_changes_of_w_do_not_matter(rng, layout):
    for case in CASES:
        x, w, of_filter, options = operands(case, rng, layout)
        y = lw.conv2d(x, w, **options)
        early = lw.pack_filter(w, x_shape=x.shape, **geometry(options), **of_filter)
        late = lw.pack_filter(w, **of_filter)
        w[:] = 0
        same(lw.conv2d(x, early, **options), y)
        same(lw.conv2d(x, late, **options), y)


def test_any_strides_of_w(rng):
    x, w = normal(rng, (1, 9, 10, 12)), normal(rng, (3, 3, 12, 20))
    y = lw.conv2d(x, w)
    wide = np.zeros((3, 6, 12, 40), np.float32)
    wide[:, ::2, :, ::-2] = w
    for view in (np.asfortranarray(w), wide[:, ::2, :, ::-2], w[::-1].copy()[::-1]):
        packed = lw.pack_filter(view)
        same(packed.unpacked(), w)
        same(lw.conv2d(x, packed), y)
    one = np.broadcast_to(np.float32(2), w.shape)
    same(lw.conv2d(x, lw.pack_filter(one)), lw.conv2d(x, one))
    swapped = w.astype(w.dtype.newbyteorder())
    same(lw.conv2d(x, lw.pack_filter(swapped)), y)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("case", CASES)
def test_x_shape_packs_now_and_the_call_does_not(simd, rng, case, layout):
    x, w, of_filter, options = operands(case, rng, layout)
    options.pop("algorithm", None)  # which "auto" need not take
    late = lw.pack_filter(w, **of_filter)
    early = lw.pack_filter(w, x_shape=x.shape, **geometry(options), **of_filter)
    assert late.nbytes == w.nbytes
    before = early.nbytes
    lw.conv2d(x, early, **options)
    lw.conv2d(x, late, **options)
    assert early.nbytes == before == late.nbytes
    if layout == "NHWC" and case in ("panels", "one tap", "flip"):
        assert before > w.nbytes  # others may be read in the copy itself


def test_each_form_is_packed_once_for_each_type_and_target(rng):
    x, w = normal(rng, (1, 8, 8, 16)), normal(rng, (1, 3, 16, 64))
    packed = lw.pack_filter(w, x_shape=x.shape)
    assert packed.nbytes == 2 * w.nbytes
    sizes = []
    for dtype in (np.float32, np.float16, np.float64, np.int8, np.float32, np.float64):
        same(lw.conv2d(x.astype(dtype), packed), lw.conv2d(x.astype(dtype), w))
        sizes.append(packed.nbytes // w.nbytes)
    assert sizes == [2, 2, 4, 4, 4, 4]
    targets = lw.config()["simd_available"]
    for name in targets * 2:
        lw.set_simd_target(name)
        same(lw.conv2d(x, packed), lw.conv2d(x, w))
    assert packed.nbytes // w.nbytes == 3 + len(targets)


def test_images_without_a_batch_and_empty_ones(rng):
    w = normal(rng, (3, 3, 16, 32))
    assert lw.pack_filter(w, x_shape=(8, 8, 16)).nbytes == 2 * w.nbytes
    assert lw.pack_filter(w, x_shape=(0, 8, 8, 16)).nbytes == w.nbytes
    for packed in (lw.pack_filter(w), lw.pack_filter(w, x_shape=(1, 2, 8, 16), padding=(1, 0))):
        assert lw.conv2d(np.zeros((0, 8, 8, 16), np.float32), packed).shape == (0, 6, 6, 32)
    none = lw.pack_filter(np.zeros((3, 3, 0, 8), np.float32), x_shape=(1, 4, 4, 0))
    same(lw.conv2d(np.zeros((1, 4, 4, 0), np.float32), none), np.zeros((1, 2, 2, 8), np.float32))
    none = lw.pack_filter(np.zeros((3, 3, 8, 0), np.float32), x_shape=(1, 4, 4, 8))
    assert lw.conv2d(np.zeros((1, 4, 4, 8), np.float32), none).shape == (1, 2, 2, 0)


def test_attributes_and_repr(rng):
    w = normal(rng, (4, 3, 2, 5))
    packed = lw.pack_filter(w, groups=np.int64(2), layout="NCHW", flip=1)
    assert isinstance(packed, lw.PackedFilter)
    assert (packed.shape, packed.dtype) == ((4, 3, 2, 5), np.dtype(np.float32))
    assert (packed.groups, packed.layout, packed.flip, packed.nbytes) == (2, "NCHW", True, 480)
    assert repr(packed) == (
        "PackedFilter(shape=(4, 3, 2, 5), dtype=float32, groups=2, layout='NCHW', flip=True, "
        "nbytes=480)"
    )
    for name in ("shape", "dtype", "groups", "layout", "flip", "nbytes", "other"):
        with pytest.raises(AttributeError):
            setattr(packed, name, 1)
    assert lw.pack_filter(w[0]).layout == "NWC"
    assert lw.pack_filter(w[0], layout="NCHW").layout == "NCW"
    assert lw.pack_filter(w, layout="NWC").layout == "NWC"
    copied = packed.unpacked()
    same(copied, w)
    copied[:] = 0
    same(packed.unpacked(), w)
    assert lw.conv2d_algorithm((1, 8, 8, 6), lw.pack_filter(w.reshape(5, 2, 3, 4), groups=2).shape,
                               groups=2)[0] == "grouped"  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
def test_pickle_keeps_w_and_the_options_only(rng, dtype):
    w = normal(rng, (3, 3, 8, 12), dtype)
    x = normal(rng, (1, 9, 9, 16), dtype)
    packed = lw.pack_filter(w, groups=2, flip=True, x_shape=x.shape)
    assert packed.nbytes > w.nbytes
    for protocol in range(3, pickle.HIGHEST_PROTOCOL + 1):
        stored = pickle.dumps(packed, protocol)
        assert len(stored) < w.nbytes + 1000
        again = pickle.loads(stored)
        assert again.nbytes == w.nbytes
        assert repr(again).partition("nbytes")[0] == repr(packed).partition("nbytes")[0]
        same(again.unpacked(), w)
        same(lw.conv2d(x, again, groups=2, flip=True), lw.conv2d(x, w, groups=2, flip=True))


def test_a_copy_of_what_never_changes_is_itself(rng):
    packed = lw.pack_filter(normal(rng, (3, 3, 8, 12)))
    assert copy.copy(packed) is packed
    assert copy.deepcopy([packed])[0] is packed


def test_memory_goes_with_the_filter(rng):
    code = """
import resource
import lanewise as lw, numpy as np
w, x = np.ones((3, 3, 256, 256), np.float32), np.ones((1, 40, 40, 256), np.float32)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for i in range(20):
    packed = lw.pack_filter(w, x_shape=x.shape)
    lw.conv2d(x, packed)
    assert packed.nbytes >= 4 * w.nbytes  # 11 MB
    if i == 1:
        before = peak()
assert peak() - before < 40 << 10, peak() - before
"""
    result = run(code)
    assert result.returncode == 0, result.stderr


# ---------------------------------------------------------------------------- threads and processes


@pytest.mark.parametrize("case", ["panels", "depthwise", "winograd", "banks", "flip"])
def test_first_use_by_eight_threads_at_once(rng, case):
    x, w, of_filter, options = operands(case, rng)
    y = lw.conv2d(x, w, **options)
    alone = lw.pack_filter(w, **of_filter)
    lw.conv2d(x, alone, **options)
    barrier = threading.Barrier(8)
    filters = [lw.pack_filter(w, **of_filter) for _ in range(20)]

    def use(_):
        results = []
        for packed in filters:
            barrier.wait()
            results.append(lw.conv2d(x, packed, **options))
        return results

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for results in pool.map(use, range(8)):
            for result in results:
                same(result, y)
    assert {packed.nbytes for packed in filters} == {alone.nbytes}


def test_threads_that_need_different_forms(rng):
    """Types, targets and algorithms by turns, while another thread changes the target."""
    x, w = normal(rng, (1, 12, 12, 24)), normal(rng, (3, 3, 24, 40))
    packed = lw.pack_filter(w)
    exact = np.round(x), np.round(w)
    whole = lw.pack_filter(exact[1])
    y = lw.conv2d(*exact, algorithm="direct")
    done = threading.Event()

    def switch():
        for name in itertools.cycle(lw.config()["simd_available"]):
            lw.set_simd_target(name)
            if done.wait(1e-4):
                return

    def use(i):
        lw.conv2d(x, packed, algorithm=("direct", "winograd")[i % 2])
        return lw.conv2d(exact[0].astype((np.float32, np.float64)[i // 2 % 2]), whole,
                         algorithm="direct")  # fmt: skip

    switcher = threading.Thread(target=switch)
    switcher.start()
    try:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for result in pool.map(use, range(400)):
                np.testing.assert_array_equal(result, y)  # sums of integers, on every target
    finally:
        done.set()
        switcher.join()


FORK = """
import os, signal, sys, threading, time, warnings
import lanewise as lw, numpy as np
warnings.simplefilter("ignore")  # Python warns of forking with threads, which is the point
rng = np.random.default_rng(0)
x, w = rng.normal(size=(1, 4, 4, 1024)), rng.normal(size=(3, 3, 1024, 1024))
expected = lw.conv2d(x, w)

def child_gets_it_right(packed):
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # a lock that nobody will ever open
        other = lw.pack_filter(w[:, :, :, :32], x_shape=x.shape)
        right = np.array_equal(lw.conv2d(x, packed), expected)
        right = right and np.array_equal(lw.conv2d(x, other), expected[..., :32])
        os._exit(0 if right else 3)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


def test_a_forked_child_uses_what_its_parent_has_packed():
    code = """
packed = lw.pack_filter(w, x_shape=x.shape)
assert child_gets_it_right(packed)
assert np.array_equal(lw.conv2d(x, packed), expected)
"""
    result = run(FORK + code)
    assert result.returncode == 0, result.stderr


def test_a_fork_while_another_thread_packs():
    code = """
for delay in (0, 2e-3, 5e-3, 1e-2, 2e-2):
    packed = lw.pack_filter(w)
    packing = threading.Thread(target=lambda: lw.conv2d(x, packed))
    packing.start()
    time.sleep(delay)
    assert child_gets_it_right(packed)
    packing.join()
    assert np.array_equal(lw.conv2d(x, packed), expected)
"""
    result = run(FORK + code)
    assert result.returncode == 0, result.stderr


# ---------------------------------------------------------------------------------------- bad input


def test_options_that_contradict_the_packing(rng):
    x, w = normal(rng, (1, 8, 8, 8)), normal(rng, (3, 3, 8, 8))
    with pytest.raises(ValueError, match=r"^conv2d: groups is 2, but w was packed with groups=1$"):
        lw.conv2d(x, lw.pack_filter(w), groups=2)
    halves = lw.pack_filter(w[:, :, :4], groups=2)
    with pytest.raises(ValueError, match=r"^conv2d: groups is 1, but w was packed with groups=2$"):
        lw.conv2d(x, halves)
    same(lw.conv2d(x, halves, groups=2), lw.conv2d(x, w[:, :, :4], groups=2))
    with pytest.raises(
        ValueError, match=r"^conv2d: layout is 'NCHW', but w was packed with layout='NHWC'$"
    ):
        lw.conv2d(x, lw.pack_filter(w), layout="NCHW")
    with pytest.raises(
        ValueError, match=r"^conv1d: layout is 'NWC', but w was packed with layout='NCW'$"
    ):
        lw.conv1d(x[0], lw.pack_filter(w[0], layout="NCW"))
    with pytest.raises(
        ValueError, match=r"^conv2d: flip is True, but w was packed with flip=False$"
    ):
        lw.conv2d(x, lw.pack_filter(w), flip=True)
    with pytest.raises(
        ValueError, match=r"^conv_transpose2d: flip is False, but w was packed with flip=True$"
    ):
        lw.conv_transpose2d(x, lw.pack_filter(w, flip=True))


@pytest.mark.parametrize(
    ("w_shape", "options", "message"),
    [
        ((3, 3), {}, r"w has shape \(3, 3\), expected 4 axes in layout 'NHWC', or 5 with a bank"),
        ((3,) * 6, {}, r"w has shape \(3, 3, 3, 3, 3, 3\), expected 4 axes"),
        ((3,) * 5, {"layout": "NCW"}, "expected 3 axes in layout 'NCW', or 4 with a bank"),
        ((3, 3, 4, 8), {"layout": "NCWH"}, "layout is 'NCWH', expected 'NHWC' or 'NCHW'"),
        ((3, 4, 8), {"layout": "HWC"}, "layout is 'HWC', expected 'NWC' or 'NCW'"),
        ((3, 3, 4, 8), {"groups": 0}, "groups is 0, expected at least 1"),
        ((3, 3, 4, 8), {"groups": 3}, r"groups=3 does not divide the 8 filters of w \(shape"),
        ((8, 4, 3, 3), {"groups": 3, "layout": "NCHW"}, "does not divide the 8 filters of w"),
        ((2, 8, 4, 3), {"groups": 3, "layout": "NCW"}, "does not divide the 8 filters of w"),
        ((3, 3, 4, 8), {"x_shape": 8}, "x_shape is 8, expected sizes"),
        ((3, 3, 4, 8), {"x_shape": "abcd"}, "x_shape is 'abcd', expected sizes"),
        ((3, 3, 4, 8), {"x_shape": (1, 8, 8.0, 4)}, r"x_shape is \(1, 8, 8.0, 4\), expected sizes"),
        ((3, 3, 4, 8), {"x_shape": (-1, 8, 8, 4)}, r"x_shape is \(-1, 8, 8, 4\), expected sizes"),
        ((3, 3, 4, 8), {"x_shape": (8, 4)}, r"x has shape \(8, 4\), expected 4 axes"),
        (
            (3, 3, 4, 8),
            {"x_shape": (1, 8, 8, 3)},
            "w has 4 input channels per group .* but x has 3 channels",
        ),
        ((3, 3, 4, 8), {"x_shape": (1, 2, 8, 4)}, "a window of 3 .* padded height 2"),
        ((3, 4, 8), {"x_shape": (1, 2, 4)}, "a window of 3 .* padded width 2"),
        ((2, 3, 3, 4, 8), {"x_shape": (3, 8, 8, 4)}, "w has 2 banks of filters .* has 3 images"),
        ((3, 3, 4, 8), {"x_shape": (1, 8, 8, 4), "stride": 0}, "stride is 0 along the height"),
        ((3, 3, 4, 8), {"x_shape": (1, 8, 8, 4), "stride": "2"}, "stride is '2'"),
        ((3, 3, 4, 8), {"x_shape": (1, 8, 8, 4), "padding": "sam"}, "padding is 'sam'"),
        ((3, 3, 4, 8), {"x_shape": (1, 8, 8, 4), "dilation": 0}, "dilation is 0"),
    ],
)
def test_bad_input(w_shape, options, message):
    with pytest.raises(ValueError, match="^pack_filter: .*" + message):
        lw.pack_filter(np.zeros(w_shape, np.float32), **options)


def test_bad_types():
    with pytest.raises(TypeError, match=r"^pack_filter: w has dtype complex64, expected real"):
        lw.pack_filter(np.zeros((3, 3, 4, 8), np.complex64))
    with pytest.raises(TypeError, match=r"^pack_filter: w has dtype object, expected real"):
        lw.pack_filter(lw.pack_filter(np.zeros((3, 3, 4, 8))))
    with pytest.raises(TypeError, match=r"^pack_filter: groups is 1\.5, expected an int"):
        lw.pack_filter(np.zeros((3, 3, 4, 8)), groups=1.5)
    bits = np.zeros((3, 3, 4, 8), bool)
    with pytest.raises(TypeError, match=r"^pack_filter: x has dtype bool and w bool"):
        lw.pack_filter(bits, x_shape=(1, 8, 8, 4))
    with pytest.raises(TypeError, match=r"^conv2d: x has dtype bool and w bool"):
        lw.conv2d(np.zeros((1, 8, 8, 4), bool), lw.pack_filter(bits))
    with pytest.raises(
        TypeError, match=r"^conv2d: no dtype holds the values of x float16 and w bf"
    ):
        lw.conv2d(
            np.zeros((1, 8, 8, 4), np.float16),
            lw.pack_filter(np.zeros((3, 3, 4, 8), ml_dtypes.bfloat16)),
        )
    with pytest.raises(TypeError, match=r"^conv2d: w has dtype float64, which is no 'same_kind'"):
        lw.conv2d(np.zeros((1, 8, 8, 4), int), lw.pack_filter(np.zeros((3, 3, 4, 8))), dtype=int)
    packed = lw.pack_filter(np.zeros((3, 3, 4, 8)))
    with pytest.raises(TypeError, match=r"^conv2d: x has dtype object"):
        lw.conv2d(packed, packed)
    with pytest.raises(TypeError, match=r"^max_pool2d: x has dtype object"):
        lw.max_pool2d(packed, 2)


def test_filters_that_do_not_fit_the_call():
    x = np.zeros((1, 8, 8, 4), np.float32)
    packed = lw.pack_filter(np.zeros((3, 3, 5, 8), np.float32))
    with pytest.raises(ValueError, match=r"^conv2d: w has 5 input channels per group"):
        lw.conv2d(x, packed)
    with pytest.raises(ValueError, match=r"^conv1d: w has shape \(3, 3, 5, 8\), expected 3 axes"):
        lw.conv1d(x[0, 0], packed)
    with pytest.raises(ValueError, match=r"^conv1d: w has 3 banks of filters"):
        lw.conv1d(x[0], packed)
    with pytest.raises(ValueError, match=r"^conv_transpose2d: w has 8 input channels"):
        lw.conv_transpose2d(x, packed)
    before = packed.nbytes
    assert before == 3 * 3 * 5 * 8 * 4


def test_holds_no_reference_to_w(rng):
    w = normal(rng, (3, 3, 4, 8))
    references = sys.getrefcount(w)
    packed = lw.pack_filter(w)
    assert sys.getrefcount(w) == references
    assert not hasattr(packed, "__dict__")
