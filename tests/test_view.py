"""The view of graphs and executables: what the page holds, that nothing in it runs, and how it does in a browser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import attribute, needs_browser, opened

import graphc as gx
from graphc.cli import main

PAGE = Path(gx.__file__).parent / "look" / "page"
HOSTILE = '</script><script>document.title="hacked"</script><img src=x onerror=alert(1)>"\'&\\'


def data(html: str) -> dict[str, Any]:
    """The table that a page holds."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    assert found is not None
    return json.loads(found.group(1))  # type: ignore[no-any-return]


def neuron() -> gx.Graph:
    g = gx.Graph("neuron", float_dtype="float64")
    x, t = g.input("x"), g.input("t")
    w, b = g.parameter("w", 0.8), g.parameter("b", -0.4)
    a = gx.sigmoid((w * x + b).named("z")).named("a")
    ((a - t) ** 2 / 2).named("loss")
    return g


def network() -> tuple[gx.Graph, Any]:
    """The 784-256-10 network with its training step."""
    g = gx.Graph("fashion")
    x, y = g.input("x", ("batch", 784)), g.input("y", ("batch",), "int64")
    with g.scope("hidden"):
        h = gx.relu(x @ g.parameter("W", np.zeros((784, 256), "float32")) + g.parameter("b", np.zeros(256, "float32")))
        h = h.named("h")
    logits = (h @ g.parameter("V", np.zeros((256, 10), "float32"))).named("logits")
    loss = gx.mean(gx.cross_entropy(logits, y)).named("loss")
    return g, gx.compile([x, y], loss, updates=gx.optim.Adam().updates(loss))


def large(count: int = 5000) -> gx.Graph:
    """Many nodes without scopes, many of them read far away."""
    g = gx.Graph("large")
    rng = np.random.default_rng(0)
    made = [g.input("x", ("n",))]
    while len(g) < count:
        near, far = (made[-1 - int(min(len(made) - 1, rng.exponential(scale)))] for scale in (4, 300))
        made.append((gx.tanh, gx.exp, gx.sin)[rng.integers(3)](near) if rng.random() < 0.5 else near + far)
    return g


def by_name(stage: dict[str, Any]) -> dict[str, Any]:
    return {n["n"]: n for n in stage["nodes"]}


# ---- what the page holds


def test_nothing_is_fetched_from_elsewhere(tmp_path: Path) -> None:
    g, exe = network()
    for view in (g.view(tmp_path / "g.html"), exe.view(tmp_path / "e.html")):
        addresses = re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"'`)<>]*", view.html)
        assert {a for a in addresses if not a.startswith(("http://www.w3.org/", "https://www.w3.org/"))} == set()
        assert not re.search(r"<(link|script|img)[^>]*(src|href)=", view.html)
    assert (tmp_path / "g.html").read_text() == g.view().html


def test_licences_stand_beside_the_libraries() -> None:
    libraries = re.findall(r"^// (\S+ \S+)$", (PAGE / "vendor.js").read_text(), re.M)
    licences = (PAGE / "LICENSES.txt").read_text()
    assert len(libraries) == 10 and all(name in licences for name in libraries)
    assert licences in neuron().view().html


def test_a_gradient_stands_beside_its_forward_node() -> None:
    g, _ = network()
    stage = data(g.view().html)["stages"][0]
    nodes = by_name(stage)
    names = [n["n"] for n in stage["nodes"]]
    beside = {names[n["p"]] for n in stage["nodes"] if n["r"] == "gradient"}
    assert {"hidden/h", "logits"} <= beside
    updates = {names[n["p"]] for n in stage["nodes"] if n["r"] == "update" and "p" in n}
    assert updates >= {"hidden/W", "hidden/b", "V"}
    assert nodes["logits"]["f"] == "hidden/h @ V" and nodes["logits"]["d"] == "da = dy @ b.T, db = a.T @ dy"
    assert nodes["logits"]["t"] == "float32[batch, 10]"


