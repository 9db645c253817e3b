"""Rows of memory as columns in registers, and back: for short rows that lie across lanes."""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from gradloom.codegen.cpu.memory import Memory
from gradloom.codegen.cpu.vectors import I32, I64, lanes_below, least
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
    """Up to `width` rows of `columns` elements each, `stride` elements apart from element `at` on.

    Only the first `rest` rows are there.  What lies beyond is the last of these once more, which is
    therefore written last.
    """

    def __init__(
        self, memory: Memory, at: LlvmLane, stride: int, columns: int, width: int, rest: ir.Value
    ) -> None:
        self.memory, self.builder = memory, memory.builder
        self.columns, self.width = columns, width
        b, last = self.builder, self.builder.sub(rest, I64(1))
        rows = (least(b, I64(row), last) for row in range(width))
        self.rows = [at + LlvmLane(b, b.mul(row, I64(stride)), "int64") for row in rows]

    def load(self, operand: int, dtype: str) -> list[LlvmLane]:
        """One vector a column."""
        found: list[LlvmLane] = []
        for first in range(0, self.columns, self.width):
            mask = self._mask(first)
            rows = [
                self.memory.load(operand, dtype, row + first, self.width, mask).value
                for row in self.rows
            ]
            found += (LlvmLane(self.builder, v, dtype) for v in transposed(self.builder, rows))
        return found[: self.columns]

    def store(self, operand: int, values: Sequence[LlvmLane]) -> None:
        """One vector a column."""
        dtype = values[0].dtype
        for first in range(0, self.columns, self.width):
            mask = self._mask(first)
            columns = [splat(v, self.width).value for v in values[first : first + self.width]]
            nothing = constant(self.builder, dtype, 0, self.width).value
            columns += [nothing] * (self.width - len(columns))
            rows = transposed(self.builder, columns)
            for row, place in reversed([*zip(rows, self.rows, strict=True)]):
                self.memory.store(operand, place + first, LlvmLane(self.builder, row, dtype), mask)

    def _mask(self, first: int) -> LlvmLane | None:
        """Which of `width` columns from `first` on there are; None is all of them."""
        if self.columns - first >= self.width:
            return None
        there = lanes_below(self.builder, I64(self.columns - first), self.width)
        return LlvmLane(self.builder, there, "bool")
