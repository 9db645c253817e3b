"""Which nodes are computed together, and which values are therefore kept in memory.

A group is what one kernel computes: elementwise nodes over one domain (the loop sizes), reductions
of them over the same axes with what follows from one number a row, at most one product that they
all follow, and, pulled in without being stored, what feeds them.  Moves belong to no group: they
are index expressions of whoever reads through them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from gradloom.ir.affine import Affine, Index, linear
from gradloom.ir.graph import Graph
from gradloom.ir.node import Node
from gradloom.ir.op import Kind
from gradloom.ir.source import PARAMETER
from gradloom.ir.types import ITEMSIZE, row_strides
from gradloom.plan.nest import access, broadcast, domain, domain_index, folded_axes, locate
from gradloom.plan.product import copied
from gradloom.plan.rows import Axes, Rows, Sizes
from gradloom.settings import current as current_settings

# A MOVE that must be stored is a copy.
CLOSED = (Kind.JOIN, Kind.SCATTER, Kind.MOVE, Kind.CONTROL, Kind.ROUTINE)
WHOLE = (Kind.CONTROL, Kind.ROUTINE)  # whose operands are whole values in memory

# Work repeated for every reader is cheaper than a trip through memory up to about this many
# additions an element (benchmarks/lane_costs.py: a load and a store of a cached line cost 3).
CHEAP = 4


# Operations that one kernel may hold, and that may follow one another between values in memory.  A
# chain of 1,000 sines takes 7.0 s to compile in pieces of 256, 2.4 s in pieces of 64 and 1.2 s in
# pieces of 16; over 10^5 elements these run in 140, 97 and 98 ms.
LARGEST = 128
DEEPEST = 64


# A row that several passes go over stays in a cache up to about this size, and a kernel of whole
# rows can be split between fewer workers than one of elements.
ROW_BYTES = 1 << 18
LINE_BYTES = 64


@dataclass(eq=False)
class Group:
    """Nodes computed by one kernel, in graph order."""

    members: list[Node]
    rows: Rows
    head: Node | None  # the product that all others follow
    closed: bool
    bits: int = 0  # its own numbers
    before: int = 0  # those of the groups that it needs, directly or not
    followers: list[Node] = field(default_factory=list)  # who read its members
    stored: list[Node] = field(default_factory=list)
    aside: list[Read] = field(default_factory=list)  # of more or fewer elements than the reader's
    copies: int = 1  # how often its work stands in the kernel that does it

    @property
    def cost(self) -> int:
        return sum(m.op.cost for m in self.members)


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
            return self.loops in (rows.wide, rows.narrow)
        whole = tuple(range(len(self.loops)))
        if self.loops != rows.wide or {self.own, self.along} != {whole, rows.kept}:
            return False
        return self.own != whole or row_bytes(rows, self.reader) <= ROW_BYTES


def row_bytes(rows: Rows, node: Node) -> int:
    """Bytes of memory that a pass over a row touches."""
    count = math.prod(rows.wide[a] for a in rows.folded)
    last = len(rows.wide) - 1
    return count * (ITEMSIZE[node.type.dtype] if last in rows.folded else LINE_BYTES)


def fuse(graph: Graph) -> list[Group]:
    """The groups of a graph, operands before users; `stored` says what each leaves in memory."""
    order = graph.nodes()
    pinned = pins(graph, order)
    computed = {n for n in order if is_computed(n) or n in pinned} - set(graph.inputs)
    computed -= _free(order) - pinned
    reads = {n: list(_reads(n, computed)) for n in order if n in computed}
    late = _optimizer_cone(graph, reads)
    if fuse.__name__ in current_settings().disable:
        pinned, reads = computed, {n: [replace(r, along=None) for r in reads[n]] for n in reads}
    parts = _grouped(reads, late)
    _decide_stored(parts, reads, pinned)
    _inline(parts, reads, pinned)
    if fuse.__name__ not in current_settings().disable:
        _merge_siblings(parts, late, {n: i for i, n in enumerate(order)})
    return [g for g in parts.groups if g.stored]


def _free(order: list[Node]) -> set[Node]:
    """Numbers that cost less than to read them: a few operations on indices and constants."""
    cost: dict[Node, int] = {}
    for node in order:
        whole = all(
            n in cost or (n.op.kind is Kind.SOURCE and n.op is not PARAMETER) for n in node.inputs
        )
        if not whole or node.op.kind not in (Kind.ELEMENTWISE, Kind.MOVE):
            continue
        total = sum(cost.get(n, 0) for n in node.inputs)
        if node.op.kind is Kind.ELEMENTWISE:
            total += node.op.cost
        if total <= CHEAP and not (node.op.kind is Kind.MOVE and is_computed(node)):
            cost[node] = total
    return {n for n in cost if n.op.kind is Kind.ELEMENTWISE}


def is_computed(node: Node) -> bool:
    """Whether a node takes work, rather than being a source or an index expression."""
    if node.op.kind is Kind.MOVE:
        return access(node, domain_index(node.type.shape)) is None and not _relabels(node)
    return node.op.kind is not Kind.SOURCE


def _relabels(node: Node) -> bool:
    """A move that keeps all elements in order is a view of contiguous memory, at worst."""
    return node.type.size == node.inputs[0].type.size


def _keeps_place(node: Node) -> bool:
    """A move that only adds or drops axes of size one, and across which kernels may be merged."""
    if node.op.kind is not Kind.MOVE or node.op.apart:
        return False
    (x,) = node.inputs
    if domain(x.type.shape) != domain(node.type.shape):
        return False
    found = access(node, domain_index(node.type.shape))
    return found == (domain_index(x.type.shape), ())


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
        addressed = {Kind.CONTRACT: 2, Kind.GATHER: 1}.get(node.op.kind, 0)
        for operand in node.inputs[:addressed]:
            pinned.add(_addressable(operand, pinned))
        if node.op.kind is Kind.CONTRACT:
            pinned.update(copied(node, lambda n: in_memory(n, pinned)))
    return {n for n in pinned if n.op is not PARAMETER}


def _addressable(node: Node, pinned: set[Node]) -> Node:
    """What must be in memory so that every element of `node` has an address: behind moves, up to
    the first that reads outside of its operand or takes more than an index expression."""
    index = domain_index(node.type.shape)
    while not in_memory(node, pinned) and node.op.kind is Kind.MOVE:
        found = access(node, index)
        if found is None:  # the same elements in the same order
            return node.inputs[0]
        index, guards = found
        if guards:
            return node
        (node,) = node.inputs
    return node


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


def _reads(node: Node, computed: set[Node]) -> Iterator[Read]:
    """What a node reads, seen through moves."""
    if node.op.kind is Kind.ITEM:
        return
    for operand in node.inputs:
        index = reader_index(node, operand)
        direct = node.op.kind in (Kind.ELEMENTWISE, Kind.REDUCE) or _keeps_place(node)
        loops, own, order = _loops_of(node, operand) if direct else ((), (), ())
        while operand not in computed and operand.op.kind is Kind.MOVE:
            direct &= not operand.op.apart
            found = access(operand, index) if index is not None else None
            index, guards = found if found is not None else (None, ())
            direct &= index is not None and not guards
            (operand,) = operand.inputs
        if operand in computed:
            along = _along(operand, index, loops, order) if direct and index is not None else None
            yield Read(node, operand, index, loops, own, along)


def _loops_of(node: Node, operand: Node) -> tuple[Sizes, Axes, Axes]:
    """The loops of a reader, those of them that its own value has, and the order they stand in."""
    if node.op.kind is not Kind.REDUCE:
        loops = domain(node.type.shape)
        return loops, (whole := tuple(range(len(loops)))), whole
    loops, folded = domain(operand.type.shape), folded_axes(node)
    kept = tuple(a for a in range(len(loops)) if a not in folded)
    return loops, kept, (*kept, *folded)


def _along(node: Node, index: Index, loops: Sizes, order: Axes) -> Axes | None:
    """The loops that a node is read along, if each of its axes is one of them, in their order."""
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


def _optimizer_cone(graph: Graph, reads: dict[Node, list[Read]]) -> set[Node]:
    """Elementwise nodes that serve updates only.

    They stay out of the products that make the gradients, so that the whole update is one pass at
    the end, after the last reader of the old values.
    """
    users: dict[Node, list[Read]] = {n: [] for n in reads}
    for found in reads.values():
        for read in found:
            users[read.node].append(read)
    updated = {n for _, n in graph.updates}
    outputs = set(graph.outputs)
    late: set[Node] = set()
    for node in reversed(list(reads)):
        serves = node in updated or bool(users[node])
        only = all(u.reader in late and u.same for u in users[node]) and node not in outputs
        if node.op.kind is Kind.ELEMENTWISE and serves and only:
            late.add(node)
    return late


class _Partition:
    """Groups, and the order that their reads impose.

    `before` is transitively closed; of a group that came of a merge, either number stands for it.
    """

    def __init__(self) -> None:
        self.home: dict[Node, Group] = {}
        self._made: list[Group] = []

    @property
    def groups(self) -> list[Group]:
        return sorted((g for g in self._made if g.members), key=lambda g: g.bits & -g.bits)

    def add(self, node: Node, reads: list[Read]) -> Group:
        kind = node.op.kind
        if kind is Kind.ITEM:
            group = self.home[node] = self.home[node.inputs[0]]
            group.members.append(node)
            return group
        head = node if kind is Kind.CONTRACT else None
        group = Group([node], _own_rows(node), head, kind in CLOSED and not _keeps_place(node))
        group.bits = 1 << len(self._made)
        group.aside = [read for read in reads if not read.same]
        self._made.append(group)
        self.home[node] = group
        for source in (self.home[read.node] for read in reads):
            group.before |= source.before | source.bits
            source.followers.append(node)
        return group

    def merge(self, one: Group, other: Group, rows: Rows) -> bool:
        """Make one group of both, over `rows`, unless a third must run between them, or one must be
        finished before the other begins, which reads it elsewhere than at its own element."""
        if self._between(one, other) or self._between(other, one):
            return False
        if self._crossed(one, other, rows) or self._crossed(other, one, rows):
            return False
        for member in other.members:
            self.home[member] = one
        one.members += other.members
        one.followers += other.followers
        one.rows = rows
        one.head = one.head or other.head
        one.bits |= other.bits
        one.aside += other.aside
        one.before = (one.before | other.before) & ~one.bits
        other.members = []
        self._tell_followers(one)
        return True

    def _between(self, first: Group, last: Group) -> bool:
        """Whether a third group reads `first` and must run before `last`."""
        thirds = (self.home[node] for node in first.followers)
        return any(g.bits & last.before for g in thirds if g is not first and g is not last)

    def _crossed(self, reader: Group, source: Group, rows: Rows) -> bool:
        return any(self.home[r.node] is source and not r.fits(rows) for r in reader.aside)

    def _tell_followers(self, group: Group) -> None:
        """What a group must follow, those that follow it must too."""
        waiting = [group]
        while waiting:
            earlier = waiting.pop()
            for later in {self.home[node] for node in earlier.followers} - {earlier}:
                if earlier.before & ~later.before:
                    later.before |= earlier.before
                    waiting.append(later)


def _own_rows(node: Node) -> Rows:
    """The loops of a node by itself."""
    if node.op.kind in WHOLE:
        return Rows((), ())
    loops, own, _ = _loops_of(node, node.inputs[0] if node.inputs else node)
    return Rows(loops, own)


def _grouped(reads: dict[Node, list[Read]], late: set[Node]) -> _Partition:
    """Each node joins the groups that it directly follows, where no cycle comes of it.

    A second time, since what stood alone may by now follow from a fold of its row.
    """
    parts = _Partition()
    for node, sources in reads.items():
        parts.add(node, sources)
        _join_sources(parts, sources, late)
    for sources in reads.values():
        _join_sources(parts, sources, late)
    return parts


def _join_sources(parts: _Partition, sources: list[Read], late: set[Node]) -> None:
    for read in sources:
        own, other = parts.home[read.reader], parts.home[read.node]
        if own is other or read.along is None or not _joinable(own, other, late):
            continue
        rows = _together(own, other)
        if rows is not None and read.fits(rows):
            parts.merge(own, other, rows)


def _together(one: Group, other: Group) -> Rows | None:
    """The loops of two groups as one kernel; None where they fold different axes."""
    found = {g.rows for g in (one, other) if g.rows.folds} or {one.rows, other.rows}
    if len(found) != 1:
        return None
    (rows,) = found
    head = one.head or other.head
    if head and rows.folds and (domain(head.type.shape) != rows.wide or 0 not in rows.kept):
        return None  # rows of a product are finished before the next ones are begun
    return rows


def _joinable(own: Group, other: Group, late: set[Node]) -> bool:
    if own.closed or other.closed or (own.head and other.head):
        return False
    if len(own.members) + len(other.members) > LARGEST:
        return False
    headed = any(g.head or g.rows.folds for g in (own, other))
    return not (headed and any(m in late for g in (own, other) for m in g.members))


def _decide_stored(parts: _Partition, reads: dict[Node, list[Read]], pinned: set[Node]) -> None:
    """A value that another group reads, or that must be in memory, is stored."""
    wanted = {n for n in pinned if n in parts.home}
    for node, sources in reads.items():
        for read in sources:
            home = parts.home[node]
            if parts.home[read.node] is not home or not read.fits(home.rows):
                wanted.add(read.node)
    for node in reads:
        if node in wanted:
            parts.home[node].stored.append(node)


def _inline(parts: _Partition, reads: dict[Node, list[Read]], pinned: set[Node]) -> None:
    """Groups that feed one reader only, without repeating costly work, are computed there."""
    readers: dict[Node, list[Read]] = {n: [] for n in reads}
    for sources in reads.values():
        for read in sources:
            readers[read.node].append(read)
    for group in reversed(parts.groups):
        if group.head or group.rows.folds or group.closed:
            continue
        if len(group.stored) != 1 or group.stored[0] in pinned:
            continue
        outside = [r for r in readers[group.stored[0]] if parts.home[r.reader] is not group]
        homes = {parts.home[r.reader] for r in outside}
        if len(homes) != 1 or any(r.index is None for r in outside):
            continue
        copies = homes.pop().copies * len({r.index for r in outside})
        once = copies == 1 and not any(_repeats(r) for r in outside)
        if once or group.cost * copies <= CHEAP:
            group.stored.clear()
            group.copies = copies


def _merge_siblings(parts: _Partition, late: set[Node], place: dict[Node, int]) -> None:
    """Groups that read the same value element by element, and fold the same axes if any, are one
    pass over it; so are those of single numbers, which cost more to call than to compute."""
    readers: dict[object, list[Node]] = {}  # a node of each group, since groups merge
    for group in parts.groups:
        if not group.stored or group.head or group.closed:
            continue
        seen = (_behind(operand) for member in group.members for operand in member.inputs)
        shared = dict.fromkeys(n for n in seen if domain(n.type.shape) == group.rows.wide)
        for base in shared if group.rows.wide else (None,):
            readers.setdefault((base, group.rows), []).append(group.stored[0])
    for first, *rest in readers.values():
        for node in rest:
            one, other = parts.home[first], parts.home[node]
            alike = (first in late) == (node in late)
            if one is other or not alike or not _joinable(one, other, late):
                continue
            rows = _together(one, other)
            if rows is not None and parts.merge(one, other, rows):
                one.stored = sorted(one.stored + other.stored, key=place.__getitem__)
                other.stored = []


def _behind(node: Node) -> Node:
    """Through moves that keep every element at its place."""
    while _keeps_place(node):
        (node,) = node.inputs
    return node


def _repeats(read: Read) -> bool:
    """Whether the loops of the reader come to an element of what it reads more than once."""
    assert read.index is not None
    reader = read.reader
    loops = domain(reader.inputs[0].type.shape if reader.op.kind is Kind.REDUCE else _loops(read))
    deepest = max((a for at in read.index for a, _ in at.terms), default=-1)
    repeats = 1
    for size in loops[: deepest + 1]:
        repeats *= size
    return repeats > read.node.type.size


def _loops(read: Read) -> tuple[int, ...]:
    reader = read.reader
    if reader.op.kind is Kind.ELEMENTWISE:
        return reader.type.shape
    return read.node.type.shape
