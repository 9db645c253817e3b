"""The shape of a nest's loops: axes that memory allows to merge, and the one that becomes SIMD."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from gradloom.ir.affine import Affine, Guard
from gradloom.ir.types import ITEMSIZE
from gradloom.plan.plan import ANY, Inside, Load, Nest, Pick, Position, Step, Store

# A vector read at a stride other than one takes a load a lane: 16 lanes of float32 cost as much as
# 14 contiguous vectors on AVX-512 (benchmarks/lane_costs.py).
GATHER_COST = 14
# Rows of up to so many elements lie across lanes, one a lane: they are read and written by squares
# that are transposed in registers.  64 rows in float32, lanes along the rows and across: softmax of
# 10 columns 1.4 and 0.55 us, of 16 0.76 and 0.52, of 32 1.49 and 1.27, of 64 1.82 and 1.80; cross
# entropy and its cotangent of 10 2.7 and 0.65, of 16 2.9 and 1.1, of 32 3.1 and 1.9.  Code grows
# with the columns: 10 of them take 0.06 s more to compile, 32 take 0.2 s.
ACROSS = 16
WIDEST_BYTES = 64  # plans are made for 64-byte vectors; narrower machines only unroll less


def shaped(nest: Nest, fixed: int = 0) -> Nest:
    """Merge loops, leaving the first `fixed` axes alone, and choose the vector axis."""
    nest = _merged(nest, fixed)
    nest = replace(nest, vector=vector_axis(nest))
    return _turned(nest) if _reads_turned(nest, fixed) else nest


def _reads_turned(nest: Nest, fixed: int) -> bool:
    """Whether something is read along columns, and lies in rows along the loop around the lanes'.

    The lanes of such a read lie in as many cache lines, whose other elements are those of the next
    rounds of that loop.  Made the inner one it finds them in the cache: (x + x.T) / 2 in float32 of
    64 rows takes 1 us either way, of 128 6.1 and 3.2, of 256 59 and 14, of 512 236 and 104, of 1024
    6,590 and 725.
    """
    last = len(nest.sizes) - 1
    if nest.reduced or last <= fixed or nest.vector != last:
        return False
    loads = [s.at for s in nest.steps if isinstance(s, Load)]
    return any(abs(at.coefficient(last)) > 1 and abs(at.coefficient(last - 1)) == 1 for at in loads)


def _turned(nest: Nest) -> Nest:
    """The nest with its two innermost loops exchanged."""
    last = len(nest.sizes) - 1
    terms = {a: Affine.axis(a) for a in range(last - 1)}
    terms |= {last - 1: Affine.axis(last), last: Affine.axis(last - 1)}
    sizes = (*nest.sizes[: last - 1], nest.sizes[last], nest.sizes[last - 1])
    nest = map_affines(nest, lambda at: at.renumber(terms))
    return replace(nest, sizes=sizes, vector=last - 1)


def ranged(nest: Nest) -> tuple[Nest, int]:
    """The nest with its outermost size left to the caller, and that size."""
    if len(nest.sizes) == nest.reduced:
        return nest, 1
    extent, *inner = nest.sizes
    if any(getattr(step, "guards", ()) for step in nest.steps):
        return nest, extent
    return replace(nest, sizes=(ANY, *inner)), extent


def _merged(nest: Nest, fixed: int) -> Nest:
    axis = len(nest.sizes) - 2
    while axis >= fixed:
        kept = len(nest.sizes) - nest.reduced
        if axis + 1 != kept and all(_mergeable(at, axis, nest.sizes) for at in affines(nest)):
            nest = _merge(nest, axis)
        axis -= 1
    return nest


def _mergeable(at: Affine, axis: int, sizes: tuple[int, ...]) -> bool:
    return at.coefficient(axis) == at.coefficient(axis + 1) * sizes[axis + 1]


def _merge(nest: Nest, axis: int) -> Nest:
    """Axes `axis` and `axis + 1` as one."""
    sizes = nest.sizes
    kept = len(sizes) - nest.reduced
    terms = {a: Affine.axis(a if a <= axis else a - 1) for a in range(len(sizes))}
    terms[axis] = Affine()  # its share is in the coefficient of the inner one
    terms[axis + 1] = Affine.axis(axis)
    together = sizes[axis] * sizes[axis + 1]
    return replace(
        map_affines(nest, lambda at: at.renumber(terms)),
        sizes=(*sizes[:axis], together, *sizes[axis + 2 :]),
        reduced=nest.reduced - (axis >= kept),
    )


def affines(nest: Nest) -> Iterator[Affine]:
    """Every index expression of a nest."""
    for step in nest.steps:
        if isinstance(step, Load | Position):
            yield step.at
        for guard in getattr(step, "guards", ()):
            yield guard.at
    for store in nest.stores:
        yield store.at


def map_affines(nest: Nest, change: Callable[[Affine], Affine]) -> Nest:
    """The nest with every index expression changed."""

    def guarded(guards: tuple[Guard, ...]) -> tuple[Guard, ...]:
        return tuple(replace(g, at=change(g.at)) for g in guards)

    def stepped(step: Step) -> Step:
        changed: dict[str, Any] = {}
        if isinstance(step, Load | Position):
            changed["at"] = change(step.at)
        if isinstance(step, Load | Inside):
            changed["guards"] = guarded(step.guards)
        return replace(step, **changed) if changed else step

    return replace(
        nest,
        steps=tuple(stepped(s) for s in nest.steps),
        stores=tuple(replace(s, at=change(s.at)) for s in nest.stores),
    )


def depends(nest: Nest) -> list[frozenset[int]]:
    """The loop axes on which each step's value depends."""
    kept = len(nest.sizes) - nest.reduced
    found: list[frozenset[int]] = []
    for step in nest.steps:
        axes: set[int] = set()
        if isinstance(step, Load | Position):
            axes |= {a for a, _ in step.at.terms}
        for guard in getattr(step, "guards", ()):
            axes |= {a for a, _ in guard.at.terms}
        for arg in arguments(step):
            axes |= found[arg]
        if type(step).__name__ == "Fold":
            axes = {a for a in axes if a < kept}
        found.append(frozenset(axes))
    return found


