"""A graph: what is computed, without an order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from textwrap import indent
from typing import Any, TypeGuard

from gradloom.ir.node import Node, make


@dataclass(frozen=True, slots=True)
class Graph:
    """A pure function of `inputs`, in which each `(input, node)` of `updates` is stored back.

    >>> import numpy as np, gradloom as gl
    >>> print(gl.jit(lambda x: np.sum(x * x)).program(np.ones(3, "f4")).graph)
    inputs v0: float32[3]
    v1: float32[3] = multiply(v0, v0)
    v2: float32[] = sum(v1, axes=(0,))
    return v2
    """

    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]
    updates: tuple[tuple[Node, Node], ...] = ()

    @property
    def roots(self) -> tuple[Node, ...]:
        return (*self.outputs, *(node for _, node in self.updates))

    def nodes(self) -> list[Node]:
        """Operands before their users, inputs first."""
        return topological(self.roots, self.inputs)

    def lines(self) -> tuple[object, ...]:
        """The user's line of every node, and within loops and branches."""
        return tuple(
            (node.where, tuple(inner.lines() for inner in graphs_of(node))) for node in self.nodes()
        )

    def fingerprint(self) -> str:
        """A hash of the text: equal in every process and for equal graphs."""
        return hashlib.sha256(self.text().encode()).hexdigest()

    def text(self, lines: bool = False, serials: dict[Any, int] | None = None) -> str:
        """One line a node; with `lines`, the user's file and line beside it.

        Serial numbers, which tell apart what is computed of the same and name a loop's results, are
        those of the text, or of the text that this is part of: `serials` has the numbers of those
        that were met.
        """
        serials = {} if serials is None else serials
        order = self.nodes()
        names = {node: f"v{i}" for i, node in enumerate(order)}
        out = [f"inputs {', '.join(f'{names[n]}: {n.type}' for n in self.inputs)}"]
        known = set(self.inputs)
        for node in order:
            if node in known:
                continue
            shown = [names[n] for n in node.inputs]
            shown += [f"{key}={_shown(key, value, serials)}" for key, value in node.attrs]
            line = f"{names[node]}: {node.type} = {node.op.name}({', '.join(shown)})"
            out.append(f"{line:<72}  # {node.where}" if lines else line)
        out.append(f"return {', '.join(names[n] for n in self.outputs)}")
        out += [f"update {names[target]} <- {names[node]}" for target, node in self.updates]
        return "\n".join(out)

    def __str__(self) -> str:
        return self.text()


def topological(roots: Iterable[Node], stops: Iterable[Node] = ()) -> list[Node]:
    """`stops` first, then every node that `roots` need, operands before users."""
    order: dict[Node, None] = dict.fromkeys(stops)
    stack = [(node, False) for node in reversed(tuple(roots))]
    while stack:
        node, ready = stack.pop()
        if node in order:
            continue
        if ready:
            order[node] = None
            continue
        stack.append((node, True))
        stack += [(operand, False) for operand in reversed(node.inputs) if operand not in order]
    return list(order)


def users(nodes: Iterable[Node]) -> dict[Node, list[Node]]:
    """Who reads each node."""
    order = list(nodes)
    found: dict[Node, list[Node]] = {node: [] for node in order}
    for node in order:
        for operand in dict.fromkeys(node.inputs):
            if operand in found:
                found[operand].append(node)
    return found


def graphs_of(node: Node) -> tuple[Graph, ...]:
    """The graphs that a node's attributes hold: bodies of loops, branches."""
    found: list[Graph] = []
    for _, value in node.attrs:
        found += [v for v in (value if isinstance(value, tuple) else (value,)) if _is_graph(v)]
    return tuple(found)


def substitute(roots: Iterable[Node], given: Mapping[Node, Node]) -> list[Node]:
    """`roots` with other nodes in the place of some; what depends on none of these stays."""
    roots = tuple(roots)
    done = dict(given)
    for node in topological(roots, given):
        if node not in done:
            done[node] = _on_inputs(node, tuple(done[n] for n in node.inputs))
    return [done[n] for n in roots]


def rewrite(graph: Graph, rule: Callable[[Node], Node | None]) -> Graph:
    """Rebuild bottom-up, the graphs in attributes too, offering each rebuilt node to `rule` until
    it declines."""
    done: dict[Node, Node] = {node: node for node in graph.inputs}
    for node in graph.nodes():
        if node in done:
            continue
        built = _on_inputs(node, tuple(done[n] for n in node.inputs))
        if graphs_of(built):
            built = with_graphs(built, lambda inner: rewrite(inner, rule))
        while (better := rule(built)) is not None:
            built = better
        done[node] = built
    return Graph(
        graph.inputs,
        tuple(done[n] for n in graph.outputs),
        tuple((target, done[n]) for target, n in graph.updates),
    )


def with_graphs(node: Node, change: Callable[[Graph], Graph]) -> Node:
    """The node with the graphs in its attributes changed."""
    attrs = attrs_with(node, change)
    if all(attrs[name] == value for name, value in node.attrs):
        return node
    return make(node.op, *node.inputs, where=node.where, **attrs)


def attrs_with(node: Node, change: Callable[[Graph], Graph]) -> dict[str, Any]:
    """The attributes of a node, the graphs among them changed."""

    def changed(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(changed, value))
        return change(value) if _is_graph(value) else value

    return {name: changed(value) for name, value in node.attrs}


def _on_inputs(node: Node, inputs: tuple[Node, ...]) -> Node:
    if all(new is old for new, old in zip(inputs, node.inputs, strict=True)):
        return node
    return make(node.op, *inputs, where=node.where, **dict(node.attrs))


def _is_graph(value: object) -> TypeGuard[Graph]:
    return isinstance(value, Graph)


def _shown(name: str, value: Any, serials: dict[Any, int]) -> str:
    """An attribute as text; a graph on lines of its own."""
    if name == "serial":
        return str(serials.setdefault(value, len(serials)))
    if name == "ids":
        return str(tuple(serials.setdefault(each, len(serials)) for each in value))
    if isinstance(value, tuple) and any(map(_is_graph, value)):
        return f"({', '.join(_shown(name, v, serials) for v in value)})"
    if _is_graph(value):
        return "{\n" + indent(value.text(serials=serials), "    ") + "\n}"
    return str(value)
