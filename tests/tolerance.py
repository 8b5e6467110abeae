"""Error bounds, derived from the rounding unit, the number of terms and the size of the terms.

The model is the standard one (Higham, Accuracy and Stability of Numerical Algorithms, ch. 2-4):
each operation returns its exact result times (1 + δ), |δ| ≤ u = eps/2. A sum of n products in any
order is then off by at most γ(n)·Σ|a||b|, γ(n) = n·u/(1 − n·u).
"""

import numpy as np


def u(dtype):
    """The rounding unit: half the gap between 1 and the next number."""
    return float(_finfo(dtype).eps) / 2


def gamma(n, dtype):
    """The factor by which n roundings can be off, to first and all higher orders."""
    nu = n * u(dtype)
    assert nu < 0.5
    return nu / (1 - nu)


def tiny(dtype):
    """What underflow can add to one operation: half the smallest denormal."""
    return float(_finfo(dtype).smallest_subnormal) / 2


def sum_of_products(terms, size, dtype):
    """How far a sum of `terms` products of total size Σ|a||b| may be off that in float64.

    In any order: a product takes part in its own rounding and in at most terms - 1 additions.
    Types narrower than float32 are summed in it, and rounded once.
    """
    computed = np.float64 if dtype == np.float64 else np.float32
    bound = (gamma(terms, computed) + gamma(terms, np.float64)) * size + 2 * terms * tiny(computed)
    return bound if dtype == computed else bound + u(dtype) * (size + bound) + tiny(dtype)


def _finfo(dtype):
    if np.dtype(dtype).name == "bfloat16":  # whose package knows it
        import ml_dtypes

        return ml_dtypes.finfo(dtype)
    return np.finfo(dtype)


def assert_within(actual, exact, bound):
    """|actual − exact| ≤ bound element by element; inf and NaN must stand in the same places."""
    actual, exact = np.asarray(actual, np.float64), np.asarray(exact, np.float64)
    bound = np.broadcast_to(bound, exact.shape)
    assert actual.shape == exact.shape
    finite = np.isfinite(exact) & np.isfinite(actual)
    np.testing.assert_array_equal(np.where(finite, 0, actual), np.where(finite, 0, exact))
    error = np.abs(actual[finite] - exact[finite])
    over = error - bound[finite]
    if over.size and over.max() > 0:
        worst = over.argmax()
        raise AssertionError(
            f"off by {error[worst]:.3e}, allowed {bound[finite][worst]:.3e}: "
            f"{actual[finite][worst]!r} instead of {exact[finite][worst]!r}"
        )
