"""The roofline picture of a record of run.py: python bench/plot.py RECORD.json PICTURE.png [--all].

A column for each case: lanewise and the fastest of its peers, or all contestants.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

# Okabe and Ito's colours, which the colour-blind can tell apart; a library keeps its own.
STYLES = {
    "lanewise": ("#d55e00", "o"),
    "torch": ("#0072b2", "s"),
    "onnxruntime": ("#009e73", "^"),
    "ncnn": ("#cc79a7", "D"),
    "scipy": ("#999999", "v"),
    "sklearn": ("#e69f00", "P"),
    "faiss": ("#56b4e9", "X"),
    "numpy": ("#000000", "+"),
}
LEGEND = "hollow: a variant\n~ inexact form"
VARIANTS = {
    "packed": "o",
    "out": "h",
    "nchw": "v",
    "direct": "s",
    "1thread": "<",
    "nhwc": "d",
    "exact": "p",
}
DUELLISTS = ("lanewise", "lanewise-packed")  # shown beside the fastest peer
# Distances of two contestants within a column, and the largest of two labels and of two cases'
# columns, which move closer together where they are many; parts of the picture's width.
POINTS_APART, LABELS_APART, CASES_APART = 0.0018, 0.036, 0.024


def spread(places: np.ndarray, apart: float) -> np.ndarray:
    """Ascending places moved as little as keeps them `apart`: runs that touch share their shift."""
    runs: list[list[float]] = []  # [mean of place - index·apart, length]
    for i, place in enumerate(places):
        runs.append([place - i * apart, 1])
        while len(runs) > 1 and runs[-2][0] > runs[-1][0]:
            (a, n), (b, m) = runs[-2:]
            runs[-2:] = [[(a * n + b * m) / (n + m), n + m]]
    shifts = np.concatenate([np.full(int(n), mean) for mean, n in runs])
    return shifts + apart * np.arange(len(places))


def draw(record: dict, path: Path, everyone: bool = False) -> None:
    """Arithmetic intensity against speed: a column of points for each case, under the roofs."""
    cases = sorted(record["cases"], key=lambda case: case["flops"] / case["size"])
    intensities = np.log10([case["flops"] / case["size"] for case in cases])
    left, right = intensities[0] - 0.4, intensities[-1] + 0.4
    apart = min(CASES_APART, 0.6 / len(cases))
    columns = spread((intensities - left) / (right - left), apart)

    mpl.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    figure = Figure(figsize=(max(13, 0.27 * len(cases)), 8), layout="constrained")
    axes = figure.subplots()
    axes.set(xscale="log", yscale="log", xlim=(10**left, 10**right))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))
    axes.set_xlabel(
        "arithmetic intensity: flops of the definition per byte of arguments and result "
        "(where it is the same, cases stand side by side)"
    )
    axes.set_ylabel(
        "GFLOP/s by the definition's flops (Winograd needs fewer, and may pass the roof)"
        if record["op"].startswith("conv")
        else "GFLOP/s"
    )
    if everyone:
        draw_all(axes, cases, columns)
    else:
        draw_duels(axes, cases, columns)
    draw_roofs(axes, record["envelope"])
    label_cases(axes, [case["name"] for case in cases], columns)
    versions = record["versions"]
    libraries = ", ".join(f"{name} {versions[name]}" for name in STYLES if name in versions)
    figure.suptitle(
        f"{record['op']} on {record['cpu']}, threads: {record['threads']}, {record['date'][:10]}\n"
        f"{libraries}",
        ha="left",
        x=0.02,
    )
    figure.legend(loc="outside right center", frameon=False, title=LEGEND, alignment="left")
    figure.savefig(path, dpi=120)


Point = tuple[float, float]  # a part of the axes' width, and flops per second


def point(case: dict, name: str, column: float) -> Point | None:
    """Where a contestant stands in a case, if it has a time."""
    best = case["contestants"][name].get("best")
    return None if best is None else (column, case["flops"] / best)


def draw_all(axes: Axes, cases: list[dict], columns: np.ndarray) -> None:
    """All contestants of a case, side by side."""
    contestants = list(cases[0]["contestants"])
    for i, name in enumerate(contestants):
        shifted = columns + (i - len(contestants) / 2) * POINTS_APART
        points = [point(case, name, x) for case, x in zip(cases, shifted, strict=True)]
        draw_points(axes, cases, name, points)


def draw_duels(axes: Axes, cases: list[dict], columns: np.ndarray) -> None:
    """Lanewise and the fastest peer of each case, joined in the colour of who is faster."""
    points: dict[str, list[Point | None]] = {}
    for case, column in zip(cases, columns, strict=True):
        found = {name: point(case, name, column) for name in case["contestants"]}
        peers = {n: p for n, p in found.items() if p and not n.startswith("lanewise")}
        duel = [max(peers, key=lambda name: peers[name][1])] if peers else []
        for name in (*(n for n in DUELLISTS if n in found), *duel):
            points.setdefault(name, []).append(found[name])
        if duel and found["lanewise"]:
            winner = max(found["lanewise"], peers[duel[0]], key=lambda p: p[1])
            colour = STYLES["lanewise"][0] if winner is found["lanewise"] else "0.55"
            ends = [y / 1e9 for _, y in (found["lanewise"], peers[duel[0]])]
            axes.plot([data_x(axes, column)] * 2, ends, color=colour, linewidth=1.6, zorder=2)
    for name in cases[0]["contestants"]:  # in the order of the table
        draw_points(axes, cases, name, points.get(name, []))


def data_x(axes: Axes, place: float) -> float:
    """A part of the axes' width as an x of the data."""
    return (axes.transAxes + axes.transData.inverted()).transform((place, 0))[0]


