"""Graph to plan: groups to kernels, updates in place, an order, and one arena."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from gradloom.ir.graph import Graph, graphs_of
from gradloom.ir.node import Node
from gradloom.ir.op import Kind
from gradloom.plan.arena import place
from gradloom.plan.embed import embed
from gradloom.plan.fetch import fetching
from gradloom.plan.fuse import fuse
from gradloom.plan.lower import Lowering
from gradloom.plan.memory import Memory
from gradloom.plan.plan import Buffer, Kernel, Part, Plan
from gradloom.plan.regions import lower_region
from gradloom.plan.schedule import frugal, in_order, lifetimes, peak
from gradloom.plan.split import each_kernel, split
from gradloom.plan.streams import streaming
from gradloom.plan.updates import copy, in_place, rags, substituted, update_as_one, write_updates

Arrange = Callable[[tuple[Part, ...], Memory], tuple[Part, ...]]


def make_plan(graph: Graph, names: Sequence[str] = ()) -> Plan:
    """Decide everything about running `graph`; `names` are those of its inputs."""
    plan = split(undivided_plan(graph, names))
    parts = embed(plan.parts, plan.buffers)
    parts = tuple(each_kernel(part, lambda k: streaming(k, plan.buffers)) for part in parts)
    return replace(plan, parts=tuple(each_kernel(part, fetching) for part in parts))


def undivided_plan(
    graph: Graph, names: Sequence[str] = (), arranged: Arrange = lambda parts, memory: parts
) -> Plan:
    """The plan but for how threads share it; `arranged` are the parts before memory is laid out."""
    memory, _, parts = _decided(graph, names)
    return _placed(graph, memory, arranged(parts, memory))


@dataclass(frozen=True)
class Layout:
    """What a plan would take: for each value in the arena the kernels from which and to which it
    lives and those that read it, the kernel at which the most is alive, operations, and bytes."""

    spans: dict[Node, tuple[int, int]]
    read: dict[Node, set[int]]
    peak: int
    flops: int
    arena_bytes: int


def lay_out(graph: Graph) -> Layout:
    """The layout of a graph's plan."""
    memory, buffer_of, parts = _decided(graph, ())
    plan = _placed(graph, memory, parts)
    lives = _Lives()
    lives.visit(parts)
    node_of = {b: memory.nodes[b] for b in buffer_of.values()}
    spans = {node: lives.spans[b] for b, node in node_of.items() if b in lives.spans}
    alive = [0] * (len(lives.kernels) + 1)
    for b, (born, dies) in lives.spans.items():
        alive[born] += memory.bytes_of(b)
        alive[dies + 1 if dies + 1 < len(alive) else -1] -= memory.bytes_of(b)
    totals = list(itertools.accumulate(alive[:-1]))
    read: dict[Node, set[int]] = {node: set() for node in spans}
    for k, kernel in enumerate(lives.kernels):
        for b in {b for side in kernel.touched() for b in side}:
            if node_of.get(b) in read:
                read[node_of[b]].add(k)
    return Layout(
        {n: span for n, span in spans.items() if memory.spaces[buffer_of[n]] == "arena"},
        read,
        max(range(len(totals)), key=totals.__getitem__, default=0),
        plan.flops,
        plan.arena_bytes,
    )


def _decided(
    graph: Graph, names: Sequence[str]
) -> tuple[Memory, dict[Node, int], tuple[Part, ...]]:
    memory = Memory()
    buffer_of = _inputs(graph, memory, names)
    outputs = [
        memory.add(node, "output", number, f"output_{number}")
        for number, node in enumerate(graph.outputs)
    ]
    parts = plan_parts(graph, memory, buffer_of, outputs)
    return memory, buffer_of, parts


