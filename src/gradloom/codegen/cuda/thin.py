"""Products with few rows, or few columns: each element of the long operand is read once, from where
it lies, and multiplied with those of the other that it meets.

A thread reads 16 bytes at a time, of several places before it needs the first.  What it has summed
is added to what the others have, always in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from gradloom.codegen.cpu.vectors import FLOATS, I32, I64, counted, declared
from gradloom.codegen.cuda import threads
from gradloom.codegen.cuda.fill import GLOBAL, offset
from gradloom.codegen.lanes import LlvmLane
from gradloom.ir.types import ITEMSIZE
from gradloom.plan.dealt import Tiled
from gradloom.plan.operands import WIDEST, sources
from gradloom.plan.tiles import LINES, THREADS, WARP

AHEAD = 4  # of 16 bytes, that a thread asks for before it multiplies
Vectors = list[list[ir.Value]]


class Thin:
    """The sums of a tile.

    Where neighbours of the long operand are neighbours in depth, a warp has one of its lines.  Else
    lanes of eight have 32 or 16 lines, and all such lanes of the block share the depth.
    """

    def __init__(self, b: ir.IRBuilder, tiled: Tiled, pointers: Sequence[ir.Value]) -> None:
        self.builder, self.product, self.tile = b, tiled.product, tiled.tile
        self.kind, self.size = FLOATS[self.product.dtype], ITEMSIZE[self.product.dtype]
        self.wide = WIDEST // self.size
        both = sources(self.product)
        self.side = int(self.product.columns > self.product.rows)  # which of A and B is long
        self.long, self.short = both[self.side], both[1 - self.side]
        globals_ = [b.addrspacecast(p, GLOBAL) for p in pointers]
        self.pointers = globals_[self.side], globals_[1 - self.side]
        low = b.and_(b.or_(*(b.ptrtoint(p, I64) for p in self.pointers)), I64(WIDEST - 1))
        self.aligned = b.icmp_unsigned("==", low, I64(0))
        at = threads.thread(b)
        self.thread = at
        self.by_depth = self.long.chunk(self.product, by_depth=True) > 1
        if self.by_depth:
            self.lines, self.own, part = 1, b.udiv(at, I32(WARP)), b.urem(at, I32(WARP))
            self.step = WARP * self.wide
        else:
            self.lines, self.own = self.wide, b.mul(b.urem(at, I32(LINES)), I32(self.wide))
            part = b.udiv(at, I32(LINES))
            self.step = THREADS // LINES * self.wide
        self.first_k = b.mul(part, I32(self.wide))
        self.few = range(self.short.count)
        self.sums = [[b.alloca(self.kind) for _ in range(self.lines)] for _ in self.few]

    def sum(self, batch: Sequence[ir.Value], firsts: Sequence[ir.Value]) -> None:
        """Add up what there is for a tile."""
        b = self.builder
        for row in self.sums:
            for place in row:
                b.store(self.kind(0.0), place)
        line = b.add(firsts[self.side], self.own)
        self.starts = [
            b.gep(pointer, [offset(b, source.batch, batch, source.start)], source_etype=self.kind)
            for pointer, source in zip(self.pointers, (self.long, self.short), strict=True)
        ]
        own = self._times(line, self.long.stride)
        self.starts[0] = b.gep(self.starts[0], [own], source_etype=self.kind)
        (depth,) = self.product.depth
        ahead = max(1, AHEAD // self.lines)
        whole = depth // (self.step * ahead) * self.step * ahead
        with (
            b.if_then(b.icmp_unsigned("<", line, I32(self.long.count))),
            b.if_else(self.aligned) as (aligned, apart),
        ):
            with aligned:
                self._along(I32(whole), self.first_k, ahead, aligned=True)
                rest = b.add(self.first_k, I32(whole))
                self._along(I32(depth), rest, 1, aligned=True)
            with apart:
                self._along(I32(depth), self.first_k, 1, aligned=False)
        self._fold()

    def _along(self, stop: ir.Value, first: ir.Value, ahead: int, *, aligned: bool) -> None:
        b = self.builder
        with counted(b, first, stop, self.step * ahead) as k:
            ks = [b.add(k, I32(n * self.step)) for n in range(ahead)]
            long = [self._long(at, aligned=aligned) for at in ks]
            short = [[self._short(n, at, aligned=aligned) for n in self.few] for at in ks]
            fma = declared(b.module, f"llvm.fma.f{8 * self.size}", self.kind, [self.kind] * 3)
            for lines, others in zip(long, short, strict=True):
                for row, ys in zip(self.sums, others, strict=True):
                    for place, xs in zip(row, lines, strict=True):
                        total = b.load(place, typ=self.kind)
                        for x, y in zip(xs, ys, strict=True):
                            total = b.call(fma, [x, y, total])
                        b.store(total, place)

    def _long(self, k: ir.Value, *, aligned: bool) -> Vectors:
        """This thread's numbers of each of its lines, at some indices of depth in a row."""
        (stride,) = self.long.depth
        if self.by_depth:
            return [self._vector(self.starts[0], self._times(k, 1), aligned=aligned)]
        b = self.builder
        rows = [
            self._vector(self.starts[0], self._times(b.add(k, I32(n)), stride), aligned=aligned)
            for n in range(self.wide)
        ]
        return [list(line) for line in zip(*rows, strict=True)]

    def _short(self, number: int, k: ir.Value, *, aligned: bool) -> list[ir.Value]:
        """The numbers of a line of the short operand, at the same indices."""
        b, (stride,) = self.builder, self.short.depth
        start = b.gep(self.starts[1], [I64(number * self.short.stride)], source_etype=self.kind)
        if self.short.chunk(self.product, by_depth=True) > 1:
            return self._vector(start, self._times(k, 1), aligned=aligned)
        places = [self._times(b.add(k, I32(n)), stride) for n in range(self.wide)]
        found = [b.gep(start, [place], source_etype=self.kind) for place in places]
        return [b.load(at, typ=self.kind) for at in found]

    def _vector(self, start: ir.Value, at: ir.Value, *, aligned: bool) -> list[ir.Value]:
        b = self.builder
        pointer = b.gep(start, [at], source_etype=self.kind)
        each = range(self.wide)
        if not aligned:
            places = [b.gep(pointer, [I32(n)], source_etype=self.kind) for n in each]
            return [b.load(place, typ=self.kind) for place in places]
        vector = b.load(pointer, typ=ir.VectorType(self.kind, self.wide), align=WIDEST)
        return [b.extract_element(vector, I32(n)) for n in each]

    def _times(self, index: ir.Value, stride: int) -> ir.Value:
        b = self.builder
        return b.mul(b.zext(index, I64), I64(stride))

    # ---- what all threads have

    def _fold(self) -> None:
        """The sum of each element of the tile, in the thread that is to store it."""
        b = self.builder
        sums = [[b.load(place, typ=self.kind) for place in row] for row in self.sums]
        distances = (16, 8, 4, 2, 1) if self.by_depth else (16, 8)
        for row in sums:
            for distance in distances:
                row[:] = [self._added(value, distance) for value in row]
        if self.by_depth:  # lane n of a warp has its line of the short operand
            lane = b.urem(self.thread, I32(WARP))
            self.place = lane, self.own
            self.value = sums[0][0]
            for n, (value,) in enumerate(sums):
                self.value = b.select(b.icmp_unsigned("==", lane, I32(n)), value, self.value)
            return
        memory = threads.shared(b.module)
        wide = LINES * self.wide
        warp, lane = b.udiv(self.thread, I32(WARP)), b.urem(self.thread, I32(WARP))
        threads.meet(b)  # whoever still reads what was there
        with b.if_then(b.icmp_unsigned("<", lane, I32(LINES))):
            for n, row in enumerate(sums):
                first = b.mul(b.add(b.mul(warp, I32(len(sums))), I32(n)), I32(wide))
                first = b.add(first, self.own)
                for m, value in enumerate(row):
                    at = b.gep(memory, [b.add(first, I32(m))], source_etype=self.kind)
                    b.store(value, at)
        threads.meet(b)
        self.place = b.udiv(self.thread, I32(wide)), b.urem(self.thread, I32(wide))
        before = b.block
        with b.if_then(b.icmp_unsigned("<", self.thread, I32(len(sums) * wide))):
            total = self.kind(0.0)
            for n in range(THREADS // WARP):
                at = b.add(self.thread, I32(n * len(sums) * wide))
                found = b.gep(memory, [at], source_etype=self.kind)
                total = b.fadd(total, b.load(found, typ=self.kind))
            inside = b.block
        self.value = b.phi(self.kind)
        self.value.add_incoming(self.kind(0.0), before)
        self.value.add_incoming(total, inside)

    def _added(self, value: ir.Value, distance: int) -> ir.Value:
        b = self.builder
        other = threads.exchange(LlvmLane(b, value, self.product.dtype), distance)
        return b.fadd(value, other.value)

    def places(self) -> tuple[list[ir.Value], list[ir.Value]]:
        """This thread's row, and its column."""
        short, long = self.place
        return ([short], [long]) if self.side else ([long], [short])

    def values(self) -> list[list[list[ir.Value]]]:
        """Its sum."""
        return [[[self.value]]]


def shared_bytes(tiled: Tiled) -> int:
    """The shared memory that it needs, at the most."""
    return THREADS // WARP * tiled.tile.rows * tiled.tile.columns * ITEMSIZE[tiled.product.dtype]
