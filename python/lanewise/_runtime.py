"""Process-wide settings: threads and SIMD target."""

from __future__ import annotations

from typing import TypedDict

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


def config() -> Config:
    """Version, compiler, SIMD targets available and in use, and threads, as a dict."""
    return {
        "version": _core.__version__,
        "compiler": _core.compiler,
        "numpy": np.__version__,
        "simd": _core.get_simd_target(),
        "simd_available": _core.available_simd_targets(),
        "threads": _core.get_num_threads(),
    }


def show_config() -> None:
    """Print what `config` returns, one line each."""
    for key, value in config().items():
        print(f"{key:15} {', '.join(value) if isinstance(value, list) else value}")
