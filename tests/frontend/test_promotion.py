"""Dtypes of results are NumPy 2's, for arrays, NumPy scalars and Python numbers."""

import itertools

import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.errors import DtypeError
from gradloom.frontend.tensor import NUMPY
from gradloom.ir.types import DTYPES
from gradloom.tracing import leaf_of, record

ARRAYS = [np.ones(2, dtype) for dtype in DTYPES]
SCALARS = [np.ones(2, dtype)[0] for dtype in DTYPES]
NUMBERS = [True, 3, 0.5, 2j]
BINARY = [f for f in NUMPY if isinstance(f, np.ufunc) and f.nin == 2 and f.signature is None]
UNARY = [f for f in NUMPY if isinstance(f, np.ufunc) and f.nin == 1 and f.nout == 1]
ORDERING = {
    *(np.less, np.less_equal, np.greater, np.greater_equal, np.maximum, np.minimum, np.fmax),
    *(np.fmin, np.max, np.min, np.argmax, np.argmin, np.ptp, np.heaviside, np.logaddexp2),
}
WIDER = {"float16"}  # dtypes that gradloom has not


def dtype_of(function, *args):
    """The dtype of a traced result, or None where it is refused."""
    try:
        graph = record(lambda v: function(*v), [leaf_of(a) for a in args]).graph
    except DtypeError:
        return None
    dtypes = {node.type.dtype for node in graph.outputs}
    return dtypes.pop() if len(dtypes) == 1 else dtypes


def numpys_dtype(function, *args):
    """The dtype of NumPy's result; None where it has none, or one that gradloom has not."""
    with np.errstate(all="ignore"):
        try:
            name = np.asarray(function(*args)).dtype.name
        except TypeError:
            return None
    return None if name in WIDER else name


def name_of(value):
    return f"{type(value).__name__}" if np.ndim(value) == 0 else f"{value.dtype}[2]"


# NumPy's functions of booleans that end in float16 end in float64.
# NumPy orders complex numbers by their real parts; here they have no order.
def expected(function, *args):
    if function in ORDERING and any(np.asarray(a).dtype.kind == "c" for a in args):
        return None
    return numpys_dtype(function, *args)


@pytest.mark.parametrize("function", BINARY, ids=lambda f: f.__name__)
def test_two_operands(function):
    wrong = []
    strong = ARRAYS + SCALARS
    pairs = [*itertools.product(strong, strong), *itertools.product(strong, NUMBERS)]
    pairs += itertools.product(NUMBERS, strong)
    for x, y in pairs:
        wanted = expected(function, x, y)
        found = dtype_of(function, x, y)
        if wanted is not None and found != wanted:
            wrong.append(f"{name_of(x)}, {name_of(y)}: {found}, NumPy has {wanted}")
    assert wrong == []


@pytest.mark.parametrize("function", UNARY, ids=lambda f: f.__name__)
def test_one_operand(function):
    wrong = []
    for x in ARRAYS:
        wanted = expected(function, x)
        found = dtype_of(function, x)
        if wanted is not None and found != wanted:
            wrong.append(f"{name_of(x)}: {found}, NumPy has {wanted}")
    assert wrong == []


@pytest.mark.parametrize(
    "name",
    [
        *("sum", "prod", "mean", "var", "std", "max", "min", "any", "all", "argmax", "argmin"),
        *("cumsum", "cumprod", "ptp", "count_nonzero"),
    ],
)
def test_reductions(name):
    function = getattr(np, name)
    wrong = []
    for x in ARRAYS:
        wanted = expected(function, x)
        found = dtype_of(function, x)
        if wanted is not None and found != wanted:
            wrong.append(f"{name_of(x)}: {found}, NumPy has {wanted}")
    assert wrong == []


def test_choices_and_products():
    for x, y in itertools.product(ARRAYS, ARRAYS + NUMBERS):
        mask = np.array([True, False])
        assert dtype_of(np.where, mask, x, y) == numpys_dtype(np.where, mask, x, y)
        if isinstance(y, np.ndarray):
            found = dtype_of(lambda a, b: np.concatenate([a, b]), x, y)
            assert found == numpys_dtype(lambda a, b: np.concatenate([a, b]), x, y)
            if "b" not in (x.dtype.kind, y.dtype.kind):
                assert dtype_of(np.matmul, x, y) == numpys_dtype(np.matmul, x, y)


SINGLE = np.ones(2, "float32")


@pytest.mark.parametrize(
    "function",
    [
        lambda x, s: x * s,
        lambda x, s: x * (2 * s + 1),
        lambda x, s: x * -(s**2),
        lambda x, s: x / abs(s - 3),
        lambda x, s: x + (s // 2) % 3,
        lambda x, s: x + divmod(s, 2)[0],
        lambda x, s: np.where(x > s, x, s),
        lambda x, s: np.maximum(x, s),
        lambda x, s: np.sin(s) * x,
        lambda x, s: np.where(x > 0, 1.0, 0.0) * x,
        lambda x, s: np.asarray(s) * x if isinstance(s, float) else gnp.asarray(s) * 1.0 * x,
        lambda x, s: gnp.full((2,), s) * x,
        lambda x, s: gnp.astype(x, "int32") * s,
        lambda x, s: x.astype("int32") + (s > 1),
    ],
)
def test_python_numbers_are_weak_exactly_where_they_are_in_numpy(function):
    compiled = record(lambda v: function(*v), [leaf_of(SINGLE), leaf_of(0.1)])
    with gl.eager():
        eager = function(SINGLE, 0.1)
    assert compiled.graph.outputs[0].type.dtype == eager.dtype


def test_a_numpy_scalar_is_not_a_python_number():
    assert dtype_of(np.multiply, SINGLE, np.float64(2)) == "float64"
    assert dtype_of(np.multiply, SINGLE, 2.0) == "float32"
    assert dtype_of(lambda x: x * np.float64(2), SINGLE) == "float64"
    assert leaf_of(2.0).weak
    assert not leaf_of(np.float64(2)).weak


def test_integers_compare_with_numbers_that_their_dtype_cannot_hold():
    small, large = np.array([-1, 1], "int32"), 2**40
    f = gl.jit(lambda x: (x < large, x == large, x > 2**70, x.astype("uint32") > -1))
    wanted = [[True, True], [False, False], [False, False], [True, True]]
    assert [r.tolist() for r in f(small)] == wanted


def test_full_range_of_integers():
    f = gl.jit(
        lambda x: (x + (2**31 - 1), x.astype("int64") + 2**62, x.astype("uint32") + (2**32 - 1))
    )
    results = f(np.zeros(1, "int32"))
    assert [int(r[0]) for r in results] == [2**31 - 1, 2**62, 2**32 - 1]


def test_booleans_in_powers_and_bits_are_numpys():
    x = np.array([True, False])
    cases = [
        lambda m, x: m.square(x),
        lambda m, x: m.power(x, x),
        lambda m, x: m.power(x, 2),
        lambda m, x: m.reciprocal(m.logical_or(x, ~x)),
        lambda m, x: m.left_shift(x, x),
        lambda m, x: m.remainder(x, m.logical_or(x, ~x)),
        lambda m, x: m.bitwise_count(x),
        lambda m, x: m.bitwise_count(m.astype(x, "int64") - 9),
    ]
    for call in cases:
        got = gl.jit(lambda x, call=call: call(gnp, x))(x)
        np.testing.assert_array_equal(got, call(np, x), strict=True)
    for call in (gnp.gcd, gnp.lcm):
        with pytest.raises(DtypeError, match="convert an operand"):
            gl.jit(call)(x, x)
