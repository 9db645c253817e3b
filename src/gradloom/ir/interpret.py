"""The meaning of a graph, in NumPy.  Every target is tested against this."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom.ir.graph import Graph
from gradloom.ir.node import Node
from gradloom.ir.op import Kind
from gradloom.ir.types import COMPLEX, FLOATS, TensorType, TupleType

Values = dict[Node, Any]
WIDE = {**dict.fromkeys(FLOATS, "float64"), **dict.fromkeys(COMPLEX, "complex128")}


def evaluate(
    graph: Graph,
    arrays: Sequence[Any],
    wide: bool = False,
    rounded: Callable[[Any], Any] | None = None,
) -> Values:
    """The value of every node.  With `wide`, all floating point is done in float64; every result
    passes through `rounded` before others read it."""
    values: Values = {
        node: _widened(np.asarray(array), wide)
        for node, array in zip(graph.inputs, arrays, strict=True)
    }
    with np.errstate(all="ignore"):
        for node in graph.nodes():
            if node not in values:
                value = _value(node, values, wide)
                values[node] = rounded(value) if rounded else value
    return values


def interpret(graph: Graph, *arrays: Any, wide: bool = False) -> list[np.ndarray]:
    """Outputs, then updated inputs, of `graph` on `arrays`."""
    values = evaluate(graph, arrays, wide)
    return [values[node] for node in graph.roots]


def _value(node: Node, values: Values, wide: bool) -> Any:
    result = node.op.reference(*(values[n] for n in node.inputs), **dict(node.attrs))
    if isinstance(node.type, TupleType):
        pairs = zip(result, node.type.types, strict=True)
        return tuple(_typed(np.asarray(value), kind, wide) for value, kind in pairs)
    if node.op.kind is Kind.SOURCE or result.__class__ is not np.ndarray:
        result = np.asarray(result)
    return _typed(result, node.type, wide)


def _typed(result: np.ndarray, kind: TensorType, wide: bool) -> np.ndarray:
    return result.astype(WIDE.get(kind.dtype, kind.dtype) if wide else kind.dtype, copy=False)


def _widened(array: np.ndarray, wide: bool) -> np.ndarray:
    return array.astype(WIDE.get(array.dtype.name, array.dtype)) if wide else array
