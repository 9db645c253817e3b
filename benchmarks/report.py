"""A measured table as Markdown, JSON and a picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.machine import describe, line
from benchmarks.rounds import Spread, number

RESULTS = Path(__file__).parent / "results"
Bars = dict[str, dict[str, Spread]]  # group -> label -> value


@dataclass
class Section:
    """A grid of words."""

    heading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """The grid as Markdown; the first column is text, the others are numbers."""
        marks = [":--"] + ["--:"] * (len(self.columns) - 1)
        lines = [f"| {' | '.join(row)} |" for row in (self.columns, marks, *self.rows)]
        return "\n".join([f"## {self.heading}", "", *lines, ""])


@dataclass
class Report:
    """What one benchmark found.  `bars` are drawn on a logarithmic axis called `unit`."""

    name: str
    title: str
    sections: list[Section]
    notes: list[str]
    bars: Bars
    unit: str
    raw: dict[str, Any] = field(default_factory=dict)
    picture: Callable[[Path], None] | None = None  # where bars do not show it
    kept: bool = True  # whether it is a measurement, not a rehearsal

    def markdown(self, machine: dict[str, Any]) -> str:
        parts = [f"# {self.title}", "", line(machine), ""]
        parts += [section.markdown() for section in self.sections]
        parts += [f"- {note}" for note in self.notes]
        return "\n".join(parts) + "\n"

    def save(self, folder: Path = RESULTS) -> list[Path]:
        """Write the three files; their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        machine = describe()
        paths = [folder / f"{self.name}.{kind}" for kind in ("md", "json", "png")]
        paths[0].write_text(self.markdown(machine))
        paths[1].write_text(json.dumps({"machine": machine, **self.raw}, indent=1) + "\n")
        if self.picture is None:
            draw(self.bars, self.title, self.unit, paths[2])
        else:
            self.picture(paths[2])
        return paths


def draw(bars: Bars, title: str, unit: str, path: Path) -> None:
    """Horizontal bars on a logarithmic axis, one panel a group, whiskers at the quartiles."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    heights = [len(group) for group in bars.values()]
    figure, panels = pyplot.subplots(
        len(bars),
        1,
        figsize=(8, 1.2 + 0.24 * sum(heights) + 0.6 * len(bars)),
        squeeze=False,
        sharex=True,
        gridspec_kw={"height_ratios": heights},
        layout="constrained",
    )
    for panel, (heading, group) in zip(panels[:, 0], bars.items(), strict=True):
        _panel(panel, heading, group)
    panels[-1, 0].set_xlabel(f"{unit} (logarithmic)")
    figure.suptitle(title)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def _panel(panel: Any, heading: str, group: dict[str, Spread]) -> None:
    values = list(group.values())
    middle = [v.median for v in values]
    whiskers = [[v.median - v.low for v in values], [v.high - v.median for v in values]]
    colours = ["#c2410c" if label.startswith("gradloom") else "#64748b" for label in group]
    panel.barh(list(group), middle, xerr=whiskers, color=colours, error_kw={"elinewidth": 0.8})
    panel.set_xscale("log")
    low, high = panel.get_xlim()
    panel.set_xlim(min(low, min(middle) / 3), max(high, max(v.high for v in values) * 4))
    panel.invert_yaxis()
    panel.set_title(heading, fontsize=9, loc="left")
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    for place, value in enumerate(middle):
        panel.text(values[place].high * 1.1, place, number(value), va="center", fontsize=8)
