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
from cases import Case, Data

Prepared = tuple[Callable[[], Any], Callable[[Any], np.ndarray]]

# In the order of the table's columns. "lanewise-out" writes the same array at each call, where the
# others make a new one; "lanewise-nopool" takes memory for large results from the system each time;
# "lanewise-packed" has its filters packed before; "lanewise-direct" is the ordered sum throughout;
# "lanewise-1thread" has one thread, however many the others have: its process is given one. "torch"
# is NCHW and "torch-nhwc" channels_last; "torch-exact" keeps cdist from the matrix product;
# "scipy-tree" makes a k-d tree, which asks for few distances where there are few coordinates;
# "faiss-index" is IndexFlatL2, asked for all distances.
CONTESTANTS = {
    "conv": (
        *("lanewise", "lanewise-out", "lanewise-packed", "lanewise-nchw", "lanewise-direct"),
        "lanewise-1thread",
        *("torch", "torch-nhwc", "onnxruntime", "ncnn", "scipy", "numpy"),
    ),
    "pool": (
        *("lanewise", "lanewise-out", "lanewise-nopool", "lanewise-nchw"),
        *("torch", "torch-nhwc", "onnxruntime", "scipy", "numpy"),
    ),
    "softmax": (
        "lanewise",
        "lanewise-out",
        "lanewise-nopool",
        "torch",
        "onnxruntime",
        "scipy",
        "numpy",
    ),
    "distance": (
        *("lanewise", "lanewise-out", "lanewise-nopool", "torch", "torch-exact"),
        *("scipy", "sklearn", "faiss", "numpy"),
    ),
}
CONTESTANTS["conv_backward"] = (
    *("lanewise", "lanewise-nchw", "lanewise-direct", "lanewise-1thread"),
    *("torch", "torch-nhwc", "numpy"),
)
CONTESTANTS["distance-far"] = (
    *("lanewise", "torch", "torch-exact", "scipy", "sklearn", "faiss", "faiss-index"),
)
CONTESTANTS["distance_backward"] = (
    *("lanewise", "lanewise-1thread", "torch", "torch-exact", "numpy"),
)
CONTESTANTS["neighbors"] = (
    *("lanewise", "lanewise-1thread", "torch", "torch-exact"),
    *("scipy", "scipy-tree", "sklearn", "faiss"),
)
CONTESTANTS["cross_entropy"] = (
    *("lanewise", "lanewise-nopool", "torch", "onnxruntime", "scipy", "numpy"),
)
# Those who may take a second for a call are spared the long lists.
for op in ("conv", "pool", "softmax"):
    CONTESTANTS[f"{op}-breadth"] = tuple(n for n in CONTESTANTS[op] if n not in ("scipy", "numpy"))
PACKAGES = ("torch", "onnxruntime", "ncnn", "scipy", "sklearn", "faiss", "numpy")

_CANCELS = "|x|² - 2x·y + |y|² by a matrix product, which cancels where x is near y"
_INEXACT = {
    "ncnn": "Winograd: fewer multiplications, whose transforms round more",
    "torch": _CANCELS,
    "sklearn": f"{_CANCELS}, in float64 for float32 input",
    "faiss": f"{_CANCELS}, and no root",
    "numpy": _CANCELS,
}


def inexact(op: str, contestant: str, case: Case, data: Data) -> str | None:
    """Why a result keeps fewer digits than a sum of the definition's terms, if it does."""
    if op == "conv":
        rows, columns, c, k = data["w"].shape
        form = (rows, columns, case.options["stride"], case.options["dilation"])
        most = max(c, k // case.options["groups"])  # up to 8 in and out, ncnn sums directly
        applies = contestant == "ncnn" and form == (3, 3, 1, 1) and most > 8
    else:
        applies = case.options.get("metric") == "euclidean"
    if (
        op == "neighbors" and contestant == "faiss"
    ):  # whose index decides by both, as its errors say
        applies &= len(data["x"]) > 1024 and data["x"].shape[1] > 16
    return _INEXACT.get(contestant) if applies else None
