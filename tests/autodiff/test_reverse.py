"""The reverse sweep: on graphs and on tapes, nested, and with broadcasting and promotion undone."""

import contextlib

import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.autodiff.reverse import mark, pull
from gradloom.errors import TracingError
from gradloom.frontend.apply import apply
from gradloom.frontend.tensor import Tensor
from gradloom.frontend.trace import Trace, recording
from gradloom.ir.op import OPS, Op
from gradloom.ir.source import parameter
from gradloom.ir.types import TensorType
from gradloom.tracing import Leaf, record

X = np.linspace(-1.0, 2.0, 5)


@pytest.fixture(params=["compiled", "eager"])
def either(request):
    """Both ways to run a gradient."""
    return contextlib.nullcontext if request.param == "compiled" else gl.eager


def test_polynomial_to_third_order(either):
    f = lambda x: x**3 - 2 * x  # noqa: E731
    with either():
        assert gl.grad(f)(2.0) == 10.0
        assert gl.grad(gl.grad(f))(2.0) == 12.0
        assert gl.grad(gl.grad(gl.grad(f)))(2.0) == 6.0


def test_a_value_used_twice_gathers_both_cotangents(either):
    with either():
        slope = gl.grad(lambda x: gnp.sum(x * x + x[::-1] * x))(X)
    np.testing.assert_allclose(slope, 2 * X + 2 * X[::-1], 1e-14)


def test_nested_gradients_keep_their_variables_apart(either):
    """d/dx x * d/dy (x + y) = 1: the inner derivative does not see the outer variable."""
    with either():
        assert gl.grad(lambda x: x * gl.grad(lambda y: x + y)(1.0))(5.0) == 1.0
        assert gl.grad(lambda x: x * gl.grad(lambda y: x * y)(x))(3.0) == 6.0
        assert gl.grad(lambda x: gl.grad(lambda y: x * y * y)(x))(3.0) == 12.0


def test_broadcasting_is_undone(either):
    shapes = [(), (1,), (5,), (3, 1), (1, 5), (2, 1, 1), (3, 5)]
    arrays = [np.full(s, 0.5) for s in shapes]
    whole = np.ones((2, 3, 5))
    with either():
        slopes = gl.grad(lambda a: sum(gnp.sum(x * whole) for x in a))(arrays)
    for slope, shape in zip(slopes, shapes, strict=True):
        assert slope.shape == shape
        np.testing.assert_array_equal(slope, 30 / max(np.prod(shape), 1))


def test_promotion_is_undone(either):
    x, w = np.ones(3, "float32"), np.ones(3)
    with either():
        of_x, of_w = gl.grad(lambda x, w: gnp.sum(x * w), (0, 1))(x, w)
    assert (of_x.dtype, of_w.dtype) == (np.float32, np.float64)


def test_what_the_result_does_not_depend_on_has_zero_slope(either):
    with either():
        of_x, of_y = gl.grad(lambda x, y: gnp.sum(x), (0, 1))(X, np.ones((2, 3), "float32"))
    np.testing.assert_array_equal(of_x, 1)
    assert of_y.dtype == np.float32
    np.testing.assert_array_equal(of_y, np.zeros((2, 3)))


def test_stop_gradient_stops(either):
    with either():
        slope = gl.grad(lambda x: gnp.sum(x * gl.stop_gradient(x)))(X)
    np.testing.assert_array_equal(slope, X)


def test_steps_and_indices_have_no_slope(either):
    def f(x):
        chosen = x[gnp.argmax(x)] + gnp.sum(gnp.floor(x)) + gnp.sum(gnp.where(x > 0, x, 0))
        return chosen + gnp.sum((x * 3).astype("int32"))

    with either():
        slope = gl.grad(f)(X)
    np.testing.assert_array_equal(slope, (X > 0).astype(float) + (X.max() == X))


def test_ties_share_the_slope(either):
    x = np.array([1.0, 3.0, 3.0])
    with either():
        np.testing.assert_array_equal(gl.grad(gnp.max)(x), [0, 0.5, 0.5])
        np.testing.assert_array_equal(
            gl.grad(lambda x: gnp.sum(gnp.maximum(x, 3.0)))(x), [0, 0.5, 0.5]
        )


def test_products_with_zeros_have_the_right_slope(either):
    with either():
        np.testing.assert_array_equal(gl.grad(gnp.prod)(np.array([2.0, 0.0, 3.0])), [0, 6, 0])
        np.testing.assert_array_equal(gl.grad(gnp.prod)(np.array([2.0, 0.0, 0.0, 5.0])), [0] * 4)
        np.testing.assert_array_equal(gl.grad(gnp.prod)(np.array([7.0])), [1])


def test_a_gradient_brings_no_hidden_inputs():
    """The first cotangent is a constant of the program, not an array that every call passes in."""
    leaf = Leaf(TensorType((4, 5), "float32"), weak=False)
    for f in (gnp.sum, gnp.mean, gnp.prod, gnp.max, lambda x: gnp.sum(gnp.log_softmax(x) ** 2)):
        traced = record(lambda v, f=f: gl.grad(f)(v[0]), [leaf])
        assert traced.captured == ()


def test_marks_are_aliases_that_closures_do_not_share():
    with recording(Trace()):
        x = Tensor(parameter(TensorType((), "float64")))
        (marked,) = mark([x])
        out = marked * x  # x itself is constant here
        (slope,) = pull([out], [marked], [1.0])
        assert slope.node.op.name == "multiply"
        assert x.node in slope.node.inputs
        assert pull([x * 2], [marked], [1.0]) == [None]


def test_an_operator_without_a_derivative_is_refused_by_name():
    bare = Op("bare", OPS["tanh"].kind, OPS["tanh"].infer, OPS["tanh"].reference, accepts="float")
    leaf = Leaf(TensorType((), "float64"), weak=False)
    with pytest.raises(TracingError, match="bare has no derivative"):
        record(lambda v: gl.grad(lambda x: apply(bare, x))(v[0]), [leaf])
