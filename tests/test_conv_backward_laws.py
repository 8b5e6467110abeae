"""Gradients of convolution: the same bits always, adjoints, and every kind of array."""

import concurrent.futures
import itertools

import lanewise as lw
import numpy as np
import pytest
from convolutions import (
    assert_same,
    convolutions,
    gradients_everywhere,
    transposed_convolutions,
    whole_range,
)
from hypothesis import given
from hypothesis import strategies as st
from pooling import unaligned, views
from test_conv_backward import normal, problem
from tolerance import gamma

# x, w and options of a layer for every way to compute a gradient.
LAYERS = [
    ((3, 9, 10, 20), (3, 3, 20, 24), {"padding": 1}),
    ((3, 18, 17, 33), (3, 3, 33, 34), {"padding": 1}),
    ((3, 5, 4, 70), (3, 3, 70, 65), {"padding": 1}),
    ((3, 27, 26, 3), (5, 5, 3, 20), {"stride": 2, "padding": "same"}),
    ((3, 12, 13, 24), (3, 3, 1, 24), {"groups": 24, "padding": 1}),
    ((3, 20, 23, 20), (7, 7, 1, 20), {"groups": 20, "padding": 3}),
    ((3, 20, 21, 3), (9, 9, 1, 3), {"groups": 3, "padding": 4}),
    ((3, 15, 14, 20), (3, 3, 1, 20), {"groups": 20, "stride": 2, "padding": 1}),
    ((3, 15, 34, 5), (4, 5, 1, 5), {"groups": 5, "stride": (1, 3), "dilation": (2, 1)}),
    ((3, 12, 13, 8), (3, 3, 1, 24), {"groups": 8, "padding": 1}),
    ((3, 12, 13, 24), (3, 3, 6, 8), {"groups": 4}),
    ((3, 15, 14, 32), (3, 3, 4, 32), {"groups": 8, "stride": 2, "padding": 1}),
    ((3, 14, 15, 21), (3, 3, 21, 3), {"stride": (1, 2), "padding": 2, "pad_mode": "reflect"}),
    ((3, 14, 15, 20), (3, 3, 20, 18), {"padding": 1, "pad_mode": "wrap", "flip": True}),
    ((3, 9, 10, 70), (1, 1, 70, 20), {}),
    ((3, 14, 15, 20), (3, 3, 20, 5), {"padding": 3, "dilation": 3}),
    ((3, 9, 8, 20), (3, 3, 3, 20, 24), {"padding": 1}),
    ((3, 9, 8, 20), (3, 3, 3, 1, 20), {"padding": 1, "groups": 20}),
]
layers = pytest.mark.parametrize(("x_shape", "w_shape", "options"), LAYERS)


@layers
@pytest.mark.parametrize("algorithm", ["auto", "direct"])
def test_bits_do_not_depend_on_threads_or_layout(simd, rng, x_shape, w_shape, options, algorithm):
    options = options | {"algorithm": algorithm}
    arrays = problem(rng, x_shape, w_shape, np.float32, normal, **options)
    grads = gradients_everywhere(*arrays, **options)
    for threads in (1, 2, 3):
        lw.set_num_threads(threads)
        assert_same(lw.conv2d_backward(*arrays, **options), grads)


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options"),
    [
        ((5, 45, 47, 35), (3, 3, 35, 40), {"padding": 1}),
        ((2, 150, 131, 3), (7, 7, 3, 16), {"padding": 3, "stride": 2}),
        ((2, 9, 10, 700), (1, 1, 700, 300), {}),
        ((4, 60, 61, 40), (5, 5, 1, 40), {"padding": 2, "groups": 40}),
        ((3, 60, 61, 24), (3, 3, 4, 24), {"padding": 1, "groups": 6}),
        ((1, 2, 9000, 5), (1, 3, 5, 6), {}),
    ],
)
@pytest.mark.parametrize("algorithm", ["auto", "direct"])
def test_nor_do_those_of_sums_that_threads_share(simd, rng, x_shape, w_shape, options, algorithm):
    test_bits_do_not_depend_on_threads_or_layout(simd, rng, x_shape, w_shape, options, algorithm)


@layers
@pytest.mark.parametrize("algorithm", ["auto", "direct"])
def test_dx_does_not_depend_on_the_batch(simd, rng, x_shape, w_shape, options, algorithm):
    options = options | {"algorithm": algorithm}
    dy, x, w = problem(rng, x_shape, w_shape, np.float32, normal, **options)
    dx = lw.conv2d_backward(dy, x_shape, w, wrt="x", **options).x
    for i in range(len(x)):
        own = w[i] if w.ndim == 5 else w
        alone = lw.conv2d_backward(dy[i], x_shape[1:], own, wrt="x", **options).x
        np.testing.assert_array_equal(dx[i], alone)
    several = w[:2] if w.ndim == 5 else w
    dx_of_two = lw.conv2d_backward(dy[:2], (2, *x_shape[1:]), several, wrt="x", **options).x
    np.testing.assert_array_equal(dx[:2], dx_of_two)


