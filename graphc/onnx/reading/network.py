"""ONNX's network operators, in the form that inference has."""

from __future__ import annotations

from collections.abc import Callable

from graphc.errors import ShapeError
from graphc.ir import dims
from graphc.ir.tensor import Tensor
from graphc.ir.types import BOOL, FLOAT32
from graphc.onnx.reading.elementwise import Reader
from graphc.onnx.reading.held import Reading
from graphc.onnx.reading.indexing import hardmax
from graphc.ops import assembly, creation, reduce, shape
from graphc.ops import elementwise as e
from graphc.ops import functions as f
from graphc.ops.apply import cast
from graphc.ops.decompositions import det
from graphc.ops.einsum import einsum
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


def einsum_of(at: Reading) -> Tensor:
    operands = at.tensors()
    try:
        return cast(einsum(at.attribute("equation", ""), *operands), operands[0].dtype)
    except ShapeError as error:
        at.fail(error.message)


def normalised(function: Callable[..., Tensor]) -> Reader:
    """A function of rows along an axis; before opset 13 all axes from the given one on were one row."""

    def read(at: Reading) -> Tensor:
        x = at.tensor()
        if at.opset >= 13:
            return function(x, at.axis(-1, x.ndim))
        axis = at.attribute("axis", 1)
        if not -x.ndim <= axis <= x.ndim:
            at.fail(f"axis {axis} does not exist in {x.type}")
        axis = axis % x.ndim if axis < 0 else axis
        rows = shape.reshape(x, (dims.product(x.shape[:axis]), dims.product(x.shape[axis:])))
        return shape.reshape(function(rows, 1), x.shape)

    return read


def layer_normalization(at: Reading) -> list[Tensor]:
    x = at.tensor()
    axes = tuple(range(at.axis(-1, x.ndim), x.ndim))
    mean = reduce.mean(x, axes, keepdims=True)
    y, scale = _scaled(at, x - mean, axes, at.attribute("epsilon", 1e-5))
    kind = FLOAT32 if at.attribute("stash_type", 1) == 1 else x.dtype  # of the statistics
    return [y, *(cast(t, kind) for t in (mean, scale)[: len(at.node.output) - 1])]


def rms_normalization(at: Reading) -> Tensor:
    x = at.tensor()
    return _scaled(at, x, tuple(range(at.axis(-1, x.ndim), x.ndim)), at.attribute("epsilon", 1e-5))[0]


def _scaled(at: Reading, x: Tensor, axes: tuple[int, ...], epsilon: float) -> tuple[Tensor, Tensor]:
    """``x`` over its root mean square, times operand 1 and plus operand 2, and what it was multiplied by first."""
    scale = f.rsqrt(reduce.mean(x * x, axes, keepdims=True) + epsilon)
    y = x * scale * at.tensor(1)
    return (y + at.tensor(2) if at.has(2) else y), scale


def batch_normalization(at: Reading) -> Tensor | list[Tensor]:
    """Channels are axis 1. Running statistics become variables; in training they are results too."""
    at.only("spatial", 1)
    x, epsilon = at.tensor(), at.attribute("epsilon", 1e-5)
    average, variance = at.as_state(3, "variable"), at.as_state(4, "variable")

    def wide(t: Tensor) -> Tensor:
        return shape.reshape(t, (-1, *(1,) * (x.ndim - 2)))

    def normal(mean: Tensor, square: Tensor) -> Tensor:
        return (x - wide(mean)) * (wide(at.tensor(1)) * f.rsqrt(wide(square) + epsilon)) + wide(at.tensor(2))

    if not at.attribute("training_mode", 0):
        return normal(average, variance)
    rest, keep = tuple(a for a in range(x.ndim) if a != 1), at.attribute("momentum", 0.9)
    mean, square = reduce.mean(x, rest), reduce.var(x, rest)
    return [
        normal(mean, square),
        *(old * keep + new * (1 - keep) for old, new in ((average, mean), (variance, square))),
    ]


def instance_normalization(at: Reading) -> Tensor:
    x = at.tensor()
    axes = tuple(range(2, x.ndim))
    centred = x - reduce.mean(x, axes, keepdims=True)
    scale, bias = (shape.reshape(at.tensor(k), (-1, *(1,) * (x.ndim - 2))) for k in (1, 2))
    return (
        centred * f.rsqrt(reduce.mean(centred * centred, axes, keepdims=True) + at.attribute("epsilon", 1e-5)) * scale
        + bias
    )


def lp_normalization(at: Reading) -> Tensor:
    """Over the norm along an axis; what is all zeros stays."""
    x, p = at.tensor(), at.attribute("p", 2)
    if p not in (1, 2):
        at.fail(f"p must be 1 or 2, found {p}")
    return over_norm(x, p, at.axis(-1, x.ndim))


def over_norm(x: Tensor, p: int, axis: int) -> Tensor:
    length = reduce.norm(x, p, axis, keepdims=True)
    return x / e.where(e.equal(length, 0), 1, length)


def lrn(at: Reading) -> Tensor:
    """Over the squares of neighbouring channels. Krizhevsky et al. 2012."""
    x, size = at.tensor(), at.attribute("size", 0)
    if size < 1 or x.ndim < 3:
        at.fail(f"a size of {size} for {x.type}")
    before = (size - 1) // 2
    wide = assembly.pad(x * x, [(before, size - 1 - before) if a == 1 else (0, 0) for a in range(x.ndim)])
    total = reduce.sum(assembly.stack([wide[:, k : x.shape[1] + k] for k in range(size)]), 0)
    alpha, beta, bias = at.attribute("alpha", 1e-4), at.attribute("beta", 0.75), at.attribute("bias", 1.0)
    return x / f.pow(bias + alpha / size * total, beta)


def dropout(at: Reading) -> list[Tensor]:
    """In training it is read where nothing is dropped; what another runtime drops is not known."""
    ratio = at.number(1) if at.has(1) else 0.5
    if at.has(2) and at.held(2).sizes != 0 and ratio != 0:
        at.refuse("dropout in training is not read; write gx.dropout around a model for inference")
    x = at.tensor()
    mask = [shape.filled(x.graph, True, x.shape, BOOL)] if at.opset >= 12 else [creation.ones_like(x)]
    return [e.identity(x), *mask[: len(at.node.output) - 1]]


NETWORK: dict[str, Reader] = {
    "MatMul": lambda at: matmul(at.tensor(0), at.tensor(1)), "Gemm": gemm,
    "Softmax": normalised(softmax), "LogSoftmax": normalised(log_softmax),
    "Hardmax": normalised(hardmax), "Einsum": einsum_of,
    "LayerNormalization": layer_normalization, "RMSNormalization": rms_normalization,
    "BatchNormalization": batch_normalization, "InstanceNormalization": instance_normalization,
    "LpNormalization": lp_normalization, "Dropout": dropout, "LRN": lrn, "Det": lambda at: det(at.tensor()),
}  # fmt: skip
__all__ = ["NETWORK", "over_norm"]
