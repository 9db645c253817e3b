"""Hamiltonian Monte Carlo on the eight schools, all of a run as one compiled loop.

The data and the hierarchical model are Rubin's (1981), as in Gelman et al., Bayesian Data Analysis,
section 5.5, in the non-centred form of Betancourt and Girolami (2015); the sampler is that of Neal,
MCMC using Hamiltonian dynamics (2011), section 5.3.  Given tau all is Gaussian, so the exact
posterior is an integral over tau alone (BDA, equations 5.17 to 5.21).
"""

import numpy as np
from scipy.integrate import quad

import gradloom as gl
import gradloom.numpy as gnp
from tests.programs.roads import assert_close, same_on_every_road

EFFECTS = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
WIDTH = 5.0  # of the priors: mu is normal, tau half Cauchy


def energy(q):
    """Minus the log posterior of q = (mu / WIDTH, log tau, eta); schools are mu + tau * eta."""
    mu, tau, eta = WIDTH * q[0], gnp.exp(q[1]), q[2:]
    misfit = (EFFECTS - mu - tau * eta) / ERRORS
    prior = q[0] ** 2 / 2 + gnp.log1p((tau / WIDTH) ** 2) - q[1] + gnp.sum(eta**2) / 2
    return prior + gnp.sum(misfit**2) / 2


def leapfrog(q, p, size, steps):
    slope = gl.grad(energy)

    def step(_, state):
        q, p = state
        q = q + size * p
        return q, p - size * slope(q)

    p = p - size / 2 * slope(q)
    q, p = gl.fori_loop(0, steps, step, (q, p))
    return q, p + size / 2 * slope(q)


def proposal(q, p, size, steps):
    """Where the trajectory ends, and by how much its total energy has grown on the way."""
    ahead, momentum = leapfrog(q, p, size, steps)
    grown = energy(ahead) - energy(q) + (gnp.sum(momentum**2) - gnp.sum(p**2)) / 2
    return ahead, grown


def chain(key, start, size, count, steps=16):
    """`count` states from `start`, and for each whether its proposal was accepted."""

    def sample(carry, _):
        key, q = carry
        key, for_momentum, for_size, for_choice = gl.random.split(key, 4)
        p = gl.random.normal(for_momentum, q.shape, "float64")
        own = size * gl.random.uniform(for_size, (), "float64", 0.8, 1.2)
        ahead, grown = proposal(q, p, own, steps)
        accepted = gnp.log(gl.random.uniform(for_choice, (), "float64")) < -grown
        q = gnp.where(accepted, ahead, q)
        return (key, q), (q, accepted)

    return gl.scan(sample, (key, start), None, length=count)[1]


@gl.jit
def sample_chains(keys, starts):
    return gl.vmap(lambda key, start: chain(key, start, 0.25, 2500))(keys, starts)


def exact_means():
    """The posterior means of mu, tau and the schools' effects, by quadrature over log tau."""

    def given(log_tau):
        tau = np.exp(log_tau)
        weight = 1 / (ERRORS**2 + tau**2)
        mu_precision = weight.sum() + WIDTH**-2
        mu = (weight @ EFFECTS) / mu_precision
        log_density = (
            np.log(weight).sum() - np.log(mu_precision) - weight @ EFFECTS**2 + mu_precision * mu**2
        ) / 2
        log_density += log_tau - np.log1p((tau / WIDTH) ** 2)
        shrunk = (EFFECTS * tau**2 + mu * ERRORS**2) * weight
        return np.exp(log_density), np.array([mu, tau, *shrunk])

    total = quad(lambda s: given(s)[0], -15, 8, limit=200)[0]
    return np.array(
        [
            quad(lambda s, i=i: given(s)[0] * given(s)[1][i], -15, 8, limit=200)[0] / total
            for i in range(10)
        ]
    )


