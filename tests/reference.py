"""What each op means, in plain float64 NumPy. Slow and short: read here what lanewise computes."""

import numpy as np
import scipy.special

# ------------------------------------------------------------------------------------------ windows


def window_axis(n, window, stride, dilation, padding, ceil_mode=False):
    """(before, after, outputs) of a window along an axis of n; padding is a rule or a pair."""
    reach = dilation * (window - 1)
    if padding in ("same", "same_lower"):
        total = max((-(-n // stride) - 1) * stride + reach + 1 - n, 0)
        before = total // 2 if padding == "same" else total - total // 2
        after = total - before
    else:
        before, after = {"valid": (0, 0), "full": (reach, reach)}.get(padding, padding)
    slack = before + n + after - reach - 1
    outputs = slack // stride + 1
    if ceil_mode and slack % stride and outputs * stride < before + n:
        outputs += 1
    return before, after, outputs


def axis_padding(padding, axis):
    """The rule or (before, after) of one spatial axis, out of any spelling of a padding."""
    if isinstance(padding, str):
        return padding
    entry = padding if isinstance(padding, int) else padding[axis]
    return (entry, entry) if isinstance(entry, int) else tuple(entry)


def pair(value):
    return (value, value) if isinstance(value, int) else tuple(value)


# -------------------------------------------------------------------------------------- convolution


def pads(x_shape, w_shape, stride, padding, dilation):
    """((top, bottom), (left, right)) of a convolution."""
    return [
        window_axis(x_shape[1 + a], w_shape[a], stride[a], dilation[a], axis_padding(padding, a))[
            :2
        ]
        for a in range(2)
    ]


def conv2d(x, w, stride=1, padding="valid", dilation=1, groups=1):
    """Cross-correlation; x (N, H, W, C), w (R, S, C/groups, K)."""
    x, w = np.asarray(x, np.float64), np.asarray(w, np.float64)
    (sh, sw), (dh, dw) = pair(stride), pair(dilation)
    rows, columns, group_c, filters = w.shape
    top, bottom, oh = window_axis(x.shape[1], rows, sh, dh, axis_padding(padding, 0))
    left, right, ow = window_axis(x.shape[2], columns, sw, dw, axis_padding(padding, 1))
    x = np.pad(x, [(0, 0), (top, bottom), (left, right), (0, 0)])
    y = np.zeros((x.shape[0], oh, ow, filters))
    group_k = filters // groups
    for r, s, g in np.ndindex(rows, columns, groups):
        pixels = x[:, r * dh :, s * dw :, g * group_c : (g + 1) * group_c][:, ::sh, ::sw][
            :, :oh, :ow
        ]
        k = slice(g * group_k, (g + 1) * group_k)
        y[..., k] += pixels @ w[r, s, :, k]
    return y


def _sigmoid(v):
    e = np.exp(-np.abs(v))
    return np.where(v < 0, e, 1) / (1 + e)


ACTIVATIONS = {
    None: lambda v: v,
    "relu": lambda v: np.maximum(v, 0),
    "relu6": lambda v: np.clip(v, 0, 6),
    "silu": lambda v: v * _sigmoid(v),
    "gelu": lambda v: v * scipy.special.erfc(-v / np.sqrt(2)) / 2,
    "leaky_relu": lambda v: np.where(v < 0, 0.01 * v, v),
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
}
# ------------------------------------------------------------------------------------------ pooling


def max_pool2d(x, window, stride, padding, dilation, ceil_mode=False):
    """(values, flat indices) of the maxima of x (N, H, W, C); one pair per axis in each option."""
    N, H, W, C = x.shape
    top, _, OH = window_axis(H, window[0], stride[0], dilation[0], padding[0], ceil_mode)
    left, _, OW = window_axis(W, window[1], stride[1], dilation[1], padding[1], ceil_mode)
    values, indices = np.empty((N, OH, OW, C), x.dtype), np.empty((N, OH, OW, C), np.int64)
    for n, i, j, c in np.ndindex(values.shape):
        best = None
        for r, s in np.ndindex(*window):
            h, w = i * stride[0] - top + r * dilation[0], j * stride[1] - left + s * dilation[1]
            if not (0 <= h < H and 0 <= w < W):
                continue
            pixel = x[n, h, w, c]
            if best is None or pixel > best or (np.isnan(pixel) and not np.isnan(best)):
                best, indices[n, i, j, c] = pixel, h * W + w
        values[n, i, j, c] = best
    return values, indices


# ---------------------------------------------------------------------------------------- distances


def paired_distances(x, y, metric, p=2):
    """metric(x[…, :], y[…, :]), the leading axes broadcast."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    d = x.shape[-1]
    with np.errstate(all="ignore"):
        if metric == "correlation":
            x, y = x - x.mean(-1, keepdims=True), y - y.mean(-1, keepdims=True)
        if metric in ("cosine", "correlation"):
            norms = np.sqrt((x * x).sum(-1) * (y * y).sum(-1))
            return np.clip(1 - (x * y).sum(-1) / norms, 0, 2)
        if metric == "dot":
            return (x * y).sum(-1)
        if metric == "hamming" or (metric == "minkowski" and p == 0):
            differ = (x != y).sum(-1).astype(float)
            return differ / d if metric == "hamming" else differ
        if metric == "jaccard":
            either = ((x != 0) | (y != 0)).sum(-1)
            return np.where(either, ((x != 0) != (y != 0)).sum(-1) / either, 0)
        difference = np.abs(x - y)
        if metric == "canberra":
            size = np.abs(x) + np.abs(y)
            return np.where(size == 0, 0, difference / size).sum(-1)
        if metric == "braycurtis":
            return difference.sum(-1) / np.abs(x + y).sum(-1)
        if metric == "chebyshev" or p == np.inf:
            return difference.max(-1, initial=0)
        if metric == "minkowski":  # powers of at most 1, so that none overflows
            largest = difference.max(-1, initial=0, keepdims=True)
            largest = np.where((largest > 0) & (largest < np.inf), largest, 1)
            return largest[..., 0] * ((difference / largest) ** p).sum(-1) ** (1 / p)
        if metric == "manhattan":
            return difference.sum(-1)
        square = (difference**2).sum(-1)
        return square if metric == "sqeuclidean" else np.sqrt(square)


def pairwise_distances(x, y, metric, p=2):
    """metric(x[i], y[j]) for all i and j; x (m, d), y (n, d)."""
    return paired_distances(np.asarray(x)[:, None, :], np.asarray(y)[None, :, :], metric, p)


# ------------------------------------------------------------------------------------------ softmax


def softmax(x, axis=-1):
    """exp(x) / Σ exp(x), the maximum taken off first so that nothing overflows."""
    x = np.asarray(x, np.float64)
    with np.errstate(invalid="ignore"):
        e = np.exp(x - x.max(axis, keepdims=True))
        return e / e.sum(axis, keepdims=True)


def log_softmax(x, axis=-1):
    """log softmax(x); one maximum is left out of the sum, which log1p puts back."""
    x = np.asarray(x, np.float64)
    with np.errstate(invalid="ignore"):
        difference = x - x.max(axis, keepdims=True)
        e = np.exp(difference)
    np.put_along_axis(e, np.expand_dims(difference.argmax(axis), axis), 0, axis)
    e[np.isnan(difference)] = np.nan
    return difference - np.log1p(e.sum(axis, keepdims=True))


def softmax_backward(dy, y, axis=-1):
    """y·(dy − Σ dy·y)."""
    dy, y = np.asarray(dy, np.float64), np.asarray(y, np.float64)
    return y * (dy - (dy * y).sum(axis, keepdims=True))


def log_softmax_backward(dy, y, axis=-1):
    """dy − exp(y)·Σ dy."""
    dy, y = np.asarray(dy, np.float64), np.asarray(y, np.float64)
    return dy - np.exp(y) * dy.sum(axis, keepdims=True)
