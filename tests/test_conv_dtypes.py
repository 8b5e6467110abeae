"""conv2d in every dtype: narrow floats, integers that wrap around, and mixtures."""

import lanewise as lw
import ml_dtypes
import numpy as np
import pytest
import reference
from convolutions import TO_NCHW, TO_OIHW, convolutions, same_everywhere
from hypothesis import given
from hypothesis import strategies as st
from tolerance import assert_within, gamma, tiny, u

pytestmark = pytest.mark.usefixtures("ordered_sums")


NARROW = [np.float16, ml_dtypes.bfloat16]
INTEGERS = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]


def full_range(rng, shape, dtype):
    """Every value of a narrow type; of a wide one, as many as keep sums exact in float64."""
    info = np.iinfo(dtype)
    low, high = max(info.min, -(2**20)), min(info.max, 2**20)
    return rng.integers(low, high, shape, np.int64, endpoint=True).astype(dtype)


# --------------------------------------------------------------------------------- narrow floats


def every_value(dtype):
    return np.arange(2**16, dtype=np.uint16).view(dtype)


@pytest.mark.parametrize("dtype", NARROW)
def test_every_narrow_value_is_widened_exactly_and_comes_back(simd, dtype):
    values = every_value(dtype)
    one = np.ones((1, 1, 1, 1), dtype)
    for x in (values, values[::-1], values.reshape(256, 256).T):  # contiguous, reversed, strided
        x = x.reshape(1, -1, 256, 1)
        np.testing.assert_array_equal(
            lw.conv2d(x, one.astype(np.float32)), x.astype(np.float32), strict=True
        )
        y = lw.conv2d(x, one)
        assert y.dtype == dtype
        np.testing.assert_array_equal(y.astype(np.float32), x.astype(np.float32))


@pytest.mark.parametrize("dtype", NARROW)
def test_results_are_rounded_to_nearest_even(simd, dtype):
    """Sums of a value and a part of its last place, for every value, against NumPy's rounding."""
    values = every_value(dtype)
    low = np.abs(values.astype(np.float32))
    with np.errstate(all="ignore"):
        exponent = np.floor(np.log2(np.maximum(low, np.float32(2.0**-120))))
        ulp = np.float32(2 * u(dtype)) * np.exp2(exponent)
        for part in (0.25, 0.5, 0.75, 1.5):
            x = np.stack([values, np.nan_to_num(ulp * np.float32(part)).astype(dtype)], axis=-1)
            expected = x.astype(np.float32).sum(-1, dtype=np.float32).astype(dtype)
            y = lw.conv2d(x.reshape(1, 256, 256, 2), np.ones((1, 1, 2, 1), dtype)).reshape(-1)
            np.testing.assert_array_equal(y.astype(np.float32), expected.astype(np.float32))


@given(convolutions(), st.sampled_from(NARROW))
def test_narrow_floats_are_computed_in_float32_and_rounded_once(case, dtype):
    x_shape, w_shape, _, options, seed = case
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=x_shape).astype(dtype), rng.normal(size=w_shape).astype(dtype)
    wide = lw.conv2d(x.astype(np.float32), w.astype(np.float32), **options)
    y = same_everywhere(x, w, **options)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y.astype(np.float32), wide.astype(dtype).astype(np.float32))
    exact = reference.conv2d(x, w, **options)
    size = reference.conv2d(np.abs(x.astype(float)), np.abs(w.astype(float)), **options)
    bound = gamma(np.prod(w_shape[-4:-1]) + 1, np.float32) * size
    assert_within(y, exact, bound + u(dtype) * (np.abs(exact) + bound) + tiny(dtype))


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_narrow_bias_and_activation(rng, dtype, activation):
    x, w = rng.normal(size=(2, 9, 8, 5)).astype(dtype), rng.normal(size=(3, 3, 5, 7)).astype(dtype)
    bias = rng.normal(size=7)  # float64, and cast
    y = lw.conv2d(x, w, bias, activation=activation)
    wide = lw.conv2d(
        *(a.astype(np.float32) for a in (x, w, bias.astype(dtype))), activation=activation
    )
    np.testing.assert_array_equal(y.astype(np.float32), wide.astype(dtype).astype(np.float32))


