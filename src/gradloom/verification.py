"""A compiled program held against the interpreter, value by value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gradloom.errors import InternalError
from gradloom.ir.graph import Graph
from gradloom.ir.interpret import Values, evaluate
from gradloom.ir.node import Node
from gradloom.ir.types import TupleType
from gradloom.pipeline import Program, compile_graph
from gradloom.plan.fuse import fuse, is_computed
from gradloom.runtime.arrays import in_parts

# Relative to the largest element.  Both sides round, in different orders.  In float32, sums of 10^4
# numbers in [0, 1) differed by 4e-6, a product over 784 terms by 8e-7, twenty sines in a chain by
# 8e-8; the bound leaves room for what multiplies such differences.
TOLERANCE = {"float32": 1e-4, "float64": 1e-10}


def verify(program: Program, arrays: Sequence[np.ndarray]) -> None:
    """Run `program`'s graph compiled and interpreted; raise `InternalError` where they first part.

    Every value that a kernel leaves in memory is compared.  If one is wrong, every value is kept
    and compared, in order, so that the error names the first wrong operation and the user's line.
    """
    graph = program.graph
    arrays = [in_parts(a) for a in arrays]  # as the graph has them after `split_complex`
    meant = evaluate(graph, arrays)
    kept = {node for group in fuse(graph) for node in group.stored}
    try:
        _compare_all(graph, [n for n in graph.nodes() if n in kept], arrays, meant)
    except InternalError:
        whole = [n for n in graph.nodes() if isinstance(n.type, TupleType)]
        each = [n for n in graph.nodes() if is_computed(n) and n not in whole]
        _compare_all(graph, each, arrays, meant)
        raise


def _compare_all(
    graph: Graph, nodes: list[Node], arrays: Sequence[np.ndarray], meant: Values
) -> None:
    watched = compile_graph(Graph(graph.inputs, tuple(nodes)))
    for node, got in zip(nodes, watched.executable(arrays), strict=True):
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
