"""SciPy's special functions, under its names, for traced values and arrays alike.

Only functions that are good to a few units in the last place wherever they are defined: `erfc`,
for instance, is not `1 - erf`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.ops import composite, elementwise, special_rows
from gradloom.ops.elementwise import abs_, log, log1p, where
from gradloom.ops.public import as_operand

__all__ = [
    "entr",
    "erf",
    "expit",
    "expm1",
    "log1p",
    "log_expit",
    "log_softmax",
    "logit",
    "logsumexp",
    "softmax",
    "xlogy",
]

erf = elementwise.erf
expit = elementwise.sigmoid
expm1 = elementwise.expm1
logsumexp = composite.logsumexp


def log_expit(x: Any) -> Any:
    """`log(expit(x))`, also where `expit(x)` is 0 or 1.

    >>> from gradloom import special
    >>> float(special.log_expit(-800.0))
    -800.0
    """
    return -elementwise.softplus(-as_operand(x))


def logit(p: Any) -> Any:
    """`log(p / (1 - p))`, the inverse of `expit`; accurate around 1/2, where it is 0.

    There `p / (1 - p)` is near 1 and its logarithm would keep only the rounding: the difference
    from 1, `(2 p - 1) / (1 - p)`, has an exact numerator and denominator.

    >>> from gradloom import special
    >>> float(special.logit(0.5 + 2.0**-50)) == 2.0**-48
    True
    """
    p = as_operand(p)
    near = abs_(p - 0.5) < 0.15
    inside = where(near, p, 0.5)
    outside = where(near, 0.25, p)
    return where(near, log1p((2 * inside - 1) / (1 - inside)), log(outside / (1 - outside)))


def softmax(x: Any, axis: Any = None) -> Any:
    """`exp(x) / sum(exp(x))` over `axis`: over all elements by default, unlike in `gl.nn`."""
    return composite.softmax(x, axis)


def log_softmax(x: Any, axis: Any = None) -> Any:
    """`log(softmax(x))` over `axis`: over all elements by default, unlike in `gl.nn`."""
    return composite.log_softmax(x, axis)


def xlogy(x: Any, y: Any) -> Any:
    """`x * log(y)`, and 0 where `x` is 0 and `y` is a number.

    >>> from gradloom import special
    >>> float(special.xlogy(0.0, 0.0)), float(special.xlogy(2.0, 1.0))
    (0.0, 0.0)
    """
    x, y = as_operand(x), as_operand(y)
    # Where log(y) is finite the product is right as it stands, and so is its derivative by x.
    harmless = (x != 0) | ((y > 0) & (y < np.inf)) | (y != y)
    return x * log(where(harmless, y, 1))


def entr(x: Any) -> Any:
    """`-x * log(x)`; 0 at 0, minus infinity below.

    >>> from gradloom import special
    >>> float(special.entr(0.0)), float(special.entr(-1.0))
    (0.0, -inf)
    """
    x = as_operand(x)
    return where(x < 0, -np.inf, 0.0 - xlogy(abs_(x), abs_(x)))
