"""What a call costs beside its arithmetic: a jitted function, a training step, a run, all of them
tiny; the bare native entry; a thread started and joined."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

import gradloom as gl
import gradloom.numpy as gnp
from benchmarks.report import Report, Section
from benchmarks.rounds import repeated, take_turns
from gradloom.runtime.executable import Executable

BATCHES = 1000
REPEATS = 50


def measure(dtype: str = "float32", seconds: float = 8.0) -> Report:
    """Microseconds of each kind of call."""
    calls = _calls(dtype)
    timing = take_turns({name: repeated(call, REPEATS) for name, call in calls.items()}, seconds)
    scale = {name: 1e6 / REPEATS / (BATCHES if "batch of a run" in name else 1) for name in calls}
    spreads = {name: timing.seconds(name) * factor for name, factor in scale.items()}
    rows = [[n, f"{s.median:.2f}", f"{s.low:.2f} to {s.high:.2f}"] for n, s in spreads.items()]
    return Report(
        f"call_overhead-{dtype}",
        f"Calls with almost nothing to do, {dtype}",
        [Section("Microseconds", ["", "median", "quartiles"], rows)],
        [
            "The training step has one weight and one example: gradient descent on (w - x) ** 2.",
            "A long run (2e8 operations) is given a thread of its own, to stay interruptible.",
        ],
        {"microseconds": spreads},
        "microseconds",
        {"microseconds": {name: asdict(s) for name, s in spreads.items()}},
    )


def _calls(dtype: str) -> dict[str, Callable[[], Any]]:
    one = np.ones(1, dtype)
    stack = np.ones((BATCHES, 1), dtype)
    double = gl.jit(lambda x: x + x)
    double(one)
    step = Stepper(dtype)
    return {
        "np.add(x, x)": partial(np.add, one, one),
        "the native entry, by ctypes": _entry(double.program().executable, one),
        "gl.jit(f)(x)": partial(double, one),
        "step(state, x)": partial(step.call, one),
        "step.run(state, xs), one batch": partial(step.run, stack[:1]),
        "step.run(state, xs), a batch of a run": partial(step.run, stack),
        "a thread, started and joined": _thread,
    }


def _entry(executable: Executable, x: np.ndarray) -> Callable[[], None]:
    """The native entry with everything prepared, on memory that lives as long as the call."""
    frame, result = executable.frame(), np.empty_like(x)
    for slot, array in enumerate((x, result)):
        frame.table[slot] = array.ctypes.data
    addresses, held = frame.addresses, (x, result, frame)

    def call() -> None:
        assert held
        executable.entry(*addresses)

    return call


class Stepper:
    """A training step with its state."""

    def __init__(self, dtype: str) -> None:
        self.step = gl.train_step(lambda w, x: gnp.sum((w - x) * (w - x)), gl.optim.sgd(0.1))
        self.state = self.step.init(np.zeros(1, dtype))

    def call(self, x: np.ndarray) -> None:
        self.state, _ = self.step(self.state, x)

    def run(self, xs: np.ndarray) -> None:
        self.state, _ = self.step.run(self.state, xs)


def _thread() -> None:
    worker = threading.Thread(target=_nothing, daemon=True)
    worker.start()
    worker.join()


def _nothing() -> None:
    return None
