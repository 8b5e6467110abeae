"""The command line: ``python -m lanewise info | demo [train] | bench``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from . import __version__, bench, show_config
from .demo import train_cnn


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lanewise", description=__doc__)
    parser.add_argument("--version", action="version", version=f"lanewise {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    commands.add_parser("info", help="version, compiler, SIMD targets and threads")
    demo = commands.add_parser(
        "demo", help="digits and a photograph through every op, next to plain NumPy"
    )
    demo.add_argument(
        "--out",
        type=Path,
        default=Path("lanewise-demo.png"),
        metavar="PATH",
        help="where to put the picture (default: %(default)s)",
    )
    parts = demo.add_subparsers(dest="part", metavar="[train]")
    parts.add_parser(
        "train",
        help="train a convolutional network",
        description=train_cnn.__doc__,
        parents=[train_cnn.options(add_help=False)],
    )
    timing = commands.add_parser(
        "bench", help="times of every op, as shares of what this machine can do, next to NumPy"
    )
    timing.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="how many lanewise uses (NumPy's products heed OPENBLAS_NUM_THREADS)",
    )
    timing.add_argument("--op", choices=bench.OPS, help="measure this op only")
    chosen = parser.parse_args(arguments)
    if chosen.command == "info":
        show_config()
        return 0
    if chosen.command == "bench":
        try:
            return bench.main([chosen.op] if chosen.op else bench.OPS, chosen.threads)
        except ValueError as error:  # a number of threads below 1
            print(f"lanewise bench: {error}", file=sys.stderr)
            return 1
    if chosen.part == "train":
        return train_cnn.run(chosen)
    from . import demo as show  # the only part that needs more than NumPy

    return show.main(chosen.out)


if __name__ == "__main__":
    sys.exit(main())
