"""How the operands of a product lie in a GPU's memory, and how much of them can be read at once."""

from __future__ import annotations

from dataclasses import dataclass

from gradloom.ir.types import ITEMSIZE
from gradloom.plan.plan import Product

WIDEST = 16  # bytes of one copy, load or store


@dataclass(frozen=True, slots=True)
class Source:
    """An operand in memory: `count` rows of A, or columns of B.  Strides are in elements: between
    those, along the batch, and along depth."""

    count: int
    stride: int
    batch: tuple[int, ...]
    depth: tuple[int, ...]
    start: int

    def chunk(self, product: Product, *, by_depth: bool) -> int:
        """How many elements lie together and can be copied at once, wherever one begins: all of
        them inside, or none, and aligned if the operand is."""
        most = WIDEST // ITEMSIZE[product.dtype]
        if by_depth:
            along, others, size = self.depth[-1], (self.stride, *self.depth[:-1]), product.depth[-1]
            cut = any(limit.axis == len(product.depth) - 1 for limit in product.limits)
        else:
            along, others, size, cut = self.stride, self.depth, self.count, False
        whole = all(n % most == 0 for n in (size, self.start, *others, *self.batch))
        return most if along == 1 and whole and not cut else 1


def sources(product: Product) -> tuple[Source, Source]:
    """A and B."""
    batch = len(product.batch)
    a, b = product.a_strides, product.b_strides
    start_a, start_b = product.before
    return (
        Source(product.rows, a[batch], a[:batch], a[batch + 1 :], start_a),
        Source(product.columns, b[-1], b[:batch], b[batch:-1], start_b),
    )
