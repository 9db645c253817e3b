"""A training step of every model by every contender, one thread and two."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np

from benchmarks.contenders import CONTENDERS, interpreter, missing
from benchmarks.contenders.checks import CannotError
from benchmarks.machine import cores
from benchmarks.models import MODELS
from benchmarks.peaks import peaks
from benchmarks.processes import Worker
from benchmarks.report import Report
from benchmarks.rounds import Timing, interleave, number

OURS = "gradloom, run"
TOLERANCE = {"float32": 2e-3, "float64": 1e-8}  # of the first losses, relatively
ONCE = ("gradloom, eager",)  # in the first table only: it has one thread anyway
LIMITS = {"torch, compile": 60.0}  # seconds for an answer, where compiling may take minutes


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


def measure(
    dtype: str = "float32",
    models: Iterable[str] = (),
    threads: Iterable[int] = (1, 2),
    seconds: float = 2.5,
    contenders: Iterable[str] = (),
) -> Report:
    """The tables; about `seconds` of measuring a model, beside compiling it."""
    from benchmarks.summary import report

    chosen, names = list(models) or list(MODELS), list(contenders) or list(CONTENDERS)
    threads = list(threads)
    found: dict[int, dict[str, Found]] = {count: {} for count in threads}
    with tempfile.TemporaryDirectory() as folder:
        for model in chosen:
            absent: dict[str, str] = {}
            for count in threads:
                start = time.perf_counter()
                caches = Path(folder) / model
                cold = count == threads[0]
                some = [n for n in names if n not in absent and (cold or n not in ONCE)]
                one = compare(model, some, dtype, count, seconds, caches, cold)
                found[count][model] = one
                absent = one.absent = {**absent, **one.absent}  # who failed is not asked again
                print(f"{progress(model, count, one)} ({time.perf_counter() - start:.0f} s)")
    made = {name: MODELS[name](dtype) for name in chosen}
    return report(dtype, made, found, {count: peaks(count, dtype) for count in threads})


def progress(model: str, threads: int, found: Found) -> str:
    """A line for who waits."""
    ratios = {n: found.timing.ratio(n, OURS).median for n in found.timing.wall}
    others = {n: r for n, r in ratios.items() if not n.startswith("gradloom")}
    best = min(others, key=lambda n: others[n], default=OURS)
    ours = number(found.timing.seconds(OURS).median * 1e6)
    absent = f"; without {', '.join(found.absent)}" if found.absent else ""
    return (
        f"{threads} thread{'s' * (threads > 1)}, {model}: {ours} us,"
        f" {best} {number(ratios[best])} times{absent}"
    )


def compare(
    model: str,
    names: Iterable[str],
    dtype: str,
    threads: int,
    seconds: float,
    caches: Path,
    cold: bool,
) -> Found:
    """Measure one model; with `cold`, everyone starts once more beforehand, to compile."""
    with started(model, names, dtype, threads, caches, cold) as ready:
        firsts, workers = ready.firsts, ready.workers
        losses = {name: first["losses"] for name, first in firsts.items()}
        difference = check(losses, dtype)
        memory = {name: worker.ask("memory") for name, worker in workers.items()}
        timing = interleave({name: worker.turn for name, worker in workers.items()}, seconds)
    return Found(
        timing,
        ready.compiled,
        {name: first["compile"] for name, first in firsts.items()},
        {name: found["peak"] for name, found in memory.items()},
        {name: found["planned"] for name, found in memory.items()},
        {name: worker.idle for name, worker in workers.items()},
        difference,
        ready.absent,
    )


@dataclass
class Ready:
    """Contenders that wait for their turns."""

    workers: dict[str, Worker]
    firsts: dict[str, dict[str, Any]]
    compiled: dict[str, float]
    absent: dict[str, str]


@contextmanager
def started(
    model: str, names: Iterable[str], dtype: str, threads: int, caches: Path, cold: bool = False
) -> Iterator[Ready]:
    """Contenders that have run once; whoever cannot is absent.

    Ours start alone.  The others, some of which compile for half a minute, start as many at a time
    as there are cores, each on one.
    """
    ready = Ready({}, {}, {}, {})
    names = list(names)
    alone = [name for name in names if name.startswith("gradloom")]
    lanes: Queue[int] = Queue()
    for core in cores(os.cpu_count() or 1):
        lanes.put(core)

    def start(name: str) -> None:
        lane = lanes.get()
        try:
            _start(ready, name, [model, dtype, str(threads)], caches, cold, lane)
        except CannotError as error:
            ready.absent[name] = str(error)
        finally:
            lanes.put(lane)

    try:
        for name in alone:
            start(name)
        with ThreadPoolExecutor(lanes.qsize()) as pool:
            list(pool.map(start, [name for name in names if name not in alone]))
        ready.workers = {name: ready.workers[name] for name in names if name in ready.workers}
        yield ready
    finally:
        for worker in ready.workers.values():
            worker.close()


def _start(ready: Ready, name: str, what: list[str], caches: Path, cold: bool, lane: int) -> None:
    if why := missing(name):
        raise CannotError(why)
    threads = int(what[-1])

    def worker() -> Worker:
        limit = LIMITS.get(name, 90.0)
        on = [lane] if threads == 1 else cores(threads)
        return Worker(
            ["benchmarks.worker", name, *what], threads, caches, interpreter(name), limit, on
        )

    if cold and CONTENDERS[name].caches:
        compiling = worker()
        ready.compiled[name] = compiling.ask("first")["compile"]
        compiling.close()
    ready.workers[name] = worker()
    ready.firsts[name] = ready.workers[name].ask("first")
    ready.workers[name].hold_to(cores(threads))


def check(losses: dict[str, list[float]], dtype: str) -> float:
    """The largest relative difference of anyone's first losses to the median of all.

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
