"""Scalar functions written once against the lane interface, for float32 and float64.

In: lanes (an LLVM register, a NumPy array; see `gradloom.codegen.lanes`).  Out: a lane of the same
dtype.  Every function is branch-free, keeps NaN, and is right at signed zeros, infinities,
subnormal numbers and the thresholds of overflow.  Results are within 2 ULP unless a docstring says
otherwise.
"""

from gradloom.ops.scalar_erf import erf
from gradloom.ops.scalar_exp import cosh, exp, exp2, expm1, sigmoid, sinh, tanh
from gradloom.ops.scalar_log import log, log1p, log2, log10, softplus
from gradloom.ops.scalar_power import floor_divide, power, remainder, rsqrt, sign
from gradloom.ops.scalar_trig import atan, cos, sin

__all__ = [
    "atan",
    "cos",
    "cosh",
    "erf",
    "exp",
    "exp2",
    "expm1",
    "floor_divide",
    "log",
    "log1p",
    "log2",
    "log10",
    "power",
    "remainder",
    "rsqrt",
    "sigmoid",
    "sign",
    "sin",
    "sinh",
    "softplus",
    "tanh",
]
