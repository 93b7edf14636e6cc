"""What the examples compile, for tests of every format that keeps it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_cli
import test_examples

import graphc as gx
from graphc.ir import dims

# All but chain_rule, which compiles nothing, compile_time, which does so in processes of its own, private, which needs
# scikit-learn, and digits and export_fashion_mnist, whose network is fashion_mnist's.
EXAMPLES: dict[str, list[str]] = {
    "activations": [],
    "call_overhead": ["--rounds", "1"],
    "curve_fit": ["--points", "50"],
    "hmc": ["--draws", "20"],
    "descent": [],
    "neuron": [],
    "savings": ["--layers", "2", "--rounds", "1"],
    "weight_decay": [],
    "pendulum": [],
    "xor": ["--steps", "20"],
    "softmax_classifier": [],
    "fashion_mnist": ["--epochs", "1", "--small"],
    "lenet": ["--epochs", "1", "--small"],
    "resnet": ["--epochs", "1", "--small"],
    "characters": ["--steps", "2"],
    "vae": ["--made-up", "--epochs", "1"],
    "gaussian_process": ["--points", "12", "--steps", "2"],
    "recurrent": ["--cell", "gru", "--steps", "2"],
    "hidden_markov": ["--states", "1"],
    "kalman": [],
    "neural_ode": ["--steps", "2"],
    "maml": ["--steps", "1"],
    "least_squares": ["Misra1a"],
    "race_car": ["--intervals", "10"],
    "orbit_transfer": ["--intervals", "10"],
    "posterior": ["--draws", "20", "--steps", "10"],
    "house_prices": ["HERE", "--epochs", "2"],
    "optimizers": ["--steps", "5"],
    "overfitting": ["--epochs", "2"],
}
LONG = {"house_prices", "lenet", "resnet", "characters", "overfitting", "recurrent", "hidden_markov", "kalman"}
LONG |= {"neural_ode", "maml", "least_squares", "race_car", "orbit_transfer", "posterior"}
PARAMETERS = [pytest.param(n, marks=[pytest.mark.slow] * (n in LONG)) for n in EXAMPLES]


def executables_of(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[gx.Graph, dict[str, gx.Executable]]:
    """Everything that an example compiles, graph by graph."""
    monkeypatch.setenv("GRAPHC_FASHION_MNIST", str(tmp_path))
    test_cli.write_images(tmp_path, 28 if name in ("lenet", "resnet") else 6)
    test_examples.made_up_houses(tmp_path / "AmesHousing.csv")
    made: dict[gx.Graph, dict[str, gx.Executable]] = {}

    def compile(*args: Any, **kwargs: Any) -> gx.Executable:
        exe = original(*args, **kwargs)
        held = made.setdefault(exe.graph, {})
        held[f"exe {len(held)}"] = exe
        return exe

    original = gx.compile
    monkeypatch.setattr(gx, "compile", compile)
    test_examples.example(name).main([a.replace("HERE", str(tmp_path)) for a in EXAMPLES[name]])
    assert made
    return made


def feeds(exe: gx.Executable, size: int) -> list[np.ndarray]:
    """Arrays that fit, every symbolic size ``size``; integers are 0 or 1."""
    rng = np.random.default_rng(size)
    out = []
    for t in exe.inputs.values():
        shape = [dims.evaluate(s, dict.fromkeys(exe.program.symbols, size)) for s in t.shape]
        made = rng.normal(size=shape) if t.dtype.kind == "f" else rng.integers(0, 2, shape)
        out.append(np.asarray(made).astype(t.dtype))
    return out
