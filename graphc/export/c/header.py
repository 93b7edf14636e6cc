"""The header: C99 and C++17, code by position, then what depends on names."""

from __future__ import annotations

import re

from graphc.config import __version__
from graphc.export.c.layout import Function, Library
from graphc.export.c.text import identifiers, remark

LIMITED = (
    "CHAR EXIT INT INT8 INT16 INT32 INT64 INTMAX INTPTR LLONG LONG PATH PTRDIFF RAND SCHAR SHRT SIZE UCHAR UINT UINT8 "
    "UINT16 UINT32 UINT64 UINTMAX UINTPTR ULLONG ULONG USHRT WINT"
)
OF_C = {f"{of}_{what}" for of in LIMITED.split() for what in ("BIT", "C", "FAILURE", "MAX", "MIN", "SUCCESS", "WIDTH")}
NAMES = "/* ---- names: whatever of this header depends on them stands below ---- */"

STATUS = [
    "/* A call returns 0, or a status whose node its _status_name tells, and then has not changed the state:",
    " *   above 0   an index is out of range; its flat position and value are the first two int64 of work",
    " *   -1        a size is negative or too large",
    " *   below -1  sizes do not fit together",
    " * work is memory of any alignment, of as many bytes as _workspace_bytes says, or -1 where a size will not do. */",
]


def header(library: Library) -> str:
    """The text of NAME.h."""
    code = _code(library)
    return "\n".join([*code, "", NAMES, "", *_names(library, "\n".join(code)), "", "#endif", ""])


def _code(library: Library) -> list[str]:
    name, guard = library.name, f"{library.name.upper()}_H"
    lines = [
        f"/* Made by graphc {__version__} for {library.cpu}. See README.md. */",
        f"#ifndef {guard}",
        f"#define {guard}",
        "",
        "#include <stddef.h>",
        "#include <stdint.h>",
        "",
        "#ifdef __GNUC__",
        f'#define {name.upper()}_API __attribute__((visibility("default")))',
        "#else",
        f"#define {name.upper()}_API",
        "#endif",
        "",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "",
    ]
    if library.state:
        lines += [*_state(library), ""]
    lines += [
        "/* Names are UTF-8 with a 0 behind; their length goes to bytes unless that is NULL. NULL: there is none. */",
        f"{api(library, f'const char *{name}_graph_name(size_t *bytes)')};",
        "",
        *STATUS,
        "",
    ]
    for function in library.functions:
        lines += [*_function(library, function), ""]
    return [*lines, "#ifdef __cplusplus", "}", "#endif"]


def api(library: Library, declaration: str) -> str:
    """A declaration of a function that the shared library exports."""
    return f"{library.name.upper()}_API {declaration}"


def _state(library: Library) -> list[str]:
    """The struct and what works on it."""
    name = library.name
    lines = ["/* Yours: make as many as you like; 64-byte alignment makes calls a little faster. */"]
    lines.append(f"typedef struct {name}_state {{")
    for slot, at, end in zip(library.state, library.offsets, library.offsets[1:], strict=False):
        count = max(int(slot.size), 1)  # type: ignore[arg-type]
        lines.append(f"    {slot.c_type} {slot.place}[{count}]; /* {str(slot).partition(' ')[2]} */")
        if spare := end - at - count * slot.dtype.itemsize:
            lines.append(f"    unsigned char after_{slot.place}[{spare}];")
    return [
        *lines,
        f"}} {name}_state;",
        "",
        "/* The values at export: parameters, and all that optimisers keep. */",
        f"{api(library, f'void {name}_init({name}_state *state)')};",
        "",
        "/* For other languages: its size, and array k with its number of elements, its dtype and its name. */",
        f"{api(library, f'size_t {name}_state_bytes(void)')};",
        f"{api(library, f'void *{name}_state_at({name}_state *state, int k, int64_t *elements)')};",
        f"{api(library, f'const char *{name}_state_dtype(int k)')};",
        f"{api(library, f'const char *{name}_state_name(int k, size_t *bytes)')};",
    ]


def _function(library: Library, function: Function) -> list[str]:
    """What an executable brings, with shapes."""
    prefix = function.prefix
    given, made = (", ".join(map(str, slots)) or "nothing" for slots in (function.inputs, function.outputs))
    return [
        f"/* {given} -> {made}{'; updates the state' if function.updates else ''} */",
        f"{api(library, f'int {call(library, function)}')};",
        f"{api(library, f'int64_t {prefix}_workspace_bytes({size_parameters(function)})')};",
        *(f"{api(library, d)};" for d in name_functions(function)),
    ]


def size_parameters(function: Function) -> str:
    """The parameters of a function of sizes alone."""
    return ", ".join(f"int64_t {n}" for n in function.sizes) or "void"


def name_functions(function: Function) -> list[str]:
    """Declarations of the functions that look up names."""
    kinds = (("input", "k"), ("output", "k"), ("status", "status"))
    return [f"const char *{function.prefix}_{kind}_name(int {arg}, size_t *bytes)" for kind, arg in kinds]


def call(library: Library, function: Function) -> str:
    """The declarator of the call."""
    parameters = [f"int64_t {n}" for n in function.sizes]
    if function.kernel.state_names:
        parameters.insert(0, f"{'' if function.updates else 'const '}{library.name}_state *state")
    parameters += [f"const {slot.c_type} *{slot.place}" for slot in function.inputs]
    parameters += [f"{slot.c_type} *{slot.place}" for slot in function.outputs]
    return f"{function.prefix}_call({', '.join([*parameters, 'void *work'])})"


def _names(library: Library, code: str) -> list[str]:
    """State by name, and a remark on each function."""
    taken = OF_C | set(re.findall(r"\w+", code))
    made = identifiers((slot.name for slot in library.state), f"{library.name.upper()}_", taken)
    lines = [f"#define {macro}(state) ((state)->{slot.place})" for macro, slot in zip(made, library.state, strict=True)]
    lines += [""] if lines else []
    for function in library.functions:
        named = [
            *(
                f"{place} is {remark(name)}"
                for place, name in zip(function.sizes, function.kernel.symbols, strict=True)
            ),
            *(f"{slot.place} is {remark(slot.name)}" for slot in (*function.inputs, *function.outputs)),
        ]
        lines.append(f"/* {function.prefix}_call: {', '.join(named)} */")
    return lines
