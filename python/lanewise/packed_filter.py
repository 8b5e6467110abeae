"""Filters that are packed once, for many convolutions."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex, cast, final

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from . import _core
from ._array import Array, as_array
from ._window import Layout1d, Layout2d, Padding, PerAxis

_OP = "pack_filter"
_WITHOUT_HEIGHT = {"NHWC": "NWC", "NCHW": "NCW"}
_LAYOUTS = {1: ("NWC", "NCW"), 2: ("NHWC", "NCHW")}


@final
class PackedFilter(_core.PackedFilter):
    """Filters in the form that convolutions read them in; `pack_filter` makes them.

    It is accepted wherever `w` is, and gives the same bits. It holds a copy of `w` and, from the
    first call that needs it, the form that the call's algorithm reads; each form once for every
    type that is computed in and every SIMD target. Any number of threads may use it at once, a
    first use included. It is immutable; a copy of it is itself. pickle keeps `w` and the options,
    and what comes back packs again.

    Parameters
    ----------
    w, groups, layout, flip
        As for `pack_filter`.

    Attributes
    ----------
    shape : tuple of int
        Of `w`.
    dtype : numpy.dtype
        Of `w`.
    groups : int
        That calls must give.
    layout : {"NHWC", "NCHW", "NWC", "NCW"}
        That calls must give.
    flip : bool
        That calls must give.
    nbytes : int
        Memory of the copy of `w` and of all forms until now.

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> lw.pack_filter(np.ones((3, 3, 4, 16), np.float32))
    PackedFilter(shape=(3, 3, 4, 16), dtype=float32, groups=1, layout='NHWC', flip=False, \
nbytes=2304)
    """

    __slots__ = ("_dtype", "_flip", "_groups", "_layout", "_shape", "_spatial")

    def __init__(
        self,
        w: ArrayLike,
        *,
        groups: SupportsIndex = 1,
        layout: Layout1d | Layout2d = "NHWC",
        flip: bool = False,
    ) -> None:
        w = as_array(_OP, "w", w)
        self._shape, self._dtype = w.shape, w.dtype
        self._groups, self._flip = _group_count(groups), bool(flip)
        self._spatial = 1 if w.ndim == 3 or layout in ("NWC", "NCW") else 2
        self._layout: str = _WITHOUT_HEIGHT.get(layout, layout) if w.ndim == 3 else layout
        if self._layout not in _LAYOUTS[self._spatial]:
            names = " or ".join(map(repr, _LAYOUTS[self._spatial]))
            raise ValueError(f"{_OP}: layout is {layout!r}, expected {names}")
        axes = self._spatial + 2
        if w.ndim not in (axes, axes + 1):
            raise ValueError(
                f"{_OP}: w has shape {w.shape}, expected {axes} axes in layout {self._layout!r}, "
                f"or {axes + 1} with a bank of filters per image; 3 axes are conv1d's"
            )
        filters = w.ndim - 1 if self._layout.endswith("C") else w.ndim - axes
        if self._groups > 0 and w.shape[filters] % self._groups != 0:
            raise ValueError(
                f"{_OP}: groups={self._groups} does not divide the {w.shape[filters]} filters of w "
                f"(shape {w.shape}, layout {self._layout!r})"
            )
        super().__init__(w, self._groups, self._layout, self._spatial, self._flip)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of `w`."""
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type of `w`."""
        return self._dtype

    @property
    def groups(self) -> int:
        """The `groups` of calls."""
        return self._groups

    @property
    def layout(self) -> str:
        """The `layout` of calls."""
        return self._layout

    @property
    def flip(self) -> bool:
        """The `flip` of calls."""
        return self._flip

    def unpacked(self) -> Array:
        """A copy of `w`."""
        w = np.empty(self._shape, self._dtype)
        self.read(w)
        return w

    def astype(self, dtype: DTypeLike) -> PackedFilter:
        """The same filters in another type; nothing but `w` is taken along."""
        return self._options()(self.unpacked().astype(dtype))

    def _options(self) -> Callable[[ArrayLike], PackedFilter]:
        layout = cast(Layout2d, self._layout)
        return functools.partial(PackedFilter, groups=self._groups, layout=layout, flip=self._flip)

    def _pack_for(
        self, x_shape: Sequence[SupportsIndex], stride: PerAxis, padding: Padding, dilation: PerAxis
    ) -> None:
        try:
            sizes = tuple(operator.index(size) for size in x_shape)
        except TypeError:
            sizes = (-1,)
        if any(size < 0 for size in sizes):
            raise ValueError(f"{_OP}: x_shape is {x_shape!r}, expected sizes of at least 0")
        pack = _core.pack_for_conv2d if self._spatial == 2 else _core.pack_for_conv1d
        pack(self, sizes, stride, padding, dilation, self._groups, self._layout, self._flip)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._options(), (self.unpacked(),)

    def __copy__(self) -> PackedFilter:
        return self

    def __deepcopy__(self, memo: object) -> PackedFilter:
        return self

    def __repr__(self) -> str:
        return (
            f"PackedFilter(shape={self._shape}, dtype={self._dtype}, groups={self._groups}, "
            f"layout={self._layout!r}, flip={self._flip}, nbytes={self.nbytes})"
        )


def _group_count(groups: SupportsIndex) -> int:
    try:
        return operator.index(groups)
    except TypeError:
        raise TypeError(f"{_OP}: groups is {groups!r}, expected an int") from None


def pack_filter(
    w: ArrayLike,
    *,
    groups: SupportsIndex = 1,
    layout: Layout1d | Layout2d = "NHWC",
    flip: bool = False,
    x_shape: Sequence[SupportsIndex] | None = None,
    stride: PerAxis = 1,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
) -> PackedFilter:
    """Filters packed once, for many calls of `conv2d`, `conv1d` or `conv_transpose2d`.

    A convolution first brings its filters into the form that its algorithm reads: panels of output
    channels, or Winograd's transforms. Where the same filters meet many small images, this is a
    large part of each call. A `PackedFilter` is accepted wherever `w` is, does it once, and gives
    the same bits.

    Parameters
    ----------
    w : array_like
        Filters, as the convolution takes them, banks included. They are copied, so that later
        changes of `w` do not matter.
    groups : int, default 1
        As for `conv2d`. Calls must give the same `groups`, `layout` and `flip`, or leave out what
        is the default in both places; anything else is a ValueError.
    layout : {"NHWC", "NCHW", "NWC", "NCW"}
        As for `conv2d` or `conv1d`. Three axes are `conv1d`'s, and "NHWC" means "NWC" then; its
        banks need "NWC" or "NCW".
    flip : bool, default False
        As for `conv2d`.
    x_shape : sequence of int, optional
        Shape of the images to come, for whose `conv2d` or `conv1d` the filters are packed now:
        `w`'s dtype, contiguous, and with these options. Without it, and for any other image, they
        are packed when a call needs it.
    stride, padding, dilation
        As for `conv2d`; only used with `x_shape`.

    Returns
    -------
    PackedFilter
        With the attributes `shape`, `dtype`, `groups`, `layout`, `flip` and `nbytes`.

    Raises
    ------
    ValueError
        Shapes or options that do not fit.
    TypeError
        A `w` that is not of real numbers.

    Notes
    -----
    Only the filters are decided here: stride, padding and everything else are each call's own, and
    "auto" chooses the algorithm as it does for `w`. The dtype of a result is
    ``np.result_type(x, w)``, and each type that is computed in has its own form; so have filters of
    8 bits for images of 8 bits. A `dtype` of the call that does not hold `w`'s values makes it cast
    and pack `w` again: pack the dtype that you compute in.

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> w = np.ones((3, 3, 4, 16), np.float32)
    >>> packed = lw.pack_filter(w, x_shape=(1, 8, 8, 4), padding="same")
    >>> x = np.arange(256, dtype=np.float32).reshape(1, 8, 8, 4)
    >>> y = lw.conv2d(x, packed, padding="same")
    >>> np.array_equal(y, lw.conv2d(x, w, padding="same"))
    True
    >>> lw.conv2d(x, packed, groups=2)
    Traceback (most recent call last):
        ...
    ValueError: conv2d: groups is 2, but w was packed with groups=1
    """
    packed = PackedFilter(w, groups=groups, layout=layout, flip=flip)
    if x_shape is not None:
        packed._pack_for(x_shape, stride, padding, dilation)
    return packed
