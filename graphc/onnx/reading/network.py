"""ONNX's network operators, in the form that inference has, and scikit-learn's linear models."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from graphc.ir.tensor import Tensor
from graphc.onnx.reading.elementwise import Reader
from graphc.onnx.reading.held import Reading, free
from graphc.onnx.reading.layout import array_feature
from graphc.ops import elementwise as e
from graphc.ops import functions as f
from graphc.ops import reduce, shape
from graphc.ops.apply import cast
from graphc.ops.index import take
from graphc.ops.linalg import matmul
from graphc.ops.softmax import log_softmax, softmax


def gemm(at: Reading) -> Tensor:
    a, b = at.tensor(0), at.tensor(1)
    a = shape.matrix_transpose(a) if at.attribute("transA", 0) else a
    b = shape.matrix_transpose(b) if at.attribute("transB", 0) else b
    alpha, beta = at.attribute("alpha", 1.0), at.attribute("beta", 1.0)
    out = matmul(a, b) if alpha == 1 else alpha * matmul(a, b)
    if not at.has(2):
        return out
    return out + (at.tensor(2) if beta == 1 else beta * at.tensor(2))


def normalised(function: Callable[..., Tensor]) -> Reader:
    """Softmax and its logarithm; before opset 13 all axes behind the given one were one."""

    def read(at: Reading) -> Tensor:
        x = at.tensor()
        axis = at.axis(-1 if at.opset >= 13 else 1, x.ndim)
        if at.opset < 13 and axis != x.ndim - 1:
            at.refuse("before opset 13 only the last axis is read")
        return function(x, axis)

    return read


def layer_normalization(at: Reading) -> Tensor:
    x = at.tensor()
    axes = tuple(range(at.axis(-1, x.ndim), x.ndim))
    centred = x - reduce.mean(x, axes, keepdims=True)
    return _scaled(at, centred, axes, at.attribute("epsilon", 1e-5))


def rms_normalization(at: Reading) -> Tensor:
    x = at.tensor()
    return _scaled(at, x, tuple(range(at.axis(-1, x.ndim), x.ndim)), at.attribute("epsilon", 1e-5))


def _scaled(at: Reading, x: Tensor, axes: tuple[int, ...], epsilon: float) -> Tensor:
    y = x * f.rsqrt(reduce.mean(x * x, axes, keepdims=True) + epsilon) * at.tensor(1)
    return y + at.tensor(2) if at.has(2) else y


def batch_normalization(at: Reading) -> Tensor:
    """With running statistics, which become variables; channels are axis 1."""
    at.only("training_mode", 0)
    x = at.tensor()
    scale, bias = at.tensor(1), at.tensor(2)
    average, variance = at.as_state(3, "variable"), at.as_state(4, "variable")
    wide = [shape.reshape(t, (-1, *(1,) * (x.ndim - 2))) for t in (scale, bias, average, variance)]
    return (x - wide[2]) * (wide[0] * f.rsqrt(wide[3] + at.attribute("epsilon", 1e-5))) + wide[1]


def dropout(at: Reading) -> Tensor:
    if at.has(2) and at.held(2).sizes != 0:
        at.refuse("dropout in training is not read")
    return e.identity(at.tensor())


def pooled(function: Callable[..., Tensor]) -> Reader:
    """A pool over all axes behind the channels."""
    return lambda at: function(at.tensor(), tuple(range(2, at.tensor().ndim)), keepdims=True)


# ---- ai.onnx.ml


def weight(at: Reading, name: str, rows: int | None = None) -> Tensor:
    """Numbers of an attribute as a parameter, in rows where there are any."""
    values = np.array(at.attribute(name, ()), np.float32)
    if rows is not None:
        if rows < 1 or values.size % rows:
            at.fail(f"{values.size} {name} do not make {rows} rows")
        values = values.reshape(rows, -1)
    return at.graph.parameter(free(at.graph, f"{at.name}/{name}"), values)


def _linear(at: Reading, rows: int) -> Tensor:
    out = matmul(cast(at.tensor(), np.dtype("float32")), weight(at, "coefficients", rows).T)
    return out + weight(at, "intercepts") if "intercepts" in at.attributes else out


def linear_regressor(at: Reading) -> Tensor:
    return _transformed(at, _linear(at, at.attribute("targets", 1)))


def _transformed(at: Reading, scores: Tensor) -> Tensor:
    kinds: dict[str, Callable[[Tensor], Tensor]] = {"NONE": e.identity, "SOFTMAX": softmax, "LOGISTIC": f.sigmoid}
    kind = at.attribute("post_transform", "NONE")
    if kind not in kinds:
        at.refuse(f"post_transform {kind[:40]!r} is not read")
    return kinds[kind](scores)


def linear_classifier(at: Reading) -> list[Tensor]:
    """The label with the highest score, and the scores."""
    labels = at.attribute("classlabels_ints", ())
    if not labels:
        at.refuse("labels that are text are not read; train on integers")
    scores = _linear(at, max(len(at.attribute("intercepts", ())), 1))
    if scores.shape[-1] != len(labels):
        at.refuse(f"{scores.shape[-1]} scores for {len(labels)} classes are not read")
    best = reduce.argmax(scores, -1)
    return [take(at.graph.constant(np.array(labels, np.int64)), best), _transformed(at, scores)]


def scaler(at: Reading) -> Tensor:
    x = cast(at.tensor(), np.dtype("float32"))
    return (x - weight(at, "offset")) * weight(at, "scale")


def normalizer(at: Reading) -> Tensor:
    """Rows over their norm; a row of zeros stays."""
    x, kind = at.tensor(), at.attribute("norm", "MAX")
    if kind not in ("L1", "L2"):
        at.refuse(f"norm {kind[:40]!r} is not read")
    length = reduce.norm(x, {"L1": 1, "L2": 2}[kind], -1, keepdims=True)
    return x / e.where(e.equal(length, 0), 1, length)


NETWORK: dict[str, Reader] = {
    "MatMul": lambda at: matmul(at.tensor(0), at.tensor(1)), "Gemm": gemm,
    "Softmax": normalised(softmax), "LogSoftmax": normalised(log_softmax),
    "LayerNormalization": layer_normalization, "RMSNormalization": rms_normalization,
    "BatchNormalization": batch_normalization, "Dropout": dropout,
    "GlobalAveragePool": pooled(reduce.mean), "GlobalMaxPool": pooled(reduce.max),
}  # fmt: skip
LEARNED: dict[str, Reader] = {
    "LinearRegressor": linear_regressor, "LinearClassifier": linear_classifier,
    "Scaler": scaler, "Normalizer": normalizer, "ArrayFeatureExtractor": array_feature,
}  # fmt: skip

__all__ = ["LEARNED", "NETWORK"]
