"""Mistakes of a first hour: what was expected, what was found, what to do, and where."""

from __future__ import annotations

import copy
import inspect
import linecache
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc.ir.op import FUNCTIONS


class Frame:
    """What is asked of a pandas frame."""

    columns, shape, iloc = ("area", "street"), (1, 2), None

    def items(self) -> Any:
        return iter([("area", np.ones(1)), ("street", np.array(["Pave"], object))])

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        return np.array([[1.0, "Pave"]], object)


class World:
    def __init__(self) -> None:
        self.g = gx.Graph("k")
        self.x = self.g.input("x", ("n", 3))
        self.w = self.g.parameter("W", np.zeros(3, np.float32))
        self.k = self.g.variable("k", np.zeros((), np.int32))
        self.loss = gx.sum(self.x * self.w)
        self.f = gx.compile([self.x], self.loss, backend="numpy")
        self.z = gx.Graph("other").input("z", ("n", 3))


OBJECTS = np.array([[1, 1.5, True]], object)
Row = tuple[str, Callable[[World], Any], type[Exception], str]
ROWS: list[Row] = [
    # NumPy's functions
    ("np.exp", lambda w: np.exp(w.x), TypeError, "x is a tensor .* np.exp takes arrays; use gx.exp"),
    ("np.sum", lambda w: np.sum(w.x), TypeError, "use gx.sum"),
    ("np.arctan2", lambda w: np.arctan2(w.x, w.x), TypeError, "use gx.atan2"),
    ("np.concatenate", lambda w: np.concatenate([w.x, np.ones((1, 3))]), TypeError, "use gx.concat"),
    ("np.where", lambda w: np.where(w.x > 0, w.x, 0), TypeError, "use gx.where"),
    ("np.linalg.norm", lambda w: np.linalg.norm(w.x), TypeError, "np.linalg.norm takes arrays; use gx.norm"),
    ("np.unwrap", lambda w: np.unwrap(w.x), TypeError, "compile the tensor"),
    ("in place", lambda w: np.ones(3).__iadd__(w.x), TypeError, "np.add takes arrays; use gx.add"),
    ("gx.cat", lambda w: gx.cat, AttributeError, "did you mean gx.concat"),
    ("gx.soft_max", lambda w: gx.soft_max, AttributeError, "did you mean gx.softmax"),
    ("bool", lambda w: bool(w.x > 0), TypeError, "gx.where"),
    ("iter", lambda w: list(w.x), TypeError, "gx.split"),
    ("float", lambda w: float(w.loss), TypeError, "compile it"),
    # arrays where tensors must be
    ("gx.tanh", lambda w: gx.tanh(np.ones(3)), gx.DTypeError, r"x must be a tensor, found an array float64\[3\]; np.tanh"),
    ("gx.softmax", lambda w: gx.softmax([1.0, 2.0]), gx.DTypeError, "x must be a tensor, found a list of 2"),
    ("gx.add", lambda w: gx.add(1, np.ones(2)), gx.GraphError, "expected a tensor, found 1 and an array.*g.constant"),
    ("gx.mean of None", lambda w: gx.mean(None), gx.DTypeError, "x must be a tensor, found None"),
    ("gx.mean of two", lambda w: gx.mean([w.x, w.x]), gx.DTypeError, "found a list of 2"),
    ("axis a text", lambda w: gx.softmax(w.x, axis="rows"), gx.ShapeError, "^softmax: axis must be an int"),
    ("shape a tensor", lambda w: gx.broadcast_to(w.x, w.x), gx.DTypeError, "shape must be a list"),
    ("two graphs", lambda w: gx.linear(w.x, w.z), gx.GraphError, "two graphs: x of 'k', z of 'other'"),
    # gx.compile and its kin
    ("a bare input", lambda w: gx.compile(w.x, w.loss), gx.GraphError, r"inputs must be a list .*write \[x\]"),
    ("inputs a dict", lambda w: gx.compile(w.g.inputs, w.loss), gx.GraphError, r"list\(....values\(\)\)"),
    ("inputs None", lambda w: gx.compile(None, w.loss), gx.GraphError, "inputs must be a list of tensors, found None"),
    ("inputs by name", lambda w: gx.compile(["x"], w.loss), gx.GraphError, r"g\['x'\] is the tensor"),
    ("updates an optimiser", lambda w: gx.compile([w.x], w.loss, gx.optim.SGD()), gx.CompileError, r"opt.updates\(loss\)"),
    ("updates a list", lambda w: gx.compile([w.x], w.loss, [(w.w, w.w)]), gx.CompileError, "must be a dict"),
    ("updates by name", lambda w: gx.compile([w.x], w.loss, {"W": w.w}), gx.GraphError, r"g\['W'\] is the tensor"),
    ("backend spelt", lambda w: gx.compile([w.x], w.loss, backend="numb"), gx.CompileError, "did you mean 'numba'"),
    ("backend an array", lambda w: gx.compile([w.x], w.loss, backend=np.ones(2)), gx.CompileError, "backend must be"),
    ("grad of a list", lambda w: gx.grad([w.loss], w.w), gx.GradientError, "y must be one tensor, found a list of 1"),
    ("grad by a name", lambda w: gx.grad(w.loss, "W"), gx.GradientError, "wrt must be a list of tensors, found the text 'W'"),
    ("params a tensor", lambda w: gx.optim.SGD().updates(w.loss, w.w), gx.GraphError, r"params must be .* write \[W\]"),
    ("loss a number", lambda w: gx.optim.SGD().updates(1.0), gx.GraphError, "loss must be a scalar tensor, found 1.0"),
    ("inference of None", lambda w: gx.inference(None), gx.GraphError, "outputs must be a list of tensors, found None"),
    ("outputs a tensor of another", lambda w: setattr(w.g, "outputs", w.z), gx.GraphError, "outputs must be tensors"),
    # calls
    ("objects", lambda w: w.f(OBJECTS), gx.InputDTypeError, r"although it holds numbers only.*astype\('float32'\)"),
    ("an object that is text", lambda w: w.f(Frame().__array__()), gx.InputDTypeError, r"'Pave' at \[0, 1\]"),
    ("a frame", lambda w: w.f(Frame()), gx.InputDTypeError, r"column 'street': dtype object, with 'Pave' at .0.; make numbers"),
    ("None", lambda w: w.f(None), gx.InputDTypeError, "found None; pass an array"),
    ("text", lambda w: w.f(np.array([["a"] * 3])), gx.InputDTypeError, "dtype <U1; expected bools"),
    ("a tensor", lambda w: w.f(w.x), gx.InputDTypeError, "the tensor x; pass an array"),
    ("an input's name spelt", lambda w: w.f(X=np.ones((1, 3))), gx.InputError, "did you mean 'x'"),
    ("batches of an array", lambda w: w.f.run_batches(np.ones((4, 3))), gx.InputError, r"write \[x\]"),
    # names and state
    ("name taken", lambda w: w.g.input("x", ("n", 3)), gx.GraphError, r"made at test_first_hour.py:\d+; choose another, use g\['x'\], or begin"),
    ("node spelt", lambda w: w.g["w"], gx.GraphError, "did you mean 'W'"),
    ("state spelt", lambda w: w.g.state["w"], KeyError, "graph 'k' has no state 'w'; it has W, k; did you mean 'W'"),
    ("state spelt, set", lambda w: w.g.state.__setitem__("w", 1.0), gx.InputKeyError, "did you mean 'W'"),
    ("state a tensor", lambda w: w.g.state.__setitem__("W", w.w), TypeError, "is a tensor"),
    ("state None", lambda w: w.g.state.__setitem__("W", None), gx.InputDTypeError, "found None"),
    ("state with a fraction", lambda w: w.g.state.__setitem__("k", 0.5), gx.InputDTypeError, "loss of meaning"),
    ("state ragged", lambda w: w.g.state.__setitem__("W", [[1], [1, 2]]), gx.InputShapeError, "state 'W'"),
    ("state updated with a list", lambda w: w.g.state.update([("W", 1)]), gx.InputError, "dict of arrays by name"),
    # copies
    ("pickle", lambda w: pickle.dumps(w.f), gx.GraphError, "gx.save"),
    ("pickled graph", lambda w: pickle.dumps({"g": w.g}), gx.GraphError, "Graph objects are neither"),
    ("deepcopy", lambda w: copy.deepcopy(w.f), gx.GraphError, "gx.load"),
    ("copy of a graph", lambda w: copy.copy(w.g), gx.GraphError, "neither pickled nor copied"),
    ("copy of a tensor", lambda w: copy.copy(w.x), gx.GraphError, "Tensor objects"),
    ("copy of state", lambda w: copy.deepcopy(w.g.state), gx.GraphError, "State objects"),
]  # fmt: skip


