"""gx.fit: histories, early stopping, checkpoints, callbacks, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gx


class Model:
    """A linear classifier with dropout, so that the state holds weights, moments, a step and a key."""

    def __init__(self, lr: float = 0.05) -> None:
        self.g = gx.Graph("fit")
        x = self.g.input("x", ("batch", 4))
        y = self.g.input("y", ("batch",), "int64")
        w = self.g.parameter("w", np.zeros((4, 2), np.float32))
        noisy = gx.dropout(x, 0.25, key=self.g.random_key(seed=3)) @ w
        losses = gx.cross_entropy(noisy, y)
        right = gx.equal(gx.argmax(noisy, axis=-1), y)
        outputs = {"loss": gx.mean(losses), "right": right, "rows": losses, "w": w}
        self.train = gx.compile([x, y], outputs, gx.optim.Adam(lr=lr).updates(outputs["loss"]), backend="numpy")
        self.check = gx.compile([x, y], gx.inference([outputs["loss"], right]), backend="numpy")


def data(rows: int = 70, seed: int = 0) -> list[np.ndarray]:
    x = np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32)
    return [x, (x[:, 0] > 0).astype(np.int64)]


def state(g: gx.Graph) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in g.state.items() if name != "fit/epoch"}


def test_the_loop_by_hand_is_the_same() -> None:
    one, two, seen = Model(), Model(), []
    history = gx.fit(one.train, data(), 3, validation=(one.check, data(seed=1)), batch_size=32, seed=5)
    for epoch in range(3):
        out = two.train.run_batches(data(), 32, shuffle=True, seed=5 + epoch)
        seen.append(
            (np.average(out["loss"].astype(float), weights=[32, 32, 6]), out["right"].mean(), out["rows"].mean())
        )
    assert state(one.g) == state(two.g)
    np.testing.assert_allclose(np.transpose([history[n] for n in ("loss", "right", "rows")]), seen, rtol=1e-6)
    np.testing.assert_allclose(history["loss"], history["rows"], rtol=1e-5)  # all rows weigh alike
    assert list(history[0]) == ["epoch", "loss", "right", "rows", "validation_loss", "validation_output_1", "seconds"]
    assert history["epoch"].tolist() == [0, 1, 2] and history.watched == "validation_loss"
    assert len(repr(history).splitlines()) == 4 and [r["epoch"] for r in history] == [0, 1, 2]
    with pytest.raises(gx.InputKeyError, match="did you mean 'loss'"):
        history["los"]


def test_rows_stay_in_order_without_a_seed() -> None:
    one, two = Model(), Model()
    gx.fit(one.train, dict(zip("xy", data(), strict=True)), 2, seed=None)
    for _ in range(2):
        two.train.run_batches(data(), 32)
    assert state(one.g) == state(two.g)


def test_patience_restores_the_state_of_the_best_epoch() -> None:
    model, states = Model(lr=2.0), []
    history = gx.fit(
        model.train, data(20), 200, validation=(model.check, data(40, seed=1)), patience=4, batch_size=5,
        callbacks=[lambda epoch, record: states.append(state(model.g))],
    )  # fmt: skip
    assert history.best == int(np.argmin(history["validation_loss"])) and len(history) == history.best + 5 < 200
    assert state(model.g) == states[history.best] != states[-1]
    found = model.check.run_batches(data(40, seed=1), 40)[0].mean()
    assert found == pytest.approx(history["validation_loss"][history.best], rel=1e-5)


def test_a_loss_that_is_no_number_is_never_best() -> None:
    g = gx.Graph("nan")
    x = g.input("x", ("n",))
    w = g.parameter("w", np.float32(1.0))
    exe = gx.compile([x], w * gx.mean(x) + np.nan, updates={w: w + 1.0}, backend="numpy")
    history = gx.fit(exe, [np.ones(4)], 9, patience=2)
    assert len(history) == 2 and history.best is None and g.state["w"] == 3


def test_callbacks_add_to_records_and_end_training() -> None:
    def note(epoch: int, record: dict[str, Any]) -> bool:
        record["double"] = 2 * epoch
        return epoch == 2

    model = Model()
    assert gx.fit(model.train, data(), 9, callbacks=(note,))["double"].tolist() == [0, 2, 4]
    with pytest.raises(ZeroDivisionError):
        gx.fit(model.train, data(), 9, callbacks=[lambda epoch, record: 1 / 0])


def test_a_run_goes_on_from_its_checkpoint_bit_for_bit(tmp_path: Path) -> None:
    whole, broken, path = Model(), Model(), tmp_path / "run.gx"
    valid = data(seed=1)
    full = gx.fit(whole.train, data(), 6, validation=(whole.check, valid))

    def stop(epoch: int, record: dict[str, Any]) -> None:
        if epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gx.fit(broken.train, data(), 6, validation=(broken.check, valid), checkpoint=path, callbacks=[stop])
    models = gx.load(path)
    first = int(models["epoch"]())
    assert first == 4
    rest = gx.fit(models["train"], data(), 6, validation=(models["validation"], valid), first=first, checkpoint=path)
    assert rest["epoch"].tolist() == [4, 5] and rest["loss"].tolist() == full["loss"][4:].tolist()
    assert rest["validation_loss"].tolist() == full["validation_loss"][4:].tolist()
    assert state(models.graph) == state(whole.g) == state(gx.load(path).graph)


def test_no_epochs_and_progress(capsys: pytest.CaptureFixture[str]) -> None:
    model = Model()
    assert len(gx.fit(model.train, data(), 0)) == 0 == len(gx.fit(model.train, data(), 2, first=2))
    gx.fit(model.train, data(), 2, progress=True)
    assert "2/2" in capsys.readouterr().err


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no updates": ({"train": "check"}, "executable with updates, found one without"),
    "no executable": ({"train": 3}, "executable with updates, found 3"),
    "an array": ({"data": np.ones(3)}, "data must be a list or dict .* found an array"),
    "a name": ({"data": {"x": np.ones((3, 4)), "z": 1}}, "there is no input 'z'"),
    "no rows": ({"data": [np.ones((0, 4)), np.ones(0, int)]}, "data has no rows"),
    "rows differ": ({"data": [np.ones((3, 4)), np.ones(2, int)]}, "expected 3 rows as in 'x', found 2"),
    "epochs": ({"epochs": 1.5}, "epochs must be an int of at least 0, found 1.5"),
    "patience": ({"patience": 0}, "patience must be an int of at least 1"),
    "seed": ({"seed": -1}, "seed must be an int of at least 0"),
    "validation": ({"validation": "check"}, "validation must be .executable, data."),
    "trains": ({"validation": ("train", data())}, "without updates"),
    "callbacks": ({"callbacks": [1]}, "callbacks must be a list of functions"),
}


@pytest.mark.parametrize(("changed", "text"), REFUSED.values(), ids=REFUSED)
def test_refused(changed: dict[str, Any], text: str) -> None:
    model = Model()
    parts = {"train": model.train, "check": model.check}
    given = {"train": model.train, "data": data(), "epochs": 1, **changed}
    given["train"] = parts.get(given["train"], given["train"]) if isinstance(given["train"], str) else given["train"]
    if isinstance(given.get("validation"), tuple):
        given["validation"] = parts[given["validation"][0]], given["validation"][1]
    with pytest.raises(gx.InputError, match=text):
        gx.fit(given.pop("train"), given.pop("data"), given.pop("epochs"), **given)
