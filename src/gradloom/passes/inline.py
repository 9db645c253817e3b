"""Calls put in their places, once differentiation is over; and what is computed again, numbered."""

from __future__ import annotations

from collections.abc import Iterator

from gradloom.ir.graph import Graph, graphs_of, rewrite, substitute
from gradloom.ir.node import Node, make
from gradloom.ir.op import Kind
from gradloom.ir.source import ITEM


def inline(graph: Graph) -> Graph:
    """A call is the graph that it holds.

    item(call(x, body), i) -> the i-th output of body, with x for its inputs
    """
    results: dict[Node, list[Node]] = {}

    def rule(node: Node) -> Node | None:
        if node.op is not ITEM or node.inputs[0].op.kind is not Kind.CALL:
            return None
        (call,) = node.inputs
        if call not in results:  # the calls in its body are in their places already
            body = call["body"]
            given = dict(zip(body.inputs, call.inputs, strict=True))
            results[call] = substitute(body.outputs, given)
        return results[call][node["index"]]

    return rewrite(graph, rule)


def number(graph: Graph) -> Graph:
    """What is computed again is told apart by numbers in the order of the graph: the same in every
    process, so that a later one finds the program in the cache.

    again(x, serial=4711) -> again(x, serial="0")
    """
    order: dict[int, int] = {}
    for node in _every(graph):
        if node.op.apart:
            order.setdefault(node["serial"], len(order))

    def rule(node: Node) -> Node | None:
        if not node.op.apart or isinstance(node["serial"], str):
            return None
        return make(node.op, *node.inputs, where=node.where, serial=str(order[node["serial"]]))

    return rewrite(graph, rule) if order else graph


def _every(graph: Graph) -> Iterator[Node]:
    for node in graph.nodes():
        yield node
        for inner in graphs_of(node):
            yield from _every(inner)
