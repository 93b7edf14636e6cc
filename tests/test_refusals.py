"""What graphs made by hand, records and settings are refused for, beyond the table of misuse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import networkx as nx
import numpy as np
import pytest

import graphc as gx
from graphc.codegen import vecmath
from graphc.ir.dims import symbol
from graphc.ir.op import OPS, Op, register
from graphc.ir.verify import verify
from graphc.reference import evaluate


def dag(op: str, leaves: list[tuple[tuple[Any, ...], str]], **attrs: Any) -> nx.MultiDiGraph:
    """One op on inputs of the given shapes and dtypes, which says all of itself."""
    out = nx.MultiDiGraph()
    for k, (shape, dtype) in enumerate(leaves):
        out.add_node(f"in{k}", op="input", shape=shape, dtype=dtype)
    out.add_node("made", op=op, attrs=attrs, dtype="float32", shape=())
    for k in range(len(leaves)):
        out.add_edge(f"in{k}", "made", k, slot=k)
    return out


F, D, INT = "float32", "float64", "int64"
INFERENCE: list[tuple[str, nx.MultiDiGraph, type[Exception], str]] = [
    ("two dtypes", dag("add", [((2,), F), ((2,), D)]), gx.DTypeError, "one dtype"),
    ("integers where floats must be", dag("exp", [((2,), INT)]), gx.DTypeError, "expected a float"),
    ("where without a condition", dag("where", [((2,), F), ((2,), F), ((2,), F)]), gx.DTypeError, "expected bool"),
    ("float indices", dag("take", [((2,), F), ((2,), F)], axis=0), gx.DTypeError, "integer indices"),
    ("product of vectors", dag("matmul", [((2,), F), ((2,), F)]), gx.ShapeError, "two axes"),
    ("product of other sizes", dag("matmul", [((2, 3), F), ((2, 3), F)]), gx.ShapeError, "inner dimensions"),
    ("slice without sizes", dag("slice", [((2, 3), F)], start=(0,), step=(1,), size=(1,)), gx.ShapeError, "each axis"),
    ("slice beyond", dag("slice", [((2,), F)], start=(1,), step=(1,), size=(2,)), gx.ShapeError, "out of range"),
    ("concat of ranks", dag("concat", [((2,), F), ((2, 2), F)], axis=0), gx.ShapeError, "equal rank"),
    ("permutation", dag("permute_dims", [((2, 3), F)], axes=(0, 0)), gx.ShapeError, "each axis"),
    ("reshape", dag("reshape", [((2, 3), F)], shape=(5,)), gx.ShapeError, "cannot reshape"),
    ("broadcast", dag("broadcast_to", [((2,), F)], shape=(3,)), gx.ShapeError, "broadcast"),
    ("empty maximum", dag("max", [((0,), F)], axes=(0,), keepdims=False), gx.ShapeError, "empty"),
    ("shape no list", dag("identity", [(3, F)]), gx.ShapeError, "tuple or list"),  # type: ignore[list-item]
    ("size a float", dag("identity", [((2.5,), F)]), gx.ShapeError, "int or text"),
]


@pytest.mark.parametrize(("graph", "error", "text"), [r[1:] for r in INFERENCE], ids=[r[0] for r in INFERENCE])
def test_graphs_by_hand_name_the_node(graph: nx.MultiDiGraph, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        gx.from_networkx(graph)
    assert caught.value.node in ("made", "in0") and "test_refusals.py" in str(caught.value)


def small() -> gx.Graph:
    g = gx.Graph("small")
    x = g.input("x", (2,))
    gx.exp(x + g.parameter("p", np.ones(2, np.float32)))
    return g


def changed(number: int, **fields: Any) -> gx.Graph:
    """The small graph with one node spoiled."""
    g = small()
    g.nodes[number] = replace(g.nodes[number], **fields)
    return g


ILLEGAL: dict[str, tuple[Callable[[], gx.Graph], str]] = {
    "number": (lambda: changed(2, id=7), "has number 7"),
    "name": (lambda: changed(2, name="x"), "name that is taken"),
    "op": (lambda: changed(2, op=replace(OPS["add"])), "not registered"),
    "operands": (lambda: changed(2, inputs=(0, 3)), "do not come before"),
    "arity": (lambda: changed(2, inputs=(0,)), "takes 2"),
    "attributes": (lambda: changed(2, attrs={"axis": 1}), "attributes"),
    "value missing": (lambda: changed(1, value=None), "none where it should"),
    "value of another dtype": (lambda: changed(1, value=np.ones(2)), "but holds"),
    "type": (lambda: changed(3, type=small()["p"].type.__class__(np.dtype("float64"), (2,))), "inference gives"),
    "types that do not meet": (
        lambda: changed(0, type=small()["p"].type.__class__(np.dtype("float64"), (2,))),
        "does not infer",
    ),
    "edges": (lambda: mirrored(), "other edges"),
}


def mirrored() -> gx.Graph:
    g = small()
    assert g.nx is not None
    g._mirror.remove_edge(0, 2)
    return g


@pytest.mark.parametrize("what", ILLEGAL)
def test_illegal_graphs_are_found(what: str) -> None:
    make, text = ILLEGAL[what]
    verify(small())
    with pytest.raises(gx.GraphError, match=text) as caught:
        verify(make())
    assert caught.value.node is not None and "test_refusals.py" in str(caught.value)


RECORDS = {  # record and what is different -> what is said
    "add": {
        "needs code": {"code": None},
        "1 gradient rules for 2 operands": {"gradient": (None,)},
        "expected code to read b and a, found 'a - c', which reads c and a": {"code": "a - c"},
        "code 'a [+] {much} [+] b' reads much, not among the attributes": {"code": "a + {much} + b"},
        "at most 26 operands, found 27": {"arity": 27},
        "fact 'index_check' needs the attributes low, high, what, found low": {
            "facts": frozenset({"index_check"}),
            "attrs": ("low",),
        },
    },
    "sum": {
        "a reduction op needs combine": {"combine": None},
        "needs identity": {"identity": None},
        "attributes axes, keepdims or shape, operand_shape, found axes": {"attrs": ("axes",)},
        "expected combine to read acc and a, found 'a', which reads a": {"combine": "a"},
        "expected map to read a, found 'acc [+] a', which reads acc and a": {"map": "acc + a"},
        "expected finish to read acc, found 'a', which reads a": {"finish": "a"},
        "needs combine; a reduction op needs the attributes": {"combine": None, "attrs": ()},
    },
    "take": {"a gather op needs the attributes axis or axes, found none": {"attrs": ()}},
    "scatter_add": {"needs the attributes axis, size or axes, sizes, found axis": {"attrs": ("axis",)}},
    "reshape": {"needs view": {"view": None}},
    "concat": {"needs regions": {"regions": None}},
}


@pytest.mark.parametrize("name, text", [(name, text) for name, changes in RECORDS.items() for text in changes])
def test_records_must_be_whole_for_their_kind(name: str, text: str) -> None:
    held = OPS[name]
    fields = {f: getattr(held, f) for f in held.__dataclass_fields__}
    fields |= {"gradient": ()} if "arity" in RECORDS[name][text] else {}
    with pytest.raises(gx.GraphError, match=f"^op {name}: .*{text}"):
        Op(**fields | RECORDS[name][text])


def test_a_record_is_registered_once() -> None:
    with pytest.raises(gx.GraphError, match="registered already"):
        register(OPS["add"])
    for use in (OPS["input"].infer, OPS["input"].reference):
        with pytest.raises(gx.GraphError, match="leaf"):
            use([], {})


def test_sizes_are_no_numbers() -> None:
    for use in (bool, range):
        with pytest.raises(TypeError, match="known only when"):
            use(symbol("n"))


def test_functions_of_kernels_do_not_run_in_python() -> None:
    with pytest.raises(TypeError, match="inside compiled kernels"):
        vecmath.fabs(1.0)
    with pytest.raises(NotImplementedError, match="exp> is not usable in pure-python"):  # Numba's word
        vecmath.exp(1.0)


def test_an_operand_of_another_graph_names_both() -> None:
    g, h = small(), gx.Graph("second")
    with pytest.raises(gx.GraphError, match=r"'second'.*'small'"):
        g.append(OPS["exp"], [h.input("z", (2,))], {})


def test_the_interpreter_needs_arrays_that_fit() -> None:
    g = gx.Graph("feeds")
    x, y = g.input("x", ("n", 2)), g.input("y", ("n",))
    with pytest.raises(gx.InputError, match="no value for input 'y'"):
        evaluate([x * 2.0, y * 2.0], {"x": np.ones((1, 2))})
    with pytest.raises(gx.InputShapeError, match="2 axes"):
        evaluate([x * 2.0], {"x": np.ones(2)})
    with pytest.raises(gx.InputShapeError, match="found shape"):
        evaluate([x * 2.0], {"x": np.ones((1, 3))})


def test_settings_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    from graphc.config import settings

    monkeypatch.setenv("GRAPHC_BLAS", "fastest")
    with pytest.raises(gx.CompileError, match="GRAPHC_BLAS"):
        settings()


def test_what_numba_cannot_compile_says_so() -> None:
    from graphc.codegen.jit import compile_source

    with pytest.raises(gx.CompileError, match="did not compile"):
        compile_source("def kernel(a):\n    return unknown(a)\n", "kernel", "int64(int64)", on_disk=False)


def test_more_functions_refuse() -> None:
    g = gx.Graph("more")
    x, key = g.input("x", (2, 3)), g.random_key()
    with pytest.raises(gx.DTypeError, match="float dtype"):
        gx.random.uniform(key, (2,), dtype="int64")
    with pytest.raises(gx.ShapeError, match="low < high"):
        gx.random.randint(key, (2,), 3, 3)
    with pytest.raises(gx.ShapeError, match="at least one axis"):
        gx.cross_entropy(g.input("s", ()), g.input("i", (), "int64"))
    with pytest.raises(ValueError, match="two axes"):
        gx.init.he((3,))
    with pytest.raises(gx.InputIndexError, match="batch 1"):
        i = g.input("rows", ("n",), "int64")
        gx.compile([i], gx.take(x.graph.constant(np.ones(3, np.float32)), i)).run_batches([np.array([0, 1, 2, 9])], 2)
