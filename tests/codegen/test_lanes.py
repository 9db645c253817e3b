"""Every lane operator, as machine code and on NumPy lanes, against NumPy itself."""

import itertools
import operator

import numpy as np
import pytest
from llvmlite import ir
from tests.native_lanes import native

from gradloom.codegen.lanes import LlvmLane, constant, literal, register_type, splat
from gradloom.codegen.lanes_numpy import NumpyLane

INTS, FLOATS, BOOL = ("int32", "int64", "uint32"), ("float32", "float64"), ("bool",)
NUMBERS = INTS + FLOATS
EVERY = NUMBERS + BOOL
WIDTHS = (None, 4, 16)

# name: operands, dtypes, on lanes, on arrays
OPERATORS = {
    "add": (2, NUMBERS, operator.add, np.add),
    "sub": (2, NUMBERS, operator.sub, np.subtract),
    "mul": (2, NUMBERS, operator.mul, np.multiply),
    "truediv": (2, FLOATS, operator.truediv, np.true_divide),
    "floordiv": (2, INTS, operator.floordiv, np.floor_divide),
    "mod": (2, INTS, operator.mod, np.remainder),
    "neg": (1, NUMBERS, operator.neg, np.negative),
    "and": (2, INTS + BOOL, operator.and_, np.bitwise_and),
    "or": (2, INTS + BOOL, operator.or_, np.bitwise_or),
    "xor": (2, INTS + BOOL, operator.xor, np.bitwise_xor),
    "invert": (1, INTS + BOOL, operator.invert, np.invert),
    "lshift": (2, INTS, operator.lshift, np.left_shift),
    "rshift": (2, INTS, operator.rshift, np.right_shift),
    "lt": (2, EVERY, operator.lt, np.less),
    "le": (2, EVERY, operator.le, np.less_equal),
    "gt": (2, EVERY, operator.gt, np.greater),
    "ge": (2, EVERY, operator.ge, np.greater_equal),
    "eq": (2, EVERY, operator.eq, np.equal),
    "ne": (2, EVERY, operator.ne, np.not_equal),
    "maximum": (2, EVERY, lambda a, b: a.maximum(b), np.maximum),
    "minimum": (2, EVERY, lambda a, b: a.minimum(b), np.minimum),
    "abs": (1, EVERY, lambda a: a.abs(), np.abs),
    "sqrt": (1, FLOATS, lambda a: a.sqrt(), np.sqrt),
    "floor": (1, NUMBERS, lambda a: a.floor(), np.floor),
    "ceil": (1, NUMBERS, lambda a: a.ceil(), np.ceil),
    "rint": (1, FLOATS, lambda a: a.rint(), np.rint),
    "trunc": (1, NUMBERS, lambda a: a.trunc(), np.trunc),
    "copysign": (2, FLOATS, lambda a, b: a.copysign(b), np.copysign),
    "where": (2, EVERY, lambda a, b: (a < b).where(a, b), lambda a, b: np.where(a < b, a, b)),
    "fma": (2, INTS, lambda a, b: a.fma(b, a), lambda a, b: a * b + a),
    "bits": (1, FLOATS, lambda a: a.bits(), lambda a: a.view(f"i{a.itemsize}")),
    "from_bits": (1, FLOATS, lambda a: a.bits().from_bits(), np.positive),
    "add_number": (1, NUMBERS, lambda a: 2 + a + 1, lambda a: 2 + a + 1),
    "sub_number": (1, NUMBERS, lambda a: 2 - (a - 1), lambda a: 2 - (a - 1)),
    "mul_number": (1, NUMBERS, lambda a: 3 * a * 2, lambda a: 3 * a * 2),
    "truediv_number": (1, FLOATS, lambda a: 2.5 / (a / 3.0), lambda a: 2.5 / (a / a.dtype.type(3))),
    "floordiv_number": (1, INTS, lambda a: 17 // (a // 7), lambda a: 17 // (a // 7)),
    "mod_number": (1, INTS, lambda a: 17 % (a % 7), lambda a: 17 % (a % 7)),
    "divide_by_zero": (1, INTS, lambda a: a // 0 + a % 0, lambda a: a * 0),
    "lshift_number": (1, INTS, lambda a: 3 << (a << 4), lambda a: 3 << (a << 4)),
    "rshift_number": (1, INTS, lambda a: (1 << 20) >> (a >> 3), lambda a: (1 << 20) >> (a >> 3)),
    "lshift_far": (1, INTS, lambda a: a << 64, lambda a: a * 0),
    "maximum_number": (1, NUMBERS, lambda a: a.maximum(3), lambda a: np.maximum(a, 3)),
    "minimum_number": (1, NUMBERS, lambda a: a.minimum(3), lambda a: np.minimum(a, 3)),
    "where_number": (1, NUMBERS, lambda a: (a > 3).where(1, a), lambda a: np.where(a > 3, 1, a)),
    "like": (1, NUMBERS, lambda a: a.like(5), lambda a: np.full_like(a, 5)),
}
CASES = [(name, dtype) for name, row in OPERATORS.items() for dtype in row[1]]


def edges(dtype: str) -> np.ndarray:
    """Numbers of `dtype` at which something may go wrong, and a few that are dull."""
    if dtype == "bool":
        return np.array([False, True])
    if dtype in FLOATS:
        info = np.finfo(dtype)
        special = [0, -0.0, np.inf, -np.inf, np.nan, info.max, info.tiny, info.smallest_subnormal]
        return np.array([*special, 0.5, -0.5, 1.5, 2.5, -2.5, 3, -7.75, 1e9], dtype)
    info = np.iinfo(dtype)
    special = [info.min, info.min + 1, info.max, info.max - 1]
    small = [0, 1, 2, 3, 7, 31, 32, 33, 63, 64, 65, 12345]
    signed = [] if dtype == "uint32" else [-1, -2, -3, -7, -32, -12345]
    return np.array(special + small + signed, dtype)


def operands(count: int, dtype: str) -> list[np.ndarray]:
    """All pairs of edges."""
    pairs = np.array(list(itertools.product(edges(dtype), repeat=2)), dtype)
    return [np.ascontiguousarray(column) for column in pairs.T][:count]


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_operator(name: str, dtype: str):
    count, _, on_lanes, on_arrays = OPERATORS[name]
    arrays = operands(count, dtype)
    with np.errstate(all="ignore"):
        expected = on_arrays(*arrays)
    results = [on_lanes(*map(NumpyLane, arrays)).value]
    results += [native(on_lanes, [dtype] * count, width)(*arrays) for width in WIDTHS]
    for result in results:
        assert result.dtype == expected.dtype
        np.testing.assert_array_equal(np.broadcast_to(result, expected.shape), expected)


def test_every_method_has_a_row():
    ours = {name for name in vars(LlvmLane) if not name.startswith("_")}
    named = {name for name in OPERATORS if name in ours}
    control = {"seldom", "repeat"}  # branches and loops of lane functions
    control |= {"scales", "scaled", "inverse_estimate"}  # tests/codegen/test_avx512.py
    assert ours - named - control == {"builder", "dtype", "value", "width", "is_float", "cast"}
    lane = NumpyLane(0.0)
    assert {name for name in ours if not hasattr(lane, name)} == {
        *("builder", "width", "is_float", "scaled")
    }


@pytest.mark.parametrize(("source", "target"), list(itertools.product(EVERY, repeat=2)))
def test_cast(source: str, target: str):
    values = edges(source)
    if source in FLOATS and target in INTS:
        values = np.array([0, -0.0, 0.5, 0.99, 1.5, 2.5, 3, 7.75, 1e9], source)
        values = values if target == "uint32" else np.concatenate([values, -values])
    with np.errstate(all="ignore"):
        expected = values.astype(target)
    for width in WIDTHS:
        np.testing.assert_array_equal(
            native(lambda a: a.cast(target), [source], width)(values), expected
        )
    np.testing.assert_array_equal(NumpyLane(values).cast(target).value, expected)


@pytest.mark.parametrize(("source", "target"), list(itertools.product(FLOATS, INTS)))
def test_cast_saturates(source: str, target: str):
    info = np.iinfo(target)
    values = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 2.0**63, -(2.0**63), 2.0**32], source)
    expected = [min(max(int(v), info.min), info.max) for v in values[3:].tolist()]
    expected = [0, info.max, info.min, *expected]
    for width in WIDTHS:
        result = native(lambda a: a.cast(target), [source], width)(values)
        assert result.tolist() == expected
    assert NumpyLane(values).cast(target).value.tolist() == expected


