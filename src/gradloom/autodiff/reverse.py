"""The reverse sweep: back-propagation as a walk over nodes (a graph) or records (an eager tape).

The chain rule applied backwards [Griewank and Walther, Evaluating Derivatives, 2nd ed., ch. 3.2]:
each value's cotangent is the sum, over its users, of what their rules pull back.  The rules are
public operations, so the sweep of a sweep is the second derivative.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom.errors import GradloomError, TracingError, message, user_where
from gradloom.frontend.apply import apply
from gradloom.frontend.record import OPEN, Record
from gradloom.frontend.tensor import Tensor
from gradloom.frontend.trace import EAGER, current, deriving, lift
from gradloom.ir.node import Node, blaming, fresh, make
from gradloom.ir.source import ITEM, MARK
from gradloom.ir.types import TupleType
from gradloom.ops.complex import real
from gradloom.ops.elementwise import astype
from gradloom.ops.move import reshape
from gradloom.ops.reduce import sum_

_levels = itertools.count()


def mark(values: Sequence[Any]) -> list[Tensor]:
    """Aliases of `values` to differentiate by: what a closure captured stays apart from them.

    Give them to `close` when the gradient is taken.
    """
    if current() is not EAGER:
        return [Tensor(apply(MARK, Tensor(lift(v)), serial=fresh()).node) for v in values]
    level = next(_levels)
    OPEN.add(level)
    arrays = [v if isinstance(v, Tensor) else np.asarray(v) for v in values]
    return [Tensor(Record(MARK, (v,), (None,), {"serial": 0}, v, level)) for v in arrays]


def close(marks: Sequence[Tensor]) -> None:
    """The gradient by `marks` is taken: from here on their tape records nothing."""
    OPEN.difference_update(m.node.level for m in marks if isinstance(m.node, Record))


def pull(outs: Sequence[Any], marks: Sequence[Tensor], cotangents: Sequence[Any]) -> list[Any]:
    """The cotangents of `marks`, given those of `outs`; None where no out depends on one."""
    with deriving():
        return _pulled(outs, marks, cotangents)


def _pulled(outs: Sequence[Any], marks: Sequence[Tensor], cotangents: Sequence[Any]) -> list[Any]:
    wanted = [m.node for m in marks]
    found: dict[Any, Any] = {}
    reached = [(o, g) for o, g in zip(outs, cotangents, strict=True) if isinstance(o, Tensor)]
    order = between([out.node for out, _ in reached], wanted)
    for out, cotangent in reached:
        if out.node in order and cotangent is not None:
            _add(found, out.node, traced(cotangent, out.node))
    for node in reversed(order):
        _pull_through(node, found, order)
    return [found.get(node) for node in wanted]


def traced(cotangent: Any, node: Any) -> Any:
    """A cotangent or tangent of a node as a node: were it an array, what the rules make of it would
    be arrays too, and so hidden inputs of the program."""
    if isinstance(node, Record) or isinstance(cotangent, Tensor):
        return cotangent
    return Tensor(lift(cotangent))


def _pull_through(node: Any, found: dict[Any, Any], order: dict[Any, bool]) -> None:
    """Add what `node` pulls back to the cotangents of its operands."""
    g = found.get(node)
    if g is None or not order[node]:
        return
    if node.op is ITEM:
        (whole,) = node.inputs
        results = found.setdefault(whole, [None] * len(whole.type.types))
        results[node.attrs["index"] if isinstance(node, Record) else node["index"]] = g
        return
    if node.op.vjp is None:
        raise TracingError(
            message(
                f"{node.op.name} has no derivative",
                node.where or user_where(),
                node.op.instead
                or "keep it off the way from parameters to loss, or cover it with gl.stop_gradient",
            )
        )
    out, inputs, attrs = operands(node)
    if isinstance(g, list):
        g = tuple(g)
    with blaming(node.where):
        for operand, pulled in zip(node.inputs, node.op.vjp(g, out, *inputs, **attrs), strict=True):
            if pulled is not None and operand in order and operand.type.is_inexact:
                if isinstance(pulled, GradloomError):  # of what a custom rule does not know
                    raise pulled
                _add(found, operand, fit(pulled, operand.type))


def _add(found: dict[Any, Any], node: Any, cotangent: Any) -> None:
    before = found.get(node)
    found[node] = cotangent if before is None else before + cotangent


def between(outs: list[Any], wanted: list[Any]) -> dict[Any, bool]:
    """Nodes from `wanted` to `outs`, operands first; True where the node's own rule must run."""
    order: dict[Any, bool] = dict.fromkeys(wanted, False)
    seen = set(wanted)
    stack = [(out, False) for out in reversed(outs)]
    while stack:
        node, ready = stack.pop()
        if ready:
            if any(operand in order for operand in node.inputs):
                order[node] = True
            continue
        if node is None or node in seen:
            continue
        seen.add(node)
        stack.append((node, True))
        stack += [(operand, False) for operand in reversed(node.inputs)]
    return order


def operands(node: Node | Record) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """What the rules of a node's row are given: its result, its operands, its attributes."""
    if isinstance(node, Record):
        return _taped_results(node.value), node.args, node.attrs
    return _results(node), tuple(map(Tensor, node.inputs)), dict(node.attrs)


def _taped_results(value: Any) -> Any:
    """Several results of which an outer tape holds a record are one taped value there."""
    if not isinstance(value, Tensor) or not isinstance(value.node.type, TupleType):
        return value
    return tuple(apply(ITEM, value, index=i) for i in range(len(value.node.type.types)))


def _results(node: Node) -> Any:
    if isinstance(node.type, TupleType):
        return tuple(Tensor(make(ITEM, node, index=i)) for i in range(len(node.type.types)))
    return Tensor(node)


def fit(g: Any, to: Any) -> Any:
    """Broadcasting and promotion undone, here and nowhere else.

    Where a real operand was promoted to complex, only the real part of its cotangent is its own.
    """
    shape = tuple(np.shape(g)) if not isinstance(g, Tensor) else g.shape
    if shape != to.shape:
        lead = len(shape) - len(to.shape)
        grown = [i + lead for i, n in enumerate(to.shape) if n == 1 and shape[i + lead] != 1]
        g = reshape(sum_(g, (*range(lead), *grown)), to.shape)
    if g.dtype.kind == "c" and not to.is_complex:
        g = real(g)
    return g if g.dtype.name == to.dtype else astype(g, to.dtype)
