"""What is measured, and why: the named cases of each op.

The list is frozen: a case may join it, with its reason, but none is changed or taken away, so that
times of one version can be held against those of another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Data = dict[str, np.ndarray]
EPS = {name: float(np.finfo(name).eps) for name in ("float32", "float64")}


@dataclass(frozen=True)
class Case:
    """One call; `options` are lanewise's keywords.

    `flops` are those of the definition, `size` the bytes of arguments and result, each once.
    """

    name: str
    why: str
    make: Callable[[np.random.Generator], Data]
    options: Mapping[str, Any]
    roof: str  # what limits it: "fma" or "bandwidth"
    flops: int
    size: int
    # (relative, absolute) bounds of |a - b| for two correct results, derived in each maker below
    tolerance: Callable[[Data], tuple[float, np.ndarray | float]]
    compare: Callable[[np.ndarray], np.ndarray] = np.asarray  # what the bounds apply to
    dtype: str = "float32"

    @property
    def work(self) -> int:
        """What the roof is a rate of."""
        return self.flops if self.roof == "fma" else self.size


def uniform(rng: np.random.Generator, *shape: int, dtype: str = "float32") -> np.ndarray:
    """Values in [-1, 1)."""
    return rng.random(shape, dtype) * 2 - 1


# ------------------------------------------------------------------------------------- convolution


def conv(
    name: str,
    why: str,
    c: int,
    k: int,
    size: int,
    window: int,
    stride: int = 1,
    groups: int = 1,
    n: int = 1,
) -> Case:
    """An n x size x size x c image, k filters of window x window, padded as PyTorch's networks do.

    A sum of T products is off by T·eps/2·Σ|x||w| at most in any order, and Σ|x||w| <= max|x|·Σ|w|;
    two results are off by twice that. 2·T flops for each output.
    """
    pad = window // 2
    out = (size + 2 * pad - window) // stride + 1
    terms = window * window * c // groups

    def make(rng: np.random.Generator) -> Data:
        return {
            "x": uniform(rng, n, size, size, c),
            "w": uniform(rng, window, window, c // groups, k),
        }

    def tolerance(data: Data) -> tuple[float, np.ndarray]:
        return 0.0, terms * EPS["float32"] * np.abs(data["x"]).max() * np.abs(data["w"]).sum(
            (0, 1, 2)
        )

    options = {"stride": stride, "padding": pad, "groups": groups}
    flops = 2 * n * out * out * k * terms
    bytes_ = 4 * (n * size * size * c + terms * k + n * out * out * k)
    return Case(name, why, make, options, "fma", flops, bytes_, tolerance)


CONV = [
    conv("7x7/2 3-64 224²", "first layer of a ResNet: 3 channels", 3, 64, 224, 7, 2),
    conv("3x3 64 56²", "ResNet stage 1: many pixels", 64, 64, 56, 3),
    conv("3x3 128 28²", "ResNet stage 2", 128, 128, 28, 3),
    conv("3x3 256 14²", "ResNet stage 3: 14 = 4+4+4+2 tiles", 256, 256, 14, 3),
    conv("3x3 512 7²", "ResNet stage 4: filters outweigh the image", 512, 512, 7, 3),
    conv("1x1 64-256 56²", "bottleneck, up: the store counts", 64, 256, 56, 1),
    conv("1x1 256-64 56²", "bottleneck, down: the load counts", 256, 64, 56, 1),
    conv("1x1 1024-256 14²", "bottleneck, late: a GEMM of 196 rows", 1024, 256, 14, 1),
    conv("1x1 512-2048 7²", "49 rows: pixels do not fill tiles", 512, 2048, 7, 1),
    conv("1x1/2 256-512 56²", "projection: strided pixels", 256, 512, 56, 1, 2),
    conv("3x3 64 224²", "VGG: larger than L2", 64, 64, 224, 3),
    conv("3x3 512 28²", "VGG: filters and image both large", 512, 512, 28, 3),
    conv("5x5 1-32 28² batch 64", "MNIST: one channel, many images", 1, 32, 28, 5, n=64),
    conv("dw 3x3/2 96 112²", "MobileNet: strided depthwise", 96, 96, 112, 3, 2, 96),
    conv("dw 3x3 384 14²", "MobileNet: a small depthwise call", 384, 384, 14, 3, groups=384),
    conv("dw 7x7 96 56²", "ConvNeXt", 96, 96, 56, 7, groups=96),
    conv("3x3 128 56² 32 groups", "ResNeXt: 4 channels per group", 128, 128, 56, 3, groups=32),
    conv("dw 31x31 64 56²", "RepLKNet: a huge window", 64, 64, 56, 31, groups=64),
    conv("tiny 3x3 4 8²", "what a call costs", 4, 4, 8, 3),
]

# ----------------------------------------------------------------------------------------- pooling


def pool(
    name: str, why: str, n: int, c: int, size: int, window: int, stride: int, pad: int = 0
) -> Case:
    """A maximum never rounds, so results are equal. A comparison per further pixel is a flop."""
    out = (size + 2 * pad - window) // stride + 1

    def make(rng: np.random.Generator) -> Data:
        return {"x": uniform(rng, n, size, size, c)}

    options = {"window": window, "stride": stride, "padding": pad}
    flops = n * c * out * out * (window * window - 1)
    bytes_ = 4 * n * c * (size * size + out * out)
    return Case(name, why, make, options, "bandwidth", flops, bytes_, lambda data: (0.0, 0.0))


POOL = [
    pool("3/2 64 112²", "ResNet's stem: overlapping, padded", 1, 64, 112, 3, 2, 1),
    pool("3/2 64 112² batch 32", "the same, from memory", 32, 64, 112, 3, 2, 1),
    pool("2/2 128 56² batch 8", "VGG: no overlap, pure bandwidth", 8, 128, 56, 2, 2),
    pool("3/1 128 56² batch 8", "Inception: as many outputs as inputs", 8, 128, 56, 3, 1, 1),
    pool("13/1 32 128² batch 4", "spatial pyramid: a large window", 4, 32, 128, 13, 1, 6),
    pool("tiny 2/2 4 8²", "what a call costs", 1, 4, 8, 2, 2),
]

# ----------------------------------------------------------------------------------------- softmax


def softmax(name: str, why: str, *shape: int, axis: int = -1, backward: bool = False) -> Case:
    """Standard normal logits. Flops of an element: max, -, exp, +, / or, backward, ·, +, -, ·.

    Forward, relative, in eps/2 and for each of two results: the argument of exp rounds by its size
    (at most 16 here) and exp by 6, above and in the sum of C; 1 for the quotient.
    Backward, y·(dy - Σ dy·y): C for the sum, 3 for the other steps, of y·2·max|dy|.
    """
    terms = shape[axis]

    def logits(rng: np.random.Generator) -> np.ndarray:
        return rng.standard_normal(shape, np.float32)

    def make(rng: np.random.Generator) -> Data:
        if not backward:
            return {"x": logits(rng)}
        e = np.exp(logits(rng))
        return {"dy": logits(rng), "y": e / e.sum(axis, keepdims=True)}

    def tolerance(data: Data) -> tuple[float, np.ndarray | float]:
        if not backward:
            return (2 * (16 + 6) + terms + 1) * EPS["float32"], 0.0
        return 0.0, (terms + 3) * EPS["float32"] * 2 * np.abs(data["dy"]).max() * data["y"]

    elements = int(np.prod(shape))
    flops, bytes_ = elements * (4 if backward else 5), elements * 4 * (3 if backward else 2)
    options = {"axis": axis}
    name = f"{'bwd' if backward else 'fwd'} {name}"
    return Case(name, why, make, options, "bandwidth", flops, bytes_, tolerance)


SOFTMAX = [
    softmax(name, why, *shape, axis=axis, backward=backward)
    for backward in (False, True)
    for name, why, shape, axis in (
        ("1024x1000", "ImageNet logits: rows in L1", (1024, 1000), -1),
        ("64x32000", "a vocabulary: rows in L2", (64, 32000), -1),
        ("65536x10", "short rows: lanes must not idle", (65536, 10), -1),
        ("16x1000x32² axis 1", "segmentation, NCHW: a strided axis", (16, 1000, 32, 32), 1),
        ("256x50257", "GPT-2's vocabulary: from memory", (256, 50257), -1),
        ("tiny 4x10", "what a call costs", (4, 10), -1),
    )
]

# --------------------------------------------------------------------------------------- distances


def distance(
    name: str, why: str, m: int, d: int, metric: str = "euclidean", dtype: str = "float32"
) -> Case:
    """Distances m x m of normal rows; 2 flops per coordinate, as a multiply-add of x·y has.

    Euclidean, squared: |x|² - 2x·y + |y|², as most peers do it, is off by (d + 2)·eps/2·(|x|+|y|)²;
    the exact form by less; each by another 2 for the root and the square here. Manhattan: a sum of
    d terms whose differences round, (d + 1)·eps/2·Σ|x - y|.
    """
    eps = EPS[dtype]

    def make(rng: np.random.Generator) -> Data:
        return {name: rng.standard_normal((m, d), dtype) for name in "xy"}

    def tolerance(data: Data) -> tuple[float, float]:
        if metric == "manhattan":
            return (d + 1) * eps, 0.0
        reach = sum(float(np.sqrt((a * a).sum(1).max())) for a in data.values())
        return 0.0, (d + 4) * eps * reach**2

    compare = np.square if metric == "euclidean" else np.asarray
    flops, bytes_ = 2 * m * m * d, np.dtype(dtype).itemsize * (2 * m * d + m * m)
    options = {"metric": metric}
    return Case(name, why, make, options, "fma", flops, bytes_, tolerance, compare, dtype)


DISTANCE = [
    distance("4096² x 16", "low dimension: the store is half the work", 4096, 16),
    distance("4096² x 64", "digits, small embeddings", 4096, 64),
    distance("4096² x 128", "SIFT, face embeddings", 4096, 128),
    distance("2048² x 784", "MNIST's pixels: long sums", 2048, 784),
    distance("10000² x 2", "points in the plane: a pure store of 400 MB", 10000, 2),
    distance("2048² x 784 f64", "double precision", 2048, 784, dtype="float64"),
    distance("4096² x 64 manhattan", "a metric without a GEMM form", 4096, 64, "manhattan"),
    distance("tiny 8² x 8", "what a call costs", 8, 8),
]

CASES = {"conv": CONV, "pool": POOL, "softmax": SOFTMAX, "distance": DISTANCE}


def data_of(case: Case) -> Data:
    """The arrays of a case: the same in every process."""
    return case.make(np.random.default_rng(20261121))
