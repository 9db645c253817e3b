"""One element of a nest as Python text: see `codegen.cuda.element` for the same in LLVM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gradloom.codegen.cuda.text_body import Body
from gradloom.codegen.cuda.text_lanes import Functions, TextLane, Writer
from gradloom.codegen.cuda.text_threads import PICKED
from gradloom.codegen.text import AXES, affine_text, guard_text
from gradloom.ir.affine import Affine, Guard
from gradloom.ir.op import OPS
from gradloom.ir.source import constant_of
from gradloom.plan.loops import depends
from gradloom.plan.plan import Apply, Constant, Inside, Load, Nest, Position, Step, Store
from gradloom.plan.rows import phases

Lanes = dict[int, TextLane]
# An operator of more operations than this is a function, which the text defines once.
WRITTEN_OUT = 4


class Element:
    """What a thread computes of a nest where its loops stand."""

    def __init__(
        self,
        nest: Nest,
        functions: Functions,
        operands: Sequence[str] = (),
        known: Mapping[int, str] | None = None,
    ) -> None:
        """`operands` are the names of the first ones, and `known` types of some."""
        self.nest = nest
        self.kept = len(nest.sizes) - nest.reduced
        self.axes = depends(nest)
        self.levels = [1 + max(axes, default=-1) for axes in self.axes]
        self.phases = phases(nest)
        self.index = [*AXES, *(f"i{n}" for n in range(len(AXES), len(nest.sizes)))]
        accesses = [s for s in (*nest.steps, *nest.stores) if isinstance(s, Load | Store)]
        types = {s.operand: s.dtype for s in accesses} | dict(known or {})
        count = 1 + max(types, default=-1)
        kinds = [types.get(number, "uint8") for number in range(count)]
        names = [*operands, *(f"p{n}" for n in range(len(operands), count))]
        self.pointers = names + ["fault"] * nest.picks
        self.kinds = ["uint8" if k == "bool" else k for k in kinds] + ["int64"] * nest.picks
        self.body = Body(taken=dict.fromkeys([*self.index, *self.pointers], 1))
        self.writer = Writer(self.body, functions)

    @property
    def arguments(self) -> tuple[str, ...]:
        """The types of the pointers."""
        return tuple(f"{kind}*" for kind in self.kinds)

    def narrow(self, lanes: Lanes, phase: int) -> None:
        """The steps that are one number a row and known after so many passes over it."""
        for number, step in enumerate(self.nest.steps):
            due = self.phases[number] == phase and self.levels[number] <= self.kept
            if due and number not in lanes:
                lanes[number] = self.lane(step, lanes)

    # ---- steps

    def lane(self, step: Step, lanes: Lanes) -> TextLane:
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

    def store(self, stores: Sequence[Store], lanes: Lanes) -> None:
        """Write what steps have found."""
        for store in stores:
            picked, value = self._picked(store, lanes), lanes[store.step]
            pointer = self.pointers[store.operand]
            if store.accumulate:
                at = self.writer.lane("int64", f"({self._at(store)})", *picked, bound=bool(picked))
                before = self.writer.lane(store.dtype, f"{pointer}[{{0:b}}]", at, reads=True)
                value = combined(store.accumulate, before, value)
                self.body.line(f"{pointer}[{{0}}] = {{1}}", at.value, value.value)
                continue
            if store.dtype == "bool":
                value = value.cast("uint8")
            form = f"{pointer}[{self._at(store)}] = {{{len(picked)}}}"
            self.body.line(form, *(p.value for p in picked), value.value)


def combined(row: str, left: TextLane, right: TextLane) -> TextLane:
    lanes = OPS[row].lanes
    assert lanes is not None
    found: TextLane = lanes(left, right)
    return found
