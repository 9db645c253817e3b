"""Matrix products: a `Product` of the plan becomes one private LLVM function over microkernels.

Invariant: each element of C is summed in the order of k, in blocks that follow from the shapes
alone, so the bits of the result do not depend on how the rows are cut into ranges.
"""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import prod

from llvmlite import ir

from gradloom.codegen.cpu.microkernel import emit_microkernel
from gradloom.codegen.cpu.packing import emit_pack, emit_transpose
from gradloom.codegen.cpu.target import Target
from gradloom.codegen.cpu.vectors import FLOATS, I1, I64, POINTER, Tile, counted, least, private
from gradloom.ir.types import ITEMSIZE, row_strides
from gradloom.plan.plan import Product

# The figures below are the best Gflop/s of float32 products on one core with AVX-512 (peak about
# 195), operands aligned to 64 bytes, given as rows x columns x depth; the alternatives of one line
# were measured in turn.

# Blocks of k and of rows. A block of A (256 KB in float32) stays in the second-level cache while
# strips of B (48 KB) pass by. Depth 128, 256, 512 with B in panels: 512 x 512 x 512 179, 179, 180;
# 1024 x 1024 x 1024 133, 138, 149, but a packed strip lies on the stack, hence 256. Rows 128, 256,
# 512: 1024 x 1024 x 1024 141, 139, 135. ROW_BLOCK is a multiple of every height in TILE_ROWS.
DEPTH_BLOCK = 256
ROW_BLOCK = 256

# Where a step of k moves A at least this far, as in A transposed, each step meets another page, and
# shorter blocks keep the pages of a block within the first-level page table. Depth 64 and 256:
# 784 x 128 x 512 152, 129; 784 x 256 x 256 160, 141; 1024 x 1024 x 1024 126, 111.
FAR_STEP_BYTES = 2048
FAR_DEPTH_BLOCK = 64

# Rows of B at least this far apart are first copied close together, if so many rows of A use the
# copy. With and without, 256 deep: 64 x 1024 148, 107; 256 x 1024 174, 156; 256 x 512 183, 174;
# 64 x 512 173, 180; 64 x 256 176, 193; 32 x 512 158, 187.
PACK_STRIDE_BYTES = 1536
PACK_ROWS = 64

# Rows of a tile by its number of vectors, for 32 and for 16 vector registers: as many sums as fit
# beside a row of B and an element of A. 144 x 144 x 144 in panels of 48: 8 x 3 194, 4 x 3 189; as
# 8 x 2 only 179. One vector, 64 x 10 x 64 (counting the 10 columns only): 16 rows 97, 8 rows 85.
TILE_ROWS = {32: {1: 16, 2: 8, 3: 8}, 16: {1: 8, 2: 4, 3: 4}}


@dataclass(frozen=True)
class Strips:
    """`count` equal groups of columns from column `first` on, each `vectors` registers wide."""

    first: int
    count: int
    vectors: int
    ragged: bool = False
    tail: int = 0


