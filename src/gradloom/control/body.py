"""A function as a closed graph: what it reads from around itself becomes an input of the graph."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gradloom.autodiff.batching import batch, spread
from gradloom.errors import DtypeError, ShapeError, StructureError, message, user_where
from gradloom.frontend.pytree import Structure, flatten, paths
from gradloom.frontend.tensor import Tensor, is_number
from gradloom.frontend.trace import Trace, current, lift, recording, type_of
from gradloom.ir.graph import Graph, substitute, topological
from gradloom.ir.node import Node, fresh
from gradloom.ir.op import Kind
from gradloom.ir.source import PARAMETER, parameter
from gradloom.ir.types import TensorType


@dataclass(frozen=True)
class Leaf:
    """One argument of a body: its type, and whether it stands for a Python number."""

    type: TensorType
    weak: bool = False

    @staticmethod
    def of(value: Any) -> Leaf:
        weak = value.weak if isinstance(value, Tensor) else is_number(value)
        return Leaf(type_of(value, "an argument"), weak)


@dataclass(frozen=True)
class Body:
    """A graph whose inputs are first the values `free`, then the parameters of the function."""

    graph: Graph
    free: tuple[Node, ...]
    structure: Structure  # of the result
    weak: tuple[bool, ...]  # which results stand for Python numbers

    @property
    def types(self) -> tuple[TensorType, ...]:
        return tuple(node.type for node in self.graph.outputs)


def trace_body(function: Callable[..., Any], leaves: Sequence[Leaf], hoist: bool) -> Body:
    """Run `function(list of values)` once within the current trace.

    With `hoist`, all that does not depend on the parameters is computed outside, once; without it
    only what was there before, since a branch that is not taken should cost nothing.
    """
    began = fresh()
    inputs = [parameter(leaf.type) for leaf in leaves]
    result = function([Tensor(n, leaf.weak) for n, leaf in zip(inputs, leaves, strict=True)])
    values, structure = flatten(result)
    for value, path in zip(values, paths(structure), strict=True):
        type_of(value, f"the result at {path}" if structure.children else "the result")
    weak = tuple(Leaf.of(value).weak for value in values)
    graph, free = close_over(inputs, tuple(map(lift, values)), None if hoist else began)
    return Body(graph, free, structure, weak)


def close_over(
    inputs: Sequence[Node], outputs: Sequence[Node], began: int | None = None
) -> tuple[Graph, tuple[Node, ...]]:
    """`outputs` as a graph of its own, and the outer values that it takes before `inputs`.

    What does not depend on `inputs` is an outer value, unless it was born after `began`.
    """
    depends = set(inputs)
    inside = set(inputs)
    for node in topological(outputs, inputs):
        if any(n in depends for n in node.inputs):
            depends.add(node)
        recent = began is not None and node.born > began and node.op is not PARAMETER
        if recent or node in depends or _is_cheap(node):
            inside.add(node)
    free: dict[Node, Node] = {}
    seen = set(inputs)
    stack = list(reversed(outputs))
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if node in inside:
            stack += reversed(node.inputs)
        else:
            free[node] = parameter(node.type)
    own = {n: n if n.op is PARAMETER else parameter(n.type) for n in inputs}
    made = substitute(outputs, {**free, **own})
    return Graph((*free.values(), *own.values()), tuple(made)), tuple(free)


def _is_cheap(node: Node) -> bool:
    """A number, an index, or a view that is no smaller than what it shows: better made inside than
    handed over.  A marker stays outside, where a derivative looks for it."""
    if node.op.kind is Kind.MOVE and not node.op.marker:
        return node.type.size >= node.inputs[0].type.size
    return node.op.kind is Kind.SOURCE and node.op is not PARAMETER


def mapped(graph: Graph, size: int, flags: Sequence[bool], inputs: Sequence[Any]) -> list[Any]:
    """The results of a graph for a whole batch, each with a leading axis."""
    plain = {n: lift(x) for n, x, b in zip(graph.inputs, inputs, flags, strict=True) if not b}
    whole = [n for n, b in zip(graph.inputs, flags, strict=True) if b]
    outs = [Tensor(n) for n in substitute(graph.outputs, {**plain, **{n: n for n in whole}})]
    values = [x for x, b in zip(inputs, flags, strict=True) if b]
    found = batch(outs, list(map(Tensor, whole)), values, size)
    grown = [o is not None for o in found]
    return spread(size, grown, [o if f is None else f for o, f in zip(outs, found, strict=True)])


def in_trace(samples: Callable[..., Any]) -> Callable[..., Any]:
    """For the samples of a row that holds graphs: these are made in a trace."""

    @functools.wraps(samples)
    def made(rng: Any, dtype: str) -> Any:
        with recording(current() if isinstance(current(), Trace) else Trace()):
            return samples(rng, dtype)

    return made


Shape = tuple[Structure, Sequence[TensorType]]


def check_alike(of: str, found: Shape, name: str, wanted: Shape) -> None:
    """Raise `StructureError` unless results have the wanted structure and types."""
    if found[0] != wanted[0]:
        what = f"{of} has the structure {found[0]}, but {name} has {wanted[0]}"
        raise StructureError(
            message(what, user_where(), "return the same containers, with the same keys")
        )
    for path, got, want in zip(paths(wanted[0]), found[1], wanted[1], strict=True):
        if want != got:
            place = f" at {path}" if wanted[0].children else ""
            what = f"{of}{place} is {got}, but {name} has {want}"
            repair = "keep shape and dtype the same: convert with .astype(), or reshape"
            error = DtypeError if want.shape == got.shape else ShapeError
            raise error(message(what, user_where(), repair))
