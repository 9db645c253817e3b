"""One thread against two for every model, and the same bits with any number of them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from benchmarks.machine import cores
from benchmarks.models import MODELS
from benchmarks.processes import Worker
from benchmarks.report import Report, Section
from benchmarks.rounds import Timing, interleave, number
from benchmarks.summary import geometric

COUNTS = (1, 2, 3, 8)  # threads whose losses are held against one another; the first two are timed
TIMED = COUNTS[:2]


def measure(dtype: str = "float32", models: Iterable[str] = (), seconds: float = 1.0) -> Report:
    """The table; about `seconds` of measuring a model."""
    report = Report(f"team-{dtype}", f"One thread and two, {dtype}", [], [], {}, "times")
    rows, differing = [], []
    for model in list(models) or list(MODELS):
        timing, alike = compare(model, dtype, seconds)
        one, two = (timing.seconds(str(n)) * 1e6 for n in TIMED)
        gain = timing.ratio("1", "2")
        rows.append(
            [model, number(one.median), number(two.median), number(gain.median), _words(alike)]
        )
        differing += [] if alike else [model]
        report.raw[model] = {
            "microseconds": {name: asdict(timing.seconds(name) * 1e6) for name in timing.wall},
            "gain": asdict(gain),
            "same_bits": alike,
        }
        report.bars.setdefault("one thread over two", {})[model] = gain
        print(f"{model}: {number(gain.median)} times as fast, {_words(alike)}", flush=True)
    gains = [entry["gain"]["median"] for entry in report.raw.values()]
    rows.append(["geometric mean", "", "", number(geometric(gains)), ""])
    columns = ["", "one, us", "two, us", "times as fast", f"bits with {COUNTS} threads"]
    report.sections.append(Section("`gradloom, run`", columns, rows))
    report.notes.append(
        f"Other bits with some of {COUNTS} threads: {', '.join(differing) or 'no model'}."
    )
    return report


def compare(model: str, dtype: str, seconds: float) -> tuple[Timing, bool]:
    """Times with one thread and two, and whether the losses are equal with any number."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        workers = {}
        for count in COUNTS:
            arguments = ["benchmarks.worker", "gradloom, run", model, dtype, str(count)]
            on = cores(count)
            workers[count] = Worker(arguments, count, Path(folder), on=on)
            stack.callback(workers[count].close)
        bits = [worker.ask("bits")["losses"] for worker in workers.values()]
        for count in COUNTS:
            if count in TIMED:
                workers[count].ask("first")
            else:
                workers[count].close()
        timing = interleave({str(n): workers[n].turn for n in TIMED}, seconds)
    return timing, all(found == bits[0] for found in bits)


def _words(alike: bool) -> str:
    return "the same" if alike else "differ"
