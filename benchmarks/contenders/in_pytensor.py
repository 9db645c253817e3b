"""PyTensor: a perceptron's training step as one function of updates, compiled by its Numba mode."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from benchmarks.contenders.checks import CannotError
from benchmarks.models.model import Array, Model
from benchmarks.rounds import Runner


def numba(model: Model, threads: int) -> Runner:
    """A call for each batch; parameters and moments are shared variables."""
    if model.perceptron is None:
        raise CannotError("its adapter here knows perceptrons only")
    pytensor = importlib.import_module("pytensor")
    pytensor.config.floatX = model.dtype
    shared = [pytensor.shared(leaf) for layer in model.params for leaf in (layer["w"], layer["b"])]
    first = [v.get_value() for v in shared]
    batches = list(zip(*model.batches, strict=True))
    moments: list[Any] = []
    compiled: list[Any] = []

    def restart() -> None:
        if not compiled:
            function, more = _compile(pytensor, model, shared)
            compiled.append(function)
            moments.extend(more)
        for variable, value in zip(shared, first, strict=True):
            variable.set_value(value)
        for moment in moments:
            moment.set_value(np.zeros_like(moment.get_value(borrow=True)))

    def run() -> Array:
        return np.array([compiled[0](*batch) for batch in batches])

    return Runner(run, restart)


def _compile(pytensor: Any, model: Model, shared: list[Any]) -> tuple[Any, list[Any]]:
    tensor = importlib.import_module("pytensor.tensor")
    data = [tensor.TensorType(b.dtype.name, b.shape[1:])() for b in model.batches]
    loss = _loss(tensor, model, shared, *data)
    updates, moments = _adam(pytensor, tensor, model, shared, pytensor.grad(loss, shared))
    return pytensor.function(data, loss, updates=updates, mode="NUMBA"), moments


def _loss(tensor: Any, model: Model, shared: list[Any], x: Any, y: Any) -> Any:
    how = model.perceptron
    assert how is not None
    layers = list(zip(shared[::2], shared[1::2], strict=True))
    for w, b in layers[:-1]:
        x = x @ w + b
        x = tensor.tanh(x) if how.activation == "tanh" else tensor.maximum(x, 0)
    out = x @ layers[-1][0] + layers[-1][1]
    if how.error == "classes":
        scores = tensor.special.log_softmax(out, axis=-1)
        return -scores[tensor.arange(y.shape[0]), y].mean()
    if how.error == "binary":
        return (y * tensor.softplus(-out) + (1 - y) * tensor.softplus(out)).mean()
    return ((out - y) ** 2).mean()


def _adam(
    pytensor: Any, tensor: Any, model: Model, shared: list[Any], grads: list[Any]
) -> tuple[list[Any], list[Any]]:
    """Adam's updates, and the variables it keeps."""
    b1, b2, eps = (np.array(v, model.dtype) for v in (0.9, 0.999, 1e-8))
    one = np.array(1, model.dtype)
    count = pytensor.shared(np.zeros((), model.dtype))
    after = count + one
    rate = np.array(model.rate, model.dtype)
    updates, moments = [(count, after)], [count]
    for variable, grad in zip(shared, grads, strict=True):
        mu, nu = (pytensor.shared(np.zeros_like(variable.get_value())) for _ in range(2))
        new_mu = b1 * mu + (one - b1) * grad
        new_nu = b2 * nu + (one - b2) * grad * grad
        step = (new_mu / (one - b1**after)) / (tensor.sqrt(new_nu / (one - b2**after)) + eps)
        updates += [(mu, new_mu), (nu, new_nu), (variable, variable - rate * step)]
        moments += [mu, nu]
    return updates, moments
