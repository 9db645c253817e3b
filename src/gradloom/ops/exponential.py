"""The exponential of matrices."""

from __future__ import annotations

import math
from typing import Any

from gradloom.ops.arithmetic import abs_
from gradloom.ops.composite import stop_gradient
from gradloom.ops.contract import matmul
from gradloom.ops.elementwise import where
from gradloom.ops.elimination import solve
from gradloom.ops.factor import identity_like
from gradloom.ops.linear import matrices
from gradloom.ops.reduce import max_, sum_

# ---- functions of matrices

# Coefficients of the diagonal approximant of degree 13, and the norm up to which it is good to
# double precision [Higham, The scaling and squaring method for the matrix exponential revisited,
# 2005, table 2.3].
PADE = (
    *(64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0),
    *(129060195264000.0, 10559470521600.0, 670442572800.0, 33522128640.0, 1323241920.0),
    *(40840800.0, 960960.0, 16380.0, 182.0, 1.0),
)
THETA = 5.371920351148152
SQUARINGS = 16


def expm(a: Any) -> Any:
    """The exponential of square matrices, by scaling and squaring [Higham 2005].

    NaN where the 1-norm exceeds 352,000: more than 16 squarings.
    """
    (a,) = matrices(a, square=True)
    if not a.size:
        return a
    size = stop_gradient(max_(sum_(abs_(a), -2), -1))[..., None, None]
    scale, x = size * 0 + 1, a
    for k in range(SQUARINGS):
        scale = where(size > THETA * 2**k, 0.5 ** (k + 1), scale)
    x = a * scale
    x2 = matmul(x, x)
    x4 = matmul(x2, x2)
    x6 = matmul(x4, x2)
    eye, b = identity_like(x), PADE
    odd = matmul(x6, b[13] * x6 + b[11] * x4 + b[9] * x2)
    odd = matmul(x, odd + b[7] * x6 + b[5] * x4 + b[3] * x2 + b[1] * eye)
    even = matmul(x6, b[12] * x6 + b[10] * x4 + b[8] * x2)
    even = even + b[6] * x6 + b[4] * x4 + b[2] * x2 + b[0] * eye
    out = solve(even - odd, even + odd)
    for k in range(SQUARINGS):
        # squares that are not wanted stay finite, so that their zero derivatives are zero
        wanted = size > THETA * 2**k
        out = where(wanted, matmul(*[where(wanted, out, 0)] * 2), out)
    return where(size > THETA * 2**SQUARINGS, math.nan, out)
