"""Tensors in lists, tuples and dicts, in one another: flat for a transform, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphc.errors import GraphcError, GraphError
from graphc.ir.tensor import Tensor
from graphc.ops.signature import found

Pack = Callable[[Sequence[Any]], Any]


def flat(what: str, value: Any, kind: type[GraphcError] = GraphError) -> tuple[list[Tensor], Pack]:
    """The tensors of ``value`` in order, and what puts as many values into its structure.

    ``value`` is a tensor, None, or a list, tuple or dict of such; an error of ``kind`` for anything else.
    """
    tensors: list[Tensor] = []
    nest = _nest(what, value, tensors, kind)
    return tensors, lambda values: _packed(nest, values)


def _nest(what: str, value: Any, tensors: list[Tensor], kind: type[GraphcError]) -> Any:
    """``value`` with numbers for its tensors."""
    if value is None:
        return None
    if isinstance(value, Tensor):
        tensors.append(value)
        return len(tensors) - 1
    if isinstance(value, Mapping):
        return {k: _nest(what, v, tensors, kind) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_nest(what, v, tensors, kind) for v in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    raise kind(f"{what} must be a tensor, or lists, tuples and dicts of tensors, found {found(value)}")


def _packed(nest: Any, values: Sequence[Any]) -> Any:
    if isinstance(nest, int):
        return values[nest]
    if isinstance(nest, dict):
        return {k: _packed(v, values) for k, v in nest.items()}
    if isinstance(nest, (list, tuple)):
        items = [_packed(v, values) for v in nest]
        return type(nest)(*items) if hasattr(nest, "_fields") else type(nest)(items)
    return None


def matched(what: str, value: Any, nest: Any, whose: str, kind: type[GraphcError] = GraphError) -> list[Any]:
    """The leaves of ``value``, which must have the structure of ``nest``: one for each of its tensors, in order.

    A leaf is whatever stands where ``nest`` has a tensor: a tensor, an array, a number.
    """
    if nest is None:
        return []
    if isinstance(nest, Tensor):
        return [value]
    if isinstance(nest, Mapping):
        if isinstance(value, Mapping) and set(value) == set(nest):
            return [leaf for k in nest for leaf in matched(what, value[k], nest[k], whose, kind)]
    elif isinstance(value, (list, tuple)) and len(value) == len(nest):
        return [leaf for v, n in zip(value, nest, strict=True) for leaf in matched(what, v, n, whose, kind)]
    wanted = f"a dict of {', '.join(map(repr, nest))}" if isinstance(nest, Mapping) else f"a list of {len(nest)}"
    raise kind(f"{what} must have the structure of {whose}: expected {wanted}, found {found(value)}")


__all__ = ["Pack", "flat", "matched"]
