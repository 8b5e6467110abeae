"""Deep-learning and metric-learning kernels for NumPy arrays."""

from ._core import __version__
from ._runtime import (
    config,
    get_num_threads,
    release_pool,
    set_num_threads,
    set_pool_limit,
    set_simd_target,
    show_config,
)
from .conv import conv1d, conv2d, conv2d_algorithm, conv_transpose2d, set_conv_algorithm
from .conv_backward import (
    ConvGrads,
    conv1d_backward,
    conv2d_backward,
    conv_transpose2d_backward,
)
from .cross_entropy import cross_entropy
from .distance import paired_distances, pairwise_distances
from .distance_backward import (
    DistanceGrads,
    paired_distances_backward,
    pairwise_distances_backward,
)
from .neighbors import nearest_neighbors, pairwise_argmin, radius_neighbors
from .packed_filter import PackedFilter, pack_filter
from .pool import (
    avg_pool1d,
    avg_pool2d,
    global_avg_pool2d,
    global_max_pool2d,
    max_pool1d,
    max_pool2d,
    min_pool1d,
    min_pool2d,
)
from .pool_backward import avg_pool2d_backward, max_pool2d_backward
from .softmax import (
    log_softmax,
    log_softmax_backward,
    logsumexp,
    softmax,
    softmax_backward,
    softmax_jacobian,
)

__all__ = [
    "ConvGrads",
    "DistanceGrads",
    "PackedFilter",
    "__version__",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool2d_backward",
    "config",
    "conv1d",
    "conv1d_backward",
    "conv2d",
    "conv2d_algorithm",
    "conv2d_backward",
    "conv_transpose2d",
    "conv_transpose2d_backward",
    "cross_entropy",
    "get_num_threads",
    "global_avg_pool2d",
    "global_max_pool2d",
    "log_softmax",
    "log_softmax_backward",
    "logsumexp",
    "max_pool1d",
    "max_pool2d",
    "max_pool2d_backward",
    "min_pool1d",
    "min_pool2d",
    "nearest_neighbors",
    "pack_filter",
    "paired_distances",
    "paired_distances_backward",
    "pairwise_argmin",
    "pairwise_distances",
    "pairwise_distances_backward",
    "radius_neighbors",
    "release_pool",
    "set_conv_algorithm",
    "set_num_threads",
    "set_pool_limit",
    "set_simd_target",
    "show_config",
    "softmax",
    "softmax_backward",
    "softmax_jacobian",
]
