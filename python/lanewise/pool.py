"""Pooling over windows of images and signals."""
# ruff: noqa: D417 - the sections about arguments are put in by _documented

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, overload

from numpy.typing import ArrayLike

from . import _core
from ._array import Array
from ._window import Layout1d, Layout2d, Padding, PerAxis

if TYPE_CHECKING:
    from typing_extensions import Unpack

# -------------------------------------------------- what the docstrings below have in common

_SECTIONS = {
    "x": """x : array_like, shape {shape}
        {Images}; without the batch axis N the result is without it too. Any integer, bool, float16,
        bfloat16, float32 or float64.""",
    "window": """window : {size}
        {Size} of the window.
    stride : {size}, optional
        Steps between windows. The default is `window`.
    padding : str, int, or {entries}, default "valid"
        "valid" is none, "same" gives ``ceil(size / stride)`` outputs with the odd element at the
        end, "same_lower" with the odd one at the beginning.
    dilation : {size}, default 1
        Steps between the window's elements.
    ceil_mode : bool, default False
        Keep a last, partial window that starts in the {image} or the padding before it.""",
    "layout": """layout : {{"{last}", "{first}"}}, default "{last}"
        The order of the axes of `x` and the result.""",
    "nan": """return_indices : bool, default False
        Also return where the winners are.
    nan_policy : {{"propagate", "omit"}}, default "propagate"
        With "propagate" a NaN in the window gives NaN; with "omit" NaN are ignored, and only a
        window of nothing else gives NaN.""",
    "count": """count_include_pad : bool, default False
        Divide by the number of elements of the window that lie in the padded {image}, instead of
        those in the {image}. What `ceil_mode` reaches beyond the padding is never counted.""",
    "out": """out : ndarray, shape and dtype of the result, optional
        Where to put the result. It must not overlap `x`.""",
    "winners": """values : ndarray, shape {result}
        In ``x.dtype``.
    indices : ndarray of int64, shape of `values`
        Only with `return_indices`: the winner's {index} (of equal elements the first in
        row-major order, and of NaN where one wins the first).""",
    "averages": """ndarray, shape {result}
        In ``x.dtype``, or float64 if that is an integer or bool. float16 and bfloat16 are summed
        in float32 and rounded once.""",
    "raises": """ValueError
        Shapes or options that do not fit, a window that would hold nothing but padding, or an
        `out` that cannot hold the result.
    TypeError
        Complex, object or other non-numeric input, or an `out` of another dtype.""",
}
_WORDS = {
    1: {
        "shape": '(N, W, C), or (N, C, W) with `layout` "NCW"',
        "result": "(N, OW, C), or (N, C, OW)",
        "index": "place ``w``",
        "image": "signal",
        "Images": "Signals",
        "size": "int",
        "Size": "Length",
        "entries": "[int] or [(before, after)]",
        "last": "NWC",
        "first": "NCW",
    },
    2: {
        "shape": '(N, H, W, C), or (N, C, H, W) with `layout` "NCHW"',
        "result": "(N, OH, OW, C), or (N, C, OH, OW)",
        "index": "place ``h * W + w`` in its plane",
        "image": "image",
        "Images": "Images",
        "size": "int or (int, int)",
        "Size": "Height and width",
        "entries": "one int or (before, after) per spatial axis",
        "last": "NHWC",
        "first": "NCHW",
    },
}
_F = TypeVar("_F", bound=Callable[..., Any])


def _documented(axes: int) -> Callable[[_F], _F]:
    """Puts the sections above in the place of their names in a docstring."""
    sections = {name: text.format(**_WORDS[axes]) for name, text in _SECTIONS.items()}

    def decorate(function: _F) -> _F:
        if function.__doc__ is not None:  # as it is under python -OO
            function.__doc__ = function.__doc__.format(**sections)
        return function

    return decorate


# ------------------------------------------------------------------------------- two spatial axes


class _WinnerOptions(TypedDict, total=False):
    stride: PerAxis | None
    padding: Padding
    dilation: PerAxis
    ceil_mode: bool
    nan_policy: str
    out: Array | None


class _WinnerOptions2d(_WinnerOptions, total=False):
    layout: Layout2d


class _WinnerOptions1d(_WinnerOptions, total=False):
    layout: Layout1d


