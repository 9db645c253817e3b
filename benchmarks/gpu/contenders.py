"""Who is compared on a GPU: a function from a model and a place to a `Runner`, by name.

Data, parameters and optimizer are on the device before anything is timed; a run ends when its
losses are on the host.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.contenders import in_jax, in_torch, ours
from benchmarks.gpu import place as places
from benchmarks.models import MODELS, Model
from benchmarks.rounds import Runner

Make = Callable[[Model, str], Runner]


@dataclass(frozen=True)
class Contender:
    """What makes its runner, what it needs, what of gradloom's is switched off, and the seconds
    that its first run may take."""

    make: Make
    needs: tuple[str, ...] = ()
    disable: str = ""
    limit: float = 120.0


def _run(model: Model, place: str) -> Runner:
    return ours.run(model, device=places.of_ours(place))


def _step(model: Model, place: str) -> Runner:
    return ours.step(model, device=places.of_ours(place))


def _in_torch(mode: str | None) -> Make:
    def make(model: Model, place: str) -> Runner:
        return in_torch.runner(model, os.cpu_count() or 1, mode, places.of_torch(place))

    return make


def _jax_scan(model: Model, place: str) -> Runner:
    return in_jax.scan(model, 0)


def _jax_step(model: Model, place: str) -> Runner:
    return in_jax.step(model, 0)


OURS = "gradloom, run"
EAGER, GRAPHED, SCAN = "torch, eager", "torch, compile with CUDA graphs", "jax, scan"
CONTENDERS = {
    OURS: Contender(_run),
    "gradloom, run in one kernel": Contender(_run, disable="graphs"),
    "gradloom, run in graphs": Contender(_run, disable="persistent"),
    "gradloom, step": Contender(_step),
    EAGER: Contender(_in_torch(None), ("torch",)),
    GRAPHED: Contender(_in_torch("reduce-overhead"), ("torch",), limit=240.0),
    "torch, compile, max-autotune": Contender(_in_torch("max-autotune"), ("torch",), limit=400.0),
    SCAN: Contender(_jax_scan, ("jax", "optax")),
    "jax, step": Contender(_jax_step, ("jax", "optax")),
}
# What a first look has: `max-autotune` compiles for minutes.
USUAL = [name for name in CONTENDERS if "max-autotune" not in name]


def missing(name: str) -> str:
    """Why a contender is not there, or nothing."""
    absent = [n for n in CONTENDERS[name].needs if importlib.util.find_spec(n) is None]
    return f"{' and '.join(absent)} not installed" if absent else ""


def model_of(text: str, dtype: str) -> Model:
    """A model, with sizes of its own if the text has some.

    >>> model_of("digits:rows=5:count=3", "float32").batches[0].shape
    (3, 5, 64)
    """
    name, *sizes = text.split(":")
    pairs = (size.split("=") for size in sizes)
    return MODELS[name](dtype, **{key: int(value) for key, value in pairs})
