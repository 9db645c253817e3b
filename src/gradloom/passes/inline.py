"""Calls put in their places, once differentiation is over."""

from __future__ import annotations

from gradloom.ir.graph import Graph, rewrite, substitute
from gradloom.ir.node import Node
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
