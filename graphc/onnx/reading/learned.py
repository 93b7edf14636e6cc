"""Operators of ai.onnx.ml, on numbers: linear models, support vectors, scalers, encoders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.tensor import Tensor
from graphc.ir.types import FLOAT32, INT64, is_float
from graphc.onnx.elements import ELEMENTS
from graphc.onnx.reading.elementwise import Reader
from graphc.onnx.reading.held import Reading, free
from graphc.onnx.reading.indexing import array_feature
from graphc.onnx.reading.network import over_norm
from graphc.onnx.reading.trees import TREES, best, labelled, transformed
from graphc.ops import assembly, reduce, shape
from graphc.ops import elementwise as e
from graphc.ops import functions as f
from graphc.ops.apply import cast
from graphc.ops.index import take
from graphc.ops.linalg import matmul


def weight(at: Reading, name: str, rows: int | None = None) -> Tensor:
    """Numbers of an attribute as a parameter, in rows where there are any."""
    values = np.array(at.attribute(name, ()), np.float32)
    if rows is not None:
        if rows < 1 or values.size % rows:
            at.fail(f"{values.size} {name} do not make {rows} rows")
        values = values.reshape(rows, -1)
    return at.graph.parameter(free(at.graph, f"{at.name}/{name}"), values)


def _linear(at: Reading, rows: int) -> Tensor:
    out = matmul(cast(at.tensor(), FLOAT32), weight(at, "coefficients", rows).T)
    return out + weight(at, "intercepts") if "intercepts" in at.attributes else out


def linear_regressor(at: Reading) -> Tensor:
    return transformed(at, _linear(at, at.attribute("targets", 1)))


def linear_classifier(at: Reading) -> list[Tensor]:
    """The label with the highest score, and the scores."""
    scores = _linear(at, max(len(at.attribute("intercepts", ())), 1))
    return labelled(at, scores, at.attribute("classlabels_ints", ()))


def scaler(at: Reading) -> Tensor:
    x = cast(at.tensor(), FLOAT32)
    return (x - weight(at, "offset")) * weight(at, "scale")


def normalizer(at: Reading) -> Tensor:
    """Rows over their norm; a row of zeros stays."""
    x, kind = at.tensor(), at.attribute("norm", "MAX")
    if kind == "MAX":
        largest = reduce.max(abs(x), -1, keepdims=True)
        return x / e.where(e.equal(largest, 0), 1, largest)
    if kind not in ("L1", "L2"):
        at.fail(f"norm {kind[:40]!r} is none of ONNX's")
    return over_norm(x, {"L1": 1, "L2": 2}[kind], -1)


def binarizer(at: Reading) -> Tensor:
    x = at.tensor()
    return cast(e.greater(x, at.attribute("threshold", 0.0)), x.dtype)


# ---- support vectors


def _kernel(at: Reading, x: Tensor, vectors: Tensor) -> Tensor:
    """How like each row is to each vector."""
    kind = at.attribute("kernel_type", "LINEAR")
    given = at.attribute("kernel_params", (0.0, 0.0, 0.0))
    if len(given) != 3:
        at.fail(f"expected gamma, coef0 and degree, found {len(given)} kernel_params")
    gamma, start, degree = given
    if kind == "RBF":
        apart = shape.expand_dims(x, 1) - vectors
        return f.exp(-gamma * reduce.sum(apart * apart, -1))
    product = matmul(x, vectors.T)
    if kind == "LINEAR":
        return product
    if kind not in ("POLY", "SIGMOID"):
        at.fail(f"kernel_type {kind[:40]!r} is none of ONNX's")
    product = product * gamma + start
    return f.tanh(product) if kind == "SIGMOID" else f.pow(product, degree)


def svm_regressor(at: Reading) -> Tensor:
    x, count = cast(at.tensor(), FLOAT32), at.attribute("n_supports", 0)
    rho = at.attribute("rho", (0.0,))[0]
    like = _kernel(at, x, weight(at, "support_vectors", count)) if count > 0 else x
    y = matmul(like, shape.expand_dims(weight(at, "coefficients"), 1))
    y = y + rho
    return transformed(at, e.where(e.greater(y, 0), 1.0, -1.0) if at.attribute("one_class", 0) else y)


def svm_classifier(at: Reading) -> list[Tensor]:
    """Each pair of classes has a score, whose sign is a vote; or each class has a linear one."""
    if at.attribute("prob_a", ()):
        at.refuse("probabilities of support vectors are not read; export the model without them")
    labels, x = at.attribute("classlabels_ints", ()), cast(at.tensor(), FLOAT32)
    counts, rho = at.attribute("vectors_per_class", ()), at.attribute("rho", (0.0,))
    if not sum(counts):
        scores = matmul(x, weight(at, "coefficients", max(len(labels), 1)).T) + rho[0]
        return labelled(at, scores, labels)
    if len(counts) != len(labels) or len(rho) != len(counts) * (len(counts) - 1) // 2:
        at.fail(f"{len(rho)} rho for {len(labels)} classes with {len(counts)} groups of vectors")
    kernels = _kernel(at, x, weight(at, "support_vectors", sum(counts)))
    factors = weight(at, "coefficients", len(counts) - 1)
    ends = np.cumsum(counts).tolist()
    spans = [slice(end - n, end) for n, end in zip(counts, ends, strict=True)]
    pairs: list[Tensor] = []
    votes = [shape.filled(at.graph, 0, x.shape[:1], FLOAT32) for _ in counts]
    for i in range(len(counts)):
        for j in range(i + 1, len(counts)):
            of_i = reduce.sum(factors[j - 1, spans[i]] * kernels[:, spans[i]], -1)
            of_j = reduce.sum(factors[i, spans[j]] * kernels[:, spans[j]], -1)
            pairs.append(of_i + of_j + rho[len(pairs)])
            votes[i] = votes[i] + cast(e.greater(pairs[-1], 0), FLOAT32)
            votes[j] = votes[j] + cast(e.less_equal(pairs[-1], 0), FLOAT32)
    pairs = [-pairs[0], pairs[0]] if len(pairs) == 1 else pairs
    return [best(at, assembly.stack(votes, 1), labels), transformed(at, assembly.stack(pairs, 1))]


# ---- features


def imputer(at: Reading) -> Tensor:
    """A number that stands for what is missing is replaced, in each column by its own."""
    x = at.tensor()
    kind = "float" if is_float(x.dtype) else "int64"
    values = at.attribute(f"imputed_value_{kind}s", ())
    if not values:
        at.fail(f"imputed_value_{kind}s is missing")
    gone = at.attribute(f"replaced_value_{kind}", 0.0 if kind == "float" else 0)
    missing = e.isnan(x) if math.isnan(gone) else e.equal(x, gone)
    return e.where(missing, at.graph.constant(np.array(values, x.dtype)), x)


def _matches(x: Tensor, keys: Any) -> Tensor:
    """Along a new last axis, which of the keys each element is."""
    wide = shape.expand_dims(x, x.ndim)
    same = e.equal(wide, x.graph.constant(keys))
    if keys.dtype.kind == "f" and np.isnan(keys).any():
        same = e.logical_or(same, e.logical_and(e.isnan(wide), x.graph.constant(np.isnan(keys))))
    return same


def one_hot_encoder(at: Reading) -> Tensor:
    keys = at.attribute("cats_int64s", ())
    if not keys:
        at.refuse("categories that are text are not read; encode them as integers")
    if not at.attribute("zeros", 1):
        at.refuse("zeros=0, which stops at a number that is no category, is not read; use zeros=1")
    return cast(_matches(cast(at.tensor(), INT64), np.array(keys)), FLOAT32)


def label_encoder(at: Reading) -> Tensor:
    """Numbers for numbers."""
    kinds = {"int64s": ("int64", np.int64, -1), "floats": ("float", np.float32, -0.0)}

    def given(what: str) -> tuple[Any, Any]:
        if f"{what}_tensor" in at.attributes:
            name = f"{what}_tensor"
            found = at.array(name)
            told = at.array("default_tensor") if "default_tensor" in at.attributes else None
            return found.ravel(), None if told is None else told.reshape(()).item()
        for many, (one, dtype, default) in kinds.items():
            if at.attribute(f"{what}_{many}", ()):
                return np.array(at.attribute(f"{what}_{many}"), dtype), at.attribute(f"default_{one}", default)
        at.refuse("text is not read; use numbers")

    (keys, _), (values, default) = given("keys"), given("values")
    if keys.size != values.size or not keys.size:
        at.fail(f"{keys.size} keys for {values.size} values")
    same = _matches(at.tensor(), keys)
    found = take(at.graph.constant(values), reduce.argmax(cast(same, ELEMENTS["uint8"].dtype), -1))
    default = default if default is not None else -1 if values.dtype.kind == "i" else -0.0
    return e.where(reduce.any(same, -1), found, at.graph.constant(np.array(default, values.dtype)))


def feature_vectorizer(at: Reading) -> Tensor:
    """Columns side by side, cut or filled with zeros to the numbers that are told."""
    sizes: Sequence[int] = at.attribute("inputdimensions", ())
    parts = at.tensors()
    if len(sizes) != len(parts):
        at.fail(f"{len(sizes)} inputdimensions for {len(parts)} operands")
    out = []
    for x, size in zip(parts, sizes, strict=True):
        x = shape.expand_dims(x, 1) if x.ndim == 1 else x
        if not isinstance(x.shape[1], int):
            at.refuse(f"the columns of {x.type} must be a number")
        x = cast(x, x.dtype if is_float(x.dtype) else FLOAT32)[:, :size]
        out.append(assembly.pad(x, [(0, 0), (0, size - x.shape[1])]))  # type: ignore[operator]
    return assembly.concat(out, 1)


LEARNED: dict[str, Reader] = {
    "LinearRegressor": linear_regressor, "LinearClassifier": linear_classifier, "SVMRegressor": svm_regressor,
    "SVMClassifier": svm_classifier, **TREES, "Scaler": scaler, "Normalizer": normalizer, "Binarizer": binarizer,
    "Imputer": imputer, "OneHotEncoder": one_hot_encoder, "LabelEncoder": label_encoder,
    "FeatureVectorizer": feature_vectorizer, "ArrayFeatureExtractor": array_feature,
}  # fmt: skip

__all__ = ["LEARNED"]
