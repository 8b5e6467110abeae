"""How far results are from exact: python bench/accuracy.py conv|conv_backward|…|distance.

Convolutions and their gradients: the largest error of each contestant on each layer, and the root
mean square of its errors, divided by that of the results, on standard normal data. Distances: see
far.py. README.md beside this file says more.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import far
import lanewise as lw
import numpy as np
from cases import CASES, GRADIENTS, Case, Data, joined, normal_data_of, op_of
from peers import CONTESTANTS, numpy_
from run import Worker, known_peers, start
from table import aligned

CONVOLUTIONS = [name for name in CASES if op_of(name).startswith("conv")]
# Each computes in a way of its own; the other contestants of lanewise give the bits of the first.
DIFFERENT = ("lanewise", "lanewise-direct", "torch", "torch-nhwc", "onnxruntime", "ncnn", "numpy")

CONV_PEERS, FAR_PEERS = "torch,onnxruntime,ncnn", "torch,scipy,sklearn,faiss"


class Error(NamedTuple):
    """Of a result: the largest and the root mean square, over that of the result."""

    largest: float
    rms: float


Errors = dict[str, dict[str, Error]]  # by contestant and layer


def exact(case: Case, data: Data) -> np.ndarray:
    """The convolution or a gradient in float64, whose own error is a billionth of float32's."""
    x, w = (data[name].astype(np.float64) for name in "xw")
    if not case.what:
        return lw.conv2d(x, w, algorithm="direct", **case.options)
    options = {**case.options, "wrt": GRADIENTS[case.what], "algorithm": "direct"}
    return joined(lw.conv2d_backward(data["dy"].astype(np.float64), x, w, **options))


def measured(cases: str) -> dict[int, Case]:
    """Those in float32, and of one result, by their place in the list."""
    numbered = enumerate(CASES[cases])
    return {i: case for i, case in numbered if case.dtype == "float32" and case.what != "all"}


def check_exact(cases: str) -> None:
    """Hold `exact` to the definition, by windows and a matrix product, where that is cheap."""
    for case in measured(cases).values():
        if case.flops < 5e6:
            data = {name: a.astype(np.float64) for name, a in normal_data_of(case).items()}
            call, canonical = getattr(numpy_, op_of(cases))(case, data, "")
            np.testing.assert_allclose(exact(case, data), canonical(call()), rtol=0, atol=1e-11)


def error(worker: Worker, index: int, reference: np.ndarray, folder: Path) -> Error | None:
    """None without a result."""
    path = folder / "result.npy"
    if not worker.ask(case=index, normal=True).get("supported"):
        return None
    if "error" in worker.ask(save=str(path)):
        return None
    off, size = np.load(path) - reference, np.sqrt(np.mean(reference**2))
    return Error(float(np.abs(off).max() / size), float(np.sqrt(np.mean(off**2)) / size))


def print_errors(cases: str, only: str, workers: list[Worker]) -> Errors:
    chosen = {i: case for i, case in measured(cases).items() if only in case.name}
    names = [worker.name for worker in workers]
    widths = [max(len(case.name) for case in CASES[cases]), *(max(len(n), 15) for n in names)]
    last = "algorithm of lanewise" if op_of(cases) == "conv" else ""
    print(aligned(["layer", *names, last], widths).rstrip())
    errors: Errors = {name: {} for name in names}
    with tempfile.TemporaryDirectory() as folder:
        for i, case in chosen.items():
            data = normal_data_of(case)
            reference = exact(case, data)
            found = [error(worker, i, reference, Path(folder)) for worker in workers]
            for name, value in zip(names, found, strict=True):
                errors[name] |= {} if value is None else {case.name: value}
            if last:
                last, _ = lw.conv2d_algorithm(data["x"].shape, data["w"].shape, **case.options)
            cells = ["-" if value is None else "{:.1e} {:.1e}".format(*value) for value in found]
            print(aligned([case.name, *cells, last], widths).rstrip(), flush=True)
    return errors


def print_conclusion(errors: Errors, what: str) -> None:
    """The largest errors, and where the ordered sum is further off than torch's.

    Of layers whose names begin with `what`.
    """
    print()
    errors = {
        name: {layer: value for layer, value in of_layer.items() if layer.startswith(what)}
        for name, of_layer in errors.items()
    }
    for name, of_layer in errors.items():
        if of_layer:
            layer = max(of_layer, key=lambda key: of_layer[key].largest)
            print(f"{name}: at most {of_layer[layer].largest:.1e}, on {layer}")
    direct = errors["lanewise-direct"]
    for peer in ("torch", "torch-nhwc"):
        others = errors.get(peer, {}).items()
        ratios = {layer: direct[layer].largest / other.largest for layer, other in others}
        further = sum(ratio > 1 for ratio in ratios.values())
        if ratios:
            layer = max(ratios, key=lambda key: ratios[key])
            print(
                f"lanewise-direct further off than {peer} on {further} of {len(ratios)} layers, "
                f"at most {ratios[layer]:.1f} times, on {layer}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", choices=[*CONVOLUTIONS, "distance"])
    parser.add_argument("--peers", help=f"default: {CONV_PEERS}, or {FAR_PEERS} for distances")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases with TEXT in their name")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the errors of distances")
    args = parser.parse_args()
    of_distances = args.cases == "distance"
    peers = args.peers or (FAR_PEERS if of_distances else CONV_PEERS)
    packages = ("lanewise", *known_peers(parser, peers))
    if of_distances:
        far.measure(packages, args.only, args.plot)
        return
    known = [name for name in DIFFERENT if name in CONTESTANTS[op_of(args.cases)]]
    names = [name for name in known if name.partition("-")[0] in packages]
    workers = start(names, args.cases, len(os.sched_getaffinity(0)))
    check_exact(args.cases)
    errors = print_errors(args.cases, args.only, workers)
    for worker in workers:
        worker.close()
    for what in dict.fromkeys(case.what for case in measured(args.cases).values()):
        print_conclusion(errors, what)


if __name__ == "__main__":
    main()
