"""Logarithms and what is made of them.

Coefficients: minimax by the Remez exchange in 45-digit arithmetic on the interval named, rounded
to the format one after another (each time the rest is fitted again); computed for this file.
"""

from gradloom.ops.scalar_exp import exp
from gradloom.ops.scalar_forms import (
    FORMATS,
    INFINITY,
    NAN,
    Lane,
    horner,
    split_exponent,
    split_normal,
)

# (log(1 + f) - f + f**2/2) / f**3 on sqrt(1/2) <= 1 + f <= sqrt(2), weighted for log(1 + f).
_LOG32 = (
    0.3333333134651184, -0.2500082850456238, 0.2000126838684082, -0.16623102128505707,
    0.14200550317764282, -0.13161586225032806, 0.12771369516849518, -0.07643259316682816,
)  # fmt: skip
# (2 atanh(s) / s - 2) / s**2 in powers of s**2 on 0 <= s**2 <= 0.02945, where s = f / (2 + f).
_LOG64 = (
    0.6666666666666735, 0.3999999999940937, 0.28571428743680505, 0.222221984298443,
    0.18183572296311556, 0.15313834002168042, 0.14798237250277854,
)  # fmt: skip

# log10(2), high and low part; log10(e).
_LOG10_2 = {
    "float32": (0.3010300099849701, -1.432098883924482e-08),
    "float64": (0.3010299956639812, -2.8037281277851704e-18),
}
_LOG10_E = {"float32": 0.4342944920063019, "float64": 0.4342944819032518}


def _log_correction(f: Lane) -> tuple[Lane, Lane]:
    """(h, c) with log(1 + f) = f - (h - c) and h = f**2 / 2.

    float64 takes the odd series in f / (2 + f): one division is cheaper than ten more powers.
    """
    half_square = f * f * 0.5
    if f.dtype == "float32":
        return half_square, f * f * f * horner(f, _LOG32)
    s = f / (f + 2.0)
    z = s * s
    return half_square, s * z.fma(horner(z, _LOG64), half_square)


def _log_finite(e: Lane, f: Lane) -> Lane:
    """e * ln 2 + log(1 + f)."""
    high, low = FORMATS[f.dtype].ln2
    half_square, correction = _log_correction(f)
    return e.fma(high, f - (half_square - e.fma(low, correction)))


def _log_near_one(f: Lane) -> Lane:
    """log(1 + f)."""
    half_square, correction = _log_correction(f)
    return f - (half_square - correction)


def _log_edges(x: Lane, y: Lane) -> Lane:
    """y where x is positive and finite; else what a logarithm of x is."""
    y = (x < INFINITY).where(y, x)
    return (x > 0).where(y, (x == 0).where(x.like(-INFINITY), NAN))


def log(x: Lane) -> Lane:
    """Natural logarithm."""
    e, m = split_exponent(x)
    return _log_edges(x, _log_finite(e, m - 1.0))


def log2(x: Lane) -> Lane:
    """Logarithm to base 2; exact at powers of two."""
    e, m = split_exponent(x)
    return _log_edges(x, _log_near_one(m - 1.0).fma(FORMATS[x.dtype].log2_e, e))


def log10(x: Lane) -> Lane:
    """Logarithm to base 10."""
    e, m = split_exponent(x)
    high, low = _LOG10_2[x.dtype]
    return _log_edges(x, e.fma(high, _log_near_one(m - 1.0).fma(_LOG10_E[x.dtype], e * low)))


def log1p(x: Lane) -> Lane:
    """log(1 + x), accurate near 0: the rounding of 1 + x only chooses the power of two."""
    form = FORMATS[x.dtype]
    total = x + 1.0
    e, m = split_normal(total.bits())
    scale = ((form.magic + form.bias) - e).bits() << form.mantissa
    scale = scale.from_bits()
    # Beyond a large x the scale 2**-e would be subnormal, and the 1 long since does not count.
    f = (x > 2.0 ** (form.bias - 27)).where(m - 1.0, x.fma(scale, scale - 1.0))
    result = _log_edges(total, _log_finite(e, f))
    return (x.abs() < form.linear).where(x, result)


def softplus(x: Lane) -> Lane:
    """log(1 + e**x), as max(x, 0) + log(1 + e**-|x|)."""
    small = exp(-x.abs())
    upper = small > 0.41421356
    f = upper.where(small.fma(0.5, -0.5), small)
    return _log_finite(upper.where(x.like(1.0), 0.0), f) + x.maximum(0.0)


def logaddexp(x: Lane, y: Lane) -> Lane:
    """log(e**x + e**y), as the larger and log(1 + e**-|x - y|)."""
    apart = (x == y).where(0.0, (x - y).abs())
    return softplus(-apart) + x.maximum(y)
