"""Process-wide settings: threads, SIMD target and the pool of memory for large results."""

from __future__ import annotations

import operator
from typing import SupportsIndex, TypedDict

import numpy as np

from . import _core


class Config(TypedDict):
    """What `config` returns."""

    version: str
    compiler: str
    numpy: str
    simd: str
    simd_available: list[str]
    threads: int
    pool_limit: int
    pool_waiting: int
    pool_in_use: int


def set_num_threads(n: int) -> None:
    """Use at most `n` threads in every op from now on.

    The default is OMP_NUM_THREADS where that is set, else the smaller of the CPU affinity and the
    cgroup's CPU quota. It is never more than OpenMP's own maximum, so threadpoolctl limits it too.
    Results do not depend on it.

    Parameters
    ----------
    n : int
        At least 1.

    Raises
    ------
    ValueError
        If `n` is below 1.

    Examples
    --------
    >>> import lanewise as lw
    >>> lw.set_num_threads(1)
    >>> lw.get_num_threads()
    1
    """
    _core.set_num_threads(n)


def get_num_threads() -> int:
    """The number of threads that a large enough op uses now."""
    return _core.get_num_threads()


def set_simd_target(name: str | None) -> None:
    """Run the kernels of one SIMD target from now on.

    Parameters
    ----------
    name : {"avx512", "avx2", "sse4", "neon", None}
        None returns to the default: the environment variable LANEWISE_SIMD where that is set, else
        the best that this CPU has. Results of different targets may differ in their last bits.

    Raises
    ------
    ValueError
        If the name is unknown, or this CPU or build does not have it.

    Examples
    --------
    >>> import lanewise as lw
    >>> lw.set_simd_target(lw.config()["simd_available"][-1])
    >>> lw.set_simd_target(None)
    """
    if name is not None and not name:
        raise ValueError("set_simd_target: name is ''")
    _core.set_simd_target(name or "")


def set_pool_limit(bytes: SupportsIndex) -> None:
    """Let at most so many bytes of large results wait to be used again.

    Most of the time that a large new array takes is the system's, which hands out its pages one by
    one as they are first written. So results of 2 MB and more lie in blocks of memory, in huge
    pages where the system has them, that return to a pool when the array dies and serve the next
    result of about that size. The arrays own their memory and behave like any other. The blocks
    that were not used for longest go back to the system while those that wait exceed the limit, or
    half of what the system has available; all do where memory runs short.

    Parameters
    ----------
    bytes : int
        0 turns the pool off, for results from now on. The default is an eighth of the memory that
        the machine has, or the cgroup allows.

    Raises
    ------
    ValueError
        If it is negative, or does not fit in 64 bits.

    Examples
    --------
    >>> import lanewise as lw
    >>> limit = lw.config()["pool_limit"]
    >>> lw.set_pool_limit(0)
    >>> lw.set_pool_limit(limit)
    """
    number = operator.index(bytes)
    if not 0 <= number < 2**64:
        raise ValueError(f"set_pool_limit: bytes is {number}, expected 0 to 2**64 - 1")
    _core.set_pool_limit(number)


def release_pool() -> None:
    """Give all memory back to the system that waits in the pool; `set_pool_limit` tells of it.

    Examples
    --------
    >>> import lanewise as lw
    >>> lw.release_pool()
    >>> lw.config()["pool_waiting"]
    0
    """
    _core.release_pool()


def config() -> Config:
    """Version, compiler, SIMD targets available and in use, threads and pool, as a dict.

    The pool's numbers are bytes: those that may wait to be used again, those that do, and those of
    arrays that are alive.
    """
    limit, waiting, in_use = _core.pool_usage()
    return {
        "version": _core.__version__,
        "compiler": _core.compiler,
        "numpy": np.__version__,
        "simd": _core.get_simd_target(),
        "simd_available": _core.available_simd_targets(),
        "threads": _core.get_num_threads(),
        "pool_limit": limit,
        "pool_waiting": waiting,
        "pool_in_use": in_use,
    }


def show_config() -> None:
    """Print what `config` returns, one line each."""
    for key, value in config().items():
        print(f"{key:15} {', '.join(value) if isinstance(value, list) else value}")
