"""gradloom: one native call for all batches, a call for each, and operator by operator."""

from __future__ import annotations

from typing import Any

import gradloom as gl
from benchmarks.contenders.checks import CannotError, checksums
from benchmarks.models.model import Array, Model
from benchmarks.rounds import Runner
from benchmarks.words import of_gradloom

EAGER_BATCHES = 2  # of a run: what it takes is tens of times the others'


class Training:
    """A step and its state; `options` are those of `gl.train_step`."""

    def __init__(self, model: Model, **options: Any) -> None:
        rule = {"adam": gl.optim.adam, "sgd": gl.optim.sgd}[model.optimizer](model.rate)
        self.step = gl.train_step(model.loss(of_gradloom()), rule, **options)
        self.model = model
        self.batches = list(zip(*model.batches, strict=True))
        self.state: Any = None

    def restart(self) -> None:
        self.state = None  # there is never a second one
        self.state = self.step.init(self.model.params)

    def run(self) -> Array:
        """One native call for all batches."""
        self.state, losses = self.step.run(self.state, *self.model.batches)
        return losses

    def each(self) -> list[Any]:
        """A call for each batch."""
        losses = []
        for batch in self.batches:
            self.state, loss = self.step(self.state, *batch)
            losses.append(loss)
        return losses

    def planned_bytes(self) -> int:
        """The state, and what a call takes."""
        found = self.step.memory()
        return found.state_bytes + found.call_bytes


def run(model: Model, threads: int | None = None, device: str = "cpu") -> Runner:
    """`step.run`: one native call for all batches."""
    if not model.optimizer:
        return _called(model, threads=threads, device=device)
    training = Training(model, threads=threads, device=device)
    return Runner(training.run, training.restart, planned_bytes=training.planned_bytes)


def step(model: Model, threads: int | None = None, device: str = "cpu") -> Runner:
    """`step(state, *batch)`: a native call for each batch, from a Python loop."""
    if not model.optimizer:
        raise CannotError("nothing is trained: `run` is a call for each batch, too")
    training = Training(model, threads=threads, device=device)
    return Runner(training.each, training.restart, planned_bytes=training.planned_bytes)


def eager(model: Model, threads: int) -> Runner:
    """The same program under `gl.eager()`: operator by operator in NumPy, with a tape."""
    compiled = run(model.first(EAGER_BATCHES), threads)

    def uncompiled() -> Any:
        with gl.eager():
            return compiled.run()

    return Runner(uncompiled, compiled.restart, compiled.losses)


def _called(model: Model, **options: Any) -> Runner:
    """A function that nothing is trained by: a native call for each batch."""
    function = gl.jit(model.loss(of_gradloom()), **options)
    batches = list(zip(*model.batches, strict=True))

    def all_batches() -> list[Any]:
        return [function(model.params, *batch) for batch in batches]

    def planned_bytes() -> int:
        found = function.memory()
        return found.call_bytes + found.output_bytes * len(batches)  # all are held until the end

    return Runner(all_batches, losses=checksums, planned_bytes=planned_bytes)
