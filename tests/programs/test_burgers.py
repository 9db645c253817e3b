"""A network that is trained to obey Burgers' equation.

Raissi, Perdikaris and Karniadakis, Physics-informed neural networks, Journal of Computational
Physics 378 (2019), appendix A.1: `u_t + u u_x = nu u_xx` on [0, 1] x [-1, 1] with u(0, x) =
-sin(pi x) and u(t, -1) = u(t, 1) = 0.  The derivatives by t and x are those of the network, so the
gradient by its parameters is of third order.
"""

import itertools

import numpy as np

import gradloom as gl
import gradloom.numpy as gnp
from tests.programs.roads import assert_close, same_on_every_road

NU = 0.05


def residual(u, t, x):
    """`u_t + u u_x - nu u_xx` of a function u(t, x) of numbers, at one point."""
    by_x = gl.grad(u, argnums=1)
    slope, curvature = gl.jvp(lambda x: by_x(t, x), (x,), (gnp.ones_like(x),))
    return gl.grad(u)(t, x) + u(t, x) * slope - NU * curvature


def network(params, t, x):
    hidden = gnp.stack([t, x])
    for layer in params[:-1]:
        hidden = np.tanh(hidden @ layer["w"] + layer["b"])
    return (hidden @ params[-1]["w"] + params[-1]["b"])[0]


def loss(params, inside, at_start, at_walls):
    def u(t, x):
        return network(params, t, x)

    wrong = gl.vmap(lambda t, x: residual(u, t, x))(inside[:, 0], inside[:, 1])
    start = gl.vmap(lambda x: u(gnp.zeros_like(x), x) + np.sin(np.pi * x))(at_start)
    walls = gl.vmap(lambda t: gnp.stack([u(t, -gnp.ones_like(t)), u(t, gnp.ones_like(t))]))
    return gnp.mean(wrong**2) + gnp.mean(start**2) + gnp.mean(walls(at_walls) ** 2)


def gradient(params, *points):
    return gl.value_and_grad(loss)(params, *points)


def fresh(sizes, seed=0):
    """Weights after Glorot and Bengio (2010)."""
    rng = np.random.default_rng(seed)
    return [
        {"w": rng.normal(size=(m, n)) * np.sqrt(2 / (m + n)), "b": np.zeros(n)}
        for m, n in itertools.pairwise(sizes)
    ]


def points(count, seed=1):
    rng = np.random.default_rng(seed)
    inside = rng.uniform((0.0, -1.0), (1.0, 1.0), (count, 2))
    return inside, np.linspace(-1, 1, count // 2), np.linspace(0, 1, count // 4)


def wave(t, x, speed=0.3, height=0.8):
    """The travelling wave that solves the equation exactly (Burgers 1948; Hopf 1950)."""
    return speed - height * np.tanh(height * (x - speed * t) / (2 * NU))


def test_the_residual_of_an_exact_solution_is_zero():
    inside, _, _ = points(40)
    of_wave = gl.jit(gl.vmap(lambda t, x: residual(wave, t, x)))(inside[:, 0], inside[:, 1])
    np.testing.assert_allclose(of_wave, 0, atol=1e-11)


def test_the_residual_of_a_polynomial_is_worked_by_hand():
    inside, _, _ = points(8)
    t, x = inside.T
    found = gl.jit(gl.vmap(lambda t, x: residual(lambda t, x: t * x**2, t, x)))(t, x)
    np.testing.assert_allclose(found, x**2 + 2 * t**2 * x**3 - 2 * NU * t, rtol=1e-12, atol=1e-14)


def test_the_gradient_is_the_same_on_every_road():
    same_on_every_road(gradient, fresh((2, 6, 5, 1)), *points(8))


def test_training_makes_the_network_obey():
    data = points(96)
    step = gl.train_step(loss, gl.optim.adam(5e-3))
    count = 500
    batches = [np.repeat(a[None], count, axis=0) for a in data]
    state, losses = step.run(step.init(fresh((2, 16, 16, 1))), *batches)
    assert losses[-1] < losses[0] / 20
    assert_close(step.evaluate(state.params, *data), gradient(state.params, *data)[0], 1e-12)
