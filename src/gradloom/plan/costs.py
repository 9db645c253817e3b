"""Estimated nanoseconds: of a stage on one thread, and of a plan on a team.

They are good to a factor of two, which is what it takes to tell work that is worth a barrier from
work that is not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate

from gradloom.ir.op import OPS
from gradloom.ir.types import ITEMSIZE
from gradloom.plan.loops import GATHER_COST, depends
from gradloom.plan.needs import BARRIER, Effort
from gradloom.plan.plan import (
    ANY,
    Apply,
    Buffer,
    Kernel,
    Load,
    Nest,
    Part,
    Product,
    Stage,
    rounds_of,
)
from gradloom.plan.touch import Access, accesses

# One core with AVX-512, float32.  An addition in all lanes, in which `Op.cost` counts, takes 0.19
# ns, a load of a vector 0.8 additions and a store 1.5 (benchmarks/lane_costs.py).
VECTOR_BYTES = 64
ADDITION = 0.19
LOAD, STORE = 1.0, 1.5
# A called stage of few elements takes 2 to 10 ns (plan/embed.py).
CALL = 5.0
# Bytes of multiply-adds a nanosecond: products of 64 x 10 x 64 to 784 x 256 x 256 ran at 97 to 190
# Gflop/s of float32, two operations of 4 bytes each (codegen/cpu/product.py).
MULTIPLY_ADD_BYTES = 280.0
# Bytes that one core moves in a nanosecond beyond its second-level cache: benchmarks/team_costs.py.
CACHE_BYTES = 2 << 20
BYTES = 9.0
# What the sequential code of a routine takes, a byte: a sort of 10^4 numbers 9 ns a number.
ROUTINE_BYTE = 1.0


def nanoseconds(stage: Stage, buffers: Sequence[Buffer]) -> float:
    """What a stage takes on one thread."""
    if isinstance(stage.code, Nest):
        work = nest_additions(stage.code, stage.extent) * ADDITION
    elif isinstance(stage.code, Product):
        work = _product_bytes(stage.code) / MULTIPLY_ADD_BYTES
    else:
        return stage_bytes(stage, buffers) * ROUTINE_BYTE
    moved = stage_bytes(stage, buffers)
    return CALL + max(work, moved / BYTES if moved > CACHE_BYTES else 0.0)


def nest_additions(nest: Nest, extent: int) -> float:
    """What the steps of a nest cost, each as often as it is done, in additions of whole vectors."""
    sizes = [extent if size == ANY else size for size in nest.sizes]
    widest = max((ITEMSIZE[s.dtype] for s in (*nest.steps, *nest.stores)), default=4)
    lanes = VECTOR_BYTES // max(widest, 4)
    kept = len(sizes) - nest.reduced
    if nest.vector is not None:
        sizes[nest.vector] = -(-sizes[nest.vector] // lanes)
    rounds = [1, *accumulate(sizes, lambda a, b: a * b)]  # of the loops down to each level
    total = 0.0
    for step, axes in zip(nest.steps, depends(nest), strict=True):
        cost = LOAD
        if isinstance(step, Load) and nest.vector in axes:
            strided = step.at.coefficient(nest.vector) not in (0, 1)
            cost = GATHER_COST if strided or step.picks else LOAD
        elif isinstance(step, Apply):
            cost = OPS[step.op].cost
        total += cost * rounds[1 + max(axes, default=-1)]
    for store in nest.stores:
        inner = max((axis for axis, _ in store.at.terms), default=-1)
        total += STORE * rounds[max(kept, 1 + inner)]
    return total


def _product_bytes(product: Product) -> int:
    item = ITEMSIZE[product.dtype]
    columns = -(-product.columns * item // VECTOR_BYTES) * VECTOR_BYTES
    return math.prod(product.batch) * product.rows * columns * math.prod(product.depth)


def stage_bytes(stage: Stage, buffers: Sequence[Buffer]) -> int:
    """Of the buffers that a stage reads and writes."""
    return sum(buffers[b].type.nbytes for b in {o.buffer for o in stage.operands})


# ---- of a plan


def effort(parts: Iterable[Part], buffers: Sequence[Buffer]) -> Effort:
    """What a pass takes, by the number of grains that it is dealt out in, and its barriers."""
    parts = tuple(parts)
    split: dict[int, float] = {}
    for kernel, rounds in rounds_of(parts):
        for stage in kernel.stages:
            grains = -(-stage.extent // stage.grain) if stage.grain else 1
            split[grains] = split.get(grains, 0.0) + rounds * nanoseconds(stage, buffers)
    return Effort(tuple(sorted(split.items())), meetings(parts), _crossing(parts, buffers))


def _crossing(parts: Iterable[Part], buffers: Sequence[Buffer]) -> float:
    """Bytes that others read than wrote them, while they lie in the writer's cache: each once,
    since whoever has read them has them."""
    touched: list[tuple[Access, int, int]] = []  # with the bytes so far, and its own
    total = 0
    for kernel, rounds in rounds_of(parts):
        for stage in kernel.stages:
            for access in accesses(stage, buffers, stage.grain):
                nbytes = access.stop - access.start
                touched.append((access, total, rounds * nbytes))
                total += nbytes
    written: dict[int, tuple[tuple[int, int], int]] = {}  # of a buffer: how, and when
    for access, at, _ in touched:
        if access.writes:  # by the pass before
            written[access.buffer] = (access.grains, access.step), at - total
    crossed: dict[int, int] = {}
    for access, at, nbytes in touched:
        way = access.grains, access.step
        if access.writes:
            written[access.buffer] = way, at
        elif access.buffer in written:
            how, when = written[access.buffer]
            if how != way and at - when < CACHE_BYTES:
                crossed[access.buffer] = max(crossed.get(access.buffer, 0), nbytes)
    return sum(crossed.values())


def meetings(parts: Sequence[Part]) -> float:
    """How often all meet in a pass."""
    found = rounds_of(parts)
    stages = sum(rounds * sum(bool(s.barrier) for s in kernel.stages) for kernel, rounds in found)
    return stages + _of_regions(parts, 1)


def _of_regions(parts: Iterable[Part], rounds: int) -> float:
    """The barriers of loops and branches themselves."""
    total = 0.0
    for part in parts:
        if isinstance(part, Kernel):
            continue
        inside = rounds * part.length if part.flow == "for" else rounds
        first = rounds if part.flow == "for" else inside
        total += inside * bool(part.again) + first * bool(part.barrier)
        total += sum(_of_regions(body, inside) for body in part.bodies)
    return total


# ---- of neighbours


def worth_sharing(phases: Sequence[tuple[float, float]]) -> list[bool]:
    """Which phases, that stand between barriers, two threads should share.

    Each has the nanoseconds of what can be split and of what cannot.  Between two phases that one
    thread does there is no barrier, and one thread begins and ends.  The best choice is found phase
    by phase, for either kind of the last [dynamic programming].

    >>> worth_sharing([(10_000, 0), (50, 0), (10, 0), (20_000, 0)])
    [True, False, False, True]
    """
    # Of either kind of the last phase: the least time so far, and the kinds that lead to it.
    shared: tuple[float, list[bool]] = (math.inf, [])
    alone: tuple[float, list[bool]] = (0.0, [])
    for split, rest in phases:
        least = min(shared, alone, key=lambda kind: kind[0])
        behind = min(alone[0], shared[0] + BARRIER)
        kinds = alone[1] if behind == alone[0] else shared[1]
        shared = least[0] + BARRIER + split / 2 + rest, [*least[1], True]
        alone = behind + split + rest, [*kinds, False]
    return shared[1] if shared[0] + BARRIER < alone[0] else alone[1]
