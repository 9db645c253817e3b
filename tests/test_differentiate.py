"""What `jvp`, `vjp`, `linearize` and the Jacobians mean, compiled and eager alike, and how they
refuse what they are not for."""

import contextlib

import jax
import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.errors import DtypeError, RangeError, ShapeError, StructureError, TracingError
from gradloom.frontend.pytree import flatten
from gradloom.pipeline import COMPILED

pytestmark = pytest.mark.usefixtures("jax_in_double_precision")

V = np.array([0.3, -0.7, 1.1])
M = np.linspace(-1.0, 1.0, 6).reshape(3, 2)


@pytest.fixture(params=["compiled", "eager", "traced"])
def mode(request):
    """A way to call: outside of any trace, on a tape, and within a trace."""
    if request.param == "traced":
        return lambda call, *args: gl.jit(call)(*args)

    def called(call, *args):
        with gl.eager() if request.param == "eager" else contextlib.nullcontext():
            return call(*args)

    return called


def assert_trees(found, wanted):
    leaves, structure = flatten(found)
    others, other = flatten(wanted)
    assert str(structure) == str(other)
    for one, two in zip(leaves, others, strict=True):
        np.testing.assert_allclose(one, np.asarray(two), rtol=1e-10, atol=1e-12)


def layer(np_, x, w):
    """Several results, a reduction, a tie, an integer on the way."""
    y = np_.tanh(x @ w)
    return {"y": y * np_.max(x), "z": np_.sum(x * x), "n": np_.maximum(x, 0.0)[::-1]}


def test_jvp_is_that_of_jax(mode):
    tangents = (V * 2, M + 1)
    found = mode(lambda p, t: gl.jvp(lambda x, w: layer(gnp, x, w), p, t), (V, M), tangents)
    wanted = jax.jvp(lambda x, w: layer(jax.numpy, x, w), (V, M), tangents)
    assert_trees(found, wanted)


def test_vjp_is_that_of_jax(mode):
    def both(x, w, ct):
        out, pull = gl.vjp(lambda x, w: layer(gnp, x, w), x, w)
        return out, pull(ct)

    wanted, pull = jax.vjp(lambda x, w: layer(jax.numpy, x, w), V, M)
    ct = {"y": np.array([1.0, -2.0]), "z": np.float64(0.5), "n": V}
    assert_trees(mode(both, V, M, ct), (wanted, pull(ct)))


def test_linearize_is_that_of_jax(mode):
    def both(x, w, t, u):
        out, f_lin = gl.linearize(lambda x, w: layer(gnp, x, w), x, w)
        return out, f_lin(t, u), f_lin(u[:, 0], w)

    wanted, f_lin = jax.linearize(lambda x, w: layer(jax.numpy, x, w), V, M)
    assert_trees(mode(both, V, M, V, M), (wanted, f_lin(V, M), f_lin(M[:, 0], M)))


def test_jacobians_are_those_of_jax(mode):
    for ours, theirs in ((gl.jacfwd, jax.jacfwd), (gl.jacrev, jax.jacrev)):
        for argnums in (0, 1, (0, 1), (1,)):
            found = mode(ours(lambda x, w: layer(gnp, x, w), argnums), V, M)
            wanted = theirs(lambda x, w: layer(jax.numpy, x, w), argnums)(V, M)
            assert_trees(found, wanted)
    assert gl.jacobian is gl.jacrev


def test_hessians_are_those_of_jax(mode):
    def energy(np_, p, x):
        return np_.sum(np_.tanh(x @ p["w"]) ** 2) * p["b"] ** 3

    p = {"w": M, "b": np.float64(1.3)}
    found = mode(gl.hessian(lambda p, x: energy(gnp, p, x)), p, V)
    assert_trees(found, jax.hessian(lambda p, x: energy(jax.numpy, p, x))(p, V))
    both = mode(gl.hessian(lambda p, x: energy(gnp, p, x), (0, 1)), p, V)
    assert_trees(both, jax.hessian(lambda p, x: energy(jax.numpy, p, x), (0, 1))(p, V))


def test_orders_of_derivatives_agree(mode):
    f = lambda x: gnp.sum(gnp.exp(x) * x[::-1] ** 2)  # noqa: E731
    forms = [
        gl.jacfwd(gl.jacrev(f)),
        gl.jacrev(gl.jacfwd(f)),
        gl.jacfwd(gl.jacfwd(f)),
        gl.jacrev(gl.jacrev(f)),
    ]
    first, *others = [mode(form, V) for form in forms]
    for other in others:
        np.testing.assert_allclose(other, first, rtol=1e-12, atol=1e-13)
    product = mode(lambda x, v: gl.jvp(gl.grad(f), (x,), (v,))[1], V, V)
    np.testing.assert_allclose(product, first @ V, rtol=1e-12)
    third = mode(gl.jacfwd(gl.hessian(lambda x: gnp.sum(x**3))), V)
    np.testing.assert_allclose(third[1, 1, 1], 6.0)


