"""mov and cvt: between registers, and between types with every rounding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.ptx.action import (
    DTYPES,
    INTEGERS,
    Action,
    builds,
    elementwise,
    flushed,
    reading_of,
    size_of,
    type_of,
    unknown,
)
from tests.ptx.floating import clamped, positive
from tests.ptx.floats import BROAD, F16, F32, F64, MODES, as64, bf16_bits, narrowed, odd_32
from tests.ptx.syntax import Instruction, Vector

Array = np.ndarray
INTEGRAL = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}


# ---- mov


@builds("mov")
def move(instruction: Instruction) -> Action:
    kind = type_of(instruction)
    target, source = instruction.operands
    if isinstance(source, Vector):
        return packing(instruction, kind)
    if isinstance(target, Vector):
        return unpacking(instruction, kind)
    return elementwise(instruction, lambda x: x, kind)


def packing(instruction: Instruction, kind: str) -> Action:
    """`mov.b64 r, {low, high}`."""
    target, vector = instruction.operands
    part = f"b{8 * size_of(kind) // len(vector.items)}"

    def compute(*values: Array) -> Array:
        values = np.broadcast_arrays(*values)
        return np.stack(values, axis=1).view(DTYPES[f"b{8 * size_of(kind)}"])[:, 0]

    return Action(
        compute, tuple((item, part) for item in vector.items), ((target, f"b{8 * size_of(kind)}"),)
    )


def unpacking(instruction: Instruction, kind: str) -> Action:
    vector, source = instruction.operands
    count, whole = len(vector.items), f"b{8 * size_of(kind)}"
    part = f"b{8 * size_of(kind) // count}"

    def compute(x: Array) -> list[Array]:
        lines = np.ascontiguousarray(x).view(DTYPES[part]).reshape(-1, count)
        return [np.ascontiguousarray(lines[:, at]) for at in range(count)]

    return Action(compute, ((source, whole),), tuple((item, part) for item in vector.items))


# ---- cvt


def clip_to(kind: str, source: np.dtype) -> Callable[[Array], Array]:
    """An integer clamped into a type."""
    limits = np.iinfo(DTYPES[kind])
    own = np.iinfo(source)
    low, high = max(limits.min, own.min), min(limits.max, own.max)
    return lambda x: np.clip(x, source.type(low), source.type(high)).astype(DTYPES[kind])


def float_to_integer(kind: str, rounding: str, source: str) -> Callable[[Array], Array]:
    """Clamped. NaN gives 0 if both types have at most 32 bits, else the highest bit alone."""
    dtype = DTYPES[kind]
    limits = np.iinfo(dtype)
    narrow = source != "f64" and dtype.itemsize < 8
    empty = np.array(0 if narrow else 1 << (limits.bits - 1), f"uint{limits.bits}").view(dtype)
    low, high = float(limits.min), float(limits.max)  # of 64 bits, high is beyond the greatest

    def compute(x: Array) -> Array:
        whole = INTEGRAL[rounding](as64(x))
        over, under = whole >= high, whole < low
        result = np.where(over | under | np.isnan(whole), 0.0, whole).astype(dtype)
        result = np.where(over, limits.max, np.where(under, limits.min, result))
        return np.where(np.isnan(whole), empty, result).astype(dtype)

    return compute


def integer_to_float(kind: str, mode: str) -> Callable[[Array], Array]:
    def compute(x: Array) -> Array:
        if kind == "f64" or x.dtype.itemsize <= 4:
            wide = x.astype(F64)
            exact = wide if x.dtype.itemsize <= 4 else None
        else:
            # 64 bits do not fit float64: what is dropped goes into the last bit.
            dropped = x & x.dtype.type(0x7FF)
            wide = (x - dropped).astype(F64)
            bits = wide.view(np.int64) | (dropped != 0)
            wide = np.where(np.abs(wide) >= 2.0**53, bits.view(F64), x.astype(F64))
            exact = wide
        if kind == "f64":
            return directed_64(x, wide, mode) if exact is None else wide
        return to_float(kind, mode)(exact)

    return compute


def directed_64(x: Array, near: Array, mode: str) -> Array:
    """64-bit integers as float64 in a directed mode."""
    if mode == "rn":
        return near
    signs = [(int(i) > int(f)) - (int(i) < int(f)) for i, f in zip(x, near, strict=True)]
    from_exact = np.array(signs, np.float64)
    step = {"rp": from_exact > 0, "rm": from_exact < 0, "rz": from_exact * np.sign(near) < 0}[mode]
    toward = {"rp": np.inf, "rm": -np.inf, "rz": 0.0}[mode]
    return np.where(step, np.nextafter(near, toward), near)


def to_float(kind: str, mode: str) -> Callable[[Array], Array]:
    """float64 (exact, or rounded to odd) as a float type."""
    if kind == "f64":
        return lambda x: x
    if kind in ("f16", "f32"):
        return lambda x: narrowed(x, F16 if kind == "f16" else F32, mode)
    if kind == "bf16":
        return lambda x: bf16_bits(odd_32(x), mode)
    raise KeyError(kind)


def tf32(x: Array, mode: str) -> Array:
    """float32 with 10 bits after the point, the other 13 zero."""
    bits = x.view(np.uint32)
    if mode == "rna":
        rounded = bits + np.uint32(0x1000)
    elif mode == "rn":
        rounded = bits + np.uint32(0xFFF) + (bits >> np.uint32(13) & np.uint32(1))
    else:
        rounded = bits
    return np.where(np.isfinite(x), rounded & np.uint32(0xFFFFE000), bits)


def between_floats(
    target: str, source: str, modifiers: tuple[str, ...]
) -> Callable[[Array], Array]:
    integral = next((INTEGRAL[m] for m in modifiers if m in INTEGRAL), None)
    mode = next((m for m in modifiers if m in MODES), "rn")
    if integral is not None and target == source and target in ("f32", "f64", "f16"):
        return integral
    if integral is not None:
        raise KeyError(target)
    if target == "tf32":
        return lambda x: tf32(x, mode)
    narrow = to_float(target, mode)
    widen = BROAD.get(source, lambda x: x)
    return lambda x: narrow(as64(widen(x)))


@builds("cvt")
def convert(instruction: Instruction) -> Action:
    modifiers = instruction.modifiers
    target, source = modifiers[-2:]
    if target in ("f16x2", "bf16x2"):
        return packed(instruction, target)
    if source not in DTYPES or target not in DTYPES:
        raise unknown(instruction)
    function = conversion(instruction, target, source)
    if "sat" in modifiers and target not in INTEGERS:
        function = clamped(function)
    if "relu" in modifiers:
        function = positive(function)
    place, value = instruction.operands
    result = "b32" if target == "tf32" else reading_of(instruction, target)
    if result == "f32.ftz":
        function = flushed(function)
    return Action(function, ((value, reading_of(instruction, source)),), ((place, result),))


def conversion(instruction: Instruction, target: str, source: str) -> Callable[[Array], Array]:
    modifiers = instruction.modifiers
    if target in INTEGERS and source in INTEGERS:
        if "sat" in modifiers:
            return clip_to(target, DTYPES[source])
        return lambda x: x.astype(DTYPES[target])
    if target in INTEGERS:
        rounding = next((m for m in modifiers if m in INTEGRAL), "rzi")
        function = float_to_integer(target, rounding, source)
        widen = BROAD.get(source, lambda x: x)
        return lambda x: function(widen(x))
    if source in INTEGERS:
        mode = next((m for m in modifiers if m in MODES), "rn")
        return integer_to_float(target, mode)
    return between_floats(target, source, modifiers)


def packed(instruction: Instruction, target: str) -> Action:
    """`cvt.rn.bf16x2.f32 d, high, low`."""
    mode = next((m for m in instruction.modifiers if m in MODES), "rn")
    place, high, low = instruction.operands
    narrow = {
        "f16x2": lambda x: narrowed(as64(x), F16, mode),
        "bf16x2": lambda x: bf16_bits(x, mode),
    }
    half = narrow[target]

    def compute(upper: Array, lower: Array) -> Array:
        upper, lower = np.broadcast_arrays(upper, lower)
        if "relu" in instruction.modifiers:
            upper, lower = (np.where(x > 0, x, np.float32(0)) for x in (upper, lower))
        pair = np.stack([half(lower), half(upper)], axis=1)
        return pair.view(np.uint32)[:, 0]

    kind = reading_of(instruction, type_of(instruction))
    return Action(compute, ((high, kind), (low, kind)), ((place, "b32"),))
