"""A nest of the plan as the text of a CUDA function: `codegen.cuda.nest` is the same in LLVM."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from gradloom.codegen.cuda.text_element import Element, Lanes, combined
from gradloom.codegen.cuda.text_lanes import Functions, TextLane
from gradloom.codegen.cuda.text_threads import (
    folded_by_block,
    folded_by_warp,
    parts_of,
    place,
)
from gradloom.ir.op import OPS
from gradloom.plan.dealt import BLOCK, Spread
from gradloom.plan.plan import Fold, Store
from gradloom.plan.rows import Pass, is_wide, passes
from gradloom.plan.tiles import THREADS, WARP

NUMBER = "number"  # of an item


def nest_text(
    name: str, spread: Spread, functions: Functions, remark: str
) -> tuple[str, tuple[str, ...]]:
    """`def name(start, stop, p0, p1, ..., [fault])`: items [start, stop) of a nest, for all threads
    of a block; and the types of its pointers."""
    writer = _Nest(spread, functions)
    names = ", ".join(["start", "stop", *writer.pointers])
    head = f'def {name}({names}):\n    """{remark}: {spread.count} items, {_who(spread)}."""\n'
    return head + writer.text(), writer.arguments


def _who(spread: Spread) -> str:
    return {1: "a thread each", WARP: "a warp each", BLOCK: "a block each"}[_lanes(spread)]


def _lanes(spread: Spread) -> int:
    """How many threads go over a row here: a warp too where that is one thread of each."""
    return WARP if spread.across else spread.lanes


class _Nest(Element):
    """The state of writing one nest."""

    def __init__(self, spread: Spread, functions: Functions) -> None:
        super().__init__(spread.nest, functions)
        self.spread, self.lanes = spread, _lanes(spread)
        self.passes = passes(self.nest)
        self.wide = [is_wide(self.nest, store, self.axes) for store in self.nest.stores]

    # ---- the loops

    def text(self) -> str:
        body, lanes = self.body, self.lanes
        if 0 in self.nest.sizes[: self.kept]:
            body.line("return")  # nothing to store, and nothing that may be read
            return body.text()
        body.line("thread = uint32(cuda.threadIdx.x)")
        if lanes == BLOCK:
            folds = [self._fold(number) for one in self.passes for number in one.folds]
            for line in dict.fromkeys(parts_of(fold.dtype)[1] for fold in folds):
                body.line(line)
        grain = THREADS // lanes
        if lanes > 1:
            body.line(f"lane = int64(thread % uint32({lanes}))")
        own = {1: " + thread", BLOCK: ""}.get(lanes, f" + int64(thread // uint32({lanes}))")
        step = f", {grain}" if grain > 1 else ""
        items = self.spread.items
        item = self.index[items[0]] if len(items) == 1 else NUMBER
        with body.inside(f"for {item} in range(start{own}, stop{step}):"):
            self._place(item, items)
            self._ordered(self.spread.ordered)
        return body.text()

    def _place(self, number: str, axes: Sequence[int]) -> None:
        """The indices of axes, the last of them fastest, of which this is the number."""
        sizes = [self.nest.sizes[axis] for axis in axes]
        for line in place(number, [self.index[axis] for axis in axes], sizes):
            self.body.line(line)

    def _ordered(self, axes: Sequence[int]) -> None:
        """The loops that keep their order, and within them the row."""
        if not axes:
            self._row()
            return
        with self.body.inside(f"for {self.index[axes[0]]} in range({self.nest.sizes[axes[0]]}):"):
            self._ordered(axes[1:])

    def _row(self) -> None:
        lanes: Lanes = {}
        for number, one in enumerate(self.passes):
            self.narrow(lanes, number)
            self._pass(one, lanes)
        narrow = [s for s, wide in zip(self.nest.stores, self.wide, strict=True) if not wide]
        if self.lanes == 1:
            self._last(narrow, lanes)
        elif narrow:
            with self.body.inside("if lane == 0:"):
                self._last(narrow, lanes)

    def _last(self, narrow: Sequence[Store], lanes: Lanes) -> None:
        """What is one number a row, once all passes are over: one of its threads is enough."""
        self.narrow(lanes, len(self.passes))
        self.store(narrow, lanes)

    def _pass(self, one: Pass, lanes: Lanes) -> None:
        sums = {number: self._sum(number) for number in one.folds}
        self._along(lambda: self._point(one, dict(lanes), sums))
        for number, total in sums.items():
            lanes[number] = self._folded(number, total)

    def _sum(self, number: int) -> TextLane:
        step = self._fold(number)
        neutral = OPS[step.op].identity
        assert neutral is not None
        start = self.writer.constant(step.dtype, neutral(step.dtype))
        return self.writer.variable("total", start)

    def _along(self, body: Callable[[], None]) -> None:
        """Over this thread's elements of the row."""
        axes = list(range(self.kept, len(self.nest.sizes)))
        if self.lanes == 1:
            self._loops(axes, body)
            return
        count = math.prod(self.nest.sizes[self.kept :])
        name = self.index[axes[0]] if len(axes) == 1 else "at"
        with self.body.inside(f"for {name} in range(lane, {count}, {self.lanes}):"):
            if len(axes) > 1:
                self._place(name, axes)
            body()

    def _loops(self, axes: list[int], body: Callable[[], None]) -> None:
        if not axes:
            body()
            return
        with self.body.inside(f"for {self.index[axes[0]]} in range({self.nest.sizes[axes[0]]}):"):
            self._loops(axes[1:], body)

    def _point(self, one: Pass, lanes: Lanes, sums: Lanes) -> None:
        for number in one.steps:
            if number not in lanes:
                lanes[number] = self.lane(self.nest.steps[number], lanes)
        for number, total in sums.items():
            step = self._fold(number)
            self.writer.assign([total], [combined(step.op, total, lanes[step.arg])])
        self.store(one.stores, lanes)

    def _fold(self, number: int) -> Fold:
        step = self.nest.steps[number]
        assert isinstance(step, Fold)
        return step

    def _folded(self, number: int, total: TextLane) -> TextLane:
        """The fold's value, in every thread that shares the row."""
        op = self._fold(number).op

        def together(x: TextLane, y: TextLane) -> TextLane:
            return combined(op, x, y)

        if self.lanes == WARP:
            return folded_by_warp(op, total, together)
        if self.lanes == BLOCK:
            return folded_by_block(op, total, together)
        return total