def test_perturbations_of_nested_sweeps_stay_apart(mode):
    """d/dx x * (d/dy (x + y)) is 1, in every mixture of sweeps."""

    def forward(f, x):
        return gl.jvp(f, (x,), (np.float64(1.0),))[1]

    sweeps = [forward, lambda f, x: gl.grad(f)(x)]
    for outer in sweeps:
        for inner in sweeps:
            found = mode(
                lambda x, outer=outer, inner=inner: outer(
                    lambda a: a * inner(lambda b: a + b, np.float64(1.0)), x
                ),
                np.float64(5.0),
            )
            assert found == 1.0


def test_auxiliary_values(mode):
    def f(x):
        return x * x, {"seen": x + 1, "text": None}

    def everything(x):
        a = gl.jvp(f, (x,), (x,), has_aux=True)
        out, pull, aux = gl.vjp(f, x, has_aux=True)
        value, f_lin, more = gl.linearize(f, x, has_aux=True)
        return a, (out, pull(x)[0], aux), (value, f_lin(x), more), gl.jacfwd(f, has_aux=True)(x)

    aux = {"seen": V + 1, "text": None}
    want = (V * V, 2 * V * V, aux)
    assert_trees(mode(everything, V), (want, want, want, (np.diag(2 * V), aux)))


def test_what_does_not_depend_has_zero_derivatives(mode):
    def everything(x):
        out, tangent = gl.jvp(lambda x: (np.float64(3.0), gnp.argmax(x)), (x,), (x,))
        pulled = gl.vjp(lambda x: gnp.floor(x), x)[1](x)
        rows = gl.jacrev(lambda x: np.ones(2) * 4.0)(x)
        return out, tangent, pulled, rows, gl.jacfwd(lambda x: np.ones(2))(x)

    zero = np.zeros((2, 3))
    want = ((3.0, 2), (0.0, 0.0), (V * 0,), zero, zero)
    assert_trees(mode(everything, V), want)


def test_a_stopped_tree_has_no_derivative(mode):
    def loss(p):
        still = gl.stop_gradient({"p": p, "n": [3, None]})
        return gnp.sum(still["p"]["w"] * p["w"]) * still["n"][0]

    np.testing.assert_allclose(mode(gl.grad(loss), {"w": V})["w"], 3 * V)


def test_auxiliary_values_of_a_hessian(mode):
    found = mode(gl.hessian(lambda x: (gnp.sum(x**3), x + 1), has_aux=True), V)
    assert_trees(found, (np.diag(6 * V), V + 1))


def test_empty_arguments(mode):
    empty = np.zeros((0, 2))
    for jacobian in (gl.jacfwd, gl.jacrev):
        assert mode(jacobian(lambda x: gnp.sum(x, axis=0)), empty).shape == (2, 0, 2)
        assert mode(jacobian(lambda x: x), empty).shape == (0, 2, 0, 2)


def test_float32_stays_float32():
    x = V.astype("float32")
    out, tangent = gl.jvp(lambda x: x * 2.0, (x,), (x,))
    assert (out.dtype, tangent.dtype) == ("float32", "float32")
    assert gl.jacfwd(lambda x: np.sin(x))(x).dtype == "float32"
    assert gl.vjp(np.sin, x)[1](x)[0].dtype == "float32"


def test_a_pull_and_a_linear_function_compile_once():
    out, pull = gl.vjp(lambda x, w: np.tanh(x @ w), V, M)
    pull(out)
    before = COMPILED["programs"]
    for scale in range(3):
        np.testing.assert_allclose(pull(out * scale)[0], scale * pull(out)[0])
    f_lin = gl.linearize(lambda x: np.tanh(x) * x, V)[1]
    f_lin(V)
    assert COMPILED["programs"] <= before + 2
    assert f_lin(V).shape == (3,)


def test_a_pull_keeps_its_residuals():
    x = V.copy()
    pull = gl.vjp(lambda x: x * x, x)[1]
    x[:] = 0.0
    np.testing.assert_allclose(pull(np.ones(3))[0], 2 * V)


def test_a_pull_of_arrays_goes_into_traces_and_tapes():
    out, pull = gl.vjp(lambda x: np.sin(x) * x, V)
    want = pull(V)[0]
    np.testing.assert_allclose(gl.jit(lambda g: pull(g)[0])(V), want)
    rows = gl.vmap(lambda g: pull(g)[0])(np.eye(3))
    np.testing.assert_allclose(rows, gl.jacrev(lambda x: np.sin(x) * x)(V))
    with gl.eager():
        np.testing.assert_allclose(pull(V)[0], want)
        slope = gl.grad(lambda g: gnp.sum(pull(g)[0]))(V)
    np.testing.assert_allclose(slope, np.diag(rows))
    assert out.shape == (3,)