def plan_parts(
    graph: Graph, memory: Memory, buffer_of: dict[Node, int], outputs: Sequence[int]
) -> tuple[Part, ...]:
    """Kernels and regions, in order, that fill the buffers `outputs` and update the inputs, whose
    buffers are given; so is the body of a loop planned, within its own."""
    groups = fuse(graph)
    extra = _results(graph, memory, buffer_of, outputs)
    spots = {node: spot for group in groups for node, spot in group.pieces.items()}
    for group in groups:
        for node in group.stored:
            if node not in buffer_of and node not in spots:
                buffer_of[node] = memory.arena(node)
    for group in (g for g in groups if g.pieces):
        buffer_of |= dict.fromkeys(group.pieces, buffer_of[group.members[0]])
    lowering = Lowering(buffer_of, memory.arena, spots, {node for _, node in graph.updates})
    parts: list[Part] = []
    for group in groups:
        node = group.members[0]
        if node.op.kind is Kind.CONTROL:
            parts.append(lower_region(node, group.members[1:], lowering, memory, plan_parts))
        else:
            reasons = ((memory.names[buffer_of[n]], why) for n, why in group.apart.items())
            kernel = replace(lowering.lower(group), reasons=tuple(reasons))
            parts += [kernel] if kernel.stages else []
    twice = "it is a result twice, or as it was given"
    parts += [copy(memory, source, target, twice) for source, target in extra]
    parts, needs = write_updates(graph, memory, buffer_of, parts)
    parts, needs = update_as_one(memory, parts, needs)
    return tuple(parts[k] for k in _order(memory, parts, needs))


# ---- what comes in and goes out


def _inputs(graph: Graph, memory: Memory, names: Sequence[str]) -> dict[Node, int]:
    state = {target for target, _ in graph.updates}
    found: dict[Node, int] = {}
    for number, node in enumerate(graph.inputs):
        space = "state" if node in state else "input"
        name = names[number] if number < len(names) else f"input_{number}"
        found[node] = memory.add(node, space, number, name)
    return found


def _results(
    graph: Graph, memory: Memory, buffer_of: dict[Node, int], outputs: Sequence[int]
) -> list[tuple[int, int]]:
    """Where results go.  Returns copies to make: of inputs, and of what is returned twice."""
    copies = []
    updated = {node for _, node in graph.updates}
    for buffer, node in zip(outputs, graph.outputs, strict=True):
        if node in buffer_of or node in updated:
            if node not in buffer_of:
                buffer_of[node] = memory.arena(node)
            copies.append((buffer_of[node], buffer))
        else:
            buffer_of[node] = buffer
    return copies


# ---- order and offsets


def _order(memory: Memory, kernels: list[Part], needs: list[set[int]]) -> list[int]:
    """The graph's own order or the frugal one, whichever keeps less alive."""
    touched = [{*a, *b} for a, b in (k.touched() for k in kernels)]
    sizes = [memory.bytes_of(b) for b in range(len(memory.nodes))]
    inside = [{b for b in t if sizes[b]} for t in touched]
    natural = in_order(needs, lambda k: (float(k),))
    lean = frugal(needs, inside, sizes)

    def bytes_of(order: list[int]) -> int:
        return peak(lifetimes(order, inside, len(sizes)), sizes, len(order))

    return lean if bytes_of(lean) < bytes_of(natural) else natural


@dataclass
class _Lives:
    """First and last kernel of each buffer, and the region that each belongs to."""

    spans: dict[int, tuple[int, int]] = field(default_factory=dict)
    kernels: list[Kernel] = field(default_factory=list)
    home: list[int] = field(default_factory=list)  # of each kernel: the number of its region
    _regions: int = 0

    def visit(self, parts: Sequence[Part], region: int = 0) -> None:
        for part in parts:
            if isinstance(part, Kernel):
                self._touch({b for side in part.touched() for b in side}, len(self.kernels))
                self.kernels.append(part)
                self.home.append(region)
                continue
            self.visit(part.init, region)
            first = len(self.kernels)
            for body in part.bodies:
                self._regions += 1
                self.visit(body, self._regions)
            for kernel in {first, max(len(self.kernels) - 1, first)}:
                self._touch(part.reads | part.writes, kernel)

    def _touch(self, buffers: Iterable[int], kernel: int) -> None:
        for b in buffers:
            born, dies = self.spans.get(b, (kernel, kernel))
            self.spans[b] = min(born, kernel), max(dies, kernel)


