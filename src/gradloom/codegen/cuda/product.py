"""Matrix products of a GPU: tiles of the result, multiplied from shared memory.

Pieces of A and B, `tile.depth` deep, are copied to shared memory by all of a block; each thread
then adds up the products of its own rows and columns.  What lies beyond the operands is zero, and
is not read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from llvmlite import ir

from gradloom.codegen.cpu.target import Target
from gradloom.codegen.cpu.vectors import FLOATS, I32, I64, POINTER, counted, declared, private
from gradloom.codegen.cuda import threads
from gradloom.codegen.cuda.epilogue import emit_epilogue
from gradloom.ir.affine import Affine
from gradloom.ir.types import ITEMSIZE
from gradloom.plan.dealt import Tiled
from gradloom.plan.tiles import SIDE, THREADS


def emit_product(module: ir.Module, name: str, tiled: Tiled, target: Target) -> ir.Function:
    """`void name(i64 start, i64 stop, ptr a, ptr b, ptr c, ...)`: tiles [start, stop) of C, or of
    what an epilogue makes of it, whose operands come last."""
    finish, pointers = None, [POINTER] * 3
    if tiled.epilogue is not None:
        finish = emit_epilogue(module, f"{name}_element", tiled.product, tiled.epilogue, target)
        pointers = [a.type for a in finish.args if a.type == POINTER]
    function = private(module, name, [I64, I64, *pointers])
    _Writer(function, tiled, finish).write()
    return function


class _Writer:
    def __init__(self, function: ir.Function, tiled: Tiled, finish: ir.Function | None) -> None:
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        self.start, self.stop, *self.operands = function.args
        self.a, self.b, self.c, *_ = self.operands
        self.finish = finish
        self.product, self.tile = tiled.product, tiled.tile
        self.kind = FLOATS[self.product.dtype]
        self.rows = self.tile.rows // SIDE  # of a thread
        self.columns = self.tile.columns // SIDE
        # Pieces of A lie by columns, so that a thread reads its rows of one depth together.
        self.shared_a = threads.shared(function.module)
        offset = self.tile.rows * self.tile.depth
        self.shared_b = self.builder.gep(self.shared_a, [I32(offset)], source_etype=self.kind)

    def write(self) -> None:
        b = self.builder
        product, tile = self.product, self.tile
        self.thread = threads.thread(b)
        self.down = b.udiv(self.thread, I32(SIDE))
        self.along = b.urem(self.thread, I32(SIDE))
        sums = [[b.alloca(self.kind) for _ in range(self.columns)] for _ in range(self.rows)]
        columns = -(-product.columns // tile.columns)
        rows = -(-product.rows // tile.rows)
        with counted(b, self.start, self.stop, 1) as number:
            number = b.trunc(number, I32)
            self.first_column = b.mul(b.urem(number, I32(columns)), I32(tile.columns))
            number = b.udiv(number, I32(columns))
            self.first_row = b.mul(b.urem(number, I32(rows)), I32(tile.rows))
            self.batch = threads.unravelled(b, b.udiv(number, I32(rows)), product.batch)
            self.limits = self._limits()
            for row in sums:
                for place in row:
                    b.store(self.kind(0.0), place)
            depth = math.prod(product.depth)
            with counted(b, I64(0), I64(depth), tile.depth) as k:
                self._multiply(b.trunc(k, I32), depth, sums)
            self._write(sums)
        b.ret_void()

    # ---- one piece of the depth

    def _multiply(self, first: ir.Value, depth: int, sums: list[list[ir.Value]]) -> None:
        b, tile, product = self.builder, self.tile, self.product
        batch = len(product.batch)
        threads.meet(b)  # whoever still multiplies the piece before
        a_along = product.a_strides[batch + len(product.depth)] == 1
        self._fill(self.shared_a, tile.rows, self.first_row, product.rows, first, depth, a_along, 0)
        b_along = product.b_strides[-1] != 1
        self._fill(
            self.shared_b,
            tile.columns,
            self.first_column,
            product.columns,
            first,
            depth,
            b_along,
            1,
        )
        threads.meet(b)
        # The sums stay in registers, as LLVM takes what is stored and loaded at once for a value.
        for k in range(tile.depth):
            left = self._row_of(self.shared_a, tile.rows, k, self.down, self.rows)
            right = self._row_of(self.shared_b, tile.columns, k, self.along, self.columns)
            for row, x in zip(sums, left, strict=True):
                for place, y in zip(row, right, strict=True):
                    total = b.load(place, typ=self.kind)
                    b.store(self._fma(x, y, total), place)

    def _fill(
        self,
        target: ir.Value,
        wide: int,
        first: ir.Value,
        size: int,
        depth_first: ir.Value,
        depth: int,
        by_depth: bool,
        operand: int,
    ) -> None:
        """Copy a piece of an operand: neighbouring threads read what lies together in memory."""
        b, deep = self.builder, self.tile.depth
        for turn in range(-(-wide * deep // THREADS)):
            number = b.add(self.thread, I32(turn * THREADS))
            if by_depth:
                at, k = b.udiv(number, I32(deep)), b.urem(number, I32(deep))
            else:
                at, k = b.urem(number, I32(wide)), b.udiv(number, I32(wide))
            index, kk = b.add(first, at), b.add(depth_first, k)
            inside = b.and_(
                b.icmp_unsigned("<", index, I32(size)), b.icmp_unsigned("<", kk, I32(depth))
            )
            axes = threads.unravelled(b, kk, self.product.depth)
            for axis, low, high in self.limits:
                here = b.zext(axes[axis], I64)
                inside = b.and_(inside, b.icmp_signed(">=", here, low))
                inside = b.and_(inside, b.icmp_signed("<", here, high))
            value = self._element(operand, index, axes, inside)
            place = b.add(b.mul(k, I32(wide)), at)

            def put(place: ir.Value = place, value: ir.Value = value) -> None:
                b.store(value, b.gep(target, [place], source_etype=self.kind))

            if wide * deep % THREADS:
                with b.if_then(b.icmp_unsigned("<", number, I32(wide * deep))):
                    put()
            else:
                put()

    def _element(
        self, operand: int, index: ir.Value, axes: Sequence[ir.Value], inside: ir.Value
    ) -> ir.Value:
        """An element of A or B, or zero."""
        b, product = self.builder, self.product
        strides = (product.a_strides, product.b_strides)[operand]
        order = [*self.batch, index, *axes] if operand == 0 else [*self.batch, *axes, index]
        before = b.block
        with b.if_then(inside):
            at = self._offset(strides, order, product.before[operand])
            pointer = b.gep((self.a, self.b)[operand], [at], source_etype=self.kind)
            found = b.load(pointer, typ=self.kind, align=ITEMSIZE[product.dtype])
            within = b.block
        joined = b.phi(self.kind)
        joined.add_incoming(self.kind(0.0), before)
        joined.add_incoming(found, within)
        return joined

    def _offset(self, strides: Sequence[int], order: Sequence[ir.Value], start: int) -> ir.Value:
        b = self.builder
        total: ir.Value = I64(start)
        for stride, index in zip(strides, order, strict=True):
            total = b.add(total, b.mul(b.zext(index, I64), I64(stride)))
        return total

    def _row_of(
        self, memory: ir.Value, wide: int, k: int, own: ir.Value, count: int
    ) -> list[ir.Value]:
        """This thread's numbers of one depth: up to four that lie together, then the next four a
        whole side of threads further, so that neighbours read neighbours."""
        b = self.builder
        together = min(count, 16 // ITEMSIZE[self.product.dtype])
        found = []
        for group in range(count // together):
            at = b.add(b.mul(own, I32(together)), I32(k * wide + group * together * SIDE))
            pointer = b.gep(memory, [at], source_etype=self.kind)
            if together == 1:
                found.append(b.load(pointer, typ=self.kind))
                continue
            kind = ir.VectorType(self.kind, together)
            align = together * ITEMSIZE[self.product.dtype]
            vector = b.load(pointer, typ=kind, align=align)
            found += [b.extract_element(vector, I32(n)) for n in range(together)]
        return found

    def _fma(self, x: ir.Value, y: ir.Value, total: ir.Value) -> ir.Value:
        bits = 8 * ITEMSIZE[self.product.dtype]
        function = declared(self.builder.module, f"llvm.fma.f{bits}", self.kind, [self.kind] * 3)
        return self.builder.call(function, [x, y, total])

    # ---- the result, and what there is to sum

    def _write(self, sums: list[list[ir.Value]]) -> None:
        b, product = self.builder, self.product
        for i, row in enumerate(sums):
            m = b.add(self.first_row, self._own(self.down, i, self.rows))
            for j, place in enumerate(row):
                n = b.add(self.first_column, self._own(self.along, j, self.columns))
                inside = b.and_(
                    b.icmp_unsigned("<", m, I32(product.rows)),
                    b.icmp_unsigned("<", n, I32(product.columns)),
                )
                with b.if_then(inside):
                    self._put(m, n, b.load(place, typ=self.kind))

    def _put(self, row: ir.Value, column: ir.Value, value: ir.Value) -> None:
        """Store an element of the result, or what becomes of it."""
        b, product = self.builder, self.product
        place = [*self.batch, row, column]
        if self.finish is not None:
            b.call(self.finish, [*place, value, *self.operands])
            return
        at = self._offset(product.c_strides, place, 0)
        pointer = b.gep(self.c, [at], source_etype=self.kind)
        b.store(value, pointer, align=ITEMSIZE[product.dtype])

    def _own(self, thread: ir.Value, number: int, count: int) -> ir.Value:
        """Which row, or column, of the tile is this thread's so many-th."""
        together = min(count, 16 // ITEMSIZE[self.product.dtype])
        group, within = divmod(number, together)
        b = self.builder
        return b.add(b.mul(thread, I32(together)), I32(group * together * SIDE + within))

    def _limits(self) -> list[tuple[int, ir.Value, ir.Value]]:
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
                ends.append(end)
            found.append((limit.axis, *ends))
        return found

    def _batch_number(self, at: Affine) -> ir.Value:
        b = self.builder
        total: ir.Value = I64(at.const)
        for axis, factor in at.terms:
            total = b.add(total, b.mul(b.zext(self.batch[axis], I64), I64(factor)))
        return total
