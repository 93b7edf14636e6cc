"""Estimators for scikit-learn: small dense networks, trained by one compiled step. Needs ``graphc[sklearn]``.

>>> import numpy as np
>>> from graphc.sklearn import GraphClassifier
>>> X = np.random.default_rng(0).normal(size=(200, 2))
>>> model = GraphClassifier((16,), random_state=0).fit(X, np.where(X[:, 0] > X[:, 1], "right", "left"))
>>> model.predict([[1.0, -1.0], [-1.0, 1.0]]).tolist()
['right', 'left']
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

import graphc as gx
from graphc.errors import InputError, caller, did_you_mean
from graphc.ir.state import Array

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError:
    raise ImportError('graphc.sklearn needs scikit-learn 1.6 or later: pip install "graphc[sklearn]"') from None

ACTIVATIONS = {
    "relu": gx.relu,
    "tanh": gx.tanh,
    "sigmoid": gx.sigmoid,
    "softplus": gx.softplus,
    "elu": gx.elu,
    "gelu": gx.gelu,
    "silu": gx.silu,
    "identity": gx.identity,
}
OPTIMIZERS = {
    "sgd": gx.optim.SGD,
    "momentum": gx.optim.Momentum,
    "nag": gx.optim.NAG,
    "adagrad": gx.optim.Adagrad,
    "adadelta": gx.optim.Adadelta,
    "rmsprop": gx.optim.RMSProp,
    "adam": gx.optim.Adam,
    "adamw": gx.optim.AdamW,
    "nadam": gx.optim.NAdam,
    "lion": gx.optim.Lion,
}
FLOATS = [np.float64, np.float32]  # X keeps either, all else becomes the first
ROWS = 1024  # that are predicted at once
MOST_NETWORKS = 32  # kept for predictions


class ParameterError(InputError, ValueError):
    """A parameter of an estimator is none of those that it takes.

    >>> import graphc.sklearn
    >>> try:
    ...     graphc.sklearn.GraphRegressor(activation="step").fit([[0.0], [1.0]], [0.0, 1.0])
    ... except graphc.sklearn.ParameterError as error:
    ...     print(error.message.partition(",")[0])
    activation must be one of relu
    """


Layers = Sequence[tuple[gx.Tensor, gx.Tensor]]


def _outputs(x: gx.Tensor, layers: Layers, activation: str) -> gx.Tensor:
    for weight, bias in layers[:-1]:
        x = ACTIVATIONS[activation](x @ weight + bias)
    weight, bias = layers[-1]
    return x @ weight + bias


@lru_cache(MOST_NETWORKS)
def _predicting(widths: tuple[int, ...], activation: str, dtype: str, classifies: bool) -> gx.Executable:
    """The network as a function of its weights too: it has no state, so all estimators of its kind share it."""
    g = gx.Graph("predict", float_dtype=dtype)
    x = g.input("X", ("rows", widths[0]))
    layers = [(g.input(f"W{k}", (a, b)), g.input(f"b{k}", (b,))) for k, (a, b) in enumerate(pairwise(widths))]
    found = _outputs(x, layers, activation)
    return gx.compile([x, *(t for layer in layers for t in layer)], gx.softmax(found) if classifies else found)


class _Network(BaseEstimator):
    """What both estimators are: dense layers in arrays, from which executables are made when they are needed."""

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (64,),
        *,
        activation: str = "relu",
        optimizer: str = "adam",
        learning_rate: float | None = None,
        weight_decay: float = 0.0,
        epochs: int = 100,
        batch_size: int = 32,
        patience: int | None = None,
        validation_fraction: float = 0.1,
        random_state: Any = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.epochs = epochs
        self.batch_size = batch_size
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def _train(self, x: Array, y: Array, width: int, classifies: bool) -> None:
        """Compiles the step, trains, and keeps the weights as arrays."""
        for name, table in (("activation", ACTIVATIONS), ("optimizer", OPTIMIZERS)):
            if (given := getattr(self, name)) not in table:
                text = f"{name} must be one of {', '.join(table)}, found {given!r}{did_you_mean(str(given), table)}"
                raise ParameterError(text, origin=caller())
        hidden = tuple(self.hidden_layer_sizes)
        if not all(isinstance(size, (int, np.integer)) and size > 0 for size in hidden):
            raise ParameterError(f"hidden_layer_sizes must be ints of at least 1, found {hidden}", origin=caller())
        random = check_random_state(self.random_state)
        seed = int(random.randint(1 << 30))
        widths = [x.shape[1], *hidden, width]
        g = gx.Graph("train", float_dtype=x.dtype.name)
        rows, target = g.input("X", ("rows", x.shape[1])), g.input("y", ("rows", *y.shape[1:]), y.dtype.name)
        layers = []
        for k, shape in enumerate(pairwise(widths)):
            first = (gx.init.xavier if k == len(widths) - 2 else gx.init.he)(shape, seed=seed + k, dtype=x.dtype)
            layers.append((g.parameter(f"W{k}", first), g.parameter(f"b{k}", np.zeros(shape[1], x.dtype))))
        found = _outputs(rows, layers, self.activation)
        loss = gx.mean(gx.cross_entropy(found, target) if classifies else gx.squared_error(found, target))
        rate = {} if self.learning_rate is None else {"lr": self.learning_rate}
        optimizer = OPTIMIZERS[self.optimizer](weight_decay=self.weight_decay, **rate)
        train = gx.compile([rows, target], loss, updates=optimizer.updates(loss))
        validation, kept = None, slice(None)
        if self.patience is not None:
            order = random.permutation(len(x))
            held = round(len(x) * self.validation_fraction)
            if not 0 < held < len(x):
                text = f"validation_fraction={self.validation_fraction} leaves no rows of {len(x)}"
                raise ParameterError(f"{text} to train on, or none to validate with", origin=caller())
            validation = gx.compile([rows, target], loss), [x[order[:held]], y[order[:held]]]
            kept = order[held:]
        options: dict[str, Any] = {
            "batch_size": self.batch_size,
            "patience": self.patience,
            "validation": validation,
            "seed": seed,
        }
        try:
            history = gx.fit(train, [x[kept], y[kept]], self.epochs, **options)
        except InputError as error:
            raise ParameterError(error.message, origin=caller()) from None
        self.coefs_ = [g.state[weight.name] for weight, _ in layers]
        self.intercepts_ = [g.state[bias.name] for _, bias in layers]
        self.loss_curve_ = [record["loss"] for record in history]
        self.n_iter_ = len(history)
        if not all(np.isfinite(a).all() for a in (*self.coefs_, *self.intercepts_)):
            text = "training ended in weights that are not finite; scale X (and y), or lower learning_rate"
            warnings.warn(text, ConvergenceWarning, stacklevel=3)

    def _predict(self, x: Any, classifies: bool) -> Array:
        check_is_fitted(self)
        x = validate_data(self, x, dtype=FLOATS, reset=False)
        widths = (self.coefs_[0].shape[0], *(len(b) for b in self.intercepts_))
        exe = _predicting(widths, self.activation, self.coefs_[0].dtype.name, classifies)
        arrays = [a for layer in zip(self.coefs_, self.intercepts_, strict=True) for a in layer]
        return exe.run_batches([x, *arrays], ROWS)  # type: ignore[no-any-return]


class GraphClassifier(ClassifierMixin, _Network):
    """A dense network that tells classes apart, trained on their cross entropy.

    hidden_layer_sizes   widths of the layers between input and output; () is logistic regression
    activation           "relu", "tanh", "sigmoid", "softplus", "elu", "gelu", "silu" or "identity"
    optimizer            "sgd", "momentum", "nag", "adagrad", "adadelta", "rmsprop", "adam", "adamw", "nadam" or "lion"
    learning_rate        None is the optimiser's default
    weight_decay         as in `graphc.optim`, for weights and biases
    epochs, batch_size   passes over the rows, and rows of a mini-batch
    patience             None trains on all rows. A number holds ``validation_fraction`` of them back, ends training
                         after so many epochs without a lower loss on them, and keeps the best weights
    random_state         an int, a RandomState or None: first weights, order of rows, rows held back

    ``fit`` takes X of shape (rows, features), float32 or float64 (all else becomes float64), and y of (rows,) labels;
    ``predict`` gives labels, ``predict_proba`` (rows, classes). Fitted, it has ``classes_``, ``coefs_`` and
    ``intercepts_`` (a list of arrays, a layer each), ``loss_curve_``, ``n_iter_`` and ``n_features_in_``. It holds
    arrays only, so it may be pickled and copied. Features should be scaled: put a StandardScaler before it.

    Raises ValueError where X and y do not fit, ParameterError, which is one too, for parameters that do not.

    >>> import numpy as np
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> model = GraphClassifier((), epochs=500, random_state=0, learning_rate=0.1).fit(X, [0, 0, 1, 1])
    >>> model.predict(X).tolist(), model.predict_proba(X).shape
    ([0, 0, 1, 1], (4, 2))
    """

    def fit(self, X: Any, y: Any) -> GraphClassifier:
        """Trains anew from first weights; compiled once.

        ``X`` is (rows, features), of floats or what becomes float64. Raises ParameterError, or scikit-learn's
        ValueError, where parameters or arrays do not fit.

        >>> import numpy as np
        >>> from graphc.sklearn import GraphClassifier
        >>> X = np.linspace(-1, 1, 20)[:, None]
        >>> network = GraphClassifier((4,), epochs=1, random_state=0).fit(X, X[:, 0] > 0)
        >>> network.classes_
        array([False,  True])
        """
        X, y = validate_data(self, X, y, dtype=FLOATS)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        self._train(X, codes.astype(np.int64), len(self.classes_), True)
        return self

    def predict_proba(self, X: Any) -> Array:
        """The probability of each of ``classes_``, (rows, classes).

        Raises scikit-learn's NotFittedError before `fit`, ValueError where ``X`` has other features.

        >>> import numpy as np
        >>> from graphc.sklearn import GraphClassifier
        >>> X = np.linspace(-1, 1, 20)[:, None]
        >>> network = GraphClassifier((4,), epochs=1, random_state=0).fit(X, X[:, 0] > 0)
        >>> network.predict_proba(X).shape
        (20, 2)
        """
        return self._predict(X, True)

    def predict(self, X: Any) -> Array:
        """The most likely class of each row, (rows,).

        Raises scikit-learn's NotFittedError before `fit`, ValueError where ``X`` has other features.

        >>> import numpy as np
        >>> from graphc.sklearn import GraphClassifier
        >>> X = np.linspace(-1, 1, 20)[:, None]
        >>> network = GraphClassifier((4,), epochs=1, random_state=0).fit(X, X[:, 0] > 0)
        >>> network.predict(X).shape
        (20,)
        """
        likely = self.predict_proba(X).argmax(axis=1)
        return self.classes_[likely]  # type: ignore[no-any-return]


class GraphRegressor(RegressorMixin, _Network):
    """A dense network that tells numbers, trained on their squared error. Its parameters are `GraphClassifier`'s.

    ``fit`` takes y of shape (rows,) or (rows, outputs), and ``predict`` gives that shape. Targets should be scaled too:
    ``sklearn.compose.TransformedTargetRegressor`` does it.

    >>> import numpy as np
    >>> X = np.linspace(-1, 1, 50)[:, None]
    >>> model = GraphRegressor((), epochs=200, random_state=0, learning_rate=0.05).fit(X, 3 * X[:, 0] + 1)
    >>> model.predict([[0.5]]).round(3).tolist()
    [2.5]
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any) -> GraphRegressor:
        """Trains anew from first weights; compiled once.

        ``X`` is (rows, features), of floats or what becomes float64. Raises ParameterError, or scikit-learn's
        ValueError, where parameters or arrays do not fit.

        >>> import numpy as np
        >>> from graphc.sklearn import GraphRegressor
        >>> X = np.linspace(-1, 1, 20)[:, None]
        >>> network = GraphRegressor((4,), epochs=1, random_state=0).fit(X, X[:, 0])
        >>> network.n_features_in_
        1
        """
        X, y = validate_data(self, X, y, dtype=FLOATS, multi_output=True, y_numeric=True)
        self._one = y.ndim == 1
        y = y.reshape(len(y), -1).astype(X.dtype)
        self._train(X, y, y.shape[1], False)
        return self

    def predict(self, X: Any) -> Array:
        """The outputs of each row, (rows,) or (rows, outputs) as y was.

        Raises scikit-learn's NotFittedError before `fit`, ValueError where ``X`` has other features.

        >>> import numpy as np
        >>> from graphc.sklearn import GraphRegressor
        >>> X = np.linspace(-1, 1, 20)[:, None]
        >>> network = GraphRegressor((4,), epochs=1, random_state=0).fit(X, X[:, 0])
        >>> network.predict(X).shape
        (20,)
        """
        found = self._predict(X, False)
        return found[:, 0] if self._one else found


__all__ = ["GraphClassifier", "GraphRegressor", "ParameterError"]