def test_agrees_with_torch_in_bfloat16(rng):
    torch = pytest.importorskip("torch")
    x = rng.normal(size=(2, 9, 8, 6)).astype(ml_dtypes.bfloat16)
    w = rng.normal(size=(3, 3, 6, 5)).astype(ml_dtypes.bfloat16)

    def tensor(a, axes):
        bits = np.ascontiguousarray(a.transpose(axes)).view(np.int16)
        return torch.from_numpy(bits).view(torch.bfloat16)

    theirs = torch.nn.functional.conv2d(tensor(x, TO_NCHW), tensor(w, TO_OIHW))
    exact = reference.conv2d(x, w).transpose(TO_NCHW)
    size = reference.conv2d(np.abs(x.astype(float)), np.abs(w.astype(float))).transpose(TO_NCHW)
    # Both round a float32 sum once; two roundings of neighbouring sums are one place apart.
    bound = 2 * gamma(55, np.float32) * size + 2 * u(ml_dtypes.bfloat16) * (
        np.abs(exact) + size * 1e-6
    )
    assert_within(lw.conv2d(x, w).transpose(TO_NCHW), theirs.float().numpy(), bound)


# -------------------------------------------------------------------------------------- integers


@given(convolutions(), st.sampled_from(INTEGERS), st.sampled_from(INTEGERS), st.booleans())
def test_integers_wrap_around_in_the_promoted_dtype(case, x_dtype, w_dtype, with_bias):
    x_shape, w_shape, _, options, seed = case
    rng = np.random.default_rng(seed)
    x, w = full_range(rng, x_shape, x_dtype), full_range(rng, w_shape, w_dtype)
    dtype = np.result_type(x, w)
    bias = full_range(rng, w_shape[-1], dtype) if with_bias and dtype.kind in "iu" else None
    y = same_everywhere(x, w, bias=bias, **options)
    assert y.dtype == dtype
    exact = reference.conv2d(x, w, **options)
    if dtype.kind == "f":  # 64-bit integers of both kinds
        np.testing.assert_array_equal(y, exact)
        return
    with np.errstate(over="ignore"):
        wrapped = exact.astype(np.int64) + (0 if bias is None else bias.astype(np.int64))
    np.testing.assert_array_equal(y, wrapped.astype(dtype), strict=True)


def test_64_bit_products_wrap_around(simd, rng):
    for dtype in (np.int64, np.uint64):
        info = np.iinfo(dtype)
        x = rng.integers(info.min, info.max, (1, 4, 9, 21), dtype, endpoint=True)
        w = rng.integers(info.min, info.max, (1, 1, 21, 11), dtype, endpoint=True)
        with np.errstate(over="ignore"):
            expected = (x[..., None] * w[0, 0]).sum(-2, dtype=dtype)
        np.testing.assert_array_equal(same_everywhere(x, w), expected, strict=True)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("activation", ["relu", "relu6"])
def test_integer_activations_follow_the_wrap_around(simd, rng, dtype, activation):
    for c in (3, 40):
        x, w = full_range(rng, (1, 6, 7, c), dtype), full_range(rng, (3, 3, c, 19), dtype)
        y = same_everywhere(x, w, activation=activation)
        plain = lw.conv2d(x, w)
        top = np.iinfo(dtype).max if activation == "relu" else 6
        np.testing.assert_array_equal(y, np.clip(plain, 0, top))


