"""From PTX text to the records of `syntax`; names of registers and labels are resolved by scope."""

from __future__ import annotations

import re
import struct
from itertools import pairwise
from typing import NamedTuple

from tests.ptx.syntax import (
    SINK,
    Address,
    Function,
    Instruction,
    Label,
    Literal,
    Operand,
    PtxError,
    Register,
    Special,
    Symbol,
    Syntax,
    Variable,
    Vector,
)

SIZES = {
    **{f"{kind}{bits}": bits // 8 for kind in "bus" for bits in (8, 16, 32, 64)},
    "b128": 16,
    "f16": 2,
    "bf16": 2,
    "f16x2": 4,
    "bf16x2": 4,
    "f32": 4,
    "f64": 8,
    "pred": 1,
}
SPACES = frozenset({".shared", ".local", ".global", ".const", ".param"})
LINKAGE = frozenset({".visible", ".extern", ".weak", ".common", ".func", ".entry"})
NOT_REGISTERS = re.compile(r"%(n?tid|n?ctaid|laneid|n?warpid|n?smid|gridid|lanemask_\w+|clock\w*|"
                           r"globaltimer\w*|pm\d+|dynamic_smem_size|total_smem_size|envreg\d+|"
                           r"n?cluster\w*|is_explicit_cluster|aggr_smem_size)(\.\w+)?")  # fmt: skip
TOKEN = re.compile(
    r"""(?P<skip>[\s\0]+|//[^\n]*|/\*.*?\*/)
      | (?P<text>"[^"]*")
      | (?P<word>[\w%$.]+(?:::[\w.]+)*)
      | (?P<mark>[{}\[\]()<>,;:@!|+=-])""",
    re.VERBOSE | re.DOTALL,
)


class Token(NamedTuple):
    text: str
    line: int
    start: int
    end: int


def tokens_of(text: str) -> list[Token]:
    tokens, at, line = [], 0, 1
    while at < len(text):
        match = TOKEN.match(text, at)
        if match is None:
            raise PtxError(f"line {line}: cannot read {text[at : at + 20]!r}")
        if match.lastgroup != "skip":
            tokens.append(Token(match.group(), line, at, match.end()))
        line += match.group().count("\n")
        at = match.end()
    tokens.append(Token("", line, at, at))
    return tokens


class Scope(NamedTuple):
    """The names that one pair of braces declares."""

    suffix: str
    registers: dict[str, str]  # name -> type
    families: dict[str, str]  # `%r` of `%r<9>` -> type
    labels: set[str]


class Parser:
    """Recursive descent over the tokens of one module."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokens_of(text)
        self.at = 0
        self.functions: dict[str, Function] = {}
        self.variables: dict[str, Variable] = {}
        self.externals: set[str] = set()
        self.function: Function | None = None
        self.scopes: list[Scope] = []
        self.scopes_made = 0

    # Tokens.

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def peek(self, ahead: int = 0) -> str:
        return self.tokens[min(self.at + ahead, len(self.tokens) - 1)].text

    def take(self, expected: str | None = None) -> str:
        token = self.token
        if expected is not None and token.text != expected:
            self.fail(f"expected {expected!r}, found {token.text!r}")
        self.at += 1
        return token.text

    def accept(self, text: str) -> bool:
        if self.peek() != text:
            return False
        self.at += 1
        return True

    def fail(self, reason: str) -> None:
        raise PtxError(f"line {self.token.line}: {reason}")

    def skip_line(self) -> None:
        line = self.token.line
        while self.token.line == line and self.peek():
            self.at += 1

    # The module.

    def parse(self) -> Syntax:
        while self.peek():
            self.item()
        return Syntax(self.functions, self.variables, frozenset(self.externals))

    def item(self) -> None:
        if self.peek() in (".version", ".target", ".address_size", ".file", ".loc"):
            self.skip_line()
            return
        if self.accept(".section"):
            while self.take() != "}":
                pass
            return
        linkage = set()
        while self.peek() in LINKAGE:
            linkage.add(self.take())
        if linkage & {".func", ".entry"}:
            self.head(".entry" in linkage)
        elif self.peek() in SPACES:
            for variable in self.declaration(".extern" in linkage):
                self.variables[variable.name] = variable
        else:
            self.fail(f"cannot read {self.peek()!r}")

    def head(self, entry: bool) -> None:
        results = self.formals() if self.peek() == "(" else []
        function = Function(self.take(), entry, self.token.line, results=results)
        if self.peek() == "(":
            function.params = self.formals()
        while self.peek() not in ("{", ";"):  # .maxntid, .minnctapersm, .noreturn, ...
            if self.take() in (".maxntid", ".reqntid"):
                function.max_threads = self.product()
        if self.accept(";"):
            self.externals.add(function.name)
            return
        self.externals.discard(function.name)
        self.functions[function.name] = self.function = function
        self.block()
        self.function = None

    def product(self) -> int:
        """`16, 16, 1` multiplied."""
        product = int(self.take())
        while self.accept(","):
            product *= int(self.take())
        return product

    def formals(self) -> list[Variable]:
        self.take("(")
        variables: list[Variable] = []
        while not self.accept(")"):
            if self.accept(".reg"):
                self.fail("parameters in registers are not supported: compile for .param")
            variables.extend(self.declaration(extern=False))
            self.accept(",")
        return variables

    def declaration(self, extern: bool) -> list[Variable]:
        """`.space .align n .type name[size] = {...}, ...;`, also without its `;`."""
        space, align, kind = self.take()[1:], 0, ""
        while self.peek().startswith("."):
            word = self.take()[1:]
            if word == "align":
                align = int(self.take())
            elif word in SIZES:
                kind = word
            elif word == "ptr":  # .param .u64 .ptr .global .align 16 name: a promise
                while self.peek().startswith(".") or self.peek().isdigit():
                    self.at += 1
        found = [self.declared(space, kind, align or SIZES[kind], extern)]
        while self.scopes and self.accept(","):
            found.append(self.declared(space, kind, align or SIZES[kind], extern))
        self.accept(";")
        return found

    def declared(self, space: str, kind: str, align: int, extern: bool) -> Variable:
        name, count, dynamic = self.take(), 1, False
        while self.accept("["):
            dynamic = dynamic or self.peek() == "]"
            count *= 0 if self.peek() == "]" else int(self.take(), 0)
            self.take("]")
        initial, symbols = self.initial(kind) if self.accept("=") else (None, ())
        size = max(count * SIZES[kind], len(initial or b""))
        initial = initial and initial.ljust(size, b"\0")
        return Variable(name, space, size, align, initial, symbols, dynamic and extern)

    def initial(self, kind: str) -> tuple[bytes, tuple[tuple[int, Symbol], ...]]:
        data, symbols, depth = bytearray(), [], 0
        while True:
            if self.accept("{"):
                depth += 1
            elif self.accept("}"):
                depth -= 1
            elif not self.accept(","):
                value = self.operand()
                if isinstance(value, Symbol):
                    symbols.append((len(data), value))
                    value = Literal(0)
                data += bytes_of(value, kind)
            if depth == 0:
                return bytes(data), tuple(symbols)

    # Bodies.

    def block(self) -> None:
        self.take("{")
        suffix = f"'{self.scopes_made}" if self.scopes else ""
        self.scopes_made += 1
        self.scopes.append(Scope(suffix, {}, {}, self.labels_ahead()))
        while not self.accept("}"):
            if self.peek() == "{":
                self.block()
            elif self.peek(1) == ":":
                self.label()
            elif self.peek().startswith("."):
                self.directive()
            else:
                self.instruction()
        self.scopes.pop()

    def labels_ahead(self) -> set[str]:
        """The labels of the block that begins here: they may be used before they stand."""
        labels, depth = set(), 0
        for token, after in pairwise(self.tokens[self.at :]):
            depth += {"{": 1, "}": -1}.get(token.text, 0)
            if depth < 0:
                return labels
            if depth == 0 and after.text == ":":
                labels.add(token.text)
        raise PtxError(f"line {self.token.line}: a block is not closed")

    def label(self) -> None:
        name = self.take() + self.scopes[-1].suffix
        self.take(":")
        if self.accept(".branchtargets"):
            targets = []
            while not self.accept(";"):
                targets.append(self.resolve(self.take()).name)
                self.accept(",")
            self.function.tables[name] = tuple(targets)
        else:
            self.function.labels[name] = len(self.function.body)

    def directive(self) -> None:
        if self.peek() == ".reg":
            self.registers()
        elif self.peek() in SPACES:
            self.function.variables.extend(self.declaration(extern=False))
        elif self.peek() in (".loc", ".file"):
            self.skip_line()
        else:  # .pragma, .callprototype
            while self.take() != ";":
                pass

    def registers(self) -> None:
        self.take(".reg")
        kind = self.take()[1:]
        if kind.startswith("v") or kind not in SIZES:
            self.fail(f"registers of type {kind} are not supported")
        while True:
            name = self.take()
            if self.accept("<"):
                self.take()
                self.take(">")
                self.scopes[-1].families[name] = kind
            else:
                self.scopes[-1].registers[name] = kind
            if self.accept(";"):
                return
            self.take(",")

    def instruction(self) -> None:
        start, guard = self.token, None
        if self.accept("@"):
            negated = self.accept("!")
            guard = self.resolve(self.take())._replace(negated=negated)
        opcode, operands = self.take(), []
        while not self.accept(";"):
            operands.append(self.operand())
            if self.accept("|"):
                operands[-1] = Vector((operands[-1], self.operand()))
            if self.peek() != ";":
                self.take(",")
        text = " ".join(self.text[start.start : self.tokens[self.at - 1].end].split())
        self.function.body.append(Instruction(opcode, tuple(operands), start.line, guard, text))

    def operand(self) -> Operand:
        if self.accept("["):
            base = self.resolve(self.take())
            offset = self.offset()
            if self.peek() == ",":
                self.fail("tensor coordinates are not supported")
            self.take("]")
            return Address(base, offset)
        if self.peek() in ("{", "("):
            closing = {"{": "}", "(": ")"}[self.take()]
            items = []
            while not self.accept(closing):
                items.append(self.operand())
                self.accept(",")
            return Vector(tuple(items))
        if self.accept("!"):
            return self.resolve(self.take())._replace(negated=True)
        if self.accept("-"):
            literal = self.resolve(self.take())
            if not (isinstance(literal, Literal) and literal.form == "int"):
                self.fail("only an integer can be negated")
            return Literal(-literal.value)
        operand = self.resolve(self.take())
        offset = self.offset()
        return operand._replace(offset=offset) if offset else operand

    def offset(self) -> int:
        offset = 0
        while self.peek() in ("+", "-") and self.peek(1) not in ("", ";"):
            sign = 1 if self.take() == "+" else -1
            sign *= -1 if self.accept("-") else 1
            offset += sign * int(self.take(), 0)
        return offset

    def resolve(self, word: str) -> Operand:
        """What a word means where it stands."""
        if word == "_":
            return SINK
        if word[0].isdigit():
            return literal_of(word)
        for scope in reversed(self.scopes):
            kind = scope.registers.get(word) or scope.families.get(word.rstrip("0123456789"))
            if kind is not None:
                return Register(word + scope.suffix, kind)
            if word in scope.labels:
                return Label(word + scope.suffix)
        if NOT_REGISTERS.fullmatch(word) or word == "WARP_SZ":
            return Special(word)
        if word.startswith("%"):
            self.fail(f"register {word} is not declared")
        return Symbol(word)


def literal_of(word: str) -> Literal:
    if word[:2] in ("0f", "0F"):
        return Literal(int(word[2:], 16), "f32")
    if word[:2] in ("0d", "0D"):
        return Literal(int(word[2:], 16), "f64")
    if "." in word or ("e" in word.lower() and not word.lower().startswith("0x")):
        return Literal(struct.unpack("<Q", struct.pack("<d", float(word)))[0], "decimal")
    digits = word.rstrip("uU")
    octal = len(digits) > 1 and digits[0] == "0" and digits[1].isdigit()
    return Literal(int(digits, 8) if octal else int(digits, 0))


def bytes_of(literal: Literal, kind: str) -> bytes:
    """The bytes that hold a literal in a variable of a type."""
    bits = literal.value
    if literal.form != "int" and kind in ("f32", "f64"):
        wide = "<Q" if literal.form in ("f64", "decimal") else "<I"
        value = struct.unpack(wide.replace("Q", "d").replace("I", "f"), struct.pack(wide, bits))[0]
        return struct.pack("<f" if kind == "f32" else "<d", value)
    size = SIZES[kind]
    return (bits & ((1 << 8 * size) - 1)).to_bytes(size, "little")


def parse(text: str) -> Syntax:
    """The records of a module's text."""
    return Parser(text).parse()
