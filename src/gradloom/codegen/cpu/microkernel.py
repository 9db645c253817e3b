"""The innermost loops of a matrix product: a tile of C stays in registers while k runs.

In: a `Tile`. Out: a private LLVM function, emitted once a module. Invariant: every element of C is
one chain of multiply-adds in the order of k, whatever the tile, so tiles may be mixed freely; a
product that resumes adds that chain to C.
"""

from llvmlite import ir

from gradloom.codegen.cpu.target import Target
from gradloom.codegen.cpu.vectors import (
    I1,
    I32,
    I64,
    POINTER,
    Tile,
    Vectors,
    counted,
    declared,
    least,
    private,
    splat,
    zeros,
)

# Rows that share one running pointer: x86 reaches base, base + s, base + 2s and base + 3s with two
# registers, so eight rows of A need four registers rather than eight.
ROWS_A_POINTER = 4

# Each so many steps of k a tile of several vectors fetches a vector of what follows of B.  Gflop/s
# without, each step, each 2, 4 and 8 steps, where all operands come from the third-level cache:
# 128 x 1024 x 1024 153, 145, 160, 165, 164; 64 x 1024 x 1024 123, -, 142, 133, 135.  What is
# fetched faster than it comes keeps loads waiting.
UNROLL = 2


def emit_microkernel(
    module: ir.Module,
    tile: Tile,
    target: Target,
    depth_axes: int = 1,
    copies: bool = False,
    fetches: int = 0,
) -> ir.Function:
    """C[start:stop, vectors] (+)= A @ B by tiles of `tile.rows`, as a private function.

    `void (i64 start, i64 stop, i64 last, ptr a, i64 a_row, i64 a_last, i64 sam, ptr b, ptr c,
    i64 ldc, i64 width, i1 resume, ptr next, i64 abreast, i64 rows, ...)`: strides in elements;
    `last` is where the last tile of C begins, and the tile after it begins there too, computes some
    rows twice and stores them once.  The tile of rows from i on reads A from `a + min(i, a_last) *
    a_row` on, by rows `sam` apart.  `width` are the lanes of the ragged vector, `resume` is to add
    to C rather than to write it.  From `next` on, `rows` rows of `abreast` vectors are fetched into
    the second-level cache meanwhile.  For each axis of depth, outer to inner, follow `i64 k, i64
    sak, i64 ldb, i64 apart`: its size, which may be 0, and how far apart its elements lie in A and
    in B; and how far apart, from `next` on, what is fetched with them.

    If it `copies`, there is one tile, `start` to `stop`, and the vectors of B are copied: `ptr
    copy` follows `rows`, and how far apart its elements lie there is a fifth number of an axis.

    If it `fetches` so many other arrays too, `i64 tile, i64 step` and a pointer to each follow at
    the end: each tile begins `tile` elements further, and goes on by `step` each UNROLL steps.
    """
    name = f"micro_{tile.name(target.lanes(tile.dtype))}" + f"_by{depth_axes}" * (depth_axes > 1)
    name += "_copying" * copies + f"_fetching{fetches}" * bool(fetches)
    if name in module.globals:
        return module.globals[name]
    rows, a, c = [I64, I64, I64], [POINTER, I64, I64, I64], [POINTER, I64, I64, I1]
    ahead, numbers = [POINTER, I64, I64], [I64] * ((4 + copies) * depth_axes)
    others = [I64, I64, *[POINTER] * fetches] if fetches else []
    kinds = [*rows, *a, POINTER, *c, *ahead, *[POINTER] * copies, *numbers, *others]
    function = private(module, name, kinds)
    _Microkernel(function, tile, target, depth_axes, copies).emit()
    return function


