"""What is computed of the folds of rows, one number a row, in loops of its own.

Where a row runs across the lanes, what follows its folds is computed of single numbers: a logarithm
of one takes as long as one of sixteen.  So if it is much, the folds are stored, and a second nest
goes over them with rows across the lanes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from gradloom.ir.affine import Affine
from gradloom.ir.op import OPS
from gradloom.ir.types import row_strides
from gradloom.plan.loops import arguments, depends
from gradloom.plan.nest import Draft
from gradloom.plan.plan import Apply, Fold, Load, Nest, Step
from gradloom.plan.rows import is_wide, passes, phases

LANES = 16  # of float32 in the widest vector
# Additions a row, of single numbers, from which loops of their own pay.  64 rows of 64 and of 10
# columns, ns in one nest and in two: log (32) 758, 165 and 751, 116; tanh (33) 704, 142 and 808,
# 124; a division (16) 122, 113 and 116, 100; 16 rows of 64: log 179, 40, a division 29, 37.
SEQUEL = 24

Scratch = Callable[[tuple[int, ...], str], int]  # a buffer for rows of a dtype


def with_sequel(draft: Draft, nest: Nest, scratch: Scratch) -> tuple[Draft, Draft] | None:
    """The draft of a shaped nest as two, the second over its rows alone; None if one is better."""
    kept = draft.sizes[: len(draft.sizes) - draft.reduced]
    across = nest.vector is not None and nest.vector >= len(nest.sizes) - nest.reduced
    if not across or not kept:
        return None
    raw = Nest("", draft.sizes, draft.reduced, None, tuple(draft.steps), tuple(draft.stores))
    tail = _tail(raw)
    cost = sum(OPS[s.op].cost for n in tail if isinstance(s := raw.steps[n], Apply))
    if cost < SEQUEL or math.prod(kept) < LANES:
        return None
    return _cut(draft, raw, kept, tail, scratch)


def _tail(nest: Nest) -> set[int]:
    """The steps that only stores of single numbers need, and that need a fold."""
    axes, known = depends(nest), phases(nest)
    inside = {n for one in passes(nest) for n in (*one.folds, *one.steps)}
    inside = _closure(nest, inside)
    after = [s for s in nest.stores if not is_wide(nest, s, axes)]
    wanted = _closure(nest, {a for s in after for a in arguments(s)})
    return {n for n in wanted - inside if known[n] and not isinstance(nest.steps[n], Fold)}


def _closure(nest: Nest, steps: set[int]) -> set[int]:
    """The steps and all that they need."""
    found: set[int] = set()
    waiting = list(steps)
    while waiting:
        number = waiting.pop()
        if number not in found:
            found.add(number)
            waiting += arguments(nest.steps[number])
    return found


def _cut(
    draft: Draft, nest: Nest, kept: tuple[int, ...], tail: set[int], scratch: Scratch
) -> tuple[Draft, Draft]:
    """The draft without its tail, and the tail, which reads what the first leaves in `scratch`."""
    axes, known = depends(nest), phases(nest)
    later = [s for s in nest.stores if s.step in tail]
    first = Draft(draft.sizes, draft.reduced, draft.buffer_of)
    first.steps, first.operands = list(draft.steps), list(draft.operands)
    first.stores = [s for s in nest.stores if s not in later]
    last = Draft(kept, 0, draft.buffer_of)
    at = _row_index(kept)
    moved: dict[int, int] = {}

    def value(number: int) -> int:
        if number not in moved:
            step = nest.steps[number]
            if known[number] and number not in tail:
                assert not max(axes[number], default=-1) >= len(kept)
                buffer = scratch(kept, step.dtype)
                first.put(buffer, at, number, step.dtype)
                moved[number] = last.emit(Load(last.operand(buffer), at, step.dtype))
            else:
                moved[number] = last.emit(_moved(step, value, draft, last))
        return moved[number]

    for store in later:
        picks = tuple(replace(p, step=value(p.step)) for p in store.picks)
        buffer = draft.operands[store.operand].buffer
        last.put(buffer, store.at, value(store.step), store.dtype, picks, store.accumulate)
    return _without_unused(first), last


def _row_index(kept: tuple[int, ...]) -> Affine:
    at = Affine()
    for axis, stride in enumerate(row_strides(kept)):
        at = at + Affine.axis(axis) * stride
    return at


def _moved(step: Step, value: Callable[[int], int], draft: Draft, last: Draft) -> Step:
    """A step of the first draft in the last one."""
    changed: dict[str, Any] = {}
    if isinstance(step, Load):
        changed["operand"] = last.operand(draft.operands[step.operand].buffer)
        changed["picks"] = tuple(replace(p, step=value(p.step)) for p in step.picks)
    elif hasattr(step, "args"):
        changed["args"] = tuple(map(value, step.args))
    elif hasattr(step, "arg"):
        changed["arg"] = value(step.arg)
    return replace(step, **changed) if changed else step


def _without_unused(draft: Draft) -> Draft:
    """The draft without steps that nothing needs, and operands that nothing touches."""
    nest = Nest("", draft.sizes, draft.reduced, None, tuple(draft.steps), tuple(draft.stores))
    used = sorted(_closure(nest, {a for s in nest.stores for a in arguments(s)}))
    fresh = Draft(draft.sizes, draft.reduced, draft.buffer_of)
    moved: dict[int, int] = {}
    for number in used:
        moved[number] = fresh.emit(_moved(nest.steps[number], moved.__getitem__, draft, fresh))
    for s in nest.stores:
        picks = tuple(replace(p, step=moved[p.step]) for p in s.picks)
        buffer = draft.operands[s.operand].buffer
        fresh.put(buffer, s.at, moved[s.step], s.dtype, picks, s.accumulate)
    return fresh
