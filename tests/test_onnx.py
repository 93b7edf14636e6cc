"""ONNX models: what ONNX Runtime computes from an export is what the executable computes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data import make_golden
from example_networks import PARAMETERS, executables_of, feeds
from op_cases import CASES, Case
from random_graphs import SIZES, random_graph

import graphc as gx
from graphc.ir import dims
from graphc.ir.op import OPS, Kind
from graphc.onnx import verify
from graphc.onnx.build import Built, build
from graphc.onnx.rules import MISSING, OPSET, REFUSED, RULES
from graphc.onnx.verify import distance
from graphc.reference import check_sizes

onnx = pytest.importorskip("onnx", reason='needs the extra "onnx"')
runtime = pytest.importorskip("onnxruntime", reason='needs the extra "onnx"')
runtime.set_default_logger_severity(4)

CLOSE = {"float32": 1e-5, "float64": 1e-12}  # of the largest element, or of 1
ROUNDING = {"attention/key/bias"}  # no softmax moves with it: its gradient is rounding alone, which Adam makes large
# Before 1.23 the runtime has no such functions of float64, or loses NaN in them.
OLD = tuple(map(int, runtime.__version__.split(".")[:2])) < (1, 23)
LACKED_BY_OLD = {
    "float32": {"sqrt", "rsqrt", "erf", "erfc"},
    "float64": {
        "sin", "cos", "prod", "mish", "sinc", "rotary_embedding", "rotary_interleaved", "at_multiply",
        "scatter_multiply",
    },
}  # fmt: skip
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 1e-30, 80.0, -80.0, 0.5, -0.5]


def build_of(exe: gx.Executable) -> Built:
    return build(exe.program, {name: exe.graph.state[name] for name in exe.graph.state})


def session_of(built: Built) -> Any:
    """A model is run as any user would run it, or, with float64, as docs/onnx.md says."""
    data = built.proto.SerializeToString()
    onnx.checker.check_model(data, full_check=True)
    values = [*built.proto.graph.input, *built.proto.graph.output]
    double = any(v.type.tensor_type.elem_type == onnx.TensorProto.DOUBLE for v in values)
    return verify.session(runtime, data, double)


def run(built: Built, model: Any, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    return model.run(list(built.outputs), dict(zip(built.inputs, arrays, strict=True)))


def apart(found: Sequence[Any], expected: Sequence[Any]) -> float:
    for a, b in zip(found, map(np.asarray, expected), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
    return max(distance(a, np.asarray(b)) for a, b in zip(found, expected, strict=True))


# ---- every operation


def built_case(case: Case, dtype: str, symbolic: bool = False) -> tuple[gx.Executable, Built]:
    """A case with its gradients."""
    g = gx.Graph("case", float_dtype=dtype)
    inputs = [g.input(f"x{k}", shape, dtype) for k, shape in enumerate(case.shapes)]
    y = case.build(*inputs)
    outputs = [y, *(gx.grad(gx.sum(y * y), inputs, on_disconnected="zeros") if case.smooth else [])]
    exe = gx.compile(inputs, outputs, backend="numpy", unused="ignore")
    return exe, build_of(exe)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_op_agrees_or_is_refused_with_its_reason(case: Case, dtype: str) -> None:
    if OLD and case.name in LACKED_BY_OLD[dtype]:
        pytest.skip(f"ONNX Runtime {runtime.__version__} does not compute {case.name} of {dtype} rightly")
    try:
        exe, built = built_case(case, dtype)
    except gx.ExportError as error:
        reasons = [reason for op, reason in REFUSED.items() if f"({op})" in str(error)]
        assert reasons and all(reason in str(error) for reason in reasons) and error.origin is not None
        return
    if built.missing:
        assert dtype == "float64" and {op for ops in built.missing.values() for op in ops} <= MISSING
        with pytest.raises(runtime.capi.onnxruntime_pybind11_state.NotImplemented):
            session_of(built)  # still so: the list is not longer than it must be
        return
    model, arrays = session_of(built), case.arrays(dtype)
    assert apart(run(built, model, arrays), exe(*arrays)) < CLOSE[dtype] / 10
    if case.special:
        rng = np.random.default_rng(1)
        special = [rng.choice(SPECIAL, s).astype(dtype) for s in case.shapes]
        with np.errstate(all="ignore"):
            assert apart(run(built, model, special)[:1], exe(*special)[:1]) < CLOSE[dtype]


def test_every_op_has_a_rule_or_a_reason() -> None:
    own = {name for name, op in OPS.items() if op.kind not in (Kind.LEAF, Kind.CONTROL, Kind.RESULT)}
    assert set(RULES) | set(REFUSED) == own and not set(RULES) & set(REFUSED)
    covered = {name for case in CASES for name in (case.name, *case.ops)}
    elsewhere = {
        "sum_broadcast",
        "size",
        "uniform",
        "signed_uniform",
        "random_word",
        "random_seed",
        "identity",
        "stop_gradient",
    }  # the tests below
    inner = {"astype", "broadcast_to", "checked_index", "iota", "logical_not", "place", "reshape", "scatter_add"}
    assert own <= covered | elsewhere | inner | {"permute_dims", "slice"}


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64"])
def test_integers_and_bools(dtype: str) -> None:
    g = gx.Graph("integers")
    a, b = (g.input(n, ("n", 3), dtype) for n in "ab")
    functions = [gx.equal, gx.not_equal, gx.less, gx.greater_equal, gx.logical_xor, gx.maximum, gx.minimum, gx.add]
    functions += [gx.floor_divide, gx.remainder, gx.fmax, gx.fmin, gx.pow]
    if dtype != "bool":
        functions += [gx.subtract, gx.multiply, gx.divide]
    outputs = [f(a, b) for f in functions]
    outputs += [gx.where(b, a, b), gx.sum(a, 0), gx.prod(a, 1), gx.max(a, 1), gx.min(a, 0), gx.any(a, 1), gx.all(a, 0)]
    outputs += [gx.argmax(a, 1), gx.count_nonzero(a), a.astype("float32"), a.astype("bool"), gx.pad(a, 1), a[::-1, ::2]]
    outputs += [gx.concat([a, b], 1), gx.take(a, [0, -1], 1), gx.identity(a), gx.stop_gradient(a)]
    if dtype != "bool":
        outputs += [gx.matmul(a, b.T), gx.abs(a), gx.sign(a), -a, gx.relu(a)]
    exe = gx.compile([a, b], outputs, backend="numpy")
    built = build_of(exe)
    rng = np.random.default_rng(0)
    low = 0 if dtype in ("bool", "uint8") else -3
    for n in (4, 1, 7):
        arrays = [rng.integers(low, 4, (n, 3)).astype(dtype) for _ in "ab"]
        found = run(built, session_of(built), arrays)
        for y, one, two in zip(outputs, found, exe(*arrays), strict=True):
            assert one.dtype == np.asarray(two).dtype and np.allclose(one, two, rtol=1e-6, equal_nan=True), y


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_quotients_of_the_extreme_integers(dtype: str) -> None:
    g = gx.Graph("extreme")
    a, b = (g.input(n, ("n",), dtype) for n in "ab")
    exe = gx.compile([a, b], [gx.floor_divide(a, b), gx.remainder(a, b)], backend="numpy")
    built = build_of(exe)
    least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
    arrays = [
        np.ravel(part).astype(dtype) for part in np.meshgrid([least, -7, 0, 7, most], [least, -3, -1, 2, 3, most])
    ]
    for one, two in zip(run(built, session_of(built), arrays), exe(*arrays), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_casts_and_quotients_at_the_edges(dtype: str) -> None:
    g = gx.Graph("edges", float_dtype=dtype)
    a, b = (g.input(n, ("n",), dtype) for n in "ab")
    outputs = [a.astype(d) for d in ("bool", "uint8", "int32", "int64")]
    outputs += [gx.floor_divide(a, b), gx.remainder(a, b), gx.sign(a)]
    exe = gx.compile([a, b], outputs, backend="numpy")
    edges = [0.0, -0.0, 1.0, -1.9, 5.0, 255.5, 300.0, 3e9, -3e9, 1e30, np.inf, -np.inf, np.nan]
    arrays = [x.ravel().astype(dtype) for x in np.meshgrid(edges, edges)]
    built = build_of(exe)
    for one, two in zip(run(built, session_of(built), arrays), exe(*arrays), strict=True):
        np.testing.assert_array_equal(one, two, strict=True)


def test_empty_batches() -> None:
    g = gx.Graph("empty")
    x = g.input("x", ("n", 3))
    i = g.input("i", ("n",), "int64")
    w = g.parameter("w", np.ones((3, 2), np.float32))
    loss = gx.sum(gx.cross_entropy(x @ w, i))
    exe = gx.compile([x, i], [loss, gx.grad(loss, w), gx.reshape(x, (-1, 1)), x[::-1], gx.prod(x, 0)], backend="numpy")
    built = build_of(exe)
    model = session_of(built)
    arrays = [np.ones((0, 3), np.float32), np.ones(0, np.int64)]
    assert apart(run(built, model, arrays), exe(*arrays)) == 0


def test_stacked_products_over_nothing_are_zero() -> None:
    g = gx.Graph("nothing")
    x, w = g.input("x", ("n", "t", 4)), g.input("w", (4, 5))
    exe = gx.compile([x, w], gx.grad(gx.sum((x @ w) ** 2), w), backend="numpy")
    built = build_of(exe)
    model = session_of(built)
    for shape in ((2, 3, 4), (2, 0, 4), (0, 3, 4)):  # the first leaves numbers in memory
        arrays = [np.full(shape, 7, np.float32), np.ones((4, 5), np.float32)]
        assert apart(run(built, model, arrays), [exe(*arrays)]) < CLOSE["float32"]


@pytest.mark.parametrize("index", [-1, 3, 100])
def test_an_index_out_of_range_stops_the_model(index: int) -> None:
    g = gx.Graph("range")
    x, i = g.input("x", (2, 3)), g.input("i", (2,), "int64")
    built = build_of(gx.compile([x, i], gx.cross_entropy(x, i), backend="numpy"))
    model = session_of(built)
    run(built, model, [np.ones((2, 3), np.float32), np.array([0, 2])])
    with pytest.raises(Exception, match="out of data bounds"):
        run(built, model, [np.ones((2, 3), np.float32), np.array([0, index])])


# ---- whole programs


def test_random_numbers_are_the_same_bits() -> None:
    for dtype in ("float32", "float64"):
        g = gx.Graph("random", float_dtype=dtype)
        x = g.input("x", ("n", 5), dtype)
        outputs: list[gx.Tensor] = []
        for seed in (0, -1, 2**63 - 1, -(2**63), 0x123456789ABCDEF):
            key = g.random_key(seed)
            outputs += [gx.random.uniform(key, ("n", 7)), gx.random.uniform(key, (), dtype="float64")]
            outputs += [gx.dropout(x, 0.4, key=key), gx.random.randint(key, ("n",), -3, 9)]
            outputs += [gx.random.bernoulli(key, ("n", 7), 0.3), gx.random.uniform(key, ("n",), 100, 101)]
        steps = {v: v + np.array([0, 2**31]) for v in g.variables.values()}
        exe = gx.compile([x], outputs, updates=steps, backend="numpy")
        built = build_of(exe)
        model = session_of(built)
        for n in (3, 1, 40):
            arrays = [np.ones((n, 5), dtype), *exe.graph.state.values()]
            found = run(built, model, arrays)
            for a, b in zip(found, [*exe(arrays[0]), *exe.graph.state.values()], strict=True):
                assert a.tobytes() == np.asarray(b).tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normal_and_exponential_numbers(dtype: str) -> None:
    g = gx.Graph("normal", float_dtype=dtype)
    x, key = g.input("x", ("n",), dtype), g.random_key(3)
    outputs = [x + gx.random.normal(key, ("n",)), gx.random.exponential(key, ("n",))]
    exe = gx.compile([x], outputs, updates={key: key + np.array([0, 1])}, backend="numpy")
    built, arrays = build_of(exe), [np.zeros(5000, dtype), g.state["key"]]
    assert apart(run(built, session_of(built), arrays)[:2], exe(arrays[0])) < CLOSE[dtype]


SIZED = [SIZES, *({"n": n, "m": m, "k": k} for n, m, k in [(7, 3, 1), (1, 3, 1), (5, 2, 1), (4, 3, 3), (64, 5, 5)])]


def check_random_graph(seed: int, backend: str) -> dict[str, float]:
    """The worst differences over all sizes that the graph of that seed takes.

    A graph may magnify rounding: what an ulp more in every input changes, ten times over, may differ too.
    """
    worst: dict[str, float] = {}
    for dtype in ("float32", "float64"):
        inputs, outputs = random_graph(seed, dtype).build()
        exe = gx.compile(inputs, outputs, backend=backend, unused="ignore")
        built = build_of(exe)
        assert not built.missing
        model, runs = session_of(built), 0
        for sizes in SIZED:
            try:
                check_sizes(exe.program.checks, sizes)
            except gx.InputShapeError:
                continue
            rng, runs = np.random.default_rng(seed), runs + 1
            shapes = [[dims.evaluate(s, sizes) for s in t.shape] for t in inputs]
            arrays = [np.asarray(rng.uniform(0.3, 1.7, s)).astype(dtype) for s in shapes]
            expected = [np.asarray(a) for a in exe(*arrays)]
            found = apart(run(built, model, arrays), expected)
            if found >= CLOSE[dtype]:
                moved = exe(*(np.nextafter(a, a.dtype.type(9)) for a in arrays))
                assert found < 10 * apart([np.asarray(a) for a in moved], expected), (seed, dtype, sizes, found)
            else:
                worst[dtype] = max(worst.get(dtype, 0.0), found)
        assert runs > 1
    return worst


@pytest.mark.parametrize("seed", range(12))
def test_random_graphs(seed: int) -> None:
    check_random_graph(seed, "numpy")


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_two_hundred_random_graphs(block: int) -> None:
    for seed in range(20 * block, 20 * block + 20):
        check_random_graph(seed, "numba")


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_network_of_the_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results and next states, at several batch sizes; or the operators that ONNX Runtime lacks, named beforehand."""
    for executables in executables_of(name, tmp_path, monkeypatch).values():
        for exe in executables.values():
            try:
                built = build_of(exe)
            except gx.ExportError as error:
                assert "linear algebra" in str(error) and name in ("least_squares", "hidden_markov", "gaussian_process")
                continue
            if built.missing:
                assert name == "activations" and set().union(*built.missing.values()) == {"Erf"}
                with pytest.raises(gx.ExportError, match="Erf"):
                    exe.export_onnx(tmp_path / "e.onnx")
                continue
            model = session_of(built)
            for size in (4, 1, 7):
                before = {s: exe.graph.state[s] for s in exe.program.updates}
                arrays = feeds(exe, size)
                found = run(built, model, [*arrays, *before.values()])
                results = exe(*arrays)
                expected = make_golden.flat(results) if exe.program.n_outputs else []
                state = [exe.graph.state[s] for s in before]
                pairs = zip(found, [*expected, *state], [*("" for _ in expected), *before], strict=True)
                told = [(a, b) for a, b, state_name in pairs if state_name not in ROUNDING]
                assert apart(*zip(*told, strict=True)) < CLOSE[exe.graph.float_dtype.name], name


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    "part", [slice(None), slice(1, None), slice(None, -1), slice(1, 3), slice(None, None, 2)], ids=str
)
def test_a_scan_may_have_no_steps(part: slice, reverse: bool) -> None:
    """Carries are as they began, and gradients reach them; results of steps are empty."""
    g = gx.Graph("scan", float_dtype="float64")
    x, h = g.input("x", ("n", 3)), g.input("h", (3,))
    last, ys = gx.scan(lambda h, row: (gx.tanh(h + row), h * row), h, xs=x[part], reverse=reverse)
    exe = gx.compile([x, h], [last, ys, *gx.grad(gx.sum(last**2) + gx.sum(ys), [x, h])], backend="numpy")
    built = build_of(exe)
    model, rng = session_of(built), np.random.default_rng(0)
    for size in (5, 2, 1, 0):
        arrays = [rng.normal(size=(size, 3)), rng.normal(size=3)]
        assert apart(run(built, model, arrays), exe(*arrays)) < CLOSE["float64"], size


