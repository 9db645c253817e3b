"""What must hold of every graph, checked anew."""

from __future__ import annotations

from gradloom.errors import InternalError
from gradloom.ir.graph import Graph, graphs_of
from gradloom.ir.node import Node
from gradloom.ir.source import PARAMETER


def verify_graph(graph: Graph, stage: str) -> None:
    """Raise `InternalError` unless every type is what its row infers, every parameter is an input,
    and every update has the type of what it replaces."""
    own = set(graph.inputs)
    for node in graph.nodes():
        if node.op is PARAMETER:
            if node not in own:
                _broken(graph, node, stage, "a parameter is not an input")
            continue
        found = node.op.infer(*(n.type for n in node.inputs), **dict(node.attrs))
        if found != node.type:
            _broken(graph, node, stage, f"its row infers {found}, it says {node.type}")
        for inner in graphs_of(node):
            verify_graph(inner, f"{stage}, in the {node.op.name} of {node.where}")
    for target, node in graph.updates:
        if target not in own or target.type != node.type:
            _broken(graph, node, stage, f"it updates {target.type}")


def _broken(graph: Graph, node: Node, stage: str, what: str) -> None:
    lines = graph.text().splitlines()
    at = next((i for i, line in enumerate(lines) if f"= {node.op.name}(" in line), 0)
    around = "\n".join(lines[max(at - 5, 0) : at + 6])
    raise InternalError(
        f"after {stage}: {node!r} ({node.where}): {what}\n{around}\n"
        "Run with GRADLOOM_DEBUG=3 to see the graph after every pass."
    )
