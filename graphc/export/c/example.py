"""What stands beside the library for people: a program that trains on data it makes, its build file, a README."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import chain, islice, product
from typing import Any

from graphc.config import __version__
from graphc.export.c.header import call
from graphc.export.c.layout import Function, Library, Slot
from graphc.export.c.text import remark
from graphc.ir import dims
from graphc.ir.dims import Size

TRIED = (32, 8, 4, 3, 2, 1)  # sizes of the example's data, until some fit together; then those that checks name
MOST_TRIES = 5000
MOST_ELEMENTS = 1 << 22  # of all arrays of a function, beside what they have in any case, if that can be
STEPS = 100
LINKED = [
    "Matrix products are `sgemm_` and `dgemm_` of the BLAS that you link, any one with 32-bit integers. How many",
    "threads it takes is its own setting. `-lblas` below stands for yours.",
    "",
]
NUMBER = [
    "static uint32_t seed = 1;",
    "",
    "/* Between 0 and 1, different each time. */",
    "static double number(void) {",
    "    seed = seed * 1664525u + 1013904223u;",
    "    return (double)(seed >> 8) / 16777216.0;",
    "}",
    "",
]


def example(library: Library) -> str:
    """The text of main.c."""
    functions = sorted(library.functions, key=lambda f: not f.updates)
    lines = [
        "/* Calls every function on data that it makes; training steps come first. See README.md. */",
        f'#include "{library.name}.h"',
        "#include <stdio.h>",
        "#include <stdlib.h>",
        "",
    ]
    sizes = {f.prefix: example_sizes(f) for f in functions}
    for f in functions:
        lines += [f"enum {{ {f.prefix}_{name} = {value} }};" for name, value in sizes[f.prefix].items()]
        lines += [
            f"static {s.c_type} {f.prefix}_{s.place}[{_count(f, s, sizes[f.prefix])}];" for s in (*f.inputs, *f.outputs)
        ]
    if library.state:
        lines.append(f"static {library.name}_state state;")
    lines += ["", *(NUMBER if any(f.inputs for f in functions) else []), "int main(void) {"]
    lines += [f"    {library.name}_init(&state);"] if library.state else []
    for f in functions:
        lines += _calls(library, f, sizes[f.prefix])
    return "\n".join([*lines, "    return 0;", "}", ""])


def example_sizes(function: Function) -> dict[str, int]:
    """Values for n0, n1 ... that fit together, and do not make large arrays where smaller ones fit too."""
    names, slots = function.sizes, (*function.inputs, *function.outputs)
    known = sorted({int(n) for _, c in function.checks for n in re.findall(r"\b\d+\b", f"{c.left} {c.right}")})
    tried = [*TRIED, *(n + more for n in known for more in (0, 1, 2) if 0 < n <= MOST_ELEMENTS)]
    best: dict[str, int] | None = None

    def elements(sizes: Mapping[str, int]) -> int:
        return sum(dims.evaluate(slot.size, sizes) for slot in slots)

    room = MOST_ELEMENTS + elements(dict.fromkeys(names, 1))
    candidates = chain(([v] * len(names) for v in tried), product(tried, repeat=len(names)))
    for values in islice(candidates, MOST_TRIES):
        sizes = dict(zip(names, values, strict=True))
        if not all(check.holds(sizes) for _, check in function.checks):
            continue
        if any(dims.evaluate(size, sizes) < 0 for slot in slots for size in slot.shape):
            continue
        if elements(sizes) <= room:
            return sizes
        best = sizes if best is None else min(best, sizes, key=elements)
    return best or dict.fromkeys(names, 1)


def _count(function: Function, slot: Slot, sizes: Mapping[str, int]) -> str:
    """The number of a slot's elements: an expression where it is a plain one, so that sizes can be changed."""
    text = str(slot.size)
    if (
        not isinstance(slot.size, dims.Dim)
        or dims.evaluate(slot.size, sizes) < 1
        or re.search(r"\*\*|//|[a-z]{2}", text)
    ):
        return str(max(dims.evaluate(slot.size, sizes), 1))
    return re.sub(r"(n\d+)", rf"{function.prefix}_\1", text)


def _calls(library: Library, function: Function, sizes: Mapping[str, int]) -> list[str]:
    """Fills a function's inputs and calls it, many times where it trains."""
    prefix = function.prefix
    lines = []
    for slot, (name, _) in zip(function.inputs, function.exe.inputs.items(), strict=True):
        value = _value(slot, _range(function, name, sizes))
        count = _count(function, slot, sizes)
        lines.append(f"    for (int64_t k = 0; k < {count}; k++) {prefix}_{slot.place}[k] = {value};")
    declared = re.findall(r"(\w+)[,)]", call(library, function).partition("(")[2])
    given = ", ".join(
        "&state" if word == "state" else "work" if word == "work" else f"{prefix}_{word}" for word in declared
    )
    steps, often = (STEPS, f"step % {STEPS // 10} == 1") if function.updates else (1, "step == 1")
    lines += [
        "    {",
        f"        int64_t bytes = {prefix}_workspace_bytes({', '.join(f'{prefix}_{n}' for n in function.sizes)});",
        "        void *work = bytes < 0 ? NULL : malloc((size_t)bytes);",
        "        int status = work == NULL ? -1 : 0;",
        f"        for (int step = 1; step <= {steps} && status == 0; step++) {{",
        f"            status = {prefix}_call({given});",
    ]
    if function.outputs:
        value = f"(double){prefix}_out0[0]"
        lines.append(f'            if (status == 0 && {often}) printf("{prefix} %d: %g\\n", step, {value});')
    return [
        *lines,
        "        }",
        "        free(work);",
        "        if (status != 0) {",
        f'            fprintf(stderr, "{prefix}: status %d\\n", status);',
        "            return 1;",
        "        }",
        "    }",
    ]


