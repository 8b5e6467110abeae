"""What a record of run.py says of each class of layers: python bench/summary.py RECORD.json."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from cases import KINDS
from table import table

LIBRARIES = ("torch", "torch-nhwc", "onnxruntime", "ncnn")  # the best of which is a column
LONG = 0.2e-3  # seconds; in less a second thread is hardly awake
IDLE = 0.075  # the part of the threads' time that a long layer may leave unused

# The name of a layer, and a ratio of two times for it.
Ratio = tuple[str, float]


def ratios(cases: list[dict], slow: tuple[str, ...], fast: str) -> list[Ratio]:
    """The least time of `slow` over that of `fast`, for each case that has both."""
    found = []
    for case in cases:
        times = {n: s["best"] for n, s in case["contestants"].items() if "best" in s}
        others = [times[name] for name in slow if name in times]
        if fast in times and others:
            found.append((case["name"], min(others) / times[fast]))
    return found


def speedups(cases: list[dict]) -> list[Ratio]:
    """One thread's time over all threads', of the long layers."""
    long = [case for case in cases if case["contestants"]["lanewise"].get("best", 0) >= LONG]
    return ratios(long, ("lanewise-1thread",), "lanewise")


def least(found: list[Ratio]) -> Ratio:
    return min(found, key=lambda item: item[1])


def mean_and_least(found: list[Ratio]) -> str:
    """Geometric mean and minimum."""
    if not found:
        return "-"
    mean = math.exp(sum(math.log(ratio) for _, ratio in found) / len(found))
    return f"{mean:.2f} {least(found)[1]:5.2f}"


def classes(record: dict) -> dict[str, list[dict]]:
    """The cases of each class, and of all together where there are several.

    Each of an op's functions (dx and dw of conv_backward) has classes of its own.
    """
    found = {}
    for what in dict.fromkeys(case.get("what", "") for case in record["cases"]):
        every = [case for case in record["cases"] if case.get("what", "") == what]
        of_kind = {kind: [c for c in every if c.get("kind") == kind] for kind in KINDS}
        of_kind = {kind: cases for kind, cases in of_kind.items() if cases}
        if len(of_kind) > 1:
            of_kind["all"] = every
        found |= {f"{what} {kind}".strip(): cases for kind, cases in of_kind.items()}
    return found


def against_peers(record: dict, own: str, peers: list[str]) -> str:
    """A row for each class, of the peers' times over those of one of lanewise's contestants."""
    of_best = tuple(name for name in LIBRARIES if name in peers)
    rows = [[own, "layers", *peers, *(["best", "least where"] if of_best else ["least where"])]]
    for kind, cases in classes(record).items():
        columns = [ratios(cases, (peer,), own) for peer in peers]
        if of_best:
            columns.append(ratios(cases, of_best, own))
        where = least(columns[-1])[0] if columns[-1] else ""
        rows.append([kind, str(len(cases)), *map(mean_and_least, columns), where])
    return table(rows)


def within_lanewise(record: dict) -> str:
    """A row for each class: what the other layout costs, and what the other threads bring."""
    rows = [["lanewise", "NCHW/NHWC", "in", "1 thread/all", "least in"]]
    for kind, cases in classes(record).items():
        layouts = ratios(cases, ("lanewise-nchw",), "lanewise")
        name, largest = max(layouts, key=lambda item: item[1], default=("", math.nan))
        gains = speedups(cases)
        slowest = least(gains)[0] if gains else ""
        rows.append([kind, f"{largest:.2f}", name, mean_and_least(gains), slowest])
    return table(rows)


def idle_threads(record: dict) -> str:
    """The long layers that gain too little by the threads."""
    bound = record["threads"] * (1 - IDLE)
    short = sorted((gain, name) for name, gain in speedups(record["cases"]) if gain < bound)
    names = ", ".join(f"{name} ({gain:.2f})" for gain, name in short)
    return f"1 thread/all below {bound:.2f}: {names or 'nowhere'}"


def summary(record: dict) -> str:
    """The tables below that of the cases; empty for an op without classes."""
    if not classes(record):
        return ""
    names = list(record["cases"][0]["contestants"])
    own = [n for n in names if n.startswith("lanewise") and n != "lanewise-1thread"]
    peers = [name for name in names if not name.startswith("lanewise")]
    tables = [against_peers(record, name, peers) for name in own] if peers else []
    return "\n\n".join(
        [
            "by class: geometric mean and least of the peer's time / lanewise's; best: the fastest "
            f"of {', '.join(LIBRARIES)}",
            *tables,
            "the largest NCHW/NHWC; mean and least of one thread's time / all threads', over "
            f"layers of {LONG * 1e3:g} ms or more",
            within_lanewise(record),
            idle_threads(record),
        ]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("record", type=Path)
    print(summary(json.loads(parser.parse_args().record.read_text())))
