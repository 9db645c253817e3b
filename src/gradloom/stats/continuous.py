"""Continuous distributions; every `loc` and `scale` shifts and stretches as SciPy's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradloom import special
from gradloom.ops.elementwise import (
    abs_,
    arctan2,
    exp,
    expm1,
    log,
    log1p,
    sign,
    softplus,
    tan,
    where,
)
from gradloom.ops.public import as_operand
from gradloom.stats.density import (
    between,
    exponential_of,
    logarithm_of,
    method,
    standard,
    supported,
)

_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


class norm:
    """The normal distribution.

    >>> import gradloom as gl
    >>> float(gl.stats.norm.logpdf(1.0, loc=1.0, scale=2.0)).__round__(6)
    -1.612086
    """

    @method
    def logpdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        z = standard(x, loc, scale)
        return -0.5 * z * z - (log(scale) + _HALF_LOG_TWO_PI)

    @method
    def cdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        return special.ndtr(standard(x, loc, scale))

    @method
    def logcdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        return special.log_ndtr(standard(x, loc, scale))

    @method
    def sf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        return special.ndtr(-standard(x, loc, scale))

    @method
    def logsf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        return special.log_ndtr(-standard(x, loc, scale))

    @method
    def ppf(q: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        return special.ndtri(q) * scale + loc

    @method
    def isf(q: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        return -special.ndtri(q) * scale + loc

    pdf = exponential_of("pdf", logpdf)


class expon:
    """The exponential distribution."""

    @method
    def logpdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        z = standard(x, loc, scale)
        return supported(z >= 0, z, lambda z: -z - log(scale), 1.0)

    @method
    def cdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        z = standard(x, loc, scale)
        return -expm1(-where(z < 0, 0, z))

    @method
    def logsf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        z = standard(x, loc, scale)
        return -where(z < 0, 0, z)

    @method
    def ppf(q: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        return -log1p(-as_operand(q)) * scale + loc

    pdf = exponential_of("pdf", logpdf)
    sf = exponential_of("sf", logsf)
    logcdf = logarithm_of("logcdf", cdf)


class uniform:
    """The uniform distribution from `loc` to `loc + scale`."""

    @method
    def logpdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        z = standard(x, loc, scale)
        return supported((z >= 0) & (z <= 1), z, lambda z: -log(scale) + 0 * z, 0.5)

    @method
    def cdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        return between(standard(x, loc, scale), 0, 1, lambda z: z, 0.5)

    @method
    def ppf(q: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        q = as_operand(q)
        return where((q < 0) | (q > 1), np.nan, q * scale + loc)

    pdf = exponential_of("pdf", logpdf)


class laplace:
    """Laplace's distribution."""

    @method
    def logpdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        return -abs_(standard(x, loc, scale)) - log(2.0 * as_operand(scale))

    @method
    def cdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        z = standard(x, loc, scale)
        half = 0.5 * exp(-abs_(z))
        return where(z < 0, half, 1 - half)

    @method
    def ppf(q: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        q = as_operand(q)
        low = q < 0.5
        size = log(2 * where(low, q, 1 - q))
        return where(low, size, -size) * scale + loc

    pdf = exponential_of("pdf", logpdf)
    logcdf = logarithm_of("logcdf", cdf)


class logistic:
    """The logistic distribution."""

    @method
    def logpdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        size = abs_(standard(x, loc, scale))
        return -size - 2 * softplus(-size) - log(scale)

    @method
    def cdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        return special.expit(standard(x, loc, scale))

    @method
    def logcdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        return special.log_expit(standard(x, loc, scale))

    @method
    def sf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        return special.expit(-standard(x, loc, scale))

    @method
    def logsf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        return special.log_expit(-standard(x, loc, scale))

    @method
    def ppf(q: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        return special.logit(q) * scale + loc

    pdf = exponential_of("pdf", logpdf)


class cauchy:
    """Cauchy's distribution."""

    @method
    def logpdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        z = standard(x, loc, scale)
        return -log1p(z * z) - log(math.pi * as_operand(scale))

    @method
    def cdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        return arctan2(1.0, -standard(x, loc, scale)) / math.pi

    @method
    def sf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        return arctan2(1.0, standard(x, loc, scale)) / math.pi

    @method
    def ppf(q: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        far = abs_(q - 0.5) > 0.25
        tail = where(q < 0.5, q, 1 - q)
        ends = where(tail == 0, np.inf, 1 / tan(math.pi * where(far & (tail > 0), tail, 0.25)))
        middle = tan(math.pi * (where(far, 0.5, q) - 0.5))
        return where(far, where(q < 0.5, -ends, ends), middle) * scale + loc

    pdf = exponential_of("pdf", logpdf)
    logcdf = logarithm_of("logcdf", cdf)
    logsf = logarithm_of("logsf", sf)


class gamma:
    """The gamma distribution of shape `a`."""

    @method
    def logpdf(x: Any, a: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        a, z = as_operand(a), standard(x, loc, scale)
        constant = special.gammaln(a) + log(scale)
        return supported(z >= 0, z, lambda z: special.xlogy(a - 1.0, z) - z - constant, 1.0)

    @method
    def cdf(x: Any, a: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        z = standard(x, loc, scale)
        return special.gammainc(a, where(z < 0, 0, z))

    @method
    def sf(x: Any, a: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        z = standard(x, loc, scale)
        return special.gammaincc(a, where(z < 0, 0, z))

    pdf = exponential_of("pdf", logpdf)
    logcdf = logarithm_of("logcdf", cdf)
    logsf = logarithm_of("logsf", sf)


class chi2:
    """The chi-squared distribution of `df` degrees of freedom."""

    @method
    def logpdf(x: Any, df: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        return gamma.logpdf(x, 0.5 * as_operand(df), loc, 2.0 * as_operand(scale))

    @method
    def cdf(x: Any, df: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        return gamma.cdf(x, 0.5 * as_operand(df), loc, 2.0 * as_operand(scale))

    @method
    def sf(x: Any, df: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        return gamma.sf(x, 0.5 * as_operand(df), loc, 2.0 * as_operand(scale))

    pdf = exponential_of("pdf", logpdf)
    logcdf = logarithm_of("logcdf", cdf)
    logsf = logarithm_of("logsf", sf)


class beta:
    """The beta distribution of shapes `a` and `b`."""

    @method
    def logpdf(x: Any, a: Any, b: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        a, b, z = as_operand(a), as_operand(b), standard(x, loc, scale)

        def density(z: Any) -> Any:
            powers = special.xlogy(a - 1.0, z) + special.xlog1py(b - 1.0, -z)
            return powers - (special.betaln(a, b) + log(scale))

        return supported((z >= 0) & (z <= 1), z, density, 0.5)

    @method
    def cdf(x: Any, a: Any, b: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        z = standard(x, loc, scale)
        return between(z, 0, 1, lambda z: special.betainc(a, b, z), 0.5)

    pdf = exponential_of("pdf", logpdf)
    logcdf = logarithm_of("logcdf", cdf)


class t:
    """Student's distribution of `df` degrees of freedom."""

    @method
    def logpdf(x: Any, df: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        df, z = as_operand(df) * 1.0, standard(x, loc, scale)
        constant = special.betaln(0.5 * df, 0.5) + 0.5 * log(df) + log(scale)
        return -0.5 * (df + 1.0) * log1p(z * z / df) - constant

    @method
    def cdf(x: Any, df: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        df, z = as_operand(df) * 1.0, standard(x, loc, scale)
        tail = 0.5 * special.betainc(0.5 * df, 0.5, df / (df + z * z))
        return where(z < 0, tail, 1 - tail)

    pdf = exponential_of("pdf", logpdf)
    logcdf = logarithm_of("logcdf", cdf)


class lognorm:
    """The distribution of `exp(s * y)` for a normal y."""

    @method
    def logpdf(x: Any, s: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        z = standard(x, loc, scale)
        constant = log(s) + log(scale)

        def density(z: Any) -> Any:
            y = log(z)
            return norm.logpdf(y / s) - y - constant

        return supported(z > 0, z, density, 1.0)

    @method
    def cdf(x: Any, s: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        z = standard(x, loc, scale)
        return where(z <= 0, 0.0, special.ndtr(log(where(z <= 0, 1, z)) / s))

    @method
    def ppf(q: Any, s: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        return exp(special.ndtri(q) * s) * scale + loc

    pdf = exponential_of("pdf", logpdf)
    logcdf = logarithm_of("logcdf", cdf)


class pareto:
    """Pareto's distribution of exponent `b`, from 1 on."""

    @method
    def logpdf(x: Any, b: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        b, z = as_operand(b), standard(x, loc, scale)
        constant = log(b) - log(scale)
        return supported(z >= 1, z, lambda z: constant - (b + 1.0) * log(z), 2.0)

    @method
    def cdf(x: Any, b: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        z = standard(x, loc, scale)
        return -expm1(-as_operand(b) * log(where(z < 1, 1, z)))

    @method
    def ppf(q: Any, b: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        return exp(-log1p(-as_operand(q)) / b) * scale + loc

    pdf = exponential_of("pdf", logpdf)
    logcdf = logarithm_of("logcdf", cdf)


class gennorm:
    """The generalized normal distribution: its density falls as `exp(-abs(x)**beta)`."""

    @method
    def logpdf(x: Any, beta: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        beta, size = as_operand(beta) * 1.0, abs_(standard(x, loc, scale))
        constant = log(0.5 * beta) - special.gammaln(1.0 / beta) - log(scale)
        return constant - _power(size, beta)

    @method
    def cdf(x: Any, beta: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        beta, z = as_operand(beta) * 1.0, standard(x, loc, scale)
        half = 0.5 * special.gammaincc(1.0 / beta, _power(abs_(z), beta))
        return where(sign(z) < 0, half, 1 - half)

    pdf = exponential_of("pdf", logpdf)
    logcdf = logarithm_of("logcdf", cdf)


def _power(size: Any, exponent: Any) -> Any:
    """`size ** exponent` for a size that may be 0, where the derivative is taken as 0."""
    positive = size > 0
    return where(positive, exp(exponent * log(where(positive, size, 1))), 0.0 * size)


class vonmises:
    """The distribution on the circle of von Mises, of concentration `kappa`."""

    @method
    def logpdf(x: Any, kappa: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        kappa, z = as_operand(kappa) * 1.0, standard(x, loc, scale)
        constant = log(2 * math.pi * special.i0e(kappa)) + log(scale)
        return kappa * special.cosm1(z) - constant

    pdf = exponential_of("pdf", logpdf)


class truncnorm:
    """The normal distribution cut to `a <= (x - loc) / scale <= b`."""

    @method
    def logpdf(x: Any, a: Any, b: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        z = standard(x, loc, scale)
        constant = _log_between(a, b) + log(scale) + _HALF_LOG_TWO_PI
        return supported((z >= a) & (z <= b), z, lambda z: -0.5 * z * z - constant, 0.0)

    @method
    def logcdf(x: Any, a: Any, b: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        z = standard(x, loc, scale)
        inside = (z > a) & (z < b)
        middle = where(inside, z, where(as_operand(a) > -1, as_operand(a) + 1.0, 0.0))
        found = _log_between(a, middle) - _log_between(a, b)
        return where(z <= a, -np.inf, where(z >= b, 0.0, found))

    pdf = exponential_of("pdf", logpdf)
    cdf = exponential_of("cdf", logcdf)


def _log_between(a: Any, b: Any) -> Any:
    """The logarithm of the normal probability between a < b, in the tail that both are in."""
    a, b = as_operand(a), as_operand(b)
    upper = a > 0
    low, high = where(upper, -b, a), where(upper, -a, b)
    top = special.log_ndtr(high)
    return top + log1p(-exp(special.log_ndtr(low) - top))
