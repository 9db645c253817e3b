"""Random programs: graphs over every kind of operator, with a bound on the error of each value.

    python -m tests.fuzz --count 5000         # seeds 0, 1, ...
    python -m tests.fuzz --seed 1234          # one of them again, with its graph

A value carries the largest number that it can hold, the error that rounding can make of it, and the
grain of which it is a multiple as long as it is exact.  What jumps (a comparison, a floor, an
index) is only applied to exact values, so every difference beyond the bound is a bug.
"""

from __future__ import annotations

import argparse
import math
import random
import string
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import gradloom.numpy  # noqa: F401  (fills the operator table)
from gradloom.codegen.driver import program_text
from gradloom.codegen.source import program_source, run_source
from gradloom.ir.graph import Graph
from gradloom.ir.interpret import interpret
from gradloom.ir.node import Node, make
from gradloom.ir.op import OPS
from gradloom.ir.source import IOTA, const, parameter
from gradloom.ir.types import FLOATS, INTEGERS, TensorType
from gradloom.pipeline import compile_graph, run_passes
from gradloom.plan.assemble import make_plan
from gradloom.settings import settings
from tests.interpreting import run

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


@dataclass
class Maker:
    """Grows a graph node by node."""

    draws: Draws
    largest: int = 6000  # elements of a value
    pool: list[Value] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    arrays: list[np.ndarray] = field(default_factory=list)

    def case(self) -> Case:
        draws = self.draws
        for _ in range(draws.integer(1, 4)):
            self.input()
        steps = draws.integer(3, 25)
        for _ in range(steps):
            rule = draws.pick(RULES)
            made = rule(self)
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
            array = rng.integers(0 if dtype in ("bool", "uint32") else -9, 10, shape)
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


# ---- rules: each adds a node to a graph, or declines


def arithmetic(m: Maker) -> Value:
    x = m.tame(("float32", "float64", "int32", "int64", "uint32"))
    y = m.beside(x, x.dtype)
    if m.draws.rarely(2):
        x, y = y, x
    name = m.draws.pick(("add", "multiply", "subtract", "maximum", "minimum"))
    node = make(OPS[name], x.node, y.node)
    special = x.special or y.special
    if name == "multiply":
        error = x.bound * y.error + y.bound * x.error + x.error * y.error
        return rounded(node, x.bound * y.bound, error, x.grain * y.grain, special)
    bound = max(x.bound, y.bound) if "imum" in name else x.bound + y.bound
    return rounded(node, bound, x.error + y.error, min(x.grain, y.grain), special)


def whole(m: Maker) -> Value:
    """Integer arithmetic and bits, which wrap."""
    x = m.tame(INTEGERS, math.inf)
    names = ("bitwise_and", "bitwise_xor", "floor_divide", "remainder", "left_shift", "right_shift")
    name = m.draws.pick((*names, "bitwise_or", "invert", "negative", "abs", "sign"))
    row = OPS[name]
    if row.operands == 1:
        return Value(make(row, x.node), 2.0**64, 0.0, 1.0)
    y = m.beside(x, x.dtype)
    if "shift" in name:  # a negative count has no meaning
        y = Value(make(OPS["bitwise_and"], y.node, const(15, y.dtype)), 15.0, 0.0, 1.0)
    return Value(make(row, x.node, y.node), 2.0**64, 0.0, 1.0)


def modulo(m: Maker) -> Value:
    """Floor division and remainder of floats, by a power of two so that all is exact."""
    x = m.known(lambda v: v.dtype in FLOATS and v.exact and v.bound <= 1e4, "float32")
    name = m.draws.pick(("floor_divide", "remainder"))
    node = make(OPS[name], x.node, const(m.draws.pick((0.5, 1, 2, -1)), x.dtype))
    bound = 2 * x.bound + 1 if name == "floor_divide" else 2.0
    return Value(node, bound, 0.0, min(x.grain, 0.5), x.special)


def sign_like(m: Maker) -> Value:
    x = m.known(lambda v: v.dtype in FLOATS and v.bound <= 1e6, "float32")
    names = ("abs", "negative") + ("sign", "floor", "ceil", "rint", "trunc") * x.exact
    name = m.draws.pick(names)
    grain = x.grain if name in ("abs", "negative") else 1.0
    bound = 1.0 if name == "sign" else x.bound + (grain == 1.0)
    return replace(x, node=make(OPS[name], x.node), bound=bound, grain=grain)


