"""The incomplete gamma and beta functions, by series and continued fractions in loops.

The common factors are powers of two whose exponents are sums of two numbers, so their error does
not grow with the parameters before some thousands.  float32 goes through float64.
"""

from gradloom.ops.scalar_exp import exp, expm1
from gradloom.ops.scalar_forms import INFINITY, NAN, Lane, in_double
from gradloom.ops.scalar_gamma import betaln, exp2_pair, gamma_small, log_gamma_1p, star
from gradloom.ops.scalar_log import log
from gradloom.ops.scalar_pairs import fast_sum, log2_pair, product, two_sum

_EPSILON = 2.0**-54
_TINY = 1e-280
_LOG2_E, _LOG2_E_LOW = 1.4426950408889634, 2.0355273740931033e-17
# Steps; near x = a the series needs about 9 sqrt(a).
_LIMIT = 20000


def _gamma_factor(a: Lane, x: Lane) -> Lane:
    """x**a e**-x / gamma(a + 1): for large a with Stirling's form of gamma (DLMF 5.11.3)."""
    large = a >= 8
    base, base_low = log2_pair(x)
    other, other_low = log2_pair(a)
    gap, gap_low = two_sum(base, large.where(-other, 0.0))
    gap_low = gap_low + (base_low - large.where(other_low, 0.0))
    first, first_low = product(a, gap)
    rest, rest_low = two_sum(large.where(a, 0.0), -x)
    second, second_low = product(rest, rest.like(_LOG2_E))
    second_low = second_low + (rest * _LOG2_E_LOW + rest_low * _LOG2_E)
    high, low = two_sum(first, second)
    power = exp2_pair(high, low + (a.fma(gap_low, first_low) + second_low))
    factor = large.where(a.sqrt() * star(a.maximum(8.0)), a * gamma_small(a))
    return power / factor


def _series(a: Lane, x: Lane, wanted: Lane) -> Lane:
    """1 + x / (a + 1) + x**2 / ((a + 1) (a + 2)) + ... (DLMF 8.11.4)."""
    total, _, _ = x.like(1.0).repeat(
        (x.like(1.0), a),
        _LIMIT,
        lambda total, term, n: (total + term * (x / (n + 1.0)), term * (x / (n + 1.0)), n + 1.0),
        lambda total, term, n: wanted & (term > total * _EPSILON),
    )
    return total


def _fraction(a: Lane, x: Lane, wanted: Lane) -> Lane:
    """The continued fraction of gamma(a, x) x**-a e**x (DLMF 8.9.2), by Lentz's algorithm."""
    start = x + 1.0 - a
    first = 1.0 / start

    def step(value: Lane, c: Lane, d: Lane, n: Lane, _: Lane) -> tuple[Lane, ...]:
        top = n * (a - n)
        bottom = start + n * 2.0
        d = 1.0 / _apart_from_zero(top.fma(d, bottom))
        c = _apart_from_zero(bottom + top / c)
        return value * (c * d), c, d, n + 1.0, c * d

    value, *_ = first.repeat(
        (start.like(1.0 / _TINY), first, x.like(1.0), x.like(2.0)),
        _LIMIT,
        step,
        lambda value, c, d, n, change: wanted & ((change - 1.0).abs() > 2.0**-53),
    )
    return value


def _apart_from_zero(x: Lane) -> Lane:
    return (x.abs() < _TINY).where(_TINY, x)


def _small_upper(a: Lane, x: Lane) -> Lane:
    """gamma(a, x) / gamma(a) for a <= 1/2 and x <= 1.1, where it may be tiny:
    1 - x**a / gamma(a + 1) and the rest of the series of the lower function (DLMF 8.7.3)."""
    total, power = x.like(0.0), x.like(1.0)
    for n in range(1, 24):
        power = power * (x * (-1.0 / n))
        total = total + power / (a + float(n))
    exponent = a * log(x) - log_gamma_1p(a)
    return -expm1(exponent) - exp(exponent) * a * total


