"""A plan for a GPU: the same kernels, buffers and order, dealt out among blocks of threads.

A block is to a GPU what a worker is to a team: of each stage it does a range, here of `items`, by
all of its threads.  An item of a nest is a point of those loops in which every point writes places
of its own; loops in which it does not run inside of an item, in their order, so that sums and
scatters have the same bits on any number of blocks.  An item of a product is a tile.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from gradloom.plan.meetings import Meetings
from gradloom.plan.parts import in_parts
from gradloom.plan.plan import (
    Buffer,
    Kernel,
    Load,
    Nest,
    Part,
    Plan,
    Product,
    Routine,
    Stage,
    Store,
    map_stages,
)
from gradloom.plan.split import same_elements
from gradloom.plan.tiles import TENSORS, THREADS, WARP, Tile, tile_count, tile_of
from gradloom.plan.touch import ALL, Access, accesses, nest_accesses, sizes_of

BLOCK = THREADS  # as a number of lanes: all threads of a block

# Rows of up to so many elements are gone over by one thread: a warp would idle, and has to combine
# what its lanes have found.
SHORT_ROW = 8
# From so many elements on all of a block goes over a row, unless there are rows for every block.
LONG_ROW = 2048
MANY_ROWS = 1024  # a few for each of 132 multiprocessors, for eight warps a block
# From so many items on a row is left to one thread where rows lie across: neighbouring threads then
# read neighbouring elements, and there are threads enough.
MANY_ITEMS = 4096


@dataclass(frozen=True, slots=True)
class Spread:
    """How the threads of a block go over a nest, whose sizes are all known.

    The axes `items` number the items, the last of them fastest; `ordered` are the kept axes that
    run within one.  So many `lanes` go over an item's row together: 1, a warp, or a block.
    """

    nest: Nest
    items: tuple[int, ...]
    ordered: tuple[int, ...]
    lanes: int

    @property
    def count(self) -> int:
        """How many items there are."""
        return math.prod(self.nest.sizes[a] for a in self.items)

    @property
    def longest(self) -> int:
        """The most that a thread counts to."""
        row = self.nest.sizes[len(self.nest.sizes) - self.nest.reduced :]
        return max(self.count, math.prod(row))


@dataclass(frozen=True, slots=True)
class Tiled:
    """A product whose items are tiles of its result.  A `precision` is that of what is multiplied,
    on tensor cores: "tensorfloat32" or "bfloat16"; without one it is the product's own."""

    product: Product
    tile: Tile
    precision: str = ""

    @property
    def count(self) -> int:
        """How many tiles there are."""
        return tile_count(self.product, self.tile)

    @property
    def longest(self) -> int:
        """The most that a thread counts to."""
        return max(self.count, math.prod(self.product.depth))


@dataclass(frozen=True)
class DevicePlan:
    """A plan whose stages have items for an extent, and what the function of each name does."""

    plan: Plan
    functions: dict[str, Spread | Tiled]


def for_device(plan: Plan, precision: str = "highest") -> DevicePlan:
    """The plan, dealt out among blocks; products of float32 at a `precision` of `Options`."""

    def precision_of(product: Product) -> str:
        return precision if precision in TENSORS and product.dtype == "float32" else ""

    plan = in_parts(plan, precision_of)
    parts = tuple(_whole(part) for part in plan.parts)
    parts = _BlockMeetings(plan.buffers, placing=True).visit(parts)
    functions: dict[str, Spread | Tiled] = {}

    def spread(stage: Stage) -> Stage:
        code = stage.code
        if isinstance(code, Routine):
            return replace(stage, grain=0)
        found: Spread | Tiled
        if isinstance(code, Product):
            found = Tiled(code, tile_of(code, precision_of(code)), precision_of(code))
        else:
            found = _spread(stage, code, plan.buffers)
        name = _name(code.name, found, functions)
        grain = THREADS // found.lanes if isinstance(found, Spread) else 1
        return replace(stage, code=replace(code, name=name), extent=found.count, grain=grain)

    return DevicePlan(
        replace(plan, parts=tuple(map_stages(part, spread) for part in parts)), functions
    )


def _name(name: str, found: Spread | Tiled, functions: dict[str, Spread | Tiled]) -> str:
    """A name of this function alone: nests that differ in their outermost size share theirs."""
    number, wanted = 0, name
    while functions.setdefault(wanted, found) != found:
        number += 1
        wanted = f"{name}_{number}"
    return wanted


def _whole(part: Part) -> Part:
    """The part with kernels that go over all of a stage before the next."""
    if isinstance(part, Kernel):
        return replace(part, block=0)
    return replace(
        part,
        init=tuple(replace(k, block=0) for k in part.init),
        bodies=tuple(tuple(map(_whole, body)) for body in part.bodies),
    )


class _BlockMeetings(Meetings):
    """Barriers for blocks, which share what each stage touches in ways of their own."""

    def touched(self, stage: Stage, kernel: str) -> Iterator[Access]:
        return (replace(a, grains=ALL) for a in accesses(stage, self.buffers, 0, kernel))


# ---- nests


def _spread(stage: Stage, nest: Nest, buffers: Sequence[Buffer]) -> Spread:
    sizes = sizes_of(nest, stage.extent)
    nest = replace(nest, sizes=sizes)
    kept = len(sizes) - nest.reduced
    free = _free(nest) if same_elements(stage, buffers) else ()
    inner = nest.vector if nest.vector in free else None
    items = tuple(a for a in free if a != inner) + (() if inner is None else (inner,))
    ordered = tuple(a for a in range(kept) if a not in free)
    count = math.prod(sizes[a] for a in items)
    return Spread(nest, items, ordered, _lanes(nest, count, items) if free or not kept else 1)


def _free(nest: Nest) -> tuple[int, ...]:
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
