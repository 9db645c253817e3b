"""Graph to plan: groups to kernels, updates in place, an order, and one arena."""

from __future__ import annotations

import keyword
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from gradloom.ir.affine import Affine
from gradloom.ir.graph import Graph
from gradloom.ir.node import Node
from gradloom.ir.op import Kind
from gradloom.plan.arena import place
from gradloom.plan.fuse import fuse
from gradloom.plan.lower import Lowering, ragged
from gradloom.plan.nest import Draft, domain
from gradloom.plan.plan import Buffer, Kernel, Load, Nest, Plan, Stage
from gradloom.plan.schedule import ancestors, frugal, in_order, lifetimes, peak, reaches


@dataclass
class _Memory:
    """Buffers as they are decided upon."""

    nodes: list[Node] = field(default_factory=list)
    spaces: list[str] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    _taken: set[str] = field(default_factory=set)

    def add(self, node: Node, space: str, where: int, name: str) -> int:
        name = _variable(name)
        if name in self._taken:
            name = f"{name}_{len(self.names)}"
        self._taken.add(name)
        self.nodes.append(node)
        self.spaces.append(space)
        self.places.append(where)
        self.names.append(name)
        return len(self.nodes) - 1

    def arena(self, node: Node) -> int:
        return self.add(node, "arena", 0, f"{node.op.name}_{len(self.nodes)}")


# Names that a driver uses itself.
RESERVED = frozenset(
    (
        *("table", "arena", "control", "order", "epochs", "epoch", "batches", "batch", "first"),
        *(
            "first_epoch",
            "mode",
            "rows",
            "row",
            "low",
            "high",
            "keep",
            "done",
            "end",
            "view",
            "get",
        ),
        *("put", "get_ptr", "copy", "zero", "threefry", "shuffle", "gather_rows", "range"),
    )
)


def _variable(name: str) -> str:
    """A name as a Python variable of the driver."""
    cleaned = "".join(c if c.isalnum() and c.isascii() else "_" for c in name).strip("_") or "value"
    cleaned = cleaned if cleaned.isidentifier() else f"_{cleaned}"
    taken = keyword.iskeyword(cleaned) or cleaned in RESERVED or cleaned.startswith("all_")
    return f"{cleaned}_" if taken else cleaned


def make_plan(graph: Graph, names: Sequence[str] = ()) -> Plan:
    """Decide everything about running `graph`; `names` are those of its inputs."""
    memory = _Memory()
    buffer_of = _inputs(graph, memory, names)
    groups = fuse(graph)
    extra = _results(graph, memory, buffer_of)
    for group in groups:
        for node in group.stored:
            if node not in buffer_of:
                buffer_of[node] = memory.arena(node)
    lowering = Lowering(buffer_of, memory.arena)
    kernels = [lowering.lower(group) for group in groups]
    kernels += [_copy(memory, source, target) for source, target in extra]
    kernels, needs = _updates(graph, memory, buffer_of, kernels)
    kernels, needs = _update_as_one(memory, kernels, needs)
    order = _order(memory, kernels, needs)
    return _placed(graph, memory, [kernels[k] for k in order])


# ---- what comes in and goes out


def _inputs(graph: Graph, memory: _Memory, names: Sequence[str]) -> dict[Node, int]:
    state = {target for target, _ in graph.updates}
    found: dict[Node, int] = {}
    for number, node in enumerate(graph.inputs):
        space = "state" if node in state else "input"
        name = names[number] if number < len(names) else f"input_{number}"
        found[node] = memory.add(node, space, number, name)
    return found


def _results(graph: Graph, memory: _Memory, buffer_of: dict[Node, int]) -> list[tuple[int, int]]:
    """Output arrays.  Returns copies to make: of inputs, and of what is returned twice."""
    copies = []
    updated = {node for _, node in graph.updates}
    for number, node in enumerate(graph.outputs):
        buffer = memory.add(node, "output", number, f"output_{number}")
        if node in buffer_of or node in updated:
            if node not in buffer_of:
                buffer_of[node] = memory.arena(node)
            copies.append((buffer_of[node], buffer))
        else:
            buffer_of[node] = buffer
    return copies


def _copy(memory: _Memory, source: int, target: int) -> Kernel:
    """All elements in a row, from one buffer to another."""
    node = memory.nodes[source]
    flat = (node.type.size,) if domain(node.type.shape) else ()
    draft = Draft(flat, 0, {node: source}.get)
    at = Affine.axis(0) if flat else Affine()
    step = draft.emit(Load(draft.operand(source), at, node.type.dtype))
    draft.put(target, at, step, node.type.dtype)
    lines = (node.where,) if node.where else ()
    return Kernel("copy", (draft.finish("copy"),), 0, lines, 0)


