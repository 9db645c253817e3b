"""The gamma function, its logarithm and its derivatives.

Coefficients: interpolated at Chebyshev's nodes in 60-digit arithmetic and rounded; computed for
this file.  float32 goes through float64.
"""

import math

from gradloom.ops.scalar_exp import EXP2_RANGE, exp2_sum
from gradloom.ops.scalar_forms import FORMATS, INFINITY, NAN, Lane, clamp, horner, in_double
from gradloom.ops.scalar_log import log, log1p
from gradloom.ops.scalar_pairs import log2_pair, product, two_sum
from gradloom.ops.scalar_power import power
from gradloom.ops.scalar_trig import sin, tan

# log(gamma(2 + t)) / t on |t| <= 1/2.
_LGAMMA = (
    0.42278433509846713, 0.3224670334241132, -0.06735230105319809, 0.02058080842778463,
    -0.007385551028674025, 0.0028905103307344045, -0.0011927539116998527, 0.0005096695250241955,
    -0.00022315475858818615, 9.94575066878814e-05, -4.4926233820610826e-05,
    2.0507291996563825e-05, -9.439526202058818e-06, 4.374223481082048e-06,
    -2.0389077825677104e-06, 9.584207048594987e-07, -4.508168225446838e-07,
    2.0193835401136915e-07, -9.558178101635195e-08, 6.472569840064724e-08, -3.085985478390577e-08,
)  # fmt: skip
# gamma(2.5 + t) on |t| <= 1/2.
_GAMMA = (
    1.329340388179137, 0.9347345216260855, 0.6545585779813368, 0.25387124684114376,
    0.10967323400215975, 0.028360780594778156, 0.010392403425935072, 0.0016074004868597799,
    0.0007544741279764075, 3.941751363613351e-06, 6.132998881756122e-05, -1.28013080342882e-05,
    7.253750203859473e-06, -2.5623512284561174e-06, 1.0829914823314093e-06,
    -4.1777172328856477e-07, 1.685124864158984e-07, -8.312435079672132e-08, 3.329125646482475e-08,
)  # fmt: skip
# What Stirling's series for log(gamma(x)) ends in (DLMF 5.11.1), times x, in powers of 1 / x**2;
# (gamma(x) / (sqrt(2 pi) x**(x - 1/2) e**-x) - 1) x in powers of 1 / x (5.11.3); both for x >= 8.
_STIRLING = (
    0.08333333333333333, -0.0027777777777776747, 0.0007936507935117282, -0.0005952380234291254,
    0.0008417325268022405, -0.001914965912162907, 0.0062081367662297935, -0.020855820837463117,
)  # fmt: skip
_GAMMA_STAR = (
    0.08333333333333333, 0.0034722222222222225, -0.0026813271604938477, -0.00022947209361727513,
    0.0007840392212908838, 6.972816400801785e-05, -0.0005921674731505402, -5.169107087531135e-05,
    0.0008390352557492776, 7.721804543145414e-05, -0.001946889294647565, -0.0001303306981456547,
    0.007624687928745778, -0.009327373365781476,
)  # fmt: skip
# The zero of digamma, high and low part; digamma(1.5 + t) over the distance to it on |t| <= 1/2;
# (log(x) - 1 / (2 x) - digamma(x)) x**2 in powers of 1 / x**2 for x >= 6 (DLMF 5.11.2).
_ZERO = (1.4616321449683622, 9.549995429965697e-17)
_DIGAMMA = (
    0.9510558760318328, -0.4236274212814606, 0.24054248424078697, -0.14840492305388092,
    0.09498872445289039, -0.06192213327548831, 0.040760833940846085, -0.026975796659787055,
    0.017907248317313294, -0.011908220105959716, 0.007927021796868154, -0.005279937255532708,
    0.003518106563802472, -0.0023454947397380833, 0.0015633696313653504, -0.0010364584817312839,
    0.0006909255761282986, -0.00048595039220036254, 0.00032395945401345196,
    -0.00014480643368061614, 9.653646261410062e-05, -0.0001782188548855923,
    0.00011881232908510335,
)  # fmt: skip
_DIGAMMA_FAR = (
    0.08333333333333333, -0.008333333333333073, 0.003968253967943307, -0.0041666665215518255,
    0.007575722872081581, -0.021087974182608424, 0.08291804608225757, -0.4204131808217539,
    2.24488624415155, -8.02227824202989,
)  # fmt: skip
# B_2j / (2j)! of the Euler-Maclaurin formula (DLMF 2.10.1), j from 1.
_BERNOULLI = (
    8.3333333333333333e-02, -1.3888888888888889e-03, 3.3068783068783069e-05,
    -8.2671957671957672e-07, 2.0876756987868099e-08, -5.2841901386874932e-10,
    1.3382536530684679e-11, -3.3896802963225829e-13, 8.5860620562778446e-15,
    -2.1748686985580619e-16, 5.5090028283602295e-18, -1.3954464685812523e-19,
)  # fmt: skip
_LN2, _LN2_LOW = FORMATS["float64"].ln2
_LOG2_E, _LOG2_E_LOW = 1.4426950408889634, 2.0355273740931033e-17
_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)
_ROOT_TWO_PI = math.sqrt(2 * math.pi)


