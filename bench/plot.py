"""The roofline picture of a record of run.py: python bench/plot.py RECORD.json PICTURE.png."""

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
VARIANTS = {"out": "h", "nhwc": "d", "exact": "p", "direct": "s"}
# Least distances of two labels, of two cases' columns, and of two contestants within a column, as
# parts of the picture's width.
LABELS_APART, CASES_APART, POINTS_APART = 0.044, 0.024, 0.0018


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


def draw(record: dict, path: Path) -> None:
    """Arithmetic intensity against speed: a column of points for each case, under the roofs."""
    cases = sorted(record["cases"], key=lambda case: case["flops"] / case["size"])
    intensities = np.log10([case["flops"] / case["size"] for case in cases])
    left, right = intensities[0] - 0.4, intensities[-1] + 0.4
    columns = spread((intensities - left) / (right - left), CASES_APART)

    mpl.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    figure = Figure(figsize=(13, 8), layout="constrained")
    axes = figure.subplots()
    axes.set(xscale="log", yscale="log", xlim=(10**left, 10**right))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))
    axes.set_xlabel(
        "arithmetic intensity: flops of the definition per byte of arguments and result "
        "(where it is the same, cases stand side by side)"
    )
    axes.set_ylabel("GFLOP/s")
    draw_points(axes, cases, columns)
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


def draw_points(axes: Axes, cases: list[dict], columns: np.ndarray) -> None:
    """A point for each case and contestant, side by side; variants of a library are hollow."""
    contestants = list(cases[0]["contestants"])
    to_data = axes.transAxes + axes.transData.inverted()
    for i, name in enumerate(contestants):
        package, _, variant = name.partition("-")
        colour, marker = STYLES[package]
        states = [case["contestants"][name] for case in cases]
        shifted = columns + (i - len(contestants) / 2) * POINTS_APART
        points = [
            (to_data.transform((place, 0))[0], case["flops"] / state["best"] / 1e9)
            for place, case, state in zip(shifted, cases, states, strict=True)
            if "best" in state
        ]
        if not points:
            continue
        marked = any(state.get("inexact") for state in states)
        ours = name == "lanewise"
        axes.plot(
            *zip(*points, strict=True),
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
    places = spread(columns, LABELS_APART)
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
    arguments = parser.parse_args()
    draw(json.loads(arguments.record.read_text()), arguments.picture)
