"""Small models and data that the training tests share."""

from itertools import pairwise

import numpy as np

import gradloom as gl
import gradloom.numpy as gnp


def network(sizes, dtype, seed=0):
    rng = np.random.default_rng(seed)
    return [
        {"w": (rng.normal(size=(a, b)) / np.sqrt(a)).astype(dtype), "b": np.zeros(b, dtype)}
        for a, b in pairwise(sizes)
    ]


def logits(params, x):
    *hidden, last = params
    for layer in hidden:
        x = np.tanh(x @ layer["w"] + layer["b"])
    return x @ last["w"] + last["b"]


def cross_entropy(params, x, labels):
    return gnp.mean(gl.nn.softmax_cross_entropy(logits(params, x), labels))


def squared(params, x, y):
    return gnp.mean((logits(params, x)[:, 0] - y) ** 2)


XOR = (np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float64"), np.array([0.0, 1.0, 1.0, 0.0]))


def blobs(rows, columns, classes, dtype, seed=1):
    """Points around one centre a class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    centres = rng.normal(size=(classes, columns))
    return (centres[labels] + 0.3 * rng.normal(size=(rows, columns))).astype(dtype), labels