SMOOTH = ("tanh", "sin", "cos", "sigmoid", "erf", "arctan", "softplus")


def smooth(m: Maker) -> Value:
    """Functions whose slope is at most one."""
    x = m.tame(most=64.0)
    node = make(OPS[m.draws.pick(SMOOTH)], x.node)
    bound = x.bound + 1 if node.op.name == "softplus" else 1.6
    return rounded(node, bound, x.error, 0.0, x.special)


def steep(m: Maker) -> Value:
    """Functions made tame by what they are applied to."""
    x = m.tame(most=64.0)
    one = const(1, x.dtype)
    name = m.draws.pick(("exp", "log", "sqrt", "rsqrt", "divide", "expm1", "log1p", "power"))
    if name in ("exp", "expm1", "power"):
        inner = Value(make(OPS["tanh"], x.node), 1.0, x.error + 4 * EPS[x.dtype], 0.0)
        args = (inner.node,) if name != "power" else (const(2, x.dtype), inner.node)
        return rounded(make(OPS[name], *args), 3.0, 3 * inner.error, 0.0, x.special)
    size = make(OPS["abs"], x.node)
    more = make(OPS["add"], size, one)
    error = x.error + EPS[x.dtype] * (x.bound + 1)
    args = {"log1p": (size,), "divide": (x.node, more)}.get(name, (more,))
    bound = {"divide": 1.0, "rsqrt": 1.0}.get(name, x.bound + 1)
    return rounded(make(OPS[name], *args), bound, 2 * error, 0.0, x.special)


def compare(m: Maker) -> Value:
    x = m.known(lambda v: v.exact and v.dtype != "bool", "float32")
    y = m.beside(x, x.dtype, exact=True)
    name = m.draws.pick(("less", "less_equal", "greater", "greater_equal", "equal", "not_equal"))
    return Value(make(OPS[name], x.node, y.node), 1.0, 0.0, 1.0)


def logic(m: Maker) -> Value:
    x = m.known(lambda v: v.dtype == "bool", "bool")
    name = m.draws.pick(("logical_and", "logical_or", "logical_xor", "logical_not"))
    args = (x.node,) if name == "logical_not" else (x.node, m.beside(x, "bool").node)
    return Value(make(OPS[name], *args), 1.0, 0.0, 1.0)


def choose(m: Maker) -> Value | None:
    flag = m.known(lambda v: v.dtype == "bool", "bool")
    x = m.beside(flag, m.draws.pick(DTYPES))
    y = m.beside(x, x.dtype)
    try:
        shape = np.broadcast_shapes(flag.shape, x.shape, y.shape)
    except ValueError:
        return None
    if math.prod(shape) > m.largest:
        return None
    node = make(OPS["where"], flag.node, x.node, y.node)
    special = x.special or y.special
    grain = min(x.grain, y.grain)
    return Value(node, max(x.bound, y.bound), max(x.error, y.error), grain, special)


def cast(m: Maker) -> Value:
    dtype = m.draws.pick(("float32", "float64", "int32", "int64", "bool", "uint32"))

    def fits(v: Value) -> bool:
        if v.dtype == dtype:
            return False
        if dtype in FLOATS:
            return v.dtype in FLOATS or v.bound < 2**20
        return v.dtype not in FLOATS or (
            v.exact and not v.special and v.bound < 2**30 and dtype != "uint32"
        )

    x = m.known(fits, "float32" if dtype == "float64" else "bool")
    if x.dtype == dtype:
        return x
    node = make(OPS["cast"], x.node, dtype=dtype)
    if dtype in FLOATS:
        return rounded(node, x.bound, x.error, x.grain, x.special)
    return Value(node, 2.0**64 if dtype == "uint32" else x.bound, 0.0, 1.0)


def transpose(m: Maker) -> Value:
    x = m.recent(lambda v: len(v.shape) > 1) or m.input()
    axes = tuple(m.draws.order(range(len(x.shape))))
    return replace(x, node=make(OPS["transpose"], x.node, axes=axes))


