"""Products on tensor cores: float32 rounded to TensorFloat-32 or bfloat16, summed in float32.

`mma.sync` takes 16 rows of A and 8 columns of B from the registers of a warp, of which lane 4 g + t
has rows g and g + 8, and column g.  Of 16 indices of depth it has t, t + 4, t + 8 and t + 12: which
of them count as the first is ours to say, as long as A and B agree.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from gradloom.codegen.cpu.target import Target
from gradloom.codegen.cpu.vectors import I32, declared
from gradloom.codegen.cuda import threads
from gradloom.codegen.cuda.fill import SHARED, Layout
from gradloom.codegen.cuda.multiply import Values
from gradloom.codegen.cuda.target import capability
from gradloom.plan.operands import Source
from gradloom.plan.plan import Product
from gradloom.plan.tiles import THREADS, WARP, Tile

F32 = ir.FloatType()
ROWS, COLUMNS, SLAB = 16, 8, 16
SHAPES = {"tensorfloat32": "m16n8k8.row.col.tf32", "bfloat16": "m16n8k16.row.col.bf16"}
Words = list[ir.Value]


class Tensors:
    """Eight warps, each with the products of a range of rows and a range of columns."""

    def __init__(self, b: ir.IRBuilder, tile: Tile, precision: str, target: Target) -> None:
        self.builder, self.tile, self.precision = b, tile, precision
        # One instruction from Hopper on; before it there is none, and ties go away from zero.
        self.nearest = "rn" if capability(target) >= 90 else "rna"
        down = 4 if tile.rows > tile.columns else 2
        along = THREADS // WARP // down
        self.rows, self.columns = tile.rows // down // ROWS, tile.columns // along // COLUMNS
        at = threads.thread(b)
        warp, self.lane = b.udiv(at, I32(WARP)), b.urem(at, I32(WARP))
        self.first_row = b.mul(b.udiv(warp, I32(along)), I32(self.rows * ROWS))
        self.first_column = b.mul(b.urem(warp, I32(along)), I32(self.columns * COLUMNS))
        self.group, self.member = b.udiv(self.lane, I32(4)), b.urem(self.lane, I32(4))
        self.sums = [
            [[b.alloca(F32) for _ in range(4)] for _ in range(self.columns)]
            for _ in range(self.rows)
        ]

    @staticmethod
    def layout(product: Product, source: Source, tile: Tile, side: int) -> Layout:
        """Lines as long as lets a warp read, and write, without two words of one bank.

        By depth it reads 16 bytes of eight lines at a time, which have no bank in common if lines
        are 4 banks, or an odd multiple of that, apart; else 32 bytes of four lines: 8 banks.
        """
        chunks = [source.chunk(product, by_depth=by_depth) for by_depth in (False, True)]
        by_depth = source.stride != 1 if chunks[0] == chunks[1] else chunks[1] > chunks[0]
        wide = (tile.rows, tile.columns)[side]
        line = tile.depth + 4 if by_depth else wide + (8 - wide) % 32
        return Layout(wide, tile.depth, line, read_by_depth=by_depth, lies_by_depth=by_depth)

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
            left = [self._rows_of(pieces[0], layouts[0], n, slab) for n in range(self.rows)]
            right = [self._column_of(pieces[1], layouts[1], n, slab) for n in range(self.columns)]
            for steps, row in zip(left, sums, strict=True):
                for step, words in enumerate(steps):
                    for column, four in zip(right, row, strict=True):
                        four[:] = self._multiply(words, column[2 * step : 2 * step + 2], four)
        done = [value for row in sums for four in row for value in four]
        for place, value in zip(self._each(), done, strict=True):
            b.store(value, place)

    def _multiply(self, a: Words, other: Words, four: Words) -> Words:
        b = self.builder
        name = f"llvm.nvvm.mma.{SHAPES[self.precision]}"
        result = ir.LiteralStructType([F32] * 4)
        function = declared(b.module, name, result, [I32] * 6 + [F32] * 4)
        found = b.call(function, [*a, *other, *four])
        return [b.extract_value(found, n) for n in range(4)]

    # ---- from shared memory

    def _rows_of(self, piece: ir.Value, layout: Layout, number: int, slab: int) -> list[Words]:
        """The words of 16 rows for each `mma` of 16 indices of depth."""
        b = self.builder
        own, steps = number * ROWS, range(0, SLAB, 8)
        if layout.lies_by_depth:
            # Four matrices of 8 rows and 4 indices: two of rows, and then two of depth.
            matrix, line = b.udiv(self.lane, I32(8)), b.urem(self.lane, I32(8))
            row = b.add(line, b.mul(b.urem(matrix, I32(2)), I32(8)))
            k = b.mul(b.udiv(matrix, I32(2)), I32(4))
            first = layout.place_of(b, k, b.add(self.first_row, row))
            found = [self._four(piece, first, layout.place(slab + k, own)) for k in steps]
        else:
            first = layout.place_of(b, self.member, b.add(self.first_row, self.group))
            places = [[(k + n, own + m) for n in (0, 4) for m in (0, 8)] for k in steps]
            found = [
                [self._one(piece, first, layout.place(slab + k, row)) for k, row in four]
                for four in places
            ]
        if self.precision == "tensorfloat32":
            return [[self._rounded(x) for x in words] for words in found]
        pairs = [self._packed(words[m], words[2 + m]) for words in found for m in (0, 1)]
        return [pairs]

    def _column_of(self, piece: ir.Value, layout: Layout, number: int, slab: int) -> Words:
        """The words of 8 columns and 16 indices of depth."""
        b = self.builder
        own = number * COLUMNS
        if layout.lies_by_depth:
            matrix, line = b.udiv(self.lane, I32(8)), b.urem(self.lane, I32(8))
            column = b.add(self.first_column, line)
            first = layout.place_of(b, b.mul(matrix, I32(4)), column)
            found = self._four(piece, first, layout.place(slab, own))
        else:
            first = layout.place_of(b, self.member, b.add(self.first_column, self.group))
            places = [layout.place(slab + k, own) for k in range(0, SLAB, 4)]
            found = [self._one(piece, first, place) for place in places]
        if self.precision == "tensorfloat32":
            return [self._rounded(x) for x in found]
        return [self._packed(found[n], found[n + 1]) for n in (0, 2)]

    def _four(self, piece: ir.Value, first: ir.Value, further: int) -> Words:
        """Of four matrices, whose eight lines of 16 bytes start where eight lanes each say, what
        lies at line g, word t."""
        b = self.builder
        name = "llvm.nvvm.ldmatrix.sync.aligned.m8n8.x4.b16.p3"
        function = declared(b.module, name, ir.LiteralStructType([I32] * 4), [SHARED])
        at = b.gep(piece, [b.add(first, I32(further))], source_etype=F32)
        found = b.call(function, [at])
        return [b.bitcast(b.extract_value(found, n), F32) for n in range(4)]

    def _one(self, piece: ir.Value, first: ir.Value, further: int) -> ir.Value:
        b = self.builder
        at = b.gep(piece, [b.add(first, I32(further))], source_etype=F32)
        return b.load(at, typ=F32)

    def _rounded(self, x: ir.Value) -> ir.Value:
        name = f"llvm.nvvm.f2tf32.{self.nearest}"
        return self.builder.call(declared(self.builder.module, name, I32, [F32]), [x])

    def _packed(self, low: ir.Value, high: ir.Value) -> ir.Value:
        """Two numbers as a word; llvmlite has no type for what LLVM's intrinsic gives."""
        kind = ir.FunctionType(I32, [F32, F32])
        pack = ir.InlineAsm(kind, "cvt.rn.bf16x2.f32 $0, $1, $2;", "=r,f,f")
        return self.builder.call(pack, [high, low])

    # ---- the sums

    def places(self) -> tuple[Words, Words]:
        """This thread's rows, and the first columns of its groups of two."""
        b = self.builder
        row = b.add(self.first_row, self.group)
        column = b.add(self.first_column, b.mul(self.member, I32(2)))
        rows = [b.add(row, I32(8 * n)) for n in range(2 * self.rows)]
        return rows, [b.add(column, I32(COLUMNS * n)) for n in range(self.columns)]

    def values(self) -> Values:
        """Its sums."""
        b = self.builder
        return [
            [[b.load(place, typ=F32) for place in four[half : half + 2]] for four in row]
            for row in self.sums
            for half in (0, 2)
        ]
