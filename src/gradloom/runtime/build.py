"""Driver text in, LLVM texts out, by Numba.  All that imports numba.

`runtime.lowering` does the same for what drivers are made of; the rest of the language, such as
variables of several types, and whatever is not quite a driver, is Numba's to type and to explain.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from types import FunctionType
from typing import Any

from llvmlite import ir
from numba.core import (
    codegen,
    compiler,
    cpu,
    typed_passes,
    types,
    typing,
    untyped_passes,
)
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import PassManager
from numba.core.errors import NumbaError
from numba.core.imputils import Registry
from numba.core.typing import templates

from gradloom.codegen.primitives import PRIMITIVES, namespace
from gradloom.errors import InternalError
from gradloom.runtime.emitters import EMITTERS, I64, LLVM_TYPES
from gradloom.runtime.lowering import Externals

NUMBA_TYPES = {
    "i64": types.int64,
    "f64": types.float64,
    "ptr": types.voidptr,
    "void": types.void,
}


# ---- Numba contexts: only what drivers use -------------------------------------------------------


class DriverLibrary(codegen.AOTCodeLibrary):
    """Collects the text of lowered functions; linking and optimising them is done here, once."""

    def add_ir_module(self, ir_module: ir.Module) -> None:
        """Keep the text of `ir_module`."""
        self.__dict__.setdefault("texts", []).append(str(ir_module))


class DriverCodegen(codegen.AOTCPUCodegen):
    """Makes the modules that Numba lowers into."""

    _library_class = DriverLibrary


class DriverTyping(typing.Context):
    """Types of integers, floats, ranges and primitives, without arrays and strings.

    The first template that is written in Python (`overload`, `intrinsic`) makes Numba fill its own
    contexts, SciPy's import included; drivers need none of them, so those are left out.
    """

    def _load_builtins(self) -> None:
        self.install_registry(scalar_templates())


class DriverContext(cpu.CPUContext):
    """Lowers integers, floats, ranges and primitives; knows neither arrays nor Numba's runtime.

    Numba's own context takes far longer to fill on its first use, with code no driver can reach.
    """

    library: DriverLibrary

    def init(self) -> None:
        """Make the code generator."""
        self.is32bit = False
        self._internal_codegen = DriverCodegen("gradloom")

    def load_additional_registries(self) -> None:
        """Install the implementations of numbers, ranges and primitives."""
        from numba.core import optional  # noqa: F401
        from numba.cpython import builtins, iterators, numbers, rangeobj, tupleobj  # noqa: F401

        self.install_registry(primitive_implementations())

    def mangler(self, name: str, types: Any, *, abi_tags: Any = (), uid: Any = None) -> str:
        """A name that is the same in every process; Numba's own counts what it compiled."""
        return ".".join([name, *(str(kind) for kind in types)])

    def post_lowering(self, mod: ir.Module, library: DriverLibrary) -> None:
        """Link no runtime."""


@cache
def scalar_templates() -> templates.Registry:
    """Numba's templates for Python's own numbers and ranges; one object, so installed once."""
    registry = templates.Registry()
    registry.functions = [
        template
        for template in templates.builtin_registry.functions
        if template.__module__ == "numba.core.typing.builtins"
        and not issubclass(template, templates._TemplateTargetHelperMixin)
    ]
    registry.globals = list(templates.builtin_registry.globals)
    return registry


@cache
def driver_context() -> DriverContext:
    """The one pair of Numba contexts, with the primitives known to it."""
    typing_context = DriverTyping()
    context = DriverContext(typing_context, "cpu")
    typing_context.refresh()
    context.refresh()
    for name, (function, result, arguments) in PRIMITIVES.items():
        template = templates.make_concrete_template(name, function, [signature(result, arguments)])
        typing_context.insert_global(function, types.Function(template))
    return context


def signature(result: str, arguments: tuple[str, ...]) -> typing.templates.Signature:
    """A Numba signature from type names."""
    return typing.signature(NUMBA_TYPES[result], *(NUMBA_TYPES[name] for name in arguments))


# ---- primitives


@cache
def primitive_implementations() -> Registry:
    """Numba's table of how the primitives are lowered."""
    registry = Registry("gradloom primitives")
    for name, (function, _, arguments) in PRIMITIVES.items():
        registry.lower(function, *(NUMBA_TYPES[kind] for kind in arguments))(
            implementation(EMITTERS[name])
        )
    return registry


