"""From kernels to one object file: each function is compiled for the processor asked for, LLVM links and emits.

Every function is a module of its own, lowered and optimised as it is in process: LLVM decides on vectors, and so on the
order of sums, for this processor, whatever the code is for. What it chose is then written in instructions of the
processor asked for, a wide vector as several narrow ones, so the code computes the same bits on every processor that
has fused multiply-adds as this one has. The modules are joined afterwards. What Numba adds for Python falls away when
all but the kernels' entries is made internal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import llvmlite.binding as ll
import numba

from graphc.codegen import lapack, private, tiles
from graphc.codegen.abi import PART_SIGNATURE, part_symbol
from graphc.codegen.jit import Function, alone, numba_options
from graphc.codegen.kernel import SIGNATURE, Kernel
from graphc.codegen.pipeline import Compiler
from graphc.codegen.private import (
    AOTCPUCodegen,
    Flags,
    compile_extra,
    cpu_target,
    global_compiler_lock,
    sigutils,
)
from graphc.codegen.semantics import Unlowered
from graphc.errors import ExportError

LEVELS = {  # x86-64 psABI, micro-architecture levels; of their features, those that decide how code is generated
    "x86-64": "",
    "x86-64-v2": "",
    "x86-64-v3": "+avx,+avx2,+fma",
    "x86-64-v4": "+avx,+avx2,+fma,+avx512f,+avx512bw,+avx512cd,+avx512dq,+avx512vl",
}
# What Numba's helper library passes on to libm.
LIBM = """
declare double @tgamma(double)
define double @numba_gamma(double %x) { %y = call double @tgamma(double %x) ret double %y }
"""
NO_LAPACK = f"@{lapack.ADDRESSES} = constant [{len(lapack.TABLE)} x i64] zeroinitializer"
PYTHON = ("Py", "_Py", "NRT_", "numba", "_numba", ".numba", "_ZN5numba")  # how symbols of its run time begin


def processors() -> tuple[str, ...]:
    """What code can be made for on this machine."""
    x86 = ll.get_process_triple().startswith(("x86_64", "amd64"))
    return ("native", *LEVELS) if x86 else ("native",)


class _Codegen(AOTCPUCodegen):  # type: ignore[misc]
    """Numba's code generator for one kind of processor; "native" is this one, with all that it has."""

    def __init__(self, cpu: str) -> None:
        self._cpu = cpu
        super().__init__("graphc", "host" if cpu == "native" else cpu)
        self._here = None if cpu == "native" else _Codegen("native")
        self.tuned_for = (self._here or self)._tm  # whose vectors passes know

    def _customize_tm_features(self) -> str:
        return str(self._get_host_cpu_features()) if self._cpu == "native" else LEVELS[self._cpu]

    def _pass_builder(self, **options: Any) -> Any:
        """LLVM's passes, which know this processor's vectors."""
        return super()._pass_builder(**options) if self._here is None else self._here._pass_builder(**options)


@dataclass(frozen=True, slots=True)
class Entry:
    """A kernel of the library: what it is made of, and whether it was compiled with ``fastmath``."""

    kernel: Kernel
    fastmath: bool


def emit_object(name: str, entries: Mapping[str, Entry], cpu: str, products: Mapping[str, str]) -> bytes:
    """An object file with a function ``int64 symbol(in, out, sizes, state, work)`` for each symbol of ``entries``.

    The five arguments are addresses, as in `Kernel`. ``products`` are products that others define: how kernels call
    them, and what they are called there. ExportError where code would need Python to run.
    """
    if gone := private.missing(private.ENGINE) + private.missing(private.EXPORT_C):
        raise ExportError(f"export_c: numba {numba.__version__} lacks {', '.join(gone)}; an earlier one has it")
    return alone(partial(_emit_object, name, entries, cpu, products))


