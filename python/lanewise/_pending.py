"""Names of the contract that are not there yet: calling one says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

NAMES = frozenset(
    """
    conv1d_backward conv2d_backward conv_transpose2d_backward
    """.split()  # noqa: SIM905
)


def placeholder(name: str) -> Callable[..., NoReturn]:
    """A function that raises NotImplementedError in the name of `name`."""

    def function(*args: Any, **options: Any) -> NoReturn:
        raise NotImplementedError(f"lanewise.{name} is not there yet")

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"`{name}` is part of the contract and not there yet."
    return function
