"""The contestants. Each package has a module `<package>_.py`, imported only by its own workers.

It holds one function per op, `op(case, data, variant) -> (call, canonical)`, where the variant is
what follows the hyphen in the contestant's name. What a user does once, outside the loop, happens
in that function; `call()` is what is timed; `canonical(result)` is the result as an array in the
layout of lanewise's default (NHWC). None stands for a case that the package has no function for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Prepared = tuple[Callable[[], Any], Callable[[Any], np.ndarray]]

# In the order of the table's columns. "lanewise-out" writes the same array at each call, where the
# others make a new one. "torch" is NCHW and "torch-nhwc" channels_last;
# "torch-exact" keeps cdist from the matrix product, whose differences of squares cancel.
CONTESTANTS = {
    "conv": (
        *("lanewise", "lanewise-out", "lanewise-nchw"),
        *("torch", "torch-nhwc", "scipy", "numpy"),
    ),
    "pool": ("lanewise", "lanewise-out", "lanewise-nchw", "torch", "torch-nhwc", "scipy", "numpy"),
    "softmax": ("lanewise", "lanewise-out", "torch", "scipy", "numpy"),
    "distance": ("lanewise", "lanewise-out", "torch", "torch-exact", "scipy", "sklearn", "numpy"),
}
PACKAGES = ("torch", "scipy", "sklearn", "numpy")
