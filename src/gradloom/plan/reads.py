"""What a node reads, seen through moves: which values must be in memory for it, and which of them
it meets element by element, or row by row, so that both can be computed in one kernel."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from gradloom.ir.affine import Affine, Index, linear
from gradloom.ir.graph import Graph
from gradloom.ir.node import Node
from gradloom.ir.op import Kind
from gradloom.ir.source import PARAMETER
from gradloom.ir.types import ITEMSIZE, row_strides
from gradloom.plan.nest import access, broadcast, domain, domain_index, folded_axes, locate
from gradloom.plan.product import as_product, copied
from gradloom.plan.rows import Axes, Rows, Sizes

WHOLE = (Kind.CONTROL, Kind.ROUTINE)  # whose operands are whole values in memory

# Operations that may follow one another between values in memory.  A chain of 1,000 sines takes
# 7.0 s to compile in pieces of 256, 2.4 s in pieces of 64 and 1.2 s in pieces of 16; over 10^5
# elements these run in 140, 97 and 98 ms.
DEEPEST = 64

# Rows up to this size are finished one by one.  On one thread that is faster at any size: layer
# norm of 4 rows in float32, kernel by kernel and by rows, takes 24 and 13 us with rows of 64 KB,
# 1,379 and 739 with 1 MB, 14.2 and 9.8 ms with 4 MB; softmax 29 and 28, 998 and 814, 12.2 and 9.9;
# the statistics of 64 columns the same either way.  But a team shares rows, and of few long ones it
# shares the elements better.
ROW_BYTES = 1 << 20
LINE_BYTES = 64

# Rows of a product that are worth more than zeros left out.  By the weights of 5 x 5 windows of one
# channel, 6 rows at a time 87 Gflop/s of 255; of 6 channels, 30 at a time, 167.
TALL = 8
# And columns.  By the x of 3 x 3 windows two apart, 32 channels of the result and 16 of x, which
# are 32 columns with two places at once: 405 us of which half are zeros, 465 by 16 columns without.
WIDE = 32

# Rounds in which a column is read from which it is first copied.  The forces of 512 bodies, whose
# three coordinates are columns, take 208 us without copies and 146 with, of 0.1 us each.
AGAIN = 16


@dataclass(frozen=True)
class Read:
    """`reader` uses `node`, a computed value or a parameter, at `index` of the reader's loops.

    Within `loops` the reader has the axes `own`, and the node the axes `along`: all of them, or
    one has fewer.  None where it reads other elements than its own, so that the node must be
    finished first.
    """

    reader: Node
    node: Node
    index: Index | None
    loops: Sizes = ()
    own: Axes = ()
    along: Axes | None = None

    @property
    def same(self) -> bool:
        """Element by element."""
        return self.along == self.own == tuple(range(len(self.loops)))

    def fits(self, rows: Rows) -> bool:
        """Whether both can be computed in one pass over `rows`, or in passes over each row."""
        if self.along is None:
            return False
        if self.same:
            return self.loops in (rows.wide, rows.narrow, rows.flat)
        whole = tuple(range(len(self.loops)))
        if self.loops != rows.wide or {self.own, self.along} != {whole, rows.kept}:
            return False
        return row_bytes(rows, self.reader) <= ROW_BYTES


def row_bytes(rows: Rows, node: Node) -> int:
    """Bytes of memory that a pass over a row touches."""
    count = math.prod(rows.wide[a] for a in rows.folded)
    last = len(rows.wide) - 1
    return count * (ITEMSIZE[node.type.dtype] if last in rows.folded else LINE_BYTES)


def is_computed(node: Node) -> bool:
    """Whether a node takes work, rather than being a source or an index expression."""
    if node.op.kind is Kind.MOVE:
        return access(node, domain_index(node.type.shape)) is None and not _relabels(node)
    return node.op.kind is not Kind.SOURCE


def _relabels(node: Node) -> bool:
    """A move that keeps all elements in order is a view of contiguous memory, at worst."""
    return node.type.size == node.inputs[0].type.size


def keeps_place(node: Node) -> bool:
    """A move that only adds or drops axes of size one, and across which kernels may be merged."""
    if node.op.kind is not Kind.MOVE or node.op.apart:
        return False
    (x,) = node.inputs
    if domain(x.type.shape) != domain(node.type.shape):
        return False
    found = access(node, domain_index(node.type.shape))
    return found == (domain_index(x.type.shape), ())


def behind(node: Node) -> Node:
    """Through moves that keep every element at its place."""
    while keeps_place(node):
        (node,) = node.inputs
    return node


def in_memory(node: Node, pinned: set[Node]) -> bool:
    return node.op is PARAMETER or node in pinned or is_computed(node)


def pins(graph: Graph, order: list[Node]) -> set[Node]:
    """Nodes that must be in memory: results, and whatever is addressed rather than recomputed."""
    pinned = {n for n in graph.roots if n.op is not PARAMETER}
    depth: dict[Node, int] = {}
    for node in order:
        if node.op.kind in WHOLE:
            pinned.update(_whole_operands(node, pinned))
        if node.op.kind is Kind.ITEM or node.op.kind in WHOLE:
            depth[node] = 0
            continue
        works = node.op.kind is not Kind.MOVE
        depth[node] = works + max((depth[n] for n in node.inputs if n not in pinned), default=0)
        if works and depth[node] == DEEPEST:
            pinned.add(node)
        index = domain_index(node.type.shape)
        if node.op.kind is Kind.MOVE and access(node, index) is None and _relabels(node):
            pinned.add(node.inputs[0])
        if node.op.kind is Kind.ELEMENTWISE:
            pinned.update(_columns(node, pinned))
        if node.op.kind is Kind.GATHER:
            pinned.add(_addressable(node.inputs[0], pinned))
        if node.op.kind is Kind.CONTRACT:
            pinned.update(_factors(node, pinned))
            pinned.update(copied(node, lambda n: in_memory(n, pinned)))
    return {n for n in pinned if n.op is not PARAMETER}


def _columns(node: Node, pinned: set[Node]) -> Iterator[Node]:
    """Operands that lie apart in memory along the last loop, and that an outer loop reads again in
    each of many rounds."""
    loops = domain(node.type.shape)
    if len(loops) < 2:
        return
    for operand in node.inputs:
        if operand.op.kind is not Kind.MOVE or operand in pinned:
            continue
        place = locate(
            operand,
            broadcast(domain_index(node.type.shape), operand),
            lambda n: in_memory(n, pinned),
        )
        if place is None or abs(place.at.coefficient(len(loops) - 1)) <= 1:
            continue
        again = math.prod(n for a, n in enumerate(loops) if not place.at.coefficient(a))
        if again >= AGAIN and operand.type.size * again == node.type.size:
            yield operand


def _addressable(node: Node, pinned: set[Node]) -> Node:
    """What must be in memory so that every element of `node` has an address: behind moves, up to
    the first that reads outside of its operand or takes more than an index expression."""
    return _addressables(node, pinned)[-1]


def _addressables(node: Node, pinned: set[Node]) -> list[Node]:
    """The same for a reader that checks the guards of moves up to there; the furthest first."""
    index, found = domain_index(node.type.shape), []
    while not in_memory(node, pinned) and node.op.kind is Kind.MOVE:
        moved = access(node, index)
        if moved is None:  # the same elements in the same order
            node = node.inputs[0]
            break
        index, guards = moved
        if guards:
            found.append(node)
        (node,) = node.inputs
    return [node, *reversed(found)]


def _factors(node: Node, pinned: set[Node]) -> list[Node]:
    """What a product needs in memory: as little of the borders of its operands as it can."""
    choices = [_addressables(operand, pinned) for operand in node.inputs]
    chosen = [choice[-1] for choice in choices]
    if all(len(choice) == 1 for choice in choices):
        return chosen

    def tried(bases: list[Node]) -> tuple[int, int]:
        known = {*bases, *pinned}
        known.update(copied(node, partial(in_memory, pinned=known)))
        found = as_product(node, partial(in_memory, pinned=known))
        return (
            (min(found.product.rows, TALL), min(found.product.columns, WIDE)) if found else (0, 0)
        )

    rows, columns = tried(chosen)
    for side, choice in enumerate(choices):
        for base in choice[:-1]:
            bases = [base if side == n else other for n, other in enumerate(chosen)]
            tall, wide = tried(bases)
            if tall >= max(rows, 1) and wide >= columns:
                chosen = bases
                break
    return chosen


def _whole_operands(node: Node, pinned: set[Node]) -> set[Node]:
    """What a loop, a branch or a routine needs in memory.

    A carry is begun with a copy, which can read through moves; of others the elements must lie in
    order, somewhere in a value that is in memory.
    """
    found = set()
    copied = carried(node)
    for number, operand in enumerate(node.inputs):
        if number in copied and is_constant(operand):
            continue
        place = locate(operand, domain_index(operand.type.shape), lambda n: in_memory(n, pinned))
        if place is None or place.guards or not (number in copied or in_order(place.at, operand)):
            found.add(operand)
        else:
            found.add(place.base)
    return found


def carried(node: Node) -> range:
    """The operands of a loop that begin its carries."""
    if not node.op.flow or node.op.flow == "branch":
        return range(0)
    return range(node["free"], node["free"] + node["carries"])


def is_constant(node: Node) -> bool:
    """A number or an index, or either moved about."""
    while node.op.kind is Kind.MOVE:
        (node,) = node.inputs
    return node.op.kind is Kind.SOURCE and node.op is not PARAMETER


def in_order(at: Affine, node: Node) -> bool:
    """Whether the elements that `at` addresses lie one after another, from some element on."""
    whole = linear(domain_index(node.type.shape), row_strides(node.type.shape))
    return at.terms == whole.terms


def reader_index(node: Node, operand: Node) -> Index | None:
    """Where a node's loops read `operand`; None where the address is not a matter of its loops."""
    kind = node.op.kind
    if kind is Kind.ELEMENTWISE:
        return broadcast(domain_index(node.type.shape), operand)
    if kind is Kind.REDUCE:
        axes = node["axes"]
        loops = [d for d, n in enumerate(operand.type.shape) if n != 1]
        loops = [d for d in loops if d not in axes] + [d for d in loops if d in axes]
        at = dict(zip(loops, domain_index(tuple([2] * len(loops))), strict=True))
        whole = domain_index(operand.type.shape)
        return tuple(at.get(d, whole[d]) for d in range(operand.type.ndim))
    if kind in (Kind.JOIN, Kind.SCATTER, Kind.MOVE):
        return domain_index(operand.type.shape)
    return None


