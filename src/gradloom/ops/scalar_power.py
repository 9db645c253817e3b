"""Powers."""

from gradloom.ops.scalar_exp import EXP2_RANGE, exp2_sum
from gradloom.ops.scalar_forms import INFINITY, NAN, Lane, clamp
from gradloom.ops.scalar_pairs import log2_pair, product

# A larger exponent takes every base but 1 beyond the format, and its products would overflow.
_EXPONENT_LIMIT = {"float32": 2.0**40, "float64": 2.0**70}


def power(x: Lane, y: Lane) -> Lane:
    """x**y, with the special cases of C's pow (IEEE 754): 0**0 = 1, (-8)**(1/3) = NaN, and so on.

    |x|**y is 2**(y log2|x|) with the exponent in two parts; signs and edges are laid over it.
    """
    infinity = x.like(INFINITY)
    size, whole, half = x.abs(), y.floor() == y, y * 0.5
    odd = whole & (half.floor() != half)
    endless = y.abs() == INFINITY

    log, log_low = log2_pair(size)
    limit = _EXPONENT_LIMIT[x.dtype]
    bounded = clamp(y, -limit, limit)
    exponent, exponent_low = product(bounded, log)
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


def integer_power(x: Lane, y: Lane) -> Lane:
    """x**y of integers, wrapping; 0 to a negative power, and the reciprocal cut toward 0."""
    power, _, _ = x.like(1).repeat(
        (x, y.maximum(0)),
        64,
        lambda power, factor, left: (
            ((left & 1) != 0).where(power * factor, power),
            factor * factor,
            left >> 1,
        ),
        lambda power, factor, left: left != 0,
    )
    unit = (x == 1) | (x == x.like(-1))
    odd = (y & 1) != 0
    below = unit.where(odd.where(x, 1), 0)
    return (y < 0).where(below, power)
