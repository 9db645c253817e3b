"""Blocks of straight code as Python functions over the vectors of a group of threads.

A block is a function `block(wave, threads, whole, registers)`: the values that live at its start
in, for each successor the position, the threads that go there and the values that live there out.
Registers are Python locals; no array is copied for a move.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.ptx.action import BITS, DTYPES, Action, action_of, flush
from tests.ptx.program import (
    Program,
    ends_block,
    synchronises_warp,
    waits_for_block,
)
from tests.ptx.syntax import (
    Address,
    Instruction,
    Literal,
    Operand,
    PtxError,
    Register,
    Special,
    Symbol,
)
from tests.ptx.values import Part, Values, parts_of

Outcome = tuple[int, np.ndarray, Values]  # where to, who, with what
EXIT = -1  # the position of threads that have ended


@dataclass(frozen=True)
class Block:
    """A compiled block; `lines` names the instruction of each line of its source."""

    run: Callable[..., list[Outcome]]
    source: str
    lines: dict[int, Instruction]
    opcodes: dict[int, Counter[str]]  # executed, by the position where the block was left
    wide: bool  # has warp-wide instructions
    mask: int | np.integer | None  # lanes awaited at its start: a constant, or ...
    mask_at: int | None  # ... the place of the mask among the live values


def branch(
    holds: np.ndarray,
    threads: np.ndarray,
    target: tuple[int, Values],
    after: tuple[int, Values],
) -> list[Outcome]:
    """The threads where a predicate holds go to the target, the others on."""
    count = np.count_nonzero(holds)
    if count == holds.size:
        return [(target[0], threads, target[1])]
    if count == 0:
        return [(after[0], threads, after[1])]
    taken, stay = np.nonzero(holds)[0], np.nonzero(~holds)[0]
    return [
        (target[0], threads[taken], parts_of(target[1], taken)),
        (after[0], threads[stay], parts_of(after[1], stay)),
    ]


def switch(
    index: np.ndarray, threads: np.ndarray, targets: tuple[tuple[int, Values], ...]
) -> list[Outcome]:
    outcomes = []
    for number in np.unique(index):
        if number >= len(targets):
            raise PtxError(f"brx.idx {number} of a table of {len(targets)}")
        where = np.nonzero(index == number)[0]
        position, values = targets[number]
        outcomes.append((position, threads[where], parts_of(values, where)))
    return outcomes


def guarded(
    compute: Callable[..., Any],
    wave: Any,
    threads: np.ndarray,
    holds: np.ndarray,
    dtypes: tuple[np.dtype, ...],
    values: tuple[np.ndarray, ...],
) -> Any:
    """A memory operation of only those threads where the guard holds; zeros for the others."""
    where = np.nonzero(holds)[0]
    results = [np.zeros(threads.size, dtype) for dtype in dtypes]
    if where.size:
        found = compute(wave, threads[where], *[value[where] for value in values])
        for result, part in zip(results, found if len(dtypes) > 1 else (found,), strict=False):
            result[where] = part
    return results[0] if len(results) == 1 else results


def special(name: str) -> Callable[[Any, np.ndarray], np.ndarray]:
    return lambda wave, threads: wave.special(name, threads)


BITS_OF = {"f32": DTYPES["b32"], "f64": DTYPES["b64"]}


def constant(literal: Literal, kind: str) -> np.generic:
    """A literal as a scalar of the type that the instruction reads."""
    if kind == "pred":
        return np.bool_(literal.value)
    dtype = DTYPES[kind]
    if literal.form in BITS_OF and dtype == BITS_OF[literal.form]:
        return dtype.type(literal.value)
    if literal.form == "f32":
        return np.uint32(literal.value).view(np.float32).astype(dtype)
    if literal.form in ("f64", "decimal"):
        return np.uint64(literal.value).view(np.float64).astype(dtype)
    bits = literal.value & ((1 << 8 * dtype.itemsize) - 1)
    if dtype.kind == "f" and dtype.itemsize > 2:
        return dtype.type(literal.value)
    return np.dtype(f"uint{8 * dtype.itemsize}").type(bits).view(dtype)


@dataclass
class Writer:
    """Writes the source of one block, keeping for each register the readings at hand."""

    program: Program
    namespace: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    origins: dict[int, Instruction] = field(default_factory=dict)
    known: dict[str, dict[str, str]] = field(default_factory=dict)
    # The arrays of what was given to the block and may be a part of one; "" where not needed yet.
    given: dict[str, str] = field(default_factory=dict)
    serial: int = 0

    def emit(self, line: str, instruction: Instruction) -> None:
        self.lines.append("    " + line)
        self.origins[len(self.lines)] = instruction

    def fresh(self) -> str:
        self.serial += 1
        return f"v{self.serial}"

    def named(self, value: Any) -> str:
        """A Python object under a name of the source."""
        name = f"c{len(self.namespace)}"
        self.namespace[name] = value
        return name

    # Reading.

    def read(self, register: Register, reading: str, instruction: Instruction) -> str:
        """The local variable with the array of a register, looked at in one way."""
        readings = self.known.get(register.name)
        if readings is None:  # never written on any way to here: whatever it held
            zeros = f"zeros(threads.size, {self.named(DTYPES[register.type])})"
            readings = self.known[register.name] = {register.type: self.fresh()}
            self.emit(f"{readings[register.type]} = {zeros}", instruction)
        if reading not in readings:
            readings[reading] = self.fresh()
            expression = self.converted(register, readings, reading, instruction)
            self.emit(f"{readings[reading]} = {expression}", instruction)
        name = self.array(readings[reading], instruction)
        if register.negated:
            plain, name = name, self.fresh()
            self.emit(f"{name} = ~{plain}", instruction)
        return name

    def array(self, name: str, instruction: Instruction) -> str:
        if self.given.get(name) == "":
            self.given[name] = self.fresh()
            plain = f"{name}.array() if type({name}) is Part else {name}"
            self.emit(f"{self.given[name]} = {plain}", instruction)
        return self.given.get(name, name)

    def converted(
        self, register: Register, readings: dict[str, str], reading: str, instruction: Instruction
    ) -> str:
        if reading.endswith(".ftz"):
            return f"flush({self.read(register._replace(negated=False), 'f32', instruction)})"
        kind, name = next(iter(readings.items()))  # the first is what was written
        name = self.array(name, instruction)
        have, want = DTYPES[kind.removesuffix(".ftz")], DTYPES[reading]
        if have == want:
            return name
        if "pred" in (kind, reading) or have.itemsize < want.itemsize:
            raise PtxError(f"line {instruction.line}: reads {register.name} as {reading}")
        if have.itemsize == want.itemsize:
            return f"{name}.view({self.named(want)})"
        unsigned = name if have.kind == "u" else f"{name}.view({self.named(BITS[have.itemsize])})"
        low = self.named(np.dtype(f"uint{8 * want.itemsize}"))
        return f"{unsigned}.astype({low}).view({self.named(want)})"

    def source(self, operand: Operand, reading: str, instruction: Instruction) -> tuple[str, bool]:
        """The expression of an operand, and whether it is the same for all threads."""
        match operand:
            case Register():
                return self.read(operand, reading, instruction), False
            case Literal():
                return self.named(constant(operand, reading.removesuffix(".ftz"))), True
            case Special():
                name = self.fresh()
                getter = self.named(special(operand.name))
                self.emit(f"{name} = {getter}(wave, threads)", instruction)
                return f"{name}.astype({self.named(DTYPES[reading])})", False
            case Address(base, offset):
                return self.address(base, offset, instruction)
            case Symbol(symbol, offset):
                return f"wave.symbol({symbol!r}, {offset}, {self.named(DTYPES[reading])})", True
        raise PtxError(f"line {instruction.line}: cannot read {operand} in {instruction.text}")

    def address(self, base: Operand, offset: int, instruction: Instruction) -> tuple[str, bool]:
        """An address as int64."""
        if not isinstance(base, Register):
            text, _ = self.source(base, "s64", instruction)
            return f"{text} + {offset}", True
        text = self.read(base, "s64" if "64" in base.type else "u32", instruction)
        if "64" not in base.type:
            text = f"{text}.astype(int64)"
        return (f"{text} + {offset}" if offset else text), False

    # Writing.

    def write(self, operand: Operand, kind: str, name: str, instruction: Instruction) -> None:
        """Remembers that a register is what a local variable holds, widened to its size."""
        if not isinstance(operand, Register):
            return
        have, want = DTYPES[kind.removesuffix(".ftz")], DTYPES[operand.type]
        if have.itemsize < want.itemsize and "pred" not in (kind, operand.type):
            wide = self.named(
                np.dtype(f"{'int' if have.kind == 'i' else 'uint'}{8 * want.itemsize}")
            )
            bits = "" if have.kind in "iu" else f".view({self.named(BITS[have.itemsize])})"
            self.emit(f"{name} = {name}{bits}.astype({wide})", instruction)
            kind = f"{'s' if have.kind == 'i' else 'b'}{8 * want.itemsize}"
        elif have.itemsize > want.itemsize or ("pred" in (kind, operand.type) and have != want):
            raise PtxError(f"line {instruction.line}: {kind} does not fit {operand.name}")
        self.known[operand.name] = {kind: name}

    def move(self, instruction: Instruction) -> bool:
        """A move between registers of one size costs nothing: both names mean one array."""
        if instruction.name != "mov" or instruction.guard:
            return False
        target, source = instruction.operands
        if not (isinstance(target, Register) and isinstance(source, Register)):
            return False
        kinds = (instruction.modifiers[-1], target.type, source.type)
        if source.negated or len({DTYPES[kind] == DTYPES["pred"] for kind in kinds}) > 1:
            return False
        if len({DTYPES[kind].itemsize for kind in kinds}) > 1:
            return False
        self.read(source, source.type, instruction)
        self.known[target.name] = dict(self.known[source.name])
        return True

    def step(self, instruction: Instruction) -> None:
        """The lines of one instruction that is no jump."""
        if self.move(instruction):
            return
        action = action_of(instruction)
        targets = [operand for operand, _ in action.results]
        holds = ""
        if instruction.guard:
            holds = self.read(instruction.guard, "pred", instruction)
            before = [self.held(target, instruction) for target in targets]
        self.compute(action, instruction, holds)
        if instruction.guard:
            for target, old in zip(targets, before, strict=True):
                self.keep(target, holds, old, instruction)

    def held(self, target: Operand, instruction: Instruction) -> str:
        """What a register holds before a guarded instruction."""
        known = isinstance(target, Register)
        return self.read(target, target.type, instruction) if known else ""

    def keep(self, target: Operand, holds: str, old: str, instruction: Instruction) -> None:
        """Where the guard does not hold, a register keeps what it held."""
        if isinstance(target, Register):
            new, name = self.read(target, target.type, instruction), self.fresh()
            self.emit(f"{name} = where({holds}, {new}, {old})", instruction)
            self.known[target.name] = {target.type: name}

    def compute(self, action: Action, instruction: Instruction, holds: str) -> None:
        values = self.values(action, instruction)
        names = [self.fresh() for _ in action.results]
        compute = self.named(action.compute)
        left = f"{', '.join(names)} = " if names else ""
        if action.kind == "pure":
            call = f"{compute}({', '.join(values)})"
        elif holds:
            dtypes = [DTYPES[kind.removesuffix(".ftz")] for _, kind in action.results]
            packed = "".join(f"{value}, " for value in values)
            arguments = f"{compute}, wave, threads, {holds}, {self.named(dtypes)}, ({packed})"
            call = f"guarded({arguments})"
        else:
            call = f"{compute}({', '.join(['wave', 'threads', *values])})"
        self.emit(left + call, instruction)
        for (operand, kind), name in zip(action.results, names, strict=True):
            self.write(operand, kind, name, instruction)

    def values(self, action: Action, instruction: Instruction) -> list[str]:
        found = [self.source(operand, kind, instruction) for operand, kind in action.sources]
        uniform = all(same for _, same in found)
        return [
            f"full(threads.size, {text})"
            if same and (action.kind != "pure" or instruction.guard or (uniform and not at))
            else text
            for at, (text, same) in enumerate(found)
        ]

    # Ends.

    def leave(self, position: int, instruction: Instruction) -> str:
        """The values that live at a successor."""
        live = self.program.live[position]
        names = [
            self.known.get(register.name, {}).get(register.type)
            or self.read(register, register.type, instruction)
            for register in live
        ]
        return f"({''.join(f'{name}, ' for name in names)})"

    def go(self, position: int, instruction: Instruction) -> None:
        values = self.leave(position, instruction)
        self.emit(f"return [({position}, threads, {values})]", instruction)

    def way(self, position: int, instruction: Instruction) -> str:
        return f"({position}, {self.leave(position, instruction)})"

    def jump(self, instruction: Instruction, after: int) -> None:
        guard = instruction.guard
        holds = self.read(guard, "pred", instruction) if guard else ""
        if instruction.name == "brx":
            index = self.source(instruction.operands[0], "u32", instruction)[0]
            names = self.program.tables[instruction.operands[1].name]
            ways = [self.way(self.program.labels[name], instruction) for name in names]
            self.emit(f"return switch({index}, threads, ({', '.join(ways)},))", instruction)
            return
        leaves = instruction.name != "bra"
        target = EXIT if leaves else self.program.target(instruction)
        if guard:
            taken = f"({EXIT}, ())" if leaves else self.way(target, instruction)
            ways = f"{taken}, {self.way(after, instruction)}"
            self.emit(f"return branch({holds}, threads, {ways})", instruction)
        elif leaves:
            self.emit(f"return [({EXIT}, threads, ())]", instruction)
        else:
            self.go(target, instruction)

    def wait(self, instruction: Instruction, after: int) -> None:
        """A barrier: the machine keeps the threads until the others have come."""
        values = self.leave(after, instruction)
        if "cluster" in instruction.modifiers:
            self.emit(f"return wave.wait_for_cluster(threads, {after}, {values})", instruction)
            return
        found = [self.source(part, "u32", instruction)[0] for part in instruction.operands]
        barrier, count = (*(found or ["0"]), "None")[:2]
        self.emit(f"return wave.wait(threads, {barrier}, {count}, {after}, {values})", instruction)


NAMESPACE = {
    "Part": Part,
    "zeros": np.zeros,
    "full": np.full,
    "where": np.where,
    "int64": np.int64,
    "flush": flush,
    "branch": branch,
    "switch": switch,
    "guarded": guarded,
}


def compile_block(program: Program, start: int) -> Block:
    """The block that begins at a position."""
    writer = Writer(program)
    live = program.live[start]
    names = [writer.fresh() for _ in live]
    for register, name in zip(live, names, strict=True):
        writer.known[register.name] = {register.type: name}
        writer.given[name] = ""
    first = program.instructions[start]
    if names:
        writer.emit(f"{', '.join(names)}, = registers", first)
    at, counts, early = start, Counter[str](), {}
    while True:
        instruction = program.instructions[at]
        if at > start and at in program.joins:
            writer.go(at, instruction)
            break
        if at > start and synchronises_warp(instruction):
            early[at] = counts.copy()
            values = writer.leave(at, instruction)
            writer.emit(f"if not whole: return [({at}, threads, {values})]", instruction)
        counts[instruction.opcode] += 1
        if ends_block(instruction):
            finish = writer.wait if waits_for_block(instruction) else writer.jump
            finish(instruction, at + 1)
            break
        writer.step(instruction)
        at += 1
    head = "def block(wave, threads, whole, registers):"
    source = "\n".join([head, *writer.lines])
    scope = {**NAMESPACE, **writer.namespace}
    exec(compile(source, f"<{program.name} at {first.line}>", "exec"), scope)
    origins = {line + 1: instruction for line, instruction in writer.origins.items()}
    mask, mask_at = awaited(first, live) if synchronises_warp(first) else (None, None)
    wide = bool(early) or synchronises_warp(first)
    opcodes = defaultdict(lambda: counts, early)
    return Block(scope["block"], source, origins, opcodes, wide, mask, mask_at)


def awaited(instruction: Instruction, live: tuple[Register, ...]) -> tuple[int | None, int | None]:
    """The lanes that a warp-wide instruction waits for."""
    mask = action_of(instruction).mask
    if isinstance(mask, Register):
        return None, [register.name for register in live].index(mask.name)
    return (mask.value & 0xFFFFFFFF if isinstance(mask, Literal) else 0xFFFFFFFF), None
