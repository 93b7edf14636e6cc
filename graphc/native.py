"""Executables inside a user's own ``@numba.njit`` code.

In compiled code ``exe.njit`` is a value: the addresses of kernel and state, read when the code runs. Everything that
the code around the kernel depends on (dtypes, ranks, relations of sizes, workspace) is in its Numba type. Numba's disk
cache finds a function by the types of its arguments, so where ``exe.njit`` is an *argument* of a function with
``cache=True``, what is found fits, and calls the kernel of this process: it is never stale. As a global or closure
variable it is a constant, whose addresses hold in this process only, and Numba keeps no such function on disk.

Those files name `NjitType` by this module's path, and Numba cannot read them where it is gone: it stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numba
import numpy as np
from llvmlite import ir
from numba import TypingError, from_dtype, types
from numba.extending import (
    NativeValue,
    lower_builtin,
    make_attribute_wrapper,
    models,
    register_model,
    typeof_impl,
    unbox,
)

from graphc.codegen import abi, buffer, private
from graphc.codegen.jit import _digest, alone
from graphc.codegen.watch import NOT_FINITE
from graphc.config import __version__
from graphc.ir import dims
from graphc.ir.state import ALIGNMENT

if TYPE_CHECKING:
    from graphc.codegen.kernel import Kernel
    from graphc.run.interface import Runnable
from graphc.run.debug import TESTED
from graphc.run.program import MOST_BYTES, Program

ON_STACK = 4096  # bytes of workspace that need no allocation

Form = tuple[str, tuple[str, ...]]  # of an array: its dtype and a formula for each size


@dataclass(frozen=True)
class Interface:
    """What decides the code around a kernel. Formulas are Python, of sizes called ``n0``, ``n1`` and so on."""

    inputs: tuple[Form, ...]
    outputs: tuple[Form, ...]
    bound: tuple[tuple[int, int], ...]  # the input and the axis that each size is read from
    checks: tuple[str, ...]  # what else must hold of sizes
    work_bytes: str
    bare: bool  # one output as it is, not in a tuple
    made_by: str  # a digest of what writes the code
    debug: bool = False

    @staticmethod
    def of(program: Program, kernel: Kernel, debug: bool = False) -> Interface:
        """That of a program and its kernel."""
        local = {name: f"n{k}" for k, name in enumerate(program.symbols)}.__getitem__

        def forms(tensors: Sequence[Any]) -> tuple[Form, ...]:
            return tuple((t.dtype.name, tuple(dims.source(s, local) for s in t.shape)) for t in tensors)

        inputs = forms(program.arguments)
        axes = [(size, (k, axis)) for k, (_, sizes) in enumerate(inputs) for axis, size in enumerate(sizes)]
        first = dict(reversed(axes))
        checks = [check.source(local) for _, check in program.checks]
        if isinstance(kernel.work_bytes, dims.Dim):  # as integers they might wrap around
            checks.append(
                f"{dims.source(kernel.work_bytes, lambda name: f'(1.0*{local(name)})')} < {float(MOST_BYTES)}"
            )
        return Interface(
            inputs,
            forms(program.results),
            tuple(first[local(name)] for name in program.symbols),
            tuple(dict.fromkeys(checks)),
            dims.source(kernel.work_bytes, local),
            program.structure.kind == "one",
            f"{__version__} {_digest('codegen')}",
            debug,
        )


class Addresses(NamedTuple):
    """Of a kernel and of its table of state."""

    kernel_address: int
    state_address: int


class NjitFunction:
    """What `Executable.njit` gives: a function of arrays, for Python and for ``@numba.njit`` code."""

    def __init__(self, exe: Runnable) -> None:
        self.exe = exe
        bound = exe.bound
        self.kernel_address, self.state_address = bound.address, bound.state_address
        self._numba_type_ = NjitType(Interface.of(exe.program, bound.kernel, exe.debug in TESTED))
        self._known: set[Any] = set()  # kinds of arguments that it was compiled for

    def __call__(self, *args: Any) -> Any:
        kinds = tuple([(a.dtype, a.ndim, a.flags.num) if type(a) is np.ndarray else type(a) for a in args])
        if kinds not in self._known:
            given = _call.typeof_pyval(self), _call.typeof_pyval(args)  # Numba sees the starred arguments as a tuple
            alone(partial(_call.compile, given))  # Numba would do it here, where Ctrl-C could leave its locks taken
            self._known.add(kinds)
        return _call(self, *args)

    def __repr__(self) -> str:
        return f"<njit function of {self.exe!r}>"

    def __reduce__(self) -> Any:
        """Numba pickles closure variables to tell functions apart; there is nothing to be had from the pickle."""
        return _not_here, (self._numba_type_.name,)


def _not_here(name: str) -> NoReturn:
    raise TypeError(f"{name} belongs to the process that compiled it; save the executable with graphc.save")


# ---- the same, to Numba


class NjitType(types.Callable):  # type: ignore[misc]
    """The type of functions with one interface."""

    def __init__(self, interface: Interface) -> None:
        self.interface = interface
        super().__init__(name=f"graphc.njit({hashlib.sha256(repr(interface).encode()).hexdigest()[:32]})")

    def get_call_type(self, context: Any, args: Any, kws: Any) -> Any:
        """The signature of a call; compiles it."""
        if kws:
            raise TypingError("inputs are given by position")
        around = types.Dispatcher(_around(self.interface, _ways(self.interface, args)))
        signature: Any = around.get_call_type(context, (self, *args), {})
        return signature.as_method()

    def get_call_signatures(self) -> tuple[Any, bool]:
        """None are known beforehand."""
        return (), True

    def get_impl_key(self, sig: Any) -> type:
        """Under what `_lower_call` is found."""
        return NjitType


@cache
def _around(face: Interface, ways: tuple[str, ...]) -> Any:
    """The jitted function around a kernel, whose first argument holds the addresses."""
    return _jitted(source(face, ways), {})


def frozen(exe: Runnable, ways: Sequence[str]) -> Any:
    """A jitted function of an executable's arguments alone, for callers that keep the executable alive."""
    text = source(Interface.of(exe.program, exe.bound.kernel), ways)
    return _jitted(text.replace("def call(f, ", "def call("), {"f": Addresses(exe.address, exe.state_address)})