@pytest.mark.parametrize("dtype", FLOATS)
def test_fma_rounds_once(dtype: str):
    a = np.array([1 + np.finfo(dtype).eps], dtype)
    c = -(a * a)
    expected = np.array([np.finfo(dtype).eps ** 2], dtype)
    for width in WIDTHS:
        function = native(lambda a, c: a.fma(a, c), [dtype, dtype], width)
        np.testing.assert_array_equal(function(a, c), expected)
    np.testing.assert_array_equal(NumpyLane(a).fma(NumpyLane(a), NumpyLane(c)).value, expected)


def test_scalar_beside_vector_is_repeated():
    def mixed(x):
        scalar = constant(x.builder, "float32", 3.0)
        chosen = (scalar > 2).where(scalar, scalar * 2)
        return scalar.fma(x, chosen) - (x > 2).where(scalar, 0) + (scalar > 5).where(x, 0)

    x = np.arange(16, dtype="float32")
    expected = 3 * x + 3 - np.where(x > 2, 3, 0)
    np.testing.assert_array_equal(native(mixed, ["float32"], 8)(x), expected)


def a_builder(*arguments: ir.Type) -> ir.IRBuilder:
    function = ir.Function(ir.Module(), ir.FunctionType(ir.VoidType(), arguments), "f")
    return ir.IRBuilder(function.append_basic_block())


