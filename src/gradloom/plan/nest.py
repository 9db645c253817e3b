"""Nodes to nests: index expressions pushed down through moves, steps collected bottom-up."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from gradloom.ir.affine import Affine, Guard, Index, linear
from gradloom.ir.node import Node
from gradloom.ir.op import Kind
from gradloom.ir.source import CONST, IOTA
from gradloom.ir.types import row_strides
from gradloom.plan.loops import ranged, shaped
from gradloom.plan.plan import (
    Apply,
    Constant,
    Fold,
    Inside,
    Load,
    Nest,
    Operand,
    Pick,
    Position,
    Product,
    Stage,
    Step,
    Store,
)

Guards = tuple[Guard, ...]
Named = TypeVar("Named", Nest, Product)


@dataclass(frozen=True)
class Spot:
    """Where the elements of a value lie that is part of another: from element `start` on, with a
    stride for each of its axes."""

    strides: tuple[int, ...]
    start: int


@dataclass
class Draft:
    """A nest being written: loops over `sizes`, values read from the buffers of stored nodes.

    `buffer_of` gives the buffer of a stored node, or None for one to be computed here; those at
    `spots` are parts of theirs.
    """

    sizes: tuple[int, ...]
    reduced: int
    buffer_of: Callable[[Node], int | None]
    steps: list[Step] = field(default_factory=list)
    stores: list[Store] = field(default_factory=list)
    operands: list[Operand] = field(default_factory=list)
    _known: dict[object, int] = field(default_factory=dict)
    own: set[Node] = field(default_factory=set)  # stored by this nest, so computed here
    spots: Mapping[Node, Spot] = field(default_factory=dict)

    def emit(self, step: Step) -> int:
        """The number of `step`, which stands once."""
        if step not in self._known:
            self._known[step] = len(self.steps)
            self.steps.append(step)
        return self._known[step]

    def operand(self, buffer: int) -> int:
        found = Operand(buffer)
        if found not in self.operands:
            self.operands.append(found)
        return self.operands.index(found)

    def value(self, node: Node, index: Index, guards: Guards = ()) -> int:
        """The step that holds `node[index]`, valid where `guards` hold."""
        key = (node, index, guards)
        if key not in self._known:
            self._known[key] = self._value(node, index, guards)
        return self._known[key]

    def _is_stored(self, node: Node) -> bool:
        """Whether `node` lies in memory before this nest begins."""
        return node not in self.own and self.buffer_of(node) is not None

    def _value(self, node: Node, index: Index, guards: Guards) -> int:
        dtype = node.type.dtype
        if node.type.size == 0:  # never reached by a loop, so there is no place to read it from
            return self.emit(Constant(np.zeros((), dtype).tobytes(), dtype))
        if node not in self.own and (buffer := self.buffer_of(node)) is not None:
            return self.emit(Load(self.operand(buffer), self._at(node, index), dtype, guards))
        if node.op is CONST:
            return self.emit(Constant(node["value"], dtype))
        if node.op is IOTA:
            return self.emit(Position(index[node["axis"]], dtype))
        if node.op.kind is Kind.MOVE:
            return self._moved(node, index, guards)
        if node.op.kind is Kind.GATHER:
            return self._gathered(node, index, guards)
        if node.op.kind is Kind.REDUCE:
            return self._folded(node, index, guards)
        if node.op.kind is Kind.CONTRACT:
            return self._contracted(node, index)
        assert node.op.kind is Kind.ELEMENTWISE, node
        args = tuple(self.value(x, broadcast(index, x), guards) for x in node.inputs)
        return self.emit(Apply(node.op.name, args, dtype))

    def _moved(self, node: Node, index: Index, guards: Guards) -> int:
        (x,) = node.inputs
        found = access(node, index)
        if found is None:  # a reshape across axes: the same elements in the same order
            return self._load(node, index, guards)
        inner, more = found
        step = self.value(x, inner, guards + more)
        return self.emit(Inside(more, step, x.type.dtype)) if more else step

    def _load(self, node: Node, index: Index, guards: Guards, picks: tuple[Pick, ...] = ()) -> int:
        place = locate(node, index, self._is_stored)
        assert place is not None, f"{node} is not in memory"
        buffer = self.buffer_of(place.base)
        assert buffer is not None
        guards += place.guards
        return self.emit(Load(self.operand(buffer), place.at, node.type.dtype, guards, picks))

    def _gathered(self, node: Node, index: Index, guards: Guards) -> int:
        """The picked axes of the source stand as loop axes -1, -2, ... until they are split off."""
        x, *indices = node.inputs
        axes: tuple[int, ...] = node["axes"]
        ahead = node.type.ndim - (x.type.ndim - len(axes))
        rest = iter(index[ahead:])
        inner = tuple(Affine.axis(-1 - d) if d in axes else next(rest) for d in range(x.type.ndim))
        place = locate(x, inner, self._is_stored)
        assert place is not None, f"{x} is not in memory"
        picks = tuple(
            Pick(
                self.value(values, broadcast(index[:ahead], values), guards),
                x.type.shape[axis],
                place.at.coefficient(-1 - axis),
            )
            for axis, values in zip(axes, indices, strict=True)
        )
        at = Affine(place.at.const, tuple((a, c) for a, c in place.at.terms if a >= 0))
        buffer = self.buffer_of(place.base)
        assert buffer is not None
        return self.emit(Load(self.operand(buffer), at, node.type.dtype, guards, picks))

    def _contracted(self, node: Node, index: Index) -> int:
        """A product too thin or too odd for the microkernel, as a sum of products."""
        x, y = node.inputs
        at = dict(zip(node["result"], index, strict=True))
        loops = iter(range(len(self.sizes) - self.reduced, len(self.sizes)))
        for label, size in zip(node["left"], x.type.shape, strict=True):
            if label not in at:
                at[label] = Affine.axis(next(loops)) if size != 1 else Affine()
        left = self.value(x, tuple(at[label] for label in node["left"]))
        right = self.value(y, tuple(at[label] for label in node["right"]))
        times, plus = node.op.factors
        term = self.emit(Apply(times, (left, right), node.type.dtype))
        return self.emit(Fold(plus, term, node.type.dtype)) if self.reduced else term

    def _folded(self, node: Node, index: Index, guards: Guards) -> int:
        """The fold of a step; over axes of size one alone, the step itself."""
        (x,) = node.inputs
        kept = iter(index)
        loops = iter(range(len(self.sizes) - self.reduced, len(self.sizes)))
        inner = tuple(
            (Affine.axis(next(loops)) if n != 1 else Affine()) if d in node["axes"] else next(kept)
            for d, n in enumerate(x.type.shape)
        )
        step = self.value(x, inner, guards)
        return self.emit(Fold(node.op.name, step, node.type.dtype)) if folded_axes(node) else step

    def store(self, node: Node, buffer: int, index: Index) -> None:
        self.own.add(node)
        step = self.value(node, index)
        self.put(buffer, self._at(node, index), step, node.type.dtype)

    def _at(self, node: Node, index: Index) -> Affine:
        """The place of an element in the buffer of a stored node."""
        spot = self.spots.get(node) or Spot(row_strides(node.type.shape), 0)
        return linear(index, spot.strides) + spot.start

    def put(
        self,
        buffer: int,
        at: Affine,
        step: int,
        dtype: str,
        picks: tuple[Pick, ...] = (),
        accumulate: str = "",
    ) -> None:
        self.stores.append(Store(self.operand(buffer), at, step, dtype, picks, accumulate))

    def finish(self, hint: str, by_rows: bool = False) -> Stage:
        """The stage.  With `by_rows` axis 0 stays as it is, for a caller that runs ranges of it."""
        stores = tuple(self.stores)
        nest = Nest("", self.sizes, self.reduced, None, tuple(self.steps), stores)
        nest = shaped(nest, 1 if by_rows else 0)
        writes = tuple(sorted({s.operand for s in stores}))
        nest, extent = ranged(nest)
        return Stage(named(nest, hint), tuple(self.operands), writes, extent)


def named(code: Named, hint: str) -> Named:
    """The nest or product under a name that its contents decide."""
    digest = hashlib.sha256(repr(replace(code, name="")).encode()).hexdigest()[:8]
    return replace(code, name=f"{hint}_{digest}")


def broadcast(index: Index, x: Node) -> Index:
    """The index of an operand under NumPy's broadcasting."""
    own = index[len(index) - x.type.ndim :]
    return tuple(Affine() if n == 1 else at for at, n in zip(own, x.type.shape, strict=True))


