"""cp.async: a copy to shared memory that lands at the latest moment that is allowed, when the
thread waits for it. What reads the destination without waiting finds what lay there before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tests.ptx.wave import Wave

BYTE = np.dtype(np.uint8)


@dataclass
class Copy:
    """One cp.async of some threads, not landed; `batch` is the group of copies it belongs to."""

    threads: np.ndarray
    batch: np.ndarray
    target: np.ndarray
    source: np.ndarray
    size: int
    wanted: np.ndarray  # bytes that are read; zeros follow

    def part(self, where: np.ndarray) -> Copy:
        arrays = (self.threads, self.batch, self.target, self.source)
        parts = [array[where] for array in arrays]
        return Copy(*parts, self.size, self.wanted[where])


class Copies:
    def __init__(self, wave: Wave) -> None:
        self.wave = wave
        self.flying: list[Copy] = []
        self.committed = np.zeros(wave.lanes.size * 32, np.int64)

    def start(
        self,
        threads: np.ndarray,
        target: np.ndarray,
        source: np.ndarray,
        size: int,
        wanted: np.ndarray,
    ) -> None:
        self.wave.progress = True
        shared = self.wave.spaces["shared"]
        shared.begin_copy(threads, target, size)
        batch = self.committed[threads]
        self.flying.append(Copy(threads, batch, target, source, size, wanted))
        self.check_source(self.flying[-1])

    def check_source(self, copy: Copy) -> None:
        """An address outside is the fault of the instruction that names it."""
        reads = np.nonzero(copy.wanted > 0)[0]
        if reads.size:
            everywhere = self.wave.spaces["global"]
            everywhere.aligned(copy.threads[reads], copy.source[reads], copy.size)
            everywhere.locate(copy.threads[reads], copy.source[reads], 1)
            last = copy.source[reads] + copy.wanted[reads] - 1
            everywhere.locate(copy.threads[reads], last, 1)

    def commit(self, threads: np.ndarray) -> None:
        self.committed[threads] += 1

    def wait(self, threads: np.ndarray, pending: int | None) -> None:
        """Lands what the threads committed, but for their last `pending` groups; with None also
        what they did not commit."""
        self.wave.progress = self.wave.progress or bool(self.flying)
        limit = np.zeros(self.committed.size, np.int64)
        limit[threads] = self.committed[threads] + (1 if pending is None else -pending)
        flying, self.flying = self.flying, []
        for copy in flying:
            lands = copy.batch < limit[copy.threads]
            if lands.all():
                self.land(copy)
            elif lands.any():
                self.land(copy.part(np.nonzero(lands)[0]))
                self.flying.append(copy.part(np.nonzero(~lands)[0]))
            else:
                self.flying.append(copy)

    def land(self, copy: Copy) -> None:
        data = np.zeros((copy.size, copy.threads.size), np.uint8)
        full = np.nonzero(copy.wanted == copy.size)[0]
        everywhere = self.wave.spaces["global"]
        if full.size:
            words = np.dtype(np.uint32)
            found = everywhere.read(copy.threads[full], copy.source[full], words, copy.size // 4)
            lines = np.stack(found, axis=1).view(np.uint8)
            data[:, full] = lines.T
        for byte in range(copy.size):
            some = np.nonzero((copy.wanted > byte) & (copy.wanted < copy.size))[0]
            if some.size:
                at = copy.source[some] + byte
                data[byte, some] = everywhere.read(copy.threads[some], at, BYTE)[0]
        words = np.ascontiguousarray(data.T).view(np.uint32)
        self.wave.spaces["shared"].write(copy.threads, copy.target, tuple(words.T))