def test_scopes_and_calls_are_groups() -> None:
    g, _ = network()
    stage = data(g.view().html)["stages"][0]
    titles = [(group["k"], group["n"]) for group in stage["groups"]]
    assert ("scope", "hidden") in titles and ("call", "cross_entropy") in titles and ("call", "loss: mean") in titles
    inside = [n["n"] for n in stage["nodes"] if n.get("c") == titles.index(("scope", "hidden"))]
    assert {"hidden/W", "hidden/b", "hidden/h"} <= set(inside)


def test_values_and_gradients_of_an_example() -> None:
    g = neuron()
    nodes = by_name(data(g.view(feeds={"x": 1.5, "t": 1.0}, wrt=g.parameters["w"]).html)["stages"][0])
    assert nodes["z"]["v"] == ["0.8"] and nodes["z"]["g"] == ["-0.06632"] and nodes["z"]["gf"] == "da * a * (1 - a)"
    assert nodes["w"]["g"] == ["-0.09948"] and "g" not in nodes["t"]
    with pytest.raises(gx.InputError, match="no input 'q'"):
        g.view(feeds={"q": 1.0})
    with pytest.raises(gx.InputError, match="no input 'q'"):
        gx.compile([g["x"], g["t"]], g["loss"], backend="numpy").view(feeds={"q": 1.0})


def test_an_executable_shows_what_the_compiler_did() -> None:
    _, exe = network()
    held = data(exe.view(feeds={"x": np.ones((2, 784)), "y": np.zeros(2, "int64")}).html)
    assert held["stages"][0]["name"] == "graph" and held["stages"][-1]["name"] == "schedule"
    assert "hidden/h" in by_name(held["stages"][0])
    first, last = by_name(held["stages"][0]), by_name(held["stages"][-1])
    h = first["hidden/h"]
    assert h["v"] == ["float32[2, 256]", "0 to 0, mean 0"]
    assert (
        held["parts"][h["k"][0]]["n"] == "loop over batch x 256"
        and "workspace" in h["b"]
        and "shares the loops" in h["u"]
    )
    linked = [text for text, nodes in held["source"] if h["z"] in nodes]
    assert any("maximum" in text for text in linked)
    assert last["hidden/h"]["k"] == h["k"]
    assert "".join(text + "\n" for text, _ in held["source"]).count("def kernel") == 1


def test_rules_that_touched_a_node() -> None:
    g = gx.Graph("rules", float_dtype="float64")
    x = g.input("x", ("n",))
    y = gx.log(gx.exp(x).named("power") + 1).named("y")
    twice = (gx.tanh(x) * 1.0).named("twice")
    exe = gx.compile([x], [y, twice])
    seen = exe.explain("y")
    assert any("rule" in text for text in seen.rules), seen
    assert any("no longer needed" in text or "rule" in text for text in exe.explain("power").rules)
    assert "rules" in str(seen) and "buffer" in str(seen) and seen.name == "y"
    with pytest.raises(gx.GraphError, match="no output needs it"):
        unused = gx.sin(x)
        exe.explain(unused)
    with pytest.raises(gx.GraphError, match="no node called 'z'"):
        exe.explain("z")
    with pytest.raises(gx.CompileError, match="there is no kernel"):
        gx.compile([x], y, backend="numpy").explain(y)


def test_what_the_compiler_did_is_not_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    g = neuron()
    exe = gx.compile([g["x"], g["t"]], g["loss"], cache=False)
    assert exe.wait()
    for module, name in (("graphc.run.program", "run"), ("graphc.codegen.kernel", "lower")):
        monkeypatch.setattr(f"{module}.{name}", lambda *_, **__: pytest.fail("compiled once more"))
    assert exe.explain("z").parts and len(data(exe.view().html)["stages"]) > 1


def test_reasons_of_fusion() -> None:
    g = gx.Graph("reasons", float_dtype="float64")
    x = g.input("x", ("n", 64))
    w = g.parameter("w", np.zeros((64, 32)))
    product = (x @ w).named("product")
    routine = gx.cumsum(product, axis=1).named("routine")
    moved = (routine[:, ::-1] + gx.tanh(product)).named("moved")
    exe = gx.compile([x], moved)
    told = {name: exe.explain(name) for name in ("product", "routine", "moved", "x")}
    assert "matrix product" in told["product"].fusion and "product" in told["product"].parts[0]
    assert "routine" in told["routine"].fusion
    assert "comes from outside" in told["x"].fusion and told["x"].buffer.startswith("the caller's array")
    assert "output 0" in told["moved"].buffer


