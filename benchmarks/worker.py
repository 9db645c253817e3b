"""One contender with one model in a process of its own, which does as it is told.

`python -m benchmarks.worker CORE,CORE CONTENDER MODEL DTYPE THREADS` answers `first` (the first
run), `time` (a turn), `memory` (the peak of two runs), `bits` (the losses as they are).
"""

from __future__ import annotations

import os
import sys
import time

started = time.perf_counter()
if __name__ == "__main__" and sys.argv[1]:
    # Before any library counts the cores.
    os.sched_setaffinity(0, {int(core) for core in sys.argv[1].split(",")})

import ctypes  # noqa: E402
import gc  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from benchmarks.rounds import filling  # noqa: E402
from benchmarks.serving import serve  # noqa: E402

COMPARED = 20  # how many first losses are reported


class Worker:
    """A runner and what is measured of it."""

    def __init__(self, contender: str, model: str, dtype: str, threads: str) -> None:
        from benchmarks.contenders import contender as find
        from benchmarks.models import MODELS

        made = MODELS[model](dtype)
        make = find(contender)
        self.imports = time.perf_counter() - started
        self.runner = make(made, int(threads))
        self.count = made.count  # of the steps in a run
        _free()
        self.before = _memory("RssAnon")
        self.turn = (1, 1)

    def first(self) -> dict[str, Any]:
        """The seconds that the first run took beyond a second one, and the first losses."""
        start = time.perf_counter()
        self.runner.restart()
        result = self.runner.run()
        first = time.perf_counter() - start
        losses = self.runner.losses(result).tolist()
        self.count = len(losses)  # some go through the first batches only
        again, _ = self.runner.timed(1)
        self.turn = filling(self.runner)
        return {
            "compile": max(first - again, 0.0),
            "losses": losses[:COMPARED],
            "imports": self.imports,
        }

    def time(self) -> dict[str, Any]:
        """A turn: seconds of a step, on the wall and of the processor."""
        before = time.process_time()
        wall, cpu = self.runner.timed(*self.turn)
        found = {"wall": wall / self.count, "cpu": cpu / self.count}
        return {**found, "before": before, "after": time.process_time()}

    def memory(self) -> dict[str, Any]:
        """The most memory that two runs took beyond the imports and the data, in bytes.

        Memory is what a process alone has: pages of files, which are the code of libraries, are
        the system's, and come and go as it likes.
        """
        _free()  # what compiling left counts for nobody
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins again
        self.runner.timed(2)
        peak = _memory("VmHWM") - _memory("RssFile") - _memory("RssShmem")
        return {"peak": peak - self.before, "planned": self.runner.planned_bytes()}

    def bits(self) -> dict[str, Any]:
        """All losses of a run from the first weights, as hexadecimal numbers."""
        self.runner.restart()
        losses = self.runner.losses(self.runner.run())
        return {"losses": [float(loss).hex() for loss in losses]}


def _free() -> None:
    """Give memory that nothing uses back to the system."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def _memory(name: str) -> int:
    """A line of the system's account of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"the system does not say {name}")


if __name__ == "__main__":
    serve(lambda: Worker(*sys.argv[2:6]))
