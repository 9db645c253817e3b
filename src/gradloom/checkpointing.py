"""`gl.checkpoint`: less memory for more work, as a policy says."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from gradloom.autodiff.forward import push
from gradloom.autodiff.reverse import close, mark, pull
from gradloom.calling import Signature, call
from gradloom.errors import InternalError
from gradloom.frontend.pytree import flatten
from gradloom.frontend.tensor import Tensor
from gradloom.frontend.trace import Trace, current, lift
from gradloom.ir.graph import Graph, substitute, topological
from gradloom.ir.node import Node, fresh, make
from gradloom.ir.op import Kind
from gradloom.ops.call import AGAIN, NAMED, Rule
from gradloom.transform import check_callable, positions

Policy = Callable[[Node], bool]


def checkpoint(
    function: Callable[..., Any],
    *,
    policy: Policy | None = None,
    static_argnums: int | Sequence[int] = (),
) -> Callable[..., Any]:
    """`function`, whose intermediate values the reverse sweep computes again instead of keeping.

    The values and derivatives are the same.  `policy` says what is kept all the same: one of
    `gl.checkpoint_policies`, nothing by default.  Arguments `static_argnums` may be anything.

    >>> import gradloom as gl, numpy as np
    >>> float(gl.grad(gl.checkpoint(lambda x: np.sin(np.sin(x))))(0.0))
    1.0
    """
    check_callable(function, "checkpoint")
    static = (static_argnums,) if isinstance(static_argnums, int) else tuple(static_argnums)

    @functools.wraps(function)
    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        if not isinstance(current(), Trace):
            return function(*args, **kwargs)  # a tape keeps what it has done
        fixed = set(positions(static, len(args), "static_argnums"))
        moving = tuple(a for i, a in enumerate(args) if i not in fixed)
        leaves, structure = flatten((moving, kwargs))

        def called(given: tuple[Any, ...], named: dict[str, Any]) -> Any:
            rest = iter(given)
            full = [a if i in fixed else next(rest) for i, a in enumerate(args)]
            return function(*full, **named)

        signature = Signature(called, structure)
        return call(_Checkpoint(policy or _nothing_saveable), signature, leaves)

    return checkpointed


class _Checkpoint:
    """The rule of a checkpointed call."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def __str__(self) -> str:
        return f"checkpoint({getattr(self.policy, '__name__', 'policy').strip('_')})"

    def run(self, *arrays: Any) -> tuple[Any, ...]:
        """Never asked for."""
        raise InternalError("a checkpoint was run on a tape, which keeps what it has done")

    def vjp(self, body: Graph | None, g: Any, out: Any, inputs: Sequence[Any]) -> tuple[Any, ...]:
        """The sweep through a second copy of the body, in which what is kept is that of the first.

        The copy is differentiated whole, since a value that is kept depends on the arguments no
        less than others.  What follows from kept values must stay apart from the first copy too:
        equal nodes are one, and then they would be kept.
        """
        assert body is not None
        serial = fresh()
        whole = self.policy is _everything_saveable
        marks = mark(inputs if whole else [Tensor(_again(lift(x), serial)) for x in inputs])
        try:
            first = _values(body, inputs)
            second = _values(body, marks)
            pulled = pull([Tensor(second[n]) for n in body.outputs], marks, list(g))
        finally:
            close(marks)
        if whole:
            return tuple(pulled)
        kept = {lift(v): lift(v) for v in (*inputs, *g) if v is not None}  # and nothing before them
        for node, again in second.items():
            if node not in body.inputs and again is not first[node] and self.policy(node):
                kept[again] = _again(first[node], serial)
        found = [p for p in pulled if p is not None]
        nodes = iter(substitute([lift(p) for p in found], kept))
        return tuple(None if p is None else Tensor(next(nodes)) for p in pulled)

    def jvp(
        self, body: Graph | None, tangents: Any, out: Any, inputs: Sequence[Any]
    ) -> tuple[Any, ...]:
        """Nothing is kept for a forward sweep."""
        assert body is not None
        marks = mark(inputs)
        try:
            values = _values(body, marks)
            return tuple(push([Tensor(values[n]) for n in body.outputs], marks, tangents))
        finally:
            close(marks)

    def batched(self, body: Graph, size: int, flags: Sequence[bool]) -> Rule:
        """The same: the rule takes the body as it finds it."""
        return self


def _again(node: Node, serial: int) -> Node:
    return make(AGAIN, node, serial=serial) if node.type.dtype != "tuple" else node


def _values(body: Graph, inputs: Sequence[Any]) -> dict[Node, Node]:
    """For every node of a graph the node that it is on these inputs."""
    order = topological(body.outputs, body.inputs)
    given = {n: lift(v) for n, v in zip(body.inputs, inputs, strict=True)}
    return dict(zip(order, substitute(order, given), strict=True))


# ---- policies


def _everything_saveable(node: Node) -> bool:
    return True


def _nothing_saveable(node: Node) -> bool:
    return False


def _dots_saveable(node: Node) -> bool:
    return node.op.kind is Kind.CONTRACT


def _dots_with_no_batch_dims_saveable(node: Node) -> bool:
    if node.op.kind is not Kind.CONTRACT:
        return False
    return not set(node["left"]) & set(node["right"]) & set(node["result"])


def _save_only_these_names(*names: str) -> Policy:
    def save_only_these_names(node: Node) -> bool:
        return node.op is NAMED and node["name"] in names

    return save_only_these_names


def _save_any_names_but_these(*names: str) -> Policy:
    def save_any_names_but_these(node: Node) -> bool:
        return node.op is NAMED and node["name"] not in names

    return save_any_names_but_these


class checkpoint_policies:  # noqa: N801  (a namespace, under JAX's name)
    """What a checkpointed function keeps for its reverse sweep.

    A policy is a function of a node of the graph that says whether its value is kept.
    """

    everything_saveable = staticmethod(_everything_saveable)
    nothing_saveable = staticmethod(_nothing_saveable)
    dots_saveable = staticmethod(_dots_saveable)
    dots_with_no_batch_dims_saveable = staticmethod(_dots_with_no_batch_dims_saveable)
    save_only_these_names = staticmethod(_save_only_these_names)
    save_any_names_but_these = staticmethod(_save_any_names_but_these)
