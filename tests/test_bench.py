"""The benchmark harness on its smallest cases: that it compares, prints and records."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import lanewise as lw
import numpy as np
import pytest

BENCH = Path(__file__).parents[1] / "bench"


def run(*arguments, cwd, script="run.py"):
    env = {**os.environ, "PYTHONPATH": str(Path(lw.__file__).parents[1])}
    command = [sys.executable, BENCH / script, *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def bench_module(monkeypatch):
    """A module of bench/, where one imports the other by its bare name."""
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module


@pytest.mark.parametrize(
    "op",
    [
        *("conv", "conv_backward", "pool", "softmax", "cross_entropy"),
        *("distance", "distance_backward", "neighbors"),
    ],
)
def test_race_of_the_smallest_case(op, tmp_path):
    pytest.importorskip("scipy")
    peers = {"numpy"} if op.endswith("backward") else {"numpy", "scipy"}
    if op == "neighbors":
        peers = {"scipy"}
    record = tmp_path / "record.json"
    arguments = [op, "--peers", "numpy,scipy", "--turns", "1", "--only", "tiny", "--json", record]
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    header, *rows = done.stdout.split("\n\n")[1].splitlines()
    rows = [row for row in rows if not row.startswith("~")]
    assert {"case", "lanewise", "share", *peers, "why"} <= set(header.split())

    cases = json.loads(record.read_text())["cases"]
    assert len(cases) == len(rows)
    for case, row in zip(cases, rows, strict=True):
        assert row.startswith(case["name"])
        assert row.endswith(case["why"])
        states = {name: s for name, s in case["contestants"].items() if s["supported"]}
        if not case["name"].endswith("manhattan"):  # for whose gradient NumPy has no formula
            assert {"lanewise", "scipy" if op == "neighbors" else "numpy"} <= states.keys()
        assert case["share"] > 0
        assert ("store_share" in case) == (op in ("distance", "neighbors"))
        for name, state in states.items():
            assert state["agrees"], name
            assert state["best"] == min(state["turns"])
            if name != "lanewise":
                mark = "~" if state["inexact"] else ""
                assert f"{mark}{state['best'] / states['lanewise']['best']:.2f}" in row.split()


def test_unknown_peers_and_cases_are_refused(tmp_path):
    for arguments in (["conv", "--peers", "abacus"], ["conv", "--only", "abacus"]):
        done = run(*arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert "abacus" in done.stderr


def test_names_are_unique_and_convolutions_have_a_class(bench_module):
    cases = bench_module("cases")
    for name, of_list in cases.CASES.items():
        names = [case.name for case in of_list]
        assert len(set(names)) == len(names)
        kinds = set(cases.KINDS) if cases.op_of(name).startswith("conv") else {""}
        assert {case.kind for case in of_list} <= kinds


def test_convolutions_are_what_their_cases_say(bench_module):
    """Shapes, counts of flops and bytes, and NumPy's result, where that is cheap."""
    cases, numpy_ = bench_module("cases"), bench_module("peers.numpy_")
    cheap = [case for case in (*cases.CONV, *cases.CONV_BREADTH) if case.flops < 4e7]
    assert {case.kind for case in cheap} == set(cases.KINDS) - {"float64"}
    row = cases.conv("row", "as Inception's, but small", 4, 8, 9, (1, 7), 2)
    for case in (*cheap, row, cases.conv("rate", "small", 4, 8, 9, (3, 2), dilation=2, pad=(1, 0))):
        data = cases.data_of(case)
        x, w, y = data["x"], data["w"], lw.conv2d(data["x"], data["w"], **case.options)
        assert case.flops == 2 * y.size * w[..., 0].size, case.name
        assert case.size == x.nbytes + w.nbytes + y.nbytes, case.name
        by_numpy, _ = numpy_.conv(case, data, "")
        _, bound = case.tolerance(data)
        assert (np.abs(by_numpy() - y) <= bound).all(), case.name


