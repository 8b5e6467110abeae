"""The network trained by NumPy and lanewise alone: its gradients, its bits, its commands."""

import re
import struct
import sys
from importlib.util import find_spec
from pathlib import Path

import lanewise as lw
import numpy as np
import pytest
from lanewise.__main__ import main as command_line
from lanewise.demo import train_cnn

EXAMPLE = Path(__file__).parents[1] / "examples" / "train_cnn.py"


@pytest.fixture
def digits(rng):
    """Noise in the shape of digits: 48 to learn by heart and 16 to be tested on."""
    x, y = rng.random((64, 8, 8, 1)), rng.integers(0, 10, 64)
    return train_cnn.Digits(x[:48], x[48:], y[:48], y[48:])


def cast(digits, dtype):
    train_x, test_x = digits.train_x.astype(dtype), digits.test_x.astype(dtype)
    return digits._replace(train_x=train_x, test_x=test_x)


def switches(parameters, x):
    """Who wins, and whom relu lets pass: as long as these stay, the loss is smooth."""
    _, (_, pooled1, winners1, _, pooled2, winners2) = train_cnn.scores(parameters, x)
    return np.concatenate([a.ravel() for a in (pooled1 > 0, winners1, pooled2 > 0, winners2)])


def test_gradients_are_those_of_the_loss(digits, rng):
    parameters = train_cnn.initial_parameters(0, "float64")
    x, labels = digits.train_x, digits.train_y
    _, gradients = train_cnn.loss_and_gradients(parameters, x, labels)
    before, h = switches(parameters, x), 1e-7
    for which, gradient in enumerate(gradients):
        assert gradient.shape == parameters[which].shape
        direction = rng.standard_normal(gradient.shape)
        direction /= np.sqrt(np.sum(direction**2))
        losses = []
        for step in (h, -h):
            moved = list(parameters)
            moved[which] = parameters[which] + step * direction
            assert np.array_equal(switches(moved, x), before)
            losses.append(float(train_cnn.loss_and_gradients(moved, x, labels)[0]))
        # The losses' rounding, some 20·eps each, over 2·h; h² times a derivative is far below.
        slope = (losses[0] - losses[1]) / (2 * h)
        assert abs(slope - np.sum(gradient * direction)) < 20 * np.finfo(float).eps / h


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_seed_gives_the_same_bits_for_any_number_of_threads(digits, simd, dtype):
    trainings = []
    for threads in (1, 2, 3):
        lw.set_num_threads(threads)
        orders = train_cnn.shuffles(48, 4, seed=3)
        trainings.append(train_cnn.train(cast(digits, dtype), orders, batch=16, seed=3))
    for other in trainings[1:]:
        assert other.losses == trainings[0].losses
        for mine, same in zip(other.parameters, trainings[0].parameters, strict=True):
            assert mine.dtype == dtype
            assert np.array_equal(mine, same)
    another = train_cnn.train(cast(digits, dtype), orders, batch=16, seed=4)
    assert another.losses != trainings[0].losses


def test_noise_is_learnt_by_heart(digits):
    lw.set_num_threads(1)
    training = train_cnn.train(digits, train_cnn.shuffles(48, 60, seed=0), batch=16, seed=0)
    assert len(training.losses) == 60 * 3
    assert len(training.seconds) == 60
    assert np.mean(training.losses[:3]) > 2  # log 10 is what guessing costs
    assert np.mean(training.losses[-3:]) < 0.2


