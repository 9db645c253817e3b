"""What planning decides: the first place where order exists.

    plan    = parts in order, buffers in one arena
    part    = kernel | region
    region  = a loop or a branch around parts
    kernel  = stage*, run one after another for each block of rows
    stage   = nest | product | routine, with the buffers that its operands are
    nest    = loops over named axes; steps in static single assignment; stores
    product = C[.., m, n] = sum over k0, k1, .. of A[.., m, k0, k1, ..] * B[.., k0, k1, .., n]
    routine = sequential code of its own over whole arrays

All values are frozen, and hold nothing but numbers, strings, and each other: equal nests are one
function in the machine code, and a plan's text is its identity in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from gradloom.errors import Where
from gradloom.ir.affine import Affine, Guard
from gradloom.ir.types import TensorType
from gradloom.plan.needs import Effort, Needs

# ---- steps: what is computed at one point of a nest; arguments are numbers of earlier steps


@dataclass(frozen=True, slots=True)
class Pick:
    """A run-time part of an address: `stride *` the value of a step, which must be in
    `range(size)`; a negative one counts from the end."""

    step: int
    size: int
    stride: int


@dataclass(frozen=True, slots=True)
class Load:
    """An element of an operand; zero where a guard fails."""

    operand: int
    at: Affine
    dtype: str
    guards: tuple[Guard, ...] = ()
    picks: tuple[Pick, ...] = ()


@dataclass(frozen=True, slots=True)
class Constant:
    """A number, kept as bytes."""

    value: bytes
    dtype: str


@dataclass(frozen=True, slots=True)
class Position:
    """An index expression as a value."""

    at: Affine
    dtype: str


@dataclass(frozen=True, slots=True)
class Apply:
    """An elementwise operator, by its row's name."""

    op: str
    args: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class Inside:
    """A step where the guards hold, zero elsewhere."""

    guards: tuple[Guard, ...]
    arg: int
    dtype: str


@dataclass(frozen=True, slots=True)
class Fold:
    """The reduction of a step over the nest's reduced axes, by its row's name."""

    op: str
    arg: int
    dtype: str


Step = Load | Constant | Position | Apply | Inside | Fold


@dataclass(frozen=True, slots=True)
class Store:
    """A step written to an operand, or combined with what is there by the row of that name."""

    operand: int
    at: Affine
    step: int
    dtype: str
    picks: tuple[Pick, ...] = ()
    accumulate: str = ""


# ---- stages

ANY = -1  # a size known when the code runs


@dataclass(frozen=True, slots=True)
class Apart:
    """A memory by number, and those that have no byte in common with it."""

    memory: int
    others: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Nest:
    """Loops over `sizes`, of which the last `reduced` are folded: a row, which is gone over again
    for each fold that needs another's value.  Stores whose place lies along the row are made in the
    first pass that knows the value, the others after the last (`plan.rows`).

    `vector` is the axis that runs across SIMD lanes, or None.  Axis 0, if it is not folded, runs
    over a range given by the caller; its size is `ANY` where nothing else depends on it, so that
    nests that differ in it alone are one function.  A nest that is `embedded` is part of the
    driver's function: its sizes are known, its loops written out, and it has one set of operands.
    One that `streams` asks for memory ahead of its loads (`plan.streams`).
    """

    name: str
    sizes: tuple[int, ...]
    reduced: int
    vector: int | None
    steps: tuple[Step, ...]
    stores: tuple[Store, ...]
    embedded: tuple[Apart, ...] = ()  # for each operand, where it lies
    streams: bool = False

    @property
    def picks(self) -> bool:
        """Whether an index is a value, so that it could be out of range."""
        return any(getattr(s, "picks", ()) for s in (*self.steps, *self.stores))


