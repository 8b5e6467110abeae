"""How far euclidean distances are from exact, of points ever further from the origin.

The largest relative error over all pairs of float32 rows about 1 apart, against long double on the
same float32 numbers; pairs of equal rows are left out. As a table and as a picture; accuracy.py is
the way here.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from pathlib import Path

import numpy as np
from cases import CASES, FAR_COORDINATES, OFFSETS, data_of
from peers import CONTESTANTS
from run import Worker, start
from table import table

CASES_NAME = "distance-far"
LABELS = {
    "lanewise": "lanewise",
    "torch": "torch.cdist",
    "torch-exact": "torch.cdist, without\nits matrix product",
    "scipy": "scipy cdist,\nin float64",
    "sklearn": "scikit-learn,\nthe product in float64",
    "faiss": "faiss pairwise_distances",
    "faiss-index": "faiss IndexFlatL2,\nmany queries",
}

# By contestant and number of coordinates, at each of the offsets.
Errors = dict[str, dict[int, dict[float, float]]]


def exact(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """In long double, a thousand times as precise as the best of the contestants."""
    parts = np.array_split(x.astype(np.longdouble), -(-len(x) // 100))
    return np.concatenate([np.sqrt(((part[:, None] - y) ** 2).sum(-1)) for part in parts])


def error(worker: Worker, index: int, true: np.ndarray, folder: Path) -> float:
    """The largest relative error of a contestant in a case; NaN without a result."""
    path = folder / "result.npy"
    if not worker.ask(case=index).get("supported") or "error" in worker.ask(save=str(path)):
        return float("nan")
    apart = true > 0
    return float((np.abs(np.load(path) - true)[apart] / true[apart]).max())


def measure(packages: tuple[str, ...], only: str, picture: Path | None) -> None:
    """Print the errors of all contestants in the cases with `only` in their names; draw them."""
    names = [n for n in CONTESTANTS[CASES_NAME] if n.partition("-")[0] in packages]
    workers = start(names, CASES_NAME, len(os.sched_getaffinity(0)))
    errors: Errors = {worker.name: {d: {} for d in FAR_COORDINATES} for worker in workers}
    with tempfile.TemporaryDirectory() as folder:
        for i, (d, offset) in enumerate(itertools.product(FAR_COORDINATES, OFFSETS)):
            case = CASES[CASES_NAME][i]
            if only in case.name:
                true = exact(**data_of(case))
                for worker in workers:
                    errors[worker.name][d][offset] = error(worker, i, true, Path(folder))
    for worker in workers:
        worker.close()
    for d in FAR_COORDINATES:
        rows = [["from the origin", *errors, f"d = {d}"]]
        for offset in errors["lanewise"][d]:
            cells = [f"{of_d[d][offset]:.1e}" for of_d in errors.values()]
            rows.append([f"{offset:.3g}", *cells, ""])
        print(f"{table(rows)}\n")
    if picture:
        draw(errors, picture)
        print(picture)


def draw(errors: Errors, path: Path) -> None:
    """A panel for each number of coordinates, a line for each contestant, named at its end."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from plot import STYLES, spread

    mpl.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    figure = Figure(figsize=(11, 4.6), layout="constrained", facecolor="white")
    panels = figure.subplots(1, len(FAR_COORDINATES), sharey=True)
    for axes, d in zip(panels, FAR_COORDINATES, strict=True):
        axes.set(xscale="log", yscale="log", xlim=(1, 1e6), ylim=(1e-17, 2e3))
        axes.set_title(f"{d} coordinates", loc="left", fontsize=10)
        axes.set_xlabel("distance of the points from the origin (they are about 1 apart)")
        axes.axhline(1, color="0.8", linewidth=1, zorder=0)
        for name, of_d in errors.items():
            package, _, variant = name.partition("-")
            colour, marker = STYLES[package]
            ours = name == "lanewise"
            axes.plot(
                *(list(of_d[d]), list(of_d[d].values())),
                color=colour,
                marker=marker,
                markersize=4,
                linestyle="--" if variant else "-",
                linewidth=2.4 if ours else 1.3,
                zorder=3 if ours else 2,
                clip_on=False,
            )
    panels[0].set_ylabel("largest relative error of a distance")
    panels[0].annotate("no digit is right", (1.3, 1.5), color="0.45", fontsize=9)
    last = {name: list(of_d[FAR_COORDINATES[-1]].values())[-1] for name, of_d in errors.items()}
    ends = sorted((np.log10(end), name) for name, end in last.items())
    places = spread(np.array([end for end, _ in ends]), 1.75)
    for place, (_, name) in zip(places, ends, strict=True):
        panels[-1].annotate(
            LABELS[name],
            (1e6, 10**place),
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            annotation_clip=False,
            color=STYLES[name.partition("-")[0]][0],
        )
    figure.suptitle(
        "Far from the origin |x|² − 2xy + |y|² loses every digit of a distance; lanewise subtracts "
        "first and loses none\nEuclidean distances of float32 points, against long double on the "
        "same numbers",
        ha="left",
        x=0.02,
        fontsize=11,
    )
    figure.savefig(path, dpi=88)
