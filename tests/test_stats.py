"""Distributions against SciPy's, on arrays and compiled, and their gradients."""

import numpy as np
import pytest
from scipy import stats as theirs

import gradloom as gl
from gradloom.errors import ShapeError

RNG = np.random.default_rng(4)
Z = RNG.normal(size=12) * 2
POSITIVE = RNG.uniform(0.2, 4, 12)
UNIT = RNG.uniform(0.02, 0.98, 12)
WHOLE = np.array([0.0, 1, 2, 3, 5, 9])
LOC, SCALE = 0.3, 1.7

# Name, parameters, where the density is sampled, and the methods besides the density.
CONTINUOUS = [
    ("norm", (), Z, "cdf logcdf sf logsf"),
    ("expon", (), POSITIVE, "cdf logcdf sf logsf"),
    ("uniform", (), UNIT * SCALE + LOC, "cdf"),
    ("laplace", (), Z, "cdf logcdf"),
    ("logistic", (), Z, "cdf logcdf sf logsf"),
    ("cauchy", (), Z, "cdf logcdf sf logsf"),
    ("gamma", (2.3,), POSITIVE + LOC, "cdf logcdf sf logsf"),
    ("gamma", (0.7,), POSITIVE + LOC, "cdf logcdf sf logsf"),
    ("chi2", (3.5,), POSITIVE + LOC, "cdf logcdf sf logsf"),
    ("beta", (2.5, 0.8), UNIT * SCALE + LOC, "cdf logcdf"),
    ("t", (4.5,), Z, "cdf logcdf"),
    ("lognorm", (0.6,), POSITIVE + LOC, "cdf logcdf"),
    ("pareto", (2.2,), POSITIVE + LOC + SCALE, "cdf logcdf"),
    ("gennorm", (1.4,), Z, "cdf logcdf"),
    ("vonmises", (2.1,), UNIT * 3, ""),
    ("truncnorm", (-1.2, 2.1), UNIT * 3 * SCALE + LOC - SCALE, "cdf logcdf"),
    ("truncnorm", (9.0, 12.5), (9 + 3 * UNIT) * SCALE + LOC, "cdf"),
]
DISCRETE = [
    ("bernoulli", (0.3,), "cdf"),
    ("binom", (9, 0.4), "cdf"),
    ("geom", (0.35,), "cdf"),
    ("nbinom", (4.5, 0.4), "cdf"),
    ("poisson", (2.7,), "cdf"),
    ("betabinom", (9, 2.3, 0.8), ""),
]
OUTSIDE = np.array([-5.0, 0.3, 0.5, 40.0, -np.inf, np.inf, np.nan, 1.3])


def named(case):
    return case[0]


def compare(name, methods, x, *args):
    """Several methods at once, so that one compilation serves them."""
    home, names = getattr(gl.stats, name), methods.split()
    with np.errstate(all="ignore"):
        wanted = [getattr(getattr(theirs, name), method)(x, *args) for method in names]
        plain = [getattr(home, method)(x, *args) for method in names]
        compiled = gl.jit(lambda x: [getattr(home, method)(x, *args) for method in names])(x)
    for found in (plain, compiled):
        for method, got, want in zip(names, found, wanted, strict=True):
            np.testing.assert_allclose(got, want, 2e-12, 1e-14, err_msg=f"{name}.{method}")


def test_every_distribution_is_tested():
    vectors = {"dirichlet", "multinomial", "multivariate_normal"}
    assert set(gl.stats.__all__) == {row[0] for row in (*CONTINUOUS, *DISCRETE)} | vectors


@pytest.mark.parametrize("case", CONTINUOUS, ids=named)
def test_continuous_distributions_are_scipys(case):
    name, parameters, x, methods = case
    compare(name, f"pdf logpdf {methods}", x, *parameters, LOC, SCALE)


@pytest.mark.parametrize("case", CONTINUOUS, ids=named)
def test_continuous_densities_at_and_beyond_the_ends(case):
    name, parameters, *_ = case
    x = OUTSIDE[:4] if name in ("vonmises", "truncnorm") else OUTSIDE
    compare(name, "logpdf", x, *parameters, LOC)


@pytest.mark.parametrize("name", ["norm", "expon", "uniform", "laplace", "logistic", "cauchy"])
def test_quantiles_are_scipys(name):
    compare(name, "ppf", np.array([0.0, 1e-9, 0.2, 0.5, 0.9, 1.0]), LOC, SCALE)


@pytest.mark.parametrize(("name", "shape"), [("lognorm", 0.6), ("pareto", 2.2)])
def test_quantiles_with_a_shape_are_scipys(name, shape):
    compare(name, "ppf", np.array([0.0, 1e-9, 0.2, 0.5, 0.9]), shape, LOC, SCALE)


@pytest.mark.parametrize("case", DISCRETE, ids=named)
def test_discrete_distributions_are_scipys(case):
    name, parameters, methods = case
    x = np.concatenate([WHOLE + 2, [1.0, 14.0]])
    compare(name, f"pmf logpmf {methods}", x, *parameters, 2)
    wanted = getattr(theirs, name).logpmf(np.array([-1.0, 0.5, 12.0]), *parameters)
    found = getattr(gl.stats, name).logpmf(np.array([-1.0, 0.5, 12.0]), *parameters)
    np.testing.assert_allclose(found, wanted, 1e-12)


