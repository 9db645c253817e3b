"""Stages to Python: the loops of a nest or a product as text that runs uncompiled, under `pdb`.

In: one `Nest` or `Product`.  Out: the source of `def NAME(start, stop, p0, p1, ...)`, whose
operands are 1-d NumPy arrays of their dtypes.  Every value is a NumPy scalar of its step's dtype,
so results equal those of compiled code to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from gradloom.ir.affine import Affine, Guard, linear
from gradloom.ir.op import OPS
from gradloom.plan.loops import arguments, depends
from gradloom.plan.plan import (
    Apply,
    Constant,
    Fold,
    Inside,
    Load,
    Nest,
    Pick,
    Position,
    Product,
    Step,
    Store,
)
from gradloom.plan.rows import Pass, is_wide, passes, phases

COMMENT_COLUMN = 60
AXES, BATCH_AXES = "ijklmn", "ijl"
# Spellings that begin so give Python's numbers, not NumPy's.
PYTHON_RESULTS = ("math.", "(not ", "OPS[")

PREAMBLE = '''\
import math

import numpy as np

from gradloom.ir.op import OPS


def pick(value, size):
    """A run-time index as Python means it: a negative one counts from the end."""
    index = int(value)
    if not -size <= index < size:
        raise IndexError(f"index {index} is out of range for an axis of size {size}")
    return index % size
'''


def preamble() -> str:
    """What a module of stages begins with: the imports, and `pick`, which checks an index."""
    return PREAMBLE


def stage_text(
    code: Nest | Product, comments: Mapping[int, str] | None = None, names: Sequence[str] = ()
) -> str:
    """The source of one stage as a function over `range(start, stop)` of its outermost axis.

    `comments` gives a remark (the user's line) for a step's number; `names` replaces p0, p1, ...
    Raises IndexError, when the text runs, for a run-time index that is out of range.

    >>> print(stage_text(Product("product", "float32", (), 8, 4, (2,), (2, 1), (4, 1), (4, 1))))
    def product(start, stop, a, b, c):
        for m in range(start, stop):
            for n in range(4):
                total = np.float32(0.0)
                for k in range(2):
                    total = total + a[2 * m + k] * b[4 * k + n]
                c[4 * m + n] = total
    """
    if isinstance(code, Product):
        others = (f"fetched_{n}" for n in range(code.fetched))
        return _product_text(code, names or ("a", "b", "c", *others))
    return _NestText(code, comments or {}, names).text()


# ---- pieces of text


def literal(value: object, dtype: str) -> str:
    """A number as an expression of exactly its dtype and value.

    >>> literal(0.1, "float32"), literal(-np.inf, "float64"), literal(1, "bool")
    ('np.float32(0.1)', 'np.float64(-np.inf)', 'np.True_')
    """
    number = np.asarray(value).astype(dtype)[()]
    if dtype == "bool":
        return "np.True_" if number else "np.False_"
    if number.dtype.kind == "f" and not np.isfinite(number):
        return f"np.{dtype}({str(number).replace('inf', 'np.inf').replace('nan', 'np.nan')})"
    shown = str(number)
    if number.dtype.kind == "f" and number.dtype.type(float(shown)) != number:
        shown = repr(float(number))  # the shortest float32 text may round twice by way of float64
    return f"np.{dtype}({shown})"


def affine_text(at: Affine, axes: Sequence[str], picks: Sequence[str] = ()) -> str:
    """An index expression as Python writes it; `picks` are terms that are already text.

    >>> affine_text(Affine(-1, ((0, 128), (1, 1))), "ij")
    '128 * i + j - 1'
    """
    terms = [("+", text) for text in picks]
    for axis, factor in at.terms:
        name = axes[axis] if abs(factor) == 1 else f"{abs(factor)} * {axes[axis]}"
        terms.append(("-" if factor < 0 else "+", name))
    if at.const or not terms:
        constant = ("-" if at.const < 0 else "+", str(abs(at.const)))
        leads = bool(terms) and terms[0][0] == "-" and at.const > 0
        terms.insert(0 if leads else len(terms), constant)
    (sign, first), *rest = terms
    return ("-" if sign == "-" else "") + first + "".join(f" {s} {text}" for s, text in rest)


def guard_text(guard: Guard, sizes: Sequence[int], axes: Sequence[str]) -> str:
    """The condition of a guard, without what holds for all indices in range of `sizes`."""
    moving = Affine(0, guard.at.terms)
    low, high = guard.low - guard.at.const, guard.high - guard.at.const
    ends = [sorted((0, factor * (sizes[axis] - 1))) for axis, factor in moving.terms]
    least, most = sum(low for low, _ in ends), sum(high for _, high in ends)
    text = affine_text(moving, axes)
    if least >= low:
        return "" if most < high else f"{text} < {high}"
    return f"{text} >= {low}" if most < high else f"{low} <= {text} < {high}"


def _bare(text: str) -> str:
    """An expression without parentheses around the whole of it."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return text[1:-1] if 0 < place == len(text) - 1 else text
    return text


def _apart(names: Sequence[str], taken: set[str]) -> list[str]:
    """The names, with underscores where they would meet each other or those of the text."""
    taken = taken | {"start", "stop", "np", "math", "pick", "range", "OPS"}
    found: list[str] = []
    for name in names:
        while name in taken:
            name += "_"
        taken.add(name)
        found.append(name)
    return found


@dataclass
class _Lines:
    """Text under construction, at some depth of loops."""

    out: list[str] = field(default_factory=list)
    depth: int = 0

    def text(self) -> str:
        return "\n".join(self.out) + "\n"

    def open(self, line: str) -> None:
        """A line that what follows stands in."""
        self.add(line)
        self.depth += 1

    def add(self, line: str, remarks: Sequence[str] = ()) -> None:
        line = "    " * self.depth + line
        remark = ", ".join(dict.fromkeys(remarks))
        self.out.append(f"{line:<{COMMENT_COLUMN}}  # {remark}" if remark else line)


# ---- nests


@dataclass
class _NestText:
    """The state of writing one nest.

    A step stands at the level of the innermost axis that it depends on: level n is inside of n
    loops.  Its phase is the number of passes over the folded axes that must be finished before it.
    """

    nest: Nest
    comments: Mapping[int, str]
    given: Sequence[str]
    lines: _Lines = field(default_factory=_Lines)
    uses: dict[int, list[tuple[Step | Store, int]]] = field(default_factory=dict)  # and levels
    variables: dict[int, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)  # of the line being written

    def __post_init__(self) -> None:
        nest = self.nest
        self.kept = len(nest.sizes) - nest.reduced
        self.axes = [*AXES, *(f"i{n}" for n in range(len(AXES), len(nest.sizes)))]
        parts = [p for p in (*nest.steps, *nest.stores) if isinstance(p, Load | Store)]
        count = max((p.operand + 1 for p in parts), default=0)
        names = [*self.given, *(f"p{n}" for n in range(len(self.given), count))]
        self.operands = _apart(names, {*self.axes, *(f"t{n}" for n in range(len(nest.steps)))})
        self.levels = [max(axes, default=-1) + 1 for axes in depends(nest)]
        self.phases = phases(nest)
        self.passes = passes(nest)
        self.folded = {n for one in self.passes for n in one.folds}
        axes = depends(nest)
        self.wide = [is_wide(nest, store, axes) for store in nest.stores]
        for store, wide in zip(nest.stores, self.wide, strict=True):
            self._use(store, len(nest.sizes) if wide else self.kept)
        for number in reversed(range(len(nest.steps))):
            if number in self.uses:
                folds = isinstance(nest.steps[number], Fold)
                self._use(nest.steps[number], len(nest.sizes) if folds else self.levels[number])

    def _use(self, user: Step | Store, level: int) -> None:
        for number in arguments(user):
            self.uses.setdefault(number, []).append((user, level))

    # ---- the loops

    def text(self) -> str:
        parameters = ", ".join(["start", "stop", *self.operands])
        self.lines.open(f"def {self.nest.name}({parameters}):")
        if 0 in self.nest.sizes[: self.kept]:
            self.lines.add("return")  # nothing to store, and nothing that may be read
            return self.lines.text()
        for level in range(self.kept + 1):
            if level:
                bounds = self.nest.sizes[level - 1] if level > 1 else "start, stop"
                self.lines.open(f"for {self.axes[level - 1]} in range({bounds}):")
            for number in sorted(self.uses):
                if self.levels[number] == level and self.phases[number] == 0:
                    self._assign(number)
        for number, one in enumerate(self.passes):
            self._pass(one)
            self._assign_after(number)
        for store, wide in zip(self.nest.stores, self.wide, strict=True):
            if not wide:
                self._store(store)
        return self.lines.text()

    def _assign_after(self, number: int) -> None:
        """The numbers of a row that are known once a pass over it is done."""
        for step in sorted(set(self.uses) - self.folded):
            if self.levels[step] <= self.kept and self.phases[step] == number + 1:
                self._assign(step)

    def _pass(self, one: Pass) -> None:
        """The reduced loops, once for all folds that can run together."""
        steps = [(number, self._fold(number)) for number in one.folds if number in self.uses]
        for number, step in steps:
            identity = OPS[step.op].identity
            assert identity is not None, step
            total = self.variables.setdefault(number, f"t{len(self.variables)}")
            self.lines.add(f"{total} = {literal(identity(step.dtype), step.dtype)}")
        outside = self.lines.depth
        for axis in range(self.kept, len(self.nest.sizes)):
            self.lines.open(f"for {self.axes[axis]} in range({self.nest.sizes[axis]}):")
            for number in one.steps:
                if self.levels[number] == axis + 1:
                    self._assign(number)
        for number, step in steps:
            self.remarks = [self.comments[number]] if number in self.comments else []
            total = self.variables[number]
            text = OPS[step.op].spelling.format(total, self._value(step.arg))
            self.lines.add(f"{total} = {_bare(text)}", self.remarks)
        for store in one.stores:
            self._store(store)
        self.lines.depth = outside

    def _fold(self, number: int) -> Fold:
        step = self.nest.steps[number]
        assert isinstance(step, Fold)
        return step

    # ---- lines

    def _assign(self, number: int) -> None:
        """A line for a step, unless it is written where it is used."""
        if not self._inlined(number):
            self.remarks = []
            text = _bare(self._expression(number))
            name = self.variables.setdefault(number, f"t{len(self.variables)}")
            self.lines.add(f"{name} = {text}", self.remarks)

    def _store(self, store: Store) -> None:
        self.remarks = []
        text = _bare(self._value(store.step))
        place = self._element(store)
        spelling = OPS[store.accumulate].spelling if store.accumulate else "{1}"
        added = spelling == "({0} + {1})"
        made = f"+= {text}" if added else f"= {_bare(spelling.format(place, text))}"
        self.lines.add(f"{place} {made}", self.remarks)

    def _inlined(self, number: int) -> bool:
        """Whether a step is written within the only line that uses it.

        With several stores a value must be read before the first of them, which may overwrite it.
        """
        step = self.nest.steps[number]
        if isinstance(step, Constant):
            return True
        (user, level), *others = self.uses[number]
        if others or level != self.levels[number]:
            return False
        if isinstance(user, Store) and len(self.nest.stores) > 1:
            return False
        plain = isinstance(step, Load) and not step.guards
        return plain or isinstance(step, Position) or not isinstance(user, Apply | Load)

    # ---- expressions

    def _value(self, number: int) -> str:
        """A step as an operand: its name, or its text where it is inlined."""
        return self.variables.get(number) or self._expression(number)

    def _expression(self, number: int) -> str:
        """The text of a step; in parentheses unless it binds as closely as a name."""
        step = self.nest.steps[number]
        if number in self.comments:
            self.remarks.append(self.comments[number])
        match step:
            case Load():
                return self._guarded(self._element(step), step.guards, step.dtype)
            case Constant():
                return literal(np.frombuffer(step.value, step.dtype)[0], step.dtype)
            case Position():
                return self._position(step)
            case Apply():
                return self._applied(step)
            case Inside():
                return self._inside(step)
            case Fold():  # of no axes
                return self._value(step.arg)

    def _position(self, step: Position) -> str:
        text = affine_text(step.at, self.axes)
        if step.dtype.startswith("u"):  # outside of a guard it may be negative
            return f"np.int64({text}).astype(np.{step.dtype})"
        return f"np.{step.dtype}({text})"

    def _applied(self, step: Apply) -> str:
        spelling = OPS[step.op].spelling
        text = spelling.format(*(self._value(a) for a in step.args), dtype=step.dtype)
        return f"np.{step.dtype}({_bare(text)})" if spelling.startswith(PYTHON_RESULTS) else text

    def _inside(self, step: Inside) -> str:
        arg = self.nest.steps[step.arg]
        text = self._value(step.arg)
        if isinstance(arg, Load) and set(step.guards) <= set(arg.guards):
            return text  # which is zero there already
        return self._guarded(text, step.guards, step.dtype)

    def _guarded(self, text: str, guards: Sequence[Guard], dtype: str) -> str:
        found = (guard_text(guard, self.nest.sizes, self.axes) for guard in dict.fromkeys(guards))
        condition = " and ".join(c for c in found if c)
        return f"({text} if {condition} else {literal(0, dtype)})" if condition else text

    def _element(self, part: Load | Store) -> str:
        picks = [self._pick(pick) for pick in part.picks if pick.stride]
        return f"{self.operands[part.operand]}[{affine_text(part.at, self.axes, picks)}]"

    def _pick(self, pick: Pick) -> str:
        text = f"pick({_bare(self._value(pick.step))}, {pick.size})"
        return text if pick.stride == 1 else f"{pick.stride} * {text}"


# ---- products


def _product_text(product: Product, names: Sequence[str]) -> str:
    """The plain loops of a matrix product."""
    count = len(product.batch)
    batch = [*BATCH_AXES, *(f"i{n}" for n in range(len(BATCH_AXES), count))][:count]
    depth = [f"k{n}" for n in range(len(product.depth))] if len(product.depth) > 1 else ["k"]
    axes = [*batch, "m", *depth, "n"]
    a, b, c, *others = _apart(names, {*axes, "total"})

    def place(strides: Sequence[int], inner: Sequence[str], before: int = 0) -> str:
        index = tuple(Affine.axis(axes.index(name)) for name in (*batch, *inner))
        return affine_text(linear(index, tuple(strides)) + before, axes)

    at_b = place(product.b_strides, [*depth, "n"], product.before[1])
    text = _Lines()
    text.open(f"def {product.name}({', '.join(['start', 'stop', a, b, c, *others])}):")
    if others:
        text.add(f"# {', '.join(others)}: fetched into a cache meanwhile")
    bounds = ["start, stop", *product.batch[1:], *([product.rows] if batch else [])]
    for axis, bound in zip((*batch, "m", "n"), (*bounds, product.columns), strict=True):
        text.open(f"for {axis} in range({bound}):")
    text.add(f"total = {literal(0, product.dtype)}")
    for number, (axis, size) in enumerate(zip(depth, product.depth, strict=True)):
        text.open(f"for {axis} in range({_limited(product, number, size, batch)}):")
    at_a = place(product.a_strides, ["m", *depth], product.before[0])
    text.add(f"total = total + {a}[{at_a}] * {b}[{at_b}]")
    text.depth -= len(depth)
    text.add(f"{c}[{place(product.c_strides, 'mn')}] = total")
    return text.text()


def _limited(product: Product, axis: int, size: int, batch: Sequence[str]) -> str:
    """The bounds of an axis of depth, as the arguments of `range`."""
    lows, highs = ["0"], [str(size)]
    for limit in product.limits:
        if limit.axis == axis:
            for ends, at in ((lows, limit.low), (highs, limit.high)):
                text = affine_text(at, batch)
                ends.append(text if limit.step == 1 else f"-(-({text}) // {limit.step})")
    if len(lows) == 1:
        return str(size)
    return f"max({', '.join(lows)}), min({', '.join(highs)})"
