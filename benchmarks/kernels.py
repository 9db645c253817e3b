"""One stage of a plan as a function to be timed, compiled as `runtime/native.py` compiles it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

from gradloom.codegen.avx512 import WideModule
from gradloom.codegen.cpu.nest import emit_nest
from gradloom.codegen.cpu.product import emit_product
from gradloom.codegen.cpu.target import host_target, target_machine
from gradloom.plan.plan import Load, Nest, Product, Store
from gradloom.runtime.arrays import aligned
from gradloom.runtime.native import keep_only, link, optimise

Array = np.ndarray


def stage_function(code: Nest | Product) -> Callable[..., None]:
    """The stage as machine code: `function(start, stop, *addresses)`."""
    target = host_target()
    module = (WideModule if target.has_avx512 else ir.Module)("benchmark")
    module.triple = target.triple
    if isinstance(code, Nest):
        emit_nest(module, code, target).linkage = ""
    else:
        emit_product(module, code, target).linkage = ""
    machine = target_machine(target)
    linked = link([str(module)], machine)
    keep_only(linked, (code.name,))
    optimise(linked, machine)
    engine = llvm.create_mcjit_compiler(linked, machine)
    engine.finalize_object()
    place = engine.get_function_address(code.name)
    operands = 1 + max(_operands(code))
    kinds = [ctypes.c_int64] * 2 + [ctypes.c_void_p] * operands
    function: Any = ctypes.CFUNCTYPE(None, *kinds)(place)
    function.engine = engine  # which holds the code
    return function


def _operands(code: Nest | Product) -> set[int]:
    if isinstance(code, Product):
        return {0, 1, 2}
    return {s.operand for s in (*code.steps, *code.stores) if isinstance(s, Load | Store)}


def stage_call(code: Nest | Product, extent: int, operands: list[Array]) -> Callable[[], None]:
    """A call of the whole stage on these operands, which it keeps alive with its code."""
    function = stage_function(code)
    addresses = [operand.ctypes.data for operand in operands]
    held = operands

    def call() -> None:
        assert held
        function(0, extent, *addresses)

    return call


def random(shape: tuple[int, ...], dtype: str, low: float = 0.5, high: float = 1.5) -> Array:
    """Numbers in a range, on a cache line."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    array = aligned(size).view(dtype).reshape(shape)
    array[...] = np.random.default_rng(0).uniform(low, high, shape)
    return array
