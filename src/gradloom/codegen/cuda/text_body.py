"""The body of a function as Python text: what is computed, in order, and the lines between.

Values are recorded first and written last, for by then it is known how often each is used: what is
used once, where nothing comes between, is written where it is used; what is not used at all is not
written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

INDENT = "    "
WIDEST = 56  # columns of an expression within another
WIDEST_ALONE = 84  # or in a line


@dataclass(eq=False, slots=True)
class Value:
    """An expression over others, `form.format(*args)`; with `{0:b}` without outer parentheses.

    What `reads` memory or variables stays between the lines that it stands between.  What is
    `bound` has a line of its own, and happens there.  An atom is a name or a number.
    """

    form: str
    args: tuple[Value, ...] = ()
    reads: bool = False
    bound: bool = False
    atom: bool = False
    block: int = 0
    depth: int = 0


@dataclass(eq=False, slots=True)
class Line:
    """Something done: a line, in which values stand without outer parentheses."""

    form: str
    args: tuple[Value, ...]
    block: int
    depth: int


Item = Value | Line


@dataclass
class Body:
    """What a function does."""

    items: list[Item] = field(default_factory=list)
    taken: dict[str, int] = field(default_factory=dict)  # names, and how many begin with them
    block: int = 0
    depth: int = 1
    blocks: int = 0

    # ---- what it is made of

    def value(self, form: str, *args: Value, reads: bool = False, bound: bool = False) -> Value:
        """Something computed here."""
        reads = reads or any(arg.atom and arg.reads for arg in args)
        found = Value(form, args, reads, bound, block=self.block, depth=self.depth)
        self.items.append(found)
        return found

    def line(self, form: str, *args: Value) -> None:
        """Something done here."""
        self.items.append(Line(form, args, self.block, self.depth))

    @contextmanager
    def inside(self, form: str, *args: Value) -> Iterator[None]:
        """What is recorded meanwhile stands inside of this line, a loop or a condition."""
        self.line(form, *args)
        before = self.block
        self.blocks += 1
        self.block = self.blocks
        self.depth += 1
        yield
        self.depth -= 1
        self.block = before

    def name(self, wanted: str) -> str:
        """A name that nothing else has."""
        number = self.taken.get(wanted, 0)
        self.taken[wanted] = number + 1
        return f"{wanted}{number}" if number else wanted

    def variable(self, name: str, start: Value) -> Value:
        """A variable that begins as a value, for lines to change."""
        found = Value(self.name(name), reads=True, atom=True)
        self.line("{0} = {1}", found, start)
        return found

    @property
    def operations(self) -> int:
        """How many values are computed."""
        return sum(isinstance(item, Value) for item in self.items)

    # ---- writing

    def text(self) -> str:
        """The lines."""
        users = _users(self.items)
        inlined = _inlined(self.items, users)
        shown: dict[Value, _Text] = {}
        names = (f"t{number}" for number in range(len(self.items)))
        lines = []

        def written(item: Item) -> str:
            return item.form.format(*(shown.get(a) or _Text(a.form) for a in item.args))

        for item in self.items:
            if isinstance(item, Line):
                bare_args = (_Text(bare(shown.get(a) or a.form)) for a in item.args)
                lines.append(INDENT * item.depth + item.form.format(*bare_args))
            elif users[item]:
                text = written(item)
                widest = WIDEST_ALONE if isinstance(users[item][0], Line) else WIDEST
                if item in inlined and len(text) <= widest:
                    shown[item] = _Text(text)
                else:
                    shown[item] = _Text(next(names))
                    lines.append(f"{INDENT * item.depth}{shown[item]} = {bare(text)}")
        return "\n".join(lines) + "\n"


class _Text(str):
    """A text that a form may ask for without its outer parentheses."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        return bare(self) if spec == "b" else str(self)


def bare(text: str) -> str:
    """An expression without parentheses around the whole of it.

    >>> bare("((a + b) * c)"), bare("(a) + (b)")
    ('(a + b) * c', '(a) + (b)')
    """
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return text[1:-1] if 0 < place == len(text) - 1 else str(text)
    return str(text)


Users = dict[Value, list[Item]]


def _users(items: Sequence[Item]) -> Users:
    """What uses each value, once for every use, in the end for a line."""
    users: Users = {item: [] for item in items if isinstance(item, Value)}
    for item in reversed(items):
        if isinstance(item, Line) or users[item]:
            for arg in item.args:
                if not arg.atom:
                    users[arg].append(item)
    return users


def _inlined(items: Sequence[Item], users: Users) -> set[Value]:
    """The values that may be written where they are used."""
    found: set[Value] = set()
    places: dict[Item, int] = {}  # where each is written
    lines_until = [0]  # how many lines there are before each place
    for item in items:
        lines_until.append(lines_until[-1] + isinstance(item, Line))
    for place, item in reversed(list(enumerate(items))):
        places[item] = place
        if isinstance(item, Line) or item.bound or len(users[item]) != 1:
            continue
        (user,) = users[item]
        between = lines_until[places[user]] - lines_until[place]
        if user.block == item.block and not (item.reads and between):
            found.add(item)
            places[item] = places[user]
    return found
