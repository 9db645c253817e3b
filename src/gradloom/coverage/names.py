"""The public functions of gradloom, of NumPy and of the standard, by their dotted names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

import gradloom
from gradloom.coverage.standard import SECTIONS
from gradloom.ops.absent import ABSENT

# The modules whose functions take and give arrays; what else there is is listed by name alone.
_MODULES = (
    *("numpy", "numpy.linalg", "numpy.fft", "linalg", "special", "stats", "nn", "random"),
    "optim",
)


def modules() -> dict[str, ModuleType]:
    """The public modules by their names below `gradloom`."""
    found: dict[str, ModuleType] = {}
    for name in _MODULES:
        outer, _, inner = name.rpartition(".")
        home = found[outer] if outer else gradloom
        found[name] = getattr(home, inner)
    return found


def functions(name: str, module: ModuleType) -> Iterator[tuple[str, Callable[..., Any]]]:
    """What can be called in a module; of a class of functions (`stats.norm`) each of its own."""
    for offered in sorted(module.__all__):
        value = getattr(module, offered)
        if isinstance(value, type) and value.__module__.startswith("gradloom.stats"):
            methods = (m for m in sorted(dir(value)) if not m.startswith("_"))
            yield from ((f"{offered}.{method}", getattr(value, method)) for method in methods)
        elif callable(value):
            yield offered, value


def transforms() -> dict[str, Callable[..., Any]]:
    """What `gradloom` itself offers that can be called, errors apart."""
    offered = ((name, getattr(gradloom, name)) for name in sorted(gradloom.__all__))
    return {
        name: value
        for name, value in offered
        if callable(value) and not (isinstance(value, type) and issubclass(value, Exception))
    }


def numpys() -> list[str]:
    """Every name of the installed NumPy that can be called, as `linalg.inv` below its top."""
    found = []
    for prefix, module in (("", np), ("linalg.", np.linalg), ("fft.", np.fft)):
        names = (name for name in sorted(dir(module)) if not name.startswith("_"))
        found += [prefix + name for name in names if callable(getattr(module, name))]
    return found


def standards() -> list[str]:
    return [name for names in SECTIONS.values() for name in names]


def is_there(name: str) -> bool:
    """Whether `gradloom.numpy` has what NumPy or the standard calls this."""
    home: Any = gradloom.numpy
    *outer, last = name.split(".")
    for part in outer:
        if part not in home.__all__:
            return False
        home = getattr(home, part)
    return last in home.__all__


def unaccounted() -> list[str]:
    """Names that are neither there nor listed as absent."""
    every = dict.fromkeys([*standards(), *numpys()])
    return [name for name in every if not is_there(name) and name not in ABSENT]


def present_after_all() -> list[str]:
    """Names that are listed as absent, and are there."""
    return [name for name in ABSENT if is_there(name)]
