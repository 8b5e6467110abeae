"""scikit-learn's pairwise distances."""

from __future__ import annotations

import numpy as np
import sklearn
from cases import Case, Data
from sklearn.metrics.pairwise import euclidean_distances, manhattan_distances

from . import Prepared


def distance(case: Case, data: Data, variant: str) -> Prepared:
    metrics = {"euclidean": euclidean_distances, "manhattan": manhattan_distances}
    metric = metrics[case.options["metric"]]
    return lambda: metric(data["x"], data["y"]), np.asarray


def version() -> str:
    return sklearn.__version__
