"""Spellings of stride, padding and layout that convolution and pooling share."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Literal, SupportsIndex, TypeAlias, cast

from . import _core

PerAxis: TypeAlias = SupportsIndex | Sequence[SupportsIndex]
Padding: TypeAlias = str | SupportsIndex | Sequence[SupportsIndex | Sequence[SupportsIndex]]

Layout2d: TypeAlias = Literal["NHWC", "NCHW"]

_LAYOUTS = {"NHWC": _core.Layout.NHWC, "NCHW": _core.Layout.NCHW}
_RULES = {
    "same": _core.PaddingRule.SAME,
    "same_lower": _core.PaddingRule.SAME_LOWER,
    "full": _core.PaddingRule.FULL,
}
_VALID = (_core.PaddingRule.EXPLICIT, (0, 0), (0, 0))


def layout_code(op: str, layout: str) -> _core.Layout:
    """The core's name of a 2-d layout."""
    code = _LAYOUTS.get(layout)
    if code is None:
        raise ValueError(f"{op}: layout is {layout!r}, expected 'NHWC' or 'NCHW'")
    return code


def _integer(value: object) -> int:
    number = operator.index(value)  # type: ignore[arg-type]  # a TypeError is what we want
    if abs(number) >= 2**63:
        raise ValueError("does not fit in 64 bits")
    return number


def _pair(value: object) -> tuple[int, int]:
    """One integer twice, or two integers; TypeError or ValueError if neither."""
    try:
        both = _integer(value)
    except TypeError:
        first, second = cast(Iterable[object], value)
        return _integer(first), _integer(second)
    return both, both


def per_axis(op: str, name: str, value: PerAxis) -> tuple[int, int]:
    """An int for both spatial axes, or one int for each."""
    if type(value) is int and -(2**63) < value < 2**63:
        return value, value
    try:
        return _pair(value)
    except (TypeError, ValueError):
        raise ValueError(
            f"{op}: {name} is {value!r}, expected an int or one int per spatial axis"
        ) from None


def padding_code(
    op: str, padding: Padding
) -> tuple[_core.PaddingRule, tuple[int, int], tuple[int, int]]:
    """(rule, before, after) of any spelling of a padding."""
    if isinstance(padding, str):
        if padding == "valid":
            return _VALID
        rule = _RULES.get(padding)
        if rule is None:
            raise ValueError(
                f"{op}: padding is {padding!r}, expected 'valid', 'same', 'same_lower', 'full', "
                "an int, or one int or (before, after) per spatial axis"
            )
        return rule, (0, 0), (0, 0)
    try:
        try:
            rows = columns = cast(object, _integer(padding))
        except TypeError:
            rows, columns = cast(Iterable[object], padding)
        (top, bottom), (left, right) = _pair(rows), _pair(columns)
        return _core.PaddingRule.EXPLICIT, (top, left), (bottom, right)
    except (TypeError, ValueError):
        raise ValueError(
            f"{op}: padding is {padding!r}, expected a name, an int, or one int or (before, after) "
            "per spatial axis"
        ) from None
