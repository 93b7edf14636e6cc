"""An executable as one Python module that needs numba and numpy, and nothing of graphc.

The module's code follows from what is computed alone. Names and lines of the user's stand in comments, in docstrings,
in the block of tables, and in the name and the parameters of the function that is called; without those, the modules
of two graphs that differ in names only are equal.
"""

from __future__ import annotations

import base64
import builtins
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graphc.atomic import replacing
from graphc.cached import cached
from graphc.codegen import lapack, tiles
from graphc.codegen.abi import PART_SIGNATURE
from graphc.codegen.emit import NEST, PRIMITIVES, annotated, clean, titled
from graphc.codegen.kernel import SIGNATURE, Kernel
from graphc.codegen.line import Line
from graphc.config import settings
from graphc.errors import ExportError, Origin, caller
from graphc.export import words
from graphc.export.flat import Flat, catalogue, flatten
from graphc.ir import dims
from graphc.ir.body import users_own
from graphc.ir.dims import Size
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.state import Array
from graphc.ir.tensor import Tensor

if TYPE_CHECKING:
    from graphc.run.interface import Runnable

RUNTIME = ("Function", "Leaf", "Program", "Sizes", "State", "array_of")
OWN = frozenset(
    {
        "CACHE", "CHECKS", "INPUTS", "KEYS", "OUTPUTS", "PREFIX", "STATE", "SYMBOLS", "TESTS", "constants", "kernel",
        "program", "settings", "sizes", "state",
    }
)  # fmt: skip
NUMBERED = re.compile(r"(nest|items)\d+|(nested_)?code_f(32|64)_function")
WIDTH = 116  # of the lines that hold arrays
ENTERED = ("program", "CACHE", "KEYS", "dict", "zip")  # what the function that is called needs itself


def export_python(exe: Runnable, path: str | os.PathLike[str], name: str | None, cache: bool) -> None:
    """Writes the module; see `Executable.export_python`."""
    text = module_source(exe, name, cache).encode()
    with replacing(path) as file:
        file.write(text)


def module_source(exe: Runnable, name: str | None = None, cache: bool = False) -> str:
    """The module's text; ExportError where it cannot be had as asked."""
    if exe.backend != "numba":
        text = f'export_python: expected backend="numba", found {exe.backend!r}, whose results are NumPy\'s'
        raise ExportError(text, origin=caller())
    if own := users_own(exe.program.source.nodes):
        text = f"export_python: a module cannot hold ops of your own: {', '.join(own)}"
        raise ExportError(text, origin=caller())
    writer = _Writer(exe, exe.program.kernel(serial=True, stops=True))
    if writer.library and cache:
        text = "export_python: cache=True is not for products by a library, which may change under the cache"
        raise ExportError(text, origin=caller())
    return "\n\n\n".join(writer.module(name, bool(cache))) + "\n"


