"""What rows mean on complex operands: each a pair (re, im) of real values.

The rules are programs of public functions, looked up when called, since the rows that refer to the
rules are defined after them.  Branch cuts, signed zeros and infinities are those of C99, Annex G,
which NumPy follows.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradloom.frontend.tensor import FUNCTIONS
from gradloom.ir.types import PART

Pair = tuple[Any, Any]


def of(name: str, *operands: Any, **attrs: Any) -> Any:
    """A public function, which is defined after the rules."""
    return FUNCTIONS[name](*operands, **attrs)


def choose(condition: Any, x: Any, y: Any) -> Any:
    """`where`, of which a rule of this file has the name."""
    return FUNCTIONS["where"](condition, x, y)


def either(condition: Any, x: Pair, y: Pair) -> Pair:
    """`where` of both parts."""
    return choose(condition, x[0], y[0]), choose(condition, x[1], y[1])


# ---- signs and sizes


def is_minus(x: Any) -> Any:
    """Whether the sign is minus, of zeros too."""
    return FUNCTIONS["signbit"](x)


def signed(size: Any, sign: Any) -> Any:
    """`size` with the sign of `sign`."""
    return FUNCTIONS["copysign"](size, sign)


def is_infinite(x: Any) -> Any:
    """Whether an element is an infinity of either sign."""
    return abs(x) == np.inf


def _scaled(z: Pair) -> tuple[Pair, Any, Any]:
    """`z` times a power of four that keeps its squares in range; the power; its logarithm."""
    re, im = z
    info = np.finfo(re.dtype)
    high, low = 2.0 ** (info.maxexp // 2 - 2), 2.0 ** (info.minexp // 2 + info.nmant // 2 + 2)
    down, up = 2.0 ** (-2 * (3 * info.maxexp // 10)), 2.0 ** (2 * (4 * info.maxexp // 10))
    size = of("maximum", abs(re), abs(im))
    huge, tiny = size > high, size < low
    factor = choose(huge, down, choose(tiny, up, 1.0)).astype(re.dtype)
    logarithm = choose(huge, math.log(down), choose(tiny, math.log(up), 0.0)).astype(re.dtype)
    return (re * factor, im * factor), factor, logarithm


def absolute(z: Pair) -> Any:
    return FUNCTIONS["hypot"](*z)


def angle_of(y: Any, x: Any) -> Any:
    """From the positive x axis, from -pi to pi, by the signs of zeros too."""
    return FUNCTIONS["arctan2"](y, x)


# ---- arithmetic


def add(z: Pair, w: Pair) -> Pair:
    return z[0] + w[0], z[1] + w[1]


def subtract(z: Pair, w: Pair) -> Pair:
    return z[0] - w[0], z[1] - w[1]


def negative(z: Pair) -> Pair:
    return -z[0], -z[1]


def multiply(z: Pair, w: Pair) -> Pair:
    return z[0] * w[0] - z[1] * w[1], z[0] * w[1] + z[1] * w[0]


def divide(z: Pair, w: Pair) -> Pair:
    """Smith's quotient, which divides by the larger part first [Smith, CACM 5 (1962), alg. 116]."""
    (a, b), (c, d) = z, w
    first = abs(c) >= abs(d)
    large, small = choose(first, c, d), choose(first, d, c)
    none = (c == 0) & (d == 0)
    ratio = choose(none, 0.0, small / large)
    below = choose(none, abs(large), large + small * ratio)
    u, v = choose(first, a, b), choose(first, b, a)
    re, im = u + v * ratio, v - u * ratio
    re, im = choose(none, a, re), choose(none, b, choose(first, im, -im))
    return re / below, im / below


def sign(z: Pair) -> Pair:
    """`z / abs(z)`; 0 of 0; of one infinite part its sign alone."""
    (re, im), _, _ = _scaled(z)
    size = of("sqrt", re * re + im * im)
    nothing = size == 0
    size = choose(nothing, 1.0, size)
    wide, high = is_infinite(z[0]), is_infinite(z[1])
    alone = (wide | high) & ~(wide & high)
    ends = choose(wide, of("sign", z[0]), 0.0), choose(high, of("sign", z[1]), 0.0)
    re, im = choose(nothing, 0.0, re / size), choose(nothing, 0.0, im / size)
    return either(alone, ends, (re, im))


def rint(z: Pair) -> Pair:
    return of("rint", z[0]), of("rint", z[1])


def where(condition: Any, z: Pair, w: Pair) -> Pair:
    return either(condition, z, w)


def equal(z: Pair, w: Pair) -> Any:
    return (z[0] == w[0]) & (z[1] == w[1])


def not_equal(z: Pair, w: Pair) -> Any:
    return (z[0] != w[0]) | (z[1] != w[1])


