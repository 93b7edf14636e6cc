"""What `torch.onnx.export` writes by default, weights beside the model, is read and computes what torch does."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gx

pytestmark = pytest.mark.oracle
torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript", reason="torch.onnx.export needs it")


def exported(network: Any, arguments: tuple[Any, ...], path: Path, **options: Any) -> gx.Graph:
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(network, arguments, path, **options)
    return gx.from_onnx(path)


def agree(network: Any, graph: gx.Graph, *arguments: Any) -> None:
    exe = gx.compile(list(graph.inputs.values()), list(graph.outputs))
    (found,) = exe(*(a.numpy() for a in arguments))
    with torch.no_grad():
        np.testing.assert_allclose(found, network(*arguments).numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("width", [8, 64, 600])
def test_an_mlp(width: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(20, width), torch.nn.ReLU(), torch.nn.Linear(width, 3)).eval()
    x = torch.randn(4, 20)
    graph = exported(network, (x,), tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx.data").exists() and len(graph.parameters) == 4
    agree(network, graph, x)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("options", [{}, {"activation": "gelu", "norm_first": True}], ids=["default", "gelu"])
def test_a_transformer_encoder(dynamic: bool, options: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, **options)
    network = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    x = torch.randn(2, 7, 32)
    sizes = {"dynamic_shapes": ({0: "batch", 1: "time"},)} if dynamic else {}
    graph = exported(network, (x,), tmp_path / "m.onnx", **sizes)
    agree(network, graph, x)
    if dynamic:
        agree(network, graph, torch.randn(5, 3, 32))


class Causal(torch.nn.Module):
    """A small language model."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(50, 16)
        layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.layers, self.out = torch.nn.TransformerEncoder(layer, 1), torch.nn.Linear(16, 50)

    def forward(self, tokens: Any) -> Any:
        mask = torch.nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
        return self.out(self.layers(self.embedding(tokens), mask=mask, is_causal=True))


@pytest.mark.parametrize("opset", [None, 23])
def test_a_causal_model(opset: int | None, tmp_path: Path) -> None:
    """From opset 23 on its attention is one operator."""
    torch.manual_seed(0)
    network, tokens = Causal().eval(), torch.randint(0, 50, (2, 7))
    options: dict[str, Any] = {} if opset is None else {"opset_version": opset}
    agree(network, exported(network, (tokens,), tmp_path / "m.onnx", **options), tokens)
