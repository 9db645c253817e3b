"""What the words, calls and operators of a driver's text become in LLVM."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from llvmlite import ir

from gradloom.runtime.emitters import EMITTERS, I64


class Dialect:
    """What the words of a driver and its calls become: here, for one thread of a processor."""

    def word(self, name: str, function: str) -> Callable[..., Any]:
        """The emitter of a word that stands in this function of the text."""
        return EMITTERS[name]

    def call(
        self, builder: ir.IRBuilder, caller: str, callee: str, function: ir.Function, given: Any
    ) -> Any:
        """A call of one function of the text in another."""
        return builder.call(function, given)


def folded(op: ast.operator, a: ir.Value, b: ir.Value) -> ir.Value | None:
    """The sum or product of two integers that are written in the text."""
    if not (isinstance(a, ir.Constant) and isinstance(b, ir.Constant) and a.type is I64):
        return None
    if isinstance(op, ast.Add):
        return I64(a.constant + b.constant)
    return I64(a.constant * b.constant) if isinstance(op, ast.Mult) else None


def _floored(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Python's quotient, rounded down, and its remainder; both are 0 for a divisor of 0."""
    none = builder.icmp_signed("==", b, I64(0))
    divisor = builder.select(none, I64(1), b)
    quotient, rest = builder.sdiv(a, divisor), builder.srem(a, divisor)
    apart = builder.icmp_signed("<", builder.xor(rest, divisor), I64(0))
    low = builder.and_(apart, builder.icmp_signed("!=", rest, I64(0)))
    quotient = builder.select(low, builder.sub(quotient, I64(1)), quotient)
    rest = builder.select(low, builder.add(rest, divisor), rest)
    return builder.select(none, I64(0), quotient), builder.select(none, I64(0), rest)


Emit = Callable[[ir.IRBuilder, ir.Value, ir.Value], ir.Value]
ON_INTEGERS: dict[type, Emit] = {
    ast.Add: ir.IRBuilder.add,
    ast.Sub: ir.IRBuilder.sub,
    ast.Mult: ir.IRBuilder.mul,
    ast.BitAnd: ir.IRBuilder.and_,
    ast.BitOr: ir.IRBuilder.or_,
    ast.BitXor: ir.IRBuilder.xor,
    ast.LShift: ir.IRBuilder.shl,
    ast.RShift: ir.IRBuilder.ashr,
    ast.FloorDiv: lambda builder, a, b: _floored(builder, a, b)[0],
    ast.Mod: lambda builder, a, b: _floored(builder, a, b)[1],
}
ON_FLOATS: dict[type, Emit] = {
    ast.Add: ir.IRBuilder.fadd,
    ast.Sub: ir.IRBuilder.fsub,
    ast.Mult: ir.IRBuilder.fmul,
    ast.Div: ir.IRBuilder.fdiv,
}
COMPARED = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
