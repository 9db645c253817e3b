"""Numbers as unevaluated sums of two lanes, and logarithms in that precision.

Coefficients: minimax by the Remez exchange in 45-digit arithmetic on the interval named, rounded
to the format one after another (each time the rest is fitted again); computed for this file.
"""

from gradloom.ops.scalar_forms import FORMATS, Lane, horner, split_exponent

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


def product(a: Lane, b: Lane) -> tuple[Lane, Lane]:
    """a * b exactly, as a rounded product and its error.

    Written with fma so that the compiler cannot contract the product into a later sum.
    """
    high = a.fma(b, 0.0)
    return high, a.fma(b, -high)


def fast_sum(a: Lane, b: Lane) -> tuple[Lane, Lane]:
    """a + b exactly, for |a| >= |b| or a = 0 (Dekker)."""
    high = a + b
    return high, (a - high) + b


def log2_pair(x: Lane) -> tuple[Lane, Lane]:
    """log2(x) as a sum of two numbers, good to some ten bits beyond the format; x > 0, finite.

    x = m * 2**e, and log m = 2 atanh(s) = 2 s (1 + w) with s = (m - 1) / (m + 1).
    """
    e, m = split_exponent(x)
    top, (bottom, bottom_low) = m - 1.0, fast_sum(m.like(1.0), m)
    inverse = 1.0 / bottom
    s = top.fma(inverse, 0.0)
    s_low = (-s).fma(bottom_low, (-s).fma(bottom, top)) * inverse
    z, z_low = product(s, s)
    z_low = z_low + s * s_low * 2.0
    third, third_low = _THIRD[x.dtype]
    c, c_low = fast_sum(z.like(third), z.fma(horner(z, _ATANH[x.dtype]), 0.0))
    w, w_low = product(z, c)
    w_low = w_low + (z * (c_low + third_low) + z_low * c)
    v, v_low = product(s, w)
    u, u_low = fast_sum(s, v)
    u_low = u_low + (s_low + (v_low + (s * w_low + s_low * w)))
    factor, factor_low = _TWO_LOG2_E[x.dtype]
    log, log_low = product(u, u.like(factor))
    log_low = log_low + (u * factor_low + u_low * factor)
    total, total_low = fast_sum(e, log)
    return total, total_low + log_low


def two_sum(a: Lane, b: Lane) -> tuple[Lane, Lane]:
    """a + b exactly, whichever is larger (Knuth); neither may be a product still to be rounded."""
    high = a + b
    part = high - a
    return high, (a - (high - part)) + (b - part)


def ratio(top: Lane, top_low: Lane, bottom: Lane, bottom_low: Lane) -> tuple[Lane, Lane]:
    """(top + top_low) / (bottom + bottom_low) as a sum of two."""
    inverse = 1.0 / bottom
    quotient = top.fma(inverse, 0.0)
    rest = (-quotient).fma(bottom, top) + (top_low - quotient * bottom_low)
    return quotient, rest * inverse


def root(x: Lane, x_low: Lane) -> tuple[Lane, Lane]:
    """sqrt(x + x_low) as a sum of two, for x > 0."""
    high = x.sqrt()
    return high, ((-high).fma(high, x) + x_low) * (0.5 / high)


def log_of_pair(x: Lane, x_low: Lane) -> Lane:
    """log(x + x_low), rounded about once, also where it is close to 0; x > 0, finite."""
    high, low = log2_pair(x)
    inverse = 1.0 / x
    ln2, ln2_low = FORMATS[x.dtype].ln2
    first, rest = product(high, high.like(ln2))
    return first + (rest + (high.fma(ln2_low, low.fma(ln2, x_low * inverse))))
