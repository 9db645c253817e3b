"""Random graphs, grown node by node, with a bound on the error of each value.

A value carries the largest number that it can hold, the error that rounding can make of it, and the
grain of which it is a multiple as long as it is exact.  What jumps (a comparison, a floor, an
index) is only applied to exact values, so every difference beyond the bound is a bug.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradloom.ir.graph import Graph
from gradloom.ir.node import Node
from gradloom.ir.source import const, parameter
from gradloom.ir.types import FLOATS, TensorType

SIZES = (1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 33, 0)
DTYPES = ("float32", "float64", "float32", "float64", "int32", "int64", "bool", "uint32")
EPS = {"float32": 2.0**-24, "float64": 2.0**-53}
BITS = {"float32": 23, "float64": 51}


class Draws:
    """Choices, by a random generator or by Hypothesis, which shrinks them."""

    def __init__(self, integer: Callable[[int, int], int]) -> None:
        self.integer = integer

    def pick(self, options: Sequence[Any]) -> Any:
        return options[self.integer(0, len(options) - 1)]

    def rarely(self, one_in: int) -> bool:
        return self.integer(0, one_in - 1) == one_in - 1

    def order(self, items: Sequence[Any]) -> list[Any]:
        left = list(items)
        return [left.pop(self.integer(0, len(left) - 1)) for _ in items]


@dataclass(frozen=True)
class Value:
    """A node with what is known of its elements.  `grain` is 0 where rounding may have happened."""

    node: Node
    bound: float
    error: float
    grain: float
    special: bool = False  # may hold NaN or infinity

    @property
    def shape(self) -> tuple[int, ...]:
        return self.node.type.shape

    @property
    def dtype(self) -> str:
        return self.node.type.dtype

    @property
    def exact(self) -> bool:
        return self.dtype not in FLOATS or self.grain > 0


@dataclass
class Case:
    """A graph, the arrays to run it on, and the error allowed to each of its roots."""

    graph: Graph
    arrays: list[np.ndarray]
    errors: list[float]

    def __repr__(self) -> str:
        return f"\n{self.graph}\n"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """For Hypothesis, which would print a node once for each of its users."""
        printer.text(repr(self))


Rule = Callable[["Maker"], Value | None]


@dataclass
class Maker:
    """Grows a graph node by node."""

    draws: Draws
    largest: int = 6000  # elements of a value
    pool: list[Value] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    arrays: list[np.ndarray] = field(default_factory=list)

    def case(self, rules: Sequence[Rule]) -> Case:
        draws = self.draws
        for _ in range(draws.integer(1, 4)):
            self.input()
        steps = draws.integer(3, 25)
        for _ in range(steps):
            made = draws.pick(rules)(self)
            if made is not None:
                self.pool.append(made)
        chosen = [self.pool[-1]] + [self.recent() for _ in range(draws.integer(0, 3))]
        updates = self.updates()
        graph = Graph(
            tuple(v.node for v in self.inputs),
            tuple(v.node for v in chosen),
            tuple((target.node, value.node) for target, value in updates),
        )
        errors = [v.error for v in chosen] + [v.error for _, v in updates]
        return Case(graph, self.arrays, errors)

    def updates(self) -> list[tuple[Value, Value]]:
        found = []
        for target in self.inputs:
            fits = [v for v in self.pool if v.node.type == target.node.type]
            if not self.draws.rarely(3):
                continue
            fits = [v for v in fits if v.node is not target.node] or fits
            found.append((target, fits[-1 - self.draws.integer(0, len(fits) - 1)]))
        return found

    # ---- what is there

    def input(self, dtype: str = "", shape: tuple[int, ...] | None = None) -> Value:
        draws = self.draws
        dtype = dtype or draws.pick(DTYPES)
        shape = self.shape() if shape is None else shape
        rng = np.random.default_rng(draws.integer(0, 7))
        special = dtype in FLOATS and draws.rarely(12)
        if dtype in FLOATS:
            array = rng.integers(-16, 17, shape).astype(dtype) / np.asarray(8, dtype)
            if special and array.size:
                for value in (np.nan, np.inf, -np.inf, -0.0):
                    array.flat[rng.integers(array.size)] = value
            bound, grain = 2.0, 0.125
        else:
            array = rng.integers(0 if dtype[0] in "bu" else -9, 10, shape)
            array = (array % 2 == 1) if dtype == "bool" else array.astype(dtype)
            bound, grain = 9.0, 1.0
        value = Value(parameter(TensorType(shape, dtype)), bound, 0.0, grain, special)
        self.arrays.append(np.asarray(array))
        self.inputs.append(value)
        self.pool.append(value)
        return value

    def shape(self) -> tuple[int, ...]:
        shape: list[int] = []
        for _ in range(self.draws.pick((2, 1, 2, 3, 0, 4))):
            size = self.draws.pick(SIZES)
            if math.prod((*shape, size)) <= self.largest:
                shape.append(size)
        return tuple(shape)

    def recent(self, wanted: Callable[[Value], bool] = lambda v: True) -> Any:
        """A value, more likely a late one; None if there is none."""
        fits = [v for v in self.pool if wanted(v)]
        if not fits:
            return None
        back = self.draws.integer(0, len(fits) - 1)
        if back and self.draws.integer(0, 1):
            back = self.draws.integer(0, back - 1)
        return fits[-1 - back]

    def known(self, wanted: Callable[[Value], bool], dtype: str) -> Value:
        """Such a value, or a new input."""
        return self.recent(wanted) or self.input(dtype)

    def tame(self, dtypes: Sequence[str] = FLOATS, most: float = 1e4) -> Value:
        """A value whose error is still small."""
        return self.known(
            lambda v: v.dtype in dtypes and v.bound <= most and v.error <= 1e-2, dtypes[0]
        )

    def beside(self, x: Value, dtype: str, exact: bool = False) -> Value:
        """A value of `dtype` that broadcasts with `x`; sometimes a constant."""
        if self.draws.rarely(4):
            number = self.draws.pick((0, 1, 2, 3))
            return Value(const(number, dtype), float(number), 0.0, 1.0)

        def fits(v: Value) -> bool:
            if v.dtype != dtype or v.bound > 1e4 or v.error > 1e-2 or (exact and not v.exact):
                return False
            try:
                return math.prod(np.broadcast_shapes(v.shape, x.shape)) <= self.largest
            except ValueError:
                return False

        found = self.recent(fits)
        if found is not None and not self.draws.rarely(4):
            return found
        keep = self.draws.integer(0, len(x.shape))
        shape = tuple(1 if self.draws.rarely(3) else n for n in x.shape[len(x.shape) - keep :])
        return self.input(dtype, shape)


def rounded(node: Node, bound: float, error: float, grain: float, special: bool) -> Value:
    """A result whose numbers still fit without rounding, or else its error."""
    if node.type.dtype not in FLOATS:
        return Value(node, bound, 0.0, grain, special)
    fits = grain > 0 and bound / grain < 2.0 ** BITS[node.type.dtype]
    if fits and error == 0:
        return Value(node, bound, 0.0, grain, special)
    return Value(node, bound, error + 4 * EPS[node.type.dtype] * bound, 0.0, special)
