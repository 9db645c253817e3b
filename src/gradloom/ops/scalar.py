"""Scalar functions written once against the lane interface, for float32 and float64.

In: lanes (an LLVM register, a NumPy array; see `gradloom.codegen.lanes`).  Out: a lane of the same
dtype.  Every function keeps NaN, and is right at signed zeros, infinities, subnormal numbers and
the thresholds of overflow.  Results are within 2 ULP unless a docstring says otherwise.
"""

from gradloom.ops.scalar_bits import (
    bit_count,
    exponent,
    gcd,
    lcm,
    nextafter,
    scaled,
    signbit,
    significand,
    spacing,
)
from gradloom.ops.scalar_division import floor_divide, fmod, remainder, sign
from gradloom.ops.scalar_erf import erf
from gradloom.ops.scalar_exp import cosh, exp, exp2, expm1, sigmoid, sinh, tanh
from gradloom.ops.scalar_inverse import acos, acosh, asin, asinh, atan2, atanh, cbrt, hypot
from gradloom.ops.scalar_log import log, log1p, log2, log10, logaddexp, softplus
from gradloom.ops.scalar_power import integer_power, power, rsqrt
from gradloom.ops.scalar_trig import atan, cos, sin, tan

__all__ = [
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "bit_count",
    "cbrt",
    "cos",
    "cosh",
    "erf",
    "exp",
    "exp2",
    "expm1",
    "exponent",
    "floor_divide",
    "fmod",
    "gcd",
    "hypot",
    "integer_power",
    "lcm",
    "log",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "nextafter",
    "power",
    "remainder",
    "rsqrt",
    "scaled",
    "sigmoid",
    "sign",
    "signbit",
    "significand",
    "sin",
    "sinh",
    "softplus",
    "spacing",
    "tan",
    "tanh",
]
