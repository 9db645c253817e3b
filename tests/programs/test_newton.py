"""Newton's method without the Hessian: conjugate gradients with products by `jvp` of `grad`.

Martens, Deep learning via Hessian-free optimization, ICML 2010; the product is Pearlmutter's, Fast
exact multiplication by the Hessian, Neural Computation 6 (1994); conjugate gradients after Hestenes
and Stiefel (1952).  The loss is logistic regression, whose Hessian is X^T W X.
"""

import itertools

import numpy as np

import gradloom as gl
import gradloom.numpy as gnp
from tests.programs.roads import assert_close, same_on_every_road

RNG = np.random.default_rng(11)
X = RNG.normal(size=(60, 5))
Y = (RNG.uniform(size=60) < 1 / (1 + np.exp(-X @ RNG.normal(size=5)))).astype("float64")
RIDGE = 0.3


def loss(w, x, y):
    """The negative log posterior; `log(1 + exp(z))` without overflow."""
    z = x @ w
    return gnp.sum(gnp.logaddexp(0, z) - y * z) + RIDGE / 2 * gnp.sum(w**2)


def conjugate_gradients(product, b, tolerance):
    """The solution of `product(x) = b`, to a residual of `tolerance` times the norm of `b`."""

    def unsolved(state):
        _, _, _, square, rounds = state
        return (square > tolerance**2 * gnp.sum(b**2)) & (rounds < 4 * b.shape[0])

    def improve(state):
        x, rest, direction, square, rounds = state
        image = product(direction)
        length = square / gnp.sum(direction * image)
        rest = rest - length * image
        after = gnp.sum(rest**2)
        return x + length * direction, rest, rest + after / square * direction, after, rounds + 1

    start = (gnp.zeros_like(b), b, b, gnp.sum(b**2), 0)
    return gl.while_loop(unsolved, improve, start)[0]


def newton_step(w, x, y):
    slope = gl.grad(loss)

    def curvature(v):
        return gl.jvp(lambda w: slope(w, x, y), (w,), (v,))[1]

    return w - conjugate_gradients(curvature, slope(w, x, y), 1e-12)


def direct_step(w, x, y):
    return w - np.linalg.solve(gl.hessian(loss)(w, x, y), gl.grad(loss)(w, x, y))


def reweighted_step(w, x, y):
    """The same by hand: iteratively reweighted least squares."""
    p = 1 / (1 + np.exp(-x @ w))
    hessian = (x.T * (p * (1 - p))) @ x + RIDGE * np.eye(len(w))
    return w - np.linalg.solve(hessian, x.T @ (p - y) + RIDGE * w)


def minimise(w, x, y):
    """Eight steps as one loop around the loop of conjugate gradients."""
    return gl.fori_loop(0, 8, lambda _, w: newton_step(w, x, y), w)


def test_a_step_is_that_of_the_dense_hessian():
    w = RNG.normal(size=5)
    found = same_on_every_road(newton_step, w, X, Y, tolerance=1e-8)
    assert_close(found, direct_step(w, X, Y), 1e-8)
    assert_close(found, reweighted_step(w, X, Y), 1e-8)


def test_all_steps_are_one_program_and_end_where_the_gradient_is_zero():
    w = gl.jit(minimise)(np.zeros(5), X, Y)
    np.testing.assert_allclose(gl.grad(loss)(w, X, Y), 0, atol=1e-10)


def test_the_steps_converge_quadratically():
    minimum, w, errors = gl.jit(minimise)(np.zeros(5), X, Y), np.zeros(5), []
    for _ in range(5):
        w = newton_once(w, X, Y)
        errors.append(np.abs(w - minimum).max())
    for before, after in itertools.pairwise(errors):
        assert after < 2 * before**2 + 1e-12


def test_many_problems_are_solved_at_once():
    """The loop runs until the slowest of them is done; who is done stays as it is."""
    starts = RNG.normal(size=(4, 5))
    found = gl.jit(gl.vmap(newton_step, in_axes=(0, None, None)))(starts, X, Y)
    assert_close(found, np.stack([direct_step(w, X, Y) for w in starts]), 1e-8)


newton_once = gl.jit(newton_step)
