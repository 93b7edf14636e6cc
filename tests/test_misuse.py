"""Misuse, one row for each: the documented error, its node where there is one, and the user's line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gx


class World:
    """A small graph to misuse, and compiled pieces of it."""

    def __init__(self) -> None:
        self.g = g = gx.Graph("world")
        self.x = g.input("x", ("batch", 4))
        self.v = g.input("v", (3,))
        self.i = g.input("i", ("batch",), "int64")
        self.b = g.input("b", (3,), "bool")
        self.w = g.parameter("W", np.ones((4, 3), np.float32))
        self.s = g.variable("s", np.zeros((), np.float32))
        self.h = gx.tanh(self.x @ self.w).named("h")
        self.loss = gx.mean(self.h)
        self.other = gx.Graph("elsewhere")
        self.z = self.other.input("z", ("batch", 4))

    @property
    def f(self) -> gx.Executable:
        return gx.compile([self.x], self.h, backend="numpy")

    @property
    def two(self) -> gx.Executable:
        return gx.compile([self.x, self.v], [self.h + self.v, self.loss], backend="numpy")


ONES = np.ones((2, 4), np.float32)
HERE = True  # the error must show this file's line
Row = tuple[str, Callable[[World], Any], type[Exception], str]

ROWS: list[Row] = [
    ("labels of nll are floats", lambda w: gx.nll(w.h, w.h[:, 0]), gx.DTypeError, "nll: expected integer labels"),
    ("labels of nll for each element", lambda w: gx.nll(w.h, w.h.astype("int64")), gx.ShapeError, "nll: expected one label"),
    ("square of a number", lambda w: gx.square(3.0), gx.GraphError, "expected a tensor"),
    ("reciprocal of a number", lambda w: gx.reciprocal(3.0), gx.GraphError, "expected a tensor"),
    ("gradients no list", lambda w: gx.optim.clip_by_global_norm(w.h, 1.0), gx.GraphError, "list of tensors"),
    # names, graphs, leaves
    ("name taken", lambda w: w.g.input("x", (2,)), gx.GraphError, "'x' is taken"),
    ("name of a parameter taken", lambda w: w.g.parameter("W", np.ones(2, "f")), gx.GraphError, "taken"),
    ("name empty", lambda w: w.g.input("", (2,)), gx.GraphError, "non-empty"),
    ("name no text", lambda w: w.g.input(3, (2,)), gx.GraphError, "non-empty str"),
    ("graph name no text", lambda w: gx.Graph(7), gx.GraphError, "name must be a str"),
    ("integer graph", lambda w: gx.Graph("g", float_dtype="int32"), gx.DTypeError, "float_dtype"),
    ("named again", lambda w: w.loss.named("h"), gx.GraphError, "taken"),
    ("unknown node", lambda w: w.g["nothing"], gx.GraphError, "no node called"),
    ("scope empty", lambda w: w.g.scope("").__enter__(), gx.GraphError, "scope"),
    ("dtype unknown", lambda w: w.g.input("q", (2,), "float99"), gx.DTypeError, "not supported"),
    ("dtype complex", lambda w: w.g.input("q", (2,), "complex64"), gx.DTypeError, "not supported"),
    ("dtype float16", lambda w: w.g.input("q", (2,), "float16"), gx.DTypeError, "not supported"),
    ("shape a number", lambda w: w.g.input("q", 3), gx.ShapeError, "tuple or list"),
    ("shape a text", lambda w: w.g.input("q", "n"), gx.ShapeError, "tuple or list"),
    ("size negative", lambda w: w.g.input("q", (-1,)), gx.ShapeError, "at least 0"),
    ("size a float", lambda w: w.g.input("q", (2.0,)), gx.ShapeError, "size must be"),
    ("size a bool", lambda w: w.g.input("q", (True,)), gx.ShapeError, "size must be"),
    ("symbol no identifier", lambda w: w.g.input("q", ("a b",)), gx.ShapeError, "identifier"),
    ("parameter a tensor", lambda w: w.g.parameter("q", w.x), gx.GraphError, "found the tensor"),
    ("parameter ragged", lambda w: w.g.parameter("q", [[1, 2], [3]]), gx.ShapeError, "cannot make an array"),
    ("parameter of text", lambda w: w.g.parameter("q", np.array(["a"])), gx.DTypeError, "not supported"),
    ("parameter of objects", lambda w: w.g.parameter("q", np.array([None])), gx.DTypeError, "not supported"),
    ("constant of text with dtype", lambda w: w.g.constant(np.array(["a"]), "float32"), gx.DTypeError, "numbers"),
    ("seed a float", lambda w: w.g.random_key(0.5), gx.GraphError, "seed"),
    ("seed too large", lambda w: w.g.random_key(2**70), gx.GraphError, "seed"),
    ("outputs of another graph", lambda w: setattr(w.g, "outputs", [w.z]), gx.GraphError, "outputs"),
    # operators
    ("graphs mixed", lambda w: w.x + w.z, gx.GraphError, "'world'.*'elsewhere'|two graphs"),
    ("graphs mixed in a product", lambda w: w.x @ w.z, gx.GraphError, "two graphs"),
    ("operand a text", lambda w: w.x + "1", gx.DTypeError, "expected a tensor|not supported|numbers"),
    ("operand None", lambda w: w.x * None, gx.DTypeError, "expected a tensor|not supported"),
    ("operand a dict", lambda w: w.x - {}, gx.DTypeError, "expected a tensor|not supported"),
    ("shapes do not broadcast", lambda w: w.v + np.ones(4, np.float32), gx.ShapeError, "do not broadcast"),
    ("inner sizes differ", lambda w: w.x @ w.v, gx.ShapeError, "inner dimensions differ"),
    ("inner sizes differ 2", lambda w: w.w @ w.w, gx.ShapeError, r"left is float32\[4, 3\]"),
    ("product of a scalar", lambda w: w.loss @ w.w, gx.ShapeError, "at least one axis"),
    ("product of bools", lambda w: w.b @ w.b, gx.DTypeError, "numbers of one dtype"),
    ("bools subtracted", lambda w: w.b - w.b, gx.DTypeError, "logical_xor"),
    ("sign of bools", lambda w: gx.sign(w.b), gx.DTypeError, "bools have no sign"),
    ("bool negated", lambda w: -w.b, gx.DTypeError, "logical_not"),
    ("number too large", lambda w: w.g.input("u", (2,), "uint8") + 300, gx.DTypeError, "does not fit"),
    ("number negative for unsigned", lambda w: w.g.input("u", (2,), "uint8") * -1, gx.DTypeError, "does not fit"),
    ("function of an array", lambda w: gx.exp(np.ones(3)), gx.DTypeError, "expected a tensor"),
    ("no tensor at all", lambda w: gx.add(1, 2), gx.GraphError, "expected a tensor"),
    ("norm of order 3", lambda w: gx.norm(w.v, 3), gx.DTypeError, "1, 2 or inf"),
    ("variance of one element", lambda w: gx.var(w.g.input("one", (1,)), ddof=1), gx.ShapeError, "not defined"),
    ("rate of one", lambda w: gx.dropout(w.x, 1.0, key=w.g.random_key()), gx.ShapeError, "rate"),
    ("rate a text", lambda w: gx.dropout(w.x, "half", key=w.g.random_key()), gx.ShapeError, "rate"),
    ("key is no key", lambda w: gx.dropout(w.x, 0.5, key=w.v), gx.DTypeError, "random_key"),
    # axes and shapes
    ("axis too large", lambda w: gx.sum(w.x, 2), gx.ShapeError, "axis 2 does not exist"),
    ("axis too small", lambda w: gx.max(w.x, -3), gx.ShapeError, "axis -3"),
    ("axis twice", lambda w: gx.sum(w.x, (0, -2)), gx.ShapeError, "stands twice"),
    ("axis a text", lambda w: gx.sum(w.x, "batch"), gx.ShapeError, "must be an int"),
    ("axis a bool", lambda w: gx.sum(w.x, True), gx.ShapeError, "must be an int"),
    ("axis of argmax", lambda w: gx.argmax(w.x, 5), gx.ShapeError, "axis 5"),
    ("softmax of a missing axis", lambda w: gx.softmax(w.v, 1), gx.ShapeError, "axis 1"),
    ("extreme of nothing", lambda w: gx.max(w.g.input("none", (0,))), gx.ShapeError, "empty"),
    ("reshape to another count", lambda w: gx.reshape(w.v, (2,)), gx.ShapeError, "cannot reshape"),
    ("reshape with two unknowns", lambda w: gx.reshape(w.w, (-1, -1)), gx.ShapeError, "only one size"),
    ("reshape without an answer", lambda w: gx.reshape(w.w, (5, -1)), gx.ShapeError, "cannot reshape"),
    ("squeeze of a wide axis", lambda w: gx.squeeze(w.v, 0), gx.ShapeError, "cannot squeeze"),
    ("broadcast to fewer", lambda w: gx.broadcast_to(w.v, (2,)), gx.ShapeError, "broadcast"),
    ("broadcast to less rank", lambda w: gx.broadcast_to(w.w, (3,)), gx.ShapeError, "broadcast"),
    ("permutation too short", lambda w: gx.permute_dims(w.w, (0,)), gx.ShapeError, "expected 2 axes"),
    ("permutation doubled", lambda w: gx.permute_dims(w.w, (0, 0)), gx.ShapeError, "each axis"),
    ("transpose of a vector", lambda w: gx.matrix_transpose(w.v), gx.ShapeError, "two axes"),
    ("concat of nothing", lambda w: gx.concat([]), gx.ShapeError, "at least one"),
    ("concat of scalars", lambda w: gx.concat([w.loss, w.loss]), gx.ShapeError, "use stack"),
    ("concat of other sizes", lambda w: gx.concat([w.w, w.g.input("q", (4, 4))]), gx.ShapeError, "sizes differ"),
    ("stack of nothing", lambda w: gx.stack([]), gx.ShapeError, "at least one"),
    ("split in unequal parts", lambda w: gx.split(w.v, 2), gx.ShapeError, "cannot split"),
    ("tensordot over unequal sizes", lambda w: gx.tensordot(w.w, w.w.T, ([0, 1], [0, 1])), gx.ShapeError, "differ in number or size"),
    ("tensordot over unequal counts", lambda w: gx.tensordot(w.w, w.w, ([0], [0, 1])), gx.ShapeError, "differ in number or size"),
    ("tensordot over a missing axis", lambda w: gx.tensordot(w.w, w.w, ([2], [0])), gx.ShapeError, "axis 2"),
    ("vecdot of unequal sizes", lambda w: gx.vecdot(w.v, w.v[:1]), gx.ShapeError, "inner dimensions differ"),
    ("diagonal of a vector", lambda w: gx.diagonal(w.v), gx.ShapeError, "two axes"),
    ("pad by less than nothing", lambda w: gx.pad(w.v, [(-1, 0)]), gx.ShapeError, "widths"),
    ("pad of unknown mode", lambda w: gx.pad(w.v, 1, "wrap"), gx.ShapeError, "mode"),
    ("reflect beyond the edge", lambda w: gx.pad(w.v, 3, "reflect"), gx.ShapeError, "reflect"),
    # indexing
    ("index too large", lambda w: w.v[3], gx.ShapeError, "index 3 is out of range"),
    ("index too small", lambda w: w.v[-4], gx.ShapeError, "out of range"),
    ("too many indices", lambda w: w.v[0, 0], gx.ShapeError, "too many indices"),
    ("two ellipses", lambda w: w.w[..., ...], gx.ShapeError, "too many indices"),
    ("index a float", lambda w: w.v[1.0], gx.DTypeError, "expected slices"),
    ("index a text", lambda w: w.v["a"], gx.DTypeError, "expected slices"),
    ("slice with step 0", lambda w: w.v[::0], gx.ShapeError, "must not be 0"),
    ("slice of text", lambda w: w.v["a":], gx.DTypeError, "parts of a slice"),
    ("take with floats", lambda w: gx.take(w.v, w.v), gx.DTypeError, "integer indices"),
    ("one_hot of floats", lambda w: gx.one_hot(w.v, 3), gx.DTypeError, "integer indices"),
    # losses
    ("labels of another rank", lambda w: gx.cross_entropy(w.h, gx.expand_dims(w.i, 1)), gx.ShapeError, "integer labels"),
    ("integer logits", lambda w: gx.cross_entropy(w.i, w.i), gx.DTypeError, "float logits"),
    ("probabilities of another rank", lambda w: gx.cross_entropy(w.h, w.v), gx.ShapeError, "probabilities"),
    ("smoothing above one", lambda w: gx.cross_entropy(w.h, w.i, label_smoothing=2.0), gx.ShapeError, "label_smoothing"),
    # gradients
    ("not a scalar", lambda w: gx.grad(w.h, w.w), gx.ShapeError, "not a scalar"),
    ("disconnected", lambda w: gx.grad(w.loss, w.s), gx.GradientError, "does not depend on s"),
    ("behind stop_gradient", lambda w: gx.grad(gx.sum(gx.stop_gradient(w.v)), w.v), gx.GradientError, "does not depend"),
    ("by an integer", lambda w: gx.grad(w.loss, w.i), gx.GradientError, "only float tensors"),
    ("of an integer", lambda w: gx.grad(gx.sum(w.i), w.x), gx.GradientError, "only float tensors"),
    ("by a bool", lambda w: gx.grad(w.loss, w.b), gx.GradientError, "only float tensors"),
    ("of another graph", lambda w: gx.grad(w.loss, w.z), gx.GraphError, "two graphs"),
    ("cotangent of another shape", lambda w: gx.grad(w.h, w.w, cotangent=np.ones(2, "f")), gx.ShapeError, "cotangent"),
    ("unknown option", lambda w: gx.grad(w.loss, w.w, on_disconnected="warn"), gx.GradientError, "on_disconnected"),
    ("by a number", lambda w: gx.grad(w.loss, [1.0]), gx.GradientError, "wrt must be tensors, found 1.0"),
    ("no derivative", lambda w: gx.grad(gx.sum(w.v // 2.0), w.v), gx.GradientError, "does not depend"),
    # compile
    ("nothing to compute", lambda w: gx.compile([w.x], None), gx.CompileError, "nothing to compute"),
    ("input missing", lambda w: gx.compile([], w.h), gx.CompileError, "needs? the input x|input x"),
    ("input unused", lambda w: gx.compile([w.x, w.v], w.h), gx.CompileError, "no output needs the input v"),
    ("input twice", lambda w: gx.compile([w.x, w.x], w.h), gx.CompileError, "listed twice"),
    ("input a constant", lambda w: gx.compile([w.g.constant(1.0)], w.h), gx.CompileError, "constant"),
    ("input a number", lambda w: gx.compile([3], w.h), gx.GraphError, "expected tensors"),
    ("output a number", lambda w: gx.compile([w.x], [w.h, 3]), gx.GraphError, "expected tensors"),
    ("output a text", lambda w: gx.compile([w.x], "h"), gx.CompileError, "tensor, list or dict"),
    ("output keys no text", lambda w: gx.compile([w.x], {1: w.h}), gx.CompileError, "must be str"),
    ("output of another graph", lambda w: gx.compile([w.x], [w.h, w.z]), gx.GraphError, "two graphs"),
    ("symbol unbound", lambda w: gx.compile([], gx.sum(gx.broadcast_to(w.s, ("n",)))), gx.ShapeError, "no input has the size 'n'"),
    ("threads none", lambda w: gx.compile([w.x], w.h, threads=0), gx.CompileError, "threads"),
    ("threads a float", lambda w: gx.compile([w.x], w.h, threads=1.5), gx.CompileError, "threads"),
    ("backend unknown", lambda w: gx.compile([w.x], w.h, backend="cuda"), gx.CompileError, "backend"),
    ("debug unknown", lambda w: gx.compile([w.x], w.h, debug="all"), gx.CompileError, "debug"),
    ("unused unknown", lambda w: gx.compile([w.x], w.h, unused="maybe"), gx.CompileError, "unused"),
    ("update of an input", lambda w: gx.compile([w.x], w.h, {w.x: w.x}), gx.CompileError, "only parameters and variables"),
    ("update of an argument", lambda w: gx.compile([w.x, w.w], w.h, {w.w: w.w}), gx.CompileError, "cannot be updated"),
    ("update of another shape", lambda w: gx.compile([w.x], w.h, {w.w: w.w[0]}), gx.ShapeError, "next value of W"),
    ("update of another dtype", lambda w: gx.compile([w.x], w.h, {w.w: w.w.astype("float64")}), gx.DTypeError, "next value of W"),
    ("update with a number", lambda w: gx.compile([w.x], w.h, {w.w: 1.0}), gx.GraphError, "expected tensors"),
    # optimisers, transforms
    ("nothing to train", lambda w: gx.optim.SGD().updates(gx.sum(w.z)), gx.GraphError, "no parameters"),
    ("a variable trained", lambda w: gx.optim.Adam().updates(w.loss, [w.s]), gx.GraphError, "expected parameters"),
    ("substitute of another shape", lambda w: gx.substitute(w.loss, {w.h: w.v}), gx.ShapeError, "replacement"),
    ("substitute of another dtype", lambda w: gx.substitute(w.loss, {w.h: w.h.astype("float64")}), gx.DTypeError, "replacement"),
    ("inference of a number", lambda w: gx.inference([1.0]), gx.GraphError, "expected"),
    # calls
    ("too few arguments", lambda w: w.two(ONES), gx.InputError, "'v' is missing"),
    ("too many arguments", lambda w: w.f(ONES, ONES), gx.InputError, "expected 1 inputs"),
    ("unknown argument", lambda w: w.f(ONES, q=1), gx.InputError, "no input 'q'"),
    ("argument twice", lambda w: w.f(ONES, x=ONES), gx.InputError, "passed twice"),
    ("argument of less rank", lambda w: w.f(np.ones(4, "f")), gx.InputShapeError, r"float32\[batch, 4\]"),
    ("argument of more rank", lambda w: w.f(np.ones((1, 2, 4), "f")), gx.InputShapeError, "2 axes"),
    ("argument of another size", lambda w: w.f(np.ones((2, 5), "f")), gx.InputShapeError, r"found shape \(2, 5\)"),
    ("a symbol with two sizes", lambda w: gx.compile([w.x, w.i], w.h[:, 0] * w.i, backend="numpy")(ONES, [1, 2, 3]), gx.InputShapeError, "batch is 3"),
    ("argument a text", lambda w: w.f("ones"), gx.InputDTypeError, "'x'"),
    ("argument None", lambda w: w.f(None), gx.InputDTypeError, "'x'"),
    ("argument of objects", lambda w: w.f(np.full((2, 4), None)), gx.InputDTypeError, "dtype object"),
    ("argument complex", lambda w: w.f(ONES + 1j), gx.InputDTypeError, "complex64"),
    ("argument a tensor", lambda w: w.f(w.x), gx.InputDTypeError, "the tensor x"),
    ("argument masked", lambda w: w.f(np.ma.ones((2, 4))), gx.InputDTypeError, "masked"),
    ("argument ragged", lambda w: w.f([[1, 2], [3]]), gx.InputShapeError, "'x'"),
    ("floats for integers", lambda w: gx.compile([w.i], w.i, backend="numpy")([0.5]), gx.InputDTypeError, "'i'"),
    ("integers too large", lambda w: gx.compile([w.g.input("u", (1,), "uint8")], w.g["u"], backend="numpy")([300]), gx.InputDTypeError, "'u'"),
    ("numbers for bools", lambda w: gx.compile([w.b], w.b, backend="numpy")([0, 1, 2]), gx.InputDTypeError, "'b'"),
    ("label out of range", lambda w: gx.compile([w.x, w.i], gx.cross_entropy(w.h, w.i), backend="numpy")(ONES, [0, 3]), gx.InputIndexError, "label 3"),
    ("label negative", lambda w: gx.compile([w.x, w.i], gx.cross_entropy(w.h, w.i), backend="numpy")(ONES, [0, -1]), gx.InputIndexError, "label -1"),
    ("index out of range", lambda w: gx.compile([w.i], gx.take(w.w, w.i), backend="numpy")([4]), gx.InputIndexError, "index 4"),
    ("empty maximum", lambda w: gx.compile([w.x], gx.max(w.x), backend="numpy")(ONES[:0]), gx.InputShapeError, "max"),
    ("sizes that do not fit", lambda w: gx.compile([w.x, w.i], gx.sum(w.x[1:, 0] * w.i), backend="numpy")(ONES[[0, 1, 0]], [1, 2, 3]), gx.InputShapeError, "sizes do not fit"),
    ("slice beyond the end", lambda w: gx.compile([w.x], w.x[3], backend="numpy")(ONES), gx.InputShapeError, "slice"),
    # out=
    ("out of another count", lambda w: w.two(ONES, np.ones(3, "f"), out=[np.empty((2, 3), "f")]), gx.InputError, "expected 2 arrays"),
    ("out of another structure", lambda w: w.two(ONES, np.ones(3, "f"), out={"h": 1}), gx.InputError, "structure"),
    ("out of another shape", lambda w: w.f(ONES, out=np.empty((3, 2), "f")), gx.InputShapeError, "expected shape"),
    ("out of another dtype", lambda w: w.f(ONES, out=np.empty((2, 3))), gx.InputDTypeError, "expected dtype"),
    ("out a list", lambda w: w.f(ONES, out=[0] * 6), gx.InputDTypeError, "expected an array"),
    ("out in Fortran order", lambda w: w.f(ONES, out=np.empty((3, 2), "f").T), gx.InputError, "C-ordered"),
    ("out overlapping the state", lambda w: w.f(ONES, out=w.g.state.storage["W"][:2]), gx.InputError, "overlaps"),
    # state, sizes
    ("state of another shape", lambda w: w.g.state.__setitem__("W", np.ones(3, "f")), gx.InputShapeError, "'W'"),
    ("state of another dtype", lambda w: w.g.state.__setitem__("W", np.ones((4, 3), complex)), gx.InputDTypeError, "'W'"),
    ("memory without a size", lambda w: w.f.memory(), gx.InputError, "batch"),
    ("memory of an unknown size", lambda w: w.f.memory(n=3), gx.InputError, "batch"),
    ("machine code of the interpreter", lambda w: w.f.njit, gx.CompileError, "backend"),
    # run_batches
    ("batches of a text", lambda w: w.f.run_batches("x"), gx.InputError, "list, tuple or dict"),
    ("batches of nothing", lambda w: w.f.run_batches([]), gx.InputError, "missing"),
    ("batches of no rows", lambda w: w.f.run_batches([ONES], 0), gx.InputError, "batch_size"),
    ("batches of a float", lambda w: w.f.run_batches([ONES], 2.5), gx.InputError, "batch_size"),
    ("shuffled without a seed", lambda w: w.f.run_batches([ONES], shuffle=True), gx.InputError, "seed"),
    ("rows of two lengths", lambda w: gx.compile([w.x, w.i], w.h[:, 0] * w.i, backend="numpy").run_batches([ONES, [1]]), gx.InputShapeError, "rows"),
    ("nothing to batch", lambda w: gx.compile([w.v], w.v * 2.0, backend="numpy").run_batches([ONES[0, :3]]), gx.InputError, "symbolic size"),
]  # fmt: skip

# Errors about a call as a whole, about settings or about no node of the user's: they name no line of a node.
NO_LINE = (
    "out ", "memory ", "batches", "shuffled", "nothing to batch", "machine code", "too many arg", "unknown arg", "argument twice",
)  # fmt: skip

# There the error comes before there is a node.
NO_NODE = ("name empty", "name no text", "graph name no text", "integer graph", "unknown node", "scope empty", "seed a float", "seed too large", "outputs of another graph")  # fmt: skip


def test_there_are_enough() -> None:
    assert len(ROWS) >= 150 and len({r[0] for r in ROWS}) == len(ROWS)


@pytest.mark.parametrize(("act", "error", "text"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS])
def test_misuse(act: Callable[[World], Any], error: type[Exception], text: str, request: pytest.FixtureRequest) -> None:
    world = World()
    before = {k: v.copy() for k, v in world.g.state.items()}
    with pytest.raises(error, match=f"(?s){text}") as caught:
        act(world)
    assert type(caught.value) is error and isinstance(caught.value, gx.GraphcError)
    if not request.node.callspec.id.startswith(NO_LINE):
        assert "\n  at test_misuse.py:" in str(caught.value), "no line of the user's"
        assert caught.value.node or request.node.callspec.id in NO_NODE, "no node"
    for name, value in before.items():
        np.testing.assert_array_equal(world.g.state[name], value)
