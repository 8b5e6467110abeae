"""The contact sheet: everything that the demo computed, on one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import matplotlib.style
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, NullLocator

from .._array import Array
from . import photo
from .digits import Neighbours, Regression, Split
from .timing import Comparison, significant

Axes: TypeAlias = Any  # matplotlib.axes.Axes, untyped in older releases

WIDTH, HEIGHT = 1800, 2530  # pixels; all positions below are pixels from the top left corner
MARGIN, GAP = 80, 24
DPI = 72  # so that a point of type is a pixel

PAPER, INK, GREY, RULE = "#fcfbf8", "#1c2330", "#6d7585", "#dcd9d0"
BLUE, RED = "#2b65a8", "#c4502f"
SIGNED = LinearSegmentedColormap.from_list("signed", [BLUE, "#f7f5f0", RED])
STRENGTH = LinearSegmentedColormap.from_list("strength", ["#f7f5f0", "#7fa6cf", BLUE, "#14243d"])
PENCIL = LinearSegmentedColormap.from_list("pencil", ["#f1efe9", INK])
TITLE, HEADING, BODY, SMALL = 54, 28, 19, 16

COLUMN = (WIDTH - 2 * MARGIN - 3 * GAP) // 4
HALF = 2 * COLUMN + GAP
DETAIL = (slice(70, 284), slice(60, 380))  # of the photograph, large enough to see a blur in


def draw(
    path: Path,
    machine: str,
    split: Split,
    neighbours: Neighbours,
    regression: Regression,
    picture: photo.Photo,
    comparisons: Sequence[Comparison],
) -> None:
    """Draw the page and write it to `path` as a PNG."""
    # matplotlib's own defaults and font, so that the page is the same everywhere.
    with matplotlib.style.context("default"):
        page = _Page()
        page.text(MARGIN, 104, "lanewise", TITLE, weight="bold")
        page.text(WIDTH - MARGIN, 104, machine, BODY, color=GREY, ha="right")
        page.rule(132)
        _photograph(page, 192, picture)
        _digits(page, 1548, split, neighbours)
        _regression(page, 2016, regression)
        _speed(page, 2016, comparisons)
        page.save(path)


class _Page:
    """A figure addressed in pixels from the top left corner."""

    def __init__(self) -> None:
        self.figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor=PAPER)

    def text(self, x: float, y: float, text: str, size: int, **style: Any) -> None:
        """Text whose baseline is at y."""
        style = {"color": INK, "va": "baseline", **style}
        self.figure.text(x / WIDTH, 1 - y / HEIGHT, text, fontsize=size, **style)

    def heading(
        self, x: float, y: float, width: float, title: str, explanation: str, calls: str = ""
    ) -> None:
        """A section's title, on the right the functions at work, below what is seen."""
        self.text(x, y, title, HEADING, weight="bold")
        self.text(x + width, y, calls, BODY, color=BLUE, ha="right", family="monospace")
        self.text(x, y + 32, explanation, BODY, color=GREY)

    def rule(self, y: float) -> None:
        """A thin line across the page."""
        x, width = MARGIN / WIDTH, 1 - 2 * MARGIN / WIDTH
        self.figure.add_artist(Rectangle((x, 1 - y / HEIGHT), width, 1.5 / HEIGHT, color=RULE))

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Axes that fill a rectangle exactly."""
        return self.figure.add_axes(
            (x / WIDTH, 1 - (y + height) / HEIGHT, width / WIDTH, height / HEIGHT)
        )

    def image(
        self, x: float, y: float, width: float, height: float, data: Array, **style: Any
    ) -> None:
        """An image that fills a rectangle, without ticks."""
        axes = self.axes(x, y, width, height)
        axes.imshow(data, aspect="auto", interpolation_stage="data", **style)
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(color=RULE, linewidth=1)

    def save(self, path: Path) -> None:
        """Write the PNG, of WIDTH x HEIGHT pixels."""
        self.figure.savefig(path, format="png", dpi=DPI)


# --------------------------------------------------------------------------------------- photograph


def _photograph(page: _Page, y: float, picture: photo.Photo) -> None:
    page.heading(
        MARGIN,
        y,
        WIDTH - 2 * MARGIN,
        "One convolution, eight filters",
        "The taps are in the corner of each picture: red adds, blue takes away. "
        "Blurs and sharpening work on red, green and blue, the others on the luminance.",
        "lw.conv2d  lw.max_pool2d",
    )
    top, height = y + 58, round(COLUMN * picture.image.shape[0] / picture.image.shape[1])
    step = height + 46
    page.image(MARGIN, top, HALF, height + step, picture.image)
    page.text(MARGIN, top + height + step + 26, "The photograph", SMALL)
    for place, name in zip((2, 3, 6, 7, 8, 9, 10, 11), photo.KERNELS, strict=True):
        left, upper = _column(place % 4), top + place // 4 * step
        page.image(left, upper, COLUMN, height, **_map(picture.maps, name))
        taps = photo.KERNELS[name]
        _signed(page, left + COLUMN - 72, upper + 8, 64, taps, np.abs(taps).max())
        page.text(left, upper + height + 26, name + (", detail" if _coloured(name) else ""), SMALL)
    _pooled(page, top + 3 * step, height, picture.pooled)


def _pooled(page: _Page, y: float, height: int, pooled: Array) -> None:
    for place, name in enumerate(("Sobel, across", "Sobel, down", "Laplacian", "Gaussian blur")):
        values = pooled[..., photo.channels(name)]
        style: dict[str, Any] = {"interpolation": "nearest"}
        if _coloured(name):
            values = values.clip(0, 1)
        else:
            style |= {"cmap": STRENGTH, "vmin": 0, "vmax": np.quantile(values, 0.99)}
        page.image(_column(place), y, COLUMN, height, values, **style)
        what = name if _coloured(name) else f"|{name}|"
        rows, columns, _ = pooled.shape
        caption = f"{what}, maximum of {photo.WINDOW} × {photo.WINDOW}: {columns} × {rows}"
        page.text(_column(place), y + height + 26, caption, SMALL)


def _column(place: int) -> int:
    return MARGIN + place * (COLUMN + GAP)


def _coloured(name: str) -> bool:
    return name in photo.COLOURED


def _map(maps: Array, name: str) -> dict[str, Any]:
    """An edge map with white for 0, or a detail in colour."""
    values = maps[..., photo.channels(name)]
    if _coloured(name):
        return {"data": values[DETAIL].clip(0, 1)}
    limit = np.quantile(np.abs(values), 0.95)
    return {"data": values, "cmap": SIGNED, "vmin": -limit, "vmax": limit}


def _signed(page: _Page, x: float, y: float, side: float, values: Array, limit: float) -> None:
    """A small square of signed values, each seen as a pixel."""
    style: dict[str, Any] = {"cmap": SIGNED, "vmin": -limit, "vmax": limit}
    page.image(x, y, side, side, values, interpolation="nearest", **style)


# ------------------------------------------------------------------------------------------- digits


def _digits(page: _Page, y: float, split: Split, neighbours: Neighbours) -> None:
    shown = neighbours.mistakes[:12]
    page.heading(
        MARGIN,
        y,
        WIDTH - 2 * MARGIN,
        f"Nearest neighbours: {100 * neighbours.accuracy:.1f} % right",
        f"{len(neighbours.mistakes)} of {len(split.test_x)} unseen digits are nearest to a digit "
        "of another class. On the left the digit, on the right its nearest neighbour.",
        "lw.pairwise_distances",
    )
    cell, space = 116, 6
    pitch = (WIDTH - 2 * MARGIN - (2 * cell + space)) / 5
    for place, unseen in enumerate(shown):
        known = neighbours.nearest[unseen]
        x, top = MARGIN + place % 6 * pitch, y + 58 + place // 6 * (cell + 52)
        for shift, pixels in ((0, split.test_x[unseen]), (cell + space, split.train_x[known])):
            style: dict[str, Any] = {"cmap": PENCIL, "interpolation": "nearest"}
            page.image(x + shift, top, cell, cell, pixels.reshape(8, 8), **style)
        caption = f"{split.test_y[unseen]}, taken for {split.train_y[known]}"
        page.text(x, top + cell + 26, caption, SMALL)


def _regression(page: _Page, y: float, regression: Regression) -> None:
    page.heading(
        MARGIN,
        y,
        HALF,
        f"Softmax regression: {100 * regression.accuracy:.1f} % right",
        "Cross-entropy by gradient step, and what each class looks for.",
        "lw.softmax",
    )
    axes = page.axes(MARGIN + 44, y + 62, HALF - 44, 218)
    steps = np.arange(1, len(regression.train_loss) + 1)
    for loss, color, name in (
        (regression.test_loss, RED, "unseen digits"),
        (regression.train_loss, BLUE, "known digits"),
    ):
        axes.plot(steps, loss, color=color, linewidth=2.5, label=name)
    axes.set(xlim=(1, len(steps)), ylim=(0.03, 3), yscale="log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_yticks([0.03, 0.1, 0.3, 1, 3])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xticks([1, *range(50, len(steps) + 1, 50)])
    axes.legend(frameon=False, fontsize=SMALL, labelcolor=INK, loc="upper right")
    _plain_frame(axes)
    axes.grid(axis="y", color=RULE)

    side, limit = (HALF - 9 * 8) / 10, float(np.abs(regression.weights).max())
    for label, weights in enumerate(regression.weights.T):
        x, top = MARGIN + label * (side + 8), y + 328
        _signed(page, x, top, side, weights.reshape(8, 8), limit)
        page.text(x + side / 2, top + side + 24, str(label), SMALL, ha="center")


# -------------------------------------------------------------------------------------------- speed


def _speed(page: _Page, y: float, comparisons: Sequence[Comparison]) -> None:
    x, width, title = _column(2) + GAP, HALF - GAP, "Times faster than plain NumPy"
    page.heading(x, y, width, title, "Equal results within rounding errors, best of several runs.")
    axes = page.axes(x, y + 62, width, 378)
    ratios = np.array([comparison.ratio for comparison in comparisons])
    places = np.arange(len(ratios))
    axes.barh(places, ratios - 1, left=1, height=0.42, color=BLUE)
    axes.axvline(1, color=INK, linewidth=1.5)
    for place, comparison in zip(places, comparisons, strict=True):
        work = comparison.work.replace(" x ", " × ")
        axes.text(1.06, place - 0.33, work, fontsize=SMALL, color=INK, va="bottom")
        axes.text(
            max(comparison.ratio, 1) * 1.08,
            place,
            f"{significant(comparison.ratio)} ×",
            fontsize=BODY,
            color=BLUE if comparison.ratio >= 1 else RED,
            weight="bold",
            va="center",
        )
    low, high = min(0.8, ratios.min() / 1.5), max(20.0, ratios.max()) * 3
    axes.set(xscale="log", xlim=(low, high), ylim=(len(ratios) - 0.6, -0.75), yticks=[])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} ×"))
    axes.xaxis.set_minor_locator(NullLocator())
    _plain_frame(axes)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=RULE)


def _plain_frame(axes: Axes) -> None:
    axes.set_facecolor("none")
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=SMALL, colors=GREY, length=0, pad=8)
    for side, spine in axes.spines.items():
        spine.set(visible=side in ("left", "bottom"), color=RULE, linewidth=1.5)
