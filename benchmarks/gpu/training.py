"""A training step of every model on a GPU, by everybody who can."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.contenders.checks import CannotError
from benchmarks.gpu import place as places
from benchmarks.gpu.contenders import (
    CONTENDERS,
    EAGER,
    GRAPHED,
    OURS,
    SCAN,
    USUAL,
    missing,
)
from benchmarks.gpu.targets import Target, section
from benchmarks.models import MODELS
from benchmarks.processes import Worker
from benchmarks.report import Report, Section
from benchmarks.rounds import Timing, interleave, number, words
from benchmarks.training import check

SMALL_MLP = "digits"  # the model that speed is asked of
HOST = ("process",)  # its factorisation is LAPACK's, which programs on a GPU refuse
ASKED = {EAGER: 10.0, GRAPHED: 2.0, SCAN: 2.0}  # times as long as ours takes
COLD_SECONDS, WARM_SECONDS = 3.0, 0.2


@dataclass
class Found:
    """What was measured of one model; by contender."""

    timing: Timing
    cold: dict[str, float] = field(default_factory=dict)  # seconds beyond a second run
    warm: dict[str, float] = field(default_factory=dict)  # the same in a later process
    absent: dict[str, str] = field(default_factory=dict)  # who is not there, and why
    difference: float = 0.0  # the largest relative one of the first losses


def measure(
    dtype: str = "float32",
    models: Iterable[str] = (),
    contenders: Iterable[str] = (),
    seconds: float = 2.0,
    place: str = "cuda",
) -> Report:
    """The tables; about `seconds` of measuring a model, beside compiling it."""
    chosen = list(models) or [name for name in MODELS if name not in HOST]
    names = list(contenders) or USUAL
    found: dict[str, Found] = {}
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for model in chosen:
            try:
                one = compare(model, names, dtype, seconds, Path(folder) / model, place)
            except (RuntimeError, ValueError) as error:  # the other models are still to be seen
                failed[model] = str(error)
                print(f"{model}: {error}", flush=True)
                continue
            found[model] = one
            print(progress(model, one), flush=True)
    return report(dtype, found, failed, place)


def compare(
    model: str, names: Iterable[str], dtype: str, seconds: float, caches: Path, place: str
) -> Found:
    """Everybody compiles the model once with nothing cached, and again in the process that is then
    measured.  Raises RuntimeError if it is ours that cannot, and ValueError if losses differ."""
    found = Found(Timing({}, {}))
    names = list(names)
    losses: dict[str, list[float]] = {}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name in names:
            try:
                cold = _started(name, [model, dtype, place], caches, stack)
                found.cold[name] = cold.ask("first")["compile"]
                cold.close()
                worker = _started(name, [model, dtype, place], caches, stack)
                first = worker.ask("first")
            except CannotError as error:
                found.absent[name] = str(error)
                continue
            found.warm[name], losses[name] = first["compile"], first["losses"]
            workers[name] = worker
        if OURS not in workers:
            why = found.absent.get(OURS, "it was not asked to")
            raise RuntimeError(f"{OURS} cannot run {model}: {why}")
        found.difference = check(losses, dtype)
        found.timing = interleave({n: worker.turn for n, worker in workers.items()}, seconds)
    return found


def _started(name: str, what: list[str], caches: Path, stack: ExitStack) -> Worker:
    if why := missing(name):
        raise CannotError(why)
    contender, place = CONTENDERS[name], what[-1]
    # Forms of ours that differ by what is switched off share no cache.
    folder = caches / (contender.disable or "common")
    worker = Worker(
        ["benchmarks.gpu.worker", name, *what],
        0,
        folder,
        limit=contender.limit,
        on=places.all_cores(),
        environment=places.environment(place, contender.disable),
    )
    stack.callback(worker.close)
    return worker


def ratios(found: Found) -> dict[str, float]:
    """Everyone's time over ours, the median of the rounds."""
    return {name: found.timing.ratio(name, OURS).median for name in found.timing.wall}


