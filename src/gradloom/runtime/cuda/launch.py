"""What is asked of a device at a time."""

from __future__ import annotations

from dataclasses import dataclass

from gradloom.plan.tiles import THREADS


@dataclass(frozen=True, slots=True)
class Launch:
    """A kernel on arguments, addresses and whole numbers, by so many blocks; `together`: all of
    them resident at once, so that they may wait for each other; as a `cluster`, which has a barrier
    of its own, they are neighbours too."""

    kernel: str
    arguments: tuple[int, ...]
    blocks: int = 1
    shared_bytes: int = 0
    together: bool = False
    cluster: bool = False
    threads: int = THREADS  # a block
