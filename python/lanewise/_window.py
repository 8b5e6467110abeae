"""Types of stride, padding and layout, which convolution and pooling share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, SupportsIndex, TypeAlias

PerAxis: TypeAlias = SupportsIndex | Sequence[SupportsIndex]
Padding: TypeAlias = str | SupportsIndex | Sequence[SupportsIndex | Sequence[SupportsIndex]]

Layout2d: TypeAlias = Literal["NHWC", "NCHW"]
Layout1d: TypeAlias = Literal["NWC", "NCW"]
