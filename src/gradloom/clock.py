"""Seconds by stage."""

import time

now = time.perf_counter  # a benchmark may want the processor's time instead


class Clock:
    """Seconds between marks, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = now()

    def mark(self, stage: str) -> None:
        """Book the time since the last mark under `stage`."""
        at = now()
        self.seconds[stage] = at - self._last
        self._last = at
