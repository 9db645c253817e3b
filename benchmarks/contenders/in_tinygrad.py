"""tinygrad: its JIT over a whole training step of a perceptron.

Its CPU device calls `clang`; where there is none, the one inside of the package `ziglang` is put on
the path under that name.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contenders.checks import CannotError
from benchmarks.models.model import Model
from benchmarks.rounds import Runner


def jit(model: Model, threads: int) -> Runner:
    """A replay of the captured step for each batch."""
    if model.perceptron is None:
        raise CannotError("its adapter here knows perceptrons only")
    _find_clang()
    os.environ |= {"DEV": "CPU", "NUM_CPU_THREADS": str(threads)}
    training = Training(model)
    return Runner(training.run, training.restart, losses=lambda found: np.array(found, float))


class Training:
    """Parameters, Adam, and the captured step."""

    def __init__(self, model: Model) -> None:
        self.tiny = importlib.import_module("tinygrad")
        self.model = model
        self.batches = [
            tuple(self.tiny.Tensor(np.ascontiguousarray(a)).realize() for a in batch)
            for batch in zip(*model.batches, strict=True)
        ]
        self.first = [leaf for layer in model.params for leaf in (layer["w"], layer["b"])]
        self.leaves: list[Any] = []

    def restart(self) -> None:
        tensor = self.tiny.Tensor
        if not self.leaves:
            optim = importlib.import_module("tinygrad.nn.optim")
            self.leaves = [tensor(leaf).is_param_() for leaf in self.first]
            self.rule = optim.Adam(self.leaves, lr=self.model.rate)
            self.step = self.tiny.TinyJit(self._step)
        for leaf, value in zip(self.leaves, self.first, strict=True):
            leaf.assign(tensor(value)).realize()
        for moment in (*self.rule.m, *self.rule.v):
            moment.assign(moment.zeros_like()).realize()
        for power in (self.rule.b1_t, self.rule.b2_t):
            power.assign(power.ones_like()).realize()

    def run(self) -> list[float]:
        with self.tiny.helpers.Context(TRAINING=1):
            return [self.step(*batch).item() for batch in self.batches]

    def _step(self, x: Any, y: Any) -> Any:
        self.rule.zero_grad()
        loss = self._loss(x, y)
        loss.backward()
        return loss.realize(*self.rule.schedule_step())

    def _loss(self, x: Any, y: Any) -> Any:
        how = self.model.perceptron
        assert how is not None
        layers = list(zip(self.leaves[::2], self.leaves[1::2], strict=True))
        for w, b in layers[:-1]:
            x = getattr(x @ w + b, how.activation)()
        out = x @ layers[-1][0] + layers[-1][1]
        if how.error == "classes":
            return out.sparse_categorical_crossentropy(y)
        if how.error == "binary":
            return out.binary_crossentropy_logits(y)
        return ((out - y) ** 2).mean()


def _find_clang() -> None:
    if shutil.which("clang"):
        return
    found = importlib.util.find_spec("ziglang")
    if found is None or found.origin is None:
        raise CannotError("neither clang nor ziglang is installed")
    folder = Path(tempfile.mkdtemp(prefix="benchmarks-clang-"))
    script = folder / "clang"
    script.write_text(f'#!/bin/sh\nexec "{Path(found.origin).parent / "zig"}" clang "$@"\n')
    script.chmod(0o755)
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
