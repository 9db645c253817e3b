"""How a team of threads shares a plan: the grain by which each stage is dealt out, and where all
must meet.

A stage is split along its outermost axis into grains, so many iterations each, of which a worker
does a range.  Two stages that are split into as many grains, of which each touches bytes that no
other grain of either does, need no barrier between them: whoever reads has written.  All else that
shares bytes, and is not only read, needs one.  Nothing here depends on the size of the team.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from gradloom.errors import InternalError
from gradloom.plan.columns import by_columns
from gradloom.plan.costs import effort, nanoseconds, worth_sharing
from gradloom.plan.lower import ROW_TILE
from gradloom.plan.meetings import Meetings, Unit, units_of
from gradloom.plan.plan import (
    Buffer,
    Kernel,
    Load,
    Nest,
    Part,
    Plan,
    Product,
    Region,
    Stage,
    Store,
)
from gradloom.plan.touch import (
    Reach,
    moved,
    nest_accesses,
    placed,
    reach_of,
    reaches,
    sizes_of,
)
from gradloom.settings import current as current_settings

FLAT_GRAIN = 64  # iterations across lanes: whole vectors, and whole cache lines of any dtype
FEWEST = 4  # grains, if a coarser one is only to fit the tiles of products


def split(plan: Plan) -> Plan:
    """The plan with a grain for every stage that can be split, and barriers where they must be."""
    off = current_settings().disable
    if by_columns.__name__ not in off:
        plan = replace(plan, parts=tuple(each_kernel(part, by_columns) for part in plan.parts))
    parts = _meeting(_dealt(plan), plan.buffers)
    if lighten.__name__ not in off:
        parts = _meeting(lighten(parts, plan.buffers), plan.buffers)
    return replace(plan, parts=parts, effort=effort(parts, plan.buffers))


def _meeting(parts: Sequence[Part], buffers: Sequence[Buffer]) -> tuple[Part, ...]:
    return Meetings(buffers, placing=True).visit(parts)


def verify_split(plan: Plan) -> None:
    """Raise `InternalError` where two of a team could touch the same byte, one of them writing,
    with no barrier between."""
    for kernel in plan.kernels:
        for stage in kernel.stages:
            if stage.grain and not divisible(stage, plan.buffers):
                raise InternalError(f"plan, kernel {kernel.name}: it cannot be split")
        grains = {(s.grain, s.extent) for s in kernel.stages}
        if kernel.in_blocks and len(grains) > 1:
            raise InternalError(f"plan, kernel {kernel.name}: its stages are split differently")
    walk = Meetings(plan.buffers, placing=False)
    walk.visit(plan.parts)
    if walk.missing:
        raise InternalError(f"plan: a barrier is missing before what {walk.missing[0]}")


# ---- which stages can be split


def divisible(stage: Stage, buffers: Sequence[Buffer]) -> bool:
    """Whether iterations of the outermost axis keep out of each other's way."""
    if isinstance(stage.code, Product):
        return True
    if not isinstance(stage.code, Nest):
        return False
    nest = stage.code
    kept = len(nest.sizes) - nest.reduced
    if not kept:
        return False
    found = list(nest_accesses(nest))
    sizes = sizes_of(nest, stage.extent)
    stores = [a for a in found if isinstance(a, Store)]
    if not all(_apart(store, sizes, kept) for store in stores):
        return False
    return all(_same_element(stage, buffers, s, a) for s in stores for a in found if a is not s)


def _apart(store: Store, sizes: Sequence[int], kept: int) -> bool:
    """Whether a store writes another element in each iteration, of those within a row too, where
    it writes all of the row."""
    axes = {*range(kept), *(axis for axis, _ in store.at.terms)}
    strides = sorted((abs(store.at.coefficient(a)), sizes[a]) for a in axes if sizes[a] > 1)
    reach = 0
    for stride, size in strides:
        if stride <= reach:
            return False
        reach += stride * (size - 1)
    return not store.picks


def _same_element(
    stage: Stage, buffers: Sequence[Buffer], store: Store, other: Load | Store
) -> bool:
    """Whether an access of the same nest touches, of what `store` writes, its own element only."""
    assert isinstance(stage.code, Nest)
    one, two = (
        placed(
            buffers,
            stage.operands[access.operand].buffer,
            moved(reach_of(access, stage.code, stage.extent), stage, buffers),
            stage.extent,
            1,
        )
        for access in (store, other)
    )
    same_place = (one.low, one.high, one.row) == (two.low, two.high, two.row)
    same = same_place and store.at.terms == other.at.terms and not other.picks
    return same or not one.meets(two)


# ---- grains


