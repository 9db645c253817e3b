"""The innermost loops of a matrix product: a tile of C stays in registers while k runs.

In: a `Tile`. Out: a private LLVM function, emitted once a module. Invariant: every element of C is
one chain of multiply-adds in the order of k, whatever the tile, so tiles may be mixed freely.
"""

from llvmlite import ir

from gradloom.codegen.cpu.target import Target
from gradloom.codegen.cpu.vectors import (
    I1,
    I64,
    POINTER,
    Tile,
    Vectors,
    counted,
    declared,
    private,
    splat,
    zeros,
)

# Rows that share one running pointer: x86 reaches base, base + s, base + 2s and base + 3s with two
# registers, so eight rows of A need four registers rather than eight.
ROWS_A_POINTER = 4


def emit_microkernel(
    module: ir.Module, tile: Tile, target: Target, depth_axes: int = 1
) -> ir.Function:
    """C[tiles * rows, vectors] (+)= A @ B, as a private function.

    `void (i64 tiles, ptr a, i64 sam, ptr b, ptr c, i64 ldc, i64 width, i1 resume, ...)`: strides in
    elements, `width` the lanes of the ragged vector, `resume` to start from C rather than from
    zero. For each axis of depth, outer to inner, follow `i64 k, i64 sak, i64 ldb`: its size, which
    may be 0, and how far apart its elements lie in A and in B.
    """
    name = f"micro_{tile.name(target.lanes(tile.dtype))}" + f"_by{depth_axes}" * (depth_axes > 1)
    if name in module.globals:
        return module.globals[name]
    matrices = [I64, POINTER, I64, POINTER, POINTER, I64, I64, I1]
    function = private(module, name, matrices + [I64, I64, I64] * depth_axes)
    _Microkernel(function, tile, target).emit()
    return function


class _Microkernel:
    """The state of one emission: the builder and what all of its loops use."""

    def __init__(self, function: ir.Function, tile: Tile, target: Target) -> None:
        self.tile, self.function = tile, function
        self.multiply_add = "fma" if target.has_fma else "fmuladd"
        b = self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        self.tiles, self.a, self.sam, self.b, self.c, self.ldc, width, self.resume, *depth = (
            function.args
        )
        self.depth = [tuple(depth[i : i + 3]) for i in range(0, len(depth), 3)]
        self.vectors = Vectors(b, tile, target, width)
        self.offsets = [b.mul(self.sam, I64(i)) for i in range(tile.rows)]

    def emit(self) -> None:
        """Loop over tiles of rows, then return."""
        b, vectors = self.builder, self.vectors
        height = I64(self.tile.rows)
        rows_of_a, rows_of_c = b.mul(self.sam, height), b.mul(self.ldc, height)
        c_offsets = [b.mul(self.ldc, I64(i)) for i in range(self.tile.rows)]
        with counted(b, I64(0), self.tiles, 1) as index:
            a_tile = vectors.at(self.a, b.mul(index, rows_of_a))
            c_tile = vectors.at(self.c, b.mul(index, rows_of_c))
            c_rows = [vectors.at(c_tile, offset) for offset in c_offsets]
            pointers = [vectors.at(a_tile, at) for at in self.offsets[::ROWS_A_POINTER]]
            sums = iter(self._accumulate(self._begin(c_rows), [self.b, *pointers]))
            for row in c_rows:
                for j in range(self.tile.vectors):
                    vectors.store(next(sums), row, j)
        b.ret_void()

    def _begin(self, c_rows: list[ir.Value]) -> list[ir.Value]:
        """The first sums, row by row: C if the product resumes, zeros otherwise."""
        b = self.builder
        before, load = b.block, b.append_basic_block("resume")
        start = b.append_basic_block("start")
        b.cbranch(self.resume, load, start)
        b.position_at_end(load)
        loaded = [self.vectors.load(row, j) for row in c_rows for j in range(self.tile.vectors)]
        b.branch(start)
        b.position_at_end(start)
        sums = [b.phi(value.type) for value in loaded]
        for phi, value in zip(sums, loaded, strict=True):
            phi.add_incoming(value, load)
            phi.add_incoming(zeros(value.type), before)
        return sums

    def _accumulate(
        self, sums: list[ir.Value], pointers: list[ir.Value], axis: int = 0
    ) -> list[ir.Value]:
        """sums + A @ B over the axes of depth from `axis` on; `pointers` are one to B and some to
        A.  Each loop carries the sums and its own running pointers."""
        if axis == len(self.depth):
            return self._step(sums, pointers)
        b, at = self.builder, self.vectors.at
        size, sak, ldb = self.depth[axis]
        carried = [size, *pointers, *sums]
        before, head = b.block, b.append_basic_block("depth")
        body, done = b.append_basic_block("step"), b.append_basic_block("done")
        b.branch(head)
        b.position_at_end(head)
        phis = [b.phi(value.type) for value in carried]
        left, running, sums = phis[0], phis[1 : 1 + len(pointers)], phis[1 + len(pointers) :]
        b.cbranch(b.icmp_signed(">", left, I64(0)), body, done)
        b.position_at_end(body)
        following = [b.sub(left, I64(1)), at(running[0], ldb)]
        following += [at(pointer, sak) for pointer in running[1:]]
        following += self._accumulate(sums, running, axis + 1)
        last = b.block
        b.branch(head)
        for phi, first, value in zip(phis, carried, following, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(value, last)
        b.position_at_end(done)
        return sums

    def _step(self, sums: list[ir.Value], pointers: list[ir.Value]) -> list[ir.Value]:
        """One k: a row of B times a broadcast element of A for each row of the tile."""
        b, vectors, wide = self.builder, self.vectors, self.tile.vectors
        columns = [vectors.load(pointers[0], j) for j in range(wide)]
        pointers = [self._opaque(pointer) for pointer in pointers[1:]]
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
