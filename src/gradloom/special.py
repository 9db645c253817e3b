"""SciPy's special functions, under its names, for traced values and arrays alike.

They are good to a few units in the last place wherever they are defined (docstrings say where not):
`erfc`, for instance, is not `1 - erf`.  Derivatives of any order follow, but for those by the
parameters of `zeta(x, q)` (by x), `gammainc`, `gammaincc` (by a) and `betainc` (by a and b), which
are NaN.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradloom.ops import composite, elementwise, special_rows, ufuncs
from gradloom.ops.elementwise import abs_, exp, floor, log, log1p, remainder, sin, sqrt, where
from gradloom.ops.public import as_operand
from gradloom.ops.reduce import max_, sum_

__all__ = [
    "beta",
    "betainc",
    "betaln",
    "binom",
    "comb",
    "cosm1",
    "digamma",
    "entr",
    "erf",
    "erfc",
    "erfcinv",
    "erfcx",
    "erfinv",
    "expit",
    "expm1",
    "exprel",
    "factorial",
    "gamma",
    "gammainc",
    "gammaincc",
    "gammaln",
    "gammasgn",
    "huber",
    "i0",
    "i0e",
    "i1",
    "i1e",
    "kl_div",
    "log1p",
    "log_expit",
    "log_ndtr",
    "log_softmax",
    "logit",
    "logsumexp",
    "multigammaln",
    "ndtr",
    "ndtri",
    "polygamma",
    "pseudo_huber",
    "psi",
    "rel_entr",
    "sinc",
    "softmax",
    "xlog1py",
    "xlogy",
    "zeta",
]

erf = elementwise.erf
expit = elementwise.sigmoid
expm1 = elementwise.expm1
sinc = ufuncs.sinc
erfc, erfcx = special_rows.erfc, special_rows.erfcx
erfinv, erfcinv = special_rows.erfinv, special_rows.erfcinv
ndtr, log_ndtr, ndtri = special_rows.ndtr, special_rows.log_ndtr, special_rows.ndtri
gamma, gammaln = special_rows.gamma, special_rows.gammaln
digamma = psi = special_rows.digamma
gammainc, gammaincc = special_rows.gammainc, special_rows.gammaincc
betainc = special_rows.betainc
i0, i0e, i1, i1e = special_rows.i0, special_rows.i0e, special_rows.i1, special_rows.i1e


def logsumexp(
    a: Any, axis: Any = None, b: Any = None, keepdims: bool = False, return_sign: bool = False
) -> Any:
    """`log(sum(b * exp(a)))` over `axis` without overflow, and with `return_sign` the sign of that
    sum beside the logarithm of its size; without, a negative sum gives NaN.

    >>> from gradloom import special
    >>> float(special.logsumexp([1000.0, 1000.0], b=[3.0, -2.0]))
    1000.0
    """
    if b is None and not return_sign:
        return composite.logsumexp(a, axis, keepdims)
    a = as_operand(a)
    weights = as_operand(1 if b is None else b)
    counted = where(weights == 0, -np.inf, a)
    top = composite.stop_gradient(max_(counted, axis, keepdims=True))
    shift = where(ufuncs.isfinite(top), top, 0)
    # A weight of 0 leaves its element out, also an infinite one.
    kept = where(weights == 0, 0, where(weights == 0, 0, a) - shift)
    total = sum_(weights * exp(kept), axis, keepdims=True)
    size = log(abs_(total) if return_sign else total) + shift
    shape = None if keepdims else composite.sum_(top, axis).shape
    results = (size, elementwise.sign(total))
    results = results if shape is None else tuple(r.reshape(shape) for r in results)
    return results if return_sign else results[0]


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
    x, y = ufuncs.operands(x, y)
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


def xlog1py(x: Any, y: Any) -> Any:
    """`x * log1p(y)`, and 0 where `x` is 0 and `y` is a number."""
    x, y = ufuncs.operands(x, y)
    harmless = (x != 0) | ((y > -1) & (y < np.inf)) | (y != y)
    return x * log1p(where(harmless, y, 0))


def rel_entr(x: Any, y: Any) -> Any:
    """`x * log(x / y)`; 0 at `x = 0 <= y`, infinite elsewhere beyond positive numbers.

    >>> from gradloom import special
    >>> float(special.rel_entr(0.0, 1.0)), float(special.rel_entr(1.0, 0.0))
    (0.0, inf)
    """
    x, y = ufuncs.operands(x, y)
    inside = (x > 0) & (y > 0)
    a, b = where(inside, x, 1), where(inside, y, 1)
    edge = where((x == 0) & (y >= 0), 0.0, where((x != x) | (y != y), np.nan, np.inf))
    return where(inside, a * log(a / b), edge)


def kl_div(x: Any, y: Any) -> Any:
    """`x * log(x / y) - x + y`; `y` at `x = 0 <= y`, infinite elsewhere beyond positive numbers."""
    return rel_entr(x, y) - x + y


def zeta(x: Any, q: Any = 1.0) -> Any:
    """Hurwitz's zeta function, the sum of `(q + k) ** -x` over k = 0, 1, ...; Riemann's for q = 1.

    Of x > 1 and q > 0; infinite at x = 1 and at q = 0, -1, ..., and NaN beyond.

    >>> from gradloom import special
    >>> float(special.zeta(2.0)).__round__(9)  # pi**2 / 6
    1.644934067
    """
    return special_rows.zeta(*ufuncs.operands(x, q))


def polygamma(n: Any, x: Any) -> Any:
    """The n-th derivative of `digamma` (DLMF 5.15.1); of n > 1 for x > 0, NaN below.

    >>> from gradloom import special
    >>> float(special.polygamma(1, 1.0)).__round__(9)  # pi**2 / 6
    1.644934067
    """
    if isinstance(n, int) and n in (0, 1):
        return special_rows.trigamma(as_operand(x)) if n else digamma(x)
    if isinstance(n, int):
        return (-1) ** (n + 1) * float(math.factorial(n)) * zeta(n + 1.0, x)
    n = as_operand(n)
    size = gamma(n + 1.0) * zeta(where(n == 0, 2.0, n + 1.0), x)
    return where(n == 0, digamma(x), where(remainder(n, 2) == 0, -size, size))


def gammasgn(x: Any) -> Any:
    """The sign of `gamma(x)`; NaN where that has none."""
    x = as_operand(x) * 1.0
    whole = floor(x)
    odd = remainder(where(ufuncs.isfinite(whole), whole, 0), 2) != 0
    below = where(whole == x, np.nan, where(odd, -1.0, 1.0))
    return where(x > 0, 1.0, where(x == 0, elementwise.copysign(1.0, x), below + 0 * x))


def betaln(a: Any, b: Any) -> Any:
    """`log(abs(beta(a, b)))`; where `a` or `b` is not positive only as good as its three terms."""
    a, b = ufuncs.operands(a, b)
    positive = (a > 0) & (b > 0)
    inside = special_rows.betaln(where(positive, a, 1.0), where(positive, b, 1.0))
    p, q = where(positive, 1.0, a), where(positive, 1.0, b)
    return where(positive, inside, gammaln(p) + gammaln(q) - gammaln(p + q))


def beta(a: Any, b: Any) -> Any:
    """`gamma(a) * gamma(b) / gamma(a + b)`.

    >>> from gradloom import special
    >>> float(special.beta(2.0, 3.0)) * 12
    1.0
    """
    a, b = ufuncs.operands(a, b)
    small = (abs_(a) < 60) & (abs_(b) < 60)
    p, q = where(small, a, 1.0), where(small, b, 1.0)
    u, v = where(small, 1.0, a), where(small, 1.0, b)
    far = gammasgn(u) * gammasgn(v) * gammasgn(u + v) * exp(betaln(u, v))
    return where(small, gamma(p) * (gamma(q) / gamma(p + q)), far)


def binom(n: Any, k: Any) -> Any:
    """The binomial coefficient of real numbers, for `n > -1` and `-1 < k < n + 1`; else 0, or NaN
    for `n <= -1`.

    >>> from gradloom import special
    >>> float(special.binom(5, 2)).__round__(9)
    10.0
    """
    n, k = ufuncs.operands(n, k)
    n, k = n * 1.0, k * 1.0
    inside = (n > -1) & (k > -1) & (k < n + 1)
    p, r = where(inside, n, 1.0), where(inside, k, 0.0)
    value = 1 / ((p + 1) * beta(1 + p - r, 1 + r))
    return where(inside, value, where(n > -1, 0.0, np.nan))


def comb(N: Any, k: Any) -> Any:  # noqa: N803  (SciPy's name)
    """The number of ways to choose `k` of `N` things, as a float; 0 where there is none."""
    n, k = ufuncs.operands(N, k)
    some = (k <= n) & (n >= 0) & (k >= 0)
    value = binom(where(some, n, 1), where(some, k, 0))
    return where(some, value, 0.0)


def factorial(n: Any) -> Any:
    """`gamma(n + 1)`, and 0 for negative `n`."""
    n = as_operand(n)
    return where(n < 0, 0.0, gamma(where(n < 0, 0, n) + 1.0))


def multigammaln(a: Any, d: int) -> Any:
    """The logarithm of the gamma function of `d` dimensions, for `a > (d - 1) / 2`."""
    a = as_operand(a)
    constant = d * (d - 1) / 4 * math.log(math.pi)
    return sum((gammaln(a - j / 2) for j in range(1, d)), gammaln(a) + constant)


def exprel(x: Any) -> Any:
    """`(exp(x) - 1) / x`, and 1 at 0; smooth there to every order.

    >>> from gradloom import special
    >>> float(special.exprel(0.0))
    1.0
    """
    x = as_operand(x) * 1.0
    near = abs_(x) < 0.5
    z, far = where(near, x, 0), where(near | (x == np.inf), 1, x)
    series: Any = 1.0
    for k in range(15, 1, -1):
        series = 1 + series * z / k
    return where(near, series, where(x == np.inf, np.inf, expm1(far) / far))


def cosm1(x: Any) -> Any:
    """`cos(x) - 1`, accurate near 0."""
    half = sin(0.5 * as_operand(x))
    return -2 * half * half


def huber(delta: Any, r: Any) -> Any:
    """`r**2 / 2` up to `abs(r) = delta`, linear beyond; infinite for negative `delta`."""
    delta, r = ufuncs.operands(delta, r)
    size = abs_(r)
    loss = where(size <= delta, 0.5 * r * r, delta * (size - 0.5 * delta))
    return where(delta < 0, np.inf, loss)


def pseudo_huber(delta: Any, r: Any) -> Any:
    """`delta**2 * (sqrt(1 + (r / delta)**2) - 1)`; infinite for negative `delta`."""
    delta, r = ufuncs.operands(delta, r)
    u = r / where(delta == 0, 1, delta)
    return where(delta < 0, np.inf, where(delta == 0, 0, r * r / (1 + sqrt(1 + u * u))))
