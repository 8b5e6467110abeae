"""faiss: the whole matrix of distances, of which its euclidean ones stay squared."""

from __future__ import annotations

import os

import faiss
import numpy as np
from cases import Case, Data

from . import Prepared

faiss.omp_set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def distance(case: Case, data: Data, variant: str) -> Prepared | None:
    if case.dtype != "float32":
        return None
    x, y = data["x"], data["y"]
    if case.options["metric"] == "manhattan":
        return lambda: faiss.pairwise_distances(x, y, faiss.METRIC_L1), np.asarray
    # A difference of squares may come out below 0.
    return lambda: faiss.pairwise_distances(x, y), lambda d: np.sqrt(np.maximum(d, 0))


def version() -> str:
    return faiss.__version__
