"""Random programs with loops and branches in each other, from a number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import gradloom as gl

SIZE = 3


def program(seed: int, depth: int = 2) -> Callable[..., Any]:
    """A function of two vectors; run twice, it does the same twice."""

    def function(x: Any, y: Any) -> Any:
        rng = np.random.default_rng(seed)
        values = _statements(rng, [x, y], depth, int(rng.integers(3, 6)))
        return sum((v * v).sum() for v in values[2:])

    return function


def _statements(rng: np.random.Generator, values: list[Any], depth: int, count: int) -> list[Any]:
    values = list(values)
    for _ in range(count):
        kinds = (_arithmetic, _scan, _cond, _fori) if depth else (_arithmetic,)
        kind = kinds[int(rng.integers(len(kinds)))]
        values.append(kind(rng, values, depth))
    return values


def _pick(rng: np.random.Generator, values: list[Any]) -> Any:
    return values[int(rng.integers(len(values)))]


def _arithmetic(rng: np.random.Generator, values: list[Any], depth: int) -> Any:
    a, b = _pick(rng, values), _pick(rng, values)
    w = rng.normal(size=(SIZE, SIZE)) / 2
    return (
        lambda: np.sin(a) * b,
        lambda: np.tanh(a @ w + b),
        lambda: a[::-1] + 0.5 * b,
        lambda: a * b.sum() / 3,
        lambda: np.maximum(a, 0.3 * b),
        lambda: np.tanh(a) - b,
    )[int(rng.integers(6))]()


def _scan(rng: np.random.Generator, values: list[Any], depth: int) -> Any:
    seed, reverse = int(rng.integers(2**30)), bool(rng.integers(2))
    rows = rng.normal(size=(int(rng.integers(1, 5)), SIZE))
    start = (_pick(rng, values), _pick(rng, values))
    outer = [_pick(rng, values) for _ in range(2)]

    def step(carry: Any, row: Any) -> Any:
        own = np.random.default_rng(seed)
        made = _statements(own, [*carry, row, *outer], depth - 1, 3)
        picks = [np.tanh(_pick(own, made)) for _ in range(3)]
        return (picks[0], _pick(own, [*carry, picks[1]])), picks[2]

    last, stacked = gl.scan(step, start, rows, reverse=reverse)
    return last[0] + last[1] * 0.5 + (stacked * stacked).sum(0)


def _cond(rng: np.random.Generator, values: list[Any], depth: int) -> Any:
    seed = int(rng.integers(2**30))
    test, a = _pick(rng, values), _pick(rng, values)
    outer = [_pick(rng, values) for _ in range(2)]

    def branch(number: int) -> Callable[[Any], Any]:
        def body(a: Any) -> Any:
            own = np.random.default_rng(seed + number)
            return np.tanh(_statements(own, [a, *outer], depth - 1, 2)[-1])

        return body

    return gl.cond(test.sum() > 0, branch(0), branch(1), a)


def _fori(rng: np.random.Generator, values: list[Any], depth: int) -> Any:
    seed, count = int(rng.integers(2**30)), int(rng.integers(0, 4))
    outer = [_pick(rng, values) for _ in range(2)]

    def body(i: Any, value: Any) -> Any:
        own = np.random.default_rng(seed)
        return np.tanh(_statements(own, [value, *outer], depth - 1, 2)[-1] + 0.1 * i)

    return gl.fori_loop(0, count, body, _pick(rng, values))
