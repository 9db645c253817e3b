"""The same models in NumPy as an experienced person writes them: the reverse sweep and Adam spelled
out, all memory allocated once, results written in place, one flat vector for all parameters."""

from __future__ import annotations

import numpy as np

from benchmarks.models import LEARNING_RATE, Array, Layers, Model


class Flat:
    """All parameters in one vector, with their gradient and Adam's moments."""

    def __init__(self, params: Layers) -> None:
        leaves = [leaf for layer in params for leaf in layer.values()]
        self.values = np.concatenate([leaf.ravel() for leaf in leaves])
        self.slopes, self.mu, self.nu, self.scratch = (np.zeros_like(self.values) for _ in range(4))
        self.count = 0
        self.first = self.values.copy()
        self.params = self._views(self.values, params)
        self.grads = self._views(self.slopes, params)

    def _views(self, vector: Array, params: Layers) -> Layers:
        views: Layers = []
        at = 0
        for layer in params:
            views.append({})
            for name, leaf in layer.items():
                views[-1][name] = vector[at : at + leaf.size].reshape(leaf.shape)
                at += leaf.size
        return views

    def restart(self) -> None:
        """Back to the first weights."""
        self.values[:] = self.first
        self.mu[:] = self.nu[:] = self.count = 0

    def adam(self, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> None:
        """One update of everything by `slopes`."""
        self.count += 1
        slopes, mu, nu, scratch = self.slopes, self.mu, self.nu, self.scratch
        mu *= b1
        np.multiply(slopes, 1 - b1, out=scratch)
        mu += scratch
        nu *= b2
        np.multiply(slopes, slopes, out=scratch)
        scratch *= 1 - b2
        nu += scratch
        np.multiply(nu, 1 / (1 - b2**self.count), out=scratch)
        np.sqrt(scratch, out=scratch)
        scratch += eps
        np.divide(mu, scratch, out=scratch)
        scratch *= LEARNING_RATE / (1 - b1**self.count)
        self.values -= scratch


class Perceptron:
    """Dense layers; cross entropy over classes, or of one sigmoid."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.flat = Flat(model.params)
        batch, dtype = model.inputs.shape[1], model.inputs.dtype
        widths = [layer["w"].shape[1] for layer in model.params]
        self.outputs = [np.empty((batch, n), dtype) for n in widths]
        self.errors = [np.empty((batch, n), dtype) for n in widths]
        self.factors = [np.empty((batch, n), dtype) for n in widths[:-1]]
        self.rows = np.arange(batch)

    def step(self, x: Array, y: Array) -> float:
        """One update; the loss before it."""
        self.forward(x)
        loss = self.classes(y) if self.model.form == "classes" else self.binary(y)
        self.reverse(x)
        self.flat.adam()
        return loss

    def forward(self, x: Array) -> None:
        last = len(self.outputs) - 1
        for i, (layer, out) in enumerate(zip(self.flat.params, self.outputs, strict=True)):
            np.matmul(x, layer["w"], out=out)
            out += layer["b"]
            if i < last and self.model.activation == "tanh":
                np.tanh(out, out=out)
            elif i < last:
                np.maximum(out, 0, out=out)
            x = out

    def classes(self, y: Array) -> float:
        """The mean cross entropy; its slope by the logits goes to the last of `errors`."""
        logits, error = self.outputs[-1], self.errors[-1]
        np.subtract(logits, logits.max(1, keepdims=True), out=logits)
        np.exp(logits, out=error)
        total = error.sum(1, keepdims=True)
        loss = np.log(total).mean() - logits[self.rows, y].mean()
        error /= total
        error[self.rows, y] -= 1
        error *= 1 / len(y)
        return loss

    def binary(self, y: Array) -> float:
        """The same for one sigmoid."""
        logits, error = self.outputs[-1], self.errors[-1]
        loss = (np.logaddexp(0, logits) - y * logits).mean()
        np.negative(logits, out=error)
        np.exp(error, out=error)
        error += 1
        np.divide(1, error, out=error)
        error -= y
        error *= 1 / y.size
        return loss

    def reverse(self, x: Array) -> None:
        for i in reversed(range(len(self.outputs))):
            below = self.outputs[i - 1] if i else x
            np.matmul(below.T, self.errors[i], out=self.flat.grads[i]["w"])
            self.errors[i].sum(0, out=self.flat.grads[i]["b"])
            if not i:
                return
            error, factor = self.errors[i - 1], self.factors[i - 1]
            np.matmul(self.errors[i], self.flat.params[i]["w"].T, out=error)
            if self.model.activation == "tanh":
                np.multiply(below, below, out=factor)
                np.subtract(1, factor, out=factor)
                error *= factor
            else:
                error *= below > 0


class Chain:
    """The elementwise chain; every intermediate has its memory."""

    def __init__(self, model: Model) -> None:
        self.flat = Flat(model.params)
        self.u, self.square, self.bell, self.error = (
            np.empty_like(model.inputs[0]) for _ in range(4)
        )

    def step(self, x: Array, y: Array) -> float:
        """One update; the loss before it."""
        w, slope = self.flat.params[0]["w"], self.flat.grads[0]["w"]
        u, square, bell, error = self.u, self.square, self.bell, self.error
        np.multiply(w, x, out=u)
        np.tanh(u, out=u)
        np.multiply(u, u, out=square)
        np.negative(square, out=bell)
        np.exp(bell, out=bell)
        np.multiply(bell, u, out=error)
        error -= y
        loss = np.dot(error, error) / error.size
        # d/du (exp(-u*u) * u) = exp(-u*u) * (1 - 2*u*u); d tanh = 1 - u*u
        np.multiply(error, bell, out=slope)
        slope *= 2 / error.size
        np.multiply(square, -2, out=bell)
        bell += 1
        slope *= bell
        np.subtract(1, square, out=square)
        slope *= square
        slope *= x
        self.flat.adam()
        return loss


def by_hand(model: Model) -> Perceptron | Chain:
    """A model that has a `step(x, y)`."""
    return Chain(model) if model.form == "chain" else Perceptron(model)
