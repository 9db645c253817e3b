"""Less memory for more work: values that live across the peak are computed again for late readers.

Of the values that only wait while the most is in memory, every k-th is kept and the others are
computed again from those, segment by segment [Chen, Xu, Zhang and Guestrin, Training Deep Nets with
Sublinear Memory Cost, 2016]; each k is planned, and the plan says what it costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gradloom.ir.graph import Graph
from gradloom.ir.node import Node, make
from gradloom.ir.op import Kind
from gradloom.ir.source import PARAMETER
from gradloom.ops.call import AGAIN
from gradloom.plan.assemble import Layout, lay_out

EVERY = (2, 3, 4, 6, 8, 12, 16, 24, 32, 64)
ROUNDS = 3  # once the peak is lower it may be elsewhere
KINDS = (
    *(Kind.ELEMENTWISE, Kind.REDUCE, Kind.MOVE, Kind.JOIN),
    *(Kind.CONTRACT, Kind.GATHER, Kind.SCATTER),
)


@dataclass(frozen=True)
class _Trial:
    graph: Graph
    layout: Layout
    excess: int


def refitted(graph: Graph, excess: Callable[[int], int]) -> tuple[Graph, int]:
    """A graph with the same results that needs fewer bytes, and what is still too much.

    `excess` says by how many bytes an arena is too large.  Of the graphs that fit the one with the
    fewest operations is taken, else the one with the smallest arena.
    """
    layout = lay_out(graph)
    best = _Trial(graph, layout, excess(layout.arena_bytes))
    for number in range(ROUNDS):
        found = [
            _Trial(tried, laid, excess(laid.arena_bytes))
            for tried in _trials(best, number)
            for laid in [lay_out(tried)]
        ]
        fitting = [t for t in found if t.excess <= 0]
        if fitting:
            chosen = min(fitting, key=lambda t: (t.layout.flops, t.excess))
            return chosen.graph, chosen.excess
        better = min([best, *found], key=lambda t: t.excess)
        if better is best:
            break
        best = better
    return best.graph, best.excess


def _trials(before: _Trial, number: int) -> Iterator[Graph]:
    """Graphs in which fewer and fewer of the waiting values are kept."""
    layout = before.layout
    waiting = [
        node
        for node, (born, dies) in layout.spans.items()
        if born < layout.peak < dies
        and node.op.kind in KINDS
        and layout.peak not in layout.read[node]
    ]
    waiting.sort(key=lambda node: layout.spans[node][0])
    for every in EVERY:
        again = {node for place, node in enumerate(waiting) if (place + 1) % every}
        if every // 2 > len(waiting) or not again:
            break
        yield _recomputing(before.graph, again, layout, -1 - number)


def _recomputing(graph: Graph, chosen: set[Node], layout: Layout, serial: int) -> Graph:
    """The graph with `chosen` computed again for what is computed after the peak."""
    second: dict[Node, Node] = {}  # the copy of a value, apart from the first
    late: dict[Node, Node] = {}  # a value as what comes after the peak reads it
    for node in graph.nodes():
        stored = node in layout.spans
        if node.op is PARAMETER or (stored and node not in chosen):
            second[node] = make(AGAIN, node, where=node.where, serial=serial)
        elif not node.inputs or node.op.kind not in KINDS:
            second[node] = node
        else:
            second[node] = _on(node, second)
        if node in chosen:
            late[node] = second[node]
        elif not node.inputs or (stored and layout.spans[node][0] <= layout.peak):
            late[node] = node
        else:
            late[node] = _on(node, late)
    return Graph(
        graph.inputs,
        tuple(late[n] if n not in chosen else n for n in graph.outputs),
        tuple((target, late[n] if n not in chosen else n) for target, n in graph.updates),
    )


def _on(node: Node, others: dict[Node, Node]) -> Node:
    inputs = tuple(others[n] for n in node.inputs)
    if inputs == node.inputs:
        return node
    return make(node.op, *inputs, where=node.where, **dict(node.attrs))
