"""A driver's text cut where its team meets: what lies between two meetings is a launch of its own.

A team that waits for nobody needs not be there all at once; whoever launches one group after
another waits in its place.  In: the text of a driver.  Out: a function for each group, of the same
statements, and what is left of the driver: loops and branches around launches.

    x = view(arena, 0)                  def group_0_scale(table, arena, control, worker, team):
    for round_0 in range(3):                x = view(arena, 0)
        r = view(x, round_0 * 8)            ...
        scale(0, 4, r, x)         ->
        meet(control, team)             for round_0 in range(3):
        add(0, 4, r, x)                     launch(0, round_0)
        meet(control, team)                 launch(1, round_0)

What is assigned is an address, a number of `control`, or one of memory that is read right after a
meeting: each group computes what it needs of that anew.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gradloom.codegen.primitives import PRIMITIVES
from gradloom.codegen.words import ENTRY

MEET, LAUNCH = "meet", "launch"
GIVEN = ("table", "arena", "control")  # what every group takes


@dataclass(frozen=True)
class Group:
    """What is launched at once: `text` defines the function `name`, which takes `GIVEN`, `worker`,
    `team` and the variables of the host's `more`.  Its stages have so many `grains` together."""

    name: str
    text: str
    more: tuple[str, ...]
    stages: tuple[str, ...]  # and other functions that it calls
    grains: int


class Host(NamedTuple):
    """What launches the groups of a driver: a text that takes `GIVEN` and `more`, what the driver
    takes beyond `worker` and `team`; `launch(number, ...)` there is a group."""

    text: str
    more: tuple[str, ...]
    straight: bool  # whether it needs no number of the device's memory to go on


def cut(text: str) -> tuple[tuple[Group, ...], Host]:
    """A driver's text in groups.

    >>> groups, host = cut(
    ...     "def program(table, arena, control, worker, team):\\n"
    ...     "    lower = cut(worker, team)\\n"
    ...     "    upper = cut(worker + 1, team)\\n"
    ...     "    x = get_ptr(table, 0)\\n"
    ...     "    double(share(7, 2, lower), share(7, 2, upper), x)\\n"
    ...     "    meet(control, team)\\n"
    ...     "    if worker == 0:\\n"
    ...     "        sort(0, 7, x)\\n"
    ...     "    return 0\\n"
    ... )
    >>> [(group.name, group.grains) for group in groups]
    [('group_0_double', 4), ('group_1_sort', 1)]
    >>> print(host.text)
    def program(table, arena, control):
        launch(0)
        launch(1)
    """
    entry, scissors = _opened(text)
    more = [a.arg for a in entry.args.args[5:]]
    body = scissors.block(entry.body, [], more)
    needed = _needed([*_assignments(body)], _questions(body))
    host = _function(ENTRY, [*GIVEN, *more], _only(body, needed) or [ast.Pass()])
    groups = tuple(scissors.group(number) for number in range(len(scissors.bodies)))
    return groups, Host(ast.unparse(host), tuple(more), _straight(body, needed))


def settled(text: str) -> str:
    """A driver's text in which each statement computes the addresses that it needs, if there is a
    part of it to do: who computes all of them first has to keep them.

    Of a perceptron of 13 layers with Adam the addresses alone are more than a thread has registers
    for.

    >>> print(
    ...     settled(
    ...         "def program(table, arena, control, worker, team):\\n"
    ...         "    upper = cut(worker + 1, team)\\n"
    ...         "    x = get_ptr(table, 0)\\n"
    ...         "    meet(control, team)\\n"
    ...         "    double(0, share(7, 2, upper), x)\\n"
    ...         "    return 0\\n"
    ...     )
    ... )
    def program(table, arena, control, worker, team):
        meet(control, team)
        upper = cut(worker + 1, team)
        x = get_ptr(table, 0)
        double(0, share(7, 2, upper), x)
        return 0
    """
    entry, scissors = _opened(text, apart=False)
    body = scissors.block(entry.body, [], [])
    needed = _needed([*_assignments(body)], _questions(body))
    entry.body = _Joined(scissors.bodies).all(_only(body, needed))
    whole = [*scissors.others.values(), ast.fix_missing_locations(entry)]
    return "\n\n\n".join(map(ast.unparse, whole))


def _opened(text: str, *, apart: bool = True) -> tuple[ast.FunctionDef, _Scissors]:
    functions = [d for d in ast.parse(text).body if isinstance(d, ast.FunctionDef)]
    entry = next(f for f in functions if f.name == ENTRY)
    return entry, _Scissors([f for f in functions if f is not entry], apart)


class _Joined(ast.NodeTransformer):
    """Groups in the place of their launches."""

    def __init__(self, bodies: Sequence[list[ast.stmt]]) -> None:
        self.bodies = bodies

    def all(self, body: Iterable[ast.stmt]) -> list[ast.stmt]:
        """Some statements."""
        return [part for s in body for part in _listed(self.visit(s))]

    def visit_Expr(self, node: ast.Expr) -> ast.stmt | list[ast.stmt]:
        if not _is_call(node, LAUNCH):
            return node
        assert isinstance(node.value, ast.Call)
        return self.bodies[int(ast.unparse(node.value.args[0]))]


