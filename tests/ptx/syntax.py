"""PTX as records: the instructions, operands and variables of a module, nothing decided yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple


class PtxError(Exception):
    """PTX that is not valid, or that does what a GPU would not allow."""


class Register(NamedTuple):
    name: str
    type: str  # as declared: "b32", "f64", "pred", ...
    negated: bool = False  # `!%p`


class Literal(NamedTuple):
    value: int  # the bits, where it was written as 0f... or 0d...
    form: str = "int"  # "int", "f32", "f64" or "decimal"


class Special(NamedTuple):
    name: str  # "%tid.x", "WARP_SZ", ...


class Symbol(NamedTuple):
    name: str
    offset: int = 0


class Address(NamedTuple):
    base: Register | Symbol | Literal
    offset: int = 0


class Vector(NamedTuple):
    """`{a, b}`, and also the pairs of results `d|p`."""

    items: tuple[Operand, ...]


class Label(NamedTuple):
    name: str


Operand = Register | Literal | Special | Symbol | Address | Vector | Label
SINK = Symbol("_")  # the register that forgets


@dataclass(frozen=True)
class Instruction:
    opcode: str  # "ld.global.v4.f32"
    operands: tuple[Operand, ...]
    line: int
    guard: Register | None = None  # executed only where it holds
    text: str = ""

    @property
    def name(self) -> str:
        return self.opcode.split(".", 1)[0]

    @property
    def modifiers(self) -> tuple[str, ...]:
        return tuple(self.opcode.split(".")[1:])


@dataclass(frozen=True)
class Variable:
    name: str
    space: str  # "shared", "local", "global", "const", "param"
    size: int
    align: int
    initial: bytes | None = None
    symbols: tuple[tuple[int, Symbol], ...] = ()  # addresses to be written into the initial value
    dynamic: bool = False  # `extern .shared x[]`: the size comes with the launch


@dataclass
class Function:
    name: str
    entry: bool
    line: int
    max_threads: int = 1024  # of a block
    params: list[Variable] = field(default_factory=list)
    results: list[Variable] = field(default_factory=list)
    variables: list[Variable] = field(default_factory=list)
    body: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)  # name -> position in the body
    tables: dict[str, tuple[str, ...]] = field(default_factory=dict)  # .branchtargets


@dataclass(frozen=True)
class Syntax:
    functions: dict[str, Function]
    variables: dict[str, Variable]
    externals: frozenset[str]


def registers_of(operand: Operand) -> Iterator[Register]:
    """Every register inside an operand."""
    match operand:
        case Register():
            yield operand
        case Address(base):
            yield from registers_of(base)
        case Vector(items):
            for item in items:
                yield from registers_of(item)


def renamed(operand: Operand, suffix: str, symbols: dict[str, str]) -> Operand:
    """The operand with its registers and labels under names of one inlined call."""
    match operand:
        case Register(name):
            return operand._replace(name=name + suffix)
        case Label(name):
            return Label(name + suffix)
        case Symbol(name):
            return operand._replace(name=symbols.get(name, name))
        case Address(base, offset):
            return Address(renamed(base, suffix, symbols), offset)
        case Vector(items):
            return Vector(tuple(renamed(item, suffix, symbols) for item in items))
    return operand


def rewritten(instruction: Instruction, suffix: str, symbols: dict[str, str]) -> Instruction:
    guard = instruction.guard
    return replace(
        instruction,
        operands=tuple(renamed(operand, suffix, symbols) for operand in instruction.operands),
        guard=guard and renamed(guard, suffix, symbols),
    )
