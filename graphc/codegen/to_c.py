"""From the loop IR to C99, one text for every compiler and processor.

What kernels call that is written as LLVM IR becomes C by `llvm_to_c`. Loops without dependences between their steps say
so to compilers that know how to be told; sums of an innermost loop are taken in as many lanes as a cache line holds, as
`schedule.sums` counts their blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from llvmlite import ir as llvm
from numba import types

from graphc.codegen import loop_ir as ir
from graphc.codegen import tiles
from graphc.codegen.buffer import BufferType
from graphc.codegen.c_vectors import PRELUDE, Vectors
from graphc.codegen.llvm_to_c import Module, NoC, number
from graphc.codegen.semantics import LLVM, Semantics
from graphc.schedule.sums import LINE

C_TYPES = {
    types.boolean: "int", types.uint8: "uint8_t", types.uint64: "uint64_t", types.int32: "int32_t",
    types.int64: "int64_t", types.float32: "float", types.float64: "double", types.none: "void",
}  # fmt: skip
SHORT = {"int": "bool", "uint8_t": "u8", "uint64_t": "u64", "int32_t": "i32", "int64_t": "i64", "float": "f32",
         "double": "f64", "void": "none"}  # fmt: skip
WRAPS = {"+": "add_64", "-": "subtract_64", "*": "multiply_64", "<<": "left_64", ">>": "right_64"}
PRECEDENCE = {
    "*": 10, "/": 10, "+": 9, "-": 9, "<": 7, "<=": 7, ">": 7, ">=": 7, "==": 6, "!=": 6, "&": 5, "^": 4, "|": 3,
    "and": 2, "or": 1,
}  # fmt: skip
IN_C = {"and": "&&", "or": "||"}
# intrinsics that give sizes and places
OF_SIZES = ("word", "shards", "address", "place_of", "stack", "unknown", "part_address")
WORDS_OF_C = """
    auto break case char const continue default do double else enum extern float for goto if inline int long register
    restrict return short signed sizeof static struct switch typedef union unsigned void volatile while asm typeof
