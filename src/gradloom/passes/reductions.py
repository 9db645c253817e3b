"""Long reductions in two stages, so that a team can share the first."""

from __future__ import annotations

import math

from gradloom.ir.graph import Graph, rewrite
from gradloom.ir.node import Node, make
from gradloom.ir.op import Kind
from gradloom.ir.types import TensorType
from gradloom.ops.move import RESHAPE

# Elements from which a reduction is long: one core adds so many in 2 to 5 us (plan/costs.py), many
# times a barrier.  With so many results a team shares these instead.
LONG = 1 << 16
RESULTS = 128
# The number of parts is the divisor of the outermost axis that comes nearest to this.
PARTS, FEWEST, MOST = 64, 8, 256

# Elements of a row that is folded by itself.  sum(tanh(x)) of float32[256, 256] takes 29 us by rows
# and 26 by 64 parts, of [512, 512] 100 and 98, of [256, 1024] 100 and 102; where rows of x are
# folded for other sums too, nothing of x is stored.
ROW = 512


def halve_reductions(graph: Graph) -> Graph:
    """A long fold along the outermost axis as a fold of equal parts, and one of their results.

    sum(x: float32[1000000]) -> sum(sum(reshape(x, (64, 15625)), 1), 0)
    sum(x: float32[512, 512]) -> sum(sum(x, 1), 0)

    Rows that are long themselves are the parts: they are folded by whatever computes them.
    The parts follow from the shape alone, so the bits do not depend on who computes them.
    """
    return rewrite(graph, _in_two)


def _in_two(node: Node) -> Node | None:
    if node.op.kind is not Kind.REDUCE or not isinstance(node.type, TensorType):
        return None
    (x,) = node.inputs
    axes: tuple[int, ...] = tuple(sorted(a % x.type.ndim for a in node["axes"]))
    if x.type.size < LONG or node.type.size >= RESULTS or not axes:
        return None
    outermost, shape = axes[0], x.type.shape
    if math.prod(shape[:outermost]) != 1:
        return None
    if shape[outermost] >= FEWEST and math.prod(shape[a] for a in axes[1:]) >= ROW:
        rows = make(node.op, x, where=node.where, axes=axes[1:])
        return make(node.op, rows, where=node.where, axes=(outermost,))
    parts = _parts(shape[outermost])
    if not parts:
        return None
    cut = (*shape[:outermost], parts, shape[outermost] // parts, *shape[outermost + 1 :])
    whole = make(RESHAPE, x, where=node.where, shape=cut)
    first = make(node.op, whole, where=node.where, axes=tuple(a + 1 for a in axes))
    return make(node.op, first, where=node.where, axes=(outermost,))


def _parts(size: int) -> int:
    """How many equal parts to make of an axis; 0 if none is near what is wanted."""
    found = [n for n in range(FEWEST, MOST + 1) if size % n == 0 and n < size]
    return min(found, key=lambda n: abs(math.log(n / PARTS)), default=0)
