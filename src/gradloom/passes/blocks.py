"""Large factorisations and triangular systems by smaller ones and products."""

from __future__ import annotations

from gradloom.frontend.tensor import Tensor
from gradloom.frontend.trace import Trace, lift, recording
from gradloom.ir.graph import Graph, rewrite
from gradloom.ir.node import Node, blaming


def cut_into_blocks(graph: Graph) -> Graph:
    """Each routine by the rule of its row for large operands.

    cholesky(x: float32[256,256]) -> factors of 64 x 64 blocks, triangular systems and products
    """

    def rule(node: Node) -> Node | None:
        if node.op.blocks is None:
            return None
        with blaming(node.where):
            found = node.op.blocks(*map(Tensor, node.inputs), **dict(node.attrs))
        return None if found is None else lift(found)

    with recording(Trace()) as trace:
        result = rewrite(graph, rule)
    assert not trace.captured, "a rule for blocks made an array"
    return result