def _emit_object(name: str, entries: Mapping[str, Entry], cpu: str, products: Mapping[str, str]) -> bytes:
    with global_compiler_lock:
        codegen = _Codegen(cpu)
        context = cpu_target.target_context.subtarget(_internal_codegen=codegen, aot_mode=True, cached_internal_func={})
        linker = _Linker(context, name, products)
        for symbol, entry in entries.items():
            linker.add_kernel(symbol, entry)
        return linker.emit(frozenset(entries))


class _Linker:
    """Joins modules, and the functions by whose symbols they call each other."""

    def __init__(self, context: Any, name: str, products: Mapping[str, str]) -> None:
        self.context, self.name, self.products = context, name, products
        self.codegen = context.codegen()
        self.modules: list[Any] = []
        self.known = set(products)

    def add_kernel(self, symbol: str, entry: Entry) -> None:
        kernel, fast = entry.kernel, entry.fastmath
        for source in (kernel.source, *kernel.parts):
            for product, text in tiles.products(source).items():
                self.add(product, text, "product", tiles.SIGNATURE, False)
        for source in kernel.parts:
            self.add(part_symbol(source), source, "nest", PART_SIGNATURE, fast)
        self.add(symbol, kernel.source, "kernel", SIGNATURE, fast)

    def add(self, symbol: str, source: str, entry: str, signature: str, fastmath: bool) -> None:
        """Compiles a function, whose C form is called ``symbol``, once."""
        if symbol in self.known:
            return
        self.known.add(symbol)
        options = {"nopython": True, "no_cpython_wrapper": True} | numba_options(fastmath)
        made = Function(source, entry, signature, options, f"export_{len(self.known)}", entry == "product")
        try:
            module, found = made.module(), made.symbol
        except Unlowered:
            module, found = self.by_numba(made)
        module.get_function(found).name = symbol
        self.modules.append(module)

    def by_numba(self, made: Function) -> tuple[Any, str]:
        """The module of a function that Numba has to compile, and the name of its C form there."""
        flags = Flags()
        cpu_target.options.parse_as_flags(flags, made.options)
        flags.no_compile = True
        args, result = sigutils.normalize_signature(made.signature)
        compiled = compile_extra(
            cpu_target.typing_context, self.context, made.function(made.source), args, result, flags, {},
            pipeline_class=Compiler,
        )  # fmt: skip
        return ll.parse_bitcode(compiled.library.emit_bitcode()), compiled.fndesc.llvm_cfunc_wrapper_name

    def emit(self, entries: frozenset[str]) -> bytes:
        whole = ll.parse_assembly(str(self.codegen._create_empty_module(self.name)))
        whole.data_layout = self.codegen._data_layout
        own = [ll.parse_assembly(text) for text in (LIBM, NO_LAPACK)]
        for module in own:
            module.triple, module.data_layout = whole.triple, whole.data_layout
        for module in (*self.modules, *own):
            whole.link_in(module)
        for value in (*whole.functions, *whole.global_variables):
            if not value.is_declaration and value.name not in entries and not value.name.startswith("llvm."):
                value.linkage = "internal"
            elif value.name in entries:
                value.visibility = "hidden"
        for function in whole.functions:
            if function.name in self.products:
                function.name = self.products[function.name]
        whole.verify()
        passes, builder = (
            ll.create_new_module_pass_manager(),
            ll.create_pass_builder(self.codegen._tm, ll.create_pipeline_tuning_options()),
        )
        passes.add_global_dead_code_eliminate_pass()
        passes.run(whole, builder)
        defined = (v for v in (*whole.functions, *whole.global_variables) if not v.is_declaration)
        for k, value in enumerate(v for v in defined if v.name not in entries):
            value.name = f"{self.name}_{k}"  # Numba's own names count what was compiled before
        for function in whole.functions:
            if function.is_declaration and function.name.startswith(PYTHON):
                raise ExportError(f"the kernel needs {function.name} of Python's run time")
        data: bytes = self.codegen._tm.emit_object(whole)
        return data
