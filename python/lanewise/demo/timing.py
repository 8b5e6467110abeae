"""How long a call takes, whether two results agree, and how far a loop has come."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._array import Array

EPS = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Comparison:
    """The shortest times, in seconds, of the same work in NumPy and in lanewise."""

    work: str
    plain: float
    lanewise: float

    @property
    def ratio(self) -> float:
        """How many times faster lanewise was."""
        return self.plain / self.lanewise

    def __str__(self) -> str:
        times = f"NumPy {duration(self.plain)}   lanewise {duration(self.lanewise)}"
        return f"{self.work:42} {times}   {significant(self.ratio):>5} x faster"


def compare(work: str, plain: Callable[[], Any], lanewise: Callable[[], Any]) -> Comparison:
    """Time two ways to do the same work."""
    return Comparison(work, best_seconds(plain), best_seconds(lanewise))


def best_seconds(call: Callable[[], Any], budget: float = 0.3) -> float:
    """The shortest of three calls, or of as many more as fit into `budget` seconds."""
    best, calls, end = float("inf"), 0, time.perf_counter() + budget
    while calls < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
        calls += 1
    return best


def significant(value: float) -> str:
    """Two digits of a small number, all digits of a large one."""
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def duration(seconds: float) -> str:
    """A time of eight characters, in ms or µs."""
    if seconds >= 1e-3:
        return f"{seconds * 1e3:5.{0 if seconds >= 0.1 else 1 if seconds >= 0.01 else 2}f} ms"
    return f"{seconds * 1e6:5.{0 if seconds >= 1e-5 else 1}f} us"


def assert_agree(work: str, actual: Array, expected: Array, bound: Array | float) -> None:
    """|actual - expected| <= bound element by element, else an AssertionError that says where."""
    tiny = np.finfo(np.float32).tiny  # 0 may stand against a denormal
    np.testing.assert_allclose(
        (actual.astype(np.float64) - expected) / (np.asarray(bound, np.float64) + tiny),
        np.zeros(expected.shape),
        rtol=0,
        atol=1,
        err_msg=f"{work}: lanewise and NumPy differ by more than their rounding errors",
    )


def progress(label: str, done: int, total: int) -> None:
    """One line on stderr, redrawn on a terminal and written once, at the end, elsewhere."""
    live = sys.stderr.isatty()
    if not live and done < total:
        return
    filled = 30 * done // total
    line = f"  {label} [{'#' * filled}{'.' * (30 - filled)}] {100 * done // total:3d} %"
    start, end = "\r" if live else "", "" if done < total else "\n"
    print(f"{start}{line}", end=end, file=sys.stderr, flush=True)
