"""The picture of a training: the filters it found, its loss, and what it takes for what."""

from __future__ import annotations

from pathlib import Path

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure

from .._array import Array
from .sheet import BLUE, GREY, INK, PAPER, SIGNED
from .train_cnn import Digits

MEAN_OF = 20  # batches


def draw(path: Path, filters: Array, losses: list[float], digits: Digits, guesses: Array) -> None:
    """Write the PNG: filters of the first layer, losses of all steps, guesses at unseen digits."""
    confusion = np.zeros((10, 10), int)
    np.add.at(confusion, (digits.test_y, guesses), 1)
    # The 16 filters of 3 x 3 in four rows of four, with a gap of one pixel between them.
    tiles = np.pad(filters[:, :, 0], [(0, 1), (0, 1), (0, 0)], constant_values=np.nan)
    tiles = tiles.reshape(4, 4, 4, 4).transpose(2, 0, 3, 1).reshape(16, 16)[:-1, :-1]
    limit = np.abs(filters).max()

    with matplotlib.style.context("default"):
        figure = Figure(figsize=(15, 5), facecolor=PAPER, layout="constrained")
        left, middle, right = figure.subplots(1, 3)
        left.set_title("Filters of the first layer")
        left.imshow(tiles, cmap=SIGNED, vmin=-limit, vmax=limit)
        left.set_axis_off()
        middle.set_title("Cross-entropy")
        steps, run = np.arange(1, len(losses) + 1), min(MEAN_OF, len(losses))
        means = np.convolve(losses, np.full(run, 1 / run), "valid")
        middle.semilogy(steps, losses, color=GREY, alpha=0.5, lw=1, label="of a batch")
        middle.semilogy(steps[run - 1 :], means, color=BLUE, linewidth=2, label=f"mean of {run}")
        middle.set(xlabel="step", facecolor="none")
        middle.spines[["top", "right"]].set_visible(False)
        middle.legend(frameon=False)
        right.set_title(f"{np.trace(confusion)} of {confusion.sum()} unseen digits right")
        right.imshow(np.sqrt(confusion), cmap="Blues")
        right.set(xlabel="taken for", ylabel="digit", xticks=range(10), yticks=range(10))
        for (row, column), count in np.ndenumerate(confusion):
            color = PAPER if row == column else INK if count else GREY
            right.text(column, row, str(count or "·"), color=color, ha="center", va="center")
        figure.savefig(path, format="png", dpi=100)
