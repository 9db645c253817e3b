"""A training step of every model by every contender, one thread and two."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
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
SLOW = {"torch, compile": 60.0}  # seconds for an answer, where compiling may take minutes
SMALLEST = "xor"  # the model whose memory is that of the libraries


@dataclass
class Found:
    """What was measured of one model; by contender."""

    timing: Timing
    cold: dict[str, float]  # seconds of the first run beyond a second one, nothing cached
    warm: dict[str, float]  # the same in a later process
    peak: dict[str, int]  # bytes beyond imports and data
    planned: dict[str, int | None]
    idle: dict[str, float]  # processor seconds while others were measured, of one of measuring
    difference: float  # the largest relative one of the first losses
    absent: dict[str, str]  # who is not there, and why


def measure(
    dtype: str = "float32",
    models: Iterable[str] = (),
    threads: Iterable[int] = (1, 2),
    seconds: float = 2.0,
    contenders: Iterable[str] = (),
) -> Report:
    """The tables; about `seconds` of measuring a model, beside compiling it."""
    from benchmarks.summary import report

    chosen, names = list(models) or list(MODELS), list(contenders) or list(CONTENDERS)
    threads = list(threads)
    found: dict[int, dict[str, Found]] = {count: {} for count in threads}
    with tempfile.TemporaryDirectory() as folder:
        caches = Path(folder)
        firsts = compile_all(chosen, names, dtype, threads, caches)
        for model in chosen:
            absent = firsts[model].absent
            for count in threads:
                start = time.perf_counter()
                some = [n for n in names if n not in absent]
                some = [n for n in some if count == threads[0] or n not in ONCE]
                one = compare(model, some, dtype, count, seconds, caches / model)
                first = count == threads[0]  # others may begin with more or less on disk
                one.cold, one.warm = (firsts[model].compiled, one.warm) if first else ({}, {})
                found[count][model] = one
                absent = one.absent = {**absent, **one.absent}  # who failed is not asked again
                taken = time.perf_counter() - start
                print(f"{progress(model, count, one)} ({taken:.0f} s)", flush=True)
        least = floors(names, dtype, threads[0], caches, found[threads[0]])
    made = {name: MODELS[name](dtype) for name in chosen}
    return report(dtype, made, found, {n: peaks(n, dtype) for n in threads}, least)


@dataclass
class Firsts:
    """What everyone's first run of a model gave, nothing cached: seconds, or why there is none."""

    compiled: dict[str, float]
    absent: dict[str, str]


def compile_all(
    models: Iterable[str], names: Iterable[str], dtype: str, threads: list[int], caches: Path
) -> dict[str, Firsts]:
    """Let everyone who keeps compiled code on disk compile every model once.

    Ours are alone; the others run as many at a time as there are cores, each on one.  What counts
    are the seconds, and who cannot, with the first number of threads; for the others `SLOW` compile
    anew, so that the measurement finds it done.  Raises RuntimeError if it is ours that cannot: all
    are held against it.
    """
    start = time.perf_counter()
    first, *others = threads
    found = {model: Firsts({}, {}) for model in models}
    alone, together = _parted(n for n in names if CONTENDERS[n].caches)

    def one(task: tuple[str, str, int], lane: int | None = None) -> None:
        name, model, count = task
        into = found[model] if count == first else Firsts({}, {})
        _compile(into, name, [model, dtype, str(count)], caches / model, lane)

    for model in found:
        for name in alone:
            one((name, model, first))
        if why := found[model].absent.get(OURS):
            raise RuntimeError(f"{OURS} cannot run {model}: {why}")
    in_lanes(one, [(name, model, first) for name in together for model in found])
    again = [(n, m) for n in together if n in SLOW for m in found if n not in found[m].absent]
    in_lanes(one, [(name, model, count) for count in others for name, model in again])
    print(f"everything compiled once ({time.perf_counter() - start:.0f} s)", flush=True)
    return found