def arguments(step: Step | Store) -> tuple[int, ...]:
    """The steps that a step or a store reads."""
    if isinstance(step, Store):
        return (step.step, *(p.step for p in step.picks))
    if isinstance(step, Load):
        return tuple(p.step for p in step.picks)
    if hasattr(step, "args"):
        return step.args
    return (step.arg,) if hasattr(step, "arg") else ()


def vector_axis(nest: Nest) -> int | None:
    """The axis whose neighbours most accesses see as neighbours in memory."""
    kept = len(nest.sizes) - nest.reduced
    candidates = [a for a in (kept - 1,) if a >= 0] + list(range(kept, len(nest.sizes)))
    axes_of = depends(nest)
    if across(nest, kept - 1):
        return kept - 1
    usable = [a for a in candidates if _writes_apart(nest, a, axes_of)]
    if not usable:
        return None
    return min(usable, key=lambda a: (_cost(nest, a, axes_of), -a))


def across(nest: Nest, axis: int) -> bool:
    """Whether the nest goes over short rows, which can lie across the lanes of `axis`."""
    last = len(nest.sizes) - 1
    if nest.reduced != 1 or axis != last - 1 or not 1 < nest.sizes[last] <= ACROSS:
        return False
    if nest.sizes[axis] != ANY and nest.sizes[axis] < ACROSS:
        return False
    accesses = [s for s in (*nest.steps, *nest.stores) if isinstance(s, Load | Store)]
    if any(s.picks or getattr(s, "guards", ()) for s in accesses):
        return False
    if any(isinstance(s, Store) and s.accumulate for s in accesses):
        return False
    wide = [s for s in accesses if s.at.coefficient(axis) and s.at.coefficient(last)]
    narrow = [s for s in accesses if not s.at.coefficient(last)]
    return (
        all(s.at.coefficient(last) == 1 and s.dtype != "bool" for s in wide)
        and any(s.at.coefficient(axis) > 1 for s in wide)
        and all(s.at.coefficient(axis) in (0, 1) for s in narrow)
        and all(s.at.coefficient(axis) for s in nest.stores)
    )


def _writes_apart(nest: Nest, axis: int, axes_of: list[frozenset[int]]) -> bool:
    """Whether neighbours along `axis` write neighbours in memory, so that no scatter is needed."""
    kept = len(nest.sizes) - nest.reduced
    if axis >= kept and any(s.picks or s.accumulate for s in nest.stores):
        return False
    along = [s for s in nest.stores if axis < kept or s.at.coefficient(axis)]
    return all(
        store.at.coefficient(axis) == 1 and not any(axis in axes_of[p.step] for p in store.picks)
        for store in along
    )


def _cost(nest: Nest, axis: int, axes_of: list[frozenset[int]]) -> float:
    """Memory accesses an element, counting a partly filled vector as a whole one."""
    total = 0.0
    widest = 1
    for step in nest.steps:
        if isinstance(step, Load):
            widest = max(widest, ITEMSIZE[step.dtype])
            total += _access_cost(step.at.coefficient(axis), step.picks, axis, axes_of)
    for store in nest.stores:
        widest = max(widest, ITEMSIZE[store.dtype])
        total += store.at.coefficient(axis) == 1
    lanes = WIDEST_BYTES // widest
    size = max(nest.sizes[axis], 1)
    return (total + len(nest.steps)) * math.ceil(size / lanes) * lanes / size


def _access_cost(
    stride: int, picks: tuple[Pick, ...], axis: int, axes_of: list[frozenset[int]]
) -> float:
    if any(axis in axes_of[p.step] for p in picks) or abs(stride) > 1 or stride == -1:
        return GATHER_COST
    return 1.0 if stride else 0.2
