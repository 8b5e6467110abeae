"""Cross-entropy, the loss of a classifier, with its gradient."""

from __future__ import annotations

import operator
from typing import Any, Literal, SupportsIndex, overload

import numpy as np
from numpy.typing import ArrayLike

from . import _core
from ._array import Array, as_array
from .softmax import Axis

_OP = "cross_entropy"


@overload
def cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    axis: Axis = ...,
    weight: ArrayLike | None = ...,
    ignore_index: SupportsIndex | None = ...,
    label_smoothing: float = ...,
    reduction: str = ...,
    from_probs: bool = ...,
    return_grad: Literal[False] = ...,
) -> Array: ...


@overload
def cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    axis: Axis = ...,
    weight: ArrayLike | None = ...,
    ignore_index: SupportsIndex | None = ...,
    label_smoothing: float = ...,
    reduction: str = ...,
    from_probs: bool = ...,
    return_grad: Literal[True],
) -> tuple[Array, Array]: ...


def cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    axis: Axis = -1,
    weight: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    from_probs: bool = False,
    return_grad: bool = False,
) -> Array | tuple[Array, Array]:
    """Cross-entropy between a target and the softmax of logits, and its gradient.

    With the class weights w, e = `label_smoothing`, and the target t, which for a class index is 1
    at that class and 0 elsewhere, the loss of a row of C classes, and its gradient, are::

        q_c  = w_c·((1 − e)·t_c + e/C)
        loss = Σ q_c·(log Σ exp(x) − x_c)        gradient  softmax(x)_c·Σ q − q_c
        loss = −Σ q_c·log x_c                    gradient  −q_c / x_c         with `from_probs`

    where a class of q = 0 adds nothing. The logarithm of the sum is taken as in `log_softmax`: the
    loss of a row that is almost certain, and right, keeps its digits, and so does the gradient for
    a class index without smoothing. An infinite logit below 0 is a probability of 0; a NaN, a +inf,
    or nothing but −inf in a row makes its loss and its gradient NaN.

    Parameters
    ----------
    logits : array_like, any shape
        With `from_probs`, probabilities. float16 and bfloat16 are computed in float32; float32 and
        float64 keep their dtype; integers and bool become float64.
    target : array_like
        Integers are class indices, in the shape of `logits` without `axis`. Floating-point numbers
        are probabilities of the classes, in the shape of `logits`, and promote with it.
    axis : int or tuple of ints, default -1
        The axis of the classes. With a target of probabilities, several axes may be the classes as
        if they were one.
    weight : array_like, shape (C,), optional
        A weight for each class. It is read in the dtype that is computed in, and promotes nothing.
    ignore_index : int, optional
        Rows whose class index this is have loss 0 and gradient 0, whatever they hold. It need not
        be a class.
    label_smoothing : float, default 0.0
        e, from 0 to 1: which share of the target goes to all classes alike.
    reduction : {"mean", "sum", "none"}, default "mean"
        What becomes of the losses of rows. The mean of class indices is weighted, and divides by
        the sum of the weights of the classes met; the mean of probabilities divides by the number
        of rows. The mean of nothing is NaN, and its sum 0.
    from_probs : bool, default False
        Whether `logits` are probabilities already, as `softmax` returns them.
    return_grad : bool, default False
        Also return the gradient.

    Returns
    -------
    loss : ndarray, shape (), or that of the rows with "none"
        In the dtype of `logits`, or with probabilities ``np.result_type(logits, target)``; integers
        and bool become float64. Rows are summed in float64, in blocks of 4096 in the order of their
        axes, so that a sum does not depend on threads or strides.
    gradient : ndarray, shape of `logits`
        Only with `return_grad`: the derivatives of the loss by `logits`, in the dtype of the loss.
        With "none", those of the sum.

    Raises
    ------
    numpy.exceptions.AxisError
        If `logits` has no such axis.
    IndexError
        A class index that is neither a class nor `ignore_index`: the first one is named.
    ValueError
        Shapes that do not fit, several axes with class indices, an axis given twice,
        `ignore_index` with probabilities, `label_smoothing` outside [0, 1], or an unknown
        `reduction`.
    TypeError
        Complex, object or other non-numeric input, a target of bool, or an axis or `ignore_index`
        that is no integer.

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> logits = np.log([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]])
    >>> lw.cross_entropy(logits, [0, 2], reduction="none").round(6)
    array([0.693147, 2.079442])
    >>> loss, gradient = lw.cross_entropy(logits, [0, -1], ignore_index=-1, return_grad=True)
    >>> gradient
    array([[-0.5 ,  0.25,  0.25],
           [ 0.  ,  0.  ,  0.  ]])
    >>> lw.cross_entropy([40.0, 0.0], 0)
    array(4.24835426e-18)
    """
    target = as_array(_OP, "target", target)
    if target.dtype.kind == "b":
        raise TypeError(f"{_OP}: target has dtype bool, expected class indices or probabilities")
    if target.dtype.kind in "iu" and isinstance(axis, tuple):
        raise ValueError(f"{_OP}: axis is {axis!r}, expected one int for class indices")
    ignored = None if ignore_index is None else _ignored(ignore_index, target.dtype)
    smoothing = _smoothing(label_smoothing)
    return _core.cross_entropy(
        logits, target, axis, weight, ignored, smoothing, reduction, from_probs, return_grad
    )


def _ignored(ignore_index: SupportsIndex, dtype: np.dtype[Any]) -> int | None:
    """The bits of a label of this dtype that is ignored, as an int64; None if there is no such."""
    try:
        index = operator.index(ignore_index)
    except TypeError:
        raise TypeError(f"{_OP}: ignore_index is {ignore_index!r}, expected an int") from None
    if dtype.kind not in "iu":
        raise ValueError(f"{_OP}: ignore_index is for class indices, but target has dtype {dtype}")
    limits = np.iinfo(dtype)
    if not limits.min <= index <= limits.max:
        return None
    return index - 2**64 if index >= 2**63 else index


def _smoothing(label_smoothing: float) -> float:
    try:
        smoothing = float(label_smoothing)
    except (TypeError, ValueError):
        raise TypeError(
            f"{_OP}: label_smoothing is {label_smoothing!r}, expected a number"
        ) from None
    if not 0 <= smoothing <= 1:
        raise ValueError(f"{_OP}: label_smoothing is {label_smoothing!r}, expected 0 to 1")
    return smoothing
