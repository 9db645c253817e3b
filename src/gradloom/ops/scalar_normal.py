"""The tails of the error function and of the normal distribution, and their inverses.

Coefficients: interpolated at Chebyshev's nodes in 60-digit arithmetic and rounded; computed for
this file.  float32 goes through float64.
"""

import math

from gradloom.ops.scalar_erf import erf
from gradloom.ops.scalar_exp import exp
from gradloom.ops.scalar_forms import INFINITY, NAN, Lane, horner, in_double
from gradloom.ops.scalar_log import log, log1p
from gradloom.ops.scalar_pairs import product

# (1 + 2 x) e**(x**2) erfc(x) in powers of (x - 4) / (x + 4), for all x >= 0; the form is Shepherd
# and Laframboise's, "Chebyshev approximation of (1 + 2x) exp(x**2) erfc x", Math. Comp. 36, 1981.
_ERFCX = (
    1.2329951186255526, -0.1396211168405625, 0.015379652102620043, 0.06809705425469156,
    -0.10103906603632537, 0.09373283499839585, -0.06633036581163643, 0.03716751553664778,
    -0.016197734066155784, 0.005031969985793564, -0.0007577732176035319, -0.00019925673460174473,
    0.00015062129598524543, -2.4399108230675884e-05, -1.1220708184477345e-05,
    5.709654047884132e-06, 2.9078362548964506e-07, -8.257793554135871e-07, 7.91668261820804e-08,
    1.1125843827290477e-07, -2.2225894467199745e-08, -1.5803517012911276e-08,
    4.263913678725512e-09, 2.4910437773642092e-09, -7.22960852568312e-10, -4.284200365353926e-10,
    1.114115329013652e-10, 7.256808303584494e-11, -1.4830300664557354e-11, -9.944172043054802e-12,
    1.4963353672158054e-12, 7.610738009257813e-13, -8.352036999001973e-14,
)  # fmt: skip
# First guesses, good to 20 bits: erfinv(x) / x in powers of w - 3 with w = -log(1 - x**2) <= 6, and
# erfinv(x) / s in powers of 1 / s with s = sqrt(w) between 2.3 and 28.
_ERFINV_NEAR = (
    1.6235420064648298, 0.24163041472218416, -0.005738144994441828, -0.0008362042576105553,
    0.00019508311252938712, -1.270402523634912e-05, -1.7616681960314948e-06,
    4.476902890453769e-07, -2.0165097598704328e-08, -5.436658685924604e-09, 7.079419551810074e-10,
)  # fmt: skip
_ERFINV_FAR = (
    1.0001327046159425, -0.01814222082988632, -1.4278027861602363, 7.323794558768064,
    -32.23118165232483, 117.87721361275922, -305.75908498701926, 515.087553600332,
    -502.3968793158695, 214.0115391554668,
)  # fmt: skip
_ROOT_HALF, _HALF_ROOT_PI = math.sqrt(0.5), 0.5 * math.sqrt(math.pi)


def _scaled_tail(z: Lane) -> Lane:
    """e**(z**2) erfc(z) for z >= 0."""
    near = z.minimum(1e15)
    return horner((near - 4.0) / (near + 4.0), _ERFCX) / (z * 2.0 + 1.0)


def _exp_square(x: Lane, factor: float) -> Lane:
    """e**(factor * x**2) for |x| up to 1e150 and a factor that is a power of two, of any sign."""
    square, rest = product(x, x)
    power = exp(square * factor)
    return (power < INFINITY).where(power.fma(rest * factor, power), power)


@in_double
def erfc(x: Lane) -> Lane:
    """1 - erf(x), to the last place where that is small."""
    z = x.abs().minimum(30.0)
    tail = _exp_square(z, -1.0) * _scaled_tail(z)
    return (z < 0.5).where(1.0 - erf(x), (x < 0).where(2.0 - tail, tail))


@in_double
def erfcx(x: Lane) -> Lane:
    """e**(x**2) erfc(x)."""
    tail = _scaled_tail(x.abs())
    below = x.maximum(-30.0).minimum(0.0)
    return (x < 0).where(_exp_square(below, 1.0) * 2.0 - tail, tail)


@in_double
def ndtr(x: Lane) -> Lane:
    """The normal distribution function, to the last place in its lower tail."""
    tail = _normal_tail(x.abs().minimum(40.0))
    return (x > 0).where(1.0 - tail, tail)


def _normal_tail(z: Lane) -> Lane:
    """What of the normal distribution is beyond z >= 0."""
    return 0.5 * _exp_square(z, -0.5) * _scaled_tail(z * _ROOT_HALF)


@in_double
def log_ndtr(x: Lane) -> Lane:
    """Logarithm of the normal distribution function, far into both tails."""
    tail = _normal_tail(x.abs().minimum(40.0))
    middle = log1p(-((x > 0).where(tail, 0.5)))
    middle = (x > 0).where(middle, log(tail))
    low = x.maximum(-1e150).minimum(-1.0)
    square, rest = product(low, low)
    far = log(0.5 * _scaled_tail(low * -_ROOT_HALF)) - rest * 0.5 - square * 0.5
    far = (x < -1e150).where(x * x * -0.5, far)
    return (x < -1).where(far, middle)


def _inverse_tail(q: Lane, x: Lane) -> Lane:
    """The y >= 0 with erfc(y) = q and erf(y) = x, of q + x = 1, each as exact as it can be."""
    inside = (q > 0) & (x >= 0)
    q, x = inside.where(q, 1.0), inside.where(x, 0.0)
    w = -log(q * (2.0 - q))
    s = w.maximum(5.0).sqrt()
    near = x * horner(w.minimum(6.0) - 3.0, _ERFINV_NEAR)
    y = (w < 5.7).where(near, s * horner(1.0 / s, _ERFINV_FAR))
    central = x < 0.5
    for _ in range(2):
        square, rest = product(y, y)
        root = exp(square * 0.5)
        # Halley's step, with the error in units of the derivative.
        tail = (q * root * root).fma(rest + 1.0, -_scaled_tail(y))
        middle = (erf(y) - x) * root * root
        error = _HALF_ROOT_PI * central.where(middle, tail)
        y = y - error / (y * error + 1.0)
    return y


@in_double
def erfinv(x: Lane) -> Lane:
    """The inverse of erf; NaN beyond 1."""
    size = x.abs()
    y = _inverse_tail(1.0 - size, size)
    y = (size < 1e-8).where(size * _HALF_ROOT_PI, y)
    y = (size < 1).where(y, (size == 1).where(size.like(INFINITY), NAN))
    return y.copysign(x)


@in_double
def erfcinv(x: Lane) -> Lane:
    """The inverse of erfc; NaN outside of 0 to 2."""
    upper = x > 1
    q = upper.where(2.0 - x, x)
    y = _inverse_tail(q, 1.0 - q)
    y = (q > 0).where(y, (q == 0).where(q.like(INFINITY), NAN))
    return upper.where(-y, y)


@in_double
def ndtri(x: Lane) -> Lane:
    """The inverse of ndtr; NaN outside of 0 to 1."""
    upper = x > 0.5
    q = 2.0 * upper.where(1.0 - x, x)
    y = _inverse_tail(q, 1.0 - q) * (1.0 / _ROOT_HALF)
    edge = (q == 0).where(q.like(INFINITY), NAN)
    y = (q > 0).where(y, edge)
    return upper.where(y, -y)
