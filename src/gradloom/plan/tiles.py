"""Tiles of matrix products on a GPU: what a block computes of the result at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gradloom.ir.types import ITEMSIZE
from gradloom.plan.plan import Product

SIDE = 16  # threads along either side of a tile
# Threads of a block: eight warps, of which a multiprocessor has room for one block at 255 registers
# a thread, and for eight at 32.
THREADS = SIDE * SIDE
WARP = 32
WIDEST_BYTES = 16  # of one access of a thread

# No threshold here or in `plan.device` has been measured on a GPU yet.
ENOUGH = 64  # tiles, for about half of the multiprocessors of a large GPU


@dataclass(frozen=True, slots=True)
class Tile:
    """`rows` x `columns` of the result, summed over `depth` at a time that lie in shared memory;
    each of 16 x 16 threads has a sixteenth of both."""

    rows: int
    columns: int
    depth: int

    def shared_bytes(self, dtype: str) -> int:
        """What the pieces of A and B take that are being multiplied."""
        return (self.rows + self.columns) * self.depth * ITEMSIZE[dtype]


TILES = (Tile(128, 128, 16), Tile(64, 64, 16), Tile(32, 32, 32), Tile(16, 16, 32))


def tile_count(product: Product, tile: Tile | None = None) -> int:
    """How many tiles the results of a product have."""
    tile = tile or tile_of(product)
    down = -(-product.rows // tile.rows)
    along = -(-product.columns // tile.columns)
    return math.prod(product.batch) * down * along


def tile_of(product: Product) -> Tile:
    """The largest tile of which there are enough, or the smallest that is not mostly empty."""
    widest = 128 if product.dtype == "float32" else 64  # registers: 8 x 8 sums, or 4 x 4
    fitting = [t for t in TILES if t.rows <= widest]
    for tile in fitting:
        enough = tile_count(product, tile) >= ENOUGH
        if enough and min(product.rows, product.columns) >= tile.rows // 2:
            return tile
    return fitting[-1] if min(product.rows, product.columns) <= SIDE else fitting[-2]
