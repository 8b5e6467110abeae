"""What a tiny call costs, and where: python bench/tiny.py BUILD.

BUILD is a build directory with the C++ microbenchmarks (LANEWISE_BENCH=ON). For the tiny case of
each op, in microseconds of the processor's time (which other processes lengthen less), one thread:
    call     the Python function, as a user calls it
    C++      the public C++ function that it ends in, by its microbenchmark: validation and kernel
    binding  the extension's function on the same arguments, less C++: checks of arrays, options,
             the allocation of the result, the GIL
    Python   the rest: defaults and keywords
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import subprocess
import time
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lanewise as lw
from cases import CASES, data_of
from peers import lanewise_

# Function, op and tiny case in cases.py, and the same in bench/cpp.
CALLS = (
    ("conv2d", "conv", "tiny", "Conv2d/tiny_3x3_4_8/NHWC/"),
    ("max_pool2d", "pool", "tiny", "MaxPool2d/tiny_2/2_4x8/NHWC/real"),
    ("softmax", "softmax", "fwd tiny", "Softmax/outer:4/"),
    ("softmax_backward", "softmax", "bwd tiny", "SoftmaxBackward/outer:4/"),
    ("pairwise_distances", "distance", "tiny", "PairwiseDistances/euclidean/m:8/"),
)
RUNS = {"number": 2000, "repeat": 50}


def microseconds(call: Callable[[], Any]) -> float:
    """Per call, in the best of many runs of many calls."""
    return min(timeit.repeat(call, timer=time.thread_time, **RUNS)) / RUNS["number"] * 1e6


def last_core_call(call: Callable[[], Any]) -> Callable[[], Any]:
    """The extension's function that `call` ends in, with the arguments it was given."""
    calls: list[Callable[[], Any]] = []
    originals = dict(inspect.getmembers(lw._core, inspect.isbuiltin))

    def recorder(function: Callable[..., Any]) -> Callable[..., Any]:
        def record(*arguments: Any) -> Any:
            calls.append(lambda: function(*arguments))
            return function(*arguments)

        return record

    for name, function in originals.items():
        setattr(lw._core, name, recorder(function))
    try:
        call()
    finally:
        for name, function in originals.items():
            setattr(lw._core, name, function)
    return calls[-1]


def cpp_microseconds(folder: Path, op: str, name: str) -> float:
    """Per call, in the best of many runs of about as many calls."""
    options = (f"--benchmark_filter=^{name}", "--benchmark_format=json")
    runs = ("--benchmark_repetitions=50", "--benchmark_min_time=0.01")
    done = subprocess.run(
        [folder / f"bench_{op}", *options, *runs],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=True,
    )
    found = json.loads(done.stdout)["benchmarks"]
    return min(run["cpu_time"] for run in found if run["run_type"] == "iteration")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("build", type=Path)
    folder = parser.parse_args().build / "bench" / "cpp"
    lw.set_num_threads(1)
    print(f"lanewise {lw.__version__}, {lw.config()['simd']}, µs\n")
    print("| op | call | Python | binding | C++ |\n|---|---|---|---|---|")
    for function, op, case_name, benchmark in CALLS:
        case = next(case for case in CASES[op] if case.name.startswith(case_name))
        call, _ = getattr(lanewise_, op)(case, data_of(case), "")
        whole, core = microseconds(call), microseconds(last_core_call(call))
        cpp = cpp_microseconds(folder, op, benchmark)
        split = " | ".join(f"{t:.1f}" for t in (whole, whole - core, core - cpp, cpp))
        print(f"| `{function}` | {split} |", flush=True)


if __name__ == "__main__":
    main()
