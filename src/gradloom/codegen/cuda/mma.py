"""Products on tensor cores: float32 rounded to TensorFloat-32 or bfloat16, summed in float32.

`mma.sync` takes 16 rows of A, 8 columns of B and so many indices of depth from the registers of a
warp.  Which row, column or index is the first and which the second is ours to say, as long as A, B
and C agree.  So lane 4 g + t has rows and columns that lie together, four of each if there are, the
g-th such group, and the indices 4 t to 4 t + 3 of every 16: all it reads and writes is 16 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from gradloom.codegen.cpu.vectors import I32, declared
from gradloom.codegen.cuda import threads
from gradloom.codegen.cuda.fill import Layout, Source
from gradloom.codegen.cuda.multiply import Values
from gradloom.plan.plan import Product
from gradloom.plan.tiles import THREADS, WARP, Tile

F32 = ir.FloatType()
FOUR = ir.LiteralStructType([F32] * 4)
SLAB = 16  # indices of depth that a lane reads four of


class Tensors:
    """Eight warps, each with the products of a range of rows and a range of columns."""

    def __init__(self, b: ir.IRBuilder, product: Product, tile: Tile, precision: str) -> None:
        self.builder, self.tile, self.precision = b, tile, precision
        down, along = _warps(tile)
        self.high, self.wide = tile.rows // down, tile.columns // along  # of a warp
        self.rows, self.columns = self.high // 8, self.wide // 8  # of a lane
        at = threads.thread(b)
        warp, lane = b.udiv(at, I32(WARP)), b.urem(at, I32(WARP))
        self.group, self.member = b.udiv(lane, I32(4)), b.urem(lane, I32(4))
        self.first_row = b.mul(b.udiv(warp, I32(along)), I32(self.high))
        self.first_column = b.mul(b.urem(warp, I32(along)), I32(self.wide))
        each = range(self.rows // 2), range(self.columns)
        self.sums = [[[b.alloca(F32) for _ in range(4)] for _ in each[1]] for _ in each[0]]

    @staticmethod
    def layout(product: Product, source: Source, tile: Tile, side: int) -> Layout:
        """Lines as long as lets a warp read without two words of one bank: eight lanes at a time
        read 16 bytes each, of two groups g and four t.

        By depth these are two lines, `together` lines apart, and 64 bytes of each: the lines must
        begin 16 banks apart.  By rows or columns they are four lines, of one quarter, and 32 bytes
        of each: neighbouring lines begin 8 banks apart.
        """
        chunks = [source.chunk(product, by_depth) for by_depth in (False, True)]
        by_depth = source.stride != 1 if chunks[0] == chunks[1] else chunks[1] > chunks[0]
        wide = (tile.rows, tile.columns)[side]
        if not by_depth:
            line = wide + (8 - wide) % 32
            return Layout(wide, tile.depth, line, read_by_depth=False, quarters=True)
        together = min(4, wide // _warps(tile)[side] // 8)
        line = tile.depth + (16 - tile.depth * together) % 32 // together
        return Layout(wide, tile.depth, line, read_by_depth=True, lies_by_depth=True)

    def clear(self) -> None:
        """Begin sums."""
        for place in self._each():
            self.builder.store(F32(0.0), place)

    def _each(self) -> list[ir.Value]:
        return [place for row in self.sums for column in row for place in column]

    def add(self, layouts: Sequence[Layout], pieces: Sequence[ir.Value]) -> None:
        """Add the products of a piece of A and of B."""
        b = self.builder
        sums = [[[b.load(p, typ=F32) for p in four] for four in row] for row in self.sums]
        for slab in range(0, self.tile.depth, SLAB):
            left = self._read(pieces[0], layouts[0], slab, self.first_row, self.rows)
            right = self._read(pieces[1], layouts[1], slab, self.first_column, self.columns)
            for step in range(len(left[0]) // 2):
                pair = slice(2 * step, 2 * step + 2)
                for row, fours in enumerate(sums):
                    upper, lower = left[2 * row][pair], left[2 * row + 1][pair]
                    a = [word for both in zip(upper, lower, strict=True) for word in both]
                    for column, four in enumerate(fours):
                        four[:] = self._multiply(a, right[column][pair], four)
        done = [value for row in sums for four in row for value in four]
        for place, value in zip(self._each(), done, strict=True):
            b.store(value, place)

    def _multiply(
        self, a: list[ir.Value], other: list[ir.Value], four: list[ir.Value]
    ) -> list[ir.Value]:
        b = self.builder
        shape = {"tensorfloat32": "m16n8k8.row.col.tf32", "bfloat16": "m16n8k16.row.col.bf16"}
        name = f"llvm.nvvm.mma.{shape[self.precision]}"
        function = declared(b.module, name, FOUR, [I32] * 6 + [F32] * 4)
        found = b.call(function, [*a, *other, *four])
        return [b.extract_value(found, n) for n in range(4)]

    def _read(
        self, piece: ir.Value, layout: Layout, slab: int, first: ir.Value, count: int
    ) -> list[list[ir.Value]]:
        """For each row or column of this lane, its words for `mma` of 16 indices of depth."""
        b, found = self.builder, []
        for start in self._starts(first, self.group, count):
            together = min(count, 4)
            if layout.lies_by_depth:
                own = [b.add(start, I32(n)) for n in range(together)]
                k = b.add(b.mul(self.member, I32(4)), I32(slab))
                at = [layout.place_of(b, k, n) for n in own]
                found += [self._vector(piece, place, 4) for place in at]
            else:
                k = b.mul(self.member, I32(4))
                first_place = layout.place_of(b, k, start)
                at = [b.add(first_place, I32(layout.place(slab + n, 0))) for n in range(4)]
                lines = [self._vector(piece, place, together) for place in at]
                found += [list(own) for own in zip(*lines, strict=True)]
        return [self._rounded(numbers) for numbers in found]

    def _vector(self, piece: ir.Value, place: ir.Value, count: int) -> list[ir.Value]:
        b = self.builder
        at = b.gep(piece, [place], source_etype=F32)
        if count == 1:
            return [b.load(at, typ=F32)]
        vector = b.load(at, typ=ir.VectorType(F32, count), align=4 * count)
        return [b.extract_element(vector, I32(n)) for n in range(count)]

    def _rounded(self, numbers: list[ir.Value]) -> list[ir.Value]:
        """Four numbers as words: one each, or two in one."""
        b = self.builder
        if self.precision == "tensorfloat32":
            function = declared(b.module, "llvm.nvvm.f2tf32.rna", I32, [F32])
            return [b.call(function, [x]) for x in numbers]
        kind = ir.FunctionType(I32, [F32, F32])
        text = "cvt.rn.bf16x2.f32 $0, $1, $2;"  # llvmlite has no type for what the intrinsic gives
        pack = ir.InlineAsm(kind, text, "=r,f,f")
        return [b.call(pack, [y, x]) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]

    def _starts(self, first: ir.Value, number: ir.Value, count: int) -> list[ir.Value]:
        """Where the groups of a lane's rows or columns start: eight such groups apart."""
        b, together = self.builder, min(count, 4)
        start = b.add(first, b.mul(number, I32(together)))
        return [b.add(start, I32(8 * n)) for n in range(0, count, together)]

    def places(self) -> tuple[list[ir.Value], list[ir.Value]]:
        """This thread's rows, and the first columns of its groups: of C a lane has the columns that
        lanes 2 t and 2 t + 1 have of B."""
        b = self.builder
        starts = self._starts(self.first_row, self.group, self.rows)
        rows = [b.add(start, I32(n)) for start in starts for n in range(min(self.rows, 4))]
        even = b.mul(self.member, I32(2))
        both = [even, b.add(even, I32(1))]
        starts = [self._starts(self.first_column, n, self.columns) for n in both]
        return rows, [start for pair in zip(*starts, strict=True) for start in pair]

    def values(self) -> Values:
        """Its sums."""
        b, together = self.builder, min(self.columns, 4)
        found: Values = []
        for fours in self.sums:
            for half in (0, 2):
                row = [[b.load(four[half + n], typ=F32) for four in fours] for n in (0, 1)]
                starts = range(0, self.columns, together)
                found.append([part[n : n + together] for n in starts for part in row])
        return found


def _warps(tile: Tile) -> tuple[int, int]:
    """How many warps share the rows of a tile, and how many its columns."""
    down = 4 if tile.rows > tile.columns else 2
    return down, THREADS // WARP // down
