"""graphc: a compiler for static graphs, forward and backward, on the CPU.

>>> import numpy as np
>>> import graphc as gx
>>> g = gx.Graph("line")
>>> x = g.input("x", shape=("n",), dtype="float64")
>>> y = gx.sum(x * x)
>>> f = gx.compile([x], [y, gx.grad(y, x)], backend="numpy")
>>> value, slope = f(np.array([1.0, 2.0]))
>>> float(value), slope.tolist()
(5.0, [2.0, 4.0])
"""

from graphc import init, ir, ops, optim
from graphc.compile import compile
from graphc.config import __version__
from graphc.errors import (
    CompileError,
    DTypeError,
    ExportError,
    GradientError,
    GraphcError,
    GraphError,
    GraphFileError,
    InputDTypeError,
    InputError,
    InputIndexError,
    InputShapeError,
    NumericalError,
    ShapeError,
    UnsupportedOp,
    UnsupportedOpError,
)
from graphc.executable import Executable
from graphc.grad import grad
from graphc.ir.graph import Graph, Tensor
from graphc.ir.interchange import from_networkx
from graphc.ops import random
from graphc.ops.activation import (
    elu,
    gelu,
    hard_sigmoid,
    hard_swish,
    hard_tanh,
    leaky_relu,
    mish,
    relu6,
    selu,
    silu,
    softsign,
)
from graphc.ops.elementwise import (
    abs,
    add,
    astype,
    clip,
    copysign,
    divide,
    equal,
    floor_divide,
    fma,
    fmax,
    fmin,
    greater,
    greater_equal,
    identity,
    isfinite,
    isinf,
    isnan,
    lerp,
    less,
    less_equal,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    maximum,
    minimum,
    multiply,
    neg,
    not_equal,
    positive,
    remainder,
    sign,
    stop_gradient,
    subtract,
    where,
)
from graphc.ops.functions import (
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    cbrt,
    ceil,
    cos,
    cosh,
    digamma,
    erf,
    erfc,
    erfinv,
    exp,
    exp2,
    expm1,
    floor,
    hypot,
    lgamma,
    log,
    log1mexp,
    log1p,
    log2,
    log10,
    log_sigmoid,
    logaddexp,
    pow,
    reciprocal,
    relu,
    round,
    rsqrt,
    sigmoid,
    sin,
    sinh,
    softplus,
    sqrt,
    square,
    tan,
    tanh,
    trunc,
    xlog1py,
    xlogy,
)
from graphc.ops.index import embedding, one_hot, take
from graphc.ops.linalg import diagonal, dot, linear, matmul, outer, tensordot, trace, vecdot
from graphc.ops.loss import (
    absolute_error,
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    gaussian_nll,
    hinge,
    huber,
    kl_div,
    nll,
    poisson_nll,
    squared_error,
)
from graphc.ops.random import dropout
from graphc.ops.reduce import (
    all,
    any,
    argmax,
    argmin,
    count_nonzero,
    max,
    mean,
    min,
    norm,
    prod,
    std,
    sum,
    var,
)
from graphc.ops.shape import (
    broadcast_to,
    concat,
    expand_dims,
    flip,
    matrix_transpose,
    moveaxis,
    ones_like,
    pad,
    permute_dims,
    ravel,
    repeat,
    reshape,
    roll,
    split,
    squeeze,
    stack,
    swapaxes,
    tile,
    zeros_like,
)
from graphc.ops.softmax import batch_norm, layer_norm, log_softmax, logsumexp, rms_norm, softmax
from graphc.transform import inference, substitute

__all__ = sorted(name for name in dir() if not name.startswith("_") and name not in ("ir", "ops"))
