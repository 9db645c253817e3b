"""Nests of a few operations become part of the driver's function, instead of functions it calls.

What they leave for one another can then stay in registers, as the carries of a loop do, provided
that LLVM knows which memory is apart: an embedded nest belongs to one set of buffers, and says of
each operand which other memory it cannot touch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gradloom.ir.op import OPS
from gradloom.plan.loops import across
from gradloom.plan.plan import (
    ANY,
    Apart,
    Apply,
    Buffer,
    Nest,
    Operand,
    Part,
    Stage,
    kernels_of,
    map_stages,
)
from gradloom.settings import current as current_settings

# Additions, vectors counted once, that a nest may cost to be embedded, and rounds of its loops,
# which are written out.  A call and its loops cost 2 to 10 ns, what 40 to 200 additions of vectors
# do; a scan of one number takes 5.1 ns a round called and 3.2 embedded, with its gradient 8.6 and
# 6.0, and latency is what remains.
SMALL = 400
ROUNDS = 16
# And all of a program's: LLVM's time grows with the function, by about 10 us an addition.
MOST = 6000
LANES = 16  # of float32 in the widest vector
# Memories told apart: each says of every other whether they overlap.
TOLD_APART = 64


def embed(parts: Sequence[Part], buffers: Sequence[Buffer]) -> tuple[Part, ...]:
    """The parts, with the small nests made part of the driver."""
    if embed.__name__ in current_settings().disable:
        return tuple(parts)
    found = _Embedding(buffers)
    for kernel in kernels_of(parts):
        for stage in kernel.stages:
            found.count(stage)
    return tuple(map_stages(part, found.stage) for part in parts)


def work(stage: Stage) -> int:
    """Additions of vectors that a nest's stage costs, roughly; what is done once a loop counts as
    if it were done in each of its rounds."""
    nest = stage.code
    assert isinstance(nest, Nest)
    return rounds(stage) * sum(OPS[s.op].cost if isinstance(s, Apply) else 1 for s in nest.steps)


def rounds(stage: Stage) -> int:
    """How often a nest's loops run together."""
    nest = stage.code
    assert isinstance(nest, Nest)
    sizes = (stage.extent if size == ANY else size for size in nest.sizes)
    found = 1
    for axis, size in enumerate(sizes):
        found *= -(-size // LANES) if axis == nest.vector else size
    return found


# The extent and the operands of an embedded nest; None for the function that others call.
Use = tuple[int, tuple[Operand, ...]] | None


class _Embedding:
    """One plan's nests on their way into its driver."""

    def __init__(self, buffers: Sequence[Buffer]) -> None:
        self.buffers = buffers
        self.left = MOST
        self.memories: dict[int, int] = {}  # the number of each buffer's
        self.uses: dict[str, dict[Use, int]] = {}  # of a name: each of its functions
        self.chosen: set[tuple[str, Use]] = set()

    def count(self, stage: Stage) -> None:
        """Count a stage in, if it is small, and its operands' memories."""
        if not isinstance(stage.code, Nest):
            return
        uses = self.uses.setdefault(stage.code.name, {})
        if not self._fits(stage):
            uses.setdefault(None, len(uses))
            return
        self.left -= work(stage)
        use = stage.extent, stage.operands
        uses.setdefault(use, len(uses))
        self.chosen.add((stage.code.name, use))
        for operand in stage.operands:
            self.memories.setdefault(self._base(operand.buffer), len(self.memories))

    def _fits(self, stage: Stage) -> bool:
        if stage.can_fault or not stage.extent or stage.grain:
            return False  # what the team shares is called for a range
        nest = stage.code
        assert isinstance(nest, Nest)
        if nest.vector is not None and across(nest, nest.vector):
            return False  # short rows are transposed by whole squares of lanes
        return rounds(stage) <= ROUNDS and work(stage) <= min(SMALL, self.left)

    def stage(self, stage: Stage) -> Stage:
        nest, use = stage.code, (stage.extent, stage.operands)
        if not isinstance(nest, Nest) or stage.grain or (nest.name, use) not in self.chosen:
            return stage
        uses = self.uses[nest.name]
        number = uses[use]
        plain = not number and None not in uses
        sizes = tuple(stage.extent if size == ANY else size for size in nest.sizes)
        return replace(
            stage,
            code=replace(
                nest,
                name=nest.name if plain else f"{nest.name}_{number}",
                sizes=sizes,
                embedded=tuple(self._apart(o.buffer) for o in stage.operands),
            ),
        )

    def _apart(self, buffer: int) -> Apart:
        own = self._base(buffer)
        number = self.memories[own]
        if number >= TOLD_APART:
            return Apart(-1, ())
        others = (
            other
            for base, other in self.memories.items()
            if other < TOLD_APART and not self._overlap(own, base)
        )
        return Apart(number, tuple(others))

    def _base(self, buffer: int) -> int:
        while self.buffers[buffer].of >= 0:
            buffer = self.buffers[buffer].of
        return buffer

    def _overlap(self, one: int, other: int) -> bool:
        """Whether two buffers can share a byte; arrays of the caller's are apart."""
        first, second = self.buffers[one], self.buffers[other]
        if first.space != "arena" or second.space != "arena":
            return one == other
        return (
            first.offset < second.offset + second.type.nbytes
            and second.offset < first.offset + first.type.nbytes
        )
