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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from gradloom.errors import InternalError
from gradloom.plan.columns import by_columns
from gradloom.plan.costs import effort, nanoseconds, worth_sharing
from gradloom.plan.lower import ROW_TILE
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
    ALL,
    ANY,
    SERIAL,
    Access,
    Reach,
    accesses,
    moved,
    nest_accesses,
    placed,
    reach_of,
    reaches,
    sizes_of,
)
from gradloom.settings import current as current_settings

Unit = tuple[Stage, ...]

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
    return _Meetings(buffers, placing=True).visit(parts)


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
    walk = _Meetings(plan.buffers, placing=False)
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


def units_of(kernel: Kernel) -> list[tuple[Stage, ...]]:
    """Stages that run over one range together: all that share blocks, or else one at a time."""
    return [kernel.stages] if kernel.in_blocks else [(stage,) for stage in kernel.stages]


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
        return 1 if code.batch else ROW_TILE
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


# ---- barriers


class _Open:
    """What has been touched since all met: the first of equal ones, by what could meet it, since a
    network of 4,375 operations, all of worker 0, had 48 million pairs to look at."""

    def __init__(self, found: Iterable[Access] = ()) -> None:
        self._groups: dict[tuple[int, bool, bool], dict[Access, None]] = {}
        self.add(found)

    def __iter__(self) -> Iterator[Access]:
        return itertools.chain.from_iterable(self._groups.values())

    def add(self, found: Iterable[Access]) -> None:
        for access in found:
            key = access.root, access.grains == SERIAL, access.writes
            self._groups.setdefault(key, {}).setdefault(access)

    def clear(self) -> None:
        self._groups.clear()

    def meeting(self, access: Access) -> Iterator[Access]:
        """Those that meet it: never two of worker 0, nor two that read."""
        for serial in (False,) if access.grains == SERIAL else (False, True):
            for writes in (True, False) if access.writes else (True,):
                group = self._groups.get((access.root, serial, writes), {})
                yield from filter(access.meets, group)


class _Meetings:
    """A walk through a plan that places barriers as late as they may stand, which makes them as few
    as they can be where all is in a row; or that checks those that are there."""

    def __init__(self, buffers: Sequence[Buffer], placing: bool) -> None:
        self.buffers = buffers
        self.placing = placing
        self.open = _Open()
        self.missing: list[str] = []  # why there should be barriers that are not there

    def visit(self, parts: Sequence[Part]) -> tuple[Part, ...]:
        return tuple(self._part(part) for part in parts)

    def _part(self, part: Part) -> Part:
        if isinstance(part, Kernel):
            return self._kernel(part)
        part = replace(part, init=tuple(map(self._kernel, part.init)))
        walk = {"for": self._for, "while": self._while, "branch": self._branch}
        return walk[part.flow](part)

    def _kernel(self, kernel: Kernel) -> Kernel:
        stages: list[Stage] = []
        for first, *rest in units_of(kernel):
            touched = [
                access
                for stage in (first, *rest)
                for access in accesses(stage, self.buffers, stage.grain, kernel.name)
            ]
            reason = self._before(touched, first.barrier)
            stages += (replace(first, barrier=reason), *rest)
        return replace(kernel, stages=tuple(stages))

    def _before(self, touched: Sequence[Access], barrier: str) -> str:
        """Why all must meet before this, if they must; from then on it is open."""
        reason = self._met(next(self._conflicts(touched), ""), barrier)
        self.open.add(touched)
        return reason

    def _met(self, reason: str, barrier: str) -> str:
        """The barrier to have at this point, where there was one."""
        if self.placing:
            barrier = reason
        if barrier:
            self.open.clear()
        elif reason:
            self.missing.append(reason)
        return barrier

    def _conflicts(self, touched: Sequence[Access]) -> Iterator[str]:
        for access in touched:
            for other in self.open.meeting(access):
                yield self._reason(access, other)

    def _reason(self, access: Access, other: Access) -> str:
        verb, before = ("writes" if a.writes else "reads" for a in (access, other))
        name, old = (self.buffers[a.buffer].name for a in (access, other))
        place = name if name == old else f"{name} in the place of {old}"
        return f"{verb} {place}, which {other.kernel} {before}"

    # ---- loops and branches

    def _for(self, region: Region) -> Region:
        before = _Open(self.open)
        region = self._rounds(region, lambda r: replace(r, bodies=(self.visit(r.bodies[0]),)))
        if not region.length:
            self.open.add(before)
        return region

    def _while(self, region: Region) -> Region:
        left = _Open()

        def once(region: Region) -> Region:
            test = self.visit(region.bodies[0])
            barrier = self._before([self._word(region)], region.barrier)
            left.add(self.open)
            return replace(region, bodies=(test, self.visit(region.bodies[1])), barrier=barrier)

        region = self._rounds(region, once)
        self.open = left
        return region

    def _branch(self, region: Region) -> Region:
        barrier = self._before([self._word(region)], region.barrier)
        start, end = self.open, _Open()
        bodies = []
        for body in region.bodies:
            self.open = _Open(start)
            bodies.append(self.visit(body))
            end.add(self.open)
        self.open = end
        return replace(region, bodies=tuple(bodies), barrier=barrier)

    def _rounds(self, region: Region, once: Callable[[Region], Region]) -> Region:
        """Two rounds, which stand for all; they meet at the end of each if the second asks for it.

        What the third would find open, the second has found.
        """
        region = once(replace(region, again="" if self.placing else region.again))
        placing, self.placing = self.placing, False
        known = len(self.missing)
        self._end_round(region)
        once(region)
        if placing and self.missing[known:]:
            region = replace(region, again=self.missing[known])
            del self.missing[known:]
        self._end_round(region)
        self.placing = placing
        self.open = _Open(replace(a, past=ANY) for a in self.open)
        return region

    def _end_round(self, region: Region) -> None:
        """What is open, as the next round sees it: rows that moved on are part of their array."""
        if region.again:
            self.open.clear()
        moving = {row for row in region.rows if self.buffers[row].stride}
        found = _Open()
        for access in self.open:
            if moving & set(self._rows(access.row)):
                past = access.row if access.row in moving and self._steps(access.row) else ANY
                access = replace(
                    access, step=0, low=access.start, high=access.stop, row=ANY, past=past
                )
            found.add((access,))
        self.open = found

    def _rows(self, number: int) -> Iterator[int]:
        """A row, and the rows that it is part of."""
        while number != ANY and self.buffers[number].space == "row":
            yield number
            number = self.buffers[number].of

    def _steps(self, row: int) -> bool:
        """Whether a row lies apart from itself in any other round."""
        buffer = self.buffers[row]
        return abs(buffer.stride) >= buffer.type.nbytes

    def _word(self, region: Region) -> Access:
        """Everybody reads the word of a loop or branch."""
        nbytes = self.buffers[region.word].type.nbytes
        whole = placed(self.buffers, region.word, Reach(0, 0, 0, nbytes, writes=False), 1, 0)
        return replace(whole, grains=ALL, kernel=region.name)
