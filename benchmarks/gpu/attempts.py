"""A process that is asked for one measurement after another, and begins anew when one ended it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.contenders.checks import CannotError
from benchmarks.gpu import place as places
from benchmarks.processes import Worker
from benchmarks.rounds import Spread, interleave

LIMIT = 120.0  # seconds for an answer: a kernel that waits for ever must not stop the others


class Attempts:
    """`python -m ARGUMENTS[0] CORES *ARGUMENTS[1:]`, where it is needed; `absent` says why what
    was asked for is not there."""

    def __init__(
        self, arguments: list[str], caches: Path, environment: Mapping[str, str], name: str = ""
    ) -> None:
        self.arguments, self.caches, self.environment = arguments, caches, environment
        self.name = name
        self.absent: dict[str, str] = {}
        self._worker: Worker | None = None

    def ask(self, word: str) -> dict[str, Any] | None:
        """The answer, or nothing."""
        try:
            if self._worker is None:
                self._worker = Worker(
                    self.arguments,
                    0,
                    self.caches,
                    limit=LIMIT,
                    on=places.all_cores(),
                    environment=self.environment,
                )
            return self._worker.ask(word)
        except CannotError as error:
            self.absent[f"{self.name}, {word}" if self.name else word] = str(error)
            self._worker = None
            return None

    def turn(self) -> tuple[float, float]:
        """Seconds of what was asked for last, on the wall and of the processor."""
        assert self._worker is not None
        return self._worker.turn()

    def timed(self, word: str, seconds: float) -> Spread | None:
        """Seconds of what the word prepares, measured for about `seconds`."""
        if self.ask(word) is None:
            return None
        return interleave({word: self.turn}, seconds).seconds(word)

    def close(self) -> None:
        """End the process."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None
