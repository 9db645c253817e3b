"""How a nest goes over its rows: all in registers where a row is short, else in loops.

In loops, what a later pass needs again is computed again if that is cheap, and kept in a row of
scratch memory otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from gradloom.ir.op import OPS
from gradloom.ir.types import ITEMSIZE
from gradloom.plan.loops import across, arguments, depends
from gradloom.plan.plan import ANY, Apply, Load, Nest
from gradloom.plan.rows import Pass, needed, passes

# Vectors of a row that is gone over without loops.  128 rows in float32, 1, 8, 16 and 32 so: layer
# norm of 128 columns 3.0, 2.2, 2.2, 2.2 us, of 256 4.5, 4.5, 4.1, 4.1, of 512 9.9, 9.6, 9.7, 7.7;
# softmax of 128 6.6, 6.0, 6.0, 6.0, of 256 11.5, 11.4, 10.9, 10.8, of 512 21.3, 21.1, 21.2, 21.4.
UNROLLED = 16

# Rounds of a folded loop that are in flight at once, each with a sum of its own.  float32, 1, 2, 4
# and 8: sum along the rows of 16 x 512 0.34, 0.26, 0.24, 0.26 us, along its columns 0.47, 0.21,
# 0.22, 0.26, its softmax 3.4, 3.0, 2.8, 2.9; that of 64 x 1000 36.1, 34.1, 33.2, 34.4.
AT_ONCE = 4
# And of a loop without folds, whose values are many where they do not fit the registers.  float32,
# 1, 2 and 4: a million options and their slopes 6.7, 4.2 and 4.5 ms, an LSTM's step 1.23, 1.18 and
# 1.19, of a network with second derivatives 1.25, 1.23 and 1.27.
UNFOLDED_AT_ONCE = 2

# A load and a store cost as much as this many additions (benchmarks/lane_costs.py).
RELOAD = 4

# Bytes of stack for what is kept of a row; beyond, everything is computed again.
SCRATCH_BYTES = 1 << 16


@dataclass(frozen=True)
class Row:
    """The passes over a row, whether its points are written out, whether rows lie across lanes, and
    the steps kept in scratch memory, of `points` elements each."""

    passes: list[Pass]
    unrolled: bool = False
    across: bool = False
    kept: tuple[int, ...] = ()
    points: int = 0


def row_of(nest: Nest, width: int | None) -> Row:
    """The row of a nest with vectors of `width` lanes."""
    first = len(nest.sizes) - nest.reduced
    lanes = {nest.vector: width or 1}
    vectors = [-(-n // lanes.get(a, 1)) for a, n in enumerate(nest.sizes)][first:]
    whole = passes(nest)
    lying = nest.vector is not None and across(nest, nest.vector)
    if math.prod(vectors) <= UNROLLED or nest.embedded or lying:
        return Row(whole, unrolled=True, across=lying)
    points = math.prod(vectors) * (width or 1)
    kept = _costly(nest, whole)
    total = sum(points * ITEMSIZE[nest.steps[n].dtype] for n in kept)
    if total > SCRATCH_BYTES:
        kept = ()
    for number, one in enumerate(whole):
        known = {k for k in kept if any(k in earlier.steps for earlier in whole[:number])}
        one.steps = needed(nest, one, known)
    return Row(whole, kept=kept, points=points)


def at_once(nest: Nest, width: int | None, row: Row) -> int:
    """Vectors that a round of the innermost loop goes over, so that the chains of operations of one
    need not wait for those of another: a power of two."""
    last = len(nest.sizes) - 1
    folded = last >= len(nest.sizes) - nest.reduced
    if width is None or nest.vector != last or nest.embedded or (folded and row.unrolled):
        return 1
    most, size = AT_ONCE if folded else UNFOLDED_AT_ONCE, nest.sizes[last]
    return most if size == ANY else min(most, 1 << max((size // width).bit_length() - 1, 0))


def _costly(nest: Nest, whole: list[Pass]) -> tuple[int, ...]:
    """The steps that a later pass needs again, and would compute at some cost."""
    found: set[int] = set()
    for number, one in enumerate(whole):
        earlier = {n for before in whole[:number] for n in before.steps}
        again = {n for n in earlier if _cost(nest, n) > RELOAD}
        direct = set(needed(nest, one, again))
        found |= direct & again
    return tuple(sorted(found))


def _cost(nest: Nest, step: int) -> int:
    """Additions that it takes to compute a step anew at a point of the row."""
    axes, kept = depends(nest), len(nest.sizes) - nest.reduced
    total, waiting, seen = 0, [step], set()
    while waiting:
        number = waiting.pop()
        if number in seen or max(axes[number], default=-1) < kept:
            continue
        seen.add(number)
        found = nest.steps[number]
        if isinstance(found, Apply):
            total += OPS[found.op].cost
        total += isinstance(found, Load)
        waiting += arguments(found)
    return total