def access(node: Node, index: Index) -> tuple[Index, Guards] | None:
    """Where a move reads its operand; None where that is not affine."""
    assert node.op.access is not None
    (x,) = node.inputs
    found: tuple[Index, Guards] | None = node.op.access(index, x.type, **dict(node.attrs))
    return found


def domain(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The loop sizes that a shape needs: its axes of size one take none."""
    return tuple(n for n in shape if n != 1)


def folded_axes(node: Node) -> tuple[int, ...]:
    """Those of the loops over a reduction's operand that it folds."""
    shape = node.inputs[0].type.shape
    loops = [d for d, n in enumerate(shape) if n != 1]
    return tuple(axis for axis, d in enumerate(loops) if d in node["axes"])


def domain_index(shape: tuple[int, ...], first: int = 0) -> Index:
    """One loop axis, numbered from `first`, for each axis that is not of size one."""
    axes = iter(range(first, first + len(shape)))
    return tuple(Affine() if n == 1 else Affine.axis(next(axes)) for n in shape)


@dataclass(frozen=True)
class Place:
    """Where a value lies: an element offset in the buffer of a stored node."""

    base: Node
    at: Affine
    guards: Guards


def locate(node: Node, index: Index, stored: Callable[[Node], bool]) -> Place | None:
    """Through moves down to a stored node; None if there is something to compute on the way."""
    guards: Guards = ()
    while not stored(node):
        if node.op.kind is not Kind.MOVE:
            return None
        (x,) = node.inputs
        found = access(node, index)
        if found is None:
            if not stored(x) or node.type.size != x.type.size:
                return None
            return Place(x, linear(index, row_strides(node.type.shape)), guards)
        index, more = found
        guards += more
        node = x
    return Place(node, linear(index, row_strides(node.type.shape)), guards)