def test_uint8_images(rng):
    """As they come from a file: int8 filters summed in int32, and float32 filters."""
    image = rng.integers(0, 256, (1, 40, 41, 3), np.uint8)
    kernels = rng.integers(-128, 128, (5, 5, 3, 8), np.int8)
    y = same_everywhere(image, kernels, dtype=np.int32, padding=2, pad_mode="reflect", stride=2)
    expected = reference.conv2d(image, kernels, 2, 2, pad_mode="reflect")
    np.testing.assert_array_equal(y, expected.astype(np.int32), strict=True)
    floats = kernels.astype(np.float32) / 128
    y = same_everywhere(image, floats, padding=2)
    np.testing.assert_array_equal(
        y, lw.conv2d(image.astype(np.float32), floats, padding=2), strict=True
    )


def test_bool_masks_with_other_dtypes(rng):
    mask = rng.random((1, 8, 9, 2)) < 0.5
    for dtype in (np.int8, np.uint16, np.int64, np.float16, np.float32, np.float64):
        w = rng.integers(-3, 4, (3, 3, 2, 4)).astype(dtype)
        y = lw.conv2d(mask, w)
        assert y.dtype == dtype
        expected = reference.conv2d(mask, w.astype(np.float64))
        if np.dtype(dtype).kind == "u":
            expected = expected.astype(np.int64).astype(dtype)
        np.testing.assert_array_equal(y, expected)
    with pytest.raises(TypeError, match="choose a dtype"):
        lw.conv2d(mask, np.ones((3, 3, 2, 1), bool))
    y = lw.conv2d(mask, np.ones((3, 3, 2, 1), bool), dtype=np.int32)
    np.testing.assert_array_equal(y, reference.conv2d(mask, np.ones((3, 3, 2, 1))))


# ---------------------------------------------------------------------- products of 8-bit operands

EIGHT_BITS = [np.int8, np.uint8, bool]


def extremes(rng, shape, dtype):
    """The ends of a type's range, zero, and one."""
    info = np.iinfo(dtype) if dtype is not bool else np.iinfo(np.uint8)
    ends = [info.min, info.max, 0, 1] if dtype is not bool else [0, 1]
    return rng.choice(ends, shape).astype(dtype)


def sums(x, w, bias=0, **options):
    """The definition: sums modulo 2^32."""
    exact = reference.conv2d(x, w, **options).astype(np.int64) + np.int64(bias)
    return exact.astype(np.uint32).view(np.int32)


@given(
    convolutions(),
    st.sampled_from(EIGHT_BITS),
    st.sampled_from(EIGHT_BITS),
    st.sampled_from([None, "relu", "relu6"]),
    st.booleans(),
)
def test_8_bit_operands_are_summed_in_int32(case, x_dtype, w_dtype, activation, with_bias):
    x_shape, w_shape, _, options, seed = case
    rng = np.random.default_rng(seed)
    x, w = extremes(rng, x_shape, x_dtype), extremes(rng, w_shape, w_dtype)
    bias = full_range(rng, w_shape[-1], np.int32) if with_bias else None
    y = same_everywhere(x, w, dtype=np.int32, bias=bias, activation=activation, **options)
    expected = sums(x, w, 0 if bias is None else bias, **options)
    if activation is not None:
        expected = np.clip(expected, 0, 6 if activation == "relu6" else None)
    np.testing.assert_array_equal(y, expected, strict=True)


