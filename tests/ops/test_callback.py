"""Python functions inside compiled code: values, structures, exceptions, vmap, derivatives."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.errors import DtypeError, MissingError, ShapeError, TracingError

X = np.arange(6.0).reshape(2, 3)
LIKE = gl.ShapeDtypeStruct((2, 3), "float64")


def called(x, method=None):
    return gl.pure_callback(np.cbrt, LIKE, x, vmap_method=method)


def test_a_function_is_called_with_arrays_of_its_own():
    kept = []

    def f(x):
        kept.append(x)
        return x + 1

    jitted = gl.jit(lambda x: gl.pure_callback(f, LIKE, x * 2) * 3)
    for k in (1.0, 2.0):
        np.testing.assert_array_equal(jitted(X * k), (X * k * 2 + 1) * 3)
    np.testing.assert_array_equal(kept[-2], X * 2)
    assert type(kept[-1]) is np.ndarray
    np.testing.assert_array_equal(called(X), np.cbrt(X))
    with gl.eager():
        np.testing.assert_array_equal(called(X), np.cbrt(X))
    with gl.settings(interpret=True):
        np.testing.assert_array_equal(gl.jit(lambda x: called(x))(X), np.cbrt(X))


def test_structures_go_in_and_out():
    likes = {"a": gl.ShapeDtypeStruct((3,), "int64"), "b": np.empty((), "float32")}

    def f(tree, k):
        return {"a": np.argsort(tree["x"]), "b": np.float32(tree["x"].sum() + k)}

    found = gl.jit(lambda x: gl.pure_callback(f, likes, {"x": x}, 2.0))(X[0])
    np.testing.assert_array_equal(found["a"], [0, 1, 2])
    assert found["b"] == 5
    assert found["b"].dtype == "float32"
    nothing = gl.ShapeDtypeStruct((0, 2), "float64")
    assert gl.jit(lambda x: gl.pure_callback(lambda x: x[:0, :2], nothing, x))(X).shape == (0, 2)


def test_an_exception_is_raised_after_the_call():
    def f(x):
        if x[0, 0] > 0:
            raise ZeroDivisionError("none of that")
        return x

    jitted = gl.jit(lambda x: gl.pure_callback(f, LIKE, x))
    np.testing.assert_array_equal(jitted(X), X)
    with pytest.raises(ZeroDivisionError, match="none of that") as caught:
        jitted(X + 1)
    assert "test_callback.py" in caught.value.__notes__[0]
    np.testing.assert_array_equal(jitted(X), X)


def test_wrong_results_are_said():
    with pytest.raises(ShapeError, match=r"returned float64\[3\], not float64\[2,3\]"):
        gl.jit(lambda x: gl.pure_callback(lambda x: x[0], LIKE, x))(X)
    with pytest.raises(ShapeError, match="returned 2 arrays, not 1"):
        gl.pure_callback(lambda x: [x, x], [LIKE], X)
    with pytest.raises(DtypeError, match="result_shape_dtypes holds 3"):
        gl.pure_callback(np.cbrt, 3, X)
    with pytest.raises(MissingError, match="vmap_method='all'"):
        called(X, "all")
    with pytest.raises(MissingError, match="26 arrays in and out"):
        gl.pure_callback(lambda *x: x[0], LIKE, *[X] * 25)


def test_there_is_no_derivative():
    with pytest.raises(TracingError, match="has no derivative") as caught:
        gl.grad(lambda x: gnp.sum(called(x)))(X)
    assert "custom_vjp" in str(caught.value)


@pytest.mark.parametrize("method", ["sequential", "expand_dims", "broadcast_all"])
def test_vmap(method):
    like, shapes = gl.ShapeDtypeStruct((3,), "float64"), []

    def f(x, y):
        shapes.append((x.shape, y.shape))
        return x + y

    mapped = gl.jit(
        gl.vmap(lambda x, y: gl.pure_callback(f, like, x, y, vmap_method=method), in_axes=(0, None))
    )
    np.testing.assert_array_equal(mapped(X, X[0]), X + X[0])
    wanted = {
        "sequential": [((3,), (3,))] * 2,
        "expand_dims": [((2, 3), (1, 3))],
        "broadcast_all": [((2, 3), (2, 3))],
    }
    assert shapes == wanted[method]


def test_vmap_must_be_told_how():
    with pytest.raises(TracingError, match="does not say how"):
        gl.vmap(called)(np.ones((4, 2, 3)))


def test_callbacks_in_a_loop_see_every_round():
    seen = []

    def f(x):
        seen.append(float(x[0, 0]))
        return x + 1

    jitted = gl.jit(lambda x: gl.fori_loop(0, 3, lambda i, c: gl.pure_callback(f, LIKE, c), x))
    np.testing.assert_array_equal(jitted(X), X + 3)
    assert seen == [0.0, 1.0, 2.0]


def test_errors_reach_the_caller_whose_call_failed():
    """Calls at the same time, of which every other one fails; and the next ones do not."""
    start = threading.Barrier(4)

    def f(x):
        if x[0] < 0:
            raise ValueError(f"failed at {x[0]:.0f}")
        return x

    like = gl.ShapeDtypeStruct((2,), "float64")
    jitted = gl.jit(lambda x: gl.pure_callback(f, like, gl.pure_callback(f, like, x) * 1.0))
    jitted(np.zeros(2))

    def calls(number):
        start.wait()
        found = []
        for _ in range(50):
            try:
                found.append(float(jitted(np.full(2, float(number)))[0]))
            except ValueError as error:
                found.append(str(error))
        return found

    numbers = [1, -2, 3, -4]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(calls, numbers))
    for number, found in zip(numbers, results, strict=True):
        assert found == [float(number) if number > 0 else f"failed at {number}"] * 50
