"""New values written in place of old ones, where that is safe; else copied at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gradloom.ir.affine import Affine
from gradloom.ir.graph import Graph
from gradloom.ir.node import Node
from gradloom.plan.lower import ragged
from gradloom.plan.memory import Memory
from gradloom.plan.nest import Draft, domain
from gradloom.plan.plan import Kernel, Load, Nest, Part, Region, Stage
from gradloom.plan.rows import overwrites
from gradloom.plan.schedule import ancestors, reaches

# Bytes of gradients from which an update is a pass by itself, right after they are made, so that
# they come from the second-level cache and their memory serves the next.  Updates in one pass at
# the end and one by one, ms a step: 256-1024-1024-1024-1024-10 with Adam, with gradients of 4 MB
# each, 13.8 and 12.9, its arena 14.2 and 5.8 MB; 784-512-256-10 2.34 and 2.34, 2.4 and 1.9 MB.
# Where all are apart that have more than 16 KB, 64-128-64-10, an LSTM and a transformer take as
# long as in one pass.  From 0.5 MB on products are followed by their updates (`plan.fuse`).
LARGE_BYTES = 1 << 18


def copy(memory: Memory, source: int, target: int, why: str) -> Kernel:
    """All elements in a row, from one buffer to another."""
    node = memory.nodes[source]
    flat = (node.type.size,) if domain(node.type.shape) else ()
    draft = Draft(flat, 0, {node: source}.get)
    at = Affine.axis(0) if flat else Affine()
    step = draft.emit(Load(draft.operand(source), at, node.type.dtype))
    draft.put(target, at, step, node.type.dtype)
    lines = (node.where,) if node.where else ()
    reasons = ((memory.names[source], why),)
    return Kernel("copy", (draft.finish("copy"),), 0, lines, 0, reasons)


# ---- updates in place


def _needs(kernels: Sequence[Part]) -> list[set[int]]:
    """Which kernels each one must follow: those that write what it reads."""
    writers = _writers(kernels)
    return [
        {w for b in kernel.touched()[0] for w in writers.get(b, ())} - {k}
        for k, kernel in enumerate(kernels)
    ]


def _writers(kernels: Sequence[Part]) -> dict[int, list[int]]:
    """Which kernels write each buffer: several where they write the pieces of one."""
    found: dict[int, list[int]] = {}
    for k, kernel in enumerate(kernels):
        for b in kernel.touched()[1]:
            found.setdefault(b, []).append(k)
    return found


def write_updates(
    graph: Graph, memory: Memory, buffer_of: dict[Node, int], kernels: list[Part]
) -> tuple[list[Part], list[set[int]]]:
    """Let each update's kernel write the state itself where that is safe; else copy at the end."""
    needs = _needs(kernels)
    touched = [k.touched() for k in kernels]
    writers = {b: found[0] for b, found in _writers(kernels).items() if len(found) == 1}
    taken: set[int] = set()
    moved: dict[int, int] = {}
    copies: list[tuple[int, int]] = []
    held = {buffer_of[target] for target, _ in graph.updates}
    for target, node in graph.updates:
        state = buffer_of[target]
        if target is node:
            continue
        source = buffer_of[node]
        writer = writers.get(source)
        readers = [k for k, (read, _) in enumerate(touched) if state in read and k != writer]
        free = memory.spaces[source] == "arena" and source not in taken | held
        if (
            free
            and writer is not None
            and in_place(kernels[writer], state, source)
            and not any(reaches(needs, writer, r) for r in readers)
        ):
            needs[writer] |= set(readers)
            taken.add(source)
            moved[source] = state
        else:
            copies.append((source, state))
    kernels = [substituted(k, moved) for k in kernels]
    memory.rows |= {
        row: (moved[of], stride) for row, (of, stride) in memory.rows.items() if of in moved
    }
    _copy_last(memory, kernels, needs, copies, moved, held)
    return kernels, needs


