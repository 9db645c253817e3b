"""What must hold of every plan's memory, whatever the program."""

from __future__ import annotations

from itertools import combinations

from gradloom.plan.arena import ALIGNMENT
from gradloom.plan.plan import Buffer, Kernel, Load, Nest, Plan, Stage


def assert_sound(plan: Plan) -> None:
    """Buffers in bounds and aligned; two in one place only where one is written over the other,
    element by element; nothing is read before it is written."""
    arena = [b for b in plan.buffers if b.space == "arena"]
    for buffer in arena:
        assert buffer.offset % ALIGNMENT == 0
        assert buffer.offset + buffer.type.nbytes <= plan.arena_bytes
    numbers = {b: n for n, b in enumerate(plan.buffers)}
    for one, other in combinations(arena, 2):
        if _overlap(one, other) and one.born <= other.dies and other.born <= one.dies:
            old, new = sorted((one, other), key=lambda b: b.born)
            assert old.dies == new.born, f"{old} and {new} live together"
            assert_in_place(plan.kernels[new.born], numbers[old], numbers[new])
    assert plan.arena_bytes >= peak_bytes(plan)
    _assert_written_first(plan)


def _overlap(one: Buffer, other: Buffer) -> bool:
    first, last = sorted((one, other), key=lambda b: b.offset)
    return first.offset + first.type.nbytes > last.offset and last.type.nbytes > 0


def peak_bytes(plan: Plan) -> int:
    """The most that must be in memory between two kernels."""
    arena = [b for b in plan.buffers if b.space == "arena"]
    between = range(len(plan.kernels) - 1)
    return max(
        (sum(b.type.nbytes for b in arena if b.born <= k < b.dies) for k in between), default=0
    )


def assert_in_place(kernel: Kernel, old: int, new: int) -> None:
    """`new` may be written over `old`: by one nest, which reads each element for itself alone."""
    (stage,) = [s for s in kernel.stages if _uses(s, old) or _uses(s, new)]
    nest = stage.code
    assert isinstance(nest, Nest), kernel
    places = {s.at for s in nest.stores if stage.operands[s.operand].buffer == new}
    loads = [
        s
        for s in nest.steps
        if isinstance(s, Load) and stage.operands[s.operand].buffer in (old, new)
    ]
    assert all({load.at} == places and not load.picks for load in loads), kernel
    assert not any(s.picks or s.accumulate for s in nest.stores), kernel


def _uses(stage: Stage, buffer: int) -> bool:
    return any(o.buffer == buffer for o in stage.operands)


def _assert_written_first(plan: Plan) -> None:
    full = {n for n, b in enumerate(plan.buffers) if b.space in ("input", "state")}
    for kernel in plan.kernels:
        for stage in kernel.stages:
            for number, operand in enumerate(stage.operands):
                known = operand.buffer in full or number in stage.writes
                assert known, f"{kernel.name} reads {plan.buffers[operand.buffer]} too early"
            full |= {stage.operands[number].buffer for number in stage.writes}
