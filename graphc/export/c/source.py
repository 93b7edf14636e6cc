"""The C behind the header: tables of addresses around the kernels, tests of sizes, names, first values."""

from __future__ import annotations

from graphc.export.c.header import call, name_functions, size_parameters
from graphc.export.c.kernels import prototype, values
from graphc.export.c.layout import C_TYPES, Function, Library
from graphc.export.c.text import ARITHMETIC, PRODUCTS, encoded, kernel_symbol, literal, size_text
from graphc.ir.state import ALIGNMENT
from graphc.ir.types import SizeCheck


def source(library: Library) -> str:
    """The text of NAME.c, the same for graphs that differ in names only."""
    name = library.name
    lines = [
        f'#include "{name}.h"',
        *(["#include <limits.h>"] if library.products else []),
        "#include <string.h>",
        "",
        *_outside(library),
        "typedef struct text { const char *text; size_t bytes; } text;",
        f"extern const text {name}_names[];",
        "",
        "static const char *name_at(int first, int count, int k, size_t *bytes) {",
        "    if (k < 0 || k >= count) return NULL;",
        f"    if (bytes) *bytes = {name}_names[first + k].bytes;",
        f"    return {name}_names[first + k].text;",
        "}",
        f"const char *{name}_graph_name(size_t *bytes) {{ return name_at(0, 1, 0, bytes); }}",
        "",
        *_state(library),
    ]
    if any(f.sizes for f in library.functions):
        lines += [ARITHMETIC]
    lines += [PRODUCTS] if library.products else []
    for product in library.products.values():
        lines.append(f"PRODUCT({product}, {'float, sgemm_' if product.endswith('s') else 'double, dgemm_'})")
    first = 1 + len(library.state)
    for function in library.functions:
        lines += _function(library, function, first)
        first += len(_names_of(function))
    return "\n".join(lines)


def names_source(library: Library) -> str:
    """The text of the table of names, which is all that depends on them."""
    names = [library.graph.name, *(s.name for s in library.state)]
    names += [name for f in library.functions for name in _names_of(f)]
    lines = [
        "#include <stddef.h>",
        "",
        "typedef struct text { const char *text; size_t bytes; } text;",
        f"extern const text {library.name}_names[];",
        f"const text {library.name}_names[] = {{",
        *(f"    {{{literal(name)}, {len(encoded(name))}}}," for name in names),
        "};",
    ]
    return "\n".join(lines) + "\n"


def data_source(library: Library, file: str) -> str:
    """Assembly that puts a file's bytes into the library's read-only data."""
    symbol = f"{library.name}_data"
    lines = [
        ".section .rodata",
        f".balign {ALIGNMENT}",
        f".globl {symbol}",
        f".hidden {symbol}",
        f".type {symbol}, @object",
        f"{symbol}:",
        f'.incbin "{file}"',
        f".size {symbol}, . - {symbol}",
        '.section .note.GNU-stack, "", @progbits',
    ]
    return "\n".join(lines) + "\n"


def _names_of(function: Function) -> list[str]:
    return [
        *(slot.name for slot in (*function.inputs, *function.outputs)),
        *(node.name for node in function.kernel.failures),
        *(name for name, _ in function.checks),
    ]


def _state(library: Library) -> list[str]:
    name, count = library.name, len(library.state)
    if not count:
        return []
    rows = [f'    {{offsetof({name}_state, {s.place}), {s.size}, "{s.dtype.name}"}},' for s in library.state]
    held = [f"offsetof({name}_state, {s.place}) == {at}" for s, at in zip(library.state, library.offsets, strict=False)]
    return [
        f"typedef char layout[{' && '.join([f'sizeof({name}_state) == {library.state_bytes}', *held])} ? 1 : -1];",
        "static const struct { size_t at; int64_t elements; const char *dtype; } arrays[] = {",
        *rows,
        "};",
        *_init(library),
        f"size_t {name}_state_bytes(void) {{ return sizeof({name}_state); }}",
        f"void *{name}_state_at({name}_state *state, int k, int64_t *elements) {{",
        f"    if (k < 0 || k >= {count}) return NULL;",
        "    if (elements) *elements = arrays[k].elements;",
        "    return (unsigned char *)state + arrays[k].at;",
        "}",
        f"const char *{name}_state_dtype(int k) {{ return k < 0 || k >= {count} ? NULL : arrays[k].dtype; }}",
        f"const char *{name}_state_name(int k, size_t *bytes) {{ return name_at(1, {count}, k, bytes); }}",
        "",
    ]


