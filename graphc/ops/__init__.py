"""The op tables; importing them fills the registry."""

from graphc.ops import (  # noqa: F401
    activation,
    assembly,
    creation,
    elementwise,
    functions,
    index,
    leaf,
    linalg,
    loss,
    random,
    reduce,
    scatter,
    shape,
    softmax,
    window,
)
