"""What is measured, and why: the named cases of each op.

The lists are frozen: a case may join one, with its reason, but none is changed or taken away, so
that times of one version can be held against those of another. "conv-breadth", "pool-breadth" and
"softmax-breadth" are second lists: where the first ask how fast the well-known calls are, they ask
whether any that people make is slow. "distance-far" is what the accuracy of distances is measured
on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
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
    kind: str = ""  # the class that a summary puts it in, one of KINDS
    what: str = ""  # which of an op's functions, where it has several
    stored: int = 0  # bytes of the results, where writing them may be what takes the time
    slow: tuple[str, ...] = ()  # contestants left out, since a call takes them more than 10 s

    @property
    def work(self) -> int:
        """What the roof is a rate of."""
        return self.flops if self.roof == "fma" else self.size


def uniform(rng: np.random.Generator, *shape: int, dtype: str = "float32") -> np.ndarray:
    """Values in [-1, 1)."""
    return rng.random(shape, dtype) * 2 - 1


# ------------------------------------------------------------------------------------- convolution


# The classes of layers that a summary is made of, in its order.
KINDS = (
    *("3x3", "1x1", "first layers and large strides", "depthwise", "grouped", "dilated"),
    *("other windows", "float64", "tiny"),
)


def pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """Vertical and horizontal."""
    return size if isinstance(size, tuple) else (size, size)


@dataclass(frozen=True)
class Layer:
    """n images of size x size x c, and k filters of window[0] x window[1].

    Unless it is said, padded as PyTorch's networks do, so that stride 1 keeps the size.
    """

    c: int
    k: int
    size: int
    window: int | tuple[int, int]
    stride: int = 1
    groups: int = 1
    n: int = 1
    pad: int | tuple[int, int] | None = None
    dilation: int = 1

    @property
    def options(self) -> dict[str, Any]:
        """Keywords of lanewise and torch."""
        pad = self.pad
        if pad is None:
            rows, columns = (self.dilation * (extent // 2) for extent in pair(self.window))
            pad = rows if rows == columns else (rows, columns)
        options = {"stride": self.stride, "padding": pad}
        return {**options, "dilation": self.dilation, "groups": self.groups}

    @property
    def x(self) -> tuple[int, ...]:
        """The shape of the images."""
        return self.n, self.size, self.size, self.c

    @property
    def w(self) -> tuple[int, ...]:
        """The shape of the filters."""
        return (*pair(self.window), self.c // self.groups, self.k)

    @property
    def y(self) -> tuple[int, ...]:
        """The shape of the result."""
        outputs = (
            (self.size + 2 * pad - self.dilation * (extent - 1) - 1) // self.stride + 1
            for pad, extent in zip(pair(self.options["padding"]), pair(self.window), strict=True)
        )
        return (self.n, *outputs, self.k)

    @property
    def flops(self) -> int:
        """2 for each product of an input and a weight."""
        return 2 * math.prod(self.y) * math.prod(self.w[:3])

    @property
    def kind(self) -> str:
        """The class, by what makes the layer a different task."""
        if self.dilation > 1:
            return "dilated"
        if self.groups > 1:
            return "depthwise" if self.groups == self.c else "grouped"
        window = pair(self.window)
        if self.c <= 3 or self.stride >= max(window) > 1:
            return "first layers and large strides"
        return {(3, 3): "3x3", (1, 1): "1x1"}.get(window, "other windows")


def conv(name: str, why: str, *sizes: Any, kind: str = "", **more: Any) -> Case:
    """A layer, by what `Layer` is made of.

    A sum of T products is off by T·eps/2·Σ|x||w| at most in any order, and Σ|x||w| <= max|x|·Σ|w|;
    two results are off by twice that.
    """
    layer = Layer(*sizes, **more)

    def make(rng: np.random.Generator) -> Data:
        return {"x": uniform(rng, *layer.x), "w": uniform(rng, *layer.w)}

    def tolerance(data: Data) -> tuple[float, np.ndarray]:
        terms, of_filters = math.prod(layer.w[:3]), np.abs(data["w"]).sum((0, 1, 2))
        return 0.0, terms * EPS["float32"] * np.abs(data["x"]).max() * of_filters

    bytes_ = 4 * sum(map(math.prod, (layer.x, layer.w, layer.y)))
    limits = ("fma", layer.flops, bytes_, tolerance)
    return Case(name, why, make, layer.options, *limits, kind=kind or layer.kind)


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
    conv("tiny 3x3 4 8²", "what a call costs", 4, 4, 8, 3, kind="tiny"),
]

CONV_BREADTH = [
    # VGG, U-Net, super-resolution
    conv("3x3 3-64 224²", "VGG, EDSR: 27 terms a sum, a large store", 3, 64, 224, 3),
    conv("3x3 128 112²", "VGG, second level", 128, 128, 112, 3),
    conv("3x3 512 14² batch 8", "VGG, last level", 512, 512, 14, 3, n=8),
    conv("3x3 128-64 128²", "U-Net, up: twice the channels after a join", 128, 64, 128, 3),
    conv("3x3 1024-512 16²", "U-Net, the bottom", 1024, 512, 16, 3),
    conv("1x1 64-2 256²", "U-Net's masks: 2 output channels", 64, 2, 256, 1),
    conv("3x3 64-3 256²", "EDSR's tail: 3 output channels", 64, 3, 256, 3),
    conv("5x5 1-64 128²", "ESPCN: one channel", 1, 64, 128, 5),
    conv("3x3 32-4 128²", "ESPCN's last layer: 4 output channels", 32, 4, 128, 3),
    conv("9x9 1-64 128²", "SRCNN: a large window on one channel", 1, 64, 128, 9),
    # YOLOv8-s
    conv("3x3/2 3-32 640²", "YOLO's stem", 3, 32, 640, 3, 2),
    conv("3x3/2 32-64 320²", "YOLO, down, early", 32, 64, 320, 3, 2),
    conv("3x3 32 160²", "YOLO: few channels, many pixels", 32, 32, 160, 3),
    conv("1x1 96-64 160²", "YOLO: a join of three", 96, 64, 160, 1),
    conv("3x3/2 256-512 40²", "YOLO, down, late", 256, 512, 40, 3, 2),
    conv("1x1 1024-512 20²", "YOLO's pyramid", 1024, 512, 20, 1),
    conv("1x1 128-80 80²", "YOLO's head: 80 classes", 128, 80, 80, 1),
    # EfficientNet-B0, MobileNetV3
    conv("3x3/2 3-32 224² batch 8", "the stem of small networks", 3, 32, 224, 3, 2, n=8),
    conv("dw 3x3 32 112²", "B0's first depthwise layer", 32, 32, 112, 3, groups=32),
    conv("1x1 32-16 112²", "B0: a projection to 16 channels", 32, 16, 112, 1),
    conv("1x1 16-96 112²", "B0: an expansion of 16 channels", 16, 96, 112, 1),
    conv("dw 5x5/2 144 56²", "B0: strided 5x5", 144, 144, 56, 5, 2, 144),
    conv("1x1 40-240 28²", "B0: an expansion, odd sizes", 40, 240, 28, 1),
    conv("dw 5x5 480 14²", "B0: 5x5, middle", 480, 480, 14, 5, groups=480),
    conv("dw 5x5 1152 7²", "B0: 5x5, windows mostly padding", 1152, 1152, 7, 5, groups=1152),
    conv("1x1 1152-320 7²", "B0: the last projection", 1152, 320, 7, 1),
    conv("dw 3x3 144 56² batch 8", "B0: depthwise from memory", 144, 144, 56, 3, groups=144, n=8),
    conv("dw 5x5/2 72 56²", "MobileNetV3: 72 channels", 72, 72, 56, 5, 2, 72),
    conv("dw 3x3 184 14²", "MobileNetV3: 184 channels", 184, 184, 14, 3, groups=184),
    conv("1x1 24-72 56²", "MobileNetV3: an expansion", 24, 72, 56, 1),
    conv("1x1 960-240 1²", "squeeze and excite: one pixel", 960, 240, 1, 1),
    # RegNet, ResNeXt, ShuffleNet
    conv("3x3 104 28² 13 groups", "RegNetY-400MF: 8 a group", 104, 104, 28, 3, groups=13),
    conv("3x3 160 14² 10 groups", "RegNetX-400MF: 16 a group", 160, 160, 14, 3, groups=10),
    conv("3x3 240 14² 10 groups", "RegNetX-600MF: 24 a group", 240, 240, 14, 3, groups=10),
    conv("3x3 192 28² 4 groups", "RegNetX-3.2GF: 48 a group", 192, 192, 28, 3, groups=4),
    conv("3x3/2 432 28² 9 groups", "RegNetX-3.2GF, down", 432, 432, 28, 3, 2, 9),
    conv("3x3 512 14² 32 groups", "ResNeXt, late: 16 a group", 512, 512, 14, 3, groups=32),
    conv("1x1 240-60 28² 3 groups", "ShuffleNet: grouped 1x1", 240, 60, 28, 1, groups=3),
    # Inception-v3
    conv("3x3 32 149²", "Inception's second layer: no padding", 32, 32, 149, 3, pad=0),
    conv("5x5 48-64 35²", "Inception A", 48, 64, 35, 5),
    conv("3x3/2 288-384 35²", "Inception, down: no padding", 288, 384, 35, 3, 2, pad=0),
    conv("1x7 192 17²", "Inception B: a row", 192, 192, 17, (1, 7)),
    conv("7x1 192 17²", "Inception B: a column", 192, 192, 17, (7, 1)),
    conv("1x3 384 8²", "Inception C: a row", 384, 384, 8, (1, 3)),
    conv("3x1 384 8²", "Inception C: a column", 384, 384, 8, (3, 1)),
    # AlexNet, SqueezeNet: 55², 27², 13²
    conv("11x11/4 3-64 224²", "AlexNet's first layer", 3, 64, 224, 11, 4, pad=2),
    conv("5x5 64-192 27²", "AlexNet's second layer", 64, 192, 27, 5),
    conv("3x3 192-384 13²", "AlexNet's third layer", 192, 384, 13, 3),
    conv("3x3 16-64 55²", "SqueezeNet: 16 input channels", 16, 64, 55, 3),
    conv("1x1 128-16 55²", "SqueezeNet: a squeeze to 16 channels", 128, 16, 55, 1),
    # DenseNet
    conv("3x3 128-32 56²", "DenseNet: 32 new channels", 128, 32, 56, 3),
    conv("3x3 128-32 7²", "DenseNet, late: little work", 128, 32, 7, 3),
    conv("1x1 736-128 14²", "DenseNet: a bottleneck on many channels", 736, 128, 14, 1),
    # ConvNeXt, ViT
    conv("4x4/4 3-96 224²", "ConvNeXt's patches", 3, 96, 224, 4, 4, pad=0),
    conv("2x2/2 96-192 56²", "ConvNeXt, down", 96, 192, 56, 2, 2, pad=0),
    conv("dw 7x7 192 28² batch 8", "ConvNeXt, second stage", 192, 192, 28, 7, groups=192, n=8),
    conv("dw 7x7 768 7²", "ConvNeXt, last: mostly padding", 768, 768, 7, 7, groups=768),
    conv("16x16/16 3-768 224²", "ViT-B/16's patches", 3, 768, 224, 16, 16, pad=0),
    conv("14x14/14 3-1024 224²", "ViT-L/14's patches", 3, 1024, 224, 14, 14, pad=0),
    # DeepLab
    conv("3x3 256 33² rate 6", "DeepLab: taps 6 apart", 256, 256, 33, 3, dilation=6),
    conv("3x3 256 33² rate 18", "DeepLab: taps often in the padding", 256, 256, 33, 3, dilation=18),
    conv("3x3 256 65² rate 12", "DeepLab on a larger image", 256, 256, 65, 3, dilation=12),
    conv("3x3 512 28² rate 2", "a dilated ResNet", 512, 512, 28, 3, dilation=2),
    conv("dw 3x3 256 65² rate 12", "DeepLabv3+", 256, 256, 65, 3, groups=256, dilation=12),
    conv("dw 5x5 960 33² rate 2", "MobileNetV3, dilated", 960, 960, 33, 5, groups=960, dilation=2),
    # Batches of small images, and of large ones
    conv("3x3 16 32² batch 64", "CIFAR, ResNet-20: 16 channels", 16, 16, 32, 3, n=64),
    conv("3x3 64 8² batch 64", "CIFAR, last stage", 64, 64, 8, 3, n=64),
    conv("5x5 6-16 14² batch 64", "LeNet: 6 channels, no padding", 6, 16, 14, 5, n=64, pad=0),
    conv("3x3 512 7² batch 8", "ResNet stage 4: filters pay", 512, 512, 7, 3, n=8),
    conv("1x1 256-64 56² batch 8", "bottleneck, from memory", 256, 64, 56, 1, n=8),
]

# ---------------------------------------------------------------------- gradients of convolution

GRADIENTS = {"dx": ("x",), "dw": ("w",), "all": ("x", "w", "bias")}  # those that a case asks for


def joined(gradients: Iterable[np.ndarray | None]) -> np.ndarray:
    """What contestants are compared by: the gradients that were asked for, one after the other."""
    return np.concatenate([gradient.ravel() for gradient in gradients if gradient is not None])


def off(terms: int, sizes: np.ndarray, largest: float) -> np.ndarray:
    """By how many eps/2 a sum of products of random sign may be off, from Σ|a||b| and max|a||b|.

    By T·Σ|a||b| in any order, which is as much as most outputs for the 400000 terms of a filter's
    gradient. But the sum of the first t is λ·√t·max|a||b| at most, and random roundings of all of
    them come to λ times the root of the sum of their squares: λ²·T/√2·max|a||b|, but for a
    probability of 2·exp(-λ²/2) each, with λ = 8 of 3e-14. (Higham and Mary, Sharper probabilistic
    backward error analysis for basic linear algebra kernels with random data, 2020.)
    """
    return terms * np.minimum(sizes, 8**2 / math.sqrt(2) * largest)


def conv_backward(
    what: str,
    name: str,
    why: str,
    *sizes: Any,
    n: int = 8,
    kind: str = "",
    dtype: str = "float32",
    **more: Any,
) -> Case:
    """The gradient "dx" or "dw" of a layer, or "all" three in one call.

    Each sums all products of the convolution, in another order, so dx and dw have its flops, and
    also its bytes; the bias's gradient, one addition for R·S·C/groups products, is not counted. Two
    results differ by twice what each is `off`: dx with R·S·K/groups terms and Σ|dy||w| <=
    max|dy|·Σ|w|, dw with N·OH·OW and Σ|dy||x| <= max|x|·Σ|dy|, the bias's gradient with as many.
    """
    layer = Layer(*sizes, n=n, **more)
    shapes = {"x": layer.x, "w": layer.w, "dy": layer.y}
    asked = GRADIENTS[what]

    def make(rng: np.random.Generator) -> Data:
        return {name: uniform(rng, *shape, dtype=dtype) for name, shape in shapes.items()}

    def tolerance(data: Data) -> tuple[float, np.ndarray]:
        x, w, dy = (np.abs(data[name]).astype(np.float64) for name in shapes)
        rows, columns, inputs, filters = layer.w
        of_w = w.reshape(rows, columns, inputs, layer.groups, -1).sum((0, 1, 4)).T.ravel()
        of_dy = dy.sum((0, 1, 2))
        weights, pixels = rows * columns * filters // layer.groups, math.prod(layer.y[:3])
        bounds = {
            "x": np.broadcast_to(dy.max() * off(weights, of_w, w.max()), layer.x),
            "w": np.broadcast_to(x.max() * off(pixels, of_dy, dy.max()), layer.w),
            "bias": off(pixels, of_dy, dy.max()),
        }
        return 0.0, EPS[dtype] * joined(bounds[name] for name in asked)

    own = {"x": layer.x, "w": layer.w, "bias": layer.y[-1:]}
    read = {"dx": ("w", "dy"), "dw": ("x", "dy")}.get(what, tuple(shapes))
    moved = [*(shapes[name] for name in read), *(own[name] for name in asked)]
    bytes_ = np.dtype(dtype).itemsize * sum(map(math.prod, moved))
    limits = ("fma", layer.flops * (2 if what == "all" else 1), bytes_, tolerance)
    kind = kind or layer.kind
    name = f"{what} {name}"
    return Case(name, why, make, layer.options, *limits, dtype=dtype, kind=kind, what=what)


# Of 8 images unless the name says another number. "dw" is the gradient, so "depthwise" is in full.
CONV_BACKWARD = [
    conv_backward(what, name, why, *sizes, **more)
    for what in ("dx", "dw")
    for name, why, sizes, more in (
        ("3x3 64 56²", "ResNet stage 1: many pixels", (64, 64, 56, 3), {}),
        ("3x3 64 56² batch 1", "the same of one image", (64, 64, 56, 3), {"n": 1}),
        ("3x3 128 28²", "ResNet stage 2", (128, 128, 28, 3), {}),
        ("3x3 128 28² batch 32", "the same, four times the images", (128, 128, 28, 3), {"n": 32}),
        ("3x3 256 14²", "ResNet stage 3", (256, 256, 14, 3), {}),
        ("3x3 512 7²", "ResNet stage 4: filters outweigh images", (512, 512, 7, 3), {}),
        ("3x3/2 64-128 56²", "ResNet, down", (64, 128, 56, 3, 2), {}),
        ("1x1 64-256 56²", "bottleneck, up", (64, 256, 56, 1), {}),
        ("1x1 256-64 56²", "bottleneck, down", (256, 64, 56, 1), {}),
        ("1x1 1024-256 14²", "bottleneck, late", (1024, 256, 14, 1), {}),
        ("1x1 512-2048 7²", "bottleneck, last: 392 pixels", (512, 2048, 7, 1), {}),
        ("1x1/2 256-512 56²", "projection: 3 of 4 pixels unused", (256, 512, 56, 1, 2), {}),
        ("7x7/2 3-64 224²", "first layer of a ResNet: 3 channels", (3, 64, 224, 7, 2), {}),
        ("3x3/2 3-32 224²", "the stem of small networks", (3, 32, 224, 3, 2), {}),
        ("3x3 3-64 224²", "VGG's first: a large dy", (3, 64, 224, 3), {}),
        ("5x5 1-32 28² batch 64", "MNIST: one channel", (1, 32, 28, 5), {"n": 64}),
        ("depthwise 3x3/2 96 112²", "MobileNet: strided", (96, 96, 112, 3, 2, 96), {}),
        ("depthwise 3x3 384 14²", "MobileNet: small images", (384, 384, 14, 3, 1, 384), {}),
        ("depthwise 5x5 240 28²", "EfficientNet", (240, 240, 28, 5, 1, 240), {}),
        ("depthwise 7x7 96 56²", "ConvNeXt", (96, 96, 56, 7, 1, 96), {}),
        ("depthwise 31x31 64 56²", "RepLKNet: a huge window", (64, 64, 56, 31, 1, 64), {}),
        ("3x3 128 56² 32 groups", "ResNeXt: 4 channels a group", (128, 128, 56, 3, 1, 32), {}),
        ("3x3 256 28² 32 groups", "ResNeXt: 8 a group", (256, 256, 28, 3, 1, 32), {}),
        ("3x3 512 14² 32 groups", "ResNeXt: 16 a group", (512, 512, 14, 3, 1, 32), {}),
        ("3x3 256 33² rate 2", "a dilated ResNet", (256, 256, 33, 3), {"dilation": 2}),
        ("3x3 256 33² rate 12", "DeepLab: taps 12 apart", (256, 256, 33, 3), {"dilation": 12}),
        ("4x4/2 64-128 64²", "a GAN's critic", (64, 128, 64, 4, 2), {"pad": 1}),
        (
            "float64 3x3 64 28²",
            "as gradients are checked",
            (64, 64, 28, 3),
            {"dtype": "float64", "kind": "float64"},
        ),
        *(
            (f"tiny {name} batch 64", why, sizes, {"n": 64, "kind": "tiny"})
            for name, why, sizes in (
                ("3x3 1-16 8²", "digits: the first layer", (1, 16, 8, 3)),
                ("3x3 16-32 4²", "digits: the second layer", (16, 32, 4, 3)),
            )
        ),
    )
]
CONV_BACKWARD.append(
    conv_backward("all", "3x3 64 56²", "what a training step calls", 64, 64, 56, 3)
)

# ----------------------------------------------------------------------------------------- pooling


def pool(
    name: str,
    why: str,
    n: int,
    c: int,
    size: int,
    window: int,
    stride: int,
    pad: int = 0,
    what: str = "",
) -> Case:
    """`what` is a maximum (""), "indices" with it, "average", "gradient" or "average gradient".

    A maximum never rounds, so results are equal; a comparison per further pixel is a flop. An
    average of W elements is off by (W + 1)·eps/2·max|x| at most in any order, and its gradient
    alike; a maximum's, a sum of at most W = ceil(window/stride)² terms, by W times that.
    """
    out = (size + 2 * pad - window) // stride + 1

    def make(rng: np.random.Generator) -> Data:
        data = {"x": uniform(rng, n, size, size, c)}
        return {**data, "dy": uniform(rng, n, out, out, c)} if "gradient" in what else data

    def tolerance(data: Data) -> tuple[float, float]:
        if what in ("", "indices"):
            return 0.0, 0.0
        windows = (-(-window // stride)) ** 2
        terms = window**2 + 1 if "average" in what else windows * (windows + 1)
        return 0.0, terms * EPS["float32"]

    options = {"window": window, "stride": stride, "padding": pad}
    results = n * c * out * out
    flops = results * (window * window - 1)
    bytes_ = 4 * (n * c * size * size + results) + 8 * results * (what in ("indices", "gradient"))
    name = f"{what} {name}".strip()
    return Case(name, why, make, options, "bandwidth", flops, bytes_, tolerance, what=what)


POOL = [
    pool("3/2 64 112²", "ResNet's stem: overlapping, padded", 1, 64, 112, 3, 2, 1),
    pool("3/2 64 112² batch 32", "the same, from memory", 32, 64, 112, 3, 2, 1),
    pool("2/2 128 56² batch 8", "VGG: no overlap, pure bandwidth", 8, 128, 56, 2, 2),
    pool("3/1 128 56² batch 8", "Inception: as many outputs as inputs", 8, 128, 56, 3, 1, 1),
    pool("13/1 32 128² batch 4", "spatial pyramid: a large window", 4, 32, 128, 13, 1, 6),
    pool("tiny 2/2 4 8²", "what a call costs", 1, 4, 8, 2, 2),
]

POOL_BREADTH = [
    pool("2/2 64 224²", "VGG's first: a large image", 1, 64, 224, 2, 2),
    pool("3/2 288 35²", "Inception, down: no padding", 1, 288, 35, 3, 2),
    pool("3/1 192 28² batch 8", "Inception", 8, 192, 28, 3, 1, 1),
    pool("5/1 256 20²", "YOLO's pyramid", 1, 256, 20, 5, 1, 2),
    pool("8/8 64 128² batch 4", "patches", 4, 64, 128, 8, 8),
    pool("31/1 32 128² batch 4", "a large window", 4, 32, 128, 31, 1, 15),
    pool("101/1 32 128² batch 4", "a window larger than half the image", 4, 32, 128, 101, 1, 50),
    pool("7/7 2048 7² batch 8", "global, at the end of a ResNet", 8, 2048, 7, 7, 7),
    pool("112/112 64 112²", "global, of one large image", 1, 64, 112, 112, 112),
    pool("2/2 3 512²", "three channels", 1, 3, 512, 2, 2),
    *(
        pool(name, why, *shape, what=what)
        for what in ("indices", "average", "gradient", "average gradient")
        for name, why, shape in (
            ("3/2 64 112² batch 32", "ResNet's stem, from memory", (32, 64, 112, 3, 2, 1)),
            ("2/2 128 56² batch 8", "no overlap", (8, 128, 56, 2, 2)),
            ("3/1 128 56² batch 8", "as many outputs as inputs", (8, 128, 56, 3, 1, 1)),
            ("13/1 32 128² batch 4", "a large window", (4, 32, 128, 13, 1, 6)),
            ("7/7 2048 7² batch 8", "global", (8, 2048, 7, 7, 7)),
        )
    ),
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

SOFTMAX_BREADTH = [
    softmax(name, why, *shape, axis=axis, backward=backward)
    for backward in (False, True)
    for name, why, shape, axis in (
        ("32x8x128²", "attention: rows of 128", (32, 8, 128, 128), -1),
        ("8x12x512²", "attention: rows of 512, from memory", (8, 12, 512, 512), -1),
        ("1000000x2", "two classes", (1000000, 2), -1),
        ("200000x5", "five classes", (200000, 5), -1),
        ("65536x16", "one vector a row", (65536, 16), -1),
        ("32768x33", "rows of a little more than two vectors", (32768, 33), -1),
        ("16384x64", "mixtures of experts", (16384, 64), -1),
        ("8x21x128² axis 1", "segmentation: 21 classes", (8, 21, 128, 128), 1),
        ("64x100x49 axis 1", "few neighbours", (64, 100, 49), 1),
        ("4096x256 axis 0", "down the columns of a matrix", (4096, 256), 0),
    )
]


def cross_entropy(name: str, why: str, *shape: int, axis: int = -1, gradient: bool = False) -> Case:
    """The mean over all rows, of class labels; with its gradient the gradient is the result.

    The loss: the sum of C exponentials, their arguments off by 16·eps/2 as softmax's, and the mean,
    within (C + 32)·eps/2 of the largest loss, 40, of each. The gradient, (y - t)/rows: as y.
    """
    classes = shape[axis]
    rows = int(np.prod(shape)) // classes

    def make(rng: np.random.Generator) -> Data:
        x = rng.standard_normal(shape, np.float32)
        return {"x": x, "t": rng.integers(classes, size=np.delete(shape, axis))}

    def tolerance(data: Data) -> tuple[float, float]:
        bound = (classes + 2 * 22 + 1) * EPS["float32"]
        return (0.0, bound / rows) if gradient else (0.0, 40 * bound)

    elements = rows * classes
    bytes_ = 4 * elements * (2 if gradient else 1) + 8 * rows
    name = f"{'loss and gradient' if gradient else 'loss'} {name}"
    options = {"axis": axis, "return_grad": gradient}
    return Case(name, why, make, options, "bandwidth", 5 * elements, bytes_, tolerance)


CROSS_ENTROPY = [
    cross_entropy(name, why, *shape, axis=axis, gradient=gradient)
    for gradient in (False, True)
    for name, why, shape, axis in (
        ("1024x1000", "ImageNet logits", (1024, 1000), -1),
        ("64x32000", "a vocabulary", (64, 32000), -1),
        ("65536x10", "short rows", (65536, 10), -1),
        ("8x1000x32² axis 1", "segmentation, NCHW", (8, 1000, 32, 32), 1),
        ("256x50257", "GPT-2's vocabulary: from memory", (256, 50257), -1),
        ("tiny 4x10", "what a call costs", (4, 10), -1),
    )
]

# --------------------------------------------------------------------------------------- distances


def reach(data: Data) -> float:
    """The largest |x| + |y|, which a distance is at most."""
    return sum(float(np.sqrt((a * a).sum(-1).max())) for a in (data["x"], data.get("y", data["x"])))


def distance(
    name: str,
    why: str,
    m: int,
    d: int,
    metric: str = "euclidean",
    dtype: str = "float32",
    batch: tuple[int, ...] = (),
    alone: bool = False,
    slow: tuple[str, ...] = (),
) -> Case:
    """Distances m x m of normal rows, or with `alone` of x to itself; 2 flops per coordinate, as a
    multiply-add of x·y has.

    Euclidean, squared: |x|² - 2x·y + |y|², as most peers do it, is off by (d + 2)·eps/2·(|x|+|y|)²;
    the exact form by less; each by another 2 for the root and the square here. Manhattan: a sum of
    d terms whose differences round, (d + 1)·eps/2·Σ|x - y|. Chebyshev: one difference, eps/2.
    Cosine: three sums of d, of a quotient of at most 1, and 4 more steps: (2d + 4)·eps/2.
    """
    eps = EPS[dtype]

    def make(rng: np.random.Generator) -> Data:
        return {name: rng.standard_normal((*batch, m, d), dtype) for name in "xy"[: 2 - alone]}

    def tolerance(data: Data) -> tuple[float, float]:
        if metric == "cosine":
            return 0.0, (2 * d + 4) * eps
        if metric != "euclidean":
            return {"manhattan": (d + 1) * eps, "chebyshev": eps}[metric], 0.0
        return 0.0, (d + 4) * eps * reach(data) ** 2

    compare = np.square if metric == "euclidean" else np.asarray
    pairs, size = int(np.prod(batch)) * m * m, np.dtype(dtype).itemsize
    bytes_ = size * ((2 - alone) * pairs // m * d + pairs)
    options, stored = {"metric": metric}, size * pairs
    limits = ("fma", 2 * pairs * d, bytes_, tolerance, compare, dtype)
    return Case(name, why, make, options, *limits, stored=stored, slow=slow)


def bits(name: str, why: str, m: int, d: int, metric: str, slow: tuple[str, ...] = ()) -> Case:
    """Distances m x m of rows of bool, in float64: counts, which are exact, and their quotient."""

    def make(rng: np.random.Generator) -> Data:
        return {name: rng.random((m, d), np.float32) < 0.3 for name in "xy"}

    flops, stored, eps = 2 * m * m * d, 8 * m * m, EPS["float64"]
    limits = ("fma", flops, 2 * m * d + stored, lambda data: (eps, eps), np.asarray, "float64")
    return Case(name, why, make, {"metric": metric}, *limits, stored=stored, slow=slow)


DISTANCE = [
    distance("4096² x 16", "low dimension: the store is half the work", 4096, 16),
    distance("4096² x 64", "digits, small embeddings", 4096, 64),
    distance("4096² x 128", "SIFT, face embeddings", 4096, 128),
    distance("2048² x 784", "MNIST's pixels: long sums", 2048, 784),
    distance("10000² x 2", "points in the plane: a pure store of 400 MB", 10000, 2),
    distance("2048² x 784 f64", "double precision", 2048, 784, dtype="float64"),
    distance("4096² x 64 manhattan", "a metric without a GEMM form", 4096, 64, "manhattan"),
    distance("tiny 8² x 8", "what a call costs", 8, 8),
    distance("4096² x 64 chebyshev", "two instructions a coordinate", 4096, 64, "chebyshev"),
    distance("4096² x 64 cosine", "a metric that is a GEMM", 4096, 64, "cosine"),
    distance("4096² x 64 f64", "double precision, short sums", 4096, 64, dtype="float64"),
    distance("4096² x 64 of x alone", "a symmetric matrix", 4096, 64, alone=True),
    distance("64 x 128² x 64", "a batch of small sets", 128, 64, batch=(64,)),
    distance("tiny 16² x 64", "a few rows", 16, 64),
    bits("4096² x 512 hamming", "bool: fingerprints, hashes", 4096, 512, "hamming"),
    bits("4096² x 512 jaccard", "bool: sets", 4096, 512, "jaccard", ("scipy", "sklearn")),
]


def far(offset: float, d: int) -> Case:
    """Distances of points about 1 apart, in a cloud at that distance from the origin.

    In space a lattice, moved by a quarter at most; of more coordinates normal rows, and many in x,
    since faiss's index has another formula for more than a thousand or two.
    """
    m, n = (125, 125) if d == 3 else (2500, 100)

    def make(rng: np.random.Generator) -> Data:
        direction = rng.standard_normal(d)
        centre = offset * direction / np.sqrt((direction**2).sum())

        def points(rows: int) -> np.ndarray:
            if d > 3:
                return rng.standard_normal((rows, d)) / np.sqrt(2 * d)
            return np.indices((5, 5, 5)).reshape(3, rows).T + rng.uniform(-0.25, 0.25, (rows, 3))

        y = (centre + points(n)).astype(np.float32)
        x = (centre + points(m)).astype(np.float32)
        x[:n] = y
        return {"x": x, "y": y}

    name, why = f"{offset:.3g} d={d}", "accuracy far from the origin"
    sizes = {"flops": 2 * m * n * d, "size": 4 * (m * d + n * d + m * n), "stored": 4 * m * n}
    return replace(distance(name, why, m, d), make=make, **sizes)


OFFSETS = tuple(10 ** (i / 2) for i in range(13))
FAR_COORDINATES = (3, 64)
DISTANCE_FAR = [far(offset, d) for d in FAR_COORDINATES for offset in OFFSETS]


def distance_backward(name: str, why: str, m: int, d: int, metric: str = "euclidean") -> Case:
    """The gradients of distances m x m by both operands; for each, 2 flops per coordinate and pair.

    Manhattan: sums of m terms ±g, m·eps/2·Σ|g|. Euclidean, r = g/d: as x·Σr - Σr·y, as torch does
    it, (m + 4)·eps/2·Σ|r|·(|x| + |y|), coordinate by coordinate; the exact form by less. Each also
    by what d is off: (d + 4)·eps/4·(|x| + |y|)²/d² of Σ|g|, the terms being g at most.
    """
    eps = EPS["float32"]

    def make(rng: np.random.Generator) -> Data:
        data = {name: rng.standard_normal((m, d), np.float32) for name in "xy"}
        return {**data, "grad": rng.standard_normal((m, m), np.float32)}

    def tolerance(data: Data) -> tuple[float, float]:
        def largest_sum(a: np.ndarray) -> float:
            return max(a.sum(0).max(), a.sum(1).max())

        g = np.abs(data["grad"])
        if metric == "manhattan":
            return 0.0, m * eps * largest_sum(g)
        x, y = (data[name].astype(np.float64) for name in "xy")
        square = (x * x).sum(1)[:, None] + (y * y).sum(1) - 2 * x @ y.T
        of_sums = (m + 4) * largest_sum(g / np.sqrt(square)) * (np.abs(x).max() + np.abs(y).max())
        of_d = (d + 4) * reach(data) ** 2 / (2 * square.min()) * largest_sum(g)
        return 0.0, eps * (of_sums + of_d)

    bytes_ = 4 * (4 * m * d + 2 * m * m)
    return Case(name, why, make, {"metric": metric}, "fma", 4 * m * m * d, bytes_, tolerance)


DISTANCE_BACKWARD = [
    distance_backward(name, why, m, d, metric)
    for metric in ("euclidean", "manhattan")
    for name, why, m, d in (
        (f"4096² x 64 {metric}", "embeddings", 4096, 64),
        (f"1024² x 64 {metric}", "a batch of embeddings", 1024, 64),
        (f"tiny 8² x 8 {metric}", "what a call costs", 8, 8),
    )
]


def neighbors(
    name: str,
    why: str,
    m: int,
    n: int,
    d: int,
    k: int,
    metric: str = "euclidean",
    what: str = "",
    slow: tuple[str, ...] = (),
) -> Case:
    """The k nearest of n normal rows for each of m; flops as for all distances, and few results.

    Compared are not indices, which may differ where distances are within the bound of an inexact
    form, but the distances that are reported and the true ones of the indices, both in ascending
    order. Where each distance is off by δ at most, so is the i-th smallest; and a row that is taken
    for the i-th is truly off by 2δ at most, since i rows seem no further. Two contestants then
    differ by 2δ at most, which are the bounds of `distance`.
    """

    def make(rng: np.random.Generator) -> Data:
        return {
            name: rng.standard_normal((rows, d), np.float32) for name, rows in zip("xy", (m, n))
        }

    def tolerance(data: Data) -> tuple[float, float]:
        if metric == "manhattan":
            return (d + 1) * EPS["float32"], 0.0
        return 0.0, (d + 4) * EPS["float32"] * reach(data) ** 2

    compare = np.square if metric == "euclidean" else np.asarray
    stored = m * k * (12 if what != "argmin" else 8)
    options = {"metric": metric} if what == "argmin" else {"k": k, "metric": metric}
    limits = ("fma", 2 * m * n * d, 4 * (m + n) * d + stored, tolerance, compare)
    return Case(name, why, make, options, *limits, what=what, stored=stored, slow=slow)


def within(name: str, why: str, m: int, d: int, radius: float, slow: tuple[str, ...] = ()) -> Case:
    """The rows of y no further than a radius, in manhattan distance.

    Compared is Σ (radius - distance) over the neighbours of each row, to which one that stands on
    the border adds nothing. Each term is off by (d + 1)·eps/2·radius, and there are m at most.
    """

    def make(rng: np.random.Generator) -> Data:
        return {name: rng.standard_normal((m, d), np.float32) for name in "xy"}

    def tolerance(data: Data) -> tuple[float, float]:
        return 0.0, m * (d + 1) * EPS["float32"] * radius

    options = {"radius": radius, "metric": "manhattan"}
    limits = ("fma", 2 * m * m * d, 8 * m * d, tolerance, np.asarray)
    return Case(name, why, make, options, *limits, what="radius", stored=8 * m, slow=slow)


def inside(case: Case, distances: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """How far inside the radius the neighbours of each row are, in all."""
    ends = np.cumsum(counts)
    total = np.append(0.0, np.cumsum(case.options["radius"] - distances.astype(np.float64)))
    return total[ends] - total[ends - counts]


def true_distances(case: Case, data: Data, indices: np.ndarray) -> np.ndarray:
    """Of rows of x and those of y that indices (m, k) name, in float64 and ascending."""
    x, y, metric = data["x"], data["y"], case.options["metric"]
    found = []
    for i in range(0, len(x), 256):
        difference = x[i : i + 256, None].astype(np.float64) - y[indices[i : i + 256]]
        size = np.abs(difference) if metric == "manhattan" else difference**2
        found.append(size.sum(-1) if metric == "manhattan" else np.sqrt(size.sum(-1)))
    return np.sort(np.concatenate(found), axis=-1)


def found_distances(
    case: Case, data: Data, distances: np.ndarray | None, indices: np.ndarray
) -> np.ndarray:
    """What contestants are compared by: true distances, and beside them those that are reported."""
    true = true_distances(case, data, indices.reshape(len(data["x"]), -1))
    return true if distances is None else np.concatenate([true, np.sort(distances, axis=-1)], -1)


NEIGHBORS = [
    neighbors("argmin 4096² x 64", "assignment to centroids", 4096, 4096, 64, 1, what="argmin"),
    neighbors(
        "k=10 4096 x 100000 x 128",
        "SIFT: a large index",
        *(4096, 100_000, 128, 10),
        slow=("torch-exact", "scipy"),
    ),
    neighbors("k=10 10000² x 2", "points in the plane", 10_000, 10_000, 2, 10),
    neighbors(
        "k=100 4096 x 100000 x 32", "many neighbours", 4096, 100_000, 32, 100, slow=("scipy",)
    ),
    neighbors("k=10 16 x 1000000 x 64", "few queries: y is read once", 16, 1_000_000, 64, 10),
    neighbors("k=5 4096² x 8 manhattan", "without a GEMM form", 4096, 4096, 8, 5, "manhattan"),
    within("radius 3 of 4096² x 8 manhattan", "clustering: few are near", 4096, 8, 3.0),
    neighbors("tiny k=3 8² x 8", "what a call costs", 8, 8, 8, 3),
]

CASES = {
    "conv": CONV,
    "conv-breadth": CONV_BREADTH,
    "conv_backward": CONV_BACKWARD,
    "pool": POOL,
    "pool-breadth": POOL_BREADTH,
    "softmax": SOFTMAX,
    "softmax-breadth": SOFTMAX_BREADTH,
    "cross_entropy": CROSS_ENTROPY,
    "distance": DISTANCE,
    "distance-far": DISTANCE_FAR,
    "distance_backward": DISTANCE_BACKWARD,
    "neighbors": NEIGHBORS,
}


def op_of(cases: str) -> str:
    """The op of a list of cases: conv of conv-breadth."""
    return cases.partition("-")[0]


def data_of(case: Case) -> Data:
    """The arrays of a case: the same in every process."""
    return case.make(np.random.default_rng(20261121))


def normal_data_of(case: Case) -> Data:
    """Standard normal arrays of the same shapes: what accuracy is measured on."""
    rng = np.random.default_rng(20261121)
    shapes = {name: array.shape for name, array in data_of(case).items()}
    return {name: rng.standard_normal(shape, case.dtype) for name, shape in shapes.items()}