def reshape(m: Maker) -> Value:
    x = m.recent()
    left, shape = x.node.type.size, []
    while left > 1:
        divisors = [d for d in range(2, min(left, 64) + 1) if left % d == 0] or [left]
        shape.append(m.draws.pick(divisors))
        left //= shape[-1]
    if left == 0:
        shape = [0, 3]
    if m.draws.rarely(3):
        shape.insert(m.draws.integer(0, len(shape)), 1)
    return replace(x, node=make(OPS["reshape"], x.node, shape=tuple(m.draws.order(shape))))


def broadcast(m: Maker) -> Value | None:
    x = m.recent()
    shape = tuple(m.draws.pick((n, 1, 3)) if n == 1 else n for n in x.shape)
    shape = tuple(m.draws.pick((2, 1, 5)) for _ in range(m.draws.integer(0, 2))) + shape
    if math.prod(shape) > m.largest:
        return None
    return replace(x, node=make(OPS["broadcast"], x.node, shape=shape))


def cut(m: Maker) -> Value:
    x = m.recent(lambda v: v.shape) or m.input(shape=(7,))
    start, step, size = [], [], []
    for n in x.shape:
        count = m.draws.integer(0, n) if m.draws.rarely(8) else max(n - m.draws.integer(0, 2), 0)
        stride = m.draws.pick((1, -1, 2, -2, 3))
        while count > 1 and (count - 1) * abs(stride) >= n:
            stride = 1 if stride > 0 else -1
            count = min(count, n)
        room = n - 1 - max(count - 1, 0) * abs(stride)
        first = m.draws.integer(0, max(room, 0)) if count else 0
        start.append(first if stride > 0 or not count else first + (count - 1) * -stride)
        step.append(stride)
        size.append(count)
    attrs = {"start": tuple(start), "step": tuple(step), "size": tuple(size)}
    return replace(x, node=make(OPS["slice"], x.node, **attrs))


def put(m: Maker) -> Value | None:
    x = m.recent(lambda v: v.shape) or m.input(shape=(7,))
    start, step, shape = [], [], []
    for n in x.shape:
        low, high = m.draws.integer(0, 2), m.draws.integer(0, 2)
        stride = m.draws.pick((1, -1, 1, 2, -2))
        span = max(n - 1, 0) * abs(stride)
        start.append(low + (span if stride < 0 else 0))
        step.append(stride)
        shape.append(low + span + high + 1)
    if math.prod(shape) > m.largest:
        return None
    attrs = {"start": tuple(start), "step": tuple(step), "shape": tuple(shape)}
    return replace(x, node=make(OPS["place"], x.node, **attrs))


def fold(m: Maker) -> Value | None:
    x = m.recent(lambda v: v.shape and v.error <= 1e-2) or m.input()
    axes = tuple(a for a in range(len(x.shape)) if m.draws.integer(0, 1))
    count = math.prod(x.shape[a] for a in axes)
    names = ("max", "min") if count else ()
    names += ("sum",) if x.dtype != "bool" and x.bound <= 1e6 else ()
    names += ("prod",) if count <= 4 and x.dtype != "bool" and x.bound <= 16 else ()
    if not names:
        return None
    name = m.draws.pick(names)
    node = make(OPS[name], x.node, axes=axes)
    if name == "sum":
        error = count * x.error
        error += 0 if x.exact else count * EPS.get(x.dtype, 0) * count * x.bound
        return rounded(node, count * x.bound, error, x.grain, x.special)
    if name == "prod":
        top = max(x.bound, 1.0) ** max(count, 1)
        return rounded(node, top, count * x.error * top, x.grain**count, x.special)
    return replace(x, node=node)


