"""SciPy: ndimage for windows, special for softmax, spatial for distances."""

from __future__ import annotations

import os

import numpy as np
import scipy
from cases import Case, Data, found_distances, inside, pair
from scipy import ndimage, special
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist, pdist, squareform

from . import Prepared

MOST_PLANES = 4096  # convolutions of one plane by one filter: beyond, nobody would wait


def conv(case: Case, data: Data, variant: str) -> Prepared | None:
    x = np.ascontiguousarray(data["x"].transpose(0, 3, 1, 2))
    w = np.ascontiguousarray(data["w"].transpose(3, 2, 0, 1))
    stride, pad, dilation, groups = case.options.values()
    centred = dilation == 1 and pair(pad) == tuple(extent // 2 for extent in w.shape[2:])
    if not centred or len(x) * w.shape[0] * w.shape[1] > MOST_PLANES:
        return None
    per_group = w.shape[0] // groups

    def plane(image: np.ndarray, k: int) -> np.ndarray:
        first = k // per_group * w.shape[1]
        pairs = zip(image[first : first + w.shape[1]], w[k], strict=True)
        y = sum(ndimage.correlate(a, b, mode="constant") for a, b in pairs)
        return y[::stride, ::stride]

    def call() -> np.ndarray:
        return np.stack([[plane(image, k) for k in range(len(w))] for image in x])

    return call, lambda y: y.transpose(0, 2, 3, 1)


def pool(case: Case, data: Data, variant: str) -> Prepared | None:
    if case.what:
        return None
    x, (window, stride, pad) = data["x"], case.options.values()
    # The output at i is the maximum from i - window//2 on, so the first window is centred here:
    first = window // 2 - pad
    outputs = [(n + 2 * pad - window) // stride + 1 for n in x.shape[1:3]]
    places = [slice(first, first + (n - 1) * stride + 1, stride) for n in outputs]

    def call() -> np.ndarray:
        y = ndimage.maximum_filter(x, (1, window, window, 1), mode="constant", cval=-np.inf)
        return y[:, places[0], places[1]]

    return call, np.asarray


def softmax(case: Case, data: Data, variant: str) -> Prepared | None:
    if "dy" in data:
        return None
    return lambda: special.softmax(data["x"], **case.options), np.asarray


def cross_entropy(case: Case, data: Data, variant: str) -> Prepared | None:
    if case.options["return_grad"]:
        return None
    x, axis = data["x"], case.options["axis"]
    labels = np.expand_dims(data["t"], axis)

    def call() -> np.floating:
        return -np.take_along_axis(special.log_softmax(x, axis), labels, axis).mean()

    return call, np.asarray


NAMES = {"manhattan": "cityblock"}  # its own, where they differ


def distance(case: Case, data: Data, variant: str) -> Prepared:
    metric = NAMES.get(case.options["metric"], case.options["metric"])
    x, y = data["x"], data.get("y")
    if y is None:
        return lambda: squareform(pdist(x, metric)), np.asarray
    if x.ndim == 3:
        return lambda: np.stack([cdist(a, b, metric) for a, b in zip(x, y)]), np.asarray
    return lambda: cdist(x, y, metric), np.asarray


MOST_COORDINATES = 8  # beyond, a tree asks for all distances and more


def neighbors(case: Case, data: Data, variant: str) -> Prepared | None:
    x, y, metric = data["x"], data["y"], case.options["metric"]
    if variant == "tree":
        if x.shape[1] > MOST_COORDINATES or case.what:
            return None
        k, p = case.options["k"], {"manhattan": 1, "euclidean": 2}[metric]
        threads = int(os.environ["OMP_NUM_THREADS"])
        return (
            lambda: cKDTree(y).query(x, k, p=p, workers=threads),
            lambda found: found_distances(case, data, *found),
        )
    metric = NAMES.get(metric, metric)
    if case.what == "radius":
        return within(case, data, metric)
    if case.what == "argmin":
        return (
            lambda: cdist(x, y, metric).argmin(1),
            lambda indices: found_distances(case, data, None, indices),
        )
    k = case.options["k"]

    def search() -> tuple[np.ndarray, np.ndarray]:
        distances = cdist(x, y, metric)
        indices = np.argpartition(distances, k - 1, axis=1)[:, :k]
        return np.take_along_axis(distances, indices, 1), indices

    return search, lambda found: found_distances(case, data, *found)


def within(case: Case, data: Data, metric: str) -> Prepared:
    radius = case.options["radius"]

    def search() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        distances = cdist(data["x"], data["y"], metric)
        near = distances <= radius
        return near.sum(1), np.nonzero(near)[1], distances[near]

    return search, lambda found: inside(case, found[2], found[0])


def version() -> str:
    return scipy.__version__
