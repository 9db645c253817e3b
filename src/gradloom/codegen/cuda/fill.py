"""Pieces of a product's operands on their way to shared memory, by copies that no thread waits for
(`cp.async`).

A thread copies the same places of every piece: where they lie is worked out once a tile, and what
an index of depth adds to that once a piece.  What lies beyond an operand, or beyond limits, is not
read: zeros are written instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llvmlite import ir

from gradloom.codegen.cpu.vectors import FLOATS, I32, I64, declared
from gradloom.codegen.cuda import threads
from gradloom.ir.types import ITEMSIZE
from gradloom.plan.operands import WIDEST, Source
from gradloom.plan.plan import Product
from gradloom.plan.tiles import THREADS, WARP

GLOBAL, SHARED = ir.PointerType(addrspace=1), ir.PointerType(addrspace=3)
Limits = Sequence[tuple[int, ir.Value, ir.Value]]  # axis of depth, first index, and after the last


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a piece lies in shared memory: lines of `line` elements, one for each of `wide` rows of
    A or columns of B if it `lies_by_depth`, else one for each of `deep` indices of depth.

    Neighbouring threads copy neighbours in depth if it is `read_by_depth`.
    """

    wide: int
    deep: int
    line: int
    read_by_depth: bool
    lies_by_depth: bool = False

    @property
    def elements(self) -> int:
        """How many there is room for."""
        return self.line * (self.wide if self.lies_by_depth else self.deep)

    def place(self, k: int, own: int) -> int:
        """Where an element lies."""
        return own * self.line + k if self.lies_by_depth else k * self.line + own

    def place_of(self, b: ir.IRBuilder, k: ir.Value, own: ir.Value) -> ir.Value:
        """The same, of numbers known when the code runs."""
        line, within = (own, k) if self.lies_by_depth else (k, own)
        return b.add(b.mul(line, I32(self.line)), within)


