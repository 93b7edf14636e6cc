"""Estimators in scikit-learn's own checks, and what those do not ask."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.datasets import load_digits, make_moons
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

import graphc as gx
from graphc.sklearn import ACTIVATIONS, OPTIMIZERS, GraphClassifier, GraphRegressor

MOONS = make_moons(200, noise=0.1, random_state=0)
REGRESSOR = GraphRegressor()


@pytest.mark.parametrize(
    ("estimator", "check"),
    [
        pytest.param(*pair, marks=[pytest.mark.slow] * (e is REGRESSOR))  # most of it is the classifier's too
        for e in (GraphClassifier(), REGRESSOR)
        for pair in estimator_checks_generator(e, legacy=True)
    ],
    ids=lambda part: getattr(getattr(part, "func", part), "__name__", type(part).__name__),
)
def test_check_estimator(estimator: Any, check: Any) -> None:
    """``check_estimator(estimator)``, a test each; no check is left out."""
    check(estimator)


def test_digits_in_a_pipeline() -> None:
    x, y = load_digits(return_X_y=True)
    model = make_pipeline(StandardScaler(), GraphClassifier((32,), epochs=40, random_state=0))
    assert cross_val_score(model, x[:900], y[:900], cv=2).mean() > 0.8  # as MLPClassifier


def test_a_fitted_estimator_is_arrays() -> None:
    x, y = MOONS
    model = GraphClassifier((8,), activation="tanh", epochs=60, random_state=0).fit(x, y)
    expected = model.predict_proba(x)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert np.array_equal(other.predict_proba(x), expected)
    assert np.array_equal(
        GraphClassifier((8,), activation="tanh", epochs=60, random_state=0).fit(x, y).coefs_[0], model.coefs_[0]
    )
    hidden = np.tanh(x @ model.coefs_[0] + model.intercepts_[0]) @ model.coefs_[1] + model.intercepts_[1]
    odds = np.exp(hidden - hidden.max(axis=1, keepdims=True))
    np.testing.assert_allclose(expected, odds / odds.sum(axis=1, keepdims=True), rtol=1e-9)
    assert len(model.loss_curve_) == model.n_iter_ == 60 and model.loss_curve_[-1] < model.loss_curve_[0]


def test_float32_stays() -> None:
    x, y = MOONS[0].astype(np.float32), np.stack([MOONS[0][:, 0] ** 2, MOONS[0][:, 1]], axis=1)
    model = GraphRegressor((16,), epochs=150, random_state=0).fit(x, y)
    assert model.coefs_[0].dtype == np.float32 == model.predict(x).dtype and model.predict(x).shape == y.shape
    assert model.score(x, y) > 0.9


def test_patience_holds_rows_back_and_keeps_the_best() -> None:
    x, y = MOONS
    model = GraphClassifier(
        (16,), epochs=2000, learning_rate=0.05, patience=5, validation_fraction=0.3, random_state=1
    ).fit(x, y)
    assert model.n_iter_ < 2000 and model.score(x, y) > 0.85
    with pytest.raises(ValueError, match="leaves no rows"):
        GraphClassifier(patience=1, validation_fraction=0.0).fit(x, y)


def test_a_search_over_parameters() -> None:
    search = GridSearchCV(GraphClassifier((8,), epochs=50, random_state=0), {"weight_decay": [0.0, 10.0]}, cv=2)
    assert search.fit(*MOONS).best_params_ == {"weight_decay": 0.0}


@pytest.mark.slow
@pytest.mark.parametrize("changed", [{"activation": a} for a in ACTIVATIONS] + [{"optimizer": o} for o in OPTIMIZERS])
def test_every_word_trains(changed: dict[str, str]) -> None:
    curve = GraphClassifier((8,), epochs=30, random_state=0, **changed).fit(*MOONS).loss_curve_
    assert curve[-1] < curve[0]


def test_words() -> None:
    with pytest.raises(gx.InputError, match=r"activation must be one of .*did you mean 'relu'"):
        GraphClassifier(activation="rely").fit(*MOONS)
    with pytest.raises(ValueError, match="optimizer must be one of"):
        GraphClassifier(optimizer="newton").fit(*MOONS)
    with pytest.raises(ValueError, match="epochs must be an int"):
        GraphClassifier(epochs=1.5).fit(*MOONS)
    with pytest.raises(ValueError, match="hidden_layer_sizes must be"):
        GraphClassifier((8, 0)).fit(*MOONS)
    with pytest.warns(ConvergenceWarning, match="not finite; scale X"):
        GraphRegressor((), optimizer="sgd", learning_rate=1e6, random_state=0).fit(*MOONS)


def test_without_scikit_learn_one_line_names_the_extra() -> None:
    code = "import sys; sys.modules['sklearn.base'] = None\nimport graphc.sklearn"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == (
        'ImportError: graphc.sklearn needs scikit-learn 1.6 or later: pip install "graphc[sklearn]"'
    )
