"""Graphs in notebooks: what cells show, progress, places and tracebacks."""

from __future__ import annotations

import io
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc.look import notebook
from graphc.run import progress

CELLS = [
    "import numpy as np, graphc as gx",
    """g = gx.Graph("mlp")
x, y = g.input("x", ("n", 8)), g.input("y", ("n",), "int64")
w = g.parameter("w", np.zeros((8, 3), "float32"))
logits = (x @ w).named("logits")
loss = gx.mean(gx.cross_entropy(logits, y)).named("loss")
exe = gx.compile([x, y], loss, updates=gx.optim.SGD(lr=0.1).updates(loss))
g""",
    "loss",
    "exe",
    "g.state",
    "exe.stages",
    "gx.inspect(loss, {'x': np.ones((2, 8)), 'y': [0, 1]})",
    "exe.explain('logits')",
    "g.view()",
    "exe.run_batches([np.ones((64, 8)), np.zeros(64, int)], 4, progress=True).shape",
    "x @ g.input('v', (5,))",
    "exe(np.ones((2, 9)), [0, 1])",
]


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The cells of a notebook that ran to its end, errors and all."""
    nbformat = pytest.importorskip("nbformat", reason="there is no nbformat here")
    nbclient = pytest.importorskip("nbclient", reason="there is no nbclient here")
    pytest.importorskip("ipykernel", reason="there is no ipykernel here")
    book = nbformat.v4.new_notebook()
    book.cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    here = Path(gx.__file__).parent.parent
    old = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(here), old]))
    kernel = tmp_path_factory.mktemp("kernels") / "kernels" / "this"
    kernel.mkdir(parents=True)
    argv = f'["{sys.executable}", "-m", "ipykernel_launcher", "-f", "{{connection_file}}"]'
    (kernel / "kernel.json").write_text(f'{{"argv": {argv}, "display_name": "this", "language": "python"}}')
    path = os.environ.get("JUPYTER_PATH")
    os.environ["JUPYTER_PATH"] = str(kernel.parent.parent)
    try:
        nbclient.NotebookClient(book, timeout=200, allow_errors=True, kernel_name="this").execute()
    finally:
        for name, value in (("PYTHONPATH", old), ("JUPYTER_PATH", path)):
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    return list(book.cells)


def shown(cell: Any) -> str:
    """The HTML that a cell shows."""
    return "".join("".join(o["data"].get("text/html", "")) for o in cell.outputs if "data" in o)


def test_cells_show_themselves(cells: list[Any]) -> None:
    graph, tensor, exe, state, stages, seen, told = (shown(cells[k]) for k in range(1, 8))
    assert "Graph <b>mlp</b>" in graph and "<svg" in graph and "Cell In[2], line 2" in graph
    assert "Tensor <b>loss</b>" in tensor and "Executable of <b>mlp</b>" in exe and "State of <b>mlp</b>" in state
    assert stages.count("<details>") >= 4 and "assembly" in stages and "<svg" in seen and "fusion" in told
    assert all(len(html) < 33_000 for html in (tensor, exe, state)) and len(stages) < 60_000
    assert "sandbox" in shown(cells[8])


def test_errors_end_at_the_users_line(cells: list[Any]) -> None:
    for cell, words in ((cells[10], "inner dimensions differ"), (cells[11], "expected float32[n, 8]")):
        (error,) = [o for o in cell.outputs if o["output_type"] == "error"]
        text = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error["traceback"]))
        assert words in text and "Cell In[" in text and "graphc/" not in text.replace("graphc.errors", "")


def test_progress_of_a_notebook(cells: list[Any]) -> None:
    assert "(16,)" in "".join(o["data"]["text/plain"] for o in cells[9].outputs if o["output_type"] == "execute_result")


# ---- without a notebook


def small() -> tuple[gx.Graph, Any]:
    g = gx.Graph("<b>small</b>")
    x = g.input("<i>x</i>", ("n",))
    w = g.parameter("w", np.ones(3, "float32"))
    y = gx.sum(x) * gx.sum(w)
    return g, gx.compile([x], y, updates={w: w * 0.5})


def test_user_text_is_escaped() -> None:
    g, exe = small()
    for html in (
        g._repr_html_(),
        g["<i>x</i>"]._repr_html_(),
        exe._repr_html_(),
        g.state._repr_html_(),
        exe.stages._repr_html_(),
    ):
        assert "<b>small" not in html and "<i>" not in html


def test_what_is_shown_is_short() -> None:
    g = gx.Graph("long", float_dtype="float64")
    h = g.input("x", ("n",))
    for k in range(600):
        h = gx.tanh(h) * g.parameter(f"w{k}", 1.0)
    exe = gx.compile([g["x"]], h)
    for html in (g._repr_html_(), exe._repr_html_(), g.state._repr_html_(), h._repr_html_()):
        assert len(html) < 20_000
    assert len(exe.stages._repr_html_()) < 60_000 and "lines more" in exe.stages._repr_html_()
    assert repr(exe.stages).startswith("<stages: graph") and len(repr(exe.stages)) < 200
    assert set(exe.stages) == set(dict(exe.stages)) and len(exe.stages) == len(dict(exe.stages))


def test_tracebacks_without_frames_of_graphc() -> None:
    try:
        gx.Graph("g").input("x", 5)
    except gx.ShapeError as error:
        kept = notebook.outside(error.__traceback__)
    assert kept is not None and kept.tb_next is None and kept.tb_frame.f_code.co_filename == __file__


@pytest.mark.parametrize("kind", ["Line", "_Rich", "_Widget"])
def test_bars(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    if kind == "_Rich":
        pytest.importorskip("rich", reason="there is no rich here")
    if kind == "_Widget":
        pytest.importorskip("ipywidgets", reason="there are no ipywidgets here")
    bar = progress.Line(4, shown=True) if kind == "Line" else getattr(progress, kind)(4)
    for done in range(1, 5):
        bar.show(done, 0.5)
    bar.close()
    if kind == "Line":
        assert "] 4/4" in capsys.readouterr().err


def test_the_best_bar_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert type(progress.bar(3)) is progress.Line
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert type(progress.bar(3)) is progress.Line


def test_a_bar_is_closed_when_a_pass_fails(capsys: pytest.CaptureFixture[str]) -> None:
    g = gx.Graph("fails", float_dtype="float64")
    x = g.input("x", ("n",))
    exe = gx.compile([x], gx.sqrt(x), debug="nan")
    with pytest.raises(gx.NumericalError):
        exe.run_batches([np.array([1.0, -1.0])], 1, progress=True)
    assert capsys.readouterr().err.endswith("\r")
