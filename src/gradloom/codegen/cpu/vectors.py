"""Vectors in LLVM text: loops, constants, and loads and stores whose last vector may be ragged.

Invariant: no lane outside an operand is read or written.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from llvmlite import ir

from gradloom.codegen.cpu.target import Target
from gradloom.ir.types import ITEMSIZE

I1, I32, I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)
POINTER = ir.PointerType()
FLOATS = {"float32": ir.FloatType(), "float64": ir.DoubleType()}


@dataclass(frozen=True)
class Tile:
    """`rows` x `vectors` registers; the last vector of a row is narrower if `ragged`.

    On a target with masks the width of the ragged vector is known when the code runs; elsewhere it
    is `tail` lanes, and part of the name.
    """

    dtype: str
    rows: int
    vectors: int
    ragged: bool = False
    tail: int = 0

    def name(self, lanes: int) -> str:
        """What tells the functions for two tiles apart."""
        end = f"_tail{self.tail}" if self.tail else "_masked" * self.ragged
        return f"{self.dtype}x{lanes}_{self.rows}x{self.vectors}{end}"


def private(module: ir.Module, name: str, arguments: list[ir.Type]) -> ir.Function:
    """A new void function of the module alone; inlined copies of it would only cost time."""
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    return function


def declared(
    module: ir.Module, name: str, result: ir.Type, arguments: list[ir.Type]
) -> ir.Function:
    """The intrinsic `name`, declared once a module."""
    if name in module.globals:
        return module.globals[name]
    return ir.Function(module, ir.FunctionType(result, arguments), name)


@contextmanager
def counted(
    builder: ir.IRBuilder, start: ir.Value, stop: ir.Value, step: int
) -> Iterator[ir.Value]:
    """A loop over start, start + step, ... below stop; yields the index, of the type of start."""
    before = builder.block
    head, body = builder.append_basic_block("head"), builder.append_basic_block("body")
    after = builder.append_basic_block("after")
    builder.branch(head)
    builder.position_at_end(head)
    index = builder.phi(start.type)
    index.add_incoming(start, before)
    builder.cbranch(builder.icmp_signed("<", index, stop), body, after)
    builder.position_at_end(body)
    yield index
    index.add_incoming(builder.add(index, start.type(step)), builder.block)
    builder.branch(head)
    builder.position_at_end(after)


def least(builder: ir.IRBuilder, left: ir.Value, right: ir.Value) -> ir.Value:
    """The smaller of two integers."""
    return builder.select(builder.icmp_signed("<", left, right), left, right)


def greatest(builder: ir.IRBuilder, left: ir.Value, right: ir.Value) -> ir.Value:
    """The larger of two integers."""
    return builder.select(builder.icmp_signed(">", left, right), left, right)


def splat(builder: ir.IRBuilder, scalar: ir.Value, lanes: int) -> ir.Value:
    """A vector with `scalar` in every lane."""
    undefined = ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, scalar, I32(0))
    return builder.shuffle_vector(first, undefined, zeros(ir.VectorType(I32, lanes)))


def zeros(kind: ir.VectorType) -> ir.Constant:
    """The zero vector, which prints as one word whatever its length."""
    return ir.Constant(kind, None)


def lanes_below(builder: ir.IRBuilder, width: ir.Value, lanes: int) -> ir.Value:
    """The mask of the first `width` lanes."""
    wide = splat(builder, builder.trunc(width, I32), lanes)
    numbers = ir.Constant(ir.VectorType(I32, lanes), list(range(lanes)))
    return builder.icmp_signed("<", numbers, wide)


class Vectors:
    """Loads and stores of the vectors of one row of a tile; `width` is that of the ragged one."""

    def __init__(self, builder: ir.IRBuilder, tile: Tile, target: Target, width: ir.Value) -> None:
        self.builder, self.tile = builder, tile
        self.lanes = target.lanes(tile.dtype)
        self.item = FLOATS[tile.dtype]
        self.align = ITEMSIZE[tile.dtype]
        masked = tile.ragged and not tile.tail
        self.mask = lanes_below(builder, width, self.lanes) if masked else None

    def at(self, pointer: ir.Value, offset: ir.Value) -> ir.Value:
        """The pointer `offset` elements further."""
        return self.builder.gep(pointer, [offset], source_etype=self.item)

    def suffix(self, kind: ir.VectorType) -> str:
        """How the names of LLVM's intrinsics spell a type."""
        return f"v{kind.count}f{8 * self.align}"

    def kind(self, j: int) -> ir.VectorType:
        """The type of vector `j` of a row."""
        last = j == self.tile.vectors - 1
        return ir.VectorType(self.item, self.tile.tail if self.tile.tail and last else self.lanes)

    def load(self, row: ir.Value, j: int) -> ir.Value:
        """Vector `j` of a row; masked lanes are zero."""
        pointer = self.at(row, I64(j * self.lanes))
        if self.tile.ragged and j == self.tile.vectors - 1:
            return self.load_masked(pointer, self.mask)
        kind = ir.VectorType(self.item, self.lanes)
        return self.builder.load(pointer, typ=kind, align=self.align)

    def load_masked(self, pointer: ir.Value, mask: ir.Value | None) -> ir.Value:
        """The lanes of `mask`; without one, a vector of the tile's tail."""
        if mask is None:
            kind = ir.VectorType(self.item, self.tile.tail)
            return self.builder.load(pointer, typ=kind, align=self.align)
        kind = ir.VectorType(self.item, self.lanes)
        arguments = [POINTER, I32, mask.type, kind]
        name = f"llvm.masked.load.{self.suffix(kind)}.p0"
        function = declared(self.builder.module, name, kind, arguments)
        return self.builder.call(function, [pointer, I32(self.align), mask, zeros(kind)])

    def store(self, value: ir.Value, row: ir.Value, j: int) -> None:
        """Write vector `j` of a row, as far as it belongs to the operand."""
        pointer = self.at(row, I64(j * self.lanes))
        if self.mask is None or j < self.tile.vectors - 1:
            self.builder.store(value, pointer, align=self.align)
            return
        kind = value.type
        arguments = [kind, POINTER, I32, self.mask.type]
        name = f"llvm.masked.store.{self.suffix(kind)}.p0"
        function = declared(self.builder.module, name, ir.VoidType(), arguments)
        self.builder.call(function, [value, pointer, I32(self.align), self.mask])
