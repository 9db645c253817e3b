"""The error function.

Coefficients: minimax by the Remez exchange in 60-digit arithmetic, rounded to the format one after
another (each time the rest is fitted again); computed for this file.
"""

from gradloom.ops.scalar_exp import expm1_below
from gradloom.ops.scalar_forms import Lane, horner

# -log(erfc(z)) / z on 0 <= z <= 3.95 (float32) or 5.95 (float64), weighted for the relative error
# of erf(z).  First 2 / sqrt(pi) as a high and a low part, then the powers from z on.
_LOG_ERFC = {
    "float32": (
        1.128379225730896, -5.8635382771399236e-08, 0.636619508266449, 0.10277687758207321,
        -0.019149981439113617, -0.00016547799168620259, 0.0016715958481654525,
        -0.0006350838229991496, 0.0001182041087304242, -9.311876965512056e-06,
    ),
    "float64": (
        1.1283791670955126, 1.533545961316588e-17, 0.6366197723675828, 0.10277260330181971,
        -0.01912844700563371, -0.00020919468902233553, 0.0016962063474611473,
        -0.0005901253804979066, 2.5878045697199526e-05, 6.449321091912903e-05,
        -2.9726546645043836e-05, 3.4108872242697657e-06, 2.8309751136946864e-06,
        -1.7377022097206893e-06, 3.334938404559129e-07, 1.3892237470338046e-07,
        -1.4261925580579895e-07, 6.607588970008457e-08, -2.1072862055524818e-08,
        5.026000899415622e-09, -9.13926588430305e-10, 1.2572220836157022e-10,
        -1.271154045346211e-11, 8.925255321933728e-13, -3.889635407371786e-14,
        7.923597847182994e-16,
    ),
}  # fmt: skip
# erf is 1 to half a unit from here on.
_LIMIT = {"float32": 3.95, "float64": 5.95}


def erf(x: Lane) -> Lane:
    """Error function, as 1 - e**(log erfc|x|): one polynomial and one exponential serve all x."""
    z = x.abs().minimum(_LIMIT[x.dtype])
    high, *rest = _LOG_ERFC[x.dtype]
    exponent = z.fma(high, z * horner(z, tuple(rest)))
    return expm1_below(-exponent).copysign(x)
