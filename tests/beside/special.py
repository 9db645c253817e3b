"""`gradloom.special` and `gradloom.stats` beside JAX's SciPy."""

from __future__ import annotations

import jax.scipy.special
import jax.scipy.stats
import numpy as np

import gradloom as gl
from tests.beside.table import A, B, Group, J, P, Q, T, X, Y, named, row

SPECIAL = [
    *named("erf erfc erfcx expit ndtr log_ndtr gammaln digamma i0e i1e i0 i1 gamma", X + 2.5),
    *named("erf erfc ndtr log_ndtr expit i0e i1e i0 i1 gamma", X - 0.05),
    *named("erfinv ndtri logit entr", P),
    *named("xlogy xlog1py rel_entr kl_div", P, Q),
    *named("betaln", A, B, order=1),
    row("gammainc", lambda g, x: [g.gammainc(a, x) for a in (0.5, 1.0, 3.5)], A),
    row("gammaincc", lambda g, x: [g.gammaincc(a, x) for a in (0.5, 1.0, 3.5)], A),
    row(
        "betainc",
        lambda g, p: [g.betainc(a, b, p) for a, b in ((0.5, 2.0), (3.0, 1.5))],
        P,
        order=1,
    ),
    row("zeta", lambda g, q: g.zeta(2.5, q), A),
    row("polygamma", lambda g, x: [g.polygamma(n, x) for n in (1, 2)], A, order=1),
    row("multigammaln", lambda g, a: g.multigammaln(a, 3), A + 2, order=1),
    row("factorial", lambda g, a: g.factorial(a), A),
    row("logsumexp", lambda g, t: [g.logsumexp(t), g.logsumexp(t, axis=1, keepdims=True)], T),
    row("softmax", lambda g, t: [g.softmax(t), g.softmax(t, axis=1)], T),
    row("log_softmax", lambda g, t: [g.log_softmax(t), g.log_softmax(t, axis=1)], T),
]


def of(name: str, methods: str, *operands: np.ndarray, **facts: int) -> list:
    """A row for each method of a distribution."""
    return [
        row(
            f"{name}.{method}",
            lambda g, *a, method=method: getattr(getattr(g, name), method)(*a),
            *operands,
            **facts,
        )
        for method in methods.split()
    ]


LOC = 0.1 * Y
STATS = [
    *of("norm", "logpdf pdf cdf logcdf sf logsf", X, LOC, A),
    *of("norm", "ppf", P, LOC, A),
    *of("expon", "logpdf pdf", A, LOC, B),
    *of("uniform", "logpdf pdf cdf", P, -Q, Q + 2),
    *of("laplace", "logpdf pdf cdf", X, LOC, A),
    *of("logistic", "logpdf pdf cdf sf", X, LOC, A),
    *of("cauchy", "logpdf pdf cdf sf", X, LOC, A),
    *of("cauchy", "ppf", P, LOC, A),
    *of("gamma", "logpdf", A, B, -P, Q, order=1),
    *of("chi2", "logpdf", A, B),
    *of("beta", "logpdf", P, A, B, order=1),
    *of("t", "logpdf", X, A, LOC, B, order=1),
    *of("pareto", "logpdf pdf", A + 1, B),
    *of("gennorm", "logpdf", X, A),
    *of("vonmises", "logpdf", X, A),
    *of("truncnorm", "logpdf", P, -A, B),
    row("bernoulli.logpmf", lambda g, p: [g.bernoulli.logpmf(k, p) for k in (0, 1)], P),
    row("binom.logpmf", lambda g, p: g.binom.logpmf(np.arange(4.0), 5.0, p), P),
    row("geom.logpmf", lambda g, k, p: g.geom.logpmf(k, p), J, P),
    row("poisson.logpmf", lambda g, k, mu: g.poisson.logpmf(k, mu), J, A),
    row("poisson.pmf", lambda g, k, mu: g.poisson.pmf(k, mu), J, A),
    row("nbinom.logpmf", lambda g, k, n, p: g.nbinom.logpmf(k, n, p), J, A, P, order=1),
    row(  # JAX's is good to 1e-6 alone, as mpmath shows
        "betabinom.logpmf",
        lambda g, k, a, b: g.betabinom.logpmf(k, 9.0, a, b),
        *(J, A, B),
        tolerance=2e-6,
        order=1,
    ),
    row("dirichlet.logpdf", lambda g, a: g.dirichlet.logpdf(np.array([0.2, 0.5, 0.3]), a[:, 0]), A),
    row(
        "multinomial.logpmf",
        lambda g, p: g.multinomial.logpmf(np.array([1, 2, 0]), 3, p[:, 0] / p[:, 0].sum()),
        P,
    ),
]

SPECIALS = [
    Group("special", gl.special, jax.scipy.special, SPECIAL),
    Group("stats", gl.stats, jax.scipy.stats, STATS),
]
