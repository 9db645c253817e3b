"""The driver: a plan's kernels in order, as Python text that Numba compiles and pdb steps through."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gradloom.codegen.module import faults
from gradloom.ir.types import ITEMSIZE
from gradloom.plan.plan import Buffer, Kernel, Operand, Plan, Stage

FAULTS = 16  # the first word of `control` that belongs to a kernel
ENTRY = "program"
ARGUMENTS = ("ptr", "ptr", "ptr")
Writer = Callable[[Plan], str]


def program_text(plan: Plan) -> str:
    """`program(table, arena, control)`: one pass over a plan's kernels."""
    lines = [f"def {ENTRY}(table, arena, control):"]
    lines += [f"    {line}" for line in addresses(plan.buffers)]
    lines += [f"    {line}" for line in calls(plan)]
    lines.append("    return 0")
    return "\n".join(lines) + "\n"


def identifier(buffer: Buffer) -> str:
    """A buffer's name as a Python variable."""
    cleaned = "".join(c if c.isalnum() else "_" for c in buffer.name).strip("_")
    return cleaned if cleaned.isidentifier() else f"_{cleaned}"


def external_slot(plan_buffers: tuple[Buffer, ...], buffer: Buffer) -> int:
    """Where the table holds the address of an input (or state) or an output: inputs come first."""
    inputs = sum(b.space in ("input", "state") for b in plan_buffers)
    return buffer.offset + (inputs if buffer.space == "output" else 0)


def addresses(buffers: tuple[Buffer, ...]) -> Iterator[str]:
    """A variable for every buffer."""
    for buffer in buffers:
        name = identifier(buffer)
        if buffer.space == "arena":
            yield f"{name} = view(arena, {buffer.offset})"
        else:
            yield f"{name} = get_ptr(table, {external_slot(buffers, buffer)})"


def calls(plan: Plan) -> Iterator[str]:
    """The kernels, one after another; by blocks of rows where their stages share them."""
    for number, kernel in enumerate(plan.kernels):
        yield f"# {kernel.name}: {', '.join(str(w) for w in kernel.where[:3])}"
        yield from kernel_calls(plan, kernel, number)


def kernel_calls(plan: Plan, kernel: Kernel, number: int) -> Iterator[str]:
    if not kernel.block or kernel.block >= kernel.extent:
        for stage in kernel.stages:
            yield _call(plan, stage, number, "0", str(stage.code.extent))
        return
    yield f"for row in range(0, {kernel.extent}, {kernel.block}):"
    yield f"    end = min(row + {kernel.block}, {kernel.extent})"
    for stage in kernel.stages:
        yield "    " + _call(plan, stage, number, "row", "end")


def _call(plan: Plan, stage: Stage, number: int, start: str, stop: str) -> str:
    operands = [_operand(plan, o) for o in stage.operands]
    if faults(stage.code):
        operands.append(f"view(control, {8 * (FAULTS + number)})")
    return f"{stage.code.name}({', '.join([start, stop, *operands])})"


def _operand(plan: Plan, operand: Operand) -> str:
    buffer = plan.buffers[operand.buffer]
    name = identifier(buffer)
    return f"view({name}, {operand.offset * ITEMSIZE[buffer.type.dtype]})" if operand.offset else name
