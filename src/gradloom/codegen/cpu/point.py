"""One point of a nest's loops in LLVM: the values of its steps there, and what its folds gather."""

from __future__ import annotations

from llvmlite import ir

from gradloom.codegen.cpu.memory import Memory
from gradloom.codegen.cpu.row import Row, at_once, row_of
from gradloom.codegen.cpu.target import Target
from gradloom.codegen.cpu.transpose import RowBlock
from gradloom.codegen.cpu.vectors import I64, POINTER
from gradloom.codegen.lane_control import alike, called
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
from gradloom.plan.rows import is_wide, phases

Lanes = dict[int, LlvmLane]

# Operators that cost at least so much (in additions, `Op.cost`) are called, and are compiled once
# for all calls in a module; cheaper ones are written out.  float32, seconds to compile and ns an
# element, written out and called: the second derivative of beta 1.63 and 292, 0.97 and 302;
# beta 0.76 and 64, 0.36 and 63; betabinom's slope 0.41 and 31, 0.11 and 39; erfinv 0.11 and 14.3,
# 0.07 and 15.2; erfc, the cheapest that is called, 0.05 and 4.7, 0.03 and 4.3.
CALLED = 500


class Point:
    """What a nest computes at a point of its loops: steps, and terms of its folds."""

    def __init__(
        self, function: ir.Function, nest: Nest, target: Target, row: Row | None = None
    ) -> None:
        self.nest = nest
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        pointers = [a for a in function.args if isinstance(a.type, ir.PointerType)]
        self.given = function.args[: -len(pointers)]  # numbers, which come before the operands
        self.width = _width(nest, target)
        fault = pointers.pop() if nest.picks else None
        self.memory = Memory(self.builder, pointers, fault, nest.embedded)
        self.kept = len(nest.sizes) - nest.reduced
        self.axes = depends(nest)
        self.levels = [_level(axes) for axes in self.axes]
        self.phases = phases(nest)
        self.wide = [is_wide(nest, store, self.axes) for store in nest.stores]
        self.row = row or row_of(nest, self.width)
        self.at_once = at_once(nest, self.width, self.row) if target.has_masks else 1
        self.span = self.width  # lanes here: those of a vector, or of several at once
        self.scratch = {n: self._scratch(n, target) for n in self.row.kept}
        self.sums: dict[int, list[ir.Value]] = {}  # of each fold, several at once
        self.totals: dict[int, ir.Value] = {}  # of finished blocks, where the sums are long
        self.terms: dict[int, list[LlvmLane]] = {}  # of each fold of this pass, in an unrolled row
        self.points: dict[tuple[int, ...], Lanes] = {}  # of an unrolled row
        self.place: dict[int, int] = {}  # where in it
        self.blocks: dict[int, list[LlvmLane]] = {}  # of rows across lanes, by load
        self.columns: dict[Store, list[LlvmLane]] = {}  # and by store, as far as they are known
        self.copy = 0  # which of the sums is being added to
        self.index: dict[int, ir.Value] = {}
        self.mask: LlvmLane | None = None
        self.rest: ir.Value = I64(0)  # rows from the first across lanes on

    # ---- steps

    def _lane(self, number: int, step: Step, lanes: Lanes) -> LlvmLane:
        if isinstance(step, Constant):
            return constant(self.builder, step.dtype, constant_of(step.value, step.dtype))
        if isinstance(step, Position):
            return self._address(step.at, self._is_vector(number)).cast(step.dtype)
        if isinstance(step, Inside):
            return self._holds(step.guards).where(lanes[step.arg], 0)
        if isinstance(step, Apply):
            return self._applied(step, [lanes[a] for a in step.args])
        assert isinstance(step, Load)
        return self._load(number, step, lanes)

    def _applied(self, step: Apply, given: list[LlvmLane]) -> LlvmLane:
        row = OPS[step.op]
        assert row.lanes is not None
        if row.casts:
            return row.lanes(*given, dtype=step.dtype)
        fixed = any(isinstance(self.nest.steps[a], Constant) for a in step.args)
        if row.cost < CALLED or fixed:  # LLVM computes much of what a constant goes into
            return row.lanes(*given)
        made, wide = row.lanes, alike(*given)
        kind = register_type(step.dtype, wide[0].width), step.dtype
        found: LlvmLane
        (found,) = called(f"row_{row.name}", lambda *lanes: (made(*lanes),), wide, [kind])
        return found

    def _load(self, number: int, step: Load, lanes: Lanes) -> LlvmLane:
        if self._lies_across(step):
            if number not in self.blocks:
                self.blocks[number] = self._rows_at(step).load(step.operand, step.dtype)
            return self.blocks[number][self.place[self.kept]]
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
        if self.nest.streams and self.span != self.width and vector and at.width is None:
            self.memory.fetch(step.operand, step.dtype, at, self.span or 1)
        return self.memory.load(step.operand, step.dtype, at, self.span if vector else None, mask)

    def _lies_across(self, access: Load | Store) -> bool:
        return self.row.across and access.at.coefficient(self._vector) > 1

    def _rows_at(self, access: Load | Store) -> RowBlock:
        """The rows that lie across the lanes."""
        assert self.width is not None
        whole = tuple((a, c) for a, c in access.at.terms if a != self.kept)
        at = self._address(Affine(access.at.const, whole), vector=False)
        stride, columns = access.at.coefficient(self._vector), self.nest.sizes[self.kept]
        return RowBlock(self.memory, at, stride, columns, self.width, self.rest)

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
        if not vector or self.span is None:
            return lane
        step = at.coefficient(self._vector)
        kind = register_type("int64", self.span)
        return lane + LlvmLane(b, ir.Constant(kind, [step * k for k in range(self.span)]), "int64")

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
            if self.span != self.width:
                whole, width = splat(lanes[step.arg], self.span), self.width or 1
                for part, place in enumerate(self.sums[number]):
                    self._combine_into(place, step, _part(whole, part * width, width))
                continue
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
            parts = [combine(step.op, a, b) for a, b in pairs] + parts[len(parts) // 2 * 2 :]
        return parts[0] if parts else self._identity(number)

    def _combine_into(self, place: ir.Value, step: Fold, value: LlvmLane) -> None:
        kind = value.value.type
        before = LlvmLane(self.builder, self.builder.load(place, typ=kind), step.dtype)
        self.builder.store(combine(step.op, before, value).value, place)

    def _total(self, number: int) -> LlvmLane:
        """The fold's value: the lanes combined by halves, where the vector axis was folded."""
        step = self.nest.steps[number]
        assert isinstance(step, Fold)
        width = self._fold_width(number)
        lane = self._sum(number)
        if number in self.totals:
            lane = combine(step.op, self._read(self.totals[number], number), lane)
        while self._vector >= self.kept and width is not None and width > 1:
            width //= 2
            low, high = (_part(lane, first, width) for first in (0, width))
            lane = combine(step.op, low, high)
        if self._vector >= self.kept and width is not None:
            first = self.builder.extract_element(lane.value, ir.IntType(32)(0))
            lane = LlvmLane(self.builder, first, step.dtype)
        return lane

    # ---- rows of scratch memory

    def _scratch(self, number: int, target: Target) -> int:
        """Stack for a step's values along a row, as one more operand."""
        kind = memory_type(self.nest.steps[number].dtype)
        place = self.builder.alloca(ir.ArrayType(kind, self.row.points))
        place.align = target.vector_bytes
        place.type = POINTER  # of any type, as the operands are
        self.memory.pointers.append(place)
        return len(self.memory.pointers) - 1

    def _keep(self, number: int, lane: LlvmLane) -> None:
        self.memory.store(self.scratch[number], self._point(), lane, None)

    def _recalled(self, number: int) -> LlvmLane:
        width = self.span if self._is_vector(number) else None
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


def combine(row: str, left: LlvmLane, right: LlvmLane) -> LlvmLane:
    lanes = OPS[row].lanes
    assert lanes is not None
    return lanes(left, right)


def _part(lane: LlvmLane, first: int, count: int) -> LlvmLane:
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
