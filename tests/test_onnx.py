"""The conformance cases of the ONNX operators that lanewise computes, as the onnx package has them.

A case is a model of one node, its inputs and the expected outputs. Its attributes are translated
into keywords; what the contract has no word for stands in OUTSIDE, and nothing else may be left
out.
"""

import itertools
import warnings

import lanewise as lw
import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

OUTSIDE = dict.fromkeys(
    [
        "test_averagepool_3d_default",
        "test_averagepool_3d_dilations_large_count_include_pad_is_0_ceil_mode_is_False",
        "test_averagepool_3d_dilations_large_count_include_pad_is_0_ceil_mode_is_True",
        "test_averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_False",
        "test_averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_True",
        "test_averagepool_3d_dilations_small",
        "test_convtranspose_3d",
        "test_maxpool_3d_default",
        "test_maxpool_3d_dilations",
        "test_maxpool_3d_dilations_use_ref_impl",
        "test_maxpool_3d_dilations_use_ref_impl_large",
    ],
    "3 spatial axes",
)


class OutsideError(Exception):
    """The contract has no word for this."""


# --------------------------------------------------------------------------------------- attributes


def spatial_axes(x):
    """How many: 1 or 2."""
    if x.ndim not in (3, 4):
        raise OutsideError(f"{x.ndim - 2} spatial axes")
    return x.ndim - 2


def pairs(pads):
    """(before, after) per axis of ONNX's list of all befores and all afters."""
    half = len(pads) // 2
    return list(zip(pads[:half], pads[half:], strict=True))


def padding(attributes, axes):
    rule = attributes.pop("auto_pad", b"NOTSET").decode()
    pads = attributes.pop("pads", [0] * 2 * axes)
    rules = {"SAME_UPPER": "same", "SAME_LOWER": "same_lower", "VALID": "valid"}
    return rules[rule] if rule in rules else pairs(pads)


def window_options(attributes, axes):
    return {
        "padding": padding(attributes, axes),
        "stride": attributes.pop("strides", [1] * axes),
        "dilation": attributes.pop("dilations", [1] * axes),
        "layout": {1: "NCW", 2: "NCHW"}[axes],
    }


# --------------------------------------------------------------------------------------- operators
# Each takes its attributes out of the dict and returns the outputs.


def conv(attributes, x, w, bias=None):
    axes = spatial_axes(x)
    assert list(w.shape[2:]) == list(attributes.pop("kernel_shape", w.shape[2:]))
    options = window_options(attributes, axes)
    groups = attributes.pop("group", 1)
    return [getattr(lw, f"conv{axes}d")(x, w, bias, groups=groups, **options)]


def conv_transpose(attributes, x, w, bias=None):
    """One spatial axis is the second of two, the first having length 1."""
    axes = spatial_axes(x)
    window = w.shape[2:]
    assert list(window) == list(attributes.pop("kernel_shape", window))
    stride = attributes.pop("strides", [1] * axes)
    dilation = attributes.pop("dilations", [1] * axes)
    extra = list(attributes.pop("output_padding", [0] * axes))
    rule = attributes.pop("auto_pad", b"NOTSET").decode()
    pads = pairs(attributes.pop("pads", [0] * 2 * axes))
    shape = attributes.pop("output_shape", None)
    if rule in ("SAME_UPPER", "SAME_LOWER"):
        shape = shape or [n * s for n, s in zip(x.shape[2:], stride, strict=True)]
    if shape:  # the padding that leads there; where it is negative, rows are added instead
        for a in range(axes):
            reach = (x.shape[2 + a] - 1) * stride[a] + (window[a] - 1) * dilation[a] + 1
            total = reach + extra[a] - shape[a]
            extra[a] += max(-total, 0)
            total = max(total, 0)
            before = total // 2 if rule == "SAME_UPPER" else total - total // 2
            pads[a] = (before, total - before)
    if axes == 1:
        x, w = x[:, :, None], w[:, :, None]
        stride, dilation, extra, pads = [1, *stride], [1, *dilation], [0, *extra], [(0, 0), *pads]
    y = lw.conv_transpose2d(
        x,
        w,
        bias,
        stride=stride,
        padding=pads,
        output_padding=extra,
        dilation=dilation,
        groups=attributes.pop("group", 1),
        layout="NCHW",
    )
    return [y[:, :, 0] if axes == 1 else y]