def _listed(found: ast.stmt | list[ast.stmt]) -> list[ast.stmt]:
    return found if isinstance(found, list) else [found]


class _Scissors:
    """One driver being cut; `others` are the functions that it calls.  If the groups do not come
    `apart`, all meet where they did."""

    def __init__(self, others: Sequence[ast.FunctionDef], apart: bool) -> None:
        self.others = {f.name: f for f in others}
        self.apart = apart
        self.bodies: list[list[ast.stmt]] = []  # of the groups
        self.more: list[list[str]] = []

    def block(
        self, body: Sequence[ast.stmt], known: Sequence[ast.stmt], more: Sequence[str]
    ) -> list[ast.stmt]:
        """The host's part of some statements, where the assignments `known` and the host's
        variables `more` are in scope."""
        known = [*known]
        done: list[ast.stmt] = []
        group: list[ast.stmt] = []

        def launch() -> None:
            if group:
                done.append(self.launch(group, known, more))
                group.clear()

        for at, statement in enumerate(body):
            if _is_call(statement, MEET):
                if not self.apart or not _counts(body[at + 1 :], group, known):
                    launch()
                done += [statement] * (not self.apart)
            elif _only_assigns(statement):
                known.append(statement)
                done.append(statement)
            elif _leads(statement):
                launch()
                if not (self.apart and isinstance(statement, ast.Return)):
                    done.append(self.led(statement, known, more))
            else:
                group.append(statement)
        launch()
        return done

    def led(self, statement: ast.stmt, known: Sequence[ast.stmt], more: Sequence[str]) -> ast.stmt:
        """A loop or branch of the host's."""
        if isinstance(statement, ast.For):
            assert isinstance(statement.target, ast.Name)
            body = self.block(statement.body, known, [*more, statement.target.id])
            return ast.For(statement.target, statement.iter, body or [ast.Pass()], [])
        if isinstance(statement, ast.While):
            return ast.While(statement.test, self.block(statement.body, known, more), [])
        if isinstance(statement, ast.If):
            body = self.block(statement.body, known, more) or [ast.Pass()]
            return ast.If(statement.test, body, self.block(statement.orelse, known, more))
        return statement  # break, or return

    def launch(
        self, group: Sequence[ast.stmt], known: Sequence[ast.stmt], more: Sequence[str]
    ) -> ast.stmt:
        """The launch of these statements, which become a group."""
        body = [local for statement in group for local in _alone(statement, known)]
        heads = [s.test if isinstance(s, ast.If) and not s.orelse else s for s in body]
        body = [*_needed(known, heads), *body]
        used = _names(body)
        self.bodies.append(body)
        self.more.append([name for name in more if name in used])
        given = [ast.Constant(len(self.bodies) - 1), *map(_name, self.more[-1])]
        return ast.Expr(ast.Call(_name(LAUNCH), given, []))

    def group(self, number: int) -> Group:
        """A group as a function."""
        body, more = self.bodies[number], self.more[number]
        stages = [name for name in _calls(body) if name not in PRIMITIVES]
        name = f"group_{number}_{stages[0]}" if stages else f"group_{number}"
        ending = ast.Return(ast.Constant(0))
        main = _function(name, [*GIVEN, "worker", "team", *more], [*body, ending])
        text = "\n\n\n".join(map(ast.unparse, [*self._called(stages), main]))
        grains = max(sum(map(_grains, _shares(body))) // 2, 1)  # a share begins and ends
        return Group(name, text, tuple(more), tuple(stages), grains)

    def _called(self, names: Iterable[str]) -> list[ast.FunctionDef]:
        """The functions of the text that are called, and what they call."""
        found: dict[str, ast.FunctionDef] = {}
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name in self.others and name not in found:
                found[name] = self.others[name]
                waiting += _calls([self.others[name]])
        return [f for name, f in self.others.items() if name in found]


# ---- what a statement is


def _is_call(statement: ast.AST, name: str) -> bool:
    called = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(called, ast.Call) and ast.unparse(called.func) == name


def _only_assigns(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.If):
        return all(map(_only_assigns, (*statement.body, *statement.orelse)))
    return isinstance(statement, ast.Assign)


def _leads(statement: ast.stmt) -> bool:
    """Whether all meet in it, or it is a step of the host's."""
    parts = ast.walk(statement)
    return any(isinstance(p, ast.Break | ast.Return) or _is_call(p, MEET) for p in parts)


def _counts(rest: Sequence[ast.stmt], group: Sequence[ast.stmt], known: Sequence[ast.stmt]) -> bool:
    """Whether nothing follows but the count of a pass, on a group that does not read it: no thread
    but the one that counts then needs the number, so nobody need meet."""
    follows = [s for s in rest if not isinstance(s, ast.Return)]
    counting = len(follows) == 1 and _calls(follows) == ["count"]
    return counting and bool(group) and "done" not in _names(_needed(known, group))


# ---- each statement by itself


START, STOP = "part_start", "part_stop"


def _alone(statement: ast.stmt, known: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """A statement and what it needs, for whoever has a part of it."""
    if isinstance(statement, ast.If) and not statement.orelse:
        yield ast.If(statement.test, [*_needed(known, statement.body), *statement.body], [])
        return
    call = statement.value if isinstance(statement, ast.Expr) else None
    shared = isinstance(call, ast.Call) and len(_shares([statement])) == 2
    if not shared:
        yield statement
        return
    assert isinstance(call, ast.Call)
    start, stop, *given = call.args
    yield ast.Assign([_name(START, ast.Store())], start)
    yield ast.Assign([_name(STOP, ast.Store())], stop)
    test = ast.Compare(_name(START), [ast.Lt()], [_name(STOP)])
    made = ast.Expr(ast.Call(call.func, [_name(START), _name(STOP), *given], []))
    yield ast.If(test, [*_needed(known, given), made], [])


# ---- names


def _names(body: Iterable[ast.AST]) -> set[str]:
    """The variables that are read."""
    parts = (part for statement in body for part in ast.walk(statement))
    return {p.id for p in parts if isinstance(p, ast.Name) and not isinstance(p.ctx, ast.Store)}


def _calls(body: Iterable[ast.AST]) -> list[str]:
    parts = (part for statement in body for part in ast.walk(statement))
    return list(dict.fromkeys(ast.unparse(p.func) for p in parts if isinstance(p, ast.Call)))


def _targets(statement: ast.AST) -> set[str]:
    parts = ast.walk(statement)
    return {p.id for p in parts if isinstance(p, ast.Name) and isinstance(p.ctx, ast.Store)}


def _needed(known: Sequence[ast.stmt], body: Iterable[ast.AST]) -> list[ast.stmt]:
    """The assignments on which some statements depend."""
    wanted = _names(body)
    found = []
    for statement in reversed(known):
        if _targets(statement) & wanted:
            found.append(statement)
            wanted |= _names([statement])
    return found[::-1]


def _assignments(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """All of them, in the order of the text."""
    for statement in body:
        if _only_assigns(statement):
            yield statement
        elif isinstance(statement, ast.For | ast.While | ast.If):
            yield from _assignments([*statement.body, *statement.orelse])


def _questions(body: Iterable[ast.stmt]) -> Iterator[ast.expr]:
    """What loops, branches and launches need to know."""
    for statement in body:
        if isinstance(statement, ast.Expr):
            yield statement.value
        elif isinstance(statement, ast.For):
            yield statement.iter
        elif isinstance(statement, ast.While | ast.If) and not _only_assigns(statement):
            yield statement.test
        if isinstance(statement, ast.For | ast.While | ast.If) and not _only_assigns(statement):
            yield from _questions([*statement.body, *statement.orelse])


def _only(body: Sequence[ast.stmt], needed: Sequence[ast.stmt]) -> list[ast.stmt]:
    """The statements, of assignments only those that are needed."""
    found = []
    for statement in body:
        if _only_assigns(statement):
            found += [statement] * (statement in needed)
            continue
        if isinstance(statement, ast.For | ast.While | ast.If):
            statement.body = _only(statement.body, needed) or [ast.Pass()]
            statement.orelse = _only(statement.orelse, needed)
        found.append(statement)
    return found


def _straight(body: Sequence[ast.stmt], needed: Sequence[ast.stmt]) -> bool:
    """Whether the host can go on without a number of the device's memory."""
    parts = [part for s in (*needed, *_questions(body)) for part in ast.walk(s)]
    read = [p.args[0] for p in parts if isinstance(p, ast.Call) and ast.unparse(p.func) == "get"]
    return all(ast.unparse(where) == "control" for where in read)


# ---- shares


def _shares(body: Iterable[ast.stmt]) -> list[ast.Call]:
    parts = (part for statement in body for part in ast.walk(statement))
    return [p for p in parts if isinstance(p, ast.Call) and ast.unparse(p.func) == "share"]


def _grains(share: ast.Call) -> int:
    """How many a stage is dealt out in."""
    extent, grain = (int(ast.unparse(number)) for number in share.args[:2])
    return -(-extent // grain)


def _name(name: str, context: ast.expr_context | None = None) -> ast.Name:
    return ast.Name(name, context or ast.Load())


def _function(name: str, arguments: Iterable[str], body: list[ast.stmt]) -> ast.FunctionDef:
    given = ast.arguments([], [ast.arg(a) for a in arguments], None, [], [], None, [])
    made = ast.FunctionDef(name, given, body, [])
    return ast.fix_missing_locations(made)
