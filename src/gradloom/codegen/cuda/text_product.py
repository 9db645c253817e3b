"""A matrix product as the text of a CUDA function: see `codegen.cuda.product` for the same in LLVM.

This is the form to read.  Sums are added up in the same order; but loops that LLVM is given written
out, with sums in registers, four numbers at a time and pieces on their way, are plain loops here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradloom.codegen.cuda.text_body import Body
from gradloom.codegen.cuda.text_element import Element
from gradloom.codegen.cuda.text_lanes import Functions, literal
from gradloom.codegen.cuda.text_threads import place
from gradloom.codegen.text import affine_text
from gradloom.ir.affine import Affine, linear
from gradloom.ir.types import ITEMSIZE
from gradloom.plan.dealt import RESULT, Digit, Tiled
from gradloom.plan.plan import Load
from gradloom.plan.tiles import SIDE, THREADS


def product_text(
    name: str, tiled: Tiled, functions: Functions, remark: str
) -> tuple[str, tuple[str, ...]]:
    """`def name(start, stop, a, b, c, ...)`: tiles [start, stop) of a product, for all threads of a
    block; and the types of its pointers."""
    tile, kind = tiled.tile, tiled.product.dtype
    finish, names = "", list("abc")
    arguments: tuple[str, ...] = (f"{kind}*",) * 3
    if tiled.epilogue is not None:
        finish = f"{name}_element"
        names, arguments = _define_epilogue(finish, tiled, functions)
    doc = f"{remark}: {tiled.count} tiles of {tile.rows} x {tile.columns}, a block each."
    if tiled.precision:
        doc += (
            f"\n\n    Tensor cores round A and B to {tiled.precision}, which this does not.\n    "
        )
    head = f'def {name}({", ".join(["start", "stop", *names])}):\n    """{doc}"""\n'
    return head + _Product(tiled, finish, names).text(), arguments


def _batch(tiled: Tiled) -> list[str]:
    return [f"b{n}" for n in range(len(tiled.product.batch))]


def _define_epilogue(
    name: str, tiled: Tiled, functions: Functions
) -> tuple[list[str], tuple[str, ...]]:
    """Define what becomes of an element: `name(batch..., row, column, element, operand...)`, of
    which it returns the operands' names and types."""
    product, epilogue = tiled.product, tiled.epilogue
    assert epilogue is not None
    nest, shape = epilogue.nest, (*product.batch, product.rows, product.columns)
    known = dict.fromkeys(range(RESULT + 1), product.dtype)
    at = Element(nest, functions, "abc", known)
    place = [*_batch(tiled), "row", "column"]
    for axis, digit in enumerate(epilogue.digits):
        at.body.line(f"{at.index[axis]} = {_digit(place[digit.axis], digit, shape[digit.axis])}")
    lanes = {
        number: at.writer.named("element", product.dtype)
        for number, step in enumerate(nest.steps)
        if isinstance(step, Load) and step.operand == RESULT
    }
    at.narrow(lanes, 0)
    at.store(nest.stores, lanes)
    head = f"def {name}({', '.join([*place, 'element', *at.pointers])}):\n"
    doc = '    """What becomes of an element of the product."""\n'
    functions.texts[name] = head + doc + at.body.text()
    return at.pointers, at.arguments


def _digit(index: str, digit: Digit, size: int) -> str:
    text = index
    if digit.step > 1:
        text = f"uint32({text}) // uint32({digit.step})"
    if digit.step * digit.size < size:
        text = f"uint32({text}) % uint32({digit.size})"
    return index if text == index else f"int64({text})"


