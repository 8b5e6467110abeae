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


def _tap(padded, r, s, stride, dilation, outputs):
    """What the tap (r, s) of every window sees of a padded image: a view."""
    rows, columns = (
        slice(at * dilation[a], at * dilation[a] + (outputs[a] - 1) * stride[a] + 1, stride[a])
        for a, at in enumerate((r, s))
    )
    return padded[:, rows, columns]


def places(n, before_and_after, pad_mode):
    """Which of an axis's n elements stands at each place after padding; n where a zero does."""
    zero = {"constant_values": n} if pad_mode == "constant" else {}
    return np.pad(np.arange(n), before_and_after, pad_mode, **zero)


def conv2d_backward(
    dy, x, w, stride=1, padding="valid", dilation=1, groups=1, pad_mode="constant", flip=False
):
    """The gradients of Σ dy·(conv2d(x, w) + bias) by x, w and bias.

    Each product x·w is added to one y. So dy·w is added to the gradient of that x, and dy·x to
    that of w; a pixel gets what its copies in the padding get.
    """
    dy, x, w = (np.asarray(a, np.float64) for a in (dy, x, w))
    if w.ndim == 5:
        images = [
            conv2d_backward(
                *(dy[i : i + 1], x[i : i + 1], w[i], stride, padding),
                *(dilation, groups, pad_mode, flip),
            )
            for i in range(len(x))
        ]
        dx, dw, dbias = zip(*images)
        return np.concatenate(dx), np.stack(dw), np.stack(dbias)
    stride, dilation = pair(stride), pair(dilation)
    turn = np.s_[::-1, ::-1] if flip else np.s_[:]
    w = w[turn]
    images, height, width, _ = x.shape
    group_c, group_k = w.shape[2], w.shape[3] // groups
    around = pads(x.shape, w.shape, stride, padding, dilation)
    rows, columns = (places(*axis, pad_mode) for axis in zip((height, width), around))
    shown = np.s_[:, rows[:, None], columns]
    padded = np.pad(x, [(0, 0), (0, 1), (0, 1), (0, 0)])[shown]
    d_padded, dw = np.zeros_like(padded), np.zeros_like(w)
    for r, s, g in np.ndindex(*w.shape[:2], groups):
        c, k = slice(g * group_c, (g + 1) * group_c), slice(g * group_k, (g + 1) * group_k)
        geometry = r, s, stride, dilation, dy.shape[1:3]
        _tap(d_padded, *geometry)[..., c] += dy[..., k] @ w[r, s, :, k].T
        dw[r, s, :, k] = np.tensordot(_tap(padded, *geometry)[..., c], dy[..., k], ([0, 1, 2],) * 2)
    dx = np.zeros((images, height + 1, width + 1, x.shape[3]))
    np.add.at(dx, shown, d_padded)
    return dx[:, :height, :width], dw[turn], dy.sum((0, 1, 2))


def _uncut(x_shape, w_shape, stride, padding, output_padding, dilation):
    """Of a transposed convolution's plane before its padding is cut off: (size, what stays)."""
    for a in range(2):
        n, reach = x_shape[1 + a], dilation[a] * (w_shape[a] - 1)
        size, rule = (n - 1) * stride[a] + reach + 1 + output_padding[a], axis_padding(padding, a)
        if rule in ("same", "same_lower"):
            before = window_axis(n * stride[a], w_shape[a], stride[a], dilation[a], rule)[0]
            yield size + stride[a], slice(before, before + n * stride[a])
        else:
            before, after = {"valid": (0, 0), "full": (reach, reach)}.get(rule, rule)
            yield size, slice(before, size - after)


def conv_transpose2d(x, w, stride=1, padding=0, output_padding=0, dilation=1, groups=1):
    """Each pixel of x (N, H, W, C) adds itself times w (R, S, K/groups, C) to a window."""
    x, w = np.asarray(x, np.float64), np.asarray(w, np.float64)
    N, H, W, C = x.shape
    R, S, group_k, _ = w.shape
    group_c = C // groups
    stride, dilation, extra = pair(stride), pair(dilation), pair(output_padding)
    (height, rows), (width, columns) = _uncut(x.shape, w.shape, stride, padding, extra, dilation)
    y = np.zeros((N, height, width, groups * group_k))
    for i, j, r, s, g in np.ndindex(H, W, R, S, groups):
        c, k = slice(g * group_c, (g + 1) * group_c), slice(g * group_k, (g + 1) * group_k)
        y[:, i * stride[0] + r * dilation[0], j * stride[1] + s * dilation[1], k] += (
            x[:, i, j, c] @ w[r, s, :, c].T
        )
    return y[:, rows, columns]