# ---- updates in place


def _needs(kernels: Sequence[Kernel]) -> list[set[int]]:
    """Which kernels each one must follow: those that write what it reads."""
    writer: dict[int, int] = {}
    for k, kernel in enumerate(kernels):
        for b in kernel.touched()[1]:
            writer[b] = k
    return [
        {writer[b] for b in kernel.touched()[0] if b in writer} - {k}
        for k, kernel in enumerate(kernels)
    ]


def _updates(
    graph: Graph, memory: _Memory, buffer_of: dict[Node, int], kernels: list[Kernel]
) -> tuple[list[Kernel], list[set[int]]]:
    """Let each update's kernel write the state itself where that is safe; else copy at the end."""
    needs = _needs(kernels)
    touched = [k.touched() for k in kernels]
    writers = {b: k for k, (_, written) in enumerate(touched) for b in written}
    taken: set[int] = set()
    moved: dict[int, int] = {}
    copies: list[tuple[int, int]] = []
    for target, node in graph.updates:
        state = buffer_of[target]
        if target is node:
            continue
        source = buffer_of[node]
        writer = writers.get(source)
        readers = [k for k, (read, _) in enumerate(touched) if state in read and k != writer]
        free = memory.spaces[source] == "arena" and source not in taken
        if (
            free
            and writer is not None
            and _in_place(kernels[writer], state, source)
            and not any(reaches(needs, writer, r) for r in readers)
        ):
            needs[writer] |= set(readers)
            taken.add(source)
            moved[source] = state
        else:
            copies.append((source, state))
    kernels = [_substituted(k, moved) for k in kernels]
    _copy_last(memory, kernels, needs, copies, moved)
    return kernels, needs


def _copy_last(
    memory: _Memory,
    kernels: list[Kernel],
    needs: list[set[int]],
    copies: list[tuple[int, int]],
    moved: dict[int, int],
) -> None:
    """Add copies of new values into the state, after every reader of the old ones.

    A new value that is another buffer's old one is set aside first, before anything writes there.
    """
    pending = []
    for source, state in copies:
        if memory.spaces[source] == "state":
            aside = memory.arena(memory.nodes[source])
            for k, kernel in enumerate(kernels):
                if source in kernel.touched()[1]:
                    needs[k].add(len(kernels))
            kernels.append(_copy(memory, source, aside))
            needs.append(set())
            source = aside
        pending.append((moved.get(source, source), state))
    before = list(enumerate(kernels))
    for source, state in pending:
        kernels.append(_copy(memory, source, state))
        needs.append({k for k, x in before if state in x.touched()[0] or source in x.touched()[1]})


def _in_place(kernel: Kernel, old: int, new: int) -> bool:
    """Whether `new` may lie where `old` does: each element is read before, and only for itself."""
    writing = [s for s in kernel.stages if _writes(s, new)]
    if len(writing) != 1 or any(_uses(s, old) for s in kernel.stages if s is not writing[0]):
        return False
    if any(_uses(s, new) for s in kernel.stages if s is not writing[0]):
        return False
    (stage,) = writing
    nest = stage.code
    if not isinstance(nest, Nest) or (_uses(stage, old) and _writes(stage, old)):
        return False
    own = {i for i, o in enumerate(stage.operands) if o.buffer == old}
    stores = {s.at for s in nest.stores if stage.operands[s.operand].buffer == new}
    loads = [s for s in nest.steps if isinstance(s, Load) and s.operand in own]
    return all(len(stores) == 1 and s.at in stores and not s.picks for s in loads) and (
        not loads or not any(s.picks or s.accumulate for s in nest.stores)
    )


def _rags(kernel: Kernel) -> bool:
    nests = [s.code for s in kernel.stages if isinstance(s.code, Nest)]
    return any(n.vector and ragged(n.sizes[: n.vector + 1]) for n in nests)


def _uses(stage: Stage, buffer: int) -> bool:
    return any(o.buffer == buffer for o in stage.operands)


def _writes(stage: Stage, buffer: int) -> bool:
    return any(stage.operands[i].buffer == buffer for i in stage.writes)


def _substituted(kernel: Kernel, moved: dict[int, int]) -> Kernel:
    """The kernel on other buffers."""
    stages = tuple(
        replace(
            s, operands=tuple(replace(o, buffer=moved.get(o.buffer, o.buffer)) for o in s.operands)
        )
        for s in kernel.stages
    )
    return replace(kernel, stages=stages)


# ---- order and offsets