def test_loops_show_their_bodies(tmp_path: Path) -> None:
    g = gx.Graph("loop", float_dtype="float64")
    x, h0 = g.input("x", ("t", 3)), g.input("h0", (3,))
    last, rows = gx.scan(lambda h, row: (gx.tanh(h) * row, h + 1), h0, x)
    limited = gx.while_loop(lambda v: gx.max(v) < 9, lambda v: v * 2, last, max_steps=5)
    loss = (gx.sum(gx.cond(gx.sum(rows) > 0, lambda: limited, lambda: rows[0])) + gx.sum(rows)).named("loss")
    exe = gx.compile([x, h0], [loss, gx.grad(loss, x)])
    feeds = {"x": np.ones((4, 3)), "h0": np.ones(3)}
    stage = data(exe.view(feeds=feeds).html)["stages"][0]
    nodes, names = by_name(stage), [n["n"] for n in stage["nodes"]]
    scan = next(n.name for n in g.nodes if n.op.name == "scan")
    body = [n for n in stage["nodes"] if n["n"].startswith(f"{scan}/") and n["r"] == "forward"]
    assert {"tanh", "multiply", "add"} <= {n["o"] for n in body} and nodes[scan]["h"] == 1
    carried = next(n for n in body if n["o"] == "tanh")["i"][0]
    assert names[stage["nodes"][carried]["i"][0]] == "h0"
    made = [n for n in stage["nodes"] if n["o"] == "result" and n["r"] == "forward"]
    assert {stage["nodes"][n["i"][0]]["o"] for n in made[:2]} == {"multiply", "add"}
    assert {"scan", "while_loop", "cond"} <= {
        group["n"].partition("_")[0] if "while" not in group["n"] else "while_loop" for group in stage["groups"]
    }
    assert all(k < len(names) for n in stage["nodes"] for k in [*n.get("i", []), n.get("p", 0)])
    assert any(n["r"] == "gradient" and "/" in n["n"] for n in stage["nodes"])
    assert "scan of t steps" in exe.explain(last).parts[0] and exe.profile(**feeds).rows
    assert g.to_svg() and g.to_dot().count("subgraph") >= 3 and gx.inspect(loss, feeds).rows
    g.view(tmp_path / "loop.html", feeds=feeds)


def test_a_view_of_an_interpreted_program() -> None:
    g = neuron()
    exe = gx.compile([g["x"], g["t"]], g["loss"], backend="numpy")
    assert len(data(exe.view().html)["stages"]) == 1


def test_names_are_text_and_nothing_else(tmp_path: Path) -> None:
    g = gx.Graph(HOSTILE)
    x = g.input(HOSTILE, ("n",))
    with g.scope(HOSTILE):
        y = gx.tanh(x).named("y")
    page = g.view(tmp_path / "hostile.html").html
    assert page.count("<script") == page.count("</script>") == 4 and "<img" not in page
    assert HOSTILE in by_name(data(page)["stages"][0])
    assert "<script" not in g.view()._repr_html_()
    svg, dot = g.to_svg(), g.to_dot()
    assert "<script" not in svg and "<img" not in svg
    assert len(re.findall(r'(?<!\\)(?:\\\\)*"', dot)) % 2 == 0
    assert y.name not in page


def test_drawings_for_papers(tmp_path: Path) -> None:
    g, _ = network()
    assert g.to_svg(tmp_path / "g.svg") == (tmp_path / "g.svg").read_text() and "gradient of logits" in g.to_svg()
    dot = g.to_dot(tmp_path / "g.dot")
    assert "subgraph cluster_" in dot and 'label="float32[batch, 256]"' in dot
    assert dot.count("->") == sum(len(n.inputs) for n in g.nodes)
    assert large(300).to_svg().count("<rect") < 80


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, exe = network()
    gx.save(tmp_path / "m.gx", train=exe)
    assert main(["view", str(tmp_path / "m.gx"), "-o", str(tmp_path / "a.html")]) == 0
    assert main(["view", str(tmp_path / "m.gx"), "-o", str(tmp_path / "b.html"), "--executable", "train"]) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path / 'a.html'}\nwrote {tmp_path / 'b.html'}\n"
    assert len(data((tmp_path / "a.html").read_text())["stages"]) == 1
    assert len(data((tmp_path / "b.html").read_text())["stages"]) > 1
    assert main(["view", str(tmp_path / "m.gx"), "-o", str(tmp_path / "m.gx")]) == 2


