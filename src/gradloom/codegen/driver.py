"""The driver: a plan's kernels in order, as Python text that is compiled as it stands and that pdb
steps through."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping

from gradloom.codegen.words import (
    BATCHES,
    DONE,
    ENTRY,
    EPOCH,
    FAULTS,
    FIRST,
    IN_PLACE,
    KEEP,
    KEY_HIGH,
    KEY_LOW,
    LEAVE,
    MODE,
    ROWS,
    SHUFFLE,
    START,
    STOP,
    UNTIL,
)
from gradloom.ir.types import ITEMSIZE
from gradloom.plan.arena import padded
from gradloom.plan.plan import Buffer, Kernel, Operand, Part, Plan, Product, Region, Stage

# What `worker` of a team of so many does of each kernel lies between these cuts.
HEAD = (
    f"def {ENTRY}(table, arena, control, worker, team):",
    "    lower = cut(worker, team)",
    "    upper = cut(worker + 1, team)",
)
Writer = Callable[[Plan], str]


def program_text(plan: Plan) -> str:
    """`program(table, arena, control, worker, team)`: one pass over a plan's kernels."""
    lines = [*HEAD]
    lines += [f"    {line}" for line in addresses(plan.buffers)]
    lines += [f"    {line}" for line in calls(plan)]
    lines.append("    return 0")
    return routines_text(plan) + "\n".join(lines) + "\n"


def flushing(text: str) -> str:
    """A driver that takes denormal numbers for zeros, in each thread that runs it, and leaves the
    thread's mode as it was."""
    head = HEAD[0]
    arguments = head[head.index("(") : head.index(")") + 1]
    return (
        text.replace(head, f"def passes{arguments}:")
        + f"\n\n{head}\n    mode = begin_flushing()\n    done = passes{arguments}\n"
        + "    end_flushing(mode)\n    return done\n"
    )


def routines_text(plan: Plan) -> str:
    """The functions of a plan's routines, which the driver calls."""
    return "".join(part.rstrip() + "\n\n\n" for part in plan.routines())


SHUFFLE_TEXT = """\
def threefry(low, high, x, y):
    # Threefry-2x32-20 [Salmon et al., Parallel random numbers: as easy as 1, 2, 3, 2011]; both
    # words of the block in one integer
    mask = 0xFFFFFFFF
    other = low ^ high ^ 0x1BD11BDA
    x = (x + low) & mask
    y = (y + high) & mask
    for group in range(5):
        turns = 0x061A0F0D if group % 2 == 0 else 0x18101D11  # 13 15 26 6 and 17 29 16 24
        for _ in range(4):
            by = turns & 31
            turns = turns >> 8
            x = (x + y) & mask
            y = (((y << by) | (y >> (32 - by))) & mask) ^ x
        spent = low
        low = high
        high = other
        other = spent
        x = (x + low) & mask
        y = (y + high + group + 1) & mask
    return (x << 32) | y


def shuffle(order, rows, low, high, epoch):
    # Fisher and Yates, from the end; two draws share a Threefry block
    for i in range(rows):
        put(order, i, i)
    words = 0
    for i in range(rows - 1, 0, -1):
        if (rows - 1 - i) % 2 == 0:
            words = threefry(low, high, i, epoch)
            word = (words >> 32) & 0xFFFFFFFF
        else:
            word = words & 0xFFFFFFFF
        j = (word * (i + 1)) >> 32
        kept = get(order, i)
        put(order, i, get(order, j))
        put(order, j, kept)


"""
GATHER_TEXT = """\
def gather_rows(start, stop, order, first, row_bytes, source, target):
    for row in range(start, stop):
        copy(target, row * row_bytes, source, get(order, first + row) * row_bytes, row_bytes)


"""


def training_text(batch: range, shuffles: bool = True) -> Writer:
    """The writer of a training driver: batch after batch, each one pass over the kernels, `batches`
    of them an epoch.

    Inputs `batch` hold the data.  Batch `n` lies `n` whole batches after the first row, or is
    gathered by `order` (the table's last address) into a place behind the arena.  Outputs are
    written one after another.  It begins with batch START, counted through all epochs, and ends
    before batch UNTIL, or as soon as another thread has set STOP; it returns how far it came.
    One that does not shuffle is given the order of each epoch.
    """
    return lambda plan: _training_text(plan, batch, shuffles)


