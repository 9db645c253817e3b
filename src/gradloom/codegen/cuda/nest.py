"""A nest of the plan as one LLVM function that all threads of a block enter together.

A thread takes every so many-th item, or, with others, every so many-th element of an item's row;
what they have folded is then combined, always in the same order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from llvmlite import ir

from gradloom.codegen.cpu.point import Lanes, combine
from gradloom.codegen.cpu.target import Target
from gradloom.codegen.cpu.vectors import I32, I64, POINTER, counted, private
from gradloom.codegen.cuda import threads
from gradloom.codegen.cuda.element import Element
from gradloom.codegen.lanes import LlvmLane, register_type
from gradloom.plan.dealt import BLOCK, Spread
from gradloom.plan.plan import Fold, Store
from gradloom.plan.rows import Pass
from gradloom.plan.tiles import THREADS, WARP


def emit_nest(module: ir.Module, name: str, spread: Spread, target: Target) -> ir.Function:
    """`void name(i64 start, i64 stop, ptr operand..., [ptr fault])`: items [start, stop)."""
    nest = spread.nest
    operands = 1 + max(s.operand for s in (*nest.steps, *nest.stores) if hasattr(s, "operand"))
    function = private(module, name, [I64, I64] + [POINTER] * (operands + nest.picks))
    _Writer(function, spread, target).write()
    return function


def shared_bytes(spread: Spread) -> int:
    """The shared memory that a nest needs."""
    return threads.FOLD_BYTES if spread.lanes == BLOCK and spread.nest.reduced else 0


class _Writer(Element):
    """The loops of one thread."""

    def __init__(self, function: ir.Function, spread: Spread, target: Target) -> None:
        super().__init__(function, spread.nest, target)
        self.start, self.stop = self.given
        self.spread = spread

    def write(self) -> None:
        b, lanes = self.builder, self.spread.lanes
        self.row_sizes = self.nest.sizes[self.kept :]
        for one in self.row.passes:
            for number in one.folds:
                kind = register_type(self.nest.steps[number].dtype)
                self.sums[number] = [b.alloca(kind)]
        if 0 not in self.nest.sizes[: self.kept]:
            at = threads.thread(b)
            self.lane = b.urem(at, I32(lanes)) if lanes < BLOCK else at
            own = b.zext(b.udiv(at, I32(lanes)), I64)
            with counted(b, b.add(self.start, own), self.stop, THREADS // lanes) as item:
                self._item(b.trunc(item, I32))
        b.ret_void()

    def _item(self, item: ir.Value) -> None:
        self._place(item, self.spread.items)
        self._ordered(self.spread.ordered)

    def _place(self, number: ir.Value, axes: Sequence[int]) -> None:
        """The indices of axes, the last of them fastest, of which this is the number."""
        b = self.builder
        found = threads.unravelled(b, number, [self.nest.sizes[axis] for axis in axes])
        for axis, index in zip(axes, found, strict=True):
            self.index[axis] = b.zext(index, I64)

    def _ordered(self, axes: Sequence[int]) -> None:
        """The loops that keep their order, and within them the row."""
        if not axes:
            self._row()
            return
        size = self.nest.sizes[axes[0]]
        with counted(self.builder, I64(0), I64(size), 1) as self.index[axes[0]]:
            self._ordered(axes[1:])

    def _row(self) -> None:
        lanes: Lanes = {}
        for number, one in enumerate(self.row.passes):
            self.narrow(lanes, number)
            self._pass(one, lanes)
        narrow = [s for s, wide in zip(self.nest.stores, self.wide, strict=True) if not wide]
        if self.spread.lanes == 1:
            self._last(narrow, lanes)
        elif narrow:
            with self.builder.if_then(self.builder.icmp_unsigned("==", self.lane, I32(0))):
                self._last(narrow, lanes)

    def _last(self, narrow: Sequence[Store], lanes: Lanes) -> None:
        """What is one number a row, once all passes are over: one of its threads is enough."""
        self.narrow(lanes, len(self.row.passes))
        self.store(narrow, lanes)

    def _pass(self, one: Pass, lanes: Lanes) -> None:
        b = self.builder
        for number in one.folds:
            b.store(self._identity(number).value, self.sums[number][0])
        self._along(lambda: self._point_of(one, dict(lanes)))
        for number in one.folds:
            lanes[number] = self._folded(number)

    def _along(self, body: Callable[[], None]) -> None:
        """Over this thread's elements of the row."""
        b = self.builder
        axes = range(self.kept, len(self.nest.sizes))
        count = math.prod(self.row_sizes)
        if self.spread.lanes > 1:
            start = b.zext(self.lane, I64)
            with counted(b, start, I64(count), self.spread.lanes) as at:
                self._place(b.trunc(at, I32), axes)
                body()
            return
        self._loops(list(axes), body)

    def _loops(self, axes: list[int], body: Callable[[], None]) -> None:
        if not axes:
            body()
            return
        size = self.nest.sizes[axes[0]]
        with counted(self.builder, I64(0), I64(size), 1) as self.index[axes[0]]:
            self._loops(axes[1:], body)

    def _point_of(self, one: Pass, lanes: Lanes) -> None:
        for number in one.steps:
            if number not in lanes:
                lanes[number] = self._lane(number, self.nest.steps[number], lanes)
        for number in one.folds:
            step = self.nest.steps[number]
            assert isinstance(step, Fold)
            self._combine_into(self.sums[number][0], step, lanes[step.arg])
        self.store(one.stores, lanes)

    def _folded(self, number: int) -> LlvmLane:
        """The fold's value, in every thread that shares the row."""
        step = self.nest.steps[number]
        assert isinstance(step, Fold)
        lane = self._read(self.sums[number][0], number)

        def together(x: LlvmLane, y: LlvmLane) -> LlvmLane:
            return combine(step.op, x, y)

        if self.spread.lanes == WARP:
            return threads.folded_by_warp(lane, together)
        if self.spread.lanes == BLOCK:
            return threads.folded_by_block(lane, together)
        return lane