@dataclass(frozen=True, slots=True)
class Limit:
    """Of one axis of depth only the `k` with `low <= step * k < high`, for numbers that follow from
    the indices of batch axes; there is always one."""

    axis: int
    step: int
    low: Affine
    high: Affine

    def bounds(self, index: Mapping[int, int]) -> tuple[int, int]:
        """The first `k`, and the one after the last, where axes of the batch have these indices."""
        ends = (at.const + sum(c * index[a] for a, c in at.terms) for at in (self.low, self.high))
        first, last = (-(-end // self.step) for end in ends)
        return first, last


@dataclass(frozen=True, slots=True)
class Product:
    """Matrix products, for each index of the batch axes, summed over one or more axes of depth.

    Strides are in elements: of A along (*batch, m, *depth), of B along (*batch, *depth, n), of C
    along (*batch, m, n); that of `n` in C is 1, and in B that of `n` or of the last axis of depth.
    A range of columns of one product is one of a batch: `columns` is then the size of a group,
    the stride of the batch is 0 in A, and in B and C that of so many columns.

    Beyond `limits` there is nothing to sum, nor memory to read: A and B begin `before` elements
    from where their operands do, perhaps in front of them.

    So many further operands, laid out as C, are `fetched` into a cache meanwhile, row by row.
    """

    name: str
    dtype: str
    batch: tuple[int, ...]
    rows: int
    columns: int
    depth: tuple[int, ...]
    a_strides: tuple[int, ...]
    b_strides: tuple[int, ...]
    c_strides: tuple[int, ...]
    limits: tuple[Limit, ...] = ()
    before: tuple[int, int] = (0, 0)
    fetched: int = 0


@dataclass(frozen=True, slots=True)
class Routine:
    """Functions in the driver's language, of which the last, `name`, is called (`ir.routine`); the
    last `work` operands are scratch memory."""

    name: str
    parts: tuple[str, ...]
    work: int = 0


@dataclass(frozen=True, slots=True)
class Operand:
    """A buffer by number, from an element on."""

    buffer: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Stage:
    code: Nest | Product | Routine
    operands: tuple[Operand, ...]
    writes: tuple[int, ...]  # which operands are written
    extent: int  # iterations of the outermost axis
    numbers: tuple[int, ...] = ()  # of a routine: its sizes
    grain: int = 0  # iterations that one of the team does together; 0: worker 0 does all
    barrier: str = ""  # why the team meets before it, if it does
    phase: int = 0  # by how much of the team, in 2^-32, what each does is moved (`plan.device`)

    @property
    def can_fault(self) -> bool:
        """Whether its function takes a word to report an index out of range in."""
        return isinstance(self.code, Nest) and self.code.picks


def calls_out(stage: Stage) -> bool:
    """Whether it calls functions of other libraries, whose addresses are among its operands."""
    return isinstance(stage.code, Routine) and any("invoke_" in p for p in stage.code.parts)


@dataclass(frozen=True, slots=True)
class Kernel:
    """Stages that run together on blocks of `block` iterations of their outermost axis."""

    name: str
    stages: tuple[Stage, ...]
    block: int
    where: tuple[Where, ...]  # the user's lines it was made from
    flops: int
    # Why values that it reads are another kernel's: their buffers' names, and the reason.
    reasons: tuple[tuple[str, str], ...] = ()

    @property
    def extent(self) -> int:
        return max((s.extent for s in self.stages), default=0)

    @property
    def in_blocks(self) -> bool:
        """Whether all stages finish a block of iterations before any begins the next."""
        return 0 < self.block < self.extent

    def touched(self) -> tuple[set[int], set[int]]:
        """Buffers read and buffers written."""
        read: set[int] = set()
        written: set[int] = set()
        for stage in self.stages:
            for number, operand in enumerate(stage.operands):
                (written if number in stage.writes else read).add(operand.buffer)
        return read, written


@dataclass(frozen=True, slots=True)
class Region:
    """Parts in a loop or a branch.

    `flow` is "for": `length` rounds of one body; "while": the first body computes the word `word`,
    and the second runs as long as it is not 0; or "branch": the word chooses one of the bodies.
    `init` runs first.  The team meets before the rounds of a "for", or before it reads the word,
    where `barrier` says why, and at the end of a round where `again` does.  The buffers `rows` are
    parts of others; those with a stride are the next row in each round.  `reads` and `writes` are
    the buffers of its surroundings that the bodies touch: they live throughout.
    """

    name: str
    flow: str
    init: tuple[Kernel, ...]
    bodies: tuple[tuple[Part, ...], ...]
    reads: frozenset[int]
    writes: frozenset[int]
    length: int = 0
    reverse: bool = False
    rows: tuple[int, ...] = ()
    word: int = -1
    where: tuple[Where, ...] = ()
    barrier: str = ""
    again: str = ""

    def touched(self) -> tuple[set[int], set[int]]:
        """Buffers of its surroundings read and written."""
        read, written = set(self.reads), set(self.writes)
        for kernel in self.init:
            found = kernel.touched()
            read |= found[0]
            written |= found[1]
        return read, written


Part = Kernel | Region


def kernels_of(parts: Iterable[Part]) -> Iterator[Kernel]:
    """Every kernel, in the order of the text."""
    for part in parts:
        if isinstance(part, Kernel):
            yield part
        else:
            yield from part.init
            for body in part.bodies:
                yield from kernels_of(body)


def map_stages(part: Part, change: Callable[[Stage], Stage]) -> Part:
    """The part with every stage changed."""
    if isinstance(part, Kernel):
        return replace(part, stages=tuple(map(change, part.stages)))
    return replace(
        part,
        init=tuple(replace(k, stages=tuple(map(change, k.stages))) for k in part.init),
        bodies=tuple(tuple(map_stages(p, change) for p in body) for body in part.bodies),
    )


def rounds_of(parts: Iterable[Part], rounds: int = 1) -> Iterator[tuple[Kernel, int]]:
    """Every kernel, and how often a pass runs it; in a loop of unknown length and in a branch,
    as if it ran once."""
    for part in parts:
        if isinstance(part, Kernel):
            yield part, rounds
        else:
            yield from ((kernel, rounds) for kernel in part.init)
            inner = rounds * part.length if part.flow == "for" else rounds
            for body in part.bodies:
                yield from rounds_of(body, inner)


# ---- memory


@dataclass(frozen=True, slots=True)
class Buffer:
    """Memory of one value.  `space` is "arena", "input", "state" or "output"; `offset` is in bytes
    of the arena, or the number of the external array; it lives from kernel `born` through `dies`.

    A "row" is part of buffer `of`, from byte `offset` on, and moves by `stride` bytes a round of
    the region that has it among its rows.
    """

    name: str
    space: str
    type: TensorType
    offset: int
    born: int
    dies: int
    where: Where | None
    of: int = -1
    stride: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything decided, nothing yet spelled."""

    parts: tuple[Part, ...]
    buffers: tuple[Buffer, ...]
    arena_bytes: int
    nodes: int  # operations in the graph, for comparison with the number of kernels
    effort: Effort = field(default_factory=Effort)

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """Every kernel, in the order of the text."""
        return tuple(kernels_of(self.parts))

    @property
    def flops(self) -> int:
        """Operations of a pass."""
        return sum(kernel.flops * rounds for kernel, rounds in rounds_of(self.parts))

    @property
    def needs(self) -> Needs:
        """What it takes to run it."""
        outputs = sorted((b for b in self.buffers if b.space == "output"), key=lambda b: b.offset)
        return Needs(
            sum(b.space in ("input", "state") for b in self.buffers),
            tuple(b.type for b in outputs),
            self.arena_bytes,
            len(self.kernels),
            tuple(
                (number, kernel.where[0])
                for number, kernel in enumerate(self.kernels)
                if any(stage.can_fault for stage in kernel.stages)
            ),
            self.effort,
            self.flops,
            any(calls_out(stage) for kernel in self.kernels for stage in kernel.stages),
        )

    @property
    def separate_bytes(self) -> int:
        """What the arena's buffers would take side by side."""
        return sum(b.type.nbytes for b in self.buffers if b.space == "arena")

    def codes(self) -> tuple[Nest | Product, ...]:
        """Every distinct stage function of lanes, in order of first use."""
        found = dict.fromkeys(s.code for k in self.kernels for s in k.stages)
        return tuple(code for code in found if not isinstance(code, Routine))

    def routines(self) -> tuple[str, ...]:
        """Every distinct function of the driver's language that a stage needs."""
        codes = (s.code for k in self.kernels for s in k.stages)
        return tuple(
            dict.fromkeys(p for code in codes if isinstance(code, Routine) for p in code.parts)
        )
