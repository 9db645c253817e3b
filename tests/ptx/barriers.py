"""The barriers of the blocks of a wave: who has come, who waits, and what they voted."""

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
    """One barrier number, of every block."""

    def __init__(self, number: int, blocks: int) -> None:
        self.number = number
        self.come = np.zeros(blocks, np.int64)
        self.asked = np.zeros(blocks, np.int64)  # how many were said to come; 0: all
        self.parties: list[Party] = []
        self.phase = np.zeros(blocks, np.int64)
        self.votes: dict[tuple[int, int], list[int]] = {}  # (block, phase) -> yes, cast


class Barriers:
    def __init__(self, wave: Wave) -> None:
        self.wave = wave
        self.blocks = wave.alive_in_block.size
        self.barriers: dict[int, Barrier] = {}

    def barrier(self, number: int) -> Barrier:
        if not 0 <= number < BARRIERS:
            raise FaultError(f"there is no barrier {number}")
        return self.barriers.setdefault(number, Barrier(number, self.blocks))

    def come(self, number: int, count: int | None, party: Party) -> None:
        """Threads come to a barrier of their blocks."""
        self.wave.progress = True
        barrier = self.barrier(number)
        blocks = np.bincount(self.wave.block_of(party.threads), minlength=self.blocks)
        barrier.come += blocks
        if count is not None:
            if count % 32:
                raise FaultError(f"a barrier of {count} threads: a multiple of 32 is asked for")
            here = blocks > 0
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
        alive = self.wave.alive_in_block
        wanted = np.where(barrier.asked, np.minimum(barrier.asked, self.wave.size), alive)
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
        goes = done[self.wave.block_of(party.threads)]
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
        met = done[self.wave.block_of(threads)]
        warps, first = np.unique(threads[met] >> 5, return_index=True)
        learns = np.zeros(self.wave.lanes.size, np.bool_)
        learns[warps] = np.concatenate(waits)[met][first]
        come = np.zeros(self.wave.lanes.size, np.bool_)
        come[warps] = True
        # Where all are awaited, warps that have ended count as come.
        blocks = np.arange(self.wave.lanes.size) // (self.wave.padded // 32)
        come |= (self.wave.lanes == 0) & (done & (barrier.asked == 0))[blocks]
        warps = np.nonzero(come)[0]
        for races in self.wave.races:
            races.meet(warps, blocks[warps], learns[warps])

    def vote(self, number: int, threads: np.ndarray, yes: np.ndarray) -> None:
        """`bar.red`: what the threads that are about to come say."""
        barrier = self.barrier(number)
        blocks = self.wave.block_of(threads)
        for block in np.unique(blocks):
            cast = barrier.votes.setdefault((int(block), int(barrier.phase[block])), [0, 0])
            here = blocks == block
            cast[0] += int(np.count_nonzero(yes[here]))
            cast[1] += int(np.count_nonzero(here))

    def collect(self, number: int, threads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Yes and cast votes of the phase that has just ended, for each thread."""
        barrier = self.barrier(number)
        blocks = self.wave.block_of(threads)
        found = {
            block: barrier.votes.get((int(block), int(barrier.phase[block]) - 1), [0, 0])
            for block in np.unique(blocks)
        }
        pairs = np.array([found[block] for block in blocks])
        return pairs[:, 0], pairs[:, 1]
