"""What a user reads when something is wrong: the line, the shapes and dtypes, and the repair.

Each case is a function with one line marked `# here`; the error must name that line.
"""

import copy
import datetime
import functools
import inspect
import math
import operator
import pickle

import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.errors import (
    DtypeError,
    GradloomError,
    MissingError,
    RangeError,
    ShapeError,
    StructureError,
    TracingError,
    Where,
    message,
    user_where,
)

MATRIX = np.ones((2, 3))
VECTOR = np.arange(3.0)
NUMBER = np.float64(2.0)
CASES = {}


def case(argument, error, *texts):
    """A function whose trace must fail at its marked line, with these texts in the message."""

    def enter(function):
        CASES[function.__name__] = function, argument, error, texts
        return function

    return enter


def marked_line(function):
    lines, first = inspect.getsourcelines(function)
    return first + next(i for i, line in enumerate(lines) if "# here" in line)


def assert_names_the_line(caught, function):
    text = str(caught.value)
    assert f"{__file__}:{marked_line(function)} in {function.__name__}" in text, text
    assert "repair: " in text


# ---- values that are not there yet

NO_TRUTH = ("a traced value has no truth value", "bool[]", "gnp.where(condition, a, b)")


@case(NUMBER, TracingError, *NO_TRUTH)
def branch(x):
    if x > 0:  # here
        return x
    return -x


@case(NUMBER, TracingError, *NO_TRUTH)
def loop(x):
    while x > 0:  # here
        x = x - 1
    return x


@case(NUMBER, TracingError, *NO_TRUTH)
def both_conditions(x):
    return x > 0 and x < 1  # here


@case(NUMBER, TracingError, *NO_TRUTH)
def either_condition(x):
    return x > 0 or x < 1  # here


@case(NUMBER, TracingError, "no truth value", "float64[], an argument")
def negation(x):
    return not x  # here


@case(NUMBER, TracingError, "no truth value", "bool[]")
def chained_comparison(x):
    return 0 < x < 1  # here


@case(VECTOR, TracingError, "gnp.any(x == value)")
def membership(x):
    return 1.0 in x  # here


@case(NUMBER, TracingError, "float()", "float64[]", "convert the result")
def to_float(x):
    return float(x)  # here


@case(NUMBER, TracingError, "int()", "x.astype('int64')")
def to_int(x):
    return int(x)  # here


@case(NUMBER, TracingError, "no truth value")
def to_bool(x):
    return bool(x)  # here


@case(NUMBER, TracingError, "complex()")
def to_complex(x):
    return complex(x)  # here


@case(NUMBER, TracingError, "item() needs a concrete value")
def item(x):
    return x.item()  # here


@case(VECTOR, TracingError, "tolist() needs a concrete value")
def tolist(x):
    return x.tolist()  # here


@case(NUMBER, TracingError, "function of `math`", "use NumPy's function")
def math_function(x):
    return math.sin(x)  # here


@case(NUMBER, TracingError, "gnp.floor(x)")
def math_floor(x):
    return math.floor(x)  # here


@case(NUMBER, TracingError, "gnp.round(x)")
def rounding(x):
    return round(x)  # here


@case(NUMBER, TracingError, "digits to format", "gl.eager()")
def formatting(x):
    return f"{x:.3f}"  # here


@case(NUMBER, TracingError, "0-d traced value has no length")
def length(x):
    return len(x)  # here


@case(NUMBER, TracingError, "nothing to iterate over")
def iteration(x):
    return [v for v in x]  # noqa: C416  # here


@case(np.int64(3), TracingError, "cannot be a Python index or a size", "int64[]")
def counting(n):
    return [0 for _ in range(n)]  # here


@case(np.int64(1), TracingError, "cannot be a Python index or a size")
def list_index(n):
    return [1.0, 2.0][n]  # here


@case(VECTOR, TracingError, "a slice with a traced bound", "gl.dynamic_slice(x, starts, sizes)")
def slice_bound(x):
    return x[: x.sum()]  # here


@case(VECTOR, TracingError, "elements of a traced value", "gnp.stack")
def numpy_array(x):
    return np.array([x[0], x[1]])  # here


@case(VECTOR, TracingError, "elements of a traced value", "gradloom.random")
def numpy_random(x):
    return np.random.default_rng(0).normal(x)  # here


@case(VECTOR, TracingError, "cannot be pickled")
def pickling(x):
    return pickle.dumps(x)  # here


# ---- changes in place


@case(VECTOR, TracingError, "assigned to in place", "gnp.where(mask, value, x)", "float64[3]")
def assignment(x):
    x[0] = 1.0  # here
    return x