"""
RESERVED = frozenset(WORDS_OF_C.split())
KIND = "typedef int64_t part(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t);"


class CModule:
    """C of functions of the loop IR and of all that they call."""

    def __init__(self, semantics: Semantics) -> None:
        self.semantics, self.vectors = semantics, Vectors()
        self.llvm_module = llvm.Module("c")
        self.intrinsics = Module(self.vectors)
        self.functions: dict[ir.Function, str] = {}
        self.texts: list[str] = []
        self.taken: set[str] = set()
        self.known: dict[Any, str] = {}

    def add(self, function: ir.Function, name: str, note: Callable[[int], str] = lambda line: "") -> None:
        """Writes a function of that name, which may stand behind ``static``."""
        head, _, own = name.rpartition(" ")
        self.functions[function] = own
        self.texts.append("\n".join(_Function(self, function, own, note).lines(f"{head} " if head else "")) + "\n")

    def called(self, function: ir.Function) -> str:
        """The name of a function that another calls, which is written before that."""
        if function not in self.functions:
            suffix = next((f"_{SHORT[C_TYPES[k]]}" for p in function.parameters if (k := _number(p.type))), "")
            name = self.functions[function] = self.unique(f"{function.name}{suffix}")
            head = "static NOINLINE " if function.outlined else "static inline "
            self.texts.append("\n".join(_Function(self, function, name, lambda line: "").lines(head)) + "\n")
        return self.functions[function]

    def unique(self, name: str) -> str:
        made, k = name, 2
        while made in self.taken:
            made, k = f"{name}_{k}", k + 1
        self.taken.add(made)
        return made

    def intrinsic(self, call: ir.Call) -> str:
        """The name of an intrinsic for operands of these types."""
        kinds = tuple(a.type for a in call.args)
        function = call.function
        if call.name in tiles.NAMES:  # kernels call a product by its symbol; here it stands in the same file
            function = getattr(tiles, tiles.NAMES[call.name][0])
        elif function is tiles.add_product:
            function = tiles.add_product_code
        key = function, kinds
        if key not in self.known:
            signature, code = self.semantics.resolve(function, kinds)
            result = signature.return_type
            given = [LLVM[k] for k in map(types.unliteral, kinds) if k in C_TYPES]
            returned = llvm.VoidType() if result == types.none else LLVM[result]
            suffix = SHORT[C_TYPES[kinds[-1] if result == types.boolean and kinds else result]]
            own = call.name if call.name.endswith(f"_{suffix}") or result == types.none else f"{call.name}_{suffix}"
            name = self.unique(own)
            made = llvm.Function(self.llvm_module, llvm.FunctionType(returned, given), f"intrinsic {name}")
            builder = llvm.IRBuilder(made.append_basic_block("start"))
            values = iter(made.args)
            value = code(
                builder, [next(values) if types.unliteral(k) in C_TYPES else LLVM[types.none](None) for k in kinds]
            )
            if result == types.none:
                builder.ret_void()
            else:
                builder.ret(value)
            self.known[key] = self.intrinsics.function(made, name)
        return self.known[key]

    def text(self, declared: str) -> str:
        """The whole file, with these declarations."""
        intrinsics = [*self.intrinsics.texts.values(), ""]
        return "\n".join([PRELUDE, KIND, declared, self.vectors.text(), "", *intrinsics, *self.texts])


def _number(kind: Any) -> Any:
    """The type of numbers that a parameter holds or stands for."""
    kind = kind.dtype if isinstance(kind, (types.NumberClass, BufferType)) else kind
    return kind if kind in C_TYPES else None


class _Function:
    """Writes one function."""

    def __init__(self, module: CModule, function: ir.Function, name: str, note: Callable[[int], str]) -> None:
        function = replace(function, body=tuple(_without_lapack(function.body)))
        self.module, self.function, self.name, self.note = module, function, name, note
        self.unused: set[int] = set()
        self.read = self.reads(function.body)
        self.sizes = self.found_sizes()

    # ---- what is known of names

    def reads(self, statements: Sequence[Any]) -> set[str]:
        """Names that a block reads; notes the names that nothing does."""
        names: set[str] = set()
        for s in reversed(statements):
            if isinstance(s, ir.Let) and s.name not in names and not _acts(s.value):
                self.unused.add(id(s))
                continue
            inner = [b for b in (getattr(s, x, ()) for x in ("body", "then", "other")) if isinstance(b, tuple)]
            for block in inner:
                names |= self.reads(block)
            for x in ir.children(s):
                if not isinstance(x, _STATEMENTS) or isinstance(x, ir.Call):
                    names |= {n.name for n in ir.walk(x) if isinstance(n, ir.Var)}
        return names

    def found_sizes(self) -> set[str]:
        """Integers that are sizes, counts or places: these do not overflow. Those that are data wrap around."""
        values: dict[str, list[Any]] = {}
        for n in ir.walk(self.function):
            if isinstance(n, (ir.Let, ir.Set)):
                values.setdefault(n.name, []).append(n.value)
        sizes = {name for name, given in values.items() if given[0].type == types.int64}
        if self.takes_places():
            sizes |= {p.name for p in self.function.parameters if p.type == types.int64}
        sizes |= {n.counter for n in ir.walk(self.function) if isinstance(n, ir.For)}
        while True:
            self.sizes = sizes
            bad = {n for n in sizes if not all(self.is_size(v) for v in values.get(n, ()))}
            if not bad:
                return sizes
            sizes = sizes - bad

    def takes_places(self) -> bool:
        """Whether integers that the function is given are places and sizes, rather than elements."""
        f = self.function
        given = any(isinstance(p.type, types.NumberClass) or p.name.endswith("_at") for p in f.parameters)
        return f.outlined or given or "work" in {p.name for p in f.parameters}

    def is_size(self, x: Any) -> bool:
        match x:
            case ir.Const():
                return True
            case ir.Var(name=name):
                return name in self.sizes
            case ir.Call(name=name):
                return name in OF_SIZES
            case ir.Binary(left=left, right=right):
                return self.is_size(left) and self.is_size(right)
            case ir.Unary(x=y):
                return self.is_size(y)
            case ir.Select(then=then, other=other):
                return self.is_size(then) and self.is_size(other)
            case ir.Cast(x=y):
                return y.type != types.int64 and isinstance(y.type, types.Integer) and self.is_size(y)
        return False

    # ---- statements

    def lines(self, head: str) -> Iterator[str]:
        f = self.function
        held = [p for p in f.parameters if p.type in C_TYPES or isinstance(p.type, BufferType)]
        given = ", ".join(f"{self.declared(p.type, p.name)}" for p in held) or "void"
        result = C_TYPES[f.result]
        yield f"{head}{result}{'' if result.endswith('*') else ' '}{self.name}({given}) {{"
        yield from (f"    (void){_name(p.name)};" for p in held if p.name not in self.read)
        kinds = {n.name: n.value.type for n in ir.walk(f) if isinstance(n, ir.Set) and n.name in self.read}
        yield from (f"    {self.declared(kind, name)} = 0;" for name, kind in kinds.items())
        yield from self.block(f.body, 1)
        if f.result != types.none and not isinstance(f.body[-1], ir.Return):
            yield "    return 0;"  # not reached
        yield "}"

    def declared(self, kind: Any, name: str) -> str:
        if isinstance(kind, BufferType):
            return f"{self.element(kind)} *{_name(name)}"
        return f"{C_TYPES[types.unliteral(kind)]} {_name(name)}"

    @staticmethod
    def element(kind: BufferType) -> str:
        return "uint8_t" if kind.dtype == types.boolean else C_TYPES[kind.dtype]

    def block(self, statements: Sequence[Any], depth: int) -> Iterator[str]:
        for s in statements:
            if id(s) not in self.unused:
                noted = self.note(s.line)
                for k, line in enumerate(self.statement(s, depth)):
                    yield f"{'    ' * depth}{line}{f' /* {noted} */' if noted and k == 0 else ''}"

    def inside(self, statements: Sequence[Any]) -> Iterator[str]:
        yield from (f"    {line}" for line in self.block(statements, 0))

    def statement(self, s: Any, depth: int) -> Iterator[str]:
        match s:
            case ir.Let(name=name, value=ir.Call(name="local", type=kind, args=args)):
                yield f"{self.element(kind)} {_name(name)}[{self.value(args[0])}];"
            case ir.Let(name=name, value=ir.Call(name="stack", args=args)):
                yield f"unsigned char {name}_bytes[{self.value(args[0])} + 63];"
                yield f"const int64_t {_name(name)} = ((int64_t)(intptr_t){name}_bytes + 63) & -64;"
            case ir.Let(name=name, value=ir.Cast(type=BufferType() as kind) as value):
                yield f"{self.element(kind)} *const {_name(name)} = {self.value(value)};"
            case ir.Let(name=name, value=value) if name in self.read:
                yield f"const {self.declared(value.type, name)} = {self.value(value)};"
            case ir.Set(name=name, value=value) if name in self.read:
                yield f"{_name(name)} = {self.value(value)};"
            case ir.Let(value=value) | ir.Set(value=value):
                yield f"(void){self.value(value, 12)};"
            case ir.Store(buffer=held, index=index, value=value):
                cast = "(uint8_t)" if held.type.dtype == types.boolean else ""
                yield f"{self.value(held, 12)}[{self.value(index)}] = {cast}{self.value(value, 11 if cast else 0)};"
            case ir.For():
                yield from self.loop(s)
            case ir.While(test=test, body=body):
                yield f"while ({self.value(test)}) {{"
                yield from self.inside(body)
                yield "}"
            case ir.If(test=test, then=then, other=other):
                yield f"if ({self.value(test)}) {{"
                yield from self.inside(then)
                if other:
                    yield "} else {"
                    yield from self.inside(other)
                yield "}"
            case ir.Return(value=value):
                yield "return;" if value is None else f"return {self.value(value)};"
            case ir.Call(name="outlined"):
                pass
            case ir.Call(type=kind):
                yield f"{self.value(s)};" if kind == types.none else f"(void){self.value(s)};"

    def loop(self, s: ir.For) -> Iterator[str]:
        sums = _sums(s) if _innermost(s) else []
        if sums and _independent(s, sums) and not _short(s, sums):
            yield from self.in_lanes(s, sums)
            return
        if _innermost(s) and _independent(s, []):
            yield "INDEPENDENT"
        i, first = _name(s.counter), self.value(s.first)
        last = self.value(s.last, 8)
        yield f"for (int64_t {i} = {first}; {i} < {last}; {i} {'++' if s.step == 1 else f'+= {s.step}'}) {{".replace(
            " ++)", "++)"
        )
        yield from self.inside(s.body)
        yield "}"

    def in_lanes(self, s: ir.For, sums: list[Any]) -> Iterator[str]:
        """An innermost loop whose sums are taken in lanes, which are added up two by two."""
        i = _name(s.counter)
        lanes = LINE // min(_bytes(x.value.type) for x in sums)
        yield "{"
        for x in sums:
            yield f"    {C_TYPES[x.value.type]} {x.name}_lanes[{lanes}] = {{0}};"
        yield f"    const int64_t last = {self.value(s.last)};"
        yield f"    int64_t begin = {self.value(s.first)};"
        whole = f"for (; begin + {lanes} <= last; begin += {lanes}) {{"
        for head, count in ((whole, str(lanes)), ("{", "last - begin")):
            yield f"    {head}"
            yield "        INDEPENDENT"
            yield f"        for (int64_t lane = 0; lane < {count}; lane++) {{"
            yield f"            const int64_t {i} = begin + lane;"
            t: Any
            for t in s.body:
                if t in sums:
                    yield f"            {t.name}_lanes[lane] += {self.value(t.value.args[1])};"
                elif id(t) not in self.unused:
                    yield from (f"            {line}" for line in self.statement(t, 0))
            yield "        }"
            yield "    }"
        yield f"    for (int half = {lanes // 2}; half > 0; half /= 2) {{"
        yield "        for (int lane = 0; lane < half; lane++) {"
        for x in sums:
            yield f"            {x.name}_lanes[lane] += {x.name}_lanes[lane + half];"
        yield "        }"
        yield "    }"
        for x in sums:
            yield f"    {_name(x.name)} += {x.name}_lanes[0];"
        yield "}"

    # ---- expressions

    def value(self, x: Any, around: int = 0) -> str:
        """An expression, in brackets where what stands around it binds more closely."""
        made, own = self.expression(x)
        return f"({made})" if own < around else made

    def expression(self, x: Any) -> tuple[str, int]:
        match x:
            case ir.Const():
                return self.constant(x), 12
            case ir.Var(name=name):
                return _name(name), 12
            case ir.Unary(op="not", x=y):
                return f"!{self.value(y, 11)}", 11
            case ir.Unary(op="~", x=y, type=kind):
                return f"{'!' if kind == types.boolean else '~'}{self.value(y, 11)}", 11
            case ir.Unary(x=y, type=kind):
                if kind == types.int64 and not self.is_size(y):
                    return f"subtract_64(0, {self.value(y)})", 12
                return f"-{self.value(y, 12)}", 11
            case ir.Binary():
                return self.binary(x)
            case ir.Select(test=test, then=then, other=other):
                return f"{self.value(test, 1)} ? {self.value(then, 1)} : {self.value(other, 1)}", 0
            case ir.Cast(type=BufferType() as kind, x=y):
                return f"({self.element(kind)} *)(intptr_t){self.value(y, 11)}", 11
            case ir.Cast(type=kind, x=y):
                if kind == types.boolean:
                    return f"{self.value(y, 8)} != 0", 6
                return f"({C_TYPES[kind]}){self.value(y, 11)}", 11
            case ir.Load(buffer=held, index=index, type=kind):
                return f"{self.value(held, 12)}[{self.value(index)}]{' & 1' if kind == types.boolean else ''}", (
                    5 if kind == types.boolean else 12
                )
            case ir.Call():
                return self.call(x)
        raise AssertionError(x)

    @staticmethod
    def constant(x: ir.Const) -> str:
        kind, value = types.unliteral(x.type), x.value
        if kind not in C_TYPES:
            return getattr(value, "symbol", "0")
        if kind in (types.float32, types.float64):
            return number(value, kind == types.float32)
        if kind == types.boolean:
            return str(int(value))
        if value == -(2**63):
            return "INT64_MIN"
        text = str(int(value)) if abs(int(value)) < 2**31 else f"INT64_C({int(value)})"
        return f"({text})" if value < 0 else text

    def binary(self, x: ir.Binary) -> tuple[str, int]:
        op, kind = x.op, x.left.type
        both = f"{self.value(x.left)}, {self.value(x.right)}"
        if op in ("min", "max"):
            return f"{op}_64({both})", 12
        if op in ("//", "%"):
            return f"{'quotient' if op == '//' else 'rest'}_{'u64' if kind == types.uint64 else '64'}({both})", 12
        if op in WRAPS and kind == types.int64 and (op in ("<<", ">>") or not self.is_size(x)):
            return f"{WRAPS[op]}({both})", 12
        if op in ("<<", ">>"):
            return f"{self.value(x.left, 12)} {op} ({self.value(x.right)} & 63)", 8
        own = PRECEDENCE[op]
        plain = op in ("+", "*")
        left = self.side(x.left, own, op)
        right = self.value(x.right, 11 if not plain else own + 1)
        if op in ir.TRUTH or own < 9:
            right = self.value(x.right, 9 if own >= 6 and op not in ir.TRUTH else 12 if own in (3, 4, 5) else 6)
        return f"{left} {IN_C.get(op, op)} {right}", own

    def side(self, x: Any, own: int, op: str) -> str:
        """The left operand; compilers want brackets where C's own order may surprise."""
        if own >= 9:
            return self.value(x, own)
        return self.value(x, 9 if own >= 6 and op not in ir.TRUTH else 12 if own in (3, 4, 5) else 6)

    def call(self, x: ir.Call) -> tuple[str, int]:
        name, args = x.name, x.args
        if isinstance(x.function, ir.Function):
            called = self.module.called(x.function)
        elif name == "reduce_add" and x.type in (types.float32, types.float64):
            return f"{self.value(args[0], 9)} + {self.value(args[1], 10)}", 9
        elif name in ("maximum", "minimum") and x.type in (types.float32, types.float64):
            called = f"{name}_{SHORT[C_TYPES[x.type]]}"
        elif name == "select":
            return f"{self.value(args[0], 1)} ? {self.value(args[1], 1)} : {self.value(args[2], 1)}", 0
        elif name == "unknown":
            return self.value(args[0]), 12
        elif name == "address":
            return f"(int64_t)(intptr_t){self.value(args[0], 11)}", 11
        elif name == "part_address":
            return f"(int64_t)(intptr_t)&{self.value(args[0])}", 11
        elif name == "call_part":
            places = ", ".join(map(self.value, args[1:]))
            return f"((part *)(intptr_t){self.value(args[0], 11)})({places})", 12
        elif name in ("word", "set_word", "copy_bytes"):
            called = name
        elif name in ("stack", "local", "outlined"):
            raise NoC(name)
        else:
            called = self.module.intrinsic(x)
        given = [self.value(a) for a in args if types.unliteral(a.type) in C_TYPES or isinstance(a.type, BufferType)]
        if isinstance(x.type, types.Integer) and called not in ("word",) and not isinstance(x.function, ir.Function):
            return f"({C_TYPES[x.type]}){called}({', '.join(given)})", 11
        return f"{called}({', '.join(given)})", 12