def _dealt(plan: Plan) -> tuple[Part, ...]:
    """All parts, with a grain for every stage: first for products, whose tiles ask for one, then
    for what has rows, then for what runs over all elements at once and can follow either."""
    chosen: dict[int, int] = {}
    units = [unit for kernel in plan.kernels for unit in units_of(kernel)]
    wishes = _Wishes(plan.buffers)
    for rank in range(3):
        for number, unit in enumerate(units):
            if _rank(unit) == rank and all(divisible(s, plan.buffers) for s in unit):
                grain = wishes.grain(unit, rank)
                chosen[number] = grain
                wishes.add(unit, grain)
    numbers = itertools.count()

    def grained(kernel: Kernel) -> Kernel:
        stages: list[Stage] = []
        for unit in units_of(kernel):
            grain = chosen.get(next(numbers), 0)
            grain = grain if grain < unit[0].extent else 0
            stages += (replace(s, grain=grain, barrier="") for s in unit)
        return replace(kernel, stages=tuple(stages))

    return tuple(each_kernel(part, grained) for part in plan.parts)


def each_kernel(part: Part, change: Callable[[Kernel], Kernel]) -> Part:
    """The part with every kernel changed, in the order of the text."""
    if isinstance(part, Kernel):
        return change(part)
    return replace(
        part,
        init=tuple(map(change, part.init)),
        bodies=tuple(tuple(each_kernel(p, change) for p in body) for body in part.bodies),
    )


def _rank(unit: Unit) -> int:
    code = unit[0].code
    if isinstance(code, Nest):
        return 2 if code.vector == 0 else 1
    return 0


class _Wishes:
    """How what touches each buffer is split already: bytes a grain, and the number of grains."""

    def __init__(self, buffers: Sequence[Buffer]) -> None:
        self._buffers = buffers
        self._known: dict[int, Counter[tuple[int, int]]] = {}

    def add(self, unit: Unit, grain: int) -> None:
        grains = -(-unit[0].extent // grain)
        for buffer, reach in self._moving(unit):
            self._known.setdefault(buffer, Counter())[reach.step * grain, grains] += 1

    def grain(self, unit: Unit, rank: int) -> int:
        """As most of its neighbours are split, if they are."""
        tile = 1 if rank else _default(unit, rank)
        votes: Counter[int] = Counter()
        for buffer, reach in self._moving(unit):
            for (step, grains), count in self._known.get(buffer, Counter()).items():
                grain = step // reach.step
                fits = step % reach.step == 0 and grain > 0 and grain % tile == 0
                if fits and -(-unit[0].extent // grain) == grains:
                    votes[grain] += count
        return max(votes, key=votes.__getitem__) if votes else _default(unit, rank)

    def _moving(self, unit: Unit) -> Iterator[tuple[int, Reach]]:
        for stage in unit:
            for reach in reaches(stage, self._buffers):
                if reach.step:
                    yield stage.operands[reach.operand].buffer, reach


def _default(unit: Unit, rank: int) -> int:
    code = unit[0].code
    if isinstance(code, Product):
        # Of few rows two take half each: no more need meet in a loop of such products, which took
        # 0.71 of the time so (64 rounds of 16 x 64 by 64 x 256, the gates and their reverse).
        return 1 if code.batch else min(ROW_TILE, -(-unit[0].extent // 2))
    if rank == 2:
        return FLAT_GRAIN
    return ROW_TILE if unit[0].extent >= FEWEST * ROW_TILE else 1


# ---- what is not worth a barrier


def lighten(parts: Sequence[Part], buffers: Sequence[Buffer]) -> tuple[Part, ...]:
    """The parts, without the grains of what one thread does sooner than two."""
    done: list[Part] = []
    for regions, row in itertools.groupby(parts, lambda part: isinstance(part, Region)):
        if regions:
            done += (_lighter(part, buffers) for part in row if isinstance(part, Region))
        else:
            done += _row_lighter([k for k in row if isinstance(k, Kernel)], buffers)
    return tuple(done)


def _lighter(region: Region, buffers: Sequence[Buffer]) -> Region:
    init = _row_lighter(region.init, buffers)
    bodies = tuple(lighten(body, buffers) for body in region.bodies)
    return replace(region, init=init, bodies=bodies)


def _row_lighter(kernels: Sequence[Kernel], buffers: Sequence[Buffer]) -> tuple[Kernel, ...]:
    """The same of kernels one after another, phase by phase from barrier to barrier."""
    phases: list[tuple[float, float]] = [(0.0, 0.0)]
    for unit in (unit for kernel in kernels for unit in units_of(kernel)):
        if unit[0].barrier:
            phases.append((0.0, 0.0))
        cost = sum(nanoseconds(stage, buffers) for stage in unit)
        split, rest = phases[-1]
        phases[-1] = (split + cost, rest) if unit[0].grain else (split, rest + cost)
    shared = worth_sharing(phases)
    phase = 0

    def lighter(kernel: Kernel) -> Kernel:
        nonlocal phase
        stages: list[Stage] = []
        for unit in units_of(kernel):
            phase += bool(unit[0].barrier)
            stages += unit if shared[phase] else (replace(s, grain=0) for s in unit)
        return replace(kernel, stages=tuple(stages))

    return tuple(map(lighter, kernels))
