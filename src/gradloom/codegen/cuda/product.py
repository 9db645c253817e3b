"""Matrix products of a GPU: tiles of the result, which all threads of a block sum and store."""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from gradloom.codegen.cpu.target import Target
from gradloom.codegen.cpu.vectors import FLOATS, I32, I64, POINTER, counted, private
from gradloom.codegen.cuda import pieces, thin, threads
from gradloom.codegen.cuda.epilogue import emit_epilogue
from gradloom.codegen.cuda.fill import GLOBAL, offset
from gradloom.codegen.cuda.pieces import Pieces
from gradloom.codegen.cuda.thin import Thin
from gradloom.ir.types import ITEMSIZE
from gradloom.plan.dealt import Tiled
from gradloom.plan.operands import WIDEST


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
    return (thin if tiled.tile.thin else pieces).shared_bytes(tiled)


class _Writer:
    def __init__(
        self, function: ir.Function, tiled: Tiled, finish: ir.Function | None, target: Target
    ) -> None:
        self.builder = b = ir.IRBuilder(function.append_basic_block("entry"))
        self.start, self.stop, *self.operands = function.args
        self.finish = finish
        self.product, self.tile = tiled.product, tiled.tile
        self.kind = FLOATS[self.product.dtype]
        self.c = b.addrspacecast(self.operands[2], GLOBAL)
        two = self.operands[:2]
        self.sums = Thin(b, tiled, two) if tiled.tile.thin else Pieces(b, tiled, two, target)

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
            self.sums.sum(self.batch, (self.first_row, self.first_column))
            self._write()
        b.ret_void()

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
