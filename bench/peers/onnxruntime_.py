"""ONNX Runtime: a session of one node, with the filters as its constants, made beforehand."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import onnxruntime
from cases import Case, Data, pair
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from . import Prepared
from .lanewise_ import nhwc, planes


def _session(
    op: str, constants: dict[str, np.ndarray], **attributes: Any
) -> onnxruntime.InferenceSession:
    """A net of one node, y = op(x, *constants), every optimisation on."""
    node = helper.make_node(op, ["x", *constants], ["y"], **attributes)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, None)
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    return _session_of(node, [x], tensors)


def _session_of(
    node: NodeProto, inputs: list[ValueInfoProto], tensors: list[TensorProto]
) -> onnxruntime.InferenceSession:
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], node.op_type, inputs, [y], tensors)
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def conv(case: Case, data: Data, variant: str) -> Prepared:
    x, w, (stride, pad, dilation, groups) = planes(data["x"]), data["w"], case.options.values()
    filters = {"w": np.ascontiguousarray(w.transpose(3, 2, 0, 1))}
    steps = {"strides": [stride] * 2, "dilations": [dilation] * 2}
    session = _session("Conv", filters, **steps, pads=pair(pad) * 2, group=groups)
    return lambda: session.run(None, {"x": x})[0], nhwc


def pool(case: Case, data: Data, variant: str) -> Prepared | None:
    if case.what:
        return None
    x, (window, stride, pad) = planes(data["x"]), case.options.values()
    session = _session(
        "MaxPool", {}, kernel_shape=[window] * 2, strides=[stride] * 2, pads=[pad] * 4
    )
    return lambda: session.run(None, {"x": x})[0], nhwc


def softmax(case: Case, data: Data, variant: str) -> Prepared | None:
    if "dy" in data:
        return None
    session = _session("Softmax", {}, **case.options)
    return lambda: session.run(None, data)[0], np.asarray


def cross_entropy(case: Case, data: Data, variant: str) -> Prepared | None:
    if case.options["return_grad"]:
        return None
    node = helper.make_node("SoftmaxCrossEntropyLoss", ["x", "t"], ["y"])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, None)
    t = helper.make_tensor_value_info("t", TensorProto.INT64, None)
    session = _session_of(node, [x, t], [])
    return lambda: session.run(None, data)[0], np.asarray


def version() -> str:
    return onnxruntime.__version__
