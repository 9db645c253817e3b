"""Exponentials and what is made of them.

Coefficients: minimax by the Remez exchange in 45-digit arithmetic on the interval named, rounded
to the format one after another (each time the rest is fitted again); computed for this file.
"""

from collections.abc import Callable

from gradloom.ops.scalar_forms import (
    FORMATS,
    Lane,
    clamp,
    horner,
    in_double,
    round_to_power,
    round_to_scale,
)

# (e**r - 1 - r) / r**2 on |r| <= (ln 2) / 2; weighted for the relative error of e**r - 1.
_EXPM1 = {
    "float32": (
        0.5, 0.1666666567325592, 0.04166646674275398, 0.008333643898367882,
        0.0013935043243691325, 0.00019662626436911523,
    ),
    "float64": (
        0.5000000000000001, 0.1666666666666667, 0.041666666666648415, 0.00833333333331921,
        0.0013888888894281323, 0.00019841269905345788, 2.4801583005392496e-05,
        2.7557214951090274e-06, 2.755656289201341e-07, 2.5121817918079427e-08,
        2.22324042266922e-09,
    ),
}  # fmt: skip
# The same, weighted for the relative error of e**r: in float32 a power less is a twentieth of the
# time of exp, and 0.05 ULP.
_EXP = {
    "float32": (
        0.4999999403953552, 0.1666652113199234, 0.041668254882097244, 0.008368662558495998,
        0.0013821468455716968,
    ),
    "float64": _EXPM1["float64"],
}  # fmt: skip
# (2**r - 1) / r on |r| <= 1/2; weighted for the relative error of 2**r.
_EXP2 = {
    "float32": (
        0.6931471824645996, 0.24022650718688965, 0.05550400912761688, 0.009618083015084267,
        0.001334284315817058, 0.00015453896776307374, 1.2987639820494223e-05,
    ),
    "float64": (
        0.6931471805599453, 0.2402265069591007, 0.055504108664823075, 0.009618129107629965,
        0.001333355814618536, 0.00015403530390034704, 1.525273390550108e-05,
        1.321548985397261e-06, 1.0178135276602738e-07, 7.053682512224588e-09,
        4.4004536505822367e-10, 2.7490953772589957e-11, 9.824569648523361e-12,
    ),
}  # fmt: skip
# (sinh(r)/r - 1) / r**2 in powers of r**2 on r**2 <= 1; interpolated in 60-digit arithmetic.
_SINH = (
    0.16666666666666666, 0.008333333333333333, 0.00019841269841269773, 2.755731922404034e-06,
    2.505210836405804e-08, 1.6059048396350562e-10, 7.646625361656657e-13, 2.8445264169895285e-15,
)  # fmt: skip
# From these on e**x and 2**x are 0, and infinite.  Zeros are not left to the scaling: a product
# below the normal numbers takes 150 cycles, and a softmax of rows of 64, half of them masked by
# -1e9, took five times as long.
_EXP_RANGE = {"float32": (-103.98, 89.5), "float64": (-745.14, 710.5)}
EXP2_RANGE = {"float32": (-150.0, 129.0), "float64": (-1075.0, 1025.0)}
# e**x - 1 is -1 below it, and tanh(x / 2) too.
_EXPM1_LOW = -44.0


def _reduce(x: Lane, n: Lane) -> Lane:
    """x - n ln 2."""
    high, low = FORMATS[x.dtype].ln2
    return n.fma(-low, n.fma(-high, x))


def _exp_parts(x: Lane) -> tuple[Lane, Callable[[Lane], Lane]]:
    """p and the product with a power of two, of which p gives e**x; p is 0 or in [0.7, 1.42]."""
    least, most = _EXP_RANGE[x.dtype]
    held = clamp(x, least, most)
    n, times = round_to_power(held, FORMATS[x.dtype].log2_e)
    power = horner(_reduce(held, n), (1.0, 1.0, *_EXP[x.dtype]))
    return (x <= least).where(0.0, power), times


def exp(x: Lane) -> Lane:
    """e**x."""
    power, times = _exp_parts(x)
    return times(power)


def exp2_sum(high: Lane, low: Lane) -> Lane:
    """2**(high + low) for |high| within EXP2_RANGE and low far smaller than 1."""
    n, times = round_to_power(high, 1.0)
    r = (high - n) + low
    power = r.fma(horner(r, _EXP2[r.dtype]), 1.0)
    return times((high <= EXP2_RANGE[r.dtype][0]).where(0.0, power))


def exp2(x: Lane) -> Lane:
    """2**x; exact at integers."""
    return exp2_sum(clamp(x, *EXP2_RANGE[x.dtype]), x.like(0.0))


def _expm1_parts(x: Lane, offset: int) -> tuple[Lane, Lane]:
    """(p, s) with e**x = (1 + p) * s / 2**offset, |p| < 0.42, and s a power of two."""
    n, scale = round_to_scale(x, FORMATS[x.dtype].log2_e, offset)
    r = _reduce(x, n)
    return (r * r).fma(horner(r, _EXPM1[x.dtype]), r), scale


def expm1(x: Lane) -> Lane:
    """e**x - 1, accurate near 0."""
    # A quarter of the power is formed, for the whole would overflow before the result does.
    power, scale = _expm1_parts(clamp(x, _EXPM1_LOW, _EXP_RANGE[x.dtype][1]), -2)
    result = scale.fma(power, scale - 0.25) * 4.0
    return (x.abs() < FORMATS[x.dtype].linear).where(x, result)


def expm1_below(x: Lane) -> Lane:
    """e**x - 1 for x <= 0, but for the sign of zero."""
    power, scale = _expm1_parts(x.maximum(_EXPM1_LOW), 0)
    return scale.fma(power, scale - 1.0)


def _quotient(top: Lane, bottom: Lane, lost: Lane) -> Lane:
    """top / bottom from an estimate of 1 / bottom and one step of Newton's, with `lost` added to
    the rest.

    A division costs more, and its rounding would add to that of the operands; `lost` is what
    they lack, top's less the quotient times bottom's.
    """
    inverse = bottom.inverse_estimate()
    first = top * inverse
    return ((-first).fma(bottom, top) + lost).fma(inverse, first)


def tanh(x: Lane) -> Lane:
    """Hyperbolic tangent: -t / (2 + t) with t = e**(-2|x|) - 1."""
    power, scale = _expm1_parts((x.abs() * -2.0).maximum(_EXPM1_LOW), 0)
    less = scale - 1.0
    top = scale.fma(power, less)
    ratio = _quotient(top, scale.fma(power, scale + 1.0), scale.fma(power, less - top))
    return ratio.copysign(x)


def sigmoid(x: Lane) -> Lane:
    """1 / (1 + e**-x), through e**-|x|, which cannot overflow."""
    small = exp(-x.abs())
    top, bottom = (x < 0).where(small, 1.0), small + 1.0
    return _quotient(top, bottom, top * (bottom - 1.0 - small))


@in_double
def sinh(x: Lane) -> Lane:
    """Hyperbolic sine: its series up to 1, then (e**|x| - e**-|x|) / 2."""
    power, times = _exp_parts(x.abs())
    half = times(power * 0.5)
    z = x * x
    near = (z * x).fma(horner(z, _SINH), x)
    return (z < 1).where(near, half - 0.25 / half).copysign(x)


def cosh(x: Lane) -> Lane:
    """Hyperbolic cosine: h + 1 / (4 h) with h = e**|x| / 2."""
    power, times = _exp_parts(x.abs())
    half = times(power * 0.5)
    return half + 0.25 / half