def test_a_scan_of_some_steps_has_no_branch() -> None:
    """Where the sizes say that there is a step, nothing is asked at run time."""
    g = gx.Graph("scan")
    x, h = g.input("x", (4, 3)), g.input("h", (3,))
    last, _ = gx.scan(lambda h, row: (h + row, h), h, xs=x[1:])
    nodes = build_of(gx.compile([x, h], [last], backend="numpy")).proto.graph.node
    assert "Scan" in [n.op_type for n in nodes]


def test_training_goes_on_in_onnx_runtime(tmp_path: Path) -> None:
    """State goes out and comes in again; what is left out is the state as it was exported."""
    executables, ((_, (x, y)), *_) = make_golden.mlp("float32")
    train, graph = executables["train"], executables["train"].graph
    train.export_onnx(tmp_path / "train.onnx")
    model = runtime.InferenceSession(tmp_path / "train.onnx", providers=["CPUExecutionProvider"])
    entering = [*model.get_inputs(), *model.get_overridable_initializers()]
    assert [i.name for i in entering[:2]] == ["x", "y"] and {i.name for i in entering[2:]} == set(train.program.updates)
    names = [o.name for o in model.get_outputs()]
    assert names[1:] == [f"{name}/next" for name in train.program.updates]
    state: dict[str, np.ndarray] = {}
    for n in (12, 5, 1, 12):
        loss, *after = model.run(names, {"x": x[:n], "y": y[:n], **state})
        state = dict(zip(train.program.updates, after, strict=True))
        assert abs(loss - train(x[:n], y[:n])) < 1e-5
        assert max(distance(a, graph.state[name]) for name, a in state.items()) < 1e-5
    assert state["key"].tolist() == graph.state["key"].tolist()


