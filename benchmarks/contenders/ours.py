"""gradloom: one native call for all batches, a call for each, and operator by operator."""

from __future__ import annotations

from typing import Any

import numpy as np

import gradloom as gl
from benchmarks.contenders.checks import CannotError, checksums
from benchmarks.models.model import Array, Model
from benchmarks.rounds import Runner
from benchmarks.words import of_gradloom

EAGER_BATCHES = 2  # of a run: what it takes is tens of times the others'


class Training:
    """A step, its state, and its data, on a device."""

    def __init__(self, model: Model, threads: int | None, device: str) -> None:
        rule = {"adam": gl.optim.adam, "sgd": gl.optim.sgd}[model.optimizer](model.rate)
        loss = model.loss(of_gradloom())
        self.step = gl.train_step(loss, rule, threads=threads, device=device)
        self.model, self.device = model, device
        self.data, self.batches = _placed(model, device)
        self.state: Any = None

    def restart(self) -> None:
        self.state = None  # there is never a second one
        self.state = self.step.init(self.model.params)

    def run(self) -> Array:
        """One native call for all batches."""
        self.state, losses = self.step.run(self.state, *self.data)
        return np.asarray(losses)

    def each(self) -> list[Any]:
        """A call for each batch."""
        losses = []
        for batch in self.batches:
            self.state, loss = self.step(self.state, *batch)
            losses.append(loss)
        return losses if self.device == "cpu" else list(gl.device_get(losses))

    def planned_bytes(self) -> int:
        """The state, and what a call takes."""
        found = self.step.memory()
        return found.state_bytes + found.call_bytes


def run(model: Model, threads: int | None = None, device: str = "cpu") -> Runner:
    """`step.run`: one native call for all batches."""
    if not model.optimizer:
        return _called(model, threads, device)
    training = Training(model, threads, device)
    return Runner(training.run, training.restart, planned_bytes=training.planned_bytes)


def step(model: Model, threads: int | None = None, device: str = "cpu") -> Runner:
    """`step(state, *batch)`: a native call for each batch, from a Python loop."""
    if not model.optimizer:
        raise CannotError("nothing is trained: `run` is a call for each batch, too")
    training = Training(model, threads, device)
    return Runner(training.each, training.restart, planned_bytes=training.planned_bytes)


def eager(model: Model, threads: int) -> Runner:
    """The same program under `gl.eager()`: operator by operator in NumPy, with a tape."""
    compiled = run(model.first(EAGER_BATCHES), threads)

    def uncompiled() -> Any:
        with gl.eager():
            return compiled.run()

    return Runner(uncompiled, compiled.restart, compiled.losses)


def _called(model: Model, threads: int | None, device: str) -> Runner:
    """A function that nothing is trained by: a native call for each batch."""
    function = gl.jit(model.loss(of_gradloom()), threads=threads, device=device)
    _, batches = _placed(model, device)

    def all_batches() -> list[Any]:
        found = [function(model.params, *batch) for batch in batches]
        return found if device == "cpu" else gl.device_get(found)

    def planned_bytes() -> int:
        found = function.memory()
        return found.call_bytes + found.output_bytes * len(batches)  # all are held until the end

    return Runner(all_batches, losses=checksums, planned_bytes=planned_bytes)


def _placed(model: Model, device: str) -> tuple[tuple[Any, ...], list[tuple[Any, ...]]]:
    """All batches of each array, and the arrays of each batch, where they are computed with."""
    batches = list(zip(*model.batches, strict=True))
    if device == "cpu":
        return model.batches, batches
    return gl.device_put(model.batches, device), gl.device_put(batches, device)
