"""Hyperbolic and trigonometric functions, and their inverses, of pairs (re, im).

Branch cuts are those of [Kahan, "Branch cuts for complex elementary functions", 1987, sec. 9].
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradloom.ops.planar import (
    Pair,
    angle_of,
    choose,
    is_infinite,
    is_minus,
    log,
    of,
    signed,
    sqrt,
)

# ---- hyperbolic functions, and the periodic ones through them


def _hyperbolic(x: Any) -> tuple[Any, Any, Any]:
    """Numbers s, c and f with sinh(x) = s * f and cosh(x) = c * f; f tempers an overflow."""
    last = math.log(float(np.finfo(x.dtype).max))
    top, shift = last - 10.0, math.floor(last / 2)
    size = abs(x)
    big = size > top
    grown = of("expm1", size - choose(big, float(shift), 0.0).astype(x.dtype))
    wide = size > 40.0
    back = 1 / (1 + grown)
    s = 0.5 * (grown + choose(wide, 1.0, grown * back))
    return (
        signed(s, x),
        0.5 * (1 + grown + back),
        choose(big, math.exp(shift), 1.0).astype(x.dtype),
    )


def sinh(z: Pair) -> Pair:
    """`sinh(x) cos(y) + 1j cosh(x) sin(y)`."""
    x, y = z
    s, c, more = _hyperbolic(x)
    re, im = s * of("cos", y) * more, c * of("sin", y) * more
    finite = abs(y) < np.inf
    re = choose((x == 0) & ~finite, x, re)
    re = choose(is_infinite(x) & ~finite, np.inf, re)
    re = choose((y == 0) & (x != x), x, re)
    return re, choose(y == 0, y, im)


def cosh(z: Pair) -> Pair:
    """`cosh(x) cos(y) + 1j sinh(x) sin(y)`."""
    x, y = z
    s, c, more = _hyperbolic(x)
    re, im = c * of("cos", y) * more, s * of("sin", y) * more
    endless = ~(abs(y) < np.inf)
    re = choose(is_infinite(x) & endless, np.inf, re)
    im = choose((x == 0) & endless, 0.0, im)
    return re, choose(y == 0, choose(is_minus(x), -y, y), im)


def tanh(z: Pair) -> Pair:
    """`(sinh(x) cosh(x) + 1j sin(y) cos(y)) / (cos(y)**2 + sinh(x)**2)`, without cancellation."""
    x, y = z
    limit = 0.5 * np.finfo(x.dtype).nmant
    far = abs(x) > limit
    s, c, _ = _hyperbolic(choose(far, 0.0, x))
    cosine = of("cos", y)
    turn = of("sin", y) * cosine
    below = cosine * cosine + s * s
    one = signed(1.0, x).astype(x.dtype)
    re = choose(far, one + 0 * turn, s * c / below)  # NaN where turn is
    im = choose(far, 4 * turn * of("exp", -2 * abs(x)), turn / below)
    endless = is_infinite(x)
    re = choose(endless, one, re)
    im = choose(endless, signed(0.0, choose(turn == turn, turn, 1.0)).astype(x.dtype), im)
    re = choose((x == 0) & ~endless, x, re)
    return re, choose(y == 0, y, im)


def _turned(z: Pair) -> Pair:
    """`1j * z`."""
    return -z[1], z[0]


def _back(z: Pair) -> Pair:
    """`-1j * z`."""
    return z[1], -z[0]


def sin(z: Pair) -> Pair:
    return _turned(sinh(_back(z)))


def cos(z: Pair) -> Pair:
    return cosh(_turned(z))


def tan(z: Pair) -> Pair:
    return _back(tanh(_turned(z)))


# ---- their inverses [Kahan, "Branch cuts for complex elementary functions", 1987, sec. 9]


def _far(x: Any) -> float:
    """From here on `z * z + 1` is `z * z`, to the last bit."""
    return float(2.0 ** (np.finfo(x.dtype).nmant // 2 + 3))


def _is_far(z: Pair) -> Any:
    return (abs(z[0]) >= _far(z[0])) | (abs(z[1]) >= _far(z[1]))


def _doubled_log(z: Pair) -> Any:
    """`log(2 * abs(z))`."""
    return log(z)[0] + math.log(2.0)


def arcsin(z: Pair) -> Pair:
    x, y = z
    below, above = sqrt((1 - x, -y)), sqrt((1 + x, y))
    re = angle_of(x, below[0] * above[0] - below[1] * above[1])
    im = of("arcsinh", abs(below[0] * above[1] - below[1] * above[0]))
    far = _is_far(z)
    re = choose(far, angle_of(x, abs(y)), re)
    return re, signed(choose(far, _doubled_log(z), im), y)


def arccos(z: Pair) -> Pair:
    x, y = z
    below, above = sqrt((1 - x, -y)), sqrt((1 + x, y))
    re = 2 * angle_of(below[0], above[0])
    im = of("arcsinh", abs(above[0] * below[1] - above[1] * below[0]))
    far = _is_far(z)
    re = choose(far, angle_of(abs(y), x), re)
    return re, signed(choose(far, _doubled_log(z), im), -y)


def arccosh(z: Pair) -> Pair:
    x, y = z
    below, above = sqrt((x - 1, y)), sqrt((x + 1, y))
    re = of("arcsinh", below[0] * above[0] + below[1] * above[1])
    im = 2 * angle_of(below[1], above[0])
    far = _is_far(z)
    return choose(far, _doubled_log(z), re), choose(far, angle_of(y, x), im)


def arcsinh(z: Pair) -> Pair:
    return _turned(arcsin(_back(z)))


def arctanh(z: Pair) -> Pair:
    x, y = abs(z[0]), choose(is_minus(z[0]), -z[1], z[1])
    far = (x >= _far(x)) | (abs(y) >= _far(x))
    x_near, y_near = choose(far, 0.5, x), choose(far, 0.5, y)
    pole = (x_near == 1) & (abs(y_near) < 1e-3)
    gap = 1 - x_near
    size = gap * gap + y_near * y_near
    re = 0.25 * of("log1p", 4 * x_near / choose(pole, 1.0, size))
    beside = 0.25 * of("log", 4 + y_near * y_near) - 0.5 * of("log", abs(y_near))
    re = choose(pole, beside, re)
    im = 0.5 * angle_of(2 * y_near, gap * (1 + x_near) - y_near * y_near)
    most, least = of("maximum", x, abs(y)), of("minimum", x, abs(y))
    tilt = least / most
    flat = choose(x > abs(y), 1.0, tilt) / (most + least * tilt)  # re(1 / z)
    flat = choose(is_infinite(x) | is_infinite(y), 0.0, flat)
    quarter = signed(math.pi / 2, y).astype(x.dtype)
    re, im = choose(far, flat, re), choose(far, choose(y == y, quarter, y), im)
    left = is_minus(z[0])
    return choose(left, -re, re), choose(left, -im, im)


def arctan(z: Pair) -> Pair:
    return _back(arctanh(_turned(z)))
