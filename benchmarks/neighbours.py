"""What everyone loses while a busy process runs on each core."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.machine import cores
from benchmarks.models import MODELS
from benchmarks.report import Report, Section
from benchmarks.rounds import Spread, Timing, interleave, number
from benchmarks.summary import geometric
from benchmarks.training import started

THREADS = 2
OURS, THEIRS = "gradloom, run", "torch, eager"
CONTENDERS = (OURS, THEIRS, "jax, scan")
BUSY = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: sum(range(1000))"


def measure(
    dtype: str = "float32",
    models: Iterable[str] = (),
    contenders: Iterable[str] = (),
    seconds: float = 1.0,
) -> Report:
    """The table; about `seconds` of measuring a model alone, and as many with neighbours."""
    names = list(contenders) or list(CONTENDERS)
    report = Report(
        f"neighbours-{dtype}",
        f"Two threads with a busy process on each core, {dtype}",
        [],
        [],
        {},
        "times as long as alone",
    )
    losses: dict[str, dict[str, float]] = {}
    for model in list(models) or list(MODELS):
        alone, busy = compare(model, names, dtype, seconds)
        losses[model] = {n: busy.seconds(n).median / alone.seconds(n).median for n in alone.wall}
        report.bars[model] = {n: _slower(alone, busy, n) for n in alone.wall}
        print(f"{model}: {', '.join(f'{n} {number(x)}' for n, x in losses[model].items())}",
              flush=True)  # fmt: skip
    rows = [[model, *(_cell(found.get(n)) for n in names)] for model, found in losses.items()]
    means = [geometric(f[n] for f in losses.values() if n in f) for n in names]
    worse = [m for m, f in losses.items() if THEIRS in f and f[OURS] > f[THEIRS]]
    report.sections.append(
        Section(
            "Times as long as alone",
            ["", *names],
            [*rows, ["geometric mean", *map(_cell, means)]],
        )
    )
    report.notes += [
        f"{OURS} loses more than {THEIRS} on: {', '.join(worse) or 'no model'}.",
        "Two processes that never rest share two cores with the contender: twice as long is fair.",
    ]
    report.raw = {"times_as_long": losses}
    return report


def compare(model: str, names: Iterable[str], dtype: str, seconds: float) -> tuple[Timing, Timing]:
    """Everyone's times alone, and with the neighbours."""
    with (
        tempfile.TemporaryDirectory() as folder,
        started(model, names, dtype, THREADS, Path(folder)) as ready,
    ):
        turns = {name: worker.turn for name, worker in ready.workers.items()}
        alone = interleave(turns, seconds)
        with busy():
            return alone, interleave(turns, seconds)


@contextmanager
def busy() -> Iterator[None]:
    """A process on each core that never rests."""
    neighbours = [
        subprocess.Popen([sys.executable, "-c", BUSY, str(core)]) for core in cores(THREADS)
    ]
    try:
        yield
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.wait()


def _slower(alone: Timing, busy: Timing, name: str) -> Spread:
    return busy.seconds(name) * (1 / alone.seconds(name).median)


def _cell(value: float | None) -> str:
    return "" if value is None else number(value)