@layers
def test_bits_do_not_depend_on_strides(rng, x_shape, w_shape, options):
    dy, x, w = arrays = problem(rng, x_shape, w_shape, np.float32, normal, **options)
    grads = lw.conv2d_backward(*arrays, **options)

    def check(dy, x, w):
        assert_same(lw.conv2d_backward(dy, x, w, **options), grads)

    for dy_view, x_view, w_view in itertools.zip_longest(*map(views, arrays)):
        if dy_view is not None:
            check(dy_view, x_view, w if w_view is None else w_view)
            check(dy_view, x, w)
            check(dy, x_view, w)
    for change in (unaligned, lambda a: a.astype(">f4")):
        check(*map(change, arrays))


def test_read_only_and_lists(rng):
    arrays = problem(rng, (1, 5, 6, 2), (3, 3, 2, 3), np.float64, normal)
    grads = lw.conv2d_backward(*arrays)
    for a in arrays:
        a.flags.writeable = False
    assert_same(lw.conv2d_backward(*arrays), grads)
    assert_same(lw.conv2d_backward(*(a.tolist() for a in arrays)), grads)


@layers
def test_elements_that_share_memory(rng, x_shape, w_shape, options):
    """One element broadcast, one row of channels, and windows that overlap."""
    for shown in (np.s_[:1, :1, :1, :1], np.s_[:1, :, :1], np.s_[..., :1]):
        arrays = problem(rng, x_shape, w_shape, np.float32, normal, **options)
        spread = [np.broadcast_to(a[shown], a.shape) for a in arrays]
        copies = [a.copy() for a in spread]
        assert_same(lw.conv2d_backward(*spread, **options), lw.conv2d_backward(*copies, **options))
    dy, x, w = problem(rng, x_shape, w_shape, np.float32, normal, **options)
    signal = normal(rng, x.size, np.float32)
    windows = np.lib.stride_tricks.as_strided(signal, x.shape, (8, 4, 12, 4))
    assert_same(
        lw.conv2d_backward(dy, windows, w, **options),
        lw.conv2d_backward(dy, windows.copy(), w, **options),
    )


def test_several_python_threads_at_once(rng):
    problems = [problem(rng, x, w, np.float32, normal, **options) for x, w, options in LAYERS]

    def everything():
        return [
            lw.conv2d_backward(*arrays, **options)
            for arrays, (_, _, options) in zip(problems, LAYERS)
        ]

    expected = everything()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for results in pool.map(lambda _: everything(), range(6)):
            for grads, right in zip(results, expected, strict=True):
                assert_same(grads, right)


# ----------------------------------------------------------------------------------------- adjoints


@given(convolutions(most_c=9, most_k=17))
def test_all_gradients_are_adjoints_modulo_2_to_the_64(case):
    """⟨conv(x, w), dy⟩ = ⟨x, dx⟩ = ⟨w, dw⟩, in integers that wrap around: with no error at all."""
    x_shape, w_shape, _, options, seed = case
    rng = np.random.default_rng(seed)
    dy, x, w = problem(rng, x_shape, w_shape, np.int64, whole_range, **options)
    dx, dw, dbias = gradients_everywhere(dy, x, w, **options)
    whole = (lw.conv2d(x, w, **options) * dy).sum()
    assert (x * dx).sum() == whole
    assert (w * dw).sum() == whole
    np.testing.assert_array_equal(dbias, dy.sum((1, 2) if w.ndim == 5 else (0, 1, 2)))


@given(transposed_convolutions())
def test_all_gradients_of_the_transposed_convolution_are_adjoints(case):
    x_shape, w_shape, options, seed = case
    rng = np.random.default_rng(seed)
    x, w = whole_range(rng, x_shape), whole_range(rng, w_shape)
    y = lw.conv_transpose2d(x, w, **options)
    dy = whole_range(rng, y.shape)
    dx, dw, dbias = lw.conv_transpose2d_backward(dy, x, w, **options)
    whole = (y * dy).sum()
    assert (x * dx).sum() == whole
    assert (w * dw).sum() == whole
    np.testing.assert_array_equal(dbias, dy.sum((0, 1, 2)))


@given(convolutions(most_c=9, most_k=17), st.sampled_from([np.float32, np.float64]))
def test_adjoints_in_floating_point(case, dtype):
    """Both sides are sums of products dy·x·w: off by γ(additions on the way)·Σ|dy||x||w|."""
    x_shape, w_shape, _, options, seed = case
    rng = np.random.default_rng(seed)
    arrays = dy, x, w = problem(rng, x_shape, w_shape, dtype, normal, **options)
    grads = lw.conv2d_backward(*arrays, algorithm="direct", **options)
    y = lw.conv2d(x, w, algorithm="direct", **options)
    sizes = [np.abs(a.astype(np.float64)) for a in arrays]
    size = (sizes[0] * lw.conv2d(*sizes[1:], **options)).sum()
    products = y.size * np.prod(w_shape[-4:-1])  # the most that meet in one sum
    limit = (gamma(products, dtype) + gamma(x.size + y.size + w.size, np.float64)) * 2 * size

    def dot(a, b):
        return (a.astype(np.float64) * b).sum()

    assert abs(dot(x, grads.x) - dot(y, dy)) <= limit
    assert abs(dot(w, grads.w) - dot(y, dy)) <= limit