@dataclass(frozen=True)
class _Writer:
    exe: Runnable
    kernel: Kernel

    @cached
    def primitives(self) -> set[str]:
        """What the kernel calls."""
        text = "\n".join([*self.kernel.parts, self.kernel.source])
        return {n for line in re.findall(r"^from graphc\S+ import (.+)$", text, re.M) for n in line.split(", ")}

    @property
    def products(self) -> list[tuple[str, str]]:
        """Codes of the matrix products, and the letters of their symbols."""
        return tiles.called("\n".join([*self.kernel.parts, self.kernel.source]))

    @property
    def library(self) -> bool:
        """Whether products are those of a BLAS library."""
        return any(n.startswith("gemm_") for n in self.primitives)

    @property
    def before(self) -> list[str]:
        """What prepares libraries that the kernel calls."""
        large = any("from graphc.codegen.large " in text for text in [self.kernel.source, *self.kernel.parts])
        return ["library"] * self.library + ["lapack"] * large

    @cached
    def flat(self) -> Flat:
        """All that the module takes from graphc."""
        more = [code for code, _ in self.products] + ["SYMBOL"] * bool(self.products) + self.before
        roots, wanted = tuple(m.__name__ for m in (*PRIMITIVES, lapack)), [*RUNTIME, *self.primitives, *more]
        assert not catalogue(roots, OWN).ambiguous.intersection(wanted)
        return flatten(roots, wanted, OWN)

    def module(self, name: str | None, cache: bool) -> Iterator[str]:
        """The sections in reading order."""
        yield from self.entrance(name, cache)
        yield _section("names and lines of the graph", self.tables())
        yield _section("what depends on the symbolic sizes", [self.sizes()])
        yield _section("the kernel", self.functions())
        yield _section("what the kernel calls and what runs it", self.stand_ins())
        yield from self.flat.sections
        yield _section("state, constants and the program", self.program())

    def entrance(self, name: str | None, cache: bool) -> Iterator[str]:
        """Docstring, imports, and the function that is called."""
        exe, kind = self.exe, self.exe.program.structure.kind
        taken = self.flat.names | self.flat.imported | OWN | set(dir(builtins))
        function = words.function_name(
            exe.graph.name, name, lambda name: name not in taken and not NUMBERED.fullmatch(name)
        )
        names = words.parameters(exe.program.inputs, ENTERED)
        doc = words.of_module(exe, f"{function}({', '.join(names)})", self.kernel.state_names, self.before)
        yield "\n".join(
            [
                words.docstring(list(doc)),
                "",
                "from __future__ import annotations",
                "",
                *self.flat.imports,
                "",
                f'__all__ = ["{function}", "state"]',
                "",
                *([] if self.library else [f"CACHE = {cache}"]),
            ]
        ).rstrip()
        call = f"program([{', '.join(names)}], {'False' if self.library else 'CACHE'})"
        returned = {
            "one": f"return {call}[0]",
            "list": f"return {call}",
            "dict": f"return dict(zip(KEYS, {call}, strict=True))",
            "none": call,
        }
        told = words.docstring(list(words.of_call(exe, names)), "    ")
        yield f"def {function}({', '.join(names)}):\n    {told}\n    {returned[kind]}"

    # ---- what is told by names

    def tables(self) -> Iterator[str]:
        """Names, types and lines, in the order in which the code counts them."""
        p = self.exe.program
        yield words.table("INPUTS", [_leaf(t) for t in p.arguments])
        yield words.table("OUTPUTS", [_leaf(t) for t in p.results])
        yield words.table("STATE", [_leaf(p.graph[n]) for n in self.kernel.state_names])
        yield f"KEYS: tuple = {tuple(p.structure.keys)!a}"
        yield f"SYMBOLS: tuple = {tuple(p.symbols)!a}"
        yield words.table("CHECKS", [(n.op.name, str(c), _line(n.origin)) for n, c in self.exe.program.checks])
        yield words.table("TESTS", [(str(n.attrs.get("what", "")), _line(n.origin)) for n in self.tests])

    @property
    def tests(self) -> list[Node]:
        """Tests of indices, and loops that may go on too long, in the order of the kernel's status numbers."""
        return list(self.kernel.failures)

    # ---- code

    def size(self, size: Size) -> str:
        return dims.source(size, lambda name: f"n{self.exe.program.symbols.index(name)}")

    def shape(self, shape: Iterable[Size]) -> str:
        return _tuple(self.size(s) for s in shape)

    def sizes(self) -> str:
        """The function of the symbolic sizes."""
        p = self.exe.program
        fits = []
        for _, check in self.exe.program.checks:
            a, b = self.size(check.left), self.size(check.right)
            equal = f"{a} > {b}" if check.positive else f"{a} == {b}" + f" or 1 in ({a}, {b})" * check.broadcast
            fits.append(f"({a}, {b}, {equal})")
        tests = [
            (*(self.size(n.attrs.get(k, 0)) for k in ("low", "high")), self.shape(n.type.shape)) for n in self.tests
        ]
        return "\n".join(
            [
                f"def sizes({', '.join(f'n{k}' for k in range(len(p.symbols)))}):",
                "    return Sizes(",
                f"        inputs={_tuple(self.shape(t.shape) for t in p.arguments)},",
                f"        outputs={_tuple(self.shape(t.shape) for t in p.results)},",
                f"        work_bytes={self.size(self.kernel.work_bytes)},",
                f"        meetings={_tuple(fits)},",
                f"        tests={_tuple(map(_tuple, tests))},",
                "    )",
            ]
        )

    def functions(self) -> Iterator[str]:
        """The kernel's parts and the kernel, with comments."""
        text, plan = self.kernel.text, self.kernel.schedule
        assert text is not None and plan is not None
        note = _Notes()
        for k, lines in enumerate(text.nests):
            part = _BODY.sub(rf"items{k}_\1", _function(lines, plan.graph, note))
            yield part.replace(NEST, NEST.replace("nest", f"items{k}"), 1) + "\n\n"
        yield _function(text.lines, plan.graph, note)

    def known(self) -> Iterator[str]:
        """What has bodies of loops and branches called from the functions in which they stand."""
        text = self.kernel.text
        assert text is not None
        for k, lines in enumerate([*text.nests, text.lines]):
            prefix = f"items{k}_" if k < len(text.nests) else ""
            yield from (_BODY.sub(rf"{prefix}\1", line.text) for line in lines if line.text.startswith(KNOWN))

    def stand_ins(self) -> Iterator[str]:
        """What of graphc's settings its functions ask for."""
        decisive = [self.kernel.source, *self.kernel.parts, *self.flat.sections, repr(self.exe.fastmath)]
        yield f'PREFIX = "graphc_{hashlib.sha256("".join(decisive).encode()).hexdigest()[:16]}"  # of symbols'
        if self.library:
            yield f'\n\nclass settings:\n    blas = "{settings().blas}"'

    def program(self) -> Iterator[str]:
        """Arrays, and the program with all that belongs to it."""
        p, kernel = self.exe.program, self.kernel
        fast = ", fastmath=True" if self.exe.fastmath else ""
        functions = []
        for code, letter in self.products:
            yield tiles.function_text(code, f"{code}_function") + "\n"
            functions.append(f'Function({code}_function, "{tiles.SIGNATURE}", SYMBOL + "{letter}")')
        yield from self.known()
        for k in range(len(kernel.parts)):
            yield f'nest{k} = part(f"{{PREFIX}}_nest{k}")'
            functions.append(f'Function(items{k}, "{PART_SIGNATURE}", f"{{PREFIX}}_nest{k}"{fast})')
        functions.append(f'Function(kernel, "{SIGNATURE}"{fast})')
        arrays = [_array(value) for value in p.graph.state.copies(kernel.state_names).values()]
        yield _list("state = State({", [f"STATE[{k}][0]: {text}" for k, text in enumerate(arrays)], "})")
        yield _list("constants = [", map(_array, kernel.constants), "]")
        yield "\n".join(
            [
                "program = Program(",
                "    functions=[",
                *(f"        {f}," for f in functions),
                "    ],",
                "    sizes=sizes,",
                "    inputs=[Leaf(*row) for row in INPUTS],",
                "    outputs=[Leaf(*row) for row in OUTPUTS],",
                f"    symbols=[{', '.join(self.symbols())}],",
                "    checks=CHECKS,",
                "    tests=TESTS,",
                "    state=state,",
                "    constants=constants,",
                *(["    stops=True,"] if kernel.stops else []),
                *([f"    before=[{', '.join(self.before)}],"] if self.before else []),
                ")",
            ]
        )

    def symbols(self) -> Iterator[str]:
        """Each symbolic size with the input and the axis where it is read."""
        arguments = self.exe.program.arguments
        for k, name in enumerate(self.exe.program.symbols):
            sizes = ((i, axis, s) for i, t in enumerate(arguments) for axis, s in enumerate(t.shape))
            i, axis = next((i, axis) for i, axis, s in sizes if dims.symbol_name(s) == name)
            yield f"(SYMBOLS[{k}], {i}, {axis})"