@pytest.mark.parametrize("batch", [1, 47, 48, 1000])
def test_batches_of_any_size_take_each_digit_once(digits, batch):
    training = train_cnn.train(digits, train_cnn.shuffles(48, 1, seed=0), batch, seed=0)
    assert len(training.losses) == -(-48 // batch)


def test_three_epochs_know_most_digits_and_draw_a_picture(tmp_path, capsys):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    picture = tmp_path / "digits.png"
    command = ["demo", "train", "--epochs", "3", "--threads", "1", "--plot", str(picture)]
    assert command_line(command) == 0
    told = capsys.readouterr()
    assert "66 steps, loss 0." in told.out
    # Twenty seeds had 92 to 96 % after three epochs; guessing has 10.
    assert float(re.search(r"accuracy (\S+) %", told.out)[1]) >= 88
    assert str(picture) in told.out
    assert "training [" in told.err
    header = picture.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", header[16:]) == (1500, 500)


def test_the_example_is_the_demos_own_file(capsys):
    assert EXAMPLE.read_text() == Path(train_cnn.__file__).read_text()
    told = []
    for main, arguments in ((train_cnn.main, []), (command_line, ["demo", "train"])):
        with pytest.raises(SystemExit) as left:
            main([*arguments, "--help"])
        assert left.value.code == 0
        told.append(capsys.readouterr().out.partition("options:")[2])
    assert told[0] == told[1] != ""


@pytest.mark.parametrize(
    ("module", "package", "arguments"),
    [
        ("sklearn", "scikit-learn", []),
        ("matplotlib", "matplotlib", ["--plot", "digits.png"]),
        ("torch", "torch", ["--compare", "torch"]),
    ],
)
def test_it_says_what_to_install(monkeypatch, capsys, module, package, arguments):
    pytest.importorskip("sklearn")
    monkeypatch.setitem(sys.modules, module, None)
    assert train_cnn.main(arguments) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"lanewise demo train: there is no {package} here: pip install {package}"
    ]


@pytest.mark.parametrize(
    ("option", "number"),
    [("--epochs", "0"), ("--batch", "0"), ("--threads", "0"), ("--seed", "-1")],
)
def test_numbers_that_mean_nothing_are_refused(capsys, option, number):
    with pytest.raises(SystemExit) as left:
        train_cnn.main([option, number])
    assert left.value.code == 2
    assert option in capsys.readouterr().err


def test_a_picture_that_cannot_be_written_is_an_error(tmp_path, capsys):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    assert train_cnn.main(["--plot", str(tmp_path / "nowhere" / "digits.png")]) == 1
    assert "nowhere" in capsys.readouterr().err
    assert train_cnn.main(["--epochs", "1", "--threads", "1", "--plot", str(tmp_path)]) == 1
    assert str(tmp_path) in capsys.readouterr().err.splitlines()[-1]


# ---------------------------------------------------------------------------------- against torch


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_losses_are_those_of_torch(capfd, dtype):
    pytest.importorskip("sklearn")
    if find_spec("torch") is None:
        pytest.skip("torch is not installed")
    command = ["--epochs", "3", "--dtype", dtype, "--threads", "1", "--compare", "torch"]
    assert train_cnn.main(command) == 0
    told = capfd.readouterr().out
    error = re.search(r"first 50 losses equal within (\S+) ", told)[1]
    assert float(error) < {"float64": 1e-9, "float32": 1e-2}[dtype]
    assert re.search(r"lanewise is \S+ x as fast", told)


@pytest.mark.parametrize(
    ("factor", "mistakes", "code"), [(1, 0, 0), (1 + 1e-8, 0, 1), (1, 200, 1)]
)  # fmt: skip
def test_a_disagreement_is_an_error(digits, monkeypatch, capsys, factor, mistakes, code):
    from lanewise.demo import train_compare

    orders = train_cnn.shuffles(48, 2, seed=0)
    ours = train_cnn.train(digits, orders, batch=16, seed=0)
    guesses = train_cnn.scores(ours.parameters, digits.test_x)[0].argmax(axis=1)
    theirs = {
        "losses": [factor * loss for loss in ours.losses],
        "seconds": ours.seconds,
        "mistakes": int((guesses != digits.test_y).sum()) + mistakes,
    }
    answer = {"version": "of this test", "runs": {"NCHW": theirs}}
    monkeypatch.setattr(train_compare, "_run_torch", lambda *_: answer)
    assert train_compare.with_torch(digits, orders, 16, 0, ours) == code
    assert bool(capsys.readouterr().err.splitlines()[1:]) == bool(code)
