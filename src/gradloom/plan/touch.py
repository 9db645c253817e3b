"""Which bytes a stage reads and writes, grain by grain of its outermost axis."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from gradloom.ir.affine import Affine
from gradloom.ir.types import ITEMSIZE
from gradloom.plan.limits import reached
from gradloom.plan.plan import ANY, Buffer, Load, Nest, Operand, Pick, Product, Stage, Store

SERIAL, ALL = 0, -1  # in place of a number of grains: worker 0 alone; each of the team, everything
ARENA = -1


@dataclass(frozen=True, slots=True)
class Reach:
    """What one iteration of a stage's outermost axis touches of an operand, in bytes from the
    operand's first on: `step * iteration + low` to `step * iteration + high`.

    With a `pitch` the iterations are columns of a matrix with rows so far apart: each touches
    `width` bytes of every row, and all of them together no more than a row.
    """

    operand: int
    step: int
    low: int
    high: int
    writes: bool
    pitch: int = 0
    width: int = 0


@dataclass(frozen=True, slots=True)
class Access:
    """Bytes that the team touches: grain `g` those of `[low, high) + g * step` within
    `[start, stop)`, which is of the array `root`, or of the arena; with a `pitch` only the first
    `width` of every so many.

    Bytes of a `row` that moves from round to round count from the row's first; then `start` and
    `stop` are those of all that it moves over.  A row of another round than this is `past`.
    """

    root: int
    start: int
    stop: int
    step: int
    low: int
    high: int
    grains: int
    writes: bool
    pitch: int = 0
    width: int = 0
    row: int = ANY
    past: int = ANY
    buffer: int = field(default=ANY, compare=False)
    kernel: str = field(default="", compare=False)

    def meets(self, other: Access) -> bool:
        """Whether two of a team could touch the same byte, one of them writing."""
        if not (self.writes or other.writes) or self.root != other.root:
            return False
        if self.stop <= other.start or other.stop <= self.start:
            return False
        if ANY != self.row == other.past or ANY != other.row == self.past:
            return False
        if self.grains == other.grains == SERIAL:
            return False
        return not self._aligned(other)

    def _aligned(self, other: Access) -> bool:
        """Whether different grains touch different bytes, so that each keeps to its own."""
        if self.grains != other.grains or self.grains == ALL or self.row != other.row:
            return False
        if self.grains == 1:
            return True
        step = abs(self.step)
        if self.step != other.step:
            return False
        if self.pitch and self.pitch == other.pitch:
            apart = (other.low - self.low + step) % self.pitch - step  # along a row
            together = max(self.width, apart + other.width) - min(0, apart)
            return together <= step and self.grains * step <= self.pitch
        return self.high - other.low <= step and other.high - self.low <= step


def accesses(
    stage: Stage, buffers: Sequence[Buffer], grain: int, kernel: str = ""
) -> Iterator[Access]:
    """What a stage touches when it is dealt out by `grain` iterations, or, by 0, not at all."""
    for reach in reaches(stage, buffers):
        buffer = stage.operands[reach.operand].buffer
        yield placed(buffers, buffer, reach, stage.extent, grain, kernel)


def placed(
    buffers: Sequence[Buffer], buffer: int, reach: Reach, extent: int, grain: int, kernel: str = ""
) -> Access:
    """What is touched of a buffer, as a part of the array, or of the arena, that it lies in."""
    grains = -(-extent // grain) if grain else SERIAL
    inside = reach.step * ((grain or extent) - 1)
    first, last = reach.low + min(inside, 0), reach.high + max(inside, 0)
    step = reach.step * grain
    beyond = step * max(grains - 1, 0)
    low, high = first + min(beyond, 0), last + max(beyond, 0)
    low, high = max(low, 0), min(high, buffers[buffer].type.nbytes)
    number, offset, moves = buffer, 0, False
    while buffers[number].space == "row":
        offset += buffers[number].offset
        moves |= buffers[number].stride != 0
        number = buffers[number].of
    base = buffers[number]
    root, at = (ARENA, base.offset) if base.space == "arena" else (number, 0)
    width = reach.width + inside if reach.pitch else 0
    if moves:
        row, start, stop = buffer, at, at + base.type.nbytes
    else:
        at += offset
        row, start, stop, first, last = ANY, at + low, at + high, at + first, at + last
    rest = grains, reach.writes, reach.pitch, width, row, ANY, buffer, kernel
    return Access(root, start, stop, step, first, last, *rest)


# ---- the reach of each kind of stage


def reaches(stage: Stage, buffers: Sequence[Buffer]) -> Iterator[Reach]:
    """Every operand's, once for each way in which it is accessed."""
    if isinstance(stage.code, Nest):
        found = _of_nest(stage.code, stage)
    elif isinstance(stage.code, Product):
        found = _of_product(stage.code)
    else:
        found = _of_all(stage, buffers)
    return (moved(reach, stage, buffers) for reach in dict.fromkeys(found))