def _without_lapack(statements: Sequence[Any]) -> Iterator[Any]:
    """What a function does where there is no LAPACK."""
    for s in statements:
        match s:
            case ir.If(test=ir.Binary(left=ir.Call(name="has_lapack")), other=other):
                yield from other
            case _:
                yield s


_STATEMENTS = (ir.Let, ir.Set, ir.Store, ir.For, ir.While, ir.If, ir.Return, ir.Call)


def _name(name: str) -> str:
    return f"{name}_" if name in RESERVED else name


def _bytes(kind: Any) -> int:
    return int(kind.bitwidth) // 8


def _acts(x: Any) -> bool:
    """Whether an expression does something beside giving a value."""
    return any(
        isinstance(n, ir.Call) and (n.type == types.none or n.name == "fail" or isinstance(n.function, ir.Function))
        for n in ir.walk(x)
    )


def _innermost(s: ir.For) -> bool:
    return s.step == 1 and all(isinstance(t, (ir.Let, ir.Set, ir.Store)) for t in s.body)


def _sums(s: ir.For) -> list[Any]:
    """The sums that a loop takes, where it assigns to nothing else and reads none of them."""
    assigned = [t for t in s.body if isinstance(t, ir.Set)]
    for t in assigned:
        match t.value:
            case ir.Call(name="reduce_add", type=kind, args=(ir.Var(name=name), _)) if name == t.name:
                if kind not in (types.float32, types.float64):
                    return []
            case _:
                return []
    read = [n.name for t in s.body for n in ir.walk(t) if isinstance(n, ir.Var)]
    return assigned if all(read.count(t.name) == 1 for t in assigned) else []


