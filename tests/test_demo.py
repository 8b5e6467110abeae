"""The command line, run as a user runs it."""

import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import lanewise as lw
import pytest


def run(*arguments, cwd):
    # Without conftest's three threads: the demo shall see the machine as it is.
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    env["PYTHONPATH"] = str(Path(lw.__file__).parents[1])  # a relative one would not hold in `cwd`
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def test_info_prints_the_configuration(tmp_path):
    done = run("-m", "lanewise", "info", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    printed = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert printed.keys() == lw.config().keys()
    assert printed["version"] == lw.__version__
    assert printed["simd_available"].split(", ") == lw.config()["simd_available"]


def test_demo_draws_its_picture_and_learns_the_digits(tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    pytest.importorskip("PIL")
    done = run("-m", "lanewise", "demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    neighbours, regression = (float(a) for a in re.findall(r"accuracy (\S+) %", done.stdout))
    assert neighbours >= 96
    assert regression >= 93
    assert done.stdout.count("x faster") == 5
    assert "training [" in done.stderr
    assert "\r" not in done.stderr  # the bar is redrawn on a terminal only

    picture = (tmp_path / "lanewise-demo.png").read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", picture[16:24])
    assert f"{width} x {height} pixels" in done.stdout
    assert 1600 <= width <= 2000
    assert len(picture) > 500_000


def test_demo_says_what_to_install(tmp_path):
    without = "import sys; sys.modules['sklearn'] = None; from lanewise.__main__ import main; "
    done = run("-c", without + "sys.exit(main(['demo']))", cwd=tmp_path)
    assert done.returncode == 1
    assert 'pip install "lanewise[demo]"' in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_demo_refuses_a_folder_that_is_not_there(tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    pytest.importorskip("PIL")
    done = run("-m", "lanewise", "demo", "--out", "nowhere/picture.png", cwd=tmp_path)
    assert done.returncode == 1
    assert "nowhere" in done.stderr
    assert len(done.stderr.splitlines()) == 1
