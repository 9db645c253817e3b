"""Modified Bessel functions of orders 0 and 1.

Coefficients: interpolated at Chebyshev's nodes in 60-digit arithmetic and rounded; computed for
this file.  float32 goes through float64.
"""

import math

from gradloom.ops.scalar_exp import exp
from gradloom.ops.scalar_forms import INFINITY, NAN, Lane, horner, in_double

# sqrt(x) e**-x I_n(x) in powers of 1 / x for x >= 10.
_I0_FAR = (
    0.3989422804014327, 0.049867785050182516, 0.02805062908469519, 0.02921940950916022,
    0.04474066047343489, 0.09095458783788532, 0.17524344234977357, 6.370997760330108,
    -444.2041372630937, 26551.928879737818, -1216151.0847194942, 43559032.91092253,
    -1230208391.9713197, 27523550947.270294, -488108042851.5814, 6837471803026.963,
    -75040800740534.83, 636241995468772.8, -4075481424085808.0, 1.9036119672710056e+16,
    -6.109505642627741e+16, 1.2034650859878611e+17, -1.0963778835296763e+17,
)  # fmt: skip
_I1_FAR = (
    0.3989422804014327, -0.14960335515054085, -0.046751048478227704, -0.04090717182777235,
    -0.05752407790620416, -0.11110479774227379, -0.21434947531529336, -6.731918081870687,
    463.5714031990172, -27700.319258727002, 1267561.0529164616, -45355705.547003865,
    1279593188.2143483, -28596160600.356808, 506525610806.69434, -7086587692822.739,
    77673187284807.42, -657667153885485.0, 4206818980429399.5, -1.9621356517023516e+16,
    6.28812914786429e+16, -1.236823193491149e+17, 1.1251019654693306e+17,
)  # fmt: skip
# Coefficients of (x**2 / 4)**k in I_0(x) and in I_1(x) / (x / 2) (DLMF 10.25.2): all positive, so
# that their sum loses nothing; enough of them for x <= 10.
_I0_NEAR = tuple(1.0 / math.factorial(k) ** 2 for k in range(28))
_I1_NEAR = tuple(1.0 / (math.factorial(k) * math.factorial(k + 1)) for k in range(28))


def _far(size: Lane, coefficients: tuple[float, ...]) -> Lane:
    """e**-x I_n(x) for x >= 10."""
    far = size.maximum(10.0)
    return horner(1.0 / far, coefficients) / far.sqrt()


def _near(size: Lane, coefficients: tuple[float, ...]) -> Lane:
    half = size.minimum(10.0) * 0.5
    return horner(half * half, coefficients)


def _grown(size: Lane, far: Lane) -> Lane:
    """e**x times a small number, where e**x alone would overflow."""
    half = exp(size * 0.5)
    return half * (half * far)


def _finite(x: Lane) -> Lane:
    size = x.abs()
    return (size < INFINITY).where(size.minimum(800.0), NAN)


@in_double
def i0(x: Lane) -> Lane:
    """I_0(x); NaN of infinities, as SciPy."""
    size = _finite(x)
    return (size < 10).where(_near(size, _I0_NEAR), _grown(size, _far(size, _I0_FAR)))


@in_double
def i0e(x: Lane) -> Lane:
    """e**-|x| I_0(x)."""
    size = x.abs()
    return (size < 10).where(_near(size, _I0_NEAR) * exp(-size), _far(size, _I0_FAR))


@in_double
def i1(x: Lane) -> Lane:
    """I_1(x); NaN of infinities, as SciPy."""
    size = _finite(x)
    near = _near(size, _I1_NEAR) * (size * 0.5)
    return (size < 10).where(near, _grown(size, _far(size, _I1_FAR))).copysign(x)


@in_double
def i1e(x: Lane) -> Lane:
    """e**-|x| I_1(x)."""
    size = x.abs()
    near = _near(size, _I1_NEAR) * (size * 0.5) * exp(-size)
    return (size < 10).where(near, _far(size, _I1_FAR)).copysign(x)