def max_pool(attributes, x, outputs):
    axes = spatial_axes(x)
    options = window_options(attributes, axes)
    options["ceil_mode"] = bool(attributes.pop("ceil_mode", 0))
    column_major = attributes.pop("storage_order", 0)
    pool = getattr(lw, f"max_pool{axes}d")
    window = attributes.pop("kernel_shape")
    if outputs == 1:
        return [pool(x, window, **options)]
    y, indices = pool(x, window, return_indices=True, **options)
    # ONNX counts across the planes too.
    plane = x.shape[2:]
    if column_major:
        indices = np.ravel_multi_index(np.unravel_index(indices, plane)[::-1], plane[::-1])
    planes = np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], *[1] * axes)
    return [y, planes * int(np.prod(plane)) + indices]


def average_pool(attributes, x):
    axes = spatial_axes(x)
    options = window_options(attributes, axes)
    options["ceil_mode"] = bool(attributes.pop("ceil_mode", 0))
    options["count_include_pad"] = bool(attributes.pop("count_include_pad", 0))
    return [getattr(lw, f"avg_pool{axes}d")(x, attributes.pop("kernel_shape"), **options)]


def reduce_log_sum_exp(attributes, x, axes=()):
    assert len(axes) or not attributes.pop("noop_with_empty_axes", 0)
    keepdims = bool(attributes.pop("keepdims", 1))
    axis = tuple(int(a) for a in axes) or tuple(range(x.ndim))
    return [lw.logsumexp(x, axis, keepdims=keepdims)]


def softmax_cross_entropy(attributes, x, target, weight=None, outputs=1):
    """The classes are axis 1; the second output is log_softmax."""
    loss = lw.cross_entropy(
        x,
        target,
        axis=1,
        weight=weight,
        ignore_index=attributes.pop("ignore_index", None),
        reduction=attributes.pop("reduction", b"mean").decode(),
    )
    return [loss, lw.log_softmax(x, 1)][:outputs]


OPERATORS = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalMaxPool": lambda _, x: [lw.global_max_pool2d(x, layout="NCHW")],
    "GlobalAveragePool": lambda _, x: [lw.global_avg_pool2d(x, layout="NCHW")],
    "Softmax": lambda attributes, x: [lw.softmax(x, attributes.pop("axis", -1))],
    "LogSoftmax": lambda attributes, x: [lw.log_softmax(x, attributes.pop("axis", -1))],
    "ReduceLogSumExp": reduce_log_sum_exp,
    "SoftmaxCrossEntropyLoss": softmax_cross_entropy,
}


def compute(case, inputs, outputs):
    (node,) = case.model.graph.node
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    several = node.op_type in ("MaxPool", "SoftmaxCrossEntropyLoss")
    options = {"outputs": len(outputs)} if several else {}
    results = OPERATORS[node.op_type](attributes, *inputs, **options)
    assert not attributes, f"{case.name}: {attributes} had no effect"
    return results


# -------------------------------------------------------------------------------------------- tests


@pytest.fixture(scope="module")
def cases():
    """The suite's cases by operator: models of one node, of the operators' present meanings."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other operators' cases
        everything = collect_testcases()
    found = {op: [] for op in OPERATORS}
    for case in everything:
        nodes = case.model.graph.node
        if len(nodes) == 1 and nodes[0].op_type in OPERATORS:
            (version,) = [o.version for o in case.model.opset_import if o.domain in ("", "ai.onnx")]
            assert version >= 13  # from there on Softmax has one axis
            found[nodes[0].op_type].append(case)
    return found


@pytest.mark.parametrize("op", OPERATORS)
def test_conformance(cases, op):
    assert cases[op]
    for case in cases[op]:
        if case.name in OUTSIDE:
            continue
        for inputs, expected in case.data_sets:
            results = compute(case, inputs, expected)
            for result, wanted in zip(results, expected, strict=True):
                assert result.dtype == wanted.dtype, case.name
                np.testing.assert_allclose(result, wanted, case.rtol, case.atol, err_msg=case.name)


def test_nothing_else_is_left_out(cases):
    outside = {}
    for case in itertools.chain(*cases.values()):
        for inputs, expected in case.data_sets:
            try:
                compute(case, inputs, expected)
            except OutsideError as reason:
                outside[case.name] = str(reason)
    assert outside == OUTSIDE
