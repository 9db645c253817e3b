"""NumPy's own functions, and Python's operators, on traced values; generated from the table."""

import itertools
import operator

import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp
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
}
UNDEFINED = {"empty_like"}  # NumPy leaves its values open
PAIRS = {"isclose", "allclose", "array_equal"}


def arguments(theirs):
    if theirs.__name__ in ARGUMENTS:
        return ARGUMENTS[theirs.__name__]
    two = theirs.__name__ in PAIRS or (isinstance(theirs, np.ufunc) and theirs.nin == 2)
    return (A, B) if two else (A,)


def traced(function, args):
    """The results of `function` on arguments all of whose float, int and bool arrays are traced."""
    found = []
    kept = gl.tree_map(lambda v: found.append(v) if isinstance(v, np.ndarray) else v, list(args))

    def call(values):
        rest = iter(values)
        whole = gl.tree_map(lambda v: v, kept)
        return function(*fill(args, rest, whole))

    program = record(call, [leaf_of(a) for a in found])
    return program, found


def fill(args, values, whole):
    return [
        [next(values) if isinstance(v, np.ndarray) else v for v in a]
        if isinstance(a, list)
        else next(values)
        if isinstance(a, np.ndarray)
        else a
        for a in args
    ]


@pytest.mark.parametrize("theirs", NUMPY, ids=lambda f: f.__name__)
def test_every_function_of_the_table_works_under_its_numpy_name(theirs):
    args = arguments(theirs)
    program, found = traced(theirs, args)
    wanted = theirs(*args)
    wanted = list(wanted) if isinstance(wanted, tuple | list) else [wanted]
    if theirs in (np.shape, np.ndim, np.size):
        wanted = np.ravel(wanted[0] if len(wanted) == 1 else wanted).tolist()
    results = interpret(program.graph, *found, *program.captured)
    assert len(results) == len(wanted)
    for ours, numpys in zip(results, wanted, strict=True):
        assert np.shape(ours) == np.shape(numpys)
        if theirs.__name__ not in UNDEFINED:
            np.testing.assert_allclose(ours, numpys, rtol=1e-12, atol=1e-13)
            assert ours.dtype == np.asarray(numpys).dtype
