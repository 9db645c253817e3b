"""Loads and stores of nests: scalars and vectors, whole or masked, in a row or gathered."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from gradloom.codegen.cpu.vectors import I32, I64, POINTER, declared, zeros
from gradloom.codegen.lanes import LlvmLane, memory_type, splat
from gradloom.ir.types import ITEMSIZE
from gradloom.plan.plan import Apart

AHEAD = 2048  # bytes (plan/streams.py)
LINE = 64


class Memory:
    """The operands of one function, and the word where it reports an index out of range."""

    def __init__(
        self,
        builder: ir.IRBuilder,
        pointers: list[ir.Value],
        fault: ir.Value | None,
        apart: tuple[Apart, ...] = (),
    ) -> None:
        self.builder, self.pointers, self.fault = builder, pointers, fault
        self.apart = apart

    def load(
        self, operand: int, dtype: str, at: LlvmLane, width: int | None, mask: LlvmLane | None
    ) -> LlvmLane:
        """Element `at`, or `width` elements: from `at` on if it is a scalar, else one a lane.

        Where `mask` is false nothing is read and the lane is zero.
        """
        b = self.builder
        item, align = memory_type(dtype), ITEMSIZE[dtype]
        pointer = self._pointer(operand, item, at)
        if width is None and mask is None:
            value = self._told(operand, b.load(pointer, typ=item, align=align))
            return self._from_memory(value, dtype)
        lanes = width or 1
        kind = ir.VectorType(item, lanes)
        if mask is None and at.width is None:
            value = self._told(operand, b.load(pointer, typ=kind, align=align))
            return self._from_memory(value, dtype)
        allowed = self._mask(mask, lanes)
        if at.width is not None:
            value = self._gather(pointer, kind, align, allowed)
        else:
            value = self._masked_load(pointer, kind, align, allowed)
        lane = self._from_memory(self._told(operand, value), dtype)
        if width is not None:
            return lane
        return LlvmLane(b, b.extract_element(lane.value, I32(0)), dtype)

    def store(self, operand: int, at: LlvmLane, value: LlvmLane, mask: LlvmLane | None) -> None:
        """Write a scalar, or a vector in a row, where `mask` holds."""
        b = self.builder
        item, align = memory_type(value.dtype), ITEMSIZE[value.dtype]
        raw = value.value
        if value.dtype == "bool":
            wide = item if value.width is None else ir.VectorType(item, value.width)
            raw = b.zext(raw, wide)
        pointer = self._pointer(operand, item, at)
        if mask is None:
            self._told(operand, b.store(raw, pointer, align=align))
            return
        kind = raw.type
        name = f"llvm.masked.store.{_spelled(kind)}.p0"
        function = declared(b.module, name, ir.VoidType(), [kind, POINTER, I32, mask.value.type])
        self._told(operand, b.call(function, [raw, pointer, I32(align), mask.value]))

    def fetch(
        self, operand: int, dtype: str, at: LlvmLane, count: int, write: bool = False
    ) -> None:
        """Ask for the lines of `count` elements, `AHEAD` bytes further on than element `at`."""
        b = self.builder
        prefetch = declared(b.module, "llvm.prefetch.p0", ir.VoidType(), [POINTER, I32, I32, I32])
        pointer = self._pointer(operand, memory_type(dtype), at)
        for line in range(0, count * ITEMSIZE[dtype], LINE):
            ahead = b.gep(pointer, [I64(AHEAD + line)], source_etype=ir.IntType(8))
            b.call(prefetch, [ahead, I32(int(write)), I32(3), I32(1)])  # data, into every cache

    def report(self, wrong: LlvmLane) -> None:
        """Store a 1 at the fault word if any lane is wrong."""
        b = self.builder
        found = wrong.value
        if wrong.width is not None:
            whole = ir.IntType(wrong.width)
            found = b.icmp_unsigned("!=", b.bitcast(found, whole), whole(0))
        with b.if_then(found, likely=False):
            b.store(I64(1), self.fault)

    # ---- spelling

    def _told(self, operand: int, access: Any) -> Any:
        """The access, with what LLVM may know of it: the other memories that it does not touch."""
        if self.apart and self.apart[operand].memory >= 0:
            own, others = self.apart[operand].memory, self.apart[operand].others
            access.set_metadata("alias.scope", self._scopes((own,)))
            if others:
                access.set_metadata("noalias", self._scopes(others))
        return access

    def _scopes(self, numbers: tuple[int, ...]) -> ir.MDValue:
        module = self.builder.module
        domain = module.add_metadata(["memories"])
        return module.add_metadata(
            [module.add_metadata([f"memory {number}", domain]) for number in numbers]
        )

    def _pointer(self, operand: int, item: ir.Type, at: LlvmLane) -> ir.Value:
        pointer = self.builder.gep(self.pointers[operand], [at.value], source_etype=item)
        if at.width is not None:
            pointer.type = ir.VectorType(POINTER, at.width)  # llvmlite knows the scalar form only
        return pointer

    def _from_memory(self, value: ir.Value, dtype: str) -> LlvmLane:
        if dtype != "bool":
            return LlvmLane(self.builder, value, dtype)
        kind = value.type
        zero = zeros(kind) if isinstance(kind, ir.VectorType) else kind(0)
        return LlvmLane(self.builder, self.builder.icmp_unsigned("!=", value, zero), dtype)

    def _mask(self, mask: LlvmLane | None, lanes: int) -> ir.Value:
        if mask is None:
            return ir.Constant(ir.VectorType(ir.IntType(1), lanes), [1] * lanes)
        return splat(mask, lanes).value

    def _masked_load(
        self, pointer: ir.Value, kind: ir.VectorType, align: int, mask: ir.Value
    ) -> ir.Value:
        name = f"llvm.masked.load.{_spelled(kind)}.p0"
        function = declared(self.builder.module, name, kind, [POINTER, I32, mask.type, kind])
        return self.builder.call(function, [pointer, I32(align), mask, zeros(kind)])

    def _gather(
        self, pointers: ir.Value, kind: ir.VectorType, align: int, mask: ir.Value
    ) -> ir.Value:
        name = f"llvm.masked.gather.{_spelled(kind)}.v{kind.count}p0"
        function = declared(self.builder.module, name, kind, [pointers.type, I32, mask.type, kind])
        return self.builder.call(function, [pointers, I32(align), mask, zeros(kind)])


def _spelled(kind: ir.VectorType) -> str:
    """How the names of LLVM's intrinsics spell a vector type."""
    element = kind.element
    if isinstance(element, ir.IntType):
        return f"v{kind.count}i{element.width}"
    return f"v{kind.count}f{64 if isinstance(element, ir.DoubleType) else 32}"
