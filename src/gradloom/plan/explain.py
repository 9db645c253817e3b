"""A plan in words: a line a kernel, and why it is not one with the kernel before it.

Of a plan for a GPU the blocks are said that share a stage, where the CPU has a team."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from gradloom.plan.dealt import BLOCK, DevicePlan, Spread, Tiled
from gradloom.plan.plan import Kernel, Nest, Part, Plan, Product, Region, Routine, Stage

COLUMNS = ("kernel", "loops", "flops", "bytes", "reads", "writes", "team", "lines")
NUMBERS = (2, 3)  # columns of numbers
WIDEST = 44  # letters of a column, but the last


def kernel_table(plan: Plan, device: DevicePlan | None = None) -> str:
    """A line a kernel, each but the first with the reason why it is not part of the one before.

    Kernels of a loop or a branch stand in from the line that says which.  `device` says how the
    plan is dealt out among blocks.
    """
    found = list(_lines(plan, device, plan.parts, 0))
    columns = tuple("blocks" if device and c == "team" else c for c in COLUMNS)
    return table(columns, NUMBERS, found)


def table(
    columns: tuple[str, ...], numbers: Collection[int], found: Sequence[tuple[str, ...] | str]
) -> str:
    """Rows below each other, those columns to the right, and lines that go across them."""
    rows = [row for row in found if not isinstance(row, str)]
    widths = [max(len(row[c]) for row in [columns, *rows]) for c in range(len(columns))]
    lines = [_aligned(columns, widths, numbers)]
    lines.append("-" * len(lines[0]))
    lines += [row if isinstance(row, str) else _aligned(row, widths, numbers) for row in found]
    return "\n".join(lines) + "\n"


def _lines(
    plan: Plan, device: DevicePlan | None, parts: Iterable[Part], depth: int
) -> Iterator[tuple[str, ...] | str]:
    """Rows of the table, and lines that go across it."""
    before: Kernel | None = None
    inset = "  " * depth
    for part in parts:
        if isinstance(part, Region):
            yield from _lines(plan, device, part.init, depth)
            for number, body in enumerate(part.bodies):
                if part.barrier and part.flow != "while" and not number:
                    yield f"{inset}    = all meet: {part.barrier}"
                yield f"{inset}{_head_line(plan, part, number)}"
                yield from _lines(plan, device, body, depth + 1)
                if part.barrier and part.flow == "while" and not number:
                    yield f"{inset}      = all meet: {part.barrier}"
            if part.again:
                yield f"{inset}      = all meet after each round: {part.again}"
            before = None
            continue
        if before is not None:
            yield f"{inset}    | {apart(plan, before, part)}"
        yield from (f"{inset}    = all meet: {s.barrier}" for s in part.stages if s.barrier)
        name, *rest = _row(plan, device, part)
        yield (inset + name, *rest)
        before = part


def _head_line(plan: Plan, region: Region, body: int) -> str:
    """What a body of a loop or a branch is."""
    if region.flow == "for":
        order = ", from the last row to the first" if region.reverse else ""
        return f"{region.name}, {region.length:,} rounds{order}:"
    if region.flow == "while":
        word = plan.buffers[region.word].name
        return f"{region.name}, the condition:" if body == 0 else f"  while {word} is not 0:"
    return f"{region.name}, branch {body} of {len(region.bodies)}:"


def moved_bytes(plan: Plan, kernel: Kernel) -> int:
    """Bytes of the values that a kernel reads, and of those that it writes."""
    return sum(plan.buffers[b].type.nbytes for side in kernel.touched() for b in side)


def apart(plan: Plan, earlier: Kernel, later: Kernel) -> str:
    """Why two neighbours are two kernels, as it was decided."""
    shared = earlier.touched()[1] & later.touched()[0]
    names = [plan.buffers[b].name for b in sorted(shared)]
    found = dict.fromkeys(why for name, why in later.reasons if not name or name in names)
    if found:
        return f"reads {', '.join(names)}: {'; '.join(found)}" if names else "; ".join(found)
    if names:
        return f"reads {', '.join(names)}, which is finished first"
    return "reads nothing that the kernel before it writes"


def stage_loops(stage: Stage) -> str:
    """The loops of a stage: `64x128` elements, `sum 10` for what is folded, `@1` the vector axis.

    A product is `64x128 += 64` with its depth.
    """
    code = stage.code
    if isinstance(code, Routine):
        return f"{stage.extent} in sequence"
    if isinstance(code, Product):
        return f"{_shape(_kept(stage))} += {_shape(code.depth)}"
    sizes = _sizes(stage)
    kept, folded = sizes[: len(sizes) - code.reduced], sizes[len(sizes) - code.reduced :]
    text = _shape(kept)
    if folded:
        text += f" fold {_shape(folded)}"
    return text if code.vector is None else f"{text} @{code.vector}"


def team_share(stage: Stage) -> str:
    """How the team shares a stage: `4 x 16` are four grains of 16 iterations, which no worker can
    have a part of."""
    if not stage.grain:
        return "one"
    return f"{-(-stage.extent // stage.grain)} x {stage.grain}"


def block_share(stage: Stage, found: Spread | Tiled | None) -> str:
    """How blocks share a stage: `4 x 8 rows, a warp each` are four blocks of eight items, of which
    every one is a row that 32 threads go over together."""
    if found is None:
        return "one thread"
    blocks = -(-stage.extent // stage.grain)
    if isinstance(found, Tiled):
        t = found.tile
        kind = f" {found.precision}" if found.precision else ""
        return f"{blocks} x a tile {t.rows}x{t.columns}, {t.depth} deep{kind}"
    if found.lanes == 1:
        return f"{blocks} x {stage.grain}"
    if found.lanes == BLOCK:
        return f"{blocks} x a row"
    return f"{blocks} x {stage.grain} rows, a warp each"


def undealt(stage: Stage, found: Spread | Tiled | None) -> Stage:
    """A stage that goes over its loops, whose dealt out extent are items."""
    if found is None:
        return stage
    if isinstance(found, Tiled):
        product = found.product
        return replace(stage, code=product, extent=[*product.batch, product.rows][0])
    return replace(stage, code=found.nest, extent=[*found.nest.sizes, 1][0])


# ---- facts


def _sizes(stage: Stage) -> tuple[int, ...]:
    """Loop sizes of a nest, with the range that this stage runs."""
    assert isinstance(stage.code, Nest)
    if len(stage.code.sizes) > stage.code.reduced:
        return (stage.extent, *stage.code.sizes[1:])
    return stage.code.sizes


def _kept(stage: Stage) -> tuple[int, ...]:
    """The sizes of the loops over results."""
    code = stage.code
    if isinstance(code, Routine):
        return (stage.extent,)
    if isinstance(code, Product):
        if code.batch:
            return (stage.extent, *code.batch[1:], code.rows, code.columns)
        return (stage.extent, code.columns)
    return _sizes(stage)[: len(code.sizes) - code.reduced]


# ---- text


def _row(plan: Plan, device: DevicePlan | None, kernel: Kernel) -> tuple[str, ...]:
    read, written = kernel.touched()
    if device is None:
        shares = [*map(team_share, kernel.stages)]
        stages = kernel.stages
    else:
        found = [(s, device.functions.get(s.code.name)) for s in kernel.stages]
        shares = [block_share(*pair) for pair in found]
        stages = tuple(undealt(*pair) for pair in found)
    loops = list(dict.fromkeys(map(stage_loops, stages)))
    blocks = f" by {kernel.block}" if 0 < kernel.block < kernel.extent else ""
    return (
        kernel.name,
        _short(loops, "; ", len(kernel.stages)) + blocks,
        f"{kernel.flops:,}",
        f"{moved_bytes(plan, kernel):,}",
        _short((plan.buffers[b].name for b in sorted(read)), " "),
        _short((plan.buffers[b].name for b in sorted(written)), " "),
        _short(dict.fromkeys(shares), "; "),
        ", ".join(dict.fromkeys(map(str, kernel.where))),
    )


def _short(parts: Iterable[str], between: str, stages: int = 0) -> str:
    """The parts, or the first of them and how many more there are."""
    parts = list(parts)
    shown: list[str] = []
    for part in parts:
        if shown and len(between.join([*shown, part])) > WIDEST:
            return f"{between.join(shown)}{between}and {len(parts) - len(shown)} more"
        shown.append(part)
    text = between.join(shown)
    return f"{text} ({stages} stages)" if stages > len(parts) else text


def _shape(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes)) or "1"


def _aligned(row: tuple[str, ...], widths: list[int], numbers: Collection[int]) -> str:
    cells = (
        text.rjust(wide) if column in numbers else text.ljust(wide)
        for column, (text, wide) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join(cells).rstrip()