def contract(m: Maker) -> Value | None:
    x = m.recent(lambda v: v.dtype != "bool" and v.bound <= 1e3 and v.error <= 1e-3)
    x = x or m.input("float32", (5, 7))
    left = string.ascii_lowercase[: len(x.shape)]
    sizes = dict(zip(left, x.shape, strict=True))
    shared = [label for label in left if m.draws.integer(0, 1)]
    fresh = "XY"[: m.draws.integer(0, 2)]
    right = "".join(m.draws.order([*shared, *fresh]))
    sizes |= {label: m.draws.pick((4, 17, 1, 33, 130)) for label in fresh}
    shape = tuple(sizes[label] for label in right)
    if math.prod(shape) > m.largest:
        return None
    y = m.recent(lambda v: v.dtype == x.dtype and v.shape == shape and v.bound <= 1e3)
    y = y if y is not None and y.error <= 1e-3 else m.input(x.dtype, shape)
    summed = [label for label in shared if m.draws.integer(0, 2)]
    result = "".join(m.draws.order([n for n in dict.fromkeys(left + right) if n not in summed]))
    if math.prod(sizes[label] for label in result) > m.largest:
        return None
    node = make(OPS["contract"], x.node, y.node, left=left, right=right, result=result)
    count = max(math.prod(sizes[label] for label in summed), 1)
    bound = count * x.bound * y.bound
    error = count * (x.bound * y.error + y.bound * x.error + x.error * y.error)
    grain = x.grain * y.grain
    error += 0 if grain else count * EPS.get(x.dtype, 0) * bound
    return rounded(node, bound, error, grain, x.special or y.special)


def join(m: Maker) -> Value | None:
    x = m.recent(lambda v: v.shape) or m.input(shape=(3, 5))
    axis = m.draws.integer(0, len(x.shape) - 1)
    others = (*x.shape[:axis], *x.shape[axis + 1 :])
    pieces = [x]
    for _ in range(m.draws.integer(1, 2)):
        found = m.recent(
            lambda v: (
                v.dtype == x.dtype
                and len(v.shape) == len(x.shape)
                and (*v.shape[:axis], *v.shape[axis + 1 :]) == others
            )
        )
        pieces.insert(m.draws.integer(0, len(pieces)), found or x)
    if sum(p.node.type.size for p in pieces) > m.largest:
        return None
    return Value(
        make(OPS["concatenate"], *(p.node for p in pieces), axis=axis),
        max(p.bound for p in pieces),
        max(p.error for p in pieces),
        min(p.grain for p in pieces),
        any(p.special for p in pieces),
    )


def _index(m: Maker, size: int, shape: tuple[int, ...] | None = None) -> Value:
    """Indices in range of an axis, some of them negative."""
    x = m.recent(lambda v: v.dtype in INTEGERS and (shape is None or v.shape == shape))
    x = x or m.input(m.draws.pick(INTEGERS), shape)
    node = make(OPS["remainder"], x.node, const(size, x.dtype))
    if x.dtype != "uint32" and m.draws.rarely(2):
        node = make(OPS["subtract"], node, const(size, x.dtype))
    return Value(node, float(size), 0.0, 1.0)


def gather(m: Maker) -> Value | None:
    x = m.recent(lambda v: v.node.type.size and v.shape) or m.input(shape=(5, 4))
    if not x.node.type.size:
        return None
    axes = tuple(a for a in range(len(x.shape)) if m.draws.integer(0, 1)) or (0,)
    if len(axes) > 1 and m.draws.rarely(2):
        axes = axes[::-1]
    indices = [_index(m, x.shape[axes[0]])]
    for axis in axes[1:]:
        indices.append(_index(m, x.shape[axis], indices[0].shape))
    types = (n.node.type for n in (x, *indices))
    if OPS["gather"].infer(*types, axes=axes).size > m.largest:
        return None
    return replace(x, node=make(OPS["gather"], x.node, *(i.node for i in indices), axes=axes))


def scatter(m: Maker) -> Value | None:
    g = m.recent(lambda v: v.shape and v.dtype != "bool" and v.bound <= 1e4 and v.error <= 1e-3)
    g = g or m.input("float64", (6, 3))
    ahead = m.draws.integer(0, len(g.shape))
    rest = g.shape[ahead:]
    axis = m.draws.integer(0, len(rest))
    size = m.draws.pick((3, 1, 9))
    shape = (*rest[:axis], size, *rest[axis:])
    index = _index(m, size, g.shape[:ahead])
    if math.prod(shape) > m.largest:
        return None
    node = make(OPS["scatter_add"], g.node, index.node, axes=(axis,), shape=shape)
    count = max(math.prod(g.shape[:ahead]), 1)
    error = count * g.error + (0 if g.exact else count * EPS.get(g.dtype, 0) * count * g.bound)
    return rounded(node, count * g.bound, error, g.grain, g.special)