@pytest.mark.parametrize(("act", "error", "text"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS])
def test_words(act: Callable[[World], Any], error: type[Exception], text: str) -> None:
    world = World()
    with pytest.raises(error, match=f"(?s){text}") as caught:
        act(world)
    assert isinstance(caught.value, gx.GraphcError) or error is AttributeError


# ---- every public function, given what it cannot take

TENSORS = {"Tensor", "Operand"}
WRONG = {
    "array": np.ones((3, 4), np.float32), "nothing": None, "text": "abc", "dict": {}, "set": {1}, "object": object(),
    "number": 3.0, "function": len,
}  # fmt: skip
CALLABLE = [n for n in gx.__all__ if inspect.isfunction(getattr(gx, n)) and n not in ("load", "save", "from_onnx")]


@pytest.mark.parametrize("name", sorted({*FUNCTIONS, *CALLABLE}))
def test_wrong_arguments_end_in_words(name: str) -> None:
    """Each parameter in turn is given what it cannot take; the others what they usually are."""
    function = FUNCTIONS.get(name) or getattr(gx, name)
    parameters = [p for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD]
    g, other = gx.Graph("one"), gx.Graph("two")
    x, z = g.input("x", (3, 4)), other.input("z", (3, 4))

    def usual(p: inspect.Parameter) -> Any:
        if TENSORS & set(str(p.annotation).replace("[", " ").replace("]", " ").split()):
            return [x, x] if "Sequence[" in str(p.annotation) else x
        return (3, 4) if "Sequence[" in str(p.annotation) else 1

    for wrong in parameters:
        for bad in [*WRONG.values(), [x, x], z]:
            given = {p.name: bad if p is wrong else usual(p) for p in parameters if p is wrong or p.default is p.empty}
            first = [given.pop(p.name) for p in parameters if p.kind is p.POSITIONAL_ONLY and p.name in given]
            try:
                function(*first, **given)
            except gx.GraphcError as error:
                assert error.origin is not None and "test_first_hour.py" in str(error), error
            except TypeError as error:  # Python's own words about a call
                assert "argument" in str(error), error


