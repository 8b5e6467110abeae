"""What each op means, in plain float64 NumPy. Slow and short: read here what lanewise computes."""

import numpy as np


# ------------------------------------------------------------------------------------------ windows


def window_axis(n, window, stride, dilation, padding, ceil_mode=False):
    """(before, after, outputs) of a window sliding along an axis of n; padding is a rule or pair."""
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