def _sine_of_pi(y: Lane) -> Lane:
    """sin(pi y), exact at whole numbers."""
    half = y * 0.5
    rest = (half - half.rint()) * 2.0  # within 1 of 0
    rest = (rest > 0.5).where(1.0 - rest, (rest < -0.5).where(-1.0 - rest, rest))
    return sin(rest * math.pi)


def _lgamma_positive(y: Lane) -> Lane:
    """log(gamma(y)) for y > 0: about 2 from below 8, by Stirling's series above."""
    n = y.minimum(9.0).rint()
    t = y.minimum(9.0) - n
    factor = (n == 0).where(y * (y + 1.0), (n == 1).where(y, 1.0))
    for k in range(2, 8):
        factor = (n > k).where(factor * (t + float(k)), factor)
    logarithm = log(factor)
    near = t.fma(horner(t, _LGAMMA), (n < 2).where(-logarithm, logarithm))
    return (y < 8).where(near, stirling(y.maximum(8.0)))


def log_gamma_1p(t: Lane) -> Lane:
    """log(gamma(1 + t)) for |t| <= 1/2."""
    return t.fma(horner(t, _LGAMMA), -log1p(t))


def stirling(y: Lane) -> Lane:
    """log(gamma(y)) for y >= 8, with log(y) - 1 as a sum of two numbers."""
    high, low = log2_pair(y.minimum(FORMATS["float64"].largest))
    first, rest = product(high, high.like(_LN2))
    rest = rest + high.fma(_LN2_LOW, low * _LN2)
    less, lost = two_sum(first, first.like(-1.0))
    inverse = 1.0 / y
    tail = inverse.fma(horner(inverse * inverse, _STIRLING), _HALF_LOG_TWO_PI - 0.5)
    result = (y - 0.5).fma(less + (lost + rest), tail)
    return (y < INFINITY).where(result, y)


@in_double
def lgamma(x: Lane) -> Lane:
    """log|gamma(x)|; below 0 by reflection (DLMF 5.5.3), near its zeros to 1e-16 absolutely."""
    y = x.abs()
    direct = _lgamma_positive(y)
    sine = _sine_of_pi(y).abs()
    reflected = log(math.pi / ((sine == 0).where(1.0, sine) * y)) - direct
    reflected = (sine == 0).where(INFINITY, reflected)
    reflected = (x == -INFINITY).where(x, reflected)  # as SciPy; C has the positive one
    return (x == 0).where(INFINITY, (x < 0).where(reflected, direct))


def gamma_exponent(y: Lane) -> tuple[Lane, Lane]:
    """log2 of y**(y - 1/2) e**-y as a sum of two numbers, for y >= 8."""
    high, low = log2_pair(y)
    power, power_low = product(y - 0.5, high)
    scale, scale_low = product(y, y.like(_LOG2_E))
    total, lost = two_sum(power, -scale)
    return total, lost + ((y - 0.5).fma(low, power_low) - y.fma(_LOG2_E_LOW, scale_low))


def exp2_pair(high: Lane, low: Lane) -> Lane:
    """2**(high + low), 0 or infinite beyond the range."""
    least, most = EXP2_RANGE["float64"]
    inside = (high > least) & (high < most)
    return exp2_sum(clamp(high, least, most), inside.where(low, 0.0))


def star(y: Lane) -> Lane:
    """gamma(y) / (y**(y - 1/2) e**-y) for y >= 8."""
    inverse = 1.0 / y
    return _ROOT_TWO_PI * inverse.fma(horner(inverse, _GAMMA_STAR), 1.0)


def gamma_small(y: Lane) -> Lane:
    """gamma(y) for 0 < y < 8, by its recurrence from 2 to 3."""
    n = y.minimum(8.0).floor()
    value = horner((y.minimum(8.0) - n) - 0.5, _GAMMA)
    for k in range(1, 6):
        value = (n > k + 1).where(value * (y - float(k)), value)
    divisor = (n == 0).where(y * (y + 1.0), (n == 1).where(y, 1.0))
    return value / divisor


