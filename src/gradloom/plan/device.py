"""A plan for a GPU: the same kernels, buffers and order, dealt out among blocks of threads.

A block is to a GPU what a worker is to a team: of each stage it does a range, here of `items`, by
all of its threads.  An item of a nest is a point of those loops in which every point writes places
of its own; loops in which it does not run inside of an item, in their order, so that sums and
scatters have the same bits on any number of blocks.  An item of a product is a tile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from gradloom.plan.dealt import DevicePlan, Epilogue, Spread, Tiled
from gradloom.plan.meetings import Meetings
from gradloom.plan.merge import merged, touched
from gradloom.plan.parts import in_parts
from gradloom.plan.plan import Buffer, Kernel, Part, Plan, Product, Routine, Stage, map_stages
from gradloom.plan.routines import in_pieces, in_pieces_already
from gradloom.plan.spread import spread_of
from gradloom.plan.tiles import CLUSTER, MULTIPROCESSORS, TENSORS, tile_of
from gradloom.plan.touch import ALL, Access, accesses

GOLDEN = (5**0.5 - 1) / 2


def for_device(plan: Plan, precision: str = "highest", *, cluster: bool = False) -> DevicePlan:
    """The plan, dealt out among blocks, or those of one cluster; products of float32 at a
    `precision` of `Options`."""
    blocks = CLUSTER if cluster else MULTIPROCESSORS

    def precision_of(product: Product) -> str:
        return precision if precision in TENSORS and product.dtype == "float32" else ""

    undealt = plan
    plan, epilogues = merged(in_parts(in_pieces(plan), precision_of))
    parts = tuple(_whole(part) for part in plan.parts)
    parts = _BlockMeetings(plan.buffers, epilogues).visit(parts)
    functions: dict[str, Spread | Tiled] = {}
    turns = 0  # stages since all have met

    def spread(stage: Stage) -> Stage:
        nonlocal turns
        turns = 0 if stage.barrier else turns + 1
        code = stage.code
        if isinstance(code, Routine):
            return replace(stage, grain=int(in_pieces_already(stage)))
        found: Spread | Tiled
        if isinstance(code, Product):
            tile = tile_of(code, precision_of(code), blocks)
            rounded = "" if tile.thin else precision_of(code)
            found = Tiled(code, tile, epilogues.get(code.name), rounded)
        else:
            found = spread_of(stage, code, plan.buffers)
        name = _name(code.name, found, functions)
        return replace(
            stage,
            code=replace(code, name=name),
            extent=found.count,
            grain=found.grain,
            phase=_phase(turns, -(-found.count // found.grain)),
        )

    dealt = replace(plan, parts=tuple(map_stages(part, spread) for part in parts))
    return DevicePlan(dealt, functions, undealt, cluster)


def _phase(turn: int, grains: int) -> int:
    """Where the stage of this turn begins to deal out its grains: where there are fewer than
    blocks, what is done between two meetings should fall to different ones.  Multiples of the
    golden ratio lie apart, however many there are.

    >>> [round(_phase(turn, 1) / 2**32, 2) for turn in range(5)]
    [0.0, 0.62, 0.24, 0.85, 0.47]
    """
    return int(turn * GOLDEN % 1 * 2**32) // max(grains, 1)


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

    def __init__(self, buffers: Sequence[Buffer], epilogues: Mapping[str, Epilogue]) -> None:
        super().__init__(buffers, placing=True)
        self.epilogues = epilogues

    def touched(self, stage: Stage, kernel: str) -> Iterator[Access]:
        epilogue = self.epilogues.get(stage.code.name)
        if epilogue is None:
            found = accesses(stage, self.buffers, 0, kernel)
        else:
            found = touched(stage, epilogue, self.buffers, kernel)
        return (replace(a, grains=ALL) for a in found)
