"""Seconds a training step: forward, reverse and Adam, for five models and seven ways."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

import numpy as np

from benchmarks.contenders import CONTENDERS, available
from benchmarks.models import MODELS, Array, Model
from benchmarks.report import Report, Section
from benchmarks.rounds import Runner, Timing, take_turns, words

BASE = "gradloom, run"
REFERENCE = "NumPy by hand"
TOLERANCE = {"float32": 1e-3, "float64": 1e-9}  # of the first losses, against NumPy by hand
COMPARED = 20  # how many first losses


def measure(
    dtype: str = "float32", seconds: float = 8.0, models: Iterable[Model] | None = None
) -> Report:
    """The table, about `seconds` of measuring a model."""
    chosen = [make(dtype) for make in MODELS.values()] if models is None else list(models)
    names = available(list(CONTENDERS))
    report = Report(
        f"training-{dtype}",
        f"A training step with Adam, {dtype}, one thread",
        [],
        [],
        {},
        "microseconds a step",
    )
    worst = 0.0
    for model in chosen:
        runners = {name: CONTENDERS[name](model) for name in names}
        worst = max(worst, check(runners, dtype))
        timing = take_turns(runners, seconds)
        _add(report, model, timing)
    report.notes += [
        f"Median of interleaved rounds; quartiles in parentheses. The ratio to `{BASE}` is taken "
        "within each round.",
        f"The first {COMPARED} losses of all contenders agree within {worst:.1e}, relatively.",
        "`busy` is processor time over wall time while a contender ran: 1 is one thread.",
    ]
    report.raw["worst_difference_of_losses"] = worst
    return report


def check(runners: dict[str, Runner], dtype: str) -> float:
    """Run everyone once; the largest relative difference of the first losses.

    Raises ValueError if it is beyond `TOLERANCE`: the contenders do not do the same.
    """
    losses = {name: np.asarray(runner.run())[:COMPARED] for name, runner in runners.items()}
    differences = {name: _difference(found, losses[REFERENCE]) for name, found in losses.items()}
    wrong = {name: d for name, d in differences.items() if not d <= TOLERANCE[dtype]}
    if wrong:
        raise ValueError(f"losses differ from {REFERENCE}: {wrong}")
    return max(differences.values())


def _difference(found: Array, reference: Array) -> float:
    return float(np.max(np.abs(found - reference) / np.abs(reference)))


def _add(report: Report, model: Model, timing: Timing) -> None:
    heading = model.title.replace("\n", ": ")
    bars, rows, raw = {}, [], {}
    for name in timing.wall:
        spread = timing.seconds(name) * (1e6 / model.batches)
        ratio = timing.ratio(name, BASE)
        bars[name] = spread
        rows.append([name, words(spread), words(ratio), f"{timing.busy(name):.2f}"])
        raw[name] = {
            "microseconds": asdict(spread),
            "ratio": asdict(ratio),
            "ratio_of_processor_time": asdict(timing.cpu_ratio(name, BASE)),
            "busy": timing.busy(name),
            "rounds": len(timing.wall[name]),
        }
    columns = ["", "us a step", f"over {BASE}", "busy"]
    report.sections.append(Section(heading, columns, rows))
    report.bars[heading] = bars
    report.raw[model.name] = raw
