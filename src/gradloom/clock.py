"""Seconds by stage."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

now = time.perf_counter  # a benchmark may want the processor's time instead


class Clock:
    """Seconds between marks, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = now()
        self._inside = False

    def mark(self, stage: str) -> None:
        """Book the time since the last mark under `stage`."""
        at = now()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + at - self._last
        self._last = at

    def book(self, seconds: Mapping[str, float]) -> None:
        """Book the stages of what was measured since the last mark by a clock of its own."""
        for stage, taken in seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + taken
            self._last += taken

    @contextmanager
    def inner(self, stage: str) -> Iterator[None]:
        """Book what is done inside under `stage`, and not under the stage that it is part of; what
        is inside of another such part belongs to the outermost."""
        if self._inside:
            yield
            return
        start = now()
        self._inside = True
        try:
            yield
        finally:
            self._inside = False
            self.book({stage: now() - start})
