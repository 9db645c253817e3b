"""Floating point beside exact fractions: each result is the right neighbour of the exact value."""

import math
from fractions import Fraction

import numpy as np
import pytest

from tests.ptx import perturbed
from tests.ptx.snippets import apply

RNG = np.random.default_rng(2)
DTYPES = {"f32": np.float32, "f64": np.float64, "f16": np.float16}
EXACT = {
    "add": (2, lambda a, b: a + b),
    "sub": (2, lambda a, b: a - b),
    "mul": (2, lambda a, b: a * b),
    "div": (2, lambda a, b: a / b),
    "fma": (3, lambda a, b, c: a * b + c),
    "rcp": (1, lambda a: 1 / a),
}


def samples(dtype: type, count: int) -> np.ndarray:
    """Few bits and many, near and far, so that ties and cancellations occur."""
    bits = np.finfo(dtype).nmant
    few = RNG.integers(1, 16, count) / 8
    long = 1 + RNG.integers(0, 1 << bits, count) * 2.0**-bits
    ties = 1 + RNG.integers(0, 4, count) * 2.0**-bits
    kind = RNG.integers(0, 3, count)
    scale = np.ldexp(1.0, RNG.integers(-12, 12, count))
    sign = RNG.choice([-1, 1], count)
    return (np.choose(kind, [few, long, ties]) * scale * sign).astype(dtype)


def neighbour(exact: Fraction, dtype: type, mode: str) -> float:
    """The number of a type that a rounding mode gives."""
    near = dtype(float(exact))
    if dtype is np.float32:  # rounding twice may be off by one: look at both sides
        sides = [near, np.nextafter(near, dtype(np.inf)), np.nextafter(near, dtype(-np.inf))]
        gaps = [abs(Fraction(float(side)) - exact) for side in sides]
        best = min(gaps)
        winners = [s for s, gap in zip(sides, gaps, strict=True) if gap == best]
        near = next((w for w in winners if not int(w.view(np.uint32)) & 1), winners[0])
    value = Fraction(float(near))
    if mode == "rn" or value == exact:
        return float(near)
    if mode == "rz":
        mode = "rm" if exact > 0 else "rp"
    if mode == "rp":
        return float(near if value > exact else np.nextafter(near, dtype(np.inf)))
    return float(near if value < exact else np.nextafter(near, dtype(-np.inf)))


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("mode", ["rn", "rz", "rm", "rp"])
@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_rounding(name, mode, kind):
    count, function = EXACT[name]
    dtype = DTYPES[kind]
    values = [samples(dtype, 400) for _ in range(count)]
    operands = ", ".join(f"{{{at + 1}}}" for at in range(count))
    found = apply(
        f"{name}.{mode}.{kind} {{0}}, {operands};", " ".join([kind] * (count + 1)), *values
    )
    for *row, result in zip(*values, found, strict=True):
        exact = function(*(Fraction(float(value)) for value in row))
        assert float(result) == neighbour(exact, dtype, mode), row


@pytest.mark.parametrize("kind", ["f32", "f64"])
@pytest.mark.parametrize("mode", ["rn", "rz", "rm", "rp"])
def test_square_root(kind, mode):
    x = np.abs(samples(DTYPES[kind], 300))
    found = apply(f"sqrt.{mode}.{kind} {{0}}, {{1}};", f"{kind} {kind}", x)
    for value, root in zip(x, found, strict=True):
        below, above = (np.nextafter(root, DTYPES[kind](side)) for side in (-np.inf, np.inf))
        square = [Fraction(float(side)) ** 2 for side in (below, root, above)]
        exact = Fraction(float(value))
        assert square[0] < exact < square[2]
        assert not (mode in ("rz", "rm") and square[1] > exact)
        assert not (mode == "rp" and square[1] < exact)


