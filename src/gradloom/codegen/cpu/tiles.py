"""How a matrix product is cut: columns in strips, rows in tiles, the depth in blocks."""

from __future__ import annotations

from dataclasses import dataclass

from gradloom.codegen.cpu.target import Target

# Vectors of a strip, and rows of a tile by its number of vectors, for 32 and for 16 vector
# registers: as many sums as fit beside a row of B and an element of A. Percent of the peak with
# strips of 2, 3 and 4 vectors: 256 x 256 x 256 77, 82, 83; 512 x 512 x 512 82, 85, 86. One vector,
# 64 x 10 x 64 (counting the 10 columns only): 16 rows 97, 8 rows 85 Gflop/s.
TILE_ROWS = {32: {1: 16, 2: 12, 3: 8, 4: 6}, 16: {1: 8, 2: 4, 3: 4}}
WIDEST = {32: 4, 16: 3}
# Where tiles reach over the last row, one more of them, of at least so many rows, must spare one
# row in so many: of 16 x 64 by 64 x 256, 8 rows took 2.1 us with tiles of 6 and 1.5 with tiles of
# 4, and all 16 the same.
LEAST_ROWS, SPARED = 4, 10


@dataclass(frozen=True)
class Strips:
    """`count` equal groups of columns from column `first` on, each `vectors` registers wide."""

    first: int
    count: int
    vectors: int
    ragged: bool = False
    tail: int = 0


def strips_of(columns: int, lanes: int, target: Target) -> list[Strips]:
    """Columns in groups of a few vectors, the narrow one last.

    >>> from gradloom.codegen.cpu.target import named_target
    >>> strips_of(64, 16, named_target("x86-64-v4"))
    [Strips(first=0, count=1, vectors=4, ragged=False, tail=0)]
    """
    vectors = -(-columns // lanes)
    most = WIDEST[target.registers]
    whole, rest = divmod(vectors, most)
    ragged, tail = bool(columns % lanes), 0 if target.has_masks else columns % lanes
    if rest:
        last = Strips(whole * most * lanes, 1, rest, ragged, tail)
        return [Strips(0, whole, most), last] if whole else [last]
    if not ragged:
        return [Strips(0, whole, most)] if whole else []
    if target.has_masks:
        # One kernel for the whole and the ragged groups: a mask costs less than a second kernel.
        return [Strips(0, whole, most, ragged=True)]
    last = Strips((whole - 1) * most * lanes, 1, most, ragged=True, tail=tail)
    return [Strips(0, whole - 1, most), last] if whole > 1 else [last]


def tile_rows(rows: int, most: int) -> int:
    """The height of the tiles that cover `rows`: as even as possible, at most `most`.

    A tile is computed whole, so one more of them is better where it leaves less over the edge.

    >>> tile_rows(100, 8), tile_rows(20, 8), tile_rows(3, 8), tile_rows(16, 6)
    (8, 7, 3, 4)
    """
    tiles = max(1, -(-rows // most))
    height, lower = (max(1, -(-rows // count)) for count in (tiles, tiles + 1))
    spared = height * tiles - lower * (tiles + 1)
    return lower if lower >= LEAST_ROWS and SPARED * spared > rows else height


def depth_block(depth: tuple[int, ...], most: int) -> tuple[int, int]:
    """The axis of depth that blocks of about `most` steps cut, and how many of its iterations one
    holds: of the axes inside it holds all.

    >>> depth_block((700,), 256), depth_block((5, 3, 64), 256), depth_block((3, 300), 256)
    ((0, 234), (0, 1), (1, 300))
    """
    within = 1
    for axis in reversed(range(1, len(depth))):
        if within * depth[axis] > most:
            break
        within *= depth[axis]
    else:
        axis = 0
    size = max(1, depth[axis])
    blocks = -(-size // max(1, most // within)) if 2 * size * within > 3 * most else 1
    return axis, -(-size // blocks)
