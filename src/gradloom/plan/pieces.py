"""Pieces of a join: where in the whole each lies, so that it can be written there at once."""

from __future__ import annotations

from collections.abc import Iterator

from gradloom.ir.node import Node
from gradloom.ir.types import row_strides
from gradloom.plan.nest import Spot
from gradloom.plan.reads import behind


def spots_of(join: Node) -> Iterator[tuple[Node, Spot]]:
    """The operands of a join, behind moves that change no place, and where in it they belong; not
    those whose neighbours in a row would not be neighbours there, which vectors are stored for."""
    strides = row_strides(join.type.shape)
    at = 0
    for piece in join.inputs:
        start, node = at * strides[join["axis"]], behind(piece)
        at += piece.type.shape[join["axis"]]
        steps = iter(s for s, n in zip(strides, piece.type.shape, strict=True) if n != 1)
        own = tuple(next(steps) if n != 1 else 0 for n in node.type.shape)
        if next((s for s in reversed(own) if s), 0) == 1 and node.type.size:
            yield node, Spot(own, start)
