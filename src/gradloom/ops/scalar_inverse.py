"""Inverse trigonometric and hyperbolic functions, roots and lengths; float32 through float64.

Coefficients: interpolated at Chebyshev's nodes in 60-digit arithmetic; computed for this file.
"""

from gradloom.ops.scalar_forms import (
    FORMATS,
    INFINITY,
    NAN,
    Lane,
    horner,
    in_double,
    split_exponent,
)
from gradloom.ops.scalar_pairs import fast_sum, log_of_pair, product, ratio, root, two_sum
from gradloom.ops.scalar_reduce import HALF_PI
from gradloom.ops.scalar_trig import atan_of_pair

# (asin(t)/t - 1) / t**2 in powers of t**2 on t <= 1/2.
_ASIN = (
    0.16666666666666666, 0.07500000000000118, 0.044642857142551895, 0.03038194447553234,
    0.02237215744350722, 0.017352816540325496, 0.01396378001220357, 0.011566459612121669,
    0.009621842970100282, 0.009319560794767446, 0.0030448799094556773, 0.019554513336123378,
    -0.01924167174674304, 0.02961201126495512,
)  # fmt: skip
# The cube root on [sqrt(1/2), sqrt(2)], to 16 bits, and those of 1/2 and 2.
_CBRT = (
    0.45368850939437955, 0.8967392149830209, -0.5237666939876867, 0.2093460512115113,
    -0.03600019208330247,
)  # fmt: skip
_LN2 = FORMATS["float64"].ln2[0]
_PI, _PI_LOW = 2 * HALF_PI["float64"][0], 2 * HALF_PI["float64"][1]


def _asin_near(t: Lane, t_low: Lane) -> tuple[Lane, Lane]:
    """asin(t + t_low) for |t| <= 1/2, as a number and its correction."""
    z = t * t
    return t, (z * t).fma(horner(z, _ASIN), t_low)


def _folded(size: Lane) -> tuple[Lane, Lane]:
    """sqrt((1 - size) / 2), whose arc sine is half the arc cosine of size, as a sum of two."""
    return root((1.0 - size) * 0.5, size.like(0.0))


@in_double
def asin(x: Lane) -> Lane:
    """Arc sine: the series up to 1/2, then pi/2 - 2 asin(sqrt((1 - |x|) / 2)).  NaN beyond 1."""
    size = x.abs()
    far = size > 0.5
    t, low = _folded(size)
    empty = t == 0
    high, rest = _asin_near(far.where(t, size), far.where(empty.where(0.0, low), 0.0))
    turned, lost = two_sum(size.like(HALF_PI["float64"][0]), high * -2.0)
    folded = turned + (lost + rest.fma(-2.0, HALF_PI["float64"][1]))
    return far.where(folded, high + rest).copysign(x)


@in_double
def acos(x: Lane) -> Lane:
    """Arc cosine: pi/2 - asin(x) up to 1/2, else 2 asin(sqrt((1 - |x|) / 2)) or pi less it."""
    size = x.abs()
    far = size > 0.5
    t, low = _folded(size)
    high, rest = _asin_near(far.where(t, x), far.where((t == 0).where(0.0, low), 0.0))
    factor = far.where((x > 0).where(size.like(2.0), -2.0), -1.0)
    start = far.where((x > 0).where(size.like(0.0), _PI), HALF_PI["float64"][0])
    start_low = far.where((x > 0).where(size.like(0.0), _PI_LOW), HALF_PI["float64"][1])
    total, lost = two_sum(start, high * factor)
    return total + (lost + rest.fma(factor, start_low))


@in_double
def atan2(y: Lane, x: Lane) -> Lane:
    """The angle of the point (x, y), from -pi to pi, with C's signs at zeros and infinities."""
    tall = y.abs() > x.abs()
    top, bottom = tall.where(x.abs(), y.abs()), tall.where(y.abs(), x.abs())
    both = (top == INFINITY) & (bottom == INFINITY)
    top = both.where(1.0, (bottom == 0).where(0.0, top))
    bottom = both.where(1.0, (bottom == 0).where(1.0, bottom))
    # Lengths near the ends of the range are brought inward, so that nothing of the ratio is lost.
    scale = (bottom > 2.0**1000).where(bottom.like(2.0**-100), 1.0)
    scale = (bottom < 2.0**-900).where(2.0**200, scale)
    endless = bottom == INFINITY
    bottom = bottom * scale
    top = (endless & (top != INFINITY)).where(0.0, top * scale)
    high, low = ratio(top, top.like(0.0), endless.where(1.0, bottom), top.like(0.0))
    angle, low = atan_of_pair(high, (high < 2.0**-900).where(0.0, low))
    behind = x.bits() < 0
    turned = tall | behind
    start = tall.where(x.like(HALF_PI["float64"][0]), _PI)
    start_low = tall.where(x.like(HALF_PI["float64"][1]), _PI_LOW)
    minus = tall.where(behind.where(x.like(1.0), -1.0), -1.0)
    total, lost = fast_sum(start, angle * minus)
    result = turned.where(total + (lost + low.fma(minus, start_low)), angle + low)
    return ((x != x) | (y != y)).where(NAN, result.copysign(y))


