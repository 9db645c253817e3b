"""What a launch did, for tests that bound it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

SECTOR = 32  # bytes that global memory hands out at once
BANKS = 32  # of shared memory, 4 bytes wide


@dataclass
class Counters:
    """Counts are of threads: an instruction that a warp executes counts 32 times.

    Bytes are those asked for. Sectors of global memory and bank conflicts are counted only with
    `profile`, since they cost a sort of the addresses of every access.
    """

    profile: bool = False
    instructions: Counter[str] = field(default_factory=Counter)  # by opcode
    global_read: int = 0
    global_written: int = 0
    shared_read: int = 0
    shared_written: int = 0
    sectors: int = 0
    bank_conflicts: int = 0
    barriers: int = 0  # completed, over all blocks
    rounds: int = 0  # blocks of straight code that were run

    @property
    def total(self) -> int:
        return self.instructions.total()

    def count(self, prefix: str) -> int:
        """Executed instructions whose opcode begins with a word, as `"fma"` or `"ld.shared"`."""
        return sum(
            count
            for opcode, count in self.instructions.items()
            if opcode == prefix or opcode.startswith(prefix + ".")
        )

    def shared(self, size: int, writes: bool) -> None:
        if writes:
            self.shared_written += size
        else:
            self.shared_read += size

    def globally(self, threads: np.ndarray, places: np.ndarray, size: int, writes: bool) -> None:
        if writes:
            self.global_written += size * threads.size
        else:
            self.global_read += size * threads.size
        if self.profile:
            self.sectors += distinct((threads >> 5), places // SECTOR)


def distinct(groups: np.ndarray, items: np.ndarray) -> int:
    """How many different items each group has, added up."""
    return len(np.unique((groups.astype(np.int64) << 40) + items))


def bank_conflicts(threads: np.ndarray, places: np.ndarray, size: int) -> int:
    """Extra passes over the banks: words of one bank beyond the first, in the fullest bank.

    A warp that accesses 8 or 16 bytes a lane does so in two or four phases.
    """
    words = max(size // 4, 1)
    phase = threads // (32 // min(words, 4))
    first = places // 4
    pairs = np.concatenate([(phase.astype(np.int64) << 40) + first + part for part in range(words)])
    pairs = np.unique(pairs)
    group, bank = pairs >> 40, pairs % BANKS
    group = np.unique(group, return_inverse=True)[1]
    filled = np.bincount(group * BANKS + bank, minlength=(group.max() + 1) * BANKS)
    return int((filled.reshape(-1, BANKS).max(axis=1) - 1).sum())
