"""Powers, exponentials, logarithms, periodic and hyperbolic functions, element by element."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradloom.ops import scalar
from gradloom.ops.logic import where
from gradloom.ops.row import Function, elementwise

_REAL: dict[str, Any] = {"accepts": "float"}
_POSITIVE = ((0.1, 4.0),)


def _wide(function: Function) -> Function:
    """A function of Python floats as a function of arrays, rounded to the array's dtype."""
    vector = np.frompyfunc(function, 1, 1)

    def reference(x: Any) -> Any:
        array = np.asarray(x)
        kept = array.dtype if array.dtype.kind == "f" else np.dtype("float64")
        return np.asarray(vector(array.astype("float64")), "float64").astype(kept)

    return reference


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
    "exp", np.exp, "np.exp({0})", scalar.exp, lambda g, out, x: (g * out,), **_REAL, cost=19
)
expm1 = elementwise(
    "expm1",
    np.expm1,
    "np.expm1({0})",
    scalar.expm1,
    lambda g, out, x: (g * (out + 1),),
    **_REAL,
    cost=21,
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
)

# ---- periodic, hyperbolic, and the functions of neural networks

sin = elementwise(
    "sin", np.sin, "np.sin({0})", scalar.sin, lambda g, out, x: (g * cos(x),), **_REAL, cost=36
)
cos: Function = elementwise(
    "cos", np.cos, "np.cos({0})", scalar.cos, lambda g, out, x: (-g * sin(x),), **_REAL, cost=35
)
tanh = elementwise(
    "tanh",
    np.tanh,
    "np.tanh({0})",
    scalar.tanh,
    lambda g, out, x: (g * (1 - out * out),),
    **_REAL,
    cost=33,
)
arctan = elementwise(
    "arctan",
    np.arctan,
    "np.arctan({0})",
    scalar.atan,
    lambda g, out, x: (g / (1 + x * x),),
    **_REAL,
    cost=27,
)
erf = elementwise(
    "erf",
    _wide(math.erf),
    "math.erf({0})",
    scalar.erf,
    lambda g, out, x: (g * (2 / math.sqrt(math.pi)) * exp(-x * x),),
    **_REAL,
    cost=44,
)
sigmoid = elementwise(
    "sigmoid",
    lambda x: np.exp(-np.logaddexp(0, -np.asarray(x))).astype(np.result_type(x, 0.0)),
    "(1 / (1 + np.exp(-{0})))",
    scalar.sigmoid,
    lambda g, out, x: (g * out * (1 - out),),
    **_REAL,
    cost=33,
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
