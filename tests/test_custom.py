"""Functions that bring their own derivative: in every mode, nesting and sweep, and their misuse."""

import contextlib

import jax
import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.errors import RangeError, ShapeError, StateError, StructureError, TracingError
from gradloom.frontend.pytree import flatten

pytestmark = pytest.mark.usefixtures("jax_in_double_precision")

V = np.array([0.3, -0.7, 1.1])


@pytest.fixture(params=["compiled", "eager", "traced"])
def mode(request):
    """A way to call: outside of any trace, on a tape, and within a trace."""
    if request.param == "traced":
        return lambda call, *args: gl.jit(call)(*args)

    def called(call, *args):
        with gl.eager() if request.param == "eager" else contextlib.nullcontext():
            return call(*args)

    return called


def reverse(np_=np, wrap=gl.custom_vjp):
    """sin(x) y, whose derivative by x is ten times too large."""

    @wrap
    def wave(x, y):
        return np_.sin(x) * y

    def forward(x, y):
        return wave(x, y), (x, y)

    def backward(residuals, g):
        x, y = residuals
        return 10 * np_.cos(x) * y * g, np_.sin(x) * g

    wave.defvjp(forward, backward)
    return wave


def forward(np_=np, wrap=gl.custom_jvp):
    @wrap
    def wave(x, y):
        return np_.sin(x) * y

    @wave.defjvp
    def tangent(primals, tangents):
        (x, y), (dx, dy) = primals, tangents
        return wave(x, y), 10 * np_.cos(x) * y * dx + np_.sin(x) * dy

    return wave


def by_argument():
    wave = gl.custom_jvp(lambda x, y: np.sin(x) * y)
    wave.defjvps(
        lambda t, out, x, y: 10 * np.cos(x) * y * t,
        lambda t, out, x, y: np.sin(x) * t,
    )
    return wave


KINDS = {"custom_vjp": reverse, "custom_jvp": forward, "defjvps": by_argument}


@pytest.fixture(params=KINDS)
def wave(request):
    return KINDS[request.param]()


def test_the_value_is_the_function(wave, mode):
    np.testing.assert_allclose(mode(wave, V, V), np.sin(V) * V)
    np.testing.assert_allclose(wave(V, 2.0), np.sin(V) * 2)


def test_the_derivative_is_the_rule(wave, mode):
    def loss(x, y):
        return gnp.sum(wave(x, y) ** 2)

    found = mode(gl.grad(loss, (0, 1)), V, V + 1)
    g = 2 * np.sin(V) * (V + 1)
    np.testing.assert_allclose(found[0], 10 * np.cos(V) * (V + 1) * g)
    np.testing.assert_allclose(found[1], np.sin(V) * g)


def test_tangents(wave, mode):
    found = mode(lambda x: gl.jvp(wave, (x, x), (x, 2 * x)), V)
    np.testing.assert_allclose(found[0], np.sin(V) * V)
    np.testing.assert_allclose(found[1], 10 * np.cos(V) * V * V + np.sin(V) * 2 * V)


def test_second_derivatives_differentiate_the_rule(wave, mode):
    found = mode(gl.hessian(lambda x: gnp.sum(wave(x, np.ones(3)))), V)
    np.testing.assert_allclose(found, np.diag(-10 * np.sin(V)), atol=1e-14)
    twice = mode(gl.grad(lambda x: gnp.sum(gl.grad(lambda y: gnp.sum(wave(y, np.ones(3))))(x))), V)
    np.testing.assert_allclose(twice, -10 * np.sin(V))


def test_batches(wave, mode):
    grid = np.stack([V, V + 1])
    each = gl.vmap(gl.grad(lambda x, y: gnp.sum(wave(x, y))), (0, None))
    np.testing.assert_allclose(mode(each, grid, V), 10 * np.cos(grid) * V)
    shared = gl.grad(lambda y: gnp.sum(gl.vmap(wave, (0, None))(grid, y)))
    np.testing.assert_allclose(mode(shared, V), np.sin(grid).sum(0))
    through = gl.grad(lambda x: gnp.sum(gl.vmap(gl.vmap(wave, (0, None)), (0, 0))(x, V[:2])))
    np.testing.assert_allclose(mode(through, grid), 10 * np.cos(grid) * V[:2, None])
    tangents = mode(lambda x: gl.jvp(gl.vmap(lambda x: wave(x, V)), (x,), (x,))[1], grid)
    np.testing.assert_allclose(tangents, 10 * np.cos(grid) * V * grid)


