"""Kernels written in Python in, PTX out: for any GPU, without one and without its driver.

The one module that imports a CUDA compiler, when it is asked to compile; `GRADLOOM_CUDA_COMPILER`
says which of the two.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from types import FunctionType
from typing import Any

from gradloom.errors import InternalError, ToolchainError
from gradloom.runtime.cuda.kernel import POINTEES, Kernel, Primitives, entries
from gradloom.runtime.cuda.packages import capability, needs, python_compiler

MODULE = "kernels"  # what the functions of a kernel's text belong to


def compile_kernels(
    kernels: Sequence[Kernel], arch: str, primitives: Primitives, *, contract: bool = True
) -> tuple[str, ...]:
    """PTX texts that define every kernel under its own name.

    `contract` lets a product and a sum become one multiply-add.  Raises InternalError with the
    kernel's text where that does not compile, and ToolchainError where there is no compiler.
    """
    capability(arch)
    if python_compiler() == "numba-cuda-mlir":
        return _by_mlir(kernels, arch, primitives)
    return (_by_numba(kernels, arch, primitives, contract=contract),)


def _by_numba(
    kernels: Sequence[Kernel], arch: str, primitives: Primitives, *, contract: bool
) -> str:
    """All kernels in one run of NVVM.

    Of a small elementwise kernel Numba's typing and lowering take 19 ms, NVVM 5.4 alone and 1.6 as
    one of ten, nvJitLink 6.9 alone and 2.9 as one of ten.
    """
    with needs("numba-cuda"):
        numba = _Numba.the()
        from numba.cuda.core.compiler_lock import global_compiler_lock
        from numba.cuda.cudadrv import nvvm
    with global_compiler_lock:
        texts = [text for kernel in kernels for text in numba.lower(kernel, arch, primitives)]
    options = {"arch": arch.replace("sm", "compute"), "opt": 3, "fma": contract}
    try:
        ptx: bytes = nvvm.compile_ir(texts, **options)
    except nvvm.nvvmError as error:
        sources = "\n".join(kernel.source + kernel.llvm for kernel in kernels)
        raise InternalError(f"NVVM refuses the kernels: {error}\n{sources}") from error
    return _without_results(ptx.decode().strip("\0\n ") + "\n")


class _Numba:
    """numba-cuda, with the words of kernels made known to it."""

    _one: _Numba | None = None

    @classmethod
    def the(cls) -> _Numba:
        """The one in this process."""
        if cls._one is None:
            with _row_stack():
                cls._one = cls()
        return cls._one

    def __init__(self) -> None:
        from numba import cuda, types
        from numba.cuda import typing
        from numba.cuda.core.imputils import Registry
        from numba.cuda.descriptor import cuda_target
        from numba.cuda.np.arrayobj import get_cfarray_intrinsic
        from numba.cuda.typing import templates

        self.cuda, self.types, self.typing, self.templates = cuda, types, typing, templates
        self.typing_context = cuda_target.typing_context
        self.context = cuda_target.target_context
        self.typing_context.refresh()
        self.context.refresh()
        self.registry = Registry("gradloom")
        # `numba.carray` is a function that is compiled where it is called, for the driver's device.
        self.carray = get_cfarray_intrinsic("C", None)
        self._words: dict[Any, Any] = {}  # by what they are, the functions that stand for them

    def lower(self, kernel: Kernel, arch: str, primitives: Primitives) -> list[str]:
        """The LLVM texts of a kernel and of the functions that its text defines."""
        from numba.cuda import compiler
        from numba.cuda.core.errors import NumbaError

        names = self._namespace(kernel, primitives)
        exec(compile(kernel.source, f"<{kernel.name}>", "exec"), names)
        own, cc = _functions(names), capability(arch)
        for function in own:
            self._offer(function, cc)
        signature = self.types.void(*map(self.kind, kernel.arguments))
        try:
            library, _ = compiler._compile_pyfunc_with_fixup(
                names[kernel.name],
                signature,
                cc=cc,
                launch_bounds=_bounds(kernel),
                **_how(kernel),
            )
        except NumbaError as error:
            text = f"{kernel.source}\n{kernel.llvm}"
            raise InternalError(f"a kernel does not compile: {error}\n{text}") from error
        finally:
            for function in own:
                with suppress(KeyError):  # it was never called
                    self.context.remove_user_function(function)
        return self._texts(library, kernel)

    def _texts(self, library: Any, kernel: Kernel) -> list[str]:
        """Its modules as text, the kernel under its own name, Numba's environments left out, and
        the functions written in LLVM in the module that calls them, where they can be inlined."""
        first, *rest = library.llvm_strs
        texts = [_without_environments(text) for text in (first, *rest)]
        if not kernel.device:
            texts = [text.replace(library._entry_name, kernel.name) for text in texts]
        if not kernel.llvm:
            return texts
        declared = re.compile(rf'^declare [^\n]*@"?(?:{"|".join(kernel.functions)})"?\(.*\n', re.M)
        called = [text for text in texts if declared.search(text)]
        if len(called) > 1:
            raise InternalError(
                f"only one function of {kernel.name} may call what is written in LLVM"
            )
        return [declared.sub("", text) + kernel.llvm if text in called else text for text in texts]

    def kind(self, name: str) -> Any:
        """Numba's type of that name."""
        if name.endswith("*"):
            return self.types.CPointer(getattr(self.types, name[:-1]))
        return getattr(self.types, name)

    def _namespace(self, kernel: Kernel, primitives: Primitives) -> dict[str, Any]:
        names: dict[str, Any] = {"__name__": MODULE, "cuda": self.cuda, "math": math}
        names["carray"] = self.carray
        names |= {name: getattr(self.types, name) for name in POINTEES}
        for name, primitive in primitives.items():
            word = self._word(primitive.emit, name, primitive.result, primitive.arguments)
            names[name] = word
        for name, (result, arguments) in kernel.functions.items():
            names[name] = self._word(_calling(name, result), name, result, arguments)
        return names

    def _word(self, emit: Any, name: str, result: str, arguments: tuple[str, ...]) -> Any:
        """A function that kernels can call, which `emit` makes LLVM of."""
        key = (emit, name, result, arguments)
        if key in self._words:
            return self._words[key]

        def word(*arguments: Any) -> Any:
            raise InternalError(f"{name} is for compiled kernels")

        def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            made = emit(builder, *values)
            return context.get_dummy_value() if made is None else made

        kinds = [self.kind(kind) for kind in arguments]
        signature = self.typing.signature(self.kind(result), *kinds)
        template = self.templates.make_concrete_template(name, word, [signature])
        self.typing_context.insert_global(word, self.types.Function(template))
        self.registry.lower(word, *kinds)(lower)
        self.context.install_registry(self.registry)
        self._words[key] = word
        return word

    def _offer(self, function: FunctionType, cc: Any) -> None:
        """Let kernels call `function`, which is lowered when a call gives its types.

        Numba's own device functions do that too, but ask the driver for the capability.
        """
        from numba.cuda.compiler import compile_cuda

        context, types = self.context, self.types
        lowered: dict[tuple[Any, ...], Any] = {}

        class Called(self.templates.AbstractTemplate):  # type: ignore[name-defined]
            key = function

            def generic(self, args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
                kinds = tuple(types.unliteral(kind) for kind in args)
                if kinds not in lowered:
                    made = compile_cuda(function, None, kinds, cc=cc, nvvm_options={"opt": 3})
                    found = made._asdict()  # a named tuple: its fields are its interface
                    context.insert_user_function(function, found["fndesc"], [found["library"]])
                    lowered[kinds] = found["signature"]
                return lowered[kinds]

        self.typing_context.insert_global(function, types.Function(Called))


@cache
def _calling(name: str, result: str) -> Any:
    """An emitter of a call of the LLVM function `name`, whose arguments have the types it takes."""
    from llvmlite import ir

    numbers: dict[str, Any] = {"void": ir.VoidType(), "float32": ir.FloatType()}
    numbers |= {"float64": ir.DoubleType()}
    numbers |= {
        sign + bits: ir.IntType(int(bits[3:]))
        for sign in ("", "u")
        for bits in ("int8", "int16", "int32", "int64")
    }

    def emit(builder: Any, *values: Any) -> Any:
        kind = ir.FunctionType(numbers[result], [value.type for value in values])
        function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        called = builder.call(function, values)
        return None if result == "void" else called

    return emit


@contextmanager
def _row_stack() -> Iterator[None]:
    """numba-cuda 0.30 fills its contexts with a name that NumPy 2.5 has dropped."""
    import numpy as np

    if hasattr(np, "row_stack"):
        yield
        return
    np.row_stack = np.vstack
    try:
        yield
    finally:
        del np.row_stack


def _without_environments(text: str) -> str:
    """An LLVM text without the globals of Numba's that only a Python object's code would use."""
    for line, name in re.findall(
        r'^(@"?(_ZN08NumbaEnv[\w$.]+)"? = common global i8\* null)$', text, re.M
    ):
        if text.count(name) == 1:
            text = text.replace(line + "\n", "")
    return text


def _by_mlir(kernels: Sequence[Kernel], arch: str, primitives: Primitives) -> tuple[str, ...]:
    """A text for each kernel.  This compiler builds no LLVM: it takes neither primitives nor
    functions in LLVM text."""
    for kernel in kernels:
        if kernel.llvm or any(re.search(rf"\b{name}\(", kernel.source) for name in primitives):
            raise ToolchainError(
                f"{kernel.name} has parts in LLVM, which numba-cuda-mlir cannot take\n"
                "  repair: GRADLOOM_CUDA_COMPILER=numba-cuda"
            )
    with needs("numba-cuda-mlir"):
        from numba_cuda_mlir import cuda, tools, types
        from numba_cuda_mlir.compiler import compile as compile_by_mlir
    cc = capability(arch)
    tools._cached_cc = cc[:2]  # else it asks the driver what this machine has

    def kind(name: str) -> Any:
        return types.CPointer(kind(name[:-1])) if name.endswith("*") else getattr(types, name)

    texts = []
    for kernel in kernels:
        names: dict[str, Any] = {"__name__": MODULE, "cuda": cuda, "math": math}
        names |= {name: getattr(types, name) for name in POINTEES} | {"carray": cuda.carray}
        exec(compile(kernel.source, f"<{kernel.name}>", "exec"), names)
        for called in _functions(names):
            if called.__name__ != kernel.name:
                names[called.__name__] = cuda.jit(device=True)(called)
        ptx, _ = compile_by_mlir(
            names[kernel.name],
            types.void(*map(kind, kernel.arguments)),
            cc=cc,
            output="ptx",
            launch_bounds=_bounds(kernel),
            **_how(kernel),
        )
        for mangled in entries(ptx):
            ptx = ptx.replace(mangled, kernel.name)
        texts.append(ptx)
    return tuple(texts)


def _how(kernel: Kernel) -> dict[str, Any]:
    """What is asked for: a kernel, or a function with the name that it has in the text."""
    if kernel.device:
        return {"device": True, "abi": "c", "abi_info": {"abi_name": kernel.name}}
    return {"device": False, "abi": "numba"}


def _without_results(ptx: str) -> str:
    """PTX whose functions return nothing: Numba's return a null where Python's return None."""
    ptx = re.sub(r"\.func\s+\(\.param \.b64 func_retval0\)", ".func", ptx)
    return re.sub(r"^\s*st\.param\.b64\s+\[func_retval0\+0\].*\n", "", ptx, flags=re.M)


def _functions(names: dict[str, Any]) -> list[FunctionType]:
    """The functions that the text of a kernel has defined."""
    return [f for f in names.values() if isinstance(f, FunctionType) and f.__module__ == MODULE]


def _bounds(kernel: Kernel) -> tuple[int, ...] | None:
    bounds = (kernel.most_threads, kernel.least_blocks)
    return bounds[: 2 if kernel.least_blocks else 1] if kernel.most_threads else None
