"""JAX: a jitted scan over all batches, and a jitted step from a Python loop, carries donated."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.contenders.checks import CannotError, checksums
from benchmarks.models.model import Array, Model
from benchmarks.rounds import Runner
from benchmarks.words import of_jax


def scan(model: Model, threads: int) -> Runner:
    """One call for all batches."""
    if not model.optimizer:
        raise CannotError("nothing is trained, so there is no carry to scan with")
    jax, update, start = _parts(model)
    many = jax.jit(lambda c, data: jax.lax.scan(update, c, data), donate_argnums=0)
    data = tuple(map(jax.numpy.asarray, model.batches))
    carry: Any = None

    def run() -> Array:
        nonlocal carry
        carry, losses = many(carry, data)
        return np.asarray(losses)

    def restart() -> None:
        nonlocal carry
        carry = None  # there is never a second one
        carry = jax.block_until_ready(start())

    return Runner(run, restart)


def step(model: Model, threads: int) -> Runner:
    """A call for each batch."""
    if not model.optimizer:
        return _called(model)
    jax, update, start = _parts(model)
    one = jax.jit(update, donate_argnums=0)
    batches = [tuple(map(jax.numpy.asarray, b)) for b in zip(*model.batches, strict=True)]
    carry: Any = None

    def run() -> Array:
        nonlocal carry
        losses = []
        for batch in batches:
            carry, loss = one(carry, batch)
            losses.append(loss)
        jax.block_until_ready(carry)
        return np.array([float(loss) for loss in losses])

    def restart() -> None:
        nonlocal carry
        carry = None  # there is never a second one
        carry = jax.block_until_ready(start())

    return Runner(run, restart)


def _called(model: Model) -> Runner:
    words, jax = of_jax(model.dtype)
    function = jax.jit(model.loss(words))
    batches = [tuple(map(jax.numpy.asarray, b)) for b in zip(*model.batches, strict=True)]
    return Runner(
        lambda: jax.block_until_ready([function(model.params, *b) for b in batches]),
        losses=checksums,
    )


def _parts(model: Model) -> tuple[Any, Callable[..., Any], Callable[[], Any]]:
    """JAX, `update(carry, batch) -> (carry, loss)`, and what makes the first carry."""
    optax = importlib.import_module("optax")
    words, jax = of_jax(model.dtype)
    rule = {"adam": optax.adam, "sgd": optax.sgd}[model.optimizer](model.rate)
    slope = jax.value_and_grad(model.loss(words))

    def update(carry: Any, batch: Any) -> Any:
        params, state = carry
        loss, grads = slope(params, *batch)
        updates, state = rule.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), loss

    def start() -> Any:
        params = jax.tree.map(jax.numpy.array, model.params)
        return params, rule.init(params)

    return jax, update, start
