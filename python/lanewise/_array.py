"""What every op asks of its array arguments: accept, promote, refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from .packed_filter import PackedFilter

Array: TypeAlias = NDArray[Any]
_Operand = TypeVar("_Operand", bound="Array | PackedFilter")

FLOAT32 = np.dtype(np.float32)
FLOAT64 = np.dtype(np.float64)
_NATIVE = (FLOAT32, FLOAT64)


def as_array(op: str, name: str, value: ArrayLike) -> Array:
    """`value` as an aligned array of native byte order; copied only where it is not that."""
    if isinstance(value, np.ndarray):
        array = value
    elif value is None:
        raise TypeError(f"{op}: {name} is None, expected an array of real numbers")
    elif hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
        array = np.from_dlpack(cast(Any, value))
    else:
        try:
            array = np.asarray(value)
        except ValueError as error:  # as for rows of unequal lengths
            raise ValueError(f"{op}: {name} is no array: {error}") from None
    dtype = array.dtype
    if dtype in _NATIVE and dtype.isnative and array.flags.aligned:
        return array
    if (dtype.kind not in "fiub" or dtype.itemsize > 8) and dtype.name != "bfloat16":
        raise TypeError(f"{op}: {name} has dtype {dtype}, expected real numbers of at most 64 bits")
    if not dtype.isnative or not array.flags.aligned:
        array = array.astype(dtype.newbyteorder("="), order="K")
    return array


def result_type(op: str, **arrays: Array | PackedFilter) -> np.dtype[Any]:
    """`np.result_type` of the arrays; what no kernel computes is a TypeError."""
    dtypes = list(dict.fromkeys(a.dtype for a in arrays.values()))  # NumPy heeds the order
    if len(dtypes) == 1:
        return dtypes[0]
    try:
        return np.result_type(*dtypes)
    except TypeError:
        seen = " and ".join(f"{name} {a.dtype}" for name, a in arrays.items())
        raise TypeError(f"{op}: no dtype holds the values of {seen}") from None


def cast_array(
    op: str, name: str, array: _Operand, dtype: np.dtype[Any], copy: bool = False
) -> _Operand:
    """`array`, if kernels can read it as `dtype` or `copy` is not set; else a copy of that dtype.

    A TypeError where NumPy would not call that a "same_kind" cast.
    """
    if array.dtype == dtype:
        return array
    if not copy and np.can_cast(array.dtype, dtype, "safe"):
        return array
    if not np.can_cast(array.dtype, dtype, "same_kind"):
        raise TypeError(
            f"{op}: {name} has dtype {array.dtype}, which is no 'same_kind' cast to {dtype}"
        )
    return cast(_Operand, array.astype(dtype))


def check_out(
    op: str, out: Array, shape: tuple[int, ...], dtype: np.dtype[Any], **inputs: Array
) -> None:
    """Refuses an `out` that cannot hold the result, or that overlaps one of `inputs`."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{op}: out is a {type(out).__name__}, expected numpy.ndarray")
    if out.dtype != dtype or not out.dtype.isnative:
        raise TypeError(f"{op}: out has dtype {out.dtype!r}, expected {dtype!r}")
    if out.shape != shape:
        raise ValueError(f"{op}: out has shape {out.shape}, expected {shape}")
    if not out.flags.writeable:
        raise ValueError(f"{op}: out is read-only")
    if not out.flags.aligned:
        raise ValueError(f"{op}: out is not aligned to its dtype {dtype}")
    if _may_overlap_itself(out):
        raise ValueError(f"{op}: elements of out overlap (shape {shape}, strides {out.strides})")
    for name, array in inputs.items():
        if np.may_share_memory(out, array):
            raise ValueError(f"{op}: out overlaps {name} in memory")


def _may_overlap_itself(array: Array) -> bool:
    """False where each stride steps past all that the smaller ones reach."""
    if array.flags.c_contiguous or array.flags.f_contiguous or array.size == 0:
        return False
    reach = array.itemsize
    for stride, size in sorted((abs(t), n) for t, n in zip(array.strides, array.shape) if n > 1):
        if stride < reach:
            return True
        reach += stride * (size - 1)
    return False
