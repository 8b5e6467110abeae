"""Signatures of the C++ extension; csrc/bindings/ holds their other half."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, SupportsIndex, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._window import Padding, PerAxis

# Arrays and options are parsed there; what is wrong with them is an error there, too.
_Array = NDArray[Any]
_Out = NDArray[Any] | None

__version__: str
compiler: str

# runtime

def set_num_threads(n: int) -> None: ...
def get_num_threads() -> int: ...
def set_simd_target(name: str) -> None: ...
def get_simd_target() -> str: ...
def available_simd_targets() -> list[str]: ...
def fma_peak(dtype: np.dtype[Any]) -> float: ...
def bandwidth(bytes: int) -> float: ...
def stores(bytes: int) -> float: ...

# memory

def set_pool_limit(bytes: int) -> None: ...
def release_pool() -> None: ...
def pool_usage() -> tuple[int, int, int]: ...

# conv

class PackedFilter:
    def __init__(self, w: _Array, groups: int, layout: str, spatial: int, flip: bool) -> None: ...
    @property
    def nbytes(self) -> int: ...
    def read(self, to: _Array) -> None: ...

_Filters = ArrayLike | PackedFilter

def pack_for_conv2d(
    w: PackedFilter,
    x_shape: Sequence[int],
    stride: PerAxis,
    padding: Padding,
    dilation: PerAxis,
    groups: int,
    layout: str,
    flip: bool,
) -> None: ...
def pack_for_conv1d(
    w: PackedFilter,
    x_shape: Sequence[int],
    stride: PerAxis,
    padding: Padding,
    dilation: PerAxis,
    groups: int,
    layout: str,
    flip: bool,
) -> None: ...
def conv2d_algorithm(
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    result: _Array,
    stride: PerAxis,
    padding: Padding,
    dilation: PerAxis,
    groups: SupportsIndex,
    layout: str,
) -> tuple[str, str]: ...
def set_conv_algorithm(name: str) -> None: ...
def conv2d(
    x: ArrayLike,
    w: _Filters,
    bias: ArrayLike | None,
    stride: PerAxis,
    padding: Padding,
    dilation: PerAxis,
    groups: SupportsIndex,
    layout: str,
    pad_mode: str,
    flip: bool,
    activation: str | None,
    algorithm: str,
    dtype: np.dtype[Any] | None,
    out: _Out,
) -> _Array: ...
def conv1d(
    x: ArrayLike,
    w: _Filters,
    bias: ArrayLike | None,
    stride: PerAxis,
    padding: Padding,
    dilation: PerAxis,
    groups: SupportsIndex,
    layout: str,
    pad_mode: str,
    flip: bool,
    activation: str | None,
    algorithm: str,
    dtype: np.dtype[Any] | None,
    out: _Out,
) -> _Array: ...
def conv_transpose2d(
    x: ArrayLike,
    w: _Filters,
    bias: ArrayLike | None,
    stride: PerAxis,
    padding: Padding,
    output_padding: PerAxis,
    dilation: PerAxis,
    groups: SupportsIndex,
    layout: str,
    out: _Out,
) -> _Array: ...

# conv_backward

_OrShape: TypeAlias = ArrayLike | tuple[int, ...]
_Grads: TypeAlias = tuple[_Array | None, _Array | None, _Array | None]

def conv2d_backward(
    dy: ArrayLike,
    x: _OrShape,
    w: _OrShape | PackedFilter,
    wrt: str | Sequence[str],
    stride: PerAxis,
    padding: Padding,
    dilation: PerAxis,
    groups: SupportsIndex,
    layout: str,
    pad_mode: str,
    flip: bool,
    algorithm: str,
) -> _Grads: ...
def conv1d_backward(
    dy: ArrayLike,
    x: _OrShape,
    w: _OrShape | PackedFilter,
    wrt: str | Sequence[str],
    stride: PerAxis,
    padding: Padding,
    dilation: PerAxis,
    groups: SupportsIndex,
    layout: str,
    pad_mode: str,
    flip: bool,
    algorithm: str,
) -> _Grads: ...
def conv_transpose2d_backward(
    dy: ArrayLike,
    x: _OrShape,
    w: _OrShape | PackedFilter,
    wrt: str | Sequence[str],
    stride: PerAxis,
    padding: Padding,
    output_padding: PerAxis,
    dilation: PerAxis,
    groups: SupportsIndex,
    layout: str,
) -> _Grads: ...

# pool

def max_pool2d(
    x: ArrayLike,
    window: PerAxis,
    stride: PerAxis | None,
    padding: Padding,
    dilation: PerAxis,
    ceil_mode: bool,
    layout: str,
    nan_policy: str,
    return_indices: bool,
    out: _Out,
) -> _Array | tuple[_Array, _Array]: ...
def min_pool2d(
    x: ArrayLike,
    window: PerAxis,
    stride: PerAxis | None,
    padding: Padding,
    dilation: PerAxis,
    ceil_mode: bool,
    layout: str,
    nan_policy: str,
    return_indices: bool,
    out: _Out,
) -> _Array | tuple[_Array, _Array]: ...
def avg_pool2d(
    x: ArrayLike,
    window: PerAxis,
    stride: PerAxis | None,
    padding: Padding,
    dilation: PerAxis,
    ceil_mode: bool,
    layout: str,
    count_include_pad: bool,
    out: _Out,
) -> _Array: ...
def max_pool1d(
    x: ArrayLike,
    window: PerAxis,
    stride: PerAxis | None,
    padding: Padding,
    dilation: PerAxis,
    ceil_mode: bool,
    layout: str,
    nan_policy: str,
    return_indices: bool,
    out: _Out,
) -> _Array | tuple[_Array, _Array]: ...
def min_pool1d(
    x: ArrayLike,
    window: PerAxis,
    stride: PerAxis | None,
    padding: Padding,
    dilation: PerAxis,
    ceil_mode: bool,
    layout: str,
    nan_policy: str,
    return_indices: bool,
    out: _Out,
) -> _Array | tuple[_Array, _Array]: ...
def avg_pool1d(
    x: ArrayLike,
    window: PerAxis,
    stride: PerAxis | None,
    padding: Padding,
    dilation: PerAxis,
    ceil_mode: bool,
    layout: str,
    count_include_pad: bool,
    out: _Out,
) -> _Array: ...
def global_max_pool2d(x: ArrayLike, layout: str, out: _Out) -> _Array: ...
def global_avg_pool2d(x: ArrayLike, layout: str, out: _Out) -> _Array: ...
def max_pool2d_backward(
    dy: ArrayLike,
    indices: ArrayLike,
    input_shape: Sequence[SupportsIndex],
    layout: str,
    out: _Out,
) -> _Array: ...
def avg_pool2d_backward(
    dy: ArrayLike,
    input_shape: Sequence[SupportsIndex],
    window: PerAxis,
    stride: PerAxis | None,
    padding: Padding,
    dilation: PerAxis,
    ceil_mode: bool,
    layout: str,
    count_include_pad: bool,
    out: _Out,
) -> _Array: ...

# softmax

_Axis = SupportsIndex | tuple[SupportsIndex, ...]

def softmax(x: ArrayLike, axis: _Axis, mask: ArrayLike | None, out: _Out) -> _Array: ...
def log_softmax(x: ArrayLike, axis: _Axis, out: _Out) -> _Array: ...
def softmax_backward(dy: ArrayLike, y: ArrayLike, axis: _Axis, out: _Out) -> _Array: ...
def log_softmax_backward(dy: ArrayLike, y: ArrayLike, axis: _Axis, out: _Out) -> _Array: ...
def logsumexp(x: ArrayLike, axis: _Axis, keepdims: bool, out: _Out) -> _Array: ...
def softmax_jacobian(y: ArrayLike, axis: _Axis, out: _Out) -> _Array: ...

# cross_entropy

def cross_entropy(
    logits: ArrayLike,
    target: _Array,
    axis: _Axis,
    weight: ArrayLike | None,
    ignore_index: int | None,
    label_smoothing: float,
    reduction: str,
    from_probs: bool,
    return_grad: bool,
) -> _Array | tuple[_Array, _Array]: ...

# distance

def pairwise_distances(
    x: ArrayLike, y: ArrayLike | None, metric: str, p: float, out: _Out
) -> _Array: ...
def paired_distances(
    x: ArrayLike, y: ArrayLike | None, metric: str, p: float, out: _Out
) -> _Array: ...

# neighbors

@overload
def pairwise_argmin(
    x: ArrayLike, y: ArrayLike, metric: str, p: float, return_distance: Literal[False]
) -> _Array: ...
@overload
def pairwise_argmin(
    x: ArrayLike, y: ArrayLike, metric: str, p: float, return_distance: bool
) -> _Array | tuple[_Array, _Array]: ...
def nearest_neighbors(
    x: ArrayLike,
    y: ArrayLike,
    k: SupportsIndex,
    metric: str,
    p: float,
    progress: Callable[[float], Any] | None,
) -> tuple[_Array, _Array]: ...
def radius_neighbors(
    x: ArrayLike,
    y: ArrayLike,
    radius: float,
    metric: str,
    p: float,
    progress: Callable[[float], Any] | None,
) -> tuple[_Array, _Array, _Array]: ...
def pairwise_distances_backward(
    grad: ArrayLike, x: ArrayLike, y: ArrayLike, d: ArrayLike, metric: str, p: float
) -> tuple[_Array, _Array]: ...
def paired_distances_backward(
    grad: ArrayLike, x: ArrayLike, y: ArrayLike, d: ArrayLike, metric: str, p: float
) -> tuple[_Array, _Array]: ...
