"""Powers, exponentials, logarithms and the functions of neural networks, element by element."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradloom.ops import planar, scalar
from gradloom.ops.arithmetic import abs_
from gradloom.ops.logic import where
from gradloom.ops.row import Function, elementwise

_REAL: dict[str, Any] = {"accepts": "float"}
_POSITIVE = ((0.1, 4.0),)
_LN2 = math.log(2)


def _wide(function: Function) -> Function:
    """A function of Python floats as a function of arrays, rounded to the array's dtype."""
    vector = np.frompyfunc(function, 1, 1)

    def reference(x: Any) -> Any:
        array = np.asarray(x)
        kept = array.dtype if array.dtype.kind == "f" else np.dtype("float64")
        return np.asarray(vector(array.astype("float64")), "float64").astype(kept)

    return reference


def _integer_power(x: Any, y: Any) -> Any:
    """`x ** y` of integers; a negative power is cut toward 0, which NumPy refuses."""
    x, y = np.asarray(x), np.asarray(y)
    below = np.where((x == 1) | (x == -1), np.where(y % 2 == 0, 1, x), 0)
    dtype = np.result_type(x, y)
    return np.where(y < 0, below.astype(dtype), np.power(x, np.where(y < 0, 0, y).astype(y.dtype)))


def _nonzero(x: Any) -> Any:
    return where(x == 0, 1, x)


def _apart(x: Any, y: Any) -> Any:
    """x - y, and 0 of equal infinities."""
    same = (x == y) & (abs_(x) == np.inf)  # equal numbers keep their derivative
    return where(same, 0, x) - where(same, 0, y)


# ---- powers, exponentials, logarithms

sqrt = elementwise(
    "sqrt",
    np.sqrt,
    "np.sqrt({0})",
    lambda x: x.sqrt(),
    lambda g, out, x: (0.5 * g / out,),
    accepts="float",
    cost=20,
    domain=_POSITIVE,
    planar=planar.sqrt,
)
rsqrt = elementwise(
    "rsqrt",
    lambda x: 1 / np.sqrt(x),
    "(1 / np.sqrt({0}))",
    scalar.rsqrt,
    lambda g, out, x: (-0.5 * g * out / x,),
    **_REAL,
    domain=_POSITIVE,
    cost=38,
)
exp = elementwise(
    "exp",
    np.exp,
    "np.exp({0})",
    scalar.exp,
    lambda g, out, x: (g * out,),
    **_REAL,
    cost=19,
    planar=planar.exp,
)
expm1 = elementwise(
    "expm1",
    np.expm1,
    "np.expm1({0})",
    scalar.expm1,
    lambda g, out, x: (g * (out + 1),),
    **_REAL,
    cost=21,
    planar=planar.expm1,
)
log = elementwise(
    "log",
    np.log,
    "np.log({0})",
    scalar.log,
    lambda g, out, x: (g / x,),
    **_REAL,
    domain=_POSITIVE,
    cost=32,
    planar=planar.log,
)
log1p = elementwise(
    "log1p",
    np.log1p,
    "np.log1p({0})",
    scalar.log1p,
    lambda g, out, x: (g / (1 + x),),
    **_REAL,
    domain=((-0.5, 4.0),),
    cost=41,
    planar=planar.log1p,
)
power: Function = elementwise(
    "power",
    np.power,
    "({0} ** {1})",
    scalar.power,
    lambda g, out, x, y: (
        g * y * power(x, where(y == 0, 1, y - 1)),
        g * out * log(where(x == 0, 1, x)),
    ),
    accepts="float",
    unit=1.0,
    cost=157,
    domain=((0.2, 3.0), (-2.0, 2.5)),
    planar=planar.power,
)

exp2 = elementwise(
    "exp2",
    np.exp2,
    "np.exp2({0})",
    scalar.exp2,
    lambda g, out, x: (g * out * _LN2,),
    **_REAL,
    cost=18,
    planar=planar.exp2,
)
log2 = elementwise(
    "log2",
    np.log2,
    "np.log2({0})",
    scalar.log2,
    lambda g, out, x: (g / (x * _LN2),),
    **_REAL,
    domain=_POSITIVE,
    cost=31,
    planar=planar.log2,
)
log10 = elementwise(
    "log10",
    np.log10,
    "np.log10({0})",
    scalar.log10,
    lambda g, out, x: (g / (x * math.log(10)),),
    **_REAL,
    domain=_POSITIVE,
    cost=34,
    planar=planar.log10,
)
cbrt = elementwise(
    "cbrt",
    np.cbrt,
    "np.cbrt({0})",
    scalar.cbrt,
    lambda g, out, x: (g / (3 * out * out),),
    **_REAL,
    domain=_POSITIVE,
    cost=161,
)
integer_power = elementwise(
    "integer_power",
    _integer_power,
    "OPS['integer_power'].reference({0}, {1})",
    scalar.integer_power,
    listed=False,
    accepts="integer",
    domain=((-5, 5), (0, 9)),
    cost=150,
)
hypot = elementwise(
    "hypot",
    np.hypot,
    "np.hypot({0}, {1})",
    scalar.hypot,
    lambda g, out, x, y: (g * (x / _nonzero(out)), g * (y / _nonzero(out))),
    **_REAL,
    commutative=True,
    domain=((0.3, 2.0), (0.5, 2.5)),
    cost=163,
)
logaddexp = elementwise(
    "logaddexp",
    np.logaddexp,
    "np.logaddexp({0}, {1})",
    scalar.logaddexp,
    lambda g, out, x, y: (g * sigmoid(_apart(x, y)), g * sigmoid(_apart(y, x))),
    **_REAL,
    commutative=True,
    cost=64,
)

# ---- the functions of neural networks

erf = elementwise(
    "erf",
    _wide(math.erf),
    "math.erf({0})",
    scalar.erf,
    lambda g, out, x: (g * (2 / math.sqrt(math.pi)) * exp(-x * x),),
    **_REAL,
    cost=44,
)
sigmoid: Function = elementwise(
    "sigmoid",
    lambda x: np.exp(-np.logaddexp(0, -np.asarray(x))).astype(np.result_type(x, 0.0)),
    "(1 / (1 + np.exp(-{0})))",
    scalar.sigmoid,
    lambda g, out, x: (g * out * (1 - out),),
    **_REAL,
    cost=41,
)
softplus = elementwise(
    "softplus",
    lambda x: np.logaddexp(x, 0).astype(np.result_type(x, 0.0)),
    "np.logaddexp({0}, 0)",
    scalar.softplus,
    lambda g, out, x: (g * sigmoid(x),),
    **_REAL,
    cost=59,
)
