"""Log-densities and distribution functions under SciPy's names: `gl.stats.norm.logpdf(x)`.

Traced values and arrays alike, and differentiable by every argument but where a docstring of
`gradloom.special` says otherwise.  Outside of its support a density is 0, and its gradient too.
"""

from gradloom.stats.continuous import (
    beta,
    cauchy,
    chi2,
    expon,
    gamma,
    gennorm,
    laplace,
    logistic,
    lognorm,
    norm,
    pareto,
    t,
    truncnorm,
    uniform,
    vonmises,
)
from gradloom.stats.discrete import bernoulli, betabinom, binom, geom, nbinom, poisson
from gradloom.stats.vectors import dirichlet, multinomial, multivariate_normal

__all__ = [
    "bernoulli",
    "beta",
    "betabinom",
    "binom",
    "cauchy",
    "chi2",
    "dirichlet",
    "expon",
    "gamma",
    "gennorm",
    "geom",
    "laplace",
    "logistic",
    "lognorm",
    "multinomial",
    "multivariate_normal",
    "nbinom",
    "norm",
    "pareto",
    "poisson",
    "t",
    "truncnorm",
    "uniform",
    "vonmises",
]