# ---- what works


def test_operators_between_arrays_and_tensors_are_the_tensors() -> None:
    g = gx.Graph("k", float_dtype="float64")
    x = g.input("x", (2, 2), "float64")
    b = g.input("b", (2, 2), "bool")
    a = np.array([[1.0, -2.0], [3.0, 0.5]])
    mask = a > 0
    tensors = {
        "+": a + x, "-": a - x, "*": a * x, "/": a / x, "//": a // x, "%": a % x, "**": np.abs(a) ** x, "@": a @ x, "==": a == x,
        "!=": a != x, "<": a < x, "<=": a <= x, ">": a > x, ">=": a >= x, "&": mask & b, "|": mask | b, "^": mask ^ b,
        "scalar": np.float32(2) * x, "zero-d": np.array(2.0) * x,
    }  # fmt: skip
    v = np.array([[2.0, 0.25], [3.0, 0.5]])
    m = np.array([[True, False], [True, True]])
    f = gx.compile([x, b], tensors, backend="numpy")
    arrays = {
        "+": a + v, "-": a - v, "*": a * v, "/": a / v, "//": a // v, "%": a % v, "**": np.abs(a) ** v, "@": a @ v, "==": a == v,
        "!=": a != v, "<": a < v, "<=": a <= v, ">": a > v, ">=": a >= v, "&": mask & m, "|": mask | m, "^": mask ^ m,
        "scalar": 2 * v, "zero-d": 2.0 * v,
    }  # fmt: skip
    for name, found in f(v, m).items():
        np.testing.assert_array_equal(found, arrays[name], err_msg=name)
        assert found.dtype == arrays[name].dtype


