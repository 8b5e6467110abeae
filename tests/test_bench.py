"""The benchmark harness on its smallest cases: that it compares, prints and records."""

import json
import os
import subprocess
import sys
from pathlib import Path

import lanewise as lw
import pytest

RUN = Path(__file__).parents[1] / "bench" / "run.py"


def run(*arguments, cwd):
    env = {**os.environ, "PYTHONPATH": str(Path(lw.__file__).parents[1])}
    command = [sys.executable, RUN, *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("op", ["conv", "pool", "softmax", "distance"])
def test_race_of_the_smallest_case(op, tmp_path):
    pytest.importorskip("scipy")
    record = tmp_path / "record.json"
    arguments = [op, "--peers", "numpy,scipy", "--turns", "1", "--only", "tiny", "--json", record]
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    header, *rows = done.stdout.split("\n\n")[1].splitlines()
    rows = [row for row in rows if not row.startswith("~")]
    assert {"case", "lanewise", "share", "numpy", "scipy", "why"} <= set(header.split())

    cases = json.loads(record.read_text())["cases"]
    assert len(cases) == len(rows)
    for case, row in zip(cases, rows, strict=True):
        assert row.startswith(case["name"])
        assert row.endswith(case["why"])
        states = {name: s for name, s in case["contestants"].items() if s["supported"]}
        assert {"lanewise", "numpy"} <= states.keys()
        assert case["share"] > 0
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
