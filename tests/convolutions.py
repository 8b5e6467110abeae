"""What the tests of the convolutions share: problems with exact sums, and the other layout."""

import lanewise as lw
import numpy as np

BORDERS = ["reflect", "symmetric", "edge", "wrap"]
TO_NCHW, TO_OIHW, TO_OIHW_OF_BANKS = (0, 3, 1, 2), (3, 2, 0, 1), (0, 4, 3, 1, 2)


def integers(rng, shape, dtype=np.float32):
    """Small integers: every sum is exact, so results can be compared with ==."""
    return rng.integers(-4, 5, shape).astype(dtype)


def to_oihw(w):
    """The same filters, or banks of them, in the layout that goes with NCHW (a view)."""
    return w.transpose(TO_OIHW if w.ndim == 4 else TO_OIHW_OF_BANKS)


def same_everywhere(x, w, **options):
    """The convolution in NHWC, after it was seen to have the same bits in NCHW."""
    y = lw.conv2d(x, w, **options)
    nchw = lw.conv2d(
        np.ascontiguousarray(x.transpose(TO_NCHW)),
        np.ascontiguousarray(to_oihw(w)),
        layout="NCHW",
        **options,
    )
    np.testing.assert_array_equal(y, nchw.transpose(0, 2, 3, 1))
    return y