def conv_transpose2d_backward(
    dy, x, w, stride=1, padding=0, output_padding=0, dilation=1, groups=1
):
    """The gradients of Σ dy·(conv_transpose2d(x, w) + bias) by x, w and bias.

    What was cut off has the gradient 0. Of each product x·w, x gets dy·w back and w gets dy·x.
    """
    dy, x, w = (np.asarray(a, np.float64) for a in (dy, x, w))
    stride, dilation, extra = pair(stride), pair(dilation), pair(output_padding)
    group_c, group_k = x.shape[3] // groups, w.shape[2]
    (height, rows), (width, columns) = _uncut(x.shape, w.shape, stride, padding, extra, dilation)
    uncut = np.zeros((len(x), height, width, groups * group_k))
    uncut[:, rows, columns] = dy
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for r, s, g in np.ndindex(*w.shape[:2], groups):
        c, k = slice(g * group_c, (g + 1) * group_c), slice(g * group_k, (g + 1) * group_k)
        seen = _tap(uncut, r, s, stride, dilation, x.shape[1:3])[..., k]
        dx[..., c] += seen @ w[r, s, :, c]
        dw[r, s, :, c] = np.tensordot(seen, x[..., c], ([0, 1, 2],) * 2)
    return dx, dw, dy.sum((0, 1, 2))


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


def windows(axis, x, window, stride, padding, dilation, ceil_mode):
    """For each output along an axis of x (N, H, W, C): the window's places in the image, and how
    many places it has in the padded image. One entry per axis in each option."""
    n = x.shape[1 + axis]
    before, after, outputs = window_axis(
        n, window[axis], stride[axis], dilation[axis], padding[axis], ceil_mode
    )
    for o in range(outputs):
        taps = o * stride[axis] - before + np.arange(window[axis]) * dilation[axis]
        yield taps[(taps >= 0) & (taps < n)], np.count_nonzero(taps < n + after)


def _winners(x, better, nan_policy, *geometry):
    rows, columns = list(windows(0, x, *geometry)), list(windows(1, x, *geometry))
    shape = (x.shape[0], len(rows), len(columns), x.shape[3])
    values, indices = np.empty(shape, x.dtype), np.empty(shape, np.int64)
    for i, j in np.ndindex(shape[1:3]):
        h, w = np.meshgrid(rows[i][0], columns[j][0], indexing="ij")
        best, place = (
            x[:, h.flat[0], w.flat[0]],
            np.full(shape[::3], h.flat[0] * x.shape[2] + w.flat[0]),
        )
        for r, s in zip(h.flat[1:], w.flat[1:], strict=True):  # in row-major order
            pixel = x[:, r, s]
            old, new = (best, pixel) if nan_policy == "propagate" else (pixel, best)
            with np.errstate(invalid="ignore"):  # some versions of ml_dtypes warn of NaN
                wins = better(pixel, best) | (np.isnan(new) & ~np.isnan(old))
            best, place = np.where(wins, pixel, best), np.where(wins, r * x.shape[2] + s, place)
        values[:, i, j], indices[:, i, j] = best, place
    return values, indices


def max_pool2d(x, window, stride, padding, dilation, ceil_mode=False, nan_policy="propagate"):
    """(values, flat indices) of the maxima of x (N, H, W, C)."""
    return _winners(x, np.greater, nan_policy, window, stride, padding, dilation, ceil_mode)


def min_pool2d(x, window, stride, padding, dilation, ceil_mode=False, nan_policy="propagate"):
    """(values, flat indices) of the minima of x (N, H, W, C)."""
    return _winners(x, np.less, nan_policy, window, stride, padding, dilation, ceil_mode)


