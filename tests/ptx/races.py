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

MANY = -1
ROOM = 1 << 20  # readings to keep before they are looked through for those to forget


class Races:
    """The check for one wave of blocks and one space.

    A *cell* is the least that the kernel accesses at once: 1, 2 or 4 bytes. `columns` is the number
    of warps that a warp can meet: those of its block for shared memory, all for global memory.
    Tick 0 is of what has not happened, so that arrays begin as zeros, which cost nothing.
    """

    def __init__(self, threads: int, columns: int, cells: int) -> None:
        self.columns = columns
        self.ordered = np.ones((threads // 32, columns), np.int32)
        self.tick = self.floor = 1  # every warp knows what is older than the floor
        self.writer = np.zeros(cells, np.int32)
        self.written = np.zeros(cells, np.int32)
        self.strong = np.zeros(cells, np.bool_)
        self.reader = np.zeros(cells, np.int32)
        self.read = np.zeros(cells, np.int32)
        self.many = Readings(columns)  # of the cells whose reader is MANY

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
        self.raise_floor()

    def meet_lanes(self, threads: np.ndarray) -> None:
        """Lanes that came together."""
        self.tick += 1
        warps = threads >> 5
        self.ordered[warps, warps % self.columns] = self.tick
        self.raise_floor()

    def raise_floor(self) -> None:
        floor = int(np.minimum.reduce(self.ordered, axis=None))
        if floor > self.floor:
            self.floor = floor
            self.many.forget(floor)

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
        """Whether what others did may have happened at the same time; of MANY nothing is said."""
        column = (others >> 5) % self.columns
        known = self.ordered.ravel()[(threads >> 5) * self.columns + column]
        return (ticks >= known) & (others != threads)

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
        bad = self.unordered(threads, others, ticks) & (others != MANY)
        many = np.nonzero((others == MANY) & (ticks >= self.floor))[0]
        if many.size:
            who = self.many.late(threads[many], cells[many], self.ordered)
            others[many] = who
            bad[many] = who >= 0
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
        self.read[cells] = 0

    def note_read(self, threads: np.ndarray, cells: np.ndarray) -> None:
        before, ticks = self.reader[cells], self.read[cells]
        self.reader[cells] = threads
        self.read[cells] = self.tick
        many = self.reader[cells] != threads
        # Who read before needs not be remembered if all know of it, or whoever reads now does.
        kept = ticks >= self.floor
        if np.count_nonzero(kept):
            kept &= (before == MANY) | self.unordered(threads, before, ticks)
            many |= kept
            single = np.nonzero(kept & (before != MANY))[0]
            if single.size:
                self.many.note(before[single], cells[single], ticks[single])
        if np.count_nonzero(many):
            self.reader[cells[many]] = MANY
            now = np.nonzero(self.reader[cells] == MANY)[0]
            self.many.note(threads[now], cells[now], np.full(now.size, self.tick, np.int32))

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


class Readings:
    """Who read which cell at which tick: of cells that several read, and only as long as not
    everybody knows of it. So it is seldom looked at, and nothing is made of it until then."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.log: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # threads, cells, ticks
        self.size, self.room = 0, ROOM

    def note(self, *reading: np.ndarray) -> None:
        self.log.append(reading)
        self.size += reading[0].size
        if self.size > self.room:
            self.shorten()
            self.room = max(ROOM, 2 * self.size)

    def forget(self, floor: int) -> None:
        """What was before the floor is known to all."""
        self.log = [reading for reading in self.log if int(reading[2].max()) >= floor]
        self.size = sum(reading[0].size for reading in self.log)

    def shorten(self) -> None:
        """Of a thread that read a cell more than once, the last time is enough."""
        threads, cells, ticks = self.readings()
        order = np.lexsort((ticks, threads, cells))
        threads, cells, ticks = threads[order], cells[order], ticks[order]
        last = np.append((np.diff(threads) != 0) | (np.diff(cells) != 0), True)
        self.log = [(threads[last], cells[last], ticks[last])]
        self.size = int(np.count_nonzero(last))

    def readings(self) -> list[np.ndarray]:
        return list(map(np.concatenate, zip(*self.log, strict=True)))

    def late(self, threads: np.ndarray, cells: np.ndarray, ordered: np.ndarray) -> np.ndarray:
        """For each thread another that read its cell after all that it knows of, MANY if none did.

        What was read before the cell was last written does no harm: whoever knows of the write
        knows of that too.
        """
        readers, read, ticks = self.readings()
        about = np.nonzero(np.isin(read, cells))[0]
        about = about[np.argsort(read[about], kind="stable")]
        readers, read, ticks = readers[about], read[about], ticks[about]
        # Pairs of a thread and a reading of its cell.
        first, last = (np.searchsorted(read, cells, side) for side in ("left", "right"))
        each = np.repeat(np.arange(threads.size), last - first)
        at = np.arange(each.size) - np.repeat(np.cumsum(last - first) - last, last - first)
        others = readers[at]
        known = ordered[threads[each] >> 5, (others >> 5) % self.columns]
        bad = (ticks[at] >= known) & (others != threads[each])
        found = np.full(threads.size, MANY, others.dtype)
        found[each[bad]] = others[bad]
        return found


class RaceError(Exception):
    """Two accesses with nothing between them."""

    def __init__(self, thread: int, other: int, cell: int, did: str) -> None:
        super().__init__(f"thread {thread} races with {other}")
        self.thread, self.other, self.cell, self.did = thread, other, cell, did

    def fault(self, place: str, name: str) -> FaultError:
        """As a fault; `name` is the other thread in words."""
        return FaultError(f"race: {name} {self.did} {place} with no barrier between", self.thread)
