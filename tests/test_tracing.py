"""What a trace keeps, what it reads at every call, and what must not leave it."""

import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.errors import TracingError
from gradloom.frontend.trace import current
from gradloom.ir.source import CONST
from gradloom.tracing import leaf_of, record

V = np.arange(3.0)


def graph_of(function, *args):
    return record(lambda values: function(*values), [leaf_of(a) for a in args])


# ---- captured arrays and constants


def test_captured_arrays_are_hidden_inputs_once_each():
    traced = graph_of(lambda x: x * V + V, V)
    assert len(traced.graph.inputs) == 2
    assert len(traced.captured) == 1
    assert traced.captured[0] is V


def test_captured_arrays_are_read_at_every_call():
    weights = np.ones(3)
    f = gl.jit(lambda x: x * weights)
    assert f(V).tolist() == [0.0, 1.0, 2.0]
    weights[:] = 10.0
    assert f(V).tolist() == [0.0, 10.0, 20.0]


def test_captured_scalars_are_constants():
    traced = graph_of(lambda x: x * 3.0 + np.float64(2.0), V)
    assert len(traced.graph.inputs) == 1
    assert sum(node.op is CONST for node in traced.graph.nodes()) == 2


def test_equal_computations_are_one_node():
    first, second = graph_of(lambda x: (np.sin(x) + 1, np.sin(x) + 1), V).graph.outputs
    assert first is second


def test_nodes_carry_the_users_line():
    node = graph_of(lambda x: np.tanh(x), V).graph.outputs[0]
    assert node.where.file == __file__
    assert node.where.function == "<lambda>"


def test_a_trace_ends_after_an_error():
    def fails(x):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        gl.jit(fails)(V)
    assert current() is None


# ---- leaks


def leaked():
    """A traced value that its function stored, and the line where it was made."""
    kept = []

    def stores(x):
        kept.append(x * 2)  # made here
        return x

    gl.jit(stores)(V)
    return kept[0]


def taped():
    kept = []

    def stores(x):
        kept.append(x * 2)
        return x.sum()

    with gl.eager():
        gl.grad(stores)(V)
    return kept[0]


def made_line():
    with open(__file__) as file:
        return next(i for i, line in enumerate(file, 1) if line.endswith("# made here\n"))


@pytest.mark.parametrize("make", [leaked, taped])
@pytest.mark.parametrize(
    "use",
    [
        lambda leak: np.sin(leak),
        lambda leak: leak + V,
        lambda leak: V * leak,
        lambda leak: leak.reshape(3, 1),
        lambda leak: leak[0],
        lambda leak: gnp.sum(leak),
        lambda leak: np.concatenate([leak, V]),
        lambda leak: np.argmax(leak),
        lambda leak: gl.jit(lambda x: x)(leak),
        lambda leak: gl.jit(lambda tree: tree)({"a": [leak]}),
        lambda leak: gl.jit(lambda x: x + leak)(V),
        lambda leak: gl.jit(lambda x: leak)(V),
        lambda leak: gl.jit(lambda x: [x, leak * 2])(V),
        lambda leak: gl.grad(lambda x: np.sum(x * leak))(V),
        lambda leak: gl.grad(lambda x: np.sum(x))(leak),
    ],
)
def test_a_value_that_left_its_trace_is_refused(make, use):
    leak = make()
    with pytest.raises(TracingError, match="leaked out of its trace") as caught:
        use(leak)
    text = str(caught.value)
    assert "float64[3]" in text
    assert __file__ in text
    assert "instead of storing it" in text
    if make is leaked:
        assert f"made at test_tracing.py:{made_line()} in stores" in text


@pytest.mark.parametrize("make", [leaked, taped])
def test_a_leak_into_an_eager_gradient_is_refused(make):
    leak = make()
    with gl.eager(), pytest.raises(TracingError, match="leaked out of its trace"):
        gl.grad(lambda x: np.sum(x * leak))(V)


@pytest.mark.parametrize("make", [leaked, taped])
def test_numpy_asking_for_the_elements_of_a_leak_is_told_of_it(make):
    with pytest.raises(TracingError, match="leaked out of it: return it instead"):
        np.asarray(make())


def test_the_line_of_a_leak_is_where_it_meets_the_other_trace():
    leak = leaked()

    def uses(x):
        y = x * 2
        return y + leak  # used here

    with pytest.raises(TracingError) as caught:
        gl.jit(uses)(V)
    line = uses.__code__.co_firstlineno + 2
    assert f"{__file__}:{line} in uses" in str(caught.value)


def test_an_error_inside_a_gradient_closes_its_tape():
    kept = []

    def fails(x):
        kept.append(x)
        raise KeyError

    with gl.eager():
        with pytest.raises(KeyError):
            gl.grad(fails)(V)
        with pytest.raises(TracingError, match="leaked"):
            kept[0] * 2
