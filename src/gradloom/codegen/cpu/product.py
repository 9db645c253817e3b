"""Matrix products: a `Product` of the plan becomes one private LLVM function over microkernels.

Invariant: each element of C is summed in the order of k, in blocks that follow from the shapes
alone, so the bits of the result do not depend on how the rows are cut into ranges.
"""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import prod

from llvmlite import ir

from gradloom.codegen.cpu.microkernel import UNROLL, emit_microkernel
from gradloom.codegen.cpu.packing import emit_pack_rows, emit_transpose
from gradloom.codegen.cpu.target import Target
from gradloom.codegen.cpu.tiles import TILE_ROWS, Strips, depth_block, strips_of, tile_rows
from gradloom.codegen.cpu.vectors import (
    FLOATS,
    I1,
    I64,
    POINTER,
    Tile,
    counted,
    greatest,
    least,
    private,
)
from gradloom.ir.affine import Affine
from gradloom.ir.types import ITEMSIZE, row_strides
from gradloom.plan.plan import Limit, Product

# The figures below are the best Gflop/s of float32 products on one core with AVX-512 (peak about
# 195), operands aligned to 64 bytes, given as rows x columns x depth; the alternatives of one line
# were measured in turn.

# Blocks of k and of rows. A strip of B, 256 bytes a step, and a tile of A fit in the first-level
# cache of 48 KB; a block of A stays in the second-level cache while strips pass by. Percent of the
# peak by tiles of 6 x 4 vectors, 128, 171, 256 and 341 deep: 512 x 512 x 512 86, 86, 82, 84;
# 1024 x 1024 x 1024 81, 85, 75, 74; but 256 x 256 x 256 in two blocks 82, in one 83.
DEPTH_BLOCK = 172
ROW_BLOCK = 504

# Where a step of k moves A at least this far, as in A transposed, each step meets another page;
# where rows lie as far apart as pages, they collide in few sets of the cache. Blocks of A are then
# packed, on the stack, if so many columns use the copy: 1024 x 1024 x 1024 with 62, without 53
# percent of the peak, A transposed; 85 and 73, not transposed; 512 x 512 x 512, not transposed,
# 84 and 86. With fewer columns shorter blocks keep the pages of a block within the first-level
# page table. Depth 64 and 256: 784 x 128 x 512 152, 129; 784 x 256 x 256 160, 141.
FAR_STEP_BYTES = 2048
FAR_ROW_BYTES = 4096
FAR_DEPTH_BLOCK = 64
PACK_COLUMNS = 128
# Each block of rows reads all of B anew, so a block of A is a quarter of a second-level cache; and
# each block of depth all of C, so where C outgrows that cache a row of A in a block has more bytes.
# How many times as fast as MKL, blocks of A of 256 KB and 172 deep, 512 and 172, 512 and 344:
# 512 x 512 x 512 transposed twice 0.99, 1.08, 0.98; 1024 x 2048 x 2048 0.81, 0.85, 0.94, A
# transposed 0.79, -, 0.88; 1024 x 2048 x 1024 0.86, -, 0.94; in float64 512 x 1024 x 2048 0.70,
# 0.88, 0.75.
PACKED_BYTES = 512 * 1024
DEEP_BYTES = 1376
LARGE_C_BYTES = 2 * 1024 * 1024

# Rows of B at least this far apart are first copied close together, if so many rows of A use the
# copy. With and without, 256 deep: 64 x 1024 148, 107; 256 x 1024 174, 156; 256 x 512 183, 174;
# 64 x 512 173, 180; 64 x 256 176, 193; 32 x 512 158, 187.
# The first tile copies what it reads, and each tile fetches some of the next strip: 128 x 512 x 784
# 182, with a copy before and nothing fetched 172; 64 x 1024 x 1024 174, 157; operands in the
# third-level cache 128 x 512 x 784 180, 163.  Of B transposed, with and without fetching, from the
# third-level cache: 64 x 1024 x 1024 144, 127; 128 x 512 x 256 157, 153.
PACK_STRIDE_BYTES = 1536
PACK_ROWS = 64

# Where few rows use B, and it outgrows the second-level cache, a short block of its far rows is
# read to their ends before the next. In one block and by 8, 16, 32: 2 x 2048 x 2048 15, 21, 24, 24;
# 8 x 2048 x 2048 26, 47, 55, 62; 16 x 2048 x 2048 31, 54, 63, 66; but 8 x 512 x 512, of which B is
# 1 MB, 98, 73, 85, 87.
FEW_ROWS = PACK_ROWS - 1
FEW_DEPTH_BLOCK = 32
FEW_BYTES = 2 * 1024 * 1024