def test_fma_near_the_smallest_and_greatest():
    rows = [
        (2.0**-75, 2.0**-75, 2.0**-149),  # a tie of subnormals
        (1 + 2.0**-23, 2.0**-149, 2.0**-148),
        (2.0**-100, -(2.0**-100), 2.0**-126),
        (2.0**64, 2.0**64, -(2.0**127)),
        (0.0, -1.0, 0.0),
        (math.inf, 0.0, 1.0),
    ]
    a, b, c = (np.float32(column) for column in zip(*rows, strict=True))
    found = apply("fma.rn.f32 {0}, {1}, {2}, {3};", "f32 f32 f32 f32", a, b, c)
    assert found[0] == np.float32(2.0**-148)
    assert found[1] == np.float32(2.0**-148 + 2.0**-149)
    assert found[2] == np.float32(2.0**-126)
    assert found[3] == np.float32(2.0**127)
    assert found[4] == 0
    assert not np.signbit(found[4])
    assert np.isnan(found[5])
    wide = [
        np.float64(x) for x in ([1e300, 1e-200, 0.0], [1e300, 1e-200, 5.0], [-1e308, 1e-320, -0.0])
    ]
    result = apply("fma.rn.f64 {0}, {1}, {2}, {3};", "f64 f64 f64 f64", *wide)
    assert result[0] == np.inf
    assert result[1] == 1e-320
    assert result[2] == 0


def test_flushing_subnormals():
    x = np.float32([1e-40, -1e-40, 2.0**-126, 1.0])
    y = np.float32([1.0, 1.0, 0.5, 1e-40])
    kinds = "f32 f32 f32"
    assert apply("mul.f32 {0}, {1}, {2};", kinds, x, y)[0] != 0
    flushed = apply("mul.ftz.f32 {0}, {1}, {2};", kinds, x, y)
    assert (flushed == 0).all()
    assert np.signbit(flushed).tolist() == [False, True, False, False]
    line = "add.ftz.f32 {0}, {1}, {1}; add.f32 {0}, {1}, {2};"  # the register itself is as it was
    assert apply(line, kinds, x, np.float32([0, 0, 0, 0]))[0] == np.float32(1e-40)


def test_orders_and_signs_of_special_values():
    x = np.float32([np.nan, 0.0, -0.0, 1.0, np.inf])
    y = np.float32([2.0, -0.0, 0.0, np.nan, -np.inf])
    kinds = "f32 f32 f32"
    assert apply("min.f32 {0}, {1}, {2};", kinds, x, y).tolist() == [2, 0, 0, 1, -np.inf]
    low = apply("min.f32 {0}, {1}, {2};", kinds, x, y)
    assert np.signbit(low[1:3]).all()
    assert not np.signbit(apply("max.f32 {0}, {1}, {2};", kinds, x, y)[1:3]).any()
    assert np.isnan(apply("min.NaN.f32 {0}, {1}, {2};", kinds, x, y)[[0, 3]]).all()
    for name, expected in {
        "lt": [0, 0, 0, 0, 0],
        "ltu": [1, 0, 0, 1, 0],
        "ne": [0, 0, 0, 0, 1],
        "neu": [1, 0, 0, 1, 1],
        "equ": [1, 1, 1, 1, 0],
        "num": [0, 1, 1, 0, 1],
        "nan": [1, 0, 0, 1, 0],
        "ge": [0, 1, 1, 0, 1],
    }.items():
        line = f"setp.{name}.f32 %p1, {{1}}, {{2}}; selp.f32 {{0}}, 0f3F800000, 0f00000000, %p1;"
        assert apply(line, kinds, x, y).tolist() == expected, name


def test_clamping():
    x = np.float32([-1, 0.25, 7, np.nan])
    found = apply("add.sat.f32 {0}, {1}, 0f00000000;", "f32 f32", x)
    assert found.tolist() == [0, 0.25, 1, 0]


HALVES = (
    np.float16([1, 1.5, -2.25, 1000, 0.125, 3.0, 0.1, 7]),
    np.float16([3, 0.1, 7, 1, 9, -1, 2, 5]),
)


