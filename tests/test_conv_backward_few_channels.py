"""Gradients by images of few channels, where they are a matrix product and sums over the taps."""

import lanewise as lw
import numpy as np
import pytest
from convolutions import assert_are_gradients, assert_exact, assert_same, gradients_everywhere
from test_conv_backward import normal, problem

# x, w and options.
LAYERS = [
    ((2, 20, 37, 3), (3, 3, 3, 24), {"padding": 1}),
    ((1, 40, 41, 3), (7, 7, 3, 33), {"padding": 3, "stride": 2}),
    ((2, 33, 50, 1), (5, 5, 1, 16), {"padding": 2}),
    ((1, 30, 71, 3), (3, 3, 3, 24), {"padding": ((0, 2), (1, 0)), "stride": 2}),
    ((1, 30, 70, 3), (3, 3, 3, 24), {"stride": 2, "dilation": 2}),
    ((1, 31, 70, 2), (3, 5, 2, 17), {"padding": (7, 9), "stride": (1, 3), "dilation": (2, 1)}),
    ((1, 9, 100, 1), (5, 3, 1, 19), {"stride": (4, 2)}),
    ((1, 60, 64, 4), (3, 3, 4, 32), {"dilation": (3, 5)}),
    ((3, 1, 200, 2), (1, 9, 2, 16), {"padding": (0, 4)}),
    ((1, 3, 40, 2), (9, 9, 2, 16), {"padding": 8}),
    ((1, 12, 53, 3), (3, 3, 3, 24), {"padding": 1, "flip": True}),
    ((3, 12, 33, 2), (3, 3, 3, 2, 20), {"padding": 1}),
]
layers = pytest.mark.parametrize(("x_shape", "w_shape", "options"), LAYERS)


@layers
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_is_within_the_bound_in_both_layouts(simd, rng, x_shape, w_shape, options, dtype):
    arrays = problem(rng, x_shape, w_shape, dtype, normal, **options)
    assert_are_gradients(gradients_everywhere(*arrays, **options), *arrays, **options)


@layers
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_is_exact_for_integers(rng, x_shape, w_shape, options, dtype):
    arrays = problem(rng, x_shape, w_shape, dtype, **options)
    assert_exact(gradients_everywhere(*arrays, **options), *arrays, **options)


def test_every_width(simd, rng):
    for width in range(3, 70):
        arrays = problem(rng, (1, 5, width, 2), (3, 3, 2, 16), padding=1)
        dx = lw.conv2d_backward(*arrays, wrt="x", padding=1).x
        ordered = lw.conv2d_backward(*arrays, wrt="x", padding=1, algorithm="direct").x
        np.testing.assert_array_equal(dx, ordered)


@layers
def test_bits_do_not_depend_on_threads_batch_or_strides(rng, x_shape, w_shape, options):
    dy, x, w = problem(rng, x_shape, w_shape, np.float32, normal, **options)
    dx = lw.conv2d_backward(dy, x, w, wrt="x", **options).x
    for threads in (1, 2, 3):
        lw.set_num_threads(threads)
        assert_same(lw.conv2d_backward(dy, x, w, wrt="x", **options), (dx, None, None))
        if w.ndim == 4:
            one = lw.conv2d_backward(dy[:1], x[:1], w, wrt="x", **options).x
            np.testing.assert_array_equal(one, dx[:1])
    strided = np.repeat(np.repeat(dy, 2, axis=3), 3, axis=2)[:, :, ::3, ::2]
    planes = np.ascontiguousarray(dy.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    for view in (strided, planes, dy[:, ::-1].copy()[:, ::-1]):
        np.testing.assert_array_equal(lw.conv2d_backward(view, x, w, wrt="x", **options).x, dx)


def test_bands_of_an_image_meet(rng):
    options = {"padding": 3, "stride": 2}
    arrays = problem(rng, (1, 301, 60, 3), (7, 7, 3, 24), np.float32, normal, **options)
    lw.set_num_threads(1)
    dx = lw.conv2d_backward(*arrays, wrt="x", **options).x
    for threads in (2, 3, 5):
        lw.set_num_threads(threads)
        np.testing.assert_array_equal(lw.conv2d_backward(*arrays, wrt="x", **options).x, dx)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_what_is_not_finite_stays_under_its_windows(rng, value):
    """Of dy in the pixels under its window, and of a tap in those that some output has there."""
    dy, x, w = problem(rng, (1, 20, 40, 3), (3, 3, 3, 24), padding=1)
    dy[0, 0, 39, 5] = value
    w[w == 0] = 1
    dx = lw.conv2d_backward(dy, x, w, wrt="x", padding=1).x
    finite = np.ones((20, 40), bool)
    finite[:2, 38:] = False
    np.testing.assert_array_equal(np.isfinite(dx[0]).all(axis=-1), finite)

    dy = np.ones_like(dy)
    w[0, 0, 0, 0] = value  # row i + 1 and column j + 1 of dy
    dx = lw.conv2d_backward(dy, x, w, wrt="x", padding=1).x
    finite[:] = True
    finite[:19, :39] = False
    np.testing.assert_array_equal(np.isfinite(dx[0, ..., 0]), finite)
    assert np.isfinite(dx[..., 1:]).all()
