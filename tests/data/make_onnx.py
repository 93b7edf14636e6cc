"""Writes the models of other writers that `gx.from_onnx` must read, with inputs and the results of their makers.

    python tests/data/make_onnx.py

needs torch, onnxscript, scikit-learn and skl2onnx. Notes that exporters leave about the machine are taken out.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent / "models"


def keep(name: str, data: bytes, inputs: list[np.ndarray], outputs: list[np.ndarray]) -> None:
    """A model and its record."""
    import onnx

    model = onnx.load_from_string(data)
    for entry in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info, model.graph):
        entry.ClearField("doc_string")
        entry.ClearField("metadata_props")
    model.ClearField("metadata_props")
    (HERE / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))
    arrays = {f"in {k}": a for k, a in enumerate(inputs)} | {f"out {k}": np.asarray(a) for k, a in enumerate(outputs)}
    np.savez(HERE / f"{name}.npz", **arrays)


def torch_models() -> dict[str, tuple[Any, Callable[[int], Any], dict[int, str]]]:
    """Module, inputs for a batch size, and names of axes."""
    import torch
    from torch import nn

    class Block(nn.Module):
        """A transformer block before normalisation."""

        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)
            self.first, self.second = nn.LayerNorm(8), nn.LayerNorm(8)
            self.feed = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))

        def forward(self, x: Any) -> Any:
            b, t, d = x.shape
            q, k, v = (u.reshape(b, t, 2, d // 2).transpose(1, 2) for u in self.qkv(self.first(x)).chunk(3, -1))
            weights = torch.softmax(q @ k.transpose(-1, -2) / (d // 2) ** 0.5, -1)
            x = x + self.out((weights @ v).transpose(1, 2).reshape(b, t, d))
            return x + self.feed(self.second(x))

    class Odd(nn.Module):
        """Slices, padding, reductions, selection."""

        def forward(self, x: Any) -> Any:
            y = torch.nn.functional.pad(x[:, 1::2], (1, 1), value=0.5)
            y = torch.where(y > 0, y, y * 0.1) ** 2 + torch.clamp(x[:, :1], -1, 1)
            z = torch.cat([y.flip(1), y.amax(1, keepdim=True), y.mean(1, keepdim=True)], 1)
            return z.sum(1), z.argmax(1), torch.stack([z, torch.exp(-z)], 1)

    mlp = nn.Sequential(
        nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 3), nn.LogSoftmax(-1)
    )
    norm = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.SiLU(), nn.Linear(8, 2), nn.ELU())
    words = nn.Sequential(nn.Embedding(11, 6), nn.Flatten(), nn.Linear(18, 2), nn.LeakyReLU(0.2), nn.Sigmoid())
    norm(torch.randn(50, 6))  # running statistics
    return {
        "mlp": (mlp, lambda n: torch.randn(n, 6), {0: "batch"}),
        "norm": (norm, lambda n: torch.randn(n, 6), {0: "batch"}),
        "words": (words, lambda n: torch.randint(0, 11, (n, 3)), {0: "batch"}),
        "block": (Block(), lambda n: torch.randn(n, 5, 8), {0: "batch", 1: "time"}),
        "odd": (Odd(), lambda n: torch.randn(n, 9), {0: "batch"}),
    }


def from_torch() -> None:
    """Each model by the exporter that traces and by the one that captures."""
    import io

    import torch

    torch.manual_seed(0)
    for name, (module, draw, axes) in torch_models().items():
        module.eval()
        sizes = {k: torch.export.Dim(v) for k, v in axes.items()}
        first, second = draw(4), draw(7)
        with torch.no_grad():
            made = module(second)
        outputs = [t.numpy() for t in (made if isinstance(made, tuple) else (made,))]
        traced = io.BytesIO()
        torch.onnx.export(module, (first,), traced, dynamo=False, input_names=["x"], dynamic_axes={"x": axes})
        keep(f"torch_{name}_traced", traced.getvalue(), [second.numpy()], outputs)
        program = torch.onnx.export(module, (first,), dynamo=True, input_names=["x"], dynamic_shapes=(sizes,))
        keep(f"torch_{name}_captured", program.model_proto.SerializeToString(), [second.numpy()], outputs)


def from_sklearn() -> None:
    """Linear models, scalers, encoders, a small network, trees and support vectors."""
    from skl2onnx import to_onnx
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier, RandomForestRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, Normalizer, OneHotEncoder, PolynomialFeatures, StandardScaler
    from sklearn.svm import SVC, SVR
    from sklearn.tree import DecisionTreeRegressor

    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 5)).astype(np.float32)
    y = x @ rng.normal(size=5) + 1
    many, classes = np.stack([y, -2 * y], 1), (y > 0.5).astype(int) + (y > 1.5)
    models: dict[str, tuple[Any, Any]] = {
        "linear": (LinearRegression(), y),
        "pipeline": (make_pipeline(MinMaxScaler(), PCA(3), Ridge()), many),
        "polynomial": (make_pipeline(Normalizer(), PolynomialFeatures(2), Ridge()), y),
        "logistic": (make_pipeline(StandardScaler(), LogisticRegression()), classes),
        "binary": (LogisticRegression(), classes > 0),
        "network": (MLPClassifier((7,), max_iter=60, random_state=0), classes),
        "bayes": (GaussianNB(), classes),
        "means": (KMeans(3, random_state=0, n_init=1), y),
        "tree": (DecisionTreeRegressor(max_depth=2), y),
        "forest": (RandomForestClassifier(5, max_depth=4, random_state=0), classes),
        "trees": (RandomForestRegressor(4, max_depth=4, random_state=0), many),
        "boosting": (GradientBoostingClassifier(n_estimators=5, random_state=0), classes > 0),
        "vectors": (SVR(), y),
        "margins": (SVC(kernel="poly"), classes),
        "margin": (SVC(), classes > 0),
        "imputer": (make_pipeline(SimpleImputer(), Ridge()), y),
    }
    for name, (model, target) in models.items():
        model.fit(x, target)
        options = {"zipmap": False} if hasattr(model, "decision_function") or hasattr(model, "predict_proba") else None
        data = to_onnx(model, x[:1], options=options).SerializeToString()
        given = x[:9].copy()
        if name == "imputer":
            given[::3, 1] = np.nan
        predicted = model.predict(given)
        outputs = [predicted.astype(np.int64 if predicted.dtype.kind in "bi" else np.float32)]
        if hasattr(model, "predict_proba"):
            outputs.append(model.predict_proba(given).astype(np.float32))
        elif isinstance(model, KMeans):
            outputs.append(model.transform(given).astype(np.float32))
        elif isinstance(model, SVC):
            found = model.decision_function(given).astype(np.float32)
            outputs.append(np.stack([found, -found], 1) if found.ndim == 1 else found)
        keep(f"sklearn_{name}", data, [given], outputs)
    codes = rng.integers(0, 4, (60, 2))
    encoder = OneHotEncoder(handle_unknown="ignore").fit(codes)
    data = to_onnx(encoder, codes[:1]).SerializeToString()
    given = np.concatenate([codes[:8], [[9, 1]]])
    keep("sklearn_encoder", data, [given], [encoder.transform(given).toarray().astype(np.float32)])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    HERE.mkdir(exist_ok=True)
    from_torch()
    from_sklearn()
    print("\n".join(f"{p.name}  {p.stat().st_size}" for p in sorted(HERE.iterdir())))
