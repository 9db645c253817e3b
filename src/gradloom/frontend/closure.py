"""A function of traced values as a graph of its own, and what it closes over as more inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradloom.frontend.pytree import Structure, flatten
from gradloom.frontend.tensor import Tensor, is_weak
from gradloom.frontend.trace import lift
from gradloom.ir.graph import Graph, substitute, topological
from gradloom.ir.node import Node, fresh
from gradloom.ir.source import PARAMETER, parameter


def closed(
    function: Callable[[list[Tensor]], Any], values: Sequence[Any]
) -> tuple[Graph, list[Tensor], Structure]:
    """The graph of `function` on values of the current trace, the operands to give it, and the
    structure of its result.

    The operands are `values`, and after them the nodes of the trace that the function closes over.
    """
    given = [v if isinstance(v, Tensor) else Tensor(lift(v), is_weak(v)) for v in values]
    start = fresh()
    inputs = [parameter(v.node.type) for v in given]
    pairs = zip(inputs, given, strict=True)
    leaves, structure = flatten(function([Tensor(n, v.weak) for n, v in pairs]))
    outputs = list(map(lift, leaves))
    free = _free(outputs, inputs, start)
    more = [parameter(node.type) for node in free]
    inner = substitute(outputs, dict(zip(free, more, strict=True)))
    body = Graph((*inputs, *more), tuple(inner))
    return body, [*given, *map(Tensor, free)], structure


def _free(outputs: list[Node], inputs: list[Node], start: int) -> list[Node]:
    """What the outputs read that was there before, or is an input of the trace.

    Constants are no inputs: each graph has its own.
    """
    order = topological(outputs, inputs)
    bound: set[Node] = set()
    for node in order:
        if node.op is PARAMETER or any(n in bound for n in node.inputs):
            bound.add(node)
    found: dict[Node, None] = {}
    seen, stack = set(inputs), list(reversed(outputs))
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.op is PARAMETER or (node.born < start and node in bound):
            found[node] = None
        else:
            stack.extend(reversed(node.inputs))
    return list(found)
