"""One reciprocal for many divisions by the same number."""

from __future__ import annotations

from gradloom.ir.graph import Graph, rewrite
from gradloom.ir.node import Node, make
from gradloom.ir.op import OPS, Kind
from gradloom.ir.source import const
from gradloom.ops.arithmetic import divide, quotient

DIVIDE, QUOTIENT = OPS[divide.__name__], OPS[quotient.__name__]

# Quotients by one number from which its reciprocal pays: two vectors of float32, which a core with
# AVX-512 divides in 32 cycles, or in 8 after 16 for the reciprocal.  Steps of models take 0.97
# (residual), 0.98 (transformer) and 0.95 (embedding) of the time (`benchmarks/models`, one thread).
SHARED = 32


def share_reciprocals(graph: Graph) -> Graph:
    """Numbers that divide many others have their reciprocals computed once.

    x / y -> quotient(x, y, 1 / y), for a y that is broadcast to x, to the same bits.
    """
    return rewrite(graph, _by_reciprocal)


def _by_reciprocal(node: Node) -> Node | None:
    if node.op is not DIVIDE:
        return None
    x, y = node.inputs
    if not y.type.is_float or node.type.size < SHARED * _source(y).type.size:
        return None
    return make(QUOTIENT, x, y, _reciprocal(y), where=node.where)


def _source(y: Node) -> Node:
    """The smallest value that `y` is spread out from."""
    while y.op.kind is Kind.MOVE and y.op.spreads and y.inputs[0].type.size < y.type.size:
        (y,) = y.inputs
    return y


def _reciprocal(y: Node) -> Node:
    """That of the source, spread out like `y`."""
    if y is _source(y):
        one = const(1.0, y.type.dtype)
        return make(DIVIDE, one, y, where=y.where)
    return make(y.op, _reciprocal(y.inputs[0]), where=y.where, **dict(y.attrs))
