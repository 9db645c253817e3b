"""What `grad`, `value_and_grad` and `eager` mean, compiled and eager alike."""

import threading

import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.errors import DtypeError, RangeError, ShapeError, StructureError, TracingError
from gradloom.frontend.pytree import flatten

V = np.arange(3.0)


@pytest.fixture(params=["compiled", "eager"])
def mode(request):
    """Runs the test in both modes."""
    if request.param == "compiled":
        yield
        return
    with gl.eager():
        yield


def assert_close(found, wanted):
    found_leaves, found_structure = flatten(found)
    leaves, structure = flatten(wanted)
    assert found_structure == structure
    for one, other in zip(found_leaves, leaves, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)
        assert np.asarray(one).dtype == np.asarray(other).dtype


# (loss, arguments, gradient by the first)
GRADIENTS = {
    "constant": (lambda x: np.float64(1.0), (V,), [0.0, 0.0, 0.0]),
    "Python constant": (lambda x: 1.0, (V,), [0.0, 0.0, 0.0]),
    "other argument": (lambda x, y: y.sum(), (V, V), [0.0, 0.0, 0.0]),
    "through integers": (
        lambda x: x.astype("int64").astype("float64").sum(),
        (V,),
        [0.0, 0.0, 0.0],
    ),
    "through argmax": (lambda x: np.argmax(x) * 1.0, (V,), [0.0, 0.0, 0.0]),
    "at argmax": (lambda x: x[np.argmax(x)], (V,), [0.0, 0.0, 1.0]),
    "at argmin": (lambda x: np.take(x, np.argmin(x)) * 2, (V,), [2.0, 0.0, 0.0]),
    "comparison": (lambda x: np.sum((x > 1) * 1.0), (V,), [0.0, 0.0, 0.0]),
    "masked": (lambda x: np.sum((x > 1) * x), (V,), [0.0, 0.0, 1.0]),
    "where": (lambda x: np.sum(np.where(x > 1, x * x, -x)), (V,), [-1.0, -1.0, 4.0]),
    "floor": (lambda x: np.sum(np.floor(x) * x), (V,), [0.0, 1.0, 2.0]),
    "rounding": (lambda x: np.sum(np.round(x) + np.sign(x)), (V,), [0.0, 0.0, 0.0]),
    "counts": (lambda x: np.count_nonzero(x) * x.sum(), (V,), [2.0, 2.0, 2.0]),
    "stopped": (lambda x: np.sum(gl.stop_gradient(x) * x), (V,), [0.0, 1.0, 2.0]),
    "captured array": (lambda x: np.sum(V * x), (V,), [0.0, 1.0, 2.0]),
    "used twice": (lambda x: np.sum(x * x + x), (V,), [1.0, 3.0, 5.0]),
    "nothing to sum": (lambda x: np.sum(x), (np.zeros((0, 2)),), np.zeros((0, 2))),
    "clipped": (lambda x: np.sum(np.clip(x, 0.5, 1.5)), (V,), [0.0, 1.0, 0.0]),
    "running sum": (lambda x: np.cumsum(x)[-1] * 2, (V,), [2.0, 2.0, 2.0]),
    "angle": (lambda x: np.sum(np.arctan2(x, 1.0)), (V,), 1 / (1 + V * V)),
    "angle at zero": (lambda x: np.sum(np.arctan2(1.0, x)), (V,), -1 / (1 + V * V)),
    "inverse sine": (lambda x: np.sum(np.arcsin(x / 4)), (V,), 1 / np.sqrt(16 - V * V)),
}


@pytest.mark.parametrize("name", GRADIENTS)
@pytest.mark.usefixtures("mode")
def test_gradients(name):
    loss, args, wanted = GRADIENTS[name]
    assert_close(gl.grad(loss)(*args), np.asarray(wanted))


@pytest.mark.usefixtures("mode")
def test_the_gradient_has_the_dtype_of_the_argument():
    single = V.astype("float32")
    assert gl.grad(lambda x: np.sum(x * 0.5))(single).dtype == "float32"
    assert gl.grad(lambda x: np.sum(x * V))(single).dtype == "float32"
    value, slope = gl.value_and_grad(lambda x: x * x)(3.0)
    assert (value, slope) == (9.0, 6.0)


# ---- arguments, results


@pytest.mark.usefixtures("mode")
def test_argnums():
    def loss(x, y):
        return np.sum(x * x * y)

    by_x, by_y = 2 * V * V, V * V
    assert_close(gl.grad(loss, argnums=0)(V, V), by_x)
    assert_close(gl.grad(loss, argnums=-1)(V, V), by_y)
    assert_close(gl.grad(loss, argnums=(0,))(V, V), (by_x,))
    assert_close(gl.grad(loss, argnums=(1, 0))(V, V), (by_y, by_x))
    assert_close(gl.grad(loss)(V, y=V), by_x)