def test_wrong_operands_are_refused():
    builder = a_builder(register_type("float32", 8), register_type("float32", 4))
    wide, narrow = (LlvmLane(builder, value, "float32") for value in builder.function.args)
    whole = wide.cast("int32")
    refused = [
        (lambda: wide + narrow, "become one of 8"),
        (lambda: wide + whole, "float32, int32"),
        (lambda: whole / 2, "true division of int32"),
        (lambda: wide // 2, "// and % of float32"),
        (lambda: wide.where(wide, wide), "where on a float32"),
        (lambda: (wide > 0).where(1, 2), "needs a lane"),
        (lambda: (wide > 0).where(wide, whole), "float32, int32"),
        (lambda: splat(narrow, 8), "a lane of 4 elements"),
        (lambda: NumpyLane(np.zeros(1)) + NumpyLane(np.zeros(1, "float32")), "float64, float32"),
    ]
    for call, message in refused:
        with pytest.raises(TypeError, match=message):
            call()


def test_text_is_lean():
    builder = a_builder(register_type("float32", 16))
    x = LlvmLane(builder, builder.function.args[0], "float32")
    for _ in range(3):
        x = (x * 1.5 + 2).fma(x, 1).sqrt()
    text = str(builder.module)
    assert text.count("declare") == 2
    assert "fast" not in text
    assert text.count("0x3ff8000000000000") == 3


def test_literals_wrap_and_round():
    assert literal("int32", 2**32 + 5) == 5
    assert literal("int64", 2**63) == -(2**63)
    assert literal("uint32", -1) == 2**32 - 1
    assert literal("float32", 0.1) == float(np.float32(0.1))
    assert literal("float32", -1e39) == -np.inf
    assert literal("bool", 2) is True
