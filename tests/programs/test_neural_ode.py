"""A differential equation whose right side is a network, fitted through its solver.

The model is that of Chen, Rubanova, Bettencourt and Duvenaud, Neural Ordinary Differential
Equations, NeurIPS 2018, whose example is the spiral below; the solver is Kutta's classical method
of fourth order (1901), and the gradient goes through its steps.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.integrate import solve_ivp
from scipy.linalg import expm

import gradloom as gl
import gradloom.numpy as gnp
from tests.programs.roads import assert_close, same_on_every_road

SPIRAL = np.array([[-0.1, 2.0], [-2.0, -0.1]])
START = np.array([2.0, 0.0])


def solve(field, params, start, times):
    """The states at `times`, from `start` at the first of them, one step of Kutta between two."""

    def step(y, h):
        k1 = field(params, y)
        k2 = field(params, y + h / 2 * k1)
        k3 = field(params, y + h / 2 * k2)
        k4 = field(params, y + h * k3)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return y, y

    _, path = gl.scan(step, start, np.diff(times))
    return gnp.concatenate([start[None], path])


def linear(matrix, y):
    return matrix @ y


def network(params, y):
    """Chen's field of the spiral: a hidden layer that sees the cubes of the state."""
    return np.tanh(y**3 @ params["in"] + params["bias"]) @ params["out"]


def loss(params, start, times, wanted):
    return gnp.mean((solve(network, params, start, times) - wanted) ** 2)


def gradient(params, start, times, wanted):
    return gl.value_and_grad(loss, argnums=(0, 1))(params, start, times, wanted)


def fresh(width, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "in": rng.normal(size=(2, width)) / 4,
        "bias": np.zeros(width),
        "out": rng.normal(size=(width, 2)) / np.sqrt(width),
    }


def spiral(times):
    found = solve_ivp(
        lambda _, y: SPIRAL @ y**3,
        (times[0], times[-1]),
        START,
        t_eval=times,
        rtol=1e-10,
        atol=1e-12,
    )
    return found.y.T


def test_the_solver_is_of_fourth_order():
    exact = expm(SPIRAL * 2.0) @ START
    errors = []
    for steps in (20, 40, 80):
        path = gl.jit(lambda times: solve(linear, SPIRAL, START, times))(
            np.linspace(0.0, 2.0, steps + 1)
        )
        errors.append(np.abs(path[-1] - exact).max())
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(orders, 4.0, atol=0.1)


def test_the_slope_by_the_start_is_the_matrix_exponential():
    times = np.linspace(0.0, 1.0, 101)

    def end(start):
        return solve(linear, SPIRAL, start, times)[-1]

    assert_close(gl.jacrev(end)(START), expm(SPIRAL), 1e-8)
    assert_close(gl.jacfwd(end)(START), expm(SPIRAL), 1e-8)


def test_the_gradient_is_the_same_on_every_road():
    times = np.linspace(0.0, 0.5, 6)
    same_on_every_road(gradient, fresh(5), START, times, spiral(times))


def test_the_network_learns_the_spiral():
    """From short pieces of the path, as in the paper; then it is asked for a long one."""
    times = np.linspace(0.0, 4.0, 161)
    path = spiral(times)
    pieces = sliding_window_view(path, 9, axis=0).transpose(2, 0, 1)  # time, piece, coordinate
    few = times[:9]
    step = gl.train_step(loss, gl.optim.adam(0.02))
    state = step.init(fresh(24))
    count = 600
    batches = [np.repeat(a[None], count, axis=0) for a in (pieces[0], few, pieces)]
    state, losses = step.run(state, *batches)
    assert losses[-1] < 1e-3 * losses[0]
    far = gl.jit(lambda params: solve(network, params, START, times))(state.params)
    assert np.abs(far - path).max() < 0.3
