"""Tiles of matrix products on a GPU: what a block computes of the result at a time.

Which tile serves a product best is counted, not measured: no number here or in `plan.device` has
been measured on a GPU yet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from gradloom.ir.types import ITEMSIZE
from gradloom.plan.operands import WIDEST, sources
from gradloom.plan.plan import Product

SIDE = 16  # threads along either side of a tile
# Threads of a block: eight warps, of which a multiprocessor has room for one block at 255 registers
# a thread, and for eight at 32.
THREADS = SIDE * SIDE
WARP = 32
WIDEST_BYTES = 16  # of one access of a thread
CLUSTER = 8  # blocks of one: so many every GPU that has clusters has room for

MULTIPROCESSORS = 128  # of a large GPU, about
# What `mma.sync` of each precision multiplies and adds on a multiprocessor at once, at the most.
TENSORS = {"tensorfloat32": 512, "bfloat16": 1024}
SCALARS = 128  # multiply-adds of float32, likewise
SMALLEST = 32  # rows and columns of a tile that all warps of a block have a share of, by `mma.sync`
SUMS_BYTES = 256  # of a thread, in registers: 64 of float32, or 32 of float64
FEW = 8  # rows, or columns, whose sums a thread has beside each other
LINES = 8  # lanes that read 16 bytes each, of 128 that lie together
DEEP = 128  # indices of depth that a block, or a warp, goes over at once
MEETING = 64  # cycles, about, for a piece of depth beside multiplying it


@dataclass(frozen=True, slots=True)
class Tile:
    """`rows` x `columns` of the result, summed over `depth` at a time that lie in shared memory."""

    rows: int
    columns: int
    depth: int

    @property
    def thin(self) -> bool:
        """Whether it has fewer rows or columns than there are threads along a side, and is summed
        from where its operands lie."""
        return min(self.rows, self.columns) < SIDE


# Ordered: of two that cost the same the first is taken, which reads less.
TILES = (
    Tile(128, 128, 16),
    Tile(128, 64, 16),
    Tile(64, 128, 16),
    Tile(64, 64, 16),
    Tile(64, 32, 32),
    Tile(32, 64, 32),
    Tile(32, 32, 32),
    Tile(64, 16, 32),
    Tile(16, 64, 32),
    Tile(16, 16, 32),
)


def tiles_for(dtype: str, precision: str = "") -> list[Tile]:
    """The tiles that products of a dtype, at a precision of `plan.device.Tiled`, may have."""
    most = THREADS * SUMS_BYTES // ITEMSIZE[dtype]
    least = SMALLEST if precision else SIDE
    return [t for t in TILES if t.rows * t.columns <= most and min(t.rows, t.columns) >= least]


def tile_count(product: Product, tile: Tile) -> int:
    """How many tiles the results of a product have."""
    down = -(-product.rows // tile.rows)
    along = -(-product.columns // tile.columns)
    return math.prod(product.batch) * down * along


def tile_of(product: Product, precision: str = "", blocks: int = MULTIPROCESSORS) -> Tile:
    """The tile with which so many blocks take the fewest cycles, or a thin one, if the product is.

    An element is the same sum in the same order in tiles of any size.
    """
    thin = _thin(product)
    if thin is not None:
        return thin
    tiles = tiles_for(product.dtype, precision)
    return min(tiles, key=lambda tile: _cycles(product, tile, precision, blocks))


def cycles(product: Product, precision: str) -> float:
    """What a product takes, by its tile."""
    return _cycles(product, tile_of(product, precision), precision, MULTIPROCESSORS)


def _thin(product: Product) -> Tile | None:
    """All of the few rows, or columns, and as many of the others as a block goes over at once: a
    line of depth for each of its warps, or `LINES` times what 16 bytes hold."""
    few, side = min(product.rows, product.columns), int(product.columns > product.rows)
    if few > FEW or product.limits or len(product.depth) > 1 or product.depth[0] < DEEP:
        return None
    wide, long = WIDEST // ITEMSIZE[product.dtype], sources(product)[side]
    if product.depth[0] % wide:
        return None
    if long.chunk(product, by_depth=True) > 1:
        lines = THREADS // WARP
    elif long.chunk(product, by_depth=False) > 1:
        lines = LINES * wide
    else:
        return None
    return Tile(few, lines, DEEP) if side else Tile(lines, few, DEEP)


def _cycles(product: Product, tile: Tile, precision: str, blocks: int) -> float:
    """How long a product takes where each multiprocessor has one of the blocks: so many rounds of
    tiles, of which each takes its pieces one after another."""
    rounds = -(-tile_count(product, tile) // blocks)
    pieces = -(-math.prod(product.depth) // tile.depth)
    # For one index of depth: what is copied to shared memory, 128 bytes at a time, and what is read
    # from there, up to 16 bytes a thread, by each of the eight warps at another time.
    size, warps = ITEMSIZE[product.dtype], THREADS // WARP
    copies = (tile.rows + tile.columns) * size / 128
    if precision:
        reads = warps * (tile.rows + tile.columns) / 2 / WARP / 4
    else:
        reads = warps * sum(-(-n // SIDE * size // 16) for n in (tile.rows, tile.columns))
    multiplied = tile.rows * tile.columns / TENSORS.get(precision, SCALARS * 4 // size)
    return rounds * pieces * (MEETING + tile.depth * max(copies + reads, multiplied))