def avg_pool2d(x, window, stride, padding, dilation, ceil_mode=False, count_include_pad=False):
    """The means of x (N, H, W, C) over windows: of their pixels, or with the padding as zeros."""
    x = np.asarray(x, np.float64)
    geometry = window, stride, padding, dilation, ceil_mode
    rows, columns = list(windows(0, x, *geometry)), list(windows(1, x, *geometry))
    means = np.empty((x.shape[0], len(rows), len(columns), x.shape[3]))
    for i, j in np.ndindex(means.shape[1:3]):
        (h, padded_h), (w, padded_w) = rows[i], columns[j]
        count = padded_h * padded_w if count_include_pad else len(h) * len(w)
        with np.errstate(invalid="ignore", over="ignore"):
            means[:, i, j] = x[:, h[:, None], w].sum((1, 2)) / count
    return means


def max_pool2d_backward(dy, indices, height, width):
    """dy (N, OH, OW, C) added to the pixels of (N, height, width, C) that the indices name."""
    images, _, _, channels = dy.shape
    dx = np.zeros((images, height * width, channels), dy.dtype)
    n, _, _, c = np.indices(dy.shape)
    np.add.at(dx, (n, indices, c), dy)
    return dx.reshape(images, height, width, channels)


def avg_pool2d_backward(
    dy, height, width, window, stride, padding, dilation, ceil_mode=False, count_include_pad=False
):
    """Each element of dy (N, OH, OW, C), divided by its window's count, added to all its pixels."""
    dy = np.asarray(dy, np.float64)
    dx = np.zeros((dy.shape[0], height, width, dy.shape[3]))
    geometry = window, stride, padding, dilation, ceil_mode
    rows, columns = list(windows(0, dx, *geometry)), list(windows(1, dx, *geometry))
    for i, j in np.ndindex(dy.shape[1:3]):
        (h, padded_h), (w, padded_w) = rows[i], columns[j]
        count = padded_h * padded_w if count_include_pad else len(h) * len(w)
        with np.errstate(invalid="ignore", over="ignore"):
            dx[:, h[:, None], w] += dy[:, i, None, None, j] / count
    return dx


# ---------------------------------------------------------------------------------------- distances


def paired_distances(x, y, metric, p=2, wide=np.float64):
    """metric(x[…, :], y[…, :]), the leading axes broadcast; computed in the dtype `wide`."""
    x, y = np.asarray(x, wide), np.asarray(y, wide)
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
            differ = (x != y).sum(-1).astype(wide)
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


def pairwise_distances(x, y, metric, p=2, wide=np.float64):
    """metric(x[i], y[j]) for all i and j; x (m, d), y (n, d)."""
    return paired_distances(np.asarray(x)[:, None, :], np.asarray(y)[None, :, :], metric, p, wide)


NARROW = "float16", "bfloat16", "float32"


def _unit(x, metric):
    """x / |x| and 1 / |x|, less the mean where correlation is asked for."""
    if metric == "correlation":
        x = x - x.mean(-1, keepdims=True)
    inverse = 1 / np.sqrt((x * x).sum(-1, keepdims=True))
    return x * inverse, inverse