def _value(slot: Slot, limits: tuple[int, int]) -> str:
    if slot.dtype.kind == "f":
        return f"({slot.c_type})number()"
    if slot.dtype.kind == "b":
        return "number() < 0.5"
    low, high = limits
    return f"({slot.c_type})({f'{low} + ' if low else ''}number() * {max(high - low, 1)})"


def _range(function: Function, name: str, sizes: Mapping[str, int]) -> tuple[int, int]:
    """From where to below where an integer input may lie, by the range tests on it."""
    graph = function.exe.program.source
    found: tuple[int, int] | None = None
    of: dict[int, bool] = {}  # nodes that hold the input's numbers
    for node in graph.nodes:
        of[node.id] = node.name == name or (node.op.name in ("astype", "reshape") and of[node.inputs[0]])
        if "high" in node.attrs and "low" in node.attrs and of[node.inputs[0]]:
            low, high = (dims.evaluate(function.size(_as_size(node.attrs[k])), sizes) for k in ("low", "high"))
            found = (max(low, 0), high) if found is None else (max(low, found[0]), min(high, found[1]))
    return found or (0, 2)


def _as_size(value: Any) -> Size:
    return value if isinstance(value, dims.Dim) else int(value)


def sources(name: str) -> list[str]:
    """The C files of a library that is exported as source."""
    return [f"{name}{end}.c" for end in ("", "_kernels", "_data", "_names")]


def cmake(library: Library) -> str:
    """The text of CMakeLists.txt."""
    name = library.name
    if library.as_source:
        return f"""\
cmake_minimum_required(VERSION 3.13)
project({name} C)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

add_library({name} {" ".join(sources(name))})
target_include_directories({name} PUBLIC "${{CMAKE_CURRENT_SOURCE_DIR}}")
set_target_properties({name} PROPERTIES C_STANDARD 99 POSITION_INDEPENDENT_CODE ON)
if(UNIX)
  target_link_libraries({name} PUBLIC m)
endif()

add_executable({name}_main main.c)
target_link_libraries({name}_main PRIVATE {name})
"""
    find, blas = ("\nfind_package(BLAS REQUIRED)\n", ";${BLAS_LIBRARIES}") if library.products else ("", "")
    return f"""\
cmake_minimum_required(VERSION 3.13)
project({name} C)
{find}
add_library({name} STATIC IMPORTED GLOBAL)
set_target_properties({name} PROPERTIES
  IMPORTED_LOCATION "${{CMAKE_CURRENT_SOURCE_DIR}}/lib{name}.a"
  INTERFACE_INCLUDE_DIRECTORIES "${{CMAKE_CURRENT_SOURCE_DIR}}"
  INTERFACE_LINK_LIBRARIES "m{blas}")

add_library({name}_shared SHARED IMPORTED GLOBAL)
set_target_properties({name}_shared PROPERTIES
  IMPORTED_LOCATION "${{CMAKE_CURRENT_SOURCE_DIR}}/lib{name}.so"
  INTERFACE_INCLUDE_DIRECTORIES "${{CMAKE_CURRENT_SOURCE_DIR}}"
  INTERFACE_LINK_LIBRARIES "m{blas}")

add_executable({name}_main main.c)
target_link_libraries({name}_main PRIVATE {name})
"""


def readme(library: Library) -> str:
    """The text of README.md."""
    name = library.name
    blas = " -lblas" if library.products else ""
    if library.as_source:
        kind = "The source of a C library"
        build = [
            f"    cc -std=c99 -O3 -march=native main.c {' '.join(sources(name))} -lm -o main && ./main",
            "    cmake -S . -B ../build && cmake --build ../build",
            "",
            "It is C99; with GCC and Clang it uses vectors of GNU C, which -DGRAPHC_PLAIN leaves out. Do not compile",
            "it with -ffast-math. For a processor without these vectors GCC notes a change of ABI, which is of no",
            "consequence here: -Wno-psabi.",
        ]
    else:
        kind = "A C library"
        build = [
            f"    cc main.c lib{name}.a{blas} -lm -o main && ./main",
            f"    cc main.c -L. -l{name}{blas} -Wl,-rpath,'$ORIGIN' -o main && ./main",
            "    cmake -S . -B ../build && cmake --build ../build",
        ]
    lines = [
        f"# {name}",
        "",
        f"{kind} of the graph {remark(library.graph.name)}, made by graphc {__version__} for {library.cpu}.",
        "",
        "It needs the C library and libm. It keeps nothing between calls: state, arrays and work are yours, so calls",
        "with states and work of their own may run side by side.",
        "",
        *(LINKED if library.products else []),
        *build,
        "",
        f"`{name}.h` describes every function. Arrays are C-ordered. Outputs must not overlap inputs or state.",
        "",
    ]
    if library.state:
        lines += ["| state | | name |", "|---|---|---|"]
        lines += [_row(slot) for slot in library.state]
        lines.append("")
    for f in library.functions:
        lines += [f"## {f.prefix}_call", "", "| argument | | name |", "|---|---|---|"]
        lines += [f"| {n} | size | {remark(s)} |" for n, s in zip(f.sizes, f.kernel.symbols, strict=True)]
        lines += [_row(slot) for slot in (*f.inputs, *f.outputs)]
        lines.append("")
    return "\n".join(lines)


def _row(slot: Slot) -> str:
    return f"| {slot.place} | {str(slot).partition(' ')[2]} | {remark(slot.name)} |"