class _Product:
    """The state of writing one product."""

    def __init__(self, tiled: Tiled, finish: str, names: Sequence[str]) -> None:
        self.finish, self.names = finish, names
        self.tiled, self.product, self.tile = tiled, tiled.product, tiled.tile
        self.rows = self.tile.rows // SIDE  # of a thread
        self.columns = self.tile.columns // SIDE
        self.batch = _batch(tiled)
        self.depth = [f"k{n}" for n in range(len(self.product.depth))]
        self.body = Body()

    def text(self) -> str:
        if self.tile.thin:
            return self._thin()
        line, product, tile = self.body.line, self.product, self.tile
        kind, depth = product.dtype, math.prod(product.depth)
        line(f"tile_a = cuda.shared.array({tile.rows * tile.depth}, {kind})")
        line(f"tile_b = cuda.shared.array({tile.columns * tile.depth}, {kind})")
        line(f"sums = cuda.local.array({self.rows * self.columns}, {kind})")
        line("thread = uint32(cuda.threadIdx.x)")
        line(f"down = int64(thread // uint32({SIDE}))")
        line(f"along = int64(thread % uint32({SIDE}))")
        with self.body.inside("for number in range(start, stop):"):
            self._tile()
            with self.body.inside(f"for at in range({self.rows * self.columns}):"):
                line(f"sums[at] = {literal(0, kind)}")
            with self.body.inside(f"for first in range(0, {depth}, {tile.depth}):"):
                line("cuda.syncthreads()  # for those who still multiply the piece before")
                self._fill("a", tile.rows, "m", product.rows, depth)
                self._fill("b", tile.columns, "n", product.columns, depth)
                line("cuda.syncthreads()")
                self._multiply()
            self._write()
        return self.body.text()

    def _tile(self) -> None:
        """Which tile this is, and what there is to sum."""
        line, product, tile = self.body.line, self.product, self.tile
        down, along = -(-product.rows // tile.rows), -(-product.columns // tile.columns)
        for text in place("number", [*self.batch, "m0", "n0"], [*product.batch, down, along]):
            line(text)
        for number, limit in enumerate(product.limits):
            for end, at in (("low", limit.low), ("high", limit.high)):
                text = affine_text(at, self.batch)
                text = text if limit.step == 1 else f"-(-({text}) // {limit.step})"
                line(f"{end}{number} = {text}")

    def _fill(self, name: str, wide: int, own: str, size: int, depth: int) -> None:
        """Copy a piece of an operand, zeros beyond it; neighbouring threads read what lies together
        in memory."""
        line, product, deep = self.body.line, self.product, self.tile.depth
        strides, before, order = product.b_strides, product.before[1], [*self.depth, own]
        by_depth = product.b_strides[-1] != 1
        if name == "a":
            strides, before, order = product.a_strides, product.before[0], [own, *self.depth]
            by_depth = strides[len(self.batch) + len(self.depth)] == 1
        whole = "deep" if len(self.depth) > 1 else self.depth[0]
        first, second = ("at", "k") if by_depth else ("k", "at")
        inner = deep if by_depth else wide
        with self.body.inside(f"for turn in range(thread, {wide * deep}, {THREADS}):"):
            line(f"{first} = int64(uint32(turn) // uint32({inner}))")
            line(f"{second} = int64(uint32(turn) % uint32({inner}))")
            line(f"{own} = {wide} * {own}0 + at")
            line(f"{whole} = first + k")
            for text in place(whole, self.depth, product.depth):
                line(text)
            line("value = " + literal(0, product.dtype))
            inside = [f"{own} < {size}"] * bool(size % wide) or []
            inside += [f"{whole} < {depth}"] * bool(depth % deep)
            for number, limit in enumerate(product.limits):
                inside.append(f"low{number} <= {self.depth[limit.axis]} < high{number}")
            element = f"{name}[{_place(strides, [*self.batch, *order], before)}]"
            with self.body.inside(f"if {' and '.join(inside) or 'True'}:"):
                line(f"value = {element}")
            line(f"tile_{name}[{wide} * k + at] = value")

    def _multiply(self) -> None:
        line, tile, inside = self.body.line, self.tile, self.body.inside
        with inside(f"for k in range({tile.depth}):"), inside(f"for i in range({self.rows}):"):
            line(f"x = tile_a[{tile.rows} * k + {self._own('down', 'i', self.rows)}]")
            with inside(f"for j in range({self.columns}):"):
                line(f"y = tile_b[{tile.columns} * k + {self._own('along', 'j', self.columns)}]")
                at = f"{self.columns} * i + j"
                line(f"sums[{at}] = cuda.fma(x, y, sums[{at}])")

    def _write(self) -> None:
        line, tile, product, inside = self.body.line, self.tile, self.product, self.body.inside
        with inside(f"for i in range({self.rows}):"):
            line(f"m = {tile.rows} * m0 + {self._own('down', 'i', self.rows)}")
            with inside(f"for j in range({self.columns}):"):
                line(f"n = {tile.columns} * n0 + {self._own('along', 'j', self.columns)}")
                with inside(f"if m < {product.rows} and n < {product.columns}:"):
                    self._put(f"sums[{self.columns} * i + j]")

    def _put(self, element: str) -> None:
        """Write an element of the result, or what becomes of it."""
        given = ", ".join([*self.batch, "m", "n", element, *self.names])
        at = _place(self.product.c_strides, [*self.batch, "m", "n"])
        self.body.line(f"{self.finish}({given})" if self.finish else f"c[{at}] = {element}")

    def _thin(self) -> str:
        """A product of few rows or columns: here every thread has elements of its own, which LLVM's
        code shares among threads."""
        line, product, tile, inside = self.body.line, self.product, self.tile, self.body.inside
        line("thread = uint32(cuda.threadIdx.x)")
        at_a = _place(product.a_strides, [*self.batch, "m", *self.depth], product.before[0])
        at_b = _place(product.b_strides, [*self.batch, *self.depth, "n"], product.before[1])
        with inside("for number in range(start, stop):"):
            self._tile()
            with inside(f"for turn in range(thread, {tile.rows * tile.columns}, {THREADS}):"):
                line(f"m = {tile.rows} * m0 + int64(uint32(turn) // uint32({tile.columns}))")
                line(f"n = {tile.columns} * n0 + int64(uint32(turn) % uint32({tile.columns}))")
                with inside(f"if m < {product.rows} and n < {product.columns}:"):
                    line(f"total = {literal(0, product.dtype)}")
                    with inside(f"for {self.depth[0]} in range({product.depth[0]}):"):
                        line(f"total = cuda.fma(a[{at_a}], b[{at_b}], total)")
                    self._put("total")
        return self.body.text()

    def _own(self, thread: str, number: str, count: int) -> str:
        """Which row, or column, of the tile is this thread's so many-th: up to four that lie
        together, then the next four a whole side of threads further."""
        together = min(count, 16 // ITEMSIZE[self.product.dtype])
        if count == 1:
            return thread
        if count == together:
            return f"{together} * {thread} + {number}"
        further = f"{together * SIDE} * ({number} // {together})"
        return f"{together} * {thread} + {further} + {number} % {together}"


def _place(strides: Sequence[int], names: Sequence[str], start: int = 0) -> str:
    index = tuple(Affine.axis(number) for number in range(len(names)))
    return affine_text(linear(index, tuple(strides)) + start, names)
