"""A nest of the plan as one private LLVM function: loops, with one axis across SIMD lanes.

Each step is emitted at the outermost loop that it depends on, as a scalar where it does not depend
on the vector axis.  The vector axis runs in whole vectors, then once more under a mask.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from gradloom.codegen.cpu.point import Lanes, Point, combine
from gradloom.codegen.cpu.row import AT_ONCE
from gradloom.codegen.cpu.target import Target
from gradloom.codegen.cpu.vectors import I64, POINTER, counted, lanes_below, least, private
from gradloom.codegen.lanes import LlvmLane, register_type, splat
from gradloom.plan.plan import Nest, Store
from gradloom.plan.rows import Pass

# Sums of more iterations than this are made in blocks of as many: the rounding errors of n terms
# grow with BLOCK + n / BLOCK instead of n.  float32 mean of 10^7 uniform numbers on 16 lanes: 5e-6
# off without blocks, 8e-8 with; the time is the same.
BLOCK = 256


def emit_nest(module: ir.Module, nest: Nest, target: Target) -> ir.Function:
    """`void name(i64 start, i64 stop, ptr operand..., [ptr fault])`: iterations [start, stop) of
    axis 0, which is 0 to 1 where no axis is kept.  A 1 is stored at `fault` if an index is out of
    range.
    """
    operands = 1 + max(s.operand for s in (*nest.steps, *nest.stores) if hasattr(s, "operand"))
    arguments_ = [I64, I64] + [POINTER] * (operands + nest.picks)
    function = private(module, nest.name, arguments_)
    if nest.embedded:
        function.attributes.discard("noinline")
        function.attributes.add("alwaysinline")
    _Writer(function, nest, target).write()
    return function


class _Writer(Point):
    """The loops around the points, and the stores."""

    def write(self) -> None:
        if not self.row.unrolled:
            for one in self.row.passes:
                self._reserve(one.folds)
        self._loops(0, {})
        self.builder.ret_void()

    def _reserve(self, folds: list[int]) -> None:
        """Places for the sums of a row that is gone over in loops."""
        rounds = self._rounds()
        for number in folds:
            kind = register_type(self.nest.steps[number].dtype, self._fold_width(number))
            count = AT_ONCE if rounds >= AT_ONCE else self.at_once
            self.sums[number] = [self.builder.alloca(kind) for _ in range(count)]
            if rounds > BLOCK:
                self.totals[number] = self.builder.alloca(kind)

    # ---- loops

    def _loops(self, level: int, lanes: Lanes) -> None:
        lanes = dict(lanes)
        self._emit(lanes, level=level, phase=0)
        if level < self.kept:
            self._loop(level, lambda: self._loops(level + 1, lanes))
            return
        self.points, self.blocks, self.columns = {}, {}, {}
        for number, one in enumerate(self.row.passes):
            self._pass(one, lanes, self.row.passes[:number])
            self._emit(lanes, level=None, phase=number + 1)
        for store, wide in zip(self.nest.stores, self.wide, strict=True):
            if not wide:
                self._store(store, lanes)

    def _pass(self, one: Pass, lanes: Lanes, before: list[Pass]) -> None:
        """Once over the row."""
        self.terms = {number: [] for number in one.folds}
        for number in one.folds:
            for place in (*self.sums.get(number, ()), self.totals.get(number)):
                if place is not None:
                    self.builder.store(self._identity(number).value, place)
        known = {n for earlier in before for n in earlier.steps} & set(self.scratch)
        self._along(self.kept, lanes, one, known)
        for number in one.folds:
            lanes[number] = self._total(number)

    def _along(self, level: int, lanes: Lanes, one: Pass, known: set[int]) -> None:
        last = level == len(self.nest.sizes)
        unrolled = self.row.unrolled
        where = tuple(self.place.values())
        here = self.points.setdefault(where, {}) if unrolled and last else {}
        lanes = {**lanes, **here}
        for number in one.steps:
            if number in lanes or (not last if unrolled else self.levels[number] != level):
                continue
            if number in known:
                lanes[number] = self._recalled(number)
                continue
            lanes[number] = here[number] = self._lane(number, self.nest.steps[number], lanes)
            if number in self.scratch:
                self._keep(number, lanes[number])
        if not last:
            self._loop(level, lambda: self._along(level + 1, lanes, one, known))
            return
        self._accumulate(one.folds, lanes)
        for store in one.stores:
            self._store(store, lanes)

    def _rounds(self) -> int:
        """Rounds of the innermost loop."""
        last = len(self.nest.sizes) - 1
        return self.nest.sizes[last] // (self.width or 1 if last == self._vector else 1)

    def _loop(self, axis: int, body: Callable[[], None]) -> None:
        """Run `body` for every index of an axis; for the vector axis, for every vector of them."""
        b = self.builder
        start, stop = I64(0), I64(self.nest.sizes[axis])
        if axis == 0 and self.kept and not self.nest.embedded:
            start, stop = self.given
        step = self.width if axis == self.nest.vector and self.width is not None else 1
        if self.row.unrolled and axis >= self.kept:
            self._written_out(axis, step, body)
            return
        if axis == self.nest.vector and self.row.across:
            self._run_masked(axis, start, stop, step, body)
            return
        if axis == self.nest.vector and self.at_once > 1:
            self._run_at_once(axis, start, stop, step, body)
            return
        if step == 1:
            self._run(axis, start, stop, 1, body)
            return
        whole, rest = self._whole_vectors(axis, step, start, stop)
        self._run(axis, start, whole, step, body)
        if rest is None:
            return
        with b.if_then(b.icmp_signed(">", rest, I64(0))):
            self.index[axis] = whole
            self.mask = LlvmLane(b, lanes_below(b, rest, step), "bool")
            body()
            self.mask = None

    def _run_at_once(
        self, axis: int, start: ir.Value, stop: ir.Value, step: int, body: Callable[[], None]
    ) -> None:
        """Several vectors a round, so that they do not wait for each other; then those that are
        left, one by one."""
        b, self.span = self.builder, step * self.at_once
        middle = b.sub(stop, b.and_(b.sub(stop, start), I64(self.span - 1)))
        self._run(axis, start, middle, self.span, body)
        ragged = axis == 0 < self.kept or self.nest.sizes[axis] % self.span
        self.span = step
        if ragged:
            self._run_masked(axis, middle, stop, step, body)

    def _run_masked(
        self, axis: int, start: ir.Value, stop: ir.Value, step: int, body: Callable[[], None]
    ) -> None:
        """Vectors of which the last may be ragged: one body for all."""
        b = self.builder
        with counted(b, start, stop, step) as self.index[axis]:
            self.rest = b.sub(stop, self.index[axis])
            self.mask = LlvmLane(b, lanes_below(b, self.rest, step), "bool")
            body()
            self.mask = None

    def _written_out(self, axis: int, step: int, body: Callable[[], None]) -> None:
        size = self.nest.sizes[axis]
        for first in range(0, size, step):
            self.index[axis], self.place[axis] = I64(first), first
            if first + step > size:
                rest = lanes_below(self.builder, I64(size - first), step)
                self.mask = LlvmLane(self.builder, rest, "bool")
            body()
            self.mask = self.mask if first + step <= size else None

    def _run(
        self, axis: int, start: ir.Value, stop: ir.Value, step: int, body: Callable[[], None]
    ) -> None:
        """The loop itself; the innermost folded one in blocks, whose sums are added up apart."""
        b = self.builder
        if self.nest.embedded:
            for at in range(start.constant, stop.constant, step):
                self.index[axis] = I64(at)
                body()
            return
        if axis < self.kept or axis != len(self.nest.sizes) - 1:
            with counted(b, start, stop, step) as self.index[axis]:
                body()
            return
        if not self.totals:
            self._run_copies(axis, start, stop, step, body)
            return
        block = BLOCK * (self.width or 1 if axis == self._vector else 1)
        with counted(b, start, stop, block) as first:
            end = least(b, b.add(first, I64(block)), stop)
            self._run_copies(axis, first, end, step, body)
            self._close_block()

    def _run_copies(
        self, axis: int, start: ir.Value, stop: ir.Value, step: int, body: Callable[[], None]
    ) -> None:
        """Several rounds at once, each with sums of its own, so that they do not wait for each
        other."""
        b = self.builder
        if self.at_once == 1 and self._rounds() >= AT_ONCE:
            together = b.mul(b.sdiv(b.sub(stop, start), I64(step * AT_ONCE)), I64(step * AT_ONCE))
            middle = b.add(start, together)
            with counted(b, start, middle, step * AT_ONCE) as first:
                for self.copy in range(AT_ONCE):
                    self.index[axis] = b.add(first, I64(step * self.copy))
                    body()
            start = middle
        self.copy = 0
        with counted(b, start, stop, step) as self.index[axis]:
            body()

    def _whole_vectors(
        self, axis: int, width: int, start: ir.Value, stop: ir.Value
    ) -> tuple[ir.Value, ir.Value | None]:
        """The end of the whole vectors, and how many elements follow (None: surely none)."""
        b = self.builder
        if axis == 0 and self.kept and not self.nest.embedded:
            rest = b.and_(b.sub(stop, start), I64(width - 1))
            return b.sub(stop, rest), rest
        size = self.nest.sizes[axis]
        return I64(size - size % width), I64(size % width) if size % width else None

    # ---- steps

    def _emit(self, lanes: Lanes, level: int | None, phase: int) -> None:
        """Steps of one phase: of one level of the loops outside of the row, or of all of them."""
        for number, step in enumerate(self.nest.steps):
            due = self.phases[number] == phase and number not in lanes
            if due and (self.levels[number] == level or (level is None and self._narrow(number))):
                lanes[number] = self._lane(number, step, lanes)

    def _narrow(self, number: int) -> bool:
        return self.levels[number] <= self.kept

    # ---- stores

    def _store(self, store: Store, lanes: Lanes) -> None:
        vector = self.width is not None and store.at.coefficient(self._vector) != 0
        if self._lies_across(store):
            known = self.columns.setdefault(store, [])
            known.append(lanes[store.step])
            if len(known) == self.nest.sizes[self.kept]:
                self._rows_at(store).store(store.operand, known)
            return
        at = self._address(store.at, vector=False)
        value = lanes[store.step]
        for pick in store.picks:
            at = at + self._picked(pick, lanes, None)
        if vector:
            value = splat(value, self.span)
            if self.nest.streams and self.span != self.width:
                self.memory.fetch(store.operand, store.dtype, at, self.span or 1, write=True)
        mask = self.mask if vector else None
        if store.accumulate:
            before = self.memory.load(store.operand, store.dtype, at, value.width, mask)
            value = combine(store.accumulate, before, value)
        self.memory.store(store.operand, at, value, mask)
