"""`jit`: what compiles anew, what does not, and what comes back."""

import functools
from dataclasses import dataclass

import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.errors import StateError, TracingError

V = np.arange(3.0)


def counting(function):
    """`function`, and a list that grows each time it is traced."""
    traces = []

    @functools.wraps(function)
    def counted(*args, **kwargs):
        traces.append(1)
        return function(*args, **kwargs)

    return counted, traces


def test_another_python_number_compiles_nothing():
    counted, traces = counting(lambda x, s: x * s)
    f = gl.jit(counted)
    single = V.astype("float32")
    for scale in (0.1, 0.25, -3.0, 1e30):
        result = f(single, scale)
        assert result.dtype == "float32"
        np.testing.assert_array_equal(result, single * np.float32(scale))
    assert len(traces) == 1
    assert f(single, np.float64(2.0)).dtype == "float64"
    assert f(single, 2).dtype == "float32"
    assert f(single, s=True).dtype == "float32"
    assert len(traces) == 4


def test_another_signature_compiles_anew():
    counted, traces = counting(lambda tree: gl.tree_map(lambda v: v * 2, tree))
    f = gl.jit(counted)
    f({"a": V})
    f({"a": V + 1})
    assert len(traces) == 1
    assert f({"a": V, "b": V})["b"].tolist() == [0.0, 2.0, 4.0]
    assert f([V])[0].tolist() == [0.0, 2.0, 4.0]
    assert f({"a": np.ones(2)})["a"].tolist() == [2.0, 2.0]
    assert f({"a": np.ones(2, "float32")})["a"].dtype == "float32"
    assert f({"a": None}) == {"a": None}
    assert len(traces) == 6


def test_keyword_arguments_are_traced():
    f = gl.jit(lambda x, *, scale, shift=1.0: x * scale + shift)
    assert f(V, scale=2.0).tolist() == [1.0, 3.0, 5.0]
    assert f(V, scale=2.0, shift=np.ones(3)).tolist() == [1.0, 3.0, 5.0]
    with pytest.raises(TypeError, match="unexpected keyword argument 'rate'"):
        f(V, rate=1.0)


def test_results_are_trees_of_arrays_and_numpy_scalars():
    result = gl.jit(lambda x: {"all": (x, x.sum()), "n": 3, "none": None, "yes": True})(V)
    assert result["all"][0] is not V
    assert type(result["all"][1]) is np.float64
    assert type(result["n"]) is np.int64
    assert type(result["yes"]) is np.bool_
    assert result["none"] is None


def test_one_value_may_be_returned_twice():
    first, second = gl.jit(lambda x: (x + 1, x + 1))(V)
    first[0] = 7.0
    assert second[0] == 1.0


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4)[:, ::2],
        np.arange(6.0).reshape(2, 3).T,
        np.arange(3, dtype=">f8"),
        np.ma.array([1.0, 2.0], mask=[False, False]),
        np.float32([[]]),
        np.array(2.5),
    ],
)
def test_any_layout_goes_in(array):
    np.testing.assert_array_equal(gl.jit(lambda x: x * 2)(array), np.asarray(array) * 2)


def test_jit_takes_functions_only():
    with pytest.raises(TracingError, match="jit of 3") as caught:
        gl.jit(3)
    assert __file__ in str(caught.value)


def test_jit_as_a_decorator():
    @gl.jit
    def f(x):
        """Twice."""
        return x * 2

    @gl.jit()
    def g(x):
        return f(x) + 1

    assert f.__name__ == "f"
    assert f.__doc__ == "Twice."
    assert g(V).tolist() == [1.0, 3.0, 5.0]


def test_nothing_is_known_before_the_first_call():
    with pytest.raises(StateError, match="has not been compiled"):
        gl.jit(lambda x: x).program()


def test_python_runs_while_tracing_only():
    seen = []

    @gl.jit
    def f(x):
        seen.append(x.shape)
        if x.ndim == 2:  # a branch on what is known
            return x.sum(axis=1)
        for i in range(len(x)):
            x = x + i
        return x

    assert f(V).tolist() == [3.0, 4.0, 5.0]
    assert f(V).tolist() == [3.0, 4.0, 5.0]
    assert f(np.ones((2, 2))).tolist() == [2.0, 2.0]
    assert seen == [(3,), (2, 2)]


def test_an_index_out_of_range_is_found_at_the_call():
    f = gl.jit(lambda x, i: x[i])
    assert f(V, np.array([0, -1])).tolist() == [0.0, 2.0]
    with pytest.raises(IndexError, match="an index is out of range") as caught:
        f(V, np.array([3]))
    assert __file__ in str(caught.value)
    assert f(V, np.array([2, 1])).tolist() == [2.0, 1.0]


def test_reductions_of_nothing():
    total, product, any_, all_, mean = gl.jit(
        lambda x: (x.sum(), x.prod(), x.any(), x.all(), gnp.mean(x))
    )(np.zeros((0, 3)))
    assert (total, product, any_, all_) == (0.0, 1.0, False, True)
    assert np.isnan(mean)


def test_a_number_too_wide_for_int32_is_not_cut():
    """NumPy refuses it beside int32; as a run-time value it makes the result int64."""
    compiled = gl.jit(lambda x, n: x + n)
    x = np.ones(2, "int32")
    assert compiled(x, 2**31 - 2).dtype == "int32"
    np.testing.assert_array_equal(compiled(x, 2**40), np.array([2**40 + 1] * 2))


@dataclass
class Scale:
    factor: float

    @gl.jit
    def of(self, x):
        return x * self.factor


def test_a_method_of_a_dataclass_is_compiled_with_its_fields_as_arguments():
    np.testing.assert_array_equal(Scale(3.0).of(np.ones(2)), [3.0, 3.0])
    np.testing.assert_array_equal(Scale(4.0).of(np.ones(2)), [4.0, 4.0])