def draw_points(axes: Axes, cases: list[dict], name: str, points: list[Point | None]) -> None:
    """A contestant's points; variants of a library are hollow."""
    found = [(data_x(axes, x), y / 1e9) for x, y in filter(None, points)]
    if not found:
        return
    package, _, variant = name.partition("-")
    colour, marker = STYLES[package]
    marked = any(case["contestants"][name].get("inexact") for case in cases)
    ours = name == "lanewise"
    axes.plot(
        *zip(*found, strict=True),
        linestyle="none",
        marker=VARIANTS.get(variant, marker),
        color=colour,
        markersize=9 if ours else 7,
        markerfacecolor="white" if variant else colour,
        markeredgewidth=1.4,
        zorder=4 if ours else 3,
        label=f"{name} ~" if marked else name,
    )


def draw_roofs(axes: Axes, envelope: dict[str, float]) -> None:
    """min(peak, bandwidth · intensity), for arrays in a cache and in memory."""
    x = np.geomspace(*axes.get_xlim(), 200)
    peak = envelope["fma"] / 1e9
    for name, style in (("cache", "--"), ("memory", "-")):
        rate = envelope[name] / 1e9
        label = f"{name}, {rate:.0f} GB/s,\n  up to {peak:.0f} GFLOP/s"
        y = np.minimum(peak, rate * x)
        axes.plot(x, y, style, color="0.45", linewidth=1.4, zorder=1, label=label)


def label_cases(axes: Axes, names: list[str], columns: np.ndarray) -> None:
    """Names above the picture, each joined to its column of points."""
    places = spread(columns, min(LABELS_APART, 1 / len(names)))
    places -= max(0.0, places[-1] - 1)
    for name, column, place in zip(names, columns, places, strict=True):
        axes.plot([column] * 2, [0, 1], color="0.9", lw=0.8, zorder=0, transform=axes.transAxes)
        axes.annotate(
            name,
            (column, 1),
            xycoords="axes fraction",
            xytext=(place, 1.06),
            textcoords="axes fraction",
            rotation=60,
            ha="left",
            va="bottom",
            fontsize=9,
            arrowprops={"arrowstyle": "-", "color": "0.8", "relpos": (0, 0)},
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("record", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--all", action="store_true", help="show all contestants")
    arguments = parser.parse_args()
    draw(json.loads(arguments.record.read_text()), arguments.picture, arguments.all)
