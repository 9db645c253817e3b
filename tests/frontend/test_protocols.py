"""NumPy's own functions, and Python's operators, on traced values; generated from the table."""

import operator

import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.errors import TracingError
from gradloom.frontend.pytree import flatten, unflatten
from gradloom.frontend.tensor import NUMPY
from gradloom.ir.interpret import interpret
from gradloom.tracing import leaf_of, record

RNG = np.random.default_rng(0)
A = RNG.uniform(0.2, 0.8, (3, 4))
B = RNG.uniform(0.2, 0.8, (3, 4))
VECTOR = RNG.uniform(0.2, 0.8, 4)
SQUARE = RNG.uniform(0.2, 0.8, (3, 3))
BOOLS = A > 0.5
INTS = RNG.integers(0, 30, (3, 4))
INDEX = np.array([2, 0, 1])

# The arguments by NumPy's name, where they are not one or two arrays of floats.
ARGUMENTS = {
    "where": (BOOLS, A, B),
    "matmul": (A, B.T),
    "dot": (A, B.T),
    "einsum": ("ij,kj->ik", A, B),
    "tensordot": (A, B, 2),
    "outer": (VECTOR, VECTOR),
    "concatenate": ([A, B],),
    "stack": ([A, B],),
    "vstack": ([A, VECTOR],),
    "hstack": ([A, B],),
    "column_stack": ([VECTOR, VECTOR],),
    "append": (A, B),
    "broadcast_arrays": (A, VECTOR),
    "result_type": (A, np.float32),
    "meshgrid": (VECTOR, VECTOR),
    "linspace": (VECTOR, VECTOR + 1, 5),
    "full_like": (A, 3.0),
    "reshape": (A, (2, 6)),
    "transpose": (A, (1, 0)),
    "swapaxes": (A, 0, 1),
    "moveaxis": (A, 0, -1),
    "expand_dims": (A, 0),
    "rollaxis": (A, 1),
    "broadcast_to": (A, (2, 3, 4)),
    "pad": (A, 1),
    "clip": (A, 0.3, 0.6),
    "take": (A, INDEX, 1),
    "take_along_axis": (A, INTS % 3, 0),
    "repeat": (A, 2),
    "tile": (A, 2),
    "roll": (A, 1),
    "split": (A, 2, 1),
    "array_split": (A, 2),
    "select": ([BOOLS, ~BOOLS], [A, B]),
    "polyval": (VECTOR, A),
    "trace": (SQUARE,),
    "diag": (VECTOR,),
    **dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor"), (INTS, INTS[::-1])),
    **dict.fromkeys(("left_shift", "right_shift"), (INTS, INTS % 3)),
    **dict.fromkeys(("invert", "bitwise_not"), (INTS,)),
    **dict.fromkeys(("logical_and", "logical_or", "logical_xor"), (BOOLS, BOOLS[::-1])),
    "logical_not": (BOOLS,),
    **dict.fromkeys(("cumulative_sum", "cumulative_prod"), (VECTOR,)),
    **dict.fromkeys(("partition", "argpartition"), (A, 1)),
    "searchsorted": (np.array([0.1, 0.4, 0.7]), A),
    "digitize": (A, np.array([0.1, 0.4, 0.7])),
    **dict.fromkeys(("gcd", "lcm"), (INTS, INTS[::-1])),
    "bitwise_count": (INTS,),
    "ldexp": (A, INTS % 3),
    **dict.fromkeys(("kron", "inner", "vdot", "array_equiv"), (A, B)),
    "cross": (SQUARE, SQUARE[::-1]),
    "vecmat": (VECTOR, A.T),
    "can_cast": (np.float32, np.float64),
    "isdtype": (np.dtype("float32"), "real floating"),
    "broadcast_shapes": ((3, 1), (4,)),
    **dict.fromkeys(("vsplit", "hsplit", "split"), (SQUARE, 3)),
    "dsplit": (SQUARE[None], 3),
    "delete": (A, 1, 0),
    "insert": (A, 1, VECTOR, 0),
    "resize": (A, (2, 5)),
    **dict.fromkeys(("logspace", "geomspace"), (VECTOR, VECTOR + 1, 5)),
    "vander": (VECTOR, 3),
    "piecewise": (A, [BOOLS], [1.0, 2.0]),
    "choose": (INTS[:, :3] % 2, [SQUARE, -SQUARE]),
    "isin": (INTS, INTS[0]),
    **dict.fromkeys(("convolve", "correlate"), (VECTOR, VECTOR[:2])),
    "interp": (A, np.array([0.1, 0.4, 0.7]), np.array([1.0, 3.0, 2.0])),
    "bincount": None,
    **dict.fromkeys(("polyadd", "polysub", "polymul"), (VECTOR, VECTOR[1:])),
    **dict.fromkeys(("polyder", "polyint", "poly"), (VECTOR,)),
    **dict.fromkeys(("quantile", "nanquantile"), (A, 0.3)),
    **dict.fromkeys(("percentile", "nanpercentile"), (A, 30.0)),
}
# What has a result whose size depends on values, and what writes in place: refused, with a repair.
SIZED = {
    *("nonzero", "flatnonzero", "argwhere", "compress", "extract", "union1d", "bincount"),
    *("unique", "unique_values", "unique_counts", "unique_inverse", "unique_all"),
}
WRITING = {"put_along_axis": (A, INTS % 3, B, 0), "fill_diagonal": (SQUARE, 1.0)}
# What takes no arrays: the indices that it makes are NumPy's own.
STATIC = {
    *("indices", "tril_indices", "triu_indices", "diag_indices", "mask_indices", "einsum_path"),
    *("diag_indices_from", "ix_", "ravel_multi_index", "unravel_index"),
}
UNDEFINED = {"empty_like", "partition", "argpartition"}  # NumPy leaves their values open
PAIRS = {"isclose", "allclose", "array_equal"}  # no ufuncs, but of two arrays


