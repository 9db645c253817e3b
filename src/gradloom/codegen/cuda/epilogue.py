"""What becomes of an element of a product, in the registers of the thread that has it."""

from __future__ import annotations

from llvmlite import ir

from gradloom.codegen.cpu.target import Target
from gradloom.codegen.cpu.vectors import FLOATS, I32, I64, POINTER, private
from gradloom.codegen.cuda.element import Element
from gradloom.codegen.lanes import LlvmLane
from gradloom.plan.dealt import RESULT, Digit, Epilogue
from gradloom.plan.plan import Load, Product


def emit_epilogue(
    module: ir.Module, name: str, product: Product, epilogue: Epilogue, target: Target
) -> ir.Function:
    """`void name(i32 batch..., i32 row, i32 column, T element, ptr operand...)`."""
    nest = epilogue.nest
    shape = (*product.batch, product.rows, product.columns)
    operands = 1 + max(s.operand for s in (*nest.steps, *nest.stores) if hasattr(s, "operand"))
    numbers = [I32] * len(shape) + [FLOATS[product.dtype]]
    function = private(module, name, numbers + [POINTER] * max(operands, RESULT + 1))
    function.attributes.discard("noinline")
    function.attributes.add("alwaysinline")
    at = Element(function, nest, target)
    *place, element = at.given
    b = at.builder
    for axis, digit in enumerate(epilogue.digits):
        at.index[axis] = b.zext(_digit(b, place[digit.axis], digit, shape[digit.axis]), I64)
    lanes = {
        number: LlvmLane(b, element, product.dtype)
        for number, step in enumerate(nest.steps)
        if isinstance(step, Load) and step.operand == RESULT
    }
    at.narrow(lanes, 0)
    at.store(nest.stores, lanes)
    b.ret_void()
    return function


def _digit(b: ir.IRBuilder, index: ir.Value, digit: Digit, size: int) -> ir.Value:
    if digit.step > 1:
        index = b.udiv(index, I32(digit.step))
    if digit.step * digit.size < size:
        index = b.urem(index, I32(digit.size))
    return index
