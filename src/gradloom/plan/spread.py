"""How the threads of a block go over a nest: items, and the lanes that share an item's row.

An item is a point of those loops in which every point writes places of its own; loops in which it
does not run inside of an item, in their order, so that sums and scatters have the same bits on any
number of blocks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from gradloom.ir.op import OPS
from gradloom.ir.types import COMPLEX, ITEMSIZE
from gradloom.plan.dealt import BLOCK, Spread
from gradloom.plan.loops import depends
from gradloom.plan.plan import Apply, Buffer, Load, Nest, Operand, Stage, Store
from gradloom.plan.rows import is_wide
from gradloom.plan.split import same_elements
from gradloom.plan.tiles import MULTIPROCESSORS, THREADS, WARP, WIDEST_BYTES
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
# So many of them at least read from one place together what a warp would read from so many.
NEIGHBOURS = 16
# From so many items on threads take neighbours together; below there are rather too few threads.
WIDE_ITEMS = 8192
WIDE_COST = 200  # of additions an element, beyond which memory does not matter
LOADS = 8  # of a thread to have in flight, where one block has a multiprocessor for itself


def spread_of(stage: Stage, nest: Nest, buffers: Sequence[Buffer]) -> Spread:
    sizes = sizes_of(nest, stage.extent)
    nest = replace(nest, sizes=sizes)
    kept = len(sizes) - nest.reduced
    free = free_axes(nest) if same_elements(stage, buffers) else ()
    inner = nest.vector if nest.vector in free else None
    items = tuple(a for a in free if a != inner) + (() if inner is None else (inner,))
    ordered = tuple(a for a in range(kept) if a not in free)
    count = math.prod(sizes[a] for a in items)
    lanes = _lanes(nest, count, items) if free or not kept else 1
    found = Spread(replace(nest, vector=None), items, ordered, lanes)
    beside = items and sizes[items[-1]] >= NEIGHBOURS
    if lanes == WARP and beside and _lies_across(nest, items) and _is_folded(nest):
        return replace(found, lanes=THREADS // WARP, across=True)
    return _widened(found, stage, buffers)


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


def _is_folded(nest: Nest) -> bool:
    """Whether all that is written is one number a row, at a place that is known."""
    axes = depends(nest)
    return not nest.picks and not any(is_wide(nest, s, axes) or s.accumulate for s in nest.stores)


# ---- neighbours that a thread takes together


def _widened(spread: Spread, stage: Stage, buffers: Sequence[Buffer]) -> Spread:
    """With as many neighbours together as one access may be wide, where all lie side by side."""
    nest, sizes = spread.nest, spread.nest.sizes
    if spread.lanes > 1:
        axis, count = len(sizes) - 1, math.prod(sizes[len(sizes) - nest.reduced :])
    elif not nest.reduced and not spread.ordered and spread.count >= WIDE_ITEMS:
        axis, count = spread.items[-1], spread.count
    else:
        return spread
    found = list(nest_accesses(nest))
    along = [a for a in found if a.at.coefficient(axis)]
    width = _width(along, found, axis) if _is_light(nest) else 1
    flat = spread.items == (axis,)
    whole = sizes[axis] % width == 0 or flat
    if width == 1 or not whole or (spread.lanes > 1 and count < spread.lanes * width):
        return spread
    if any(_strays(a, axis, width, sizes) for a in along):
        return spread
    bases = {a.operand: _base(stage.operands[a.operand], width, buffers) for a in along}
    if None in bases.values():
        return spread
    return replace(
        spread,
        nest=replace(nest, vector=axis),
        width=width,
        at_once=_at_once(nest, count, width) if spread.lanes == 1 else 1,
        tested=tuple(sorted(number for number, known in bases.items() if not known)),
    )


def _is_light(nest: Nest) -> bool:
    """Whether memory, rather than arithmetic, is what takes time."""
    costs = [OPS[s.op].cost for s in nest.steps if isinstance(s, Apply)]
    return sum(costs) <= WIDE_COST


def _width(along: Sequence[Load | Store], accesses: Sequence[Load | Store], axis: int) -> int:
    """Elements of one access; 1 where some are not neighbours, or not all there."""
    if any(a.at.coefficient(axis) != 1 or a.dtype in COMPLEX for a in along):
        return 1
    if any(a.picks or getattr(a, "guards", ()) for a in accesses):
        return 1
    if any(isinstance(a, Store) and a.accumulate for a in accesses):
        return 1
    return min(WIDEST_BYTES // max(ITEMSIZE[a.dtype] for a in along), 4) if along else 1


def _strays(access: Load | Store, axis: int, width: int, sizes: Sequence[int]) -> bool:
    """Whether other axes lead to places that are no multiples of the width."""
    others = [c for a, c in access.at.terms if a != axis and sizes[a] > 1]
    return any(n % width for n in (access.at.const, *others))


def _base(operand: Operand, width: int, buffers: Sequence[Buffer]) -> bool | None:
    """Whether an operand begins at a multiple of the width; False where only a run can tell, None
    where it does not."""
    buffer = buffers[operand.buffer]
    item = ITEMSIZE[buffer.type.dtype]
    moves = [operand.offset * item]
    while buffer.space == "row":
        moves += [buffer.offset, buffer.stride]
        buffer = buffers[buffer.of]
    known = buffer.space == "arena"
    moves += [buffer.offset] * known
    return None if any(move % (width * item) for move in moves) else known


def _at_once(nest: Nest, count: int, width: int) -> int:
    """Groups in flight of a thread, where there are so many for each."""
    loads = sum(isinstance(s, Load) for s in nest.steps)
    groups = count // (MULTIPROCESSORS * THREADS * width)
    return max(1, min(LOADS // max(loads, 1), groups, 4))