def arguments(theirs):
    if theirs.__name__ in ARGUMENTS:
        return ARGUMENTS[theirs.__name__]
    two = theirs.__name__ in PAIRS or (isinstance(theirs, np.ufunc) and theirs.nin == 2)
    return (A, B) if two else (A,)


def traced(function, args):
    """The trace of `function` with every array among `args` traced, and these arrays."""
    leaves, structure = flatten(list(args))
    arrays = [leaf for leaf in leaves if isinstance(leaf, np.ndarray)]

    def call(values):
        given = iter(values)
        filled = [next(given) if isinstance(leaf, np.ndarray) else leaf for leaf in leaves]
        return function(*unflatten(structure, filled))

    return record(call, [leaf_of(a) for a in arrays]), arrays


FUNCTIONS = [
    theirs
    for theirs in NUMPY
    if theirs is not np.result_type
    and theirs.__module__ in ("numpy", "numpy._core.umath", None)
    and theirs.__name__ not in {*SIZED, *WRITING, *STATIC}
]


def as_list(values):
    return list(values) if isinstance(values, tuple | list) else [values]


@pytest.mark.parametrize("theirs", FUNCTIONS, ids=lambda f: f.__name__)
def test_every_function_of_the_table_works_under_its_numpy_name(theirs):
    args = arguments(theirs)
    program, arrays = traced(theirs, args)
    wanted = as_list(theirs(*args))
    results = interpret(program.graph, *arrays, *program.captured)
    assert len(results) == len(wanted)
    for ours, numpys in zip(results, wanted, strict=True):
        assert np.shape(ours) == np.shape(numpys)
        assert ours.dtype == np.asarray(numpys).dtype
        if theirs.__name__ not in UNDEFINED:
            np.testing.assert_allclose(ours, numpys, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", sorted(SIZED))
def test_functions_of_data_dependent_size_offer_the_sized_form(name):
    args = {"compress": (BOOLS[0], A), "extract": (BOOLS, A), "union1d": (INTS, INTS)}
    with pytest.raises(gl.TracingError, match=r"test_protocols\.py(.|\n)*repair: .*(size|length)="):
        traced(getattr(np, name), args.get(name, (INTS[0] if name == "bincount" else A,)))


@pytest.mark.parametrize("name", sorted(WRITING))
def test_functions_that_write_in_place_offer_the_functional_form(name):
    with pytest.raises(gl.GradloomError, match=r"in place(.|\n)*repair: .*inplace=False"):
        traced(getattr(np, name), WRITING[name])


def test_the_table_compiles_as_one_program():
    chosen = [f for f in FUNCTIONS if f.__name__ not in UNDEFINED]
    cases = [arguments(f) for f in chosen]
    leaves, structure = flatten(cases)
    arrays = [leaf for leaf in leaves if isinstance(leaf, np.ndarray)]

    @gl.jit
    def everything(given):
        values = iter(given)
        filled = [next(values) if isinstance(leaf, np.ndarray) else leaf for leaf in leaves]
        cases = unflatten(structure, filled)
        return [as_list(f(*args)) for f, args in zip(chosen, cases, strict=True)]

    for f, ours, args in zip(chosen, everything(arrays), cases, strict=True):
        for one, numpys in zip(ours, as_list(f(*args)), strict=True):
            np.testing.assert_allclose(one, numpys, rtol=1e-11, atol=1e-12, err_msg=f.__name__)


ARITHMETIC = [
    *(operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv),
    *(operator.mod, operator.pow, operator.lt, operator.le, operator.gt, operator.ge),
    *(operator.eq, operator.ne, divmod),
]
INTEGRAL = [operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift]


def both_ways(function, x, other):
    """`function(x, other)` and `function(other, x)`, with only `x` traced."""
    program, _ = traced(lambda v: (function(v, other), function(other, v)), (x,))
    return interpret(program.graph, x, *program.captured)


@pytest.mark.parametrize(
    "other",
    [A[::-1].copy(), np.float32(0.5), np.float64(0.5), 0.5, 2, [0.1, 0.2, 0.3, 0.4]],
    ids=lambda v: type(v).__name__,
)
@pytest.mark.parametrize("function", ARITHMETIC, ids=lambda f: f.__name__)
def test_operators_work_in_both_orders(function, other):
    wanted = as_list(function(A, other)) + as_list(function(other, A))
    for ours, numpys in zip(both_ways(function, A, other), wanted, strict=True):
        np.testing.assert_allclose(ours, numpys, rtol=1e-12)
        assert ours.dtype == numpys.dtype


@pytest.mark.parametrize("other", [INTS % 4, np.int64(3), 3], ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("function", INTEGRAL, ids=lambda f: f.__name__)
def test_bitwise_operators_work_in_both_orders(function, other):
    x = INTS % 5
    wanted = [function(x, other), function(other, x)]
    for ours, numpys in zip(both_ways(function, x, other), wanted, strict=True):
        np.testing.assert_array_equal(ours, numpys)


def test_matrix_product_works_in_both_orders():
    left, right = both_ways(operator.matmul, SQUARE, SQUARE.T.copy())
    np.testing.assert_allclose(left, SQUARE @ SQUARE.T)
    np.testing.assert_allclose(right, SQUARE.T @ SQUARE)


def test_unary_operators_and_augmented_names():
    def f(x):
        x += 1
        x @= np.eye(3)
        x **= 2
        return -x, +x, abs(-x)

    program, _ = traced(f, (SQUARE,))
    wanted = (SQUARE + 1) ** 2
    results = interpret(program.graph, SQUARE, *program.captured)
    for ours, sign in zip(results, (-1, 1, 1), strict=True):
        np.testing.assert_allclose(ours, sign * wanted)


def test_attributes_and_methods_are_those_of_an_array():
    names = ("shape", "dtype", "ndim", "size", "nbytes", "itemsize")
    calls = {
        "reshape": (2, 6),
        "transpose": (1, 0),
        "astype": ("int32",),
        "swapaxes": (0, 1),
        "clip": (0.3, 0.6),
        "dot": (VECTOR,),
        "take": ([1, 0],),
        "repeat": (2,),
        "round": (1,),
        **dict.fromkeys(("sum", "prod", "mean", "var", "std", "max", "min", "ptp", "any"), ()),
        **dict.fromkeys(("all", "argmax", "argmin", "cumsum", "cumprod", "ravel", "squeeze"), ()),
        **dict.fromkeys(("flatten", "copy", "diagonal", "trace"), ()),
    }
    namespace = {"ptp": np.ptp}  # methods that NumPy has as functions only

    def f(x):
        assert {n: getattr(x, n) for n in names} == {n: getattr(A, n) for n in names}
        assert len(x) == 3
        assert len(list(x)) == 3
        first, *_ = x
        return [x.T, x.mT, first, *(getattr(x, n)(*a) for n, a in calls.items())]

    program, _ = traced(f, (A,))
    results = interpret(program.graph, A, *program.captured)
    wanted = [A.T, A.mT, A[0]]
    wanted += [
        namespace[n](A, *a) if n in namespace else getattr(A, n)(*a) for n, a in calls.items()
    ]
    for ours, numpys in zip(results, wanted, strict=True):
        np.testing.assert_allclose(ours, numpys, rtol=1e-12)


def test_the_array_api_finds_the_namespace():
    def standard(x):
        xp = x.__array_namespace__()
        assert xp is gnp
        return xp.sum(xp.exp(x)), xp.permute_dims(x, (1, 0)), xp.concat([x, x])

    program, _ = traced(standard, (A,))
    total, turned, doubled = interpret(program.graph, A)
    np.testing.assert_allclose(total, np.sum(np.exp(A)))
    assert (turned.shape, doubled.shape) == ((4, 3), (6, 4))


def test_keywords_of_numpy_that_change_nothing_are_taken():
    def f(x):
        low, high = np.clip(x, a_min=0.3, a_max=None), np.clip(x, min=0.3)
        return np.sum(x, axis=0, out=None), low, high, np.einsum("ij->j", x, optimize=True)

    program, _ = traced(f, (A,))
    total, low, high, summed = interpret(program.graph, A)
    np.testing.assert_allclose(total, summed)
    np.testing.assert_array_equal(low, high)


def test_the_dtype_of_a_result_is_known_in_the_trace():
    def f(x, n):
        assert np.result_type(x, np.float32) == "float64"
        assert np.result_type(n, 1.0) == gnp.result_type(n, 2.5) == "float64"
        assert (np.shape(x), np.ndim(x), np.size(x), np.size(x, 1)) == ((3, 4), 2, 12, 4)
        return x

    traced(f, (A, INTS))


KEYS = [
    *(0, -1, slice(None, None, -2), None, Ellipsis, INDEX, [1, 0], [[0], [2]]),
    *((1, 2), (slice(1), 3), (..., 0), (None, ..., None), (slice(None), [0, 3])),
    *((INDEX, INDEX), (INDEX[:, None], [0, 1]), (0, ..., [1, 2]), np.int64(2)),
    *(BOOLS, np.array([True, False, True]), (..., np.array([True, False, True, True]))),
    *((np.array([True, False, True]), 0), [True, False, True], (slice(0, 0), 1)),
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_square_brackets_are_numpys(key):
    program, _ = traced(lambda x: x[key], (A,))
    (ours,) = interpret(program.graph, A, *program.captured)
    np.testing.assert_array_equal(ours, A[key])


def test_methods_of_ufuncs():
    x = np.array([[3.0, 1.0, 2.0], [-1.0, 5.0, 0.5]])
    f = [
        lambda x: np.add.reduce(x),
        lambda x: np.add.reduce(x, axis=1, keepdims=True),
        lambda x: np.multiply.reduce(x, axis=None),
        lambda x: np.maximum.reduce(x, 1),
        lambda x: np.minimum.reduce(x, initial=0.25),
        lambda x: np.logical_and.reduce(x > 0),
        lambda x: np.add.accumulate(x),
        lambda x: np.multiply.accumulate(x, 1),
        lambda x: np.maximum.accumulate(x),
        lambda x: np.minimum.accumulate(x, axis=-1),
        lambda x: np.subtract.outer(x, [1.0, 2.0]),
        lambda x: np.arctan2.outer(2.0, x),
        lambda x: np.multiply.outer(np.arange(3), x[0]),
        lambda x: np.sum(x[0, 0], axis=0),
        lambda x: np.max(x[0, 0], axis=-1),
    ]
    for call, got in zip(f, gl.jit(lambda x: [each(x) for each in f])(x), strict=True):
        np.testing.assert_allclose(got, call(x), 1e-15, strict=True)
    for call in (lambda x: np.add.at(x, 0, 1.0), lambda x: np.add.reduceat(x, [0, 1])):
        with pytest.raises(TracingError, match="functions of gradloom"):
            gl.jit(call)(x)
    with pytest.raises(TracingError, match="takes no dtype="):
        gl.jit(lambda x: np.maximum.accumulate(x, dtype="float32"))(x)
