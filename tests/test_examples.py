"""Every example runs, on small data, and shows what it says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from graphc.demo.data import DataError, Images, digits, fashion_mnist, read_idx

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_neuron(capsys: pytest.CaptureFixture[str]) -> None:
    found = example("neuron").main()
    z = 0.8 * 1.5 - 0.4
    a = 1 / (1 + np.exp(-z))
    assert found["gradients"]["dloss/dw"] == pytest.approx((a - 1) * a * (1 - a) * 1.5, rel=1e-12)
    assert "dloss/da * a * (1 - a)" in capsys.readouterr().out


def test_xor() -> None:
    first, loss, right = example("xor").main(["--steps", "1500"])
    assert first == 4 and loss < 1e-3 and right == 4


def test_softmax_classifier() -> None:
    worst = example("softmax_classifier").main()
    assert len(worst) == 12 and max(worst.values()) < 1e-12


def small_images() -> Images:
    d = digits()
    return Images(d.train_x[:600], d.train_y[:600], d.test_x, d.test_y)


def test_fashion_mnist_on_other_scans() -> None:
    history = example("fashion_mnist").main(["--epochs", "25"], data=small_images())
    assert len(history) == 25 and history[-1][0] < history[0][0]


def test_fashion_mnist_skips_with_a_word(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRAPHC_FASHION_MNIST", raising=False)
    assert example("fashion_mnist").main([]) == []
    assert "skipped" in capsys.readouterr().out


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_first_epoch_of_fashion_mnist(fashion_mnist_directory: Path, seed: int) -> None:
    data = fashion_mnist(fashion_mnist_directory)
    ((loss, accuracy, _),) = example("fashion_mnist").main(["--epochs", "1", "--seed", str(seed)], data=data)
    assert 1.03 <= loss <= 1.07 and 0.61 <= accuracy <= 0.66


def made_up_houses(file: Path) -> None:
    """A table of the form of Ames with a price that its columns explain."""
    rng = np.random.default_rng(0)
    rows = ["Order,MS SubClass,Lot Area,Alley,Neighborhood,Gr Liv Area,SalePrice"]
    for k in range(300):
        area, kind = rng.integers(600, 3000), rng.integers(0, 3)
        price = np.exp(11 + 0.0004 * area + 0.2 * kind + rng.normal(0, 0.05))
        lot = "" if rng.random() < 0.1 else str(rng.integers(2000, 20000))
        rows.append(f"{k},{20 + 10 * kind},{lot},{rng.choice(['', 'Pave'])},{'ABC'[kind]},{area},{price:.0f}")
    file.write_text("\n".join(rows) + "\n")


def test_house_prices(tmp_path: Path) -> None:
    made_up_houses(tmp_path / "AmesHousing.csv")
    rows = example("house_prices").main([str(tmp_path), "--epochs", "60"])
    assert next(r["model"] for r in rows) == "ridge regression" and len(rows) == 5
    assert {(r["weight_decay"] > 0, r["dropout"] > 0) for r in rows[1:]} == {
        (a, b) for a in (False, True) for b in (False, True)
    }
    assert min(r["log_rmse"] for r in rows) < 0.1


def test_house_prices_of_ames(ames_file: Path) -> None:
    rows = example("house_prices").main([str(ames_file)])
    assert min(r["log_rmse"] for r in rows) < 0.16


def test_plots(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = example("activations").main(["--save", str(tmp_path / "a.png")])
    x = np.linspace(-4, 4, 401)
    np.testing.assert_allclose(found["tanh"][1], 1 - np.tanh(x) ** 2, atol=1e-12)
    last = example("overfitting").main(["--save", str(tmp_path / "o.png"), "--epochs", "60"])
    assert last["plain"][0] < last["plain"][1] and last["both"][1] < last["plain"][1]
    losses = example("optimizers").main(["--save", str(tmp_path / "p.png"), "--steps", "500"])
    assert len(losses) == 7 and all(v < 24.2 for v in losses.values())
    for name in "aop":
        assert (tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG"


def test_data_files_are_checked(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file"):
        read_idx(tmp_path / "nothing")
    cases = {
        b"\0\0\x09\1\0\0\0\0": "not an IDX",
        b"\0\0\x08\1\0\0\0\5abc": "3 bytes",
        b"": "not an IDX",
        b"\0\0\x08\3\0": "bytes",
    }
    for raw, text in cases.items():
        (tmp_path / "x").write_bytes(raw)
        with pytest.raises(DataError, match=text):
            read_idx(tmp_path / "x")
    (tmp_path / "y.gz").write_bytes(b"\x1f\x8b broken")
    with pytest.raises(DataError, match="damaged"):
        read_idx(tmp_path / "y.gz")


def test_call_overhead_and_compile_time() -> None:
    medians = example("call_overhead").main(["--rounds", "5"])
    assert medians["graphc"] < medians["NumPy by hand"]
    times = example("compile_time").main(["--rounds", "1"])
    assert times["from disk"] < times["cold compile and call"]
