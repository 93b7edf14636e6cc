"""Vectors and scalar helpers in C99: types of GNU C where a compiler has them, else structs and plain loops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ELEMENTS = {"f32": "float", "f64": "double", "u8": "uint8_t", "u32": "uint32_t", "u64": "uint64_t"}
ARITHMETIC = {
    "fadd": "+", "fsub": "-", "fmul": "*", "fdiv": "/", "add": "+", "sub": "-", "mul": "*", "and": "&", "or": "|",
    "xor": "^", "shl": "<<", "lshr": ">>",
}  # fmt: skip
COMPARED = {"eq": "==", "ne": "!=", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}
X86 = {  # what immintrin.h calls vectors of a type, and what their names begin and end with
    "f32x4": ("__m128", "_mm_", "ps", "__m128i"), "f64x2": ("__m128d", "_mm_", "pd", "__m128i"),
    "f32x8": ("__m256", "_mm256_", "ps", "__m256i"), "f64x4": ("__m256d", "_mm256_", "pd", "__m256i"),
    "f32x16": ("__m512", "_mm512_", "ps", "__m512i"), "f64x8": ("__m512d", "_mm512_", "pd", "__m512i"),
}  # fmt: skip

# GRAPHC_PLAIN leaves out what is not C99. Contractions would round otherwise than graphc does.
PRELUDE = """\
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined __FAST_MATH__
#error "build without -ffast-math: results depend on the order of operations, on NaN and on infinities"
#endif
#if defined __GNUC__ && !defined GRAPHC_PLAIN
#define VECTORS
#define INLINE static inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))
#define PREFETCH(at, writing) __builtin_prefetch(at, writing, 3)
#define VECTOR(type, ...) ((type){__VA_ARGS__})
#define LANE(x, k) (x)[k]
#define BOTH(type, count, whole, lane) { return whole; }
#if defined __clang__
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#pragma STDC FP_CONTRACT OFF
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#pragma GCC optimize("fp-contract=off", "no-trapping-math", "no-math-errno")
#pragma GCC diagnostic ignored "-Wpsabi"
#endif
#if defined __AVX__
#include <immintrin.h>
#endif
#else
#define INLINE static inline
#define NOINLINE
#define PREFETCH(at, writing) ((void)(at))
#define VECTOR(type, ...) ((type){{__VA_ARGS__}})
#define LANE(x, k) ((x).lane[k])
#define BOTH(type, count, whole, lane) { type r = {0}; for (int k = 0; k < count; k++) LANE(r, k) = lane; return r; }
#define INDEPENDENT
#endif

INLINE uint32_t bits_f32(float x) { uint32_t y; memcpy(&y, &x, sizeof y); return y; }
INLINE uint64_t bits_f64(double x) { uint64_t y; memcpy(&y, &x, sizeof y); return y; }
INLINE float number_f32(uint32_t x) { float y; memcpy(&y, &x, sizeof y); return y; }
INLINE double number_f64(uint64_t x) { double y; memcpy(&y, &x, sizeof y); return y; }
#if defined FP_FAST_FMAF || defined __FMA__
INLINE float fmuladd_f32(float a, float b, float c) { return fmaf(a, b, c); }
INLINE double fmuladd_f64(double a, double b, double c) { return fma(a, b, c); }
#else
INLINE float fmuladd_f32(float a, float b, float c) { return a * b + c; }
INLINE double fmuladd_f64(double a, double b, double c) { return a * b + c; }
#endif
INLINE uint32_t funnel_32(uint32_t a, uint32_t b, uint32_t n) {
    n &= 31u;
    return n == 0u ? a : a << n | b >> (32u - n);
}
INLINE uint64_t funnel_64(uint64_t a, uint64_t b, uint64_t n) {
    n &= 63u;
    return n == 0u ? a : a << n | b >> (64u - n);
}
/* The larger and the smaller, NaN where either is; 0.0 is above -0.0. */
#define EXTREMES(real, f) \\
    INLINE real maximum_##f(real a, real b) { \\
        const real most = a > b ? a : b, zero = a + b; \\
        return a != a ? a : a == 0 && b == 0 ? zero : most; \\
    } \\
    INLINE real minimum_##f(real a, real b) { \\
        const real least = a < b ? a : b, zero = -(-a + -b); \\
        return a != a ? a : a == 0 && b == 0 ? zero : least; \\
    }
