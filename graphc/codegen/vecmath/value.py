"""LLVM values with Python's operators, and functions of them that kernels call.

An elementary function is written once, for float32 and float64 alike, as Python on `Value`; calling it adds its
instructions to the kernel. Numba types one call and LLVM sees straight-line code, which it vectorises.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types

from graphc.codegen.abi import PREFIX
from graphc.codegen.llvm import intrinsic, with_parameters

INT, LONG = ir.IntType(32), ir.IntType(64)


class Constants(NamedTuple):
    """What differs between the two float dtypes."""

    single: Any
    double: Any


class Value:
    """A number of a kernel, float or integer; numbers beside it become constants of its type.

    Arithmetic is IEEE's, no part of it relaxed. ``>>`` fills with zeros.
    """

    __slots__ = ("builder", "type", "value")

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value, self.type = builder, value, value.type

    @property
    def element(self) -> Any:
        """LLVM's type of a lane."""
        return self.type.element if isinstance(self.type, ir.VectorType) else self.type

    def lanes_of(self, element: Any) -> Any:
        """LLVM's type of as many numbers of another type."""
        return ir.VectorType(element, self.type.count) if isinstance(self.type, ir.VectorType) else element

    @property
    def floating(self) -> bool:
        return not isinstance(self.element, ir.IntType)

    @property
    def width(self) -> int:
        """Bits of a lane."""
        kind = self.element
        return int(kind.width) if not self.floating else 32 if isinstance(kind, ir.FloatType) else 64

    @property
    def mantissa(self) -> int:
        """Stored bits of a float's significand."""
        return 23 if self.width == 32 else 52

    @property
    def bias(self) -> int:
        """Of a float's exponent."""
        return 127 if self.width == 32 else 1023

    def of(self, constants: Constants) -> Any:
        """Those of this dtype."""
        return constants.single if self.width == 32 else constants.double

    def constant(self, number: float) -> Value:
        """The number as one of this type."""
        if not self.floating:
            number = int(number) & ((1 << self.width) - 1)
        return Value(self.builder, ir.Constant(self.type, number))

    def _with(self, build: Any, other: Any, swap: bool = False) -> Value:
        other = other if isinstance(other, Value) else self.constant(other)
        a, b = (other, self) if swap else (self, other)
        return Value(self.builder, build(a.value, b.value))

    def _either(self, of_floats: str, of_integers: str) -> Any:
        if not self.floating:
            return getattr(self.builder, of_integers)
        # A flag without a meaning here: Numba's fastmath leaves alone what has one, and so what undoes rounding errors
        return partial(getattr(self.builder, of_floats), flags=("afn",))

    def __add__(self, other: Any) -> Value:
        return self._with(self._either("fadd", "add"), other)

    def __sub__(self, other: Any) -> Value:
        return self._with(self._either("fsub", "sub"), other)

    def __rsub__(self, other: Any) -> Value:
        return self._with(self._either("fsub", "sub"), other, swap=True)

    def __mul__(self, other: Any) -> Value:
        return self._with(self._either("fmul", "mul"), other)

    __radd__, __rmul__ = __add__, __mul__

    def __truediv__(self, other: Any) -> Value:
        return self._with(self.builder.fdiv, other)

    def __rtruediv__(self, other: Any) -> Value:
        return self._with(self.builder.fdiv, other, swap=True)

    def __neg__(self) -> Value:
        return Value(self.builder, (self.builder.fneg if self.floating else self.builder.neg)(self.value))

    def __and__(self, other: Any) -> Value:
        return self._with(self.builder.and_, other)

    def __or__(self, other: Any) -> Value:
        return self._with(self.builder.or_, other)

    def __xor__(self, other: Any) -> Value:
        return self._with(self.builder.xor, other)

    def __lshift__(self, other: Any) -> Value:
        return self._with(self.builder.shl, other)

    def __rshift__(self, other: Any) -> Value:
        return self._with(self.builder.lshr, other)

    def _compare(self, sign: str, other: Any) -> Value:
        def build(a: Any, b: Any) -> Any:
            if not self.floating:
                return self.builder.icmp_signed(sign, a, b)
            return (self.builder.fcmp_unordered if sign == "!=" else self.builder.fcmp_ordered)(sign, a, b)

        return self._with(build, other)

    def __lt__(self, other: Any) -> Value:
        return self._compare("<", other)

    def __gt__(self, other: Any) -> Value:
        return self._compare(">", other)

    def __ge__(self, other: Any) -> Value:
        return self._compare(">=", other)

    def equals(self, other: Any) -> Value:
        """False for a NaN."""
        return self._compare("==", other)

    def differs(self, other: Any) -> Value:
        """True for a NaN."""
        return self._compare("!=", other)

    def is_nan(self) -> Value:
        return self.differs(self)

    def bits(self) -> Value:
        """A float's bits as an integer of its width."""
        kind = self.lanes_of(INT if self.width == 32 else LONG)
        return Value(self.builder, self.builder.bitcast(self.value, kind))

    def as_float(self) -> Value:
        """The float with these bits."""
        kind = self.lanes_of(ir.FloatType() if self.width == 32 else ir.DoubleType())
        return Value(self.builder, self.builder.bitcast(self.value, kind))

    def to_float(self) -> Value:
        """The float of its width nearest to this integer, which is not negative."""
        if self.width == 32:
            return Value(self.builder, self.builder.sitofp(self.value, self.lanes_of(ir.FloatType())))
        return Value(
            self.builder, self.builder.uitofp(self.value, self.lanes_of(ir.DoubleType()))
        )  # vectorises more widely

    def extended(self) -> Value:
        """An int32 as int64, zeros above."""
        return Value(self.builder, self.builder.zext(self.value, self.lanes_of(LONG)))

    def truncated(self) -> Value:
        """The lower half of an int64."""
        return Value(self.builder, self.builder.trunc(self.value, self.lanes_of(INT)))


