"""Two classifiers of scikit-learn's handwritten digits (1797 pictures of 8 x 8 pixels)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import lanewise as lw

from .._array import Array
from . import plain
from .timing import EPS, Comparison, assert_agree, compare, progress

STEPS, RATE, MOMENTUM = 300, 0.5, 0.9


class Split(NamedTuple):
    """Half of the digits to learn from and half to be tested on: pixels 0 … 1, labels 0 … 9."""

    train_x: Array
    test_x: Array
    train_y: Array
    test_y: Array


@dataclass(frozen=True)
class Neighbours:
    """`nearest[i]` is the known digit nearest to unseen digit i; `mistakes` lists wrong i."""

    nearest: Array
    mistakes: Array
    accuracy: float
    comparison: Comparison


@dataclass(frozen=True)
class Regression:
    """`weights[:, c]` is what softmax regression looks for in a digit of class c."""

    weights: Array
    train_loss: list[float]
    test_loss: list[float]
    accuracy: float
    comparison: Comparison


def load() -> Split:
    """Each class divided evenly, always in the same way."""
    data = load_digits()
    pixels = (data.data / 16).astype(np.float32)
    halves = train_test_split(
        pixels, data.target, test_size=0.5, stratify=data.target, random_state=0
    )
    return Split(*halves)


def nearest_neighbours(split: Split) -> Neighbours:
    """Give each unseen digit the label of the known digit nearest to it."""
    x, y = split.test_x, split.train_x
    distances = lw.pairwise_distances(x, y)
    nearest = distances.argmin(axis=1)
    wrong = split.train_y[nearest] != split.test_y

    work = f"{x.shape[0]} x {y.shape[0]} distances"
    expected = plain.euclidean(x, y)
    # In units of eps/2, each side: 3 for a squared difference, d - 1 for their sum, all halved by
    # the root, and 1 for the root.
    assert_agree(work, distances, expected, (x.shape[1] + 4) / 2 * EPS * expected)
    return Neighbours(
        nearest=nearest,
        mistakes=np.flatnonzero(wrong),
        accuracy=1 - float(wrong.mean()),
        comparison=compare(
            work, lambda: plain.euclidean(x, y), lambda: lw.pairwise_distances(x, y)
        ),
    )


def softmax_regression(split: Split) -> Regression:
    """Minimise the cross-entropy of softmax(x·W + b) by gradient descent with momentum."""
    x, n = split.train_x, len(split.train_x)
    target = np.eye(10, dtype=np.float32)[split.train_y]
    weights: Array = np.zeros((64, 10), np.float32)
    bias: Array = np.zeros(10, np.float32)
    weights_step, bias_step = np.zeros_like(weights), np.zeros_like(bias)
    train_loss, test_loss = [], []
    for step in range(STEPS):
        logits = x @ weights + bias
        gradient = _logits_gradient(logits, target)
        weights_step = MOMENTUM * weights_step - RATE * (x.T @ gradient)
        bias_step = MOMENTUM * bias_step - RATE * gradient.sum(axis=0)
        train_loss.append(_cross_entropy(logits, split.train_y))
        test_loss.append(_cross_entropy(split.test_x @ weights + bias, split.test_y))
        weights, bias = weights + weights_step, bias + bias_step
        progress("training", step + 1, STEPS)

    guess = (split.test_x @ weights + bias).argmax(axis=1)
    return Regression(
        weights=weights,
        train_loss=train_loss,
        test_loss=test_loss,
        accuracy=float((guess == split.test_y).mean()),
        comparison=_compare_step(f"softmax and gradient, {n} x 10", x @ weights + bias, target),
    )


def _cross_entropy(logits: Array, labels: Array) -> float:
    """-log of the probability given to the right label, on average."""
    return -float(lw.log_softmax(logits)[np.arange(len(labels)), labels].mean())


def _logits_gradient(logits: Array, target: Array) -> Array:
    """The gradient of the cross-entropy: through softmax, whose own gradient is -target/(n·p)."""
    p = lw.softmax(logits)
    return lw.softmax_backward(_probability_gradient(p, target), p)


def _probability_gradient(p: Array, target: Array) -> Array:
    """-target / (n·p). A probability that underflowed to 0 counts as the smallest number."""
    return np.asarray(-target / (len(p) * np.maximum(p, np.finfo(p.dtype).tiny)))


def _compare_step(work: str, logits: Array, target: Array) -> Comparison:
    p, expected_p = lw.softmax(logits), plain.softmax(logits)
    classes, span = logits.shape[1], float(np.ptp(logits, axis=1).max())
    # Relative, in units of eps/2, each side: `span` for the subtraction (it is the argument of exp)
    # and 6 for exp, in the numerator and in the sum; `classes` for the sum, 1 for the division.
    assert_agree(work, p, expected_p, (2 * span + 12 + classes + 1) * EPS * expected_p)

    dp = _probability_gradient(p, target)
    gradient, expected = lw.softmax_backward(dp, p), plain.softmax_backward(dp, p)
    # Each side: 1 for a product, `classes` for the sum, 1 for the difference, 1 for the product.
    size = p * (np.abs(dp) + (np.abs(dp) * p).sum(axis=1, keepdims=True))
    bound = (classes + 3) * EPS * size
    assert_agree(work, gradient, expected, bound)
    # The textbook's shortcut for the two together, which rounds dp as well: 2 more.
    assert_agree(work, gradient, (p - target) / len(p), bound + 2 * EPS * size)

    def by_numpy() -> Array:
        return plain.softmax_backward(dp, plain.softmax(logits))

    return compare(work, by_numpy, lambda: lw.softmax_backward(dp, lw.softmax(logits)))
