"""A nest of the plan as one LLVM function that all threads of a block enter together.

A thread takes every so many-th item, or, with others, every so many-th element of an item's row;
what they have folded is then combined, always in the same order.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext

from llvmlite import ir

from gradloom.codegen.cpu.point import Lanes, combine
from gradloom.codegen.cpu.target import Target
from gradloom.codegen.cpu.vectors import I32, I64, POINTER, counted, private
from gradloom.codegen.cuda import threads
from gradloom.codegen.cuda.element import Element
from gradloom.codegen.lanes import LlvmLane, register_type, splat
from gradloom.plan.dealt import BLOCK, Spread
from gradloom.plan.plan import Fold, Store
from gradloom.plan.rows import Pass
from gradloom.plan.tiles import THREADS, WARP, WIDEST_BYTES


def emit_nest(module: ir.Module, name: str, spread: Spread, target: Target) -> ir.Function:
    """`void name(i64 start, i64 stop, ptr operand..., [ptr fault])`: items [start, stop)."""
    nest = spread.nest
    operands = 1 + max(s.operand for s in (*nest.steps, *nest.stores) if hasattr(s, "operand"))
    function = private(module, name, [I64, I64] + [POINTER] * (operands + nest.picks))
    _Writer(function, spread, target).write()
    return function


def shared_bytes(spread: Spread) -> int:
    """The shared memory that a nest needs."""
    if spread.across:
        return 8 * THREADS
    return threads.FOLD_BYTES if spread.lanes == BLOCK and spread.nest.reduced else 0


class _Writer(Element):
    """The loops of one thread."""

    def __init__(self, function: ir.Function, spread: Spread, target: Target) -> None:
        super().__init__(function, spread.nest, target, spread.width)
        self.start, self.stop = self.given
        self.spread = spread

    def write(self) -> None:
        b, spread = self.builder, self.spread
        self.row_sizes = self.nest.sizes[self.kept :]
        for number in (n for one in self.row.passes for n in one.folds):
            kind = register_type(self.nest.steps[number].dtype, self._fold_width(number))
            self.sums[number] = [b.alloca(kind)]
            self.terms[number] = []
        if 0 not in self.nest.sizes[: self.kept]:
            self.thread = threads.thread(b)
            apart = I32(WARP if spread.across else spread.lanes)
            self.lane, self.own = b.urem(self.thread, apart), b.udiv(self.thread, apart)
            self.writes = b.icmp_unsigned("==", self.lane, I32(0))  # what is one number a row
            if spread.across:
                self._warps()
            elif spread.lanes == 1 and spread.width > 1:
                self._neighbours()
            elif spread.tested:
                with b.if_else(self._aligned()) as (aligned, apart):
                    with aligned:
                        self._items(self.start)
                    with apart:
                        self.memory.aligned = False
                        self._items(self.start)
            else:
                self._items(self.start)
        b.ret_void()

    def _items(self, start: ir.Value) -> None:
        """Every so many-th item, from this one on."""
        b, own = self.builder, self.builder.zext(self.own, I64)
        with counted(b, b.add(start, own), self.stop, THREADS // self.spread.lanes) as item:
            self._item(item)

    def _item(self, item: ir.Value) -> None:
        self._place(self.builder.trunc(item, I32), self.spread.items)
        self._loops(self.spread.ordered, self._row)

    def _warps(self) -> None:
        """Neighbouring items to the threads of each warp; beyond the last one, which all threads
        must come to, that one again."""
        b = self.builder
        (self.lane, own), first = (self.own, self.lane), b.icmp_unsigned("==", self.own, I32(0))
        with counted(b, self.start, self.stop, WARP) as item:
            item = b.add(item, b.zext(own, I64))
            inside = b.icmp_signed("<", item, self.stop)
            self.writes = b.and_(first, inside)
            self._item(b.select(inside, item, b.sub(self.stop, I64(1))))

    def _aligned(self) -> ir.Value:
        """Whether the operands begin at whole vectors."""
        b = self.builder
        bits = (b.ptrtoint(self.memory.pointers[n], I64) for n in self.spread.tested)
        low = b.and_(functools.reduce(b.or_, bits), I64(WIDEST_BYTES - 1))
        return b.icmp_unsigned("==", low, I64(0))

    # ---- neighbours

    def _neighbours(self) -> None:
        """Items in groups, and one by one what remains, or all where no group is a vector."""
        b, spread = self.builder, self.spread
        step, stop = THREADS * spread.width, self.stop
        rest = spread.count % spread.width
        if rest:
            stop = b.and_(stop, I64(-spread.width))
        if spread.tested:
            stop = b.select(self._aligned(), stop, self.start)
        at = b.add(self.start, b.zext(b.mul(self.thread, I32(spread.width)), I64))
        if spread.at_once > 1:
            ahead = (spread.at_once - 1) * step
            with counted(b, at, b.sub(stop, I64(ahead)), spread.at_once * step) as at:
                self._groups([b.add(at, I64(n * step)) for n in range(spread.at_once)])
        with counted(b, at, stop, step) as item:
            self._groups([item])
        if rest or spread.tested:
            with self.one_by_one():
                self._items(stop)

    def _groups(self, items: Sequence[ir.Value]) -> None:
        """Groups of items, all of which are read before any is written."""
        found: list[tuple[dict[int, ir.Value], Lanes]] = []
        for item in items:
            self.index = {}
            self._place(self.builder.trunc(item, I32), self.spread.items)
            lanes: Lanes = {}
            self.narrow(lanes, 0)
            found.append((self.index, lanes))
        for self.index, lanes in found:
            self.store(self.nest.stores, lanes)

    # ---- rows

    def _place(self, number: ir.Value, axes: Sequence[int]) -> None:
        """The indices of axes, the last of them fastest, of which this is the number."""
        b = self.builder
        found = threads.unravelled(b, number, [self.nest.sizes[axis] for axis in axes])
        for axis, index in zip(axes, found, strict=True):
            self.index[axis] = b.zext(index, I64)

    def _row(self) -> None:
        lanes: Lanes = {}
        for number, one in enumerate(self.row.passes):
            self.narrow(lanes, number)
            self._pass(one, lanes)
        narrow = [s for s, wide in zip(self.nest.stores, self.wide, strict=True) if not wide]
        if self.spread.lanes == 1:
            self._last(narrow, lanes)
        elif narrow:
            with self.builder.if_then(self.writes):
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
        b, width = self.builder, self.spread.width
        axes = range(self.kept, len(self.nest.sizes))
        if self.spread.lanes == 1:
            self._loops(axes, body)
            return
        count, step = math.prod(self.row_sizes), self.spread.lanes * width
        own = b.mul(self.lane, I32(width))
        # So many rounds for all threads: LLVM writes a few out, and the loads ahead of their uses.
        with counted(b, I64(0), I64(-(-count // step)), 1) as turn:
            at = b.add(own, b.mul(b.trunc(turn, I32), I32(step)))
            inside = b.icmp_unsigned("<", at, I32(count))
            with b.if_then(inside) if count % step else nullcontext():
                self._place(at, axes)
                body()

    def _loops(self, axes: Sequence[int], body: Callable[[], None]) -> None:
        """The loops over these axes, each in its order."""
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
            value = splat(lanes[step.arg], self._fold_width(number))
            self._combine_into(self.sums[number][0], step, value)
        self.store(one.stores, lanes)

    def _folded(self, number: int) -> LlvmLane:
        """The fold's value, in every thread that shares the row."""
        step = self.nest.steps[number]
        assert isinstance(step, Fold)
        lane = self._total(number)

        def together(x: LlvmLane, y: LlvmLane) -> LlvmLane:
            return combine(step.op, x, y)

        if self.spread.across:
            return threads.folded_by_warps(lane, together)
        if self.spread.lanes == WARP:
            return threads.folded_by_warp(lane, together)
        if self.spread.lanes == BLOCK:
            return threads.folded_by_block(lane, together)
        return lane
