"""Matrices that a loop multiplies by in every round, laid out for that before it."""

from __future__ import annotations

from collections.abc import Sequence

from gradloom.ir.graph import Graph, graphs_of, with_graphs
from gradloom.ir.node import Node, make
from gradloom.ir.op import Kind
from gradloom.ir.source import parameter
from gradloom.ir.types import TensorType
from gradloom.ops.move import TRANSPOSE
from gradloom.passes.hoist import upright
from gradloom.passes.loops import rebuilt

Turned = dict[tuple[Node, tuple[int, ...]], Node]  # a fixed value with its axes in this order


def turn_operands(graph: Graph) -> Graph:
    """What a loop's rounds multiply by, and what is the same in all of them, is transposed before
    the loop where the columns of the product do not lie side by side in it.

    A product copies such an operand, round by round: 16 x 256 times the transpose of 64 x 256 takes
    5.1 us in float32, of which the copy is 2.0 (`benchmarks/models`, an LSTM in reverse).
    """
    return rebuilt(graph, _inside)


def _inside(node: Node) -> Node:
    if not graphs_of(node):
        return node
    node = with_graphs(node, turn_operands)
    return _turned(node) if node.op.flow == "for" and node["length"] > 1 else node


def _turned(loop: Node) -> Node:
    body, free = loop["body"], loop["free"]
    turned: Turned = {}
    fixed = body.inputs[:free]
    order = body.nodes()
    found = {n: new for n in order if (new := _upright_product(n, fixed, turned))}
    found |= {
        n: _parameter(n.inputs[0], n["axes"], turned)
        for loop in order
        for n in loop.inputs
        if loop.op.kind is Kind.CONTROL and n.op is TRANSPOSE and n.inputs[0] in fixed
    }
    if not found:
        return loop
    outside = dict(zip(fixed, loop.inputs, strict=False))
    more = [make(TRANSPOSE, outside[param], where=param.where, axes=axes) for param, axes in turned]
    inputs = (*fixed, *turned.values(), *body.inputs[free:])
    wider = rebuilt(Graph(inputs, body.outputs), lambda n: found.get(n, n))
    attrs = {**dict(loop.attrs), "body": wider, "free": free + len(more)}
    given = (*loop.inputs[:free], *more, *loop.inputs[free:])
    return make(loop.op, *given, where=loop.where, **attrs)


def _parameter(operand: Node, axes: tuple[int, ...], turned: Turned) -> Node:
    """What stands in the body for a fixed value with its axes in this order."""
    if (operand, axes) not in turned:
        shape = tuple(operand.type.shape[a] for a in axes)
        turned[operand, axes] = parameter(TensorType(shape, operand.type.dtype))
    return turned[operand, axes]


def _upright_product(node: Node, fixed: Sequence[Node], turned: Turned) -> Node | None:
    """The contraction with its fixed operand so that the axis of its columns is the last."""
    if node.op.kind is not Kind.CONTRACT or not node.type.is_float:
        return None
    sizes = zip(node["result"], node.type.shape, strict=True)
    long = [label for label, size in sizes if size != 1]
    sides = [(node["left"], node.inputs[0]), (node["right"], node.inputs[1])]
    holding = [i for i, (term, _) in enumerate(sides) if len(long) > 1 and long[-1] in term]
    if len(holding) != 1:
        return None
    (side,) = holding
    operand, term = upright(sides[side][1], sides[side][0])
    last = term.index(long[-1])
    if operand not in fixed or all(n == 1 for n in operand.type.shape[last + 1 :]):
        return None
    axes = (*(a for a in range(len(term)) if a != last), last)
    sides[side] = "".join(term[a] for a in axes), _parameter(operand, axes, turned)
    (left, one), (right, other) = sides
    attrs = {"left": left, "right": right, "result": node["result"]}
    return make(node.op, one, other, where=node.where, **attrs)