def test_half_precision():
    x, y = HALVES
    kinds = "u16 u16 u16"
    bits = [v.view(np.uint16) for v in (x, y)]
    for name, expected in (("add", x + y), ("mul", x * y), ("max", np.maximum(x, y))):
        found = apply(f"{name}.f16 {{0}}, {{1}}, {{2}};", kinds, *bits)
        assert (found.view(np.float16) == expected).all()
    fused = apply("fma.rn.f16 {0}, {1}, {2}, {1};", kinds, *bits).view(np.float16)
    exact = x.astype(float) * y.astype(float) + x.astype(float)
    assert (fused == exact.astype(np.float16)).all()


def test_two_halves_in_a_word():
    x, y = (v.view(np.uint32) for v in HALVES)
    found = apply("fma.rn.f16x2 {0}, {1}, {2}, {2};", "b32 b32 b32", x, y).view(np.float16)
    exact = HALVES[0].astype(float) * HALVES[1].astype(float) + HALVES[1].astype(float)
    assert (found == exact.astype(np.float16)).all()
    negative = apply("neg.f16x2 {0}, {1};", "b32 b32", x).view(np.float16)
    assert (negative == -HALVES[0]).all()


def brain(values: np.ndarray) -> np.ndarray:
    """float32 rounded to bfloat16, as float32."""
    bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16 << 16
    return rounded.astype(np.uint32).view(np.float32)


def test_bfloat16():
    x, y = (brain(RNG.standard_normal(40)) for _ in range(2))
    bits = [(v.view(np.uint32) >> 16).astype(np.uint16) for v in (x, y)]
    found = apply("fma.rn.bf16 {0}, {1}, {2}, {1};", "u16 u16 u16", *bits)
    expected = brain(x.astype(float) * y.astype(float) + x.astype(float))
    assert ((found.astype(np.uint32) << 16).view(np.float32) == expected).all()


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("ex2", np.exp2),
        ("lg2", np.log2),
        ("sin", np.sin),
        ("cos", np.cos),
        ("tanh", np.tanh),
        ("rcp", lambda x: 1 / x),
        ("rsqrt", lambda x: 1 / np.sqrt(x)),
        ("sqrt", np.sqrt),
    ],
)
def test_approximations(name, function):
    x = RNG.uniform(0.1, 3, 200).astype(np.float32)
    line = f"{name}.approx.f32 {{0}}, {{1}};"
    exact = function(x.astype(float))
    plain = apply(line, "f32 f32", x)
    assert (plain == exact.astype(np.float32)).all()
    with perturbed(3):
        noisy = apply(line, "f32 f32", x)
    assert (noisy != plain).any()
    assert np.abs(noisy / exact - 1).max() < 20 * 2.0**-23


def test_gross_reciprocal_of_float64_has_an_empty_lower_word():
    x = RNG.uniform(1, 2, 50)
    found = apply("rcp.approx.ftz.f64 {0}, {1};", "f64 f64", x)
    assert not (found.view(np.uint64) & 0xFFFFFFFF).any()
    assert np.abs(found * x - 1).max() < 2.0**-20


def test_two_float32_in_a_word():
    x, y = (RNG.standard_normal(16).astype(np.float32) for _ in range(2))
    words = x.view(np.uint64), y.view(np.uint64)
    found = apply("fma.rn.f32x2 {0}, {1}, {2}, {1};", "b64 b64 b64", *words).view(np.float32)
    assert (found == (x.astype(float) * y + x).astype(np.float32)).all()
    tiny = np.float32([1e-40, 2.0]).view(np.uint64)
    line = "add.rn.ftz.f32x2 {0}, {1}, {1};"
    assert apply(line, "b64 b64", tiny).view(np.float32).tolist() == [0, 4]


def test_floats_in_registers_of_bits():
    """As newer compilers write them: all registers are untyped."""
    x = np.float32([0.5, 3.0])
    line = "mov.b32 %r9, 0f3FC00000; fma.rn.f32 {0}, {1}, %r9, 0f40000000;"
    assert apply(line, "b32 b32", x.view(np.uint32)).view(np.float32).tolist() == [2.75, 6.5]