def call(name: str, *operands: Value | float) -> Value:
    """LLVM's own function of that name on values of one type, the first operand's."""
    first = next(x for x in operands if isinstance(x, Value))
    kind = first.type
    lanes = f"v{kind.count}" if isinstance(kind, ir.VectorType) else ""
    full = f"llvm.{name}.{lanes}{'f' if first.floating else 'i'}{first.width}"
    module = first.builder.module
    function = module.globals.get(full) or ir.Function(module, ir.FunctionType(kind, [kind] * len(operands)), full)
    values = [(x if isinstance(x, Value) else first.constant(x)).value for x in operands]
    return Value(first.builder, first.builder.call(function, values))


def fma(a: Value | float, b: Value | float, c: Value | float) -> Value:
    """a b + c, rounded once."""
    return call("fma", a, b, c)


def sqrt(x: Value) -> Value:
    return call("sqrt", x)


def fabs(x: Value) -> Value:
    return call("fabs", x)


def rint(x: Value) -> Value:
    """The nearest whole number, the even one at a tie."""
    return call("rint", x)


def floor(x: Value) -> Value:
    return call("floor", x)


def copysign(x: Value, sign: Value) -> Value:
    return call("copysign", x, sign)


def fmod(a: Value, b: Value) -> Value:
    """What a division that is cut towards zero leaves, exactly."""
    return Value(a.builder, a.builder.frem(a.value, b.value))


def select(condition: Value, a: Value | float, b: Value | float) -> Value:
    """a where the condition holds, b elsewhere."""
    kind = next(x for x in (a, b) if isinstance(x, Value))
    values = [(x if isinstance(x, Value) else kind.constant(x)).value for x in (a, b)]
    return Value(kind.builder, kind.builder.select(condition.value, *values))


def unless(rare: Value, usual: Sequence[Value], other: Callable[[], Sequence[Value]]) -> list[Value]:
    """``usual``, but ``other`` where ``rare`` holds, which is computed only if it does somewhere."""
    builder, lanes = rare.builder, rare.type
    some = rare.value
    if isinstance(lanes, ir.VectorType):
        together = ir.IntType(lanes.count)
        some = builder.icmp_unsigned("!=", builder.bitcast(some, together), together(0))
    before, then, after = builder.block, *(builder.append_basic_block(label) for label in ("rare", "usual"))
    builder.cbranch(some, then, after)
    builder.position_at_end(then)
    made = [select(rare, a, b) for a, b in zip(other(), usual, strict=True)]
    end = builder.block
    builder.branch(after)
    builder.position_at_end(after)
    merged = []
    for a, b in zip(made, usual, strict=True):
        phi = builder.phi(a.type)
        phi.add_incoming(b.value, before)
        phi.add_incoming(a.value, end)
        merged.append(Value(builder, phi))
    return merged


def at_most(x: Value, high: Value | float) -> Value:
    """The smaller of the two; NaN where x is one. One instruction, unlike IEEE's minimum."""
    return select(x > high, high, x)


def at_least(x: Value, low: Value | float) -> Value:
    """The larger of the two; NaN where x is one."""
    return select(x < low, low, x)


def polynomial(x: Value, coefficients: Sequence[Any]) -> Value:
    """By Horner's rule, the lowest coefficient first."""
    total = fma(coefficients[-1], x, coefficients[-2])
    for c in coefficients[-3::-1]:
        total = fma(total, x, c)
    return total


def long_polynomial(x: Value, coefficients: Sequence[Any]) -> Value:
    """The same by two of half the length, in x^2: many steps that wait for each other take longer than one more."""
    z = x * x
    return fma(polynomial(z, coefficients[1::2]), x, polynomial(z, coefficients[::2]))


class Form(NamedTuple):
    """An elementary function in a module: its scalar form, and what writes that, or one on vectors."""

    function: Any
    build: Callable[..., Value]

    @property
    def length(self) -> int:
        """Instructions."""
        return sum(len(block.instructions) for block in self.function.blocks)

    @property
    def branches(self) -> bool:
        """Whether there is something that it does rarely."""
        return len(self.function.blocks) > 1


