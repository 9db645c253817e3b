"""A driver's text as LLVM: the part of Python in which drivers are written, lowered as it stands.

Integers are int64 (floats float64, memory an address), and a variable has one type.  What there is
not here raises `Unlowered`; Numba, which infers types and lowers any such text, takes a hundred
times as long, and gives the same code.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from llvmlite import ir

from gradloom.codegen.primitives import PRIMITIVES
from gradloom.runtime.dialect import COMPARED, ON_FLOATS, ON_INTEGERS, Dialect, folded
from gradloom.runtime.emitters import F64, I64, LLVM_TYPES, declared

Externals = dict[str, tuple[str, tuple[str, ...]]]
I1 = ir.IntType(1)
VOID = ir.VoidType()


class Unlowered(Exception):  # noqa: N818  (not an error: another way is taken)
    """What the text says is beyond the language."""


def lower_text(
    text: str,
    entry: str,
    arguments: Sequence[str],
    externals: Externals,
    dialect: Dialect | None = None,
) -> str:
    """The LLVM text of function `entry` of a driver, and of those it calls.

    `externals` are functions defined elsewhere: the type of the result and of the arguments, in
    words of `LLVM_TYPES`.  Raises `Unlowered`.
    """
    module = ir.Module("driver")
    program = _Program(module, text, externals, dialect or Dialect())
    function = program.function(entry, [LLVM_TYPES[kind] for kind in arguments], entry)
    if function.function_type.return_type != I64:
        raise Unlowered(f"{entry} returns no int64")
    function.linkage = ""
    return str(module)


class _Program:
    """The functions of a text, lowered when a call gives the types of their arguments."""

    def __init__(
        self, module: ir.Module, text: str, externals: Externals, dialect: Dialect
    ) -> None:
        self.module = module
        self.dialect = dialect
        self.externals = externals
        self.definitions = {
            d.name: d for d in ast.parse(text).body if isinstance(d, ast.FunctionDef)
        }
        self._lowered: dict[tuple[Any, ...], ir.Function] = {}

    def function(self, name: str, kinds: Sequence[ir.Type], symbol: str = "") -> ir.Function:
        """A function of the text, for arguments of these types."""
        key = (name, *map(str, kinds))
        if key not in self._lowered:
            if name not in self.definitions:
                raise Unlowered(f"there is no {name}")
            symbol = symbol or ".".join(key)
            self._lowered[key] = _Function(self, self.definitions[name], symbol, kinds).lowered
        return self._lowered[key]

    def external(self, name: str) -> ir.Function:
        """A function that is defined elsewhere."""
        result, kinds = self.externals[name]
        kind = ir.FunctionType(LLVM_TYPES[result], [LLVM_TYPES[k] for k in kinds])
        return declared(self.module, name, kind)


class _Function:
    """One function.  Its variables are places on the stack, which LLVM turns into registers."""

    def __init__(
        self, program: _Program, definition: ast.FunctionDef, name: str, kinds: Sequence[ir.Type]
    ) -> None:
        if len(definition.args.args) != len(kinds):
            raise Unlowered(f"{name} takes {len(definition.args.args)} arguments")
        self.program = program
        self.name = definition.name
        self.places: dict[str, ir.AllocaInstr] = {}
        self.loops: list[tuple[ir.Block, ir.Block]] = []  # where `continue` and `break` go
        # The type of the result is part of a function's, so it is found before there is one.
        result = _result_of(definition)
        self.lowered = ir.Function(program.module, ir.FunctionType(result, kinds), name)
        self.lowered.linkage = "internal"
        self.entry = self.lowered.append_basic_block("entry")
        self.builder = ir.IRBuilder(self.lowered.append_basic_block("body"))
        for argument, value in zip(definition.args.args, self.lowered.args, strict=True):
            self.assign(argument.arg, value)
        self.statements(definition.body)
        if not self.builder.block.is_terminated:
            if result == VOID:
                self.builder.ret_void()
            else:
                self.builder.unreachable()
        ir.IRBuilder(self.entry).branch(self.lowered.blocks[1])

    # ---- statements

    def statements(self, body: Sequence[ast.stmt]) -> None:
        """One after another, until one leaves."""
        for statement in body:
            if self.builder.block.is_terminated:
                return
            handler = _STATEMENTS.get(type(statement))
            if handler is None:
                _refuse(statement)
            handler(self, statement)

    def assign(self, name: str, value: ir.Value) -> None:
        """Store a value in a variable."""
        if value.type is I1:
            value = self.builder.zext(value, I64)
        place = self.places.get(name)
        if place is None:
            place = self.places[name] = self.place(value.type, name)
        if place.allocated_type != value.type:
            raise Unlowered(f"{name} has values of two types")
        self.builder.store(value, place)

    def place(self, kind: ir.Type, name: str) -> ir.AllocaInstr:
        """Room on the stack, made once, where the function begins."""
        return ir.IRBuilder(self.entry).alloca(kind, name=name)

    def assignment(self, node: ast.Assign) -> None:
        if len(node.targets) != 1 or not isinstance(node.targets[0], ast.Name):
            _refuse(node)
        self.assign(node.targets[0].id, self.value(node.value))

    def augmented(self, node: ast.AugAssign) -> None:
        if not isinstance(node.target, ast.Name):
            _refuse(node)
        old = self.value(ast.copy_location(ast.Name(node.target.id), node))
        self.assign(node.target.id, self.binary(node, node.op, old, self.value(node.value)))

    def expression(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Call):
            _refuse(node)
        self.call(node.value)

    def returning(self, node: ast.Return) -> None:
        if node.value is None:
            _refuse(node)
        value = self.value(node.value)
        if value.type is I1:
            value = self.builder.zext(value, I64)
        if value.type != self.lowered.function_type.return_type:
            _refuse(node)
        self.builder.ret(value)

    def branch(self, node: ast.If) -> None:
        test = self.condition(node.test)
        then, after = self.block("then"), self.block("after")
        other = self.block("else") if node.orelse else after
        self.builder.cbranch(test, then, other)
        for block, body in ((then, node.body), (other, node.orelse)):
            if body:
                self.builder.position_at_end(block)
                self.statements(body)
                self.go(after)
        self.builder.position_at_end(after)

    def go(self, block: ir.Block) -> None:
        """Go on at a block, unless the code has left already."""
        if not self.builder.block.is_terminated:
            self.builder.branch(block)

    def block(self, name: str) -> ir.Block:
        return self.lowered.append_basic_block(name)

    def repetition(self, node: ast.While) -> None:
        if node.orelse:
            _refuse(node)
        test, after = self.block("while"), self.block("after")
        self.go(test)
        self.builder.position_at_end(test)
        body = self.block("body")
        self.builder.cbranch(self.condition(node.test), body, after)
        self.inside(body, node.body, test, after)
        self.go(test)
        self.builder.position_at_end(after)

    def inside(
        self, body: ir.Block, statements: Sequence[ast.stmt], again: ir.Block, after: ir.Block
    ) -> None:
        self.builder.position_at_end(body)
        self.loops.append((again, after))
        self.statements(statements)
        self.loops.pop()

    def counted(self, node: ast.For) -> None:
        called, target = node.iter, node.target
        ranged = isinstance(called, ast.Call) and _name(called.func) == "range"
        if node.orelse or not isinstance(target, ast.Name) or not ranged:
            _refuse(node)
        given = [self.integer(v) for v in called.args]  # type: ignore[attr-defined]
        start, stop = (I64(0), given[0]) if len(given) == 1 else given[:2]
        step = given[2] if len(given) == 3 else I64(1)
        counter = self.place(I64, f"{target.id}.next")
        self.builder.store(start, counter)
        test, body, again, after = map(self.block, ("for", "body", "next", "after"))
        self.builder.branch(test)
        self.builder.position_at_end(test)
        at = self.builder.load(counter, typ=I64)
        if isinstance(step, ir.Constant):
            more = self.builder.icmp_signed("<" if step.constant > 0 else ">", at, stop)
        else:
            up = self.builder.icmp_signed(">", step, I64(0))
            more = self.builder.select(
                up,
                self.builder.icmp_signed("<", at, stop),
                self.builder.icmp_signed(">", at, stop),
            )
        self.builder.cbranch(more, body, after)
        self.builder.position_at_end(body)
        self.assign(target.id, at)
        self.inside(body, node.body, again, after)
        self.go(again)
        self.builder.position_at_end(again)
        self.builder.store(self.builder.add(at, step), counter)
        self.builder.branch(test)
        self.builder.position_at_end(after)

    def leaving(self, node: ast.Break | ast.Continue) -> None:
        again, after = self.loops[-1]
        self.builder.branch(after if isinstance(node, ast.Break) else again)

    def nothing(self, node: ast.Pass) -> None:
        """`pass`."""

    # ---- values

    def value(self, node: ast.expr) -> ir.Value:
        """The value of an expression."""
        handler = _VALUES.get(type(node))
        if handler is None:
            _refuse(node)
        value: ir.Value = handler(self, node)
        return value

    def integer(self, node: ast.expr) -> ir.Value:
        value = self.value(node)
        if value.type is not I64:
            _refuse(node)
        return value

    def condition(self, node: ast.expr) -> ir.Value:
        """An expression as a truth value."""
        value = self.value(node)
        if value.type is I1:
            return value
        if value.type is not I64:
            _refuse(node)
        return self.builder.icmp_signed("!=", value, I64(0))

    def constant(self, node: ast.Constant) -> ir.Value:
        if isinstance(node.value, bool):
            return I1(int(node.value))
        if isinstance(node.value, int) and -(2**63) <= node.value < 2**63:
            return I64(node.value)
        return F64(node.value) if isinstance(node.value, float) else _refuse(node)

    def variable(self, node: ast.Name) -> ir.Value:
        place = self.places.get(node.id)
        if place is None:
            raise Unlowered(f"{node.id} is no variable")
        return self.builder.load(place, typ=place.allocated_type)

    def operation(self, node: ast.BinOp) -> ir.Value:
        return self.binary(node, node.op, self.value(node.left), self.value(node.right))

    def binary(self, node: ast.AST, op: ast.operator, a: ir.Value, b: ir.Value) -> ir.Value:
        a, b = self.alike(node, a, b)
        emit = (ON_INTEGERS if a.type is I64 else ON_FLOATS).get(type(op))
        if emit is None:
            _refuse(node)
        return folded(op, a, b) or emit(self.builder, a, b)

    def alike(self, node: ast.AST, a: ir.Value, b: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Two numbers of one type: where one is a float, both are."""
        a, b = (self.builder.zext(v, I64) if v.type is I1 else v for v in (a, b))
        if a.type not in (I64, F64) or b.type not in (I64, F64):
            _refuse(node)
        if a.type is b.type:
            return a, b
        one, other = (self.builder.sitofp(v, F64) if v.type is I64 else v for v in (a, b))
        return one, other

    def negation(self, node: ast.UnaryOp) -> ir.Value:
        if isinstance(node.op, ast.Not):
            return self.builder.not_(self.condition(node.operand))
        value = self.value(node.operand)
        if isinstance(node.op, ast.USub) and isinstance(value, ir.Constant):
            return value.type(-value.constant)
        if isinstance(node.op, ast.USub) and value.type in (I64, F64):
            return self.builder.neg(value) if value.type is I64 else self.builder.fneg(value)
        if isinstance(node.op, ast.Invert) and value.type is I64:
            return self.builder.not_(value)
        return _refuse(node)

    def comparison(self, node: ast.Compare) -> ir.Value:
        if len(node.ops) != 1:
            _refuse(node)
        a, b = self.value(node.left), self.value(node.comparators[0])
        sign = COMPARED.get(type(node.ops[0]))
        if sign is None:
            _refuse(node)
        a, b = self.alike(node, a, b)
        if a.type is I64:
            return self.builder.icmp_signed(sign, a, b)
        compare = self.builder.fcmp_unordered if sign == "!=" else self.builder.fcmp_ordered
        return compare(sign, a, b)

    def logic(self, node: ast.BoolOp) -> ir.Value:
        """`and` and `or` of truth values; what follows the first that decides is not run."""
        stops = isinstance(node.op, ast.Or)
        found = self.place(I1, "decided")
        after = self.block("after")
        for i, part in enumerate(node.values):
            value = self.value(part)
            if value.type is not I1:
                _refuse(node)
            self.builder.store(value, found)
            if i == len(node.values) - 1:
                self.builder.branch(after)
                break
            following = self.block("following")
            self.builder.cbranch(value, *((after, following) if stops else (following, after)))
            self.builder.position_at_end(following)
        self.builder.position_at_end(after)
        return self.builder.load(found, typ=I1)

    def choice(self, node: ast.IfExp) -> ir.Value:
        """One of two values, of which both are computed: they read variables and constants."""
        test = self.condition(node.test)
        if any(
            isinstance(part, ast.Call) for v in (node.body, node.orelse) for part in ast.walk(v)
        ):
            _refuse(node)
        a, b = self.value(node.body), self.value(node.orelse)
        return self.builder.select(test, a, b) if a.type == b.type else _refuse(node)

    def call(self, node: ast.Call) -> ir.Value:
        name = _name(node.func)
        if node.keywords or not name:
            _refuse(node)
        given = [self.value(argument) for argument in node.args]
        given = [self.builder.zext(v, I64) if v.type is I1 else v for v in given]
        if name in PRIMITIVES:
            wanted = [LLVM_TYPES[kind] for kind in PRIMITIVES[name][2]]
            if [v.type for v in given] != wanted:
                _refuse(node)
            return self.program.dialect.word(name, self.name)(self.builder, *given)
        if name in self.program.externals:
            function = self.program.external(name)
        else:
            function = self.program.function(name, [v.type for v in given])
        if [v.type for v in given] != list(function.function_type.args):
            _refuse(node)
        if name in self.program.externals:
            return self.builder.call(function, given)
        return self.program.dialect.call(self.builder, self.name, name, function, given)