@pytest.mark.usefixtures("mode")
@pytest.mark.parametrize("argnums", [2, -3, (0, 0), (0, -2), "x", 0.0])
def test_wrong_argnums(argnums):
    with pytest.raises(RangeError, match=r"argnums=.* in a call with 2 positional") as caught:
        gl.grad(lambda x, y: np.sum(x * y), argnums=argnums)(V, V)
    assert __file__ in str(caught.value)


@pytest.mark.usefixtures("mode")
def test_arguments_by_keyword_have_no_gradient():
    with pytest.raises(IndexError, match="passed by position"):
        gl.grad(lambda x: np.sum(x))(x=V)


@pytest.mark.usefixtures("mode")
def test_has_aux():
    def loss(x):
        return x.sum(), {"twice": x * 2, "none": None}

    aux = {"twice": V * 2, "none": None}
    ones = np.ones(3)
    assert_close(gl.value_and_grad(loss, has_aux=True)(V), ((np.float64(3.0), aux), ones))
    assert_close(gl.grad(loss, has_aux=True)(V), (ones, aux))


@pytest.mark.usefixtures("mode")
@pytest.mark.parametrize("result", [lambda x: x.sum(), lambda x: (x.sum(), 1, 2), lambda x: None])
def test_has_aux_asks_for_a_pair(result):
    with pytest.raises(StructureError, match="has_aux=True asks for a pair"):
        gl.grad(result, has_aux=True)(V)


@pytest.mark.usefixtures("mode")
@pytest.mark.parametrize(
    ("loss", "error", "text"),
    [
        (lambda x: x * 2, ShapeError, r"returned float64\[3\], but a gradient needs a"),
        (lambda x: x.sum(keepdims=True), ShapeError, r"returned float64\[1\]"),
        (lambda x: np.argmax(x), DtypeError, r"returned int64\[\], but a gradient needs a"),
        (lambda x: x[0] > 1, DtypeError, r"returned bool\[\]"),
        (lambda x: (x.sum(), x), StructureError, "returned a tuple.*"),
        (lambda x: {"loss": x.sum()}, StructureError, "returned a dict"),
        (lambda x: None, StructureError, "returned a NoneType"),
        (lambda x: "low", DtypeError, "a value of type str"),
    ],
)
def test_a_loss_is_a_floating_scalar(loss, error, text):
    with pytest.raises(error, match=text) as caught:
        gl.grad(loss)(V)
    assert __file__ in str(caught.value)
    assert "repair: " in str(caught.value)


@pytest.mark.usefixtures("mode")
@pytest.mark.parametrize(
    ("args", "text"),
    [
        ((np.arange(3),), r"grad by argument 0, which is int64\[3\]"),
        ((3,), r"grad by argument 0, which is int64\[\].*"),
        (({"w": V, "n": [np.int32(1)]},), r"grad by argument 0 at .n\[0\], which is int32\[\]"),
    ],
)
def test_integers_have_no_gradient(args, text):
    with pytest.raises(DtypeError, match=text) as caught:
        gl.grad(lambda x: 1.0)(*args)
    assert ".astype('float32')" in str(caught.value)


def test_other_arguments_may_be_integers():
    assert_close(gl.grad(lambda x, n: np.sum(x * n))(V, 3), np.full(3, 3.0))


@pytest.mark.parametrize("transform", [gl.grad, gl.value_and_grad])
def test_only_functions_are_differentiated(transform):
    with pytest.raises(TracingError, match=f"{transform.__name__} of 3, which is not a function"):
        transform(3)


def test_the_gradient_function_looks_like_the_function():
    def loss(x):
        """A loss."""

    assert gl.grad(loss).__name__ == "loss"
    assert gl.value_and_grad(loss).__doc__ == "A loss."


# ---- nesting


@pytest.mark.usefixtures("mode")
def test_gradients_of_gradients():
    third = gl.grad(gl.grad(gl.grad(lambda x: x**4)))
    assert third(2.0) == 48.0
    assert gl.grad(gl.grad(np.sin))(0.5) == pytest.approx(-np.sin(0.5))