@pytest.mark.parametrize("w_dtype", EIGHT_BITS)
@pytest.mark.parametrize("x_dtype", EIGHT_BITS)
def test_pairs_of_channels(simd, rng, x_dtype, w_dtype):
    """Whole pairs and a single last one, of every way in which pixels and filters are read."""
    for c in (1, 2, 3, 4, 5, 15, 16, 17, 33, 64):
        for k, size, window, options in [
            (3, 70, 3, {"padding": 1}),
            (40, 13, 3, {"padding": 2, "dilation": 2, "pad_mode": "reflect"}),
            (70, 7, 3, {"padding": "same", "pad_mode": "wrap"}),
            (13, 23, 5, {"stride": 2, "padding": 1}),
            (33, 29, 2, {"stride": 5}),
            (65, 9, 1, {}),
        ]:
            x = extremes(rng, (1, 5, size, c), x_dtype)
            w = extremes(rng, (min(window, 3), window, c, k), w_dtype)
            y = same_everywhere(x, w, dtype=np.int32, **options)
            np.testing.assert_array_equal(y, sums(x, w, **options), strict=True)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_pairs_from_any_memory(simd, rng, layout):
    """Strides, also negative and zero, decide how operands are read, and nothing else."""
    for c, k in [(3, 20), (4, 40), (33, 7), (34, 64)]:
        x = extremes(rng, (2, 9, 11, c + 1), np.uint8)
        w = extremes(rng, (3, 3, c + 1, 2 * k), np.int8)
        for a, b in [
            (x[..., :c], w[:, :, :c, :k]),
            (x[:, ::-1, ::-1, c:0:-1], w[::-1, :, c:0:-1, ::-2]),
            (np.broadcast_to(x[..., :1], (2, 9, 11, c)), w[:, :, 1:, 1::2]),
            (x[..., 1:], np.broadcast_to(w[:, :, :1, :k], (3, 3, c, k))),
            (x.transpose(0, 2, 1, 3)[..., 1:], w.transpose(1, 0, 2, 3)[:, :, 1:]),
        ]:
            expected = sums(a, b, padding=1)
            if layout == "NCHW":
                a, b, expected = (
                    v.transpose(axes)
                    for v, axes in ((a, TO_NCHW), (b, TO_OIHW), (expected, TO_NCHW))
                )
            for filters in (b, lw.pack_filter(b, layout=layout)):
                y = lw.conv2d(a, filters, padding=1, layout=layout, dtype=np.int32)
                np.testing.assert_array_equal(y, expected, strict=True)


@pytest.mark.parametrize("groups", [2, 3])
def test_pairs_stay_within_their_group(simd, rng, groups):
    for group_c in (20, 21):
        x = extremes(rng, (2, 8, 9, groups * group_c), np.int8)
        w = extremes(rng, (3, 3, group_c, groups * 19), np.int8)
        y = same_everywhere(x, w, groups=groups, dtype=np.int32)
        np.testing.assert_array_equal(y, sums(x, w, groups=groups))


@pytest.mark.parametrize("c", [1, 2, 19, 20])
def test_pairs_in_banks_signals_and_transposed(simd, rng, c):
    x, w = extremes(rng, (3, 8, 9, c), np.uint8), extremes(rng, (3, 3, 3, c, 21), np.int8)
    np.testing.assert_array_equal(same_everywhere(x, w, dtype=np.int32), sums(x, w))
    y = lw.conv1d(x[:, 0], w[0, 0], dtype=np.int32, layout="NWC")
    np.testing.assert_array_equal(y, sums(x[:, :1], w[0, :1])[:, 0])
    w = w[0].transpose(0, 1, 3, 2)
    y = lw.conv_transpose2d(x, w, stride=2)
    exact = reference.conv_transpose2d(x, w, stride=2)
    np.testing.assert_array_equal(y, exact.astype(np.int64).astype(np.int16), strict=True)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_the_largest_products_wrap_around_in_the_sum(simd, dtype):
    """c products of 2^14, or of 255², which are just above 2^31, in several blocks of terms."""
    value = -128 if dtype == np.int8 else 255
    c = 2**31 // value**2 + 1
    x, w = np.full((1, 1, 2, c), value, dtype), np.full((1, 1, c, 3), value, dtype)
    y = same_everywhere(x, w, dtype=np.int32)
    assert (y == c * value**2 - 2**32).all()
    y = same_everywhere(x[..., 1:], w[:, :, 1:], dtype=np.int32, bias=[0, -(2**31), 2**31 - 1])
    exact = (c - 1) * value**2 + np.array([0, -(2**31), 2**31 - 1])
    np.testing.assert_array_equal(y[0, 0, 0], exact.astype(np.uint32).view(np.int32))


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize(("c", "k", "size"), [(3, 24, 21), (33, 24, 12), (40, 70, 7), (700, 40, 7)])
def test_pairs_in_any_number_of_threads_and_packed(simd, rng, layout, c, k, size):
    x, w = extremes(rng, (2, size, size, c), np.int8), extremes(rng, (3, 3, c, k), np.uint8)
    expected = sums(x, w, padding=1)
    if layout == "NCHW":
        x, w, expected = (
            np.ascontiguousarray(v.transpose(axes))
            for v, axes in ((x, TO_NCHW), (w, TO_OIHW), (expected, TO_NCHW))
        )
    packed = lw.pack_filter(w, x_shape=x.shape, layout=layout, padding=1)
    nbytes = packed.nbytes
    for threads in (1, 2, 3):
        lw.set_num_threads(threads)
        for filters in (w, packed):
            y = lw.conv2d(x, filters, padding=1, layout=layout, dtype=np.int32)
            np.testing.assert_array_equal(y, expected, strict=True)
    assert packed.nbytes == nbytes  # no call needed another form
    wide = lw.conv2d(x.astype(np.int32), packed, padding=1, layout=layout)
    np.testing.assert_array_equal(wide, expected, strict=True)
    assert packed.nbytes > nbytes