def _placed(graph: Graph, memory: Memory, parts: Sequence[Part]) -> Plan:
    lives = _Lives()
    lives.visit(parts)
    spans = lives.spans
    used = set(spans) | set(range(len(graph.inputs)))
    used |= {memory.base(b) for b in used} | {memory.rows[b][0] for b in used if b in memory.rows}
    arena = sorted(b for b in used if memory.spaces[b] == "arena")
    number = {b: i for i, b in enumerate(arena)}
    same = _overwrites(memory, lives)
    offsets, total = place(
        [memory.nodes[b].type.nbytes for b in arena],
        [spans[b] for b in arena],
        {number[new]: number[old] for new, old in same.items()},
    )
    for b in arena:
        memory.places[b] = offsets[number[b]]
    renumbered = {b: i for i, b in enumerate(sorted(used))}
    never = (len(lives.kernels), -1)
    buffers = tuple(
        Buffer(
            memory.names[b],
            memory.spaces[b],
            memory.nodes[b].type,
            memory.places[b],
            *spans.get(b, never),
            memory.nodes[b].where,
            *((renumbered[memory.rows[b][0]], memory.rows[b][1]) if b in memory.rows else ()),
        )
        for b in sorted(used)
    )
    steps = _operations(graph)
    numbers = itertools.count()
    final = tuple(substituted(_numbered(part, numbers, used), renumbered) for part in parts)
    return Plan(final, buffers, total, steps)


def _operations(graph: Graph) -> int:
    """How many operations a graph has, within its loops and branches too."""
    nodes = graph.nodes()
    inside = sum(_operations(inner) for node in nodes for inner in graphs_of(node))
    return inside + sum(n.op.kind not in (Kind.SOURCE, Kind.ITEM) for n in nodes)


def _numbered(part: Part, numbers: Iterator[int], used: set[int]) -> Part:
    """Names that begin with the place in the text; without rows that nothing reads."""
    if isinstance(part, Kernel):
        return replace(part, name=f"k{next(numbers)}_{part.name}")
    return replace(
        part,
        init=tuple(replace(k, name=f"k{next(numbers)}_{k.name}") for k in part.init),
        bodies=tuple(tuple(_numbered(p, numbers, used) for p in body) for body in part.bodies),
        rows=tuple(row for row in part.rows if row in used),
    )


def _overwrites(memory: Memory, lives: _Lives) -> dict[int, int]:
    """Buffers that can be written over an operand that dies in the same kernel, of one region."""
    same: dict[int, int] = {}
    heirs: set[int] = set()
    spans = lives.spans
    born_in: dict[int, int] = {}
    for k, kernel in enumerate(lives.kernels):
        for b in kernel.touched()[1]:
            born_in.setdefault(b, lives.home[k])
    for k, kernel in enumerate(lives.kernels):
        read, written = kernel.touched()
        for new in sorted(written):
            if memory.spaces[new] != "arena" or spans[new][0] != k or new in same:
                continue
            for old in sorted(read - written - heirs):
                dies_here = spans[old][1] == k and spans[old] != (k, k)
                alike = memory.spaces[old] == "arena" and _alike(memory, old, new)
                own = born_in.get(old) == lives.home[k]
                if dies_here and alike and own and in_place(kernel, old, new) and not rags(kernel):
                    same[new] = old
                    heirs.add(old)
                    break
    return same


def _alike(memory: Memory, one: int, other: int) -> bool:
    """As many bytes of the same dtype."""
    first, second = memory.nodes[one].type, memory.nodes[other].type
    return first.nbytes == second.nbytes and first.dtype == second.dtype
