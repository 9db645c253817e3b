"""Trigonometric and hyperbolic functions, and their inverses, element by element."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.ops import planar_turns, scalar
from gradloom.ops.complex import is_complex
from gradloom.ops.logic import where
from gradloom.ops.row import Function, elementwise
from gradloom.ops.transcendental import hypot, sqrt

_REAL: dict[str, Any] = {"accepts": "float"}
_INSIDE = ((-0.9, 0.9),)

sin = elementwise(
    "sin",
    np.sin,
    "np.sin({0})",
    scalar.sin,
    lambda g, out, x: (g * cos(x),),
    **_REAL,
    cost=36,
    planar=planar_turns.sin,
)
cos: Function = elementwise(
    "cos",
    np.cos,
    "np.cos({0})",
    scalar.cos,
    lambda g, out, x: (-g * sin(x),),
    **_REAL,
    cost=35,
    planar=planar_turns.cos,
)
tanh = elementwise(
    "tanh",
    np.tanh,
    "np.tanh({0})",
    scalar.tanh,
    lambda g, out, x: (g * (1 - out * out),),
    **_REAL,
    cost=36,
    planar=planar_turns.tanh,
)
arctan = elementwise(
    "arctan",
    np.arctan,
    "np.arctan({0})",
    scalar.atan,
    lambda g, out, x: (g / (1 + x * x),),
    **_REAL,
    cost=27,
    planar=planar_turns.arctan,
)
tan = elementwise(
    "tan",
    np.tan,
    "np.tan({0})",
    scalar.tan,
    lambda g, out, x: (g * (1 + out * out),),
    **_REAL,
    domain=((-1.0, 1.0),),
    cost=150,
    planar=planar_turns.tan,
)
sinh: Function = elementwise(
    "sinh",
    np.sinh,
    "np.sinh({0})",
    scalar.sinh,
    lambda g, out, x: (g * cosh(x),),
    **_REAL,
    cost=138,
    planar=planar_turns.sinh,
)
cosh: Function = elementwise(
    "cosh",
    np.cosh,
    "np.cosh({0})",
    scalar.cosh,
    lambda g, out, x: (g * sinh(x),),
    **_REAL,
    cost=29,
    planar=planar_turns.cosh,
)
arcsin = elementwise(
    "arcsin",
    np.arcsin,
    "np.arcsin({0})",
    scalar.asin,
    lambda g, out, x: (g / sqrt((1 - x) * (1 + x)),),
    **_REAL,
    domain=_INSIDE,
    cost=157,
    planar=planar_turns.arcsin,
)
arccos = elementwise(
    "arccos",
    np.arccos,
    "np.arccos({0})",
    scalar.acos,
    lambda g, out, x: (-g / sqrt((1 - x) * (1 + x)),),
    **_REAL,
    domain=_INSIDE,
    cost=148,
    planar=planar_turns.arccos,
)
arctan2 = elementwise(
    "arctan2",
    np.arctan2,
    "np.arctan2({0}, {1})",
    scalar.atan2,
    lambda g, out, y, x: (g * _of_square(x, y, x), -g * _of_square(y, y, x)),
    **_REAL,
    domain=((-2.0, 2.0), (0.3, 2.5)),
    cost=253,
)
arcsinh = elementwise(
    "arcsinh",
    np.arcsinh,
    "np.arcsinh({0})",
    scalar.asinh,
    lambda g, out, x: (g / _slant(x),),
    **_REAL,
    cost=414,
    planar=planar_turns.arcsinh,
)
arccosh = elementwise(
    "arccosh",
    np.arccosh,
    "np.arccosh({0})",
    scalar.acosh,
    lambda g, out, x: (g / (sqrt(x - 1) * sqrt(x + 1)),),
    **_REAL,
    domain=((1.2, 4.0),),
    cost=423,
    planar=planar_turns.arccosh,
)
arctanh = elementwise(
    "arctanh",
    np.arctanh,
    "np.arctanh({0})",
    scalar.atanh,
    lambda g, out, x: (g / ((1 - x) * (1 + x)),),
    **_REAL,
    domain=_INSIDE,
    cost=332,
    planar=planar_turns.arctanh,
)


def _of_square(top: Any, y: Any, x: Any) -> Any:
    """top / (x**2 + y**2) without overflow; 0 at the origin, where the angle has no derivative."""
    length = hypot(x, y)
    length = where(length == 0, 1, length)
    return top / length / length


def _slant(x: Any) -> Any:
    """`sqrt(x * x + 1)`."""
    return sqrt(x * x + 1) if is_complex(x) else hypot(x, 1)
