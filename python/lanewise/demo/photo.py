"""A photograph through a bank of filters and max-pooling, all in two calls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_sample_image

import lanewise as lw

from .._array import Array
from . import plain
from .timing import EPS, Comparison, assert_agree, compare

SIZE = 7  # every filter is laid into the middle of a 7 x 7 window
WINDOW = 8  # of max-pooling
CROP = 40  # pixels each way for the beginner's loops, which would need minutes for them all


@dataclass(frozen=True)
class Photo:
    """`maps` and `pooled` hold one channel per filter of the bank."""

    image: Array
    maps: Array
    pooled: Array
    comparisons: list[Comparison]


def _centred(taps: object) -> Array:
    """Taps in the middle of a SIZE x SIZE window of zeros."""
    taps = np.asarray(taps, np.float32)
    return np.pad(taps, [((SIZE - n) // 2, SIZE - n - (SIZE - n) // 2) for n in taps.shape])


def _kernels() -> dict[str, Array]:
    smooth, slope = np.array([1, 2, 1]), np.array([-1, 0, 1])
    bell = np.exp(-(np.arange(-3, 4) ** 2) / (2 * 1.7**2))
    gaussian = np.outer(bell, bell) / bell.sum() ** 2
    identity = _centred([[1]])
    return {
        "Sobel, across": _centred(np.outer(smooth, slope)),
        "Sobel, down": _centred(np.outer(slope, smooth)),
        "Diagonal": _centred([[0, 1, 2], [-1, 0, 1], [-2, -1, 0]]),
        "Laplacian": _centred([[0, 1, 0], [1, -4, 1], [0, 1, 0]]),
        "Emboss": _centred([[-2, -1, 0], [-1, 0, 1], [0, 1, 2]]),
        "Gaussian blur": _centred(gaussian),
        "Box blur": _centred(np.full((SIZE, SIZE), 1 / SIZE**2)),
        "Sharpen": identity + 1.5 * (identity - _centred(gaussian)),
    }


KERNELS = _kernels()
COLOURED = ("Gaussian blur", "Box blur", "Sharpen")  # the others look at the luminance
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green and blue (ITU-R BT.601)


def channels(name: str) -> slice:
    """Where a filter's outputs lie: one channel, or red, green and blue."""
    start = 0
    for other in KERNELS:
        width = 3 if other in COLOURED else 1
        if other == name:
            return slice(start, start + width)
        start += width
    raise KeyError(name)


def _bank() -> Array:
    """All filters as one array (7, 7, 3, K): input channels red, green, blue; K outputs."""
    mixes = {True: np.eye(3, dtype=np.float32), False: LUMINANCE[:, None]}
    return np.concatenate(
        [kernel[:, :, None, None] * mixes[name in COLOURED] for name, kernel in KERNELS.items()],
        axis=-1,
    )


BANK = _bank()


def filter_and_pool() -> Photo:
    """Convolve the photograph with the whole bank, then keep the maximum of each window."""
    image = load_sample_image("china.jpg").astype(np.float32) / 255
    # The border is repeated outwards, so that it does not light up as an edge.
    x = np.pad(image, [(SIZE // 2, SIZE // 2)] * 2 + [(0, 0)], mode="edge")
    maps = lw.conv2d(x, BANK)
    strength = np.abs(maps)
    pooled = lw.max_pool2d(strength, WINDOW)

    height, width, _ = image.shape
    whole, loops = f"{width} x {height} convolution", f"{CROP} x {CROP} convolution, in loops"
    # A sum of n products is off by n·eps/2·Σ|x||w| at most, in any order, on each side.
    bound = BANK[..., 0].size * EPS * plain.conv2d_windows(np.abs(x), np.abs(BANK))
    assert_agree(whole, maps, plain.conv2d_windows(x, BANK), bound)
    crop = x[:CROP, :CROP]
    inside = lw.conv2d(crop, BANK)
    assert_agree(loops, inside, plain.conv2d_loops(crop, BANK), bound[: len(inside), : len(inside)])
    pooling = f"{width} x {height} maxima of {WINDOW} x {WINDOW}"
    assert_agree(pooling, pooled, plain.max_pool2d(strength, WINDOW), 0)  # a maximum never rounds

    return Photo(
        image=image,
        maps=maps,
        pooled=pooled,
        comparisons=[
            compare(loops, lambda: plain.conv2d_loops(crop, BANK), lambda: lw.conv2d(crop, BANK)),
            compare(whole, lambda: plain.conv2d_windows(x, BANK), lambda: lw.conv2d(x, BANK)),
            compare(
                pooling,
                lambda: plain.max_pool2d(strength, WINDOW),
                lambda: lw.max_pool2d(strength, WINDOW),
            ),
        ],
    )
