"""From a Python function and example leaves to a graph, with what a later call must be given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradloom.errors import TracingError, message, user_where
from gradloom.frontend.pytree import Structure, flatten
from gradloom.frontend.tensor import Tensor
from gradloom.frontend.trace import Trace, lift, recording, type_of
from gradloom.ir.graph import Graph
from gradloom.ir.node import Node
from gradloom.ir.source import PARAMETER, parameter
from gradloom.ir.types import TensorType


@dataclass(frozen=True)
class Leaf:
    """What a signature keeps of an argument: its type, and whether it was a Python number."""

    type: TensorType
    weak: bool


@dataclass(frozen=True)
class Traced:
    """A graph whose inputs are the given leaves and then the arrays the function closed over."""

    graph: Graph
    structure: Structure  # of the result
    captured: tuple[np.ndarray, ...]


def leaf_of(value: Any) -> Leaf:
    """The signature of one argument; `DtypeError` for what has no native form."""
    if isinstance(value, Tensor):
        raise TracingError(
            message(
                f"a traced value ({value.node.type}, made at {value.node.where}) leaked out of"
                " its trace and was passed in here",
                user_where(),
                "return it from the traced function instead of storing it",
            )
        )
    weak = isinstance(value, bool | int | float)
    return Leaf(type_of(value), weak)


def record(function: Callable[[list[Tensor]], Any], leaves: Sequence[Leaf]) -> Traced:
    """Run `function` once on traced leaves and keep what it did."""
    inputs = tuple(parameter(leaf.type) for leaf in leaves)
    trace = Trace()
    with recording(trace):
        result = function([Tensor(n, f.weak) for n, f in zip(inputs, leaves, strict=True)])
        values, structure = flatten(result)
        outputs = tuple(map(lift, values))
    captured = list(trace.captured.values())
    graph = Graph((*inputs, *(node for _, node in captured)), outputs)
    check_closed(graph)
    return Traced(graph, structure, tuple(array for array, _ in captured))


def check_closed(graph: Graph) -> None:
    """Every parameter that a graph reads must be one of its own."""
    own = set(graph.inputs)
    for node in graph.nodes():
        if node.op is PARAMETER and node not in own:
            raise TracingError(
                message(
                    f"a traced value of an earlier or outer trace, {node.type}, leaked into this one",
                    _first_reader(graph, node).where or user_where(),
                    "pass it as an argument, and return what you need instead of storing it",
                )
            )


def _first_reader(graph: Graph, stray: Node) -> Node:
    return next((n for n in graph.nodes() if stray in n.inputs), stray)