def progress(model: str, found: Found) -> str:
    """A line for who waits."""
    others = "; ".join(f"{n} {number(r)} times" for n, r in ratios(found).items() if n != OURS)
    ours = number(found.timing.seconds(OURS).median * 1e6)
    absent = f"; without {', '.join(found.absent)}" if found.absent else ""
    return f"{model}: {ours} us a step; {others}{absent}"


def targets(found: dict[str, Found]) -> list[Target]:
    """Of the small MLP."""
    one = found.get(SMALL_MLP)
    seen = ratios(one) if one else {}
    speed = [
        Target(f"{SMALL_MLP}: {name} takes so many times as long", asked, seen.get(name))
        for name, asked in ASKED.items()
    ]
    cold, warm = (one.cold, one.warm) if one else ({}, {})
    return [
        *speed,
        Target(f"{SMALL_MLP}: seconds to compile", COLD_SECONDS, cold.get(OURS), most=True),
        Target(f"{SMALL_MLP}: the same, cached", WARM_SECONDS, warm.get(OURS), most=True),
    ]


def report(dtype: str, found: dict[str, Found], failed: dict[str, str], place: str) -> Report:
    """Steps, compile times, and what was asked; `failed` are models without figures, and why."""
    gpu = places.describe(place)
    there = [name for name in CONTENDERS if any(name in f.timing.wall for f in found.values())]
    others = [name for name in there if name != OURS]
    return Report(
        f"gpu_training-{dtype}",
        f"A training step of {len(found)} models on {gpu['name']}, {dtype}",
        [
            section(targets(found)),
            Section(
                f"Times as long as {OURS}",
                ["", f"{OURS}, us a step", *others],
                [_step_row(model, one, others) for model, one in found.items()],
            ),
            Section(
                "Seconds that the first run takes more than a second: nothing cached / cached",
                ["", *there],
                [
                    [model, *(_compiling(one, name) for name in there)]
                    for model, one in found.items()
                ],
            ),
        ],
        _notes(found, failed),
        {model: _bars(one) for model, one in found.items()},
        "microseconds a step",
        {"gpu": gpu, "models": {model: _raw(one) for model, one in found.items()}},
        kept=place == "cuda",
    )


def _step_row(model: str, found: Found, others: list[str]) -> list[str]:
    known = ratios(found)
    ours = words(found.timing.seconds(OURS) * 1e6)
    return [model, ours, *(number(known[n]) if n in known else "" for n in others)]


def _compiling(found: Found, name: str) -> str:
    both = (part[name] for part in (found.cold, found.warm) if name in part)
    return " / ".join(f"{seconds:.2f}" for seconds in both)


def _bars(found: Found) -> dict[str, Any]:
    return {name: found.timing.seconds(name) * 1e6 for name in found.timing.wall}


def _notes(found: dict[str, Found], failed: dict[str, str]) -> list[str]:
    difference = max((f.difference for f in found.values()), default=0.0)
    return [
        "Medians of interleaved rounds, quartiles in parentheses; a ratio is taken within each "
        "round, the median of the rounds counts.",
        "Data, weights and moments are on the GPU beforehand; a run ends with its losses on the "
        "host. float32 is float32 for everybody: TensorFloat-32 is switched off.",
        f"The first losses of all agree within {difference:.1e} of their median, relatively.",
        *(f"Without figures: {model}: {why}." for model, why in failed.items()),
        *(
            f"Left out: {name}, of {model}: {why}."
            for model, one in found.items()
            for name, why in one.absent.items()
        ),
    ]


def _raw(found: Found) -> dict[str, Any]:
    return {
        "contenders": {
            name: {
                "seconds": asdict(found.timing.seconds(name)),
                "ratio": asdict(found.timing.ratio(name, OURS)),
                "rounds": len(found.timing.wall[name]),
                "compile_seconds": found.cold.get(name),
                "warm_start_seconds": found.warm.get(name),
            }
            for name in found.timing.wall
        },
        "absent": found.absent,
        "difference_of_losses": found.difference,
    }
