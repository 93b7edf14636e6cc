"""The op tables; importing them fills the registry."""

from graphc.ops import (  # noqa: F401
    activation,
    assembly,
    convolution,
    creation,
    elementwise,
    functions,
    index,
    leaf,
    linalg,
    loss,
    pooling,
    random,
    reduce,
    resize,
    scatter,
    shape,
    softmax,
    window,
    windows,
)
