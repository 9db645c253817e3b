"""One contender with one model in a process of its own, which does as it is told.

`python -m benchmarks.gpu.worker CORES CONTENDER MODEL DTYPE PLACE` answers `first` (the first run)
and `time` (a turn).
"""

from __future__ import annotations

import sys
import time
from typing import Any

from benchmarks.rounds import filling
from benchmarks.serving import serve

COMPARED = 20  # how many first losses are reported


class Worker:
    """A runner and what is measured of it."""

    def __init__(self, contender: str, model: str, dtype: str, place: str) -> None:
        from benchmarks.gpu.contenders import CONTENDERS, model_of

        made = model_of(model, dtype)
        self.runner = CONTENDERS[contender].make(made, place)
        self.count = made.count
        self.turn = (1, 1)

    def first(self) -> dict[str, Any]:
        """The seconds that the first run took beyond a second one, and the first losses."""
        start = time.perf_counter()
        self.runner.restart()
        losses = self.runner.losses(self.runner.run()).tolist()
        first = time.perf_counter() - start
        again, _ = self.runner.timed(1)
        self.turn = filling(self.runner)
        return {"compile": max(first - again, 0.0), "losses": losses[:COMPARED]}

    def time(self) -> dict[str, Any]:
        """A turn: seconds of a step, on the wall and of the processor."""
        before = time.process_time()
        wall, cpu = self.runner.timed(*self.turn)
        found = {"wall": wall / self.count, "cpu": cpu / self.count}
        return {**found, "before": before, "after": time.process_time()}


if __name__ == "__main__":
    serve(lambda: Worker(*sys.argv[2:6]))
