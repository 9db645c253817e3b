"""Run a function of lanes as machine code: over arrays, at any vector width, on this CPU."""

import ctypes
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

from gradloom.codegen.avx512 import WideModule
from gradloom.codegen.lanes import LlvmLane, memory_type, register_type

llvm.initialize_native_target()
llvm.initialize_native_asmprinter()
Function = Callable[..., Any]
_INDEX, _POINTER = ir.IntType(64), ir.PointerType()


def native(
    function: Function, dtypes: list[str], width: int | None, wide: bool = False
) -> Function:
    """`function` of lanes of these dtypes as a function of equally long arrays; `wide` in the
    instructions of AVX-512."""
    module = (WideModule if wide else ir.Module)()
    result_dtype = _build(module, function, dtypes, width)
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=2
    )
    engine = llvm.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    pointers = [ctypes.c_void_p] * (1 + len(dtypes))
    entry = ctypes.CFUNCTYPE(None, ctypes.c_int64, *pointers)(engine.get_function_address("entry"))

    def call(*arrays: np.ndarray) -> np.ndarray:
        assert engine  # the code lives as long as its engine
        count = len(arrays[0])
        padded = -(-count // (width or 1)) * (width or 1)
        inputs = [np.resize(array, padded) for array in arrays]
        result = np.empty(padded, result_dtype)
        entry(padded, *(array.ctypes.data for array in inputs), result.ctypes.data)
        return result[:count]

    return call


def _build(module: ir.Module, function: Function, dtypes: list[str], width: int | None) -> str:
    """A loop over the arrays in `module`; the dtype of its result."""
    kind = ir.FunctionType(ir.VoidType(), [_INDEX] + [_POINTER] * (1 + len(dtypes)))
    entry = ir.Function(module, kind, "entry")
    count, *pointers = entry.args
    before, loop, done = (entry.append_basic_block() for _ in range(3))
    ir.IRBuilder(before).branch(loop)
    builder = ir.IRBuilder(loop)
    index = builder.phi(_INDEX)
    index.add_incoming(_INDEX(0), before)
    lanes = [
        _load(builder, pointer, index, dtype, width)
        for pointer, dtype in zip(pointers, dtypes, strict=False)
    ]
    result = function(*lanes)
    value = result.value
    if result.dtype == "bool":
        value = builder.zext(value, _memory_vector("bool", width))
    at = builder.gep(pointers[-1], [index], source_etype=memory_type(result.dtype))
    builder.store(value, at).align = 1
    following = builder.add(index, _INDEX(width or 1))
    index.add_incoming(following, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, count), loop, done)
    ir.IRBuilder(done).ret_void()
    return result.dtype


def _load(
    builder: ir.IRBuilder, pointer: ir.Value, index: ir.Value, dtype: str, width: int | None
) -> LlvmLane:
    at = builder.gep(pointer, [index], source_etype=memory_type(dtype))
    value = builder.load(at, typ=_memory_vector(dtype, width))
    value.align = 1
    if dtype == "bool":
        value = builder.trunc(value, register_type("bool", width))
    return LlvmLane(builder, value, dtype)


def _memory_vector(dtype: str, width: int | None) -> ir.Type:
    return memory_type(dtype) if width is None else ir.VectorType(memory_type(dtype), width)
