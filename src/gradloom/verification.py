"""A compiled program held against the interpreter, value by value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom.errors import InternalError
from gradloom.ir.graph import Graph
from gradloom.ir.interpret import Values, evaluate
from gradloom.ir.node import Node
from gradloom.ir.types import TupleType
from gradloom.pipeline import Program, compile_graph
from gradloom.plan.fuse import fuse
from gradloom.plan.reads import is_computed
from gradloom.runtime.arrays import in_parts

# Relative to the largest element.  Both sides round, in different orders.  In float32, sums of 10^4
# numbers in [0, 1) differed by 4e-6, a product over 784 terms by 8e-7, twenty sines in a chain by
# 8e-8; the bound leaves room for what multiplies such differences.
TOLERANCE = {"float32": 1e-4, "float64": 1e-10}


def verify(program: Program, arrays: Sequence[np.ndarray]) -> None:
    """Run `program`'s graph compiled and interpreted; raise `InternalError` where they first part.

    Every value that a kernel leaves in memory is compared.  If one is wrong, every value is kept
    and compared, in order, so that the error names the first wrong operation and the user's line.

    Where terms cancel, rounding may be all that is left.  So what differs is compared once more,
    with as much room as the value itself moves when every operation is off by the tolerance.
    """
    graph = program.graph
    arrays = [in_parts(a) for a in arrays]  # as the graph has them after `split_complex`
    meant = evaluate(graph, arrays)
    kept = {node for group in fuse(graph) for node in group.stored}
    stored = [n for n in graph.nodes() if n in kept]
    try:
        _compare_all(graph, stored, arrays, meant, {})
    except InternalError:
        moved = evaluate(graph, arrays, rounded=_shaken(np.random.default_rng(0)))
        try:
            _compare_all(graph, stored, arrays, meant, moved)
        except InternalError:
            each = [n for n in graph.nodes() if is_computed(n) and not _is_several(n)]
            _compare_all(graph, each, arrays, meant, moved)
            raise


def _is_several(node: Node) -> bool:
    return isinstance(node.type, TupleType)


def _shaken(rng: np.random.Generator) -> Callable[[Any], Any]:
    """Moves every element of a floating value by up to the tolerance of its dtype."""

    def rounded(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(rounded, value))
        share = TOLERANCE.get(value.dtype.name, 0)
        if not share:
            return value
        return value * (1 + share * rng.uniform(-1, 1, value.shape)).astype(value.dtype)

    return rounded


def _compare_all(
    graph: Graph, nodes: list[Node], arrays: Sequence[np.ndarray], meant: Values, moved: Values
) -> None:
    watched = compile_graph(Graph(graph.inputs, tuple(nodes)))
    for node, got in zip(nodes, watched.executable(arrays), strict=True):
        wanted = np.asarray(meant[node])
        compare(node, got, wanted, np.asarray(moved.get(node, wanted)))


def compare(
    node: Node, got: np.ndarray, meant: np.ndarray, moved: np.ndarray | None = None
) -> None:
    """Raise `InternalError` unless a compiled value is the interpreter's, up to rounding; `moved`
    is the same value, as far away as rounding may bring it."""
    dtype = node.type.dtype
    with np.errstate(all="ignore"):
        if dtype in TOLERANCE:
            finite = meant[np.isfinite(meant)]
            scale = max(float(np.max(np.abs(finite), initial=0.0)), float(np.finfo(dtype).tiny))
            bound = TOLERANCE[dtype] * scale + _distance(meant, meant if moved is None else moved)
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


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference of two arrays, where it is a number."""
    apart = np.abs(a - b)
    return float(np.max(apart[np.isfinite(apart)], initial=0.0))