def staging(plan: Plan, batch: range) -> dict[int, int]:
    """Where, in bytes behind the arena, each batch input is gathered; the total under key -1."""
    offsets, at = {}, plan.arena_bytes
    for buffer in plan.buffers:
        if buffer.space == "input" and buffer.offset in batch and buffer.type.ndim:
            offsets[buffer.offset] = at
            at += padded(buffer.type.nbytes)
    return {**offsets, -1: at}


def step_text(batch: range) -> Writer:
    """The writer of one pass of a training driver, over batch DONE, which it counts; `loop` is what
    to tell whether another is to follow, or 0."""
    return lambda plan: _step_text(plan, batch)


def _training_text(plan: Plan, batch: range, shuffles: bool) -> str:
    loop = ["batch = done % batches"]
    if shuffles:
        loop += [
            f"if mode == {SHUFFLE} and batch == 0:",
            "    meet(control, team)",
            "    if worker == 0:",
            "        shuffle(order, rows, low, high, first_epoch + done // batches)",
        ]
    leave = f"{LEAVE} + (done & 1)"
    loop += ["if worker == 0:", f"    put(control, {leave}, get(control, {STOP}))"]
    loop += ["meet(control, team)", f"if get(control, {leave}):", "    return done"]
    loop += _pass(plan, batch)
    loop += ["if worker == 0:", f"    put(control, {DONE}, done + 1)"]
    lines = [*HEAD, *_indented(_training_head(plan, batch)), "    for done in range(start, until):"]
    lines += [*_indented(_indented(loop)), "    return until"]
    known = SHUFFLE_TEXT * shuffles + GATHER_TEXT
    return known + routines_text(plan) + "\n".join(lines) + "\n"


COUNT_TEXT = f"""\
def count(control, until, loop):
    done = get(control, {DONE}) + 1
    put(control, {DONE}, done)
    if loop != 0:
        go_on(loop, done < until and get(control, {STOP}) == 0)


"""


def _step_text(plan: Plan, batch: range) -> str:
    body = [
        *_training_head(plan, batch),
        f"done = get(control, {DONE})",
        "batch = done % batches",
        *_pass(plan, batch),
        "meet(control, team)",
        "if worker == 0:",
        "    count(control, until, loop)",
        "return 0",
    ]
    lines = [HEAD[0].replace("team", "team, loop"), *HEAD[1:], *_indented(body)]
    return COUNT_TEXT + GATHER_TEXT + routines_text(plan) + "\n".join(lines) + "\n"


def _data_of(plan: Plan, batch: range) -> dict[int, Buffer]:
    """The inputs that hold the data of training."""
    return {b.offset: b for b in plan.buffers if b.space == "input" and b.offset in batch}


def _training_head(plan: Plan, batch: range) -> Iterator[str]:
    """What stays the same from batch to batch."""
    data = [*_data_of(plan, batch).values()]
    outputs = [b for b in plan.buffers if b.space == "output"]
    names = {b.name for b in plan.buffers if b not in outputs and b not in data}
    yield from (f"{name} = get(control, {word})" for name, word in _WORDS.items())
    yield from (line for line in addresses(plan.buffers) if line.partition(" ")[0] in names)
    slots = sum(b.space in ("input", "state") for b in plan.buffers) + len(outputs)
    yield f"order = get_ptr(table, {slots})"
    for b in (*data, *outputs):
        yield f"all_{b.name} = get_ptr(table, {external_slot(plan.buffers, b)})"


