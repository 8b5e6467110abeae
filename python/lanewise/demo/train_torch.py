"""The network of train_cnn.py in torch: a process of its own, without lanewise and its threads.

python train_torch.py ARRAYS THREADS: trains once in each memory format and prints what came out
as a line of JSON. ARRAYS is a file of np.savez: digits, labels, first parameters and orders.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812


def scores(parameters: list[Any], x: Any) -> Any:
    """The scores (N, 10) of images (N, 1, 8, 8)."""
    w1, b1, w2, b2, w3, b3 = parameters
    x = F.max_pool2d(F.relu(F.conv2d(x, w1, b1, padding=1)), 2)
    x = F.max_pool2d(F.relu(F.conv2d(x, w2, b2, padding=1)), 2)
    return F.linear(x.flatten(1), w3, b3)


def train(arrays: Any, memory_format: Any) -> dict[str, Any]:
    """What train_cnn.train does, and the number of mistakes on unseen digits."""

    def planes(x: Any) -> Any:
        return torch.tensor(x).permute(0, 3, 1, 2).contiguous(memory_format=memory_format)

    def filters(w: Any) -> Any:
        return planes(w.transpose(3, 0, 1, 2))

    w1, b1, w2, b2, w3, b3 = (arrays[f"parameter{i}"] for i in range(6))
    dense = torch.tensor(w3).permute(3, 2, 0, 1).flatten(1)
    biases = [torch.tensor(b) for b in (b1, b2, b3)]  # copies, as the next format starts from them
    parameters = [filters(w1), biases[0], filters(w2), biases[1], dense, biases[2]]
    for parameter in parameters:
        parameter.requires_grad_()
    adam = torch.optim.Adam(parameters, lr=float(arrays["rate"]), fused=True)  # the fastest of its
    train_x, train_y = planes(arrays["train_x"]), torch.from_numpy(arrays["train_y"])

    losses, seconds = [], []
    for order in arrays["orders"]:
        start = time.perf_counter()
        for rows in np.array_split(order, -(-len(order) // int(arrays["batch"]))):
            x, labels = train_x[rows], train_y[rows]
            adam.zero_grad()
            loss = F.cross_entropy(scores(parameters, x), labels)
            loss.backward()
            adam.step()
            losses.append(loss.item())
        seconds.append(time.perf_counter() - start)

    with torch.no_grad():
        guesses = scores(parameters, planes(arrays["test_x"])).argmax(1).numpy()
    wrong = int((guesses != arrays["test_y"]).sum())
    return {"losses": losses, "seconds": seconds, "mistakes": wrong}


def main(path: str, threads: int) -> None:
    """Both memory formats, one line."""
    torch.set_num_threads(threads)
    with np.load(path) as file:
        arrays = dict(file)
    formats = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
    runs = {name: train(arrays, memory_format) for name, memory_format in formats.items()}
    print(json.dumps({"version": torch.__version__, "runs": runs}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
