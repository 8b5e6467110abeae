"""faiss: the whole matrix of distances, of which its euclidean ones stay squared."""

from __future__ import annotations

import os

import faiss
import numpy as np
from cases import Case, Data, found_distances, inside

from . import Prepared

faiss.omp_set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


METRICS = {"manhattan": faiss.METRIC_L1, "chebyshev": faiss.METRIC_Linf}


def distance(case: Case, data: Data, variant: str) -> Prepared | None:
    x, y, metric = data["x"], data.get("y", data["x"]), case.options["metric"]
    if x.dtype != np.float32 or x.ndim > 2 or metric not in ("euclidean", *METRICS):
        return None
    if metric in METRICS:
        return lambda: faiss.pairwise_distances(x, y, METRICS[metric]), np.asarray
    if variant == "index":
        index = faiss.IndexFlatL2(y.shape[1])
        index.add(y)
        return lambda: index.search(x, len(y)), in_order
    return lambda: faiss.pairwise_distances(x, y), root


def in_order(found: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The distances to all rows, in the order of these."""
    squares, indices = found
    result = np.empty_like(squares)
    np.put_along_axis(result, indices, squares, 1)
    return root(result)


def root(squares: np.ndarray) -> np.ndarray:
    """A difference of squares may come out below 0."""
    return np.sqrt(np.maximum(squares, 0))


def neighbors(case: Case, data: Data, variant: str) -> Prepared:
    if case.what == "radius":
        return within(case, data)
    x, y, k = data["x"], data["y"], case.options.get("k", 1)
    metric = {"euclidean": faiss.METRIC_L2, **METRICS}[case.options["metric"]]

    def search() -> tuple[np.ndarray, np.ndarray]:
        index = faiss.IndexFlat(y.shape[1], metric)
        index.add(y)
        return index.search(x, k)

    def result(found: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        distances = root(found[0]) if metric == faiss.METRIC_L2 else found[0]
        return found_distances(case, data, None if case.what == "argmin" else distances, found[1])

    return search, result


def within(case: Case, data: Data) -> Prepared:
    x, y = data["x"], data["y"]

    def search() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        index = faiss.IndexFlat(y.shape[1], METRICS[case.options["metric"]])
        index.add(y)
        return index.range_search(x, case.options["radius"])

    return search, lambda found: inside(case, found[1], np.diff(found[0].astype(np.int64)))


def version() -> str:
    return faiss.__version__
