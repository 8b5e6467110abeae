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


def conv2d(x, w, stride=1, padding="valid", dilation=1, groups=1, pad_mode="constant", flip=False):
    """Cross-correlation; x (N, H, W, C), w (R, S, C/groups, K) or (N, R, S, C/groups, K)."""
    x, w = np.asarray(x, np.float64), np.asarray(w, np.float64)
    if w.ndim == 5:
        images = [
            conv2d(x[i : i + 1], w[i], stride, padding, dilation, groups, pad_mode, flip)
            for i in range(len(x))
        ]
        return np.concatenate(images)
    (sh, sw), (dh, dw) = pair(stride), pair(dilation)
    if flip:
        w = w[::-1, ::-1]
    rows, columns, group_c, filters = w.shape
    top, bottom, oh = window_axis(x.shape[1], rows, sh, dh, axis_padding(padding, 0))
    left, right, ow = window_axis(x.shape[2], columns, sw, dw, axis_padding(padding, 1))
    x = np.pad(x, [(0, 0), (top, bottom), (left, right), (0, 0)], mode=pad_mode)
    y = np.zeros((x.shape[0], oh, ow, filters))
    group_k = filters // groups
    for r, s, g in np.ndindex(rows, columns, groups):
        pixels = x[:, r * dh :, s * dw :, g * group_c : (g + 1) * group_c][:, ::sh, ::sw][
            :, :oh, :ow
        ]
        k = slice(g * group_k, (g + 1) * group_k)
        y[..., k] += pixels @ w[r, s, :, k]
    return y


def conv_transpose2d(x, w, stride=1, padding=0, output_padding=0, dilation=1, groups=1):
    """Each pixel of x (N, H, W, C) adds itself times w (R, S, K/groups, C) to a window."""
    x, w = np.asarray(x, np.float64), np.asarray(w, np.float64)
    N, H, W, C = x.shape
    R, S, group_k, _ = w.shape
    group_c = C // groups
    stride, dilation, extra = pair(stride), pair(dilation), pair(output_padding)
    y = np.zeros(
        (
            N,
            (H - 1) * stride[0] + dilation[0] * (R - 1) + 1 + extra[0],
            (W - 1) * stride[1] + dilation[1] * (S - 1) + 1 + extra[1],
            groups * group_k,
        )
    )
    for i, j, r, s, g in np.ndindex(H, W, R, S, groups):
        c, k = slice(g * group_c, (g + 1) * group_c), slice(g * group_k, (g + 1) * group_k)
        y[:, i * stride[0] + r * dilation[0], j * stride[1] + s * dilation[1], k] += (
            x[:, i, j, c] @ w[r, s, :, c].T
        )
    cut = []
    for a, (n, window) in enumerate(zip((H, W), (R, S))):
        rule, reach = axis_padding(padding, a), dilation[a] * (window - 1)
        if rule in ("same", "same_lower"):
            before, _, _ = window_axis(n * stride[a], window, stride[a], dilation[a], rule)
            y = np.pad(y, [(0, 0)] * (1 + a) + [(0, stride[a])] + [(0, 0)] * (2 - a))
            cut.append(slice(before, before + n * stride[a]))
        else:
            before, after = {"valid": (0, 0), "full": (reach, reach)}.get(rule, rule)
            cut.append(slice(before, y.shape[1 + a] - after))
    return y[:, cut[0], cut[1]]


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


def pairwise_distances(x, y, metric):
    """metric(x[i], y[j]) for all i and j; x (m, d), y (n, d)."""
    x, y = np.asarray(x, np.float64)[:, None, :], np.asarray(y, np.float64)[None, :, :]
    dot = (x * y).sum(-1)
    if metric == "dot":
        return dot
    if metric == "cosine":
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.clip(1 - dot / np.sqrt((x * x).sum(-1) * (y * y).sum(-1)), 0, 2)
    with np.errstate(invalid="ignore"):
        difference = np.abs(x - y)
    return {
        "euclidean": lambda: np.sqrt((difference**2).sum(-1)),
        "sqeuclidean": lambda: (difference**2).sum(-1),
        "manhattan": lambda: difference.sum(-1),
        "chebyshev": lambda: difference.max(-1, initial=0),
    }[metric]()


# ------------------------------------------------------------------------------------------ softmax


def softmax(x, axis=-1, mask=None):
    """exp(x) / Σ exp(x), the maximum taken off first so that nothing overflows.

    Where the mask is False, x counts as −inf and the result is 0.
    """
    x = np.asarray(x, np.float64)
    if mask is not None:
        x = np.where(mask, x, -np.inf)
    with np.errstate(invalid="ignore"):
        e = np.exp(x - x.max(axis, keepdims=True))
        y = e / e.sum(axis, keepdims=True)
    return y if mask is None else np.where(mask, y, 0)


def _log_sum(difference, axis):
    """log Σ exp(difference); one maximum, 0, is left out of the sum, which log1p puts back."""
    is_max = difference == 0
    rest = np.where(is_max, 0, np.exp(difference)).sum(axis, keepdims=True)
    return np.log1p(rest + (is_max.sum(axis, keepdims=True) - 1))


def log_softmax(x, axis=-1):
    """log softmax(x)."""
    x = np.asarray(x, np.float64)
    with np.errstate(invalid="ignore"):
        difference = x - x.max(axis, keepdims=True)
    return difference - _log_sum(difference, axis)


def logsumexp(x, axis=-1, keepdims=False):
    """log Σ exp(x), the maximum taken off first where it is finite; −inf for no element at all."""
    x = np.asarray(x, np.float64)
    top = x.max(axis, keepdims=True, initial=-np.inf)
    top[~np.isfinite(top)] = 0
    with np.errstate(divide="ignore", over="ignore"):
        result = top + _log_sum(x - top, axis)
    return result if keepdims else result.squeeze(axis)


def softmax_backward(dy, y, axis=-1):
    """y·(dy − Σ dy·y)."""
    dy, y = np.asarray(dy, np.float64), np.asarray(y, np.float64)
    return y * (dy - (dy * y).sum(axis, keepdims=True))


def log_softmax_backward(dy, y, axis=-1):
    """dy − exp(y)·Σ dy."""
    dy, y = np.asarray(dy, np.float64), np.asarray(y, np.float64)
    return dy - np.exp(y) * dy.sum(axis, keepdims=True)


def one_axis(x, axis):
    """The axes moved last, in their order in x, and flattened into one."""
    axes = sorted(a % x.ndim for a in ((axis,) if isinstance(axis, int) else axis))
    rest = [a for a in range(x.ndim) if a not in axes]
    x = np.transpose(x, rest + axes)
    return x.reshape(*x.shape[: len(rest)], int(np.prod(x.shape[len(rest) :], dtype=np.int64)))


def softmax_jacobian(y, axis=-1):
    """y_i·(δ_ij − y_j)."""
    y = one_axis(np.asarray(y, np.float64), axis)
    return y[..., :, None] * (np.eye(y.shape[-1]) - y[..., None, :])
