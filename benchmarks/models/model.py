"""What every contender computes: data, first parameters, and the loss in two vocabularies.

`loss` is written once in NumPy's words, which gradloom and JAX share (`benchmarks/words.py`), and
once as PyTorch's own functions do it best.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Array = np.ndarray
Loss = Callable[..., Any]  # loss(params, *batch): a scalar; of a model that is not trained, arrays


@dataclass(frozen=True)
class Perceptron:
    """Dense layers, for the contenders that know nothing else."""

    activation: str  # between layers: tanh or relu
    error: str  # binary or classes: which cross entropy; squares: of the output's distance


@dataclass(frozen=True)
class Model:
    """`loss(params, *batch)` for each batch, one after another, and an update after each.

    The arrays of `batches` have a leading axis of batches.  Where `optimizer` is empty nothing is
    updated: the results of `loss` are what is asked for.
    """

    name: str
    title: str
    params: Any
    batches: tuple[Array, ...]
    loss: Callable[[Any], Loss]  # of the words
    torch_loss: Callable[[Any], Loss]  # of torch
    optimizer: str = "adam"
    rate: float = 1e-3
    flops: float = 0.0  # of a step's products, forward and reverse; 0 where others count more
    traffic: float = 0.0  # bytes that a step must read and write; 0 where all fits in the caches
    to_torch: Callable[[Any], Any] = lambda params: params  # into the layout that torch likes
    perceptron: Perceptron | None = None
    inner_derivatives: bool = False  # whether the loss differentiates by its inputs

    @property
    def count(self) -> int:
        """How many batches there are."""
        return len(self.batches[0])

    @property
    def dtype(self) -> str:
        """Of its floating numbers."""
        kinds = {b.dtype.name for b in self.batches if b.dtype.kind == "f"}
        return kinds.pop() if kinds else _leaf(self.params).dtype.name

    def first(self, count: int) -> Model:
        """The same with the first few batches only."""
        return replace(self, batches=tuple(b[:count] for b in self.batches))


def _leaf(tree: Any) -> Array:
    """The first array of a nest of dicts and lists."""
    while not isinstance(tree, np.ndarray):
        tree = tree[0] if isinstance(tree, list) else next(iter(tree.values()))
    return tree


def dense(sizes: tuple[int, ...], dtype: str) -> list[dict[str, Array]]:
    """First weights of dense layers, drawn in float64 so that both dtypes start alike."""
    rng = np.random.default_rng(0)
    return [
        {"w": (rng.normal(size=(a, b)) / np.sqrt(a)).astype(dtype), "b": np.zeros(b, dtype)}
        for a, b in itertools.pairwise(sizes)
    ]


def dense_flops(sizes: tuple[int, ...], rows: int) -> float:
    """Operations of the products: forward, by the weights, and by all inputs but the first."""
    products = [a * b for a, b in itertools.pairwise(sizes)]
    return 2.0 * rows * (3 * sum(products) - products[0])


def stacked(count: int, rows: int, *arrays: Array) -> tuple[Array, ...]:
    """The first `count * rows` rows of each array, in batches."""
    return tuple(
        np.ascontiguousarray(a[: count * rows].reshape(count, rows, *a.shape[1:])) for a in arrays
    )
