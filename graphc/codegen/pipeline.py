"""Numba's compiler with a short way for kernels.

`Short` is a pipeline for ``numba.njit(pipeline_class=...)``: a function that `codegen.frontend` knows all forms of is
lowered in one walk and optimised once. For any other, `Compiler` goes Numba's own way.
"""

from __future__ import annotations

import ast
from functools import cache, lru_cache
from typing import Any, NamedTuple

import llvmlite.binding as ll
from llvmlite import ir
from numba import types

from graphc.codegen.frontend import Reader, tree_of
from graphc.codegen.machine import pass_builder
from graphc.codegen.private import (
    ENGINE,
    Absent,
    AnalysisPass,
    CompilerBase,
    DefaultPassBuilder,
    Environment,
    ExtractByteCode,
    FunctionIdentity,
    LoweringPass,
    NoPythonBackend,
    PassManager,
    PythonFunctionDescriptor,
    missing,
    register_pass,
    rtsys,
)
from graphc.codegen.semantics import Unlowered
from graphc.codegen.to_llvm import Printer


class Lowered(NamedTuple):
    """What Numba's last pass takes over from the one that lowers."""

    fndesc: Any
    call_helper: Any
    cfunc: Any
    env: Any


class _Once:
    """What a library of Numba's does otherwise for a kernel: it is optimised once.

    Twice would give other vectors, and so another order of sums. Nothing in it counts references, unless Python calls
    it.
    """

    counts = False

    def add_linking_library(self: Any, library: Any) -> None:
        if self.counts or library is not rtsys.library:
            super().add_linking_library(library)  # type: ignore[misc]

    def _optimize_functions(self: Any, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self: Any) -> None:
        builder = pass_builder(getattr(self._codegen, "tuned_for", self._codegen._tm))
        builder.getModulePassManager().run(self._final_module, builder)

    def serialize_using_object_code(self: Any) -> Any:
        """Numba keeps the code as LLVM's too, for callers that inline it. Who calls by address needs names alone."""
        if self.counts:
            return super().serialize_using_object_code()  # type: ignore[misc]
        self._ensure_finalized()
        names = [f.name for f in self._final_module.functions if not f.is_declaration]
        text = "".join(f'define void @"{name}"() {{ ret void }}\n' for name in names)
        return self.name, "object", (self._get_compiled_object(), ll.parse_assembly(text).as_bitcode())


def _registered(**facts: Any) -> Any:
    """Registers a pass with Numba, where all is there that passes need."""
    return Absent() if missing(ENGINE) else register_pass(**facts)


@cache
def _library(kind: type) -> Any:
    """Numba's class of libraries, for this process or for an object file, but optimised once."""
    return type("Library", (_Once, kind), {})


@_registered(mutates_CFG=True, analysis_only=False)
class _LowerKernel(LoweringPass):  # type: ignore[misc]
    """From the syntax tree of a function, its attribute ``tree`` or else what its file says, to machine code."""

    _name = "graphc_lower_kernel"

    def __init__(self) -> None:
        LoweringPass.__init__(self)

    def run_pass(self, state: Any) -> bool:
        identity, target, flags = state.func_id, state.targetctx, state.flags
        if state.return_type is None:
            raise Unlowered("no type of the result")
        tree = getattr(identity.func, "tree", None) or tree_of(identity.func)
        codegen = target.codegen()
        library = _library(codegen._library_class)(codegen, identity.func_qualname)
        library.enable_object_caching()
        library.counts = not flags.no_cpython_wrapper
        described = PythonFunctionDescriptor(
            True, identity.modname, identity.func_qualname, identity.unique_name, "", {}, state.return_type, {},
            tuple(a.arg for a in tree.args.args), (), mangler=target.mangler, argtypes=tuple(state.args),
            abi_tags=[flags.get_mangle_string()], uid=identity.unique_id,
        )  # fmt: skip
        with target.push_code_library(library):
            module = target.create_module(described.unique_name)
            target.declare_env_global(module, target.get_env_name(described))
            function = target.declare_function(module, described)
            helper = _body(state, tree, function, described)
            _c_form(target, module, function, described)
            if flags.no_cpython_wrapper:
                function.attributes.add("alwaysinline")
                function.linkage = "internal"
            target.post_lowering(module, library)
            library.add_ir_module(module)
            environment = Environment.from_fndesc(described)
            if not flags.no_cpython_wrapper:
                target.create_cpython_wrapper(library, described, environment, helper, flags.release_gil)
        entry = None
        if not flags.no_compile:
            entry = target.get_executable(library, described, environment)
            target.insert_user_function(entry, described, [library])
        state.library = library
        state.cr = Lowered(described, helper, entry, environment)
        return True


