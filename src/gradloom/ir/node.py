"""Interned immutable nodes: equal computations are one object, so common-subexpression elimination
and dead-code elimination are not passes but facts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from gradloom.errors import Where, user_where
from gradloom.ir.op import Op
from gradloom.ir.types import TensorType

Attrs = tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Node:
    """One operation applied to nodes.

    `where` is the user's line that asked for it first.  It is not part of a node's identity: the
    same computation on two lines is still one node.  `born` counts up: what was made since a trace
    began is told by it from what was there before.
    """

    op: Op
    inputs: tuple[Node, ...]
    attrs: Attrs
    type: TensorType
    where: Where | None
    born: int

    def __getitem__(self, attr: str) -> Any:
        for name, value in self.attrs:
            if name == attr:
                return value
        raise KeyError(attr)

    def __repr__(self) -> str:
        return f"<{self.op.name}: {self.type}>"


_blamed: ContextVar[Where | None] = ContextVar("gradloom_blamed", default=None)


@contextmanager
def blaming(where: Where | None) -> Iterator[None]:
    """Nodes made inside are put down to `where`: a derivative to the line that it is of."""
    token = _blamed.set(where)
    try:
        yield
    finally:
        _blamed.reset(token)


def forget_twins() -> None:
    """Start anew: an equal node of an earlier trace, of another line, is not found again."""
    _interned.clear()


_interned: WeakValueDictionary[tuple[Any, ...], Node] = WeakValueDictionary()
_serial = itertools.count()


def fresh() -> int:
    """A serial number.  Parameters carry one: were two traces to share a parameter, nested
    gradients would come out wrong."""
    return next(_serial)


def make(op: Op, *inputs: Node, where: Where | None = None, **attrs: Any) -> Node:
    """The only way to build a node: infers its type and returns its twin if one exists.

    Attributes are integers, strings, bytes, types, or tuples of these; never floats, since as
    dictionary keys `1 == 1.0 == True`, `0.0 == -0.0` and `nan != nan`.
    """
    items = tuple(sorted(attrs.items()))
    key = (op, inputs, items)
    node = _interned.get(key)
    if node is None:
        found = op.infer(*(n.type for n in inputs), **attrs)
        node = Node(op, inputs, items, found, where or _blamed.get() or user_where(), fresh())
        _interned[key] = node
    return node
