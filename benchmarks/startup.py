"""What it takes to begin: imports, the first step without and with the disk cache, and how many
compilations fifty learning rates cost.  Every figure is from fresh processes, in turn."""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import gradloom as gl
from benchmarks.contenders import missing
from benchmarks.models import Model, xor
from benchmarks.report import Report, Section
from benchmarks.rounds import Spread
from benchmarks.words import of_gradloom
from gradloom.pipeline import COMPILED

# Whole processes: what cannot be done without, and one that finds its program in the cache.
NEEDED = "import numpy, llvmlite.binding"
CACHED_STEP = """
import numpy as np
import gradloom as gl

def loss(params, x, y):
    for w, b in params[:-1]:
        x = np.tanh(x @ w + b)
    w, b = params[-1]
    return gl.nn.softmax_cross_entropy(x @ w + b, y).mean()

sizes = (64, 128, 64, 10)
params = [
    (np.full((m, n), 0.01, "float32"), np.zeros(n, "float32")) for m, n in zip(sizes, sizes[1:])
]
step = gl.train_step(loss, gl.optim.adam(1e-3), threads=1)
state = step.init(params)
state, value = step(state, np.ones((64, 64), "float32"), np.arange(64) % 10)
"""

ROOT = Path(__file__).parent.parent
ROUNDS = 5
RATES = 50

# What is imported after what; the seconds are those of the last import alone.
IMPORTS = {
    "gradloom, over numpy": ("numpy", "gradloom"),
    "numpy": ("numpy",),
    "numba, over numpy": ("numpy", "numba"),
    "torch, over numpy": ("numpy", "torch"),
    "jax, over numpy": ("numpy", "jax"),
}
TIME_IMPORT = """
import importlib, sys, time
for name in sys.argv[1:]:
    start = time.perf_counter()
    importlib.import_module(name)
    taken = time.perf_counter() - start
print(taken)
"""


def measure(dtype: str = "float32", rounds: int = ROUNDS) -> Report:
    """The table; `dtype` is not used, the first step is in float32."""
    del dtype
    imports = {name: Spread.of(found) for name, found in time_imports(rounds).items()}
    wholes = {name: Spread.of(found) for name, found in whole_processes(2 * rounds).items()}
    times = wholes["a cached step"].median / wholes["numpy and llvmlite.binding"].median
    firsts, facts = first_steps(rounds)
    compilations = compilations_of_rates(RATES, xor("float32", count=1))
    report = Report(
        "startup",
        "From starting Python to the first step",
        [
            Section("Imports, seconds", ["", "median", "quartiles"], _rows(imports)),
            Section(
                "First step of 64-128-64-10 with Adam, after the imports, seconds",
                ["", "median", "quartiles"],
                _rows(firsts),
            ),
            Section("Whole processes, seconds", ["", "median", "quartiles"], _rows(wholes)),
        ],
        [
            f"{RATES} learning rates: {compilations} compilation.",
            f"A process that loads and runs a cached step of 64-128-64-10 takes {times:.2f} times "
            "one that imports numpy and llvmlite.binding.",
            f"With the cache filled, numba was imported: {facts['numba_imported']}; the program "
            f"came from the cache: {facts['cached']}.",
            "Modules are imported as an installed package's are, from bytecode.",
        ],
        {"import": imports, "first step": firsts, "whole process": wholes},
        "seconds",
    )
    report.raw = {
        "import": {name: asdict(spread) for name, spread in imports.items()},
        "first_step": {name: asdict(spread) for name, spread in firsts.items()},
        "whole_process": {name: asdict(spread) for name, spread in wholes.items()},
        "compilations_of_50_rates": compilations,
        "warm": facts,
    }
    return report


def _rows(spreads: dict[str, Spread]) -> list[list[str]]:
    return [[n, f"{s.median:.3f}", f"{s.low:.3f} to {s.high:.3f}"] for n, s in spreads.items()]


def time_imports(rounds: int) -> dict[str, list[float]]:
    """Seconds of each import, in interleaved fresh processes; the first round is thrown away."""
    found: dict[str, list[float]] = {
        name: [] for name, modules in IMPORTS.items() if _installed(modules)
    }
    for number in range(rounds + 1):
        for name, seconds in found.items():
            taken = float(_python("-c", TIME_IMPORT, *IMPORTS[name]))
            if number:
                seconds.append(taken)
    return found


def _installed(modules: tuple[str, ...]) -> bool:
    return all(importlib.util.find_spec(module) for module in modules)


def first_steps(
    rounds: int, others: tuple[str, ...] = ("jax",)
) -> tuple[dict[str, Spread], dict[str, Any]]:
    """Seconds of the first step, by what is ready beforehand, and what a warm process reports."""
    others = tuple(name for name in others if not missing(f"{name}, step"))
    seconds: dict[str, list[float]] = {}
    facts: dict[str, Any] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            cold = _first_step(folder, "gradloom")
            facts = _first_step(folder, "gradloom")
        if cold["cached"] or not facts["cached"]:
            raise RuntimeError("the cache is not as it was left; did a file of gradloom change?")
        entries = {
            "gradloom, cold": cold["first_step"],
            "gradloom, cache filled by another process": facts["first_step"],
        }
        entries |= {name: _first_step("", name)["first_step"] for name in others}
        for name, value in entries.items():
            seconds.setdefault(name, []).append(value)
    return {name: Spread.of(found) for name, found in seconds.items()}, facts


def whole_processes(rounds: int) -> dict[str, list[float]]:
    """Seconds from start to end, in turn; in the first round, the cache is filled."""
    commands = {"numpy and llvmlite.binding": NEEDED, "a cached step": CACHED_STEP}
    found: dict[str, list[float]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds + 1):
            for name, text in commands.items():
                start = time.perf_counter()
                _python("-c", text, folder=folder)
                if number:
                    found[name].append(time.perf_counter() - start)
    return found


def _first_step(folder: str, *arguments: str) -> dict[str, Any]:
    found = json.loads(_python("-m", "benchmarks.first_step", *arguments, folder=folder))
    return dict(found)


def _python(*arguments: str, folder: str = "") -> str:
    """What a fresh process prints; its modules come from bytecode, whatever is set here."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": _bytecode()}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    if folder:
        environment["GRADLOOM_CACHE_DIR"] = folder
    found = subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return found.stdout


@cache
def _bytecode() -> str:
    """A folder for the bytecode of what these processes import."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def compilations_of_rates(count: int, model: Model) -> int:
    """How many programs are built for training a model, new to this process, with `count` rates."""
    with tempfile.TemporaryDirectory() as folder, gl.settings(cache_dir=folder):
        before = COMPILED["programs"]
        for rate in np.geomspace(1e-4, 1e-1, count):
            step = gl.train_step(model.loss(of_gradloom()), gl.optim.adam(float(rate)))
            state = step.init(model.params)
            step(state, *(data[0] for data in model.batches))
        return COMPILED["programs"] - before
