"""Kernels that on a GPU are one: a product, and another kernel that goes on with its elements.

On the CPU a kernel that reads a product through a reshape is one of its own, as its rows are not
the product's.  Tiles have no need of rows (`plan.merge`): such a kernel's stages become the last of
the product's kernel, which is decided before memory is laid out, so that its results do not come to
lie where the product still reads.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace

from gradloom.plan.dealt import RESULT
from gradloom.plan.memory import Memory
from gradloom.plan.merge import joint_of
from gradloom.plan.plan import Kernel, Part, Product, Region
from gradloom.plan.rows import overwrites
from gradloom.plan.updates import substituted


def following(parts: tuple[Part, ...], memory: Memory) -> tuple[Part, ...]:
    """The parts of a plan, with as few kernels."""
    return _followed(parts, memory, frozenset())


def _followed(parts: Sequence[Part], memory: Memory, kept: frozenset[int]) -> tuple[Part, ...]:
    """The same where others read the buffers `kept`."""
    done: list[Part] = []
    for number, part in enumerate(parts):
        if isinstance(part, Region):
            outside = kept | part.reads | part.writes | {part.word, *part.rows}
            bodies = tuple(_followed(body, memory, outside) for body in part.bodies)
            done.append(replace(part, bodies=bodies))
            continue
        place = _before(part, done, memory)
        if place is None:
            done.append(part)
        else:
            read = kept.union(*(p.touched()[0] for p in (*done, *parts[number + 1 :])))
            first = done[place]
            assert isinstance(first, Kernel)
            done[place] = _one(first, part, memory, read)
    return tuple(done)


def _before(kernel: Kernel, done: Sequence[Part], memory: Memory) -> int | None:
    """Which of the parts before it a kernel goes on with; None where it is one of its own."""
    read, written = _touched(kernel, memory)
    for place in reversed(range(len(done))):
        other = done[place]
        seen, made = _touched(other, memory)
        if made & (read | written) or seen & written:
            return place if isinstance(other, Kernel) and _goes_on(other, kernel) else None
    return None


def _touched(part: Part, memory: Memory) -> tuple[set[int], set[int]]:
    """Arrays read and arrays written, of which the buffers are parts."""
    read, written = part.touched()
    return {memory.base(b) for b in read}, {memory.base(b) for b in written}


def _goes_on(first: Kernel, second: Kernel) -> bool:
    """Whether the stages of both are elements of one product, and what follows from each."""
    head, *rest = (*first.stages, *second.stages)
    if not isinstance(head.code, Product):
        return False
    joint = joint_of(head)
    for stage in rest:
        joint = joint.extended(stage) if joint else None
    return joint is not None


def _one(first: Kernel, second: Kernel, memory: Memory, read: Set[int]) -> Kernel:
    """Both as one kernel.  A product that is not among those that others `read` is made where a
    result lies which follows from it, and needs no memory of its own."""
    made = first.stages[0].operands[RESULT].buffer
    name = memory.names[made]
    both = Kernel(
        f"{first.name}_{second.name}",
        (*first.stages, *second.stages),
        0,
        tuple(dict.fromkeys((*first.where, *second.where))),
        first.flops + second.flops,
        tuple(dict.fromkeys((*first.reasons, *(r for r in second.reasons if r[0] != name)))),
    )
    alone = len(both.stages) == 2 and memory.spaces[made] == "arena" and made not in read
    for result in _results(second, memory) if alone else ():
        placed = substituted(both, {made: result})
        assert isinstance(placed, Kernel)
        if _alike(memory, made, result) and overwrites(placed.stages[1], result, result):
            return placed
    return both


def _results(kernel: Kernel, memory: Memory) -> list[int]:
    """What is written, and neither read nor held from call to call."""
    read, written = kernel.touched()
    return sorted(b for b in written - read if memory.spaces[b] in ("arena", "output"))


def _alike(memory: Memory, one: int, other: int) -> bool:
    first, second = memory.nodes[one].type, memory.nodes[other].type
    return first.size == second.size and first.dtype == second.dtype
