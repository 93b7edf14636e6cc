"""What graphc takes of Numba that Numba does not document, and what happens in a version that lacks it.

All else is Numba's public interface (`numba`, `numba.types`, `numba.extending`) and llvmlite's. A name that is gone
leaves `Absent` in its place, so everything can be imported; whoever needs the name looks at `missing` first.
"""

from __future__ import annotations

from functools import reduce
from importlib import import_module
from typing import Any

# What happens without a name
ENGINE = "numba.njit compiles kernels, with one warning: slower, kept on no disk, sums perhaps in another order"
EXPORT_C = "export_c is refused"
GLOBAL = "exe.njit is an argument of compiled code, and no global of it"

TAKEN: list[tuple[str, str, str, bool]] = []  # module, name, what happens without it, whether it is there


class Absent:
    """Stands for what is not there, also where classes are derived from it or decorated with it."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return lambda decorated: decorated


def _take(module: str, name: str, without: str) -> Any:
    """A name of a module, ``Class.attribute`` too."""
    try:
        found: Any = reduce(getattr, name.split("."), import_module(module))
    except (ImportError, AttributeError):
        found = Absent
    TAKEN.append((module, name, without, found is not Absent))
    return found


def missing(without: str) -> list[str]:
    """The names that are not there, of those that have this consequence."""
    return [f"{module}.{name}" for module, name, result, there in TAKEN if result == without and not there]


# Lowering and optimising a function once: pipeline.py
FunctionIdentity = _take("numba.core.bytecode", "FunctionIdentity", ENGINE)
CompilerBase = _take("numba.core.compiler", "CompilerBase", ENGINE)
DefaultPassBuilder = _take("numba.core.compiler", "DefaultPassBuilder", ENGINE)
AnalysisPass = _take("numba.core.compiler_machinery", "AnalysisPass", ENGINE)
LoweringPass = _take("numba.core.compiler_machinery", "LoweringPass", ENGINE)
PassManager = _take("numba.core.compiler_machinery", "PassManager", ENGINE)
register_pass = _take("numba.core.compiler_machinery", "register_pass", ENGINE)
Environment = _take("numba.core.environment", "Environment", ENGINE)
PythonFunctionDescriptor = _take("numba.core.funcdesc", "PythonFunctionDescriptor", ENGINE)
NoPythonBackend = _take("numba.core.typed_passes", "NoPythonBackend", ENGINE)
ExtractByteCode = _take("numba.core.untyped_passes", "ExtractByteCode", ENGINE)
_take("numba.core.codegen", "JITCPUCodegen._library_class", ENGINE)
_take("numba.core.codegen", "JITCodeLibrary.get_pointer_to_function", ENGINE)
_take("numba.core.codegen", "JITCodeLibrary._get_compiled_object", ENGINE)

# Machine code on disk: jit.py
CompileResult = _take("numba.core.compiler", "CompileResult", ENGINE)
_take("numba.core.compiler", "CompileResult._rebuild", ENGINE)
_take("numba.core.compiler", "CompileResult._reduce", ENGINE)
global_compiler_lock = _take("numba.core.compiler_lock", "global_compiler_lock", ENGINE)
cpu_target = _take("numba.core.registry", "cpu_target", ENGINE)
rtsys = _take("numba.core.runtime", "rtsys", ENGINE)
dumps = _take("numba.core.serialize", "dumps", ENGINE)

# Code for another processor, and for programs without Python: export/c/machine.py
sigutils = _take("numba.core", "sigutils", EXPORT_C)
AOTCPUCodegen = _take("numba.core.codegen", "AOTCPUCodegen", EXPORT_C)
Flags = _take("numba.core.compiler", "Flags", EXPORT_C)
compile_extra = _take("numba.core.compiler", "compile_extra", EXPORT_C)

# exe.njit as a global or closure variable: native.py
lower_constant = _take("numba.core.imputils", "lower_constant", GLOBAL)
