"""The rules by which a random graph grows: each adds one kind of operator, or declines."""

from __future__ import annotations

import math
import string
from dataclasses import replace

import numpy as np

import gradloom.numpy  # noqa: F401  (fills the operator table)
from gradloom.ir.node import make
from gradloom.ir.op import OPS
from gradloom.ir.source import IOTA, const
from gradloom.ir.types import FLOATS, INTEGERS
from tests.random_graphs import DTYPES, EPS, Maker, Value, rounded


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
    if not x.dtype.startswith("u") and m.draws.rarely(2):
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
