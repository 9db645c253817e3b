"""How threads share the sums of a tile, and add a piece's products to theirs: one by one, or a warp
together on tensor cores.

Sums of a thread are of its own rows and columns: groups of columns that lie together.  They stay
in registers, as LLVM takes what is stored and loaded in one function for a value.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from gradloom.codegen.cpu.vectors import FLOATS, I32, declared, splat
from gradloom.codegen.cuda import threads
from gradloom.codegen.cuda.fill import Layout
from gradloom.ir.types import ITEMSIZE
from gradloom.plan.operands import WIDEST, Source
from gradloom.plan.plan import Product
from gradloom.plan.tiles import SIDE, WARP, Tile

Values = list[list[list[ir.Value]]]  # of a row, of a group of columns that lie together


class Scalars:
    """16 x 16 threads, each with a sixteenth of the rows and of the columns."""

    def __init__(self, b: ir.IRBuilder, product: Product, tile: Tile) -> None:
        self.builder, self.tile, self.dtype = b, tile, product.dtype
        self.kind = FLOATS[product.dtype]
        most = WIDEST // ITEMSIZE[product.dtype]
        self.rows, self.columns = tile.rows // SIDE, tile.columns // SIDE
        self.high, self.wide = min(self.rows, most), min(self.columns, most)
        # A warp has 4 x 8 of the threads: eight that are read for together read 128 bytes of B in
        # a row, and the same 16 of A, so that no two words are of one bank.
        at = threads.thread(b)
        warp, lane = b.udiv(at, I32(WARP)), b.urem(at, I32(WARP))
        self.down = b.add(b.mul(b.udiv(warp, I32(2)), I32(4)), b.udiv(lane, I32(8)))
        self.along = b.add(b.mul(b.urem(warp, I32(2)), I32(8)), b.urem(lane, I32(8)))
        groups = range(self.columns // self.wide)
        self.group = ir.VectorType(self.kind, self.wide) if self.wide > 1 else self.kind
        self.sums = [[b.alloca(self.group) for _ in groups] for _ in range(self.rows)]

    @staticmethod
    def layout(product: Product, source: Source, tile: Tile, side: int) -> Layout:
        """Lines of one index of depth.  They are 4 banks further apart than they need be, which
        matters to an operand that is turned on its way."""
        wide = (tile.rows, tile.columns)[side]
        line = wide + WIDEST // ITEMSIZE[product.dtype]
        return Layout(wide, tile.depth, line, read_by_depth=source.stride != 1)

    def clear(self) -> None:
        """Begin sums."""
        for row in self.sums:
            for place in row:
                self.builder.store(ir.Constant(self.group, None), place)

    def add(self, layouts: Sequence[Layout], pieces: Sequence[ir.Value]) -> None:
        """Add the products of a piece of A and of B."""
        b = self.builder
        sums = [[b.load(place, typ=self.group) for place in row] for row in self.sums]
        bits = f"{f'v{self.wide}' if self.wide > 1 else ''}f{8 * ITEMSIZE[self.dtype]}"
        fma = declared(b.module, f"llvm.fma.{bits}", self.group, [self.group] * 3)
        for k in range(self.tile.depth):
            starts = [layout.place(k, 0) for layout in layouts]
            left = self._read(pieces[0], starts[0], self.down, self.rows, self.high)
            right = self._read(pieces[1], starts[1], self.along, self.columns, self.wide)
            for group, vector in enumerate(left):
                for n in range(self.high):
                    x = b.extract_element(vector, I32(n)) if self.high > 1 else vector
                    x = splat(b, x, self.wide) if self.wide > 1 else x
                    total = sums[group * self.high + n]
                    total[:] = [b.call(fma, [x, y, s]) for y, s in zip(right, total, strict=True)]
        for places, row in zip(self.sums, sums, strict=True):
            for place, value in zip(places, row, strict=True):
                b.store(value, place)

    def _read(
        self, piece: ir.Value, first: int, own: ir.Value, count: int, together: int
    ) -> list[ir.Value]:
        """This thread's numbers of one index of depth."""
        b = self.builder
        kind = ir.VectorType(self.kind, together) if together > 1 else self.kind
        found = []
        for start in self._starts(own, count, together):
            at = b.gep(piece, [b.add(start, I32(first))], source_etype=self.kind)
            found.append(b.load(at, typ=kind, align=together * ITEMSIZE[self.dtype]))
        return found

    def _starts(self, own: ir.Value, count: int, together: int) -> list[ir.Value]:
        """Where groups of rows or columns of this thread start: a whole side of threads apart."""
        b = self.builder
        first = b.mul(own, I32(together))
        return [b.add(first, I32(n * SIDE)) for n in range(0, count, together)]

    def places(self) -> tuple[list[ir.Value], list[ir.Value]]:
        """This thread's rows, and the first columns of its groups."""
        b = self.builder
        starts = self._starts(self.down, self.rows, self.high)
        rows = [b.add(start, I32(n)) for start in starts for n in range(self.high)]
        return rows, self._starts(self.along, self.columns, self.wide)

    def values(self) -> Values:
        """Its sums."""
        b = self.builder

        def parts(place: ir.Value) -> list[ir.Value]:
            vector = b.load(place, typ=self.group)
            if self.wide == 1:
                return [vector]
            return [b.extract_element(vector, I32(n)) for n in range(self.wide)]

        return [[parts(place) for place in row] for row in self.sums]
