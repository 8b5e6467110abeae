"""Gradients of convolution against torch's, which differentiates by itself."""

import lanewise as lw
import numpy as np
import pytest
import reference
from convolutions import (
    TO_IOHW,
    TO_NCHW,
    assert_same,
    convolutions,
    to_oihw,
    transposed_convolutions,
)
from hypothesis import given
from hypothesis import strategies as st
from test_conv_backward import normal, problem
from tolerance import assert_within, sum_of_products

pytestmark = pytest.mark.usefixtures("ordered_sums")


def torch_gradients(function, dy, *arrays):
    """By `function`'s arguments in float64, where its result has the gradient dy."""
    torch = pytest.importorskip("torch")
    leaves = [torch.from_numpy(a.astype(np.float64)).requires_grad_() for a in arrays]
    function(*leaves).backward(torch.from_numpy(dy.astype(np.float64)))
    return [leaf.grad.numpy() for leaf in leaves]


def convolution(x, w, bias, stride, padding, dilation, groups, pad_mode, flip):
    """torch's conv2d with every option of ours: x (N, C, H, W), w or banks of them as OIHW."""
    torch = pytest.importorskip("torch")
    channels_last = [(*a.shape[:-3], *a.shape[-2:], a.shape[-3]) for a in (x, w)]
    pads = reference.pads(channels_last[0], channels_last[1][-3:], stride, padding, dilation)
    rows, columns = (
        torch.from_numpy(reference.places(n, p, pad_mode)) for n, p in zip(x.shape[2:], pads)
    )
    padded = torch.nn.functional.pad(x, (0, 1, 0, 1))[:, :, rows[:, None], columns]
    w = w.flip(-1, -2) if flip else w
    options = {"stride": stride, "dilation": dilation, "groups": groups}
    conv2d = torch.nn.functional.conv2d
    if w.ndim == 4:
        return conv2d(padded, w, bias, **options)
    images = [conv2d(padded[i : i + 1], w[i], bias[i], **options) for i in range(len(x))]
    return torch.cat(images)


@given(convolutions(), st.sampled_from([np.float32, np.float64]))
def test_agrees_with_torch(case, dtype):
    x_shape, w_shape, _, options, seed = case
    arrays = problem(np.random.default_rng(seed), x_shape, w_shape, dtype, normal, **options)
    dy, x, w = arrays[0].transpose(TO_NCHW), arrays[1].transpose(TO_NCHW), to_oihw(arrays[2])
    grads = lw.conv2d_backward(dy, x, w, layout="NCHW", **options)
    theirs = torch_gradients(
        lambda *leaves: convolution(*leaves, **options), dy, x, w, np.zeros_like(grads.bias)
    )
    sizes = reference.conv2d_backward(*map(np.abs, arrays), **options)
    terms = reference.conv2d_backward(*map(np.ones_like, arrays), **options)
    sizes = sizes[0].transpose(TO_NCHW), to_oihw(sizes[1]), sizes[2]
    for ours, right, size, count in zip(grads, theirs, sizes, terms, strict=True):
        assert_within(ours, right, sum_of_products(count.max(), size, dtype))


@given(transposed_convolutions(), st.sampled_from([np.float32, np.float64]))
def test_the_transposed_convolution_agrees_with_torch(case, dtype):
    torch = pytest.importorskip("torch")
    x_shape, w_shape, options, seed = case
    rng = np.random.default_rng(seed)
    if isinstance(options["padding"], str):
        options["padding"] = 0
    options["padding"] = tuple(
        p if isinstance(p, int) else min(p) for p in reference.pair(options["padding"])
    )
    x, w = normal(rng, x_shape, dtype), normal(rng, w_shape, dtype)
    dy = normal(rng, lw.conv_transpose2d(x, w, **options).shape, dtype)
    grads = lw.conv_transpose2d_backward(dy, x, w, **options)
    theirs = torch_gradients(
        lambda x, w, bias: torch.nn.functional.conv_transpose2d(x, w, bias, **options),
        dy.transpose(TO_NCHW),
        *(x.transpose(TO_NCHW), w.transpose(TO_IOHW), np.zeros_like(grads.bias)),
    )
    arrays = dy, x, w
    sizes = reference.conv_transpose2d_backward(*map(np.abs, arrays), **options)
    terms = reference.conv_transpose2d_backward(*map(np.ones_like, arrays), **options)
    back = theirs[0].transpose(0, 2, 3, 1), theirs[1].transpose(2, 3, 1, 0), theirs[2]
    for ours, right, size, count in zip(grads, back, sizes, terms, strict=True):
        assert_within(ours, right, sum_of_products(count.max(), size, dtype))


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options"),
    [
        ((0, 3, 5, 6), (4, 3, 3, 3), {}),  # an empty batch
        ((2, 3, 9, 11), (4, 3, 2, 2), {"stride": 4}),  # a stride beyond the window
        ((2, 3, 9, 11), (4, 3, 2, 2), {"stride": 4, "padding": 1}),
        ((1, 3, 5, 6), (4, 3, 5, 6), {}),  # one window
        ((1, 3, 2, 2), (4, 3, 5, 5), {"padding": 2, "dilation": 1}),  # larger than the image
        ((2, 4, 1, 1), (8, 2, 3, 3), {"padding": 4, "dilation": 4, "groups": 2}),
        ((3, 5, 7, 1), (5, 1, 3, 1), {"groups": 5, "stride": (2, 1)}),
    ],
)
def test_edges_as_in_torch(rng, x_shape, w_shape, options):
    torch = pytest.importorskip("torch")
    x, w = (rng.integers(-4, 5, shape).astype(np.float64) for shape in (x_shape, w_shape))
    y = lw.conv2d(x, w, layout="NCHW", **options)
    dy = rng.integers(-4, 5, y.shape).astype(np.float64)
    conv2d = torch.nn.functional.conv2d
    theirs = torch_gradients(
        lambda x, w, bias: conv2d(x, w, bias, **options), dy, x, w, np.zeros(len(w))
    )
    assert_same(lw.conv2d_backward(dy, x, w, layout="NCHW", **options), theirs)
