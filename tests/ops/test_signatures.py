"""Public functions take what NumPy's of the same name take, under the same names; what NumPy has
and gradloom has not is listed with a reason."""

import inspect

import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.errors import MissingError, TracingError
from gradloom.frontend.tensor import NUMPY
from gradloom.ops.absent import ABSENT

# About NumPy's memory layout and subclasses, of which there are none here.
LAYOUT = {"order", "subok", "like", "device", "casting", "args", "kwargs", "einsum_call"}


def parameters(function):
    try:
        found = inspect.signature(function).parameters.values()
    except ValueError:  # built in, without a signature
        return []
    return [p.name for p in found if p.name not in LAYOUT]


# Functions of elements take theirs by place.
OF_ELEMENTS = ("gradloom.ops.ufuncs", "gradloom.ops.composite")
PAIRS = {
    theirs.__name__: (theirs, ours)
    for theirs, ours in NUMPY.items()
    if not isinstance(theirs, np.ufunc)
    and getattr(np, theirs.__name__, None) is theirs
    and ours.__module__ not in OF_ELEMENTS
}


@pytest.mark.parametrize("name", sorted(PAIRS))
def test_parameters_have_numpys_names(name):
    theirs, ours = PAIRS[name]
    wanted, found = parameters(theirs), parameters(ours)
    missing = [p for p in wanted if p not in found]
    assert not missing, f"{name} takes {found}, NumPy's {wanted}"
    positional = [p for p in found if p in wanted]
    assert positional == wanted


def test_what_is_absent_is_not_there():
    assert not set(ABSENT) & set(dir(gnp))


def test_an_absent_name_says_what_to_use():
    with pytest.raises(MissingError, match=r"x = x.at\[key\].set\(v\)"):
        gnp.copyto  # noqa: B018
    assert all(len(reason) > 10 for reason in ABSENT.values())


def test_no_function_writes_into_an_array():
    x = np.ones((2, 2))
    for call in (
        lambda x: np.sum(x, out=np.zeros(())),
        lambda x: gnp.sum(x, out=np.zeros(())),
        lambda x: x.mean(out=np.zeros(())),
        lambda x: np.concatenate([x, x], out=np.zeros((4, 2))),
        lambda x: gnp.clip(x, 0, 1, x),
    ):
        with pytest.raises(TracingError, match="in place"):
            gl.jit(call)(x)
    by_place = (0, None, None, True)  # axis, dtype, out, keepdims
    assert float(gl.jit(lambda x: x.sum(*by_place))(x)[0, 0]) == 2.0


def test_first_arguments_by_name():
    x = np.arange(6.0).reshape(2, 3)
    f = gl.jit(
        lambda x: [
            np.sum(a=x, axis=0),
            np.reshape(x, shape=(3, 2)),
            np.expand_dims(a=x, axis=0),
            np.flip(m=x),
            np.take(a=x, indices=[0], axis=1),
            np.pad(array=x, pad_width=1),
            np.repeat(a=x, repeats=2),
            np.where(x > 1, x, 0),
        ]
    )
    wanted = [
        *(x.sum(0), x.reshape(3, 2), x[None], np.flip(x), x[:, :1], np.pad(x, 1)),
        *(np.repeat(x, 2), np.where(x > 1, x, 0)),
    ]
    for got, want in zip(f(x), wanted, strict=True):
        np.testing.assert_array_equal(got, want)
