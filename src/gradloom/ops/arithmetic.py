"""Arithmetic and rounding, element by element."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from gradloom.frontend.tensor import Tensor
from gradloom.ir.node import Node
from gradloom.ir.op import OPS
from gradloom.ir.source import CONST, constant_of
from gradloom.ops import planar, scalar
from gradloom.ops.complex import conjugate, is_complex, real
from gradloom.ops.logic import where
from gradloom.ops.row import Function, elementwise

_NONZERO = ((-2.0, 2.0), (0.3, 2.5))

# ---- arithmetic

add = elementwise(
    "add",
    np.add,
    "({0} + {1})",
    operator.add,
    lambda g, out, x, y: (g, g),
    unit=-0.0,
    commutative=True,
    negates="all",
    on_bool="logical_or",
    planar=planar.add,
)
subtract = elementwise(
    "subtract",
    np.subtract,
    "({0} - {1})",
    operator.sub,
    lambda g, out, x, y: (g, -g),
    unit=0.0,
    anticommutative=True,
    negates="all",
    planar=planar.subtract,
)
multiply = elementwise(
    "multiply",
    np.multiply,
    "({0} * {1})",
    operator.mul,
    lambda g, out, x, y: (g * y, g * x),
    unit=1.0,
    commutative=True,
    negates="each",
    on_bool="logical_and",
    planar=planar.multiply,
)
divide = elementwise(
    "divide",
    np.divide,
    "({0} / {1})",
    operator.truediv,
    lambda g, out, x, y: _quotient_vjp(g, out, x, y),
    unit=1.0,
    negates="first",  # not with the divisor: that may be zero, whose sign is not known
    accepts="float",
    cost=16,
    domain=_NONZERO,
    planar=planar.divide,
)
negative = elementwise(
    "negative",
    np.negative,
    "(-{0})",
    operator.neg,
    lambda g, out, x: (-g,),
    negates="each",
    planar=planar.negative,
)
NEGATIVE = OPS["negative"]
floor_divide = elementwise(
    "floor_divide",
    np.floor_divide,
    "({0} // {1})",
    scalar.floor_divide,
    lambda g, out, x, y: (None, None),
    cost=41,
    domain=_NONZERO,
)
remainder = elementwise(
    "remainder",
    np.remainder,
    "({0} % {1})",
    scalar.remainder,
    lambda g, out, x, y: (g, -g * floor_divide(x, y)),
    cost=41,
    domain=((0.1, 0.9), (1.0, 2.5)),
)
maximum = elementwise(
    "maximum",
    np.maximum,
    "np.maximum({0}, {1})",
    lambda x, y: x.maximum(y),
    lambda g, out, x, y: (_share(g, x > y, x == y), _share(g, y > x, x == y)),
    commutative=True,
    on_bool="logical_or",
    cost=4,
)
minimum = elementwise(
    "minimum",
    np.minimum,
    "np.minimum({0}, {1})",
    lambda x, y: x.minimum(y),
    lambda g, out, x, y: (_share(g, x < y, x == y), _share(g, y < x, x == y)),
    commutative=True,
    on_bool="logical_and",
    cost=4,
)
abs_ = elementwise(
    "abs",
    np.absolute,
    "abs({0})",
    lambda x: x.abs(),
    lambda g, out, x: (g * conjugate(sign(x)),),
    planar=planar.absolute,
    jvp=lambda tangents, out, x: real(tangents[0] * conjugate(sign(x))),
    returns="real",
)
sign: Function = elementwise(
    "sign",
    np.sign,
    "np.sign({0})",
    scalar.sign,
    lambda g, out, x: (_turn(g, conjugate(out), x),),
    planar=planar.sign,
    jvp=lambda tangents, out, x: _turn(tangents[0], out, x),
    cost=4,
)


def _turn(g: Any, unit: Any, x: Any) -> Any:
    """What of g is at right angles to `unit`, over `abs(x)`: only a turn of a complex x changes
    `x / abs(x)`."""
    if not is_complex(x):
        return None
    size = abs_(x)
    across = g - real(g * conjugate(unit)) * unit
    return across / where(size == 0, np.inf, size)


def _share(g: Any, wins: Any, ties: Any) -> Any:
    """The cotangent of the winner; halves where both are equal, as in JAX."""
    return where(wins, g, where(ties, 0.5 * g, 0))


fmod = elementwise(
    "fmod",
    np.fmod,
    "np.fmod({0}, {1})",
    scalar.fmod,
    lambda g, out, x, y: (g, -g * rint((x - out) / y)),
    cost=43,
    domain=((0.1, 0.9), (1.0, 2.5)),
)
copysign = elementwise(
    "copysign",
    np.copysign,
    "np.copysign({0}, {1})",
    lambda x, y: x.copysign(y),
    lambda g, out, x, y: (where(signbit(x) == signbit(y), g, -g), None),
    accepts="float",
    cost=2,
    domain=_NONZERO,
)
signbit: Function = elementwise(
    "signbit", np.signbit, "np.signbit({0})", scalar.signbit, accepts="float", returns="bool"
)
nextafter = elementwise(
    "nextafter",
    np.nextafter,
    "np.nextafter({0}, {1})",
    scalar.nextafter,
    lambda g, out, x, y: (g, None),
    accepts="float",
    cost=10,
)
spacing = elementwise(
    "spacing",
    np.spacing,
    "np.spacing({0})",
    scalar.spacing,
    lambda g, out, x: (None,),
    accepts="float",
    cost=5,
)


def _scaled(x: Any, n: Any) -> Any:
    """`np.ldexp` with a floating exponent."""
    whole = np.clip(np.nan_to_num(np.rint(n)), -9999, 9999).astype("int32")
    return np.where(np.isnan(n), n, np.ldexp(x, whole)).astype(np.result_type(x))


# The parts of `frexp`, and the product of `ldexp`.
significand = elementwise(
    "significand",
    lambda x: np.frexp(x)[0],
    "np.frexp({0})[0]",
    scalar.significand,
    lambda g, out, x: (scaled(g, -exponent(x)),),
    listed=False,
    accepts="float",
    cost=12,
)
exponent: Function = elementwise(
    "exponent",
    lambda x: np.where(np.isfinite(x), np.frexp(x)[1], 0).astype(np.result_type(x)),
    "np.frexp({0})[1].astype(np.result_type({0}))",
    scalar.exponent,
    lambda g, out, x: (None,),
    listed=False,
    accepts="float",
    cost=15,
)
scaled: Function = elementwise(
    "scaled",
    _scaled,
    "OPS['scaled'].reference({0}, {1})",
    scalar.scaled,
    lambda g, out, x, n: (scaled(g, n), None),
    listed=False,
    accepts="float",
    cost=10,
    domain=((-2.0, 2.0), (1.0, 1.0)),
)
_WHOLE: dict[str, Any] = {"accepts": "whole", "commutative": True, "domain": ((0, 30), (0, 30))}
gcd = elementwise("gcd", np.gcd, "np.gcd({0}, {1})", scalar.gcd, cost=200, **_WHOLE)
lcm = elementwise("lcm", np.lcm, "np.lcm({0}, {1})", scalar.lcm, cost=220, **_WHOLE)

# ---- rounding

floor = elementwise(
    "floor",
    np.floor,
    "np.floor({0})",
    lambda x: x.floor(),
    lambda g, out, x: (None,),
    accepts="float",
    cost=2,
)
ceil = elementwise(
    "ceil",
    np.ceil,
    "np.ceil({0})",
    lambda x: x.ceil(),
    lambda g, out, x: (None,),
    accepts="float",
    cost=2,
)
rint: Function = elementwise(
    "rint",
    np.rint,
    "np.rint({0})",
    lambda x: x.rint(),
    lambda g, out, x: (None,),
    accepts="float",
    cost=2,
    planar=planar.rint,
)
trunc = elementwise(
    "trunc",
    np.trunc,
    "np.trunc({0})",
    lambda x: x.trunc(),
    lambda g, out, x: (None,),
    accepts="float",
    cost=2,
)


def _quotient_vjp(g: Any, out: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """With one division, which takes as long as sixteen multiplications; of a reciprocal, none."""
    if _is_one(x):
        return None, -(g * out) * out
    by_x = g / y
    return by_x, -by_x * out


def _is_one(x: Any) -> bool:
    node = x.node if isinstance(x, Tensor) else None
    if not isinstance(node, Node) or node.op is not CONST:
        return False
    return bool(constant_of(node["value"], node["dtype"]) == 1)
