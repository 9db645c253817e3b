"""Graphs with a rule of their own, and what checkpoints need: values that are computed again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from gradloom.frontend.apply import apply
from gradloom.frontend.pytree import tree_map
from gradloom.frontend.tensor import Tensor
from gradloom.ir.affine import Index
from gradloom.ir.graph import Graph
from gradloom.ir.interpret import interpret
from gradloom.ir.op import Kind, Op, define
from gradloom.ir.types import TensorType, TupleType


class Rule(Protocol):
    """What a call does instead of what follows from its graph.

    `body` is that graph, or None on a tape, which keeps the function itself.
    """

    def run(self, *arrays: Any) -> tuple[Any, ...]:
        """The results, on a tape."""

    def vjp(self, body: Graph | None, g: Any, out: Any, inputs: Sequence[Any]) -> tuple[Any, ...]:
        """As `Op.vjp`; an error in place of a cotangent is raised if that is asked for."""

    def jvp(
        self, body: Graph | None, tangents: Any, out: Any, inputs: Sequence[Any]
    ) -> tuple[Any, ...]:
        """As `Op.jvp`."""

    def batched(self, body: Graph, size: int, flags: Sequence[bool]) -> Rule:
        """The rule of the call with a leading axis; `body` has none yet."""


def _run(*arrays: Any, body: Graph | None, rule: Rule) -> tuple[Any, ...]:
    return rule.run(*arrays) if body is None else tuple(interpret(body, *arrays))


CALL = define(
    Op(
        "call",
        Kind.CALL,
        lambda *types, body, rule: TupleType(tuple(n.type for n in body.outputs)),
        _run,
        lambda g, out, *inputs, body, rule: rule.vjp(body, g, out, inputs),
        accepts="any",
        returns="results",
        jvp=lambda tangents, out, *inputs, body, rule: rule.jvp(body, tangents, out, inputs),
    )
)


# ---- what checkpoints need


def _same_place(index: Index, x: TensorType, **attrs: Any) -> tuple[Index, tuple[()]]:
    return index, ()


# What is computed of `again(x)` is not what is computed of `x`: it can come later, and need not be
# kept until then.
AGAIN = define(
    Op(
        "again",
        Kind.MOVE,
        lambda x, serial: x,
        lambda x, serial: x,
        lambda g, out, x, serial: (g,),
        accepts="any",
        access=_same_place,
        jvp=lambda tangents, out, x, serial: tangents[0],
        apart=True,
        linear=True,
        samples=lambda rng, dtype: [((rng.uniform(-2, 2, (3, 4)).astype(dtype),), {"serial": 0})],
    )
)
NAMED = define(
    Op(
        "checkpoint_name",
        Kind.MOVE,
        lambda x, name: x,
        lambda x, name: x,
        lambda g, out, x, name: (g,),
        accepts="any",
        access=_same_place,
        linear=True,
        marker=True,
    )
)


def checkpoint_name(x: Any, name: str) -> Any:
    """`x`, a tree, under a name by which a policy of `gl.checkpoint` can ask for it.

    >>> import gradloom as gl, numpy as np
    >>> gl.checkpoint_name(np.ones(2), "hidden")
    array([1., 1.])
    """
    return tree_map(lambda v: apply(NAMED, v, name=name) if isinstance(v, Tensor) else v, x)