def _compile(
    found: Firsts, name: str, what: list[str], caches: Path, lane: int | None = None
) -> None:
    try:
        worker = _worker(name, what, caches, lane)
        seconds = worker.ask("first")["compile"]
    except CannotError as error:
        found.absent[name] = str(error)
        return
    worker.close()
    found.compiled[name] = seconds


def floors(
    names: Iterable[str], dtype: str, threads: int, caches: Path, found: dict[str, Found]
) -> dict[str, int]:
    """Everyone's bytes for XOR, which has no arrays to speak of: what libraries load late."""
    if SMALLEST in found:
        return found[SMALLEST].peak
    with started(SMALLEST, names, dtype, threads, caches / SMALLEST) as ready:
        return {name: worker.ask("memory")["peak"] for name, worker in ready.workers.items()}


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
) -> Found:
    """Measure one model."""
    with started(model, names, dtype, threads, caches) as ready:
        firsts, workers = ready.firsts, ready.workers
        losses = {name: first["losses"] for name, first in firsts.items()}
        difference = check(losses, dtype)
        memory = {name: worker.ask("memory") for name, worker in workers.items()}
        start = time.perf_counter()
        timing = interleave({name: worker.turn for name, worker in workers.items()}, seconds)
        taken = time.perf_counter() - start
    return Found(
        timing,
        {},
        {name: first["compile"] for name, first in firsts.items()},
        {name: found["peak"] for name, found in memory.items()},
        {name: found["planned"] for name, found in memory.items()},
        {name: worker.idle / taken for name, worker in workers.items()},
        difference,
        ready.absent,
    )


@dataclass
class Ready:
    """Contenders that wait for their turns."""

    workers: dict[str, Worker]
    firsts: dict[str, dict[str, Any]]
    absent: dict[str, str]


@contextmanager
def started(
    model: str, names: Iterable[str], dtype: str, threads: int, caches: Path
) -> Iterator[Ready]:
    """Contenders that have run once; whoever cannot is absent.

    Ours start alone, the others as many at a time as there are cores, each on one.
    """
    ready = Ready({}, {}, {})
    names = list(names)
    alone, together = _parted(names)

    def start(name: str, lane: int | None = None) -> None:
        try:
            worker = _worker(name, [model, dtype, str(threads)], caches, lane)
            ready.workers[name] = worker
            ready.firsts[name] = worker.ask("first")
            worker.hold_to(cores(threads))
        except CannotError as error:
            ready.absent[name] = str(error)
            ready.workers.pop(name, None)

    try:
        for name in alone:
            start(name)
        in_lanes(start, together)
        ready.workers = {name: ready.workers[name] for name in names if name in ready.workers}
        yield ready
    finally:
        for worker in ready.workers.values():
            worker.close()


def _parted(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Ours, and the others."""
    names = list(names)
    ours = [name for name in names if name.startswith("gradloom")]
    return ours, [name for name in names if name not in ours]


def in_lanes(work: Callable[[Any, int], None], tasks: Iterable[Any]) -> None:
    """`work(task, core)` of each task, as many at a time as there are cores."""
    lanes: Queue[int] = Queue()
    for core in cores(os.cpu_count() or 1):
        lanes.put(core)

    def one(task: Any) -> None:
        lane = lanes.get()
        try:
            work(task, lane)
        finally:
            lanes.put(lane)

    with ThreadPoolExecutor(lanes.qsize()) as pool:
        list(pool.map(one, tasks))


def _worker(name: str, what: list[str], caches: Path, lane: int | None) -> Worker:
    """A process of a contender, held to a core of its own while it begins if it has one thread."""
    if why := missing(name):
        raise CannotError(why)
    threads = int(what[-1])
    on = [lane] if threads == 1 and lane is not None else cores(threads)
    limit = SLOW.get(name, 90.0)
    return Worker(["benchmarks.worker", name, *what], threads, caches, interpreter(name), limit, on)


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