@pytest.mark.usefixtures("mode")
def test_an_inner_gradient_captures_outer_traced_values():
    # d/dx x * (d/dy (x + y) at 1) is 1: levels that are confused give 2.
    assert gl.grad(lambda x: x * gl.grad(lambda y: x + y)(1.0))(1.0) == 1.0
    assert gl.grad(lambda x: x * gl.grad(lambda y: x * y)(2.0))(3.0) == 6.0

    def outer(x):
        slopes = gl.grad(lambda y: np.sum(x * y * y))(x)  # 2 x^2
        return np.sum(slopes * x)

    assert_close(gl.grad(outer)(V), 6 * V * V)


@pytest.mark.usefixtures("mode")
def test_a_product_of_hessian_and_vector():
    def product(x):
        return np.sum(gl.grad(lambda y: np.sum(np.tanh(y) ** 3))(x) * V)

    t = np.tanh(V)
    curvature = (1 - t * t) * (6 * t * (1 - t * t) - 6 * t**3)
    assert_close(gl.grad(product)(V), curvature * V)


@pytest.mark.usefixtures("mode")
def test_jit_inside_grad_inside_jit():
    inner = gl.jit(lambda y: np.sum(np.sin(y)))
    assert_close(gl.jit(lambda x: gl.grad(inner)(x) * 2)(V), 2 * np.cos(V))


@pytest.mark.usefixtures("mode")
def test_the_value_of_an_outer_level_is_given_back():
    def outer(x):
        value, slope = gl.value_and_grad(lambda y: np.sum(x * y * y))(x)
        return value + np.sum(slope)

    assert_close(gl.grad(outer)(V), 3 * V**2 + 4 * V)


@pytest.mark.usefixtures("mode")
def test_aux_of_an_inner_gradient_stays_differentiable():
    def outer(x):
        slope, aux = gl.grad(lambda y: (np.sum(y * y), y * x), has_aux=True)(x)
        return np.sum(aux) + np.sum(slope)

    assert_close(gl.grad(outer)(V), 2 * V + 2)


# ---- eager


def test_eager_runs_on_arrays_and_shows_values():
    seen = []

    def loss(x):
        seen.append((repr(x), f"{x[1]:.2f}"))
        return np.sum(x * x)

    with gl.eager():
        gl.grad(loss)(V)
        assert gl.jit(lambda x: type(x))(V) is np.ndarray
    assert seen == [("<taped float64[3]: [0. 1. 2.]>", "1.00")]


def test_eager_inside_a_trace_changes_nothing():
    def f(x):
        with gl.eager():
            return gl.grad(lambda y: np.sum(y * y))(x) + x

    assert_close(gl.jit(f)(V), 3 * V)


def test_eager_ends_with_its_block_and_after_errors():
    def fails(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"), gl.eager():
        gl.grad(fails)(V)
    seen = []
    gl.jit(lambda x: seen.append(repr(x)) or x)(V)
    assert seen == ["<traced float64[3]>"]


def test_eager_is_of_one_thread():
    seen = []
    with gl.eager():
        thread = threading.Thread(target=lambda: seen.append(gl.jit(lambda x: x * 2)(V)))
        thread.start()
        thread.join()
    assert_close(seen, [V * 2])


def test_both_modes_refuse_the_same_branch():
    def relu(x):
        return x if x > 0 else 0.0 * x

    with pytest.raises(TracingError, match="no truth value"):
        gl.grad(relu)(1.0)
    with gl.eager(), pytest.raises(TracingError, match="no truth value"):
        gl.grad(relu)(1.0)


# ---- composites with derivatives


@pytest.mark.parametrize(
    "function",
    [
        *(np.sinh, np.cosh, np.arcsinh, np.arctanh, np.arcsin, np.arccos, np.exp2, np.log2),
        *(np.log10, np.cumsum, np.cumprod, np.diff, np.ptp, np.average, np.tril),
        lambda x: np.roll(x, 2, 0),
        lambda x: np.tile(x, (2, 1)),
        lambda x: np.arctan2(x, x[::-1] - 0.5),
        lambda x: np.polyval(x[0], x),
        lambda x: np.nan_to_num(x) * np.average(x, 1, x[0])[:, None],
        lambda x: gnp.linspace(x[0], x[1], 4),
        lambda x: gnp.array([x[0, 0], 2.0, x[1, 1]]),
    ],
)
def test_composites_against_finite_differences(function):
    rng = np.random.default_rng(0)
    x = rng.uniform(0.2, 0.8, (3, 4))
    direction = rng.normal(size=x.shape)
    weights = rng.normal(size=np.shape(function(x)))
    slope = np.sum(gl.grad(lambda v: np.sum(function(v) * weights))(x) * direction)
    step = 1e-6
    high, low = function(x + step * direction), function(x - step * direction)
    assert slope == pytest.approx(np.sum((high - low) * weights) / (2 * step), rel=1e-6, abs=1e-8)
