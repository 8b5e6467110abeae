"""Tables as plain text."""

from __future__ import annotations


def aligned(cells: list[str], widths: list[int]) -> str:
    """The first cell to the left, the others to the right, the last one as long as it is."""
    middle = (f"{text:>{width}}" for text, width in zip(cells[1:-1], widths[1:], strict=True))
    return "  ".join([f"{cells[0]:{widths[0]}}", *middle, cells[-1]])


def table(rows: list[list[str]]) -> str:
    """Rows whose columns are as wide as they need to be."""
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    return "\n".join(aligned(row, widths).rstrip() for row in rows)
