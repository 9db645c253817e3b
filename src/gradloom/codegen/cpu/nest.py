"""A nest of the plan as one private LLVM function: loops, with one axis across SIMD lanes.

Each step is emitted at the outermost loop that it depends on, as a scalar where it does not depend
on the vector axis.  The vector axis runs in whole vectors, then once more under a mask.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from gradloom.codegen.cpu.memory import Memory
from gradloom.codegen.cpu.row import row_of
from gradloom.codegen.cpu.target import Target
from gradloom.codegen.cpu.vectors import I64, POINTER, counted, lanes_below, least, private
from gradloom.codegen.lanes import LlvmLane, constant, memory_type, register_type, splat
from gradloom.ir.affine import Affine, Guard
from gradloom.ir.op import OPS
from gradloom.ir.source import constant_of
from gradloom.ir.types import ITEMSIZE
from gradloom.plan.loops import depends
from gradloom.plan.plan import (
    ANY,
    Apply,
    Constant,
    Fold,
    Inside,
    Load,
    Nest,
    Pick,
    Position,
    Step,
    Store,
)
from gradloom.plan.rows import Pass, is_wide, phases

Lanes = dict[int, LlvmLane]

# Sums of more iterations than this are made in blocks of as many: the rounding errors of n terms
# grow with BLOCK + n / BLOCK instead of n.  float32 mean of 10^7 uniform numbers on 16 lanes: 5e-6
# off without blocks, 8e-8 with; the time is the same.
BLOCK = 256

# Rounds of a folded loop that are in flight at once, each with a sum of its own.
AT_ONCE = 4


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


class _Writer:
    def __init__(self, function: ir.Function, nest: Nest, target: Target) -> None:
        self.nest = nest
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        self.start, self.stop, *pointers = function.args
        self.width = _width(nest, target)
        fault = pointers.pop() if nest.picks else None
        self.memory = Memory(self.builder, pointers, fault, nest.embedded)
        self.kept = len(nest.sizes) - nest.reduced
        self.axes = depends(nest)
        self.levels = [_level(axes) for axes in self.axes]
        self.phases = phases(nest)
        self.wide = [is_wide(nest, store, self.axes) for store in nest.stores]
        self.row = row_of(nest, self.width)
        self.scratch = {n: self._scratch(n, target) for n in self.row.kept}
        self.sums: dict[int, list[ir.Value]] = {}  # of each fold, several at once
        self.totals: dict[int, ir.Value] = {}  # of finished blocks, where the sums are long
        self.terms: dict[int, list[LlvmLane]] = {}  # of each fold of this pass, in an unrolled row
        self.points: dict[tuple[int, ...], Lanes] = {}  # of an unrolled row
        self.place: dict[int, int] = {}  # where in it
        self.copy = 0  # which of the sums is being added to
        self.index: dict[int, ir.Value] = {}
        self.mask: LlvmLane | None = None

    def _scratch(self, number: int, target: Target) -> int:
        """Stack for a step's values along a row, as one more operand."""
        kind = memory_type(self.nest.steps[number].dtype)
        place = self.builder.alloca(ir.ArrayType(kind, self.row.points))
        place.align = target.vector_bytes
        place.type = POINTER  # of any type, as the operands are
        self.memory.pointers.append(place)
        return len(self.memory.pointers) - 1

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
            count = AT_ONCE if rounds >= AT_ONCE else 1
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
        self.points = {}
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
        here = self.points.setdefault(tuple(self.place.values()), {}) if unrolled else {}
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
            start, stop = self.start, self.stop
        step = self.width if axis == self.nest.vector and self.width is not None else 1
        if self.row.unrolled and axis >= self.kept:
            self._written_out(axis, step, body)
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
        with counted(b, start, stop, step * BLOCK) as first:
            end = least(b, b.add(first, I64(step * BLOCK)), stop)
            self._run_copies(axis, first, end, step, body)
            self._close_block()

    def _run_copies(
        self, axis: int, start: ir.Value, stop: ir.Value, step: int, body: Callable[[], None]
    ) -> None:
        """Several rounds at once, each with sums of its own, so that they do not wait for each
        other."""
        b = self.builder
        if self._rounds() >= AT_ONCE:
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

    def _lane(self, number: int, step: Step, lanes: Lanes) -> LlvmLane:
        if isinstance(step, Constant):
            return constant(self.builder, step.dtype, constant_of(step.value, step.dtype))
        if isinstance(step, Position):
            return self._address(step.at, self._is_vector(number)).cast(step.dtype)
        if isinstance(step, Inside):
            return self._holds(step.guards).where(lanes[step.arg], 0)
        if isinstance(step, Apply):
            row = OPS[step.op]
            assert row.lanes is not None
            extra = {"dtype": step.dtype} if row.casts else {}
            return row.lanes(*(lanes[a] for a in step.args), **extra)
        assert isinstance(step, Load)
        return self._load(number, step, lanes)

    def _load(self, number: int, step: Load, lanes: Lanes) -> LlvmLane:
        mask = self._holds(step.guards) if step.guards else None
        vector = self._is_vector(number)
        if vector and self.mask is not None:
            mask = self.mask if mask is None else mask & self.mask
        stride = step.at.coefficient(self._vector) if vector else 0
        at = self._address(step.at, vector=False)
        picked = [self._picked(p, lanes, mask) for p in step.picks]
        if vector and (stride != 1 or any(p.width for p in picked)):
            at = self._address(step.at, vector=True)
        for lane in picked:
            at = at + lane
        return self.memory.load(step.operand, step.dtype, at, self.width if vector else None, mask)

    def _picked(self, pick: Pick, lanes: Lanes, mask: LlvmLane | None) -> LlvmLane:
        """The offset of a run-time index; out of range, 0, and the fault is reported."""
        given = lanes[pick.step].cast("int64")
        at = (given < 0).where(given + pick.size, given)
        good = (at >= 0) & (at < pick.size)
        self.memory.report(~good if mask is None else ~good & mask)
        return good.where(at, 0) * pick.stride

    def _holds(self, guards: tuple[Guard, ...]) -> LlvmLane:
        total = None
        for guard in guards:
            at = self._address(guard.at, bool(guard.at.coefficient(self._vector)))
            inside = (at >= guard.low) & (at < guard.high)
            total = inside if total is None else total & inside
        assert total is not None
        return total

    def _address(self, at: Affine, vector: bool) -> LlvmLane:
        """An index expression; with `vector`, one of it a lane."""
        b = self.builder
        total = I64(at.const)
        for axis, coefficient in at.terms:
            index = self.index[axis]
            total = b.add(total, index if coefficient == 1 else b.mul(index, I64(coefficient)))
        lane = LlvmLane(b, total, "int64")
        if not vector or self.width is None:
            return lane
        step = at.coefficient(self._vector)
        kind = register_type("int64", self.width)
        return lane + LlvmLane(b, ir.Constant(kind, [step * k for k in range(self.width)]), "int64")

    @property
    def _vector(self) -> int:
        return -1 if self.nest.vector is None else self.nest.vector

    def _is_vector(self, number: int) -> bool:
        return self.width is not None and self.nest.vector in self.axes[number]

    # ---- folds

    def _fold_width(self, number: int) -> int | None:
        step = self.nest.steps[number]
        assert isinstance(step, Fold)
        across = self._vector >= self.kept
        return self.width if across or self._is_vector(step.arg) else None

    def _identity(self, number: int) -> LlvmLane:
        step = self.nest.steps[number]
        assert isinstance(step, Fold)
        neutral = OPS[step.op].identity
        assert neutral is not None
        return constant(self.builder, step.dtype, neutral(step.dtype), self._fold_width(number))

    def _accumulate(self, folds: list[int], lanes: Lanes) -> None:
        for number in folds:
            step = self.nest.steps[number]
            assert isinstance(step, Fold)
            identity = self._identity(number)
            value = splat(lanes[step.arg], identity.width)
            if self.mask is not None and self._vector >= self.kept:
                value = self.mask.where(value, identity)
            if self.row.unrolled:
                self.terms[number].append(value)
            else:
                self._combine_into(self.sums[number][self.copy], step, value)

    def _close_block(self) -> None:
        """Add the sums to the totals and begin them anew."""
        for number in self.terms:
            step = self.nest.steps[number]
            assert isinstance(step, Fold)
            self._combine_into(self.totals[number], step, self._sum(number))
            for place in self.sums[number]:
                self.builder.store(self._identity(number).value, place)

    def _read(self, place: ir.Value, number: int) -> LlvmLane:
        step = self.nest.steps[number]
        kind = register_type(step.dtype, self._fold_width(number))
        return LlvmLane(self.builder, self.builder.load(place, typ=kind), step.dtype)

    def _sum(self, number: int) -> LlvmLane:
        """The terms of an unrolled row, or the sums that were made at once, by pairs."""
        step = self.nest.steps[number]
        assert isinstance(step, Fold)
        parts = self.terms[number] or [self._read(p, number) for p in self.sums.get(number, ())]
        while len(parts) > 1:
            pairs = zip(parts[::2], parts[1::2], strict=False)
            parts = [_combine(step.op, a, b) for a, b in pairs] + parts[len(parts) // 2 * 2 :]
        return parts[0] if parts else self._identity(number)

    def _combine_into(self, place: ir.Value, step: Fold, value: LlvmLane) -> None:
        kind = value.value.type
        before = LlvmLane(self.builder, self.builder.load(place, typ=kind), step.dtype)
        self.builder.store(_combine(step.op, before, value).value, place)

    def _total(self, number: int) -> LlvmLane:
        """The fold's value: the lanes combined by halves, where the vector axis was folded."""
        step = self.nest.steps[number]
        assert isinstance(step, Fold)
        width = self._fold_width(number)
        lane = self._sum(number)
        if number in self.totals:
            lane = _combine(step.op, self._read(self.totals[number], number), lane)
        while self._vector >= self.kept and width is not None and width > 1:
            width //= 2
            low, high = (_half(lane, first, width) for first in (0, width))
            lane = _combine(step.op, low, high)
        if self._vector >= self.kept and width is not None:
            first = self.builder.extract_element(lane.value, ir.IntType(32)(0))
            lane = LlvmLane(self.builder, first, step.dtype)
        return lane

    # ---- rows of scratch memory

    def _keep(self, number: int, lane: LlvmLane) -> None:
        self.memory.store(self.scratch[number], self._point(), lane, None)

    def _recalled(self, number: int) -> LlvmLane:
        width = self.width if self._is_vector(number) else None
        dtype = self.nest.steps[number].dtype
        return self.memory.load(self.scratch[number], dtype, self._point(), width, None)

    def _point(self) -> LlvmLane:
        """Where in a row the loops are; vectors lie in a row, the last one whole."""
        width = self.width or 1
        inner = [a for a in range(self.kept, len(self.nest.sizes)) if a != self._vector]
        at, stride = Affine(), width
        if self._vector >= self.kept:
            at, stride = (
                Affine.axis(self._vector),
                -(-self.nest.sizes[self._vector] // width) * width,
            )
        for axis in reversed(inner):
            at, stride = at + Affine.axis(axis) * stride, stride * self.nest.sizes[axis]
        return self._address(at, vector=False)

    # ---- stores

    def _store(self, store: Store, lanes: Lanes) -> None:
        vector = self.width is not None and store.at.coefficient(self._vector) != 0
        at = self._address(store.at, vector=False)
        value = lanes[store.step]
        for pick in store.picks:
            at = at + self._picked(pick, lanes, None)
        if vector:
            value = splat(value, self.width)
        mask = self.mask if vector else None
        if store.accumulate:
            before = self.memory.load(store.operand, store.dtype, at, value.width, mask)
            value = _combine(store.accumulate, before, value)
        self.memory.store(store.operand, at, value, mask)


def _combine(row: str, left: LlvmLane, right: LlvmLane) -> LlvmLane:
    lanes = OPS[row].lanes
    assert lanes is not None
    return lanes(left, right)


def _half(lane: LlvmLane, first: int, count: int) -> LlvmLane:
    numbers = ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(first, first + count)))
    return LlvmLane(
        lane.builder, lane.builder.shuffle_vector(lane.value, lane.value, numbers), lane.dtype
    )


def _level(axes: frozenset[int]) -> int:
    return 1 + max(axes, default=-1)


def _width(nest: Nest, target: Target) -> int | None:
    """Lanes of the vector axis: as many as fit of the narrowest number, no more than it needs."""
    if nest.vector is None:
        return None
    items = [ITEMSIZE[s.dtype] for s in (*nest.steps, *nest.stores)]
    widest = target.vector_bytes // max(min(items), 4)
    size = nest.sizes[nest.vector]
    if nest.embedded and size and nest.vector < len(nest.sizes) - nest.reduced:
        return size  # LLVM divides it among registers
    return widest if size == ANY else max(min(widest, 1 << max(size - 1, 1).bit_length()), 2)
