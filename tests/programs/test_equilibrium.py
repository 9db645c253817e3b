"""A layer whose output is an equilibrium, with the derivative of the implicit function theorem.

Bai, Kolter and Koltun, Deep Equilibrium Models, NeurIPS 2019: z = f(z, params) gives the pullback
g -> (df/dparams)^T w with w = g + (df/dz)^T w, whatever found the equilibrium.  The root of a
function of numbers is the same with Newton's method.
"""

import numpy as np

import gradloom as gl
import gradloom.numpy as gnp
from tests.programs.roads import assert_close, same_on_every_road


def settle(f, start, tolerance=1e-13, most=500):
    """The fixed point of `f`, by iteration."""

    def restless(state):
        before, z, rounds = state
        return (gnp.max(gnp.abs(z - before)) > tolerance) & (rounds < most)

    def again(state):
        _, z, rounds = state
        return z, f(z), rounds + 1

    return gl.while_loop(restless, again, (start, f(start), 0))[1]


def equilibrium(f):
    """`solve(params, start)`, the z with z = f(params, z), and its derivative by `params`."""

    @gl.custom_vjp
    def solve(params, start):
        return settle(lambda z: f(params, z), start)

    def forward(params, start):
        z = solve(params, start)
        return z, (params, z)

    def backward(kept, g):
        params, z = kept
        _, by_z = gl.vjp(lambda z: f(params, z), z)
        _, by_params = gl.vjp(lambda params: f(params, z), params)
        w = settle(lambda w: g + by_z(w)[0], g)
        return by_params(w)[0], gnp.zeros_like(z)

    solve.defvjp(forward, backward)
    return solve


def layer(params, z):
    return np.tanh(params["w"] @ z + params["u"] @ params["x"] + params["b"])


def loss(params):
    """Of the equilibrium, which takes as many rounds as it needs."""
    return gnp.sum(gnp.sin(equilibrium(layer)(params, np.zeros(4))))


def unrolled_loss(params):
    """The same by 120 rounds, all of which the reverse sweep goes through."""
    z = gl.fori_loop(0, 120, lambda _, z: layer(params, z), np.zeros(4))
    return gnp.sum(gnp.sin(z))


def gradient(params):
    return gl.value_and_grad(loss)(params)


def affine(params, z):
    return params["a"] @ z + params["b"]


def fresh(seed=0):
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(4, 4))
    return {
        "w": 0.6 * w / np.linalg.norm(w, 2),  # a contraction
        "u": rng.normal(size=(4, 3)),
        "b": rng.normal(size=4),
        "x": rng.normal(size=3),
    }


def test_the_gradient_is_the_same_on_every_road():
    same_on_every_road(gradient, fresh())


def test_it_is_that_of_the_unrolled_iteration():
    assert_close(gradient(fresh()), gl.value_and_grad(unrolled_loss)(fresh()), 1e-11)


def test_an_affine_equilibrium_has_a_closed_form():
    """z = (I - a)^-1 b, so g pulls back to w = (I - a)^-T g by b and to w z^T by a."""
    rng = np.random.default_rng(1)
    a = 0.5 * np.linalg.qr(rng.normal(size=(5, 5)))[0]
    params, g = {"a": a, "b": rng.normal(size=5)}, rng.normal(size=5)
    z, pull = gl.vjp(lambda params: equilibrium(affine)(params, np.zeros(5)), params)
    w = np.linalg.solve((np.eye(5) - a).T, g)
    assert_close(z, np.linalg.solve(np.eye(5) - a, params["b"]), 1e-11)
    assert_close(pull(g)[0], {"a": np.outer(w, z), "b": w}, 1e-11)


def test_equilibria_of_a_batch():
    """Each is done after its own number of rounds; the parameters' gradients add up."""
    params = fresh()
    xs = np.random.default_rng(2).normal(size=(6, 3))

    def mean(solve):
        def of_batch(w):
            return gnp.mean(gl.vmap(lambda x: solve({**params, "w": w, "x": x}))(xs))

        return gl.value_and_grad(of_batch)

    assert_close(mean(loss)(params["w"]), mean(unrolled_loss)(params["w"]), 1e-10)


def test_a_layer_is_trained():
    """To settle where a teacher of the same form settles."""
    rng = np.random.default_rng(3)
    teacher, xs = fresh(5), rng.normal(size=(32, 3))

    def settled(params, x):
        return equilibrium(layer)({**params, "x": x}, np.zeros(4))

    def distance(params, xs, wanted):
        return gnp.mean((gl.vmap(settled, in_axes=(None, 0))(params, xs) - wanted) ** 2)

    inner = {name: teacher[name] for name in ("w", "u", "b")}
    wanted = gl.jit(gl.vmap(settled, in_axes=(None, 0)))(inner, xs)
    step = gl.train_step(distance, gl.optim.adam(0.02))
    start = {name: value + 0.2 * rng.normal(size=value.shape) for name, value in inner.items()}
    _, losses = step.run(step.init(start), *(np.repeat(a[None], 200, 0) for a in (xs, wanted)))
    assert losses[-1] < losses[0] / 100


def test_the_derivative_of_a_root():
    """By Newton's method; x^3 + x = a has x'(a) = 1 / (3 x^2 + 1)."""

    @gl.custom_vjp
    def root(a):
        def newton(_, x):
            return x - (x**3 + x - a) / (3 * x**2 + 1)

        return gl.fori_loop(0, 30, newton, gnp.zeros_like(a))

    root.defvjp(
        lambda a: (root(a), root(a)),
        lambda x, g: (g / (3 * x**2 + 1),),
    )
    a = np.linspace(-5, 5, 11)
    x = gl.jit(root)(a)
    np.testing.assert_allclose(x**3 + x, a, rtol=1e-12, atol=1e-14)
    slopes = gl.jit(gl.vmap(gl.grad(root)))(a)
    np.testing.assert_allclose(slopes, 1 / (3 * x**2 + 1), rtol=1e-12)
    # The rule is made of operations, so it has a derivative: x'' = -6 x x'^3.
    curvatures = gl.jit(gl.vmap(gl.grad(gl.grad(root))))(a)
    np.testing.assert_allclose(curvatures, -6 * x * slopes**3, rtol=1e-10, atol=1e-14)
