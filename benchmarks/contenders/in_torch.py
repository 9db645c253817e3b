"""PyTorch: eager with its fused optimizers and native layers, and the same through its compiler."""

from __future__ import annotations

import importlib
from typing import Any

from benchmarks.contenders.checks import checksums
from benchmarks.models.model import Array, Model
from benchmarks.rounds import Runner


def eager(model: Model, threads: int) -> Runner:
    """Autograd as people use it; the optimizer is one fused kernel a tensor."""
    return runner(model, threads)


def compiled(model: Model, threads: int) -> Runner:
    """`torch.compile` of the whole step, its optimizer included.

    Where a loss takes derivatives by its inputs, which cannot be captured with the gradient, of the
    loss alone, beside the fused optimizer.
    """
    return runner(model, threads, "default")


def runner(model: Model, threads: int, mode: str | None = None, device: str = "cpu") -> Runner:
    """On any device; through its compiler in a mode of this one, of which "reduce-overhead" and
    "max-autotune" replay CUDA graphs."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(threads)
    data = (torch.from_numpy(array).to(device) for array in model.batches)
    batches = list(zip(*data, strict=True))
    loss_of = model.torch_loss(torch)
    whole = bool(mode and model.optimizer and not model.inner_derivatives)
    if mode and not whole:
        loss_of = torch.compile(loss_of, dynamic=False, mode=mode)
    if not model.optimizer and device == "cpu":
        return Runner(lambda: [loss_of({}, *batch) for batch in batches], losses=checksums)
    if not model.optimizer:
        return Runner(lambda: _results(torch, loss_of, batches), losses=checksums)
    if whole:
        training: Training | Whole = Whole(torch, model, batches, loss_of, device, mode)
    else:
        training = Training(torch, model, batches, loss_of, device)
    return Runner(training.run, training.restart)


def _results(torch: Any, function: Any, batches: list[Any]) -> list[Any]:
    """On the host: the next replay of a CUDA graph writes them anew."""
    found = []
    for batch in batches:
        torch.compiler.cudagraph_mark_step_begin()
        found.append([result.cpu() for result in function({}, *batch)])
    return found


class Training:
    """Parameters that stay where they are, and their rule."""

    def __init__(
        self, torch: Any, model: Model, batches: list[Any], loss_of: Any, device: str
    ) -> None:
        self.torch, self.model, self.batches, self.loss_of = torch, model, batches, loss_of
        self.tree, self.device = torch.utils._pytree, device
        self.first, self.structure = self.tree.tree_flatten(model.to_torch(model.params))
        self.leaves: list[Any] = []

    def restart(self) -> None:
        torch = self.torch
        if not self.leaves:
            on = {"device": self.device}
            self.leaves = [torch.tensor(leaf, requires_grad=True, **on) for leaf in self.first]
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
        return self.torch.stack(losses).cpu().numpy()


class Whole:
    """Loss, gradient and update as one compiled function, which changes its arguments in place."""

    def __init__(
        self, torch: Any, model: Model, batches: list[Any], loss_of: Any, device: str, mode: Any
    ) -> None:
        self.torch, self.model, self.batches, self.loss_of = torch, model, batches, loss_of
        self.tree, self.device = torch.utils._pytree, device
        self.first, self.structure = self.tree.tree_flatten(model.to_torch(model.params))
        self.state: list[Any] = []
        self.step = torch.compile(self._step, fullgraph=True, dynamic=False, mode=mode)

    def restart(self) -> None:
        torch = self.torch
        if not self.state:
            leaves = [torch.tensor(leaf, device=self.device) for leaf in self.first]
            moments = [[torch.zeros_like(leaf) for leaf in leaves] for _ in range(2)]
            self.state = [leaves, *moments, torch.zeros((), device=self.device)]
            if self.device != "cpu":  # CUDA graphs change in place only what is known to stay
                for tensor in self.tree.tree_leaves(self.state):
                    torch._dynamo.mark_static_address(tensor)
            return
        leaves, mu, nu, count = self.state
        for leaf, value in zip(leaves, self.first, strict=True):
            leaf.copy_(torch.from_numpy(value))
        for moment in (*mu, *nu, count):
            moment.zero_()

    def run(self) -> Array:
        losses = []
        with self.torch.no_grad():
            for batch in self.batches:
                if self.device == "cpu":
                    losses.append(self.step(*self.state, *batch))
                else:  # the next replay of a CUDA graph writes the loss anew
                    self.torch.compiler.cudagraph_mark_step_begin()
                    losses.append(self.step(*self.state, *batch).clone())
        return self.torch.stack(losses).cpu().numpy()

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
