"""Spellings of stride, padding and layout that convolution and pooling share."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Literal, SupportsIndex, TypeAlias, cast

from . import _core

PerAxis: TypeAlias = SupportsIndex | Sequence[SupportsIndex]
Padding: TypeAlias = str | SupportsIndex | Sequence[SupportsIndex | Sequence[SupportsIndex]]

Layout2d: TypeAlias = Literal["NHWC", "NCHW"]
Layout1d: TypeAlias = Literal["NWC", "NCW"]

_LAYOUTS = {
    1: {"NWC": _core.Layout.NHWC, "NCW": _core.Layout.NCHW},
    2: {"NHWC": _core.Layout.NHWC, "NCHW": _core.Layout.NCHW},
}
_RULES = {
    "same": _core.PaddingRule.SAME,
    "same_lower": _core.PaddingRule.SAME_LOWER,
    "full": _core.PaddingRule.FULL,
}
_VALID = (_core.PaddingRule.EXPLICIT, (0, 0), (0, 0))


def layout_code(op: str, layout: str, spatial: int = 2) -> _core.Layout:
    """The core's name of a layout of data with this many spatial axes."""
    code = _LAYOUTS[spatial].get(layout)
    if code is None:
        raise ValueError(
            f"{op}: layout is {layout!r}, expected {' or '.join(map(repr, _LAYOUTS[spatial]))}"
        )
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


def per_axis(op: str, name: str, value: PerAxis, spatial: int = 2) -> tuple[int, int]:
    """An int for all spatial axes, or one int for each; a single axis is the width."""
    if type(value) is int and -(2**63) < value < 2**63:
        return (value, value) if spatial == 2 else (1, value)
    try:
        if spatial == 2:
            return _pair(value)
        try:
            return 1, _integer(value)
        except TypeError:
            (width,) = cast(Iterable[object], value)
            return 1, _integer(width)
    except (TypeError, ValueError):
        raise ValueError(
            f"{op}: {name} is {value!r}, expected an int or one int per spatial axis"
        ) from None


def group_count(op: str, groups: SupportsIndex) -> int:
    """`groups` as an int; TypeError where it is none."""
    try:
        return operator.index(groups)
    except TypeError:
        raise TypeError(f"{op}: groups is {groups!r}, expected an int") from None


def padding_code(
    op: str, padding: Padding, spatial: int = 2
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
            columns = cast(object, _integer(padding))
            rows = columns if spatial == 2 else 0
        except TypeError:
            entries = tuple(cast(Iterable[object], padding))
            rows, columns = entries if spatial == 2 else (0, *entries)
        (top, bottom), (left, right) = _pair(rows), _pair(columns)
        return _core.PaddingRule.EXPLICIT, (top, left), (bottom, right)
    except (TypeError, ValueError):
        raise ValueError(
            f"{op}: padding is {padding!r}, expected a name, an int, or one int or (before, after) "
            "per spatial axis"
        ) from None
