"""``python -m lanewise demo``: every op on real data, next to the NumPy that people write today."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import lanewise as lw

_say = functools.partial(print, flush=True)  # so that a pipe sees each part as it ends


def main(out: Path) -> int:
    """Run the demo, draw its picture to `out` and return the exit code."""
    try:
        import matplotlib  # noqa: F401
        import PIL  # noqa: F401
        import sklearn  # noqa: F401
    except ImportError as error:
        print(f'lanewise demo: {error}: pip install "lanewise[demo]"', file=sys.stderr)
        return 1
    if not out.parent.is_dir():
        print(f"lanewise demo: there is no folder {out.parent}", file=sys.stderr)
        return 1
    try:
        _run(out)
    except (AssertionError, OSError) as error:  # results that disagree; a file not written
        print(f"lanewise demo: {error}", file=sys.stderr)
        return 1
    return 0


def _run(out: Path) -> None:
    from . import digits, photo, sheet
    from .timing import Comparison

    settings = lw.config()
    threads = f"{settings['threads']} thread{'s' * (settings['threads'] > 1)}"
    machine = f"{settings['simd']}, {threads}, NumPy {settings['numpy']}"
    _say(f"lanewise {settings['version']}  ({machine})")
    comparisons: list[Comparison] = []

    def tell(*found: Comparison) -> None:
        for one in found:
            _say(f"  {one}")
        comparisons.extend(found)

    split = digits.load()
    _say("\nHandwritten digits, by their nearest neighbour")
    neighbours = digits.nearest_neighbours(split)
    mistakes = len(neighbours.mistakes)
    _say(f"  {len(split.test_x)} unseen digits against {len(split.train_x)} known ones")
    _say(f"  accuracy {100 * neighbours.accuracy:.1f} %, {mistakes} mistakes")
    tell(neighbours.comparison)

    _say("\nHandwritten digits, by softmax regression")
    regression = digits.softmax_regression(split)
    _say(f"  {len(regression.train_loss)} steps of gradient descent on {len(split.train_x)} digits")
    _say(f"  accuracy {100 * regression.accuracy:.1f} %, loss {regression.test_loss[-1]:.3f}")
    tell(regression.comparison)

    _say("\nA photograph, through a bank of filters")
    picture = photo.filter_and_pool()
    height, width, _ = picture.image.shape
    _say(f"  {width} x {height} pixels, {photo.BANK.shape[-1]} filters of 7 x 7 x 3")
    tell(*picture.comparisons)

    sheet.draw(out, machine, split, neighbours, regression, picture, comparisons)
    _say("\nAll results agree with NumPy's within the bounds of their rounding errors.")
    _say(f"picture  {out.resolve()}")
    _say(f"         {sheet.WIDTH} x {sheet.HEIGHT} pixels, {out.stat().st_size / 1e6:.1f} MB")