@pytest.mark.parametrize("what", ["dx", "dw", "all"])
def test_gradients_of_convolutions_are_what_their_cases_say(bench_module, what):
    """Flops, bytes, the results of all contestants, and bounds that tell wrong ones."""
    cases = bench_module("cases")
    numpy_, lanewise_ = bench_module("peers.numpy_"), bench_module("peers.lanewise_")
    read = {"dx": ("w", "dy"), "dw": ("x", "dy"), "all": ("x", "w", "dy")}[what]
    for sizes, more in (
        ((4, 8, 9, 3), {}),
        ((5, 3, 8, 4, 2), {"pad": 1}),
        ((4, 4, 12, 3), {"dilation": 2, "dtype": "float64"}),
        ((6, 4, 7, 3, 1, 2), {}),
    ):
        case = cases.conv_backward(what, "layer", "small", *sizes, n=3, **more)
        data = cases.data_of(case)
        call, canonical = lanewise_.conv_backward(case, data, "")
        found = [gradient for gradient in call() if gradient is not None]
        products = data["dy"].size * data["w"][..., 0].size
        assert case.flops == 2 * products * (2 if what == "all" else 1)
        assert case.size == sum(a.nbytes for a in (*found, *(data[name] for name in read)))
        _, bound = case.tolerance(data)
        expected = canonical(call())
        for module, variant in ((lanewise_, "nchw"), (lanewise_, "direct"), (numpy_, "")):
            prepared = module.conv_backward(case, data, variant)
            assert (prepared is None) == (module is numpy_ and case.options["groups"] > 1)
            if prepared:
                call, canonical = prepared
                assert (np.abs(canonical(call()) - expected) <= bound).all()
        assert (np.abs(np.roll(expected, 1) - expected) > bound).mean() > 0.9


def test_distances_are_what_their_cases_say(bench_module):
    """Shapes, counts of flops and bytes, and NumPy's result, where that is cheap."""
    cases, numpy_ = bench_module("cases"), bench_module("peers.numpy_")
    cheap = [case for case in cases.DISTANCE if case.flops < 3e8]
    assert len(cheap) == 3
    for case in (*cheap, cases.distance("alone", "small", 20, 5, "cosine", alone=True)):
        data = cases.data_of(case)
        result = lw.pairwise_distances(data["x"], data.get("y"), **case.options)
        assert case.flops == 2 * result.size * data["x"].shape[-1], case.name
        assert case.stored == result.nbytes, case.name
        assert case.size == sum(a.nbytes for a in data.values()) + result.nbytes, case.name
        by_numpy, _ = numpy_.distance(case, data, "")
        _, bound = case.tolerance(data)
        assert (np.abs(case.compare(by_numpy()) - case.compare(result)) <= bound).all(), case.name


def test_searches_are_compared_by_distances(bench_module, rng):
    """Wrong neighbours are told from those that an inexact form may exchange."""
    cases = bench_module("cases")
    case = cases.neighbors("few", "small", 30, 50, 4, 3)
    data = cases.data_of(case)
    distances, indices = lw.nearest_neighbors(data["x"], data["y"], 3)
    right = cases.found_distances(case, data, distances, indices)
    assert right.shape == (30, 6)
    np.testing.assert_allclose(right[:, :3], right[:, 3:], rtol=1e-6)
    np.testing.assert_array_equal(
        cases.found_distances(case, data, distances, indices[:, ::-1]), right
    )
    wrong = cases.found_distances(case, data, distances, (indices + 1) % 50)
    _, bound = case.tolerance(data)
    assert (np.abs(case.compare(wrong) - case.compare(right)) > bound).any()

    case = cases.within("few", "small", 60, 3, 2.0)
    data = cases.data_of(case)
    indptr, _, near = lw.radius_neighbors(data["x"], data["y"], **case.options)
    every = lw.pairwise_distances(data["x"], data["y"], "manhattan").astype(float)
    by_matrix = np.maximum(2.0 - every, 0).sum(1)
    np.testing.assert_allclose(cases.inside(case, near, np.diff(indptr)), by_matrix, atol=1e-9)


def test_slow_contestants_are_left_out(bench_module):
    run = bench_module("run")
    assert run.cell({"supported": True, "slow": True}, {"best": 1.0}) == "slow"


def made_up_record():
    """Two layers of one class and one of another, with times in ms."""
    contestants = ("lanewise", "lanewise-nchw", "lanewise-1thread", "torch", "ncnn")
    times = {"a": (1, 1.5, 1.9, 2, 1.25), "b": (2, 2, 3, 1), "c": (0.1, 0.4, 0.1)}
    kinds = {"a": "3x3", "b": "3x3", "c": "1x1"}
    cases = []
    for name, of_case in times.items():
        states = {contestant: {} for contestant in contestants}
        states |= {n: {"best": ms * 1e-3} for n, ms in zip(contestants, of_case, strict=False)}
        cases.append({"name": name, "kind": kinds[name], "contestants": states})
    return {"threads": 2, "cases": cases}


