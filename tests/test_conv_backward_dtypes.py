"""Gradients of convolution in every dtype: narrow floats, integers that wrap around, mixtures."""

import lanewise as lw
import ml_dtypes
import numpy as np
import pytest
from convolutions import (
    assert_are_gradients,
    assert_exact,
    assert_same,
    convolutions,
    gradients_everywhere,
    integers,
    whole_range,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from test_conv_backward import normal, problem
from test_conv_backward_laws import LAYERS

FLOATS = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
INTEGERS = [np.dtype(f"{sign}{size}").type for sign in "iu" for size in (1, 2, 4, 8)]

pytestmark = pytest.mark.usefixtures("ordered_sums")


@pytest.mark.parametrize("dtype", [*FLOATS[2:], *INTEGERS])
@pytest.mark.parametrize(("x_shape", "w_shape", "options"), LAYERS)
def test_every_layer_in_every_type(rng, dtype, x_shape, w_shape, options):
    """Integers whose sums fit float32, and so are exact but for the one rounding at the end."""
    x_shape = (2, *x_shape[1:])
    w_shape = (2, *w_shape[1:]) if len(w_shape) == 5 else w_shape
    arrays = [np.sign(a) for a in problem(rng, x_shape, w_shape, np.int8, **options)]
    arrays = [np.abs(a) if dtype(0).dtype.kind == "u" else a for a in arrays]
    arrays = [a.astype(dtype) for a in arrays]
    assert_exact(gradients_everywhere(*arrays, **options), *arrays, **options)


@pytest.mark.parametrize("dtype", FLOATS[2:])
@settings(max_examples=30)
@given(case=convolutions())
def test_narrow_floats_are_summed_in_float32_and_rounded_once(dtype, case):
    x_shape, w_shape, _, options, seed = case
    arrays = problem(np.random.default_rng(seed), x_shape, w_shape, dtype, normal, **options)
    grads = gradients_everywhere(*arrays, **options)
    assert all(gradient.dtype == dtype for gradient in grads)
    assert_are_gradients(grads, *arrays, **options)


@pytest.mark.parametrize("dtype", FLOATS[2:])
def test_sums_that_the_type_itself_would_lose(simd, dtype):
    """One large term and many small ones, which a sum in the narrow type would not see."""
    n = 2048 if dtype is np.float16 else 256
    x = np.ones((1, 1, n + 1, 1), dtype)
    x[0, 0, 0] = n
    grads = lw.conv2d_backward(np.ones_like(x), x, np.ones((1, 1, 1, 1), dtype))
    assert grads.w == 2 * n
    assert grads.bias == np.float32(n + 1).astype(dtype)
    filters = x.reshape(1, 1, 1, n + 1)
    grads = lw.conv2d_backward(np.ones_like(filters), (1, 1, 1, 1), filters, wrt="x")
    assert grads.x == 2 * n


@given(convolutions(most_c=9, most_k=17), st.sampled_from(INTEGERS))
def test_integers_wrap_around(case, dtype):
    """As those of 64 bits do, whose lower bits they are; and these by the adjoints' equality."""
    x_shape, w_shape, _, options, seed = case
    rng = np.random.default_rng(seed)
    arrays = problem(rng, x_shape, w_shape, dtype, whole_range, **options)
    wide = lw.conv2d_backward(*(a.astype(np.int64) for a in arrays), **options)
    assert_same(gradients_everywhere(*arrays, **options), [g.astype(dtype) for g in wide])


@given(
    convolutions(most_c=9, most_k=17),
    st.lists(st.sampled_from([*FLOATS, *INTEGERS, np.bool_]), min_size=3, max_size=3),
)
def test_mixed_types(case, dtypes):
    """Computed in np.result_type of all, whatever each of them is."""
    x_shape, w_shape, _, options, seed = case
    rng = np.random.default_rng(seed)
    arrays = problem(rng, x_shape, w_shape, np.float32, **options)
    arrays = [np.abs(a).astype(dtype) for a, dtype in zip(arrays, dtypes)]
    try:
        common = np.result_type(*arrays)
    except TypeError:  # as for float16 and bfloat16
        common = None
    if common is None or common == np.bool_:
        with pytest.raises(TypeError, match=r"no dtype holds|no bool"):
            lw.conv2d_backward(*arrays, **options)
        return
    grads = gradients_everywhere(*arrays, **options)
    assert all(gradient.dtype == common for gradient in grads)
    widened = lw.conv2d_backward(*(a.astype(common) for a in arrays), **options)
    assert_same(grads, widened)  # sums of small integers, which no order changes
    assert_exact(grads, *arrays, **options)


def test_types_of_arrays_that_are_not_read_count_and_shapes_do_not(rng):
    dy, x, w = problem(rng, (1, 5, 5, 2), (3, 3, 2, 3))
    wide = x.astype(np.float64)
    assert lw.conv2d_backward(dy, wide, w, wrt="x").x.dtype == np.float64
    assert lw.conv2d_backward(dy, x.shape, w, wrt="x").x.dtype == np.float32
    bias = lw.conv2d_backward(dy.astype(np.int8), x.shape, w.shape, wrt="bias").bias
    np.testing.assert_array_equal(bias, dy.sum((0, 1, 2)).astype(np.int8), strict=True)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_sums_of_eight_bits_over_many_pixels(simd, rng, dtype):
    """All of the largest values: pairs of products that meet in one step must not saturate."""
    info = np.iinfo(dtype)
    for value in (info.min, info.max):
        x = np.full((2, 33, 34, 5), value, dtype)
        dy = np.full((2, 33, 34, 7), info.min if info.min else info.max, dtype)
        options = {"padding": 1}
        w = integers(rng, (3, 3, 5, 7), np.int64).astype(dtype)
        wide = lw.conv2d_backward(*(a.astype(np.int64) for a in (dy, x, w)), **options)
        grads = gradients_everywhere(dy, x, w, **options)
        assert_same(grads, [g.astype(dtype) for g in wide])
        mixed = lw.conv2d_backward(dy, x, w.astype(np.int32), **options)
        assert_same(mixed, [g.astype(np.int32) for g in wide])
