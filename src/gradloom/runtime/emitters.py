"""The words of a driver (`primitives`) as LLVM instructions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from gradloom.codegen.primitives import MATHEMATICS, MOST_POINTERS
from gradloom.ir.types import ITEMSIZE
from gradloom.runtime.barrier import BARRIER, kind_of_machine

I8 = ir.IntType(8)
I32 = ir.IntType(32)
I64 = ir.IntType(64)
VOID = ir.VoidType()
F64 = ir.DoubleType()
POINTER = I8.as_pointer()
LLVM_TYPES: dict[str, ir.Type] = {"i64": I64, "f64": F64, "ptr": POINTER, "void": VOID}
FALSE = ir.IntType(1)(0)


def emit_view(builder: ir.IRBuilder, base: ir.Value, offset: ir.Value) -> ir.Value:
    return builder.gep(base, [offset], source_etype=I8)


def emit_get(builder: ir.IRBuilder, base: ir.Value, index: ir.Value) -> ir.Value:
    # Atomic, so that a flag which another thread sets is seen; a plain move on every target.
    word = word_address(builder, base, index, I64)
    return builder.load_atomic(word, "monotonic", 8, typ=I64)


def emit_put(builder: ir.IRBuilder, base: ir.Value, index: ir.Value, value: ir.Value) -> None:
    builder.store_atomic(value, word_address(builder, base, index, I64), "monotonic", 8)


def emit_get_ptr(builder: ir.IRBuilder, table: ir.Value, index: ir.Value) -> ir.Value:
    return builder.load(word_address(builder, table, index, POINTER), typ=POINTER)


def emit_copy(builder: ir.IRBuilder, *given: ir.Value) -> None:
    target, source, count = copied(builder, *given)
    copy = builder.module.declare_intrinsic("llvm.memcpy", [POINTER, POINTER, I64])
    builder.call(copy, [target, source, count, FALSE])


def copied(
    builder: ir.IRBuilder,
    target: ir.Value,
    target_byte: ir.Value,
    source: ir.Value,
    source_byte: ir.Value,
    count: ir.Value,
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Where to, where from, and how many bytes."""
    return emit_view(builder, target, target_byte), emit_view(builder, source, source_byte), count


def emit_zero(builder: ir.IRBuilder, base: ir.Value, count: ir.Value) -> None:
    fill = builder.module.declare_intrinsic("llvm.memset", [POINTER, I64])
    builder.call(fill, [base, I8(0), count, FALSE])


def emit_cut(builder: ir.IRBuilder, worker: ir.Value, team: ir.Value) -> ir.Value:
    whole = builder.shl(worker, I64(32))
    return builder.sdiv(builder.add(whole, builder.sub(team, I64(1))), team)


def emit_share(builder: ir.IRBuilder, extent: ir.Value, grain: ir.Value, at: ir.Value) -> ir.Value:
    grains = builder.sdiv(builder.add(extent, builder.sub(grain, I64(1))), grain)
    found = builder.mul(builder.ashr(builder.mul(grains, at), I64(32)), grain)
    return builder.select(builder.icmp_signed("<", found, extent), found, extent)


def emit_meet(builder: ir.IRBuilder, control: ir.Value, team: ir.Value) -> None:
    """A call of the barrier where there is more than one to wait for."""
    kind = ir.FunctionType(ir.VoidType(), [POINTER, I64])
    with builder.if_then(builder.icmp_signed(">", team, I64(1))):
        builder.call(declared(builder.module, BARRIER, kind), [control, team])


# The bits that make a processor flush: of x86's MXCSR, results and operands; of Arm's FPCR, both.
X86_FLUSHES = 1 << 15 | 1 << 6
ARM_FLUSHES = 1 << 24


def emit_begin_flushing(builder: ir.IRBuilder) -> ir.Value:
    machine = kind_of_machine()
    if machine == "arm":
        mode = _register(builder, "llvm.aarch64.get.fpcr", I64)
        _register(builder, "llvm.aarch64.set.fpcr", VOID, builder.or_(mode, I64(ARM_FLUSHES)))
        return mode
    if machine != "x86":
        return I64(0)  # a processor whose modes are not known here keeps its own
    place = builder.alloca(I32)
    _register(builder, "llvm.x86.sse.stmxcsr", VOID, builder.bitcast(place, POINTER))
    mode = builder.load(place, typ=I32)
    _put_mxcsr(builder, place, builder.or_(mode, I32(X86_FLUSHES)))
    return builder.zext(mode, I64)