def readable(q):
    """mu, tau and the effects of samples of q."""
    mu, tau = WIDTH * q[..., :1], np.exp(q[..., 1:2])
    return np.concatenate([mu, tau, mu + tau * q[..., 2:]], axis=-1)


def effective(x):
    """The number of independent samples that these are worth, by Geyer's (1992) initial positive
    sequence over chains; `x` is of shape (chains, samples)."""
    x = x - x.mean()
    count = x.shape[1]
    spectrum = np.abs(np.fft.rfft(x, 2 * count, axis=1)) ** 2
    covariance = np.fft.irfft(spectrum, axis=1)[:, :count].mean(0) / count
    pairs = covariance[: count // 2 * 2].reshape(-1, 2).sum(1) / covariance[0]
    negative = np.flatnonzero(pairs < 0)
    return x.size / (2 * pairs[: negative[0] if negative.size else None].sum() - 1)


def keys_and_starts(chains, seed=0):
    keys = gl.random.split(gl.random.key(seed), chains)
    return keys, np.random.default_rng(seed).normal(size=(chains, 10)) / 2


def test_a_trajectory_is_the_same_on_every_road():
    rng = np.random.default_rng(0)
    q, p = rng.normal(size=(2, 10))
    same_on_every_road(lambda q, p: proposal(q, p, 0.25, 16), q, p)


def test_a_trajectory_can_be_walked_back():
    rng = np.random.default_rng(1)
    q, p = rng.normal(size=(2, 10))
    walk = gl.jit(lambda q, p: leapfrog(q, p, 0.25, 16))
    back, momentum = walk(*[sign * a for sign, a in zip((1, -1), walk(q, p), strict=True)])
    assert_close((back, -momentum), (q, p), 1e-10)


def test_a_trajectory_keeps_volumes():
    rng = np.random.default_rng(2)
    state = rng.normal(size=20)

    def walk(state):
        return gnp.concatenate(leapfrog(state[:10], state[10:], 0.25, 5))

    np.testing.assert_allclose(np.linalg.det(gl.jacfwd(walk)(state)), 1, rtol=1e-9)


def test_a_chain_is_the_same_compiled_verified_and_eager():
    key, start = gl.random.key(5), np.zeros(10)
    compiled = gl.jit(lambda k, q: chain(k, q, 0.25, 4))(key, start)
    assert_close(gl.jit(lambda k, q: chain(k, q, 0.25, 4), verify=True)(key, start), compiled, 0)
    with gl.eager():
        assert_close(chain(key, start, 0.25, 4), compiled, 1e-9)


def test_the_means_are_those_of_the_exact_posterior():
    keys, starts = keys_and_starts(8)
    q, accepted = sample_chains(keys, starts)
    found = readable(q[:, 200:])
    means, exact = found.mean((0, 1)), exact_means()
    worth = np.array([effective(found[..., i]) for i in range(10)])
    errors = found.std((0, 1)) / np.sqrt(worth)
    assert 0.7 < accepted.mean() < 0.99
    assert np.all(np.abs(means - exact) < 4 * errors)
    assert errors.max() < 0.25


def test_the_same_keys_give_the_same_bits():
    keys, starts = keys_and_starts(8)
    first, again = sample_chains(keys, starts), sample_chains(keys, starts)
    assert_close(first, again, 0)
    others = sample_chains(keys_and_starts(8, seed=1)[0], starts)
    assert not np.array_equal(first[0], others[0])


def test_a_mapped_chain_is_the_chain():
    """Mapping adds an axis; it changes what is drawn by no bit, and the states by rounding."""
    keys, starts = keys_and_starts(3)

    def short(key, start):
        return chain(key, start, 0.25, 10)

    together = gl.jit(gl.vmap(short))(keys, starts)
    alone = [gl.jit(short)(key, start) for key, start in zip(keys, starts, strict=True)]
    assert_close(together, tuple(np.stack(part) for part in zip(*alone, strict=True)), 1e-9)
