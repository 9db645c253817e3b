"""Arithmetic rows that are told apart by type, and all of floating point.

Approximate instructions (`ex2.approx`, `sin.approx`, ...) are computed in float64 and rounded:
within the error that PTX documents for the hardware, but not what the hardware gives. Within
`perturbed(seed)` they are off by a random part of that error: a test sees what depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from tests.ptx import integers
from tests.ptx.action import INTEGERS, Action, builds, elementwise, flush, type_of, unknown
from tests.ptx.floats import BROAD, F32, F64, MODES, NARROW, fma32_flushed, half_fma, operation
from tests.ptx.syntax import Instruction

Array = np.ndarray
HALVES = frozenset(BROAD)


def mode_of(instruction: Instruction) -> str:
    return next((modifier for modifier in instruction.modifiers if modifier in MODES), "rn")


def is_float(instruction: Instruction) -> bool:
    return type_of(instruction) not in INTEGERS


def clamped(function: Callable[..., Array]) -> Callable[..., Array]:
    """`.sat` of floats: into [0, 1], NaN becomes 0."""

    def compute(*values: Array) -> Array:
        exact = function(*values)
        return np.where(exact > 0, np.minimum(exact, exact.dtype.type(1)), exact.dtype.type(0))

    return compute


def positive(function: Callable[..., Array]) -> Callable[..., Array]:
    """`.relu`: negatives and NaN become 0."""

    def compute(*values: Array) -> Array:
        exact = function(*values)
        return np.where(exact > 0, exact, exact.dtype.type(0))

    return compute


def by_parts(function: Callable[..., Array], kind: str, ftz: bool) -> Callable[..., Array]:
    """A function of float32 for what is narrower or packed. Rounding twice is harmless for one sum
    or product, since float32 has more than twice the bits of 16."""

    def compute(*values: Array) -> Array:
        shape = np.broadcast(*values).shape
        wide = [BROAD[kind](np.ascontiguousarray(np.broadcast_to(v, shape))) for v in values]
        if ftz:
            return NARROW[kind](flush(function(*map(flush, wide))))
        return NARROW[kind](function(*wide))

    return compute


def floating(instruction: Instruction, function: Callable[..., Array]) -> Action:
    """An action of floats, with the modifiers that change the result."""
    if "sat" in instruction.modifiers:
        function = clamped(function)
    if "relu" in instruction.modifiers:
        function = positive(function)
    kind = type_of(instruction)
    if kind in HALVES:
        ftz = kind == "f32x2" and "ftz" in instruction.modifiers
        function = by_parts(function, kind, ftz)
    return elementwise(instruction, function)


def exact(instruction: Instruction, name: str) -> Action:
    kind = type_of(instruction)
    return floating(
        instruction, operation(name, "f32" if kind in HALVES else kind, mode_of(instruction))
    )


@builds("add")
def add(instruction: Instruction) -> Action:
    return exact(instruction, "add") if is_float(instruction) else integers.add(instruction)


@builds("sub")
def sub(instruction: Instruction) -> Action:
    return exact(instruction, "sub") if is_float(instruction) else integers.sub(instruction)


@builds("mul")
def mul(instruction: Instruction) -> Action:
    return exact(instruction, "mul") if is_float(instruction) else integers.mul(instruction)


@builds("mad")
def mad(instruction: Instruction) -> Action:
    return fma(instruction) if is_float(instruction) else integers.mad(instruction)


@builds("fma")
def fma(instruction: Instruction) -> Action:
    kind, modifiers = type_of(instruction), set(instruction.modifiers)
    if kind in HALVES - {"f32x2"}:
        if {"sat", "relu"} & modifiers:
            raise unknown(instruction)
        return elementwise(instruction, half_fma(kind))
    action = exact(instruction, "fma")
    if kind == "f32" and {"rn", "ftz"} <= modifiers and "sat" not in modifiers:
        return replace(action, compute=fma32_flushed)
    return action


@builds("div")
def div(instruction: Instruction) -> Action:
    if not is_float(instruction):
        return elementwise(instruction, integers.int_div)
    if {"approx", "full"} & set(instruction.modifiers):
        return elementwise(instruction, approximate(np.divide, 2))
    return exact(instruction, "div")


# ---- signs and order


def negate(x: Array) -> Array:
    return np.negative(x)


def half_sign(mask: int, flip: bool) -> Callable[[Array], Array]:
    """neg and abs of bfloat16 and of packed halves, on the bits."""

    def compute(x: Array) -> Array:
        bits = x.dtype.type(mask)
        return x ^ bits if flip else x & ~bits

    return compute


@builds("neg", "abs")
def sign(instruction: Instruction) -> Action:
    kind, flip = type_of(instruction), instruction.name == "neg"
    if kind in ("bf16", "f16x2", "bf16x2"):
        mask = 0x8000 if kind == "bf16" else 0x80008000
        return elementwise(instruction, half_sign(mask, flip))
    return elementwise(instruction, np.negative if flip else np.abs)


@builds("min", "max")
def extreme(instruction: Instruction) -> Action:
    """Of a number and NaN the number, with `.NaN` the NaN; -0 is less than +0."""
    least = instruction.name == "min"
    if not is_float(instruction):
        return elementwise(instruction, np.minimum if least else np.maximum)
    if "xorsign" in instruction.modifiers or len(instruction.operands) != 3:
        raise unknown(instruction)
    numbers, strict = (np.fmin, np.minimum) if least else (np.fmax, np.maximum)
    function = strict if "NaN" in instruction.modifiers else numbers

    def compute(x: Array, y: Array) -> Array:
        result = function(x, y)
        zeros = (x == 0) & (y == 0)
        if np.count_nonzero(zeros):
            # A sum keeps -0 only of two; a difference of sum and its negative finds the least.
            signed = -((-x) + (-y)) if least else x + y
            return np.where(zeros, signed, result)
        return result

    return floating(instruction, compute)


COMPARE: dict[str, Callable[[Array, Array], Array]] = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "lo": np.less,
    "ls": np.less_equal,
    "hi": np.greater,
    "hs": np.greater_equal,
    "equ": lambda x, y: ~(np.less(x, y) | np.greater(x, y)),
    "neu": np.not_equal,
    "ltu": lambda x, y: ~np.greater_equal(x, y),
    "leu": lambda x, y: ~np.greater(x, y),
    "gtu": lambda x, y: ~np.less_equal(x, y),
    "geu": lambda x, y: ~np.less(x, y),
    "num": lambda x, y: ~(np.isnan(x) | np.isnan(y)),
    "nan": lambda x, y: np.isnan(x) | np.isnan(y),
}
COMBINE = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}


def comparison(instruction: Instruction) -> Callable[[Array, Array], Array]:
    name, kind = instruction.modifiers[0], type_of(instruction)
    compare = COMPARE[name]
    if kind not in INTEGERS and name == "ne":  # unordered is not unequal
        compare = lambda x, y: np.less(x, y) | np.greater(x, y)  # noqa: E731
    if kind in ("bf16",):
        return lambda x, y: compare(BROAD[kind](x), BROAD[kind](y))
    if kind in HALVES - {"f16"}:
        raise unknown(instruction)
    return compare


@builds("setp")
def set_predicate(instruction: Instruction) -> Action:
    compare = comparison(instruction)
    combine = next((COMBINE[m] for m in instruction.modifiers if m in COMBINE), None)
    action = elementwise(instruction, compare, result="pred")
    sources = action.sources
    if combine is not None:
        sources = (*sources[:2], (sources[2][0], "pred"))
    both = len(action.results) == 2

    def compute(x: Array, y: Array, other: Array | None = None) -> object:
        holds = compare(x, y)
        first = holds if combine is None else combine(holds, other)
        if not both:
            return first
        return first, ~holds if combine is None else combine(~holds, other)

    return Action(compute, sources, action.results)


@builds("set")
def set_number(instruction: Instruction) -> Action:
    """A comparison as a number: all bits, or 1.0."""
    compare = comparison(instruction)
    if any(modifier in COMBINE for modifier in instruction.modifiers):
        raise unknown(instruction)
    result = instruction.modifiers[-2]
    if result == "f32":
        return elementwise(instruction, lambda x, y: compare(x, y).astype(F32), result="f32")
    return elementwise(instruction, lambda x, y: -(compare(x, y).astype(np.int32)), result="s32")


@builds("selp")
def select(instruction: Instruction) -> Action:
    kind = type_of(instruction)
    target, yes, no, condition = instruction.operands
    return Action(
        lambda x, y, holds: np.where(holds, x, y),
        ((yes, kind), (no, kind), (condition, "pred")),
        ((target, kind),),
    )


@builds("slct")
def select_by_sign(instruction: Instruction) -> Action:
    kind, by = instruction.modifiers[-2:]
    target, yes, no, sign = instruction.operands
    return Action(
        lambda x, y, s: np.where(s >= 0, x, y),
        ((yes, kind), (no, kind), (sign, by)),
        ((target, kind),),
    )


@builds("copysign")
def copysign(instruction: Instruction) -> Action:
    return elementwise(instruction, lambda sign, size: np.copysign(size, sign))


@builds("testp")
def test_property(instruction: Instruction) -> Action:
    def normal(x: Array) -> Array:
        return np.isfinite(x) & (np.abs(x) >= np.finfo(x.dtype).tiny)

    tests = {
        "finite": np.isfinite,
        "infinite": np.isinf,
        "number": lambda x: ~np.isnan(x),
        "notanumber": np.isnan,
        "normal": normal,
        "subnormal": lambda x: (x != 0) & np.isfinite(x) & ~normal(x),
    }
    return elementwise(instruction, tests[instruction.modifiers[0]], result="pred")


# ---- approximations

# The greatest errors that the PTX manual gives, in units in the last place of a float32 result
# where it gives them relative (sin and cos: 2**-20.5 absolute, in one period).
ERRORS = {"ex2": 2, "lg2": 2, "rcp": 1, "rsqrt": 2, "sqrt": 1, "sin": 8, "cos": 8, "tanh": 16}
FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "ex2": np.exp2,
    "lg2": np.log2,
    "rcp": np.reciprocal,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
}
NOISE: list[np.random.Generator] = []


@contextmanager
def perturbed(seed: int) -> Iterator[None]:
    """Within, approximate instructions are wrong by up to their documented error."""
    NOISE.append(np.random.default_rng(seed))
    try:
        yield
    finally:
        NOISE.pop()


def approximate(function: Callable[..., Array], error: int) -> Callable[..., Array]:
    """A float32 function that the hardware only approximates."""

    def compute(*values: Array) -> Array:
        result = function(*(np.asarray(value).astype(F64) for value in values)).astype(F32)
        if not NOISE:
            return result
        steps = NOISE[-1].integers(-error, error, result.shape, endpoint=True)
        usable = np.isfinite(result) & (np.abs(result) > np.finfo(F32).tiny)
        return np.where(usable, result + steps * np.spacing(np.abs(result)), result).astype(F32)

    return compute


def gross(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """`.approx.ftz.f64`: only the upper word; the lower is zero."""

    def compute(x: Array) -> Array:
        bits = function(np.asarray(x)).view(np.uint64)
        return (bits & np.uint64(0xFFFFFFFF00000000)).view(F64)

    return compute


@builds(*FUNCTIONS)
def special_function(instruction: Instruction) -> Action:
    name, kind = instruction.name, type_of(instruction)
    if "approx" not in instruction.modifiers:
        if name == "tanh" or mode_of(instruction) not in instruction.modifiers:
            raise unknown(instruction)
        return exact(instruction, name)
    if kind == "f64":
        return elementwise(instruction, gross(FUNCTIONS[name]))
    return floating(instruction, approximate(FUNCTIONS[name], ERRORS[name]))
