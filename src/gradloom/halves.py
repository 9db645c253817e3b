"""One trace as two programs: what is known at once, and what waits for a linear argument."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradloom.frontend.pytree import flatten, unflatten
from gradloom.frontend.replay import replay
from gradloom.frontend.tensor import Tensor
from gradloom.frontend.trace import lift
from gradloom.ir.graph import topological
from gradloom.ir.node import Node
from gradloom.ir.op import Kind
from gradloom.ir.source import PARAMETER


class Half:
    """What depends on `given`, parameters of the trace, as a function of these and of `residuals`,
    the values of the other half that it reads."""

    def __init__(self, given: Sequence[Tensor], results: Any) -> None:
        leaves, self.structure = flatten(results)
        self.roots = list(map(lift, leaves))
        self.given = list(map(lift, given))
        self.kept = _read(self.roots, self.given)
        self.residuals = list(map(Tensor, self.kept))

    def replayed(self, residuals: Sequence[Any], given: Sequence[Any]) -> Any:
        """The results for values of the residuals and of the parameters."""
        nodes, values = [*self.kept, *self.given], [*residuals, *given]
        found = replay(self.roots, dict(zip(nodes, values, strict=True)))
        return unflatten(self.structure, found)


def _read(roots: Sequence[Node], given: Sequence[Any]) -> list[Node]:
    """The values outside of the half that begins at `given` that it reads.

    What is to be computed again belongs to the half, and so do values that depend on no input.
    Moves are cheaper made again than kept.
    """
    order = topological(roots)
    inside: set[Node] = set(given)
    bound: set[Node] = set()  # what depends on an input of the trace
    for node in order:
        if node.op.apart or any(n in inside for n in node.inputs):
            inside.add(node)
        if node.op is PARAMETER or any(n in bound for n in node.inputs):
            bound.add(node)
    wanted = [n for node in order if node in inside for n in node.inputs]
    found: dict[Node, None] = {}
    for node in (*wanted, *roots):
        if node not in inside and node in bound:
            found[_source(node)] = None
    return list(found)


def _source(node: Node) -> Node:
    """What a value is moved from, if that is no larger."""
    while node.op.kind is Kind.MOVE and node.inputs[0].type.nbytes <= node.type.nbytes:
        (node,) = node.inputs
    return node
