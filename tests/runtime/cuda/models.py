"""Small networks to train on a GPU that is interpreted, each with its data and its optimizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import gradloom as gl
import gradloom.numpy as gnp


@dataclass(frozen=True)
class Model:
    """`rows` are arrays with one leading axis; a batch has so many of them."""

    loss: Callable[..., Any]
    params: dict[str, np.ndarray]
    rows: tuple[np.ndarray, ...]
    batch: int
    rate: float

    def batches(self, steps: int) -> tuple[np.ndarray, ...]:
        """As many batches of rows, from the first again after the last."""
        count = len(self.rows[0]) // self.batch
        which = np.arange(steps) % count
        return tuple(
            rows[: count * self.batch].reshape(count, self.batch, *rows.shape[1:])[which]
            for rows in self.rows
        )

    def step(self, device: str, **options: Any) -> gl.train.step.TrainStep:
        return gl.train_step(self.loss, gl.optim.adam(self.rate), device=device, **options)


def normal(*shape: int, scale: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(0, scale, shape).astype(np.float32)


def zeros(size: int) -> np.ndarray:
    return np.zeros(size, np.float32)


def xor() -> Model:
    """2-8-1, on the four rows that there are."""

    def loss(p: Any, x: Any, y: Any) -> Any:
        hidden = gnp.tanh(x @ p["w"] + p["b"])
        return ((hidden @ p["v"] + p["c"] - y) ** 2).mean()

    params = {
        "w": normal(2, 8, scale=1.0),
        "b": zeros(8),
        "v": normal(8, 1, scale=0.5),
        "c": zeros(1),
    }
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    y = (x[:, :1] != x[:, 1:]).astype(np.float32)
    return Model(loss, params, (x, y), batch=4, rate=0.05)


def digits(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Handwritten digits, 64 numbers from 0 to 1 each, and which they are."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return (x[:rows] / 16).astype(np.float32), y[:rows].astype(np.int64)


def perceptron() -> Model:
    """64-32-10, on digits."""

    def loss(p: Any, x: Any, y: Any) -> Any:
        hidden = gnp.tanh(x @ p["w"] + p["b"])
        return gl.nn.softmax_cross_entropy(hidden @ p["v"] + p["c"], y).mean()

    params = {
        "w": normal(64, 32, scale=0.125),
        "b": zeros(32),
        "v": normal(32, 10, scale=0.2),
        "c": zeros(10),
    }
    return Model(loss, params, digits(300), batch=32, rate=0.01)


WORDS, LENGTH, WIDTH, HEADS = 12, 8, 16, 2


def transformer() -> Model:
    """One block with two heads, which learns to count in a ring of words."""
    mask = np.triu(np.full((LENGTH, LENGTH), -1e9, np.float32), 1)

    def heads(x: Any) -> Any:
        return x.reshape(-1, LENGTH, HEADS, WIDTH // HEADS).transpose(0, 2, 1, 3)

    def attention(p: Any, x: Any) -> Any:
        q, k, v = (heads(x @ p[name]) for name in "qkv")
        scores = q @ k.swapaxes(-1, -2) / np.float32(np.sqrt(WIDTH // HEADS)) + mask
        mixed = gl.nn.softmax(scores) @ v
        return mixed.transpose(0, 2, 1, 3).reshape(-1, LENGTH, WIDTH) @ p["out"]

    def loss(p: Any, words: Any, following: Any) -> Any:
        x = p["words"][words] + p["places"]
        x = x + attention(p, gl.nn.layer_norm(x, p["scale"], p["shift"]))
        y = gl.nn.layer_norm(x, p["scale2"], p["shift2"])
        x = x + gl.nn.gelu(y @ p["up"]) @ p["down"]
        return gl.nn.softmax_cross_entropy(x @ p["words"].T, following).mean()

    params = {
        **{name: normal(WIDTH, WIDTH, scale=0.25, seed=n) for n, name in enumerate("qkv")},
        "out": normal(WIDTH, WIDTH, scale=0.25, seed=3),
        "words": normal(WORDS, WIDTH, scale=0.5),
        "places": normal(LENGTH, WIDTH, scale=0.1),
        "up": normal(WIDTH, 2 * WIDTH, scale=0.25),
        "down": normal(2 * WIDTH, WIDTH, scale=0.2),
        **{name: np.ones(WIDTH, np.float32) for name in ("scale", "scale2")},
        **{name: zeros(WIDTH) for name in ("shift", "shift2")},
    }
    starts = np.random.default_rng(0).integers(0, WORDS, (20, 1))
    words = (starts + np.arange(LENGTH + 1)) % WORDS
    return Model(loss, params, (words[:, :-1], words[:, 1:]), batch=2, rate=0.01)


def convolutional() -> Model:
    """Two convolutions with a pool between them, and a dense layer, on digits as pictures."""

    def loss(p: Any, x: Any, y: Any) -> Any:
        x = gl.nn.relu(gl.nn.conv2d(x, p["f"], padding="same") + p["b"])
        x = gl.nn.relu(gl.nn.conv2d(gl.nn.max_pool(x, 2), p["g"], padding="same"))
        return gl.nn.softmax_cross_entropy(x.reshape(-1, 4 * 4 * 6) @ p["d"], y).mean()

    params = {
        "f": normal(3, 3, 1, 4, scale=0.3),
        "b": zeros(4),
        "g": normal(3, 3, 4, 6, scale=0.2),
        "d": normal(4 * 4 * 6, 10, scale=0.1),
    }
    x, y = digits(40)
    return Model(loss, params, (x.reshape(-1, 8, 8, 1), y), batch=4, rate=0.01)


MODELS = (xor, perceptron, transformer, convolutional)