def _gammas(a: Lane, x: Lane, upper: bool) -> Lane:
    sound = (a > 0) & (x > 0) & (a < INFINITY) & (x < INFINITY)
    a0, x0 = sound.where(a, 1.0), sound.where(x, 1.0)
    rising = x0 < a0 + 1.0
    factor = _gamma_factor(a0, x0)
    lower = factor * _series(a0, rising.where(x0, 0.0), sound & rising)
    beyond = rising.where(a0 + 1.0, x0)
    rest = factor * a0 * _fraction(a0, beyond, sound & ~rising)
    if upper:
        tiny = (a0 <= 0.5) & (x0 <= 1.1)
        result = rising.where(1.0 - lower, rest)
        near = _small_upper(tiny.where(a0, 0.5), tiny.where(x0, 1.0))
        result = tiny.where(near, result)
        at_zero, at_end = 1.0, 0.0
    else:
        result, at_zero, at_end = rising.where(lower, 1.0 - rest), 0.0, 1.0
    edge = (x == INFINITY).where(x.like(at_end), at_zero)
    edge = (a == INFINITY).where((x == INFINITY).where(x.like(NAN), at_zero), edge)
    edge = (a == 0).where((x > 0).where(x.like(at_end), NAN), edge)
    valid = (a >= 0) & (x >= 0)
    return sound.where(result, valid.where(edge, NAN))


@in_double
def gammainc(a: Lane, x: Lane) -> Lane:
    """The regularized lower incomplete gamma function, for a and x >= 0."""
    return _gammas(a, x, upper=False)


@in_double
def gammaincc(a: Lane, x: Lane) -> Lane:
    """The regularized upper incomplete gamma function, for a and x >= 0."""
    return _gammas(a, x, upper=True)


@in_double
def betainc(a: Lane, b: Lane, x: Lane) -> Lane:
    """The regularized incomplete beta function, by its continued fraction (DLMF 8.17.22) of x or,
    beyond the mean, of 1 - x; for finite a, b > 0."""
    within = (a > 0) & (b > 0) & (a < INFINITY) & (b < INFINITY)
    sound = within & (x > 0) & (x < 1)
    a, b, x0 = sound.where(a, 1.0), sound.where(b, 1.0), sound.where(x, 0.5)
    high, low = log2_pair(x0)
    other, other_rest = fast_sum(x0.like(1.0), -x0)
    other_high, other_low = log2_pair(other)
    other_low = (other_rest / other).fma(_LOG2_E, other_low)
    first, first_low = product(a, high)
    second, second_low = product(b, other_high)
    total, lost = two_sum(first, second)
    lost = lost + (a.fma(low, first_low) + b.fma(other_low, second_low))
    scale, scale_low = product(betaln(a, b), a.like(_LOG2_E))
    total, more = two_sum(total, -scale)
    power = exp2_pair(total, lost + (more - scale_low))
    swapped = x0 > (a + 1.0) / (a + b + 2.0)
    p, q = swapped.where(b, a), swapped.where(a, b)
    y = swapped.where(other, x0)
    result = power / p * _beta_fraction(p, q, y, sound)
    result = swapped.where(1.0 - result, result)
    edge = within & ((x == 0) | (x == 1))
    return sound.where(result, edge.where(x, NAN))


def _beta_fraction(a: Lane, b: Lane, x: Lane, wanted: Lane) -> Lane:
    def odd(m: Lane) -> Lane:
        return -(a + m) * (a + b + m) * x / ((a + m * 2.0) * (a + m * 2.0 + 1.0))

    def even(m: Lane) -> Lane:
        return m * (b - m) * x / ((a + m * 2.0 - 1.0) * (a + m * 2.0))

    def step(value: Lane, c: Lane, d: Lane, m: Lane, _: Lane) -> tuple[Lane, ...]:
        for top in (even(m), odd(m)):
            d = 1.0 / _apart_from_zero(top.fma(d, 1.0))
            c = _apart_from_zero(top / c + 1.0)
            value = value * (c * d)
        return value, c, d, m + 1.0, c * d

    first = 1.0 / _apart_from_zero(odd(a * 0.0) + 1.0)
    value, *_ = first.repeat(
        (x.like(1.0), first, x.like(1.0), x.like(2.0)),
        _LIMIT,
        step,
        lambda value, c, d, m, change: wanted & ((change - 1.0).abs() > 2.0**-53),
    )
    return value
