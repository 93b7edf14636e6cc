"""C text from sizes and from names: nothing that a user wrote leaves a literal or a comment."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import reduce

from graphc.export.c.layout import Function
from graphc.ir import dims
from graphc.ir.dims import Size

LINE = 96  # characters of a literal on one line
PLAIN = frozenset(range(32, 127)) - frozenset(b'"\\?')
LONGEST = 60  # characters of a name in comments and identifiers

# Sizes saturate far above what memory holds, so that no size that a caller passes overflows.
ARITHMETIC = """\
#define MOST ((int64_t)1 << 60)
static inline int64_t within(double exact, int64_t value) {
    return exact > (double)MOST ? MOST : exact < -(double)MOST ? -MOST : value;
}
static inline int64_t plus(int64_t a, int64_t b) { return within((double)a + (double)b, a + b); }
static inline int64_t times(int64_t a, int64_t b) {
    double exact = (double)a * (double)b;
    return exact > (double)MOST || exact < -(double)MOST ? within(exact, 0) : a * b;
}
static inline int64_t quotient(int64_t a, int64_t b) { return b == 0 ? 0 : a / b - (a % b != 0 && (a < 0) != (b < 0)); }
static inline int64_t broadcast(int64_t a, int64_t b) { return a == 1 ? b : a; }
static inline int64_t not_one(int64_t a) { return a != 1; }
static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t bound(int64_t at, int64_t n) {
    int64_t from_front = at < 0 ? plus(at, n) : at;
    return from_front < 0 ? 0 : least(from_front, n);
}
"""

# Products of a BLAS, called as `codegen.tiles` is. The row-major C = op(A) op(B) is the column-major C' = op(B)' op(A)'
# (Dongarra and others, A Set of Level 3 Basic Linear Algebra Subprograms, ACM TOMS 16, 1990). What does not fit its
# integers, or has rows that overlap, is multiplied in plain loops.
PRODUCTS = """\
static int fits(int64_t rows, int64_t columns, int64_t *distance) {
    if (rows <= 1) *distance = columns > 1 ? columns : 1;
    return rows <= INT_MAX && columns <= INT_MAX && columns <= *distance && 1 <= *distance && *distance <= INT_MAX;
}
#define PRODUCT(name, real, gemm)                                                                                   \\
    extern void gemm(const char *, const char *, const int *, const int *, const int *, const real *, const real *, \\
                     const int *, const real *, const int *, const real *, real *, const int *);                    \\
    void name(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t,    \\
              int64_t, int64_t);                                                                                    \\
    void name(int64_t ta, int64_t tb, int64_t m, int64_t n, int64_t k, int64_t left, int64_t lda, int64_t right,    \\
              int64_t ldb, int64_t adds, int64_t result, int64_t ldc, int64_t scratch) {                            \\
        const real *a = (const real *)(intptr_t)left, *b = (const real *)(intptr_t)right;                           \\
        real *c = (real *)(intptr_t)result;                                                                         \\
        (void)scratch;                                                                                              \\
        if (m <= 0 || n <= 0) return;                                                                               \\
        if (fits(ta ? k : m, ta ? m : k, &lda) & fits(tb ? n : k, tb ? k : n, &ldb) & fits(m, n, &ldc)) {           \\
            const int rows = (int)m, columns = (int)n, depth = (int)k, la = (int)lda, lb = (int)ldb, lc = (int)ldc; \\
            const real one = 1, beta = adds ? 1 : 0;                                                                \\
            gemm(tb ? "T" : "N", ta ? "T" : "N", &columns, &rows, &depth, &one, b, &lb, a, &la, &beta, c, &lc);     \\
            return;                                                                                                 \\
        }                                                                                                           \\
        for (int64_t i = 0; i < m; i++)                                                                             \\
            for (int64_t j = 0; j < n; j++) {                                                                       \\
                real sum = adds ? c[i * ldc + j] : 0;                                                               \\
                for (int64_t p = 0; p < k; p++)                                                                     \\
                    sum += a[ta ? p * lda + i : i * lda + p] * b[tb ? j * ldb + p : p * ldb + j];                   \\
                c[i * ldc + j] = sum;                                                                               \\
            }                                                                                                       \\
    }
"""


def kernel_symbol(function: Function) -> str:
    """What a function's kernel is called."""
    return f"{function.prefix}_kernel"


def size_text(size: Size) -> str:
    """A C expression for a size in n0, n1 ..., made of the functions of ARITHMETIC."""
    if not isinstance(size, dims.Dim):
        return f"INT64_C({size})"
    total = ""
    for mono, coefficient in size.terms:
        term = f"INT64_C({coefficient})"
        for atom, power in mono:
            for _ in range(power):
                term = _atom(atom) if term == "INT64_C(1)" else f"times({term}, {_atom(atom)})"
        total = f"plus({total}, {term})" if total else term
    return total or "INT64_C(0)"


def _atom(atom: dims.Atom) -> str:
    if isinstance(atom, dims.Symbol):
        return atom.name
    parts = list(map(size_text, atom.parts))
    if atom.function is dims.LEAST:
        return reduce(lambda text, part: f"least({text}, {part})", parts)
    name = "quotient" if atom.function is dims.QUOTIENT else atom.function.name
    return f"{name}({', '.join(parts)})"


def encoded(name: str) -> bytes:
    """A name as UTF-8; halves of surrogate pairs, which Python allows, as they stand."""
    return name.encode("utf-8", "surrogatepass")


def literal(name: str) -> str:
    """A name as a C string literal, in lines; no trigraph, no escape runs into what follows it."""
    parts = [chr(b) if b in PLAIN else f"\\{b:03o}" for b in encoded(name)]
    lines, width = [""], 0
    for part in parts:
        if width + len(part) > LINE:
            lines.append("")
            width = 0
        lines[-1] += part
        width += len(part)
    return "\n    ".join(f'"{line}"' for line in lines)


def remark(name: str) -> str:
    """A name as people may read it in a comment or a table; what could end either is left out."""
    shown = re.sub(r"[^A-Za-z0-9_ .,:=+()\[\]-]", "_", name[: LONGEST + 1])
    return shown if len(shown) <= LONGEST else shown[:LONGEST] + "..."


def identifiers(names: Iterable[str], prefix: str, taken: set[str]) -> list[str]:
    """A C identifier for each name, none of them ``taken`` or given twice."""
    out = []
    for name in names:
        stem = prefix + re.sub(r"\W+", "_", name[:LONGEST], flags=re.ASCII)
        made, k = stem, 2
        while made in taken:
            made, k = f"{stem}_{k}", k + 1
        taken.add(made)
        out.append(made)
    return out