def _short(s: ir.For, sums: list[Any]) -> bool:
    """Whether a loop has no more steps than there are lanes."""
    last = s.last.args[0] if isinstance(s.last, ir.Call) and s.last.name == "unknown" else s.last
    return isinstance(last, ir.Const) and last.value <= LINE // _bytes(sums[0].value.type)


def _independent(s: ir.For, sums: list[Any]) -> bool:
    """Whether no step of an innermost loop reads or writes what another writes, apart from its sums."""
    if any(isinstance(t, ir.Set) and t not in sums for t in s.body):
        return False
    if any(_acts(t.value) for t in s.body if isinstance(t, (ir.Let, ir.Store, ir.Set))):
        return False
    own = {t.name for t in s.body if isinstance(t, ir.Let)}
    places: dict[Any, list[tuple[Any, Any]]] = {}
    for t in s.body:
        for n in ir.walk(t):
            if isinstance(n, (ir.Load, ir.Store)):
                places.setdefault(n.buffer.type.scope, []).append((n.buffer, n.index))
    stored = [t for t in s.body if isinstance(t, ir.Store)]
    if (
        stored
        and any(n.buffer.type.scopes == 1 for n in stored)
        and len({str(b) for p in places.values() for b, _ in p}) > 1
    ):
        return False
    return all(
        _moves(t.index, s.counter, own) and all(p == (t.buffer, t.index) for p in places[t.buffer.type.scope])
        for t in stored
    )


def _moves(index: Any, counter: str, own: set[str]) -> bool:
    """Whether an index is another one at each step of a loop."""
    names = {n.name for n in ir.walk(index) if isinstance(n, ir.Var)}
    shapes = (ir.Var, ir.Const, ir.Binary)
    plain = all(isinstance(n, shapes) and getattr(n, "op", "+") in ("+", "-", "*") for n in ir.walk(index))
    return plain and counter in names and not names & own
