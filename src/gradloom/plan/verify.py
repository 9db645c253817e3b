"""What must hold of every plan: written before read, inside its buffer, apart from what lives."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

from gradloom.errors import InternalError
from gradloom.ir.affine import Affine
from gradloom.plan.plan import ANY, Buffer, Load, Nest, Part, Plan, Region, Stage, Store
from gradloom.plan.split import verify_split


def verify_plan(plan: Plan, *, split: bool = True) -> None:
    """Raise `InternalError` where a kernel reads what was not written, an access leaves its buffer,
    two buffers that live at the same time share bytes, or, if the plan is `split` among threads, a
    barrier is missing."""
    written = {i for i, b in enumerate(plan.buffers) if b.space in ("input", "state")}
    _check_order(plan, plan.parts, written)
    _check_apart(plan)
    if split:
        verify_split(plan)


def _check_order(plan: Plan, parts: Iterable[Part], written: set[int]) -> None:
    """A row can be read where what it is a row of can, and both are written together."""
    for part in parts:
        if isinstance(part, Region):
            _check_order(plan, part.init, written)
            for body in part.bodies:
                _check_order(plan, body, written)
            continue
        for stage in part.stages:
            for number, operand in enumerate(stage.operands):
                if number not in stage.writes and not written & _whole(plan, operand.buffer):
                    _broken(plan, part.name, operand.buffer, "is read before it is written")
            for number in stage.writes:
                written |= _whole(plan, stage.operands[number].buffer)
            _check_bounds(plan, part.name, stage)


def _whole(plan: Plan, buffer: int) -> set[int]:
    """A buffer, and what it is a row of."""
    found = {buffer}
    while (buffer := plan.buffers[buffer].of) >= 0:
        found.add(buffer)
    return found


def _check_bounds(plan: Plan, kernel: str, stage: Stage) -> None:
    nest = stage.code
    if not isinstance(nest, Nest):
        return
    sizes = tuple(stage.extent if n == ANY else n for n in nest.sizes)
    if 0 in sizes:
        return
    loads = [s for s in nest.steps if isinstance(s, Load) and not s.guards and not s.picks]
    accesses: list[Load | Store] = [*loads, *(s for s in nest.stores if not s.picks)]
    for access in accesses:
        operand = stage.operands[access.operand]
        low, high = _range(access.at, sizes)
        if (
            low + operand.offset < 0
            or high + operand.offset >= plan.buffers[operand.buffer].type.size
        ):
            _broken(plan, kernel, operand.buffer, f"is accessed from {low} through {high}")


def _range(at: Affine, sizes: tuple[int, ...]) -> tuple[int, int]:
    spans = [coefficient * (sizes[axis] - 1) for axis, coefficient in at.terms]
    return at.const + sum(min(s, 0) for s in spans), at.const + sum(max(s, 0) for s in spans)


def _check_apart(plan: Plan) -> None:
    arena = [b for b in plan.buffers if b.space == "arena"]
    for one, other in combinations(arena, 2):
        if _share_bytes(one, other) and not _apart_in_time(one, other):
            number = plan.buffers.index(one)
            _broken(plan, f"k{max(one.born, other.born)}", number, f"overlaps {other.name}")


def _share_bytes(one: Buffer, other: Buffer) -> bool:
    return (
        one.offset < other.offset + other.type.nbytes
        and other.offset < one.offset + one.type.nbytes
    )


def _apart_in_time(one: Buffer, other: Buffer) -> bool:
    """Not alive together, or one written in the place of the other as it dies."""
    first, second = sorted((one, other), key=lambda b: (b.born, b.dies))
    heir = first.dies == second.born and first.offset == second.offset
    return first.dies < second.born or heir


def _broken(plan: Plan, kernel: str, buffer: int, what: str) -> None:
    named = plan.buffers[buffer]
    raise InternalError(
        f"plan, kernel {kernel}: {named.name} ({named.type}, {named.where}) {what}.\n"
        "Run with GRADLOOM_DEBUG=3 to see the graph and the buffers."
    )
