"""Products that a team shares by columns: where B is much the larger operand, of which each of the
team then reads its part, rather than all of it for some of the rows.

Such a product is written as a batch of groups of its columns, and what follows it in its kernel,
element by element, as loops over the same groups: the outermost axis is what a team deals out.
"""

from __future__ import annotations

import math
from dataclasses import replace

from gradloom.ir.affine import Affine
from gradloom.ir.types import ITEMSIZE
from gradloom.plan.loops import map_affines
from gradloom.plan.nest import named
from gradloom.plan.plan import Kernel, Nest, Product, Stage

GROUP = 128  # columns: whole strips of the microkernels, or nearly
# B must have so many bytes, and so many times the columns and the depth that there are rows.  Steps
# by two threads with and without groups, in microseconds: with products of 64 x 1024 x 1024, whose
# B is twice a second-level cache, 7,510 and 9,600; with one of 128 x 512 x 784 1,420 and 1,600.  By
# one thread there is no difference (the models `wide` and `mnist` of benchmarks/team.py).
LARGE_BYTES = 1 << 20
LARGER = 4


def by_columns(kernel: Kernel) -> Kernel:
    """The kernel with its product in groups of columns, where that is how it should be shared."""
    product = next((s.code for s in kernel.stages if isinstance(s.code, Product)), None)
    if kernel.in_blocks or product is None or not _large(product):
        return kernel
    return replace(kernel, stages=tuple(_grouped(stage, product) for stage in kernel.stages))


def _large(product: Product) -> bool:
    """Whether B outweighs A and C, and can be cut."""
    depth = math.prod(product.depth)
    whole = not product.batch and product.columns % GROUP == 0
    nbytes = depth * product.columns * ITEMSIZE[product.dtype]
    larger = LARGER * product.rows <= min(product.columns, depth)
    return whole and larger and nbytes >= LARGE_BYTES


def _grouped(stage: Stage, product: Product) -> Stage:
    code, groups = stage.code, product.columns // GROUP
    if code == product:
        return replace(stage, code=_product(product, groups), extent=groups)
    if not isinstance(code, Nest) or code.reduced or code.vector != 1:
        return stage
    if (stage.extent, *code.sizes[1:]) != (product.rows, product.columns):
        return stage
    return replace(stage, code=_nest(code, stage.extent, groups), extent=groups)


def _product(product: Product, groups: int) -> Product:
    """A batch of groups of columns."""
    grouped = replace(
        product,
        batch=(groups,),
        columns=GROUP,
        a_strides=(0, *product.a_strides),
        b_strides=(GROUP * product.b_strides[-1], *product.b_strides),
        c_strides=(GROUP * product.c_strides[-1], *product.c_strides),
    )
    return named(grouped, "product")


def _nest(nest: Nest, rows: int, groups: int) -> Nest:
    """Loops over groups of columns, rows, and the columns of a group."""
    axes = {0: Affine.axis(1), 1: Affine.axis(0) * GROUP + Affine.axis(2)}
    moved = map_affines(nest, lambda at: at.renumber(axes))
    hint = nest.name.rpartition("_")[0]
    return named(replace(moved, sizes=(groups, rows, GROUP), vector=2), hint)