EXTREMES(float, f32)
EXTREMES(double, f64)

/* Integers of 64 bits that wrap around, and quotients that are cut towards minus infinity: 0 by 0. */
INLINE int64_t add_64(int64_t a, int64_t b) { return (int64_t)((uint64_t)a + (uint64_t)b); }
INLINE int64_t subtract_64(int64_t a, int64_t b) { return (int64_t)((uint64_t)a - (uint64_t)b); }
INLINE int64_t multiply_64(int64_t a, int64_t b) { return (int64_t)((uint64_t)a * (uint64_t)b); }
INLINE int64_t left_64(int64_t a, int64_t b) { return (int64_t)((uint64_t)a << (b & 63)); }
INLINE int64_t right_64(int64_t a, int64_t b) { return a >> (b & 63); }
INLINE int64_t quotient_64(int64_t a, int64_t b) {
    if (b == 0 || (a == INT64_MIN && b == -1)) return 0;
    return a / b - (a % b != 0 && (a % b ^ b) < 0);
}
INLINE int64_t rest_64(int64_t a, int64_t b) {
    if (b == 0 || (a == INT64_MIN && b == -1)) return 0;
    return a % b + (a % b != 0 && (a % b ^ b) < 0 ? b : 0);
}
INLINE uint64_t quotient_u64(uint64_t a, uint64_t b) { return b == 0 ? 0 : a / b; }
INLINE uint64_t rest_u64(uint64_t a, uint64_t b) { return b == 0 ? 0 : a % b; }
INLINE int64_t min_64(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t max_64(int64_t a, int64_t b) { return a > b ? a : b; }

/* Tables of words at an address, and memory between addresses. */
INLINE int64_t word(int64_t table, int64_t k) { return ((const int64_t *)(intptr_t)table)[k]; }
INLINE void set_word(int64_t table, int64_t k, int64_t value) { ((int64_t *)(intptr_t)table)[k] = value; }
INLINE void copy_bytes(int64_t target, int64_t source, int64_t count) {
    memcpy((void *)(intptr_t)target, (const void *)(intptr_t)source, (size_t)count);
}
"""


@dataclass(frozen=True, slots=True)
class Vector:
    """A type of vectors; ``call`` gives the text of a call of an operation, which is defined where it is not yet."""

    owner: Vectors
    element: str
    count: int

    @property
    def name(self) -> str:
        return f"{self.element}x{self.count}"

    @property
    def bits(self) -> int:
        return int(self.element[1:])

    @property
    def number(self) -> str:
        """C's type of a lane."""
        return ELEMENTS[self.element]

    @property
    def mask(self) -> Vector:
        return self.owner.of(f"u{self.bits}", self.count)

    def constant(self, lanes: list[str]) -> str:
        return f"VECTOR({self.name}, {', '.join(lanes)})"

    def call(self, op: str, *given: str, result: Any = None, mask: Any = None, signed: bool = False) -> str:
        name = f"{self.name}_{op}"
        self.owner.define(name, lambda: self.definition(name, op, signed))
        return f"{name}({', '.join(given)})"

    def definition(self, name: str, op: str, signed: bool) -> str:
        t, n, number = self.name, self.count, self.number
        if op in ARITHMETIC:
            return self.both(name, "a, b", f"a {ARITHMETIC[op]} b", f"LANE(a, k) {ARITHMETIC[op]} LANE(b, k)")
        if op == "fneg":
            return self.both(name, "a", "-a", "-LANE(a, k)")
        if op == "load":
            return f"INLINE {t} {name}(const void *at) {{ {t} x; memcpy(&x, at, sizeof x); return x; }}"
        if op == "store":
            return f"INLINE void {name}(void *at, {t} x) {{ memcpy(at, &x, sizeof x); }}"
        if op == "splat":
            lanes = ", ".join(["x"] * n)
            return f"INLINE {t} {name}({number} x) BOTH({t}, {n}, VECTOR({t}, {lanes}), x)"
        if op == "insert":
            return f"INLINE {t} {name}({t} a, {number} x, uint32_t k) {{ LANE(a, k) = x; return a; }}"
        if op == "select":
            u = self.mask.name
            whole = f"({t})((({u})a & m) | (({u})b & ~m))"
            lane = "LANE(m, k) ? LANE(a, k) : LANE(b, k)"
            return f"INLINE {t} {name}({u} m, {t} a, {t} b)\n    BOTH({t}, {n}, {whole}, {lane})"
        if op.startswith("compare_"):
            return self.comparison(name, op.removeprefix("compare_"), signed)
        if op == "fmuladd":
            return self.fused(name)
        if op in ("masked_load", "masked_store"):
            return self.masked(name, op == "masked_load")
        raise AssertionError(op)

    def both(self, name: str, given: str, whole: str, lane: str) -> str:
        parameters = ", ".join(f"{self.name} {x}" for x in given.split(", "))
        return f"INLINE {self.name} {name}({parameters}) BOTH({self.name}, {self.count}, {whole}, {lane})"

    def comparison(self, name: str, sign: str, signed: bool) -> str:
        u, n = self.mask.name, self.count
        if sign == "ord":
            whole, lane = f"({u})(a == a) & ({u})(b == b)", "LANE(a, k) == LANE(a, k) && LANE(b, k) == LANE(b, k)"
        else:
            sign = COMPARED[sign[-2:]]
            cast, own = (f"(s{self.bits}x{n})", f"(int{self.bits}_t)") if signed else ("", "")
            whole, lane = f"({u})({cast}a {sign} {cast}b)", f"{own}LANE(a, k) {sign} {own}LANE(b, k)"
        lane = f"({self.mask.number})-({self.mask.number})({lane})"
        return f"INLINE {u} {name}({self.name} a, {self.name} b)\n    BOTH({u}, {n}, {whole}, {lane})"

    def fused(self, name: str) -> str:
        """a b + c, rounded once where the processor does so."""
        t, n = self.name, self.count
        lines = [f"INLINE {t} {name}({t} a, {t} b, {t} c) {{"]
        if t in X86:
            m, begin, end, _ = X86[t]
            has = "__AVX512F__" if n * self.bits == 512 else "__FMA__"
            lines += [
                f"#if defined VECTORS && defined {has}",
                f"    return ({t}){begin}fmadd_{end}(({m})a, ({m})b, ({m})c);",
                "#else",
            ]
        if n * self.bits == 512:
            half = self.owner.of(self.element, n // 2)
            call = half.call("fmuladd", "x[j]", "y[j]", "z[j]")
            lines += [
                f"    {half.name} x[2], y[2], z[2];",
                f"    {t} r = {{0}};",
                "    memcpy(x, &a, sizeof a);",
                "    memcpy(y, &b, sizeof b);",
                "    memcpy(z, &c, sizeof c);",
                f"    for (int j = 0; j < 2; j++) z[j] = {call};",
                "    memcpy(&r, z, sizeof r);",
                "    return r;",
            ]
        else:
            each = f"fmuladd_{self.element}(LANE(a, k), LANE(b, k), LANE(c, k))"
            lines += [f"    {t} r = {{0}};", f"    for (int k = 0; k < {n}; k++) LANE(r, k) = {each};", "    return r;"]
        return "\n".join([*lines, *(["#endif"] if t in X86 else []), "}"])

    def masked(self, name: str, loads: bool) -> str:
        t, n, u = self.name, self.count, self.mask.name
        head = f"{t} {name}(const void *at, {u} m)" if loads else f"void {name}(void *at, {t} x, {u} m)"
        lines = [f"INLINE {head} {{"]
        if t in X86:
            m, begin, end, integers = X86[t]
            if n * self.bits == 512:
                lanes = f"_mm512_cmplt_epi{self.bits}_mask((__m512i)m, _mm512_setzero_si512())"
                here = (
                    f"({t})_mm512_maskz_loadu_{end}({lanes}, at)"
                    if loads
                    else f"_mm512_mask_storeu_{end}(at, {lanes}, ({m})x)"
                )
            else:
                pointer = f"({'const ' if loads else ''}{self.number} *)at"
                here = (
                    f"({t}){begin}maskload_{end}({pointer}, ({integers})m)"
                    if loads
                    else f"{begin}maskstore_{end}({pointer}, ({integers})m, ({m})x)"
                )
            has = "__AVX512F__" if n * self.bits == 512 else "__AVX__"
            lines += [f"#if defined VECTORS && defined {has}", f"    {'return ' if loads else ''}{here};", "#else"]
        if loads:
            lines += [
                f"    {t} r = {{0}};",
                f"    for (int k = 0; k < {n}; k++) LANE(r, k) = LANE(m, k) ? ((const {self.number} *)at)[k] : 0;",
                "    return r;",
            ]
        else:
            lines.append(f"    for (int k = 0; k < {n}; k++) if (LANE(m, k)) (({self.number} *)at)[k] = LANE(x, k);")
        return "\n".join([*lines, *(["#endif"] if t in X86 else []), "}"])

    def shuffle(self, source: Vector, lanes: list[int], a: str, b: str) -> str:
        """Lanes of two vectors, counted through both, in an order."""
        name = f"{self.name}_of_{source.name}_{'_'.join(map(str, lanes))}"
        count = source.count

        def define() -> str:
            each = " ".join(
                f"LANE(r, {k}) = LANE({'a' if lane < count else 'b'}, {lane % count});" for k, lane in enumerate(lanes)
            )
            both = any(lane >= count for lane in lanes)
            return "\n".join(
                [
                    f"INLINE {self.name} {name}({source.name} a, {source.name} b) {{",
                    "#if defined VECTORS && (defined __clang__ || __GNUC__ >= 12)",
                    f"    return __builtin_shufflevector(a, b, {', '.join(map(str, lanes))});",
                    "#else",
                    f"    {self.name} r = {{0}};",
                    *([] if both else ["    (void)b;"]),
                    f"    {each}",
                    "    return r;",
                    "#endif",
                    "}",
                ]
            )

        self.owner.define(name, define)
        return f"{name}({a}, {b})"


class Vectors:
    """Types of vectors, and what is done with them, as far as something uses them."""

    def __init__(self) -> None:
        self.named: dict[str, Vector] = {}
        self.types: dict[str, str] = {}
        self.operations: dict[str, str] = {}
        self.pointers: dict[str, str] = {}

    def of(self, element: str, count: int) -> Vector:
        made = Vector(self, element, count)
        if made.name not in self.named:
            self.named[made.name] = made
            size = made.bits // 8 * count
            whole = [f"typedef {made.number} {made.name} __attribute__((vector_size({size})));"]
            if element[0] == "u":
                signed = f"int{made.bits}_t"
                whole.append(f"typedef {signed} s{made.bits}x{count} __attribute__((vector_size({size})));")
            plain = f"typedef struct {{ {made.number} lane[{count}]; }} {made.name};"
            self.types[made.name] = "\n".join(["#ifdef VECTORS", *whole, "#else", plain, "#endif"])
        return made

    def define(self, name: str, text: Callable[[], str]) -> None:
        if name not in self.operations:
            made = text()  # what it needs goes first
            self.operations[name] = made

    def pointer(self, template: str) -> str:
        """The name of a type of pointers to functions."""
        return self.pointers.setdefault(template, f"function{len(self.pointers)}")

    def text(self) -> str:
        """All definitions."""
        pointers = [f"typedef {template.format(name)};" for template, name in self.pointers.items()]
        return "\n".join([*self.types.values(), *pointers, "", *self.operations.values()])