def _jitted(text: str, scope: dict[str, Any]) -> Any:
    scope |= {"np": np, "buffer": buffer.buffer, "set_word": buffer.set_word}
    scope |= {name: getattr(abi, name) for name in ("call_kernel", "data_address", "keep", "stack")}
    exec(compile(text, "<graphc njit>", "exec"), scope)
    return numba.njit(nogil=True, error_model="numpy")(scope["call"])


@lower_builtin(NjitType, NjitType, types.VarArg(types.Any))  # type: ignore[attr-defined, untyped-decorator]
def _lower_call(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    kind, *given = sig.args
    around = types.Dispatcher(_around(kind.interface, _ways(kind.interface, given)))
    signature = around.get_call_type(context.typing_context, sig.args, {})
    function = context.get_function(around, signature)
    context.add_linking_libs(getattr(function, "libs", ()))
    return function(builder, args)


@register_model(NjitType)
class _NjitModel(models.StructModel):  # type: ignore[misc]
    def __init__(self, dmm: Any, fe_type: NjitType) -> None:
        super().__init__(dmm, fe_type, [(name, types.int64) for name in Addresses._fields])


for _name in Addresses._fields:
    make_attribute_wrapper(NjitType, _name, _name)


@typeof_impl.register(NjitFunction)
def _typeof(value: NjitFunction, context: Any) -> NjitType:
    return value._numba_type_


@unbox(NjitType)
def _unbox(kind: NjitType, value: Any, c: Any) -> NativeValue:
    words = []
    for name in Addresses._fields:
        attribute = c.pyapi.object_getattr_string(value, name)
        words.append(c.pyapi.long_as_longlong(attribute))
        c.pyapi.decref(attribute)
    return NativeValue(_pair(c.context, c.builder, kind, words))


def _pair(context: Any, builder: Any, kind: NjitType, words: Sequence[Any]) -> Any:
    """Both addresses as the value of a type in compiled code."""
    made = ir.Constant(context.get_value_type(kind), ir.Undefined)
    for k, word in enumerate(words):
        made = builder.insert_value(made, word, k)
    return made


_frozen: list[NjitFunction] = []  # compiled code that holds their addresses may outlive all other references


def _constant(context: Any, builder: Any, kind: NjitType, value: NjitFunction) -> Any:
    _frozen.append(value)
    places = [context.add_dynamic_addr(builder, getattr(value, name), info=name) for name in Addresses._fields]
    return _pair(context, builder, kind, [builder.ptrtoint(p, ir.IntType(64)) for p in places])  # no disk cache has it


if private.lower_constant is not private.Absent:
    private.lower_constant(NjitType)(_constant)


@numba.njit(nogil=True)
def _call(f, *args):  # type: ignore[no-untyped-def]
    return f(*args)


def _ways(face: Interface, given: Sequence[Any]) -> tuple[str, ...]:
    """How each argument reaches the kernel: "array" as it is, "copied" where its layout may differ, or "scalar"."""
    if len(given) != len(face.inputs):
        raise TypingError(f"expected {len(face.inputs)} inputs, found {len(given)}")
    ways = []
    for k, (kind, (dtype, sizes)) in enumerate(zip(given, face.inputs, strict=True)):
        wanted = from_dtype(np.dtype(dtype))
        if isinstance(kind, types.Array) and kind.dtype == wanted and kind.ndim == len(sizes):
            ways.append("array" if kind.layout == "C" else "copied")
        elif not sizes and _converts(types.unliteral(kind), wanted):  # type: ignore[attr-defined]
            ways.append("scalar")
        else:
            what = f"an array of {len(sizes)} axes" if sizes else "a number or 0-d array"
            raise TypingError(f"input {k}: expected {what} of {dtype}, found {kind}")
    return tuple(ways)


def _converts(kind: Any, wanted: Any) -> bool:
    """True for numbers that keep their meaning: any real number for a float, no wider integer for an integer."""
    if isinstance(wanted, types.Float):
        return isinstance(kind, (types.Float, types.Integer, types.Boolean))
    return kind == wanted or (kind in types.signed_domain and kind.bitwidth < wanted.bitwidth)


def source(face: Interface, ways: Sequence[str]) -> str:
    """The text of the function around a kernel.

    At the head of its workspace stand the tables of addresses and sizes that the kernel takes, and scalars; then, at a
    multiple of 64 bytes, the kernel's own.
    """
    inputs, outputs = range(len(face.inputs)), range(len(face.outputs))
    outs_at, dims_at = len(inputs), len(inputs) + len(outputs)
    scalars_at = dims_at + len(face.bound)
    head = -(-8 * (scalars_at + dims_at) // ALIGNMENT) * ALIGNMENT

    def scalar(slot: int, dtype: str) -> str:
        return f"buffer(work + {8 * (scalars_at + slot)}, np.{_numpy(dtype)}, 0, 1)[0]"

    lines = [f"def call({', '.join(['f', *(f'a{k}' for k in inputs)])}):"]
    lines += [f"    n{k} = a{i}.shape[{axis}]" for k, (i, axis) in enumerate(face.bound)]
    for k in inputs:
        for axis, size in enumerate(face.inputs[k][1]):
            if (k, axis) not in face.bound:
                lines += [
                    f"    if a{k}.shape[{axis}] != {size}:",
                    f"        raise ValueError('input {k} has the wrong size on axis {axis}')",
                ]
    for check in face.checks:
        lines += [f"    if not ({check}):", "        raise ValueError('sizes of inputs do not fit')"]
    held = []
    if face.work_bytes.isdigit() and head + int(face.work_bytes) <= ON_STACK:
        lines += [f"    work = stack({head + int(face.work_bytes)})"]
    else:
        held += ["block"]
        lines += [f"    block = np.empty({head + ALIGNMENT} + {face.work_bytes}, np.uint8)"]
        lines += [f"    work = data_address(block) + {ALIGNMENT - 1} & {-ALIGNMENT}"]
    for k in inputs:
        dtype, sizes = face.inputs[k]
        if ways[k] == "scalar":
            lines += [f"    {scalar(k, dtype)} = np.{_numpy(dtype)}(a{k})"]
            lines += [f"    set_word(work, {k}, work + {8 * (scalars_at + k)})"]
        else:
            held += [f"c{k}"]
            copied = f"np.ascontiguousarray(a{k})" if ways[k] == "copied" else f"a{k}"
            lines += [f"    c{k} = {copied}", f"    set_word(work, {k}, data_address(c{k}))"]
    for k in outputs:
        dtype, sizes = face.outputs[k]
        if sizes:
            held += [f"o{k}"]
            lines += [f"    o{k} = np.empty(({', '.join(sizes)},), np.{_numpy(dtype)})"]
            lines += [f"    set_word(work, {outs_at + k}, data_address(o{k}))"]
        else:
            lines += [f"    set_word(work, {outs_at + k}, work + {8 * (scalars_at + outs_at + k)})"]
    lines += [f"    set_word(work, {dims_at + k}, n{k})" for k in range(len(face.bound))]
    tables = f"work, work + {8 * outs_at}, work + {8 * dims_at}"
    lines += [f"    status = call_kernel(f.kernel_address, {tables}, f.state_address, work + {head})"]
    lines += [f"    o{k} = {scalar(outs_at + k, face.outputs[k][0])}" for k in outputs if not face.outputs[k][1]]
    lines += [f"    if keep(status, ({''.join(f'{name}, ' for name in held)})) != 0:"]
    if face.debug:
        lines += [f"        if status == {NOT_FINITE}:"]
        lines += ["            raise FloatingPointError('a NaN or infinity; called from Python, exe(...) says where')"]
    lines += ["        raise IndexError('an index is out of range')"]
    lines += [f"    return {'o0' if face.bare else ''.join(f'o{k}, ' for k in outputs) or 'None'}"]
    return "\n".join(lines) + "\n"


def _numpy(dtype: str) -> str:
    return "bool_" if dtype == "bool" else dtype
