"""ncnn: a net of one layer in float32, whose filters it transforms when they are loaded."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import ncnn
import numpy as np
from cases import Case, Data, pair

from . import Prepared
from .lanewise_ import planes


def conv(case: Case, data: Data, variant: str) -> Prepared | None:
    x, w, (stride, pad, dilation, groups) = planes(data["x"]), data["w"], case.options.values()
    if len(x) > 1:
        return None  # it knows no batches
    net = ncnn.Net()
    options = net.opt
    options.num_threads = int(os.environ["OMP_NUM_THREADS"])
    for narrow in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage"):
        setattr(options, f"use_{narrow}", False)
    kind = "Convolution" if groups == 1 else "ConvolutionDepthWise"
    # The text form of a net: magic number, counts of layers and blobs, then a layer a line, as
    # kind, name, numbers of inputs and outputs, their names, and key=value parameters.
    (rows, columns, _, k), (pad_rows, pad_columns) = w.shape, pair(pad)
    net.load_param_mem(
        "7767517\n2 2\nInput x 0 1 x\n"
        f"{kind} conv 1 1 x y 0={k} 1={columns} 11={rows} 2={dilation} 3={stride} "
        f"4={pad_columns} 14={pad_rows} 6={w.size} 7={groups}\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights"  # a tag, 0 for float32, and K, C/groups, R, S
        path.write_bytes(bytes(4) + np.ascontiguousarray(w.transpose(3, 2, 0, 1)).tobytes())
        net.load_model(str(path))
    image = ncnn.Mat(x[0]).clone()

    def call() -> ncnn.Mat:
        extractor = net.create_extractor()
        extractor.input("x", image)
        return extractor.extract("y")[1]

    return call, lambda y: np.array(y).transpose(1, 2, 0)[None]


def version() -> str:
    return ncnn.__version__
