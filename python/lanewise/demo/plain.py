"""What people write in plain NumPy today: the formulas, at their usual best."""

from __future__ import annotations

import numpy as np

from .._array import Array


def euclidean(x: Array, y: Array, chunk: int = 32) -> Array:
    """sqrt(Σ (x-y)²) by broadcasting, a few rows at a time: x[:, None] - y has m·n·d elements."""
    out = np.empty((len(x), len(y)), x.dtype)
    for start in range(0, len(x), chunk):
        rows = slice(start, start + chunk)
        difference = x[rows, None] - y
        out[rows] = np.sqrt((difference * difference).sum(axis=-1))
    return out


def softmax(x: Array) -> Array:
    """exp(x) / Σ exp(x) along the last axis; the maximum is taken off so that nothing overflows."""
    y = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(y / y.sum(axis=-1, keepdims=True))


def softmax_backward(dy: Array, y: Array) -> Array:
    """The gradient y · (dy - Σ dy·y) with respect to the logits."""
    return np.asarray(y * (dy - (dy * y).sum(axis=-1, keepdims=True)))


def conv2d_loops(x: Array, w: Array) -> Array:
    """The loops a beginner writes: every output is the sum of a window times a filter."""
    height, width = x.shape[0] - w.shape[0] + 1, x.shape[1] - w.shape[1] + 1
    y = np.empty((height, width, w.shape[-1]), x.dtype)
    for i in range(height):
        for j in range(width):
            window = x[i : i + w.shape[0], j : j + w.shape[1]]
            for k in range(w.shape[-1]):
                y[i, j, k] = (window * w[..., k]).sum()
    return y


def conv2d_windows(x: Array, w: Array) -> Array:
    """All windows at once, as one matrix product (which copies every pixel R·S times)."""
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[:2], axis=(0, 1))  # H,W,C,R,S
    return np.tensordot(windows, w, axes=((3, 4, 2), (0, 1, 2)))


def max_pool2d(x: Array, window: int) -> Array:
    """The maximum of each window: a reshape, as windows do not overlap."""
    height, width, channels = x.shape[0] // window, x.shape[1] // window, x.shape[2]
    blocks = x[: height * window, : width * window].reshape(height, window, width, window, channels)
    return np.asarray(blocks.max(axis=(1, 3)))