def _order(memory: _Memory, kernels: list[Kernel], needs: list[set[int]]) -> list[int]:
    """The graph's own order or the frugal one, whichever keeps less alive."""
    touched = [{*a, *b} for a, b in (k.touched() for k in kernels)]
    sizes = [
        n.type.nbytes if space == "arena" else 0
        for n, space in zip(memory.nodes, memory.spaces, strict=True)
    ]
    inside = [{b for b in t if sizes[b]} for t in touched]
    natural = in_order(needs, lambda k: (float(k),))
    lean = frugal(needs, inside, sizes)

    def bytes_of(order: list[int]) -> int:
        return peak(lifetimes(order, inside, len(sizes)), sizes, len(order))

    return lean if bytes_of(lean) < bytes_of(natural) else natural


def _update_as_one(
    memory: _Memory, kernels: list[Kernel], needs: list[set[int]]
) -> tuple[list[Kernel], list[set[int]]]:
    """Kernels that only update state, and do not wait for each other, as one pass."""
    together: list[int] = []
    chosen = waited_for = 0
    before = ancestors(needs)
    for k, kernel in enumerate(kernels):
        alone = not (before[k] & chosen or waited_for >> k & 1)
        if alone and _updates_only(kernel, memory):
            together.append(k)
            chosen |= 1 << k
            waited_for |= before[k]
    if len(together) < 2:
        return kernels, needs
    first, *others = together
    merged = Kernel(
        "update",
        tuple(s for k in together for s in kernels[k].stages),
        0,
        tuple(dict.fromkeys(w for k in together for w in kernels[k].where)),
        sum(kernels[k].flops for k in together),
    )
    place = {k: first if k in together else k for k in range(len(kernels))}
    joined = [{place[n] for n in needed} for needed in needs]
    joined[first] = {n for k in together for n in joined[k]} - {first}
    kept = [k for k in range(len(kernels)) if k not in others]
    number = {k: i for i, k in enumerate(kept)}
    return (
        [merged if k == first else kernels[k] for k in kept],
        [{number[n] for n in joined[k]} for k in kept],
    )


def _updates_only(kernel: Kernel, memory: _Memory) -> bool:
    return all(memory.spaces[b] == "state" for b in kernel.touched()[1])


def _placed(graph: Graph, memory: _Memory, kernels: list[Kernel]) -> Plan:
    touched = [{*a, *b} for a, b in (k.touched() for k in kernels)]
    used = sorted({b for t in touched for b in t} | set(range(len(graph.inputs))))
    lives = lifetimes(range(len(kernels)), touched, len(memory.nodes))
    arena = [b for b in used if memory.spaces[b] == "arena"]
    number = {b: i for i, b in enumerate(arena)}
    same = _overwrites(memory, kernels, lives)
    offsets, total = place(
        [memory.nodes[b].type.nbytes for b in arena],
        [lives[b] for b in arena],
        {number[new]: number[old] for new, old in same.items()},
    )
    for b in arena:
        memory.places[b] = offsets[number[b]]
    renumbered = {b: i for i, b in enumerate(used)}
    buffers = tuple(
        Buffer(
            memory.names[b],
            memory.spaces[b],
            memory.nodes[b].type,
            memory.places[b],
            *lives[b],
            memory.nodes[b].where,
        )
        for b in used
    )
    steps = sum(n.op.kind is not Kind.SOURCE for n in graph.nodes())
    final = tuple(
        replace(_substituted(k, renumbered), name=f"k{i}_{k.name}") for i, k in enumerate(kernels)
    )
    return Plan(final, buffers, total, steps)


def _overwrites(
    memory: _Memory, kernels: list[Kernel], lives: list[tuple[int, int]]
) -> dict[int, int]:
    """Buffers that can be written over an operand that dies in the same kernel."""
    same: dict[int, int] = {}
    heirs: set[int] = set()
    for k, kernel in enumerate(kernels):
        read, written = kernel.touched()
        for new in sorted(written):
            if memory.spaces[new] != "arena" or lives[new][0] != k or new in same:
                continue
            for old in sorted(read - written - heirs):
                dies_here = lives[old][1] == k and lives[old] != (k, k)
                fits = memory.spaces[old] == "arena" and dies_here and _alike(memory, old, new)
                if fits and _in_place(kernel, old, new) and not _rags(kernel):
                    same[new] = old
                    heirs.add(old)
                    break
    return same


def _alike(memory: _Memory, one: int, other: int) -> bool:
    """As many bytes of the same dtype."""
    first, second = memory.nodes[one].type, memory.nodes[other].type
    return first.nbytes == second.nbytes and first.dtype == second.dtype