def _pass(plan: Plan, batch: range) -> Iterator[str]:
    """A pass over the kernels, on batch `batch` of an epoch, the `done`th of all."""
    outputs = [b for b in plan.buffers if b.space == "output"]
    for b in outputs:
        kept = "keep * " * (b is not outputs[0])
        yield f"{b.name} = view(all_{b.name}, {kept}done * {b.type.nbytes})"
    gathers = []
    places = staging(plan, batch)
    for number, b in _data_of(plan, batch).items():
        if not b.type.ndim:
            yield f"{b.name} = view(all_{b.name}, batch * {b.type.nbytes})"
            continue
        rows = b.type.shape[0]  # each array has its own
        row_bytes = b.type.nbytes // max(rows, 1)
        yield f"if mode == {IN_PLACE}:"
        yield f"    {b.name} = view(all_{b.name}, (first + batch * {rows}) * {row_bytes})"
        yield "else:"
        yield f"    {b.name} = view(arena, {places[number]})"
        gathers.append(
            f"gather_rows({', '.join(_range(rows, 1))}, order, first + batch * {rows}, {row_bytes},"
            f" all_{b.name}, {b.name})"
        )
    if gathers:
        yield f"if mode != {IN_PLACE}:"
        yield from _indented([*gathers, "meet(control, team)"])
    yield from calls(plan)


_WORDS = {
    "start": START,
    "until": UNTIL,
    "batches": BATCHES,
    "mode": MODE,
    "rows": ROWS,
    "low": KEY_LOW,
    "high": KEY_HIGH,
    "first_epoch": EPOCH,
    "first": FIRST,
    "keep": KEEP,
}


def external_slot(plan_buffers: tuple[Buffer, ...], buffer: Buffer) -> int:
    """Where the table holds the address of an input (or state) or an output: inputs come first."""
    inputs = sum(b.space in ("input", "state") for b in plan_buffers)
    return buffer.offset + (inputs if buffer.space == "output" else 0)


def addresses(buffers: tuple[Buffer, ...]) -> Iterator[str]:
    """A variable for every buffer that is not a row of another."""
    inputs = sum(b.space in ("input", "state") for b in buffers)
    for buffer in buffers:
        slot = buffer.offset + (inputs if buffer.space == "output" else 0)
        if buffer.space == "arena":
            yield f"{buffer.name} = view(arena, {buffer.offset})"
        elif buffer.space != "row":
            yield f"{buffer.name} = get_ptr(table, {slot})"


def rows(plan: Plan) -> Iterator[str]:
    """A variable for every row of another buffer, as in the first round of its loop."""
    return (_row(plan, n) for n, buffer in enumerate(plan.buffers) if buffer.space == "row")


def calls(plan: Plan) -> Iterator[str]:
    """The kernels, one after another; by blocks of rows where their stages share them."""
    yield from _parts(plan, plan.parts, itertools.count(), itertools.count())


def _parts(
    plan: Plan, parts: Iterable[Part], kernels: Iterator[int], regions: Iterator[int]
) -> Iterator[str]:
    for part in parts:
        if isinstance(part, Kernel):
            yield f"# {part.name}: {', '.join(str(w) for w in part.where[:3])}"
            yield from kernel_calls(plan, part, next(kernels))
            continue
        yield f"# {part.name}: {', '.join(str(w) for w in part.where[:3])}"
        yield from _parts(plan, part.init, kernels, regions)
        number = next(regions)
        yield from (_row(plan, row) for row in part.rows if not plan.buffers[row].stride)
        yield from _FLOWS[part.flow](
            plan, part, number, lambda body: _parts(plan, body, kernels, regions)
        )


Inner = Callable[[Iterable[Part]], Iterator[str]]


def _for(plan: Plan, region: Region, number: int, inner: Inner) -> Iterator[str]:
    at = f"round_{number}"
    count = region.length
    yield from _meeting(region.barrier)
    yield f"for {at} in range({f'{count - 1}, -1, -1' if region.reverse else count}):"
    yield from (f"    {_row(plan, row, at)}" for row in region.rows if plan.buffers[row].stride)
    yield from _indented([*inner(region.bodies[0]), *_meeting(region.again)])


def _row(plan: Plan, row: int, at: str = "") -> str:
    """Where a row of another buffer lies, in the round `at`."""
    buffer = plan.buffers[row]
    start = f"{buffer.offset} + " if buffer.offset and at else ""
    place = f"{start}{at} * {buffer.stride}" if at else str(buffer.offset)
    return f"{buffer.name} = view({plan.buffers[buffer.of].name}, {place})"


