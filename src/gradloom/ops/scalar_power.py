"""Powers, and the functions that the definition of a power needs no series for.

Coefficients: minimax by the Remez exchange in 45-digit arithmetic on the interval named, rounded
to the format one after another (each time the rest is fitted again); computed for this file.
"""

from gradloom.ops.scalar_exp import EXP2_RANGE, exp2_sum
from gradloom.ops.scalar_forms import FORMATS, INFINITY, NAN, Lane, clamp, horner, split_exponent

# (atanh(s)/s - 1 - s**2/3) / s**4 in powers of s**2 on 0 <= s**2 <= 0.02945.
_ATANH = {
    "float32": (0.20000076293945312, 0.14273545145988464, 0.11709822714328766),
    "float64": (
        0.2000000000000113, 0.1428571428504839, 0.1111111126022367, 0.0909089215961448,
        0.07693379810950572, 0.06628381293603199, 0.06598428204183714,
    ),
}  # fmt: skip
# 1/3 and 2 log2(e), each as a high and a low part.
_THIRD = {
    "float32": (0.3333333432674408, -9.934107758624577e-09),
    "float64": (0.3333333333333333, 1.850371707708594e-17),
}
_TWO_LOG2_E = {
    "float32": (2.885390043258667, 3.851926067000022e-08),
    "float64": (2.8853900817779268, 4.0710547481862066e-17),
}
# A larger exponent takes every base but 1 beyond the format, and its products would overflow.
_EXPONENT_LIMIT = {"float32": 2.0**40, "float64": 2.0**70}


def _product(a: Lane, b: Lane) -> tuple[Lane, Lane]:
    """a * b exactly, as a rounded product and its error.

    Written with fma so that the compiler cannot contract the product into a later sum.
    """
    high = a.fma(b, 0.0)
    return high, a.fma(b, -high)


def _sum(a: Lane, b: Lane) -> tuple[Lane, Lane]:
    """a + b exactly, for |a| >= |b| or a = 0 (Dekker)."""
    high = a + b
    return high, (a - high) + b


def _log2_parts(x: Lane) -> tuple[Lane, Lane]:
    """log2(x) as a sum of two numbers, good to some ten bits beyond the format; x > 0, finite.

    x = m * 2**e, and log m = 2 atanh(s) = 2 s (1 + w) with s = (m - 1) / (m + 1).
    """
    e, m = split_exponent(x)
    top, (bottom, bottom_low) = m - 1.0, _sum(m.like(1.0), m)
    inverse = 1.0 / bottom
    s = top.fma(inverse, 0.0)
    s_low = (-s).fma(bottom_low, (-s).fma(bottom, top)) * inverse
    z, z_low = _product(s, s)
    z_low = z_low + s * s_low * 2.0
    third, third_low = _THIRD[x.dtype]
    c, c_low = _sum(z.like(third), z.fma(horner(z, _ATANH[x.dtype]), 0.0))
    w, w_low = _product(z, c)
    w_low = w_low + (z * (c_low + third_low) + z_low * c)
    v, v_low = _product(s, w)
    u, u_low = _sum(s, v)
    u_low = u_low + (s_low + (v_low + (s * w_low + s_low * w)))
    factor, factor_low = _TWO_LOG2_E[x.dtype]
    log, log_low = _product(u, u.like(factor))
    log_low = log_low + (u * factor_low + u_low * factor)
    total, total_low = _sum(e, log)
    return total, total_low + log_low


def power(x: Lane, y: Lane) -> Lane:
    """x**y, with the special cases of C's pow (IEEE 754): 0**0 = 1, (-8)**(1/3) = NaN, and so on.

    |x|**y is 2**(y log2|x|) with the exponent in two parts; signs and edges are laid over it.
    """
    infinity = x.like(INFINITY)
    size, whole, half = x.abs(), y.floor() == y, y * 0.5
    odd = whole & (half.floor() != half)
    endless = y.abs() == INFINITY

    log, log_low = _log2_parts(size)
    limit = _EXPONENT_LIMIT[x.dtype]
    bounded = clamp(y, -limit, limit)
    exponent, exponent_low = _product(bounded, log)
    exponent_low = exponent_low + bounded * log_low
    low, high = EXP2_RANGE[x.dtype]
    inside = (exponent > low) & (exponent < high)
    result = exp2_sum(clamp(exponent, low, high), inside.where(exponent_low, 0.0))

    edge = (size == 0) | (size == INFINITY) | endless
    grows = (size > 1) == (y > 0)
    result = edge.where(grows.where(infinity, 0.0), result)
    result = (odd & (x.bits() < 0)).where(-result, result)
    invalid = ((x < 0) & (x > -INFINITY) & ~whole) | (x != x) | (y != y)
    result = invalid.where(NAN, result)
    one = (y == 0) | (x == 1) | ((size == 1) & endless)
    return one.where(1.0, result)


def rsqrt(x: Lane) -> Lane:
    """1 / sqrt(x)."""
    return 1.0 / x.sqrt()


def sign(x: Lane) -> Lane:
    """-1, 0 or 1, for floats and integers; NaN stays."""
    # Adding 0 turns the negative zero into the positive one, as NumPy does.
    below = x + 0 if x.dtype == "uint32" else (x < 0).where(-1, x + 0)
    return (x > 0).where(1, below)


def _nearest_quotient(x: Lane, y: Lane) -> tuple[Lane, Lane]:
    """The integer n nearest x / y, and x - n y, exact: each step takes off a mantissa's bits."""
    quotient, rest = x.like(0.0), x
    for _ in range(2):
        n = (rest / y).rint()
        quotient = quotient + n
        rest = (n == 0).where(rest, (-n).fma(y, rest))  # where n is 0, y may be infinite
    return quotient, rest


def _opposite(rest: Lane, y: Lane) -> Lane:
    """Where the remainder must move by one y to have its sign."""
    return (rest != 0) & ((rest < 0) == (y > 0))


def remainder(x: Lane, y: Lane) -> Lane:
    """x - floor(x / y) * y as np.remainder, rounded once: the sign is y's.

    For |x / y| below 2**46 in float32 and 2**104 in float64; NaN far beyond.  Integers take the
    lane's own operator.
    """
    if x.dtype not in FORMATS:
        return x % y
    _, rest = _nearest_quotient(x, y)
    moved = _opposite(rest, y).where(rest + y, rest)
    moved = (moved == 0).where(moved.like(0.0).copysign(y), moved)
    return (rest.abs() <= y.abs()).where(moved, NAN)


def floor_divide(x: Lane, y: Lane) -> Lane:
    """floor(x / y) as np.floor_divide: of the exact quotient, not of the rounded one.

    Integers take the lane's own operator.
    """
    if x.dtype not in FORMATS:
        return x // y
    ratio = x / y
    quotient, rest = _nearest_quotient(x, y)
    floor = quotient - _opposite(rest, y).where(x.like(1.0), 0.0)
    floor = (floor == 0).where(floor.copysign(ratio), floor)
    # From here on every float is whole; and x - x makes NaN of an infinite x, as NumPy does.
    whole = (y == 0).where(ratio, ratio + (x - x))
    return (ratio.abs() < 2.0 ** FORMATS[x.dtype].mantissa).where(floor, whole)