# ---- in a browser


@needs_browser
@pytest.mark.parametrize("kind", ["neuron", "network", "network executable", "large"])
def test_it_opens_within_two_seconds(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    if kind == "neuron":
        neuron().view(path, feeds={"x": 1.5, "t": 1.0})
    elif kind == "large":
        large().view(path)
    else:
        g, exe = network()
        (exe if kind == "network executable" else g).view(path)
    for _ in range(4):  # a machine may be busy
        document = opened(path)
        if int(attribute(document, "ready")) < 2000:
            break
    assert int(attribute(document, "ready")) < 2000
    shown = re.sub(r"<script.*?</script>", "", document, flags=re.S)
    for op in {"neuron": ["sigmoid", "multiply"], "large": ["tanh", "exp", "sin", "add"]}.get(
        kind, ["matmul", "relu", "log"]
    ):
        assert op in shown
    if kind == "neuron":
        assert "-0.06632" in shown and "da * a * (1 - a)" in shown and "float64[]" in shown


@needs_browser
def test_boxes_open_and_close(tmp_path: Path) -> None:
    _, exe = network()
    exe.view(tmp_path / "page.html")
    script = """
    const root = document.documentElement.dataset, boxes = () => document.querySelectorAll("g.box").length;
    const few = boxes();
    document.getElementById("opener").click();
    root.opened = String(boxes() > few);
    document.getElementById("closer").click();
    root.closed = String(boxes() < few + 1);
    for (let k = 0; k <= Number(document.getElementById("stage").max); k++) { graphc.setStage(k); if (!boxes()) root.empty = "yes"; }
    graphc.setStage(0);
    const search = document.getElementById("search");
    search.value = "logits"; search.dispatchEvent(new Event("input"));
    document.querySelector("#found div").click();
    root.panel = document.querySelector("#panel h3").textContent;
    document.getElementById("source-button").click();
    root.lines = String(document.querySelectorAll("#source .on").length > 0);
    const mode = document.getElementById("mode");
    mode.value = "kernel"; mode.dispatchEvent(new Event("change"));
    root.parts = String([...document.querySelectorAll("svg .title")].some((t) => t.textContent.startsWith("part ")));
    document.querySelector("#source .linked").click();
    root.linked = document.querySelector("#panel h3").textContent;
    document.querySelector("g.box").dispatchEvent(new MouseEvent("click", {bubbles: true}));
    """
    document = opened(tmp_path / "page.html", script)
    assert attribute(document, "opened") == attribute(document, "closed") == attribute(document, "lines") == "true"
    assert attribute(document, "panel") == "logits" and attribute(document, "parts") == "true"
    assert attribute(document, "linked") and "data-empty" not in document


@needs_browser
def test_every_node_of_a_large_graph_can_be_reached(tmp_path: Path) -> None:
    large(2000).view(tmp_path / "page.html")
    script = """
    let found = 0;
    for (let id = 0; id < 2000; id += 97) { graphc.reveal(id); found += document.querySelectorAll("g.box.chosen").length; graphc.state.open.clear(); }
    document.documentElement.dataset.found = String(found);
    """
    assert attribute(opened(tmp_path / "page.html", script), "found") == "21"


@needs_browser
def test_hostile_names_do_nothing(tmp_path: Path) -> None:
    g = gx.Graph(HOSTILE)
    with g.scope(HOSTILE):
        x = g.input("x", ("n",))
        (gx.tanh(x) + gx.exp(x)).named(HOSTILE)
    g.view(tmp_path / "page.html")
    script = 'document.getElementById("opener").click(); graphc.reveal(0);'
    document = opened(tmp_path / "page.html", script)
    assert "<title>hacked" not in document and "<img" not in re.sub(r"<script.*?</script>", "", document, flags=re.S)
