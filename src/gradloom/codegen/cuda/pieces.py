"""Tiles of a product multiplied from shared memory, to which pieces of A and B are copied, so many
indices of depth at a time, by all of a block while it multiplies those that have come."""

from __future__ import annotations

import math
from collections.abc import Sequence

from llvmlite import ir

from gradloom.codegen.cpu.target import Target
from gradloom.codegen.cpu.vectors import FLOATS, I32, I64, counted
from gradloom.codegen.cuda import threads
from gradloom.codegen.cuda.fill import Filler, Layout, Limits, commit, wait
from gradloom.codegen.cuda.mma import Tensors
from gradloom.codegen.cuda.multiply import Scalars, Values
from gradloom.ir.affine import Affine
from gradloom.ir.types import ITEMSIZE
from gradloom.plan.dealt import Tiled
from gradloom.plan.operands import sources

STAGES = 4  # pieces in shared memory, of which one is multiplied, and the others are on their way
# Bytes that these may take: of 128 x 128 sums three pieces, for two blocks on a multiprocessor.
PIECES_BYTES = 64 << 10


def shared_bytes(tiled: Tiled) -> int:
    """The shared memory that a product needs."""
    return _stages(tiled) * _stage_bytes(tiled)


def _layouts(tiled: Tiled) -> tuple[Layout, Layout]:
    """How pieces of A and of B lie in shared memory."""
    multiplier = Tensors if tiled.precision else Scalars
    product, tile = tiled.product, tiled.tile
    a, b = sources(product)
    return (
        multiplier.layout(product, a, tile, 0),
        multiplier.layout(product, b, tile, 1),
    )


def _stage_bytes(tiled: Tiled) -> int:
    return sum(layout.elements for layout in _layouts(tiled)) * ITEMSIZE[tiled.product.dtype]


def pieces(tiled: Tiled) -> int:
    """How many pieces the depth of a product has."""
    return -(-math.prod(tiled.product.depth) // tiled.tile.depth)


def _stages(tiled: Tiled) -> int:
    """How many pieces there is room for."""
    return max(2, min(STAGES, pieces(tiled), PIECES_BYTES // _stage_bytes(tiled)))


class Pieces:
    """The sums of a tile, piece after piece."""

    def __init__(
        self, b: ir.IRBuilder, tiled: Tiled, pointers: Sequence[ir.Value], target: Target
    ) -> None:
        self.builder, self.product, self.tile = b, tiled.product, tiled.tile
        self.kind = FLOATS[self.product.dtype]
        self.stages, self.pieces = _stages(tiled), pieces(tiled)
        self.layouts = _layouts(tiled)
        self.shared = threads.shared(b.module)
        self.filled = b.alloca(I32)  # where the piece lies that is copied
        operands = zip(sources(self.product), self.layouts, pointers, strict=True)
        self.fillers = [Filler(b, self.product, *operand) for operand in operands]
        self.sums = (
            Tensors(b, self.tile, tiled.precision, target)
            if tiled.precision
            else Scalars(b, self.product, self.tile)
        )

    def sum(self, batch: Sequence[ir.Value], firsts: Sequence[ir.Value]) -> None:
        """Add up what there is for the tile of the batch of these indices, from the first row and
        the first column on."""
        limits = self._limits(batch)
        for filler, first in zip(self.fillers, firsts, strict=True):
            filler.begin(batch, first, limits)
        self.sums.clear()
        self._pipeline()

    def places(self) -> tuple[list[ir.Value], list[ir.Value]]:
        """This thread's rows of the tile, and the first columns of its groups."""
        return self.sums.places()

    def values(self) -> Values:
        """Its sums."""
        return self.sums.values()

    def _pipeline(self) -> None:
        """Multiply piece after piece, with `ahead` of them on their way."""
        b, ahead = self.builder, self.stages - 1
        first, second = (layout.elements for layout in self.layouts)
        last = ahead * (first + second)  # where the last of the pieces lies
        b.store(I32(0), self.filled)
        with counted(b, I32(0), I32(self.pieces + ahead), 1) as piece:
            # Every thread waits for what it has copied itself, and then all for each other: so the
            # piece to multiply is there for all, and the one before, or of the tile before, is done
            # with, in whose place comes what is copied now.
            wait(b, ahead - 1)
            threads.meet(b)
            place = b.load(self.filled, typ=I32)
            with b.if_then(b.icmp_unsigned("<", piece, I32(self.pieces))):
                depth = b.mul(piece, I32(self.tile.depth))
                for filler, memory in zip(self.fillers, self._piece(place, first), strict=True):
                    filler.fill(memory, depth)
            commit(b)
            wrapped = b.icmp_unsigned("==", place, I32(last))
            following = b.select(wrapped, I32(0), b.add(place, I32(first + second)))
            b.store(following, self.filled)
            with b.if_then(b.icmp_unsigned(">=", piece, I32(ahead))):
                self.sums.add(self.layouts, self._piece(following, first))

    def _piece(self, place: ir.Value, first: int) -> list[ir.Value]:
        """A piece of A in shared memory, and the one of B behind it."""
        b = self.builder
        places = place, b.add(place, I32(first))
        return [b.gep(self.shared, [at], source_etype=self.kind) for at in places]

    def _limits(self, batch: Sequence[ir.Value]) -> Limits:
        """For limited axes of depth: the first index, and the one after the last."""
        b, found = self.builder, []
        for limit in self.product.limits:
            ends = []
            for at in (limit.low, limit.high):
                end = self._batch_number(at, batch)
                if limit.step != 1:  # rounded up, of what may be negative
                    end = b.add(end, I64(limit.step - 1))
                    rest = b.srem(end, I64(limit.step))
                    low = b.icmp_signed("<", rest, I64(0))
                    quotient = b.sdiv(end, I64(limit.step))
                    end = b.sub(quotient, b.zext(low, I64))
                ends.append(b.trunc(end, I32))
            found.append((limit.axis, *ends))
        return found

    def _batch_number(self, at: Affine, batch: Sequence[ir.Value]) -> ir.Value:
        b = self.builder
        total: ir.Value = I64(at.const)
        for axis, factor in at.terms:
            total = b.add(total, b.mul(b.zext(batch[axis], I64), I64(factor)))
        return total