def emit_end_flushing(builder: ir.IRBuilder, mode: ir.Value) -> None:
    machine = kind_of_machine()
    if machine == "arm":
        _register(builder, "llvm.aarch64.set.fpcr", VOID, mode)
    elif machine == "x86":
        _put_mxcsr(builder, builder.alloca(I32), builder.trunc(mode, I32))


def _put_mxcsr(builder: ir.IRBuilder, place: ir.Value, mode: ir.Value) -> None:
    """The register takes its value from memory only."""
    builder.store(mode, place)
    _register(builder, "llvm.x86.sse.ldmxcsr", VOID, builder.bitcast(place, POINTER))


def _register(builder: ir.IRBuilder, name: str, result: ir.Type, *given: ir.Value) -> ir.Value:
    """A call of an intrinsic that reads or writes a register of the processor."""
    kind = ir.FunctionType(result, [value.type for value in given])
    return builder.call(declared(builder.module, name, kind), given)


def word_address(builder: ir.IRBuilder, base: ir.Value, index: ir.Value, word: ir.Type) -> ir.Value:
    """The address of word `index`, typed for loads and stores of `word`."""
    words = builder.bitcast(base, word.as_pointer())
    return builder.gep(words, [index], source_etype=word)


def emit_load(dtype: str) -> Callable[..., ir.Value]:
    """An element, as an int64 or a float64."""
    kind = ELEMENTS[dtype]

    def emit(builder: ir.IRBuilder, base: ir.Value, index: ir.Value) -> ir.Value:
        value = builder.load(word_address(builder, base, index, kind), typ=kind)
        if kind in (I64, F64):
            return value
        if dtype.startswith("float"):
            return builder.fpext(value, F64)
        return builder.sext(value, I64) if dtype.startswith("int") else builder.zext(value, I64)

    return emit


def emit_store(dtype: str) -> Callable[..., None]:
    kind = ELEMENTS[dtype]

    def emit(builder: ir.IRBuilder, base: ir.Value, index: ir.Value, value: ir.Value) -> None:
        if kind not in (I64, F64):
            narrow = builder.fptrunc if dtype.startswith("float") else builder.trunc
            value = narrow(value, kind)
        builder.store(value, word_address(builder, base, index, kind))

    return emit


def emit_invoke(builder: ir.IRBuilder, address: ir.Value, *pointers: ir.Value) -> None:
    kind = ir.FunctionType(ir.VoidType(), [POINTER] * len(pointers))
    builder.call(builder.inttoptr(address, kind.as_pointer()), pointers)


def emit_mathematics(name: str) -> Callable[..., ir.Value]:
    """A function of the C library."""

    def emit(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
        return builder.call(declared(builder.module, name, ir.FunctionType(F64, [F64])), [x])

    return emit


def declared(module: ir.Module, name: str, kind: ir.FunctionType) -> ir.Function:
    """The function of that name, declared if the module does not know it."""
    return module.globals.get(name) or ir.Function(module, kind, name)


ELEMENTS = {
    dtype: {"float64": F64, "float32": ir.FloatType()}.get(dtype, ir.IntType(8 * size))
    for dtype, size in ITEMSIZE.items()
}
EMITTERS: dict[str, Callable[..., Any]] = {
    "view": emit_view,
    "get": emit_get,
    "put": emit_put,
    "get_ptr": emit_get_ptr,
    "copy": emit_copy,
    "zero": emit_zero,
    "cut": emit_cut,
    "share": emit_share,
    "meet": emit_meet,
    "begin_flushing": emit_begin_flushing,
    "end_flushing": emit_end_flushing,
    **{f"load_{dtype}": emit_load(dtype) for dtype in ITEMSIZE},
    **{f"store_{dtype}": emit_store(dtype) for dtype in ITEMSIZE},
    **{f"invoke_{count}": emit_invoke for count in range(1, MOST_POINTERS + 1)},
    **{name: emit_mathematics(name.removeprefix("math_")) for name in MATHEMATICS},
}
