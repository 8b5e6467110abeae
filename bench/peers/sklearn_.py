"""scikit-learn's pairwise distances."""

from __future__ import annotations

import functools

import numpy as np
import sklearn
from cases import Case, Data, found_distances, inside
from sklearn.metrics import pairwise_distances, pairwise_distances_argmin
from sklearn.metrics.pairwise import cosine_distances, euclidean_distances, manhattan_distances
from sklearn.neighbors import NearestNeighbors

from . import Prepared


def distance(case: Case, data: Data, variant: str) -> Prepared | None:
    x, y = data["x"], data.get("y")
    if x.ndim > 2:
        return None
    metrics = {
        "euclidean": euclidean_distances,
        "manhattan": manhattan_distances,
        "cosine": cosine_distances,
    }
    name = case.options["metric"]
    metric = metrics.get(name, functools.partial(pairwise_distances, metric=name))
    return lambda: metric(x, y), np.asarray


def neighbors(case: Case, data: Data, variant: str) -> Prepared:
    x, y, o = data["x"], data["y"], case.options
    if case.what == "argmin":
        return (
            lambda: pairwise_distances_argmin(x, y, metric=o["metric"]),
            lambda indices: found_distances(case, data, None, indices),
        )
    if case.what == "radius":
        near = NearestNeighbors(radius=o["radius"], metric=o["metric"], algorithm="brute")

        def result(found: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
            return inside(case, np.concatenate(found[0]), np.array([len(row) for row in found[0]]))

        return lambda: near.fit(y).radius_neighbors(x), result
    search = NearestNeighbors(n_neighbors=o["k"], metric=o["metric"], algorithm="brute")
    return (
        lambda: search.fit(y).kneighbors(x),
        lambda found: found_distances(case, data, *found),
    )


def version() -> str:
    return sklearn.__version__