def position(m: Maker) -> Value | None:
    shape = m.shape()
    if not shape:
        return None
    axis = m.draws.integer(0, len(shape) - 1)
    node = make(IOTA, shape=shape, axis=axis, dtype=m.draws.pick(INTEGERS))
    return Value(node, float(shape[axis]), 0.0, 1.0)


def meets_itself(m: Maker) -> Value | None:
    """A value beside another of its type turned around: what must not be computed in place."""
    x = m.tame()
    if not x.shape:
        return None
    other = m.recent(lambda v: v.node.type == x.node.type and v.bound <= 1e4 and v.error <= 1e-2)
    axis = m.draws.integer(0, len(x.shape) - 1)
    if len(x.shape) > 1 and x.shape[0] == x.shape[1] and m.draws.rarely(2):
        moved = make(OPS["transpose"], other.node, axes=(1, 0, *range(2, len(x.shape))))
    else:
        start = tuple(n - 1 if i == axis and n else 0 for i, n in enumerate(x.shape))
        step = tuple(-1 if i == axis else 1 for i in range(len(x.shape)))
        moved = make(OPS["slice"], other.node, start=start, step=step, size=x.shape)
    node = make(OPS[m.draws.pick(("add", "subtract"))], x.node, moved)
    special = x.special or other.special
    grain = min(x.grain, other.grain)
    return rounded(node, x.bound + other.bound, x.error + other.error, grain, special)


RULES = (
    *(arithmetic, smooth, arithmetic, steep, compare, logic, choose, cast, whole, sign_like),
    *(modulo, transpose, reshape, broadcast, cut, put, fold, fold, contract, contract, join),
    *(gather, scatter, position, meets_itself, arithmetic),
)


# ---- the check


def check(case: Case) -> None:
    """Compile, run twice in a poisoned arena, and compare every root."""
    with settings(verify=1):
        program = compile_graph(case.graph)
    wanted = interpret(case.graph, *case.arrays, wide=True)
    for _ in range(2):
        _compare(case, run(program, case.arrays), wanted)


def check_text(case: Case) -> None:
    """The plan's Python text, run uncompiled."""
    plan = make_plan(run_passes(case.graph))
    copies = [
        np.array(a, n.type.dtype) for a, n in zip(case.arrays, case.graph.inputs, strict=True)
    ]
    outputs = run_source(program_source(plan, program_text(plan)), copies)
    changed = dict(zip(case.graph.inputs, copies, strict=True))
    updated = [changed[target] for target, _ in case.graph.updates]
    _compare(case, [*outputs, *updated], interpret(case.graph, *case.arrays, wide=True))


def _compare(case: Case, found: Iterable[np.ndarray], wanted: Sequence[np.ndarray]) -> None:
    for number, (got, want) in enumerate(zip(found, wanted, strict=True)):
        root = case.graph.roots[number]
        what = f"root {number}, {root.type}, of\n{case.graph}"
        assert got.shape == want.shape, what
        assert got.dtype.name == root.type.dtype, what
        if got.dtype.kind != "f":
            np.testing.assert_array_equal(got, want, what)
            continue
        allowed = case.errors[number] * 1.01
        np.testing.assert_allclose(got.astype("float64"), want, 1e-30, allowed, err_msg=what)


def random_case(seed: int, largest: int = 6000) -> Case:
    return Maker(Draws(random.Random(seed).randint), largest).case()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--text", action="store_true", help="run the Python text, uncompiled")
    given = parser.parse_args()
    examine, largest = (check_text, 300) if given.text else (check, 6000)
    if given.seed is not None:
        case = random_case(given.seed, largest)
        sys.stdout.write(f"{case.graph}\n")
        examine(case)
        return 0
    failed = []
    for seed in range(given.first, given.first + given.count):
        try:
            examine(random_case(seed, largest))
        except Exception as error:  # noqa: BLE001  (any failure is a finding)
            failed.append(seed)
            sys.stdout.write(f"seed {seed}: {type(error).__name__}: {str(error)[:300]}\n")
    sys.stdout.write(f"{len(failed)} of {given.count} failed: {failed}\n")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
