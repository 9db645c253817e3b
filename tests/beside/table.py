"""The form of the table of functions that are compared with JAX's, and its operands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

RNG = np.random.default_rng(41)
X = RNG.uniform(-2, 2, (3, 4))
Y = RNG.uniform(-2, 2, (3, 4))
T = RNG.uniform(-2, 2, (2, 3, 4))
P = RNG.uniform(0.1, 0.9, (3, 4))  # where every function of one number is smooth
Q = RNG.uniform(0.1, 0.9, (3, 4))
A = RNG.uniform(0.5, 6.0, (3, 4))  # counts, sizes and shape parameters
B = RNG.uniform(0.5, 6.0, (3, 4))
V = RNG.uniform(-2, 2, 5)
W = RNG.uniform(0.2, 2, 5)
M = RNG.uniform(-2, 2, (4, 4)) + 3 * np.eye(4)
N = RNG.uniform(-2, 2, (4, 3))
I = np.array([2, 0, -1, 1])  # noqa: E741
K = RNG.integers(0, 60, (3, 4))
J = RNG.integers(1, 9, (3, 4))
L = X > 0


@dataclass(frozen=True)
class Row:
    """A call `call(namespace, *operands)`, which gives an array or a list of arrays."""

    name: str
    call: Callable[..., Any]
    operands: tuple[np.ndarray, ...]
    tolerance: float = 1e-10
    order: int = 2  # of the derivatives that are compared; 1 where the second compiles for long


@dataclass(frozen=True)
class Group:
    """Rows that are called with `ours` and with `theirs`."""

    name: str
    ours: Any
    theirs: Any
    rows: list[Row]


def row(name: str, call: Callable[..., Any], *operands: np.ndarray, **facts: Any) -> Row:
    return Row(name, call, operands, **facts)


def named(names: str, *operands: np.ndarray, **facts: Any) -> list[Row]:
    """A row for each of the words: the function of that name, of the same operands."""
    return [
        Row(name, lambda g, *a, name=name: getattr(g, name)(*a), operands, **facts)
        for name in names.split()
    ]