def emit_product(module: ir.Module, product: Product, target: Target) -> ir.Function:
    """C = A @ B over a range of the outermost axis, as a private function.

    `void name(i64 start, i64 stop, ptr a, ptr b, ptr c, ...)`: the range is of `batch[0]`, or of
    the rows where there is no batch; the pointers are those of the whole operands, those to be
    `fetched` behind them, and C overlaps neither A nor B. A batch of groups of columns of
    one product runs as that product would, over a range of its columns. B transposed, with stride 1
    along k rather than n, costs a copy of B per call: 64 x 64 x 128 169 Gflop/s where B with stride
    1 along n gives 191.

    Raises ValueError if no axis of B, or not the columns of C, have stride 1.
    """
    if product.name in module.globals:
        return module.globals[product.name]
    single = product.columns <= 1
    c_fits = single or product.c_strides[-1] == 1
    flat = prod(product.depth) <= 1
    b_fits = single or flat or 1 in product.b_strides[-2:]
    if not (b_fits and c_fits):
        raise ValueError(
            f"{product.name}: strides {product.b_strides} of B and {product.c_strides} of C leave "
            "no contiguous axis to read or write vectors along; copy the operand"
        )
    pointers = [POINTER] * (3 + product.fetched)
    function = private(module, product.name, [I64, I64, *pointers])
    _ProductFunction(function, product, target).emit()
    return function


def _empty(product: Product) -> Product:
    """The same product of nothing, over one axis of depth."""
    axes = len(product.depth)
    a_strides = (*product.a_strides[:-axes], 0)
    b_strides = (*product.b_strides[: -axes - 1], 0, 1)
    return replace(product, depth=(0,), a_strides=a_strides, b_strides=b_strides)


@dataclass(frozen=True)
class _Block:
    """One block of the product: pointers to its corners, its rows and its depth.

    `a` and `c` are where row 0 is, or would be.
    """

    a: ir.Value
    b: ir.Value
    c: ir.Value
    start: ir.Value
    stop: ir.Value
    depth: tuple[ir.Value, ...]  # of each axis that the microkernel runs over
    resume: ir.Value
    next: ir.Value  # what is read of B after this
    fetched: list[ir.Value]  # what is read of other arrays after this


