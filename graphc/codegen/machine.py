"""From LLVM IR to machine code of this processor, by llvmlite's documented calls."""

from __future__ import annotations

import platform
from functools import cache
from typing import Any

import llvmlite.binding as ll
import numba

FORMATS = (b"\x7fELF", b"\xcf\xfa\xed\xfe")  # how object files begin: ELF, Mach-O of 64 bits


def processor() -> tuple[str, str, str]:
    """The triple, name and features of the processor that code is for: this one, or what NUMBA_CPU_NAME says."""
    config: Any = numba.config
    name = ll.get_host_cpu_name() if config.CPU_NAME is None else config.CPU_NAME
    return ll.get_process_triple(), name, _features() if config.CPU_FEATURES is None else config.CPU_FEATURES


@cache
def _features() -> str:
    try:
        features = ll.get_host_cpu_features()
    except RuntimeError:
        return ""
    if not numba.config.ENABLE_AVX:
        features.update(dict.fromkeys((k for k in features if k.startswith("avx")), False))
    return str(features.flatten())


@cache
def _target() -> Any:
    ll.initialize_native_target()
    ll.initialize_native_asmprinter()
    triple, name, features = processor()
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return ll.Target.from_triple(triple).create_target_machine(
        cpu=name, features=features, opt=int(numba.config.OPT), reloc="static" if x86 else "default",
        codemodel="jitdefault", jit=True,
    )  # fmt: skip


def parsed(module: Any) -> Any:
    """LLVM's module of one written by llvmlite."""
    module.triple, module.data_layout = processor()[0], str(_target().target_data)
    return ll.parse_assembly(str(module))


def optimised(module: Any) -> Any:
    """The same after all passes."""
    made = parsed(module)
    builder = pass_builder(_target())
    builder.getModulePassManager().run(made, builder)
    return made


def pass_builder(target: Any) -> Any:
    """LLVM's passes for kernels, as its target machine has vectors."""
    config: Any = numba.config
    tuning = ll.create_pipeline_tuning_options()
    tuning.speed_level = int(config.OPT)
    tuning.loop_vectorization, tuning.slp_vectorization = bool(config.LOOP_VECTORIZE), bool(config.SLP_VECTORIZE)
    tuning.loop_unrolling = False  # vector loops are as fast without, and several times shorter to compile
    return ll.create_pass_builder(target, tuning)


def object_code(module: Any) -> bytes:
    """An object file of a module."""
    return bytes(_target().emit_object(module))


def assembly(module: Any) -> str:
    """The machine code of a module as text."""
    return str(_target().emit_assembly(module))


@cache
def _engine() -> Any:
    return ll.create_mcjit_compiler(ll.parse_assembly(""), _target())


def loaded(code: bytes, symbol: str) -> int:
    """The address of a function of an object file; what it calls is in the process, or was told to LLVM.

    0 where the bytes are no object file, which LLVM would not survive, or one of something else.
    """
    if not code.startswith(FORMATS) or symbol.encode() not in code:
        return 0
    engine = _engine()
    engine.add_object_file(ll.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return int(engine.get_function_address(symbol))