@case(VECTOR, TracingError, "assigned to in place")
def augmented_assignment(x):
    x[0] += 1.0  # here
    return x


@case(VECTOR, TracingError, "elements of a traced value")
def assignment_into_array(x):
    out = np.zeros((2, 3))
    out[0] = x  # here
    return out


@case(VECTOR, TracingError, "into an array in place", "z = z + x")
def augmented_array(x):
    out = np.zeros(3)
    out += x  # here
    return out


@case(VECTOR, TracingError, "sort() changes an array in place")
def sorting_in_place(x):
    x.sort()  # here
    return x


@case(VECTOR, TracingError, "into an array in place")
def ufunc_out(x):
    return np.add(x, 1, out=np.zeros(3))  # here


@case(VECTOR, TracingError, "where=", "gnp.where")
def ufunc_where(x):
    return np.add(x, 1, where=np.ones(3, bool))  # here


@case(VECTOR, TracingError, "dtype=", ".astype()")
def ufunc_dtype(x):
    return np.add(x, 1, dtype="float32")  # here


@case(VECTOR, TracingError, "np.subtract.reduce has no traced form", "x.at")
def ufunc_method(x):
    return np.subtract.reduce(x)  # here


@case(VECTOR, TracingError, "np.ones_like on a traced value", "'subok'", "ones_like(a, dtype")
def unsupported_keyword(x):
    return np.ones_like(x, subok=False)  # here


# ---- what there is not


@case(VECTOR, TracingError, "np.lib.scimath.sqrt has no traced form", "float64[3]")
def unknown_function(x):
    return np.emath.sqrt(x)  # here


@case(MATRIX, ShapeError, "linear algebra on shape (2, 3)", "square matrices")
def linear_algebra(x):
    return np.linalg.inv(x)  # here


@case(VECTOR, TracingError, "np.isnat has no traced form")
def unknown_ufunc(x):
    return np.isnat(x)  # here


@case(VECTOR, MissingError, "a traced value has no 'cumsun'", ".cumsum")
def unknown_method(x):
    return x.cumsun()  # here


@case(VECTOR, MissingError, "gradloom.numpy has no 'softmaxx'", "use softmax")
def unknown_name(x):
    return gnp.softmaxx(x)  # here


# ---- shapes


@case(MATRIX, ShapeError, "(2, 3) and (2, 3)", "3 and 2 differ", "transpose one")
def product(x):
    return x @ x  # here


@case(np.ones((2, 4, 3)), ShapeError, "(2, 4, 3) and (5, 3, 4)", "batch axes do not broadcast")
def batched_product(x):
    return x @ np.ones((5, 3, 4))  # here


@case(MATRIX, ShapeError, "shapes do not broadcast: (2, 3) with (4,)", "x[:, None]")
def broadcasting(x):
    return x + np.ones(4)  # here


@case(MATRIX, ShapeError, "shapes do not broadcast: (2, 3) with (4,)")
def common_shape(x):
    return gnp.broadcast_arrays(x, np.ones(4))  # here


@case(MATRIX, ShapeError, "cannot broadcast (2, 3) to (2, 4)")
def broadcast_to(x):
    return np.broadcast_to(x, (2, 4))  # here


@case(MATRIX, ShapeError, "'ij,jk->ik' of shapes (2, 3), (2, 3): 'j' is both 3 and 2")
def einsum(x):
    return np.einsum("ij,jk->ik", x, x)  # here


@case(MATRIX, ShapeError, "einsum 'ijk->i' does not fit operands of shapes (2, 3)")
def einsum_letters(x):
    return np.einsum("ijk->i", x)  # here


@case(MATRIX, ShapeError, "cannot reshape (2, 3) (6 elements) into (4, 2)")
def reshape(x):
    return x.reshape(4, 2)  # here


@case(MATRIX, ShapeError, "pieces of shapes (2, 3), (3, 2) do not fit along axis 0")
def concatenation(x):
    return np.concatenate([x, np.ones((3, 2))])  # here


@case(MATRIX, ShapeError, "axis 2 is out of bounds for a value of 2 dimensions", "-2 to 1")
def axis_out_of_range(x):
    return x.sum(axis=2)  # here


@case(MATRIX, ShapeError, "an axis is 1.0", "integers")
def axis_of_float(x):
    return x.sum(axis=1.0)  # here


@case(MATRIX, ShapeError, "axes (0, 0) do not permute (2, 3)")
def repeated_axes(x):
    return x.transpose(0, 0)  # here


@case(MATRIX, ShapeError, "cannot squeeze axis 0 of (2, 3)")
def squeeze(x):
    return np.squeeze(x, 0)  # here