class _Notes:
    """What comments say of nodes: all at first, then the number. The text of a user's line stands there once."""

    def __init__(self) -> None:
        self.told: set[int] = set()
        self.quoted: set[Origin] = set()

    def __call__(self, node: Node) -> str:
        if node.id in self.told:
            return f"%{node.id}"
        line = str(node.origin) if node.origin in self.quoted else node.origin.describe()
        self.told.add(node.id)
        self.quoted.add(node.origin)
        return f"{titled(node)}: {clean(str(node.type))}  {clean(line)}"


KNOWN = "of_kernel("  # how a line begins that says what a body's function is
_BODY = re.compile(r"\b(body\d+)\b")


def _function(lines: Iterable[Line], graph: Graph, note: _Notes) -> str:
    """A function of the kernel, without what stands before it."""
    every = [line for line in annotated(lines, graph, note) if not line.startswith(KNOWN)]
    return "\n".join(every[next(k for k, line in enumerate(every) if line.startswith("def ")) :])


def _section(title: str, texts: Iterable[str]) -> str:
    return "\n".join([f"# ---- {title}", "", *texts])


def _leaf(t: Tensor) -> tuple[Any, ...]:
    return t.name, t.dtype.name, tuple(s if isinstance(s, int) else str(s) for s in t.shape), _line(t.origin)


def _line(origin: Origin) -> str:
    return clean(origin.describe())


def _tuple(items: Iterable[str]) -> str:
    found = list(items)
    return f"({', '.join(found)}{',' if len(found) == 1 else ''})"


def _list(before: str, items: Iterable[str], after: str) -> str:
    inner = "".join(f"    {item},\n" for item in items)
    return f"{before}\n{inner}{after}" if inner else before + after


def _array(value: Array) -> str:
    """An array as a call that makes it."""
    data = base64.b64encode(value.astype(value.dtype.newbyteorder("<")).tobytes()).decode()
    rows = [data[k : k + WIDTH] for k in range(0, len(data), WIDTH)]
    text = '"""\n{}\n"""'.format("\n".join(rows)) if len(rows) > 1 else f'"{data}"'
    return f'array_of("{value.dtype.name}", {value.shape}, {text})'