def test_it_is_what_jax_gives():
    ours = gl.grad(lambda x: gnp.sum(reverse()(x, x) * x))(V)
    wave = reverse(jax.numpy, jax.custom_vjp)
    np.testing.assert_allclose(ours, jax.grad(lambda x: (wave(x, x) * x).sum())(V))
    ours = gl.jacfwd(gl.jacrev(lambda x: forward()(x, x) * x))(V)
    wave = forward(jax.numpy, jax.custom_jvp)
    np.testing.assert_allclose(ours, jax.jacfwd(jax.jacrev(lambda x: wave(x, x) * x))(V))


def test_trees_and_zeros(mode):
    @gl.custom_vjp
    def both(p, n, x):
        return {"a": p["w"] * x, "b": p["b"] + n}

    both.defvjp(
        lambda p, n, x: (both(p, n, x), p),
        lambda p, g: ({"w": 5.0 * g["a"], "b": 7.0 * g["b"]}, None, None),
    )

    def loss(p, x):
        out = both(p, 2, x)
        return gnp.sum(out["a"]) + out["b"]

    p = {"w": V, "b": np.float64(1.0)}
    found = mode(gl.grad(loss, (0, 1)), p, V)
    want = ({"w": np.full(3, 5.0), "b": np.float64(7.0)}, np.zeros(3))
    for one, two in zip(flatten(found)[0], flatten(want)[0], strict=True):
        np.testing.assert_array_equal(one, two)


def test_arguments_that_are_no_arrays(mode):
    scaled = gl.custom_vjp(lambda how, x, power: how(x) ** power, nondiff_argnums=(0, 2))
    scaled.defvjp(
        lambda how, x, power: (scaled(how, x, power), x),
        lambda how, power, x, g: (how(g) * power * 100,),
    )
    found = mode(gl.grad(lambda x: gnp.sum(scaled(np.abs, x, power=3))), V)
    np.testing.assert_allclose(found, 300.0 * np.ones(3))

    plus = gl.custom_jvp(lambda how, x: how(x), nondiff_argnums=(0,))
    plus.defjvp(lambda how, primals, tangents: (how(*primals), 9.0 * tangents[0]))
    np.testing.assert_allclose(mode(gl.grad(lambda x: gnp.sum(plus(np.sin, x))), V), 9.0)


def test_methods(mode):
    class Model:
        @gl.custom_vjp
        def act(x):  # noqa: N805
            return x * 1.0

        act.defvjp(lambda x: (x, None), lambda _, g: (3.0 * g,))

    found = mode(gl.grad(lambda x: gnp.sum(Model.act(x))), V)
    np.testing.assert_allclose(found, 3.0)


def test_closures_without_a_derivative_are_allowed(mode):
    def outer(x, scale):
        timed = gl.custom_vjp(lambda y: y * scale)
        timed.defvjp(lambda y: (y * scale, None), lambda _, g: (g * 2.0,))
        return gnp.sum(timed(x))

    np.testing.assert_allclose(mode(gl.grad(outer), V, np.float64(4.0)), 2.0)


@pytest.mark.parametrize("kind", ["custom_vjp", "custom_jvp"])
@pytest.mark.parametrize("how", [contextlib.nullcontext, gl.eager])
def test_a_derivative_by_a_closure_is_refused(kind, how):
    def outer(x, scale):
        timed = getattr(gl, kind)(lambda y: y * scale)
        if kind == "custom_vjp":
            timed.defvjp(lambda y: (y, None), lambda _, g: (g,))
        else:
            timed.defjvp(lambda p, t: (p[0] * scale, t[0]))
        return gnp.sum(timed(x))

    for sweep, scale in (
        (gl.grad(outer, 1), 2.0),
        (lambda x, s: gl.jvp(lambda s: outer(x, s), (s,), (s,)), 2.0),
        (gl.vmap(gl.grad(outer, 1), (None, 0)), np.ones(2)),
    ):
        refused = pytest.raises(TracingError, match=rf"{kind}.* closes over a value")
        with how(), refused as caught:
            sweep(V, scale)
        assert __file__ in str(caught.value)


