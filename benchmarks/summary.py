"""What `training` found, as tables, a summary and a picture."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.contenders import CONTENDERS
from benchmarks.models.model import Model
from benchmarks.report import Report, Section
from benchmarks.rounds import number

if TYPE_CHECKING:
    from benchmarks.training import Found

OURS = "gradloom, run"
SMALL = 1e6  # operations of a step's products below which a model counts as small
Table = dict[str, "Found"]  # by model


def report(
    dtype: str,
    models: dict[str, Model],
    found: dict[int, Table],
    peaks: dict[int, dict[str, float]],
    floors: dict[str, int],
) -> Report:
    """Sections for each number of threads, then compile times and memory."""
    sections = []
    for threads, table in found.items():
        title = f"{threads} thread{'s' * (threads > 1)}"
        sections += [
            steps(title, table),
            summary(title, models, table),
            fractions(title, models, table, peaks[threads]),
        ]
    first = next(iter(found.values()))
    sections += [compiling(first), memory(first, floors)]
    return Report(
        f"training-{dtype}",
        f"A training step of {len(models)} models, {dtype}",
        sections,
        notes(models, found, peaks),
        {},
        "",
        raw(found, peaks),
        picture=lambda path: draw(found, path),
    )


def ratios(found: Found) -> dict[str, float]:
    """Everyone's time over ours, the median of the rounds."""
    return {name: found.timing.ratio(name, OURS).median for name in found.timing.wall}


def best(found: Found, of: tuple[str, ...] = ("torch", "jax", "tinygrad", "pytensor")) -> float:
    """The ratio of the fastest of those whose names begin so; NaN without any."""
    return min((r for n, r in ratios(found).items() if n.startswith(of)), default=math.nan)


def geometric(values: Iterable[float]) -> float:
    """The geometric mean of those that are numbers.

    >>> geometric([2.0, 8.0, math.nan])
    4.0
    """
    known = [v for v in values if not math.isnan(v)]
    return statistics.geometric_mean(known) if known else math.nan


def steps(title: str, table: Table) -> Section:
    """Microseconds of ours, and how many times as long everyone else took."""
    others = [n for n in contenders(table) if n != OURS]
    rows = []
    for model, found in table.items():
        spread = found.timing.seconds(OURS) * 1e6
        known = ratios(found)
        ours = f"{number(spread.median)} ({number(spread.low)} to {number(spread.high)})"
        rows.append([model, ours, *(_cell(known.get(n)) for n in others), _cell(best(found))])
    means = [geometric(ratios(f).get(n, math.nan) for f in table.values()) for n in others]
    total = geometric(best(f) for f in table.values())
    rows.append(["geometric mean", "", *map(_cell, means), _cell(total)])
    columns = ["", f"{OURS}, us a step", *others, "best peer"]
    return Section(f"{title}: times as long as {OURS}", columns, rows)


def summary(title: str, models: dict[str, Model], table: Table) -> Section:
    """The figures that stand for all."""
    small = [m for m in table if 0 < models[m].flops < SMALL]
    worst = min(table, key=lambda m: best(table[m]))
    rows = [
        ["best peer, geometric mean", _cell(geometric(best(f) for f in table.values()))],
        [f"best peer, least ({worst})", _cell(best(table[worst]))],
    ]
    for who, label in (("jax", "best JAX form"), ("torch, eager", "PyTorch eager")):
        least = min((best(table[m], (who,)) for m in small), default=math.nan)
        rows.append([f"small models ({', '.join(small)}): {label}, least", _cell(least)])
    return Section(f"{title}: in short", ["", "times as long"], rows)


def fractions(
    title: str, models: dict[str, Model], table: Table, peak: dict[str, float]
) -> Section:
    """How much of the machine's measured peaks a step uses."""
    rows = []
    for name, found in table.items():
        model = models[name]
        seconds = found.timing.seconds(OURS).median
        rows.append(
            [
                name,
                _share(model.flops / seconds / peak["flops"]),
                _share(model.traffic / seconds / peak["bytes"]),
            ]
        )
    heading = (
        f"{title}: share of {peak['flops'] / 1e9:.0f} Gflop/s and {peak['bytes'] / 1e9:.1f} GB/s"
    )
    return Section(heading, ["", "multiply-adds", "bandwidth"], rows)


def compiling(table: Table) -> Section:
    """Seconds of the first run beyond a second one, cold and with the caches filled."""
    names = contenders(table)
    rows = [
        [
            model,
            *(
                " / ".join(f"{part[n]:.2f}" for part in (found.cold, found.warm) if n in part)
                for n in names
            ),
        ]
        for model, found in table.items()
    ]
    return Section(
        "Seconds that the first run takes more than a second: nothing cached / a later process",
        ["", *names],
        rows,
    )