# --------------------------------------------------------------------------------------- mixtures

EVERY = [bool, *INTEGERS, *NARROW, np.float32, np.float64]


@pytest.mark.parametrize("x_dtype", EVERY)
@pytest.mark.parametrize("w_dtype", EVERY)
def test_mixed_dtypes_are_numpys(rng, x_dtype, w_dtype):
    x = rng.integers(0, 2, (1, 5, 6, 3)).astype(x_dtype)
    w = rng.integers(0, 2, (3, 3, 3, 17)).astype(w_dtype)
    try:
        dtype = np.result_type(x, w)
    except TypeError:
        dtype = None
    if dtype is None or dtype.kind == "b":
        with pytest.raises(TypeError, match="conv2d: "):
            lw.conv2d(x, w)
        return
    y = same_everywhere(x, w)
    np.testing.assert_array_equal(y, reference.conv2d(x, w).astype(dtype), strict=True)


def test_dtype_sets_operands_and_result(rng):
    x, w = rng.normal(size=(1, 5, 6, 3)), rng.normal(size=(3, 3, 3, 4))
    y = lw.conv2d(x, w, dtype=np.float32)
    np.testing.assert_array_equal(y, lw.conv2d(x.astype("f4"), w.astype("f4")), strict=True)
    small = rng.integers(-100, 100, (1, 5, 6, 3), np.int16)
    y = lw.conv2d(small, small[:, :3, :3].reshape(3, 3, 3, 1), dtype=np.int8)
    assert y.dtype == np.int8
    exact = reference.conv2d(small, small[:, :3, :3].reshape(3, 3, 3, 1))
    np.testing.assert_array_equal(y, exact.astype(np.int64).astype(np.int8))


def test_bias_never_promotes(rng):
    x, w = np.ones((1, 4, 4, 2), np.float16), np.ones((3, 3, 2, 4), np.float16)
    assert lw.conv2d(x, w, np.zeros(4)).dtype == np.float16
    x, w = x.astype(np.int8), w.astype(np.int8)
    assert lw.conv2d(x, w, np.arange(4)).dtype == np.int8
    with pytest.raises(TypeError, match="bias has dtype float64"):
        lw.conv2d(x, w, np.zeros(4))


class WithArray:
    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array if dtype is None else self.array.astype(dtype)


class WithDLPack:
    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32])
def test_other_libraries_arrays(rng, dtype):
    x, w = np.ones((1, 5, 6, 3), dtype), np.ones((3, 3, 3, 4), dtype)
    expected = lw.conv2d(x, w)
    for wrap in (WithArray, WithDLPack):
        np.testing.assert_array_equal(lw.conv2d(wrap(x), wrap(w)), expected, strict=True)
