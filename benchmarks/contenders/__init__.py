"""Who is compared: a function from a model and a number of threads to a `Runner`, by name."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from benchmarks.models.model import Model
from benchmarks.rounds import Runner


@dataclass(frozen=True)
class Contender:
    """Where it is, what it needs, and whether it keeps what it compiled on disk."""

    place: str
    needs: tuple[str, ...] = ()
    caches: bool = True


CONTENDERS = {
    "gradloom, run": Contender("ours:run"),
    "gradloom, step": Contender("ours:step", caches=False),  # `run` has filled it
    "gradloom, eager": Contender("ours:eager", caches=False),
    "torch, eager": Contender("in_torch:eager", ("torch",), caches=False),
    "torch, compile": Contender("in_torch:compiled", ("torch",)),
    "jax, scan": Contender("in_jax:scan", ("jax", "optax")),
    "jax, step": Contender("in_jax:step", ("jax", "optax")),
    "tinygrad": Contender("in_tinygrad:jit", ("tinygrad",)),
    "pytensor": Contender("in_pytensor:numba", ("pytensor",)),
}

# PyTensor wants an older numba than the one that is there, so `make bench` gives it a virtual
# environment of its own.
APART = {"pytensor": Path(__file__).parents[2] / ".venv-pytensor" / "bin" / "python"}


def contender(name: str) -> Callable[[Model, int], Runner]:
    """What makes runners; its library is imported here and not before."""
    module, function = CONTENDERS[name].place.split(":")
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
    absent = [n for n in CONTENDERS[name].needs if importlib.util.find_spec(n) is None]
    return f"{' and '.join(absent)} not installed" if absent else ""