def memory(table: Table, floors: dict[str, int]) -> Section:
    """Peak memory beyond imports and data; ours beyond what XOR takes too, and as planned."""
    names = contenders(table)
    rows = [
        [
            model,
            *(_megabytes(f.peak.get(n)) for n in names),
            _megabytes(f.peak[OURS] - floors.get(OURS, 0)),
            _megabytes(f.planned.get(OURS)),
        ]
        for model, f in table.items()
    ]
    floor = ["floor", *(_megabytes(floors.get(n)) for n in names), "", ""]
    columns = ["", *names, f"{OURS}: beyond the floor", f"{OURS}: planned"]
    return Section("Peak memory beyond imports and data, MB", columns, [*rows, floor])


def notes(
    models: dict[str, Model], found: dict[int, Table], peaks: dict[int, dict[str, float]]
) -> list[str]:
    everything = [f for table in found.values() for f in table.values()]
    difference = max(f.difference for f in everything)
    idle = max(share for f in everything for share in f.idle.values())
    reasons: dict[tuple[str, str], list[str]] = {}
    for threads, table in found.items():
        for model, f in table.items():
            for name, why in f.absent.items():
                reasons.setdefault((name, why), []).append(f"{model} ({threads})")
    titles = "; ".join(f"{name}: {model.title}" for name, model in models.items())
    return [
        f"The models. {titles}.",
        "Medians of interleaved rounds, quartiles in parentheses; a ratio is taken within each "
        "round, the median of the rounds counts.",
        f"The first losses of all agree within {difference:.1e} of their median, relatively.",
        f"While others were measured nobody computed for more than {idle:.1%} of the time.",
        "The floor is what a contender takes for XOR: what its libraries load when they first run.",
        *(
            f"Left out: {name}, of {', '.join(where)}: {why}."
            for (name, why), where in reasons.items()
        ),
    ]


def contenders(table: Table) -> list[str]:
    """Everyone who ran at least one model, in order."""
    return [name for name in CONTENDERS if any(name in f.timing.wall for f in table.values())]


def raw(found: dict[int, Table], peaks: dict[int, dict[str, float]]) -> dict[str, Any]:
    """Everything, for the JSON."""

    def one(f: Found) -> dict[str, Any]:
        spreads = {
            n: {
                "seconds": asdict(f.timing.seconds(n)),
                "ratio": asdict(f.timing.ratio(n, OURS)),
                "ratio_of_processor_time": asdict(f.timing.cpu_ratio(n, OURS)),
                "busy": f.timing.busy(n),
                "rounds": len(f.timing.wall[n]),
                "compile_seconds": f.cold.get(n),
                "warm_start_seconds": f.warm.get(n),
                "peak_bytes": f.peak[n],
                "planned_bytes": f.planned[n],
            }
            for n in f.timing.wall
        }
        return {"contenders": spreads, "absent": f.absent, "difference_of_losses": f.difference}

    tables = {str(t): {m: one(f) for m, f in table.items()} for t, table in found.items()}
    return {"threads": tables, "peaks": {str(t): p for t, p in peaks.items()}}


def draw(found: dict[int, Table], path: Path) -> None:
    """A row a model, a mark a contender, where it stands in times of ours."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    models = list(next(iter(found.values())))
    figure, panels = pyplot.subplots(
        1,
        len(found),
        figsize=(5 + 4 * len(found), 1.5 + 0.32 * len(models)),
        squeeze=False,
        sharey=True,
        layout="constrained",
    )
    for panel, (threads, table) in zip(panels[0], found.items(), strict=True):
        for name, mark in zip(contenders(table), "|x.osDv^P*+", strict=False):
            known = [(ratios(f)[name], m) for m, f in table.items() if name in f.timing.wall]
            colour = "#c2410c" if name.startswith("gradloom") else None
            xs, ys = zip(*known, strict=True)
            panel.plot(xs, ys, mark, label=name, color=colour, markersize=7, alpha=0.8)
        panel.set_title(f"{threads} thread{'s' * (threads > 1)}", fontsize=9, loc="left")
        panel.set_xscale("log")
        panel.set_xlabel(f"times as long as {OURS} (logarithmic)")
        panel.grid(axis="y", linewidth=0.3)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=8)
    panels[0, 0].invert_yaxis()
    panels[0, -1].legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def _cell(ratio: float | None) -> str:
    return "" if ratio is None or math.isnan(ratio) else number(ratio)


def _share(value: float) -> str:
    return f"{value:.0%}" if value else ""


def _megabytes(size: int | None) -> str:
    return "" if size is None else f"{size / 1e6:.1f}"