def test_a_tape_is_swept_after_eager_has_ended():
    with gl.eager():
        _, pull = gl.vjp(lambda x: gnp.max(x) * x, V)
        _, f_lin = gl.linearize(lambda x: gnp.max(x) * x, V)
    np.testing.assert_allclose(pull(np.ones(3))[0], gl.grad(lambda x: gnp.sum(gnp.max(x) * x))(V))
    np.testing.assert_allclose(f_lin(V), 2 * V * 1.1)


def test_linear_transpose(mode):
    back = gl.linear_transpose(lambda x, y: x @ M + 2.0 * y, V, gl.ShapeDtypeStruct((2,), "f8"))
    assert_trees(mode(back, M[0]), (M @ M[0], 2 * M[0]))


def test_linear_transpose_refuses_what_is_not_linear():
    with pytest.raises(TracingError, match="which is not linear") as caught:
        gl.linear_transpose(lambda x: x * x, V)(V)
    assert __file__ in str(caught.value)


def test_shapes_are_known_without_values():
    found = gl.eval_shape(lambda p, n: {"y": p["w"] @ p["w"].T, "n": n * 2}, {"w": M}, 3)
    assert found == {
        "y": gl.ShapeDtypeStruct((3, 3), "float64"),
        "n": gl.ShapeDtypeStruct((), "int64"),
    }
    big = gl.ShapeDtypeStruct((10**5, 10**5), "float32")
    assert gl.eval_shape(lambda x: gnp.sum(x, 0), big).shape == (10**5,)
    assert (big.ndim, big.size) == (2, 10**10)
    with pytest.raises(ShapeError):
        gl.eval_shape(lambda x: x @ x, big.__class__((2, 3), "float32"))


# ---- misuse


MISUSE = {
    "primals not a tuple": (lambda: gl.jvp(np.sin, V, V), StructureError, "primals is a ndarray"),
    "tangents of another structure": (
        lambda: gl.jvp(lambda p: p["w"], ({"w": V},), (V,)),
        StructureError,
        r"the structure of the tangents given to jvp is .*\*.*, that of the primals is .*w",
    ),
    "fewer tangents": (
        lambda: gl.jvp(lambda x, y: x * y, (V, V), (V,)),
        StructureError,
        "the structure of the tangents given to jvp is",
    ),
    "tangent of another shape": (
        lambda: gl.jvp(lambda x, p: x * p["s"], (V, {"s": 2.0}), (V, {"s": V})),
        ShapeError,
        r"argument 1 at .s is float64\[3\], of the primals it is float64\[\]",
    ),
    "tangent of another dtype": (
        lambda: gl.jvp(np.sin, (V,), (V.astype("float32"),)),
        DtypeError,
        r"argument 0 is float32\[3\], of the primals it is float64\[3\]",
    ),
    "integer primal": (
        lambda: gl.jvp(lambda n: n * 2, (np.int64(3),), (1.0,)),
        DtypeError,
        r"jvp by argument 0, which is int64\[\]",
    ),
    "integer primal of vjp": (
        lambda: gl.vjp(lambda x, n: x * n, V, np.arange(3)),
        DtypeError,
        r"vjp by argument 1, which is int64\[3\]",
    ),
    "cotangent of another structure": (
        lambda: gl.vjp(lambda x: (x, x), V)[1](V),
        StructureError,
        "the structure of the cotangent is",
    ),
    "cotangent of another shape": (
        lambda: gl.vjp(lambda x: x[:2], V)[1](V),
        ShapeError,
        r"the cotangent.* is float64\[3\], of the results it is float64\[2\]",
    ),
    "too few tangents": (
        lambda: gl.linearize(lambda x, y: x * y, V, V)[1](V),
        StructureError,
        "tangents given to f_lin",
    ),
    "no pair": (
        lambda: gl.vjp(lambda x: x, V, has_aux=True),
        StructureError,
        "has_aux=True asks for a pair",
    ),
    "integer result": (
        lambda: gl.jacrev(lambda x: {"i": gnp.argmax(x)})(V),
        DtypeError,
        r"jacrev of a function that returns int64\[\] at i",
    ),
    "no such argument": (
        lambda: gl.jacfwd(lambda x: x, 1)(V),
        RangeError,
        "argnums=1 in a call with 1 positional",
    ),
    "no function": (lambda: gl.hessian(3), TracingError, "hessian of 3, which is not a function"),
    "no array": (lambda: gl.vjp(lambda x: "low", V), DtypeError, "a value of type str"),
}


@pytest.mark.parametrize("name", MISUSE)
@pytest.mark.parametrize("how", [contextlib.nullcontext, gl.eager])
def test_misuse(name, how):
    call, error, text = MISUSE[name]
    with how(), pytest.raises(error, match=text) as caught:
        call()
    assert __file__ in str(caught.value)
    assert "repair: " in str(caught.value)