@in_double
def asinh(x: Lane) -> Lane:
    """Inverse hyperbolic sine: log(|x| + sqrt(x**2 + 1)), in sums of two numbers."""
    size = x.abs()
    small, large = size < 1e-8, size > 1e8
    middle = (small | large).where(1.0, size)
    square, square_low = product(middle, middle)
    y, y_low = two_sum(square, square.like(1.0))
    length, length_low = root(y, y_low + square_low)
    total, lost = two_sum(length, middle)
    total = large.where(size.minimum(FORMATS["float64"].largest), total)
    result = log_of_pair(total, large.where(0.0, lost + length_low))
    result = large.where(result + _LN2, small.where(size, result))
    return (size < INFINITY).where(result, size).copysign(x)


@in_double
def acosh(x: Lane) -> Lane:
    """Inverse hyperbolic cosine: log(x + sqrt(x**2 - 1)), in sums of two numbers; NaN below 1."""
    large, inside = x > 1e8, (x > 1) & (x <= 1e8)
    middle = inside.where(x, 2.0)
    square, square_low = product(middle, middle)
    y, y_low = two_sum(square, square.like(-1.0))
    y, y_low = fast_sum(y, y_low + square_low)
    length, length_low = root(y, y_low)
    total, lost = two_sum(middle, length)
    total = large.where(x.minimum(FORMATS["float64"].largest), total)
    result = log_of_pair(total, large.where(0.0, lost + length_low))
    result = large.where(result + _LN2, (x == 1).where(0.0, result))
    return (x >= 1).where((x < INFINITY).where(result, x), NAN)


@in_double
def atanh(x: Lane) -> Lane:
    """Inverse hyperbolic tangent: log((1 + |x|) / (1 - |x|)) / 2; NaN beyond 1."""
    size = x.abs()
    small = size < 1e-8
    middle = (small | (size >= 1)).where(0.5, size)
    top, top_low = fast_sum(middle.like(1.0), middle)
    bottom, bottom_low = fast_sum(middle.like(1.0), -middle)
    total, low = ratio(top, top_low, bottom, bottom_low)
    result = small.where(size, 0.5 * log_of_pair(total, low))
    result = (size < 1).where(result, (size == 1).where(size * INFINITY, NAN))
    return result.copysign(x)


@in_double
def cbrt(x: Lane) -> Lane:
    """Cube root: a polynomial, Halley's step, and Newton's with an exact remainder."""
    size = x.abs()
    usual = (size > 0) & (size < INFINITY)
    e, m = split_exponent(usual.where(size, 1.0))
    third = (e * (1 / 3)).rint()
    k = e.fma(1.0, third * -3.0)
    v = m * (k > 0).where(m.like(2.0), (k < 0).where(m.like(0.5), 1.0))
    y = horner(m, _CBRT)
    y = y * (k > 0).where(
        m.like(1.2599210498948732), (k < 0).where(m.like(0.7937005259840998), 1.0)
    )
    cube = y * y * y
    y = y * (cube + 2.0 * v) / (2.0 * cube + v)
    square, square_low = product(y, y)
    cube, cube_low = product(square, y)
    rest = (v - cube) - square_low.fma(y, cube_low)
    y = y + rest / (3.0 * square)
    form = FORMATS["float64"]
    scale = (third + (form.magic + form.bias)).bits() << form.mantissa
    return usual.where(y * scale.from_bits(), size).copysign(x)


@in_double
def hypot(x: Lane, y: Lane) -> Lane:
    """sqrt(x**2 + y**2) without overflow; infinite beside an infinity, even with NaN."""
    a, b = x.abs(), y.abs()
    large, small = (a > b).where(a, b), (a > b).where(b, a)
    scale = (large > 2.0**500).where(large.like(2.0**-600), 1.0)
    scale = (large < 2.0**-450).where(2.0**600, scale)
    back = (large > 2.0**500).where(large.like(2.0**600), 1.0)
    back = (large < 2.0**-450).where(2.0**-600, back)
    edge = (large == 0) | (large == INFINITY)
    p, q = edge.where(1.0, large * scale), edge.where(0.0, small * scale)
    square, square_low = product(p, p)
    other, other_low = product(q, q)
    total, lost = fast_sum(square, other)
    high, low = root(total, lost + (square_low + other_low))
    result = edge.where(large, (high + low) * back)
    result = ((x != x) | (y != y)).where(NAN, result)
    return ((a == INFINITY) | (b == INFINITY)).where(INFINITY, result)