def implementation(emit: Callable[..., Any]) -> Callable[..., Any]:
    """Numba's form of an emitter."""

    def lower(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        result = emit(builder, *arguments)
        return context.get_dummy_value() if result is None else result

    return lower


# ---- driver text to LLVM text --------------------------------------------------------------------


def lower_by_numba(
    driver: str, entry: str, arguments: tuple[str, ...], externals: Externals
) -> list[str]:
    """The LLVM texts of the driver's functions and of the C entry.

    `externals` are as for `runtime.lowering.lower_text`. Raises InternalError, with the driver's
    text, if any of it does not compile; the entry returns -1 should Numba report an error.
    """
    with global_compiler_lock:
        return _lower(driver_context(), driver, entry, arguments, externals)


def _lower(
    context: DriverContext,
    driver: str,
    entry: str,
    arguments: tuple[str, ...],
    externals: Externals,
) -> list[str]:
    functions = read_driver(driver, externals)
    library = context.codegen().create_library(entry)
    helpers = [
        value
        for value in functions.values()
        if isinstance(value, FunctionType) and value.__module__ == MODULE
    ]
    for function in helpers:
        offer_helper(context, library, function)
    kinds = tuple(NUMBA_TYPES[name] for name in arguments)
    try:
        result = lower_function(context, library, functions[entry], kinds)
    except NumbaError as error:
        raise InternalError(f"the driver does not compile: {error}\n{driver}") from error
    finally:
        for function in helpers:
            with suppress(KeyError):  # it was never called
                context.remove_user_function(function)
    library.add_ir_module(entry_module(context, result.fndesc, entry, arguments))
    return library.texts


MODULE = "driver"


def read_driver(driver: str, externals: Externals) -> dict[str, Any]:
    """Run the driver's text; its functions see the primitives and what is defined elsewhere."""
    names = {"__name__": MODULE, **namespace()}
    for name, (result, kinds) in externals.items():
        names[name] = types.ExternalFunction(name, signature(result, kinds))
    exec(compile(driver, "<driver>", "exec"), names)
    return names


def driver_flags() -> compiler.Flags:
    """Lower only; no Python wrapper, no runtime, NumPy's division, no fast-math."""
    flags = compiler.Flags()
    flags.no_compile = True
    flags.no_cpython_wrapper = True
    flags.no_cfunc_wrapper = True
    flags.enable_pyobject = False
    flags.nrt = False
    flags.error_model = "numpy"
    return flags


class DriverCompiler(compiler.CompilerBase):
    """Numba's passes that a driver needs; the others rewrite arrays, closures and literals."""

    PASSES = (
        untyped_passes.TranslateByteCode,
        untyped_passes.FixupArgs,
        untyped_passes.IRProcessing,
        untyped_passes.ReconstructSSA,
        typed_passes.NopythonTypeInference,
        typed_passes.PreLowerStripPhis,
        typed_passes.IRLegalization,
        typed_passes.NativeLowering,
        typed_passes.NoPythonBackend,
    )

    def define_pipelines(self) -> list[Any]:
        """The one pipeline."""
        manager = PassManager("driver")
        for step in self.PASSES:
            manager.add_pass(step, step.__name__)
        manager.finalize()
        return [manager]


def lower_function(
    context: DriverContext, library: DriverLibrary, function: Any, kinds: tuple[Any, ...]
) -> Any:
    """Type and lower one Python function into `library`."""
    return compiler.compile_extra(
        context.typing_context,
        context,
        function,
        kinds,
        None,  # infer the type of the result
        driver_flags(),
        {},
        library=library,
        pipeline_class=DriverCompiler,
    )


def offer_helper(context: DriverContext, library: DriverLibrary, function: Any) -> None:
    """Make `function` callable from driver code; it is lowered when a call gives its types."""
    lowered: dict[tuple[Any, ...], Any] = {}

    class Helper(templates.AbstractTemplate):
        key = function

        def generic(self, args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
            kinds = tuple(types.unliteral(kind) for kind in args)
            if kinds not in lowered:
                result = lower_function(context, library, function, kinds)
                context.insert_user_function(function, result.fndesc)
                lowered[kinds] = result.signature
            return lowered[kinds]

    context.typing_context.insert_global(function, types.Function(Helper))


def entry_module(
    context: DriverContext, descriptor: Any, entry: str, arguments: tuple[str, ...]
) -> ir.Module:
    """A module with the C entry: call the lowered driver, return its status or -1."""
    module = context.create_module("entry")
    kind = context.call_conv.get_function_type(descriptor.restype, descriptor.argtypes)
    callee = ir.Function(module, kind, descriptor.llvm_func_name)
    function = ir.Function(
        module, ir.FunctionType(I64, [LLVM_TYPES[name] for name in arguments]), entry
    )
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    status, result = context.call_conv.call_function(
        builder, callee, descriptor.restype, descriptor.argtypes, function.args
    )
    if types.unliteral(descriptor.restype) != types.int64:
        raise InternalError(f"driver {entry} returns {descriptor.restype}, not int64")
    builder.ret(builder.select(status.is_error, I64(-1), result))
    return module
