"""Deep-learning and metric-learning kernels for NumPy arrays."""

from ._core import __version__
from ._runtime import config, get_num_threads, set_num_threads, set_simd_target, show_config
from .distance import pairwise_distances
from .pool import max_pool2d

__all__ = [
    "__version__",
    "config",
    "get_num_threads",
    "max_pool2d",
    "pairwise_distances",
    "set_num_threads",
    "set_simd_target",
    "show_config",
]