class _Microkernel:
    """The state of one emission: the builder and what all of its loops use."""

    def __init__(
        self, function: ir.Function, tile: Tile, target: Target, depth_axes: int, copies: bool
    ) -> None:
        self.tile, self.function = tile, function
        self.multiply_add = "fma" if target.has_fma else "fmuladd"
        b = self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        self.start, self.stop, self.last, *rest = function.args
        self.a, self.a_row, self.a_last, self.sam, self.b, *rest = rest
        self.c, self.ldc, width, self.resume, self.next, self.abreast, self.rows, *rest = rest
        numbers = 4 + copies
        self.copy, rest = rest[:copies], rest[copies:]
        self.depth = [tuple(rest[i * numbers : (i + 1) * numbers]) for i in range(depth_axes)]
        self.fetched = rest[depth_axes * numbers :]
        self.vectors = Vectors(b, tile, target, width)
        self.offsets = [b.mul(self.sam, I64(i)) for i in range(tile.rows)]

    def emit(self) -> None:
        """Loop over tiles of rows, then return."""
        b, at = self.builder, self.vectors.at
        c_offsets = [b.mul(self.ldc, I64(i)) for i in range(self.tile.rows)]
        with counted(b, self.start, self.stop, self.tile.rows) as i:
            first = least(b, i, self.last)
            a_tile = at(self.a, b.mul(least(b, i, self.a_last), self.a_row))
            c_tile = at(self.c, b.mul(first, self.ldc))
            c_rows = [at(c_tile, offset) for offset in c_offsets]
            pointers = [at(a_tile, offset) for offset in self.offsets[::ROWS_A_POINTER]]
            ahead = self._ahead(b.udiv(b.sub(i, self.start), I64(self.tile.rows)))
            sums = self._accumulate(self._begin(c_rows), [self.b, *pointers, *self.copy], ahead)
            self._finish(sums, c_rows, b.sub(i, first), b.sub(self.stop, first))
        b.ret_void()

    def _ahead(self, number: ir.Value) -> list[ir.Value]:
        """Where a tile begins to fetch what follows of B, one vector of each of some rows, one row
        in UNROLL steps; and other arrays."""
        b = self.builder
        part, vector = b.udiv(number, self.abreast), b.urem(number, self.abreast)
        first = b.mul(part, b.udiv(self.depth[-1][0], I64(UNROLL)))
        self.some = b.icmp_unsigned("<", first, self.rows)
        apart = self.depth[-1][3]
        place = b.add(b.mul(first, apart), b.mul(vector, I64(self.vectors.lanes)))
        self.steps_ahead = [b.select(self.some, apart, I64(0))]
        following = [b.select(self.some, self.vectors.at(self.next, place), self.b)]
        if self.fetched:
            tile, step, *arrays = self.fetched
            self.steps_ahead += [step] * len(arrays)
            following += [self.vectors.at(array, b.mul(number, tile)) for array in arrays]
        return following

    def _begin(self, c_rows: list[ir.Value]) -> list[ir.Value]:
        """The first sums, row by row, which are zeros.

        If the product resumes, C is fetched now and added when all of k is done: loaded first, a
        tile of C that lies in memory keeps the multiply-adds waiting.
        """
        b, count = self.builder, self.tile.vectors
        with b.if_then(self.resume):
            for row in c_rows:
                for j in range(count):
                    place = self.vectors.at(row, I64(j * self.vectors.lanes))
                    b.call(self._fetch(), [place, I32(1), I32(3), I32(1)])
        kinds = [self.vectors.kind(j) for j in range(count)]
        return [zeros(kind) for _ in c_rows for kind in kinds]

    def _finish(
        self, sums: list[ir.Value], c_rows: list[ir.Value], low: ir.Value, high: ir.Value
    ) -> None:
        """Store the rows of the tile from `low` to below `high`, or add to them."""
        b, wide = self.builder, self.tile.vectors
        before = b.block
        with b.if_then(self.resume):
            places = [(row, j) for row in c_rows for j in range(wide)]
            added = [
                b.fadd(self.vectors.load(row, j), value)
                for (row, j), value in zip(places, sums, strict=True)
            ]
            resumed = b.block
        total = []
        for value, more in zip(sums, added, strict=True):
            phi = b.phi(value.type)
            phi.add_incoming(value, before)
            phi.add_incoming(more, resumed)
            total.append(phi)
        rows = [(i, row, total[i * wide : (i + 1) * wide]) for i, row in enumerate(c_rows)]
        above = b.icmp_signed("==", low, I64(0))
        whole = b.and_(above, b.icmp_signed(">=", high, I64(self.tile.rows)))
        with b.if_else(whole, likely=True) as (all_rows, some_rows):
            with all_rows:
                for _, row, values in rows:
                    self._store(values, row)
            with some_rows:
                for i, row, values in rows:
                    own = b.and_(b.icmp_signed("<=", low, I64(i)), b.icmp_signed(">", high, I64(i)))
                    with b.if_then(own):
                        self._store(values, row)

    def _store(self, sums: list[ir.Value], row: ir.Value) -> None:
        for j, value in enumerate(sums):
            self.vectors.store(value, row, j)

    def _accumulate(
        self,
        sums: list[ir.Value],
        pointers: list[ir.Value],
        ahead: list[ir.Value],
        axis: int = 0,
    ) -> list[ir.Value]:
        """sums + A @ B over the axes of depth from `axis` on; `pointers` are one to B, some to A,
        and one to the copy of B if there is one, `ahead` those to what is fetched."""
        if axis == len(self.depth):
            return self._step(sums, pointers)
        size = self.depth[axis][0]
        unroll = UNROLL if axis == len(self.depth) - 1 and self.tile.vectors > 1 else 1
        rest = size
        if unroll > 1:
            rest, pointers, ahead, sums = self._loop(size, pointers, ahead, sums, axis, unroll)
        return self._loop(rest, pointers, ahead, sums, axis, 1)[3]

    def _loop(
        self,
        size: ir.Value,
        pointers: list[ir.Value],
        ahead: list[ir.Value],
        sums: list[ir.Value],
        axis: int,
        unroll: int,
    ) -> tuple[ir.Value, list[ir.Value], list[ir.Value], list[ir.Value]]:
        """`unroll` steps at a time; what is left of the size, and where all stands.  The loop
        carries the sums and its own running pointers."""
        b, at = self.builder, self.vectors.at
        _, sak, ldb, apart, *copy = self.depth[axis]
        strides = [ldb, *[sak] * len(self.offsets[::ROWS_A_POINTER]), *copy]
        inner = axis == len(self.depth) - 1
        carried = [size, *pointers, *ahead, *sums]
        before, head = b.block, b.append_basic_block("depth")
        body, done = b.append_basic_block("step"), b.append_basic_block("done")
        b.branch(head)
        b.position_at_end(head)
        entering = phis = [b.phi(value.type) for value in carried]
        left, running, phis = phis[0], phis[1:][: len(pointers)], phis[1 + len(pointers) :]
        fetching, sums = phis[: len(ahead)], phis[len(ahead) :]
        b.cbranch(b.icmp_signed(">=", left, I64(unroll)), body, done)
        b.position_at_end(body)
        now, then, values = running, fetching, sums
        if unroll > 1:
            for place in then:
                b.call(self._fetch(), [place, I32(0), I32(2), I32(1)])
            then = [at(p, step) for p, step in zip(then, self.steps_ahead, strict=True)]
        elif not inner:
            then = [at(then[0], b.select(self.some, apart, I64(0))), *then[1:]]
        for _ in range(unroll):
            values = self._accumulate(values, now, then, axis + 1)
            now = [at(p, stride) for p, stride in zip(now, strides, strict=True)]
        following = [b.sub(left, I64(unroll)), *now, *then, *values]
        last = b.block
        b.branch(head)
        for phi, first, value in zip(entering, carried, following, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(value, last)
        b.position_at_end(done)
        return left, running, fetching, sums

    def _fetch(self) -> ir.Function:
        kinds = [POINTER, I32, I32, I32]
        return declared(self.builder.module, "llvm.prefetch.p0", ir.VoidType(), kinds)

    def _step(self, sums: list[ir.Value], pointers: list[ir.Value]) -> list[ir.Value]:
        """One k: a row of B times a broadcast element of A for each row of the tile."""
        b, vectors, wide = self.builder, self.vectors, self.tile.vectors
        columns = [vectors.load(pointers[0], j) for j in range(wide)]
        if self.copy:
            for j, column in enumerate(columns):
                place = vectors.at(pointers[-1], I64(j * vectors.lanes))
                b.store(column, place, align=vectors.align)
        rows = len(self.offsets[::ROWS_A_POINTER])
        pointers = [self._opaque(pointer) for pointer in pointers[1 : 1 + rows]]
        result = []
        for i in range(self.tile.rows):
            group, within = divmod(i, ROWS_A_POINTER)
            pointer = vectors.at(pointers[group], self.offsets[within])
            scalar = b.load(pointer, typ=vectors.item, align=vectors.align)
            factor = splat(b, scalar, vectors.lanes)
            for column, value in zip(columns, sums[i * wide : (i + 1) * wide], strict=True):
                if value.type != factor.type:
                    factor = splat(b, scalar, value.type.count)
                result.append(self._fma(factor, column, value))
        return result

    def _fma(self, factor: ir.Value, column: ir.Value, value: ir.Value) -> ir.Value:
        kind = value.type
        name = f"llvm.{self.multiply_add}.{self.vectors.suffix(kind)}"
        function = declared(self.builder.module, name, kind, [kind, kind, kind])
        return self.builder.call(function, [factor, column, value])

    def _opaque(self, pointer: ir.Value) -> ir.Value:
        """The same pointer, hidden from LLVM's loop strength reduction.

        It would walk the rows by one addition after another, a chain longer than the multiply-adds
        of a step: 72 Gflop/s against 97 with tiles of one vector (64 x 10 x 64, float32, AVX-512),
        184 against 192 with two.
        """
        name = "llvm.launder.invariant.group.p0"
        return self.builder.call(declared(self.builder.module, name, POINTER, [POINTER]), [pointer])
