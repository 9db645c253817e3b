"""A nest of the plan as the text of a CUDA kernel: see `codegen.cuda.nest` for the same in LLVM."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from gradloom.codegen.cuda.text_body import Body
from gradloom.codegen.cuda.text_lanes import Functions, TextLane, Writer
from gradloom.codegen.cuda.text_threads import (
    PICKED,
    SHARE,
    folded_by_block,
    folded_by_warp,
    place,
)
from gradloom.codegen.text import AXES, affine_text, guard_text
from gradloom.ir.affine import Affine, Guard
from gradloom.ir.op import OPS
from gradloom.ir.source import constant_of
from gradloom.plan.device import BLOCK, Spread
from gradloom.plan.loops import depends
from gradloom.plan.plan import (
    Apply,
    Constant,
    Fold,
    Inside,
    Load,
    Position,
    Step,
    Store,
)
from gradloom.plan.rows import Pass, is_wide, passes, phases
from gradloom.plan.tiles import THREADS, WARP

Lanes = dict[int, TextLane]
# An operator of more operations than this is a function, which the text defines once.
WRITTEN_OUT = 4
NUMBER = "number"  # of an item


def nest_kernel(
    name: str, spread: Spread, functions: Functions, remark: str
) -> tuple[str, tuple[str, ...]]:
    """The text of a kernel whose blocks share the items of a nest, and the types of its arguments."""
    writer = _Nest(spread, functions)
    text = writer.text()
    names = ", ".join(writer.pointers)
    head = f'def {name}({names}):\n    """{remark}: {spread.count} items, {_who(spread)}."""\n'
    return head + text, tuple(f"{kind}*" for kind in writer.kinds)


def _who(spread: Spread) -> str:
    return {1: "a thread each", WARP: "a warp each", BLOCK: "a block each"}[spread.lanes]


class _Nest:
    """The state of writing one nest."""

    def __init__(self, spread: Spread, functions: Functions) -> None:
        self.spread, self.nest = spread, spread.nest
        nest = self.nest
        self.kept = len(nest.sizes) - nest.reduced
        self.axes = depends(nest)
        self.levels = [1 + max(axes, default=-1) for axes in self.axes]
        self.phases = phases(nest)
        self.passes = passes(nest)
        self.wide = [is_wide(nest, store, self.axes) for store in nest.stores]
        self.index = [*AXES, *(f"i{n}" for n in range(len(AXES), len(nest.sizes)))]
        known = {s.operand: s.dtype for s in nest.steps if isinstance(s, Load)}
        known |= {s.operand: s.dtype for s in nest.stores}
        kinds = [known.get(number, "uint8") for number in range(1 + max(known, default=-1))]
        self.pointers = [f"p{n}" for n in range(len(kinds))] + ["fault"] * nest.picks
        self.kinds = ["uint8" if k == "bool" else k for k in kinds] + ["int64"] * nest.picks
        self.body = Body(taken=dict.fromkeys([*self.index, "t"], 1))
        self.writer = Writer(self.body, functions)

    # ---- the loops

    def text(self) -> str:
        body, lanes = self.body, self.spread.lanes
        if 0 in self.nest.sizes[: self.kept]:
            body.line("return")  # nothing to store, and nothing that may be read
            return body.text()
        self.writer.functions.texts.setdefault("share", SHARE)
        body.line("thread = uint32(cuda.threadIdx.x)")
        grain = THREADS // lanes
        if lanes > 1:
            body.line(f"lane = int64(thread % uint32({lanes}))")
        own = {1: " + thread", BLOCK: ""}.get(lanes, f" + int64(thread // uint32({lanes}))")
        body.line(f"start, stop = share({self.spread.count}, {grain})")
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
        self._narrow(lanes, 0)
        for number, one in enumerate(self.passes):
            self._pass(one, lanes)
            self._narrow(lanes, number + 1)
        narrow = [s for s, wide in zip(self.nest.stores, self.wide, strict=True) if not wide]
        if narrow and self.spread.lanes > 1:
            with self.body.inside("if lane == 0:"):
                self._stores(narrow, lanes)
        else:
            self._stores(narrow, lanes)

    def _narrow(self, lanes: Lanes, phase: int) -> None:
        """The steps of a phase that are one number a row."""
        for number, step in enumerate(self.nest.steps):
            due = self.phases[number] == phase and self.levels[number] <= self.kept
            if due and number not in lanes:
                lanes[number] = self._lane(step, lanes)

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
        if self.spread.lanes == 1:
            self._loops(axes, body)
            return
        count = math.prod(self.nest.sizes[self.kept :])
        name = self.index[axes[0]] if len(axes) == 1 else "at"
        with self.body.inside(f"for {name} in range(lane, {count}, {self.spread.lanes}):"):
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
                lanes[number] = self._lane(self.nest.steps[number], lanes)
        for number, total in sums.items():
            step = self._fold(number)
            self.writer.assign([total], [_combine(step.op, total, lanes[step.arg])])
        self._stores(one.stores, lanes)

    def _fold(self, number: int) -> Fold:
        step = self.nest.steps[number]
        assert isinstance(step, Fold)
        return step

    def _folded(self, number: int, total: TextLane) -> TextLane:
        """The fold's value, in every thread that shares the row."""
        op = self._fold(number).op

        def together(x: TextLane, y: TextLane) -> TextLane:
            return _combine(op, x, y)

        if self.spread.lanes == WARP:
            return folded_by_warp(op, total, together)
        if self.spread.lanes == BLOCK:
            return folded_by_block(op, total, together)
        return total

    # ---- steps

    def _lane(self, step: Step, lanes: Lanes) -> TextLane:
        match step:
            case Constant():
                return self.writer.constant(step.dtype, constant_of(step.value, step.dtype))
            case Position():
                return self._number(step.at).cast(step.dtype)
            case Inside():
                return self._within(step.guards, lanes[step.arg])
            case Apply():
                return self._applied(step, [lanes[a] for a in step.args])
            case Load():
                return self._load(step, lanes)
        raise AssertionError(step)

    def _applied(self, step: Apply, given: list[TextLane]) -> TextLane:
        row = OPS[step.op]
        assert row.lanes is not None

        def make(*lanes: TextLane) -> TextLane:
            how = {"dtype": step.dtype} if row.casts else {}
            found: TextLane = row.lanes(*lanes, **how)  # type: ignore[misc]
            return found

        trial = Writer(Body(), self.writer.functions)
        make(*(trial.named("x", lane.dtype) for lane in given))
        if trial.body.operations <= WRITTEN_OUT:
            return make(*given)
        types = dict.fromkeys([*(lane.dtype for lane in given), step.dtype])
        return self.writer.called("_".join([step.op, *types]), make, given, row.doc or step.op)

    def _load(self, step: Load, lanes: Lanes) -> TextLane:
        form = f"{self.pointers[step.operand]}[{self._at(step)}]"
        if step.dtype == "bool":
            form = f"({form} != 0)"
        condition = self._condition(step.guards)
        if condition:
            zero = self.writer.constant(step.dtype, 0).value.form
            form = f"({form} if {condition} else {zero})"
        return self.writer.lane(step.dtype, form, *self._picked(step, lanes), reads=True)

    def _within(self, guards: Sequence[Guard], lane: TextLane) -> TextLane:
        condition = self._condition(guards)
        if not condition:
            return lane
        zero = self.writer.constant(lane.dtype, 0).value.form
        return self.writer.lane(lane.dtype, f"({{0}} if {condition} else {zero})", lane)

    def _condition(self, guards: Sequence[Guard]) -> str:
        found = (guard_text(g, self.nest.sizes, self.index) for g in dict.fromkeys(guards))
        return " and ".join(c for c in found if c)

    def _number(self, at: Affine) -> TextLane:
        """An index expression as a number; the indices are 64 bits wide."""
        return self.writer.lane("int64", f"({affine_text(at, self.index)})")

    # ---- places

    def _at(self, part: Load | Store) -> str:
        """The form of the place of an element, of values that are `_picked`."""
        picks = []
        for number, pick in enumerate(part.picks):
            self.writer.functions.texts.setdefault("picked", PICKED)
            text = f"picked({{{number}:b}}, {pick.size}, fault)"
            picks.append(text if pick.stride == 1 else f"{pick.stride} * {text}")
        return affine_text(part.at, self.index, picks)

    def _picked(self, part: Load | Store, lanes: Lanes) -> list[TextLane]:
        """The run-time indices."""
        return [lanes[pick.step].cast("int64") for pick in part.picks]

    def _stores(self, stores: Sequence[Store], lanes: Lanes) -> None:
        for store in stores:
            picked, value = self._picked(store, lanes), lanes[store.step]
            pointer = self.pointers[store.operand]
            if store.accumulate:
                at = self.writer.lane("int64", f"({self._at(store)})", *picked, bound=bool(picked))
                before = self.writer.lane(store.dtype, f"{pointer}[{{0:b}}]", at, reads=True)
                value = _combine(store.accumulate, before, value)
                self.body.line(f"{pointer}[{{0}}] = {{1}}", at.value, value.value)
                continue
            if store.dtype == "bool":
                value = value.cast("uint8")
            form = f"{pointer}[{self._at(store)}] = {{{len(picked)}}}"
            self.body.line(form, *(p.value for p in picked), value.value)


def _combine(row: str, left: TextLane, right: TextLane) -> TextLane:
    lanes = OPS[row].lanes
    assert lanes is not None
    found: TextLane = lanes(left, right)
    return found
