"""Integer arithmetic, logic, shifts and bit fields. Arrays wrap as registers do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.ptx.action import Action, builds, elementwise, size_of, type_of, unknown
from tests.ptx.program import CARRY
from tests.ptx.syntax import Instruction, Literal

Array = np.ndarray
WIDE = {
    "u16": np.uint32,
    "s16": np.int32,
    "u32": np.uint64,
    "s32": np.int64,
    "u24": np.uint32,
    "s24": np.int32,
}
TWICE = {"u16": "u32", "s16": "s32", "u32": "u64", "s32": "s64"}
# What atomics and reductions of a warp fold with.
FOLDS = {
    "add": np.add,
    "min": np.minimum,
    "max": np.maximum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
}


def bits_of(kind: str) -> int:
    return 8 * size_of(kind)


def unsigned(x: Array) -> Array:
    return np.asarray(x).view(np.dtype(f"uint{8 * np.asarray(x).itemsize}"))


# ---- sums


def saturated(function: Callable[..., Array]) -> Callable[..., Array]:
    """In s32, clamped instead of wrapped."""
    limits = np.iinfo(np.int32)

    def compute(*values: Array) -> Array:
        exact = function(*(np.asarray(value).astype(np.int64) for value in values))
        return np.clip(exact, limits.min, limits.max).astype(np.int32)

    return compute


def add_carry(x: Array, y: Array, carry: Array | int = 0) -> tuple[Array, Array]:
    total = unsigned(x) + unsigned(y)
    over = total < unsigned(x)
    result = total + np.asarray(carry).astype(total.dtype)
    return result, over | (result < total)


def subtract_borrow(x: Array, y: Array, borrow: Array | int = 0) -> tuple[Array, Array]:
    """The carry of a subtraction is its borrow."""
    less = unsigned(x) - unsigned(y)
    under = unsigned(x) < unsigned(y)
    taken = np.asarray(borrow).astype(less.dtype)
    return less - taken, under | (less < taken)


def with_carry(instruction: Instruction, function: Callable[..., tuple[Array, Array]]) -> Action:
    """`add.cc`, `addc`, `madc.hi.cc`, ...: the condition code is one more register."""
    kind = type_of(instruction)
    target, *rest = instruction.operands
    sources = [(operand, kind) for operand in rest]
    if instruction.name.endswith("c"):
        sources.append((CARRY, "pred"))
    bits = f"b{bits_of(kind)}"
    if "cc" in instruction.modifiers:
        return Action(function, tuple(sources), ((target, bits), (CARRY, "pred")))
    return Action(lambda *values: function(*values)[0], tuple(sources), ((target, bits),))


def sum_builder(plain: np.ufunc, carrying: Callable[..., tuple[Array, Array]]) -> Callable:
    def build(instruction: Instruction) -> Action:
        if "cc" in instruction.modifiers or instruction.name in ("addc", "subc"):
            return with_carry(instruction, carrying)
        if "sat" in instruction.modifiers:
            return elementwise(instruction, saturated(plain))
        return elementwise(instruction, plain)

    return build


add = builds("addc")(sum_builder(np.add, add_carry))
sub = builds("subc")(sum_builder(np.subtract, subtract_borrow))


# ---- products


def high(kind: str) -> Callable[[Array, Array], Array]:
    """The upper half of the product."""
    if kind in WIDE:
        wide, shift = WIDE[kind], bits_of(kind)
        narrow = np.dtype(f"{'int' if kind[0] == 's' else 'uint'}{shift}")
        return lambda x, y: (
            (np.asarray(x).astype(wide) * np.asarray(y).astype(wide)) >> wide(shift)
        ).astype(narrow)

    def upper(x: Array, y: Array) -> Array:
        half, low = np.uint64(32), np.uint64(0xFFFFFFFF)
        a, b, c, d = x >> half, x & low, y >> half, y & low
        middle = (b * d >> half) + (a * d & low) + (b * c & low)
        return a * c + (a * d >> half) + (b * c >> half) + (middle >> half)

    if kind == "u64":
        return upper

    def signed_upper(x: Array, y: Array) -> Array:
        top = upper(unsigned(x), unsigned(y)).view(np.int64)
        return top - np.where(x < 0, y, 0) - np.where(y < 0, x, 0)

    return signed_upper


def product(instruction: Instruction) -> tuple[Callable[..., Array], str]:
    """The function of a product, and the type of its result."""
    kind, modifiers = type_of(instruction), instruction.modifiers
    if "wide" in modifiers:
        wide = WIDE[kind]
        return lambda x, y: np.multiply(x, y, dtype=wide), TWICE[kind]
    if "hi" in modifiers:
        return high(kind), kind
    return np.multiply, kind


def mul(instruction: Instruction) -> Action:
    function, result = product(instruction)
    return elementwise(instruction, function, result=result)


def mad(instruction: Instruction) -> Action:
    function, result = product(instruction)
    kind = type_of(instruction)
    target, x, y, z = instruction.operands
    if "cc" in instruction.modifiers or instruction.name == "madc":
        return with_carry(instruction, lambda x, y, z, *carry: add_carry(function(x, y), z, *carry))
    if "sat" in instruction.modifiers:
        top, clamp = high(kind), saturated(np.add)
        return elementwise(instruction, lambda x, y, z: clamp(top(x, y), z))
    sources = ((x, kind), (y, kind), (z, result))
    return Action(lambda x, y, z: function(x, y) + z, sources, ((target, result),))


builds("madc")(mad)


@builds("mul24", "mad24")
def multiply_24(instruction: Instruction) -> Action:
    kind = type_of(instruction)
    shift = np.array(8, np.int32 if kind[0] == "s" else np.uint32)
    upper = "hi" in instruction.modifiers

    def compute(x: Array, y: Array, z: Array | int = 0) -> Array:
        wide = WIDE[kind]
        exact = ((x << shift) >> shift).astype(wide) * ((y << shift) >> shift).astype(wide)
        low = (exact >> wide(16) if upper else exact).astype(shift.dtype)
        return low + np.asarray(z).astype(shift.dtype)

    return elementwise(instruction, compute)


@builds("sad")
def sum_of_differences(instruction: Instruction) -> Action:
    return elementwise(instruction, lambda a, b, c: c + np.where(a < b, b - a, a - b))


def int_div(x: Array, y: Array) -> Array:
    """Toward zero. By zero, all bits: what GPUs give, though PTX does not say."""
    x, y = np.broadcast_arrays(x, y)
    zero = y == 0
    safe = np.where(zero, y.dtype.type(1), y)
    quotient = x // safe
    if y.dtype.kind == "i":
        quotient = quotient + ((quotient * safe != x) & ((x < 0) != (safe < 0)))
    return np.where(zero, ~y.dtype.type(0), quotient).astype(x.dtype)


def int_rem(x: Array, y: Array) -> Array:
    """With the sign of the dividend."""
    x, y = np.broadcast_arrays(x, y)
    safe = np.where(y == 0, y.dtype.type(1), y)
    return np.where(y == 0, x, np.fmod(x, safe)).astype(x.dtype)


@builds("rem")
def rem(instruction: Instruction) -> Action:
    return elementwise(instruction, int_rem)


# ---- logic


LOGIC = {
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "not": np.invert,
    "cnot": lambda x: (x == 0).astype(x.dtype),
}


@builds(*LOGIC)
def logic(instruction: Instruction) -> Action:
    return elementwise(instruction, LOGIC[instruction.name])


@builds("lop3")
def lop3(instruction: Instruction) -> Action:
    """Any function of three bits, as a table of eight."""
    target, *values, table = instruction.operands
    if not isinstance(table, Literal):
        raise unknown(instruction)

    def compute(a: Array, b: Array, c: Array) -> Array:
        result = np.zeros_like(a | b | c)
        for row in range(8):
            if table.value >> row & 1:
                result |= (a if row & 4 else ~a) & (b if row & 2 else ~b) & (c if row & 1 else ~c)
        return result

    return Action(compute, tuple((value, "b32") for value in values), ((target, "b32"),))


# ---- shifts


def shift(instruction: Instruction) -> Action:
    kind = type_of(instruction)
    target, value, amount = instruction.operands
    limit, left = bits_of(kind), instruction.name == "shl"

    def compute(x: Array, by: Array) -> Array:
        small = np.minimum(by, limit - 1).astype(x.dtype)
        result = np.left_shift(x, small) if left else np.right_shift(x, small)
        if np.any(by >= limit):
            beyond = np.zeros_like(x) if left or x.dtype.kind == "u" else x >> (limit - 1)
            return np.where(by >= limit, beyond, result)
        return result

    sources = ((value, kind), (amount, "u32"))
    if isinstance(amount, Literal) and 0 <= amount.value < limit:
        fixed = np.array(amount.value, f"{'int' if kind[0] == 's' else 'uint'}{limit}")[()]
        function = np.left_shift if left else np.right_shift
        return Action(lambda x: function(x, fixed), sources[:1], ((target, kind),))
    return Action(compute, sources, ((target, kind),))


builds("shl", "shr")(shift)


@builds("shf")
def funnel(instruction: Instruction) -> Action:
    """A shift of two words as one, of which one is kept."""
    left, wraps = "l" in instruction.modifiers, "wrap" in instruction.modifiers

    def compute(low: Array, upper: Array, by: Array) -> Array:
        n = (by & np.uint32(31) if wraps else np.minimum(by, 32)).astype(np.uint64)
        both = (np.asarray(upper).astype(np.uint64) << np.uint64(32)) | low
        kept = (both << n) >> np.uint64(32) if left else both >> n
        return kept.astype(np.uint32)

    return elementwise(instruction, compute, "u32")


# ---- bits


def reversed_bits(x: Array) -> Array:
    width = 8 * x.itemsize
    for size in (1, 2, 4, 8, 16, 32):
        if size < width:
            mask = x.dtype.type(sum(((1 << size) - 1) << at for at in range(0, width, 2 * size)))
            by = x.dtype.type(size)
            x = ((x >> by) & mask) | ((x & mask) << by)
    return x


def smeared(x: Array) -> Array:
    """All bits below the highest set."""
    size = 1
    while size < 8 * x.itemsize:
        x = x | (x >> x.dtype.type(size))
        size *= 2
    return x


def count_leading(x: Array) -> Array:
    return (8 * x.itemsize - np.bitwise_count(smeared(x)).astype(np.int64)).astype(np.uint32)


def find_highest(x: Array) -> Array:
    return np.bitwise_count(smeared(x)).astype(np.uint32) - np.uint32(1)


@builds("popc", "clz", "brev")
def bit_count(instruction: Instruction) -> Action:
    functions = {
        "popc": lambda x: np.bitwise_count(x).astype(np.uint32),
        "clz": count_leading,
        "brev": reversed_bits,
    }
    result = type_of(instruction) if instruction.name == "brev" else "u32"
    return elementwise(instruction, functions[instruction.name], result=result)


@builds("bfind")
def bit_find(instruction: Instruction) -> Action:
    """The place of the highest bit that differs from the sign."""
    kind = type_of(instruction)
    top = np.uint32(bits_of(kind) - 1)

    def compute(x: Array) -> Array:
        found = find_highest(unsigned(np.where(x < 0, ~x, x)))
        if "shiftamt" in instruction.modifiers:
            return np.where(found == np.uint32(0xFFFFFFFF), found, top - found)
        return found

    return elementwise(instruction, compute, result="u32")


@builds("bfe")
def extract(instruction: Instruction) -> Action:
    kind = type_of(instruction)
    target, value, start, length = instruction.operands
    width = bits_of(kind)

    def compute(x: Array, first: Array, count: Array) -> Array:
        at, size = (first & 0xFF).astype(np.int64), (count & 0xFF).astype(np.int64)
        if kind[0] == "u":
            size = np.minimum(size, np.maximum(width - at, 0))
            moved = x.astype(np.uint64) >> np.minimum(at, 63).astype(np.uint64)
            return (moved & masks(size)).astype(x.dtype)
        field = x.astype(np.int64) >> np.minimum(at, 63)  # beyond its end there is only sign
        size = np.minimum(size, 64)
        spare = np.where(size == 0, 0, 64 - size)  # moves the field's sign to the left, and back
        return np.where(size == 0, 0, (field << spare) >> spare).astype(x.dtype)

    return Action(compute, ((value, kind), (start, "u32"), (length, "u32")), ((target, kind),))


def masks(size: Array) -> Array:
    """As many low bits, 64 at most, as uint64."""
    partial = (np.uint64(1) << np.minimum(size, 63).astype(np.uint64)) - np.uint64(1)
    return np.where(size >= 64, ~np.uint64(0), partial)


@builds("bfi")
def insert(instruction: Instruction) -> Action:
    kind = type_of(instruction)
    target, piece, into, start, length = instruction.operands
    width = bits_of(kind)

    def compute(a: Array, b: Array, first: Array, count: Array) -> Array:
        at, size = (first & 0xFF).astype(np.int64), (count & 0xFF).astype(np.int64)
        place = np.minimum(at, 63).astype(np.uint64)
        mask = np.where(at >= width, np.uint64(0), masks(size) << place)
        moved = np.asarray(a).astype(np.uint64) << place
        return ((b & ~mask) | (moved & mask)).astype(np.asarray(a).dtype)

    sources = ((piece, kind), (into, kind), (start, "u32"), (length, "u32"))
    return Action(compute, sources, ((target, kind),))


@builds("bmsk")
def bit_mask(instruction: Instruction) -> Action:
    def compute(at: Array, size: Array) -> Array:
        place = np.minimum(at, 63).astype(np.uint64)
        return (masks(np.minimum(size, 32).astype(np.int64)) << place).astype(np.uint32)

    return elementwise(instruction, compute, "u32")


@builds("prmt")
def permute(instruction: Instruction) -> Action:
    """Picks four of eight bytes; bit 3 of a selector copies the sign instead."""
    if len(instruction.modifiers) != 1:
        raise unknown(instruction)

    def compute(a: Array, b: Array, selector: Array) -> Array:
        both = (np.asarray(b).astype(np.uint64) << np.uint64(32)) | a
        result = np.zeros(np.broadcast(both, selector).shape, np.uint64)
        for byte in range(4):
            pick = (selector >> np.uint32(4 * byte)).astype(np.uint64) & np.uint64(15)
            value = (both >> ((pick & np.uint64(7)) * np.uint64(8))) & np.uint64(255)
            sign = np.where(value >> np.uint64(7), np.uint64(255), np.uint64(0))
            value = np.where(pick >> np.uint64(3), sign, value)
            result |= value << np.uint64(8 * byte)
        return result.astype(np.uint32)

    return elementwise(instruction, compute, "u32")
