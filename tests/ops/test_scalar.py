"""The scalar functions against 40-digit arithmetic, on NumPy lanes and as machine code."""

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import mpmath
import numpy as np
import pytest
from tests.native_lanes import native

from gradloom.codegen.cpu.target import host_target
from gradloom.codegen.lanes_numpy import NumpyLane
from gradloom.ops import scalar

DTYPES = ("float32", "float64")
WIDTHS = (None, 4, 8, 16)


def generator() -> np.random.Generator:
    """The same numbers in every test, whatever ran before it."""
    return np.random.default_rng(7)


class Row(NamedTuple):
    """A function of one number: exact, in double precision, and how far ours may be from it."""

    exact: Callable[[Any], Any]
    double: Callable[[np.ndarray], np.ndarray]
    ulps: tuple[float, float]  # float32, float64
    samples: tuple[float, ...] = (1.0, 10.0, 110.0)  # uniform within each of these


def log_or_edge(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`function` where the real logarithm has none: -inf at 0, NaN below."""

    def edged(x: Any) -> Any:
        if x < 0 or mpmath.isnan(x):
            return mpmath.nan
        return -mpmath.inf if x == 0 else function(x)

    return edged


def exact_log1p(x: Any) -> Any:
    return log_or_edge(lambda _: mpmath.log1p(x))(x + 1)


def exact_expm1(x: Any) -> Any:
    return mpmath.expm1(x) if mpmath.isfinite(x) else mpmath.exp(x) - 1


def exact_tanh(x: Any) -> Any:
    # Beyond 400 mpmath would form e**x with as many digits as that has.
    return mpmath.tanh(x) if abs(x) < 400 or mpmath.isnan(x) else mpmath.sign(x)


def exact_softplus(x: Any) -> Any:
    return max(x, 0) + mpmath.log1p(mpmath.exp(-abs(x))) if mpmath.isfinite(x) else max(x, 0)


def exact_rsqrt(x: Any) -> Any:
    if x == 0:
        return mpmath.inf
    return mpmath.nan if x < 0 or mpmath.isnan(x) else 1 / mpmath.sqrt(x)


def periodic(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: function(x) if mpmath.isfinite(x) else mpmath.nan


def through_float(function: Callable[[float], float]) -> Callable[[np.ndarray], np.ndarray]:
    return np.vectorize(function, otypes=[np.float64])


def within(function: Callable[[Any], Any], low: float, high: float) -> Callable[[Any], Any]:
    """NaN outside of the domain; the ends and infinities as NumPy has them."""
    return lambda x: function(x) if low <= x <= high else mpmath.nan


def exact_atanh(x: Any) -> Any:
    return mpmath.sign(x) * mpmath.inf if abs(x) == 1 else mpmath.atanh(x)


def exact_cbrt(x: Any) -> Any:
    return mpmath.sign(x) * mpmath.cbrt(abs(x)) if mpmath.isfinite(x) else x


def exact_asinh(x: Any) -> Any:
    return mpmath.asinh(x) if mpmath.isfinite(x) else x


def exact_acosh(x: Any) -> Any:
    return mpmath.acosh(x) if x < mpmath.inf else x


TWO = (1.0, 3.0, 45.0, 760.0)
ROWS = {
    "acos": Row(within(mpmath.acos, -1, 1), np.arccos, (1.0, 1.0), samples=(1.0,)),
    "acosh": Row(within(exact_acosh, 1, math.inf), np.arccosh, (1.1, 1.1)),
    "asin": Row(within(mpmath.asin, -1, 1), np.arcsin, (1.0, 1.0), samples=(1.0,)),
    "asinh": Row(exact_asinh, np.arcsinh, (1.1, 1.1)),
    "atanh": Row(within(exact_atanh, -1, 1), np.arctanh, (1.0, 1.0), samples=(1.0,)),
    "cbrt": Row(exact_cbrt, np.cbrt, (1.0, 1.0)),
    "tan": Row(periodic(mpmath.tan), np.tan, (1.0, 1.0), samples=(1.0, 10.0, 1e3, 1e6)),
    "atan": Row(mpmath.atan, np.arctan, (1.9, 1.9)),
    "cos": Row(periodic(mpmath.cos), np.cos, (1.8, 1.8), samples=(1.0, 10.0, 1e3, 1e6)),
    "cosh": Row(mpmath.cosh, np.cosh, (1.5, 1.5), samples=TWO),
    "erf": Row(mpmath.erf, through_float(math.erf), (1.8, 1.8), samples=(1.0, 6.0)),
    "exp": Row(mpmath.exp, np.exp, (1.1, 1.1), samples=TWO),
    "exp2": Row(lambda x: mpmath.mpf(2) ** x, np.exp2, (1.1, 1.1), samples=(1.0, 160.0, 1080.0)),
    "expm1": Row(exact_expm1, np.expm1, (1.9, 1.9), samples=TWO),
    "log": Row(log_or_edge(mpmath.log), np.log, (1.0, 1.0)),
    "log10": Row(log_or_edge(mpmath.log10), np.log10, (2.0, 2.0)),
    "log1p": Row(exact_log1p, np.log1p, (1.5, 1.5)),
    "log2": Row(log_or_edge(lambda x: mpmath.log(x, 2)), np.log2, (1.8, 1.8)),
    "rsqrt": Row(exact_rsqrt, lambda x: 1 / np.sqrt(x), (1.5, 1.5)),
    "sigmoid": Row(
        lambda x: 1 / (1 + mpmath.exp(-x)), lambda x: 1 / (1 + np.exp(-x)), (1.6, 1.6), samples=TWO
    ),
    "sign": Row(mpmath.sign, np.sign, (0.0, 0.0)),
    "sin": Row(periodic(mpmath.sin), np.sin, (1.8, 1.8), samples=(1.0, 10.0, 1e3, 1e6)),
    "sinh": Row(mpmath.sinh, np.sinh, (1.6, 1.6), samples=TWO),
    "softplus": Row(exact_softplus, lambda x: np.logaddexp(x, 0), (1.9, 1.9), samples=TWO),
    "tanh": Row(exact_tanh, np.tanh, (1.9, 1.9), samples=(1.0, 4.0, 25.0)),
}
BINARY = {"power", "remainder", "floor_divide", "fmod", "nextafter", "atan2", "hypot", "logaddexp"}
PARTS = {"significand", "exponent", "scaled", "signbit", "spacing"}
WHOLE = {"gcd", "lcm", "bit_count", "integer_power"}
CASES = [(name, dtype) for name in ROWS for dtype in DTYPES]


def specials(dtype: str) -> np.ndarray:
    info = np.finfo(dtype)
    sizes = [0, 1, 2, 3, 0.5, np.inf, info.max, info.tiny, info.smallest_subnormal, 1 + info.eps]
    sizes += [1 - info.epsneg, 1e5 + 1, 10, 1e10, 0.1]
    return np.array([*sizes, *(-s for s in sizes), np.nan], dtype)


def sweep(row: Row, dtype: str, count: int) -> np.ndarray:
    """Specials, every exponent with both signs, and uniform samples about 0, 1 and further out."""
    random, info = generator(), np.finfo(dtype)
    exponents = np.arange(info.minexp - info.nmant, info.maxexp)
    every = np.ldexp(random.uniform(1, 2, exponents.size), exponents)
    uniform = [random.uniform(-limit, limit, count) for limit in row.samples]
    near_one = 1 + random.normal(size=count) * np.exp(random.uniform(-14, 0, count))
    x = np.concatenate([every, -every, near_one, *uniform]).astype(dtype)
    x = np.concatenate([specials(dtype), x])
    return x[(x != 0) | ~np.signbit(x)]  # mpmath has no negative zero


def exactly(function: Callable[..., Any], *arrays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The exact results, each as a double and what it lacks."""
    with mpmath.workdps(40):
        rows = np.stack(arrays, axis=1).astype("float64").tolist()
        values = [mpmath.mpf(function(*map(mpmath.mpf, row))) for row in rows]
        near = list(map(float, values))
        both = zip(values, near, strict=True)
        rest = [float(v - n) if math.isfinite(n) else 0.0 for v, n in both]
    return np.array(near), np.array(rest)


def ulps(result: np.ndarray, near: np.ndarray, rest: np.ndarray | float = 0.0) -> np.ndarray:
    """Distance in units of the last place of the exact result; infinite where NaNs differ."""
    info = np.finfo(result.dtype)
    with np.errstate(all="ignore"):
        rounded = near.astype(result.dtype)
        unit = np.spacing(np.minimum(np.abs(rounded), info.max)).astype("float64")
        distance = np.abs((result.astype("float64") - near) - rest) / unit
    same = (result == rounded) | (np.isnan(result) & np.isnan(near))
    ends = same & ~np.isfinite(rounded)
    return np.where(ends, 0.0, np.where(np.isnan(distance), np.inf, distance))


def both_ways(name: str, dtype: str, *arrays: np.ndarray) -> dict[str, np.ndarray]:
    """Results on NumPy lanes and as machine code at every width."""
    function = getattr(scalar, name)
    results = {"numpy": function(*map(NumpyLane, arrays)).value}
    for width, wide in itertools.product(WIDTHS, {False, host_target().has_avx512}):
        made = native(function, [dtype] * len(arrays), width, wide)
        results[f"width {width}{' of AVX-512' * wide}"] = made(*arrays)
    return results


def test_every_function_is_tested():
    assert set(scalar.__all__) == set(ROWS) | BINARY | PARTS | WHOLE


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_accuracy(name: str, dtype: str):
    row = ROWS[name]
    if dtype == "float32":
        x = sweep(row, dtype, 20000)
        with np.errstate(all="ignore"):
            near, rest = row.double(x.astype("float64")), 0.0
    else:
        x = sweep(row, dtype, 400)
        near, rest = exactly(row.exact, x)
    for way, result in both_ways(name, dtype, x).items():
        distance = ulps(result, near, rest)
        worst = int(np.argmax(distance))
        assert distance[worst] <= row.ulps[DTYPES.index(dtype)], (way, x[worst], result[worst])


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_signed_zero_and_infinity_as_numpy(name: str, dtype: str):
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan], dtype)
    with np.errstate(all="ignore"):
        expected = ROWS[name].double(x.astype("float64")).astype(dtype)
    for result in both_ways(name, dtype, x).values():
        np.testing.assert_array_equal(result, expected)
        finite = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(result[finite]), np.signbit(expected[finite]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_exact_results(dtype: str):
    whole = np.arange(-120, 120, dtype=dtype)
    powers = np.ldexp(np.ones_like(whole), whole.astype("int32"))
    for result in both_ways("exp2", dtype, whole).values():
        np.testing.assert_array_equal(result, powers)
    for result in both_ways("log2", dtype, powers).values():
        np.testing.assert_array_equal(result, whole)
    square = np.arange(1, 200, dtype=dtype)
    for result in both_ways("power", dtype, square, np.full_like(square, 2)).values():
        np.testing.assert_array_equal(result, square * square)


@pytest.mark.parametrize("name", ["sin", "cos"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_periodic_near_their_zeros(name: str, dtype: str):
    x = (np.arange(1, 1500) * (np.pi / 2)).astype(dtype)
    near, rest = exactly(ROWS[name].exact, x)
    for result in both_ways(name, dtype, x).values():
        assert ulps(result, near, rest).max() <= 1.7


# ---- functions of two numbers --------------------------------------------------------------------
def pairs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    left, right = np.meshgrid(values, values)
    return left.ravel(), right.ravel()


def power_samples(dtype: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Ordinary pairs; bases near 1 under great exponents; results near both ends of the range."""
    random = generator()
    bits = 128 if dtype == "float32" else 1024
    near_one = 1 + random.normal(size=count) * 1e-3
    far = np.exp2(random.uniform(-bits, bits, count))
    x = [np.exp(random.normal(size=count) * 3), near_one, far, random.integers(-20, 20, count)]
    slope = (bits + 30) / np.maximum(np.abs(np.log2(far)), 1)
    y = [random.normal(size=count) * 8, random.normal(size=count) * 3e4]
    y += [random.uniform(-1, 1, count) * slope, random.integers(-12, 12, count)]
    return np.concatenate(x).astype(dtype), np.concatenate(y).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_power_special_cases(dtype: str):
    values = specials(dtype)
    x, y = pairs(values)
    with np.errstate(all="ignore"):
        expected = np.power(x, y)
    for result in both_ways("power", dtype, x, y).values():
        assert ulps(result, expected.astype("float64")).max() <= 2
        number = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(result[number]), np.signbit(expected[number]))


def test_power_float32():
    x, y = power_samples("float32", 20000)
    with np.errstate(all="ignore"):
        near = np.power(x.astype("float64"), y.astype("float64"))
    for way, result in both_ways("power", "float32", x, y).items():
        assert ulps(result, near).max() <= 1.0, way


def test_power_float64():
    x, y = power_samples("float64", 500)
    x = np.where(x == 0, 1, x)
    near, rest = exactly(lambda a, b: mpmath.mpf(a) ** b, x, y)
    for way, result in both_ways("power", "float64", x, y).items():
        assert ulps(result, near, rest).max() <= 1.0, way


def division_samples(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Ordinary pairs, exact multiples, and quotients that need several steps."""
    random, count = generator(), 2000
    y = random.uniform(-9, 9, count)
    far = y * np.exp2(random.uniform(-60, 40, count))
    whole = random.integers(-30, 30, count)
    x = np.concatenate([random.uniform(-50, 50, count), far, whole]).astype(dtype)
    divisor = np.where(whole == 0, 1, random.integers(1, 9, count))
    return x, np.concatenate([y, y, divisor]).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_remainder_and_floor_divide(dtype: str):
    x, y = division_samples(dtype)
    exact = [Fraction(a) // Fraction(b) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    quotient = np.array([float(q) for q in exact])
    for result in both_ways("floor_divide", dtype, x, y).values():
        assert ulps(result, quotient).max() <= 1
        small = np.abs(quotient) < 2.0 ** (np.finfo(dtype).nmant - 1)
        np.testing.assert_array_equal(result[small], quotient[small].astype(dtype))
    expected = np.remainder(x, y)
    for result in both_ways("remainder", dtype, x, y).values():
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("name", ["remainder", "floor_divide"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_division_special_cases(name: str, dtype: str):
    x, y = pairs(np.array([0.0, -0.0, 1, -1, 2.5, -2.5, 7, -7, np.inf, -np.inf, np.nan], dtype))
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(x, y)
    number = ~np.isnan(expected)
    for result in both_ways(name, dtype, x, y).values():
        np.testing.assert_array_equal(result, expected)
        np.testing.assert_array_equal(np.signbit(result[number]), np.signbit(expected[number]))


@pytest.mark.parametrize("name", ["remainder", "fmod"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_remainders_of_huge_quotients_are_exact(name: str, dtype: str):
    random, bits = generator(), 120 if dtype == "float32" else 1000
    x, y = (
        np.ldexp(random.uniform(-2, 2, 2000), random.integers(-bits, bits, 2000)).astype(dtype)
        for _ in range(2)
    )
    info = np.finfo(dtype)
    edges = pairs(np.array([info.max, -info.max, info.tiny, info.smallest_subnormal, 3], dtype))
    x, y = np.concatenate([x, edges[0]]), np.concatenate([y, edges[1]])
    for result in both_ways(name, dtype, x, y).values():
        np.testing.assert_array_equal(result, getattr(np, name)(x, y))


SIGNED = np.array([0.0, -0.0, 1, -1, 2.5, -7, np.inf, -np.inf, np.nan])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["fmod", "nextafter", "arctan2", "hypot", "logaddexp", "spacing"])
def test_functions_of_edges_are_numpys(name: str, dtype: str):
    info = np.finfo(dtype)
    ends = [info.smallest_subnormal, -info.smallest_subnormal, info.tiny, info.max, -info.max]
    x, y = pairs(np.concatenate([SIGNED, ends]).astype(dtype))
    arrays = (x,) if name == "spacing" else (x, y)
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(*arrays)
    number = ~np.isnan(expected)
    for result in both_ways({"arctan2": "atan2"}.get(name, name), dtype, *arrays).values():
        assert ulps(result, expected.astype("float64")).max() <= 2
        np.testing.assert_array_equal(np.signbit(result[number]), np.signbit(expected[number]))


@pytest.mark.parametrize("name", ["atan2", "hypot", "logaddexp"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_functions_of_two_numbers_are_accurate(name: str, dtype: str):
    random, bits = generator(), 60 if dtype == "float32" else 500
    near = [random.normal(size=600) * 3 for _ in range(2)]
    far = [np.ldexp(random.uniform(-2, 2, 600), random.integers(-bits, bits, 600)) for _ in "xy"]
    if name == "logaddexp":  # of numbers whose sum is not close to 1
        far = [random.uniform(5, 900, 600) for _ in "xy"]
        near = [np.abs(a) for a in near]
    x, y = (np.concatenate(both).astype(dtype) for both in zip(near, far, strict=True))
    exact = {
        "atan2": mpmath.atan2,
        "hypot": lambda a, b: mpmath.sqrt(a * a + b * b),
        "logaddexp": lambda a, b: max(a, b) + mpmath.log1p(mpmath.exp(-abs(a - b))),
    }
    known, rest = exactly(exact[name], x, y)
    for result in both_ways(name, dtype, x, y).values():
        assert ulps(result, known, rest).max() <= 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_parts_of_numbers_are_numpys(dtype: str):
    bits = 140 if dtype == "float32" else 1060
    x = np.ldexp(generator().uniform(-2, 2, 2000), generator().integers(-bits, bits, 2000))
    x = np.concatenate([x.astype(dtype), specials(dtype)])
    n = generator().integers(-2 * bits, 2 * bits, x.size)
    with np.errstate(all="ignore"):
        parts, scaled = np.frexp(x), np.ldexp(x, n.astype("int32"))
    for result in both_ways("significand", dtype, x).values():
        np.testing.assert_array_equal(result, parts[0])
    for result in both_ways("exponent", dtype, x).values():
        np.testing.assert_array_equal(result, np.where(np.isfinite(x), parts[1], 0))
    for result in both_ways("scaled", dtype, x, n.astype(dtype)).values():
        np.testing.assert_array_equal(result, scaled)
    for result in both_ways("signbit", dtype, x).values():
        np.testing.assert_array_equal(result, np.signbit(x))


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32"])
def test_functions_of_whole_numbers_are_numpys(dtype: str):
    random, info = generator(), np.iinfo(dtype)
    large = random.integers(info.min, info.max, 300, dtype=dtype)
    small = random.integers(0, 70, 300).astype(dtype)
    x, y = np.concatenate([large, small, [0, 0]]), np.concatenate([small, large, [0, 5]])
    x, y = x.astype(dtype), y.astype(dtype)
    for name in ("gcd", "lcm"):
        for result in both_ways(name, dtype, x, y).values():
            np.testing.assert_array_equal(result, getattr(np, name)(x, y))
    for result in both_ways("bit_count", dtype, x).values():
        np.testing.assert_array_equal(result, np.bitwise_count(x))
    for result in both_ways("integer_power", dtype, large, small).values():
        np.testing.assert_array_equal(result, np.power(large, small))


@pytest.mark.parametrize("name", ["remainder", "floor_divide", "sign"])
def test_integers(name: str):
    x, y = pairs(np.array([-7, -1, 0, 1, 2, 9], "int32"))
    arrays = (x,) if name == "sign" else (x, y)
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(*arrays)
    for result in both_ways(name, "int32", *arrays).values():
        np.testing.assert_array_equal(result, expected)
