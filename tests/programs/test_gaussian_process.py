"""Hyper-parameters of a Gaussian process by its marginal likelihood.

Rasmussen and Williams, Gaussian Processes for Machine Learning (2006): algorithm 2.1 with the log
marginal likelihood (2.30), its gradient (5.9), the squared exponential with one length for each
input (5.1), and predictions (2.25) and (2.26).
"""

import numpy as np
from scipy.optimize import minimize

import gradloom as gl
import gradloom.numpy as gnp
from tests.programs.roads import assert_close, on_jax, same_on_every_road


def kernel(params, a, b):
    """Covariances of the rows of `a` with those of `b`; parameters are logarithms."""
    apart = (a[:, None, :] - b[None, :, :]) / gnp.exp(params["length"])
    return gnp.exp(2 * params["height"]) * gnp.exp(-gnp.sum(apart**2, axis=-1) / 2)


def covariance(params, x):
    return kernel(params, x, x) + gnp.exp(2 * params["noise"]) * np.eye(len(x))


def energy(params, x, y):
    """Minus the log marginal likelihood, by Cholesky's factor (algorithm 2.1)."""
    factor = gnp.linalg.cholesky(covariance(params, x))
    white = gnp.linalg.solve(factor, y)
    logdet = 2 * gnp.sum(gnp.log(gnp.diag(factor)))
    return (white @ white + logdet + len(y) * np.log(2 * np.pi)) / 2


def gradient(params, x, y):
    return gl.value_and_grad(energy)(params, x, y)


def predict(params, x, y, new):
    """The mean and the variance of the function at `new`."""
    factor = gnp.linalg.cholesky(covariance(params, x))
    across = gnp.linalg.solve(factor, kernel(params, x, new))
    mean = across.T @ gnp.linalg.solve(factor, y)
    return mean, gnp.exp(2 * params["height"]) - gnp.sum(across**2, axis=0)


# ---- the same from the book's formulas, with inverses


def formula(params, x, y):
    """Minus (2.30)."""
    whole = np.asarray(covariance(params, x))
    _, logdet = np.linalg.slogdet(whole)
    return (y @ np.linalg.inv(whole) @ y + logdet + len(y) * np.log(2 * np.pi)) / 2


def formula_gradient(params, x, y):
    """Minus (5.9): tr((alpha alpha^T - K^-1) dK) / 2 for each dK worked by hand."""
    inverse = np.linalg.inv(np.asarray(covariance(params, x)))
    alpha = inverse @ y
    weight = np.outer(alpha, alpha) - inverse
    smooth = np.asarray(kernel(params, x, x))
    squares = ((x[:, None] - x[None]) / np.exp(params["length"])) ** 2
    by_length = np.einsum("ij,ij,ijd->d", weight, smooth, squares)
    by_noise = 2 * np.exp(2 * params["noise"]) * np.trace(weight)
    slopes = {"height": 2 * np.sum(weight * smooth), "length": by_length, "noise": by_noise}
    return {name: np.asarray(-slope / 2) for name, slope in slopes.items()}


PARAMS = {"height": np.array(0.3), "length": np.array([0.1, -0.4]), "noise": np.array(-1.5)}


def data(count, seed=0):
    """A function of the first input alone; the second is to be found irrelevant."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, (count, 2))
    return x, np.sin(2 * x[:, 0]) + 0.1 * rng.normal(size=count)


def test_the_likelihood_and_its_gradient_are_the_books():
    x, y = data(25)
    found = gradient(PARAMS, x, y)
    assert_close(found, (np.float64(formula(PARAMS, x, y)), formula_gradient(PARAMS, x, y)), 1e-9)


def test_the_gradient_is_the_same_on_every_road():
    same_on_every_road(gradient, PARAMS, *data(9))


def test_second_derivatives_are_those_of_jax():
    x, y = data(9)
    assert_close(gl.hessian(energy)(PARAMS, x, y), on_jax(curvature)(PARAMS, x, y), 1e-8)


def curvature(params, x, y):
    return gl.hessian(energy)(params, x, y)


def test_predictions_interpolate_where_there_is_no_noise():
    x, y = data(12)
    exact = {**PARAMS, "noise": np.array(-9.0)}
    mean, variance = gl.jit(predict)(exact, x, y, x)
    np.testing.assert_allclose(mean, y, atol=1e-4)
    np.testing.assert_allclose(variance, 0, atol=1e-6)


def test_scipy_finds_the_hyper_parameters():
    x, y = data(60)
    slopes = gl.jit(gradient)

    def of_vector(v):
        value, slope = slopes({"height": v[0], "length": v[1:3], "noise": v[3]}, x, y)
        return value, np.concatenate([slope["height"][None], slope["length"], slope["noise"][None]])

    found = minimize(of_vector, np.zeros(4), jac=True, method="L-BFGS-B", bounds=[(-4, 4)] * 4)
    best = {"height": found.x[0], "length": found.x[1:3], "noise": found.x[3]}
    assert found.success
    assert found.fun < slopes(PARAMS, x, y)[0]
    inside = np.abs(found.x) < 4
    np.testing.assert_allclose(of_vector(found.x)[1][inside], 0, atol=0.05)
    assert 0.05 < np.exp(best["noise"]) < 0.2
    assert np.exp(best["length"][1] - best["length"][0]) > 5
    new, _ = data(200, seed=1)
    mean, variance = gl.jit(predict)(best, x, y, new)
    truth = np.sin(2 * new[:, 0])
    assert np.sqrt(np.mean((mean - truth) ** 2)) < 0.06
    assert np.all(np.abs(mean - truth) < 5 * np.sqrt(variance + 1e-4))
