"""What the tests of distances share: the metrics, data for them, and derived error bounds."""

import ml_dtypes
import numpy as np
import pytest
import reference
from tolerance import assert_within, gamma, u

METRICS = [
    ("euclidean", None),
    ("sqeuclidean", None),
    ("manhattan", None),
    ("chebyshev", None),
    ("cosine", None),
    ("correlation", None),
    ("hamming", None),
    ("canberra", None),
    ("braycurtis", None),
    ("jaccard", None),
    ("dot", None),
    ("minkowski", 0),
    ("minkowski", 0.5),
    ("minkowski", 3),
    ("minkowski", 3.3),
    ("minkowski", 4.7),
]
DISTANCES = [case for case in METRICS if case[0] != "dot"]
SCIPY_NAMES = {"manhattan": "cityblock"}
NAMED = {1: "manhattan", 2: "euclidean", None: "euclidean", np.inf: "chebyshev"}  # minkowski's
BLOCK = 64  # sums run in blocks of this many terms
all_metrics = pytest.mark.parametrize(("metric", "p"), METRICS)
all_distances = pytest.mark.parametrize(("metric", "p"), DISTANCES)


def sample(rng, shape, dtype, metric, p=None):
    """Rows with zeros and coordinates in common, and few values where these are compared."""
    if metric in ("hamming", "jaccard") or p == 0:
        return rng.integers(0, 3, shape).astype(dtype)
    return np.where(rng.random(shape) < 0.1, 0, rng.normal(size=shape)).astype(dtype)


def expected(x, y, metric, p=None, wide=np.float64):
    return reference.pairwise_distances(x, y, metric, 2 if p is None else p, wide)


def depth(d):
    """Roundings on the path of any term of a sum of d, in blocks of 64."""
    return min(d, BLOCK) + -(-d // BLOCK)


def quotient(a, b):
    with np.errstate(invalid="ignore", divide="ignore"):
        return a / b


def cosine_bound(x, y, dtype):
    """x·y and the norms, the root of the norms, the quotient, and the difference from 1."""
    x, y = np.abs(x.astype(float)), np.abs(y.astype(float))
    share = quotient(x @ y.T, np.sqrt((x * x).sum(-1)[:, None] * (y * y).sum(-1)))
    bound = gamma(depth(x.shape[-1]) + 1, dtype) * (share + 1) + 4 * u(dtype)
    return np.where(np.isfinite(share), bound, 0)


def centring_error(x, dtype):
    """How far a centred row may be off, as a share of its length: rounded to dtype, and before that
    in float64 from t = x − x[0], by t's own roundings and the mean's."""
    x = x.astype(float)
    t = x - x[:, :1]
    length = np.linalg.norm(x - x.mean(-1, keepdims=True), axis=-1)
    off = quotient(np.linalg.norm(t, axis=-1), length)
    return np.where(length > 0, u(dtype) + gamma(depth(x.shape[-1]) + 4, np.float64) * off, 0)


def bound(x, y, metric, p=None, exact=None):
    """The largest error of a distance in the dtype that x and y share, float32 or float64.

    `exact` is the distance itself, for data that float64 cannot compute it of.
    """
    if metric == "minkowski" and p in NAMED:
        return bound(x, y, NAMED[p], exact=exact)
    d, dtype = x.shape[-1], x.dtype
    with np.errstate(invalid="ignore"):
        exact = np.abs(expected(x, y, metric, p) if exact is None else exact)
    n = depth(d)
    if metric == "euclidean":  # the square root halves it; 1 for the difference, 1 for the root
        return (gamma(n, dtype) / 2 + 2 * u(dtype)) * exact
    if metric == "sqeuclidean":
        return gamma(n + 3, dtype) * exact  # the difference counts twice, the square once
    if metric == "manhattan":
        return gamma(n + 1, dtype) * exact
    if metric == "chebyshev":
        return u(dtype) * exact
    if metric == "canberra":
        return gamma(n + 3, dtype) * exact  # difference, sum, quotient
    if metric == "braycurtis":
        return gamma(2 * (n + 1) + 1, dtype) * exact  # two sums, quotient
    if metric in ("hamming", "jaccard"):
        return u(dtype) * exact  # the quotient of two counts
    if metric == "minkowski":
        if p == 0:
            return np.zeros_like(exact)

        # A power is off by p for the difference and 4.6·p + 4 of its own (less where it is a
        # product), a sum by n; the root divides that by p, and adds its own 4.6/p + 4.
        def off(dtype):
            return gamma(5.6 + 4 + (4 + 4.6 + n) / p, dtype)

        # Powers above 4 are summed in float64, and rounded to dtype once.
        narrow = dtype == np.float32
        return (off(np.float64) + narrow * u(dtype) if p > 4 else off(dtype)) * exact
    if metric == "dot":
        return gamma(n + 1, dtype) * (np.abs(x.astype(float)) @ np.abs(y.astype(float)).T)
    if metric == "cosine":
        return cosine_bound(x, y, dtype)
    # A vector that is off by a share e of its length turns by at most asin(e) <= 2e.
    centred = [a.astype(float) - a.astype(float).mean(-1, keepdims=True) for a in (x, y)]
    turned = centring_error(x, dtype)[:, None] + centring_error(y, dtype)
    return cosine_bound(*centred, dtype) + 2 * turned


def assert_are_distances(result, x, y, metric, p=None):
    assert result.dtype == x.dtype
    assert_within(result, expected(x, y, metric, p), bound(x, y, metric, p))


def same(a, b):
    """Equal bit for bit, where all NaN are one."""
    assert a.dtype == b.dtype
    if a.dtype == ml_dtypes.bfloat16:  # whose NaN NumPy does not know as such
        a, b = a.astype(float), b.astype(float)
    np.testing.assert_array_equal(a, b, strict=True)


def scipy_slack(metric, p, d, exact):
    """What scipy's own result may be off by: it sums one term after the other, cosines in terms of
    lengths, and takes powers and roots by pow, whose exponent 1/p is rounded."""
    if metric == "minkowski":
        root = 1 + np.abs(np.log(np.where(exact > 0, exact, 1)))
        return gamma(2 * (d + 8) / min(p, 1) + 8, np.float64) * root * exact
    return gamma(4 * d + 16, np.float64) * (exact + (metric in ("cosine", "correlation")))
