"""train_cnn's training next to the same in torch, which has a process of its own."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import lanewise as lw

from .._array import Array
from . import train_cnn
from .timing import duration, significant

LOSSES = 50  # of these the first are compared
BOUND = 1e-9  # relative, in float64


def with_torch(
    digits: train_cnn.Digits, orders: Array, batch: int, seed: int, ours: train_cnn.Training
) -> int:
    """Train in torch from the same parameters by the same batches; 1 if the two disagree."""
    answer = _run_torch(digits, orders, batch, seed)
    layout, theirs = min(answer["runs"].items(), key=lambda run: min(run[1]["seconds"]))
    dtype = digits.train_x.dtype
    print(f"torch {answer['version']}  ({layout}, {dtype}, threads: {lw.get_num_threads()})")

    losses = np.array(ours.losses[:LOSSES])
    error = np.max(np.abs(np.array(theirs["losses"][:LOSSES]) / losses - 1))
    print(f"  first {len(losses)} losses equal within {error:.1e} of themselves")
    guesses = train_cnn.scores(ours.parameters, digits.test_x)[0].argmax(axis=1)
    wrong, others_wrong = int((guesses != digits.test_y).sum()), theirs["mistakes"]
    accuracy = 100 - 100 * others_wrong / len(guesses)
    print(f"  accuracy {accuracy:.2f} %, {others_wrong} mistakes of {len(guesses)}")
    seconds, others = min(ours.seconds), min(theirs["seconds"])
    print(f"  an epoch {duration(others).strip()}, all {sum(theirs['seconds']):.2f} s")
    print(f"lanewise is {significant(others / seconds)} x as fast")

    if dtype == np.float64 and error > BOUND:
        print(f"lanewise demo train: losses differ by more than {BOUND}", file=sys.stderr)
        return 1
    # Rounding errors lead two trainings apart, to mistakes as different as those of two seeds: the
    # numbers may differ by three standard deviations of their difference.
    if abs(wrong - others_wrong) > 3 * math.sqrt(wrong + others_wrong):
        print("lanewise demo train: one has learnt more than the other", file=sys.stderr)
        return 1
    return 0


def _run_torch(digits: train_cnn.Digits, orders: Array, batch: int, seed: int) -> dict[str, Any]:
    first = train_cnn.initial_parameters(seed, digits.train_x.dtype.name)
    contents: dict[str, Any] = {f"parameter{i}": array for i, array in enumerate(first)}
    contents |= {**digits._asdict(), "orders": orders, "batch": batch, "rate": train_cnn.RATE}
    threads = str(lw.get_num_threads())
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder) / "arrays.npz"
        np.savez(arrays, **contents)
        script = Path(__file__).with_name("train_torch.py")
        command = [sys.executable, str(script), str(arrays), threads]
        environment = {**os.environ, "OMP_NUM_THREADS": threads}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
