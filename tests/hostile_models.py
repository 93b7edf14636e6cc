"""Damaged and hostile ONNX models, and a run of `gx.from_onnx` over many of them under watch.

    python tests/hostile_models.py SEED COUNT

prints what happened as JSON. In a process of its own, since an audit hook cannot be taken off.
"""

from __future__ import annotations

import contextlib
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import graphc as gx

Random = random.Random
onnx = pytest.importorskip("onnx", reason="hostile models are made with onnx")
FIXTURES = sorted((Path(__file__).parent / "data" / "models").glob("*.onnx"))


def own(folder: Path) -> list[bytes]:
    """Models that graphc wrote."""
    g = gx.Graph("own")
    x, y = g.input("x", ("n", 3)), g.input("y", ("n",), "int64")
    w, key = g.parameter("w", gx.init.normal((3, 4), std=0.1, seed=0)), g.random_key(1)
    loss = gx.mean(gx.cross_entropy(gx.dropout(x, 0.5, key=key) @ w, y))
    gx.compile([x, y], loss, updates=gx.optim.SGD(lr=0.1).updates(loss), backend="numpy").export_onnx(folder / "a")
    gx.compile([x], {"y": gx.softmax(x @ w)[::-1, 1:]}, backend="numpy").export_onnx(folder / "b")
    return [(folder / name).read_bytes() for name in "ab"]


# ---- damage to bytes


def truncated(r: Random, data: bytes) -> bytes:
    return data[: r.randrange(len(data))]


