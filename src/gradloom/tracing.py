"""From a Python function and example leaves to a graph, with what a later call must be given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from gradloom.clock import Clock
from gradloom.errors import TracingError, Where, message, user_where
from gradloom.frontend.pytree import Structure, flatten, paths
from gradloom.frontend.tensor import Tensor, is_number
from gradloom.frontend.trace import Trace, leaked, lift, recording, type_of
from gradloom.ir.graph import Graph
from gradloom.ir.node import Node, forget_twins
from gradloom.ir.source import PARAMETER, parameter
from gradloom.ir.types import TensorType
from gradloom.ops import contract as contract  # what most programs are made of; the rest is late


class Leaf(NamedTuple):
    """What a signature keeps of an argument: its type, and whether it was a Python number."""

    type: TensorType
    weak: bool = False


class Traced(NamedTuple):
    """A graph whose inputs are the given leaves and then the arrays the function closed over."""

    graph: Graph
    structure: Structure  # of the result
    captured: tuple[Any, ...]  # NumPy's arrays, and those on a GPU
    clock: Clock  # of the compilation that begins with it


def leaf_of(value: Any) -> Leaf:
    """The signature of one argument; `DtypeError` for what has no native form."""
    if isinstance(value, Tensor):
        raise leaked(value)
    # A number that int32 cannot hold is no less than int64, whatever it meets.
    weak = is_number(value) and not (type(value) is int and is_wide(value))
    return Leaf(type_of(value, "an argument"), weak)


def is_wide(value: int) -> bool:
    """Whether an integer needs more than 32 bits."""
    return not -(2**31) <= value < 2**31


def record(function: Callable[[list[Tensor]], Any], leaves: Sequence[Leaf]) -> Traced:
    """Run `function` once on traced leaves and keep what it did."""
    forget_twins()
    inputs = tuple(parameter(leaf.type) for leaf in leaves)
    trace = Trace()
    with recording(trace):
        result = function([Tensor(n, f.weak) for n, f in zip(inputs, leaves, strict=True)])
        values, structure = flatten(result)
        for value, path in zip(values, paths(structure), strict=True):
            type_of(value, f"the result at {path}" if structure.children else "the result")
        outputs = tuple(map(lift, values))
    captured = list(trace.captured.values())
    graph = Graph((*inputs, *(node for _, node in captured)), outputs)
    check_closed(graph)
    trace.clock.mark("trace")
    return Traced(graph, structure, tuple(array for array, _ in captured), trace.clock)


def check_closed(graph: Graph) -> None:
    """Every parameter that a graph reads must be one of its own."""
    own = set(graph.inputs)
    for node in graph.nodes():
        if node.op is PARAMETER and node not in own:
            value, where = _leak(graph, node)
            raise TracingError(
                message(
                    f"a traced value ({value.type}, made at {value.where}) leaked out of its trace"
                    " into this one",
                    where or user_where(),
                    "pass it as an argument, and return what you need instead of storing it",
                )
            )


def _leak(graph: Graph, stray: Node) -> tuple[Node, Where | None]:
    """What leaked, as far as it can be told, and the line where it first meets this trace.

    The first node that reads both something of the stray parameter and an input of this graph is
    the use.  Without one, what was first made of the stray parameter is named.
    """
    own, foreign = set(graph.inputs), {stray}
    for node in graph.nodes():
        strays = [n for n in node.inputs if n in foreign]
        if strays and any(n in own for n in node.inputs):
            return strays[0], node.where
        if strays:
            foreign.add(node)
        elif any(n in own for n in node.inputs):
            own.add(node)
    return next((n for n in graph.nodes() if stray in n.inputs), stray), None