@overload
def max_pool2d(
    x: ArrayLike,
    window: PerAxis,
    *,
    return_indices: Literal[False] = ...,
    **options: Unpack[_WinnerOptions2d],
) -> Array: ...
@overload
def max_pool2d(
    x: ArrayLike,
    window: PerAxis,
    *,
    return_indices: Literal[True],
    **options: Unpack[_WinnerOptions2d],
) -> tuple[Array, Array]: ...
@_documented(axes=2)
def max_pool2d(
    x: ArrayLike,
    window: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
    layout: Layout2d = "NHWC",
    return_indices: bool = False,
    nan_policy: str = "propagate",
    out: Array | None = None,
) -> Array | tuple[Array, Array]:
    """The largest element in each position of a window that slides over images.

    ``out[n, i, j, c] = max over r, s of x[n, i·stride − before + r·dilation,
    j·stride − before + s·dilation, c]``, as far as these lie in the image: padding never wins.

    Parameters
    ----------
    {x}
    {window}
    {layout}
    {nan}
    {out}

    Returns
    -------
    {winners}

    Raises
    ------
    {raises}

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> x = np.arange(16, dtype=np.float32).reshape(4, 4, 1)
    >>> lw.max_pool2d(x, 2)[..., 0]
    array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    >>> values, indices = lw.max_pool2d(x, 3, stride=2, padding="same", return_indices=True)
    >>> indices[..., 0]
    array([[10, 11],
           [14, 15]])
    """
    return _core.max_pool2d(
        x, window, stride, padding, dilation, ceil_mode, layout,
        nan_policy, return_indices, out,
    )  # fmt: skip


@overload
def min_pool2d(
    x: ArrayLike,
    window: PerAxis,
    *,
    return_indices: Literal[False] = ...,
    **options: Unpack[_WinnerOptions2d],
) -> Array: ...
@overload
def min_pool2d(
    x: ArrayLike,
    window: PerAxis,
    *,
    return_indices: Literal[True],
    **options: Unpack[_WinnerOptions2d],
) -> tuple[Array, Array]: ...
@_documented(axes=2)
def min_pool2d(
    x: ArrayLike,
    window: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
    layout: Layout2d = "NHWC",
    return_indices: bool = False,
    nan_policy: str = "propagate",
    out: Array | None = None,
) -> Array | tuple[Array, Array]:
    """The smallest element in each position of a window that slides over images.

    ``out[n, i, j, c] = min over r, s of x[n, i·stride − before + r·dilation,
    j·stride − before + s·dilation, c]``, as far as these lie in the image: padding never wins.

    Parameters
    ----------
    {x}
    {window}
    {layout}
    {nan}
    {out}

    Returns
    -------
    {winners}

    Raises
    ------
    {raises}

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> x = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    >>> lw.min_pool2d(x, 2)[..., 0]
    array([[ 0,  2],
           [ 8, 10]], dtype=uint8)
    """
    return _core.min_pool2d(
        x, window, stride, padding, dilation, ceil_mode, layout,
        nan_policy, return_indices, out,
    )  # fmt: skip


@_documented(axes=2)
def avg_pool2d(
    x: ArrayLike,
    window: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    layout: Layout2d = "NHWC",
    out: Array | None = None,
) -> Array:
    """The mean of the elements in each position of a window that slides over images.

    ``out[n, i, j, c] = Σ over r, s of x[n, i·stride − before + r·dilation,
    j·stride − before + s·dilation, c] / count``, as far as these lie in the image; count is how
    many they are. Columns are summed first, in blocks of 16 elements, or of 64, 16, 4 and 1 where
    windows are long and strides short, which are then added up: nothing is ever subtracted again,
    so a NaN or inf stays within its own windows.

    Parameters
    ----------
    {x}
    {window}
    {count}
    {layout}
    {out}

    Returns
    -------
    {averages}

    Raises
    ------
    {raises}

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> x = np.arange(16, dtype=np.float32).reshape(4, 4, 1)
    >>> lw.avg_pool2d(x, 2)[..., 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]], dtype=float32)
    >>> lw.avg_pool2d(x, 3, stride=2, padding=1)[0, 0], x[:2, :2].mean()
    (array([2.5], dtype=float32), np.float32(2.5))
    """
    return _core.avg_pool2d(
        x, window, stride, padding, dilation, ceil_mode, layout, count_include_pad,
        out,
    )  # fmt: skip


@_documented(axes=2)
def global_max_pool2d(
    x: ArrayLike, *, layout: Layout2d = "NHWC", out: Array | None = None
) -> Array:
    """The largest element of each channel of images; a NaN gives NaN.

    Parameters
    ----------
    {x}
    {layout}
    {out}

    Returns
    -------
    ndarray, shape (N, 1, 1, C), or (N, C, 1, 1)
        In ``x.dtype``.

    Raises
    ------
    ValueError
        `x` with another number of axes or without a pixel, or an `out` that cannot hold the result.
    TypeError
        Complex, object or other non-numeric input, or an `out` of another dtype.

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> lw.global_max_pool2d(np.arange(12).reshape(2, 3, 2))
    array([[[10, 11]]])
    """
    return _core.global_max_pool2d(x, layout, out)


