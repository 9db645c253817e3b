"""Instructions of AVX-512 for lanes: products with powers of two, and reciprocals to 14 bits.

In: values of any number of elements, in a module for a processor with AVX-512.  Elements that fill
no register are computed with others of any value.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

_REGISTER = 512  # bits of the widest register
_I32 = ir.IntType(32)


class WideModule(ir.Module):
    """A module for a processor with AVX-512."""


def is_wide(lane: Any) -> bool:
    """Whether the module of a float lane is for a processor with AVX-512."""
    return isinstance(lane.builder.module, WideModule)


def scale(builder: ir.IRBuilder, value: ir.Value, power: ir.Value) -> ir.Value:
    """value * 2**floor(power), rounded once; of a scalar, or of a vector of any length."""
    return _by_registers(builder, "mask.scalef", [value, power])


def estimated_inverse(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """1 / value to 14 bits; of a scalar, or of a vector of any length."""
    return _by_registers(builder, "rcp14", [value])


def _by_registers(builder: ir.IRBuilder, name: str, values: list[ir.Value]) -> ir.Value:
    """The instruction on vectors of any length: on as many registers as they take."""
    kind = values[0].type
    if not isinstance(kind, ir.VectorType):
        ends = [ir.Constant(ir.VectorType(kind, 1), ir.Undefined)] * len(values)
        ones = [builder.insert_element(e, v, _I32(0)) for e, v in zip(ends, values, strict=True)]
        return builder.extract_element(_by_registers(builder, name, ones), _I32(0))
    item = 32 if isinstance(kind.element, ir.FloatType) else 64
    lanes = next((128 << n for n in range(2) if kind.count * item <= 128 << n), _REGISTER) // item
    if kind.count == lanes:
        return _instruction(builder, name, values)
    found = ir.Constant(kind, ir.Undefined)
    for first in range(0, kind.count, lanes):
        inside = range(first, min(first + lanes, kind.count))
        numbers = [k if k in inside else kind.count for k in range(first, first + lanes)]
        part = _instruction(builder, name, [_chosen(builder, v, numbers) for v in values])
        whole = _chosen(builder, part, [max(k - first, 0) % lanes for k in range(kind.count)])
        taken = [k in inside for k in range(kind.count)]
        mask = ir.Constant(ir.VectorType(ir.IntType(1), kind.count), taken)
        found = builder.select(mask, whole, found)
    return found


def _chosen(builder: ir.IRBuilder, vector: ir.Value, numbers: list[int]) -> ir.Value:
    """The elements of a vector by number; those beyond it are of any value."""
    mask = ir.Constant(ir.VectorType(_I32, len(numbers)), numbers)
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)


def _instruction(builder: ir.IRBuilder, name: str, values: list[ir.Value]) -> ir.Value:
    """On whole registers: the operands, what stands where a mask is not set, and a mask of ones."""
    kind = values[0].type
    single = isinstance(kind.element, ir.FloatType)
    bits = kind.count * (32 if single else 64)
    mask = ir.IntType(max(kind.count, 8))
    operands = [*values, ir.Constant(kind, None), mask(-1)]
    if name == "mask.scalef" and bits == _REGISTER:
        operands.append(_I32(4))  # rounded as the processor is set
    name = f"llvm.x86.avx512.{name}.{'ps' if single else 'pd'}.{bits}"
    if name not in builder.module.globals:
        ir.Function(builder.module, ir.FunctionType(kind, [o.type for o in operands]), name)
    return builder.call(builder.module.globals[name], operands)
