"""Names of the contract that are not there yet: calling one says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

NAMES = frozenset(
    """
    conv1d conv1d_backward conv2d_algorithm conv2d_backward conv_transpose2d
    conv_transpose2d_backward pack_filter set_conv_algorithm
    avg_pool1d avg_pool2d avg_pool2d_backward global_avg_pool2d global_max_pool2d max_pool1d
    max_pool2d_backward min_pool1d min_pool2d
    cross_entropy logsumexp softmax_jacobian
    nearest_neighbors pairwise_argmin pairwise_distances_backward radius_neighbors
    release_pool set_pool_limit
    """.split()  # noqa: SIM905
)


def placeholder(name: str) -> Callable[..., NoReturn]:
    """A function that raises NotImplementedError in the name of `name`."""

    def function(*args: Any, **options: Any) -> NoReturn:
        raise NotImplementedError(f"lanewise.{name} is not there yet")

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"`{name}` is part of the contract and not there yet."
    return function