def test_it_looks_like_the_function():
    @gl.custom_jvp
    def score(x):
        """A score."""
        return x

    assert (score.__name__, score.__doc__) == ("score", "A score.")


# ---- misuse


def broken(forward=None, backward=None, tangent=None):
    """The gradient by a function with a rule that does not fit."""
    if tangent is not None:
        f = gl.custom_jvp(lambda x, p: x * p["s"])
        f.defjvp(tangent)
    else:
        f = gl.custom_vjp(lambda x, p: x * p["s"])
        f.defvjp(
            forward or (lambda x, p: (x * p["s"], None)),
            backward or (lambda _, g: (g, {"s": gnp.sum(g)})),
        )
    return gl.grad(lambda x: gnp.sum(f(x, {"s": 2.0})))(V)


MISUSE = {
    "no residuals": (
        {"forward": lambda x, p: x},
        StructureError,
        r"the forward of custom_vjp.* returned an array",
    ),
    "another value": (
        {"forward": lambda x, p: ((x, x), None)},
        StructureError,
        r"the forward of .* returned a value with the structure tuple",
    ),
    "another shape": (
        {"forward": lambda x, p: (gnp.sum(x), None)},
        ShapeError,
        r"returned a value of type float64\[\] at value, the function float64\[3\]",
    ),
    "no tuple": (
        {"backward": lambda _, g: g},
        StructureError,
        "the backward of .* returned an array",
    ),
    "too few cotangents": (
        {"backward": lambda _, g: (g,)},
        StructureError,
        "the backward of .* returned 1 values",
    ),
    "a cotangent of another structure": (
        {"backward": lambda _, g: (g, g)},
        StructureError,
        r"cotangent with the structure \* for argument 1",
    ),
    "a cotangent of another shape": (
        {"backward": lambda _, g: (gnp.sum(g), None)},
        ShapeError,
        r"a cotangent of type float64\[\] for argument 0, which is float64\[3\]",
    ),
    "no tangent": (
        {"tangent": lambda p, t: p[0]},
        StructureError,
        "the rule of custom_jvp.* returned an array",
    ),
    "a tangent of another shape": (
        {"tangent": lambda p, t: (p[0], gnp.sum(t[0]))},
        ShapeError,
        r"returned a tangent of type float64\[\]",
    ),
    "a tangent of another structure": (
        {"tangent": lambda p, t: (p[0], t)},
        StructureError,
        "returned a tangent with the structure tuple",
    ),
}


@pytest.mark.parametrize("name", MISUSE)
@pytest.mark.parametrize("how", [contextlib.nullcontext, gl.eager])
def test_rules_that_do_not_fit(name, how):
    rules, error, text = MISUSE[name]
    with how(), pytest.raises(error, match=text) as caught:
        broken(**rules)
    assert __file__ in str(caught.value)
    assert "repair: " in str(caught.value)


@pytest.mark.parametrize("kind", ["custom_vjp", "custom_jvp"])
def test_a_forgotten_rule(kind):
    def f(x):
        return x

    with pytest.raises(StateError, match=rf"f is a {kind} without a rule") as caught:
        getattr(gl, kind)(f)(V)
    assert f"call f.def{kind[-3:]}(" in str(caught.value)
    with pytest.raises(TracingError, match=f"{kind} of 3, which is not a function"):
        getattr(gl, kind)(3)


def test_arguments_by_keyword_only():
    f = gl.custom_vjp(lambda x, *, scale: x * scale)
    f.defvjp(lambda x: (x, None), lambda _, g: (g,))
    with pytest.raises(StructureError, match="takes scale by keyword only"):
        gl.grad(lambda x: gnp.sum(f(x, scale=2.0)))(V)


def test_positions_that_are_not_there():
    f = gl.custom_jvp(lambda x: x, nondiff_argnums=(1,))
    f.defjvp(lambda n, p, t: (p[0], t[0]))
    with pytest.raises(RangeError, match=r"nondiff_argnums=\(1,\) in a call with 1 positional"):
        gl.grad(lambda x: gnp.sum(f(x)))(V)
    with pytest.raises(RangeError, match=r"static_argnums=\(2,\) in a call with 1 positional"):
        gl.grad(lambda x: gnp.sum(gl.checkpoint(np.sin, static_argnums=2)(x)))(V)
