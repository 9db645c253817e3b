"""Global memory as one launch sees it: counted, and watched for races if asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tests.ptx.races import RaceError, Races
from tests.ptx.spaces import Memory, Space

if TYPE_CHECKING:
    from tests.ptx.wave import Wave


class Global(Space):
    name = "global"

    def __init__(self, memory: Memory, wave: Wave, races: bool) -> None:
        self.memory, self.wave = memory, wave
        self.buffer, self.views = memory.buffer, memory.views
        self.cell = wave.launch.kernel.cells["global"]
        threads = wave.blocks.size * wave.padded
        size = memory.buffer.size // self.cell
        self.races = Races(threads, threads // 32, size) if races else None
        # What an atomic or a release has made known at an address, and what a warp has read there
        # without acquiring it yet; what a warp knew at its last fence.
        self.published: dict[int, np.ndarray] = {}
        self.pending: dict[int, np.ndarray] = {}
        self.fenced: dict[int, np.ndarray] = {}

    def locate(self, threads: np.ndarray, addresses: np.ndarray, size: int) -> np.ndarray:
        return self.memory.locate(threads, addresses, size)

    def touched(
        self, threads: np.ndarray, places: np.ndarray, size: int, writes: bool, strong: bool
    ) -> None:
        self.wave.counters.globally(threads, places, size, writes)
        if self.races is None:
            return
        count = max(size // self.cell, 1)
        cells = (places[:, None] // self.cell + np.arange(count)).ravel()
        try:
            self.races.access(np.repeat(threads, count), cells, writes, strong)
        except RaceError as race:
            address = race.cell * self.cell
            where = f"global address {address:#x} ({self.memory.near(address)})"
            raise race.fault(where, self.wave.named(race.other)) from None

    # What orders threads of different blocks.

    def fence(self, threads: np.ndarray) -> None:
        if self.races is None:
            return
        for warp in np.unique(threads >> 5):
            pending = self.pending.pop(int(warp), None)
            if pending is not None:
                self.races.learn(warp, pending)
            self.fenced[int(warp)] = self.knowledge(int(warp))

    def knowledge(self, warp: int) -> np.ndarray:
        """What a warp knows, of itself everything up to now."""
        known = self.races.ordered[warp].copy()
        self.races.tick += 1
        known[warp % self.races.columns] = self.races.tick
        return known

    def strongly(
        self,
        threads: np.ndarray,
        addresses: np.ndarray,
        reads: bool = False,
        writes: bool = False,
        acquires: bool = False,
        releases: bool = False,
    ) -> None:
        """Each thread after the other, as an atomic knows of those before it alone."""
        if self.races is None:
            return
        for thread, address in zip(threads.tolist(), addresses.tolist(), strict=True):
            if reads:
                self.acquire(thread >> 5, address, acquires)
            if writes:
                # Only what reads it, too, hands on what was told there before.
                before = self.published.get(address) if reads else None
                self.release(thread >> 5, address, releases, before)

    def release(self, warp: int, address: int, now: bool, before: np.ndarray | None) -> None:
        """A strong write: it tells what the warp knows, or knew at its last fence."""
        known = self.knowledge(warp) if now else self.fenced.get(warp)
        told = [one for one in (known, before) if one is not None]
        self.published.pop(address, None)
        if told:
            self.published[address] = np.maximum.reduce(told)

    def acquire(self, warp: int, address: int, now: bool) -> None:
        """A strong read: the warp learns what was told there, or will at its next fence."""
        known = self.published.get(address)
        if known is None:
            return
        if now:
            self.races.learn(warp, known)
        else:
            self.pending[warp] = np.maximum(self.pending.get(warp, known), known)
