"""What the kernels of rows share: which axes they fold, and in how many passes over a row.

A row is the part of a nest's loops that is folded.  A fold that needs another fold's value cannot
begin before that one is done, so softmax is three passes over each row: the largest, the sum of
exponentials less the largest, and the quotients.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field

from gradloom.ir.affine import Affine, Index
from gradloom.ir.types import row_strides
from gradloom.plan.loops import arguments, depends
from gradloom.plan.plan import Fold, Load, Nest, Stage, Store

Sizes = tuple[int, ...]
Axes = tuple[int, ...]


@dataclass(frozen=True)
class Rows:
    """Loops over `wide`: of its values some have all these axes and some, one number a row, those
    at `kept` alone.  The others are folded."""

    wide: Sizes
    kept: Axes

    @property
    def folds(self) -> bool:
        return len(self.kept) < len(self.wide)

    @property
    def folded(self) -> Axes:
        return tuple(a for a in range(len(self.wide)) if a not in self.kept)

    @property
    def narrow(self) -> Sizes:
        return tuple(self.wide[a] for a in self.kept)

    @property
    def sizes(self) -> Sizes:
        """The loops of a nest: folded axes are the inner ones."""
        return tuple(self.wide[a] for a in (*self.kept, *self.folded))

    @property
    def flat(self) -> Sizes:
        """The one loop over as many elements: of values that a long fold cuts into rows."""
        return (math.prod(self.wide),) if len(self.wide) > 1 else ()

    def index(self, shape: Sizes) -> Index:
        """Where the loops of the nest meet a value of this shape."""
        order = (*self.kept, *self.folded)
        if tuple(n for n in shape if n != 1) == self.flat:
            loops_of = {order.index(a): n for a, n in enumerate(row_strides(self.wide))}
            at = Affine(0, tuple(sorted(loops_of.items())))
            return tuple(Affine() if n == 1 else at for n in shape)
        wide = sum(n != 1 for n in shape) == len(self.wide)
        loops = iter([order.index(a) for a in range(len(order))] if wide else range(len(order)))
        return tuple(Affine() if n == 1 else Affine.axis(next(loops)) for n in shape)


@dataclass
class Pass:
    """One pass over a row: its folds and stores, and the steps to compute for them, in order."""

    folds: list[int] = field(default_factory=list)
    stores: list[Store] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)


def phases(nest: Nest) -> list[int]:
    """How many passes must be over before each step's value is known."""
    found: list[int] = []
    for step in nest.steps:
        before = max((found[a] for a in arguments(step)), default=0)
        found.append(before + (isinstance(step, Fold) and nest.reduced > 0))
    return found


def is_wide(nest: Nest, store: Store, axes: list[frozenset[int]]) -> bool:
    """Whether a store stands in the folded loops, rather than after them."""
    kept = len(nest.sizes) - nest.reduced
    return any(a >= kept for a in (*axes[store.step], *(a for a, _ in store.at.terms)))


def passes(nest: Nest) -> list[Pass]:
    """The passes of a nest over its folded axes, if it has any."""
    known, axes = phases(nest), depends(nest)
    wide = [s for s in nest.stores if is_wide(nest, s, axes)]
    folds = [n for n, step in enumerate(nest.steps) if isinstance(step, Fold)] * bool(nest.reduced)
    count = max((*(known[n] for n in folds), *(known[s.step] + 1 for s in wide)), default=0)
    found = [Pass() for _ in range(count)]
    for number in folds:
        found[known[number] - 1].folds.append(number)
    for store in wide:
        found[known[store.step]].stores.append(store)
    for one in found:
        one.steps = needed(nest, one)
    return found


def needed(nest: Nest, one: Pass, known: Collection[int] = ()) -> list[int]:
    """The steps that differ along the row and that a pass needs at each of its points, but for
    those that only serve steps that are `known`."""
    axes, kept = depends(nest), len(nest.sizes) - nest.reduced
    waiting = [a for n in one.folds for a in arguments(nest.steps[n])]
    waiting += [a for store in one.stores for a in arguments(store)]
    seen: set[int] = set()
    while waiting:
        number = waiting.pop()
        if number not in seen and max(axes[number], default=-1) >= kept:
            seen.add(number)
            waiting += () if number in known else arguments(nest.steps[number])
    return sorted(seen)


def overwrites(stage: Stage, old: int, new: int) -> bool:
    """Whether buffer `new` may lie where `old` does: each element that the nest reads of `old` is
    read before its place is written, for itself alone, and not again in a later pass."""
    nest = stage.code
    assert isinstance(nest, Nest)
    held = [n for n, operand in enumerate(stage.operands) if operand.buffer == old]
    loads = [(n, s) for n, s in enumerate(nest.steps) if isinstance(s, Load) and s.operand in held]
    stores = [s for s in nest.stores if stage.operands[s.operand].buffer == new]
    if not loads:
        return True
    if len({s.at for s in stores}) != 1 or any(s.picks or s.accumulate for s in nest.stores):
        return False
    whole = passes(nest)
    first = min(
        next((k for k, one in enumerate(whole) if s in one.stores), len(whole)) for s in stores
    )
    later = {number for one in whole[first + 1 :] for number in one.steps}
    return all(s.at == stores[0].at and not s.picks and n not in later for n, s in loads)
