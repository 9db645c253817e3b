"""Nodes run again on other values: as nodes of a trace, on a tape, or in NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gradloom.frontend.apply import apply
from gradloom.frontend.tensor import Tensor
from gradloom.frontend.trace import Trace, current, lift
from gradloom.ir.graph import substitute, topological
from gradloom.ir.node import Node
from gradloom.ir.op import Kind
from gradloom.ir.source import ITEM


def replay(roots: Sequence[Node], given: Mapping[Node, Any]) -> list[Any]:
    """The values of `roots`, for those of `given`, in the mode that is running."""
    if isinstance(current(), Trace):
        return list(map(Tensor, substitute(roots, {n: lift(v) for n, v in given.items()})))
    values: dict[Node, Any] = dict(given)
    for node in topological(roots, given):
        if node not in values:
            values[node] = _value(node, [values[n] for n in node.inputs])
    return [values[n] for n in roots]


def _value(node: Node, inputs: list[Any]) -> Any:
    attrs = dict(node.attrs)
    if node.op.kind is Kind.SOURCE:
        return node.op.reference(**attrs)
    if node.op is ITEM and isinstance(inputs[0], tuple):
        return inputs[0][attrs["index"]]
    return apply(node.op, *inputs, **attrs)
