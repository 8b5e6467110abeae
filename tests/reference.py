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
