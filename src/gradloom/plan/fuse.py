"""Which nodes are computed together, and which values are therefore kept in memory.

A group is what one kernel computes: elementwise nodes over one domain (the loop sizes), reductions
of them over the same axes with what follows from one number a row, at most one product that they
all follow, and, pulled in without being stored, what feeds them.  Moves belong to no group: they
are index expressions of whoever reads through them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from gradloom.ir.graph import Graph
from gradloom.ir.node import Node
from gradloom.ir.op import Kind
from gradloom.ir.source import PARAMETER
from gradloom.plan.nest import Spot, domain
from gradloom.plan.pieces import spots_of
from gradloom.plan.reads import (
    WHOLE,
    Read,
    behind,
    is_computed,
    keeps_place,
    loops_of,
    pins,
    reads_of,
)
from gradloom.plan.rows import Rows
from gradloom.settings import current as current_settings

# A MOVE that must be stored is a copy.
CLOSED = (Kind.JOIN, Kind.SCATTER, Kind.MOVE, Kind.CONTROL, Kind.ROUTINE)

# Work repeated for every reader is cheaper than a trip through memory up to about this many
# additions an element (benchmarks/lane_costs.py: a load and a store of a cached line cost 3).
CHEAP = 4

# Bytes of a gradient from which it is used up by the update as it is made, row by row if it is a
# product, rather than in one pass with the others at the end.  With rows fetched (`plan.fetch`) and
# with a pass right after each product, us a step: `wide`, 4 MB, 10,760 and 11,420; `mnist`, 0.5 and
# 1.6 MB, 2,168 and 2,261; `autoencoder`, 0.8 MB, 1,927 and 1,987; but with those of 0.25 MB of a
# transformer 10,260 and 9,660.
LARGE_BYTES = 1 << 19

# Operations that one kernel may hold; `reads.DEEPEST` is how many may follow one another.
LARGEST = 128


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
    into: Group | None = None  # that it is computed in
    apart: dict[Node, str] = field(default_factory=dict)  # why what it reads is another group's
    pieces: dict[Node, Spot] = field(default_factory=dict)  # of a join: what others write there

    @property
    def cost(self) -> int:
        return sum(m.op.cost for m in self.members)


def fuse(graph: Graph) -> list[Group]:
    """The groups of a graph, operands before users; `stored` says what each leaves in memory."""
    order = graph.nodes()
    pinned = pins(graph, order)
    computed = {n for n in order if is_computed(n) or n in pinned} - set(graph.inputs)
    computed -= _free(order, pinned)
    reads = {n: list(reads_of(n, computed)) for n in order if n in computed}
    late = _optimizer_cone(graph, reads)
    if fuse.__name__ in current_settings().disable:
        pinned = computed
        reads = {n: [replace(r, along=None) for r in reads[n]] for n in reads}
    parts = _grouped(reads, late)
    _decide_stored(parts, reads, pinned)
    _lay_pieces(parts, reads, pinned)
    _inline(parts, reads, pinned)
    if fuse.__name__ not in current_settings().disable:
        _merge_siblings(parts, late, {n: i for i, n in enumerate(order)})
    _hand_on_reasons(parts)
    return [g for g in parts.groups if g.stored]


def _free(order: list[Node], pinned: set[Node]) -> set[Node]:
    """Numbers that cost less than to read them: a few operations on indices and constants.

    What is in memory anyway is read, and so is not among them, nor is what is computed of it: its
    readers must follow the kernel that writes it.
    """
    cost: dict[Node, int] = {}
    for node in order:
        whole = all(
            n in cost or (n.op.kind is Kind.SOURCE and n.op is not PARAMETER) for n in node.inputs
        )
        if not whole or node in pinned or node.op.kind not in (Kind.ELEMENTWISE, Kind.MOVE):
            continue
        total = sum(cost.get(n, 0) for n in node.inputs)
        if node.op.kind is Kind.ELEMENTWISE:
            total += node.op.cost
        if total <= CHEAP and not (node.op.kind is Kind.MOVE and is_computed(node)):
            cost[node] = total
    return {n for n in cost if n.op.kind is Kind.ELEMENTWISE}


def _optimizer_cone(graph: Graph, reads: dict[Node, list[Read]]) -> set[Node]:
    """Elementwise nodes that serve updates only.

    They stay out of the products that make small gradients, so that the whole update is one pass
    at the end, after the last reader of the old values.
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
        group = Group([node], _own_rows(node), head, kind in CLOSED and not keeps_place(node))
        group.bits = 1 << len(self._made)
        group.aside = [read for read in reads if not read.same]
        self._made.append(group)
        self.home[node] = group
        for source in (self.home[read.node] for read in reads):
            group.before |= source.before | source.bits
            source.followers.append(node)
        return group

    def merge(self, one: Group, other: Group, rows: Rows) -> str:
        """Make one group of both, over `rows`, unless a third must run between them, or one must be
        finished before the other begins, which reads it elsewhere than at its own element.  Returns
        why not, or nothing."""
        if self._between(one, other) or self._between(other, one):
            return "another kernel reads it, and is read here"
        if self._crossed(one, other, rows) or self._crossed(other, one, rows):
            return "other elements than its own are read too, so all must be finished first"
        for member in other.members:
            self.home[member] = one
        one.members += other.members
        one.followers += other.followers
        one.rows = rows
        one.head = one.head or other.head
        one.bits |= other.bits
        one.aside += other.aside
        one.apart |= other.apart
        one.before = (one.before | other.before) & ~one.bits
        other.members = []
        self._tell_followers(one)
        return ""

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
    loops, own, _ = loops_of(node, node.inputs[0] if node.inputs else node)
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
        if own is not other and (why := _join(parts, read, late)):
            own.apart[read.node] = why


