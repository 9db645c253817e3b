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
    `team` and the variables of the host's `more`.  No stage has more `grains`."""

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
    functions = [d for d in ast.parse(text).body if isinstance(d, ast.FunctionDef)]
    entry = next(f for f in functions if f.name == ENTRY)
    more = [a.arg for a in entry.args.args[5:]]
    scissors = _Scissors([f for f in functions if f is not entry])
    body = scissors.block(entry.body, [], more)
    needed = _needed([*_assignments(body)], _questions(body))
    host = _function(ENTRY, [*GIVEN, *more], _only(body, needed) or [ast.Pass()])
    return tuple(scissors.groups), Host(ast.unparse(host), tuple(more), _straight(body, needed))


class _Scissors:
    """One driver being cut; `others` are the functions that it calls."""

    def __init__(self, others: Sequence[ast.FunctionDef]) -> None:
        self.others = {f.name: f for f in others}
        self.groups: list[Group] = []

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
                if not _counts(body[at + 1 :], group, known):
                    launch()
            elif _only_assigns(statement):
                known.append(statement)
                done.append(statement)
            elif _leads(statement):
                launch()
                done.append(self.led(statement, known, more))
            elif not isinstance(statement, ast.Return):
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
        return statement  # break

    def launch(
        self, group: Sequence[ast.stmt], known: Sequence[ast.stmt], more: Sequence[str]
    ) -> ast.stmt:
        """The launch of these statements, which become a group."""
        number = len(self.groups)
        body = [*_needed(known, group), *group]
        used = _names(body)
        taken = [name for name in more if name in used]
        called = _calls(body)
        stages = [name for name in called if name not in PRIMITIVES]
        name = f"group_{number}_{stages[0]}" if stages else f"group_{number}"
        ending = ast.Return(ast.Constant(0))
        main = _function(name, [*GIVEN, "worker", "team", *taken], [*body, ending])
        text = "\n\n\n".join(map(ast.unparse, [*self._called(stages), main]))
        grains = max(map(_grains, _shares(body)), default=1)
        self.groups.append(Group(name, text, tuple(taken), tuple(stages), grains))
        given = [ast.Constant(number), *(ast.Name(name, ast.Load()) for name in taken)]
        return ast.Expr(ast.Call(ast.Name(LAUNCH, ast.Load()), given, []))

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
    return any(isinstance(part, ast.Break) or _is_call(part, MEET) for part in parts)


def _counts(rest: Sequence[ast.stmt], group: Sequence[ast.stmt], known: Sequence[ast.stmt]) -> bool:
    """Whether nothing follows but the count of a pass, on a group that does not read it: no thread
    but the one that counts then needs the number, so nobody need meet."""
    follows = [s for s in rest if not isinstance(s, ast.Return)]
    counting = len(follows) == 1 and _calls(follows) == ["count"]
    return counting and bool(group) and "done" not in _names(_needed(known, group))


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


def _function(name: str, arguments: Iterable[str], body: list[ast.stmt]) -> ast.FunctionDef:
    given = ast.arguments([], [ast.arg(a) for a in arguments], None, [], [], None, [])
    made = ast.FunctionDef(name, given, body, [])
    return ast.fix_missing_locations(made)
