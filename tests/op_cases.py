"""The op-case table: one row for each op, which drives every test of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
import scipy.special as sp
from function_cases import FUNCTION_CASES
from op_case import POSITIVE, REAL, UNIT, Case, binary, unary

import graphc as gx
from graphc.ops.apply import apply
from graphc.ops.functions import weigh
from graphc.ops.gradient import after


def inverse_erfc(x: Any) -> Any:
    """SciPy's, but for -0.0 at 1 and infinity at the smallest of all numbers."""
    return np.where((x > 0) & (x < 1e-323), 27.213293210812948, sp.erfcinv(x) + 0).astype(x.dtype)


def _softmax(x: Any, axis: int = -1) -> Any:
    return sp.softmax(x, axis)


def _windows(x: Any, kernel: tuple[int, ...], stride: int, pad: int, fill: float = 0.0) -> Any:
    """Windows of padded images, their elements last."""
    rank = len(kernel)
    padded = np.pad(x, [(0, 0), (0, 0), *[(pad, pad)] * rank], constant_values=fill)
    found = np.lib.stride_tricks.sliding_window_view(padded, kernel, tuple(range(2, 2 + rank)))
    return found[(slice(None), slice(None), *[slice(None, None, stride)] * rank)]


def _conv(x: Any, w: Any, stride: int = 1, pad: int = 0, groups: int = 1) -> Any:
    u = _windows(x, w.shape[2:], stride, pad)
    parts = [
        np.einsum("ncopkl,mckl->nmop", a, b) for a, b in zip(np.split(u, groups, 1), np.split(w, groups), strict=True)
    ]
    return np.concatenate(parts, 1)


def _conv_of_any_rank(x: Any, w: Any, stride: int = 1, pad: int = 0) -> Any:
    u = _windows(x, w.shape[2:], stride, pad)
    return np.moveaxis(np.tensordot(u, w, ((1, *range(-w.ndim + 2, 0)), range(1, w.ndim))), -1, 1)


def _conv_transpose(x: Any, w: Any, stride: int, pad: int, last: int | None = None) -> Any:
    n, _, *sizes = x.shape
    whole = np.zeros((n, w.shape[1], *((s - 1) * stride + k for s, k in zip(sizes, w.shape[2:], strict=True))))
    for i, j in np.ndindex(*sizes):
        at = (
            slice(None),
            slice(None),
            *(slice(a * stride, a * stride + k) for a, k in zip((i, j), w.shape[2:], strict=True)),
        )
        whole[at] += np.einsum("nc,cmkl->nmkl", x[:, :, i, j], w)
    last = pad if last is None else last
    return whole[:, :, pad : whole.shape[2] - pad, last : whole.shape[3] - last]


def _definite(x: Any) -> Any:
    return x @ gx.matrix_transpose(x) + x.graph.constant(np.eye(3), x.dtype)


LABELS = np.array([0, 3, 1])

