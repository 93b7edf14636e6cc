"""Every example runs, on small data, and shows what it says."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import graphc as gx

EXAMPLES = Path(__file__).parent.parent / "examples"
SLOW = pytest.mark.slow


def example(name: str) -> ModuleType:
    """The program of that name; it finds the modules beside it, as a script does."""
    if str(EXAMPLES) not in sys.path:
        sys.path.append(str(EXAMPLES))
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_neuron(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = example("neuron").main(["--save", str(tmp_path / "n.svg")])
    values, slopes, rows = found["values"], found["derivatives"], found["recursion"]
    assert set(slopes) == {"w1", "w2", "b", "w3", "w4", "z", "a", "z'", "z''"} and values["z"] == (4, 4)
    for by_hand, by_graph in [*values.values(), *slopes.values()]:
        assert by_graph == pytest.approx(by_hand, rel=1e-12)
    assert slopes["w2"][1] == -slopes["z"][1] and slopes["w1"][1] == slopes["z"][1], "the inputs are 1 and -1"
    for _, by_hand, by_graph in rows:
        np.testing.assert_allclose(by_graph, by_hand, rtol=1e-12)
    assert "dC/dz''" in (tmp_path / "n.svg").read_text().replace("&#x27;", "'")
    out = capsys.readouterr().out
    assert "dz' * w3 + dz'' * w4" in out, "the reversed neuron, by the graph"
    assert "dC/da = w3 dC/dz' + w4 dC/dz'' = 0.5 * -0.08942 + -1.5 * 0.02829 = -0.08714" in out


def test_xor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = example("xor").main(["--steps", "1500", "--save", str(tmp_path / "x.svg")])
    deltas, rows, prediction = found["deltas"], found["weights"], found["next_prediction"]
    assert found["activations"].tolist() == [4, 7, 7, 10]
    assert deltas[0].tolist() == [[4]] and deltas[1].tolist() == [[4, 4, 4]]
    assert len(rows) == 13 and prediction == pytest.approx(1.68, rel=1e-12)
    for name, old, gradient, new in rows:
        zero = name.startswith("X")
        assert (old, gradient, new) == (1, 0, 1) if zero else (old, gradient) == (1, 4) and new == pytest.approx(0.6)
    assert found["loss"] < 1e-3 and found["right"] == 4
    out = capsys.readouterr().out
    assert "[1, 1]: hidden units 3, prediction 10" in out and "the next prediction for [0, 0] is 1.68" in out
    assert "X1 -> Z1      1.00      0.00  1.00" in out and "Z3 -> D0      1.00      4.00  0.60" in out


def test_softmax_classifier(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    worst = example("softmax_classifier").main(["--save", str(tmp_path / "s.svg")])
    assert {"df2", "dw2", "db2", "dg1", "df1", "dw1", "db1", "third order", "batch dw1", "batch product"} <= set(worst)
    assert max(worst.values()) < 1e-12
    out = capsys.readouterr().out
    assert "df1/dw1 has shape (3, 2, 3): 18 numbers, 12 of them 0" in out
    assert "dL/df2   y_hat - y                  [ 0.2654 -0.5875 0.3221]" in out


def test_chain_rule(tmp_path: Path) -> None:
    found = example("chain_rule").main(["--x", "0.7", "--save", str(tmp_path / "c.svg")])
    x, at = 0.7, math.sin(0.49)
    for (by_hand, by_graph), exact in zip(
        found.values(),
        (2 * x * math.cos(x * x) * math.exp(at) / (1 + math.exp(at)), math.exp(x) * (math.cos(x) + math.sin(x))),
        strict=True,
    ):
        assert by_graph == pytest.approx(by_hand, rel=1e-14) and by_hand == pytest.approx(exact, rel=1e-14)


def test_weight_decay(tmp_path: Path) -> None:
    found = example("weight_decay").main(["--dropout", "--save", str(tmp_path / "j.svg")])
    adamw = found.pop("Adam on J, AdamW on L")
    assert {"dJ", "dL", "ds", "do", "dW2", "dh", "dz", "dW1"} <= set(found)
    assert max(found.values()) < 1e-12 and adamw > 0.1


def test_descent() -> None:
    ways = example("descent").main([])
    least = ways["least"]
    steps, passes, losses = zip(*(ways[name] for name in ("batch", "mini-batch", "stochastic")), strict=True)
    assert steps[0] == passes[0] and steps[1] == 8 * passes[1] and steps[2] == 64 * passes[2]
    assert passes[0] > passes[1] > passes[2] and all(least < v < 1.2 * least for v in losses)


def test_savings() -> None:
    found = example("savings").main(["--layers", "2", "5", "8", "16", "--rounds", "1"])
    assert [(found[k][0][0], found[k][1][0]) for k in (2, 5)] == [(21, 32), (45, 125)], "as in docs/tutorial.md"
    (small, medium, large) = (found[k] for k in (2, 8, 16))
    assert large[0][0] < 2.2 * medium[0][0] < 10 * small[0][0], "at once: linear in the layers"
    assert large[1][0] > 3.2 * medium[1][0], "one by one: quadratic"


def test_fashion_mnist_on_small_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from test_cli import write_images

    write_images(tmp_path)
    monkeypatch.setenv("GRAPHC_FASHION_MNIST", str(tmp_path))
    pytest.importorskip("matplotlib")
    history = example("fashion_mnist").main(["--epochs", "50", "--small", "--save", str(tmp_path / "six.png")])
    out = capsys.readouterr().out
    assert "1.0378  0.6438" in out and "0.2389  0.9144" in out and "0.2356  0.9151" in out, "the article's"
    assert max(len(line) for line in out.splitlines() if "drawn in" not in line) <= 80
    assert (tmp_path / "six.png").read_bytes()[:4] == b"\x89PNG"
    learned(history)


def test_lenet_on_small_files(tmp_path: Path) -> None:
    from test_cli import write_images

    write_images(tmp_path, 28)
    epochs = example("lenet").main([str(tmp_path), "--epochs", "8", "--small"])["epochs"]
    assert epochs[-1]["train_loss"] < 0.5 < epochs[0]["train_loss"] and epochs[-1]["test_accuracy"] > 0.9


def test_resnet_on_small_files(tmp_path: Path) -> None:
    from test_cli import write_images

    write_images(tmp_path, 28)
    epochs = example("resnet").main([str(tmp_path), "--epochs", "6", "--small"])["epochs"]
    assert epochs[-1]["train_loss"] < 0.5 < epochs[0]["train_loss"] and epochs[-1]["test_accuracy"] > 0.9


def test_resnet_on_some_of_fashion_mnist(fashion_mnist_directory: Path) -> None:
    epochs = example("resnet").main([str(fashion_mnist_directory), "--epochs", "6", "--small"])["epochs"]
    assert epochs[-1]["train_accuracy"] > 0.68 and epochs[-1]["train_loss"] < 0.8


@pytest.mark.slow
def test_characters(capsys: pytest.CaptureFixture[str]) -> None:
    found = example("characters").main([])
    assert np.mean(found["losses"][-20:]) < 0.35 < 2.5 < found["losses"][0]
    assert {"cat", "dog", "fox"} & set(found["text"].split()) and "goes on" in capsys.readouterr().out


def test_characters_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("tick tock " * 40)
    losses = example("characters").main([str(tmp_path / "text"), "--steps", "80"])["losses"]
    assert losses[-1] < 0.1


def test_vae() -> None:
    found = example("vae").main(["--made-up", "--epochs", "40"])
    assert found["error"] < 0.1 < 0.14 < found["plain"] and found["bounds"][-1] < 11 < 30 < found["bounds"][0]


def test_vae_of_digits() -> None:
    pytest.importorskip("sklearn")
    found = example("vae").main([])
    assert found["bounds"][-1] < 25.5 and found["error"] < 0.21 < found["plain"]


def test_gaussian_process(capsys: pytest.CaptureFixture[str]) -> None:
    found = example("gaussian_process").main([])
    assert abs(found["period"] - 1.3) < 0.01 and found["error"] < 0.03 and found["inside"] > 0.9
    assert found["losses"][-1] < -30 and "within two deviations" in capsys.readouterr().out


@pytest.mark.parametrize(("cell", "steps", "above"), [("gru", 200, 1.1), pytest.param("lstm", 600, 1.03, marks=SLOW)])
def test_recurrent_networks_reach_the_entropy(cell: str, steps: int, above: float) -> None:
    found = example("recurrent").main(["--cell", cell, "--steps", str(steps)])
    assert found["entropy"] == pytest.approx(3 * np.log(3) / 21), "21 letters in the mean, three choices of three"
    assert 0.99 * found["entropy"] < found["loss"] < above * found["entropy"] < 2.5 < found["losses"][0]


def test_hidden_markov_reaches_the_book() -> None:
    found = example("hidden_markov").main(["--states", "2"])
    for m, loss in found["found"].items():
        assert loss == pytest.approx(found["book"][m], abs=1e-4)
    assert len(found["found"]) == 2 and found["error"] < 1e-9


def test_kalman_reaches_the_book() -> None:
    found = example("kalman").main([])
    ours, book = found["found"], found["book"]
    assert ours["noise"] == pytest.approx(book["noise"], abs=1) and ours["level"] == pytest.approx(book["level"], abs=1)
    assert ours["log likelihood"] == pytest.approx(book["log likelihood"], abs=0.01)
    assert found["error"] < 1e-10 and found["steps"] < 10, "as one normal distribution; Newton's steps"


@pytest.mark.parametrize(("steps", "off"), [(100, 0.5), pytest.param(1000, 0.1, marks=SLOW)])
def test_neural_ode_beside_the_adjoint_equation(steps: int, off: float) -> None:
    found = example("neural_ode").main(["--steps", str(steps)])
    assert found["error"] < 1e-5 and found["off"] < off
    assert np.mean(found["losses"][-20:]) < 0.5 * found["losses"][0]


@pytest.mark.slow
def test_maml_is_below_any_single_function() -> None:
    found = example("maml").main([])
    errors = found["errors"]
    assert found["floor"] == pytest.approx(3.0, abs=0.01) and errors[0] > 0.95 * found["floor"]
    assert errors[1] < 0.5 * found["floor"] and errors[5] < errors[1]


@pytest.mark.parametrize("problem", ["MGH10", *(pytest.param(name, marks=SLOW) for name in ("Misra1a", "Rat43"))])
def test_least_squares_reach_certified_digits(problem: str) -> None:
    digits = example("least_squares").main([problem])
    assert all(v > 7 for (_, way, place), v in digits.items() if way == "Levenberg-Marquardt" or place == "near")
    assert len(digits) == 4 and (problem == "Misra1a" or digits[problem, "Gauss-Newton", "far"] == 0)


@pytest.mark.parametrize(("name", "key"), [("race_car", "time"), ("orbit_transfer", "radius")])
def test_collocation_reaches_casadi(name: str, key: str) -> None:
    found = example(name).main(["--intervals", "20"])
    assert found[key] == pytest.approx(found["casadi"], abs=2e-4) and found["off"] < 1e-6


def test_posterior_is_the_exact_one() -> None:
    found = example("posterior").main(["--draws", "4000", "--steps", "1000"])
    for name, draws in found["found"].items():
        near = 0.05 if name == "chain" else 0.1  # a normal distribution is not quite of the posterior's form
        np.testing.assert_allclose(draws.mean(0), found["mean"], atol=near * np.sqrt(found["variance"]).max())
        np.testing.assert_allclose(draws.var(0), found["variance"], rtol=2 * near)
    assert found["evidence"] - 0.1 < found["bound"] < found["evidence"] + 0.01


def test_private_learning() -> None:
    pytest.importorskip("sklearn")
    found = example("private").main(["--steps", "150"])
    assert found["error"] < 1e-5 and found["paper"] == pytest.approx(1.26, abs=0.01)
    assert found["accuracy"] > 0.85 and found["epsilon"] < 10


def learned(found: dict[str, Any]) -> None:
    """The figures of 50 epochs on `write_images`."""
    epochs = found["epochs"]
    assert len(epochs) == 50 and epochs[-1]["train_loss"] < 0.5 < epochs[0]["train_loss"]
    assert epochs[-1]["test_accuracy"] > 0.9


def test_networkx_dag_on_small_files(tmp_path: Path) -> None:
    from test_cli import write_images

    write_images(tmp_path)
    options = ["--save", str(tmp_path / "network.gx"), "--export", str(tmp_path / "network.py")]
    history = example("networkx_dag").main([str(tmp_path), "--epochs", "50", "--small", *options])
    learned(history)
    assert list(gx.load(tmp_path / "network.gx")) == ["train", "infer"] and (tmp_path / "network.py").exists()
    other = example("networkx_dag").main([str(tmp_path), "--epochs", "1", "--small", "--seed", "1"])
    dsl = example("fashion_mnist").main([str(tmp_path), "--epochs", "1", "--small", "--seed", "1"])
    losses = [found["epochs"][0]["train_loss"] for found in (history, other, dsl)]
    assert losses[0] != losses[1] == losses[2], "the seed's weights and order, and the losses of the DSL"


@pytest.mark.parametrize("name", ["fashion_mnist", "house_prices", "networkx_dag"])
def test_missing_data(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GRAPHC_FASHION_MNIST", raising=False)
    monkeypatch.delenv("GRAPHC_AMES", raising=False)
    assert example(name).main([]) is None
    assert "skipped" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="there is no"):
        example(name).main([str(tmp_path / "nowhere")])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_first_epoch_of_fashion_mnist(fashion_mnist_directory: Path, seed: int) -> None:
    args = [str(fashion_mnist_directory), "--epochs", "1", "--seed", str(seed)]
    (epoch,) = example("fashion_mnist").main(args)["epochs"]
    assert 1.03 <= epoch["train_loss"] <= 1.07 and 0.61 <= epoch["train_accuracy"] <= 0.66


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


FOUR = {("network", decay, rate) for decay in (0, 1.0) for rate in (0, 0.3)}


def test_house_prices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_up_houses(tmp_path / "AmesHousing.csv")
    pytest.importorskip("matplotlib")
    found = example("house_prices").main([str(tmp_path), "--epochs", "15", "--save", str(tmp_path / "h.png")])
    scores = found["scores"]
    assert all(1 <= k <= 15 for chosen in found["epochs"].values() for k in chosen) and set(found["epochs"]) == FOUR
    assert set(scores) == {("ridge", 0, 0)} | FOUR and all(len(folds) == 5 for folds in scores.values())
    assert min(scores[key].mean() for key in FOUR) < 0.1
    out = capsys.readouterr().out
    apart = scores["network", 1.0, 0.3] - scores["network", 0, 0]
    assert f"{scores['network', 1.0, 0.3].mean():.4f}" in out and f"{apart.mean():.4f}" in out and "\nridge" in out
    assert max(len(line) for line in out.splitlines() if "drawn in" not in line) <= 80


def test_house_prices_of_ames(ames_file: Path) -> None:
    scores = example("house_prices").main([str(ames_file)])["scores"]
    assert all(scores[key].mean() < 0.16 for key in FOUR)


def test_plots(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    found = example("activations").main(["--save", str(tmp_path / "a.png")])
    x = np.linspace(-4, 4, 401)
    s = 1 / (1 + np.exp(-x))
    exact = {"sigmoid": (s, s * (1 - s)), "tanh": (np.tanh(x), 1 - np.tanh(x) ** 2), "relu": (np.maximum(x, 0), x > 0)}
    for name, (value, slope) in exact.items():
        np.testing.assert_allclose(found[name][0], value, atol=1e-12)
        np.testing.assert_allclose(found[name][1], slope, atol=1e-12)
    assert "  derivative         0.0452      0.1966      0.2500" in capsys.readouterr().out
    last = example("overfitting").main(["--save", str(tmp_path / "o.png"), "--epochs", "100"])
    plain, penalised, dropped, more = (last[name] for name in ("plain", "L2", "dropout", "more points"))
    assert plain[0] < 0.01 < 0.5 < plain[1], "learned by heart"
    assert penalised[1] < 0.5 * plain[1] and penalised[2] < 0.3 * plain[2], "less validation loss, smaller weights"
    assert dropped[1] < plain[1] and more[1] < 0.5 * plain[1]
    found = example("optimizers").main(["--save", str(tmp_path / "p.png"), "--steps", "500"])
    losses = found["losses"]
    assert found["difference"] < 1e-12, "the equations and the updates"
    example("descent").main(["--save", str(tmp_path / "d.png")])
    example("savings").main(["--layers", "2", "--rounds", "1", "--save", str(tmp_path / "s.png")])
    kinds = (c for c in vars(gx.optim).values() if isinstance(c, type) and issubclass(c, gx.optim.Optimizer))
    assert len(losses) == 7 and set(losses) < {c.__name__ for c in kinds} and all(v < 24.2 for v in losses.values())
    example("hmc").main(["--draws", "100", "--save", str(tmp_path / "h.png")])
    example("curve_fit").main(["--points", "50", "--save", str(tmp_path / "c.png")])
    example("pendulum").main(["--save", str(tmp_path / "q.png")])
    for name in "aophcqds":
        assert (tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("name", ["activations", "overfitting", "optimizers", "descent"])
def test_missing_matplotlib_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit, match=r"graphc\[demo\]"):
        example(name).main(["--save", "picture.png"])


def test_call_overhead_and_compile_time() -> None:
    medians = example("call_overhead").main(["--rounds", "5"])
    assert medians["graphc"] < medians["NumPy by hand"]
    times = example("compile_time").main(["--rounds", "1"])
    assert times["from disk"] < times["cold compile and call"]


def test_hmc_against_the_exact_posterior(capsys: pytest.CaptureFixture[str]) -> None:
    draws, mean, covariance = example("hmc").main(["--draws", "8000"]).values()
    deviation = np.sqrt(np.diag(covariance))
    blocks = draws.reshape(40, -1, 3).mean(axis=1)
    error = blocks.std(axis=0, ddof=1) / np.sqrt(40)  # of the mean, by means of blocks, whatever the correlation
    assert np.all(error < 0.05 * deviation) and np.all(np.abs(draws.mean(axis=0) - mean) < 5 * error)
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=0.08 * deviation.max() ** 2)
    assert "of moves accepted" in capsys.readouterr().out


def test_curve_fit(capsys: pytest.CaptureFixture[str]) -> None:
    ours, theirs = example("curve_fit").main(["--points", "500"]).values()
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    assert "curve_fit" in capsys.readouterr().out


def test_pendulum() -> None:
    found = example("pendulum").main(["--angle", "1.0"])
    exact = found.pop("exact")
    assert set(found) == {"quad", "solve_ivp", "solve_ivp, njit", "Runge-Kutta"}
    assert exact > 2 * np.pi and found["quad"][0] == pytest.approx(exact, rel=1e-13)
    for period, drift in found.values():
        assert abs(period - exact) < 1e-6 and drift < 1e-7
