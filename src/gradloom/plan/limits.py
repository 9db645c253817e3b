"""Products that leave out what lies beyond a border of zeros.

A guard of an operand, `low <= y + i < high`, for an axis y of the batch and an axis i of depth is
a limit of i for each y, so that zeros are neither kept in memory nor multiplied.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gradloom.ir.affine import Affine, Guard
from gradloom.plan.plan import Limit, Product

# Indices of a batch for which a product is looked at one by one.
MOST = 1 << 12


@dataclass(frozen=True)
class Within:
    """A guard of a contraction: `low <= const + sum(factor * label) < high`."""

    low: int
    high: int
    const: int
    factors: tuple[tuple[str, int], ...]


def within(guard: Guard, term: str, sizes: Mapping[str, int]) -> Within | None:
    """A guard on the axes that `term` labels; None if it always holds."""
    factors = tuple((term[a], c) for a, c in guard.at.terms if sizes[term[a]] != 1)
    spans = [c * (sizes[label] - 1) for label, c in factors]
    least, most = (guard.at.const + sum(f(s, 0) for s in spans) for f in (min, max))
    if guard.low <= least and most < guard.high:
        return None
    return Within(guard.low, guard.high, guard.at.const, factors)


def as_limit(found: Within, batch: Sequence[str], depth: Sequence[str]) -> Limit | None:
    """The limit of one axis of depth by axes of the batch; None where that is not what it is."""
    inner = [(label, c) for label, c in found.factors if label in depth]
    if len(inner) != 1 or any(n not in batch for n, _ in found.factors if n != inner[0][0]):
        return None
    ((label, factor),) = inner
    terms = sorted((batch.index(n), c) for n, c in found.factors if n != label)
    rest = Affine(found.const, tuple(terms))
    ends = rest * -1 + found.low, rest * -1 + found.high
    if factor < 0:  # low <= rest - step * k < high
        ends = rest + (1 - found.high), rest + (1 - found.low)
    return Limit(depth.index(label), abs(factor), *ends)


def never_empty(limits: Sequence[Limit], batch: Sequence[int], depth: Sequence[int]) -> bool:
    """Whether every axis of depth keeps an element, whatever the indices of the batch; False too if
    these are too many to look at."""
    if math.prod(batch[a] for a in _used(limits)) > MOST:
        return False
    return all(
        low < high
        for index in _indices(limits, batch)
        for low, high in _bounds(limits, index, depth).values()
    )


def left_out(product: Product) -> int:
    """Multiply-adds that its limits spare a product."""
    used, bounded = _used(product.limits), {limit.axis for limit in product.limits}
    inside = math.prod(product.batch[a] for a in used)
    inside *= math.prod(product.depth[k] for k in bounded)
    kept = sum(
        math.prod(
            high - low for low, high in _bounds(product.limits, index, product.depth).values()
        )
        for index in _indices(product.limits, product.batch)
    )
    everything = math.prod((*product.batch, product.rows, product.columns, *product.depth))
    return everything // inside * (inside - kept)


def reached(
    product: Product, number: int, strides: Sequence[int], sizes: Sequence[int], *, split: bool
) -> tuple[int, int]:
    """The first and the last element of an operand that a product touches; with `split`, for
    index 0 of its outermost axis."""
    low = high = product.before[number] if number < 2 else 0
    spans = [s * (n - 1) for s, n in zip(strides, sizes, strict=True)]
    limits, first = product.limits, len(product.batch) + (number == 0)
    used = _used(limits)
    if number < 2 and limits and not (split and 0 in used):
        ends = []
        for index in _indices(limits, product.batch):
            at = sum(strides[a] * n for a, n in index.items())
            found = _bounds(limits, index, product.depth)
            far = [
                (strides[first + k] * a, strides[first + k] * (b - 1))
                for k, (a, b) in found.items()
            ]
            ends.append((at + sum(map(min, far)), at + sum(map(max, far))))
        low, high = low + min(a for a, _ in ends), high + max(b for _, b in ends)
        for axis in (*used, *{first + limit.axis for limit in limits}):
            spans[axis] = 0
    rest = spans[split:]
    return low + sum(min(s, 0) for s in rest), high + sum(max(s, 0) for s in rest)


def _used(limits: Sequence[Limit]) -> tuple[int, ...]:
    """The axes of the batch that limits depend on."""
    return tuple(sorted({a for n in limits for at in (n.low, n.high) for a, _ in at.terms}))


def _indices(limits: Sequence[Limit], batch: Sequence[int]) -> Iterator[dict[int, int]]:
    """All combinations of their indices."""
    used = _used(limits)
    for index in itertools.product(*(range(batch[a]) for a in used)):
        yield dict(zip(used, index, strict=True))


def _bounds(
    limits: Sequence[Limit], index: Mapping[int, int], depth: Sequence[int]
) -> dict[int, tuple[int, int]]:
    """Where each axis of depth that has limits begins and ends."""
    found: dict[int, tuple[int, int]] = {}
    for limit in limits:
        low, high = found.get(limit.axis, (0, depth[limit.axis]))
        first, last = limit.bounds(index)
        found[limit.axis] = max(low, first), min(high, last)
    return found
