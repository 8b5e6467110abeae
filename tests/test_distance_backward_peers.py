"""Gradients of distances on the inputs of published bug reports, against float64 by the formula."""

import lanewise as lw
import numpy as np
import pytest
from tolerance import assert_within, gamma


def by_formula(grad, x, y, p):
    """Σ g·sign(t)·(|t|/d)^(p-1) in float64, nothing where t = 0; and Σ of the terms' sizes."""
    t = x[:, None].astype(float) - y
    size = np.abs(t)
    d = (size**p).sum(-1, keepdims=True) ** (1 / p)
    with np.errstate(all="ignore"):
        terms = np.where(size > 0, np.sign(t) * (size / d) ** (p - 1), 0) * grad[..., None]
    return (terms.sum(1), -terms.sum(0)), (np.abs(terms).sum(1), np.abs(terms).sum(0))


def gradients(grad, x, y, p):
    d = lw.pairwise_distances(x, y, "minkowski", p=p)
    return lw.pairwise_distances_backward(grad, x, y, d, "minkowski", p=p)


def assert_right(grad, x, y, p):
    """Off by a sum of as many terms as there are rows, the power, and what d is off."""
    exact, sizes = by_formula(grad, x, y, p)
    found = gradients(grad, x, y, p)
    of_d = (gamma(73 + x.shape[1] / 64 + 10 * p, np.float32) / p) * abs(p - 1)
    for result, true, size in zip(found, exact, sizes, strict=True):
        roundings = gamma(64 + max(len(x), len(y)) / 64 + 20, np.float32)
        assert np.isfinite(result).all()
        assert_within(result, true, (roundings + of_d) * size + np.finfo(np.float32).tiny)


@pytest.mark.parametrize("p", [1.5, 2, 3])
def test_pytorch_issue_37154(simd, rng, p):
    """NaN gradients at distance 0: embeddings against themselves, with twins among them."""
    x = rng.normal(size=(80, 32)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    x[40:60] = x[:20]
    grad = rng.normal(size=(80, 80)).astype(np.float32)
    assert_right(grad, x, x.copy(), p)
    at_zero = gradients(grad[:1, :1], x[:1], x[:1].copy(), p)
    for gradient in at_zero:
        np.testing.assert_array_equal(gradient, 0)


def test_pytorch_issue_36493(simd, rng):
    """NaN gradients for p < 1, where coordinates are equal or nearly."""
    x = rng.normal(size=(9, 4)).astype(np.float32)
    y = x[:1] + np.array([[1.0, 0.0, 1e-6, 0.25]], np.float32)
    tiny = np.array([[0, 0, 0, 0], [1, 0, 1e-45, 1e-40]], np.float32)
    for p in (0.99, 0.7, 0.5):
        assert_right(np.ones((9, 1), np.float32), x, y, p)
        for gradient in gradients(np.ones((1, 1), np.float32), tiny[:1], tiny[1:], p):
            assert np.isfinite(gradient).all()
