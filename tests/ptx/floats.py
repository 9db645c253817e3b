"""Exactly rounded floating point, by error-free transformations, in every rounding mode.

float32 is computed in float64. Where float64 is not exact, its last bit is made sticky ("rounded to
odd": a bit that says that something is missing), and then rounding once more gives what rounding
once would have given. float64 has error-free sums and products, and integers where those fail.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from tests.ptx.action import flush

F16, F32, F64 = np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64)
MODES = ("rn", "rna", "rz", "rm", "rp")
SPLITTER = 134217729.0  # 2**27 + 1: halves a float64 into two of 26 bits
HALF_BITS = np.uint64(0x1FFFFFFF)  # of a float64, what float32 drops
HALFWAY = np.uint64(0x10000000)
SMALL = float(np.finfo(np.float32).tiny) * 2
# Where the error-free transformations of float64 neither overflow nor lose what underflows.
PRODUCTS = (2.0**-900, 2.0**900)


def two_sum(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rounded sum and what rounding took away."""
    total = a + b
    late = total - a
    return total, (a - (total - late)) + (b - late)


def two_product(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rounded product and what rounding took away."""
    product = a * b
    high_a, high_b = a * SPLITTER, b * SPLITTER
    high_a, high_b = high_a - (high_a - a), high_b - (high_b - b)
    low_a, low_b = a - high_a, b - high_b
    error = ((high_a * high_b - product) + high_a * low_b + low_a * high_b) + low_a * low_b
    return product, error


def sticky(total: np.ndarray, error: np.ndarray) -> np.ndarray:
    """`total + error` rounded to odd."""
    bits = total.view(np.int64)
    step = np.where((error > 0) == (total > 0), 1, -1)
    adjust = (error != 0) & (bits & 1 == 0) & np.isfinite(total) & np.isfinite(error)
    # Zero plus an error cannot be: a sum that is zero is exact.
    return np.where(adjust, bits + step, bits).view(np.float64)


def fused_32(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, bool]:
    """`a * b + c` in float64, so that rounding it to float32 rounds once; and whether anything is
    small enough to be subnormal then.

    The product is exact in float64; rounding the sum twice goes wrong only where float64 lands
    halfway between two float32 numbers, or where those are subnormal.
    """
    product = np.multiply(a, b, dtype=F64)
    total = np.add(product, c, dtype=F64)
    halfway = (total.view(np.uint64) & HALF_BITS) == HALFWAY
    small = np.abs(total) < SMALL
    some_small = bool(np.count_nonzero(small))
    if some_small or np.count_nonzero(halfway):
        at = np.nonzero(halfway | (small & (total != 0)))
        if at[0].size:
            c = np.broadcast_to(c, total.shape)[at].astype(F64)
            total[at] = sticky(*two_sum(product[at], c))
    return total, some_small


def fma32(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """float32 `a * b + c`, rounded once, to nearest."""
    return fused_32(a, b, c)[0].astype(F32)


def fma32_flushed(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The same with subnormal results made zero."""
    total, some_small = fused_32(a, b, c)
    result = total.astype(F32)
    return flush(result) if some_small else result


def fma64(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """float64 `a * b + c`, rounded once, to nearest (after Boldo and Melquiond, 2008)."""
    a, b, c = np.broadcast_arrays(a, b, c)
    high, low = two_product(a, b)
    carry, rest = two_sum(c, low)
    value, more = two_sum(high, carry)
    result = value + sticky(*two_sum(rest, more))
    sizes = np.abs(high)
    unsafe = (a != 0) & (b != 0) & ~((sizes > PRODUCTS[0]) & (sizes < PRODUCTS[1]))
    unsafe |= np.maximum(np.abs(a), np.abs(b)) > PRODUCTS[1]
    unsafe |= (np.abs(c) > PRODUCTS[1]) | ~np.isfinite(result)
    for at in np.nonzero(unsafe)[0]:
        result[at] = by_fractions(lambda x, y, z: x * y + z, "rn", a[at], b[at], c[at])
    zero = (a == 0) | (b == 0)
    return np.where(zero, a * b + c, result) if np.count_nonzero(zero) else result


def by_fractions(function: Callable[..., Fraction], mode: str, *values: float) -> float:
    """One float64 operation through exact fractions."""
    if not all(map(math.isfinite, values)):
        return float(function(*map(float, values)))
    exact = function(*(Fraction(float(value)) for value in values))
    if exact == 0:
        return float(function(*map(float, values))) if mode != "rm" else 0.0
    try:
        near = float(exact)
    except OverflowError:
        near = math.inf if exact > 0 else -math.inf
    return directed_one(near, exact, mode)


def directed_one(near: float, exact: Fraction, mode: str) -> float:
    """The neighbour that a rounding mode asks for, from the nearest."""
    over = math.isinf(near) or abs(Fraction(near)) > abs(exact)
    above = over if exact > 0 else not over
    different = math.isinf(near) or Fraction(near) != exact
    if mode in ("rn", "rna") or not different:
        return near
    if mode == "rz":
        return math.nextafter(near, 0.0) if over else near
    toward = math.inf if mode == "rp" else -math.inf
    return math.nextafter(near, toward) if above == (mode == "rm") else near


def directed(near: np.ndarray, sign: np.ndarray, mode: str) -> np.ndarray:
    """The neighbour that a mode asks for; `sign` is that of the exact value minus the nearest."""
    if mode in ("rn", "rna"):
        return near
    zero, infinity = near.dtype.type(0), near.dtype.type(np.inf)
    if mode == "rz":
        return np.where(sign * np.sign(near) < 0, np.nextafter(near, zero), near)
    if mode == "rp":
        return np.where(sign > 0, np.nextafter(near, infinity), near)
    return np.where(sign < 0, np.nextafter(near, -infinity), near)


def narrowed(exact: np.ndarray, dtype: np.dtype, mode: str) -> np.ndarray:
    """float64 (exact, or rounded to odd) as a narrower type."""
    near = exact.astype(dtype)
    if mode == "rn":
        return near
    back = near.astype(F64)
    return directed(near, np.sign(np.where(near == exact, 0, exact - back)), mode)


# ---- the operations, by type and mode


def exact_32(name: str, mode: str) -> Callable[..., np.ndarray]:
    """A float32 operation in a directed mode."""

    def add(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return narrowed(sticky(*two_sum(as64(a), as64(b))), F32, mode)

    def fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
        return narrowed(sticky(*two_sum(as64(a) * as64(b), as64(c))), F32, mode)

    def div(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        near = np.divide(a, b, dtype=F32)
        rest = as64(a) - as64(near) * as64(b)
        return directed(near, np.nan_to_num(np.sign(rest) * np.sign(b)), mode)

    def sqrt(a: np.ndarray) -> np.ndarray:
        near = np.sqrt(a)
        return directed(near, np.nan_to_num(np.sign(as64(a) - as64(near) * as64(near))), mode)

    return {
        "add": add,
        "sub": lambda a, b: add(a, -b),
        "mul": lambda a, b: narrowed(as64(a) * as64(b), F32, mode),
        "fma": fma,
        "div": div,
        "sqrt": sqrt,
        "rcp": lambda a: div(np.float32(1), a),
    }[name]


def as64(x: np.ndarray) -> np.ndarray:
    return np.asarray(x).astype(F64)


EXACT: dict[str, Callable[..., Fraction]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b if b else math.copysign(math.inf, b) * a,
    "rcp": lambda a: 1 / a if a else math.copysign(math.inf, a),
    "fma": lambda a, b, c: a * b + c,
}


def square_root(value: float, mode: str) -> float:
    near = math.sqrt(value) if value >= 0 else math.nan
    if not math.isfinite(near):
        return near
    rest = Fraction(value) - Fraction(near) ** 2
    return float(directed(np.array([near]), np.array([np.sign(float(rest))]), mode)[0])


def exact_64(name: str, mode: str) -> Callable[..., np.ndarray]:
    """A float64 operation in a directed mode, one element after the other."""

    def compute(*values: np.ndarray) -> np.ndarray:
        rows = zip(*(column.tolist() for column in np.broadcast_arrays(*values)), strict=True)
        if name == "sqrt":
            return np.array([square_root(row[0], mode) for row in rows], F64)
        return np.array([by_fractions(EXACT[name], mode, *row) for row in rows], F64)

    return compute


NEAREST: dict[str, Callable[..., np.ndarray]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "sqrt": np.sqrt,
    "rcp": np.reciprocal,
}


def operation(name: str, kind: str, mode: str) -> Callable[..., np.ndarray]:
    """`add`, `sub`, `mul`, `div`, `rcp`, `sqrt` or `fma` of float32 or float64 in a mode."""
    if mode == "rn":
        if name == "fma":
            return fma32 if kind == "f32" else fma64
        return NEAREST[name]
    return exact_32(name, mode) if kind == "f32" else exact_64(name, mode)


# ---- half precision: floats of 16 bits, alone or two in a word, as bits


def odd_32(x: np.ndarray) -> np.ndarray:
    """float64 as float32, rounded to odd."""
    near = narrowed(x, F32, "rz")
    return (near.view(np.uint32) | ((near != x) & np.isfinite(x))).view(F32)


def bf16_bits(x: np.ndarray, mode: str = "rn") -> np.ndarray:
    """float32 as the bits of bfloat16."""
    bits = x.view(np.uint32)
    if mode == "rn":
        rounded = bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))
    else:  # rz
        rounded = bits
    return np.where(np.isnan(x), np.uint32(0x7FFF), rounded >> np.uint32(16)).astype(np.uint16)


def bf16_value(bits: np.ndarray) -> np.ndarray:
    return (np.asarray(bits).astype(np.uint32) << np.uint32(16)).view(F32)


BROAD: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "f16": lambda x: x.astype(F32),
    "bf16": bf16_value,
    "f16x2": lambda x: np.atleast_1d(x).view(F16).astype(F32),
    "bf16x2": lambda x: bf16_value(np.atleast_1d(x).view(np.uint16)),
}
BROAD["f32x2"] = lambda x: np.atleast_1d(x).view(F32)
NARROW: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "f16": lambda x: x.astype(F16),
    "bf16": bf16_bits,
    "f16x2": lambda x: x.astype(F16).view(np.uint32),
    "bf16x2": lambda x: bf16_bits(x).view(np.uint32),
    "f32x2": lambda x: np.ascontiguousarray(x).view(np.uint64),
}


def half_fma(kind: str) -> Callable[..., np.ndarray]:
    """fma of 16 bits, rounded once."""

    def compute(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
        a, b, c = np.broadcast_arrays(a, b, c)
        wide = [as64(BROAD[kind](np.ascontiguousarray(x))) for x in (a, b, c)]
        return NARROW[kind](odd_32(sticky(*two_sum(wide[0] * wide[1], wide[2]))))

    return compute
