"""The command line: ``graphc demo`` and ``graphc info``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

DEMOS = ("neuron", "xor", "digits", "fashion-mnist", "house-prices")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status."""
    options = _parser().parse_args(argv)
    from graphc.demo.data import DataError
    from graphc.errors import GraphcError

    run: Callable[[Any], int] = options.run
    try:
        return run(options)
    except (DataError, GraphcError, OSError) as error:
        print(f"graphc: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ngraphc: stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="graphc", description="A compiler for static graphs, forward and backward.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        help="train a network of the tutorials",
        description="Trains a network of the tutorials and shows how it goes.",
        epilog="graphc demo                                      scans of digits that scikit-learn ships\n"
        "graphc demo fashion-mnist --data DIR --epochs 50   the four IDX files of Fashion-MNIST",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    demo.add_argument("which", nargs="?", default="digits", choices=DEMOS, help="default: digits")
    demo.add_argument("--data", type=Path, metavar="DIR", help="where the data files are (fashion-mnist, house-prices)")
    demo.add_argument("--epochs", type=_positive, metavar="N", help="passes over the data")
    demo.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    demo.add_argument("--seed", type=int, default=0, help="of first weights and order (default 0)")
    demo.add_argument("--compare", choices=["torch"], help="time the same network in PyTorch, in the same run")
    demo.set_defaults(run=_demo)
    info = commands.add_parser("info", help="versions, processor, cache")
    info.set_defaults(run=_info)
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected an int of at least 1, found {text}")
    return value


def _demo(options: Any) -> int:
    from graphc.demo import runs

    result = runs.RUNS[options.which](options)
    if options.json is not None:
        _write(options.json, json.dumps(result, indent=1) + "\n")
    return 0


def _write(path: Path, text: str) -> None:
    """The whole text or the file as it was."""
    temporary = path.with_name(path.name + f".{os.getpid()}.tmp")
    try:
        temporary.write_text(text)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _info(options: Any) -> int:
    import platform

    import llvmlite
    import networkx
    import numba
    import numpy
    import scipy
    from numba.core.registry import cpu_target

    from graphc.config import __version__, settings

    cache = settings().cache_dir
    files = [p for p in cache.rglob("*") if p.is_file()] if cache.exists() else []
    rows = {
        "graphc": __version__,
        "python": platform.python_version(),
        "numba": f"{numba.__version__} (llvmlite {llvmlite.__version__})",
        "numpy": numpy.__version__,
        "scipy": f"{scipy.__version__} (its BLAS is used, on one thread)",
        "networkx": networkx.__version__,
        "processor": cpu_target.target_context.codegen().magic_tuple()[1],
        "processors": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "cache": f"{cache} ({len(files)} files, {sum(p.stat().st_size for p in files) / 1e6:.1f} MB)",
    }
    for key, value in rows.items():
        print(f"{key:<12}{value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
