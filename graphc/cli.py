"""The command line: ``graphc demo``, ``graphc bench``, and what `graphc.commands.parser` adds."""

from __future__ import annotations

import argparse
import difflib
import errno
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from graphc import ctrl_c
from graphc.atomic import replacing
from graphc.commands import parser as files
from graphc.demo.arguments import at_least

PEERS = ("numpy", "torch", "torch.compile", "jax", "pytensor")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status: 0, 1 for an error, 2 for wrong arguments or arrays, 130 when stopped."""
    try:
        ctrl_c.while_running()
        return _run(argv)
    except KeyboardInterrupt:
        ctrl_c.once_done()
        ctrl_c.tell()
        return ctrl_c.STATUS
    finally:
        ctrl_c.once_done()


def _run(argv: Sequence[str] | None) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):  # names may have characters that a terminal or a pipe cannot take
        sys.stdout.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(argv)
    from graphc.commands.words import printable
    from graphc.demo.data import DataError
    from graphc.errors import GraphcError, InputError

    run: Callable[[Any], int] = options.run
    try:
        status = run(options)
        print(end="", flush=True)  # there may be no stdout
        return status
    except OSError as error:
        if isinstance(error, BrokenPipeError) and error.filename is None:  # the reader of our output has gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # keep the interpreter's last flush quiet
            return 1
        place = f": {error.filename}" if error.filename else ""
        print(f"graphc: {printable(f'{error.strerror or error}{place}')}", file=sys.stderr)
        return 1
    except InputError as error:
        print(f"graphc: {printable(error.message)}", file=sys.stderr)
        return 2
    except GraphcError as error:
        print(f"graphc: {printable(error.message)}", file=sys.stderr)
        return 1
    except DataError as error:
        print(f"graphc: {error}", file=sys.stderr)
        return 1
    except MemoryError:
        print("graphc: there is not enough memory", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="graphc",
        description="A compiler for static graphs, forward and backward.",
        epilog="graphc demo         train a network on scans of digits\ngraphc demo --list  the other programs\n"
        "graphc bench        time graphc beside NumPy, PyTorch, JAX and PyTensor\n"
        "graphc info FILE    what a saved file holds\n"
        "graphc run --help   run what was saved",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help="run the programs of the tutorials", prefix_chars=" ", add_help=False)
    demo.add_argument("arguments", nargs="*")  # all of them, options too, which are the program's own
    demo.set_defaults(run=_demo)
    _add_bench(commands)
    files.add(commands)
    return parser


def _add_bench(commands: Any) -> None:
    bench = commands.add_parser(
        "bench",
        help="time graphc beside NumPy, PyTorch, JAX and PyTensor",
        description="Times workloads in graphc and in every library at hand: same arithmetic, same\n"
        "dtype, same processors. Results are compared with NumPy by hand before\n"
        "anything is timed.",
        epilog="""workloads (all of them by default):
  xor                    2-3-1 network, value and gradients
  small-mlp              16-32-32-1 network, value and gradients
  training-step          784-256-10 classifier, one step of SGD
  lenet-64, lenet-256    LeNet on 64 or 256 images, one step of SGD
  elementwise            sum(tanh(x w) exp(-x^2) + log1p(w^2)), gradients
  logistic-regression    100,000 rows of 50 features, gradients
  softmax-cross-entropy  4096 rows of 1000 classes, gradient
  transformer            pre-norm block, all gradients
  gmm                    Gaussian mixture, packed precision factors, gradients
  fashion-epoch          60,000 images in batches of 256, loss and accuracy;
                         random ones, or those of --data DIR

how:
  Each contestant has a process, held to its processors. Rounds go through all
  of them in turn, about 20 ms each; noise meets all alike. Figures are medians
  over rounds; the interval of the ratio is a bootstrap over rounds.
  "limit" is the longest of three parts of the work, each measured alone in the
  same rounds: the matrix products by NumPy's BLAS, one pass over memory, the
  elementary functions in cache. "share" is that over graphc's time.

