"""Who touched a piece of memory last, and whether a barrier stands between: the race check.

Time is a counter, the *tick*, that every barrier advances. `ordered[w, u]` is the tick before which
all that warp `u` did is known to have happened for warp `w`: a barrier gives its warps the
greatest knowledge that any of them has, and the present tick for each other. On the diagonal it is
the last time at which the lanes of the warp came together. Two accesses by different threads, one
of them a write, race unless the earlier is older than what the later thread's warp knows.

That is exact between warps. Within a warp, an instruction that brings together only some of the
lanes counts as if it brought together all.
"""

from __future__ import annotations

import numpy as np

from tests.ptx.spaces import FaultError

NOBODY, MANY = -1, -2


class Races:
    """The check for one wave of blocks and one space.

    A *cell* is the least that the kernel accesses at once: 1, 2 or 4 bytes. `columns` is the number
    of warps that a warp can meet: those of its block for shared memory, all for global memory.
    """

    def __init__(self, threads: int, columns: int, cells: int) -> None:
        self.columns = columns
        self.ordered = np.ones((threads // 32, columns), np.int32)
        self.tick = self.floor = 1  # every warp knows what is older than the floor
        self.writer = np.full(cells, NOBODY, np.int32)
        self.written = np.zeros(cells, np.int32)
        self.strong = np.zeros(cells, np.bool_)
        self.reader = np.full(cells, NOBODY, np.int32)
        self.read = np.zeros(cells, np.int32)
        self.readers = np.zeros(cells, np.uint64)  # a bit a column modulo 64, where MANY

    # What orders.

    def meet(self, warps: np.ndarray, groups: np.ndarray, waited: np.ndarray) -> None:
        """Warps that met at a barrier; `groups` numbers, in order, the barriers they met at. Those
        that did not wait but only arrived learn nothing."""
        self.tick += 1
        starts = np.nonzero(np.diff(groups, prepend=-1))[0]
        number = np.searchsorted(groups[starts], groups)
        known = np.maximum.reduceat(self.ordered[warps], starts)
        known[number, warps % self.columns] = self.tick
        self.ordered[warps[waited]] = known[number[waited]]
        self.floor = int(self.ordered.min())

    def meet_lanes(self, threads: np.ndarray) -> None:
        """Lanes that came together."""
        self.tick += 1
        warps = threads >> 5
        self.ordered[warps, warps % self.columns] = self.tick
        self.floor = int(self.ordered.min())

    def learn(self, warps: np.ndarray, known: np.ndarray) -> None:
        """Warps that learn what another knew, by an atomic."""
        self.ordered[warps] = np.maximum(self.ordered[warps], known)

    # What must be ordered.

    def access(self, threads: np.ndarray, cells: np.ndarray, writes: bool, strong: bool) -> None:
        self.after_writes(threads, cells, strong)
        if writes:
            self.after_reads(threads, cells)
            self.note_write(threads, cells, strong)
        elif not strong:
            self.note_read(threads, cells)

    def unordered(self, threads: np.ndarray, others: np.ndarray, ticks: np.ndarray) -> np.ndarray:
        known = self.ordered[threads >> 5, (others >> 5) % self.columns]
        return (others >= 0) & (others != threads) & (ticks >= known)

    def after_writes(self, threads: np.ndarray, cells: np.ndarray, strong: bool) -> None:
        ticks = self.written[cells]
        if int(np.maximum.reduce(ticks)) < self.floor:
            return
        others = self.writer[cells]
        bad = self.unordered(threads, others, ticks)
        if strong:
            bad &= ~self.strong[cells]
        if bad.any():
            self.fail(threads, others, cells, bad, "wrote")

    def after_reads(self, threads: np.ndarray, cells: np.ndarray) -> None:
        ticks = self.read[cells]
        if int(np.maximum.reduce(ticks)) < self.floor:
            return
        others = self.reader[cells]
        bad = self.unordered(threads, others, ticks)
        many = np.nonzero((others == MANY) & (ticks >= self.floor))[0]
        if many.size:
            columns = np.arange(self.columns) % 64
            took_part = self.readers[cells[many]][:, None] >> columns.astype(np.uint64) & np.uint64(
                1
            )
            late = ticks[many][:, None] >= self.ordered[threads[many] >> 5]
            bad[many] = (late & (took_part != 0)).any(axis=1)
        if bad.any():
            self.fail(threads, others, cells, bad, "read")

    def note_write(self, threads: np.ndarray, cells: np.ndarray, strong: bool) -> None:
        self.writer[cells] = threads
        if not strong:
            winner = self.writer[cells]
            both = winner != threads
            if both.any():
                self.fail(threads, winner, cells, both, "writes at the same time")
        self.written[cells] = self.tick
        self.strong[cells] = strong
        self.reader[cells] = NOBODY
        self.read[cells] = 0

    def note_read(self, threads: np.ndarray, cells: np.ndarray) -> None:
        fresh = self.read[cells] < self.floor  # who read before needs not be remembered
        before = self.reader[cells]
        self.reader[cells] = threads
        self.read[cells] = self.tick
        many = (self.reader[cells] != threads) | (~fresh & (before != threads))
        if not many.any():
            return
        self.reader[cells[many]] = MANY
        now = self.reader[cells] == MANY
        self.readers[cells[now & fresh]] = 0
        kept = now & ~fresh & (before >= 0)
        for who, where in ((threads[now], cells[now]), (before[kept], cells[kept])):
            bits = np.uint64(1) << ((who >> 5) % self.columns % 64).astype(np.uint64)
            np.bitwise_or.at(self.readers, where, bits)

    def fail(
        self,
        threads: np.ndarray,
        others: np.ndarray,
        cells: np.ndarray,
        bad: np.ndarray,
        did: str,
    ) -> None:
        at = int(np.argmax(bad))
        raise RaceError(int(threads[at]), int(others[at]), int(cells[at]), did)


class RaceError(Exception):
    """Two accesses with nothing between them."""

    def __init__(self, thread: int, other: int, cell: int, did: str) -> None:
        super().__init__(f"thread {thread} races with {other}")
        self.thread, self.other, self.cell, self.did = thread, other, cell, did

    def fault(self, place: str, name: str) -> FaultError:
        """As a fault; `name` is the other thread in words."""
        return FaultError(f"race: {name} {self.did} {place} with no barrier between", self.thread)
