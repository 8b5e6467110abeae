"""A convolutional network learns scikit-learn's handwritten digits, by NumPy and lanewise alone.

Twice a convolution of 3 x 3, relu and max-pooling of 2 x 2, then a dense layer; softmax
cross-entropy; Adam. A seed gives the same bits for any number of threads.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

import lanewise as lw
from lanewise.demo.timing import duration, progress

Array: TypeAlias = NDArray[Any]

# Filters as (R, S, input channels, outputs). The last bank is the dense layer: a window as large
# as what is left of the image.
FILTERS = ((3, 3, 1, 16), (3, 3, 16, 32), (2, 2, 32, 10))
RATE, MEAN_DECAY, SQUARE_DECAY, TINY = 5e-3, 0.9, 0.999, 1e-8  # of Adam


def initial_parameters(seed: int, dtype: str) -> list[Array]:
    """Filters and biases of the three layers in turn (He et al., 2015)."""
    rng = np.random.default_rng(seed)
    parameters: list[Array] = []
    for shape in FILTERS:
        w = rng.normal(0, np.sqrt(2 / np.prod(shape[:3])), shape)
        parameters += [w.astype(dtype), np.zeros(shape[3], dtype)]
    return parameters


def scores(parameters: list[Array], x: Array) -> tuple[Array, tuple[Array, ...]]:
    """The scores (N, 10) of images (N, 8, 8, 1), and what was met on the way to them."""
    w1, b1, w2, b2, w3, b3 = parameters
    maps1 = lw.conv2d(x, w1, b1, padding="same", activation="relu")
    pooled1, winners1 = lw.max_pool2d(maps1, 2, return_indices=True)
    maps2 = lw.conv2d(pooled1, w2, b2, padding="same", activation="relu")
    pooled2, winners2 = lw.max_pool2d(maps2, 2, return_indices=True)
    z = lw.conv2d(pooled2, w3, b3)[:, 0, 0]
    return z, (maps1, pooled1, winners1, maps2, pooled2, winners2)


def loss_and_gradients(
    parameters: list[Array], x: Array, labels: Array
) -> tuple[Array, list[Array]]:
    """The mean cross-entropy of a batch, and its gradients by all parameters."""
    w1, _, w2, _, w3, _ = parameters
    z, (maps1, pooled1, winners1, maps2, pooled2, winners2) = scores(parameters, x)
    loss, dz = lw.cross_entropy(z, labels, return_grad=True)

    d_pooled2, dw3, db3 = lw.conv2d_backward(dz[:, None, None], pooled2, w3)
    # A winner that is 0 is one that relu has cut off: nothing reaches it.
    d_maps2 = lw.max_pool2d_backward(d_pooled2 * (pooled2 > 0), winners2, maps2.shape)
    d_pooled1, dw2, db2 = lw.conv2d_backward(d_maps2, pooled1, w2, padding="same")
    d_maps1 = lw.max_pool2d_backward(d_pooled1 * (pooled1 > 0), winners1, maps1.shape)
    _, dw1, db1 = lw.conv2d_backward(d_maps1, x, w1, wrt=("w", "bias"), padding="same")
    return loss, [dw1, db1, dw2, db2, dw3, db3]


class Adam:
    """Steps by the running means of gradients and of their squares (Kingma and Ba, 2015)."""

    def __init__(self, parameters: list[Array]) -> None:
        self.means = [np.zeros_like(p) for p in parameters]
        self.squares = [np.zeros_like(p) for p in parameters]
        self.steps = 0

    def step(self, parameters: list[Array], gradients: list[Array]) -> None:
        """Move `parameters`, in place."""
        self.steps += 1
        # Both kinds of means started at 0, so only these shares of them are of gradients.
        share_m, share_v = 1 - MEAN_DECAY**self.steps, 1 - SQUARE_DECAY**self.steps
        for p, g, m, v in zip(parameters, gradients, self.means, self.squares, strict=True):
            m += (1 - MEAN_DECAY) * (g - m)
            v += (1 - SQUARE_DECAY) * (g * g - v)
            p -= RATE * (m / share_m) / (np.sqrt(v / share_v) + TINY)


class Digits(NamedTuple):
    """Images (N, 8, 8, 1) from 0 to 1 and labels: three quarters to learn from, the rest unseen."""

    train_x: Array
    test_x: Array
    train_y: Array
    test_y: Array


class Training(NamedTuple):
    """What `train` found; `seconds` and `losses` of each epoch and of each batch."""

    parameters: list[Array]
    losses: list[float]
    seconds: list[float]


def load_digits(dtype: str) -> Digits:
    """scikit-learn's 1797 digits, each class divided evenly and always in the same way."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    x = (data.images[..., None] / 16).astype(dtype)
    return Digits(*train_test_split(x, data.target, stratify=data.target, random_state=0))


