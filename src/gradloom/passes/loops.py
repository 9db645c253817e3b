"""Loops and branches made smaller: what is computed twice once, what nobody reads not at all.

A derivative makes a loop anew, with more results: the residuals of the reverse sweep, the tangents
of the forward one.  Its first results are those of the original, whose readers can read them there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from gradloom.ir.graph import Graph, graphs_of, rewrite, substitute, topological, with_graphs
from gradloom.ir.node import Node, make
from gradloom.ir.op import Kind
from gradloom.ir.source import ITEM, PARAMETER


def merge_loops(graph: Graph) -> Graph:
    """Results of a loop are read from the one that computes most besides them.

    item(scan[a, b], 0), item(scan[a, b, residual], 2)  ->  both of the second
    """
    graph = _inside(graph, merge_loops)
    loops = [n for n in graph.nodes() if n.op.flow == "for"]
    homes: dict[Node, Node] = {}
    for loop in sorted(loops, key=lambda n: -len(n["ids"])):
        best = next((m for m in loops if _covers(m, loop) and m not in homes), None)
        if best is not None:
            homes[loop] = best
    if not homes:
        return graph

    def moved(node: Node) -> Node:
        if node.op is not ITEM or node.inputs[0] not in homes:
            return node
        (loop,) = node.inputs
        home = homes[loop]
        index = home["ids"].index(loop["ids"][node["index"]])
        return make(ITEM, home, where=node.where, index=index)

    return merge_loops(rebuilt(graph, moved))


def _covers(more: Node, loop: Node) -> bool:
    """Whether `more` has all results of `loop`, of the same operands, and does not wait for it."""
    if more is loop or not loop["ids"] or not set(loop["ids"]) < set(more["ids"]):
        return False
    own = more.inputs
    last = own[len(own) - len(loop.inputs) :]  # more free values stand before those that it had
    same = loop.inputs in (last, tuple(own[place] for place in more["primal"]))
    return same and loop not in topological(own)


def bind_constants(graph: Graph) -> Graph:
    """A constant that a loop or a branch is handed becomes part of its body, where it costs
    nothing; the operand is then one that nobody reads."""
    return rewrite(graph, _bound)


def _bound(node: Node) -> Node | None:
    attrs: dict[str, Graph | tuple[Graph, ...]]
    if node.op.flow == "for":
        attrs = {"body": _with_constants(node["body"], node.inputs[: node["free"]])}
    elif node.op.flow == "while":
        tests = node["test_free"]
        attrs = {
            "test": _with_constants(node["test"], node.inputs[:tests]),
            "body": _with_constants(node["body"], node.inputs[tests : node["free"]]),
        }
    elif node.op.flow == "branch":
        branches = (_with_constants(branch, node.inputs[1:]) for branch in node["branches"])
        attrs = {"branches": tuple(branches)}
    else:
        return None
    if all(node[name] == value for name, value in attrs.items()):
        return None
    return make(node.op, *node.inputs, where=node.where, **{**dict(node.attrs), **attrs})


def _with_constants(graph: Graph, operands: tuple[Node, ...]) -> Graph:
    pairs = zip(graph.inputs, operands, strict=False)
    known = {param: operand for param, operand in pairs if _is_constant(operand)}
    return Graph(graph.inputs, tuple(substitute(graph.outputs, known))) if known else graph


def _is_constant(node: Node) -> bool:
    """A number or an index, or either moved about."""
    while node.op.kind is Kind.MOVE:
        (node,) = node.inputs
    return node.op.kind is Kind.SOURCE and node.op is not PARAMETER


def prune_loops(graph: Graph) -> Graph:
    """Without results that nobody reads, and operands that are then not needed; without the names
    that told loops apart, so that equal programs are equal."""
    while True:
        used = _used(graph)
        smaller = {node: _pruned(node, found) for node, found in used.items()}
        if all(new.node is old for old, new in smaller.items()):
            return _inside(graph, prune_loops)
        graph = rebuilt(graph, functools.partial(_at_home, smaller))


@dataclass(frozen=True)
class _Smaller:
    """A loop or branch made anew, and where its results are now."""

    node: Node
    places: dict[int, int]


def _used(graph: Graph) -> dict[Node, set[int]]:
    found: dict[Node, set[int]] = {}
    for node in graph.nodes():
        if node.op.kind is Kind.CONTROL:
            found.setdefault(node, set())
        elif node.op is ITEM and node.inputs[0].op.kind is Kind.CONTROL:
            found.setdefault(node.inputs[0], set()).add(node["index"])
    return found


def _at_home(smaller: dict[Node, _Smaller], node: Node) -> Node:
    if node.op is not ITEM or node.inputs[0] not in smaller:
        return node
    found = smaller[node.inputs[0]]
    return make(ITEM, found.node, where=node.where, index=found.places[node["index"]])


def _pruned(node: Node, used: set[int]) -> _Smaller:
    prune: dict[str, Callable[[Node, set[int]], _Smaller]]
    prune = {"for": _counted, "while": _conditional, "branch": _chosen}
    return prune[node.op.flow](node, used)


def _counted(node: Node, used: set[int]) -> _Smaller:
    body, free, carries = node["body"], node["free"], node["carries"]
    kept, reached = _closure(body, set(used), free, carries)
    inputs = [
        i
        for i, param in enumerate(body.inputs)
        if (i - free in kept if free <= i < free + carries else param in reached)
    ]
    return _remade(
        node,
        inputs,
        kept,
        body=_part(body, inputs, kept),
        free=sum(i < free for i in inputs),
        carries=sum(i < carries for i in kept),
        ids=(),
        primal=(),
    )


def _conditional(node: Node, used: set[int]) -> _Smaller:
    test, body, free, tests = node["test"], node["body"], node["free"], node["test_free"]
    checked = _reached(test.outputs)
    asked = {i for i, param in enumerate(test.inputs[tests:]) if param in checked}
    kept, reached = _closure(body, used | asked, free - tests, len(body.outputs))
    of_test = [i for i in range(tests) if test.inputs[i] in checked]
    of_body = [i for i in range(free - tests) if body.inputs[i] in reached]
    return _remade(
        node,
        [*of_test, *(i + tests for i in of_body), *(i + free for i in kept)],
        kept,
        test=_part(test, [*of_test, *(i + tests for i in kept)], [0]),
        body=_part(body, [*of_body, *(i + free - tests for i in kept)], kept),
        free=len(of_test) + len(of_body),
        test_free=len(of_test),
        carries=len(kept),
    )


def _chosen(node: Node, used: set[int]) -> _Smaller:
    branches = node["branches"]
    kept = sorted(used)
    reached = [_reached(b.outputs[i] for i in kept) for b in branches]
    inputs = [
        i
        for i in range(len(branches[0].inputs))
        if any(b.inputs[i] in found for b, found in zip(branches, reached, strict=True))
    ]
    parts = tuple(_part(b, inputs, kept) for b in branches)
    return _remade(node, [0, *(i + 1 for i in inputs)], kept, branches=parts)


def _closure(body: Graph, used: set[int], free: int, carries: int) -> tuple[list[int], set[Node]]:
    """The results that are needed: those used, and every carry that one of them reads."""
    own = {param: i for i, param in enumerate(body.inputs[free : free + carries])}
    kept = set(used)
    while True:
        reached = _reached(body.outputs[i] for i in kept)
        more = {i for param, i in own.items() if param in reached} - kept
        if not more:
            return sorted(kept), reached
        kept |= more


def _reached(outputs: Iterable[Node]) -> set[Node]:
    return set(topological(outputs))


def _part(graph: Graph, inputs: list[int], outputs: list[int]) -> Graph:
    return Graph(tuple(graph.inputs[i] for i in inputs), tuple(graph.outputs[i] for i in outputs))


def _remade(node: Node, inputs: list[int], kept: list[int], **attrs: Any) -> _Smaller:
    given = tuple(node.inputs[i] for i in inputs)
    made = make(node.op, *given, where=node.where, **{**dict(node.attrs), **attrs})
    return _Smaller(made, {old: new for new, old in enumerate(kept)})


# ---- graphs rebuilt


def _inside(graph: Graph, change: Callable[[Graph], Graph]) -> Graph:
    """With the graphs of its loops and branches changed."""
    if not any(graphs_of(node) for node in graph.nodes()):
        return graph
    return rebuilt(graph, lambda node: with_graphs(node, change) if graphs_of(node) else node)


def rebuilt(graph: Graph, change: Callable[[Node], Node]) -> Graph:
    """Every node, as `change` gives it, on operands that were rebuilt before.

    What `change` gives may read nodes of the old graph, which are rebuilt in their turn.
    """
    done: dict[Node, Node] = {node: node for node in graph.inputs}
    stack = [(node, False) for node in graph.roots]
    while stack:
        node, ready = stack.pop()
        if node in done:
            continue
        new = change(node)
        if not ready:
            stack.append((node, True))
            stack += [(n, False) for n in new.inputs if n not in done]
            continue
        inputs = tuple(done[n] for n in new.inputs)
        same = all(a is b for a, b in zip(inputs, new.inputs, strict=True))
        done[node] = new if same else make(new.op, *inputs, where=new.where, **dict(new.attrs))
    return Graph(
        graph.inputs,
        tuple(done[n] for n in graph.outputs),
        tuple((target, done[n]) for target, n in graph.updates),
    )
