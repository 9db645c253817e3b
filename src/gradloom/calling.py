"""Functions called under a rule of their own, in a trace or on a tape, and mapped over a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradloom.autodiff.batching import batch, spread
from gradloom.autodiff.forward import kind_of
from gradloom.autodiff.reverse import fit
from gradloom.control.body import Leaf, trace_body
from gradloom.errors import GradloomError, InternalError
from gradloom.frontend.apply import apply_many
from gradloom.frontend.pytree import Structure, flatten, unflatten
from gradloom.frontend.tensor import Tensor, is_weak
from gradloom.frontend.trace import EAGER, current, lift
from gradloom.ir.graph import Graph
from gradloom.ir.source import parameter
from gradloom.ops.call import CALL, Rule
from gradloom.ops.reduce import sum_


class Signature:
    """How a call's leaves make up its arguments and its results: the latter once it has run."""

    def __init__(self, function: Callable[..., Any], structure: Structure) -> None:
        self.function = function
        self.structure = structure
        self.tree: Structure | None = None

    def arguments(self, inputs: Sequence[Any]) -> tuple[Any, ...]:
        """The arguments of these leaves; what follows them are values closed over."""
        args: tuple[Any, ...] = unflatten(self.structure, inputs)
        return args

    def results(self, leaves: Sequence[Any]) -> Any:
        """The tree of results."""
        assert self.tree is not None, "it has run"
        return unflatten(self.tree, leaves)

    def run(self, *arrays: Any) -> tuple[Any, ...]:
        """The leaves of what the function returns."""
        leaves, self.tree = flatten(self.function(*self.arguments(arrays)))
        return tuple(v if isinstance(v, Tensor) else np.asarray(v) for v in leaves)


def call(rule: Rule, signature: Signature, leaves: Sequence[Any]) -> Any:
    """The function of `signature` under `rule`, in whatever mode is running."""
    if current() is EAGER:
        if not any(isinstance(leaf, Tensor) for leaf in leaves):
            return signature.results(rule.run(*leaves))
        return signature.results(apply_many(CALL, *leaves, body=None, rule=rule))
    values = [v if isinstance(v, Tensor) else Tensor(lift(v), is_weak(v)) for v in leaves]
    made = trace_body(
        lambda own: signature.function(*signature.arguments(own)),
        [Leaf.of(v) for v in values],
        hoist=False,
    )
    signature.tree = made.structure
    count = len(made.free)
    inputs = (*made.graph.inputs[count:], *made.graph.inputs[:count])
    operands = (*values, *map(Tensor, made.free))
    body = Graph(inputs, made.graph.outputs)
    return signature.results(apply_many(CALL, *operands, body=body, rule=rule))


@dataclass(frozen=True, eq=False)
class Batched:
    """A rule for every example of a batch: `body` is that of one, and `flags` say which of its
    inputs differ between examples."""

    rule: Rule
    body: Graph
    size: int
    flags: tuple[bool, ...]

    def __str__(self) -> str:
        return f"{self.rule} for each of {self.size}"

    def run(self, *arrays: Any) -> tuple[Any, ...]:
        """Never asked for."""
        raise InternalError("a batched rule was run on a tape, where a batch is a loop")

    def vjp(self, body: Graph | None, g: Any, out: Any, inputs: Sequence[Any]) -> tuple[Any, ...]:
        """The rule's cotangents; of what all examples share, their sum."""
        one = _Example()
        given = one.of(inputs, self.flags)
        results = tuple(one.of(out, [True] * len(out)))
        pulled = self.rule.vjp(
            self.body, tuple(one.of(g, [v is not None for v in g])), results, given
        )
        fitted = [
            p if p is None or isinstance(p, GradloomError) else fit(p, kind_of(x))
            for p, x in zip(pulled, given, strict=True)
        ]
        found = batch(fitted, one.parameters, one.values, self.size)
        return tuple(
            self._gathered(p, f, flag) for p, f, flag in zip(fitted, found, self.flags, strict=True)
        )

    def _gathered(self, one: Any, every: Any, differs: bool) -> Any:
        if one is None or isinstance(one, GradloomError):
            return one
        if differs:
            return spread(self.size, [every is not None], [one if every is None else every])[0]
        return one * self.size if every is None else sum_(every, 0)

    def jvp(
        self, body: Graph | None, tangents: Any, out: Any, inputs: Sequence[Any]
    ) -> tuple[Any, ...]:
        """The rule's tangents."""
        one = _Example()
        given = one.of(inputs, self.flags)
        results = tuple(one.of(out, [True] * len(out)))
        differ = [f and t is not None for f, t in zip(self.flags, tangents, strict=True)]
        pushed = self.rule.jvp(self.body, tuple(one.of(tangents, differ)), results, given)
        found = batch(pushed, one.parameters, one.values, self.size)
        return tuple(
            p if p is None else self._gathered(p, f, differs=True)
            for p, f in zip(pushed, found, strict=True)
        )

    def batched(self, body: Graph, size: int, flags: Sequence[bool]) -> Rule:
        """A batch of batches."""
        return Batched(self, body, size, tuple(flags))


class _Example:
    """Parameters for one example of values that are whole batches."""

    def __init__(self) -> None:
        self.parameters: list[Tensor] = []
        self.values: list[Tensor] = []

    def of(self, values: Sequence[Any], flags: Sequence[bool]) -> list[Any]:
        """One example of each value that has a flag, the others as they are."""
        return [self._one(v) if f else v for v, f in zip(values, flags, strict=True)]

    def _one(self, value: Any) -> Tensor:
        kind = kind_of(value)
        self.values.append(value)
        self.parameters.append(Tensor(parameter(type(kind)(kind.shape[1:], kind.dtype))))
        return self.parameters[-1]