def _refuse(node: ast.AST) -> NoReturn:
    raise Unlowered(f"line {getattr(node, 'lineno', 0)}: {ast.unparse(node)}")


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _result_of(definition: ast.FunctionDef) -> ir.Type:
    """int64 if a function returns anything, or float64 if it says so; what it returns is checked
    where it does."""
    if isinstance(definition.returns, ast.Name) and definition.returns.id == "float":
        return F64
    return I64 if any(isinstance(node, ast.Return) for node in ast.walk(definition)) else VOID


_STATEMENTS: dict[type, Callable[[_Function, Any], None]] = {
    ast.Assign: _Function.assignment,
    ast.AugAssign: _Function.augmented,
    ast.Expr: _Function.expression,
    ast.Return: _Function.returning,
    ast.If: _Function.branch,
    ast.While: _Function.repetition,
    ast.For: _Function.counted,
    ast.Break: _Function.leaving,
    ast.Continue: _Function.leaving,
    ast.Pass: _Function.nothing,
}
_VALUES: dict[type, Callable[[_Function, Any], ir.Value]] = {
    ast.Constant: _Function.constant,
    ast.Name: _Function.variable,
    ast.BinOp: _Function.operation,
    ast.UnaryOp: _Function.negation,
    ast.Compare: _Function.comparison,
    ast.BoolOp: _Function.logic,
    ast.IfExp: _Function.choice,
    ast.Call: _Function.call,
}