def cast(z: Any, dtype: str) -> Any:
    """To complex, from real or complex; to bool, whether a part is not zero; else the real part."""
    if dtype == "bool":
        return not_equal(z, (0, 0))
    if dtype not in PART:
        return z[0].astype(dtype)
    if isinstance(z, tuple):
        return z[0].astype(PART[dtype]), z[1].astype(PART[dtype])
    return z.astype(PART[dtype]), of("zeros_like", z, PART[dtype])


# ---- exponentials and logarithms


def _grown(x: Any) -> tuple[Any, Any]:
    """Numbers e and f with exp(x) = e * f, of which e does not overflow where f tempers it."""
    last = math.log(float(np.finfo(x.dtype).max))
    top, shift = last - 10.0, math.floor(last / 2)
    big = x > top
    shifted = x - choose(big, float(shift), 0.0).astype(x.dtype)
    return of("exp", shifted), choose(big, math.exp(shift), 1.0).astype(x.dtype)


def exp(z: Pair) -> Pair:
    """`exp(re) * (cos(im) + 1j sin(im))`."""
    x, y = z
    size, more = _grown(x)
    re, im = size * of("cos", y) * more, size * of("sin", y) * more
    endless = ~(abs(y) < np.inf)
    vanishes = (x == -np.inf) & endless
    real = y == 0
    re = choose(vanishes, 0.0, choose(real, size * more, re))
    re = choose((x == np.inf) & endless, np.inf, re)
    return re, choose(vanishes, 0.0, choose(real, y, im))


def expm1(z: Pair) -> Pair:
    """`exp(z) - 1`: of the real part, expm1(x) cos(y) - 2 sin(y / 2)**2 has no cancellation."""
    x, y = z
    re, im = exp(z)
    half = of("sin", 0.5 * y)
    small = of("expm1", x) * of("cos", y) - 2 * half * half
    return choose(abs(x) < 1, small, re - 1), im


def log(z: Pair) -> Pair:
    """`log(abs(z)) + 1j angle(z)`; near the unit circle by log1p [Kahan 1987, sec. 9, CLOG]."""
    (re, im), _, shift = _scaled(z)
    size = re * re + im * im
    large = of("maximum", abs(re), abs(im))
    small = of("minimum", abs(re), abs(im))
    near = (size > 0.5) & (size < 3.0) & (shift == 0)
    excess = choose(near, (large - 1) * (large + 1) + small * small, 0.0)
    out = choose(near, 0.5 * of("log1p", excess), 0.5 * of("log", size) - shift)
    out = choose(is_infinite(z[0]) | is_infinite(z[1]), np.inf, out)
    return out, angle_of(z[1], z[0])


def log1p(z: Pair) -> Pair:
    """`log(1 + z)`: of a small z, log(abs(1 + z)**2) is log1p(x (2 + x) + y y)."""
    x, y = z
    re, im = log((1 + x, y))
    small = (abs(x) < 0.5) & (abs(y) < 0.5)
    excess = choose(small, x * (2 + x) + y * y, 0.0)
    return choose(small, 0.5 * of("log1p", excess), re), im


def exp2(z: Pair) -> Pair:
    """`2 ** z`."""
    size, angle = of("exp2", z[0]), z[1] * math.log(2.0)
    return size * of("cos", angle), size * of("sin", angle)


def _logarithm(base: float) -> Any:
    factor = 1 / math.log(base)

    def rule(z: Pair) -> Pair:
        re, im = log(z)
        return re * factor, im * factor

    return rule


log2 = _logarithm(2.0)
log10 = _logarithm(10.0)


def sqrt(z: Pair) -> Pair:
    """The root in the right half plane [Kahan 1987, sec. 9, CSQRT], of a scaled z."""
    (re, im), factor, _ = _scaled(z)
    size = of("sqrt", re * re + im * im)
    most = of("sqrt", 0.5 * (abs(re) + size))
    least = 0.5 * abs(im) / choose(most == 0, 1.0, most)
    back = of("sqrt", factor)
    left = is_minus(re)
    most, least = most / back, least / back
    root = choose(left, least, most), choose(left, most, least)
    x, y = z
    nan = (x != x) | (y != y)
    wide = (
        choose(left, choose(nan, y, 0.0) * 1.0, np.inf),
        choose(left, np.inf, choose(nan, y, 0.0)),
    )
    root = either(is_infinite(x), (abs(wide[0]), abs(wide[1])), root)
    root = either(is_infinite(y), (abs(y), abs(y)), root)
    return root[0], signed(root[1], y)


def power(z: Pair, w: Pair) -> Pair:
    """`exp(w * log(z))`; 1 of the zeroth power; 0 of powers of 0 with a positive real part."""
    re, im = exp(multiply(w, log(z)))
    nothing = (z[0] == 0) & (z[1] == 0)
    re = choose(nothing, choose(w[0] > 0, 0.0, np.nan * re), re)
    im = choose(nothing, choose(w[0] > 0, 0.0, np.nan * im), im)
    zeroth = (w[0] == 0) & (w[1] == 0)
    return choose(zeroth, 1.0, re), choose(zeroth, 0.0, im)
