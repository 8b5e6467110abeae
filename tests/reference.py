"""What each op means, in plain float64 NumPy. Slow and short: read here what lanewise computes."""

import numpy as np

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
