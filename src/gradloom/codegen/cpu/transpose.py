"""Rows of memory as columns in registers, and back: for short rows that lie across lanes."""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from gradloom.codegen.cpu.memory import Memory
from gradloom.codegen.cpu.vectors import I32, I64, lanes_below
from gradloom.codegen.lane_control import splat
from gradloom.codegen.lanes import LlvmLane, constant


def transposed(builder: ir.IRBuilder, rows: Sequence[ir.Value]) -> list[ir.Value]:
    """As many vectors as each has lanes, a power of two: lane `i` of vector `j` and lane `j` of
    vector `i` change places."""
    found, width = list(rows), len(rows)
    apart = width // 2
    while apart:
        for i in range(width):
            if i & apart:
                continue
            one, other = found[i], found[i + apart]
            low = [k if not k & apart else width + k - apart for k in range(width)]
            high = [k + apart if not k & apart else width + k for k in range(width)]
            found[i], found[i + apart] = (
                builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(I32, width), order))
                for order in (low, high)
            )
        apart //= 2
    return found


class RowBlock:
    """`width` rows of `columns` elements each, `stride` elements apart from element `at` on; those
    rows where `mask` does not hold are not there."""

    def __init__(
        self,
        memory: Memory,
        at: LlvmLane,
        stride: int,
        columns: int,
        width: int,
        mask: LlvmLane | None,
    ) -> None:
        self.memory, self.builder = memory, memory.builder
        self.at, self.stride, self.columns, self.width, self.mask = at, stride, columns, width, mask

    def load(self, operand: int, dtype: str) -> list[LlvmLane]:
        """One vector a column."""
        found: list[LlvmLane] = []
        for first in range(0, self.columns, self.width):
            rows = [
                self.memory.load(operand, dtype, self._place(row, first), self.width, mask).value
                for row, mask in enumerate(self._masks(first))
            ]
            found += (LlvmLane(self.builder, v, dtype) for v in transposed(self.builder, rows))
        return found[: self.columns]

    def store(self, operand: int, values: Sequence[LlvmLane]) -> None:
        """One vector a column."""
        dtype = values[0].dtype
        for first in range(0, self.columns, self.width):
            columns = [splat(v, self.width).value for v in values[first : first + self.width]]
            nothing = constant(self.builder, dtype, 0, self.width).value
            columns += [nothing] * (self.width - len(columns))
            rows = transposed(self.builder, columns)
            for row, mask in enumerate(self._masks(first)):
                lane = LlvmLane(self.builder, rows[row], dtype)
                self.memory.store(operand, self._place(row, first), lane, mask)

    def _place(self, row: int, first: int) -> LlvmLane:
        return self.at + (row * self.stride + first)

    def _masks(self, first: int) -> list[LlvmLane | None]:
        """Of each row, which of `width` columns from `first` on are there; None is all of them."""
        b, count = self.builder, min(self.columns - first, self.width)
        whole = LlvmLane(b, lanes_below(b, I64(count), self.width), "bool")
        if self.mask is None:
            return [whole if count < self.width else None] * self.width
        there = (b.extract_element(self.mask.value, I32(row)) for row in range(self.width))
        return [splat(LlvmLane(b, bit, "bool"), self.width) & whole for bit in there]
