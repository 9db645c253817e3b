"""PyTorch: eager with its fused optimizers and native layers, and the same through its compiler."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from benchmarks.contenders.checks import checksums
from benchmarks.models.model import Array, Model
from benchmarks.rounds import Runner


def eager(model: Model, threads: int) -> Runner:
    """Autograd as people use it; the optimizer is one fused kernel a tensor."""
    return _runner(model, threads, lambda torch, loss: loss)


def compiled(model: Model, threads: int) -> Runner:
    """`torch.compile` of the loss, and so of its gradient."""
    return _runner(model, threads, lambda torch, loss: torch.compile(loss, dynamic=False))


def _runner(model: Model, threads: int, through: Callable[[Any, Any], Any]) -> Runner:
    torch = importlib.import_module("torch")
    torch.set_num_threads(threads)
    batches = list(zip(*map(torch.from_numpy, model.batches), strict=True))
    loss_of = through(torch, model.torch_loss(torch))
    if not model.optimizer:
        return Runner(lambda: [loss_of({}, *batch) for batch in batches], losses=checksums)
    training = Training(torch, model, batches, loss_of)
    return Runner(training.run, training.restart)


class Training:
    """Parameters that stay where they are, and their rule."""

    def __init__(self, torch: Any, model: Model, batches: list[Any], loss_of: Any) -> None:
        self.torch, self.model, self.batches, self.loss_of = torch, model, batches, loss_of
        self.tree = torch.utils._pytree
        self.first, self.structure = self.tree.tree_flatten(model.to_torch(model.params))
        self.leaves: list[Any] = []

    def restart(self) -> None:
        torch = self.torch
        if not self.leaves:
            self.leaves = [torch.tensor(leaf, requires_grad=True) for leaf in self.first]
            rules = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
            rule = rules[self.model.optimizer]
            self.rule = rule(self.leaves, lr=self.model.rate, fused=True)
            return
        with torch.no_grad():
            for leaf, value in zip(self.leaves, self.first, strict=True):
                leaf.copy_(torch.from_numpy(value))
        for moments in self.rule.state.values():
            for moment in moments.values():
                if moment is not None:
                    moment.zero_()

    def run(self) -> Array:
        params = self.tree.tree_unflatten(self.leaves, self.structure)
        losses = []
        for batch in self.batches:
            self.rule.zero_grad()
            loss = self.loss_of(params, *batch)
            loss.backward()
            self.rule.step()
            losses.append(loss.detach())
        return self.torch.stack(losses).numpy()
