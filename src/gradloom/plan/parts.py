"""Products with small results and long sums, in parts of their depth: more tiles for more blocks.

The weight gradient of a convolution has a few hundred rows and columns and sums over all pixels of
all images.  Each part of the sum is a product of its own, of a batch of them, into scratch memory
behind the arena; then the parts are added up, in their order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gradloom.ir.affine import Affine, linear
from gradloom.ir.op import OPS, Kind
from gradloom.ir.types import ITEMSIZE, TensorType, row_strides
from gradloom.plan.arena import padded
from gradloom.plan.nest import named
from gradloom.plan.plan import (
    Buffer,
    Fold,
    Kernel,
    Limit,
    Load,
    Nest,
    Operand,
    Plan,
    Product,
    Stage,
    Store,
)
from gradloom.plan.split import each_kernel
from gradloom.plan.tiles import MULTIPROCESSORS, cycles

SHALLOWEST = 128  # of a part: below, the sums of parts cost as much as they save
STAGE = 2000  # cycles, about, until all blocks have met and begun to add
READ = 16  # bytes that a multiprocessor reads of memory in a cycle, about


def in_parts(plan: Plan, precision: Callable[[Product], str]) -> Plan:
    """The plan with such products in parts, where products have tiles for that precision."""
    scratch = _Scratch(len(plan.buffers), precision)
    parts = tuple(each_kernel(part, scratch.kernel) for part in plan.parts)
    if not scratch.nbytes:
        return plan
    kind = TensorType((scratch.nbytes,), "uint8")
    last = len(plan.kernels) - 1
    buffer = Buffer("parts_of_sums", "arena", kind, padded(plan.arena_bytes), 0, last, None)
    return replace(
        plan,
        parts=parts,
        buffers=(*plan.buffers, buffer),
        arena_bytes=padded(plan.arena_bytes) + scratch.nbytes,
    )


@dataclass
class _Scratch:
    """One buffer, which the products of a plan use in turn."""

    buffer: int
    precision: Callable[[Product], str]
    nbytes: int = 0

    def kernel(self, kernel: Kernel) -> Kernel:
        stages = tuple(s for stage in kernel.stages for s in self._stages(stage))
        return replace(kernel, stages=stages)

    def _stages(self, stage: Stage) -> Sequence[Stage]:
        product = stage.code
        count = parts_of(product, self.precision(product)) if isinstance(product, Product) else 1
        if count == 1:
            return [stage]
        assert isinstance(product, Product)
        shape = (*product.batch, product.rows, product.columns)
        self.nbytes = max(self.nbytes, count * math.prod(shape) * ITEMSIZE[product.dtype])
        a, b, c = stage.operands
        scratch = Operand(self.buffer)
        cut = replace(
            stage,
            code=named(_cut(product, count), "product"),
            operands=(a, b, scratch),
            extent=count,
        )
        total = _total(product, count, shape)
        return [cut, Stage(total, (scratch, c), (1,), shape[0])]


def parts_of(product: Product, precision: str = "") -> int:
    """In how many parts a product takes the fewest cycles; their number divides the outermost axis
    of depth."""
    outer, inner = product.depth[0], math.prod(product.depth[1:])
    deepest = min(outer, outer * inner // SHALLOWEST, MULTIPROCESSORS)
    counts = [1, *(n for n in range(2, deepest + 1) if outer % n == 0)]
    return min(counts, key=lambda count: _cycles(product, count, precision))


def _cycles(product: Product, count: int, precision: str) -> float:
    """What a product in so many parts takes, and their sum."""
    if count == 1:
        return cycles(product, precision)
    results = math.prod((*product.batch, product.rows, product.columns))
    added = count * results * ITEMSIZE[product.dtype] / (MULTIPROCESSORS * READ)
    return cycles(_cut(product, count), precision) + STAGE + added


def _cut(product: Product, count: int) -> Product:
    """A batch of products, each of a part of the outermost axis of depth."""
    size = product.depth[0] // count
    batch = len(product.batch)
    depth_a, depth_b = product.a_strides[batch + 1], product.b_strides[batch]
    shape = (*product.batch, product.rows, product.columns)
    moved = {axis: Affine.axis(axis + 1) for axis in range(batch)}
    return replace(
        product,
        batch=(count, *product.batch),
        depth=(size, *product.depth[1:]),
        a_strides=(depth_a * size, *product.a_strides),
        b_strides=(depth_b * size, *product.b_strides),
        c_strides=(math.prod(shape), *row_strides(shape)),
        limits=tuple(_limit(limit, moved, size) for limit in product.limits),
    )


def _limit(limit: Limit, moved: dict[int, Affine], size: int) -> Limit:
    """A limit where the batch has one more axis, the part, in which the outermost depth begins."""
    low, high = limit.low.renumber(moved), limit.high.renumber(moved)
    if limit.axis == 0:
        before = Affine.axis(0) * (-size * limit.step)
        low, high = low + before, high + before
    return replace(limit, low=low, high=high)


def _total(product: Product, count: int, shape: tuple[int, ...]) -> Nest:
    """The sum over the parts."""
    axes = tuple(Affine.axis(n) for n in range(len(shape)))
    at = linear(axes, row_strides(shape)) + Affine.axis(len(shape)) * math.prod(shape)
    load = Load(0, at, product.dtype)
    store = Store(1, linear(axes, product.c_strides), 1, product.dtype)
    plus = next(row.factors[1] for row in OPS.values() if row.kind is Kind.CONTRACT)
    steps = (load, Fold(plus, 0, product.dtype))
    return named(Nest("", (*shape, count), 1, len(shape) - 1, steps, (store,)), "sum_of_parts")
