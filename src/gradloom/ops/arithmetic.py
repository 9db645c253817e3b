"""Arithmetic and rounding, element by element."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from gradloom.ops import scalar
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
    on_bool="logical_or",
)
subtract = elementwise(
    "subtract",
    np.subtract,
    "({0} - {1})",
    operator.sub,
    lambda g, out, x, y: (g, -g),
    unit=0.0,
)
multiply = elementwise(
    "multiply",
    np.multiply,
    "({0} * {1})",
    operator.mul,
    lambda g, out, x, y: (g * y, g * x),
    unit=1.0,
    commutative=True,
    on_bool="logical_and",
)
divide = elementwise(
    "divide",
    np.divide,
    "({0} / {1})",
    operator.truediv,
    lambda g, out, x, y: (g / y, -g * out / y),
    unit=1.0,
    accepts="float",
    cost=16,
    domain=_NONZERO,
)
negative = elementwise("negative", np.negative, "(-{0})", operator.neg, lambda g, out, x: (-g,))
floor_divide = elementwise(
    "floor_divide",
    np.floor_divide,
    "({0} // {1})",
    scalar.floor_divide,
    lambda g, out, x, y: (None, None),
    cost=42,
    domain=_NONZERO,
)
remainder = elementwise(
    "remainder",
    np.remainder,
    "({0} % {1})",
    scalar.remainder,
    lambda g, out, x, y: (g, -g * floor_divide(x, y)),
    cost=39,
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
    "abs", np.absolute, "abs({0})", lambda x: x.abs(), lambda g, out, x: (g * sign(x),)
)
sign: Function = elementwise(
    "sign", np.sign, "np.sign({0})", scalar.sign, lambda g, out, x: (None,), cost=4
)


def _share(g: Any, wins: Any, ties: Any) -> Any:
    """The cotangent of the winner; halves where both are equal, as in JAX."""
    return where(wins, g, where(ties, 0.5 * g, 0))


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
rint = elementwise(
    "rint",
    np.rint,
    "np.rint({0})",
    lambda x: x.rint(),
    lambda g, out, x: (None,),
    accepts="float",
    cost=2,
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