@case(np.ones((0, 3)), ShapeError, "max of (0, 3) over no elements")
def largest_of_nothing(x):
    return x.max()  # here


@case(np.ones((0, 3)), ShapeError, "argmin of (0, 3) over no elements")
def argmin_of_nothing(x):
    return np.argmin(x, 0)  # here


@case(np.ones(7), ShapeError, "7 does not split into 3", "gnp.array_split")
def split(x):
    return np.split(x, 3)  # here


# ---- indices


@case(MATRIX, RangeError, "index 5 is out of bounds for axis 0 of shape (2, 3)", "-2 to 1")
def index_out_of_range(x):
    return x[5]  # here


@case(MATRIX, RangeError, "3 indices for a value of shape (2, 3)")
def too_many_indices(x):
    return x[0, 0, 0]  # here


@case(MATRIX, RangeError, "two ellipses")
def two_ellipses(x):
    return x[..., ...]  # here


@case(MATRIX, RangeError, "a mask of shape (3,) on axes of shape (2,)")
def mask_of_wrong_length(x):
    return x[np.array([True, False, True])]  # here


@case(MATRIX, TracingError, "a traced mask", "gnp.where(mask, x, 0)")
def traced_mask(x):
    return x[x > 0]  # here


@case(MATRIX, DtypeError, "an index of dtype float64", "integers")
def index_of_float(x):
    return x[1.0]  # here


# ---- dtypes


@case(np.int32([1]), RangeError, "1099511627776 does not fit int32", "int64 or float64")
def big_number(x):
    return x + 2**40  # here


@case(np.int64([1]), RangeError, "does not fit int64")
def bigger_number(x):
    return x * 2**70  # here


@case(np.uint32([1]), RangeError, "-1 does not fit uint32")
def negative_number(x):
    return x + (-1)  # here


@case(VECTOR, RangeError, "of 1329 bits does not fit float64")
def biggest_number(x):
    return x + 10**400  # here


@case(VECTOR, DtypeError, "less has no form for float64[3], complex128[]", "real")
def order_of_complex_numbers(x):
    return x < 1j  # here


@case(VECTOR, DtypeError, "max has no form for complex128[3]", "abs()")
def largest_complex_number(x):
    return (x + 1j).max()  # here


@case(np.ones(2, bool), DtypeError, "subtract has no form for bool[2], bool[2]", ".astype()")
def difference_of_bools(x):
    return x - x  # here


@case(VECTOR, DtypeError, "invert has no form for float64[3]", "integer operands")
def bits_of_float(x):
    return ~x  # here


@case(VECTOR, DtypeError, "dtype 'nonsense'", "float32")
def dtype_of_no_meaning(x):
    return x.astype("nonsense")  # here


