"""From functions written as LLVM IR (elementary functions, products, sums, random numbers) to C99.

Instruction by instruction: a value is a constant of a block, a block a label. Integers are unsigned, as LLVM's have no
sign; a signed operation says so. Vectors are types of `c_vectors`, masks vectors of integers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from llvmlite import ir

from graphc.codegen.c_vectors import Vector, Vectors

BINARY = {
    "add": "+", "sub": "-", "mul": "*", "udiv": "/", "urem": "%", "shl": "<<", "lshr": ">>", "and": "&", "or": "|",
    "xor": "^", "fadd": "+", "fsub": "-", "fmul": "*", "fdiv": "/",
}  # fmt: skip
SIGNED = {"sdiv": "/", "srem": "%", "ashr": ">>"}
COMPARED = {"eq": "==", "ne": "!=", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}
OF_C = {
    "fma": "fma", "sqrt": "sqrt", "fabs": "fabs", "rint": "rint", "floor": "floor", "ceil": "ceil", "trunc": "trunc",
    "copysign": "copysign", "minnum": "fmin", "maxnum": "fmax",
}  # fmt: skip
OWN = ("maximum", "minimum", "fmuladd")  # of the prelude
EFFECTS = (ir.Ret, ir.Branch, ir.ConditionalBranch, ir.SwitchInstr, ir.StoreInstr, ir.StoreAtomicInstr)


class NoC(Exception):
    """An instruction that has no form in C."""


class Module:
    """C of the functions of an llvmlite module, each once."""

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = vectors
        self.texts: dict[str, str] = {}
        self.names: dict[str, str] = {}  # LLVM's name -> that in C

    def function(self, function: Any, name: str | None = None) -> str:
        """The name of a function in C; it and what it calls are written where they are not yet."""
        known = self.names.get(function.name)
        if known is not None:
            return known
        made = self.names[function.name] = name or function.name.replace(".", "_")
        self.texts[made] = ""  # its place, behind those that it calls
        text = "\n".join(_Function(self, function, made).lines())
        del self.texts[made]
        self.texts[made] = text
        return made


class _Function:
    """Writes one function."""

    def __init__(self, module: Module, function: Any, name: str) -> None:
        self.module, self.llvm, self.name = module, function, name
        self.vectors = module.vectors
        self.kinds: dict[int, str] = {}  # C types of masks, which LLVM's do not tell
        self.values: dict[int, str] = {}
        self.live = self.used()

    def used(self) -> set[int]:
        """Instructions that something depends on."""
        todo = [i for b in self.llvm.blocks for i in b.instructions if isinstance(i, EFFECTS) or self.acts(i)]
        live: set[int] = set()
        while todo:
            i = todo.pop()
            if id(i) in live:
                continue
            live.add(id(i))
            below = [v for v, _ in i.incomings] if isinstance(i, ir.PhiInstr) else i.operands
            if i.opname == "shufflevector" and self.is_spread(i.operands[0]) and not any(self.order(i)):
                below = [i.operands[0].operands[1]]
            todo += [v for v in below if isinstance(v, ir.Instruction)]
            if isinstance(i, ir.CallInstr) and isinstance(i.callee, ir.Instruction):
                todo.append(i.callee)
        return live

    @staticmethod
    def acts(i: Any) -> bool:
        """Whether a call does something beside giving a value."""
        return isinstance(i, ir.AtomicRMW) or (isinstance(i, ir.CallInstr) and isinstance(i.type, ir.VoidType))

    # ---- types

    def type(self, kind: Any) -> str:
        """C's type."""
        if isinstance(kind, ir.VoidType):
            return "void"
        if isinstance(kind, ir.IntType):
            return "int" if kind.width == 1 else f"uint{kind.width}_t"
        if isinstance(kind, ir.FloatType):
            return "float"
        if isinstance(kind, ir.DoubleType):
            return "double"
        if isinstance(kind, ir.PointerType):
            pointee = kind.pointee
            if isinstance(pointee, ir.FunctionType):
                return self.pointer_to(pointee)
            return "void *" if isinstance(pointee, ir.VectorType) else f"{self.type(pointee)} *"
        if isinstance(kind, ir.VectorType) and not self.is_mask(kind):
            return self.vectors.of(self.element(kind.element), kind.count).name
        raise NoC(str(kind))

    def pointer_to(self, kind: Any) -> str:
        """A name for pointers to functions of this type."""
        given = ", ".join(self.type(a) for a in kind.args)
        return self.vectors.pointer(f"{self.type(kind.return_type)} (*{{}})({given})")

    @staticmethod
    def element(kind: Any) -> str:
        return {"float": "f32", "double": "f64"}.get(str(kind), f"u{getattr(kind, 'width', 0)}")

    @staticmethod
    def is_mask(kind: Any) -> bool:
        return isinstance(kind, ir.VectorType) and kind.element == ir.IntType(1)

    def kind(self, value: Any) -> str:
        """C's type of a value."""
        return self.kinds[id(value)] if self.is_mask(value.type) else self.type(value.type)

    def vector(self, value: Any) -> Vector:
        return self.vectors.named[self.kind(value)]

    # ---- values

    def value(self, x: Any, like: Any = None) -> str:
        """An operand; ``like`` is a mask of the kind that a constant one shall be."""
        if isinstance(x, ir.Function):
            return self.module.function(x)
        if isinstance(x, ir.GlobalVariable):
            raise NoC(x.name)
        if not isinstance(x, ir.Constant):
            return self.values[id(x)]
        kind, held = x.type, x.constant
        if isinstance(kind, ir.VectorType):
            if self.is_mask(kind):
                vector = self.vectors.named[self.kind(like)]
                lanes = [f"{2**vector.bits - 1 if lane else 0}u" for lane in self.lanes(held, kind)]
            else:
                vector = self.vectors.named[self.type(kind)]
                lanes = [self.number(kind.element, lane) for lane in self.lanes(held, kind)]
            return vector.constant(lanes)
        if isinstance(kind, ir.PointerType):
            return "NULL"
        return self.number(kind, 0 if held is None or held is ir.Undefined else held)

    @staticmethod
    def lanes(held: Any, kind: Any) -> list[Any]:
        if held is None or held is ir.Undefined:
            return [0] * kind.count
        given = [getattr(lane, "constant", lane) for lane in held]
        return [0 if lane is None or lane is ir.Undefined else lane for lane in given]

    @staticmethod
    def number(kind: Any, value: Any) -> str:
        """A number as C reads it back exactly."""
        if isinstance(kind, ir.IntType):
            if kind.width == 1:
                return str(int(bool(value)))
            value = int(value) & (2**kind.width - 1)
            return f"UINT64_C({value})" if kind.width == 64 else f"{value}u"
        return number(value, isinstance(kind, ir.FloatType))

    def signed(self, x: Any) -> str:
        """An integer operand with its sign."""
        return f"(int{x.type.width}_t){self.value(x)}"

    # ---- the text

    def lines(self) -> Iterator[str]:
        for k, argument in enumerate(self.llvm.args):
            self.values[id(argument)] = f"a{k}"
        given = ", ".join(f"{self.type(a.type)} a{k}" for k, a in enumerate(self.llvm.args)) or "void"
        noinline = "noinline" in self.llvm.attributes
        result = self.type(self.llvm.function_type.return_type)
        yield f"{'static NOINLINE' if noinline else 'INLINE'} {result} {self.name}({given}) {{"
        body = list(self.body())
        words = set("".join(c if c.isalnum() else " " for c in "\n".join(body)).split())
        for k in range(len(self.llvm.args)):
            if f"a{k}" not in words:
                yield f"    (void)a{k};"
        yield from body
        yield "}"

    def body(self) -> Iterator[str]:
        blocks = [b for b in self.llvm.blocks if b.instructions]
        label = {id(b): f"L{k}" for k, b in enumerate(blocks)}
        number = 0
        for block in blocks:  # names first: phis look back
            for i in block.instructions:
                if id(i) in self.live:
                    self.values[id(i)], number = f"v{number}", number + 1
        for block in blocks:
            for i in block.instructions:
                if isinstance(i, ir.PhiInstr) and id(i) in self.live:
                    yield f"    {self.type(i.type)} {self.values[id(i)]};"
        ends = [
            list(self.end(block, following, label))
            for block, following in zip(blocks, [*blocks[1:], None], strict=True)
        ]
        text = "\n".join(line for lines in ends for line in lines)
        for block, end in zip(blocks, ends, strict=True):
            if f"goto {label[id(block)]};" in text:
                yield f"{label[id(block)]}:;"
            for i in block.instructions[:-1]:
                if id(i) in self.live and not isinstance(i, ir.PhiInstr):
                    yield f"    {self.instruction(i)}"
            yield from (f"    {line}" for line in end)

    def end(self, block: Any, following: Any, label: dict[int, str]) -> Iterator[str]:
        """The last instruction of a block, with what phis behind it become."""
        i = block.instructions[-1]

        def go(target: Any) -> str:
            moves = [f"{self.values[id(p)]} = {{}};" for p in target.instructions if self.is_live_phi(p)]
            values = [
                next(self.value(v) for v, b in p.incomings if b is block)
                for p in target.instructions
                if self.is_live_phi(p)
            ]
            kinds = [self.type(p.type) for p in target.instructions if self.is_live_phi(p)]
            own = {m.split(" ", 1)[0] for m in moves}
            first = []
            for k, value in enumerate(values):
                if value in own and moves[k].split(" ", 1)[0] != value:  # it is about to change
                    first.append(f"const {kinds[k]} next{k} = {value};")
                    values[k] = f"next{k}"
            moved = [m.format(v) for m, v in zip(moves, values, strict=True) if m != f"{v} = {{}};"]
            jump = [] if target is following else [f"goto {label[id(target)]};"]
            return " ".join([*first, *moved, *jump])

        if isinstance(i, ir.ConditionalBranch):
            test, yes, no = i.operands
            yield (
                f"if ({self.value(test)}) {{ {go(yes) or ';'} }}"
                if yes is not following or go(yes)
                else f"if ({self.value(test)}) {{ ; }}"
            )
            rest = go(no)
            if yes is following and rest:
                yield f"else {{ {rest} }}"
            elif rest:
                yield f"{{ {rest} }}"
        elif isinstance(i, ir.SwitchInstr):
            yield f"switch ({self.value(i.value)}) {{"
            for number, target in i.cases:
                yield f"case {self.value(number)}: {{ {go(target)} goto {label[id(target)]}; }}"
            yield f"default: {{ {go(i.default)} goto {label[id(i.default)]}; }}"
            yield "}"
        elif isinstance(i, ir.Branch):
            text = go(i.operands[0])
            if text:
                yield f"{{ {text} }}"
        elif isinstance(i, ir.Ret):
            yield "return;" if i.return_value is None else f"return {self.value(i.return_value)};"
        elif i.opname != "unreachable":
            raise NoC(str(i))

    def is_live_phi(self, i: Any) -> bool:
        return isinstance(i, ir.PhiInstr) and id(i) in self.live

    def instruction(self, i: Any) -> str:
        made = self.made(i)
        if isinstance(i.type, ir.VoidType):
            return f"{made};"
        kind = self.kind(i)
        return f"{f'{kind}const' if kind.endswith('*') else f'const {kind}'} {self.values[id(i)]} = {made};"

    def made(self, i: Any) -> str:
        """What an instruction computes."""
        op, operands = i.opname, i.operands
        if isinstance(i, ir.CallInstr):
            return self.call(i)
        if isinstance(i, ir.LoadInstr):
            return self.load(i)
        if isinstance(i, ir.StoreInstr):
            value, at = operands
            if isinstance(value.type, ir.VectorType):
                return self.vector(value).call("store", self.value(at), self.value(value))
            return f"*{self.value(at)} = {self.value(value)}"
        if isinstance(i, ir.StoreAtomicInstr):  # one thread runs all
            return f"*{self.value(operands[1])} = {self.value(operands[0])}"
        if isinstance(i, ir.GEPInstr):
            at, index = i.pointer, i.indices[0]
            return f"{self.value(at)} + ({self.signed(index)})"
        if isinstance(i, ir.AllocaInstr | ir.AtomicRMW):
            raise NoC(op)
        if isinstance(i.type, ir.VectorType):
            return self.of_vectors(i)
        if op == "extractelement":
            return f"LANE({self.value(operands[0])}, {self.value(operands[1])})"
        if op in BINARY:
            left, right = map(self.value, operands)
            if i.type == ir.IntType(1):
                return f"{left} {BINARY[op]} {right}"
            if isinstance(i.type, ir.IntType) and i.type.width < 32:
                return f"({self.type(i.type)})({left} {BINARY[op]} {right})"
            return f"{left} {BINARY[op]} {right}"
        if op in SIGNED:
            by = self.value(operands[1]) if op == "ashr" else self.signed(operands[1])
            return f"({self.type(i.type)})({self.signed(operands[0])} {SIGNED[op]} {by})"
        if op == "fneg":
            return f"-{self.value(operands[0])}"
        if op == "frem":
            return f"fmod{self.suffix(i.type)}({', '.join(map(self.value, operands))})"
        if op == "icmp":
            signed = i.op[0] == "s"
            left, right = (self.signed(x) if signed else self.value(x) for x in operands)
            return f"{left} {COMPARED[i.op[-2:]]} {right}"
        if op == "fcmp":
            left, right = map(self.value, operands)
            if i.op in ("ord", "uno"):
                both = f"{left} == {left} && {right} == {right}" if left != right else f"{left} == {left}"
                return both if i.op == "ord" else f"!({both})"
            if i.op[0] == "u" and i.op != "une":
                raise NoC(f"fcmp {i.op}")
            return f"{left} {COMPARED[i.op[1:]]} {right}"
        if op == "select":
            return "{} ? {} : {}".format(*map(self.value, operands))
        return self.converted(i)

    def converted(self, i: Any) -> str:
        """A conversion of a number or a pointer, or the value as it is."""
        op, x = i.opname, i.operands[0]
        if op == "freeze":
            return self.value(x)
        kind, source = i.type, x.type
        text, target = self.value(x), self.type(kind)
        if op == "bitcast" and not isinstance(kind, ir.PointerType):
            return f"{'bits' if isinstance(kind, ir.IntType) else 'number'}_f{self.bits(kind)}({text})"
        if op == "inttoptr":
            return f"({target})(intptr_t){text}"
        if op == "ptrtoint":
            return f"(uint64_t)(intptr_t){text}"
        if op in ("trunc", "zext", "fptrunc", "fpext", "uitofp", "fptoui", "bitcast"):
            return f"{text} & 1" if kind == ir.IntType(1) else f"({target}){text}"
        if op == "sext":
            return f"({target})({'-' + text if source == ir.IntType(1) else self.signed(x)})"
        if op == "sitofp":
            return f"({target}){self.signed(x)}"
        if op == "fptosi":
            return f"({target})(int{kind.width}_t){text}"
        raise NoC(op)

    @staticmethod
    def bits(kind: Any) -> int:
        return kind.width if isinstance(kind, ir.IntType) else 32 if isinstance(kind, ir.FloatType) else 64

    @staticmethod
    def suffix(kind: Any) -> str:
        return "f" if isinstance(kind, ir.FloatType) else ""

    def load(self, i: Any) -> str:
        at = i.operands[0]
        if isinstance(i.type, ir.VectorType):
            return self.vectors.named[self.type(i.type)].call("load", self.value(at))
        if isinstance(at, ir.GlobalVariable):  # a number that LLVM shall not know
            return self.number(i.type, at.initializer.constant)
        return f"*{self.value(at)}"

    def call(self, i: Any) -> str:
        callee, given = i.callee, list(i.args)
        name = getattr(callee, "name", "")
        if not name.startswith("llvm."):
            if isinstance(callee, ir.Function) and callee.is_declaration:
                raise NoC(name)
            called = self.value(callee)
            return f"{called}({', '.join(map(self.value, given))})"
        word = name.split(".")[1] if ".masked." not in f".{name}" else name.split(".")[2]
        if word == "load":
            at, _, mask, _ = given
            self.kinds[id(mask)] = self.kind(mask)
            return self.vectors.named[self.type(i.type)].call("masked_load", self.value(at), self.value(mask))
        if word == "store":
            value, at, _, mask = given
            return self.vector(value).call("masked_store", self.value(at), self.value(value), self.value(mask))
        if word == "prefetch":
            return f"PREFETCH({self.value(given[0])}, {given[1].constant})"
        if word == "memcpy":
            return f"memcpy({self.value(given[0])}, {self.value(given[1])}, (size_t){self.value(given[2])})"
        if word == "memset":
            return f"memset({self.value(given[0])}, {self.value(given[1])}, (size_t){self.value(given[2])})"
        operands = [self.value(x) for x in given]
        if isinstance(i.type, ir.VectorType):
            return self.vectors.named[self.type(i.type)].call(word, *operands)
        if word in OF_C:
            return f"{OF_C[word]}{self.suffix(i.type)}({', '.join(operands)})"
        if word in OWN:
            return f"{word}_f{self.bits(i.type)}({', '.join(operands)})"
        if word == "fshl":
            return f"funnel_{self.bits(i.type)}({', '.join(operands)})"
        raise NoC(name)

    def of_vectors(self, i: Any) -> str:
        """An instruction that gives a vector."""
        op, operands = i.opname, i.operands
        if op in ("icmp", "fcmp"):
            vector = self.vectors.named[self.kind(operands[0])]
            mask = self.vectors.of(f"u{vector.bits}", vector.count)
            self.kinds[id(i)] = mask.name
            sign = "ord" if i.op == "ord" else i.op if op == "icmp" else i.op[1:]
            signed = op == "icmp" and i.op[0] == "s"
            return vector.call(f"compare_{sign}", *map(self.value, operands), result=mask, signed=signed)
        like = next((x for x in operands if self.is_mask(x.type) and not isinstance(x, ir.Constant)), None)
        if self.is_mask(i.type):
            self.kinds[id(i)] = self.kind(like)
        if op == "select":
            test, *sides = operands
            if not isinstance(test.type, ir.VectorType):
                return "{} ? {} : {}".format(*map(self.value, operands))
            mask = self.vectors.named[self.kind(test)]
            return self.vectors.named[self.kind(i)].call("select", self.value(test), *map(self.value, sides), mask=mask)
        if op == "insertelement":
            return self.vectors.named[self.kind(i)].call("insert", *map(self.value, operands))
        if op == "shufflevector":
            left, right, _ = operands
            lanes = self.order(i)
            target = self.vectors.of(self.element(i.type.element), i.type.count)
            if not any(lanes) and self.is_spread(left):
                return target.call("splat", self.value(left.operands[1]))
            source = self.vectors.named[self.kind(left)]
            return target.shuffle(source, lanes, self.value(left), self.value(right))
        vector = self.vectors.named[self.kind(i)]
        if op in BINARY or op == "fneg":
            return vector.call(op, *(self.value(x, like) for x in operands))
        raise NoC(f"{op} of vectors")

    def order(self, i: Any) -> list[int]:
        """The lanes that a shuffle takes."""
        mask = i.operands[2]
        return self.lanes(mask.constant, mask.type)

    @staticmethod
    def is_spread(x: Any) -> bool:
        """A vector of one number in its first lane, which is about to be spread."""
        return getattr(x, "opname", "") == "insertelement" and isinstance(x.operands[0], ir.Constant)


def number(value: float, single: bool) -> str:
    """A float as C reads it back exactly."""
    value = float(value)
    if math.isnan(value):
        text = "NAN"
    elif math.isinf(value):
        text = "INFINITY" if value > 0 else "-INFINITY"
    else:
        text = (str(np.float32(value)) if single else repr(value)) + ("f" if single else "")
    if single and text in ("NAN", "INFINITY"):
        return text
    if not single and text.endswith(("NAN", "INFINITY")):
        return f"(double){text}" if text[0] != "-" else "(-(double)INFINITY)"
    return f"({text})" if text.startswith("-") else text
