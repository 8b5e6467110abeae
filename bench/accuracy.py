"""How far results are from exact: python bench/accuracy.py conv|conv-breadth|distance.

Convolutions: the largest error of each contestant on each layer, divided by the root mean square of
the outputs, on standard normal data. Distances: see far.py. README.md beside this file says more.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import far
import lanewise as lw
import numpy as np
from cases import CASES, Case, Data, normal_data_of, op_of
from peers import numpy_
from run import Worker, known_peers, start
from table import aligned

CONVOLUTIONS = [name for name in CASES if op_of(name) == "conv"]
# Each computes in a way of its own; the other contestants of lanewise give the bits of the first.
CONTESTANTS = ("lanewise", "lanewise-direct", "torch", "torch-nhwc", "onnxruntime", "ncnn", "numpy")

CONV_PEERS, FAR_PEERS = "torch,onnxruntime,ncnn", "torch,scipy,sklearn,faiss"

Errors = dict[str, dict[str, float]]  # by contestant and layer


def exact(case: Case, data: Data) -> np.ndarray:
    """The convolution in float64, whose own error is a billionth of float32's."""
    x, w = (data[name].astype(np.float64) for name in "xw")
    return lw.conv2d(x, w, algorithm="direct", **case.options)


def check_exact(cases: list[Case]) -> None:
    """Hold `exact` to the definition, by windows and a matrix product, where that is cheap."""
    for case in cases:
        if case.flops < 5e6:
            data = {name: a.astype(np.float64) for name, a in normal_data_of(case).items()}
            by_definition, _ = numpy_.conv(case, data, "")
            np.testing.assert_allclose(exact(case, data), by_definition(), rtol=0, atol=1e-11)


def error(worker: Worker, index: int, reference: np.ndarray, folder: Path) -> float | None:
    """The largest, over the outputs' root mean square; None without a result."""
    path = folder / "result.npy"
    if not worker.ask(case=index, normal=True).get("supported"):
        return None
    if "error" in worker.ask(save=str(path)):
        return None
    return float(np.abs(np.load(path) - reference).max() / np.sqrt(np.mean(reference**2)))


def print_errors(cases: str, only: str, workers: list[Worker]) -> Errors:
    names = [worker.name for worker in workers]
    widths = [max(len(case.name) for case in CASES[cases]), *(max(len(n), 7) for n in names)]
    print(aligned(["layer", *names, "algorithm of lanewise"], widths))
    errors: Errors = {name: {} for name in names}
    with tempfile.TemporaryDirectory() as folder:
        for i, case in enumerate(CASES[cases]):
            if only not in case.name:
                continue
            data = normal_data_of(case)
            reference = exact(case, data)
            found = [error(worker, i, reference, Path(folder)) for worker in workers]
            for name, value in zip(names, found, strict=True):
                errors[name] |= {} if value is None else {case.name: value}
            algorithm, _ = lw.conv2d_algorithm(data["x"].shape, data["w"].shape, **case.options)
            cells = ["-" if value is None else f"{value:.1e}" for value in found]
            print(aligned([case.name, *cells, algorithm], widths), flush=True)
    return errors


def print_conclusion(errors: Errors) -> None:
    """The largest errors, and where the ordered sum is further off than torch's."""
    print()
    for name, of_layer in errors.items():
        if of_layer:
            layer = max(of_layer, key=lambda key: of_layer[key])
            print(f"{name}: at most {of_layer[layer]:.1e}, on {layer}")
    direct = errors["lanewise-direct"]
    for peer in ("torch", "torch-nhwc"):
        ratios = {layer: direct[layer] / other for layer, other in errors.get(peer, {}).items()}
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
    names = [name for name in CONTESTANTS if name.partition("-")[0] in packages]
    workers = start(names, args.cases, len(os.sched_getaffinity(0)))
    check_exact(CASES[args.cases])
    errors = print_errors(args.cases, args.only, workers)
    for worker in workers:
        worker.close()
    print_conclusion(errors)


if __name__ == "__main__":
    main()
