"""Deep-learning and metric-learning kernels for NumPy arrays."""

from . import _pending
from ._core import __version__
from ._runtime import config, get_num_threads, set_num_threads, set_simd_target, show_config
from .conv import conv2d
from .distance import paired_distances, pairwise_distances
from .pool import max_pool2d
from .softmax import log_softmax, log_softmax_backward, softmax, softmax_backward

__all__ = [
    "__version__",
    "config",
    "conv2d",
    "get_num_threads",
    "log_softmax",
    "log_softmax_backward",
    "max_pool2d",
    "paired_distances",
    "pairwise_distances",
    "set_num_threads",
    "set_simd_target",
    "show_config",
    "softmax",
    "softmax_backward",
]


def __getattr__(name: str) -> object:
    if name in _pending.NAMES:
        return _pending.placeholder(name)
    raise AttributeError(f"module 'lanewise' has no attribute {name!r}")
