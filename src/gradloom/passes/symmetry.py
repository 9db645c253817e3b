"""Square values that are their own transpose, or its negative: what was computed of all pairs."""

from __future__ import annotations

from gradloom.ir.graph import Graph, rewrite
from gradloom.ir.node import Node, make
from gradloom.ir.op import Kind
from gradloom.ops.arithmetic import NEGATIVE
from gradloom.ops.move import BROADCAST, RESHAPE, TRANSPOSE

DEEPEST = 64  # operations that are looked through for one comparison; beyond, nothing is known

Known = dict[tuple[Node, Node], int]


def fold_symmetric(graph: Graph) -> Graph:
    """Columns of a symmetric value are its rows, and its transpose is itself.

    sum(x, axis 0) -> sum(x, axis 1),  transpose(x) -> x  where x[i, j] = x[j, i]

    Of `x[i, j] = -x[j, i]` they are negated, and `sum(-x)` is `-sum(x)` there.  So the forces of
    all pairs, which a reverse sweep adds up along both axes, are added up once, row by row in the
    pass that computes them, and none of the pairs is stored.  Only the order of the terms changes,
    and the sign of zeros.
    """
    known: Known = {}

    def rule(node: Node) -> Node | None:
        if node.op is TRANSPOSE and _square(node):
            return _signed(node.inputs[0], _turned(node.inputs[0], node.inputs[0], known))
        if node.op.kind is Kind.REDUCE and node["axes"] in ((0,), (-2,)):
            return _by_rows(node, known)
        return None

    return rewrite(graph, rule)


def _by_rows(node: Node, known: Known) -> Node | None:
    (x,) = node.inputs
    if not _square(x):
        return None
    sign = _turned(x, x, known)
    if not sign or (sign < 0 and not node.op.linear):
        return None
    while node.op.linear and x.op is NEGATIVE:
        (x,), sign = x.inputs, -sign
    return _signed(make(node.op, x, where=node.where, axes=(1,)), sign)


def _signed(node: Node, sign: int) -> Node | None:
    if sign < 0:
        return make(NEGATIVE, node, where=node.where)
    return node if sign else None


def _square(node: Node) -> bool:
    shape = node.type.shape
    return len(shape) == 2 and shape[0] == shape[1] > 1


def _turned(one: Node, other: Node, known: Known, depth: int = 0) -> int:
    """1 if the matrix `one` is the transpose of `other`, to the bit; -1 if it is the negative of
    that; 0 if neither is known.  Operands of fewer axes count as what they are broadcast to."""
    if (one, other) not in known:
        known[one, other] = 0 if depth == DEEPEST else _compared(one, other, known, depth + 1)
    return known[one, other]


def _compared(one: Node, other: Node, known: Known, depth: int) -> int:
    if one.type.size == other.type.size == 1:
        return int(_line(one) is _line(other))
    if not (_square(one) and _square(other)):
        across = _shape(one) == _shape(other)[::-1] and 1 in _shape(one)
        return int(across and _line(one) is _line(other))
    if TRANSPOSE in (one.op, other.op):
        inner, outer = (one.inputs[0], other) if one.op is TRANSPOSE else (other.inputs[0], one)
        return int(inner is outer)
    if one.op is not other.op or one.attrs != other.attrs:
        return 0
    if one.op is BROADCAST:
        return _turned(one.inputs[0], other.inputs[0], known, depth)
    if one.op.kind is not Kind.ELEMENTWISE:
        return 0
    found = _combined(one, other.inputs, known, depth)
    if not found and len(one.inputs) == 2 and (one.op.commutative or one.op.anticommutative):
        found = _combined(one, other.inputs[::-1], known, depth)
        return -found if one.op.anticommutative else found
    return found


def _combined(one: Node, others: tuple[Node, ...], known: Known, depth: int) -> int:
    """The sign of an operation whose operands are those of `one`, turned and signed."""
    signs = [_turned(x, y, known, depth) for x, y in zip(one.inputs, others, strict=True)]
    if 0 in signs:
        return 0
    negated = signs.count(-1)
    if one.op.negates == "each":
        return -1 if negated % 2 else 1
    if one.op.negates == "first" and negated == signs[:1].count(-1):
        return signs[0]
    if one.op.negates == "all" and negated == len(signs):
        return -1
    return 0 if negated else 1


def _shape(node: Node) -> tuple[int, ...]:
    """The shape as a matrix, of what has at most two axes."""
    shape = node.type.shape
    return shape if len(shape) > 2 else (1,) * (2 - len(shape)) + shape


def _line(node: Node) -> Node:
    """The value whose elements, in their order, are those of a row, a column or a number."""
    while node.op in (RESHAPE, BROADCAST) and node.type.size == node.inputs[0].type.size:
        (node,) = node.inputs
    return node
