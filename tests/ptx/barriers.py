"""The barriers of the blocks, or clusters, of a wave: who has come, who waits, what they voted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tests.ptx.spaces import FaultError
from tests.ptx.values import Values, parts_of

if TYPE_CHECKING:
    from tests.ptx.wave import Wave

BARRIERS = 16  # that a block has


@dataclass
class Party:
    """Threads that came to a barrier together. Those that wait go on at `position`."""

    threads: np.ndarray
    position: int | None  # None: they did not wait
    values: Values = ()

    def part(self, where: np.ndarray) -> Party:
        return Party(self.threads[where], self.position, parts_of(self.values, where))


class Barrier:
    """One barrier number, of every group of blocks."""

    def __init__(self, number: int, groups: int) -> None:
        self.number = number
        self.come = np.zeros(groups, np.int64)
        self.asked = np.zeros(groups, np.int64)  # how many were said to come; 0: all
        self.parties: list[Party] = []
        self.phase = np.zeros(groups, np.int64)
        self.votes: dict[tuple[int, int], list[int]] = {}  # (block, phase) -> yes, cast


class Barriers:
    """Those of the groups of a wave: `groups` has the number of the group of each block."""

    def __init__(self, wave: Wave, groups: np.ndarray) -> None:
        self.wave, self.groups = wave, groups
        self.count = int(groups.max()) + 1
        self.barriers: dict[int, Barrier] = {}

    def group_of(self, threads: np.ndarray) -> np.ndarray:
        """The number of the group of each thread."""
        return self.groups[self.wave.block_of(threads)]

    def total(self, numbers: np.ndarray) -> np.ndarray:
        """For each group the sum of a number of each of its blocks."""
        return np.bincount(self.groups, numbers, self.count).astype(np.int64)

    def barrier(self, number: int) -> Barrier:
        if not 0 <= number < BARRIERS:
            raise FaultError(f"there is no barrier {number}")
        return self.barriers.setdefault(number, Barrier(number, self.count))

    def come(self, number: int, count: int | None, party: Party) -> None:
        """Threads come to a barrier of their groups."""
        self.wave.progress = True
        barrier = self.barrier(number)
        groups = np.bincount(self.group_of(party.threads), minlength=self.count)
        barrier.come += groups
        if count is not None:
            if count % 32:
                raise FaultError(f"a barrier of {count} threads: a multiple of 32 is asked for")
            here = groups > 0
            if (here & (barrier.asked != 0) & (barrier.asked != count)).any():
                raise FaultError(f"barrier {number} is asked for with different counts of threads")
            barrier.asked[here] = count
        barrier.parties.append(party)
        self.complete(barrier)

    def complete_all(self) -> None:
        """Threads that ended are no longer waited for."""
        for barrier in self.barriers.values():
            if barrier.parties:
                self.complete(barrier)

    def complete(self, barrier: Barrier) -> None:
        alive, most = (
            self.total(n) for n in (self.wave.alive_in_block, self.wave.threads_in_block)
        )
        wanted = np.where(barrier.asked, np.minimum(barrier.asked, most), alive)
        done = (barrier.come > 0) & (barrier.come >= wanted)
        if not done.any():
            return
        if (barrier.come > wanted)[done].any():
            raise FaultError(f"more threads come to barrier {barrier.number} than it counts")
        self.order(barrier, done)
        barrier.come[done] = barrier.asked[done] = 0
        barrier.phase[done] += 1
        self.wave.counters.barriers += int(np.count_nonzero(done))
        parties, barrier.parties = barrier.parties, []
        for party in parties:
            self.release(barrier, party, done)

    def release(self, barrier: Barrier, party: Party, done: np.ndarray) -> None:
        goes = done[self.group_of(party.threads)]
        if not goes.all():
            barrier.parties.append(party.part(np.nonzero(~goes)[0]))
            party = party.part(np.nonzero(goes)[0])
        if party.position is not None and party.threads.size:
            self.wave.put(party.position, party.threads, party.values)

    def order(self, barrier: Barrier, done: np.ndarray) -> None:
        """Tells the race checks who met."""
        if not self.wave.races:
            return
        threads = np.concatenate([party.threads for party in barrier.parties])
        waits = [np.full(p.threads.size, p.position is not None) for p in barrier.parties]
        met = done[self.group_of(threads)]
        warps, first = np.unique(threads[met] >> 5, return_index=True)
        learns = np.zeros(self.wave.lanes.size, np.bool_)
        learns[warps] = np.concatenate(waits)[met][first]
        come = np.zeros(self.wave.lanes.size, np.bool_)
        come[warps] = True
        # Where all are awaited, warps that have ended count as come.
        blocks = np.arange(self.wave.lanes.size) // (self.wave.padded // 32)
        groups = self.groups[blocks]
        come |= (self.wave.lanes == 0) & (done & (barrier.asked == 0))[groups]
        warps = np.nonzero(come)[0]
        for races in self.wave.races:
            within = groups if races.columns == self.wave.lanes.size else blocks
            ordered = warps[np.argsort(within[warps], kind="stable")]
            races.meet(ordered, within[ordered], learns[ordered])

    def vote(self, number: int, threads: np.ndarray, yes: np.ndarray) -> None:
        """`bar.red`: what the threads that are about to come say."""
        barrier = self.barrier(number)
        blocks = self.group_of(threads)
        for block in np.unique(blocks):
            cast = barrier.votes.setdefault((int(block), int(barrier.phase[block])), [0, 0])
            here = blocks == block
            cast[0] += int(np.count_nonzero(yes[here]))
            cast[1] += int(np.count_nonzero(here))

    def collect(self, number: int, threads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Yes and cast votes of the phase that has just ended, for each thread."""
        barrier = self.barrier(number)
        blocks = self.group_of(threads)
        found = {
            block: barrier.votes.get((int(block), int(barrier.phase[block]) - 1), [0, 0])
            for block in np.unique(blocks)
        }
        pairs = np.array([found[block] for block in blocks])
        return pairs[:, 0], pairs[:, 1]
