"""One training run, five ways: gradloom compiled and eager, NumPy by hand, torch, jax.

A contender is a function from a model to a `Runner`.  Its `run` goes once through the batches and
returns the losses; `restart` goes back to the first weights.  Without that, whoever is faster would
train longer, down to gradients so small that denormal numbers slow the arithmetic down.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import gradloom as gl
from benchmarks.by_hand import by_hand
from benchmarks.models import LEARNING_RATE, Array, Model
from benchmarks.rounds import Runner

# ---- gradloom and NumPy


def native_run(model: Model) -> Runner:
    """`step.run`: one native call for all batches."""
    step = gl.train_step(model.loss, gl.optim.adam(LEARNING_RATE))
    state = step.init(model.params)

    def run() -> Array:
        nonlocal state
        state, losses = step.run(state, model.inputs, model.targets)
        return losses

    def restart() -> None:
        nonlocal state
        state = step.init(model.params)

    return Runner(run, restart)


def native_step(model: Model) -> Runner:
    """A native call for each batch."""
    step = gl.train_step(model.loss, gl.optim.adam(LEARNING_RATE))
    state = step.init(model.params)
    batches = list(zip(model.inputs, model.targets, strict=True))

    def run() -> Array:
        nonlocal state
        losses = []
        for x, y in batches:
            state, loss = step(state, x, y)
            losses.append(loss)
        return np.array(losses)

    def restart() -> None:
        nonlocal state
        state = step.init(model.params)

    return Runner(run, restart)


def eager(model: Model) -> Runner:
    """gradloom's eager mode: the same program, operator by operator, in NumPy."""
    compiled = native_run(model)

    def run() -> Array:
        with gl.eager():
            return compiled.run()

    return Runner(run, compiled.restart)


def numpy(model: Model) -> Runner:
    """Forward, reverse and Adam written by hand."""
    trained = by_hand(model)
    batches = list(zip(model.inputs, model.targets, strict=True))
    return Runner(lambda: np.array([trained.step(x, y) for x, y in batches]), trained.flat.restart)


# ---- torch


def torch_eager(model: Model) -> Runner:
    """torch as people use it; Adam in its fastest form, one fused kernel a tensor."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    params = [{k: torch.tensor(v, requires_grad=True) for k, v in p.items()} for p in model.params]
    leaves = [leaf for layer in params for leaf in layer.values()]
    rule = torch.optim.Adam(leaves, lr=LEARNING_RATE, fused=True)
    batches = list(zip(torch.tensor(model.inputs), torch.tensor(model.targets), strict=True))
    loss_of = partial(_torch_loss, torch, model)

    def run() -> Array:
        losses = []
        for x, y in batches:
            rule.zero_grad()
            loss = loss_of(params, x, y)
            loss.backward()
            rule.step()
            losses.append(loss.detach())
        return torch.stack(losses).numpy()

    def restart() -> None:
        first = [torch.tensor(leaf) for layer in model.params for leaf in layer.values()]
        with torch.no_grad():
            for leaf, value in zip(leaves, first, strict=True):
                leaf.copy_(value)
        for moments in rule.state.values():
            for moment in moments.values():
                moment.zero_()

    return Runner(run, restart)


def _torch_loss(torch: Any, model: Model, params: Any, x: Any, y: Any) -> Any:
    if model.form == "chain":
        u = torch.tanh(params[0]["w"] * x)
        error = torch.exp(-u * u) * u - y
        return (error * error).mean()
    activation = {"tanh": torch.tanh, "relu": torch.relu}[model.activation]
    for layer in params[:-1]:
        x = activation(torch.addmm(layer["b"], x, layer["w"]))
    logits = torch.addmm(params[-1]["b"], x, params[-1]["w"])
    if model.form == "classes":
        return torch.nn.functional.cross_entropy(logits, y)
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, y)


# ---- jax


def jax_scan(model: Model) -> Runner:
    """jit of a scan over all batches, its carry donated."""
    jax = _jax(model)
    update, start = _jax_update(jax, model)
    carry = start()
    many = jax.jit(lambda c, xs, ys: jax.lax.scan(update, c, (xs, ys)), donate_argnums=0)
    inputs, targets = (jax.numpy.asarray(a) for a in (model.inputs, model.targets))

    def run() -> Array:
        nonlocal carry
        carry, losses = many(carry, inputs, targets)
        return np.asarray(losses)

    def restart() -> None:
        nonlocal carry
        carry = jax.block_until_ready(start())

    return Runner(run, restart)


def jax_step(model: Model) -> Runner:
    """A call of the jitted step for each batch, its carry donated."""
    jax = _jax(model)
    update, start = _jax_update(jax, model)
    carry = start()
    one = jax.jit(lambda c, x, y: update(c, (x, y)), donate_argnums=0)
    batches = [
        tuple(map(jax.numpy.asarray, pair))
        for pair in zip(model.inputs, model.targets, strict=True)
    ]

    def run() -> Array:
        nonlocal carry
        losses = []
        for x, y in batches:
            carry, loss = one(carry, x, y)
            losses.append(loss)
        return np.array([float(loss) for loss in losses])

    def restart() -> None:
        nonlocal carry
        carry = jax.block_until_ready(start())

    return Runner(run, restart)


def _jax(model: Model) -> Any:
    jax = importlib.import_module("jax")
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", model.inputs.dtype == np.float64)
    return jax


def _jax_update(jax: Any, model: Model) -> tuple[Callable[..., Any], Callable[[], Any]]:
    """`update(carry, (x, y)) -> (carry, loss)`, and what makes the first carry."""
    optax = importlib.import_module("optax")
    rule = optax.adam(LEARNING_RATE)
    slope = jax.value_and_grad(partial(_jax_loss, jax, optax, model))

    def update(carry: Any, batch: Any) -> Any:
        params, state = carry
        loss, grads = slope(params, *batch)
        updates, state = rule.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), loss

    def start() -> Any:
        params = jax.tree.map(jax.numpy.array, model.params)
        return params, rule.init(params)

    return update, start


def _jax_loss(jax: Any, optax: Any, model: Model, params: Any, x: Any, y: Any) -> Any:
    if model.form == "chain":
        u = jax.numpy.tanh(params[0]["w"] * x)
        error = jax.numpy.exp(-u * u) * u - y
        return (error * error).mean()
    activation = {"tanh": jax.numpy.tanh, "relu": jax.nn.relu}[model.activation]
    for layer in params[:-1]:
        x = activation(x @ layer["w"] + layer["b"])
    logits = x @ params[-1]["w"] + params[-1]["b"]
    if model.form == "classes":
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
    return optax.sigmoid_binary_cross_entropy(logits, y).mean()


CONTENDERS: dict[str, Callable[[Model], Runner]] = {
    "gradloom, run": native_run,
    "gradloom, step": native_step,
    "gradloom, eager": eager,
    "NumPy by hand": numpy,
    "torch eager": torch_eager,
    "jax, scan": jax_scan,
    "jax, step": jax_step,
}
NEEDS = {
    "torch eager": ("torch",),
    "jax, scan": ("jax", "optax"),
    "jax, step": ("jax", "optax"),
}


def available(names: list[str]) -> list[str]:
    """Those whose libraries are installed."""
    return [name for name in names if all(map(importlib.util.find_spec, NEEDS.get(name, ())))]
