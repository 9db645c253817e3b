"""Copies of operands whose elements lie in the order in which the microkernels read them.

A row stride of a kilobyte or more meets the limits of caches and page tables: rows collide in
few cache sets. B transposed has no vectors along its rows at all.
"""

from llvmlite import ir

from gradloom.codegen.cpu.target import Target
from gradloom.codegen.cpu.vectors import (
    I32,
    I64,
    POINTER,
    Tile,
    Vectors,
    counted,
    lanes_below,
    least,
    private,
)


def emit_pack_rows(
    module: ir.Module, dtype: str, rows: int, unit: str, target: Target
) -> ir.Function:
    """Copy tiles of `rows` rows of A, so that the elements of one k lie one behind the other.

    `void (i64 start, i64 stop, i64 last, ptr a, i64 sam, i64 k, i64 sak, ptr buffer, i64 depth)`:
    the tile of rows from i on begins at `a + min(i, last) * sam` and goes to `buffer +
    (i - start) * depth`.  `unit` names the stride that is 1: "m", "k" or neither; with "k" a tile
    overhangs into the next, so that one must be copied later.
    """
    lanes = target.lanes(dtype)
    name = f"pack_rows_{dtype}x{lanes}_{rows}{unit}"
    if name in module.globals:
        return module.globals[name]
    numbers = [I64, I64, I64, POINTER, I64, I64, I64, POINTER, I64]
    function = private(module, name, numbers)
    start, stop, last, a, sam, k, sak, buffer, depth = function.args
    b = ir.IRBuilder(function.append_basic_block("entry"))
    vectors = Vectors(b, Tile(dtype, 1, 1), target, I64(lanes))
    at, item = vectors.at, vectors.item
    with counted(b, start, stop, rows) as i:
        source = at(a, b.mul(least(b, i, last), sam))
        tile = at(buffer, b.mul(b.sub(i, start), depth))
        if unit == "k" and rows <= lanes:
            # Each square of registers is wider than the tile: its rows overhang into those that are
            # stored next.
            transpose = emit_transpose(module, dtype, target)
            b.call(transpose, [k, source, sam, tile, I64(rows), I64(rows)])
        else:
            kinds = [ir.VectorType(item, rows)] if unit == "m" else [item] * rows
            with counted(b, I64(0), k, 1) as index:
                step, copy = at(source, b.mul(index, sak)), at(tile, b.mul(index, I64(rows)))
                for row, kind in enumerate(kinds):
                    value = b.load(at(step, b.mul(sam, I64(row))), typ=kind, align=vectors.align)
                    b.store(value, at(copy, I64(row)), align=vectors.align)
    b.ret_void()
    return function


def emit_transpose(module: ir.Module, dtype: str, target: Target) -> ir.Function:
    """Copy B, of which column n begins at b + n * ldb and is contiguous, into rows.

    `void (i64 k, ptr b, i64 ldb, ptr buffer, i64 wide, i64 columns)`: element (k, n) goes to
    buffer[k * wide + n]. `wide` is `columns` rounded up to whole vectors, and the buffer has room
    for k rounded up likewise; what lies beyond k or `columns` is not meaningful.
    """
    lanes = target.lanes(dtype)
    name = f"transpose_{dtype}x{lanes}"
    if name in module.globals:
        return module.globals[name]
    function = private(module, name, [I64, POINTER, I64, POINTER, I64, I64])
    k, source, ldb, buffer, wide, columns = function.args
    b = ir.IRBuilder(function.append_basic_block("entry"))
    vectors = Vectors(b, Tile(dtype, lanes, 1), target, I64(lanes))
    whole = I64(0) if target.has_masks else b.and_(k, I64(-lanes))
    with counted(b, I64(0), columns, lanes) as n:
        last = b.sub(columns, I64(1))
        # A column beyond the last is read as the last: inside of B, and never used.
        indices = [least(b, b.add(n, I64(i)), last) for i in range(lanes)]
        starts = [vectors.at(source, b.mul(i, ldb)) for i in indices]
        for low, high, masked in ((I64(0), whole, False), (whole, k, True)):
            if high is whole and target.has_masks:
                continue
            with counted(b, low, high, lanes) as at:
                mask = lanes_below(b, least(b, b.sub(k, at), I64(lanes)), lanes) if masked else None
                square = [_column(vectors, vectors.at(start, at), mask) for start in starts]
                corner = vectors.at(buffer, b.add(b.mul(at, wide), n))
                for i, row in enumerate(_transposed(b, square)):
                    vectors.store(row, vectors.at(corner, b.mul(wide, I64(i))), 0)
    b.ret_void()
    return function


def _column(vectors: Vectors, pointer: ir.Value, mask: ir.Value | None) -> ir.Value:
    return vectors.load(pointer, 0) if mask is None else vectors.load_masked(pointer, mask)


def _transposed(builder: ir.IRBuilder, square: list[ir.Value]) -> list[ir.Value]:
    """A square of registers transposed: exchange halves, then quarters, and so on."""
    lanes = len(square)
    half = lanes // 2
    while half:
        indices = [lane - half + lanes if lane & half else lane for lane in range(lanes)]
        low = ir.Constant(ir.VectorType(I32, lanes), indices)
        high = ir.Constant(low.type, [index + half for index in indices])
        swapped = list(square)
        for i in (i for i in range(lanes) if not i & half):
            pair = square[i], square[i + half]
            swapped[i] = builder.shuffle_vector(*pair, low)
            swapped[i + half] = builder.shuffle_vector(*pair, high)
        square = swapped
        half //= 2
    return square