def reads_of(node: Node, computed: set[Node]) -> Iterator[Read]:
    """What a node reads, seen through moves."""
    if node.op.kind is Kind.ITEM:
        return
    for operand in node.inputs:
        index = reader_index(node, operand)
        direct = node.op.kind in (Kind.ELEMENTWISE, Kind.REDUCE) or keeps_place(node)
        loops, own, order = loops_of(node, operand) if direct else ((), (), ())
        while operand not in computed and operand.op.kind is Kind.MOVE:
            direct &= not operand.op.apart
            found = access(operand, index) if index is not None else None
            index, guards = found if found is not None else (None, ())
            direct &= index is not None and not guards
            (operand,) = operand.inputs
        if operand in computed:
            along = _along(operand, index, loops, order) if direct and index is not None else None
            yield Read(node, operand, index, loops, own, along)


def loops_of(node: Node, operand: Node) -> tuple[Sizes, Axes, Axes]:
    """The loops of a reader, those of them that its own value has, and the order they stand in."""
    if node.op.kind is not Kind.REDUCE:
        loops = domain(node.type.shape)
        return loops, (whole := tuple(range(len(loops)))), whole
    loops, folded = domain(operand.type.shape), folded_axes(node)
    kept = tuple(a for a in range(len(loops)) if a not in folded)
    return loops, kept, (*kept, *folded)


def _along(node: Node, index: Index, loops: Sizes, order: Axes) -> Axes | None:
    """The loops that a node is read along, if each of its axes is one of them, in their order, or
    its one axis is all of them."""
    whole = Rows(loops, tuple(range(len(loops))))
    flat = order == whole.kept and domain(node.type.shape) == whole.flat
    if flat and index == whole.index(node.type.shape):
        return order
    axes = []
    for at, size in zip(index, node.type.shape, strict=True):
        if size == 1:
            continue
        if at.const or len(at.terms) != 1 or at.terms[0][1] != 1:
            return None
        axes.append(order[at.terms[0][0]])
        if loops[axes[-1]] != size:
            return None
    return tuple(axes) if axes == sorted(set(axes)) else None
