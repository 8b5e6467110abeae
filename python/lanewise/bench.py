"""``python -m lanewise bench``: how fast lanewise is here, as a share of what the machine can do.

Each case is timed alone and by its shortest call. Its rate is that of the definition: a product and
a sum are two flops; an array that is read or written counts once. The share is that of the limit
measured in the same run, with the same threads: independent multiply-adds in registers, or an
addition of arrays that are together as large. bench/ in the repository is the long version, which
races lanewise against its peers.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

import lanewise as lw

from . import _core
from ._array import FLOAT32, Array
from .demo import plain
from .demo.timing import best_seconds, duration, progress, significant

OPS = ("conv2d", "conv2d_backward", "max_pool2d", "softmax", "pairwise_distances")
SMALLEST = 3 << 18  # bytes; below, the start of the threads would be measured as bandwidth


@dataclass(frozen=True)
class Case:
    """The same work in lanewise and, where people would write it so, in plain NumPy."""

    op: str
    name: str
    lanewise: Callable[[], Array]
    numpy: Callable[[], Array] | None = None
    flops: int = 0  # limited by arithmetic; or else
    size: int = 0  # by memory: bytes of arguments and result

    @property
    def limit(self) -> tuple[str, int]:
        """What the machine's limit is measured for."""
        return ("flops", 0) if self.flops else ("bytes", max(self.size, SMALLEST))