@in_double
def gamma(x: Lane) -> Lane:
    """The gamma function; NaN at -1, -2, ..., and infinite with the sign of x at 0."""
    y = x.abs()
    below = x < 0
    far = clamp(y, 8.0, 300.0)
    high, low = gamma_exponent(far)
    power = exp2_pair(below.where(-high, high), below.where(-low, low))
    factor = star(far)
    near = gamma_small(y)
    direct = (y < 8).where(near, power * factor)
    sine = _sine_of_pi(y)
    inverse = (y < 8).where(1.0 / near, power / factor)
    reflected = -math.pi / (y * sine) * inverse
    reflected = (sine == 0).where(NAN, reflected)
    result = below.where(reflected, direct)
    result = (x == 0).where(x.like(INFINITY).copysign(x), result)
    return (x == INFINITY).where(x, (x == -INFINITY).where(NAN, result))


@in_double
def digamma(x: Lane) -> Lane:
    """The derivative of log(gamma(x)); below 0 by reflection (DLMF 5.5.4)."""
    y = x.abs()
    n = y.minimum(7.0).floor()
    r = (y.minimum(7.0) - n) + 1.0
    value = ((r - _ZERO[0]) - _ZERO[1]) * horner(r - 1.5, _DIGAMMA)
    top, bottom = (n == 0).where(y.like(-1.0), 0.0), (n == 0).where(y, 1.0)
    for k in range(1, 5):
        steps = n > k
        top = steps.where(top.fma(y - float(k), bottom), top)
        bottom = steps.where(bottom * (y - float(k)), bottom)
    inverse = 1.0 / y.maximum(6.0)
    w = inverse * inverse
    far = log(y.maximum(6.0)) - inverse.fma(0.5, w * horner(w, _DIGAMMA_FAR))
    direct = (y < 6).where(value + top / bottom, far)
    rest = y - y.rint()
    reflected = direct + (1.0 / y + math.pi / tan(rest * math.pi))
    reflected = (rest == 0).where(NAN, reflected)
    result = (x < 0).where(reflected, direct)
    return (x == 0).where(x.like(-INFINITY).copysign(-x), (x == INFINITY).where(x, result))


@in_double
def zeta(s: Lane, q: Lane) -> Lane:
    """Hurwitz's zeta function, the sum of (q + k)**-s, for finite s > 1 and q > 0, by Euler and
    Maclaurin (DLMF 25.11.5); infinite at s = 1 and at q = 0, -1, ..., else NaN."""
    inside = (s > 1) & (q > 0)
    s0, q0 = inside.where(s, 2.0), inside.where(q, 1.0)
    total, start = (q0 * 0.0).repeat(
        (q0,),
        10,
        lambda total, base: (total + power(base, -s0), base + 1.0),
        lambda total, base: base == base,
    )
    last = power(start, -s0)
    inverse = 1.0 / start
    tail = last * (start / (s0 - 1.0) + 0.5)
    term = last * inverse * s0
    square = inverse * inverse
    for j, coefficient in enumerate(_BERNOULLI, 1):
        tail = (term == 0).where(tail, tail + term * coefficient)
        term = term * square * ((s0 + (2.0 * j - 1.0)) * (s0 + 2.0 * j))
    result = inside.where(total + tail, NAN)
    result = ((q == INFINITY) & (s > 1)).where(0.0, result)
    pole = (q <= 0) & (q.floor() == q) & (s > 1)
    result = (((s == 1) & (q == q)) | pole).where(INFINITY, result)
    return (s < INFINITY).where(result, NAN)


@in_double
def betaln(a: Lane, b: Lane) -> Lane:
    """log(beta(a, b)) for finite a, b > 0, else NaN; no difference of large logarithms beyond 8."""
    small, large = a.minimum(b), a.maximum(b)
    total = small + large
    far = large.maximum(8.0)
    ratio = small / far
    inverse, other = 1.0 / far, 1.0 / (small + far)
    rest = inverse * horner(inverse * inverse, _STIRLING) - other * horner(other * other, _STIRLING)
    growth = log1p(ratio)
    near = (_lgamma_positive(small) + _lgamma_positive(large)) - _lgamma_positive(total)
    middle = _lgamma_positive(small) + (
        small - small * log(far) - (small + far - 0.5) * growth + rest
    )
    start = 1.0 / small.maximum(8.0)
    rest = rest + start * horner(start * start, _STIRLING)
    both = (small.maximum(8.0) - 0.5) * log(ratio / (ratio + 1.0)) - far * growth
    both = both + (rest + (_HALF_LOG_TWO_PI - 0.5 * log(far)))
    result = (large < 8).where(near, (small < 8).where(middle, both))
    result = (large < INFINITY).where(result, NAN)
    return (small > 0).where(result, NAN)