def _join(parts: _Partition, read: Read, late: set[Node]) -> str:
    """Make one group of reader and read; or say why not."""
    own, other = parts.home[read.reader], parts.home[read.node]
    if (parted := _parted(own, other, late)) and read.along is not None:
        return parted
    if read.along is None:
        return _addressed(read.reader)
    rows = _together(own, other)
    if rows is None:
        return "the loops differ, or fold other axes"
    if not read.fits(rows):
        return "a row of it is too long to stay in a cache, or has other axes"
    return parts.merge(own, other, rows)


def _addressed(reader: Node) -> str:
    """How a node reads what must be finished first."""
    named = {Kind.CONTRACT: "a product reads whole rows and columns of it"}
    named[Kind.REDUCE] = "it is folded in another order than it is computed in"
    whole = "it is read as a whole, by what is not a loop over its elements"
    if reader.op.kind in WHOLE:
        return whole
    return named.get(reader.op.kind, "it is read at other elements than the reader's own")


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


def _parted(own: Group, other: Group, late: set[Node]) -> str:
    """Why two groups cannot be one, whatever one reads of the other; or nothing."""
    if closed := next((g for g in (other, own) if g.closed), None):
        return f"{closed.members[0].op.name} is a kernel by itself"
    if own.head and other.head:
        return "each is a product, and a kernel has one"
    if len(own.members) + len(other.members) > LARGEST:
        return f"{LARGEST} operations are enough for a kernel"
    flat = own.rows.wide == other.rows.flat or other.rows.wide == own.rows.flat
    kept_out = any(_small(g.head) or (g.rows.folds and not flat) for g in (own, other))
    if kept_out and any(m in late for g in (own, other) for m in g.members):
        return "updates of state wait for every reader of the old values"
    return ""


def _small(head: Node | None) -> bool:
    """Whether a gradient stays in a cache until the end."""
    return head is not None and head.type.nbytes < LARGE_BYTES


def _hand_on_reasons(parts: _Partition) -> None:
    """What is computed in another group has its reasons there; those of what came together are
    forgotten."""
    for group in parts.groups:
        group.apart = {n: why for n, why in group.apart.items() if parts.home[n] is not group}
        if group.into is not None:
            group.into.apart |= group.apart
    for group in parts.groups:
        group.apart = {n: why for n, why in group.apart.items() if n in parts.home[n].stored}


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


def _lay_pieces(parts: _Partition, reads: dict[Node, list[Read]], pinned: set[Node]) -> None:
    """Pieces that a join alone reads are written there by the kernels that compute them, unless all
    could be computed in the join."""
    readers: dict[Node, list[Group]] = {n: [] for n in reads}
    for sources in reads.values():
        for read in sources:
            readers[read.node].append(parts.home[read.reader])
    for group in parts.groups:
        if group.members[0].op.kind is not Kind.JOIN:
            continue
        found = {}
        for node, spot in spots_of(group.members[0]):
            home = parts.home.get(node)
            if home is None or home.closed or node in pinned:
                continue
            if [reader for reader in readers[node] if reader is not home] == [group]:
                found[node] = spot
        homes = [parts.home[node] for node in found]
        if any(h.head or h.rows.folds or len(h.stored) > 1 for h in homes):
            group.pieces = found
            group.apart = {n: why for n, why in group.apart.items() if n not in found}


def _inline(parts: _Partition, reads: dict[Node, list[Read]], pinned: set[Node]) -> None:
    """Groups that feed one reader only, without repeating costly work, are computed there."""
    readers: dict[Node, list[Read]] = {n: [] for n in reads}
    for sources in reads.values():
        for read in sources:
            readers[read.node].append(read)
    laid = {node for group in parts.groups for node in group.pieces}
    for group in reversed(parts.groups):
        if group.head or group.rows.folds or group.closed or laid & set(group.stored):
            continue
        if len(group.stored) != 1 or group.stored[0] in pinned:
            continue
        outside = [r for r in readers[group.stored[0]] if parts.home[r.reader] is not group]
        homes = {parts.home[r.reader] for r in outside}
        if len(homes) != 1 or any(r.index is None for r in outside):
            continue
        (home,) = homes
        copies = home.copies * len({r.index for r in outside})
        once = copies == 1 and not any(_repeats(r) for r in outside)
        if once or group.cost * copies <= CHEAP:
            group.stored.clear()
            group.copies = copies
            group.into = home
        else:
            home.apart[group.stored[0]] = "it costs more to compute for each reading than to keep"


def _merge_siblings(parts: _Partition, late: set[Node], place: dict[Node, int]) -> None:
    """Groups that read the same value element by element, and fold the same axes if any, are one
    pass over it; so are those of single numbers, which cost more to call than to compute."""
    readers: dict[object, list[Node]] = {}  # a node of each group, since groups merge
    for group in parts.groups:
        if not group.stored or group.head or group.closed:
            continue
        seen = (behind(operand) for member in group.members for operand in member.inputs)
        shared = dict.fromkeys(n for n in seen if domain(n.type.shape) == group.rows.wide)
        for base in shared if group.rows.wide else (None,):
            readers.setdefault((base, group.rows), []).append(group.stored[0])
    for first, *rest in readers.values():
        for node in rest:
            one, other = parts.home[first], parts.home[node]
            alike = (first in late) == (node in late)
            if one is other or not alike or _parted(one, other, late):
                continue
            rows = _together(one, other)
            if rows is not None and not parts.merge(one, other, rows):
                one.stored = sorted(one.stored + other.stored, key=place.__getitem__)
                other.stored = []


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