def _function(library: Library, function: Function, first: int) -> list[str]:
    """The functions of an executable whose names begin at ``first`` in the table."""
    prefix, sizes = function.prefix, ", ".join(function.sizes)
    n_in, n_out, failures = len(function.inputs), len(function.outputs), len(function.kernel.failures)
    statuses = first + n_in + n_out
    of_inputs, of_outputs, of_status = name_functions(function)
    held = [f"state->{library.places[name]}" for name in function.kernel.state_names]
    if library.as_source:
        held += [f"{function.prefix}_c{k}" for k in range(len(function.kernel.constants))]
    else:
        held += [f"{library.name}_data + {at}" for at in library.constants_of(function)]
    slots = [s.place for s in function.inputs], [s.place for s in function.outputs]
    return [
        f"{of_inputs} {{ return name_at({first}, {n_in}, k, bytes); }}",
        f"{of_outputs} {{ return name_at({first + n_in}, {n_out}, k, bytes); }}",
        f"{of_status} {{",
        f"    return status > 0 ? name_at({statuses}, {failures}, status - 1, bytes)",
        f"                      : name_at({statuses + failures}, {len(function.checks)}, -(status + 2), bytes);",
        "}",
        f"int64_t {prefix}_workspace_bytes({size_parameters(function)}) {{",
        *(["    if (" + " || ".join(f"{n} < 0" for n in function.sizes) + ") return -1;"] if sizes else []),
        f"    int64_t bytes = {size_text(function.work_bytes)};",
        f"    return bytes >= (INT64_C(1) << 60) ? -1 : bytes + {ALIGNMENT - 1};",
        "}",
        f"int {call(library, function)} {{",
        f"    if ({prefix}_workspace_bytes({sizes}) < 0) return -1;",
        *(f"    if (!({_test(check)})) return {-2 - k};" for k, (_, check) in enumerate(function.checks)),
        *_tables(library, *slots, held),
        f"    const int64_t sizes[] = {{{sizes or '0'}}};",
        f"    unsigned char *at = (unsigned char *)work + (-(uintptr_t)work & {ALIGNMENT - 1});",
        f"    int status = (int){kernel_symbol(function)}({_arguments(library)});",
        "    if (status > 0) memmove(work, at, 2 * sizeof(int64_t));",
        "    return status;",
        "}",
        "",
    ]


def _outside(library: Library) -> list[str]:
    """What other files define."""
    if library.as_source:
        held = [(n, a) for n, a in values(library).items() if a is not None]
        arrays = [f"extern const {C_TYPES[a.dtype.name]} {n}[{max(a.size, 1)}];" for n, a in held]
        return [*(f"{prototype(f)};" for f in library.functions), *arrays]
    return [
        "typedef int64_t kernel(const void *const *, void *const *, const int64_t *, const void *const *, void *);",
        f"extern kernel {', '.join(kernel_symbol(f) for f in library.functions)};",
        f"extern const unsigned char {library.name}_data[];",
    ]


def _init(library: Library) -> list[str]:
    """The function that fills a state."""
    name = library.name
    if not library.as_source:
        return [f"void {name}_init({name}_state *state) {{ memcpy(state, {name}_data, sizeof *state); }}"]
    held = values(library)
    copied = [
        f"    memcpy(state->{s.place}, {n}, sizeof {n});"
        for s in library.state
        if held[n := f"{name}_{s.place}"] is not None
    ]
    return [f"void {name}_init({name}_state *state) {{", "    memset(state, 0, sizeof *state);", *copied, "}"]


def _tables(library: Library, given: list[str], made: list[str], held: list[str]) -> list[str]:
    """Tables of addresses; kernels in source read them as words."""
    tables = (("const ", "in", given), ("", "out", made), ("const ", "held", held))
    if library.as_source:
        words = {name: ", ".join(f"(int64_t)(intptr_t){x}" for x in places) or "0" for _, name, places in tables}
        return [f"    const int64_t {name}[] = {{{text}}};" for name, text in words.items()]
    return [f"    {const}void *{name}[] = {{{', '.join(places) or 'NULL'}}};" for const, name, places in tables]


def _arguments(library: Library) -> str:
    names = ("in", "out", "sizes", "held", "at")
    return ", ".join(f"(int64_t)(intptr_t){n}" if library.as_source else n for n in names)


def _test(check: SizeCheck) -> str:
    left, right = size_text(check.left), size_text(check.right)
    if check.positive:
        return f"{left} > {right}"
    return f"{left} == {right}" + (f" || {left} == 1 || {right} == 1" if check.broadcast else "")
