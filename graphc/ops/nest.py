"""Values in tuples, lists and dicts, in one another: flat, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from graphc.errors import GraphcError, GraphError
from graphc.ir.tensor import Tensor
from graphc.ops.signature import found

Pack = Callable[[Sequence[Any]], Any]


def leaves(value: Any) -> list[Any]:
    """What stands in ``value`` that is no tuple, list, dict or None, in order.

    >>> leaves({"a": 1, "b": (2, None, [3])})
    [1, 2, 3]
    """
    if value is None:
        return []
    if isinstance(value, (tuple, list, Mapping)):
        return [leaf for part in (value.values() if isinstance(value, Mapping) else value) for leaf in leaves(part)]
    return [value]


def paths(what: str, value: Any) -> list[str]:
    """What to call each of the leaves of ``value``, which is called ``what``.

    >>> paths("xs", {"a": 1, "b": (2, None, [3])})
    ["xs['a']", "xs['b'][0]", "xs['b'][2][0]"]
    """
    if value is None:
        return []
    if isinstance(value, (tuple, list, Mapping)):
        parts = value.items() if isinstance(value, Mapping) else enumerate(value)
        return [path for key, part in parts for path in paths(f"{what}[{key!r}]", part)]
    return [what]


def like(nest: Any, values: Sequence[Any]) -> Any:
    """``values`` in the structure of ``nest``, one for each of its leaves.

    >>> like({"a": 1, "b": (2, None, [3])}, "xyz")
    {'a': 'x', 'b': ('y', None, ['z'])}
    """
    return _filled(nest, iter(values))


def _filled(nest: Any, values: Iterator[Any]) -> Any:
    if nest is None:
        return None
    if isinstance(nest, Mapping):
        return {key: _filled(part, values) for key, part in nest.items()}
    if isinstance(nest, (tuple, list)):
        parts = [_filled(part, values) for part in nest]
        return type(nest)(*parts) if hasattr(nest, "_fields") else type(nest)(parts)
    return next(values)


def flat(what: str, value: Any, kind: type[GraphcError] = GraphError) -> tuple[list[Tensor], Pack]:
    """The tensors of ``value`` in order, and what puts as many values into its structure.

    ``value`` is a tensor, None, or a list, tuple or dict of such; an error of ``kind`` for anything else.
    """
    tensors = leaves(value)
    for t in tensors:
        if not isinstance(t, Tensor):
            raise kind(f"{what} must be a tensor, or lists, tuples and dicts of tensors, found {found(t)}")
    nest = like(value, tensors)  # as it is now, whatever its owner does to it
    return tensors, lambda values: like(nest, values)


def fitted(what: str, value: Any, nest: Any) -> list[Any]:
    """The leaves of ``value``, which has the structure of ``nest``; GraphError where it has another.

    >>> fitted("carry", {"b": 2, "a": 1}, {"a": 0, "b": 0})
    [1, 2]
    """
    if isinstance(nest, Mapping) and isinstance(value, Mapping) and set(value) == set(nest):
        return [leaf for key in nest for leaf in fitted(f"{what}[{key!r}]", value[key], nest[key])]
    many = isinstance(nest, (tuple, list)) and isinstance(value, (tuple, list))
    if many and len(value) == len(nest) and isinstance(nest, tuple) == isinstance(value, tuple):
        pairs = enumerate(zip(value, nest, strict=True))
        return [leaf for k, (part, held) in pairs for leaf in fitted(f"{what}[{k}]", part, held)]
    if nest is None and value is None:
        return []
    inner = (tuple, list, Mapping, type(None))
    if isinstance(nest, inner) or isinstance(value, inner):
        raise GraphError(f"{what}: expected {_words(nest)}, found {_words(value)}")
    return [value]


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


def _words(value: Any) -> str:
    return f"a dict of {', '.join(map(str, value))}" if isinstance(value, Mapping) else found(value)


__all__ = ["Pack", "fitted", "flat", "leaves", "like", "matched", "paths"]