def distance_slopes(x, y, d, metric, p=2):
    """∂d/∂x of d = paired_distances(x, y, metric, p), and a bound of the parts it is made of."""
    computed = np.float32 if np.result_type(x, y).name in NARROW else np.float64
    difference = abs(x.astype(computed) - y.astype(computed))  # as the largest is looked for
    x, y, d = (np.asarray(a, np.float64) for a in (x, y, d[..., None]))
    t = x - y
    if metric == "minkowski" and p in (1, 2, np.inf):
        metric = {1: "manhattan", 2: "euclidean"}.get(p, "chebyshev")
    with np.errstate(all="ignore"):
        if metric in ("cosine", "correlation"):
            (x, inverse), (y, _) = _unit(x, metric), _unit(y, metric)
            return (x - y - d * x) * inverse, (abs(x) + abs(y) + d * abs(x)) * inverse
        if metric == "dot":
            slope = y + 0 * x
        elif metric == "sqeuclidean":
            slope = 2 * t
        elif metric == "euclidean":
            slope = np.where(d == 0, 0, t / d)
        elif metric == "manhattan":
            slope = np.sign(t)
        elif metric == "chebyshev":
            largest = difference.max(-1, keepdims=True, initial=0)
            slope = np.where((difference == largest) | np.isnan(t), np.sign(t), 0)
        elif metric == "minkowski":
            power = np.sign(t) * (abs(t) / d) ** (p - 1)
            slope = np.where((d == 0) | ((t == 0) & ~np.isnan(d)), 0, power)
        elif metric == "canberra":
            size = abs(x) + abs(y)
            slope = np.sign(t) * (1 + np.sign(x) * np.sign(y)) * (abs(y) / size) / size
            slope = np.where(t == 0, 0, slope)
        elif metric == "braycurtis":
            size = abs(x + y).sum(-1, keepdims=True)
            slope = np.where(d == 0, 0, (np.sign(t) - d * np.sign(x + y)) / size)
            return slope, np.where(d == 0, 0, (1 + d) / size) + 0 * slope
    return slope, abs(slope)


def distances_backward(grad, x, y, d, metric, p=2, pairwise=True):
    """For x and for y: the gradient, and the sum of the sizes of its parts."""
    grad, d = np.asarray(grad, np.float64), np.asarray(d, np.float64)

    def gradient(x, y):
        slope, size = distance_slopes(x, y, d, metric, p)
        with np.errstate(invalid="ignore"):
            both = grad[..., None] * slope, abs(grad[..., None]) * size
            return [_sum_to(a, x.shape) for a in both]

    x, y = np.asarray(x), np.asarray(y)
    if not pairwise:
        return gradient(x, y), gradient(y, x)
    wide_x, wide_y = x[..., :, None, :], y[..., None, :, :]
    dx, dy = gradient(wide_x, wide_y), gradient(wide_y, wide_x)
    return [a.reshape(x.shape) for a in dx], [a.reshape(y.shape) for a in dy]


def _sum_to(a, shape):
    """a summed over the axes along which `shape` broadcasts to a's."""
    a = a.sum(tuple(range(a.ndim - len(shape))))
    axes = tuple(i for i, n in enumerate(shape) if n == 1 and a.shape[i] != 1)
    return a.sum(axes, keepdims=True)


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


def cross_entropy(
    x,
    target,
    axis=-1,
    weight=None,
    ignore_index=None,
    label_smoothing=0.0,
    reduction="mean",
    from_probs=False,
):
    """Loss and gradient for w·((1 − e)·t + e/C); the gradient's classes are one axis, the last."""
    x, target = one_axis(np.asarray(x, np.float64), axis), np.asarray(target)
    classes = x.shape[-1]
    w = np.ones(classes) if weight is None else np.asarray(weight, np.float64)
    kept = np.ones(x.shape[:-1], bool)
    if target.dtype.kind in "iu":
        if ignore_index is not None:
            kept = target != ignore_index
        target = np.where(kept, target, 0).astype(np.int64)
        divisor = w[target][kept].sum()
        target = (target[..., None] == np.arange(classes)).astype(np.float64)
    else:
        target = one_axis(target.astype(np.float64), axis)
        divisor = kept.size
    q = w * ((1 - label_smoothing) * target + label_smoothing / classes)
    with np.errstate(invalid="ignore", divide="ignore"):
        if from_probs:
            nothing = (q == 0) & ~np.isnan(x)
            loss = np.where(nothing, 0, -q * np.log(x)).sum(-1)
            dx = np.where(nothing, 0, -q / x)
        else:
            below = x.max(-1, keepdims=True) - x
            total = q.sum(-1, keepdims=True)
            loss = np.where(q == 0, 0, q * below).sum(-1) + (total * _log_sum(-below, -1))[..., 0]
            dx = total * softmax(x) - q
    loss, dx = np.where(kept, loss, 0), np.where(kept[..., None], dx, 0)
    if reduction == "none":
        return loss, dx
    if reduction == "sum":
        return loss.sum(), dx
    with np.errstate(invalid="ignore", divide="ignore"):
        return loss.sum() / divisor, np.where(kept[..., None], dx / divisor, 0)
