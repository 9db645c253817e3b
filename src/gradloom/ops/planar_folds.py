"""Sums, products, contractions and recurrences of pairs (re, im)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from gradloom.ops.planar import Pair, add, multiply, of


def sum_(z: Pair, axes: tuple[int, ...]) -> Pair:
    return of("sum", z[0], axis=axes), of("sum", z[1], axis=axes)


def prod(z: Pair, axes: tuple[int, ...]) -> Pair:
    """By halving: the products of neighbours, then of those."""
    kept = tuple(a for a in range(z[0].ndim) if a not in axes)
    count = math.prod(z[0].shape[a] for a in axes)
    rest = tuple(z[0].shape[a] for a in kept)
    re, im = (part.transpose(axes + kept).reshape((count, *rest)) for part in z)
    if not count:
        return of("ones_like", re.sum(0)), of("zeros_like", im.sum(0))
    while count > 1:
        half = count // 2
        low, high = (re[:half], im[:half]), (re[half : 2 * half], im[half : 2 * half])
        more = re[2 * half :], im[2 * half :]
        re, im = multiply(low, high)
        if count % 2:
            re, im = (of("concatenate", pair) for pair in zip((re, im), more, strict=True))
        count = half + count % 2
    return re[0], im[0]


def contract(z: Pair, w: Pair, left: str, right: str, result: str) -> Pair:
    """Four real products."""
    term = f"{left},{right}->{result}"

    def product(x: Any, y: Any) -> Any:
        return of("einsum", term, x, y)

    return (
        product(z[0], w[0]) - product(z[1], w[1]),
        product(z[0], w[1]) + product(z[1], w[0]),
    )


# ---- running folds, whose operands and results have both parts on a last axis of two


def cumsum(z: Any, axis: int, reverse: int) -> Any:
    return of("cumsum", z, axis=axis, reverse=bool(reverse))


def cumprod(z: Any, axis: int, reverse: int) -> Any:
    """By doubling: after step k an element holds the product of 2**k neighbours."""

    def ones(pair: Pair) -> Pair:
        return of("ones_like", pair[0]), of("zeros_like", pair[1])

    def doubled(state: list[Pair], step: int) -> list[Pair]:
        return [multiply(state[0], _shifted(state[0], step, ones))]

    return _walked(doubled, [z], axis, reverse)


def recur(x: Any, y: Any, axis: int, reverse: int) -> Any:
    """By doubling: `out = x * before + y` after another such step is one with other x and y."""

    def zeros(pair: Pair) -> Pair:
        return of("zeros_like", pair[0]), of("zeros_like", pair[1])

    def doubled(state: list[Pair], step: int) -> list[Pair]:
        x, y = state
        earlier = multiply(x, _shifted(y, step, zeros))
        return [multiply(x, _shifted(x, step, zeros)), add(y, earlier)]

    return _walked(doubled, [x, y], axis, reverse)


State = list[Pair]


def _walked(doubled: Callable[[State, int], State], arrays: list[Any], axis: int, back: int) -> Any:
    """The last of `arrays` after all steps, which see the axis first and in order."""
    state = []
    for array in arrays:
        z = of("moveaxis", of("flip", array, axis) if back else array, axis, 0)
        state.append((z[..., 0], z[..., 1]))
    step, count = 1, arrays[0].shape[axis]
    while step < count:
        state = doubled(state, step)
        step *= 2
    out = of("moveaxis", of("stack", state[-1], -1), 0, axis)
    return of("flip", out, axis) if back else out


def _shifted(z: Pair, step: int, edge: Callable[[Pair], Pair]) -> Pair:
    first = edge((z[0][:step], z[1][:step]))
    kept = z[0][:-step], z[1][:-step]
    return (
        of("concatenate", (first[0], kept[0])),
        of("concatenate", (first[1], kept[1])),
    )