def flipped(r: Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(r.choice([1, 1, 2, 8])):
        out[r.randrange(len(out))] ^= 1 << r.randrange(8)
    return bytes(out)


def spliced(r: Random, data: bytes) -> bytes:
    at, size = r.randrange(len(data)), r.randrange(1, 64)
    change = r.choice([r.randbytes(size), b"\0" * size, b"\xff" * size, data[:size]])
    return r.choice([data[:at] + change + data[at:], data[:at] + data[at + size :], data + change, change + data])


# ---- models that are well formed


def edited(change: Callable[[Random, Any], None]) -> Callable[[Random, bytes], bytes]:
    def mutate(r: Random, data: bytes) -> bytes:
        model = onnx.ModelProto.FromString(data)
        change(r, model)
        return bytes(model.SerializeToString())

    mutate.__name__ = change.__name__
    return mutate


ODD = ["", "../../etc/passwd", "/etc/passwd", "x" * 1_000_000, "\0", "'\"\n", "名", "__import__('os')", "a" * 300]


def node_of(r: Random, model: Any) -> Any:
    return r.choice(list(model.graph.node))


def other_operator(r: Random, model: Any) -> None:
    names = [s.name for s in onnx.defs.get_all_schemas()]
    node = node_of(r, model)
    node.op_type, node.domain = r.choice([*names, *ODD]), r.choice(["", "", "ai.onnx.ml", "com.microsoft", *ODD])


def other_operands(r: Random, model: Any) -> None:
    node = node_of(r, model)
    names = [o for n in model.graph.node for o in n.output] + [t.name for t in model.graph.initializer]
    for _ in range(r.randrange(1, 3)):
        if node.input and r.random() < 0.7:
            node.input[r.randrange(len(node.input))] = r.choice(names + ODD)
        elif node.input and r.random() < 0.5:
            del node.input[r.randrange(len(node.input))]
        else:
            node.input.append(r.choice(names + ODD))


def other_outputs(r: Random, model: Any) -> None:
    node = node_of(r, model)
    many = r.choice([0, 1, 3, 100_000])
    del node.output[:]
    node.output.extend((r.choice(ODD) if many < 9 else "o") + str(k) for k in range(many))


def other_attributes(r: Random, model: Any) -> None:
    found = [n for n in model.graph.node if n.attribute]
    node = r.choice(found) if found else node_of(r, model)
    big = [0, 1, -1, 7, 1 << 31, 1 << 62, -(1 << 63), (1 << 63) - 1]
    name = r.choice([a.name for a in node.attribute] + ["axis", "axes", "perm", "to", "value", "keepdims", *ODD])
    for a in [a for a in node.attribute if a.name == name]:
        node.attribute.remove(a)
    value = r.choice(
        [r.choice(big), [r.choice(big) for _ in range(r.randrange(1, 40))], 1.5, "text", [1.5, float("nan")]]
    )
    node.attribute.append(onnx.helper.make_attribute(name, value))
    if r.random() < 0.1:
        node.attribute[-1].ref_attr_name = "other"


def subgraph(r: Random, model: Any) -> None:
    node = node_of(r, model)
    node.attribute.append(onnx.helper.make_attribute("body", model.graph))
    node.op_type = r.choice(["Loop", "If", "Scan", node.op_type])


def other_weights(r: Random, model: Any) -> None:
    if not model.graph.initializer:
        return
    t = r.choice(list(model.graph.initializer))
    kind = r.randrange(5)
    if kind == 0:
        del t.dims[:]
        t.dims.extend(r.choice([0, 1, 3, -1, 1 << 40, (1 << 63) - 1]) for _ in range(r.randrange(0, 50)))
    elif kind == 1:
        t.data_type = r.randrange(0, 30)
    elif kind == 2:
        t.raw_data = r.randbytes(r.randrange(0, 64))
    elif kind == 3:
        t.data_location = onnx.TensorProto.EXTERNAL
        t.external_data.add(key="location", value=r.choice(["/etc/passwd", "../x", "weights.bin"]))
    else:
        t.ClearField("raw_data")
        t.float_data.extend([1.0] * r.randrange(0, 9))


def other_sizes(r: Random, model: Any) -> None:
    info = r.choice([*model.graph.input, *model.graph.output])
    dims = info.type.tensor_type.shape.dim
    for _ in range(r.choice([1, 2, 60])):
        dim = dims.add() if not dims or r.random() < 0.5 else r.choice(list(dims))
        if r.random() < 0.5:
            dim.dim_value = r.choice([0, -1, 1, 1 << 40, (1 << 63) - 1])
        else:
            dim.dim_param = r.choice(["n", "n*n", "(a+b)**16*(c+d)**16", "(" * 500, "-n", "n//0", *ODD])


def cycle(r: Random, model: Any) -> None:
    nodes = list(model.graph.node)
    r.shuffle(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def growing(r: Random, model: Any) -> None:
    """Nodes that double something, many times over."""
    del model.graph.node[:]
    name = model.graph.input[0].name
    kind = r.choice(["Add", "Mul", "Concat", "Expand", "Shape"])
    for k in range(r.choice([40, 300])):
        if kind == "Expand":
            model.graph.node.add(op_type="Shape", input=[name], output=[f"s{k}"])
            model.graph.node.add(op_type="Concat", input=[f"s{k}", f"s{k}"], output=[f"c{k}"]).attribute.append(
                onnx.helper.make_attribute("axis", 0)
            )
            node = model.graph.node.add(op_type="Expand", input=[name, f"c{k}"], output=[f"v{k}"])
        elif kind == "Shape":
            model.graph.node.add(op_type="Size", input=[name], output=[f"s{k}"])
            model.graph.node.add(op_type="Mul", input=[f"s{k}", f"s{k}"], output=[f"m{k}"])
            model.graph.node.add(op_type="Unsqueeze", input=[f"m{k}"], output=[f"u{k}"])
            node = model.graph.node.add(op_type="Expand", input=[name, f"u{k}"], output=[f"v{k}"])
        else:
            node = model.graph.node.add(op_type=kind, input=[name, name], output=[f"v{k}"])
            if kind == "Concat":
                node.attribute.append(onnx.helper.make_attribute("axis", 0))
        name = node.output[0]
    model.graph.output[0].name = name


def many_nodes(r: Random, model: Any) -> None:
    node = node_of(r, model)
    for k in range(60_000):
        model.graph.node.add(op_type="Neg", input=list(node.output[:1]), output=[f"many{k}"])


def other_metadata(r: Random, model: Any) -> None:
    for entry in model.metadata_props:
        if r.random() < 0.5:
            entry.value = r.choice(
                [truncated(r, entry.value.encode()).decode("utf-8", "ignore"), "{}", "[" * 100_000, *ODD]
            )
    if r.random() < 0.3:
        model.metadata_props.add(key="graphc.graph", value="{}")


def other_model(r: Random, model: Any) -> None:
    kind = r.randrange(5)
    if kind == 0:
        model.opset_import[0].version = r.choice([0, 1, 5, 10, 99, 1 << 40, -1])
    elif kind == 1:
        del model.opset_import[:]
    elif kind == 2:
        model.functions.add(name="f", domain="")
    elif kind == 3:
        model.graph.output[0].name = r.choice(ODD)
    else:
        del model.graph.input[:]


MUTATIONS: list[Callable[[Random, bytes], bytes]] = [
    truncated, flipped, spliced,
    *map(edited, [
        other_operator, other_operands, other_outputs, other_attributes, subgraph, other_weights, other_sizes, cycle,
        growing, other_metadata, other_model,
    ]),
]  # fmt: skip
RARE = [edited(many_nodes)]  # slow to make


def main(seed: int, count: int) -> dict[str, Any]:
    """What became of ``count`` models: refused, still read, and what should not have happened."""
    folder = Path(tempfile.mkdtemp())
    sources = [*(p.read_bytes() for p in FIXTURES), *own(folder)]
    path = folder / "m.onnx"
    for data in sources:  # everything imported before the watch
        path.write_bytes(data)
        with contextlib.suppress(gx.UnsupportedOpError):
            gx.from_onnx(path)
    watched: list[str] = []
    on = False

    def hook(event: str, args: tuple[Any, ...]) -> None:
        harmless = event == "open" and str(args[0]) == str(path)
        if (
            on
            and not harmless
            and event.split(".")[0] in ("open", "exec", "compile", "import", "subprocess", "os", "socket")
        ):
            watched.append(f"{event} {str(args)[:200]}")

    sys.addaudithook(hook)
    out: dict[str, Any] = {"refused": 0, "read": 0, "wrong": [], "slowest": 0.0, "events": watched}
    r = Random(seed)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for k in range(count):
        mutate = r.choice(RARE) if r.random() < 0.001 else r.choice(MUTATIONS)
        try:
            data = mutate(r, r.choice(sources))
        except (ValueError, IndexError):
            continue
        path.write_bytes(data)
        start, on = time.perf_counter(), True
        try:
            gx.from_onnx(path)
            out["read"] += 1
        except (gx.GraphFileError, gx.UnsupportedOpError) as error:
            out["refused"] += 1
            if not str(error).startswith("m.onnx: ") or len(str(error)) > 2000:
                out["wrong"].append(f"{mutate.__name__} {k}: {str(error)[:300]}")
        except BaseException as error:
            out["wrong"].append(f"{mutate.__name__} {k}: {type(error).__name__}: {str(error)[:300]}")
        on = False
        took = time.perf_counter() - start
        if took > out["slowest"]:
            out["slowest"], out["slowest of"] = took, mutate.__name__
    out["megabytes"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return out


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]))))
