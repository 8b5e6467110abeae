"""scikit-learn's pairwise distances."""

from __future__ import annotations

import functools

import numpy as np
import sklearn
from cases import Case, Data
from sklearn.metrics import pairwise_distances
from sklearn.metrics.pairwise import cosine_distances, euclidean_distances, manhattan_distances

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


def version() -> str:
    return sklearn.__version__
