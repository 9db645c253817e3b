"""A training step of every model by every contender."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contenders import missing
from benchmarks.contenders.checks import CannotError
from benchmarks.processes import Worker
from benchmarks.rounds import Timing, interleave

OURS = "gradloom, run"
TOLERANCE = {"float32": 2e-3, "float64": 1e-8}  # of the first losses, relatively


@dataclass
class Found:
    """What was measured of one model; by contender."""

    timing: Timing
    cold: dict[str, float]  # seconds of the first run beyond a second one, nothing cached
    warm: dict[str, float]  # the same in a later process
    peak: dict[str, int]  # bytes beyond imports and data
    planned: dict[str, int | None]
    idle: dict[str, float]  # processor seconds while others were measured
    difference: float  # the largest relative one of the first losses
    absent: dict[str, str]  # who is not there, and why


def compare(
    model: str,
    names: Iterable[str],
    dtype: str = "float32",
    threads: int = 1,
    seconds: float = 5.0,
    caches: Path = Path(),
    cold: bool = True,
) -> Found:
    """Measure one model; with `cold`, everyone starts once more beforehand to compile."""
    absent: dict[str, str] = {}
    workers: dict[str, Worker] = {}
    compiled: dict[str, float] = {}
    firsts: dict[str, dict[str, Any]] = {}
    for name in names:
        try:
            if why := missing(name):
                raise CannotError(why)
            if cold:
                worker = Worker(name, model, dtype, threads, caches)
                compiled[name] = worker.ask("first")["compile"]
                worker.close()
            worker = Worker(name, model, dtype, threads, caches)
            firsts[name] = worker.ask("first")
            workers[name] = worker
        except CannotError as error:
            absent[name] = str(error)
    try:
        difference = check({name: first["losses"] for name, first in firsts.items()}, dtype)
        memory = {name: worker.ask("memory") for name, worker in workers.items()}
        timing = interleave({name: worker.turn for name, worker in workers.items()}, seconds)
    finally:
        for worker in workers.values():
            worker.close()
    return Found(
        timing,
        compiled,
        {name: first["compile"] for name, first in firsts.items()},
        {name: found["peak"] for name, found in memory.items()},
        {name: found["planned"] for name, found in memory.items()},
        {name: worker.idle for name, worker in workers.items()},
        difference,
        absent,
    )


def check(losses: dict[str, list[float]], dtype: str) -> float:
    """The largest relative difference of anyone's first losses to those of everybody's median.

    Raises ValueError if it is beyond `TOLERANCE`: the contenders do not do the same.
    """
    shortest = min(map(len, losses.values()))
    cut = {name: np.array(found[:shortest]) for name, found in losses.items()}
    middle = np.median(list(cut.values()), axis=0)
    off = {n: float(np.max(np.abs(f - middle) / np.abs(middle))) for n, f in cut.items()}
    wrong = {name: d for name, d in off.items() if not d <= TOLERANCE[dtype]}
    if wrong:
        raise ValueError(f"losses differ from the median of all: {wrong}")
    return max(off.values())