class Filler:
    """The copies that a thread makes of one operand."""

    def __init__(
        self, b: ir.IRBuilder, product: Product, source: Source, layout: Layout, pointer: ir.Value
    ) -> None:
        self.builder, self.product, self.source, self.layout = b, product, source, layout
        self.size = ITEMSIZE[product.dtype]
        self.kind = FLOATS[product.dtype]
        self.pointer = b.addrspacecast(pointer, GLOBAL)
        # What is turned on its way is copied element by element.
        turned = layout.read_by_depth != layout.lies_by_depth
        self.chunk = 1 if turned else source.chunk(product, by_depth=layout.read_by_depth)
        self._share()
        self.place = layout.place_of(b, self.k, self.own)
        if self.chunk > 1:  # an argument, or a row of one, may begin anywhere
            low = b.and_(b.ptrtoint(self.pointer, I64), I64(WIDEST - 1))
            self.aligned = b.icmp_unsigned("==", low, I64(0))

    def _share(self) -> None:
        """Which chunks of a piece are this thread's: the first, `k` in depth, and how much further
        the others are."""
        b, layout, one = self.builder, self.layout, self.chunk
        at = threads.thread(b)
        if not layout.read_by_depth:
            across = layout.wide // one
            self.k, self.own = b.udiv(at, I32(across)), b.mul(b.urem(at, I32(across)), I32(one))
            step = THREADS // across
            self.ks, self.owns = range(0, layout.deep, step), range(1)
            self.busy = b.icmp_unsigned("<", self.k, I32(layout.deep)) if self.idle else None
            return
        # A warp reads up to eight chunks of depth, of four lines or more: element by element, that
        # is 32 bytes each, which land in 32 different banks where lines are 4 banks apart.  Where
        # there are only four chunks, eight lanes write 64 bytes of two lines: of the first and the
        # fifth, which have no bank in common where lines are 20 banks apart.
        lanes = min(layout.deep // one, 8)
        lines, across = WARP // lanes, layout.deep // one // lanes
        warp, lane = b.udiv(at, I32(WARP)), b.urem(at, I32(WARP))
        k = b.add(b.mul(b.urem(warp, I32(across)), I32(lanes)), b.urem(lane, I32(lanes)))
        self.k = b.mul(k, I32(one))
        line = b.udiv(lane, I32(lanes))
        if lanes == 4:
            line = b.add(b.udiv(line, I32(2)), b.mul(b.urem(line, I32(2)), I32(4)))
        self.own = b.add(b.mul(b.udiv(warp, I32(across)), I32(lines)), line)
        self.ks, self.owns = range(1), range(0, layout.wide, THREADS // (lanes * across))
        self.busy = b.icmp_unsigned("<", self.own, I32(layout.wide)) if self.idle else None

    @property
    def idle(self) -> bool:
        """Whether there are fewer chunks than threads."""
        return self.layout.wide * self.layout.deep < THREADS * self.chunk

    def begin(self, batch: Sequence[ir.Value], first: ir.Value, limits: Limits) -> None:
        """A tile from the row or column `first` on, of the batch of these indices."""
        b, source = self.builder, self.source
        own = b.add(first, self.own)
        at = offset(b, source.batch, batch, source.start)
        at = b.add(at, b.mul(b.zext(own, I64), I64(source.stride)))
        self.start = b.gep(self.pointer, [at], source_etype=self.kind)
        self.inside = [
            b.icmp_unsigned("<", b.add(own, I32(n)), I32(source.count)) for n in self.owns
        ]
        self.limits = limits

    def fill(self, memory: ir.Value, first: ir.Value) -> None:
        """Begin to copy the piece from the index `first` of depth on."""
        if self.busy is None:
            self._fill(memory, first)
            return
        with self.builder.if_then(self.busy):
            self._fill(memory, first)

    def _fill(self, memory: ir.Value, first: ir.Value) -> None:
        b, depth = self.builder, self.product.depth
        copies = []
        for step in self.ks:
            k = b.add(b.add(first, self.k), I32(step))
            there = b.icmp_unsigned("<", k, I32(math.prod(depth)))
            axes = threads.unravelled(b, k, depth)
            for axis, low, high in self.limits:
                there = b.and_(there, b.icmp_signed(">=", axes[axis], low))
                there = b.and_(there, b.icmp_signed("<", axes[axis], high))
            at = offset(b, self.source.depth, axes, 0)
            line = b.gep(self.start, [at], source_etype=self.kind)
            for own, inside in zip(self.owns, self.inside, strict=True):
                place = b.add(self.place, I32(self.layout.place(step, own)))
                target = b.gep(memory, [place], source_etype=self.kind)
                further = I64(own * self.source.stride)
                source = b.gep(line, [further], source_etype=self.kind)
                copies.append((target, source, b.and_(there, inside)))
        if self.chunk == 1:
            self._copy(copies, 1)
            return
        with b.if_else(self.aligned) as (aligned, apart):
            with aligned:
                self._copy(copies, self.chunk)
            with apart:
                self._copy(copies, 1)

    def _copy(self, copies: Sequence[tuple[ir.Value, ir.Value, ir.Value]], together: int) -> None:
        b, nbytes = self.builder, together * self.size
        way = "cg" if nbytes == WIDEST else "ca"  # only whole ones can pass the first cache by
        name = f"llvm.nvvm.cp.async.{way}.shared.global.{nbytes}.s"
        function = declared(b.module, name, ir.VoidType(), [SHARED, GLOBAL, I32])
        for target, source, inside in copies:
            read = b.select(inside, I32(nbytes), I32(0))
            for n in range(0, self.chunk, together):
                to, of = (b.gep(p, [I32(n)], source_etype=self.kind) for p in (target, source))
                b.call(function, [to, of, read])


def commit(b: ir.IRBuilder) -> None:
    """The copies of this thread since the last time are a group."""
    b.call(declared(b.module, "llvm.nvvm.cp.async.commit.group", ir.VoidType(), []), [])


def wait(b: ir.IRBuilder, pending: int) -> None:
    """Until all groups of this thread have landed but for the last so many."""
    name = "llvm.nvvm.cp.async.wait.group"
    b.call(declared(b.module, name, ir.VoidType(), [I32]), [I32(pending)])


def offset(
    b: ir.IRBuilder, strides: Sequence[int], indices: Sequence[ir.Value], start: int
) -> ir.Value:
    """How many elements from the first one lies."""
    total: ir.Value = I64(start)
    for stride, index in zip(strides, indices, strict=True):
        total = b.add(total, b.mul(b.zext(index, I64), I64(stride)))
    return total
