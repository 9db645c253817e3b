"""A nest of the plan as one private LLVM function: loops, with one axis across SIMD lanes.

Each step is emitted at the outermost loop that it depends on, as a scalar where it does not depend
on the vector axis.  The vector axis runs in whole vectors, then once more under a mask.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from gradloom.codegen.cpu.memory import Memory
from gradloom.codegen.cpu.target import Target
from gradloom.codegen.cpu.vectors import I64, POINTER, counted, lanes_below, least, private
from gradloom.codegen.lanes import LlvmLane, constant, register_type, splat
from gradloom.ir.affine import Affine, Guard
from gradloom.ir.op import OPS
from gradloom.ir.source import constant_of
from gradloom.ir.types import ITEMSIZE
from gradloom.plan.loops import arguments, depends
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

Lanes = dict[int, LlvmLane]

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
        self.late = _after_folds(nest)
        self.sums: dict[int, ir.Value] = {}
        self.totals: dict[int, ir.Value] = {}  # of finished blocks, where the sums are long
        self.index: dict[int, ir.Value] = {}
        self.mask: LlvmLane | None = None

    def write(self) -> None:
        for number, step in enumerate(self.nest.steps):
            if isinstance(step, Fold):
                kind = register_type(step.dtype, self._fold_width(number))
                self.sums[number] = self.builder.alloca(kind)
                if self.nest.sizes[-1] > BLOCK:
                    self.totals[number] = self.builder.alloca(kind)
        self._loops(0, {})
        self.builder.ret_void()

    # ---- loops

    def _loops(self, level: int, lanes: Lanes) -> None:
        lanes = dict(lanes)
        self._emit(level, lanes, late=False)
        if level == self.kept and self.nest.reduced:
            self._reduce(lanes)
        elif level == self.kept:
            self._store_all(lanes)
        else:
            self._loop(level, lambda: self._loops(level + 1, lanes))

    def _reduce(self, lanes: Lanes) -> None:
        for number, place in (*self.sums.items(), *self.totals.items()):
            self.builder.store(self._identity(number).value, place)
        self._folding(self.kept, lanes)
        for number in self.sums:
            lanes[number] = self._total(number)
        self._emit(None, lanes, late=True)
        self._store_all(lanes)

    def _folding(self, level: int, lanes: Lanes) -> None:
        lanes = dict(lanes)
        if level > self.kept:
            self._emit(level, lanes, late=False)
        if level == len(self.nest.sizes):
            self._accumulate(lanes)
        else:
            self._loop(level, lambda: self._folding(level + 1, lanes))

    def _loop(self, axis: int, body: Callable[[], None]) -> None:
        """Run `body` for every index of an axis; for the vector axis, for every vector of them."""
        b = self.builder
        start, stop = I64(0), I64(self.nest.sizes[axis])
        if axis == 0 and self.kept and not self.nest.embedded:
            start, stop = self.start, self.stop
        if axis != self.nest.vector or self.width is None:
            self._run(axis, start, stop, 1, body)
            return
        whole, rest = self._whole_vectors(axis, self.width, start, stop)
        self._run(axis, start, whole, self.width, body)
        if rest is None:
            return
        with b.if_then(b.icmp_signed(">", rest, I64(0))):
            self.index[axis] = whole
            self.mask = LlvmLane(b, lanes_below(b, rest, self.width), "bool")
            body()
            self.mask = None

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
        if not self.totals or axis != len(self.nest.sizes) - 1:
            with counted(b, start, stop, step) as self.index[axis]:
                body()
            return
        with counted(b, start, stop, step * BLOCK) as first:
            end = least(b, b.add(first, I64(step * BLOCK)), stop)
            with counted(b, first, end, step) as self.index[axis]:
                body()
            self._close_block()

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

    def _emit(self, level: int | None, lanes: Lanes, late: bool) -> None:
        """Steps of one loop level; those that follow the folds all at once."""
        for number, step in enumerate(self.nest.steps):
            if number in lanes or self.late[number] != late:
                continue
            if late or self.levels[number] == level:
                lanes[number] = self._lane(number, step, lanes)

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

    def _accumulate(self, lanes: Lanes) -> None:
        for number, place in self.sums.items():
            step = self.nest.steps[number]
            assert isinstance(step, Fold)
            identity = self._identity(number)
            value = splat(lanes[step.arg], identity.width)
            if self.mask is not None and self._vector >= self.kept:
                value = self.mask.where(value, identity)
            self._combine_into(place, step, value)

    def _close_block(self) -> None:
        """Add the sums to the totals and begin them anew."""
        for number in self.totals:
            step = self.nest.steps[number]
            assert isinstance(step, Fold)
            self._combine_into(self.totals[number], step, self._read(self.sums, number))
            self.builder.store(self._identity(number).value, self.sums[number])

    def _read(self, places: dict[int, ir.Value], number: int) -> LlvmLane:
        step = self.nest.steps[number]
        kind = register_type(step.dtype, self._fold_width(number))
        return LlvmLane(self.builder, self.builder.load(places[number], typ=kind), step.dtype)

    def _combine_into(self, place: ir.Value, step: Fold, value: LlvmLane) -> None:
        kind = value.value.type
        before = LlvmLane(self.builder, self.builder.load(place, typ=kind), step.dtype)
        self.builder.store(_combine(step.op, before, value).value, place)

    def _total(self, number: int) -> LlvmLane:
        """The fold's value: the lanes combined by halves, where the vector axis was folded."""
        step = self.nest.steps[number]
        assert isinstance(step, Fold)
        width = self._fold_width(number)
        lane = self._read(self.sums, number)
        if number in self.totals:
            lane = _combine(step.op, self._read(self.totals, number), lane)
        while self._vector >= self.kept and width is not None and width > 1:
            width //= 2
            low, high = (_half(lane, first, width) for first in (0, width))
            lane = _combine(step.op, low, high)
        if self._vector >= self.kept and width is not None:
            first = self.builder.extract_element(lane.value, ir.IntType(32)(0))
            lane = LlvmLane(self.builder, first, step.dtype)
        return lane

    # ---- stores

    def _store_all(self, lanes: Lanes) -> None:
        for store in self.nest.stores:
            self._store(store, lanes)

    def _store(self, store: Store, lanes: Lanes) -> None:
        vector = self.width is not None and 0 <= self._vector < self.kept
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


def _after_folds(nest: Nest) -> list[bool]:
    late: list[bool] = []
    for step in nest.steps:
        late.append(isinstance(step, Fold) or any(late[a] for a in arguments(step)))
    return late


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
