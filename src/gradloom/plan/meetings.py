"""Where a team must meet: between two of whom one writes what the other touches.

Two stages that are split into as many grains, of which each touches bytes that no other grain of
either does, need no barrier between them: whoever reads has written.  All else that shares bytes,
and is not only read, needs one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from gradloom.plan.plan import Buffer, Kernel, Part, Region, Stage, kernels_of
from gradloom.plan.touch import ALL, ANY, SERIAL, Access, Reach, accesses, placed

Unit = tuple[Stage, ...]


def units_of(kernel: Kernel) -> list[Unit]:
    """Stages that run over one range together: all that share blocks, or else one at a time."""
    return [kernel.stages] if kernel.in_blocks else [(stage,) for stage in kernel.stages]


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


def _meetings_in(region: Region) -> Iterator[str]:
    """Why the team meets, wherever it does within rounds of a loop."""
    found = [stage.barrier for kernel in kernels_of(region.bodies[0]) for stage in kernel.stages]
    inner = [part for part in region.bodies[0] if isinstance(part, Region)]
    return filter(None, (*found, region.again, *(part.barrier for part in inner)))


class Meetings:
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
        """All meet before the loop, if that spares a meeting in each round."""
        before = _Open(self.open)

        def rounds(barrier: str) -> Region:
            self.open = _Open(() if barrier else before)
            return self._rounds(
                replace(region, barrier=barrier),
                lambda r: replace(r, bodies=(self.visit(r.bodies[0]),)),
            )

        found = rounds("" if self.placing else region.barrier)
        reasons = list(_meetings_in(found))
        if self.placing and reasons:
            after, hoisted = self.open, rounds(reasons[0])
            if len(list(_meetings_in(hoisted))) < len(reasons):
                found = hoisted
            else:
                self.open = after
        if not region.length:
            self.open.add(before)
        return found

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
