"""Writes the table of docs/networkx.md from the records of what a node may name; `page()` is all of it.

    python docs/make_networkx.py

The shapes beside a function are those of a call that was tried: small operands, the first for which it is defined.
"""

import functools
import itertools
from pathlib import Path

import graphc as gx
from graphc.dag.table import function
from graphc.ir.graph import Graph

PAGE = Path(__file__).parent / "networkx.md"
BEGIN, END = "<!-- the table: written by make_networkx.py -->", "<!-- the end of the table -->"

SHAPES = [(6, 4), (4, 3), (4,), (6,), (), (1, 3, 8, 8), (3, 3, 3, 3), (4, 4), (2,), (1, 3, 8), (3, 3, 3)]
SHAPES += [(1, 3, 4, 8, 8), (3, 3, 2, 3, 3), (1, 3, 4)]
DTYPES = ["float32", "int64", "bool"]
KEY = "int64", (2,)  # of random numbers
ATTRIBUTES = [2, 1, 0.5, 0, (3, 8), (2, 6, 4), (1, 0), (2, 2), ((1, 1), (2, 2)), (0,), "int64", "ij,jk->ik"]
MOST = 20000  # calls that are tried for one function


@functools.cache
def example(f):
    """The first call of a function that is defined: graph, operands, attributes, results; None where none is found."""
    asked = [p for p in f.attributes.values() if p.required]
    kinds = sorted(itertools.product(DTYPES, SHAPES), key=lambda k: DTYPES.index(k[0]) + SHAPES.index(k[1]))
    values = itertools.product(*[[value for value in ATTRIBUTES if p.takes(value)] for p in asked])
    different = sorted(values, key=lambda row: len(row) - len(set(row)))  # (1, 0) says more than (1, 1)
    each = [[KEY] if p.name == "key" else kinds for p in f.operands if p.required] if not f.many else [kinds] * 2
    for row, operands in itertools.islice(itertools.product(different, itertools.product(*each)), MOST):
        found = call(f, operands, dict(zip([p.name for p in asked], row, strict=True)))
        if found is not None:
            return found
    return None


def call(f, operands, attributes):
    """Graph, operands, attributes and result of one call; None where it is not defined."""
    g = Graph("example")
    tensors = [g.input(f"x{k}", shape, dtype) for k, (dtype, shape) in enumerate(operands)]
    if f.many:
        filled = {next(p.name for p in f.operands if p.many): tensors}
    else:
        filled = dict(zip([p.name for p in f.operands if p.required], tensors, strict=True))
    args, kwargs = f.arranged({**filled, **attributes})
    try:
        result = f.call(*args, **kwargs)
    except gx.GraphcError:
        return None
    return g, tensors, attributes, list(result) if isinstance(result, (list, tuple)) else [result]


def kind(tensor):
    """A type, its dtype left out where it is the usual one."""
    return str(tensor.type).removeprefix("float32")


def shapes(record):
    """Operands and result of an example."""
    f = function(record.op)
    found = None if f is None else example(f)
    if found is None:
        return ""
    _, tensors, attributes, results = found
    given = "".join(f", {name}={value!r}" for name, value in attributes.items())
    return f"`{', '.join(map(kind, tensors))}{given} -> {', '.join(map(kind, results))}`"


def attribute(name, default):
    """An attribute and its default."""
    return f"`{name}`" if default is gx.dag.REQUIRED else f"`{name}={default!r}`"


def row(record):
    """One record as a row of the table."""
    operands = ", ".join(f"`{name}`" for name in record.operands)
    attributes = ", ".join(attribute(*pair) for pair in record.attributes.items())
    line = record.line if not record.refused else f"{record.line} A node cannot name it: it {record.refused}."
    cells = [f"`{record.op}`", operands, attributes, shapes(record), line]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def table():
    """All records, as Markdown."""
    head = ["| op | operands | attributes | for example | |", "|---|---|---|---|---|"]
    return "\n".join([BEGIN, "", *head, *map(row, gx.dag.ops()), "", END])


def page(text):
    """The page with its table written anew."""
    before, _, rest = text.partition(BEGIN)
    return before + table() + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
