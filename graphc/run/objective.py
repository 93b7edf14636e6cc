"""Executables as functions of one flat vector: `Executable.as_scipy`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.errors import InputDTypeError, InputError, InputShapeError, Uncopied
from graphc.ir import dims
from graphc.ir.state import Array
from graphc.reference import bind_sizes
from graphc.run.binding import arrange, convert

if TYPE_CHECKING:
    from graphc.ir.tensor import Tensor
    from graphc.run.interface import Runnable


@dataclass(frozen=True)
class _Part:
    """An input that is varied, and where its elements stand in the vector."""

    tensor: Tensor
    position: int  # among the inputs
    shape: tuple[int, ...]
    where: slice

    def of(self, vector: Array) -> Array:
        """Its elements: a view."""
        return vector[self.where].reshape(self.shape)


class Objective(Uncopied):
    """A value and its gradient as a function of one flat float64 vector.

    ``scipy.optimize.minimize(f, f.x0, jac=True)`` minimises it. ``f.unflatten(x)`` takes a vector apart, ``f.flatten``
    puts one together, for ``bounds`` say; ``f.size`` is its length. float64 inputs are views of the vector that comes,
    float64 gradients views of the new one that is returned: nothing is copied.
    """

    def __init__(self, exe: Runnable, x0: Any, fixed: Mapping[str, Any]) -> None:
        if exe.program.updates:
            raise InputError(f"as_scipy: a call would update {', '.join(exe.program.updates)}; compile without updates")
        self._exe, self._structure = exe, x0
        inputs = list(exe.inputs.values())
        self._free = [t for t in inputs if t.name not in fixed]
        if isinstance(x0, Mapping) and (both := [name for name in x0 if name in fixed]):
            raise InputError(f"as_scipy: {', '.join(both)} can be varied or passed by name, not both")
        given = arrange(inputs, (), {**fixed, **self._named(x0)})
        self._arrays = [convert(t, a) for t, a in zip(inputs, given, strict=True)]
        self._key = tuple(a.shape for a in self._arrays)
        self._parts: list[_Part] = []
        self.size = 0
        for k, (t, array) in enumerate(zip(inputs, self._arrays, strict=True)):
            if t.name in fixed:
                continue
            if t.dtype.kind != "f":
                text = f"as_scipy: {t.name} is {t.type}; only floats can be varied, pass it by name"
                raise InputDTypeError(text, node=t.name, origin=t.origin)
            self._parts.append(_Part(t, k, array.shape, slice(self.size, self.size + array.size)))
            self.size += array.size
        self._order = self._gradients()
        self._value, *self._dtypes = [t.dtype for t in exe.program.results]
        self.x0 = self.flatten(x0)

    def __call__(self, x: Any) -> tuple[float, Array]:
        """Value and gradient at ``x``. InputShapeError for a vector of another length."""
        vector, gradient = self._vector(x), np.empty(self.size)
        arrays = list(self._arrays)
        for part in self._parts:
            arrays[part.position] = part.of(vector).astype(part.tensor.dtype, copy=False)
        exe = self._exe
        views = [part.of(gradient) for part in self._order]
        results = [np.empty(v.shape, d) if v.dtype != d else v for v, d in zip(views, self._dtypes, strict=True)]
        value = np.empty((), self._value)
        exe(*arrays, out=exe.program.structure.pack([value, *results]))
        for view, result in zip(views, results, strict=True):
            if result is not view:
                view[...] = result
        return float(value), gradient

    def flatten(self, values: Any) -> Array:
        """A new vector of values in the structure of the first ones."""
        named, vector = self._named(values), np.empty(self.size)
        for part in self._parts:
            array = convert(part.tensor, named[part.tensor.name])
            if array.shape != part.shape:
                text = f"{part.tensor.name}: expected shape {part.shape}, found {array.shape}"
                raise InputShapeError(text, node=part.tensor.name)
            part.of(vector)[...] = array
        return vector

    def unflatten(self, x: Any) -> Any:
        """The values in a vector, in the structure of the first ones: views of it."""
        vector = self._vector(x)
        values = {part.tensor.name: part.of(vector) for part in self._parts}
        if isinstance(self._structure, Mapping):
            return {name: values[name] for name in self._structure}
        return list(values.values()) if isinstance(self._structure, (list, tuple)) else next(iter(values.values()))

    def _vector(self, x: Any) -> Array:
        vector = np.ascontiguousarray(x, np.float64)
        if vector.shape != (self.size,):
            raise InputShapeError(f"expected a vector of {self.size} elements, found shape {vector.shape}")
        return vector

    def _named(self, values: Any) -> dict[str, Any]:
        """Values by the names of the inputs that are varied."""
        names = [t.name for t in self._free]
        if isinstance(values, Mapping):
            for name in values:
                if name not in names and name in self._exe.graph.state:
                    raise InputError(f"as_scipy: {name} is state, not an input; list it among the inputs of gx.compile")
            if missing := [name for name in names if name not in values]:
                raise InputError(f"as_scipy: a value of {', '.join(missing)} is missing, to start from or by name")
            return dict(values)
        listed = list(values) if isinstance(values, (list, tuple)) else [values]
        if len(listed) != len(names):
            raise InputError(
                f"as_scipy: expected values of {', '.join(names)}, found {len(listed)}; pass the rest by name"
            )
        return dict(zip(names, listed, strict=True))

    def _gradients(self) -> list[_Part]:
        """Whose gradient each output behind the first is."""
        structure, results = self._exe.program.structure, self._exe.program.results
        wanted = [p.tensor.name for p in self._parts]
        order = list(self._parts)
        if structure.kind == "dict" and set(structure.keys[1:]) == set(wanted):
            by_name = {p.tensor.name: p for p in self._parts}
            order = [by_name[key] for key in structure.keys[1:]]
        sizes = bind_sizes(list(self._exe.inputs.values()), self._key)
        found = [(tuple(dims.evaluate(s, sizes) for s in t.shape), t.dtype) for t in results]
        expected = [((), results[0].dtype), *((p.shape, p.tensor.dtype) for p in order)]
        if found != expected or results[0].dtype.kind != "f":
            gradients = ", ".join(f"{p.tensor.type}" for p in order)
            outputs = ", ".join(str(t.type) for t in results)
            raise InputError(
                f"as_scipy: expected a scalar and its gradients by {', '.join(wanted)} ({gradients}), found {outputs}; "
                f"compile [y, *gx.grad(y, [{', '.join(wanted)}])]"
            )
        return order
