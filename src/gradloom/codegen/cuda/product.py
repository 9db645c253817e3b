"""Matrix products of a GPU: tiles of the result, multiplied from shared memory.

Pieces of A and B, `tile.depth` deep, are copied to shared memory by all of a block while it
multiplies those that have come; each thread adds up the products of its own rows and columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from llvmlite import ir

from gradloom.codegen.cpu.target import Target
from gradloom.codegen.cpu.vectors import FLOATS, I32, I64, POINTER, counted, private
from gradloom.codegen.cuda import threads
from gradloom.codegen.cuda.epilogue import emit_epilogue
from gradloom.codegen.cuda.fill import (
    GLOBAL,
    WIDEST,
    Filler,
    Layout,
    Limits,
    commit,
    offset,
    sources,
    wait,
)
from gradloom.codegen.cuda.mma import Tensors
from gradloom.codegen.cuda.multiply import Scalars
from gradloom.ir.affine import Affine
from gradloom.ir.types import ITEMSIZE
from gradloom.plan.dealt import Tiled

STAGES = 4  # pieces in shared memory, of which one is multiplied, and the others are on their way
# Bytes that these may take: of 128 x 128 sums three pieces, for two blocks on a multiprocessor.
PIECES_BYTES = 64 << 10


def emit_product(module: ir.Module, name: str, tiled: Tiled, target: Target) -> ir.Function:
    """`void name(i64 start, i64 stop, ptr a, ptr b, ptr c, ...)`: tiles [start, stop) of C, or of
    what an epilogue makes of it, whose operands come last."""
    finish, pointers = None, [POINTER] * 3
    if tiled.epilogue is not None:
        finish = emit_epilogue(module, f"{name}_element", tiled.product, tiled.epilogue, target)
        pointers = [a.type for a in finish.args if a.type == POINTER]
    function = private(module, name, [I64, I64, *pointers])
    _Writer(function, tiled, finish, target).write()
    return function


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


class _Writer:
    def __init__(
        self, function: ir.Function, tiled: Tiled, finish: ir.Function | None, target: Target
    ) -> None:
        self.builder = b = ir.IRBuilder(function.append_basic_block("entry"))
        self.start, self.stop, *self.operands = function.args
        self.finish = finish
        self.tiled, self.product, self.tile = tiled, tiled.product, tiled.tile
        self.kind = FLOATS[self.product.dtype]
        self.c = b.addrspacecast(self.operands[2], GLOBAL)
        self.stages, self.pieces = _stages(tiled), pieces(tiled)
        self.layouts = _layouts(tiled)
        self.shared = threads.shared(function.module)
        self.filled = b.alloca(I32)  # where the piece lies that is copied
        self.fillers = [
            Filler(b, self.product, source, layout, pointer)
            for source, layout, pointer in zip(
                sources(self.product), self.layouts, self.operands, strict=False
            )
        ]
        self.sums = (
            Tensors(b, self.tile, tiled.precision, target)
            if tiled.precision
            else Scalars(b, self.product, self.tile)
        )

    def write(self) -> None:
        b, product, tile = self.builder, self.product, self.tile
        columns = -(-product.columns // tile.columns)
        rows = -(-product.rows // tile.rows)
        start, stop = (b.trunc(end, I32) for end in (self.start, self.stop))
        with counted(b, start, stop, 1) as number:
            self.first_column = b.mul(b.urem(number, I32(columns)), I32(tile.columns))
            number = b.udiv(number, I32(columns))
            self.first_row = b.mul(b.urem(number, I32(rows)), I32(tile.rows))
            self.batch = threads.unravelled(b, b.udiv(number, I32(rows)), product.batch)
            limits = self._limits()
            firsts = self.first_row, self.first_column
            for filler, first in zip(self.fillers, firsts, strict=True):
                filler.begin(self.batch, first, limits)
            self.sums.clear()
            self._pipeline()
            self._write()
        b.ret_void()

    # ---- the pieces

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

    # ---- the result, and what there is to sum

    def _write(self) -> None:
        b, product = self.builder, self.product
        rows, columns = self.sums.places()
        rows = [b.add(self.first_row, n) for n in rows]
        columns = [b.add(self.first_column, n) for n in columns]
        low = b.and_(b.ptrtoint(self.c, I64), I64(WIDEST - 1))
        self.aligned = b.icmp_unsigned("==", low, I64(0))
        for row, groups in zip(rows, self.sums.values(), strict=True):
            here = b.icmp_unsigned("<", row, I32(product.rows))
            for column, values in zip(columns, groups, strict=True):
                self._store(row, column, values, here)

    def _store(
        self, row: ir.Value, column: ir.Value, values: Sequence[ir.Value], here: ir.Value
    ) -> None:
        """Results of one row, `here` if there is such a row, and of columns that lie together."""
        b, product = self.builder, self.product
        count, steps = len(values), (*product.c_strides[:-1], product.columns)
        if count > 1 and self.finish is None and all(step % count == 0 for step in steps):
            inside = b.icmp_unsigned("<", column, I32(product.columns))
            with b.if_then(b.and_(here, inside)), b.if_else(self.aligned) as (aligned, apart):
                with aligned:
                    self._put(row, column, self._vector(values))
                with apart:
                    for n, value in enumerate(values):
                        self._put(row, b.add(column, I32(n)), value)
            return
        for n, value in enumerate(values):
            at = b.add(column, I32(n))
            inside = b.icmp_unsigned("<", at, I32(product.columns))
            with b.if_then(b.and_(here, inside)):
                self._put(row, at, value)

    def _put(self, row: ir.Value, column: ir.Value, value: ir.Value) -> None:
        """Store an element of the result, or what becomes of it; or a vector of elements."""
        b, product = self.builder, self.product
        place = [*self.batch, row, column]
        if self.finish is not None:
            b.call(self.finish, [*place, value, *self.operands])
            return
        pointer = b.gep(self.c, [offset(b, product.c_strides, place, 0)], source_etype=self.kind)
        together = 1 if value.type == self.kind else value.type.count
        b.store(value, pointer, align=together * ITEMSIZE[product.dtype])

    def _vector(self, values: Sequence[ir.Value]) -> ir.Value:
        vector = ir.Constant(ir.VectorType(self.kind, len(values)), ir.Undefined)
        for n, value in enumerate(values):
            vector = self.builder.insert_element(vector, value, I32(n))
        return vector

    def _limits(self) -> Limits:
        """For limited axes of depth: the first index, and the one after the last."""
        b, found = self.builder, []
        for limit in self.product.limits:
            ends = []
            for at in (limit.low, limit.high):
                end = self._batch_number(at)
                if limit.step != 1:  # rounded up, of what may be negative
                    end = b.add(end, I64(limit.step - 1))
                    rest = b.srem(end, I64(limit.step))
                    low = b.icmp_signed("<", rest, I64(0))
                    quotient = b.sdiv(end, I64(limit.step))
                    end = b.sub(quotient, b.zext(low, I64))
                ends.append(b.trunc(end, I32))
            found.append((limit.axis, *ends))
        return found

    def _batch_number(self, at: Affine) -> ir.Value:
        b = self.builder
        total: ir.Value = I64(at.const)
        for axis, factor in at.terms:
            total = b.add(total, b.mul(b.zext(self.batch[axis], I64), I64(factor)))
        return total
