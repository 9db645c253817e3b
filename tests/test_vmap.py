"""What `gl.vmap` means: a loop and a stack, in every mode and in every nesting."""

import contextlib
from collections import namedtuple

import jax
import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.errors import DtypeError, RangeError, ShapeError, StructureError, TracingError
from gradloom.frontend.pytree import flatten

X = np.linspace(-1.0, 2.0, 12).reshape(3, 4)
W = np.linspace(-0.5, 0.5, 8).reshape(4, 2)
Pair = namedtuple("Pair", "a b")
pytestmark = pytest.mark.usefixtures("jax_in_double_precision")


@pytest.fixture(params=["compiled", "eager", "traced"])
def mode(request):
    """A way to call: outside of any trace, on a tape, and within a trace."""
    if request.param == "traced":
        return lambda call, *args: gl.jit(call)(*args)

    def called(call, *args):
        with gl.eager() if request.param == "eager" else contextlib.nullcontext():
            return call(*args)

    return called


def assert_trees(found, wanted, tolerance=1e-12):
    leaves, structure = flatten(found)
    others, other = flatten(wanted)
    assert str(structure) == str(other)
    for one, two in zip(leaves, others, strict=True):
        assert np.shape(one) == np.shape(two)
        np.testing.assert_allclose(one, np.asarray(two), rtol=tolerance, atol=tolerance)


def loop(f, *columns):
    return np.stack([f(*row) for row in zip(*columns, strict=True)])