class _ProductFunction:
    """The state of one emission."""

    def __init__(self, function: ir.Function, product: Product, target: Target) -> None:
        if 0 in product.depth:
            product = _empty(product)
        self.product, self.target, self.function = product, target, function
        self.item = FLOATS[product.dtype]
        self.lanes = target.lanes(product.dtype)
        axes = len(product.depth)
        self.sam, *self.a_depth = product.a_strides[-axes - 1 :]
        *self.b_depth, self.next_column = product.b_strides[-axes - 1 :]
        if product.columns == 1:
            self.next_column = 1
        self.strips = strips_of(product.columns, self.lanes, target) or [Strips(0, 0, 1)]
        self.groups = self._in_groups()
        self.count: ir.Value = I64(0)  # of groups in the range
        self.index: list[ir.Value] = []  # of the batch
        itemsize = ITEMSIZE[product.dtype]
        far = abs(self.a_depth[-1]) * itemsize >= FAR_STEP_BYTES
        apart = abs(self.sam) * itemsize >= FAR_ROW_BYTES
        columns = product.columns * (product.batch[0] if self.groups else 1)
        self.packs_rows = (far or apart) and columns >= PACK_COLUMNS
        most = FAR_DEPTH_BLOCK if far and not self.packs_rows else DEPTH_BLOCK
        if self.packs_rows and product.rows * columns * itemsize > LARGE_C_BYTES:
            most = DEEP_BYTES // itemsize
        large = prod(product.depth) * product.columns * itemsize > FEW_BYTES
        if product.rows <= FEW_ROWS and large and self._far_rows_of_b():
            most = FEW_DEPTH_BLOCK
        self.cut, self.step = depth_block(product.depth, most)
        self.inner = product.depth[self.cut + 1 :]
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        self.buffer = self._buffer()
        self.row_block, self.row_buffer = ROW_BLOCK, None
        if self.packs_rows:
            depth = self.step * prod(self.inner)
            self.row_block = PACKED_BYTES // (depth * ITEMSIZE[product.dtype])
        height = self._height(max(s.vectors for s in self.strips))
        self.row_block = max(height, self.row_block // height * height)
        if self.packs_rows:
            size = self.row_block * depth + self.lanes * self.lanes
            self.row_buffer = self.builder.alloca(ir.ArrayType(self.item, size))
            self.row_buffer.align = self.target.vector_bytes

    def _in_groups(self) -> bool:
        """Whether the batch is one matrix product, so many of its columns at a time."""
        product = self.product
        if len(product.batch) != 1 or product.columns <= 1 or product.limits:
            return False
        across = product.columns * self.next_column, product.columns
        found = product.b_strides[0], product.c_strides[0]
        return product.a_strides[0] == 0 and found == across

    def _buffer(self) -> ir.Value | None:
        """Stack for a packed strip of B, if B must or should be packed."""
        copied = self._far_rows_of_b() and self.product.rows >= PACK_ROWS
        if self.next_column == 1 and not copied:
            return None
        depth = self.step * prod(self.inner) + self.lanes - 1  # a transposed square may overhang
        size = depth * self.lanes * max(TILE_ROWS[self.target.registers])
        buffer = self.builder.alloca(ir.ArrayType(self.item, size))
        buffer.align = self.target.vector_bytes
        return buffer

    def _far_rows_of_b(self) -> bool:
        """Whether B has vectors along its rows, which lie far apart."""
        item = ITEMSIZE[self.product.dtype]
        apart = max(map(abs, self.b_depth)) * item
        return self.next_column == 1 and apart >= PACK_STRIDE_BYTES

    def _height(self, vectors: int) -> int:
        """The rows of a tile of so many vectors; one height for all tiles where A is packed."""
        most = TILE_ROWS[self.target.registers]
        if self.packs_rows:
            vectors = max(strips.vectors for strips in self.strips)
        return tile_rows(self.product.rows, most[vectors])

    def emit(self) -> None:
        """Loop over the batch, then over the blocks of each matrix."""
        product = self.product
        start, stop, a, b, c, *self.fetched = self.function.args
        a, b = (self._move(p, I64(1), n) for p, n in zip((a, b), product.before, strict=True))
        if self.groups:
            b = self._move(b, start, product.b_strides[0])
            c = self._move(c, start, product.c_strides[0])
            self.count = self.builder.sub(stop, start)
            self._matrix(a, b, c, I64(0), I64(product.rows))
            self.builder.ret_void()
            return
        with ExitStack() as loops:
            for axis, size in enumerate(product.batch):
                bounds = (I64(0), I64(size)) if axis else (start, stop)
                index = loops.enter_context(counted(self.builder, *bounds, 1))
                self.index.append(index)
                a = self._move(a, index, product.a_strides[axis])
                b = self._move(b, index, product.b_strides[axis])
                c = self._move(c, index, product.c_strides[axis])
            rows = (I64(0), I64(product.rows)) if product.batch else (start, stop)
            self._matrix(a, b, c, *rows)
        self.builder.ret_void()

    def _matrix(
        self, a: ir.Value, b: ir.Value, c: ir.Value, start: ir.Value, stop: ir.Value
    ) -> None:
        """Rows start to stop of one matrix of the batch."""
        builder, product = self.builder, self.product
        with counted(builder, start, stop, self.row_block) as i:
            end = least(builder, stop, builder.add(i, I64(self.row_block)))
            a_block, b_block = a, b
            resume, depth = I1(0), I64(0)
            with ExitStack() as loops:
                for axis, size in enumerate(product.depth[: self.cut + 1]):
                    step = self.step if axis == self.cut else 1
                    first, last = self._bounds(axis, size)
                    rounds = last if self.product.depth[axis] else I64(1)
                    k = loops.enter_context(counted(builder, first, rounds, step))
                    depth = least(builder, I64(step), builder.sub(last, k))
                    resume = builder.or_(resume, builder.icmp_signed(">", k, first))
                    a_block = self._move(a_block, k, self.a_depth[axis])
                    b_block = self._move(b_block, k, self.b_depth[axis])
                inner = []
                for axis, size in enumerate(self.inner, self.cut + 1):
                    first, last = self._bounds(axis, size)
                    a_block = self._move(a_block, first, self.a_depth[axis])
                    b_block = self._move(b_block, first, self.b_depth[axis])
                    inner.append(builder.sub(last, first) if self._limits(axis) else last)
                whole = (depth, *inner)
                below = self._move(b_block, I64(self.step), self.b_depth[self.cut])
                done = [self._move(array, i, self.product.columns) for array in self.fetched]
                block = _Block(a_block, b_block, c, i, end, whole, resume, below, done)
                if done:
                    block = self._fetched(block, builder.mul(k, I64(product.columns)), I64(1))
                self._columns(self._pack_rows(block) if self.packs_rows else block)

    def _limits(self, axis: int) -> list[Limit]:
        return [limit for limit in self.product.limits if limit.axis == axis]

    def _bounds(self, axis: int, size: int) -> tuple[ir.Value, ir.Value]:
        """Where an axis of depth begins and ends for this matrix of the batch."""
        b, bounds = self.builder, (I64(0), I64(size))
        for limit in self._limits(axis):
            first, last = (self._quotient(at, limit.step) for at in (limit.low, limit.high))
            bounds = greatest(b, bounds[0], first), least(b, bounds[1], last)
        return bounds

    def _quotient(self, at: Affine, step: int) -> ir.Value:
        """A function of the batch's indices over `step`, rounded up; 0 if it is negative."""
        b, total = self.builder, I64(at.const)
        for axis, factor in at.terms:
            total = b.add(total, b.mul(self.index[axis], I64(factor)))
        total = greatest(b, total, I64(0))
        return b.udiv(b.add(total, I64(step - 1)), I64(step)) if step > 1 else total

    def _pack_rows(self, block: _Block) -> _Block:
        """A block of A to its buffer, by stretches of the innermost axis of depth."""
        builder, strides = self.builder, self.a_depth[self.cut :]
        unit = "m" if self.sam == 1 else "k" if strides == [1] else ""
        height = self._height(1)
        pack = emit_pack_rows(builder.module, self.product.dtype, height, unit, self.target)
        source, target = block.a, self.row_buffer
        within = row_strides((0, *self.inner))
        *outer, depth = block.depth
        with ExitStack() as loops:
            for size, there, here in zip(outer, strides, within, strict=False):
                k = loops.enter_context(counted(builder, I64(0), size, 1))
                source = self._move(source, k, there)
                target = self._move(target, k, here * height)
            rows = [block.start, block.stop, I64(self.product.rows - height)]
            place = [source, I64(self.sam), depth, I64(strides[-1]), target]
            builder.call(pack, [*rows, *place, self._steps(block)])
        first = builder.mul(block.start, self._steps(block))
        return replace(block, a=self._move(self.row_buffer, builder.neg(first), 1))

    def _fetched(self, block: _Block, columns: ir.Value, depth: ir.Value) -> _Block:
        """The block after `depth` steps of so many columns: others' rows of it pass by meanwhile,
        evenly."""
        b = self.builder
        work = b.mul(b.mul(b.sub(block.stop, block.start), columns), depth)
        share = b.udiv(work, I64(self.product.depth[0]))
        return replace(block, fetched=[self._move(array, share, 1) for array in block.fetched])

    def _steps(self, block: _Block) -> ir.Value:
        """All steps of the depth of a block."""
        return self.builder.mul(block.depth[0], I64(prod(self.inner)))

    def _columns(self, block: _Block) -> None:
        """All columns of a block, group by group where there are groups."""
        if not self.groups:
            self._strips(block)
            return
        builder, product = self.builder, self.product
        with counted(builder, I64(0), self.count, 1) as group:
            b = self._move(block.b, group, product.b_strides[0])
            c = self._move(block.c, group, product.c_strides[0])
            last = builder.icmp_signed("==", group, builder.sub(self.count, I64(1)))
            beside = self._move(b, I64(1), product.b_strides[0])
            self._strips(replace(block, b=b, c=c, next=builder.select(last, block.next, beside)))

    def _strips(self, block: _Block) -> None:
        """All columns, or those of a group, strip by strip."""
        builder, columns = self.builder, I64(self.product.columns)
        for strips in self.strips:
            wide = strips.vectors * self.lanes
            stop = strips.first + strips.count * wide
            with counted(builder, I64(strips.first), I64(stop), wide) as j:
                used = least(builder, I64(wide), builder.sub(columns, j))
                b, c = self._move(block.b, j, self.next_column), self._move(block.c, j, 1)
                last = builder.icmp_signed(">=", builder.add(j, I64(wide)), columns)
                beside = self._move(b, I64(wide), self.next_column)
                ahead = builder.select(last, block.next, beside)
                within = replace(block, b=b, c=c, next=ahead)
                if block.fetched:
                    within = self._fetched(within, j, block.depth[0])
                if self.buffer is None:
                    self._rows(within, strips, used)
                elif self.next_column != 1:
                    self._turn(within, strips, used)
                    b = self.buffer
                    self._rows(replace(within, b=b), strips, used, self._in_buffer(strips))
                else:
                    self._copying(within, strips, used)

    def _in_buffer(self, strips: Strips) -> list[ir.Value]:
        """How far apart the elements of each axis of depth lie in the buffer."""
        wide = strips.vectors * self.lanes
        return [I64(wide * stride) for stride in row_strides((0, *self.inner))]

    def _copying(self, block: _Block, strips: Strips, used: ir.Value) -> None:
        """The first tile copies its strip of B for those after it, if enough rows pay for it."""
        builder = self.builder
        enough = builder.icmp_signed(">=", builder.sub(block.stop, block.start), I64(PACK_ROWS))
        with builder.if_else(enough) as (copied, read):
            with copied:
                height = self._height(strips.vectors)
                second = builder.add(block.start, I64(height))
                copy = self._in_buffer(strips)
                self._rows(replace(block, stop=second), strips, used, copy=copy)
                rest = replace(block, start=second, b=self.buffer)
                if block.fetched:
                    above = self._fetched(replace(block, stop=second), used, block.depth[0])
                    rest = replace(rest, fetched=above.fetched)
                self._rows(rest, strips, used, copy)
            with read:
                self._rows(block, strips, used)

    def _turn(self, block: _Block, strips: Strips, used: ir.Value) -> None:
        """A strip of B transposed to the buffer, by stretches of the innermost axis of depth."""
        builder, dtype = self.builder, self.product.dtype
        source, target = block.b, self.buffer
        strides = self._in_buffer(strips)
        *outer, depth = block.depth
        with ExitStack() as loops:
            for size, there, here in zip(outer, self.b_depth[self.cut :], strides, strict=False):
                k = loops.enter_context(counted(builder, I64(0), size, 1))
                source, target = self._move(source, k, there), self._move(target, k, here.constant)
            transpose = emit_transpose(builder.module, dtype, self.target)
            place = [source, I64(self.next_column), target, strides[-1], used]
            builder.call(transpose, [depth, *place])

    def _rows(
        self,
        block: _Block,
        strips: Strips,
        used: ir.Value,
        ldb: list[ir.Value] | None = None,
        copy: list[ir.Value] | None = None,
    ) -> None:
        """The rows of one strip, tile by tile."""
        builder, product = self.builder, self.product
        height = self._height(strips.vectors)
        tile = Tile(product.dtype, height, strips.vectors, strips.ragged, strips.tail)
        kernel = emit_microkernel(
            builder.module,
            tile,
            self.target,
            len(block.depth),
            copies=copy is not None,
            fetches=len(block.fetched),
        )
        last = I64(product.rows - height)
        a, strides = [block.a, I64(self.sam), last, I64(self.sam)], self.a_depth[self.cut :]
        if self.packs_rows:
            a = [block.a, self._steps(block), block.stop, I64(1)]
            strides = [height * stride for stride in row_strides((0, *self.inner))]
        c = [block.c, I64(product.c_strides[-2]), self._width(strips, used), block.resume]
        plain = [I64(stride) for stride in self.b_depth[self.cut :]]
        # What follows of B lies in rows, of a step of k each, or of a column each.
        fetched, abreast, rows = plain, I64(strips.vectors), block.depth[-1]
        if self.next_column != 1:
            whole = builder.add(block.depth[-1], I64(self.lanes - 1))
            abreast, rows = builder.udiv(whole, I64(self.lanes)), I64(strips.vectors * self.lanes)
            fetched = [*plain[:-1], I64(self.next_column)]
        axes = [block.depth, map(I64, strides), ldb or plain, fetched, *([copy] if copy else [])]
        depth = [number for axis in zip(*axes, strict=True) for number in axis]
        ahead = [block.next, abreast, rows, *([self.buffer] if copy else [])]
        rows = [block.start, block.stop, last]
        others: list[ir.Value] = []
        if block.fetched:
            size, (whole,) = I64(height * strips.vectors * self.lanes), product.depth
            step = I64(-(-size.constant * UNROLL // whole))
            others = [builder.udiv(builder.mul(size, block.depth[0]), I64(whole)), step]
        builder.call(kernel, [*rows, *a, block.b, *c, *ahead, *depth, *others, *block.fetched])

    def _width(self, strips: Strips, used: ir.Value) -> ir.Value:
        """Lanes of the last vector of a strip of which `used` columns exist."""
        return self.builder.sub(used, I64((strips.vectors - 1) * self.lanes))

    def _move(self, pointer: ir.Value, index: ir.Value, stride: int) -> ir.Value:
        """The pointer `index` steps of `stride` elements further."""
        if not stride or (isinstance(index, ir.Constant) and not index.constant):
            return pointer
        offset = self.builder.mul(index, I64(stride))
        return self.builder.gep(pointer, [offset], source_etype=self.item)