def train(digits: Digits, orders: Array, batch: int, seed: int) -> Training:
    """One epoch for each row of `orders`, which says in which order it takes the digits."""
    parameters = initial_parameters(seed, digits.train_x.dtype.name)
    adam, losses, seconds = Adam(parameters), [], []
    for epoch, order in enumerate(orders):
        start = time.perf_counter()
        for rows in np.array_split(order, math.ceil(len(order) / batch)):
            x, labels = digits.train_x[rows], digits.train_y[rows]
            loss, gradients = loss_and_gradients(parameters, x, labels)
            adam.step(parameters, gradients)
            losses.append(float(loss))
        seconds.append(time.perf_counter() - start)
        progress("training", epoch + 1, len(orders))
    return Training(parameters, losses, seconds)


def shuffles(count: int, epochs: int, seed: int) -> Array:
    """An order of `count` digits for each epoch."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(count) for _ in range(epochs)])


# ------------------------------------------------------------------------------- the command line


def natural(text: str) -> int:
    """An integer of at least 0."""
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value


def positive(text: str) -> int:
    """An integer of at least 1."""
    value = natural(text)
    if value == 0:
        raise ValueError(text)
    return value


def options(**settings: object) -> argparse.ArgumentParser:
    """The parser of the options; `python -m lanewise demo train` takes them, too."""
    parser = argparse.ArgumentParser(**settings)  # type: ignore[arg-type]
    add = parser.add_argument
    add("--dtype", choices=("float32", "float64"), default="float32", help="(default: %(default)s)")
    add("--epochs", type=positive, default=60, metavar="N", help="(default: %(default)s)")
    add("--batch", type=positive, default=64, metavar="N", help="digits a step (default: 64)")
    add("--seed", type=natural, default=0, metavar="N", help="of filters and batches (default: 0)")
    add("--threads", type=positive, metavar="N", help="(default: as many as lanewise sees)")
    add("--plot", type=Path, metavar="FILE", help="a PNG: filters, loss and confusion matrix")
    add("--compare", choices=("torch",), help="the same in torch: losses, accuracy and times")
    return parser


def missing(chosen: argparse.Namespace) -> str | None:
    """What the chosen options need that is not there."""
    needs = {"sklearn": "scikit-learn"}
    needs |= {"matplotlib": "matplotlib"} if chosen.plot else {}
    needs |= {"torch": "torch"} if chosen.compare else {}
    for module, package in needs.items():
        if find_spec(module) is None:
            return f"there is no {package} here: pip install {package}"
    if chosen.plot and not chosen.plot.parent.is_dir():
        return f"there is no folder {chosen.plot.parent}"
    return None


def run(chosen: argparse.Namespace) -> int:
    """Train as the options say, tell what came out, and return the exit code."""
    problem: object = missing(chosen)
    if not problem:
        try:
            return _run(chosen)
        except (OSError, subprocess.CalledProcessError) as error:
            problem = error
    print(f"lanewise demo train: {problem}", file=sys.stderr)
    return 1


def _run(chosen: argparse.Namespace) -> int:
    if chosen.threads:
        lw.set_num_threads(chosen.threads)
    settings = lw.config()
    machine = f"{settings['simd']}, {chosen.dtype}, threads: {settings['threads']}"
    print(f"lanewise {settings['version']}  ({machine})", flush=True)
    digits = load_digits(chosen.dtype)
    orders = shuffles(len(digits.train_x), chosen.epochs, chosen.seed)
    training = train(digits, orders, chosen.batch, chosen.seed)

    guesses = scores(training.parameters, digits.test_x)[0].argmax(axis=1)
    seconds, wrong, unseen = training.seconds, guesses != digits.test_y, len(guesses)
    print(f"  {len(training.losses)} steps, loss {np.mean(training.losses[-10:]):.2g}")
    print(f"  accuracy {100 - 100 * wrong.mean():.2f} %, {wrong.sum()} mistakes of {unseen}")
    print(f"  an epoch {duration(min(seconds)).strip()}, all {sum(seconds):.2f} s", flush=True)
    if chosen.plot:
        from lanewise.demo import train_sheet

        train_sheet.draw(chosen.plot, training.parameters[0], training.losses, digits, guesses)
        print(f"  picture  {chosen.plot.resolve()}")
    if chosen.compare:
        from lanewise.demo import train_compare

        return train_compare.with_torch(digits, orders, chosen.batch, chosen.seed, training)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of this file."""
    return run(options(description=__doc__).parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
