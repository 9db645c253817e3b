"""Who is compared: a function from a model and a number of threads to a `Runner`, by name."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable

from benchmarks.models.model import Model
from benchmarks.rounds import Runner

# name -> where it is, and what it needs
CONTENDERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "gradloom, run": ("ours:run", ()),
    "gradloom, step": ("ours:step", ()),
    "gradloom, eager": ("ours:eager", ()),
    "torch, eager": ("in_torch:eager", ("torch",)),
    "torch, compile": ("in_torch:compiled", ("torch",)),
    "jax, scan": ("in_jax:scan", ("jax", "optax")),
    "jax, step": ("in_jax:step", ("jax", "optax")),
}


def contender(name: str) -> Callable[[Model, int], Runner]:
    """What makes runners; its library is imported here and not before."""
    module, function = CONTENDERS[name][0].split(":")
    return getattr(importlib.import_module(f"benchmarks.contenders.{module}"), function)


def missing(name: str) -> str:
    """Why a contender is not there, or nothing."""
    absent = [n for n in CONTENDERS[name][1] if importlib.util.find_spec(n) is None]
    return f"{' and '.join(absent)} not installed" if absent else ""