def strips_of(columns: int, lanes: int, target: Target) -> list[Strips]:
    """Columns in groups of a few vectors, as equal as possible, the narrow ones last.

    >>> from gradloom.codegen.cpu.target import named_target
    >>> strips_of(64, 16, named_target("x86-64-v4"))
    [Strips(first=0, count=2, vectors=2, ragged=False, tail=0)]
    """
    vectors = -(-columns // lanes)
    groups = -(-vectors // max(TILE_ROWS[target.registers]))
    if not groups:
        return []
    narrow, wide = divmod(vectors, groups)
    strips = [Strips(0, wide, narrow + 1)] if wide else []
    first, count, tail = wide * (narrow + 1) * lanes, groups - wide, columns % lanes
    if not tail:
        return [*strips, Strips(first, count, narrow)]
    if target.has_masks:
        # One kernel for the whole and the ragged groups: a mask costs less than a second kernel.
        return [*strips, Strips(first, count, narrow, ragged=True)]
    if count > 1:
        strips.append(Strips(first, count - 1, narrow))
    last = first + (count - 1) * narrow * lanes
    return [*strips, Strips(last, 1, narrow, ragged=True, tail=tail)]


def tile_rows(rows: int, most: int, *, any_range: bool) -> list[int]:
    """Heights of the tiles to use in turn: full ones, then those that complete `rows` exactly.

    A range known only at run time may end anywhere, so it needs tiles of one row at the end. Those
    are slow, but ranges that end at a multiple of the tile or at the last row do not meet them, and
    each further height costs 4 to 7 ms to compile.

    >>> tile_rows(100, 8, any_range=False)
    [8, 4]
    """
    rest = rows % most
    heights = [most] if rows >= most else []
    heights += [height for height in (8, 4, 2, 1) if rest & height]
    if any_range and 1 not in heights:
        heights.append(1)
    return heights


def depth_block(depth: tuple[int, ...], most: int) -> tuple[int, int]:
    """The axis of depth that blocks of about `most` steps cut, and how many of its iterations one
    holds: of the axes inside it holds all.

    >>> depth_block((700,), 256), depth_block((5, 3, 64), 256), depth_block((3, 300), 256)
    ((0, 234), (0, 1), (1, 150))
    """
    within = 1
    for axis in reversed(range(1, len(depth))):
        if within * depth[axis] > most:
            break
        within *= depth[axis]
    else:
        axis = 0
    size = max(1, depth[axis])
    blocks = -(-size // max(1, most // within))
    return axis, -(-size // blocks)


def emit_product(module: ir.Module, product: Product, target: Target) -> ir.Function:
    """C = A @ B over a range of the outermost axis, as a private function.

    `void name(i64 start, i64 stop, ptr a, ptr b, ptr c)`: the range is of `batch[0]`, or of the
    rows where there is no batch; the pointers are those of the whole operands, and C overlaps
    neither A nor B. Panels want to begin at a multiple of the vector's bytes: 512 x 512 x 512 gives
    182 Gflop/s so, 166 otherwise. B transposed, with stride 1 along k rather than n, costs a copy
    of B per call: 64 x 64 x 128 169 where B with stride 1 along n gives 191.

    Raises ValueError if no axis of B, or not the columns of C, have stride 1.
    """
    if product.name in module.globals:
        return module.globals[product.name]
    single = product.columns <= 1
    c_fits = single or product.c_strides[-1] == 1
    flat = prod(product.depth) <= 1
    b_fits = single or product.panel or flat or 1 in product.b_strides[-2:]
    if not (b_fits and c_fits):
        raise ValueError(
            f"{product.name}: strides {product.b_strides} of B and {product.c_strides} of C leave "
            "no contiguous axis to read or write vectors along; copy the operand"
        )
    function = private(module, product.name, [I64, I64, POINTER, POINTER, POINTER])
    _ProductFunction(function, product, target).emit()
    return function


def _empty(product: Product) -> Product:
    """The same product of nothing, over one axis of depth."""
    axes = len(product.depth)
    a_strides = (*product.a_strides[:-axes], 0)
    b_strides = (*product.b_strides[: -axes - 1], 0, 1) if not product.panel else product.b_strides
    return replace(product, depth=(0,), a_strides=a_strides, b_strides=b_strides)


@dataclass(frozen=True)
class _Block:
    """One block of the product: pointers to its corners, its rows and its depth."""

    a: ir.Value
    b: ir.Value
    c: ir.Value
    rows: ir.Value
    depth: tuple[ir.Value, ...]  # of each axis that the microkernel runs over
    resume: ir.Value


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
        *self.b_depth, self.next_column = (
            (*(product.panel * stride for stride in row_strides(product.depth)), 1)
            if product.panel
            else product.b_strides[-axes - 1 :]
        )
        if product.columns == 1:
            self.next_column = 1
        far = self.a_depth[-1] * ITEMSIZE[product.dtype] >= FAR_STEP_BYTES
        self.cut, self.step = depth_block(product.depth, FAR_DEPTH_BLOCK if far else DEPTH_BLOCK)
        self.inner = product.depth[self.cut + 1 :]
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        self.buffer = self._buffer()

    def _buffer(self) -> ir.Value | None:
        """Stack for a packed strip of B, if B must or should be packed."""
        product = self.product
        far = max(self.b_depth) * ITEMSIZE[product.dtype] >= PACK_STRIDE_BYTES
        if self.next_column == 1 and not (far and product.rows >= PACK_ROWS):
            return None
        depth = self.step * prod(self.inner) + self.lanes - 1  # a transposed square may overhang
        size = depth * self.lanes * max(TILE_ROWS[self.target.registers])
        buffer = self.builder.alloca(ir.ArrayType(self.item, size))
        buffer.align = self.target.vector_bytes
        return buffer

    def emit(self) -> None:
        """Loop over the batch, then over the blocks of each matrix."""
        product = self.product
        start, stop, a, b, c = self.function.args
        with ExitStack() as loops:
            for axis, size in enumerate(product.batch):
                bounds = (I64(0), I64(size)) if axis else (start, stop)
                index = loops.enter_context(counted(self.builder, *bounds, 1))
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
        with counted(builder, start, stop, ROW_BLOCK) as i:
            rows = least(builder, I64(ROW_BLOCK), builder.sub(stop, i))
            a_block, b_block = self._move(a, i, self.sam), b
            c_rows = self._move(c, i, product.c_strides[-2])
            resume, depth = I1(0), I64(0)
            with ExitStack() as loops:
                for axis, size in enumerate(product.depth[: self.cut + 1]):
                    step = self.step if axis == self.cut else 1
                    k = loops.enter_context(counted(builder, I64(0), I64(max(1, size)), step))
                    depth = least(builder, I64(step), builder.sub(I64(size), k))
                    resume = builder.or_(resume, builder.icmp_signed(">", k, I64(0)))
                    a_block = self._move(a_block, k, self.a_depth[axis])
                    b_block = self._move(b_block, k, self.b_depth[axis])
                whole = (depth, *map(I64, self.inner))
                self._columns(_Block(a_block, b_block, c_rows, rows, whole, resume))

    def _columns(self, block: _Block) -> None:
        """All columns of a block, panel by panel where B is in panels."""
        product = self.product
        if not product.panel:
            self._strips(block, product.columns)
            return
        panels, rest = divmod(product.columns, product.panel)
        for first, last, columns in ((0, panels, product.panel), (panels, panels + 1, rest)):
            if first == last or not columns:
                continue
            with counted(self.builder, I64(first), I64(last), 1) as panel:
                b = self._move(block.b, panel, prod(product.depth) * product.panel)
                c = self._move(block.c, panel, product.panel)
                self._strips(replace(block, b=b, c=c), columns)

    def _strips(self, block: _Block, columns: int) -> None:
        """Columns of one panel, or of all of B, strip by strip."""
        for strips in strips_of(columns, self.lanes, self.target):
            wide = strips.vectors * self.lanes
            stop = strips.first + strips.count * wide
            with counted(self.builder, I64(strips.first), I64(stop), wide) as j:
                used = least(self.builder, I64(wide), self.builder.sub(I64(columns), j))
                b, c = self._move(block.b, j, self.next_column), self._move(block.c, j, 1)
                within = replace(block, b=b, c=c)
                plain = [I64(stride) for stride in self.b_depth[self.cut :]]
                if self.buffer is None:
                    self._rows(within, strips, plain, used)
                else:
                    b, ldb = self._packed(within, strips, plain, used)
                    self._rows(replace(within, b=b), strips, ldb, used)

    def _packed(
        self, block: _Block, strips: Strips, plain: list[ir.Value], used: ir.Value
    ) -> tuple[ir.Value, list[ir.Value]]:
        """B and its strides: in the buffer where it must be, or where enough rows pay for it."""
        builder, wide = self.builder, strips.vectors * self.lanes
        strides = [I64(wide * stride) for stride in row_strides((0, *self.inner))]
        if self.next_column != 1:
            self._copy(block, strips, strides, used)
            return self.buffer, strides
        before = builder.block
        with builder.if_then(builder.icmp_signed(">=", block.rows, I64(PACK_ROWS))):
            self._copy(block, strips, strides, used)
            copied = builder.block
        chosen = []
        for there, here in ((block.b, self.buffer), *zip(plain, strides, strict=True)):
            phi = builder.phi(there.type)
            phi.add_incoming(there, before)
            phi.add_incoming(here, copied)
            chosen.append(phi)
        return chosen[0], chosen[1:]

    def _copy(self, block: _Block, strips: Strips, strides: list[ir.Value], used: ir.Value) -> None:
        """A strip of B to the buffer, by stretches of the innermost axis of depth."""
        builder, dtype = self.builder, self.product.dtype
        source, target = block.b, self.buffer
        *outer, depth = block.depth
        with ExitStack() as loops:
            for size, there, here in zip(outer, self.b_depth[self.cut :], strides, strict=False):
                k = loops.enter_context(counted(builder, I64(0), size, 1))
                source, target = self._move(source, k, there), self._move(target, k, here.constant)
            if self.next_column != 1:
                transpose = emit_transpose(builder.module, dtype, self.target)
                place = [source, I64(self.next_column), target, strides[-1], used]
                builder.call(transpose, [depth, *place])
                return
            tile = Tile(dtype, 1, strips.vectors, strips.ragged, strips.tail)
            pack = emit_pack(builder.module, tile, self.target)
            width = self._width(strips, used)
            builder.call(pack, [depth, source, I64(self.b_depth[-1]), target, width])

    def _rows(self, block: _Block, strips: Strips, ldb: list[ir.Value], used: ir.Value) -> None:
        """The rows of one strip, by tiles of fewer and fewer rows."""
        builder, product = self.builder, self.product
        ldc = product.c_strides[-2]
        sak = map(I64, self.a_depth[self.cut :])
        depth = [number for axis in zip(block.depth, sak, ldb, strict=True) for number in axis]
        width = self._width(strips, used)
        done: ir.Value = I64(0)
        most = TILE_ROWS[self.target.registers][strips.vectors]
        for rows in tile_rows(product.rows, most, any_range=not product.batch):
            tile = Tile(product.dtype, rows, strips.vectors, strips.ragged, strips.tail)
            kernel = emit_microkernel(builder.module, tile, self.target, len(block.depth))
            tiles = builder.sdiv(builder.sub(block.rows, done), I64(rows))
            a, c = self._move(block.a, done, self.sam), self._move(block.c, done, ldc)
            operands = [a, I64(self.sam), block.b, c, I64(ldc)]
            builder.call(kernel, [tiles, *operands, width, block.resume, *depth])
            done = builder.add(done, builder.mul(tiles, I64(rows)))

    def _width(self, strips: Strips, used: ir.Value) -> ir.Value:
        """Lanes of the last vector of a strip of which `used` columns exist."""
        return self.builder.sub(used, I64((strips.vectors - 1) * self.lanes))

    def _move(self, pointer: ir.Value, index: ir.Value, stride: int) -> ir.Value:
        """The pointer `index` steps of `stride` elements further."""
        if not stride:
            return pointer
        offset = self.builder.mul(index, I64(stride))
        return self.builder.gep(pointer, [offset], source_etype=self.item)