def test_state_converts_as_calls_do_and_updates_all_or_nothing() -> None:
    w = World()
    w.g.state["W"] = np.arange(3)
    assert w.g.state["W"].tolist() == [0, 1, 2] and w.g.state["W"].dtype == np.float32
    w.g.state["W"] = [0.5, 1.5, 2.5]
    w.g.state.update({"W": np.ones(3), "k": 7})
    assert w.g.state["W"].tolist() == [1, 1, 1] and w.g.state["k"] == 7
    with pytest.raises(gx.InputShapeError):
        w.g.state.update({"W": np.zeros(3), "k": np.zeros(2, int)})
    assert w.g.state["W"].tolist() == [1, 1, 1]
    assert w.g.state.get("nothing") is None and "nothing" not in w.g.state and [] not in list(w.g.state)
    assert repr(w.g.state) == "<State of graph 'k': 2 arrays>\n  W: float32[3]\n  k: int32[]"


def test_inputs_may_be_called_self_and_out() -> None:
    g = gx.Graph("k")
    a, b = g.input("self", ("n",)), g.input("out", ("n",))
    f = gx.compile([a, b], a - b, backend="numpy")
    one, two = np.ones(2), np.full(2, 2.0)
    assert f(two, one).tolist() == [1, 1]
    alone = gx.compile([a], -a, backend="numpy")
    assert alone(self=one).tolist() == [-1, -1]
    with pytest.raises(gx.InputError, match=r"'out' is missing.*pass it by position"):
        f(self=two, out=one.astype(np.float32))
    assert f.run_batches({"self": two, "out": one}, 1).tolist() == [1, 1]


def test_an_input_without_a_dtype_is_the_graphs_float() -> None:
    g = gx.Graph("m", float_dtype="float64")
    x = g.input("x", (2,))
    assert x.dtype == (x * g.parameter("w", [1.0, 2.0])).dtype == np.float64
    assert gx.Graph("m").input("x", ()).dtype == np.float32


# ---- notebooks


@pytest.fixture
def cells(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, dict[str, Any]], None]]:
    """Runs the source of a cell as IPython does: under the name of a temporary file that it knows a name for."""
    names: dict[str, int] = {}
    shell = SimpleNamespace(
        compile=SimpleNamespace(format_code_name=lambda f: ("Cell", f"In[{names[f]}]") if f in names else None)
    )
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    count = 0

    def run(source: str, space: dict[str, Any]) -> None:
        nonlocal count
        count += 1
        file = f"/tmp/ipykernel_1/{hash(source)}.py"
        names[file] = count
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        exec(compile(source, file, "exec"), space)

    yield run
    for file in names:
        linecache.cache.pop(file, None)


def test_cells_are_places(cells: Callable[[str, dict[str, Any]], None]) -> None:
    space: dict[str, Any] = {"gx": gx}
    cells("g = gx.Graph('k')", space)
    cells("# data\nx = g.input('x', ('n', 3))\ny = gx.exp(x)", space)
    assert str(space["x"].origin) == "Cell In[2], line 2" and space["y"].origin.text == "y = gx.exp(x)"
    with pytest.raises(gx.GraphError) as caught:
        cells("# data\nx = g.input('x', ('n', 3))\ny = gx.exp(x)", space)
    text = str(caught.value)
    assert "made at Cell In[2], line 2; choose another" in text and "before a cell runs again" in text
    assert text.endswith("at Cell In[3], line 2   x = g.input('x', ('n', 3))")
    assert "Cell In[2], line 3   y = gx.exp(x)" in str(space["g"])


def test_masked_arrays_are_not_loaded_to_be_refused() -> None:
    """NumPy loads them when they are first named, which takes as long as many calls."""
    code = (
        "import sys, numpy as np, graphc as gx\n"
        "g = gx.Graph('k'); w = g.parameter('w', np.zeros(2)); x = g.input('x', (2,))\n"
        "before = 'numpy.ma' in sys.modules\n"
        "g.state['w'] = np.ones(2); gx.compile([x], x * w, backend='numpy')(np.ones(2))\n"
        "assert before or 'numpy.ma' not in sys.modules\n"
        "try: g.state['w'] = np.ma.array([1.0, 2.0])\n"
        "except gx.InputDTypeError as error: assert 'masked' in str(error)\n"
        "else: raise AssertionError\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=100)
