"""Large inputs are read where they are: peak memory, measured in a process of its own.

Zeros that were never written take no memory until somebody writes them, so an input of 2 GB costs
nothing here, and a copy of it would show.
"""

import gc
import subprocess
import sys

import lanewise as lw
import numpy as np
import pytest

PRELUDE = """
import resource
import numpy as np
import lanewise as lw

GIB = 2**30
lw.set_num_threads(2)

def every_second(shape, dtype):
    # A view of 2 GB whose elements are not neighbours.
    base = np.zeros((*shape[:-1], 2 * shape[-1]), dtype)
    view = base[..., ::2]
    assert view.nbytes == 2 * GIB
    return view

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def measured(call):
    before = peak()
    result = call()
    extra = peak() - before - result.nbytes
    assert extra < 64 * 2**20, f"{extra / 2**20:.0f} MB beyond the result"
    return result
"""

CASES = {
    "conv2d of float32": """
x = every_second((1, 2**14, 2**13, 4), np.float32)
x[0, 5, 9, 3] = 2
y = measured(lambda: lw.conv2d(x, np.ones((8, 8, 4, 1), np.float32), stride=8))
assert y.shape == (1, 2**11, 2**10, 1) and y[0, 0, 1, 0] == 2 == y.sum()
""",
    "conv2d of uint8 images with float32 filters": """
x = every_second((2**4, 2**13, 2**12, 4), np.uint8)
x[3, 5, 9, 3] = 200
y = measured(lambda: lw.conv2d(x, np.ones((8, 8, 4, 1), np.float32), stride=8))
assert y[3, 0, 1, 0] == 200 == y.sum()
""",
    "depthwise conv2d of float16, NCHW": """
x = every_second((1, 16, 2**13, 2**13), np.float16)
x[0, 3, 5, 9] = 2
w = np.ones((16, 1, 8, 8), np.float16)
y = measured(lambda: lw.conv2d(x, w, stride=8, groups=16, layout="NCHW"))
assert y[0, 3, 0, 1] == 2 == y.sum()
""",
    "conv2d_backward by its image, of strided gradients": """
dy = every_second((1, 2**13, 2**12, 16), np.float32)
dy[0, 5, 9, 3] = 2
w = np.ones((1, 1, 1, 16), np.float32)
dx = measured(lambda: lw.conv2d_backward(dy, (1, 2**13, 2**12, 1), w, wrt="x").x)
assert dx[0, 5, 9, 0] == 2 == dx.sum()
""",
    "conv2d_backward by its image, with grouped filters for each image": """
w = every_second((2**11, 4, 4, 8, 2**11), np.float32)
w[5, 1, 3, 2, 9] = 2
dy = np.ones((2**11, 1, 1, 2**11), np.float32)
dx = measured(lambda: lw.conv2d_backward(dy, (2**11, 4, 4, 2**11), w, wrt="x", groups=2**8).x)
assert dx[5, 1, 3, 8 * 1 + 2] == 2 == dx.sum()
""",
    "conv2d_backward by its image of one channel, with filters for each image": """
w = every_second((2**13, 4, 4, 1, 2**12), np.float32)
w[5, 1, 3, 0, 9] = 2
dy = np.broadcast_to(np.float32(1), (2**13, 1, 32, 2**12))
dx = measured(lambda: lw.conv2d_backward(dy, (2**13, 4, 35, 1), w, wrt="x").x)
assert dx[5, 1, 3, 0] == 2 and dx.sum() == 64
""",
    "conv2d_backward by its filters, of strided images": """
x = every_second((1, 2**14, 2**13, 4), np.float32)
dy = np.zeros((1, 2**11, 2**10, 1), np.float32)
x[0, 5, 9, 3], dy[0, 0, 1, 0] = 2, 3
dw = measured(lambda: lw.conv2d_backward(dy, x, (8, 8, 4, 1), wrt="w", stride=8).w)
assert dw[5, 1, 3, 0] == 6 == dw.sum()
""",
    "conv2d_backward by depthwise filters of float16, NCHW": """
x = every_second((1, 16, 2**13, 2**13), np.float16)
dy = np.zeros((1, 16, 2**10, 2**10), np.float16)
x[0, 3, 5, 9], dy[0, 3, 0, 1] = 2, 3
dw = measured(lambda: lw.conv2d_backward(
    dy, x, (16, 1, 8, 8), wrt="w", stride=8, groups=16, layout="NCHW").w)
assert dw[3, 0, 5, 1] == 6 == dw.sum()
""",
    "max_pool2d of float32": """
x = every_second((1, 2**14, 2**13, 4), np.float32)
x[0, 5, 9, 3] = 2
y = measured(lambda: lw.max_pool2d(x, 8))
assert y[0, 0, 1, 3] == 2 == y.sum()
""",
    "max_pool2d of uint8": """
x = every_second((2**4, 2**13, 2**12, 4), np.uint8)
x[3, 5, 9, 3] = 200
y = measured(lambda: lw.max_pool2d(x, 8))
assert y[3, 0, 1, 3] == 200 == y.sum()
""",
    "avg_pool2d of float16": """
x = every_second((1, 2**14, 2**13, 8), np.float16)
x[0, 5, 9, 3] = 64
y = measured(lambda: lw.avg_pool2d(x, 8))
assert y[0, 0, 1, 3] == 1 == y.sum()
""",
    "global_avg_pool2d of uint8, whose only window is the image": """
x = every_second((1, 2**14, 2**14, 8), np.uint8)
x[0, 5, 9, 3] = 64
y = measured(lambda: lw.global_avg_pool2d(x))
assert y[0, 0, 0, 3] == 2**-22 == y.sum()
""",
    "max_pool2d of float16, NCHW: places in wide windows that overlap": """
x = every_second((1, 16, 2**13, 2**13), np.float16)
x[0, 3, 5000, 9] = 2
y = measured(lambda: np.stack(
    lw.max_pool2d(x, 4096, stride=2048, layout="NCHW", return_indices=True)))
assert y[0, 0, 3, 1, 0] == 2 == y[0].max() and y[1, 0, 3, 1, 0] == 5000 * 2**13 + 9
""",
    "logsumexp of float32 over two of three axes": """
x = every_second((2**13, 2**4, 2**12), np.float32)
y = measured(lambda: lw.logsumexp(x, axis=(0, 2)))
assert abs(y - np.log(2.0**25)).max() < 1e-5
""",
    "cross_entropy of float16 with a weight for each class": """
x = every_second((2**17, 2**13), np.float16)
labels = np.zeros(2**17, np.int8)
w = np.ones(2**13)
y = measured(lambda: lw.cross_entropy(x, labels, weight=w, label_smoothing=0.5, reduction="none"))
assert abs(y.astype(np.float32) - np.log(2.0**13)).max() < 0.01
""",
    "pairwise_distances of float16": """
x = every_second((2**21, 2**9), np.float16)
x[77, 3] = 4
y = measured(lambda: lw.pairwise_distances(x, np.zeros((1, 2**9), np.float16)))
assert y[77, 0] == 4 == y.sum()
""",
    "pairwise_distances of bool": """
x = every_second((2**21, 2**10), bool)
x[77, :9] = True
y = measured(lambda: lw.pairwise_distances(x, np.zeros((1, 2**10), bool), "sqeuclidean"))
assert y[77, 0] == 9 == y.sum()
""",
    "pairwise_distances_backward of float32": """
d = every_second((2**14, 2**15), np.float32)
d[5, 9] = 2
x, y = np.full((2**14, 1), 3, np.float32), np.full((2**15, 1), 1, np.float32)
dx, dy = np.split(measured(lambda: np.concatenate(
    lw.pairwise_distances_backward(d, x, y, d))), [2**14])
assert dx[5] == 2 == dx.sum() and dy[9] == -2 == dy.sum()
""",
}


@pytest.mark.parametrize("name", CASES)
def test_two_gigabytes_through_a_strided_view_are_not_copied(name):
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + CASES[name]], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr


def test_nothing_is_kept_of_a_shape():
    """10,000 convolutions of as many shapes leave no object of Python's behind."""
    data = np.zeros(12 * 12 * 10 + 9 * 10 * 10, np.float32)

    def convolve(i):
        h, w, c, k = 3 + i % 10, 3 + i // 10 % 10, 1 + i // 100 % 10, 1 + i // 1000
        x, filters = data[: h * w * c].reshape(h, w, c), data[: 9 * c * k].reshape(3, 3, c, k)
        lw.conv2d(x, filters)
        lw.conv2d(x, lw.pack_filter(filters, x_shape=x.shape))

    convolve(0)
    gc.collect()
    before = sys.getallocatedblocks()
    for i in range(10_000):
        convolve(i)
    gc.collect()
    assert sys.getallocatedblocks() - before < 500
