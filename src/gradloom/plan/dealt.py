"""What a plan is once it is dealt out among the blocks of a GPU (`plan/device.py`): all that
running and inspecting it reads, without the planner."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gradloom.plan.plan import Nest, Plan, Product, Routine
from gradloom.plan.tiles import THREADS, Tile, tile_count

BLOCK = THREADS  # as a number of lanes: all threads of a block
RESULT = 2  # the operand of a product that it writes


@dataclass(frozen=True, slots=True)
class Spread:
    """How the threads of a block go over a nest, whose sizes are all known.

    The axes `items` number the items, the last of them fastest; `ordered` are the kept axes that
    run within one.  So many `lanes` go over an item's row together: 1, a warp, or a block; or one
    of each warp, where rows lie `across`: the threads of a warp then have neighbouring items.

    A thread takes `width` neighbours along the nest's `vector` axis together, of the row if it is
    shared, else items, of which it has `at_once` such groups in flight.  That asks for addresses
    that are multiples of as many elements; those of the operands `tested` are known only when the
    code runs.
    """

    nest: Nest
    items: tuple[int, ...]
    ordered: tuple[int, ...]
    lanes: int
    across: bool = False
    width: int = 1
    at_once: int = 1
    tested: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        """How many items there are."""
        return math.prod(self.nest.sizes[a] for a in self.items)

    @property
    def grain(self) -> int:
        """Items that the threads of a block take at a time."""
        return THREADS * self.width if self.lanes == 1 else THREADS // self.lanes

    @property
    def longest(self) -> int:
        """The most that a thread counts to."""
        row = self.nest.sizes[len(self.nest.sizes) - self.nest.reduced :]
        return max(self.count, math.prod(row))


@dataclass(frozen=True, slots=True)
class Digit:
    """A loop of an epilogue: `index // step % size`, of the index of an axis of the result, which
    are its batch, its rows and its columns."""

    axis: int
    step: int
    size: int


@dataclass(frozen=True, slots=True)
class Epilogue:
    """What becomes of each element of a product: the nest's loads of operand `RESULT` are the
    element, and its loops the digits of where that lies."""

    nest: Nest
    digits: tuple[Digit, ...]


@dataclass(frozen=True, slots=True)
class Tiled:
    """A product whose items are tiles of its result, and what becomes of each element of them.

    A `precision` is that of what is multiplied, on tensor cores: "tensorfloat32" or "bfloat16";
    without one it is the product's own.
    """

    product: Product
    tile: Tile
    epilogue: Epilogue | None = None
    precision: str = ""

    @property
    def count(self) -> int:
        """How many tiles there are."""
        return tile_count(self.product, self.tile)

    @property
    def grain(self) -> int:
        """Tiles that a block takes at a time."""
        return 1

    @property
    def longest(self) -> int:
        """The most that a thread counts to."""
        return max(self.count, math.prod(self.product.depth))


@dataclass(frozen=True)
class DevicePlan:
    """A plan whose stages have items for an extent, what the function of each name does, and the
    plan before it was dealt out."""

    plan: Plan
    functions: dict[str, Spread | Tiled]
    undealt: Plan
    cluster: bool = False  # whether it is dealt out among the blocks of one

    @property
    def pieces(self) -> frozenset[str]:
        """Routines whose pieces threads take at once."""
        stages = (s for kernel in self.plan.kernels for s in kernel.stages)
        return frozenset(s.code.name for s in stages if isinstance(s.code, Routine) and s.grain)

    @property
    def grains(self) -> int:
        """The most blocks that have something to do in a stage."""
        stages = (stage for kernel in self.plan.kernels for stage in kernel.stages)
        return max((-(-s.extent // s.grain) for s in stages if s.grain), default=1)

    @property
    def width(self) -> int:
        """The most blocks that have something to do between two meetings."""
        widest = found = 0
        for stage in (stage for kernel in self.plan.kernels for stage in kernel.stages):
            grains = -(-stage.extent // stage.grain) if stage.grain else 1
            found = (0 if stage.barrier else found) + grains
            widest = max(widest, found)
        return widest
