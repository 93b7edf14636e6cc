"""Writes the golden files: graphs, inputs and the results that every later version must give.

    python tests/data/make_golden.py

A file that is there is left as it is: what an earlier version wrote must load for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

import graphc as gx

HERE = Path(__file__).parent / "format1"
CALLED = Path(__file__).parent / "format2"  # tells which nodes were made together
Case = tuple[dict[str, gx.Executable], list[tuple[str, list[np.ndarray]]]]


def mlp(dtype: str) -> Case:
    """Two layers with dropout, trained by Adam: moments, a step counter and a random key."""
    g = gx.Graph(f"mlp {dtype}", float_dtype=dtype)
    x, y = g.input("x", ("batch", 6), dtype), g.input("y", ("batch",), "int64")
    key = g.random_key(seed=7)
    w1 = g.parameter("W1", gx.init.normal((6, 8), std=0.5, seed=0), dtype)
    w2 = g.parameter("W2", gx.init.normal((8, 3), std=0.5, seed=1), dtype)
    logits = gx.dropout(gx.relu(x @ w1), 0.5, key=key) @ w2
    loss = gx.mean(gx.cross_entropy(logits, y))
    train = gx.compile([x, y], loss, updates=gx.optim.Adam(lr=0.05).updates(loss))
    infer = gx.compile([x], {"logits": gx.inference(logits), "label": gx.argmax(gx.inference(logits), axis=-1)})
    rng = np.random.default_rng(0)
    data = rng.normal(size=(12, 6)).astype(dtype)
    labels = rng.integers(0, 3, 12)
    train(data, labels)
    return {"train": train, "infer": infer}, [("train", [data, labels])] * 3 + [("infer", [data[:5]])]


def softmax() -> Case:
    """A classifier with value and gradient, without state."""
    g = gx.Graph("softmax", float_dtype="float64")
    x, w = g.input("x", ("n", 4), "float64"), g.input("w", (4, 3), "float64")
    y = g.input("y", ("n",), "int64")
    loss = gx.mean(gx.cross_entropy(x @ w, y))
    exe = gx.compile([x, y, w], [loss, gx.grad(loss, w), gx.softmax(x @ w)])
    rng = np.random.default_rng(1)
    return {"all": exe}, [("all", [rng.normal(size=(5, 4)), rng.integers(0, 3, 5), rng.normal(size=(4, 3))])]


def indexing() -> Case:
    """Slices, gathers, their gradients, and sizes that are formulas."""
    g = gx.Graph("indexing", float_dtype="float64")
    x = g.input("x", ("n", "m"), "float64")
    i = g.input("i", ("k",), "int32")
    rows = gx.take(x, i, 0)
    half = gx.concat([x[1:, ::-1], x[:-1] * 2.0], 1)
    total = gx.sum(rows * rows) + gx.sum(half[..., 1:] ** 2)
    outputs = {"rows": rows, "half": half, "hot": gx.one_hot(i, 4), "first": x[0], "slope": gx.grad(total, x)}
    exe = gx.compile([x, i], outputs)
    flat = gx.compile([x], gx.reshape(gx.stack([x, x + 1.0]), (-1,)), backend="numpy")
    data = np.random.default_rng(2).normal(size=(4, 3))
    return {"index": exe, "flat": flat}, [("index", [data, np.array([0, -1, 2, 2], np.int32)]), ("flat", [data])]


def names() -> Case:
    """Names that no format should trip over."""
    g = gx.Graph('"); import os #\n</script>')
    odd = ["'", "\n", "for", "__metadata__", "a/b\\c", "../x", "ﬁ", "名", "x\x00y", "{}%s"]
    x = g.input("'''", ("ｎ",))
    out = x
    for k, name in enumerate(odd):
        out = (out * g.parameter(name, np.float32(1 + k / 8))).named(name + "!")
    exe = gx.compile([x], dict.fromkeys(odd, out))
    return {"lambda": exe, "": exe}, [("lambda", [np.arange(3, dtype=np.float32)])]


CASES: dict[str, Callable[[], Case]] = {
    "mlp_float32": lambda: mlp("float32"),
    "mlp_float64": lambda: mlp("float64"),
    "softmax": softmax,
    "indexing": indexing,
    "names": names,
}


def flat(result: object) -> list[np.ndarray]:
    """The arrays of any structure of outputs, in order."""
    many = list(result.values()) if isinstance(result, dict) else result
    return [np.asarray(r) for r in (many if isinstance(many, list) else [many])]


FILES = [*(HERE / f"{name}.gx" for name in CASES), *(CALLED / f"{name}.gx" for name in ("mlp_float32", "softmax"))]


def main() -> None:
    for file in FILES:
        file.parent.mkdir(exist_ok=True)
        if file.exists():
            continue
        executables, calls = CASES[file.stem]()
        gx.save(file, **executables)
        record = {}
        for k, (exe, arrays) in enumerate(calls):
            record |= {f"{k} {exe} in {j}": a for j, a in enumerate(arrays)}
            record |= {f"{k} {exe} out {j}": a for j, a in enumerate(flat(executables[exe](*arrays)))}
        np.savez(file.with_suffix(".npz"), **record)
        print("wrote", file)


if __name__ == "__main__":
    main()