def test_vectors_are_scipys():
    alpha, n = np.array([0.7, 2.0, 3.1]), 7
    x = RNG.dirichlet(alpha, 5).T
    found = gl.jit(gl.stats.dirichlet.logpdf)(x, alpha)
    wanted = [theirs.dirichlet.logpdf(column, alpha) for column in x.T]
    np.testing.assert_allclose(found, wanted, 1e-12)
    np.testing.assert_allclose(gl.stats.dirichlet.pdf(x[:, 0], alpha), np.exp(wanted[0]), 1e-12)
    assert gl.stats.dirichlet.logpdf(np.array([0.5, 0.2, 0.2]), alpha) == -np.inf
    counts = np.array([[1.0, 2, 4], [7, 0, 0], [1, 1, 1]])
    p = np.array([0.2, 0.3, 0.5])
    wanted = theirs.multinomial.logpmf(counts, n, p)
    np.testing.assert_allclose(gl.jit(gl.stats.multinomial.logpmf)(counts, n, p), wanted, 1e-12)
    np.testing.assert_allclose(gl.stats.multinomial.pmf(counts, n, p), np.exp(wanted), 1e-12)


@pytest.mark.parametrize("case", CONTINUOUS, ids=named)
def test_gradients_by_every_argument(case):
    """Against differences, and finite also where elements lie outside of the support."""
    name, parameters, x, _ = case
    density = getattr(gl.stats, name).logpdf
    point = [x, *parameters, 0.1, 1.3]
    if name in ("uniform", "beta", "truncnorm"):
        point = [x, *parameters, LOC, SCALE]
    numbers = tuple(range(len(point)))

    def total(*args):
        return density(*args).sum()

    with gl.eager():
        slopes = gl.grad(total, numbers)(*point)
    rng = np.random.default_rng(1)
    along = [rng.uniform(-1, 1, np.shape(p)) for p in point]
    slope = sum(float(np.sum(s * d)) for s, d in zip(slopes, along, strict=True))
    ahead, behind = (
        float(total(*(p + step * d for p, d in zip(point, along, strict=True))))
        for step in (1e-6, -1e-6)
    )
    assert slope == pytest.approx((ahead - behind) / 2e-6, rel=1e-5, abs=1e-6)
    outside = np.array([-50.0, 60.0])
    with gl.eager():
        found = gl.grad(lambda *a: total(*a), numbers)(outside, *point[1:])
    assert all(np.isfinite(f).all() for f in found)


@pytest.mark.parametrize("case", DISCRETE, ids=named)
def test_gradients_by_the_probabilities(case):
    name, parameters, _ = case
    density = getattr(gl.stats, name).logpmf
    at = len(parameters) - 1

    def total(p):
        return density(np.array([1.0, 0.0, 1.0]), *parameters[:at], p).sum()

    if name == "geom":
        return
    slope = gl.grad(total)(parameters[at])
    step = 1e-6
    wanted = (total(parameters[at] + step) - total(parameters[at] - step)) / (2 * step)
    assert slope == pytest.approx(wanted, rel=1e-6)


def test_single_precision_stays():
    x = POSITIVE.astype("float32")
    for name, parameters, *_ in CONTINUOUS:
        found = getattr(gl.stats, name).logpdf(x, *parameters)
        assert found.dtype == "float32", name
    x = gl.jit(lambda x: [gl.stats.t.logpdf(x, 3), gl.stats.gamma.logpdf(x, 0.5, scale=2)])(x)
    assert {found.dtype.name for found in x} == {"float32"}


def test_multivariate_normal():
    normal = gl.stats.multivariate_normal
    root = RNG.normal(size=(2, 3, 3))
    cov = root @ root.swapaxes(-1, -2) + np.eye(3)
    x, mean = RNG.normal(size=(5, 1, 3)), RNG.normal(size=(2, 3))
    wanted = np.stack(
        [theirs.multivariate_normal.logpdf(x[:, 0], mean[i], cov[i]) for i in (0, 1)], 1
    )
    for f in (normal.logpdf, gl.jit(normal.logpdf)):
        np.testing.assert_allclose(f(x, mean, cov), wanted, 1e-12)
    np.testing.assert_allclose(normal.pdf(x, mean, cov), np.exp(wanted), 1e-12)
    with pytest.raises(ShapeError, match="components"):
        normal.logpdf(np.zeros(2), np.zeros(2), cov)

    def value(c):
        return gl.numpy.sum(normal.logpdf(x, mean, c))

    along = RNG.normal(size=cov.shape)
    along = along + along.swapaxes(-1, -2)
    slope = np.sum(gl.grad(value)(cov) * along)
    ahead, behind = (value(cov + s * 1e-6 * along) for s in (1, -1))
    assert slope == pytest.approx((ahead - behind) / 2e-6, rel=1e-7)
