"""The namespace `gradloom.numpy`: what it has, and how it presents itself."""

import inspect

import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.errors import DtypeError, MissingError
from gradloom.frontend.tensor import FUNCTIONS, NUMPY

V = np.arange(3.0)


def test_dir_lists_what_there_is_and_no_more():
    names = dir(gnp)
    assert names == sorted(set(names))
    assert not [name for name in names if name.startswith("_")]
    assert all(hasattr(gnp, name) for name in names)
    assert {"sum", "float32", "pi", "softmax", "zeros", "astype", "concat"} <= set(names)
    assert not {"getitem", "cast", "stop_gradient", "composite", "annotations"} & set(names)


@pytest.mark.parametrize("name", sorted(set(dir(gnp)) & set(FUNCTIONS)))
def test_every_function_says_what_it_does(name):
    function = getattr(gnp, name)
    assert len(function.__doc__) > 5
    assert function.__name__ == name or getattr(gnp, function.__name__) is function
    parameters = inspect.signature(function).parameters.values()
    assert [p.name for p in parameters if p.name.startswith("_")] == []


def test_functions_have_numpys_names():
    ours = {"astype", "concat", "erf", "log_softmax", "logsumexp", "matrix_transpose", "one_hot"}
    ours |= {"at", "dynamic_slice", "dynamic_update_slice"}
    ours |= {"permute_dims", "relu", "rsqrt", "sigmoid", "softmax", "softplus"}
    ours |= {"cummax", "cummin", "logcumsumexp", "top_k"}
    assert {name for name in dir(gnp) if not hasattr(np, name)} <= ours
    for theirs, function in NUMPY.items():
        assert function in FUNCTIONS.values()
        if theirs.__module__ == "numpy":
            assert FUNCTIONS.get(theirs.__name__, function) is function, theirs.__name__


def test_a_missing_name_is_an_attribute_error_with_neighbours():
    with pytest.raises(MissingError, match="has no 'summ'") as caught:
        gnp.summ  # noqa: B018
    assert "use sum" in str(caught.value)
    assert __file__ in str(caught.value)
    assert not hasattr(gnp, "__wrapped__")
    with pytest.raises(ImportError, match="cannot import name 'loadtxt'"):
        from gradloom.numpy import loadtxt  # noqa: F401


def test_on_arrays_it_computes_at_once():
    assert type(gnp.tanh(V)) is np.ndarray
    assert gnp.sum([1, 2, 3]) == 6
    assert gnp.zeros(2).tolist() == [0.0, 0.0]
    assert gnp.asarray(V) is V
    assert gnp.array(V) is not V
    assert gnp.full(2, 3, "int32").dtype == "int32"
    with pytest.raises(DtypeError, match="there is no dtype float16"):
        gnp.astype(V, "float16")
    with pytest.raises(TypeError, match=r"add\(\) takes 2 arguments, but 1 were given"):
        gnp.add(V)


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: m.array([[x[0], 2.0], [3.0, x[1]]]),
        lambda m, x: m.array(x, dtype="float32"),
        lambda m, x: m.asarray([x, x]),
        lambda m, x: m.full((2, 3), x[1]),
        lambda m, x: m.full(2, x[1], "int32"),
        lambda m, x: m.linspace(x[0], x[2], 4),
        lambda m, x: m.linspace(x, x + 1, 3, endpoint=False),
        lambda m, x: m.meshgrid(x, x, x)[1],
        lambda m, x: m.meshgrid(x, m.zeros(2), indexing="ij")[0],
        lambda m, x: m.tile(x, (2, 2)),
        lambda m, x: m.roll(m.tile(x, (2, 1)), (1, -1), (0, 1)),
        lambda m, x: m.roll(m.tile(x, (2, 1)), 4),
        lambda m, x: m.array_split(x, [1, 5])[1],
        lambda m, x: m.array_split(x, 2)[0],
        lambda m, x: m.split(x, 3)[2],
        lambda m, x: m.diff(x * x, 2),
        lambda m, x: m.diff(m.tile(x, (4, 1)), axis=0),
        lambda m, x: m.cumsum(m.tile(x, (5, 1)), axis=0),
        lambda m, x: m.cumsum(m.tile(x, (5, 1)), 1),
        lambda m, x: m.cumprod(x + 1),
        lambda m, x: m.triu(m.tile(x, (3, 1)), 1),
        lambda m, x: m.tril(m.tile(x, (4, 1)), -1),
        lambda m, x: m.average(m.tile(x, (2, 1)), 1, weights=x),
        lambda m, x: m.average(m.tile(x, (2, 1)), weights=m.tile(x, (2, 1))),
        lambda m, x: m.count_nonzero(m.tile(x, (2, 1)), axis=0),
        lambda m, x: m.isclose(x, m.array([0.0, 1.0 + 1e-9, m.inf])),
        lambda m, x: m.isclose(m.array([m.nan, m.inf, 1.0]), m.array([m.nan, m.inf, m.inf])),
        lambda m, x: m.allclose(x, x + 1e-12),
        lambda m, x: m.array_equal(x, x[:2]),
        lambda m, x: m.array_equal(x, x + 0),
        lambda m, x: m.nan_to_num(x / m.array([0.0, 0.0, -0.0])),
        lambda m, x: m.nan_to_num(1 / (x - 1), posinf=5.0),
        lambda m, x: m.select([x > 1, x > 0], [x, -x], 7.0),
        lambda m, x: m.append(x, [5.0]),
        lambda m, x: m.atleast_2d(x),
        lambda m, x: m.arctan2(x - 1, 1 - x[::-1] * 2),
        lambda m, x: m.arctan2(m.array([1.0, -1.0, 0.0, -1.0]), m.array([0.0, 0.0, 0.0, -1.0])),
        lambda m, x: m.divmod(x, 2.0)[1],
        lambda m, x: m.round(m.astype(x, "int32")),
        lambda m, x: m.size(x) * m.ndim(x) * x,
    ],
)
def test_functions_against_numpy(function):
    with np.errstate(all="ignore"):
        wanted = function(np, V)
        compiled = gl.jit(lambda x: function(gnp, x))(V)
        plain = function(gnp, V)
    for ours in (compiled, plain):
        np.testing.assert_allclose(ours, wanted, rtol=1e-14, atol=1e-16)
        assert np.asarray(ours).dtype == np.asarray(wanted).dtype
