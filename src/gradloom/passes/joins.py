"""Sums of pieces that lie apart, as the pieces side by side."""

from __future__ import annotations

from gradloom.ir.graph import Graph, graphs_of, users, with_graphs
from gradloom.ir.node import Node, make
from gradloom.ir.op import OPS
from gradloom.ops.arithmetic import add
from gradloom.ops.join import CONCATENATE
from gradloom.ops.move import PLACE
from gradloom.passes.loops import rebuilt

ADD = OPS[add.__name__]


def join_pieces(graph: Graph) -> Graph:
    """place(x, 0) + place(y, 4) + place(z, 8)  ->  concatenate(x, y, z), if they fill the whole.

    The cotangent of what was cut into pieces is such a sum.  Pieces side by side can be written
    where they belong by those who compute them (`plan.lower`).
    """
    graph = rebuilt(graph, lambda n: with_graphs(n, join_pieces) if graphs_of(n) else n)
    readers = users(graph.nodes())
    roots = set(graph.roots)
    partial = {
        node
        for node, found in readers.items()
        if node.op is ADD and node not in roots and [n.op for n in found] == [ADD]
    }

    def joined(node: Node) -> Node:
        if node.op is not ADD or node in partial:
            return node
        return _joined(_addends(node, partial)) or node

    return rebuilt(graph, joined)


def _addends(total: Node, partial: set[Node]) -> list[Node]:
    """The addends of a sum, through sums that serve it alone."""
    found: list[Node] = []
    waiting = [total]
    while waiting:
        node = waiting.pop()
        if node is total or (node in partial and node.type == total.type):
            waiting += node.inputs
        else:
            found.append(node)
    return found


def _joined(pieces: list[Node]) -> Node | None:
    """The pieces along the one axis on which they differ from the whole."""
    if any(n.op is not PLACE or set(n["step"]) != {1} for n in pieces):
        return None
    whole = pieces[0].type.shape
    parts = [n.inputs[0] for n in pieces]
    axes = {a for part in parts for a, n in enumerate(part.type.shape) if n != whole[a]}
    if len(axes) != 1:
        return None
    (axis,) = axes
    order = sorted(pieces, key=lambda n: n["start"][axis])
    at = 0
    for piece in order:
        if piece["start"][axis] != at:
            return None
        at += piece.inputs[0].type.shape[axis]
    if at != whole[axis]:
        return None
    return make(CONCATENATE, *(n.inputs[0] for n in order), where=pieces[0].where, axis=axis)
