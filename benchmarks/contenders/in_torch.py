"""PyTorch: eager with its fused optimizers and native layers, and the same through its compiler."""

from __future__ import annotations

import importlib
from typing import Any

from benchmarks.contenders.checks import checksums
from benchmarks.models.model import Array, Model
from benchmarks.rounds import Runner


def eager(model: Model, threads: int) -> Runner:
    """Autograd as people use it; the optimizer is one fused kernel a tensor."""
    return _runner(model, threads, whole=False, compiled=False)


def compiled(model: Model, threads: int) -> Runner:
    """`torch.compile` of the whole step, its optimizer included.

    Where a loss takes derivatives by its inputs, which cannot be captured with the gradient, of the
    loss alone, beside the fused optimizer.
    """
    return _runner(model, threads, whole=not model.inner_derivatives, compiled=True)


def _runner(model: Model, threads: int, whole: bool, compiled: bool) -> Runner:
    torch = importlib.import_module("torch")
    torch.set_num_threads(threads)
    batches = list(zip(*map(torch.from_numpy, model.batches), strict=True))
    loss_of = model.torch_loss(torch)
    if compiled and not (whole and model.optimizer):
        loss_of = torch.compile(loss_of, dynamic=False)
    if not model.optimizer:
        return Runner(lambda: [loss_of({}, *batch) for batch in batches], losses=checksums)
    training = (Whole if whole and compiled else Training)(torch, model, batches, loss_of)
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


class Whole:
    """Loss, gradient and update as one compiled function, which changes its arguments in place."""

    def __init__(self, torch: Any, model: Model, batches: list[Any], loss_of: Any) -> None:
        self.torch, self.model, self.batches, self.loss_of = torch, model, batches, loss_of
        self.tree = torch.utils._pytree
        self.first, self.structure = self.tree.tree_flatten(model.to_torch(model.params))
        self.state: list[Any] = []
        self.step = torch.compile(self._step, fullgraph=True, dynamic=False)

    def restart(self) -> None:
        torch = self.torch
        if not self.state:
            leaves = [torch.tensor(leaf) for leaf in self.first]
            moments = [[torch.zeros_like(leaf) for leaf in leaves] for _ in range(2)]
            self.state = [leaves, *moments, torch.zeros(())]
            return
        leaves, mu, nu, count = self.state
        for leaf, value in zip(leaves, self.first, strict=True):
            leaf.copy_(torch.from_numpy(value))
        for moment in (*mu, *nu, count):
            moment.zero_()

    def run(self) -> Array:
        with self.torch.no_grad():
            losses = [self.step(*self.state, *batch) for batch in self.batches]
        return self.torch.stack(losses).numpy()

    def _step(self, leaves: Any, mu: Any, nu: Any, count: Any, *batch: Any) -> Any:
        def loss(leaves: Any) -> Any:
            return self.loss_of(self.tree.tree_unflatten(leaves, self.structure), *batch)

        grads, value = self.torch.func.grad_and_value(loss)(leaves)
        rate = self.model.rate
        if self.model.optimizer == "sgd":
            for leaf, grad in zip(leaves, grads, strict=True):
                leaf.sub_(rate * grad)
            return value
        count.add_(1)
        for leaf, m, v, grad in zip(leaves, mu, nu, grads, strict=True):
            m.lerp_(grad, 0.1)
            v.mul_(0.999).addcmul_(grad, grad, value=0.001)
            root = (v / (1 - 0.999**count)).sqrt() + 1e-8
            leaf.sub_(rate * (m / (1 - 0.9**count)) / root)
        return value
