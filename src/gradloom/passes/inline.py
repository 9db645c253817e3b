"""Calls put in their places, once differentiation is over; and what is computed again, numbered."""

from __future__ import annotations

from gradloom.ir.graph import Graph, rewrite, substitute
from gradloom.ir.node import Node, make
from gradloom.ir.op import Kind
from gradloom.ir.source import ITEM


def inline(graph: Graph) -> Graph:
    """A call is the graph that it holds.

    item(call(x, body), i) -> the i-th output of body, with x for its inputs
    """
    bodies: dict[Graph, Graph] = {}
    results: dict[Node, list[Node]] = {}

    def rule(node: Node) -> Node | None:
        if node.op is not ITEM or node.inputs[0].op.kind is not Kind.CALL:
            return None
        (call,) = node.inputs
        if call not in results:
            body = call["body"]
            if body not in bodies:
                bodies[body] = rewrite(body, rule)
            inner = bodies[body]
            given = dict(zip(inner.inputs, call.inputs, strict=True))
            results[call] = substitute(inner.outputs, given)
        return results[call][node["index"]]

    return rewrite(graph, rule)


def number(graph: Graph) -> Graph:
    """What is computed again is told apart by numbers in the order of the graph: the same in every
    process, so that a later one finds the program in the cache."""
    order: dict[int, int] = {}
    for node in graph.nodes():
        if node.op.apart:
            order.setdefault(node["serial"], len(order))
    if not order:
        return graph
    done = {node: node for node in graph.inputs}
    for node in graph.nodes():
        if node in done:
            continue
        inputs = tuple(done[n] for n in node.inputs)
        attrs = dict(node.attrs)
        if node.op.apart:
            attrs["serial"] = order[attrs["serial"]]
        same = inputs == node.inputs and tuple(sorted(attrs.items())) == node.attrs
        done[node] = node if same else make(node.op, *inputs, where=node.where, **attrs)
    return Graph(
        graph.inputs,
        tuple(done[n] for n in graph.outputs),
        tuple((target, done[n]) for target, n in graph.updates),
    )