@_documented(axes=2)
def global_avg_pool2d(
    x: ArrayLike, *, layout: Layout2d = "NHWC", out: Array | None = None
) -> Array:
    """The mean of each channel of images.

    Parameters
    ----------
    {x}
    {layout}
    {out}

    Returns
    -------
    ndarray, shape (N, 1, 1, C), or (N, C, 1, 1)
        In ``x.dtype``, or float64 if that is an integer or bool. float16 and bfloat16 are summed in
        float32 and rounded once.

    Raises
    ------
    ValueError
        `x` with another number of axes or without a pixel, or an `out` that cannot hold the result.
    TypeError
        Complex, object or other non-numeric input, or an `out` of another dtype.

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> lw.global_avg_pool2d(np.arange(12).reshape(2, 3, 2))
    array([[[5., 6.]]])
    """
    return _core.global_avg_pool2d(x, layout, out)


# -------------------------------------------------------------------------------- one spatial axis


@overload
def max_pool1d(
    x: ArrayLike,
    window: PerAxis,
    *,
    return_indices: Literal[False] = ...,
    **options: Unpack[_WinnerOptions1d],
) -> Array: ...
@overload
def max_pool1d(
    x: ArrayLike,
    window: PerAxis,
    *,
    return_indices: Literal[True],
    **options: Unpack[_WinnerOptions1d],
) -> tuple[Array, Array]: ...
@_documented(axes=1)
def max_pool1d(
    x: ArrayLike,
    window: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
    layout: Layout1d = "NWC",
    return_indices: bool = False,
    nan_policy: str = "propagate",
    out: Array | None = None,
) -> Array | tuple[Array, Array]:
    """The largest element in each position of a window that slides over signals.

    ``out[n, i, c] = max over s of x[n, i·stride − before + s·dilation, c]``, as far as these lie
    in the signal: padding never wins.

    Parameters
    ----------
    {x}
    {window}
    {layout}
    {nan}
    {out}

    Returns
    -------
    {winners}

    Raises
    ------
    {raises}

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> x = np.array([3, 1, 4, 1, 5, 9], dtype=np.float32).reshape(6, 1)
    >>> values, indices = lw.max_pool1d(x, 2, return_indices=True)
    >>> values[:, 0], indices[:, 0]
    (array([3., 4., 9.], dtype=float32), array([0, 2, 5]))
    """
    return _core.max_pool1d(
        x, window, stride, padding, dilation, ceil_mode, layout,
        nan_policy, return_indices, out,
    )  # fmt: skip


@overload
def min_pool1d(
    x: ArrayLike,
    window: PerAxis,
    *,
    return_indices: Literal[False] = ...,
    **options: Unpack[_WinnerOptions1d],
) -> Array: ...
@overload
def min_pool1d(
    x: ArrayLike,
    window: PerAxis,
    *,
    return_indices: Literal[True],
    **options: Unpack[_WinnerOptions1d],
) -> tuple[Array, Array]: ...
@_documented(axes=1)
def min_pool1d(
    x: ArrayLike,
    window: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
    layout: Layout1d = "NWC",
    return_indices: bool = False,
    nan_policy: str = "propagate",
    out: Array | None = None,
) -> Array | tuple[Array, Array]:
    """The smallest element in each position of a window that slides over signals.

    ``out[n, i, c] = min over s of x[n, i·stride − before + s·dilation, c]``, as far as these lie
    in the signal: padding never wins.

    Parameters
    ----------
    {x}
    {window}
    {layout}
    {nan}
    {out}

    Returns
    -------
    {winners}

    Raises
    ------
    {raises}

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> x = np.array([3, 1, 4, 1, 5, 9], dtype=np.int16).reshape(6, 1)
    >>> lw.min_pool1d(x, 3, stride=1, padding="same")[:, 0]
    array([1, 1, 1, 1, 1, 5], dtype=int16)
    """
    return _core.min_pool1d(
        x, window, stride, padding, dilation, ceil_mode, layout,
        nan_policy, return_indices, out,
    )  # fmt: skip


@_documented(axes=1)
def avg_pool1d(
    x: ArrayLike,
    window: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    layout: Layout1d = "NWC",
    out: Array | None = None,
) -> Array:
    """The mean of the elements in each position of a window that slides over signals.

    ``out[n, i, c] = Σ over s of x[n, i·stride − before + s·dilation, c] / count``, as far as these
    lie in the signal; count is how many they are. Blocks of 16 elements, or of 64, 16, 4 and 1
    where windows are long and strides short, are summed and then added up: nothing is ever
    subtracted again, so a NaN or inf stays within its own windows.

    Parameters
    ----------
    {x}
    {window}
    {count}
    {layout}
    {out}

    Returns
    -------
    {averages}

    Raises
    ------
    {raises}

    Examples
    --------
    >>> import numpy as np, lanewise as lw
    >>> x = np.array([3, 1, 4, 1, 5, 9], dtype=np.float32).reshape(6, 1)
    >>> lw.avg_pool1d(x, 3, stride=2, padding=1)[:, 0]
    array([2., 2., 5.], dtype=float32)
    """
    return _core.avg_pool1d(
        x, window, stride, padding, dilation, ceil_mode, layout, count_include_pad,
        out,
    )  # fmt: skip
