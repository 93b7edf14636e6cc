"""`graphc.inspect`: values and gradients of one example, the rules in words, the table and the drawing."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import graphc as gx
from graphc.look.boxes import grouped
from graphc.look.drawing import GAP, LONGEST, PAGE, broken
from graphc.look.layout import layered, width

SVG = "{http://www.w3.org/2000/svg}"


def neuron():
    """Article letters: z = w1 x1 + w2 x2 + b, a = sigmoid(z), z' = w3 a, z'' = w4 a."""
    g = gx.Graph("neuron", float_dtype="float64")
    x1, x2 = (g.input(n, dtype="float64") for n in ("x1", "x2"))
    w1, w2, b, w3, w4 = (
        g.parameter(n, v) for n, v in (("w1", 1.0), ("w2", -2.0), ("b", 1.0), ("w3", 0.5), ("w4", -1.5))
    )
    a = gx.sigmoid((w1 * x1 + w2 * x2 + b).named("z")).named("a")
    one, two = (w3 * a).named("z'"), (w4 * a).named("z''")
    return g, (gx.tanh(one) + gx.sin(two)).named("C")


def test_values_and_gradients_are_those_of_the_executable() -> None:
    g, c = neuron()
    before = len(g)
    seen = gx.inspect(c, {"x1": 1.0, "x2": -1.0})
    assert len(g) == before, "the graph stays as it is"
    inner = [t for t in g.tensors if t.dtype.kind == "f" and t.op.name != "constant"]
    exe = gx.compile(list(g.inputs.values()), [*inner, *gx.grad(c, inner)], backend="numpy")
    found = exe(1.0, -1.0)
    for tensor, value, slope in zip(inner, found, found[len(inner) :], strict=False):
        row = seen[tensor.name]
        assert row.value == value and np.isclose(row.gradient, slope, rtol=1e-14), tensor.name


def test_the_reversed_neuron_is_said_in_a_formula_and_in_words() -> None:
    _, c = neuron()
    seen = gx.inspect(c, {"x1": 1.0, "x2": -1.0}, named=True)
    assert [r.name for r in seen.rows] == ["x1", "x2", "w1", "w2", "b", "w3", "w4", "z", "a", "z'", "z''", "C"]
    assert seen["z"].formula == "w1 * x1 + w2 * x2 + b"
    assert seen["w2"].rule == "dz * x2" and seen["w2"].words == "dz times x2"
    assert seen["a"].rule == "dz' * w3 + dz'' * w4" and seen["a"].words == "dz' times w3 plus dz'' times w4"
    assert seen["z"].rule == "da * a * (1 - a)" and seen["b"].words == "dz unchanged"
    assert seen["C"].gradient == 1
    assert seen["w2"].operands == () and seen["z"].operands == ("w1", "x1", "w2", "x2", "b")


def test_gradients_are_shown_on_the_way_to_wrt_only() -> None:
    g, c = neuron()
    seen = gx.inspect(c, {"x1": 1.0, "x2": -1.0}, wrt=g["w3"], named=True)
    assert [r.name for r in seen.rows if r.gradient is not None] == ["w3", "z'", "C"]
    assert seen["a"].rule == ""


def test_several_outputs_are_summed() -> None:
    g = gx.Graph("two", float_dtype="float64")
    x = g.input("x", shape=("n",), dtype="float64")
    seen = gx.inspect([x * x, gx.sum(3 * x)], {x: np.array([1.0, 2.0])})
    assert seen["x"].gradient.tolist() == [5, 7]
    assert gx.inspect(gx.argmax(x), {"x": [1.0, 2.0]})["x"].gradient is None, "integers have no gradient"


def test_an_inner_tensor_may_be_fed() -> None:
    g, c = neuron()
    seen = gx.inspect(c, {"a": 0.25}, named=True)
    assert "x1" not in [r.name for r in seen.rows] and seen["z'"].value == 0.125


def test_state_has_its_present_value() -> None:
    g, c = neuron()
    g.state["w3"] = np.array(2.0)
    assert gx.inspect(c, {"x1": 1.0, "x2": -1.0})["w3"].value == 2


def test_titles_have_no_names_that_nobody_gave() -> None:
    g, c = neuron()
    x = g.input("x", dtype="float64")
    for outputs, expected in ((gx.sin(x), "dx"), (c, "dC/dz"), ([gx.sin(x), gx.cos(x)], "dsum/dx")):
        titles = [b.find(f"{SVG}text").text for b in drawn(gx.inspect(outputs, {"x": 1.0, "x1": 1.0, "x2": 1.0}))[1]]
        assert expected in titles