STRANGE = {
    "object": np.array([1, None], object),
    "complex256": np.ones(2, "clongdouble"),
    "<U1": np.array(["a", "b"]),
    "float16": np.ones(2, "float16"),
    "datetime64[D]": np.array(["2020-01-01"] * 2, "datetime64[D]"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_error_names_line_shapes_and_repair(name):
    function, argument, error, texts = CASES[name]
    with pytest.raises(error) as caught:
        gl.jit(function)(argument)
    assert_names_the_line(caught, function)
    assert [text for text in texts if text not in str(caught.value)] == []


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_dtype_is_refused_wherever_it_comes_in(name):
    array = STRANGE[name]

    def captures(x):
        return x + array  # here

    with pytest.raises(DtypeError) as caught:
        gl.jit(captures)(np.ones(2))
    assert_names_the_line(caught, captures)
    assert f"dtype {name} of shape (2,) is not supported" in str(caught.value)

    def calls():
        gl.jit(lambda x: x)(array)  # here

    with pytest.raises(DtypeError) as caught:
        calls()
    assert_names_the_line(caught, calls)
    assert f"an argument: dtype {name} of shape (2,)" in str(caught.value)

    def converts(x):
        return x.astype(array.dtype)  # here

    with pytest.raises(DtypeError, match="there is no dtype") as caught:
        gl.jit(converts)(np.ones(2))
    assert_names_the_line(caught, converts)


@pytest.mark.parametrize(
    "value",
    [{1.0}, object(), "abc", b"a", datetime.date(2020, 1, 1), len],
    ids=lambda v: type(v).__name__,
)
def test_what_is_no_array_is_refused_as_argument_and_as_result(value):
    kind = f"a value of type {type(value).__name__} is neither an array nor a number"
    with pytest.raises(DtypeError, match=r"functools\.partial") as caught:
        gl.jit(lambda tree: VECTOR)({"a": value})
    assert f"an argument: {kind}" in str(caught.value)
    with pytest.raises(DtypeError) as caught:
        gl.jit(lambda x: {"h": (x, value)})(VECTOR)
    assert f"the result at h[1]: {kind}" in str(caught.value)


def test_one_element_of_an_array_cannot_be_traced():
    def fills(x):
        out = np.zeros(3)
        out[0] = x[0]  # here
        return out

    with pytest.raises(ValueError, match="array element") as caught:  # what NumPy makes of it
        gl.jit(fills)(VECTOR)
    assert isinstance(caught.value.__cause__, TracingError)


def test_a_number_that_no_dtype_holds_is_refused():
    with pytest.raises(RangeError, match="does not fit int64"):
        gl.jit(lambda x: x)(2**70)
    with pytest.raises(OverflowError, match="does not fit int64"):
        gl.jit(lambda x: 2**70)(VECTOR)


def test_errors_are_the_built_in_ones_too():
    with pytest.raises(IndexError):
        gl.jit(lambda x: x[7])(VECTOR)
    with pytest.raises(OverflowError):
        gl.jit(lambda x: x + 2**40)(np.int32(1))
    with pytest.raises(AttributeError):
        gl.jit(lambda x: x.tobytes())(VECTOR)
    with pytest.raises(TypeError):
        gl.jit(lambda x: float(x))(NUMBER)
    with pytest.raises(ValueError, match="broadcast"):
        gl.jit(lambda x: x + np.ones(7))(VECTOR)


def test_python_probes_a_traced_value_as_any_object():
    def probe(x):
        assert not hasattr(x, "no_such_thing")
        assert copy.deepcopy(x) is x
        assert copy.copy(x) is x
        assert repr(x) == f"{x}" == "<traced float64[3]>"
        assert {x: 1}[x] == 1
        return x

    assert gl.jit(probe)(VECTOR).tolist() == VECTOR.tolist()


# ---- where the user's line is found


def refusing(x):
    return float(x)  # here


def a_decorator(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)

    return wrapper


@pytest.mark.parametrize(
    "function",
    [functools.partial(refusing), lambda x: refusing(x), a_decorator(refusing)],
    ids=["partial", "lambda", "decorator"],
)
def test_the_line_is_found_behind_wrappers(function):
    for transform in (gl.jit, gl.grad, gl.value_and_grad):
        with pytest.raises(TracingError) as caught:
            transform(function)(NUMBER)
        assert_names_the_line(caught, refusing)


def test_the_line_of_an_operator_called_by_c_code_is_the_callers():
    def folds(x):
        return functools.reduce(operator.matmul, [x, x])  # here

    with pytest.raises(ShapeError) as caught:
        gl.jit(folds)(MATRIX)
    assert_names_the_line(caught, folds)


def test_executed_text_has_a_line():
    space = {}
    exec("def f(x):\n    y = x * 2\n    return float(y)\n", space)
    with pytest.raises(TracingError, match="<string>:3 in f") as caught:
        gl.jit(space["f"])(NUMBER)
    assert "made at <string>:2 in f" in str(caught.value)


def a_doctest():
    """
    >>> import gradloom as gl
    >>> try:
    ...     gl.jit(lambda x: float(x))(1.0)
    ... except gl.TracingError as error:
    ...     print(error)
    float(), ...
      at <doctest ...>:2 in <lambda>: gl.jit(lambda x: float(x))(1.0)
      repair: ...
    """


def test_the_user_is_outside_of_gradloom_and_numpy():
    here = user_where()
    assert here.file == __file__
    assert here.function == "test_the_user_is_outside_of_gradloom_and_numpy"
    seen = []
    gl.tree_map(lambda leaf: seen.append(user_where()), {"a": 1})
    assert seen[0].file == __file__
    assert str(Where("/a/b.py", 3, "f")) == "b.py:3 in f"


def test_a_message_has_three_lines():
    lines = message("what", Where(__file__, 1, "f"), "how").splitlines()
    assert lines[0] == "what"
    assert lines[1].startswith(f'  at {__file__}:1 in f: """What a user reads')
    assert lines[2] == "  repair: how"


def test_every_error_says_how_to_repair_it():
    for error in GradloomError.__subclasses__():
        assert error.__doc__.count("::") >= 1, error
        assert len(error.__mro__) > 4, f"{error} is no built-in error"


def test_structure_errors_show_both_structures():
    with pytest.raises(StructureError) as caught:
        gl.tree_map(lambda a, b: a, {"w": 1.0}, {"w": 1.0, "b": 2.0})
    assert "from dict(w: *) to dict(b: *, w: *)" in str(caught.value)
