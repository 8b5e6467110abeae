"""The short benchmark for users: that its cases are right, and that its table is whole."""

import os
import re
import subprocess
import sys
from pathlib import Path

import lanewise as lw
import numpy as np
import pytest
from lanewise import bench


def run(*arguments, cwd):
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    env["PYTHONPATH"] = str(Path(lw.__file__).parents[1])
    command = [sys.executable, "-m", "lanewise", "bench", *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


CASES = bench.cases()


@pytest.mark.parametrize("case", CASES, ids=[f"{case.op} {case.name}" for case in CASES])
def test_both_columns_do_the_same_work(case):
    result = case.lanewise()
    assert (case.flops > 0) != (case.size > 0)
    if case.numpy is not None:
        # Wrong work is off by as much as the values: a generous bound tells it from rounding.
        np.testing.assert_allclose(result, case.numpy(), rtol=1e-3, atol=1e-3 * result.std())


def test_cases_cover_all_ops():
    assert len(CASES) == 14
    assert {case.op for case in CASES} == set(bench.OPS)


def test_table_of_one_op(tmp_path):
    done = run("--op", "max_pool2d", "--threads", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    configuration, table, _ = done.stdout.split("\n\n")
    assert configuration.startswith(f"lanewise {lw.__version__} (")
    assert "threads: 1, " in configuration
    header, *rows = table.splitlines()
    assert header.split() == ["time", "rate", "share", "NumPy"]
    assert len(rows) == sum(case.op == "max_pool2d" for case in CASES)
    for row in rows:
        assert re.match(r"max_pool2d .* [\d.]+ [um]s +\d+ GB/s +\d+% +[\d.]+ x$", row)
    assert "measuring [" in done.stderr
    assert "\r" not in done.stderr


def test_bad_options_are_refused(tmp_path):
    for arguments in (["--threads", "0"], ["--op", "abacus"]):
        done = run(*arguments, cwd=tmp_path)
        assert done.returncode != 0
        assert arguments[1] in done.stderr
        assert "Traceback" not in done.stderr
