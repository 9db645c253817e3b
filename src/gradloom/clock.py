"""Seconds by stage."""

import time


class Clock:
    """Seconds between marks, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def mark(self, stage: str) -> None:
        """Book the time since the last mark under `stage`."""
        now = time.perf_counter()
        self.seconds[stage] = now - self._last
        self._last = now