class _Meaning:
    """What functions and operators mean to Numba, by its contexts."""

    def __init__(self, typing: Any, target: Any) -> None:
        self.typing, self.target = typing, target
        self.resolve_value_type, self.unify_types = typing.resolve_value_type, typing.unify_types
        self.known: dict[Any, Any] = {}

    def resolve(self, function: Any, kinds: tuple[Any, ...]) -> Any:
        key = function, kinds
        if key not in self.known:
            kind, signature = _signature(self.typing, function, kinds)
            self.known[key] = signature, self.target.get_function(kind, signature)
        return self.known[key]


@lru_cache(maxsize=1 << 12)
def _signature(typing: Any, function: Any, kinds: tuple[Any, ...]) -> tuple[Any, Any]:
    """Numba's type of a function, and its signature for these types; `Unlowered` where it has none."""
    kind = typing.resolve_value_type(function)
    signature = kind and typing.resolve_function_type(kind, kinds, {})
    if signature is None or signature.recvr or len(signature.args) != len(kinds):
        raise Unlowered(f"{function} of {kinds}")
    return kind, signature


def _no_function(function: Any) -> Any:
    raise AssertionError("Numba calls functions by its own types")


def _body(state: Any, tree: ast.FunctionDef, function: Any, described: Any) -> Any:
    """Writes the function in Numba's calling convention."""
    target = state.targetctx
    meaning = _Meaning(state.typingctx, target)
    read = Reader(meaning, tree, state.func_id.func.__globals__, described.argtypes).function(
        described.qualname, state.return_type
    )
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    start = function.append_basic_block("start")
    helper = target.call_conv.init_call_helper(builder)
    values = target.call_conv.decode_arguments(builder, described.argtypes, function)

    def finish(value: Any) -> None:
        target.call_conv.return_value(builder, target.get_return_value(builder, state.return_type, value))

    builder.position_at_end(start)
    Printer(meaning, target, builder, finish, _no_function).function(read, values)
    builder.position_at_end(function.entry_basic_block)
    builder.branch(start)
    return helper


def _c_form(target: Any, module: Any, function: Any, described: Any) -> None:
    """The same function in C's calling convention; kernels raise nothing."""
    convention = target.call_conv
    arguments = [target.get_value_type(kind) for kind in described.argtypes]
    empty = described.restype == types.none
    kind = ir.FunctionType(ir.VoidType() if empty else target.get_value_type(described.restype), arguments)
    form = ir.Function(module, kind, described.llvm_cfunc_wrapper_name)
    builder = ir.IRBuilder(form.append_basic_block("entry"))
    _, result = convention.call_function(builder, function, described.restype, described.argtypes, form.args)
    if empty:
        builder.ret_void()
    else:
        builder.ret(result)


class Short(CompilerBase):  # type: ignore[misc]
    """The short way; `Unlowered` where it does not know a form."""

    def compile_extra(self, func: Any) -> Any:
        """As Numba's, without a look at the bytecode, which the short way has no need of."""
        self.state.func_id = FunctionIdentity.from_function(func)
        self.state.lifted, self.state.lifted_from = (), None
        return self._compile_bytecode()

    def define_pipelines(self) -> list[Any]:
        short = PassManager("graphc")
        short.add_pass(_LowerKernel, "lower a kernel")
        short.add_pass(NoPythonBackend, "hand over the result")
        short.finalize()
        return [short]


@_registered(mutates_CFG=False, analysis_only=True)
class _BeginAnew(AnalysisPass):  # type: ignore[misc]
    """Numba's own way begins. It takes what the short way raised for an error of typing, which it is not."""

    _name = "graphc_begin_anew"

    def __init__(self) -> None:
        AnalysisPass.__init__(self)

    def run_pass(self, state: Any) -> bool:
        state.status.fail_reason = None
        ExtractByteCode().run_pass(state)
        return False


class Compiler(Short):
    """The short way, and Numba's own where that does not know a form."""

    def define_pipelines(self) -> list[Any]:
        usual = PassManager("nopython")
        usual.add_pass(_BeginAnew, "begin anew")
        usual.passes.extend(DefaultPassBuilder.define_nopython_pipeline(self.state).passes)
        usual.finalize()
        return [*super().define_pipelines(), usual]
