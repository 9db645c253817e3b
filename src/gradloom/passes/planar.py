"""Complex numbers as pairs of real ones: what follows, the planner first, knows only real types.

In: a graph that may hold complex values.  Out: the same computation in real values.  A complex
input or output lies in memory as NumPy has it, so it becomes a real one with a last axis of two.
"""

from __future__ import annotations

from typing import Any

from gradloom.errors import InternalError
from gradloom.frontend.apply import apply
from gradloom.frontend.tensor import Tensor
from gradloom.frontend.trace import Trace, lift, recording
from gradloom.ir.graph import Graph, attrs_with, graphs_of
from gradloom.ir.node import Node, blaming, make
from gradloom.ir.op import Kind
from gradloom.ir.source import CONST, ITEM, const, constant_of, parameter
from gradloom.ir.types import PART, TensorType, TupleType, in_parts
from gradloom.ops.join import stack

Pair = tuple[Tensor, Tensor]
Split = Tensor | Pair | list[Any]  # real, complex, or several results


def split_complex(graph: Graph) -> Graph:
    """Every complex value as a pair, by the rule of the row that makes it.

    z: complex64[3] -> re, im = x[..., 0], x[..., 1] of x: float32[3,2]
    """
    if not _has_complex(graph):
        return graph
    inputs = {n: parameter(in_parts(n.type)) if n.type.is_complex else n for n in graph.inputs}
    with recording(Trace()) as trace:
        done: dict[Node, Split] = {n: _halves(new, n.type) for n, new in inputs.items()}
        for node in graph.nodes():
            if node not in done:
                with blaming(node.where):
                    done[node] = _split(node, [done[n] for n in node.inputs])
        outputs = tuple(_whole(done[n]) for n in graph.outputs)
        updates = tuple((inputs[target], _whole(done[n])) for target, n in graph.updates)
    assert not trace.captured, "a rule for complex operands made an array"
    return Graph(tuple(inputs.values()), outputs, updates)


def _has_complex(graph: Graph) -> bool:
    """Whether a value, also of a graph inside, is complex."""
    return any(n.type.is_complex or any(map(_has_complex, graphs_of(n))) for n in graph.nodes())


def _halves(node: Node, kind: TensorType) -> Tensor | Pair:
    x = Tensor(node)
    return (x[..., 0], x[..., 1]) if kind.is_complex else x


def _whole(value: Split) -> Node:
    """A pair side by side, as complex numbers lie in memory."""
    return lift(stack(value, -1)) if isinstance(value, tuple) else lift(value)


def _split(node: Node, operands: list[Split]) -> Split:
    attrs = dict(node.attrs)
    if node.op is ITEM:
        return operands[0][attrs["index"]]
    if isinstance(node.type, TupleType):
        return _several(node, node.type, operands)
    if node.op is CONST and node.type.is_complex:
        number, dtype = constant_of(node["value"], node["dtype"]), PART[node.type.dtype]
        return Tensor(const(number.real, dtype)), Tensor(const(number.imag, dtype))
    if not node.type.is_complex and not any(isinstance(o, tuple) for o in operands):
        return _made(node, operands)
    if node.op.kind is Kind.ROUTINE:
        assert node.op.planar is not None
        return _halves(lift(node.op.planar(*map(_laid, operands), **attrs)), node.type)
    if node.op.planar is not None:
        return _checked(node, node.op.planar(*operands, **attrs))
    re, im = ([o[k] if isinstance(o, tuple) else o for o in operands] for k in (0, 1))
    return _made(node, re), _made(node, im)


def _checked(node: Node, result: Split) -> Split:
    """A rule's result; `InternalError` if it is not of the row's type."""
    if node.type.is_complex and isinstance(result, tuple):
        wanted = TensorType(node.type.shape, PART[node.type.dtype])
        good = len(result) == 2 and all(part.node.type == wanted for part in result)
    else:
        good = isinstance(result, Tensor) and result.node.type == node.type
    if not good:
        raise InternalError(f"the rule of {node!r} for complex operands gave {result}")
    return result


def _several(node: Node, kind: TupleType, operands: list[Split]) -> list[Any]:
    """A loop, a branch or a routine: its complex operands and results lie in memory."""
    mixed = any(t.is_complex for t in kind.types) or any(isinstance(o, tuple) for o in operands)
    if mixed and node.op.kind is Kind.ROUTINE and node.op.planar is not None:
        results = node.op.planar(*map(_laid, operands), **dict(node.attrs))
    else:
        attrs = attrs_with(node, split_complex)
        made = Tensor(make(node.op, *map(_whole, operands), where=node.where, **attrs))
        results = [apply(ITEM, made, index=i) for i in range(len(kind.types))]
    return [_halves(lift(r), t) for r, t in zip(results, kind.types, strict=True)]


def _laid(value: Split) -> Tensor:
    return Tensor(_whole(value))


def _made(node: Node, operands: list[Any]) -> Tensor:
    """The node on other operands."""
    return Tensor(make(node.op, *map(lift, operands), where=node.where, **dict(node.attrs)))