# What one example gives, of a vector of 4.
FUNCTIONS = {
    "a sum": lambda x: gnp.sum(x * x),
    "a product with a matrix": lambda x: np.tanh(x @ W),
    "a product with itself": lambda x: gnp.outer(x, x) @ x,
    "slices": lambda x: x[::-2] + x[:2],
    "a reshape": lambda x: gnp.reshape(x, (2, 2)).T,
    "a pad": lambda x: gnp.pad(x, (1, 2), constant_values=3.0),
    "a concatenation": lambda x: gnp.concatenate([x, np.ones(2), x[:1]]),
    "a stack of numbers": lambda x: gnp.stack([x[0], x[2], 1.0]),
    "an index that is a value": lambda x: x[gnp.argmax(x)],
    "an array indexed by a value": lambda x: gnp.take(W, gnp.argmin(x), 0),
    "a gather": lambda x: gnp.take(x, np.array([3, 0, -1])),
    "values and indices": lambda x: gnp.take_along_axis(x, gnp.astype(x > 0, "int64"), 0),
    "a running sum": lambda x: gnp.cumsum(x),
    "a softmax": lambda x: gnp.softmax(x),
    "statistics": lambda x: gnp.std(x) + gnp.var(x),
    "a maximum": lambda x: gnp.max(x) - gnp.min(x),
    "a condition": lambda x: gnp.where(x > 0, x, -2.0 * x),
    "comparisons": lambda x: (x > 0) & (x < 1),
    "a constant": lambda x: 3.0,
    "a captured array": lambda x: W,
    "one hot": lambda x: gnp.one_hot(gnp.argmax(x), 4),
    "a diagonal": lambda x: gnp.diag(x),
    "an outer product": lambda x: gnp.einsum("i,j,jk->ik", x, x, W),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_mapped_function_is_a_loop(name, mode):
    f = FUNCTIONS[name]
    assert_trees(mode(gl.vmap(f), X), loop(lambda x: np.asarray(gl.jit(f)(x)), X))


@pytest.mark.parametrize("name", ["a gather", "values and indices", "a maximum", "a softmax"])
def test_derivatives_of_mapped_functions(name, mode):
    f = FUNCTIONS[name]
    one = gl.grad(lambda x: gnp.sum(f(x) ** 2))
    assert_trees(mode(gl.vmap(one), X), loop(one, X))
    whole = gl.grad(lambda x: gnp.sum(gl.vmap(f)(x) ** 2))
    assert_trees(mode(whole, X), loop(one, X))


def test_axes_of_arguments_and_results(mode):
    f = lambda x, y: x[:, None] * y  # noqa: E731
    for in_axes, x, y in (
        ((0, 0), X, X[:, :2]),
        ((1, 0), X.T, X[:, :2]),
        ((-1, None), X.T, X[0]),
        ((None, 1), X[0], X[:, :2].T),
    ):
        for out_axes in (0, 1, 2, -1, -2):
            mapped = gl.vmap(f, in_axes, out_axes)
            wanted = jax.vmap(f, in_axes, out_axes)(x, y)
            assert_trees(mode(mapped, x, y), np.asarray(wanted))


def test_trees_of_axes(mode):
    def f(p, x, *, scale):
        return {"y": (x @ p["w"] + p["b"]) * scale, "b": p["b"]}, Pair(x, 1.0)

    p = {"w": W, "b": X[:, :2]}
    mapped = gl.vmap(f, ({"w": None, "b": 0}, 0), ({"y": 1, "b": 0}, None))
    with pytest.raises(RangeError, match=r"out_axes is None .* at \[1\].a"):
        mode(lambda p, x, s: mapped(p, x, scale=s), p, X, X[:, 0])
    mapped = gl.vmap(f, ({"w": None, "b": 0}, 0), ({"y": 1, "b": 0}, Pair(0, None)))
    found = mode(lambda p, x, s: mapped(p, x, scale=s), p, X, X[:, 0])
    y = (X @ W + p["b"]) * X[:, :1]
    assert_trees(found, ({"y": y.T, "b": p["b"]}, Pair(X, 1.0)))


def test_what_depends_on_nothing_mapped_may_go_without_an_axis(mode):
    def whole(x, y):
        def f(x, y):
            return x * y, gnp.sum(y**2), y > 0

        product, square, signs = gl.vmap(f, (0, None), (0, None, None))(x, y)
        return gnp.sum(product * signs) * square

    assert_trees(
        mode(gl.grad(whole, argnums=1), X, X[0]), np.asarray(jax.grad(by_hand, 1)(X, X[0]))
    )


def by_hand(x, y):
    return jax.numpy.sum(x * y * (y > 0)) * jax.numpy.sum(y**2)


def test_an_axis_size_stands_in_for_arguments(mode):
    found = mode(gl.vmap(lambda x: x * 2.0, in_axes=None, axis_size=3), X[0])
    np.testing.assert_array_equal(found, np.stack([X[0] * 2] * 3))
    assert mode(gl.vmap(lambda x: x, axis_size=3), X).shape == (3, 4)


def test_nesting(mode):
    distances = gl.vmap(gl.vmap(lambda a, b: gnp.sum((a - b) ** 2), (None, 0)), (0, None))
    wanted = ((X[:, None] - X[None]) ** 2).sum(-1)
    assert_trees(mode(distances, X, X), wanted)
    slopes = gl.vmap(gl.grad(lambda a: gnp.sum(distances(X, a[None]))))
    assert_trees(mode(slopes, X), loop(lambda a: (2 * (a - X)).sum(0), X))


def test_mixtures_with_other_transforms(mode):
    f = lambda x: gnp.sum(np.sin(x) * x[::-1])  # noqa: E731
    hessians = np.stack(
        [np.asarray(jax.hessian(lambda x: (jax.numpy.sin(x) * x[::-1]).sum())(x)) for x in X]
    )
    assert_trees(mode(gl.vmap(gl.hessian(f)), X), hessians)
    products = gl.vmap(lambda x, v: gl.jvp(gl.grad(f), (x,), (v,))[1])
    wanted = np.einsum("bij,bj->bi", hessians, X)
    assert_trees(mode(products, X, X), wanted)
    pulled = gl.vmap(lambda x: gl.vjp(lambda y: y * X[0], x)[1](x)[0])
    assert_trees(mode(pulled, X), X * X[0])
    forward = lambda x: gl.jvp(gl.vmap(f), (x,), (X,))[1]  # noqa: E731
    assert_trees(mode(forward, X), loop(lambda x, v: gl.grad(f)(x) @ v, X, X))


def test_a_gradient_for_every_example(mode):
    def loss(w, x):
        return gnp.sum(np.tanh(x @ w) ** 2)

    each = gl.vmap(gl.grad(loss), (None, 0))
    assert_trees(mode(each, W, X), loop(lambda x: gl.grad(loss)(W, x), X))


def test_closures_over_outer_values(mode):
    def outer(w):
        scaled = w * 2.0
        return gnp.sum(gl.vmap(lambda x: np.tanh(x @ scaled))(X) ** 2)

    def plain(w):
        return gnp.sum(np.tanh(X @ (w * 2.0)) ** 2)

    assert_trees(mode(gl.grad(outer), W), gl.grad(plain)(W))


def test_random_numbers_of_mapped_keys(mode):
    keys = gl.random.split(gl.random.key(3), 4)

    def draw(key):
        first, second = gl.random.split(key)
        return {
            "normal": gl.random.normal(first, (2, 3), "float64"),
            "uniform": gl.random.uniform(second, (5,)),
            "bits": gl.random.bits(first, (3,)),
            "integers": gl.random.randint(second, (4,), 0, 10),
            "coin": gl.random.bernoulli(gl.random.fold_in(key, 7), 0.5, (3,)),
            "category": gl.random.categorical(first, np.zeros((2, 5))),
        }

    found = mode(gl.vmap(draw), keys)
    for i, key in enumerate(keys):
        assert_trees({name: v[i] for name, v in found.items()}, draw(key), 1e-6)


def test_inside_a_training_step():
    def loss(p, x, y):
        scores = gl.vmap(lambda row: np.tanh(row @ p["w"]) @ p["v"])(x)
        return gnp.mean((scores - y) ** 2)

    def plain(p, x, y):
        return gnp.mean((np.tanh(x @ p["w"]) @ p["v"] - y) ** 2)

    params = {"w": W, "v": np.array([0.3, -0.2])}
    after = []
    for function in (loss, plain):
        step = gl.train_step(function, gl.optim.sgd(0.1))
        state, _ = step(step.init(params), X, np.arange(3.0))
        after.append(state.params)
    assert_trees(after[0], after[1])


def test_a_compiled_function_and_dtypes():
    f = gl.jit(lambda x, n: x * n)
    single = X.astype("float32")
    found = gl.vmap(f, (0, None))(single, 2)
    assert found.dtype == "float32"
    np.testing.assert_array_equal(found, single * 2)
    counts = gl.vmap(lambda n: n + 1)(np.arange(3, dtype="int32"))
    assert counts.dtype == "int32"
    assert gl.vmap(lambda x: x, 0)(np.zeros((0, 3))).shape == (0, 3)


def test_the_mapped_function_looks_like_the_function():
    def score(x):
        """A score."""
        return x

    assert gl.vmap(score).__name__ == "score"
    assert gl.vmap(score).__doc__ == "A score."
    assert "kernel" in gl.vmap(lambda x: x + 1).explain(X)


# ---- misuse

MISUSE = {
    "different sizes": (
        lambda: gl.vmap(lambda p, y: p["x"] * y)({"x": X}, np.ones(5)),
        ShapeError,
        "different sizes: argument 0 at .x has 3 along axis 0; argument 1 has 5 along axis 0",
    ),
    "another axis_size": (
        lambda: gl.vmap(lambda x: x, axis_size=4)(X),
        ShapeError,
        "argument 0 has 3 along axis 0; axis_size is 4",
    ),
    "a number": (
        lambda: gl.vmap(lambda x, n: x * n)(X, 2.0),
        ShapeError,
        r"vmap over axis 0 of argument 1, which is float64\[\]",
    ),
    "no such axis": (
        lambda: gl.vmap(lambda x: x, 2)(X),
        ShapeError,
        r"vmap over axis 2 of argument 0, which is float64\[3,4\]",
    ),
    "no such result axis": (
        lambda: gl.vmap(lambda x: x, 0, 2)(X),
        ShapeError,
        "out_axes has 2 for a result of 2 dimensions",
    ),
    "too many entries": (
        lambda: gl.vmap(lambda x: x, (0, 0))(X),
        StructureError,
        "in_axes has 2 entries, but the call has 1 positional",
    ),
    "another tree": (
        lambda: gl.vmap(lambda p: p["w"], ({"v": 0},))({"w": X}),
        StructureError,
        r"in_axes is \{'v': 0\} where .* have dict\(w: \*\)",
    ),
    "a tree for a leaf": (
        lambda: gl.vmap(lambda p: p, ({"v": 0},))(X),
        StructureError,
        r"in_axes is \{'v': 0\} where the arguments or results have a leaf",
    ),
    "another tree of results": (
        lambda: gl.vmap(lambda x: (x, x), 0, (0, 0, 0))(X),
        StructureError,
        r"out_axes is \(0, 0, 0\)",
    ),
    "an axis that is no integer": (
        lambda: gl.vmap(lambda x: x, ("rows",))(X),
        StructureError,
        "in_axes has 'rows' for argument 0",
    ),
    "nothing mapped": (lambda: gl.vmap(lambda x: x, None)(X), RangeError, "nothing is mapped"),
    "no arguments": (lambda: gl.vmap(lambda: 1.0)(), RangeError, "nothing is mapped"),
    "a result that differs": (
        lambda: gl.vmap(lambda x: {"y": x}, 0, None)(X),
        RangeError,
        "out_axes is None for what <lambda> returns at y",
    ),
    "no array": (lambda: gl.vmap(lambda x: x)("rows"), DtypeError, "a value of type str"),
    "no function": (lambda: gl.vmap(3), TracingError, "vmap of 3, which is not a function"),
}


@pytest.mark.parametrize("name", MISUSE)
@pytest.mark.parametrize("how", [contextlib.nullcontext, gl.eager])
def test_misuse(name, how):
    call, error, text = MISUSE[name]
    with how(), pytest.raises(error, match=text) as caught:
        call()
    assert __file__ in str(caught.value)
    assert "repair: " in str(caught.value)


def test_a_branch_on_an_example_is_refused():
    with pytest.raises(TracingError, match="no truth value"):
        gl.vmap(lambda x: x if x[0] > 0 else -x)(X)


def test_an_example_that_leaks_is_named():
    seen = []

    def keeps(x):
        seen.append(x * 2.0)
        return x

    with pytest.raises(TracingError, match="leaked out of its trace") as caught:
        gl.jit(lambda x: gl.vmap(keeps)(x) + seen[0])(X)
    assert __file__ in str(caught.value)
    with pytest.raises(TracingError, match="leaked"):
        gl.jit(lambda x: x + seen[-1])(X[0])


def test_a_batch_of_no_examples_on_a_tape():
    with gl.eager(), pytest.raises(ShapeError, match="size 0 cannot be run step by step"):
        gl.vmap(lambda x: x)(np.zeros((0, 2)))
