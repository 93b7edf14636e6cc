"""The command lines of ``graphc info``, ``run``, ``export``, ``roundtrip``, ``view`` and ``cache``, and their help."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

ARRAYS = """arrays:
  x=x.npy        the array in x.npy, for the input x
  y=data.npz:y   the array called y in data.npz
  Arrays of objects are refused: nothing in a file is ever run."""


def add(commands: Any) -> None:
    """Adds them to the commands of a parser."""
    info = _command(
        commands,
        "info",
        "what a saved file holds; without FILE versions, processor, products, cache",
        "Describes a saved file: executables, inputs, outputs, state. Nothing is compiled or\n"
        "run, so a file from a stranger is safe to look at. Without FILE: versions,\n"
        "processor, what multiplies matrices and the cache, for a report of a problem.",
        "examples:\n  graphc info\n  graphc info model.gx",
    )
    info.add_argument("file", nargs="?", type=Path, metavar="FILE", help="a file written by graphc.save")
    info.set_defaults(run=_info)

    run = _command(
        commands,
        "run",
        "run an executable of a saved file on arrays in .npy and .npz files",
        "Runs an executable of a saved file on arrays in .npy and .npz files. FILE is not\n"
        "changed; where the executable updates its state, --save keeps it.",
        f"""{ARRAYS}

examples:
  graphc run model.gx x=x.npy --executable infer --out result.npz
  graphc run model.gx x=data.npz:x y=data.npz:y --executable train --save model.gx""",
    )
    _file_and_arrays(run)
    run.add_argument("--out", type=Path, metavar="FILE", help="write the outputs to FILE.npz")
    run.add_argument("--save", type=Path, metavar="FILE", help="write all executables with the new state to FILE")
    run.set_defaults(run=_later("files", "run"))

    export = _command(
        commands,
        "export",
        "write a saved file as a Python module, a C library or an ONNX model",
        "Writes executables of a saved file in another format.",
        """formats:
  python  one module that needs numba and numpy, with the same bits
  c       a directory: a library, its header, an example that runs; needs a C compiler
          here and nothing there. All executables share state, unless --name chooses one
  onnx    a model of standard operators; needs the extra onnx

examples:
  graphc export model.gx --to python -o model.py --name infer
  graphc export model.gx --to c -o model_c --cpu x86-64-v3
  graphc export model.gx --to onnx -o train.onnx --name train""",
    )
    _file(export)
    export.add_argument("--to", required=True, choices=("python", "c", "onnx"), help="the format")
    export.add_argument("-o", "--output", required=True, type=Path, metavar="OUT", help="the file; for c the directory")
    export.add_argument("--name", metavar="NAME", help="which executable")
    export.add_argument("--library", metavar="NAME", help="c: what its functions begin with (the name of FILE)")
    export.add_argument("--cpu", default="native", metavar="CPU", help="c: native, or a level such as x86-64-v3")
    export.add_argument("--source", action="store_true", help="c: as C source that any compiler builds")
    export.add_argument("--blas", default="tiles", metavar="BLAS", help="c: tiles, which are inside, or linked")
    export.set_defaults(run=_later("files", "export"))

    trip = _command(
        commands,
        "roundtrip",
        "send a saved file through every format and compare the results",
        "Saves, exports and runs every executable in every format, and says how far results and\n"
        "new state are from those in process. A format whose extra or compiler is missing is\n"
        "skipped. Status 1 where one differs by more than it may: files, Python and C give the\n"
        "same bits, ONNX 1e-4 (float32) or 1e-9 (float64) of the largest element.",
        f"""{ARRAYS}
  Without any, arrays are made up: all symbolic sizes are --size.

examples:
  graphc roundtrip model.gx
  graphc roundtrip model.gx x=x.npy --executable infer""",
    )
    _file_and_arrays(trip)
    trip.add_argument("--size", type=int, default=4, metavar="N", help="of made-up arrays (4)")
    trip.set_defaults(run=_later("roundtrip", "roundtrip"))

    audit = _command(
        commands,
        "check",
        "compare the derivatives of a saved file with differences",
        "Compares derivatives of each float output, by the parameters or else by float inputs,\n"
        "with differences of values in extended precision, both modes of differentiation with\n"
        "each other, second derivatives, and the dtypes. Names node and line of what is wrong.\n"
        "Nothing is compiled. Status 1 where derivatives disagree.",
        f"""{ARRAYS}
  Without any, arrays are made up: all symbolic sizes are --size.

examples:
  graphc check model.gx
  graphc check model.gx x=x.npy y=y.npy --executable train""",
    )
    _file_and_arrays(audit)
    audit.add_argument("--size", type=int, default=4, metavar="N", help="of made-up arrays (4)")
    audit.add_argument("--order", type=int, default=2, choices=(1, 2), help="1 leaves out second derivatives (2)")
    audit.add_argument("--rtol", type=float, metavar="R", help="how far apart they may be, relative (1e-7)")
    audit.set_defaults(run=_later("check", "check"))

    seen = _command(
        commands,
        "view",
        "a saved file as a page for a browser: the graph, or an executable through the compiler",
        "Writes one HTML page that needs no network: forward beside backward, groups that open,\n"
        "search, shapes, formulas and your lines. With --executable the program is compiled, and\n"
        "the page has its stages, kernel parts, buffers and generated source.",
        """examples:
  graphc view model.gx -o model.html
  graphc view model.gx --executable train -o train.html""",
    )
    _file(seen)
    seen.add_argument("-o", "--output", type=Path, metavar="OUT", help="the page (FILE.html, in this directory)")
    seen.add_argument("--executable", metavar="NAME", help="this executable, with the compiler's stages")
    seen.set_defaults(run=_later("files", "view"))

    cache = _command(
        commands,
        "cache",
        "look at, check or clear the compile cache",
        "The compile cache: machine code, and records by which a graph finds it without being\n"
        "compiled. GRAPHC_CACHE_DIR says where it is. Damaged files are never used.",
        """examples:
  graphc cache ls
  graphc cache verify
  graphc cache clear""",
    )
    kinds = cache.add_subparsers(required=True, metavar="WHAT")
    for name, text in (
        ("ls", "sizes, ages and what is known of each file"),
        ("verify", "compare every file with its SHA-256; nothing in it is loaded"),
        ("clear", "remove graphc's own files, and nothing else"),
    ):
        kinds.add_parser(name, help=text, description=text.capitalize() + ".").set_defaults(run=_later("cache", name))


def _command(commands: Any, name: str, text: str, description: str, epilog: str) -> Any:
    kind = argparse.RawDescriptionHelpFormatter
    return commands.add_parser(name, help=text, description=description, epilog=epilog, formatter_class=kind)


def _file(parser: Any) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a file written by graphc.save")


def _file_and_arrays(parser: Any) -> None:
    _file(parser)
    parser.add_argument("arrays", nargs="*", metavar="INPUT=ARRAY", help="a .npy file, or .npz:KEY, for each input")
    parser.add_argument("--executable", metavar="NAME", help="which one, where the file holds several")


def _later(module: str, function: str) -> Callable[[Any], int]:
    """A command that is imported when it is run."""

    def run(options: Any) -> int:
        status: int = getattr(import_module(f"graphc.commands.{module}"), function)(options)
        return status

    return run


def _info(options: Any) -> int:
    if options.file is None:
        from graphc.demo.info import rows

        lines = [f"{key:<12}{value}" for key, value in rows().items()]
    else:
        from graphc.commands.files import describe

        lines = describe(options.file)
    print("\n".join(lines))
    return 0
