"""Sine, cosine, tangent and arc tangent.

Coefficients: minimax by the Remez exchange in 45-digit arithmetic on the interval named, rounded
to the format one after another (each time the rest is fitted again); computed for this file.
"""

from gradloom.ops.scalar_forms import FORMATS, Lane, horner, in_double
from gradloom.ops.scalar_pairs import fast_sum, product, ratio
from gradloom.ops.scalar_reduce import HALF_PI, reduced

# (sin(r)/r - 1) / r**2 in powers of r**2 on |r| <= pi/4, weighted for the relative error.
_SIN = {
    "float32": (
        -0.1666666716337204, 0.008333379402756691, -0.00019853064441122115, 2.8325100629444933e-06,
    ),
    "float64": (
        -0.1666666666666663, 0.00833333333332184, -0.00019841269829373295, 2.755731355098941e-06,
        -2.505073753672922e-08, 1.5895680248709827e-10,
    ),
}  # fmt: skip
# (cos(r) - 1 + r**2/2) / r**4 in powers of r**2 on |r| <= pi/4, weighted for the relative error.
_COS = {
    "float32": (0.04166664555668831, -0.0013887309469282627, 2.4432327336398885e-05),
    "float64": (
        0.041666666666666595, -0.0013888888888873307, 2.4801587288965237e-05,
        -2.755731420308291e-07, 2.0875703140157472e-09, -1.1358617040007122e-11,
    ),
}  # fmt: skip
# (atan(t)/t - 1) / t**2 in powers of t**2 on |t| <= tan(pi/8), weighted for the relative error.
_ATAN = {
    "float32": (
        -0.33333316445350647, 0.19998525083065033, -0.1424430012702942, 0.10598304867744446,
        -0.06087466701865196,
    ),
    "float64": (
        -0.3333333333333319, 0.1999999999995218, -0.14285714280056352, 0.11111110776545595,
        -0.09090897561368694, 0.07692056759689636, -0.06663065144556037, 0.05847608623384794,
        -0.05038049866488703, 0.03803291244992091, -0.017872790135327162,
    ),
}  # fmt: skip
_TAN_EIGHTH_PI = 0.41421356237309503


def _sine_cosine(r: Lane, r_low: Lane) -> tuple[Lane, Lane]:
    """Corrections s, c of the series: sin is r + s, cos is 1 - r**2 / 2 + c."""
    z = r * r
    sine = (z * r).fma(horner(z, _SIN[r.dtype]), r_low)
    cosine = (z * z).fma(horner(z, _COS[r.dtype]), -(r * r_low))
    return sine, cosine


def _quarter_turns(x: Lane, shift: int) -> Lane:
    """sin(x + shift * pi/2) by the series of sine or cosine; NaN of an infinite x."""
    form = FORMATS[x.dtype]
    r, r_low, turns = reduced(x)
    sine, cosine = _sine_cosine(r, r_low)
    turns = turns + shift
    odd = (turns & 1) != 0
    sign = (turns << (form.size - 2)) & form.sign_bit
    return (odd.where((r * r).fma(-0.5, 1.0) + cosine, r + sine).bits() ^ sign).from_bits()


def sin(x: Lane) -> Lane:
    """Sine, of any size."""
    return (x == 0).where(x, _quarter_turns(x, 0))


def cos(x: Lane) -> Lane:
    """Cosine, of any size."""
    return _quarter_turns(x, 1)


@in_double
def tan(x: Lane) -> Lane:
    """Tangent: the quotient of sine and cosine, each as a sum of two numbers."""
    r, r_low, turns = reduced(x)
    sine, cosine = _sine_cosine(r, r_low)
    half, half_low = product(r, r * 0.5)
    s, s_low = fast_sum(r, sine)
    c, c_low = fast_sum(r.like(1.0), -half)
    c, c_low = fast_sum(c, c_low + (cosine - half_low))
    odd = (turns & 1) != 0
    top, top_low = odd.where(-c, s), odd.where(-c_low, s_low)
    high, low = ratio(top, top_low, odd.where(s, c), odd.where(s_low, c_low))
    return (x == 0).where(x, high + low)


def atan(x: Lane) -> Lane:
    """Arc tangent: turned by 0, pi/4 or pi/2 into |t| <= tan(pi/8)."""
    size = x.abs()
    steep, middle = size > 1 / _TAN_EIGHTH_PI, size > _TAN_EIGHTH_PI
    top = steep.where(x.like(-1.0), middle.where(size - 1.0, size))
    bottom = steep.where(size, middle.where(size + 1.0, 1.0))
    t = top / bottom
    z = t * t
    high, low = HALF_PI[x.dtype][:2]
    turn = steep.where(x.like(high), middle.where(x.like(high / 2), 0.0))
    rest = steep.where(x.like(low), middle.where(x.like(low / 2), 0.0))
    return (turn + (t + (z * t).fma(horner(z, _ATAN[x.dtype]), rest))).copysign(x)


def atan_of_pair(x: Lane, x_low: Lane) -> tuple[Lane, Lane]:
    """atan(x + x_low) for 0 <= x <= 1, as a number and its correction."""
    middle = x > _TAN_EIGHTH_PI
    bottom = middle.where(x + 1.0, 1.0)
    t = middle.where(x - 1.0, x) / bottom
    t_low = x_low * middle.where(2.0 / (bottom * bottom), 1.0)
    z = t * t
    high, low = HALF_PI[x.dtype][:2]
    angle, lost = fast_sum(middle.where(x.like(high / 2), 0.0), t)
    rest = middle.where(x.like(low / 2), 0.0) + t_low
    return angle, lost + (z * t).fma(horner(z, _ATAN[x.dtype]), rest)