def moved(reach: Reach, stage: Stage, buffers: Sequence[Buffer]) -> Reach:
    """With bytes counted from the first of the buffer, rather than of the operand."""
    operand = stage.operands[reach.operand]
    offset = operand.offset * ITEMSIZE[buffers[operand.buffer].type.dtype]
    if not offset:
        return reach
    return replace(reach, low=reach.low + offset, high=reach.high + offset)


def _of_nest(nest: Nest, stage: Stage) -> Iterator[Reach]:
    return (reach_of(access, nest, stage.extent) for access in nest_accesses(nest))


def reach_of(access: Load | Store, nest: Nest, extent: int) -> Reach:
    """What an access of a nest touches of its operand, without the operand's offset."""
    kept = len(nest.sizes) > nest.reduced
    low, high = span(access.at, access.picks, sizes_of(nest, extent), first=1 if kept else 0)
    step = access.at.coefficient(0) if kept else 0
    item = ITEMSIZE[access.dtype]
    writes = isinstance(access, Store)
    found = Reach(access.operand, step * item, low * item, (high + 1) * item, writes)
    if access.picks:
        return found
    sizes = sizes_of(nest, extent)
    inner = [(c, sizes[axis]) for axis, c in access.at.terms if axis or not kept]
    return _by_columns(found, extent, inner, item)


def _by_columns(reach: Reach, extent: int, inner: Iterable[tuple[int, int]], item: int) -> Reach:
    """With the pitch of the rows, if iterations are columns; `inner` are the strides and sizes of
    the axes within one, in elements."""
    axes = sorted((stride * item, size) for stride, size in inner if size > 1)
    if not axes or axes[0][0] < 0 or reach.step <= 0:
        return reach
    pitch = axes.pop()[0]
    width = item + sum(stride * (size - 1) for stride, size in axes)
    fits = reach.step * (extent - 1) + width <= pitch
    return replace(reach, pitch=pitch, width=width) if fits else reach


def nest_accesses(nest: Nest) -> Iterator[Load | Store]:
    """Everything in a nest that touches memory."""
    for step in (*nest.steps, *nest.stores):
        if isinstance(step, Load | Store):
            yield step


def sizes_of(nest: Nest, extent: int) -> tuple[int, ...]:
    """The sizes of a nest's loops, the one left to the caller too."""
    return tuple(extent if size == ANY else size for size in nest.sizes)


def span(
    at: Affine, picks: Sequence[Pick], sizes: Sequence[int], first: int = 0
) -> tuple[int, int]:
    """The lowest and the highest element that an address can have, over the axes from `first`."""
    spans = [c * (sizes[axis] - 1) for axis, c in at.terms if axis >= first]
    spans += [p.stride * (p.size - 1) for p in picks]
    return at.const + sum(min(s, 0) for s in spans), at.const + sum(max(s, 0) for s in spans)


def _of_product(product: Product) -> Iterator[Reach]:
    item = ITEMSIZE[product.dtype]
    batch, rows, columns, depth = product.batch, product.rows, product.columns, product.depth
    operands = (
        (0, product.a_strides, (*batch, rows, *depth), True),
        (1, product.b_strides, (*batch, *depth, columns), bool(batch)),
        (2, product.c_strides, (*batch, rows, columns), True),
    )
    for number, strides, sizes, split in operands:
        low, high = reached(product, number, strides, sizes, split=split)
        step = strides[0] if split else 0
        found = Reach(number, step * item, low * item, (high + 1) * item, number == 2)
        inner = list(zip(strides, sizes, strict=True))[split:]
        yield _by_columns(found, sizes[0], inner, item) if split else found


def _of_all(stage: Stage, buffers: Sequence[Buffer]) -> Iterator[Reach]:
    """A routine's operands, as a whole."""
    for number, operand in enumerate(stage.operands):
        nbytes = _after(operand, buffers)
        yield Reach(number, 0, 0, nbytes, number in stage.writes)


def _after(operand: Operand, buffers: Sequence[Buffer]) -> int:
    """The bytes of a buffer from an operand on."""
    kind = buffers[operand.buffer].type
    return kind.nbytes - operand.offset * ITEMSIZE[kind.dtype]