def _while(plan: Plan, region: Region, number: int, inner: Inner) -> Iterator[str]:
    test, body = region.bodies
    yield "while True:"
    yield from _indented([*inner(test), *_meeting(region.barrier)])
    yield f"    if get({plan.buffers[region.word].name}, 0) == 0:"
    yield "        break"
    yield from _indented([*inner(body), *_meeting(region.again)])


def _branch(plan: Plan, region: Region, number: int, inner: Inner) -> Iterator[str]:
    """A number that is out of range chooses the first or the last, as in JAX."""
    chosen = f"case_{number}"
    yield from _meeting(region.barrier)
    yield f"{chosen} = get({plan.buffers[region.word].name}, 0)"
    last = len(region.bodies) - 1
    for case, body in enumerate(region.bodies):
        head = f"{'elif' if case else 'if'} {chosen} {'==' if case else '<='} {case}:"
        yield "else:" if case == last and last else head
        yield from _indented([*inner(body)] or ["pass"])


_FLOWS = {"for": _for, "while": _while, "branch": _branch}


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"    {line}" for line in lines)


def kernel_calls(plan: Plan, kernel: Kernel, number: int) -> Iterator[str]:
    """What each of the team does of a kernel: its range of the outermost axis, or, of what is not
    split, worker 0 all."""
    if not kernel.in_blocks:
        for stage in kernel.stages:
            yield from _meeting(stage.barrier)
            start, stop = _range(stage.extent, stage.grain, stage.phase)
            call = _call(plan, stage, number, start, stop, {})
            yield from _by(stage.grain, [call])
        return
    first = kernel.stages[0]
    yield from _meeting(first.barrier)
    start, stop = _range(kernel.extent, first.grain)
    passing = _passing(plan, kernel)
    calls = [_call(plan, stage, number, "row", "end", passing) for stage in kernel.stages]
    yield from _by(
        first.grain,
        [
            f"top = {start}",
            f"stop = {stop}",
            f"for row in range(top, stop, {kernel.block}):",
            f"    end = row + {kernel.block} if row + {kernel.block} < stop else stop",
            *_indented(calls),
        ],
    )


def _passing(plan: Plan, kernel: Kernel) -> dict[int, int]:
    """The result of a product that nothing outside a kernel in blocks reads, and the bytes of an
    iteration: each block is written over the one before, which then never leaves the cache."""
    made = kernel.stages[0]
    if not isinstance(made.code, Product):
        return {}
    result = made.operands[2].buffer
    buffer = plan.buffers[result]
    if buffer.space != "arena" or buffer.born < buffer.dies:
        return {}
    return {result: made.code.c_strides[0] * ITEMSIZE[made.code.dtype]}


def _by(grain: int, lines: list[str]) -> Iterator[str]:
    """Lines for all of the team, or, without a grain, for worker 0."""
    return iter(lines if grain else ["if worker == 0:", *_indented(lines)])


def _range(extent: int, grain: int, phase: int = 0) -> tuple[str, str]:
    """From where to where one of the team works."""
    if not grain:
        return "0", str(extent)
    moved = f" + {phase}" * bool(phase)
    return f"share({extent}, {grain}, lower{moved})", f"share({extent}, {grain}, upper{moved})"


def _meeting(reason: str) -> Iterator[str]:
    if reason:
        yield f"meet(control, team)  # {reason}"


def _call(
    plan: Plan, stage: Stage, number: int, start: str, stop: str, passing: Mapping[int, int]
) -> str:
    operands = [*map(str, stage.numbers), *(_operand(plan, o, passing) for o in stage.operands)]
    if stage.can_fault:
        operands.append(f"view(control, {8 * (FAULTS + number)})")
    return f"{stage.code.name}({', '.join([start, stop, *operands])})"


def _operand(plan: Plan, operand: Operand, passing: Mapping[int, int]) -> str:
    buffer = plan.buffers[operand.buffer]
    at = operand.offset * ITEMSIZE[buffer.type.dtype]
    places = [str(at)] * bool(at)
    if operand.buffer in passing:
        places.append(f"(top - row) * {passing[operand.buffer]}")
    return f"view({buffer.name}, {' + '.join(places)})" if places else buffer.name