def test_the_batch_stays_symbolic_and_the_opset_is_stated(tmp_path: Path) -> None:
    executables, _ = make_golden.mlp("float32")
    executables["infer"].export_onnx(tmp_path / "infer.onnx")
    model = onnx.load(tmp_path / "infer.onnx")
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)] and not model.functions
    assert {n.domain for n in model.graph.node} == {""}
    shapes = {
        v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {"x": ["batch", 6], "logits": ["batch", 3], "label": ["batch"]}
    assert {t.name for t in model.graph.initializer} >= {"W1", "W2"}


# ---- what is written


def test_shapes_are_written_as_they_are_needed() -> None:
    """0 copies a size, -1 is the rest; only where a size may be 0 is it said that 0 is no copy."""
    g = gx.Graph("shapes")
    x = g.input("x", ("n", "m", 6))
    y = gx.reshape(x, ("n", "m", 2, 3))
    outputs = [y, gx.reshape(x, (-1, 2)), gx.reshape(x, ("m", "n", 6)), gx.reshape(gx.sum(x, (0, 1)), (2, 3))]
    built = build_of(gx.compile([x], outputs, backend="numpy"))
    reshapes = [n for n in built.proto.graph.node if n.op_type == "Reshape"]
    assert [[a.i for a in n.attribute if a.name == "allowzero"] for n in reshapes] == [[], [], [1], []]
    told = {t.name: onnx.numpy_helper.to_array(t).tolist() for t in built.proto.graph.initializer}
    assert [told.get(n.input[1]) for n in reshapes] == [[0, 0, 2, 3], [-1, 2], None, [2, 3]]
    model = session_of(built)
    for shape in ((4, 5, 6), (0, 5, 6), (4, 0, 6), (1, 1, 6)):
        array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        exe = gx.compile([x], outputs, backend="numpy")
        assert apart(run(built, model, [array]), exe(array)) < CLOSE["float32"]


def test_types_of_what_is_between_are_told() -> None:
    g = gx.Graph("between")
    x = g.input("x", ("n", 3))
    exe = gx.compile([x], gx.sum(gx.tanh(x * 2).named("h"), 1).named("y"), backend="numpy")
    graph = build_of(exe).proto.graph
    told = {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in graph.value_info}
    assert told["h"] == ["n", 3] and "y" not in told and len(told) == 2


@pytest.mark.parametrize("opset", [15, 16, 17, 20, 22])
def test_the_opset_may_be_chosen(opset: int, tmp_path: Path) -> None:
    executables, ((_, arrays), *_) = make_golden.softmax()
    exe = executables["all"]
    exe.export_onnx(tmp_path / "m.onnx", verify=arrays, opset=opset)
    model = onnx.load(tmp_path / "m.onnx")
    assert [(o.domain, o.version) for o in model.opset_import] == [("", opset)]
    assert gx.from_onnx(tmp_path / "m.onnx").name == exe.graph.name


def test_opsets_that_do_not_fit(tmp_path: Path) -> None:
    g = gx.Graph("opsets")
    x, key = g.input("x", ("n", 3)), g.random_key(0)
    exe = gx.compile([x], gx.max(x, 1), backend="numpy")
    exe.export_onnx(tmp_path / "m.onnx", opset=15)
    for wrong in (14, 29, "18", 18.0, True):
        with pytest.raises(gx.ExportError, match="opset must be an int from 15 to 28, found"):
            exe.export_onnx(tmp_path / "m.onnx", opset=wrong)
    draws = gx.compile([x], gx.dropout(x, 0.5, key=key), updates={key: key + np.array([0, 1])}, backend="numpy")
    with pytest.raises(
        gx.ExportError, match=r"random_word.*ONNX has Bitwise.* as it is needed since opset 18, not in 17"
    ):
        draws.export_onnx(tmp_path / "n.onnx", opset=17)
    assert not (tmp_path / "n.onnx").exists()


WHOLE: list[tuple[str, Any, int]] = [
    ("Softmax", lambda x: gx.softmax(x, 1), 18),
    ("LogSoftmax", lambda x: gx.log_softmax(x), 18),
    ("LayerNormalization", lambda x: gx.layer_norm(x, *_weights(x), eps=1e-3), 18),
    ("LayerNormalization", lambda x: gx.layer_norm(x, _weights(x)[0]), 17),
    ("Gelu", lambda x: gx.gelu(x), 20),
    ("Gelu", lambda x: gx.gelu(x, "tanh"), 20),
]


def _weights(x: gx.Tensor) -> list[gx.Tensor]:
    return [x.graph.parameter(n, np.array([1.5, -2, 0.5, 3], np.float32)) for n in "wb"]


@pytest.mark.parametrize("shape", [("n", 3, 4), (2, 3, 4)])
@pytest.mark.parametrize("case", WHOLE, ids=lambda c: c[0])
def test_operators_that_stand_whole_are_written_whole(case: Any, shape: Any, tmp_path: Path) -> None:
    """Only where nothing else needs what is computed inside; in an older opset, as what it is made of."""
    kind, function, opset = case
    g = gx.Graph("whole")
    x = g.input("x", shape)
    y = function(x * 2)
    exe = gx.compile([x], gx.tanh(y), backend="numpy")
    exe.export_onnx(tmp_path / "m.onnx", opset=opset)
    model = onnx.load(tmp_path / "m.onnx").graph
    assert [n.op_type for n in model.node] == ["Mul", kind, "Tanh"] and gx.from_onnx(
        tmp_path / "m.onnx"
    ).name == "whole"
    weights = {n.name for n in exe.program.source.nodes if n.op.name == "parameter"}
    assert {t.name for t in model.initializer} >= weights and len(model.initializer) == 1 + len(weights)
    inner = next(t for t in g.tensors if t.op.name in ("exp", "rsqrt", "erf", "erfc", "sigmoid") and t.id < y.id)
    both = gx.compile([x], [y, inner], backend="numpy")
    assert kind not in {n.op_type for n in build(both.program, dict(g.state), opset).proto.graph.node}
    if kind == "Gelu":
        assert kind not in {n.op_type for n in build_of(exe).proto.graph.node}


def test_float64_keeps_what_runtimes_compute_in_float32() -> None:
    g = gx.Graph("double", float_dtype="float64")
    x = g.input("x", ("n", 4), "float64")
    w = g.parameter("w", np.ones(4))
    exe = gx.compile([x], [gx.layer_norm(x, w), gx.softmax(x)], backend="numpy")
    kinds = {n.op_type for n in build_of(exe).proto.graph.node}
    assert "LayerNormalization" not in kinds and "Softmax" in kinds