def test_refusals_name_what_is_wrong() -> None:
    g, c = neuron()
    with pytest.raises(gx.GraphcError, match=r"(?s)x2.*test_inspect.py"):
        gx.inspect(c, {"x1": 1.0})
    with pytest.raises(gx.InputError, match="no input 'x3'; inputs are x1, x2"):
        gx.inspect(c, {"x1": 1.0, "x3": 1.0})
    with pytest.raises(gx.InputShapeError, match="x1"):
        gx.inspect(c, {"x1": np.ones(2), "x2": 1.0})
    with pytest.raises(gx.GraphError, match="belongs to graph"):
        gx.inspect(c, {gx.Graph("other").input("x1"): 1.0})


def test_the_table() -> None:
    _, c = neuron()
    text = str(gx.inspect(c, {"x1": 1.0, "x2": -1.0}, named=True))
    assert text.splitlines()[0].split() == ["node", "formula", "value", "its", "gradient"]
    assert max(map(len, text.splitlines())) < 120
    assert "a sigmoid(z) 0.982 dz' * w3 + dz'' * w4 = 0." in " ".join(text.split()), text


def test_long_formulas_and_shared_ones_are_cut() -> None:
    g = gx.Graph("deep", float_dtype="float64")
    y = g.input("x", dtype="float64")
    for _ in range(40):  # written out, 2**40 letters
        y = y * y
    seen = gx.inspect(y.named("y"), {"x": 1.0}, named=True)
    assert seen["y"].formula == "identity(x)" or "(x)" in seen["y"].formula
    assert seen["x"].rule == "through y" and seen["x"].gradient == 2.0**40


def test_a_function_is_one_box_until_it_is_opened() -> None:
    g = gx.Graph("functions", float_dtype="float64")
    f, y = g.input("f", shape=(3,), dtype="float64"), g.input("y", shape=(3,), dtype="float64")
    loss = gx.mean(gx.cross_entropy(f, y) * gx.softmax(f)[0] ** 3).named("L")
    feeds = {"f": [0.5, -1.0, 2.0], "y": [0.0, 1.0, 0.0]}
    seen = gx.inspect(loss, feeds)
    closed = {row.op: row for row in seen.rows}
    assert closed["cross_entropy"].formula == "cross_entropy(f, y)" and closed["softmax"].formula == "softmax(f)"
    assert closed["cross_entropy"].operands == ("f", "y")
    assert "exp" not in closed and "log" not in closed
    opened = gx.inspect(loss, feeds, opened=True)
    assert {"exp", "log", "stop_gradient"} <= {row.op for row in opened.rows}
    assert opened["f"].gradient.tolist() == seen["f"].gradient.tolist()
    _, boxes = drawn(seen)
    assert len(boxes) < len(drawn(opened)[1]) / 2


def test_rules_read_as_one_would_write_them() -> None:
    g = gx.Graph("rules", float_dtype="float64")
    w, x = g.parameter("W", np.ones((2, 2))), g.input("x", shape=(2,), dtype="float64")
    z = (w @ x).named("z")
    loss = (0.5 * gx.sum(gx.squared_error(z, 1.0))).named("L")
    penalty = (0.05 * gx.sum(w * w)).named("s")
    seen = gx.inspect((loss - penalty).named("J"), {"x": [1.0, -1.0]}, wrt=w, named=True)
    assert {name: seen[name].rule for name in "WzLs"} == {
        "W": "dz @ x.T + 0.1 * ds * W",  # numbers in one, equal terms in one, in the order of the readers
        "z": "dL * (z - 1)",
        "L": "dJ",
        "s": "-dJ",
    }
    assert seen["L"].formula == "0.5 * sum((z - 1)**2)" and seen["s"].formula == "0.05 * sum(W**2)"


def test_a_mask_that_is_carried_on_is_said_once() -> None:
    g = gx.Graph("dropped", float_dtype="float64")
    z = g.input("z", shape=(4,), dtype="float64")
    h = gx.tanh(z).named("h")
    y = gx.sum(gx.dropout(h, 0.5, key=g.random_key(seed=0)).named("d")).named("y")
    seen = gx.inspect(y, {"z": np.ones(4)}, named=True)
    assert seen["z"].rule == "dh * (1 - h**2)" and seen["h"].rule == "through d"