CASES: list[Case] = [
    unary("neg", np.negative),
    unary("abs", np.abs),
    unary("sign", np.sign, smooth=False),
    unary("floor", np.floor, smooth=False),
    unary("ceil", np.ceil, smooth=False),
    unary("round", np.round, smooth=False),
    unary("trunc", np.trunc, smooth=False),
    unary("sqrt", np.sqrt, POSITIVE),
    unary("rsqrt", lambda x: 1 / np.sqrt(x), POSITIVE),
    unary("cbrt", np.cbrt, POSITIVE, tolerance=1e-14),
    unary("square", np.square),
    unary("reciprocal", np.reciprocal, POSITIVE),
    unary("exp", np.exp),
    unary("exp2", np.exp2),
    unary("expm1", np.expm1),
    unary("log", np.log, POSITIVE),
    unary("log2", np.log2, POSITIVE),
    unary("log10", np.log10, POSITIVE),
    unary("log1p", np.log1p, POSITIVE),
    unary("sin", np.sin),
    unary("cos", np.cos),
    unary("tan", np.tan, UNIT),
    unary("asin", np.arcsin, UNIT, ops=("one_minus_square",)),
    unary("acos", np.arccos, UNIT),
    unary("atan", np.arctan),
    unary("sinh", np.sinh),
    unary("cosh", np.cosh),
    unary("tanh", np.tanh),
    unary("asinh", np.arcsinh),
    unary("acosh", np.arccosh, (1.2, 4.0)),
    unary("atanh", np.arctanh, UNIT),
    unary("erf", sp.erf),
    unary("erfc", sp.erfc),
    unary("erfinv", sp.erfinv, UNIT),
    unary("erfcinv", inverse_erfc, (0.1, 1.9)),
    unary("lgamma", sp.gammaln, POSITIVE, special=False),  # SciPy gives inf for subnormals, the C library 744
    unary("digamma", sp.digamma, POSITIVE, ops=("polygamma",), special=False, tolerance=1e-12),
    unary("sigmoid", sp.expit),
    unary("softplus", lambda x: np.logaddexp(0, x)),
    unary("log_sigmoid", sp.log_expit),
    unary("log1mexp", lambda x: np.log(-np.expm1(-x)), POSITIVE, special=False),
    unary("relu", lambda x: np.maximum(x, 0)),
    unary("isnan", np.isnan, smooth=False),
    unary("isinf", np.isinf, smooth=False),
    unary("isfinite", np.isfinite, smooth=False),
    unary("positive", lambda x: x, ops=("identity",)),
    unary("stop_gradient", lambda x: x, smooth=False),
    Case("scale_gradient", lambda x: gx.scale_gradient(x, 2.0), lambda x: x, smooth=False, special=False),
    Case("clip_gradient", lambda x: gx.clip_gradient(x, -1.0, 1.0), lambda x: x, smooth=False, special=False),
    Case("own_gradient", gx.custom_gradient(gx.sin, lambda cs, xs, ys: [cs[0] * gx.cos(xs[0])]), np.sin),
    Case("after", lambda x: after(x, gx.sum(x)), lambda x: x, special=False),
    unary("zeros_like", np.zeros_like, smooth=False, ops=("full_like",)),
    unary("logical_not", np.logical_not, smooth=False),
    binary("add", np.add),
    binary("subtract", np.subtract),
    binary("multiply", np.multiply),
    binary("divide", np.divide, REAL, POSITIVE),
    binary("floor_divide", np.floor_divide, REAL, POSITIVE, smooth=False, special=False),
    binary("remainder", np.remainder, REAL, (1.3, 1.9), special=False),
    binary("pow", np.power, POSITIVE, REAL, special=False),
    binary("maximum", np.maximum),
    binary("minimum", np.minimum),
    binary("fmax", np.fmax),
    binary("fmin", np.fmin),
    binary("atan2", np.arctan2, ops=("atan2_slope",)),
    binary("hypot", np.hypot),
    binary("logaddexp", np.logaddexp),
    binary("xlogy", sp.xlogy, REAL, POSITIVE, special=False),
    binary("xlog1py", sp.xlog1py, REAL, POSITIVE, special=False),
    Case("weigh", weigh, lambda a, b: a * b, (REAL, REAL), ((3, 4), (4,))),
    binary("copysign", np.copysign),
    binary("equal", np.equal, smooth=False),
    binary("not_equal", np.not_equal, smooth=False),
    binary("less", np.less, smooth=False),
    binary("less_equal", np.less_equal, smooth=False),
    binary("greater", np.greater, smooth=False),
    binary("greater_equal", np.greater_equal, smooth=False),
    binary("logical_and", np.logical_and, smooth=False),
    binary("logical_or", np.logical_or, smooth=False),
    binary("logical_xor", np.logical_xor, smooth=False),
    Case("where", lambda a, b: gx.where(a > b, a, b * b), lambda a, b: np.where(a > b, a, b * b), (REAL, REAL), ((3, 4), (3, 1))),
    Case("clip", lambda x: gx.clip(x, -1.0, 1.5), lambda x: np.clip(x, -1.0, 1.5)),
    Case("fma", gx.fma, lambda a, b, c: a * b + c, (REAL,) * 3, ((3, 4), (4,), (3, 1)), special=False),
    Case("clip_between", gx.clip, lambda x, a, b: np.clip(x, a, b), (REAL, (-1.0, -0.2), (0.1, 0.6)), ((3, 4), (4,), (3, 1))),
    Case("copysign_of_rows", gx.copysign, np.copysign, (REAL, REAL), ((4,), (3, 4))),
    Case("lerp", gx.lerp, lambda a, b, w: a + w * (b - a), (REAL,) * 3, ((3, 4), (4,), ())),
    Case("astype", lambda x: x.astype("float32").astype("float64"), lambda x: x.astype("f4"), smooth=False),
    # reductions
    Case("sum", lambda x: gx.sum(x, (0, 2)), lambda x: x.sum((0, 2)), shapes=((2, 3, 4),), tolerance=1e-12),
    Case("mean", lambda x: gx.mean(x, -1, True), lambda x: x.mean(-1, keepdims=True), tolerance=1e-12),
    Case("prod", lambda x: gx.prod(x, (0, 2)), lambda x: x.prod((0, 2)), shapes=((2, 3, 2),), tolerance=1e-12),
    Case("max", lambda x: gx.max(x, 0), lambda x: x.max(0)),
    Case("min", lambda x: gx.min(x, 1, True), lambda x: x.min(1, keepdims=True)),
    Case("any", lambda x: gx.any(x > 2.0, 0), lambda x: (x > 2.0).any(0), smooth=False),
    Case("all", lambda x: gx.all(x > -2.0), lambda x: (x > -2.0).all(), smooth=False),
    Case("argmax", lambda x: gx.argmax(x, 1), lambda x: x.argmax(1), smooth=False, ops=("iota",)),
    Case("argmin", gx.argmin, lambda x: x.argmin(), smooth=False),
    Case("count_nonzero", lambda x: gx.count_nonzero(x, 0), lambda x: np.count_nonzero(x, 0), smooth=False),
    Case("var", lambda x: gx.var(x, 0, ddof=1), lambda x: x.var(0, ddof=1), tolerance=1e-12),
    Case("std", lambda x: gx.std(x, 1), lambda x: x.std(1), tolerance=1e-12),
    Case("norm", lambda x: gx.norm(x, 2, 1), lambda x: np.linalg.norm(x, 2, 1), tolerance=1e-12),
    Case("logsumexp", lambda x: gx.logsumexp(x, 1), lambda x: sp.logsumexp(x, 1), tolerance=1e-12),
    # movement, assembly
    Case("reshape", lambda x: gx.reshape(x, (2, -1)) * 2.0, lambda x: x.reshape(2, -1) * 2),
    Case("broadcast_to", lambda x: gx.broadcast_to(x, (3, 3, 4)), lambda x: np.broadcast_to(x, (3, 3, 4))),
    Case("permute_dims", lambda x: gx.permute_dims(x, (2, 0, 1)), lambda x: x.transpose(2, 0, 1), shapes=((2, 3, 4),)),
    Case("slice", lambda x: x[::-2, 1:3], lambda x: x[::-2, 1:3], shapes=((5, 4),)),
    Case("getitem", lambda x: x[None, 1, ..., ::2], lambda x: x[None, 1, ..., ::2], shapes=((3, 4, 5),)),
    Case("flip", lambda x: gx.flip(x, 1), lambda x: np.flip(x, 1)),
    Case("concat", lambda a, b: gx.concat([a, b, a], 1), lambda a, b: np.concatenate([a, b, a], 1), (REAL, REAL), ((3, 2), (3, 3))),
    Case("stack", lambda a, b: gx.stack([a, b], 1), lambda a, b: np.stack([a, b], 1), (REAL, REAL), ((3, 2), (3, 2))),
    Case("pad", lambda x: gx.pad(x, [(1, 0), (2, 1)], constant_values=2.0), lambda x: np.pad(x, [(1, 0), (2, 1)], constant_values=2.0), ops=("place",)),
    Case("pad_edge", lambda x: gx.pad(x, 1, "edge"), lambda x: np.pad(x, 1, "edge")),
    Case("pad_reflect", lambda x: gx.pad(x, 2, "reflect"), lambda x: np.pad(x, 2, "reflect"), shapes=((3, 4),)),
    Case("tile", lambda x: gx.tile(x, (2, 3)), lambda x: np.tile(x, (2, 3))),
    Case("repeat", lambda x: gx.repeat(x, 2, 1), lambda x: np.repeat(x, 2, 1)),
    Case("roll", lambda x: gx.roll(x, 3, 1), lambda x: np.roll(x, 3, 1)),
    Case("split", lambda x: gx.split(x, 2, 1)[1], lambda x: np.split(x, 2, 1)[1]),
    Case("split_at", lambda x: gx.split(x, [1, -1], 1)[1], lambda x: np.split(x, [1, -1], 1)[1]),
    Case("squeeze", lambda x: gx.squeeze(gx.expand_dims(x, 1), 1), lambda x: x),
    Case("swapaxes", lambda x: gx.swapaxes(x, 0, 2), lambda x: np.swapaxes(x, 0, 2), shapes=((2, 3, 4),)),
    Case("ravel", gx.ravel, np.ravel, shapes=((2, 3, 4),)),
    Case("moveaxis", lambda x: gx.moveaxis(x, 0, 2), lambda x: np.moveaxis(x, 0, 2), shapes=((2, 3, 4),)),
    # indexing
    Case("take", lambda x: gx.take(x, [2, 0, -1, 2], 0), lambda x: np.take(x, [2, 0, 2, 2], 0), ops=("scatter_add", "checked_index")),
    Case("take_matrix", lambda x: gx.take(x, np.array([[0, 1], [2, 0]]), 1), lambda x: np.take(x, [[0, 1], [2, 0]], 1)),
    Case("embedding", lambda x: gx.embedding(x.graph.constant(LABELS % 3), x), lambda x: x[LABELS % 3]),
    Case("one_hot", lambda x: gx.one_hot(gx.argmax(x, 1), 4) * x, lambda x: np.eye(4)[x.argmax(1)] * x),
    # products
    Case("matmul", gx.matmul, np.matmul, (REAL, REAL), ((3, 4), (4, 2)), tolerance=1e-12),
    Case("matmul_large", gx.matmul, np.matmul, (REAL, REAL), ((20, 30), (30, 25)), tolerance=1e-11),
    Case("matmul_batched", gx.matmul, np.matmul, (REAL, REAL), ((2, 1, 3, 20), (5, 20, 18)), tolerance=1e-11),
    Case("matmul_vector", gx.matmul, np.matmul, (REAL, REAL), ((3, 4), (4,)), tolerance=1e-12),
    Case("matmul_vectors", gx.matmul, np.matmul, (REAL, REAL), ((4,), (4,)), tolerance=1e-12),
    Case("matmul_transposed", lambda a, b: a.T @ b.T, lambda a, b: a.T @ b.T, (REAL, REAL), ((20, 30), (25, 20)), tolerance=1e-11),
    Case("linear", gx.linear, lambda x, w, b: x @ w + b, (REAL,) * 3, ((3, 4), (4, 2), (2,)), tolerance=1e-12),
    Case("dot", gx.dot, np.dot, (REAL, REAL), ((3, 4), (4, 2)), tolerance=1e-12),
    Case("outer", gx.outer, np.outer, (REAL, REAL), ((3,), (4,))),
    Case("vecdot", gx.vecdot, lambda a, b: (a * b).sum(-1), (REAL, REAL), ((3, 4), (3, 4)), tolerance=1e-12),
    Case("tensordot", lambda a, b: gx.tensordot(a, b, 2), lambda a, b: np.tensordot(a, b, 2), (REAL, REAL), ((2, 3, 4), (3, 4, 5)), tolerance=1e-12),
    Case("vecdot_axis", lambda a, b: gx.vecdot(a, b, axis=-2), lambda a, b: (a * b).sum(-2), (REAL, REAL), ((2, 3, 4), (3, 1)), tolerance=1e-12),
    Case("tensordot_axes", lambda a, b: gx.tensordot(a, b, ((1, -1), (1, 0))), lambda a, b: np.tensordot(a, b, ((1, 2), (1, 0))), (REAL, REAL), ((2, 3, 4), (4, 3, 5)), tolerance=1e-12),
    Case("tensordot_axis", lambda a, b: gx.tensordot(a, b, (0, 1)), lambda a, b: np.tensordot(a, b, (0, 1)), (REAL, REAL), ((3, 2), (4, 3)), tolerance=1e-12),
    Case("trace", gx.trace, np.trace, shapes=((4, 4),), tolerance=1e-12),
    Case("getitem_points", lambda x: x[[0, 2, -1], :, [[1], [3]]], lambda x: x[[0, 2, -1], :, [[1], [3]]], shapes=((3, 2, 4),), ops=("take_points", "scatter_points")),
    Case("diagonal_above", lambda x: gx.diagonal(x, 1), lambda x: np.diagonal(x, 1), shapes=((3, 4),)),
    Case("diagonal_below", lambda x: gx.diagonal(x, -2), lambda x: np.diagonal(x, -2), shapes=((5, 4),)),
    # images
    Case("conv", lambda x, w: gx.conv2d(x, w, stride=2, padding=1), lambda x, w: _conv(x, w, 2, 1), (REAL, REAL), ((2, 3, 7, 6), (4, 3, 3, 2)), tolerance=1e-12, ops=("conv_input", "conv_filter"), special=False),
    Case("conv_groups", lambda x, w: gx.conv2d(x, w, groups=2), lambda x, w: _conv(x, w, groups=2), (REAL, REAL), ((2, 4, 5, 4), (6, 2, 2, 3)), tolerance=1e-12, special=False),
    Case("conv_depthwise", lambda x, w: gx.conv2d(x, w, padding=1, groups=3), lambda x, w: _conv(x, w, 1, 1, 3), (REAL, REAL), ((2, 3, 4, 5), (3, 1, 3, 3)), tolerance=1e-12, special=False),
    Case("conv_transpose", lambda x, w: gx.conv_transpose2d(x, w, stride=2, padding=1), lambda x, w: _conv_transpose(x, w, 2, 1), (REAL, REAL), ((2, 3, 4, 3), (3, 2, 3, 4)), tolerance=1e-12, special=False),
    Case("conv1d", lambda x, w: gx.conv1d(x, w, stride=2, padding=1), lambda x, w: _conv_of_any_rank(x, w, 2, 1), (REAL, REAL), ((2, 3, 7), (4, 3, 3)), tolerance=1e-12, special=False),
    Case("conv3d", gx.conv3d, lambda x, w: _conv_of_any_rank(x, w), (REAL, REAL), ((1, 2, 3, 4, 3), (2, 2, 2, 3, 2)), tolerance=1e-12, special=False),
    Case("conv_transpose1d", lambda x, w: gx.conv_transpose1d(x, w, stride=2, padding=1), lambda x, w: _conv_transpose(x[..., None], w[..., None], 2, 1, 0)[..., 0], (REAL, REAL), ((2, 3, 4), (3, 2, 3)), tolerance=1e-12, special=False),
    Case("conv_transpose3d", lambda x, w: gx.conv_transpose3d(x, w), lambda x, w: np.stack([sum(_conv_transpose(x[:, :, a], w[:, :, d - a], 1, 0) for a in range(2) if 0 <= d - a < 2) for d in range(3)], 2), (REAL, REAL), ((1, 2, 2, 3, 2), (2, 2, 2, 2, 3)), tolerance=1e-12, special=False),
    Case("max_pool1d", lambda x: gx.max_pool1d(x, 2), lambda x: _windows(x, (2,), 2, 0).max(-1), shapes=((2, 3, 7),), special=False),
    Case("max_pool3d", lambda x: gx.max_pool3d(x, 2), lambda x: _windows(x, (2, 2, 2), 2, 0).max((-3, -2, -1)), shapes=((1, 1, 4, 3, 4),), special=False),
    Case("avg_pool1d", lambda x: gx.avg_pool1d(x, 2), lambda x: _windows(x, (2,), 2, 0).mean(-1), shapes=((2, 3, 7),), tolerance=1e-12, special=False),
    Case("avg_pool3d", lambda x: gx.avg_pool3d(x, 2), lambda x: _windows(x, (2, 2, 2), 2, 0).mean((-3, -2, -1)), shapes=((1, 2, 4, 5, 4),), tolerance=1e-12, special=False),
    Case("global_avg_pool", gx.global_avg_pool, lambda x: x.mean((2, 3), keepdims=True), shapes=((2, 3, 4, 3),), tolerance=1e-12, special=False),
    Case("global_max_pool", gx.global_max_pool, lambda x: x.max((2, 3), keepdims=True), shapes=((2, 3, 4, 3),), special=False),
    Case("max_pool", lambda x: gx.max_pool2d(x, 3, stride=2, padding=1), lambda x: _windows(x, (3, 3), 2, 1, -np.inf).max((-2, -1)), shapes=((2, 3, 6, 5),), ops=("max_pool_pick", "max_pool_put"), special=False),
    Case("max_pool_pick", lambda x, h: apply("max_pool_pick", x, h, kernel=(2, 2), stride=(2, 1), dilation=(1, 1), before=(0, 0), sizes=(2, 3)), lambda x, h: np.where(_windows(x, (2, 2), 1, 0) == _windows(x, (2, 2), 1, 0).max((-2, -1), keepdims=True), _windows(h, (2, 2), 1, 0), 0).sum((-2, -1))[:, :, ::2], (REAL, REAL), ((2, 1, 4, 4), (2, 1, 4, 4)), special=False),
    Case("max_pool_squared", lambda x: gx.max_pool2d(x, 2) ** 2, lambda x: _windows(x, (2, 2), 2, 0).max((-2, -1)) ** 2, shapes=((1, 2, 4, 4),), special=False),
    Case("avg_pool", lambda x: gx.avg_pool2d(x, 3, stride=2, padding=1), lambda x: _windows(x, (3, 3), 2, 1).mean((-2, -1)), shapes=((2, 3, 7, 5),), tolerance=1e-12, special=False),
    Case("unfold", lambda x: gx.unfold(x, (2, 3), stride=2), lambda x: _windows(x, (2, 3), 2, 0).transpose(0, 1, 4, 5, 2, 3).reshape(2, 18, -1), shapes=((2, 3, 5, 7),), ops=("windows", "windows_add")),
    Case("fold", lambda x: gx.fold(x, (3, 4), 2), lambda x: np.stack([sum(np.pad(p[i, j], [(i, 1 - i), (j, 1 - j)]) for i, j in np.ndindex(2, 2)) for p in x.reshape(2, 2, 2, 2, 3)])[:, None], shapes=((2, 4, 6),)),
    Case("resize", lambda x: gx.resize(x, (5, 2)), lambda x: x[:, :, np.arange(5) * 3 // 5][..., np.arange(2) * 4 // 2], shapes=((2, 2, 3, 4),)),
    Case("resize_linear", lambda x: gx.resize(x, 6, mode="linear"), lambda x: np.stack([[np.interp((np.arange(6) + 0.5) / 2 - 0.5, np.arange(3), row) for row in image] for image in x]), shapes=((2, 2, 3),), special=False),
    # network
    Case("softmax", gx.softmax, _softmax, ops=("supremum",)),
    Case("log_softmax", lambda x: gx.log_softmax(x, 0), lambda x: sp.log_softmax(x, 0)),
    Case("leaky_relu", gx.leaky_relu, lambda x: np.where(x > 0, x, 0.01 * x)),
    Case("relu6", gx.relu6, lambda x: np.clip(x, 0, 6)),
    Case("elu", gx.elu, lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0)))),
    Case("selu", gx.selu, lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0)))),
    Case("gelu", gx.gelu, lambda x: x * sp.ndtr(x), special=False),
    Case("gelu_tanh", lambda x: gx.gelu(x, True), lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))), special=False),
    Case("silu", gx.silu, lambda x: x * sp.expit(x)),
    Case("mish", gx.mish, lambda x: x * np.tanh(np.logaddexp(0, x))),
    Case("hard_sigmoid", gx.hard_sigmoid, lambda x: np.clip(x + 3, 0, 6) / 6),
    Case("hard_swish", gx.hard_swish, lambda x: x * np.clip(x + 3, 0, 6) / 6, special=False),
    Case("softsign", gx.softsign, lambda x: x / (1 + np.abs(x))),
    Case("layer_norm", gx.layer_norm, lambda x: (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5), tolerance=1e-12),
    Case("rms_norm", gx.rms_norm, lambda x: x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6), tolerance=1e-12),
    # along an axis
    Case("cumsum", lambda x: gx.cumsum(x, 0), lambda x: np.cumsum(x, 0), shapes=((5, 4),)),
    Case("cumsum_exclusive", lambda x: gx.cumsum(x, reverse=True, exclusive=True), lambda x: np.flip(np.cumsum(np.flip(x, 1), 1), 1) - x, tolerance=1e-12, special=False),
    Case("cumprod", gx.cumprod, lambda x: np.cumprod(x, -1), ops=("linear_recurrence",)),
    Case("cumprod_reverse", lambda x: gx.cumprod(x, 0, reverse=True), lambda x: np.flip(np.cumprod(np.flip(x, 0), 0), 0)),
    Case("cummax", gx.cummax, lambda x: np.maximum.accumulate(x, -1), ops=("arg_extreme_so_far",)),
    Case("cummin", lambda x: gx.cummin(x, 0, reverse=True), lambda x: np.flip(np.minimum.accumulate(np.flip(x, 0), 0), 0)),
    Case("logcumsumexp", gx.logcumsumexp, lambda x: np.logaddexp.accumulate(x, -1), tolerance=1e-12),
    Case("sort", gx.sort, lambda x: np.sort(x, -1)),
    Case("sort_descending", lambda x: gx.sort(x, 0, descending=True), lambda x: -np.sort(-x, 0), shapes=((6, 3),), special=False),
    Case("argsort", lambda x: gx.argsort(x, 0), lambda x: np.argsort(x, 0, kind="stable"), shapes=((20, 3),), smooth=False),
    Case("topk", lambda x: gx.topk(x, 2)[0], lambda x: -np.sort(-x, -1)[..., :2], special=False),
    Case("median", lambda x: gx.median(x, -1), lambda x: np.median(x, -1)),
    Case("quantile", lambda x: gx.quantile(x, [0.1, 0.75], 0), lambda x: np.quantile(x, [0.1, 0.75], axis=0), tolerance=1e-12),
    # linear algebra
    Case("cholesky", lambda x: gx.cholesky(_definite(x)), lambda x: np.linalg.cholesky(x @ x.T + np.eye(3)), tolerance=1e-12, ops=("cholesky_adjoint",), special=False),
    Case("cholesky_squared", lambda x: gx.cholesky(_definite(x)) ** 2, lambda x: np.linalg.cholesky(x @ x.T + np.eye(3)) ** 2, tolerance=1e-12, special=False),
    Case("solve", lambda x, b: gx.solve(_definite(x), b), lambda x, b: np.linalg.solve(x @ x.T + np.eye(3), b), (REAL, REAL), ((3, 4), (3, 2)), ops=("system",), tolerance=1e-12, special=False),
    Case("solve_triangular", lambda x, b: gx.solve_triangular(_definite(x), b, lower=True), lambda x, b: np.linalg.solve(np.tril(x @ x.T + np.eye(3)), b), (REAL, REAL), ((3, 4), (3,)), ops=("triangular_system",), tolerance=1e-12, special=False),
    Case("inv", lambda x: gx.inv(_definite(x)), lambda x: np.linalg.inv(x @ x.T + np.eye(3)), tolerance=1e-12, special=False),
    Case("slogdet", lambda x: gx.slogdet(_definite(x))[1], lambda x: np.linalg.slogdet(x @ x.T + np.eye(3))[1], tolerance=1e-12, ops=("sign_and_logdet",), special=False),
    Case("logdet", lambda x: gx.logdet(_definite(x)), lambda x: np.linalg.slogdet(x @ x.T + np.eye(3))[1], tolerance=1e-12, special=False),
    Case("det", lambda x: gx.det(_definite(x)), lambda x: np.linalg.det(x @ x.T + np.eye(3)), tolerance=1e-12, ops=("determinant", "cofactors"), special=False),
    Case("qr", lambda x: gx.qr(x)[0], lambda x: np.linalg.qr(x)[0], shapes=((5, 3),), tolerance=1e-11, ops=("qr_factors",), special=False),
    Case("eigh", lambda x: gx.eigh(_definite(x))[0], lambda x: np.linalg.eigvalsh(x @ x.T + np.eye(3)), tolerance=1e-11, ops=("eigen_pairs",), special=False),
    Case("svd", lambda x: gx.svd(x)[1], lambda x: np.linalg.svd(x)[1], tolerance=1e-11, ops=("singular_triplets",), special=False),
    Case("pinv", gx.pinv, np.linalg.pinv, shapes=((5, 3),), tolerance=1e-11, ops=("pseudoinverse",), special=False),
    Case("lstsq", gx.lstsq, lambda a, b: np.linalg.lstsq(a, b)[0], (REAL, REAL), ((5, 3), (5,)), tolerance=1e-11, special=False),
    Case("matrix_power", lambda x: gx.matrix_power(_definite(x), 3), lambda x: np.linalg.matrix_power(x @ x.T + np.eye(3), 3), tolerance=1e-12, special=False),
    Case("expm", gx.expm, scipy.linalg.expm, shapes=((3, 3),), tolerance=1e-11, special=False),
    # Fourier transforms
    Case("fft", lambda x: gx.stack(gx.fft.fft(x)), lambda x: np.stack([np.fft.fft(x).real, np.fft.fft(x).imag]), shapes=((2, 6),), ops=("fourier",), tolerance=1e-12, special=False),
    Case("irfft", lambda x, y: gx.fft.irfft(x, y, 5), lambda x, y: np.fft.irfft(x + 1j * y, 5) - 0 * x[:, :1], (REAL, REAL), ((2, 3), (2, 3)), tolerance=1e-12, special=False),
    # losses
    Case("squared_error", gx.squared_error, lambda a, b: (a - b) ** 2, (REAL, REAL), ((3, 4), (3, 4))),
    Case("absolute_error", gx.absolute_error, lambda a, b: abs(a - b), (REAL, REAL), ((3, 4), (3, 4))),
    Case("huber", gx.huber, lambda a, b: sp.huber(1.0, a - b), (REAL, REAL), ((3, 4), (3, 4))),
    Case("binary_cross_entropy", gx.binary_cross_entropy, lambda p, t: -(t * np.log(p) + (1 - t) * np.log1p(-p)), ((0.1, 0.9), (0.1, 0.9)), ((3,), (3,))),
    Case("binary_cross_entropy_with_logits", gx.binary_cross_entropy_with_logits, lambda x, t: np.logaddexp(0, x) - t * x, (REAL, (0, 1)), ((3,), (3,))),
    Case("cross_entropy", lambda x: gx.cross_entropy(x, x.graph.constant(LABELS)), lambda x: -sp.log_softmax(x, -1)[np.arange(3), LABELS], tolerance=1e-12),
    Case("cross_entropy_soft", lambda x, p: gx.cross_entropy(x, p, label_smoothing=0.1), lambda x, p: -((p * 0.9 + 0.1 / 4) * sp.log_softmax(x, -1)).sum(-1), (REAL, (0, 1)), ((3, 4), (3, 4)), tolerance=1e-12),
    Case("nll", lambda x: gx.nll(x, x.graph.constant(LABELS)), lambda x: -x[np.arange(3), LABELS]),
    Case("kl_div", gx.kl_div, lambda p, t: (sp.xlogy(t, t) - t * p).sum(-1), (REAL, (0.1, 1)), ((3, 4), (3, 4)), tolerance=1e-12),
    Case("hinge", gx.hinge, lambda s, t: np.maximum(0, 1 - t * s), (REAL, REAL), ((3,), (3,))),
    Case("poisson_nll", gx.poisson_nll, lambda r, t: np.exp(r) - t * r, (REAL, POSITIVE), ((3,), (3,))),
    Case("gaussian_nll", gx.gaussian_nll, lambda m, t, v: 0.5 * (np.log(2 * np.pi * v) + (m - t) ** 2 / v), (REAL, REAL, POSITIVE), ((3,), (3,), (3,))),
    *FUNCTION_CASES,
]  # fmt: skip

# Covered by tests of their own: leaves, sizes, random numbers, sums over sizes that may be 1.
ELSEWHERE = {
    "input",
    "parameter",
    "variable",
    "constant",
    "size",
    "uniform",
    "signed_uniform",
    "random_word",
    "sum_broadcast",
    "iota",
    "random_seed",
    "scan",
    "while_loop",
    "cond",
    "result",
}