def _random(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def _conv(name: str, c: int, k: int, size: int, window: int, groups: int = 1) -> Case:
    x, w = _random(size, size, c), _random(window, window, c // groups, k)
    outputs = (size - window + 1) ** 2 * k
    return Case(
        "conv2d",
        name,
        lambda: lw.conv2d(x, w, groups=groups),
        (lambda: plain.conv2d_windows(x, w)) if groups == 1 else None,
        flops=2 * outputs * window * window * (c // groups),
    )


def _conv_backward(name: str, c: int, k: int, size: int, window: int, wrt: str) -> Case:
    out = size - window + 1
    x, w, dy = _random(1, size, size, c), _random(window, window, c, k), _random(1, out, out, k)

    def gradient() -> Array:
        return np.asarray(getattr(lw.conv2d_backward(dy, x, w, wrt=wrt), wrt))

    def image() -> Array:
        taps = np.tensordot(dy[0], w, axes=(2, 3))  # out, out, R, S, C
        dx = np.zeros_like(x)
        for r, s in np.ndindex(window, window):
            dx[0, r : r + out, s : s + out] += taps[:, :, r, s]
        return dx

    def filters() -> Array:
        windows = np.lib.stride_tricks.sliding_window_view(x[0], w.shape[:2], axis=(0, 1))
        return np.tensordot(windows, dy[0], axes=((0, 1), (0, 1))).transpose(1, 2, 0, 3)

    flops = 2 * dy.size * window * window * c
    ways = {"x": image, "w": filters}
    return Case("conv2d_backward", name, gradient, ways[wrt], flops=flops)


def _pool(name: str, c: int, size: int, window: int, stride: int) -> Case:
    x = _random(size, size, c)

    def windows() -> Array:
        view = np.lib.stride_tricks.sliding_window_view(x, (window, window), axis=(0, 1))
        return np.asarray(view[::stride, ::stride].max(axis=(3, 4)))

    disjoint = window == stride
    out = (size - window) // stride + 1
    return Case(
        "max_pool2d",
        name,
        lambda: lw.max_pool2d(x, window, stride=stride),
        (lambda: plain.max_pool2d(x, window)) if disjoint else windows,
        size=4 * c * (size * size + out * out),
    )


def _distances(name: str, m: int, d: int, metric: str = "euclidean") -> Case:
    x, y = _random(m, d), _random(m, d)[::-1].copy()
    return Case(
        "pairwise_distances",
        name,
        lambda: lw.pairwise_distances(x, y, metric),
        (lambda: plain.euclidean(x, y)) if metric == "euclidean" else None,
        flops=2 * m * m * d,
    )


def _softmax() -> Iterator[Case]:
    logits, vocabulary = _random(1024, 1000), _random(64, 32000)
    dy, y = logits[::-1].copy(), plain.softmax(logits)
    small, large = logits.nbytes, vocabulary.nbytes
    softmax = functools.partial(Case, "softmax")
    yield softmax(
        "1024 x 1000",
        lambda: lw.softmax(logits),
        lambda: plain.softmax(logits),
        size=2 * small,
    )
    yield softmax(
        "64 x 32000",
        lambda: lw.softmax(vocabulary),
        lambda: plain.softmax(vocabulary),
        size=2 * large,
    )
    yield softmax(
        "1024 x 1000, gradient",
        lambda: lw.softmax_backward(dy, y),
        lambda: plain.softmax_backward(dy, y),
        size=3 * small,
    )


def cases() -> list[Case]:
    """Some of each op."""
    return [
        _conv("3x3, 64 to 64 channels, 56 x 56", 64, 64, 58, 3),
        _conv("1x1, 256 to 64 channels, 56 x 56", 256, 64, 56, 1),
        _conv("7x7, 3 to 64 channels, 112 x 112", 3, 64, 118, 7),
        _conv("3x3 depthwise, 96 channels, 112 x 112", 96, 96, 114, 3, groups=96),
        _conv_backward("3x3, 64 to 64, 56 x 56, by the image", 64, 64, 58, 3, "x"),
        _conv_backward("3x3, 64 to 64, 56 x 56, by the filters", 64, 64, 58, 3, "w"),
        _pool("2x2, 128 channels, 112 x 112", 128, 112, 2, 2),
        _pool("3x3 stride 2, 64 channels, 112 x 112", 64, 112, 3, 2),
        *_softmax(),
        _distances("1000 x 1000 rows of 16", 1000, 16),
        _distances("1000 x 1000 rows of 784", 1000, 784),
        _distances("1000 x 1000 rows of 64, manhattan", 1000, 64, "manhattan"),
    ]


def _machine_limit(limit: tuple[str, int]) -> float:
    kind, size = limit
    return _core.fma_peak(FLOAT32) if kind == "flops" else _core.bandwidth(size // 3)


@dataclass(frozen=True)
class Result:
    """The shortest times, in seconds, of a case."""

    case: Case
    lanewise: float
    numpy: float | None

    def row(self, limit: float) -> str:
        """A line of the table."""
        case = self.case
        work, unit = (case.flops, "GFLOP/s") if case.flops else (case.size, "GB/s")
        rate = work / self.lanewise
        ratio = "-" if self.numpy is None else f"{significant(self.numpy / self.lanewise)} x"
        columns = f"{duration(self.lanewise)} {rate / 1e9:6.0f} {unit:7} {rate / limit:6.0%}"
        return f"{case.op:18} {case.name:38} {columns} {ratio:>8}"


def main(ops: Sequence[str] = OPS, threads: int | None = None) -> int:
    """Run the cases of some ops, print their table and return the exit code."""
    start = time.perf_counter()
    if threads is not None:
        lw.set_num_threads(threads)
    settings = lw.config()
    print(
        f"lanewise {settings['version']} ({settings['compiler']}), {settings['simd']}, "
        f"threads: {settings['threads']}, NumPy {settings['numpy']}, float32\n",
        flush=True,
    )
    chosen = [case for case in cases() if case.op in ops]
    limits: dict[tuple[str, int], float] = {}
    results = []
    for done, case in enumerate(chosen):
        progress("measuring", done, len(chosen))
        # At every case anew, and the best counts: something else may be running now and then.
        limits[case.limit] = max(limits.get(case.limit, 0.0), _machine_limit(case.limit))
        numpy = best_seconds(case.numpy) if case.numpy else None
        results.append(Result(case, best_seconds(case.lanewise), numpy))
    progress("measuring", len(chosen), len(chosen))
    print(f"{'':57} {'time':>8} {'rate':>14} {'share':>6} {'NumPy':>8}")
    for result in results:
        print(result.row(limits[result.case.limit]))
    print("\nshare: of what this machine can do at most, as measured in this run")
    print("NumPy: its time / lanewise's, where people would write it in NumPy; the threads of its")
    print("matrix products are its own, as OPENBLAS_NUM_THREADS says")
    print(f"{time.perf_counter() - start:.0f} s")
    return 0