def test_formulas_mean_what_they_say() -> None:
    """Evaluated by Python, a formula gives the node's value: it has parentheses where they are due."""
    g = gx.Graph("formulas", float_dtype="float64")
    values = {
        n: np.array(v)
        for n, v in zip("abc", ([[1.5, 2.0], [0.5, 3.0]], [[2.0, 1.0], [4.0, 0.5]], np.eye(2) + 1), strict=True)
    }
    a, b, c = (g.input(n, shape=(2, 2), dtype="float64") for n in "abc")
    p, q = gx.less(a, b), gx.less(b, c)
    every = [
        a - (b - c), a - b - c, a / (b * c), a / b * c, a * (b @ c), a @ (b * c), (a * b) @ c, (a @ b) @ c, a @ (b @ c),
        (a + b) ** 2, -(a**b), (-a) ** 2, (a**b) ** c, a ** (b**c), (a + b) ** (b - c), a * (b // c), (a % b) * c,
        a // (b / c), 2 - (-3 * a), (a - b) * (a - b), a ** -b, gx.equal(p, q), gx.less(a + b, c * 2), -(a + b),
        gx.logical_and(p, q), gx.logical_or(p, gx.less(a, c)), gx.logical_xor(gx.logical_and(p, q), p), (a + b) @ c,
    ]  # fmt: skip
    for k, tensor in enumerate(every):
        seen = gx.inspect(tensor.named(f"y{k}"), values, named=True)
        text = seen[f"y{k}"].formula
        np.testing.assert_array_equal(eval(text, {"__builtins__": {}}, dict(values)), seen[f"y{k}"].value, text)


def drawn(seen: gx.Inspection) -> tuple[ET.Element, list[ET.Element]]:
    root = ET.fromstring(seen.svg)
    return root, [g for g in root.findall(f"{SVG}g") if g.find(f"{SVG}rect") is not None]


def test_the_drawing_mirrors_the_graph_and_boxes_do_not_overlap(tmp_path: Path) -> None:
    _, c = neuron()
    seen = gx.inspect(c, {"x1": 1.0, "x2": -1.0}, named=True)
    root, boxes = drawn(seen)
    places = {}
    for box in boxes:
        rect = box.find(f"{SVG}rect")
        places[box.find(f"{SVG}text").text] = [float(rect.get(k)) for k in ("x", "y", "width", "height")]
    height = float(root.get("height"))
    axis = float(root.find(f"{SVG}path[@class='axis']").get("d").partition(",")[2].partition("H")[0])
    for name in ("x1", "w3", "z", "a", "z'", "C"):
        (x, y, w, h), (u, v, p, q) = places[name], places[f"dC/d{name}"]
        assert np.isclose(x + w / 2, u + p / 2, atol=0.2), "in the same column"
        assert np.isclose(axis - y - h / 2, v + q / 2 - axis, atol=0.2) and y + h < axis < v, "the mirror image"
    rects = list(places.values())
    for k, (x, y, w, h) in enumerate(rects):
        assert x >= 0 and y >= 0 and y + h <= height and x + w <= float(root.get("width"))
        for u, v, p, q in rects[:k]:
            assert x + w <= u or u + p <= x or y + h <= v or v + q <= y
    assert all(a.get("d").startswith("M") for a in root.findall(f"{SVG}path[@class='arrow']"))
    seen.to_svg(tmp_path / "neuron.svg")
    assert (tmp_path / "neuron.svg").read_text() == seen.svg == seen._repr_html_()


def test_a_long_graph_is_as_wide_as_a_page() -> None:
    """Formulas are broken, not cut, and vectors stand upright, rather than that the text shrinks with the page."""
    g = gx.Graph("wide", float_dtype="float64")
    h = g.input("x", shape=(3,), dtype="float64")
    for k in range(5):
        w, b, v = (g.parameter(f"{n}{k}", np.full(3, 0.12345)) for n in ("w", "b", "v"))
        h = gx.tanh(w * h + b * h + v * h + w * b).named(f"h{k}")
    seen = gx.inspect(h, {"x": [0.5, -0.25, 0.125]}, named=True)
    root, boxes = drawn(seen)
    assert float(root.get("width")) <= PAGE and root.get("viewBox").split()[2] == root.get("width")
    titles = {texts[0]: texts[1:] for texts in ([t.text for t in box.findall(f"{SVG}text")] for box in boxes)}
    assert " ".join(titles["h4"]).startswith(seen["h4"].formula + " ["), titles["h4"]
    a, b, c = (f"{v:.4g}" for v in seen["h4"].value)
    assert titles["h4"][-3:] == [f"[{a},", f"{b},", f"{c}]"]
    assert "…" not in seen.svg


def test_lines_are_broken_at_operators_that_bind_loosely() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        text = "".join(
            rng.choice(["a", "(b", "c)", "long_name", "2"]) + " " + rng.choice(list("+-*/@")) + " " for _ in range(8)
        )
        for most in (44, 22, 12, 5):
            parts = broken(text + "z", most)
            assert " ".join(parts) == text + "z" and all(len(p) <= max(most, len("@ long_name")) for p in parts)
    assert broken("x", 1) == ["x"] and broken("", 5) == [""]
    assert broken("f(a, b) + c", 9) == ["f(a, b)", "+ c"] and broken("f(alpha, beta)", 9) == ["f(alpha,", "beta)"]
    assert broken("x" * LONGEST, 10) == ["x" * LONGEST]
    many = broken("concat(" + ", ".join(["x"] * 10_000) + ")", 18)
    assert len(many) < 10 and many[-1].endswith("…"), "what nobody reads is cut"


def test_names_are_escaped() -> None:
    g = gx.Graph("</title><script>", float_dtype="float64")
    x = g.input("<b onload='alert(1)'>&", dtype="float64")
    seen = gx.inspect((x * 2).named("</svg><script>alert(1)</script>"), {x: 1.0})
    root, boxes = drawn(seen)
    assert len(boxes) == 4 and "<script" not in seen.svg and not root.findall(f".//{SVG}script")


def test_beyond_sixty_nodes_scopes_are_closed() -> None:
    g = gx.Graph("scopes", float_dtype="float64")
    h = g.input("x", dtype="float64")
    for layer in range(8):
        with g.scope(f"layer{layer}"):
            for k in range(10):
                h = gx.tanh(h + g.parameter(f"b{k}", 0.1)).named(f"h{k}")
    y = gx.square(h).named("y")
    seen = gx.inspect(y, {"x": 0.5}, named=True)
    _, boxes = drawn(seen)
    assert len(seen.rows) == 162 and len(boxes) <= 2 * 60
    titles = [b.find(f"{SVG}text").text for b in boxes]
    assert "layer0" in titles and "layer7" not in titles, "no more are closed than need be"


def test_a_scope_that_something_outside_runs_through_stays_open() -> None:
    names = {0: "x", 1: "s/a", 2: "out", 3: "s/b"}
    found = grouped(names, {0: [], 1: [0], 2: [1], 3: [2]}, 2)
    assert [(g.key, g.title) for g in found] == [(0, None), (1, None), (2, None), (3, None)]


def test_layout_of_random_graphs_has_no_overlaps_and_leads_to_the_right() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 2, 10, 60):
        edges = [(int(rng.integers(k)), k) for k in range(1, n) for _ in range(rng.integers(0, 3))]
        sizes = {k: (float(rng.integers(20, 90)), float(rng.integers(10, 40))) for k in range(n)}
        found = layered(sizes, edges, GAP)
        assert np.isclose(found.width, width(sizes, edges, GAP[0]))
        for a, b in edges:
            assert found.places[a][0] + sizes[a][0] / 2 < found.places[b][0] - sizes[b][0] / 2
        for (a, b), route in found.routes.items():  # edges bend between columns only
            for (x, y), (u, v) in pairwise([found.places[a], *route, found.places[b]]):
                bends = [k for k in range(n) if x < found.places[k][0] < u]
                assert x < u and (y == v or not bends)
                for k in set(bends) - {a, b}:
                    assert abs(found.places[k][1] - y) >= sizes[k][1] / 2, "past the box, not through it"
        for k in range(n):
            for j in range(k):
                dx, dy = (abs(found.places[k][i] - found.places[j][i]) for i in (0, 1))
                w, h = ((sizes[k][i] + sizes[j][i]) / 2 for i in (0, 1))
                assert dx >= w - 1e-9 or dy >= h - 1e-9


def test_networkx_carries_values_and_gradients() -> None:
    g, c = neuron()
    dag = gx.inspect(c, {"x1": 1.0, "x2": -1.0}).to_networkx()
    assert dag.nodes["z"]["value"] == 4 and dag.nodes["C"]["gradient"] == 1
    assert set(dag) == {n.name for n in g.nodes}
