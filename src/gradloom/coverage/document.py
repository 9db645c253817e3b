"""The table of functions as text: what `python -m gradloom functions` shows."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from gradloom.coverage.names import functions, is_there, modules, transforms
from gradloom.coverage.standard import SECTIONS, VERSION
from gradloom.coverage.trial import facts
from gradloom.ops.absent import ABSENT

HEAD = """\
# Functions

Made by `python -m gradloom functions --write docs/functions.md` from the functions themselves: each
is traced, and its graph shows the facts.

- **is**: the one row of the operator table that it is, or a composite of several; *static* is what
  computes with shapes and dtypes while it is traced; *NumPy's own* makes an array or a type and
  cannot take traced values.
- **dtypes**: that its floating operands may have.  Integers and truth values become float64 where
  the result is no whole number, as in NumPy.
- **derivatives**: how often it can be differentiated.  *any* order, as gradients are made of public
  functions; 0 where results are whole numbers or truth values; *piecewise constant* where the
  gradient is 0.
- **targets**: what there is native code for.
"""

COLUMNS = ("function", "is", "dtypes", "derivatives", "targets", "what it does")
TARGETS = "CPU"
NUMPYS = "as in NumPy, outside of the trace"


def document() -> str:
    """All of it, in Markdown."""
    parts = [HEAD, *_tables(), _transforms(), _standard(), _absences()]
    return "\n".join(parts)


def _tables() -> Iterator[str]:
    for name, module in modules().items():
        rows = [_entry(name, shown, value) for shown, value in functions(name, module)]
        yield "\n".join([f"## gradloom.{name}", "", *_table(COLUMNS, rows), ""])


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield "|" + " --- |" * len(columns)
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def _entry(module: str, name: str, value: Callable[..., Any]) -> tuple[str, ...]:
    if _is_numpys(name, value):
        return f"`{name}`", "NumPy's own", "", "", "", NUMPYS
    if inspect.isclass(value) or module == "optim":
        return f"`{name}`", "", "", "", TARGETS, summary(value)
    found = facts(f"{module}.{name}", value)
    return f"`{name}`", found.form, found.dtypes, found.orders, TARGETS, summary(value)


def _is_numpys(name: str, value: Any) -> bool:
    return any(getattr(home, name, None) is value for home in (np, np.linalg, np.fft))


def summary(value: Any) -> str:
    """The first sentence of a docstring."""
    paragraph = (inspect.getdoc(value) or "").split("\n\n")[0]
    return " ".join(paragraph.split())


def _transforms() -> str:
    rows = [(f"`{name}`", TARGETS, summary(value)) for name, value in transforms().items()]
    lines = _table(("function", "targets", "what it does"), rows)
    return "\n".join(["## gradloom: transforms, loops and training", "", *lines, ""])


def _standard() -> str:
    lines = [f"## The Python Array API standard, {VERSION}", ""]
    for section, names in SECTIONS.items():
        there = [name for name in names if is_there(name)]
        lines.append(f"- **{section}**: {len(there)} of {len(names)}.")
        lines += [f"  - `{name}`: {ABSENT[name]}." for name in names if name not in there]
    return "\n".join([*lines, ""])


def _absences() -> str:
    lines = [
        "## What of NumPy there is not, and why",
        "",
        "Every other function of `numpy`, `numpy.linalg` and `numpy.fft` is there.",
        "",
    ]
    reasons: dict[str, list[str]] = {}
    for name, reason in ABSENT.items():
        reasons.setdefault(reason, []).append(f"`{name}`")
    lines += [f"- {', '.join(names)}: {reason}." for reason, names in reasons.items()]
    return "\n".join([*lines, ""])
