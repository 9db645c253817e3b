"""A compiled program held against the interpreter, value by value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gradloom.errors import InternalError
from gradloom.ir.graph import Graph
from gradloom.ir.interpret import evaluate
from gradloom.ir.node import Node
from gradloom.pipeline import Program, compile_graph
from gradloom.plan.fuse import fuse

# Relative to the largest element.  Both sides round, in different orders: float32 sums of 10^4 terms
# of one size were seen to differ by 2e-6 of it, chains of forty operations by 1e-5.
TOLERANCE = {"float32": 1e-4, "float64": 1e-10}


def verify(program: Program, arrays: Sequence[np.ndarray]) -> None:
    """Run `program`'s graph compiled and interpreted; raise `InternalError` where they first part.

    Every value that a kernel leaves in memory is compared, in order, so the error names the first
    wrong one and the user's line that asked for it.
    """
    graph = program.graph
    nodes = [node for group in fuse(graph) for node in group.stored]
    order = {node: i for i, node in enumerate(graph.nodes())}
    nodes.sort(key=order.__getitem__)
    watched = compile_graph(Graph(graph.inputs, tuple(nodes)))
    found = watched.executable(arrays)
    meant = evaluate(graph, arrays)
    for node, got in zip(nodes, found, strict=True):
        compare(node, got, np.asarray(meant[node]))


def compare(node: Node, got: np.ndarray, meant: np.ndarray) -> None:
    """Raise `InternalError` unless a compiled value is the interpreter's, up to rounding."""
    dtype = node.type.dtype
    with np.errstate(all="ignore"):
        if dtype in TOLERANCE:
            finite = meant[np.isfinite(meant)]
            scale = max(float(np.max(np.abs(finite), initial=0.0)), float(np.finfo(dtype).tiny))
            bound = TOLERANCE[dtype] * scale
            good = np.allclose(got, meant, rtol=TOLERANCE[dtype], atol=bound, equal_nan=True)
        else:
            good = np.array_equal(got, meant)
    if good:
        return
    raise InternalError(
        f"the compiled {node.op.name} of type {node.type}, asked for at {node.where}, differs from"
        f" the interpreter: it gives\n{got}\nand should give\n{meant}\n"
        "Run again with gl.settings(interpret=True) to go on without the compiler."
    )