def _copy_last(
    memory: Memory,
    kernels: list[Part],
    needs: list[set[int]],
    copies: list[tuple[int, int]],
    moved: dict[int, int],
    held: set[int],
) -> None:
    """Add copies of new values into the state, after every reader of the old ones.

    A new value that is another buffer's old one is set aside first, before anything writes there.
    """
    pending = []
    for source, state in copies:
        if source in held:
            aside = memory.arena(memory.nodes[source])
            for k, kernel in enumerate(kernels):
                if source in kernel.touched()[1]:
                    needs[k].add(len(kernels))
            kernels.append(copy(memory, source, aside, "it is overwritten, and needed after that"))
            needs.append(set())
            source = aside
        pending.append((moved.get(source, source), state))
    before = list(enumerate(kernels))
    for source, state in pending:
        kernels.append(copy(memory, source, state, "the old value is read until now"))
        needs.append({k for k, x in before if state in x.touched()[0] or source in x.touched()[1]})


def in_place(kernel: Part, old: int, new: int) -> bool:
    """Whether `new` may lie where `old` does: each element is read before, and only for itself."""
    if isinstance(kernel, Region):
        return False
    if not any(_uses(s, old) for s in kernel.stages):
        return True
    writing = [s for s in kernel.stages if _writes(s, new)]
    if len(writing) != 1 or any(_uses(s, old) for s in kernel.stages if s is not writing[0]):
        return False
    if any(_uses(s, new) for s in kernel.stages if s is not writing[0]):
        return False
    (stage,) = writing
    if not isinstance(stage.code, Nest) or (_uses(stage, old) and _writes(stage, old)):
        return False
    return overwrites(stage, old, new)


def rags(kernel: Kernel) -> bool:
    """Whether rows of one of its nests end in a masked vector (`ragged`)."""
    nests = [s.code for s in kernel.stages if isinstance(s.code, Nest)]
    return any(n.vector and ragged(n.sizes[: n.vector + 1]) for n in nests)


def _uses(stage: Stage, buffer: int) -> bool:
    return any(o.buffer == buffer for o in stage.operands)


def _writes(stage: Stage, buffer: int) -> bool:
    return any(stage.operands[i].buffer == buffer for i in stage.writes)


def substituted(part: Part, moved: dict[int, int]) -> Part:
    """The kernel or region on other buffers."""
    if isinstance(part, Kernel):
        return _on_others(part, moved)
    return replace(
        part,
        init=tuple(_on_others(k, moved) for k in part.init),
        bodies=tuple(tuple(substituted(p, moved) for p in body) for body in part.bodies),
        reads=frozenset(moved.get(b, b) for b in part.reads),
        writes=frozenset(moved.get(b, b) for b in part.writes),
        rows=tuple(moved.get(b, b) for b in part.rows),
        word=moved.get(part.word, part.word),
    )


def _on_others(kernel: Kernel, moved: dict[int, int]) -> Kernel:
    stages = tuple(
        replace(
            s, operands=tuple(replace(o, buffer=moved.get(o.buffer, o.buffer)) for o in s.operands)
        )
        for s in kernel.stages
    )
    return replace(kernel, stages=stages)


def update_as_one(
    memory: Memory, kernels: list[Part], needs: list[set[int]]
) -> tuple[list[Part], list[set[int]]]:
    """Kernels that only update state, and do not wait for each other, as one pass, but for those
    of large gradients."""
    together: list[int] = []
    chosen = waited_for = 0
    before = ancestors(needs)
    for k, kernel in enumerate(kernels):
        alone = not (before[k] & chosen or waited_for >> k & 1)
        if alone and _updates_only(kernel, memory) and not _is_large(kernel, memory):
            together.append(k)
            chosen |= 1 << k
            waited_for |= before[k]
    if len(together) < 2:
        return kernels, needs
    first, *others = together
    chosen_kernels = [k for k in (kernels[i] for i in together) if isinstance(k, Kernel)]
    merged = Kernel(
        "update",
        tuple(s for k in chosen_kernels for s in k.stages),
        0,
        tuple(dict.fromkeys(w for k in chosen_kernels for w in k.where)),
        sum(k.flops for k in chosen_kernels),
        (("", "updates of state wait for every reader of the old values"),),
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


def _is_large(part: Part, memory: Memory) -> bool:
    """Whether it had better read its gradients as soon as they are made."""
    read, _ = part.touched()
    return sum(memory.bytes_of(b) for b in read if memory.spaces[b] == "arena") > LARGE_BYTES


def _updates_only(part: Part, memory: Memory) -> bool:
    return isinstance(part, Kernel) and all(memory.spaces[b] == "state" for b in part.touched()[1])