examples:
  graphc bench
  graphc bench xor small-mlp --peers none
  graphc bench elementwise --threads 1 --peers jax torch
  graphc bench --json figures.json --plot figures.png
  graphc bench --compile --plot compile-time.svg""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    bench.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="names from the list below")
    bench.add_argument(
        "--threads", nargs="+", type=at_least(1), metavar="N", help="processors for each contestant (1 2)"
    )
    bench.add_argument("--rounds", type=at_least(3), metavar="N", help="turns of each contestant (31; --compile 3)")
    bench.add_argument(
        "--peers",
        nargs="+",
        choices=[*PEERS, "none"],
        default=list(PEERS),
        metavar="PEER",
        help=f"{', '.join(PEERS)} (all), or none",
    )
    bench.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="of all random arrays (0)")
    bench.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE")
    bench.add_argument("--plot", type=Path, metavar="FILE", help="draw the ratios into FILE.png (or .svg, .pdf)")
    bench.add_argument("--data", type=Path, metavar="DIR", help="where the files of Fashion-MNIST are")
    bench.add_argument(
        "--compile",
        action="store_true",
        help="instead: how long graphs of 10 to 10,000 operations compile, cold and from disk",
    )
    bench.set_defaults(run=_bench, parser=bench)


def _demo(options: Any) -> int:
    """``graphc demo [NAME] [--json FILE] [what the program takes]``."""
    from graphc.demo import programs

    parser = argparse.ArgumentParser(
        prog="graphc demo",
        usage="graphc demo [NAME] [--json FILE] [options of NAME]",
        description="Runs a program of the tutorials, the digits by default. They are the files of\n"
        "examples/: graphc demo NAME is the same as python examples/NAME.py.",
        epilog=f"""programs:
{programs.listed()}

examples:
  graphc demo
  graphc demo xor --save xor.svg
  graphc demo fashion-mnist --data DIR --epochs 50 --json figures.json
  graphc demo fashion-mnist --help""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("--list", action="store_true", help="show the names of the programs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    own, rest = parser.parse_known_args(options.arguments)
    if rest[:1] in (["-h"], ["--help"]):
        parser.print_help()
        return 0
    if own.list:
        print(programs.listed())
        return 0
    name = rest.pop(0).replace("_", "-") if rest and not rest[0].startswith("-") else programs.NAMES[0]
    if name not in programs.NAMES:
        meant = difflib.get_close_matches(name, programs.NAMES, 1)
        parser.error(f"there is no program {name!r}; {f'did you mean {meant[0]}?' if meant else 'see --list'}")
    _check_file("--json", own.json)
    result = programs.run(name, rest)
    if result is None:
        return 1
    if own.json is not None:
        _write(own.json, {"demo": name, **programs.plain(result)})
    return 0


def _check_file(option: str, path: Path | None) -> None:
    """Before anything runs: OSError where ``path`` cannot be written."""
    if path is not None and path.is_dir():
        raise IsADirectoryError(errno.EISDIR, f"{option} names a directory", str(path))
    if path is not None and not path.absolute().parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, f"{option}: there is no such directory", str(path.parent))


def _write(path: Path, result: Any) -> None:
    """A result as JSON."""
    with replacing(path) as file:
        file.write((json.dumps(result, indent=1) + "\n").encode())


def _bench(options: Any) -> int:
    from graphc.bench import command, contest
    from graphc.bench.catalogue import WORKLOADS

    wrong = options.parser.error
    for name in options.workloads:
        if name not in WORKLOADS:
            wrong(f"there is no workload {name!r}; there are {', '.join(WORKLOADS)}")
    if "none" in options.peers and len(options.peers) > 1:
        wrong("--peers none stands alone")
    there = len(contest.processors())
    threads = options.threads or [n for n in (1, 2) if n <= there]
    if max(threads) > there:
        wrong(f"--threads {max(threads)}: this process may use {there} processor{'s' * (there > 1)}")
    if options.data is not None and not options.data.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "--data: there is no such directory", str(options.data))
    if options.plot is not None and options.plot.suffix not in (".png", ".svg", ".pdf"):
        wrong(f"--plot draws .png, .svg or .pdf, found {options.plot.name!r}")
    _check_file("--json", options.json)
    _check_file("--plot", options.plot)
    if options.compile:
        return _bench_compile(options)
    plan = contest.Plan(
        threads=sorted(set(threads)),
        peers=[p for p in PEERS if p in options.peers],
        rounds=options.rounds or 31,
        seed=options.seed,
        data=None if options.data is None else options.data.absolute(),
    )
    result = command.bench(list(dict.fromkeys(options.workloads)) or list(WORKLOADS), plan, options.plot)
    if options.json is not None:
        _write(options.json, result)
    return 0 if result["complete"] else 130


def _bench_compile(options: Any) -> int:
    from graphc.bench import compile_command

    if options.workloads or options.threads or options.data:
        options.parser.error("--compile measures graphs of its own; it goes with --rounds, --json and --plot")
    result = compile_command.bench(options.rounds or 3, options.plot)
    if options.json is not None:
        _write(options.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
