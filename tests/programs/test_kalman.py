"""The likelihood of a linear Gaussian system by its Kalman filter.

Kalman, A new approach to linear filtering and prediction problems (1960); the likelihood is the
product of those of the innovations (Schweppe 1965).  All observations together are one long normal
vector, whose density SciPy has; its logarithm has the gradient -S^-1 (y - m) by y.
"""

import numpy as np
from scipy.stats import multivariate_normal

import gradloom as gl
import gradloom.numpy as gnp
from tests.programs.roads import assert_close, same_on_every_road


def matrices(params):
    """A point in the plane that drifts, with friction; position is seen, in noise.

    The state is (x, y, velocity of x, velocity of y), the interval is 1.
    """
    one, none = np.eye(2), np.zeros((2, 2))
    keep = gnp.exp(-gnp.exp(params["log_friction"]))
    move = gnp.block([[one, one], [none, keep * one]])
    push = gnp.exp(2 * params["log_push"])
    drift = push * gnp.block([[one / 3, one / 2], [one / 2, one]])
    see = np.hstack([one, none])
    noise = gnp.exp(2 * params["log_noise"])
    return move, drift, see, gnp.diag(noise)


def filtered(params, seen):
    """The log likelihood of observations, and the means of the states given those up to then."""
    move, drift, see, noise = matrices(params)

    def step(belief, y):
        mean, covariance = belief
        innovation = y - see @ mean
        spread = see @ covariance @ see.T + noise
        gain = gnp.linalg.solve(spread, see @ covariance).T
        _, logdet = gnp.linalg.slogdet(2 * np.pi * spread)
        density = -(innovation @ gnp.linalg.solve(spread, innovation) + logdet) / 2
        mean = mean + gain @ innovation
        covariance = covariance - gain @ spread @ gain.T
        ahead = (move @ mean, move @ covariance @ move.T + drift)
        return ahead, (density, mean)

    start = (np.zeros(4), 4 * np.eye(4))
    _, (densities, means) = gl.scan(step, start, seen)
    return gnp.sum(densities), means


def log_likelihood(params, seen):
    return filtered(params, seen)[0]


def gradients(params, seen):
    return gl.value_and_grad(log_likelihood, argnums=(0, 1))(params, seen)


def dense(params, count):
    """The covariance of all observations, (2 count, 2 count), from the system unrolled."""
    move, drift, see, noise = (np.asarray(m) for m in matrices(params))
    covariance, blocks = 4 * np.eye(4), {}
    for t in range(count):
        ahead = covariance
        for later in range(t, count):
            blocks[later, t] = see @ ahead @ see.T + (noise if later == t else 0)
            blocks[t, later] = blocks[later, t].T
            ahead = move @ ahead
        covariance = move @ covariance @ move.T + drift
    return np.block([[blocks[i, j] for j in range(count)] for i in range(count)])


def dense_log_likelihood(params, seen):
    return multivariate_normal.logpdf(seen.ravel(), cov=dense(params, len(seen)))


PARAMS = {
    "log_friction": np.array(-1.0),
    "log_push": np.array(-0.5),
    "log_noise": np.array([-0.2, 0.3]),
}


def observations(count, seed=0):
    """A draw from the model itself."""
    factor = np.linalg.cholesky(dense(PARAMS, count))
    return (factor @ np.random.default_rng(seed).normal(size=2 * count)).reshape(count, 2)


def test_the_likelihood_is_that_of_one_long_normal_vector():
    seen = observations(12)
    found = gl.jit(log_likelihood)(PARAMS, seen)
    np.testing.assert_allclose(found, dense_log_likelihood(PARAMS, seen), rtol=1e-11)


def test_the_gradients_are_the_same_on_every_road():
    same_on_every_road(gradients, PARAMS, observations(5))


def test_the_gradient_by_the_observations_is_that_of_the_density():
    seen = observations(12)
    _, (_, by_seen) = gradients(PARAMS, seen)
    wanted = -np.linalg.solve(dense(PARAMS, 12), seen.ravel()).reshape(12, 2)
    np.testing.assert_allclose(by_seen, wanted, rtol=1e-9, atol=1e-10)


def test_the_gradient_by_the_parameters_is_that_of_the_density():
    """By central differences of SciPy's density, entry by entry."""
    seen = observations(12)
    _, (by_params, _) = gradients(PARAMS, seen)
    for name, value in PARAMS.items():
        for place in np.ndindex(value.shape):
            ends = []
            for sign in (1, -1):
                moved = value.copy()
                moved[place] += sign * 1e-5
                ends.append(dense_log_likelihood({**PARAMS, name: moved}, seen))
            np.testing.assert_allclose(
                by_params[name][place], (ends[0] - ends[1]) / 2e-5, rtol=1e-6
            )


def test_the_last_mean_is_the_conditional_mean():
    """Of the last position given all observations, by the formula for normal vectors."""
    seen = observations(9)
    _, means = gl.jit(filtered)(PARAMS, seen)
    whole = dense(PARAMS, 9)
    noise = np.diag(np.exp(2 * PARAMS["log_noise"]))
    with_last = whole[-2:].copy()
    with_last[:, -2:] -= noise
    assert_close(means[-1, :2], with_last @ np.linalg.solve(whole, seen.ravel()), 1e-10)


def test_a_longer_series_is_the_same_code():
    seen = observations(40)
    found, means = gl.jit(filtered)(PARAMS, seen)
    assert means.shape == (40, 4)
    np.testing.assert_allclose(found, dense_log_likelihood(PARAMS, seen), rtol=1e-11)
