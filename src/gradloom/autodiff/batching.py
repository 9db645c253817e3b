"""One more leading axis: nodes rebuilt for operands of which some are a whole batch.

A rule a kind; a row says its own with `Op.batch`.  What depends on no mapped parameter is used as
it is, so a function may close over any value of the surroundings.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

from gradloom.autodiff.reverse import between, operands
from gradloom.errors import MissingError, message, user_where
from gradloom.frontend.apply import apply
from gradloom.frontend.tensor import Tensor
from gradloom.ir.graph import Graph
from gradloom.ir.node import Node, blaming
from gradloom.ir.op import Kind
from gradloom.ir.source import IOTA, ITEM, parameter
from gradloom.ir.types import TensorType, TupleType
from gradloom.ops.contract import contract
from gradloom.ops.move import broadcast_to, expand_dims, lead, moveaxis


def batch(
    outs: Sequence[Any], parameters: Sequence[Tensor], values: Sequence[Any], size: int
) -> list[Any]:
    """`outs` for a whole batch, with `values`, which have a leading axis of `size`, in place of
    `parameters`; None for an out that depends on none of these."""
    order = between([o.node for o in outs if isinstance(o, Tensor)], [p.node for p in parameters])
    found: dict[Any, Any] = {p.node: v for p, v in zip(parameters, values, strict=True)}
    for node, inner in order.items():
        if inner and node not in found:
            with blaming(node.where):
                found[node] = _batched(node, found, size)
    return [found.get(o.node) if isinstance(o, Tensor) else None for o in outs]


def _batched(node: Node, found: dict[Any, Any], size: int) -> Any:
    if node.op is ITEM:
        return found[node.inputs[0]][node["index"]]
    _, plain, attrs = operands(node)
    flags = tuple(n in found for n in node.inputs)
    inputs = tuple(found.get(n, p) for n, p in zip(node.inputs, plain, strict=True))
    if node.op.batch is not None:
        made = node.op.batch(size, flags, *inputs, **attrs)
    else:
        rule = _RULES.get(node.op.kind)
        if rule is None:
            raise _no_rule(node)
        made = rule(node, size, flags, inputs, attrs)
    if isinstance(made, Tensor) and isinstance(made.node.type, TupleType):
        return tuple(apply(ITEM, made, index=i) for i in range(len(made.node.type.types)))
    return made


def _no_rule(node: Node) -> MissingError:
    return MissingError(
        message(
            f"{node.op.name} cannot be mapped over a batch",
            node.where or user_where(),
            "call it outside of gl.vmap, or write the loop with gl.scan",
        )
    )


# ---- a rule a kind


def _elementwise(node: Node, size: int, flags: Any, inputs: Any, attrs: dict[str, Any]) -> Any:
    aligned = (lead(x, node.type.ndim) if b else x for x, b in zip(inputs, flags, strict=True))
    return apply(node.op, *aligned, **attrs)


def _identity(node: Node, size: int, flags: Any, inputs: Any, attrs: dict[str, Any]) -> Any:
    return apply(node.op, *inputs, **attrs)


def _reduce(node: Node, size: int, flags: Any, inputs: Any, attrs: dict[str, Any]) -> Any:
    return apply(node.op, *inputs, **{**attrs, "axes": _later(attrs["axes"])})


def _join(node: Node, size: int, flags: Any, inputs: Any, attrs: dict[str, Any]) -> Any:
    pieces = spread(size, flags, inputs)
    return apply(node.op, *pieces, **{**attrs, "axis": attrs["axis"] + 1})


def _contract(node: Node, size: int, flags: Any, inputs: Any, attrs: dict[str, Any]) -> Any:
    left, right, result = attrs["left"], attrs["right"], attrs["result"]
    label = next(n for n in string.ascii_letters if n not in left + right + result)
    left, right = (label * b + term for b, term in zip(flags, (left, right), strict=True))
    x, y = inputs
    return contract(x, y, left, right, label + result)


def _gather(node: Node, size: int, flags: Any, inputs: Any, attrs: dict[str, Any]) -> Any:
    (whole, *own), (x, *indices) = flags, inputs
    axes = attrs["axes"]
    front = node.type.ndim - (node.inputs[0].type.ndim - len(axes))
    aligned = [lead(i, front) if b else i for i, b in zip(indices, own, strict=True)]
    if not whole:
        return apply(node.op, x, *aligned, **attrs)
    if any(own):
        picked = (_steps(size, front), *aligned)
        return apply(node.op, x, *picked, **{**attrs, "axes": (0, *_later(axes))})
    made = apply(node.op, x, *indices, **{**attrs, "axes": _later(axes)})
    return moveaxis(made, front, 0)


def _scatter(node: Node, size: int, flags: Any, inputs: Any, attrs: dict[str, Any]) -> Any:
    (whole, *own), (updates, *indices) = flags, inputs
    axes, shape = attrs["axes"], (size, *attrs["shape"])
    front = node.inputs[0].type.ndim - (len(shape) - 1 - len(axes))
    if not any(own):
        moved = moveaxis(updates, 0, front)
        return apply(node.op, moved, *indices, **{**attrs, "axes": _later(axes), "shape": shape})
    if not whole:
        updates = broadcast_to(expand_dims(updates, 0), (size, *updates.shape))
    aligned = [lead(i, front) if b else i for i, b in zip(indices, own, strict=True)]
    picked = (_steps(size, front), *aligned)
    return apply(node.op, updates, *picked, **{**attrs, "axes": (0, *_later(axes)), "shape": shape})


def _routine(node: Node, size: int, flags: Any, inputs: Any, attrs: dict[str, Any]) -> Any:
    """Routines work on the last axes, whatever stands before them."""
    return apply(node.op, *spread(size, flags, inputs), **attrs)


def _call(node: Node, size: int, flags: Any, inputs: Any, attrs: dict[str, Any]) -> Any:
    """The body with one more axis, under the rule with one more axis."""
    body, rule = attrs["body"], attrs["rule"]
    whole = Graph(*batched_body(body, flags, size))
    return apply(node.op, *inputs, body=whole, rule=rule.batched(body, size, flags))


# ---- parts


def batched_body(
    body: Graph, flags: Sequence[bool], size: int
) -> tuple[tuple[Node, ...], tuple[Node, ...]]:
    """Inputs and outputs of a graph, of which the inputs that have a flag, and all outputs, have a
    leading axis of `size`."""
    own = [n for n, b in zip(body.inputs, flags, strict=True) if b]
    more = {n: parameter(TensorType((size, *n.type.shape), n.type.dtype)) for n in own}
    outs = list(map(Tensor, body.outputs))
    found = batch(outs, list(map(Tensor, own)), [Tensor(more[n]) for n in own], size)
    wide = spread(
        size,
        [f is not None for f in found],
        [o if f is None else f for o, f in zip(outs, found, strict=True)],
    )
    return tuple(more.get(n, n) for n in body.inputs), tuple(w.node for w in wide)


def spread(size: int, flags: Sequence[bool], inputs: Sequence[Any]) -> list[Any]:
    """All operands with a leading axis: those that have none are repeated along it."""
    return [
        x if b else broadcast_to(expand_dims(x, 0), (size, *x.shape))
        for x, b in zip(inputs, flags, strict=True)
    ]


def _later(axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + 1 for a in axes)


def _steps(size: int, axes: int) -> Any:
    """The number of the batch's member, for indices of which `axes` more axes follow."""
    return apply(IOTA, shape=(size, *(1,) * axes), axis=0, dtype="int64")


_RULES = {
    Kind.ELEMENTWISE: _elementwise,
    Kind.MOVE: _identity,  # those that do move something say so
    Kind.REDUCE: _reduce,
    Kind.JOIN: _join,
    Kind.CONTRACT: _contract,
    Kind.GATHER: _gather,
    Kind.SCATTER: _scatter,
    Kind.ROUTINE: _routine,
    Kind.CALL: _call,
}