def test_summary_has_means_and_extremes_of_each_class(bench_module):
    text = bench_module("summary").summary(made_up_record())
    _, own, nchw, _, within, idle = (
        [line.split() for line in part.splitlines()] for part in text.split("\n\n")
    )
    assert own[0] == ["lanewise", "layers", "torch", "ncnn", "best", "least", "where"]
    # √(2 · 1/2) and 1/2; 1.25; √(1.25 · 1/2) and 1/2
    assert own[1] == ["3x3", "2", "1.00", "0.50", "1.25", "1.25", "0.79", "0.50", "b"]
    assert own[2] == ["1x1", "1", "-", "-", "-"]
    assert own[3][:2] == ["all", "3"]
    assert nchw[1][:6] == ["3x3", "2", "0.82", "0.50", "0.83", "0.83"]
    assert within[1] == ["3x3", "1.50", "a", "1.69", "1.50", "b"]
    assert within[2] == ["1x1", "4.00", "c", "-"]  # too short to need threads
    assert idle[0][-2:] == ["b", "(1.50)"]


def test_functions_of_an_op_have_classes_of_their_own(bench_module):
    record = made_up_record()
    for case in record["cases"]:
        case["what"] = "dx" if case["name"] == "b" else "dw"
    classes = bench_module("summary").classes(record)
    names = {kind: [case["name"] for case in cases] for kind, cases in classes.items()}
    assert names == {"dw 3x3": ["a"], "dw 1x1": ["c"], "dw all": ["a", "c"], "dx 3x3": ["b"]}


def test_long_list_ends_in_its_summary(tmp_path):
    arguments = ["--peers", "numpy", "--turns", "1", "--only", "960-240 1²"]
    done = run("conv-breadth", *arguments, "--json", tmp_path / "record.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^1x1 960-240 1² +[\d.]+ ms +\d+% .* one pixel$", done.stdout, re.MULTILINE)
    assert re.search(r"^1x1 +[\d.]+ +1x1 960-240 1² ", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("cases", "only", "rows"),
    [
        ("conv", "tiny", ["tiny 3x3 4 8² "]),
        (
            "conv_backward",
            "tiny 3x3 1-16",
            [f"{what} tiny 3x3 1-16 8² batch 64 " for what in ("dx", "dw")],
        ),
    ],
)
def test_accuracy_of_the_smallest_layer(cases, only, rows, tmp_path):
    arguments = [cases, "--peers", "numpy", "--only", only]
    done = run(*arguments, cwd=tmp_path, script="accuracy.py")
    assert done.returncode == 0, done.stderr
    header, *found = done.stdout.split("\n\n")[0].splitlines()
    assert header.split()[:4] == ["layer", "lanewise", "lanewise-direct", "numpy"]
    for start, row in zip(rows, found, strict=True):
        assert row.startswith(start)
        errors = np.array(row[len(start) :].split()[:6], float).reshape(3, 2)
        assert (errors < 1e-5).all()
        assert (errors[:, 1] > 0).all()
        assert (errors[:, 1] < errors[:, 0]).all()
    assert "lanewise: at most " in done.stdout


def test_accuracy_of_distances(tmp_path):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "accuracy.png"
    arguments = ["distance", "--peers", "scipy", "--only", "1e+06", "--plot", picture]
    done = run(*arguments, cwd=tmp_path, script="accuracy.py")
    assert done.returncode == 0, done.stderr
    for part in done.stdout.split("\n\n")[:2]:
        header, row = part.splitlines()
        assert header.split()[:5] == ["from", "the", "origin", "lanewise", "scipy"]
        offset, *errors = map(float, row.split())
        assert offset == 1e6
        assert errors[0] < 1e-6
        assert errors[1] < 1e-14
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_picture_has_every_column_under_measured_roofs(tmp_path):
    pytest.importorskip("matplotlib")
    record, picture = tmp_path / "record.json", tmp_path / "roofline.png"
    arguments = ["softmax", "--peers", "numpy", "--turns", "1", "--only", "tiny"]
    done = run(*arguments, "--json", record, "--plot", picture, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(picture)
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    envelope = json.loads(record.read_text())["envelope"]
    assert envelope.keys() == {"fma", "cache", "memory"}
    assert all(rate > 1e8 for rate in envelope.values())
    again = tmp_path / "again.png"
    done = run(record, again, "--all", cwd=tmp_path, script="plot.py")
    assert done.returncode == 0, done.stderr
    assert again.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
