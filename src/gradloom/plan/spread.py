"""How the threads of a block go over a nest: items, and the lanes that share an item's row.

An item is a point of those loops in which every point writes places of its own; loops in which it
does not run inside of an item, in their order, so that sums and scatters have the same bits on any
number of blocks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from gradloom.plan.dealt import BLOCK, Spread
from gradloom.plan.plan import Buffer, Load, Nest, Stage, Store
from gradloom.plan.split import same_elements
from gradloom.plan.tiles import WARP
from gradloom.plan.touch import nest_accesses, sizes_of

# Rows of up to so many elements are gone over by one thread: a warp would idle, and has to combine
# what its lanes have found.
SHORT_ROW = 8
# From so many elements on all of a block goes over a row, unless there are rows for every block.
LONG_ROW = 2048
MANY_ROWS = 1024  # a few for each of 132 multiprocessors, for eight warps a block
# From so many items on a row is left to one thread where rows lie across: neighbouring threads then
# read neighbouring elements, and there are threads enough.
MANY_ITEMS = 4096


def spread_of(stage: Stage, nest: Nest, buffers: Sequence[Buffer]) -> Spread:
    sizes = sizes_of(nest, stage.extent)
    nest = replace(nest, sizes=sizes)
    kept = len(sizes) - nest.reduced
    free = free_axes(nest) if same_elements(stage, buffers) else ()
    inner = nest.vector if nest.vector in free else None
    items = tuple(a for a in free if a != inner) + (() if inner is None else (inner,))
    ordered = tuple(a for a in range(kept) if a not in free)
    count = math.prod(sizes[a] for a in items)
    return Spread(nest, items, ordered, _lanes(nest, count, items) if free or not kept else 1)


def free_axes(nest: Nest) -> tuple[int, ...]:
    """The kept axes in which every index writes places of its own, whatever the others' are."""
    kept = len(nest.sizes) - nest.reduced
    stores = [a for a in nest_accesses(nest) if isinstance(a, Store)]
    free = [a for a in range(kept) if all(s.at.coefficient(a) for s in stores)]
    return tuple(free) if all(_apart(s, free, nest) for s in stores) else ()


def _apart(store: Store, free: Sequence[int], nest: Nest) -> bool:
    """Whether the places that a store writes lie apart for different indices of the free axes: each
    of their strides is beyond the reach of all smaller ones."""
    strides = [(abs(c), nest.sizes[a], a in free) for a, c in store.at.terms]
    strides += [(abs(p.stride), p.size, False) for p in store.picks]
    reach, among = 0, False
    for stride, size, own in sorted(strides):
        if size > 1 and stride <= reach and (own or among):
            return False
        among |= own
        reach += stride * (size - 1)
    return True


def _lanes(nest: Nest, count: int, items: Sequence[int]) -> int:
    """How many threads go over a row together."""
    row = math.prod(nest.sizes[len(nest.sizes) - nest.reduced :])
    if row <= SHORT_ROW or (count >= MANY_ITEMS and _lies_across(nest, items)):
        return 1
    return BLOCK if row >= LONG_ROW and count < MANY_ROWS else WARP


def _lies_across(nest: Nest, items: Sequence[int]) -> bool:
    """Whether neighbouring items read neighbouring elements, more often than those of a row."""
    if not items:
        return False
    last = len(nest.sizes) - 1
    loads = [s.at for s in nest.steps if isinstance(s, Load)]

    def in_a_row(axis: int) -> int:
        return sum(abs(at.coefficient(axis)) == 1 for at in loads)

    return in_a_row(items[-1]) > in_a_row(last)
