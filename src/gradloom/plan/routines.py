"""Routines whose pieces many threads take at once: each with scratch memory of its own.

A routine goes over independent pieces, rows to sort for example, one after another, and uses its
scratch memory for each in turn.  Here every piece has some, behind the arena, and is called alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gradloom.ir.types import TensorType
from gradloom.plan.arena import padded
from gradloom.plan.plan import Buffer, Operand, Plan, Routine, Stage, calls_out, map_stages

# Of scratch memory, beyond which one thread does all: unmeasured, as all of it.
MOST_BYTES = 1 << 28


def in_pieces(plan: Plan) -> Plan:
    """The plan with such routines; those that are not have scratch memory, or one piece."""
    scratch = _Scratch(plan.buffers)
    parts = tuple(map_stages(part, scratch.stage) for part in plan.parts)
    if not scratch.nbytes:
        return plan
    kind = TensorType((scratch.nbytes,), "uint8")
    at, last = padded(plan.arena_bytes), len(plan.kernels) - 1
    buffer = Buffer("scratch_of_pieces", "arena", kind, at, 0, last, None)
    buffers = (*plan.buffers, buffer)
    return replace(plan, parts=parts, buffers=buffers, arena_bytes=at + scratch.nbytes)


def in_pieces_already(stage: Stage) -> bool:
    """Whether threads can take the pieces of a routine at once."""
    code = stage.code
    assert isinstance(code, Routine)
    return not code.work and stage.extent > 1 and not calls_out(stage)


@dataclass
class _Scratch:
    """One buffer, which the routines of a plan use in turn."""

    buffers: Sequence[Buffer]
    nbytes: int = 0

    def stage(self, stage: Stage) -> Stage:
        """The stage with scratch memory for each of its pieces."""
        code = stage.code
        if not isinstance(code, Routine) or not code.work or stage.extent < 2 or calls_out(stage):
            return stage
        given, work = stage.operands[: -code.work], stage.operands[-code.work :]
        strides = [padded(self.buffers[o.buffer].type.nbytes) for o in work]
        total = sum(strides) * stage.extent
        if total > MOST_BYTES:
            return stage
        self.nbytes = max(self.nbytes, total)
        places = [sum(strides[:n]) * stage.extent for n in range(len(strides))]
        mine = tuple(Operand(len(self.buffers), place) for place in places)
        text = _apart(code.name, len(stage.numbers), len(given), code.work)
        apart = Routine(f"{code.name}_apart", (*code.parts, text))
        numbers = (*stage.numbers, *strides)
        return replace(stage, code=apart, operands=(*given, *mine), numbers=numbers)


def _apart(name: str, numbers: int, operands: int, work: int) -> str:
    """The text of a function that calls another for each piece, with scratch memory so many bytes
    apart.

    >>> print(_apart("routine_sort", 1, 1, 1))
    def routine_sort_apart(start, stop, n0, step0, p0, work0):
        for piece in range(start, stop):
            routine_sort(piece, piece + 1, n0, p0, view(work0, piece * step0))
    <BLANKLINE>
    """
    sizes = [f"n{k}" for k in range(numbers)]
    pointers = [f"p{k}" for k in range(operands)]
    steps = [f"step{k}" for k in range(work)]
    areas = [f"work{k}" for k in range(work)]
    taken = ", ".join(["start", "stop", *sizes, *steps, *pointers, *areas])
    own = [f"view({area}, piece * {step})" for area, step in zip(areas, steps, strict=True)]
    given = ", ".join(["piece", "piece + 1", *sizes, *pointers, *own])
    head = f"def {name}_apart({taken}):"
    return f"{head}\n    for piece in range(start, stop):\n        {name}({given})\n"
