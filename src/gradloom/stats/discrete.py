"""Distributions of whole numbers; every `loc` shifts as SciPy's."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom import special
from gradloom.ops.elementwise import expm1, floor, log, log1p, where
from gradloom.ops.public import as_operand
from gradloom.stats.density import exponential_of, is_whole, method, supported


def _count(k: Any, loc: Any) -> Any:
    """The count as a float."""
    return (as_operand(k) - loc) * 1.0


class bernoulli:
    """One trial that succeeds with probability `p`.

    >>> import gradloom as gl
    >>> float(gl.stats.bernoulli.pmf(1, 0.25))
    0.25
    """

    @method
    def logpmf(k: Any, p: Any, loc: Any = 0) -> Any:
        k, p = _count(k, loc), as_operand(p)
        return supported(
            (k == 0) | (k == 1),
            k,
            lambda k: special.xlogy(k, p) + special.xlog1py(1.0 - k, -p),
            1.0,
        )

    @method
    def cdf(k: Any, p: Any, loc: Any = 0) -> Any:
        k = _count(k, loc)
        return where(k < 0, 0.0, where(k < 1, 1.0 - as_operand(p), 1.0))

    pmf = exponential_of("pmf", logpmf)


class binom:
    """The successes in `n` trials of probability `p`."""

    @method
    def logpmf(k: Any, n: Any, p: Any, loc: Any = 0) -> Any:
        k, n, p = _count(k, loc), as_operand(n) * 1.0, as_operand(p)

        def density(k: Any) -> Any:
            powers = special.xlogy(k, p) + special.xlog1py(n - k, -p)
            return powers + _log_choose(n, k)

        return supported((k >= 0) & (k <= n) & is_whole(k), k, density, 0.0)

    @method
    def cdf(k: Any, n: Any, p: Any, loc: Any = 0) -> Any:
        k, n = floor(_count(k, loc)), as_operand(n) * 1.0
        inside = (k >= 0) & (k < n)
        j = where(inside, k, 0.0)
        m = where(inside, n, 1.0)
        found = special.betainc(m - j, j + 1.0, 1.0 - as_operand(p))
        return where(inside, found, where(k < 0, 0.0, 1.0))

    pmf = exponential_of("pmf", logpmf)


def _log_choose(n: Any, k: Any) -> Any:
    """Logarithm of the binomial coefficient."""
    return -special.betaln(n - k + 1.0, k + 1.0) - log(n + 1.0)


class geom:
    """The trials up to the first success, of probability `p`."""

    @method
    def logpmf(k: Any, p: Any, loc: Any = 0) -> Any:
        k, p = _count(k, loc), as_operand(p)
        return supported(
            (k >= 1) & is_whole(k), k, lambda k: special.xlog1py(k - 1.0, -p) + log(p), 1.0
        )

    @method
    def cdf(k: Any, p: Any, loc: Any = 0) -> Any:
        """`1 - (1 - p)**k`, of whole k."""
        k, p = floor(_count(k, loc)), as_operand(p)
        below, endless = k < 1, k == np.inf
        inside = -expm1(where(below | endless, 1.0, k) * log1p(-p))
        return where(below, 0.0, where(endless, 1.0, inside))

    pmf = exponential_of("pmf", logpmf)


class poisson:
    """Poisson's distribution of mean `mu`."""

    @method
    def logpmf(k: Any, mu: Any, loc: Any = 0) -> Any:
        k, mu = _count(k, loc), as_operand(mu)
        return supported(
            (k >= 0) & is_whole(k),
            k,
            lambda k: special.xlogy(k, mu) - special.gammaln(k + 1.0) - mu,
            0.0,
        )

    @method
    def cdf(k: Any, mu: Any, loc: Any = 0) -> Any:
        k = floor(_count(k, loc))
        return where(k < 0, 0.0, special.gammaincc(where(k < 0, 0, k) + 1.0, mu))

    pmf = exponential_of("pmf", logpmf)


class nbinom:
    """The failures before success number `n`, of probability `p`."""

    @method
    def logpmf(k: Any, n: Any, p: Any, loc: Any = 0) -> Any:
        k, n, p = _count(k, loc), as_operand(n) * 1.0, as_operand(p)

        def density(k: Any) -> Any:
            ways = -log(k + n) - special.betaln(k + 1.0, n)
            return ways + special.xlogy(n, p) + special.xlog1py(k, -p)

        return supported((k >= 0) & is_whole(k), k, density, 0.0)

    @method
    def cdf(k: Any, n: Any, p: Any, loc: Any = 0) -> Any:
        k = floor(_count(k, loc))
        return where(k < 0, 0.0, special.betainc(n, where(k < 0, 0, k) + 1.0, p))

    pmf = exponential_of("pmf", logpmf)


class betabinom:
    """The successes in `n` trials of a probability drawn from `beta(a, b)`."""

    @method
    def logpmf(k: Any, n: Any, a: Any, b: Any, loc: Any = 0) -> Any:
        k, n, a, b = _count(k, loc), as_operand(n) * 1.0, as_operand(a), as_operand(b)

        def density(k: Any) -> Any:
            draws = special.betaln(k + a, n - k + b) - special.betaln(a, b)
            return draws + _log_choose(n, k)

        return supported((k >= 0) & (k <= n) & is_whole(k), k, density, 0.0)

    pmf = exponential_of("pmf", logpmf)
