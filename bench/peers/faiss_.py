"""faiss: the whole matrix of distances, of which its euclidean ones stay squared."""

from __future__ import annotations

import os

import faiss
import numpy as np
from cases import Case, Data

from . import Prepared

faiss.omp_set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


METRICS = {"manhattan": faiss.METRIC_L1, "chebyshev": faiss.METRIC_Linf}


def distance(case: Case, data: Data, variant: str) -> Prepared | None:
    x, y, metric = data["x"], data.get("y", data["x"]), case.options["metric"]
    if x.dtype != np.float32 or x.ndim > 2 or metric not in ("euclidean", *METRICS):
        return None
    if metric in METRICS:
        return lambda: faiss.pairwise_distances(x, y, METRICS[metric]), np.asarray
    return lambda: faiss.pairwise_distances(x, y), root


def root(squares: np.ndarray) -> np.ndarray:
    """A difference of squares may come out below 0."""
    return np.sqrt(np.maximum(squares, 0))


def version() -> str:
    return faiss.__version__