def kernel_function(build: Callable[..., Value], name: str | None = None) -> Any:
    """The function of values as one that kernels call with floats, of one dtype or of two that become the wider.

    A module holds its body once, and it is inlined unless `call_where_many` decides otherwise.
    """
    title = name or build.__name__

    def typer(typingctx: Any, *args: Any) -> Any:
        common = typingctx.unify_types(*args)
        kind = common if common in (types.float32, types.float64) else types.float64

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.call(_scalar(builder.module, title, build, args), args, attrs=("alwaysinline",))

        return kind(*[kind] * len(args)), codegen

    typer.__name__ = typer.__qualname__ = title
    typer.__doc__ = build.__doc__
    parameters = inspect.signature(build).parameters
    return intrinsic(with_parameters(typer, "typingctx", *parameters))


def _forms(module: Any) -> dict[Any, Form]:
    """A module's elementary functions, by their bodies and types."""
    forms: dict[Any, Form] = vars(module).setdefault("elementary", {})
    return forms


def _scalar(module: Any, name: str, build: Callable[..., Value], args: Sequence[Any]) -> Any:
    """The module's function of numbers of this type, written where it is not there yet."""
    forms, kinds = _forms(module), [a.type for a in args]
    key = build, str(kinds[0])
    if key not in forms:
        symbol = module.get_unique_name(f"{PREFIX}_{name}_{'s' if isinstance(kinds[0], ir.FloatType) else 'd'}")
        forms[key] = Form(_written(module, symbol, build, kinds), build)
    return forms[key].function


def _written(module: Any, symbol: str, build: Callable[..., Value], kinds: Sequence[Any]) -> Any:
    """A function of numbers or vectors with the body that ``build`` gives."""
    function = ir.Function(module, ir.FunctionType(kinds[0], kinds), symbol)
    builder = ir.IRBuilder(function.append_basic_block("start"))
    builder.ret(build(*(Value(builder, a) for a in function.args)).value)
    function.linkage = "internal"
    return function


PURE = "nounwind willreturn memory(none)"
MOST_INLINED = 1500  # instructions of elementary functions in a module, some twenty functions


def call_where_many(module: Any, vector_bytes: int) -> None:
    """Leaves calls of elementary functions as calls in a module that has many, and of those with branches everywhere.

    Inlined, many would take LLVM longer than they are worth, and a branch keeps a loop from vectors. In loops its
    vectoriser replaces them by calls of a form on vectors, which the function names (LLVM's language reference,
    "vector-function-abi-variant").
    """
    of = {id(form.function): form for form in _forms(module).values()}
    blocks = [block for function in module.functions for block in function.blocks]
    calls = [i for block in blocks for i in block.instructions if i.opname == "call" and id(i.callee) in of]
    if sum(of[id(i.callee)].length for i in calls) <= MOST_INLINED:
        of = {key: form for key, form in of.items() if form.branches}
        calls = [i for i in calls if id(i.callee) in of]
    if not calls:
        return
    for i in calls:
        i.attributes.discard("alwaysinline")
        i.attributes.add("noinline")
    for form in of.values():
        set.add(form.function.attributes, PURE)
    repeated = {id(i.callee) for i in calls if _repeated(i.parent)}
    # As they are: nothing refers to the vector forms yet, and the scalar ones must go on to take the same operands
    kept = [f for k, form in of.items() if k in repeated for f in (form.function, _vector(module, form, vector_bytes))]
    if not kept:
        return
    byte = ir.IntType(8).as_pointer()
    held = ir.GlobalVariable(module, ir.ArrayType(byte, len(kept)), "llvm.compiler.used")
    held.linkage, held.section = "appending", "llvm.metadata"
    held.initializer = ir.Constant(held.value_type, [f.bitcast(byte) for f in kept])


def _repeated(block: Any) -> bool:
    """Whether a block stands in a loop of its function. Those of a body that is inlined in another's are no vectors."""
    seen: set[int] = set()
    left = [block]
    while left:
        for after in left.pop().terminator.operands:
            if after is block:
                return True
            if isinstance(after, ir.Block) and id(after) not in seen:
                seen.add(id(after))
                left.append(after)
    return False


def _vector(module: Any, form: Form, vector_bytes: int) -> Any:
    """The form on vectors of a register's width, which the scalar form comes to name."""
    kinds = [a.type for a in form.function.args]
    lanes = vector_bytes // (4 if isinstance(kinds[0], ir.FloatType) else 8)
    symbol = f"{form.function.name}_{lanes}"
    vector = _written(module, symbol, form.build, [ir.VectorType(k, lanes) for k in kinds])
    mapping = f"_ZGV_LLVM_N{lanes}{'v' * len(kinds)}_{form.function.name}({symbol})"
    set.add(vector.attributes, PURE)
    set.add(form.function.attributes, f'"vector-function-abi-variant"="{mapping}"')
    return vector
