"""Rewrites that need no cost model: they make a graph smaller and change no bit of its results."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.ir.affine import Affine
from gradloom.ir.graph import Graph, rewrite
from gradloom.ir.node import Node, make
from gradloom.ir.op import Kind
from gradloom.ir.source import CONST, const, constant_of
from gradloom.ir.types import FLOATS
from gradloom.ops.move import BROADCAST, RESHAPE


def drop_markers(graph: Graph) -> Graph:
    """Differentiation is over, so its markers are plain aliases.

    mark(x) -> x,  stop_gradient(x) -> x
    """
    return rewrite(graph, lambda n: n.inputs[0] if n.op.marker else None)


def simplify(graph: Graph) -> Graph:
    """Local identities, by the facts in the rows.

    op(x, unit) -> x,  move(x) of the same type and place -> x,  op(constants) -> constant,
    op(merge(x), y) -> merge(op(x, split(y))) where x is computed and merge joins axes
    """
    return rewrite(graph, _rule)


def _rule(node: Node) -> Node | None:
    if node.op.kind is Kind.ELEMENTWISE:
        return _without_unit(node) or _folded(node) or _before_merge(node)
    if node.op.kind is Kind.MOVE:
        return _joined_moves(node)
    return None


def _without_unit(node: Node) -> Node | None:
    """Only where the bits stay: `x + 0.0` is not `x` for -0.0, but `x + -0.0` is."""
    unit = node.op.unit
    if unit is None or len(node.inputs) != 2:
        return None
    left, right = node.inputs
    if left.type == node.type and _is_number(right, unit):
        return left
    if node.op.commutative and right.type == node.type and _is_number(left, unit):
        return right
    return None


def _is_number(node: Node, number: float) -> bool:
    while node.op.kind is Kind.MOVE and node.op.spreads:
        (node,) = node.inputs
    if node.op is not CONST:
        return False
    value = constant_of(node["value"], node["dtype"])
    same = value == number
    return same and (node["dtype"] not in FLOATS or np.signbit(value) == np.signbit(number))


def _folded(node: Node) -> Node | None:
    """A 0-d result of constants is a constant."""
    if node.type.shape or any(n.op is not CONST for n in node.inputs):
        return None
    values = [np.frombuffer(n["value"], n["dtype"])[0] for n in node.inputs]
    with np.errstate(all="ignore"):
        return const(node.op.reference(*values, **dict(node.attrs)), node.type.dtype)


def _before_merge(node: Node) -> Node | None:
    """What follows a reshape that joins axes is computed before it, in one pass with what the
    reshape is of: an element of the joined axes would be found by a division, so no index
    expression leads back to it, but one leads from there to every element of other operands."""
    shape = next((n.inputs[0].type.shape for n in node.inputs if _merges(n)), None)
    if shape is None or not node.type.size:
        return None
    inputs = [_apart(n, node.type.shape, shape) for n in node.inputs]
    whole = tuple(n for n in inputs if n is not None)
    if len(whole) < len(inputs):
        return None
    made = make(node.op, *whole, where=node.where, **dict(node.attrs))
    return make(RESHAPE, made, where=node.where, shape=node.type.shape)


def _merges(node: Node) -> bool:
    if node.op is not RESHAPE or _access(node) is not None:
        return False
    (x,) = node.inputs
    while x.op.kind is Kind.MOVE and x.type.size == node.type.size:
        (x,) = x.inputs
    return x.op.kind is Kind.ELEMENTWISE  # else it is in memory, or is best read in one piece


def _apart(node: Node, joined: tuple[int, ...], shape: tuple[int, ...]) -> Node | None:
    """An operand of something of the shape `joined`, for the same of another shape."""
    if not node.type.shape:
        return node
    if node.op is RESHAPE and node.inputs[0].type.shape == shape and node.type.shape == joined:
        return node.inputs[0]
    if node.type.shape != joined:
        node = make(BROADCAST, node, where=node.where, shape=joined)
    made = make(RESHAPE, node, where=node.where, shape=shape)
    return None if _access(made) is None else made


def _access(node: Node) -> Any:
    index = tuple(Affine.axis(d) for d in range(node.type.ndim))
    assert node.op.access is not None
    return node.op.access(index, node.inputs[0].type, **dict(node.attrs))


def _joined_moves(node: Node) -> Node | None:
    """A move that changes nothing goes; two of the same row that compose become one."""
    (x,) = node.inputs
    if node.op.apart:
        return None
    if x.type == node.type and _keeps_place(node):
        return x
    if x.op is not node.op:
        return None
    if set(dict(node.attrs)) == {"shape"}:  # reshapes and broadcasts: the last shape counts
        return make(node.op, *x.inputs, where=node.where, shape=node["shape"])
    if set(dict(node.attrs)) == {"axes"}:
        axes = tuple(x["axes"][a] for a in node["axes"])
        return make(node.op, *x.inputs, where=node.where, axes=axes)
    return None


def _keeps_place(node: Node) -> bool:
    return _access(node) == (tuple(Affine.axis(d) for d in range(node.type.ndim)), ())
