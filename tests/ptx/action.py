"""What one instruction does: a function of arrays, what it reads, what it writes.

A *reading* is how an operand is looked at: `"s32"`, `"pred"`, or `"f32.ftz"` for a float32 whose
subnormals count as zero. No array of a register is ever changed in place, so registers share them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.ptx.parser import SIZES
from tests.ptx.syntax import Instruction, Operand, PtxError, Vector

INTEGERS = {
    f"{kind}{bits}": np.dtype(f"{'int' if kind == 's' else 'uint'}{bits}")
    for kind in "bus"
    for bits in (8, 16, 32, 64)
}
DTYPES = {
    **INTEGERS,
    "f16": np.dtype(np.float16),
    "f32": np.dtype(np.float32),
    "f64": np.dtype(np.float64),
    "bf16": np.dtype(np.uint16),
    "f16x2": np.dtype(np.uint32),
    "bf16x2": np.dtype(np.uint32),
    "f32x2": np.dtype(np.uint64),
    "tf32": np.dtype(np.uint32),
    "pred": np.dtype(np.bool_),
}
BITS = {2: np.dtype(np.uint16), 4: np.dtype(np.uint32), 8: np.dtype(np.uint64)}
TINY = np.finfo(np.float32).tiny


@dataclass(frozen=True)
class Action:
    """`kind` says what the function is called with: "pure" with the values alone, "memory" and
    "warp" with the wave and the threads before them. `mask` is the operand that names the lanes
    which a warp-wide instruction waits for; without one it waits for the whole warp."""

    compute: Callable[..., Any]
    sources: tuple[tuple[Operand, str], ...]
    results: tuple[tuple[Operand, str], ...]
    kind: str = "pure"
    mask: Operand | None = None


Builder = Callable[[Instruction], Action]
BUILDERS: dict[str, Builder] = {}


def builds(*names: str) -> Callable[[Builder], Builder]:
    """Registers the builder of the actions of some instructions."""

    def register(builder: Builder) -> Builder:
        BUILDERS.update(dict.fromkeys(names, builder))
        return builder

    return register


def action_of(instruction: Instruction) -> Action:
    builder = BUILDERS.get(instruction.name)
    if builder is None:
        raise unknown(instruction)
    try:
        return builder(instruction)
    except (KeyError, IndexError, ValueError, StopIteration) as error:
        raise unknown(instruction) from error


def unknown(instruction: Instruction, why: str = "is not supported") -> PtxError:
    return PtxError(f"line {instruction.line}: {instruction.opcode} {why}: {instruction.text}")


# ---- parts of instructions


def type_of(instruction: Instruction) -> str:
    return instruction.modifiers[-1]


def parts(operand: Operand) -> tuple[Operand, ...]:
    """The members of a vector; a single operand is a vector of one."""
    return operand.items if isinstance(operand, Vector) else (operand,)


def reading_of(instruction: Instruction, kind: str) -> str:
    return "f32.ftz" if kind == "f32" and "ftz" in instruction.modifiers else kind


def size_of(kind: str) -> int:
    return DTYPES[kind].itemsize if kind in DTYPES else SIZES[kind]


def elementwise(
    instruction: Instruction, function: Callable[..., Any], kind: str = "", result: str = ""
) -> Action:
    """An action whose operands all have one type, the instruction's unless told."""
    kind = kind or type_of(instruction)
    target, *rest = instruction.operands
    reading = reading_of(instruction, kind)
    outcome = result or reading
    if outcome == "f32.ftz":
        function = flushed(function)
    return Action(
        function,
        tuple((operand, reading) for operand in rest),
        tuple((part, outcome) for part in parts(target)),
    )


def flush(x: np.ndarray) -> np.ndarray:
    """float32 with subnormals made zero of their sign."""
    small = np.abs(x) < TINY
    if np.count_nonzero(small):
        return np.where(small, np.copysign(np.float32(0), x), x)
    return x


def flushed(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *values: flush(function(*values))
