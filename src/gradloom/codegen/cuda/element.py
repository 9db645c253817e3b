"""One element of a nest in one thread: the values of its steps, and what it stores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llvmlite import ir

from gradloom.codegen.cpu.memory import Memory
from gradloom.codegen.cpu.point import Lanes, Point, combine
from gradloom.codegen.cpu.row import Row
from gradloom.codegen.cpu.target import Target
from gradloom.codegen.cpu.vectors import I64
from gradloom.codegen.lanes import LlvmLane, constant
from gradloom.plan.plan import Nest, Store
from gradloom.plan.rows import passes


class _Memory(Memory):
    """Loads of one thread: what a guard keeps out is not read."""

    def load(
        self, operand: int, dtype: str, at: LlvmLane, width: int | None, mask: LlvmLane | None
    ) -> LlvmLane:
        if mask is None:
            return super().load(operand, dtype, at, None, None)
        b = self.builder
        before = b.block
        with b.if_then(mask.value):
            found = super().load(operand, dtype, at, None, None)
            inside = b.block
        joined = b.phi(found.value.type)
        joined.add_incoming(constant(b, dtype, 0).value, before)
        joined.add_incoming(found.value, inside)
        return LlvmLane(b, joined, dtype)

    def report(self, wrong: LlvmLane) -> None:
        """Store a 1 at the fault word: several threads may, at once."""
        b = self.builder
        word = self.fault
        assert word is not None
        with b.if_then(wrong.value, likely=False):
            b.atomic_rmw("xchg", word, I64(1), "monotonic")


class Element(Point):
    """What a thread computes of a nest where its loops stand."""

    def __init__(self, function: ir.Function, nest: Nest, target: Target) -> None:
        nest = replace(nest, vector=None)
        super().__init__(function, nest, target, Row(passes(nest)))
        self.memory = _Memory(self.builder, self.memory.pointers, self.memory.fault)

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
            self.memory.store(store.operand, at, value, None)
