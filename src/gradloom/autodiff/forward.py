"""The forward sweep: tangents carried along nodes (a graph) or records (an eager tape).

The chain rule applied forwards [Griewank and Walther, Evaluating Derivatives, 2nd ed., ch. 3.1].
Few rows give a rule for it: what is linear is applied to its tangents, and elsewhere the rule of
the reverse sweep is transposed, which it can be since it is linear in its cotangent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom.autodiff.reverse import between, close, fit, mark, operands, pull, traced
from gradloom.errors import GradloomError, TracingError, message, user_where
from gradloom.frontend.apply import apply
from gradloom.frontend.record import Record
from gradloom.frontend.tensor import Tensor
from gradloom.frontend.trace import EAGER, current
from gradloom.ir.node import blaming
from gradloom.ir.op import Kind
from gradloom.ir.source import ITEM, const
from gradloom.ir.types import TensorType, TupleType
from gradloom.ops.elementwise import astype
from gradloom.ops.move import broadcast_to


def push(outs: Sequence[Any], marks: Sequence[Tensor], tangents: Sequence[Any]) -> list[Any]:
    """The tangents of `outs`, given those of `marks`; None where an out depends on none."""
    order = between([o.node for o in outs if isinstance(o, Tensor)], [m.node for m in marks])
    pairs = zip(marks, tangents, strict=True)
    found: dict[Any, Any] = {m.node: traced(t, m.node) for m, t in pairs if t is not None}
    for node, inner in order.items():
        if inner and node not in found:
            with blaming(node.where):
                tangent = _tangent(node, [found.get(n) for n in node.inputs])
            if tangent is not None:
                found[node] = tangent
    return [found.get(o.node) if isinstance(o, Tensor) else None for o in outs]


def zeros(kind: TensorType) -> Any:
    """A tangent or cotangent of zeros, for the mode that is running."""
    if current() is EAGER:
        return np.zeros(kind.shape, kind.dtype)[()]
    return broadcast_to(Tensor(const(0, kind.dtype)), kind.shape)


def _tangent(node: Any, tangents: list[Any]) -> Any:
    """The tangent of a node for those of its operands; of several results a tuple."""
    if all(t is None for t in tangents):
        return None
    op = node.op
    if op is ITEM:
        (whole,) = tangents
        return whole[node.attrs["index"] if isinstance(node, Record) else node["index"]]
    kinds = node.type.types if isinstance(node.type, TupleType) else (node.type,)
    if not any(kind.is_inexact for kind in kinds):
        return None
    out, inputs, attrs = operands(node)
    if op.jvp is not None:
        return op.jvp(tuple(tangents), out, *inputs, **attrs)
    if op.linear:
        return _applied(node, tangents, inputs, attrs)
    if op.vjp is None:
        raise _no_derivative(node)
    if op.kind is Kind.ELEMENTWISE:
        return _scaled(node, tangents, out, inputs, attrs)
    if op.kind is Kind.CONTRACT:
        return _product(node, tangents, inputs, attrs)
    return transposed(lambda g: op.vjp(g, out, *inputs, **attrs), node.type, tangents, inputs)


def _no_derivative(node: Any) -> TracingError:
    return TracingError(
        message(
            f"{node.op.name} has no derivative",
            node.where or user_where(),
            "keep it off the way from arguments to result, or cover it with gl.stop_gradient",
        )
    )


def _applied(node: Any, tangents: list[Any], inputs: Any, attrs: dict[str, Any]) -> Any:
    """The same operation on the tangents; operands that are not floating stay."""
    moved = []
    for value, tangent in zip(inputs, tangents, strict=True):
        kind = kind_of(value)
        if tangent is None and kind.is_inexact:
            tangent = zeros(kind)
        moved.append(value if tangent is None else tangent)
    return apply(node.op, *moved, **attrs)


def _scaled(node: Any, tangents: list[Any], out: Any, inputs: Any, attrs: dict[str, Any]) -> Any:
    """An element depends on its own operands alone, so that the reverse rule is a product, and the
    same one serves both sweeps."""
    total: Any = None
    for i, tangent in enumerate(tangents):
        if tangent is None:
            continue
        part = node.op.vjp(_shaped(tangent, node.type), out, *inputs, **attrs)[i]
        if part is not None:
            part = _shaped(part, node.type)
            total = part if total is None else total + part
    return total


def _product(node: Any, tangents: list[Any], inputs: Any, attrs: dict[str, Any]) -> Any:
    (x, y), (dx, dy) = inputs, tangents
    left = None if dx is None else apply(node.op, dx, y, **attrs)
    right = None if dy is None else apply(node.op, x, dy, **attrs)
    if left is None or right is None:
        return right if left is None else left
    return left + right


def transposed(
    rule: Callable[[Any], Sequence[Any]],
    kind: TensorType,
    tangents: Sequence[Any],
    inputs: Sequence[Any],
) -> Any:
    """The tangent of a value of type `kind`, by the rule that pulls its cotangent back: that is
    linear in the cotangent, and its transpose is the tangent."""
    several = isinstance(kind, TupleType)
    kinds = kind.types if isinstance(kind, TupleType) else (kind,)
    smooth = [i for i, one in enumerate(kinds) if one.is_inexact]
    marks = mark([zeros(kinds[i]) for i in smooth])
    try:
        g: list[Any] = [None] * len(kinds)
        for i, m in zip(smooth, marks, strict=True):
            g[i] = m
        pulled = rule(tuple(g) if several else g[0])
        pairs = [
            (_fit(p, v), t)
            for p, t, v in zip(pulled, tangents, inputs, strict=True)
            if p is not None and t is not None
        ]
        found = pull([p for p, _ in pairs], marks, [t for _, t in pairs])
    finally:
        close(marks)
    if not several:
        return found[0]
    results: list[Any] = [None] * len(kinds)
    for i, tangent in zip(smooth, found, strict=True):
        results[i] = tangent
    return tuple(results)


def _fit(pulled: Any, value: Any) -> Any:
    if isinstance(pulled, GradloomError):
        raise pulled
    return fit(pulled, kind_of(value))


def kind_of(value: Any) -> TensorType:
    """The type of a traced, taped or plain value."""
    if isinstance(value, Tensor):
        return value.node.type
    array = np.asarray(value)
    return TensorType(array.shape, array.dtype.name)


def _shaped(value: Any, to: TensorType) -> Any:
    """A tangent in the shape and dtype of a result."""
    value = broadcast_to(value, to.shape)
    return value if value.dtype.name == to.dtype else astype(value, to.dtype)
