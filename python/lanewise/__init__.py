"""Deep-learning and metric-learning kernels for NumPy arrays."""

from ._core import __version__
from ._runtime import config, get_num_threads, set_num_threads, set_simd_target, show_config
from .distance import pairwise_distances
from .softmax import log_softmax, log_softmax_backward, softmax, softmax_backward

__all__ = [
    "__version__",
    "config",
    "get_num_threads",
    "log_softmax",
    "log_softmax_backward",
    "pairwise_distances",
    "set_num_threads",
    "set_simd_target",
    "show_config",
    "softmax",
    "softmax_backward",
]
