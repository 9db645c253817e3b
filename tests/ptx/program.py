"""A kernel ready to be compiled: calls inlined, guards on what synchronises made branches, and what
lives at the start of each block.

Inlining turns a call into a jump into a copy of the callee and its `ret` into a jump back; the
parameters of a call are variables private to a thread. So nothing after this module knows calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.ptx.syntax import (
    Address,
    Function,
    Instruction,
    Label,
    PtxError,
    Register,
    Symbol,
    Syntax,
    Variable,
    Vector,
    registers_of,
    rewritten,
)

CARRY = Register("%carry", "pred")  # the condition code of add.cc, addc and their kind
JUMPS = frozenset({"bra", "brx", "ret", "exit"})
BARRIERS = frozenset({"bar", "barrier"})
WARP_WIDE = frozenset({"shfl", "vote", "match", "redux", "mma", "ldmatrix", "elect", "activemask"})
SYNCHRONISING = WARP_WIDE | BARRIERS | {"call", "cp", "trap", "brkpt"}
NO_RESULT = frozenset(
    {"st", "red", "cp", "fence", "membar", "prefetch", "prefetchu", "nanosleep", "trap", "brkpt"}
    | {"discard", "applypriority", "griddepcontrol", "setmaxnreg", "stmatrix", "pmevent"}
)
NOT_WAITING = {"warp", "arrive", "vote", "collect"}
MAXIMUM_DEPTH = 32  # of calls: deeper is recursion


@dataclass
class Program:
    """A kernel as one list of instructions.

    `leaders` are the positions where a block of straight code may begin, `joins` those where
    different ways meet. `live` gives, for each leader, the registers that are read later.
    """

    name: str
    instructions: list[Instruction]
    labels: dict[str, int]
    tables: dict[str, tuple[str, ...]]
    params: list[Variable]
    max_threads: int
    variables: list[Variable]
    leaders: list[int]
    joins: frozenset[int]
    live: dict[int, tuple[Register, ...]]

    def target(self, instruction: Instruction) -> int:
        return self.labels[instruction.operands[-1].name]


def synchronises_warp(instruction: Instruction) -> bool:
    """Whether the lanes of a warp have to come together for an instruction."""
    if instruction.name in BARRIERS:
        return instruction.modifiers[0] == "warp"
    return instruction.name in WARP_WIDE and instruction.name != "activemask"


def waits_for_block(instruction: Instruction) -> bool:
    """Whether a thread may have to wait there for other threads of its block."""
    modifiers = instruction.modifiers
    return instruction.name in BARRIERS and not NOT_WAITING & set(modifiers)


def ends_block(instruction: Instruction) -> bool:
    return instruction.name in JUMPS or waits_for_block(instruction)


# ---- calls


class Inliner:
    """The body of an entry with its calls replaced by copies of what they call."""

    def __init__(self, syntax: Syntax) -> None:
        self.syntax = syntax
        self.instructions: list[Instruction] = []
        self.labels: dict[str, int] = {}
        self.tables: dict[str, tuple[str, ...]] = {}
        self.variables: dict[str, Variable] = {}
        self.calls = 0

    def copy(self, function: Function, suffix: str, symbols: dict[str, str], depth: int) -> None:
        if depth > MAXIMUM_DEPTH:
            raise PtxError(f"{function.name} line {function.line}: recursion is not supported")
        private = {
            variable.name: variable.name + suffix
            for variable in function.variables
            if variable.space in ("local", "param")
        }
        symbols = private | symbols
        for variable in function.variables:
            self.declare(variable, symbols)
        ahead: dict[int, list[str]] = {}
        for label, at in function.labels.items():
            ahead.setdefault(at, []).append(label + suffix)
        for name, targets in function.tables.items():
            self.tables[name + suffix] = tuple(target + suffix for target in targets)
        for at, instruction in enumerate(function.body):
            self.place(ahead.get(at, ()))
            self.one(rewritten(instruction, suffix, symbols), suffix, depth)
        self.place(ahead.get(len(function.body), ()))
        self.place(["return" + suffix])

    def declare(self, variable: Variable, symbols: dict[str, str]) -> None:
        name = symbols.get(variable.name, variable.name)
        space = "local" if variable.space == "param" else variable.space
        known = self.variables.get(name)  # the parameters of two calls may share a name
        size = max(variable.size, known.size if known else 0)
        align = max(variable.align, known.align if known else 0)
        self.variables[name] = replace(variable, name=name, space=space, size=size, align=align)

    def place(self, labels: list[str] | tuple[str, ...]) -> None:
        for label in labels:
            self.labels[label] = len(self.instructions)

    def one(self, instruction: Instruction, suffix: str, depth: int) -> None:
        if instruction.guard and instruction.name in SYNCHRONISING:
            self.guarded(instruction, suffix, depth)
        elif instruction.name == "call":
            self.call(instruction, depth)
        elif instruction.name in BARRIERS and "red" in instruction.modifiers:
            self.vote(instruction)
        elif instruction.name in BARRIERS and "cluster" in instruction.modifiers:
            self.meet(instruction)
        elif instruction.name == "ret" and depth:
            jump = replace(instruction, opcode="bra", operands=(Label("return" + suffix),))
            self.instructions.append(jump)
        else:
            self.instructions.append(self.spaced(instruction))

    def guarded(self, instruction: Instruction, suffix: str, depth: int) -> None:
        """`@p op` as a branch around `op`."""
        label = f"after'{len(self.instructions)}"
        guard = instruction.guard._replace(negated=not instruction.guard.negated)
        self.instructions.append(
            replace(instruction, opcode="bra", operands=(Label(label),), guard=guard)
        )
        self.one(replace(instruction, guard=None), suffix, depth)
        self.place([label])

    def call(self, instruction: Instruction, depth: int) -> None:
        vectors = [part for part in instruction.operands if isinstance(part, Vector)]
        lists = [[symbol.name for symbol in vector.items] for vector in vectors]
        callee = next((part for part in instruction.operands if isinstance(part, Symbol)), None)
        if callee is None or callee.name not in self.syntax.functions:
            what = callee.name if callee else "an address"
            raise PtxError(f"line {instruction.line}: calls {what}, which this module lacks")
        function = self.syntax.functions[callee.name]
        results = lists.pop(0) if function.results else []
        params = lists.pop(0) if function.params else []
        formals = [variable.name for variable in function.results + function.params]
        self.calls += 1
        symbols = dict(zip(formals, results + params, strict=True))
        self.copy(function, f"@{self.calls}", symbols, depth + 1)

    def vote(self, instruction: Instruction) -> None:
        """`bar.red` as three: each thread casts its vote, waits, and collects the result."""
        result, barrier, *count, predicate = instruction.operands
        verdict = next(m for m in instruction.modifiers if m in ("and", "or", "popc"))
        for opcode, operands in (
            ("barrier.vote", (barrier, predicate)),
            ("barrier.sync", (barrier, *count)),
            (f"barrier.collect.{verdict}", (result, barrier)),
        ):
            self.instructions.append(replace(instruction, opcode=opcode, operands=operands))

    def meet(self, instruction: Instruction) -> None:
        """`barrier.cluster`: only of threads that arrive and wait at once, for then nothing that a
        thread does lies between, which would be ordered by neither."""
        here = len(self.instructions)
        before = self.instructions[-1] if self.instructions else instruction
        together = "arrive" in before.modifiers and "cluster" in before.modifiers
        if "wait" in instruction.modifiers and (not together or here in self.labels.values()):
            raise PtxError(
                f"line {instruction.line}: waits for a cluster, but not right after it arrived"
            )
        if "relaxed" in instruction.modifiers:
            raise PtxError(f"line {instruction.line}: {instruction.text} orders nothing")
        self.instructions.append(instruction)

    def spaced(self, instruction: Instruction) -> Instruction:
        """`ld.param` of a call's parameter is a load from the thread's own memory."""
        bases = [o.base for o in instruction.operands if isinstance(o, Address)]
        named = any(isinstance(base, Symbol) and base.name in self.variables for base in bases)
        if "param" not in instruction.modifiers or not named:
            return instruction
        return replace(instruction, opcode=instruction.opcode.replace(".param", ".local", 1))


# ---- what is read and written


def results_of(instruction: Instruction) -> set[Register]:
    found: set[Register] = set()
    has_result = instruction.name not in NO_RESULT | JUMPS and not (
        instruction.name in BARRIERS and "collect" not in instruction.modifiers
    )
    if has_result and instruction.operands:
        found.update(registers_of(instruction.operands[0]))
    if "cc" in instruction.modifiers:
        found.add(CARRY)
    return found


def sources_of(instruction: Instruction) -> set[Register]:
    """Read registers. What a guarded instruction writes is also read: it may stay as it was."""
    results = results_of(instruction)
    rest = instruction.operands[1:] if results - {CARRY} else instruction.operands
    found = {register for operand in rest for register in registers_of(operand)}
    if instruction.guard:
        found |= results | {instruction.guard}
    if instruction.name in ("addc", "subc", "madc"):
        found.add(CARRY)
    return {register._replace(negated=False) for register in found}


def live_registers(
    instructions: list[Instruction], leaders: list[int], successors: dict[int, tuple[int, ...]]
) -> dict[int, tuple[Register, ...]]:
    """The registers that live at the start of each block: sets as the bits of integers."""
    names: dict[Register, int] = {}

    def bits(registers: set[Register]) -> int:
        return sum(1 << names.setdefault(register, len(names)) for register in registers)

    ends = dict(zip(leaders, [*leaders[1:], len(instructions)], strict=True))
    read, kept = {}, {}
    for leader in leaders:
        read[leader], written = 0, 0
        for instruction in instructions[leader : ends[leader]]:
            read[leader] |= bits(sources_of(instruction)) & ~written
            written |= bits(results_of(instruction))
        kept[leader] = ~written
    live = dict.fromkeys(leaders, 0)
    changed = True
    while changed:
        changed = False
        for leader in reversed(leaders):
            after = 0
            for successor in successors[leader]:
                after |= live.get(successor, 0)
            now = read[leader] | (after & kept[leader])
            changed = changed or now != live[leader]
            live[leader] = now
    registers = list(names)
    return {leader: tuple(registers[bit] for bit in bits_of(live[leader])) for leader in leaders}


def bits_of(number: int) -> Iterator[int]:
    """The places of the ones of a number."""
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest


def successors_of(program: Program, last: int) -> tuple[int, ...]:
    """Where control can go after the instruction at a position."""
    instruction, after = program.instructions[last], last + 1
    if instruction.name == "bra":
        target = program.target(instruction)
        return (target, after) if instruction.guard else (target,)
    if instruction.name == "brx":
        return tuple(program.labels[name] for name in program.tables[instruction.operands[1].name])
    if instruction.name in ("ret", "exit"):
        return (after,) if instruction.guard else ()
    return (after,)


def program_of(syntax: Syntax, name: str) -> Program:
    """A kernel of a module, ready to be compiled."""
    function = syntax.functions[name]
    inliner = Inliner(syntax)
    inliner.copy(function, "", {}, 0)
    instructions = inliner.instructions
    end = Instruction("ret", (), instructions[-1].line if instructions else function.line)
    instructions.append(end)  # falling off the end returns
    joins = set(inliner.labels.values())
    leaders = {0} | joins
    for at, instruction in enumerate(instructions):
        if ends_block(instruction):
            leaders.add(at + 1)
        if synchronises_warp(instruction):
            leaders.add(at)
    ordered = sorted(at for at in leaders if at < len(instructions))
    program = Program(
        name=name,
        instructions=instructions,
        labels=inliner.labels,
        tables=inliner.tables,
        params=function.params,
        max_threads=function.max_threads,
        variables=[*inliner.variables.values(), *syntax.variables.values()],
        leaders=ordered,
        joins=frozenset(joins),
        live={},
    )
    lasts = zip(ordered, [*ordered[1:], len(instructions)], strict=True)
    successors = {leader: successors_of(program, after - 1) for leader, after in lasts}
    program.live = live_registers(instructions, ordered, successors)
    return program
