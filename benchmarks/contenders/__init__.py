"""Who is compared: a function from a model and a number of threads to a `Runner`, by name."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

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
    "tinygrad": ("in_tinygrad:jit", ("tinygrad",)),
    "pytensor": ("in_pytensor:numba", ("pytensor",)),
}

# PyTensor wants an older numba than the one that is there, so `make bench` gives it a virtual
# environment of its own.
APART = {"pytensor": Path(__file__).parents[2] / ".venv-pytensor" / "bin" / "python"}


def contender(name: str) -> Callable[[Model, int], Runner]:
    """What makes runners; its library is imported here and not before."""
    module, function = CONTENDERS[name][0].split(":")
    found = getattr(importlib.import_module(f"benchmarks.contenders.{module}"), function)
    return cast("Callable[[Model, int], Runner]", found)


def interpreter(name: str) -> str:
    """The Python that a contender runs in."""
    apart = APART.get(name)
    return str(apart) if apart is not None and apart.exists() else sys.executable


def missing(name: str) -> str:
    """Why a contender is not there, or nothing."""
    if interpreter(name) != sys.executable:
        return ""
    absent = [n for n in CONTENDERS[name][1] if importlib.util.find_spec(n) is None]
    return f"{' and '.join(absent)} not installed" if absent else ""
