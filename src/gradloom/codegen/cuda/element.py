"""One element of a nest in one thread, or a few neighbours: the values of its steps, and what it
stores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from llvmlite import ir

from gradloom.codegen.cpu.memory import Memory
from gradloom.codegen.cpu.point import Lanes, Point, combine
from gradloom.codegen.cpu.row import Row
from gradloom.codegen.cpu.target import Target
from gradloom.codegen.cpu.vectors import I64
from gradloom.codegen.lanes import LlvmLane, constant, memory_type, splat
from gradloom.ir.types import ITEMSIZE
from gradloom.plan.plan import Nest, Store
from gradloom.plan.rows import passes


class _Memory(Memory):
    """Loads and stores of one thread.

    What a guard keeps out is not read.  Neighbours are one access where they are `aligned`.
    """

    aligned = True

    def load(
        self, operand: int, dtype: str, at: LlvmLane, width: int | None, mask: LlvmLane | None
    ) -> LlvmLane:
        b = self.builder
        if width is not None:
            kind = ir.VectorType(memory_type(dtype), width)
            pointer = self._pointer(operand, kind.element, at)
            found = b.load(pointer, typ=kind, align=self._align(dtype, width))
            return self._from_memory(found, dtype)
        if mask is None:
            return super().load(operand, dtype, at, None, None)
        before = b.block
        with b.if_then(mask.value):
            lane = super().load(operand, dtype, at, None, None)
            inside = b.block
        joined = b.phi(lane.value.type)
        joined.add_incoming(constant(b, dtype, 0).value, before)
        joined.add_incoming(lane.value, inside)
        return LlvmLane(b, joined, dtype)

    def store(self, operand: int, at: LlvmLane, value: LlvmLane, mask: LlvmLane | None) -> None:
        if value.width is None:
            super().store(operand, at, value, None)
            return
        kind = ir.VectorType(memory_type(value.dtype), value.width)
        raw = self.builder.zext(value.value, kind) if value.dtype == "bool" else value.value
        pointer = self._pointer(operand, kind.element, at)
        self.builder.store(raw, pointer, align=self._align(value.dtype, value.width))

    def _align(self, dtype: str, width: int) -> int:
        return ITEMSIZE[dtype] * (width if self.aligned else 1)

    def report(self, wrong: LlvmLane) -> None:
        """Store a 1 at the fault word: several threads may, at once."""
        b = self.builder
        word = self.fault
        assert word is not None
        with b.if_then(wrong.value, likely=False):
            b.atomic_rmw("xchg", word, I64(1), "monotonic")


class Element(Point):
    """What a thread computes of a nest where its loops stand, of `width` neighbours along its
    vector axis."""

    memory: _Memory

    def __init__(self, function: ir.Function, nest: Nest, target: Target, width: int = 1) -> None:
        super().__init__(function, nest, target, Row(passes(nest)))
        self.memory = _Memory(self.builder, self.memory.pointers, self.memory.fault)
        self.width = self.span = width if width > 1 else None

    @contextmanager
    def one_by_one(self) -> Iterator[None]:
        """Without neighbours."""
        nest, width = self.nest, self.width
        self.nest, self.width, self.span = replace(nest, vector=None), None, None
        yield
        self.nest, self.width, self.span = nest, width, width

    def narrow(self, lanes: Lanes, phase: int) -> None:
        """The steps that are one number a row and known after so many passes over it."""
        for number, step in enumerate(self.nest.steps):
            due = self.phases[number] == phase and self.levels[number] <= self.kept
            if due and number not in lanes:
                lanes[number] = self._lane(number, step, lanes)

    def store(self, stores: Sequence[Store], lanes: Lanes) -> None:
        """Write what steps have found."""
        for store in stores:
            at = self._address(store.at, vector=False)
            value = lanes[store.step]
            for pick in store.picks:
                at = at + self._picked(pick, lanes, None)
            if store.accumulate:
                before = self.memory.load(store.operand, store.dtype, at, None, None)
                value = combine(store.accumulate, before, value)
            if store.at.coefficient(self._vector):
                value = splat(value, self.span)
            self.memory.store(store.operand, at, value, None)
