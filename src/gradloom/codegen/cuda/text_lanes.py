"""The lane algebra as Python text for a CUDA compiler: operators on a lane write expressions.

In: the scalar functions that `gradloom.codegen.lanes` makes LLVM of.  Out: text that means the same
to Numba, where integers of different types meet in wider ones: so every number has its type, and
what is narrower than 64 bits is brought back to it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gradloom.codegen import text
from gradloom.codegen.cuda.text_body import Body, Value
from gradloom.codegen.lanes import BITS, FLOAT_OF, FLOATS, SIGNED
from gradloom.codegen.lanes import literal as wrapped
from gradloom.ir.types import UNSIGNED

WIDE = ("int64", "uint64", *FLOATS)  # types in which Numba computes
BITS_OF = {"float32": "float_as_int", "float64": "double_as_longlong"}
FROM_BITS = {"int32": "int_as_float", "int64": "longlong_as_double"}
ROUNDED = {"float32": "cuda.libdevice.rintf", "float64": "cuda.libdevice.rint"}


def literal(value: object, dtype: str) -> str:
    """A number as an expression of exactly its type.

    >>> literal(0.1, "float32"), literal(float("-inf"), "float64"), literal(1, "bool")
    ('float32(0.1)', 'float64(-math.inf)', 'True')
    """
    if dtype == "bool":
        return str(bool(value))
    found = text.literal(value, dtype)
    return found.replace("np.inf", "math.inf").replace("np.nan", "math.nan").removeprefix("np.")


@dataclass
class Functions:
    """The functions that a text defines beside its kernels: by name, those called first, first."""

    texts: dict[str, str] = field(default_factory=dict)
    results: dict[str, list[str]] = field(default_factory=dict)  # their types

    def define(
        self, name: str, parameters: Sequence[tuple[str, str]], make: Callable[..., Any], doc: str
    ) -> list[str]:
        """Define `name` as `make` of lanes, or of several, unless it is; its results' types.

        `parameters` are names with types.
        """
        if name not in self.texts:
            body = Body(taken={own: 1 for own, _ in parameters})
            writer = Writer(body, self)
            made = make(*(writer.named(own, dtype) for own, dtype in parameters))
            lanes = made if isinstance(made, tuple) else (made,)
            body.line(f"return {', '.join(f'{{{n}}}' for n in range(len(lanes)))}", *_values(lanes))
            names = ", ".join(own for own, _ in parameters)
            head = f'def {name}({names}):\n    """{doc}"""\n'
            self.texts[name] = head + body.text()
            self.results[name] = [lane.dtype for lane in lanes]
        return self.results[name]


@dataclass(frozen=True)
class Writer:
    """What lanes write to: the body of a function, and the functions that it may call."""

    body: Body
    functions: Functions

    def lane(self, dtype: str, form: str, *lanes: TextLane, **how: bool) -> TextLane:
        """Something computed."""
        return TextLane(self, self.body.value(form, *_values(lanes), **how), dtype)

    def named(self, name: str, dtype: str) -> TextLane:
        """What has a name that stays what it is."""
        return TextLane(self, Value(name, atom=True), dtype)

    def constant(self, dtype: str, number: float) -> TextLane:
        """A number, wrapped to its type."""
        return self.named(literal(wrapped(dtype, number), dtype), dtype)

    def variable(self, name: str, start: TextLane) -> TextLane:
        """A variable that begins as `start`."""
        return TextLane(self, self.body.variable(name, start.value), start.dtype)

    def assign(self, targets: Sequence[TextLane], lanes: Sequence[TextLane]) -> None:
        """Change variables, all at once."""
        count = len(targets)
        form = f"{_slots(0, count)} = {_slots(count, 2 * count)}"
        self.body.line(form, *_values(targets), *_values(lanes))

    def called(
        self,
        name: str,
        make: Callable[..., Any],
        lanes: Sequence[TextLane],
        doc: str,
        **how: bool,
    ) -> TextLane:
        """The result of a function, which is `make`'s."""
        names = [(letter, lane.dtype) for letter, lane in zip("xyzuvw", lanes, strict=False)]
        (dtype,) = self.functions.define(name, names, make, doc)
        slots = ", ".join(f"{{{n}:b}}" for n in range(len(lanes)))
        return self.lane(dtype, f"{name}({slots})", *lanes, **how)


def _slots(start: int, stop: int) -> str:
    return ", ".join(f"{{{n}}}" for n in range(start, stop))


def _values(lanes: Sequence[TextLane]) -> list[Value]:
    return [lane.value for lane in lanes]


class TextLane:
    """A number in a Python text; see `gradloom.codegen.lanes.LlvmLane` for the meaning.

    >>> body = Body()
    >>> x = Writer(body, Functions()).named("x", "int32")
    >>> body.line("return {0}", (x * 2 + 1).value)
    >>> print(body.text())
        return int32(int32(x * int32(2)) + int32(1))
    """

    __hash__ = None  # type: ignore[assignment]
    __slots__ = ("dtype", "value", "writer")
    width = None
    scales = False

    def __init__(self, writer: Writer, value: Value, dtype: str) -> None:
        self.writer, self.value, self.dtype = writer, value, dtype

    @property
    def is_float(self) -> bool:
        return self.dtype in FLOATS

    @property
    def is_unsigned(self) -> bool:
        return self.dtype in UNSIGNED

    # ---- operands

    def like(self, number: float) -> TextLane:
        """A constant of this lane's dtype."""
        return self.writer.constant(self.dtype, number)

    def _meet(self, other: Any) -> TextLane:
        lane = other if isinstance(other, TextLane) else self.like(other)
        if lane.dtype != self.dtype:
            raise TypeError(f"lanes of dtypes {self.dtype}, {lane.dtype}")
        return lane

    def _made(self, form: str, *others: TextLane) -> TextLane:
        """Something computed in a wide type and brought back to this lane's."""
        if self.dtype not in WIDE:
            form = f"{self.dtype}({form.removeprefix('(').removesuffix(')')})"
        return self.writer.lane(self.dtype, form, self, *others)

    def _called(self, name: str, *others: TextLane) -> TextLane:
        slots = ", ".join(f"{{{n}:b}}" for n in range(1 + len(others)))
        return self.writer.lane(self.dtype, f"{name}({slots})", self, *others)

    # ---- arithmetic

    def __add__(self, other: Any) -> TextLane:
        return self._made("({0} + {1})", self._meet(other))

    __radd__ = __add__

    def __sub__(self, other: Any) -> TextLane:
        return self._made("({0} - {1})", self._meet(other))

    def __rsub__(self, other: Any) -> TextLane:
        return self.like(other) - self

    def __mul__(self, other: Any) -> TextLane:
        return self._made("({0} * {1})", self._meet(other))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> TextLane:
        if not self.is_float:
            raise TypeError(f"true division of {self.dtype} lanes; cast them to a float first")
        return self._made("({0} / {1})", self._meet(other))

    def __rtruediv__(self, other: Any) -> TextLane:
        return self.like(other) / self

    def __neg__(self) -> TextLane:
        return self._made("(-{0})") if self.is_float else self.like(0) - self

    def fma(self, factor: Any, term: Any) -> TextLane:
        """self * factor + term, rounded once."""
        if not self.is_float:
            return self * factor + term
        return self._called("cuda.fma", self._meet(factor), self._meet(term))

    def __floordiv__(self, other: Any) -> TextLane:
        return self._divide("//", other)

    def __rfloordiv__(self, other: Any) -> TextLane:
        return self.like(other) // self

    def __mod__(self, other: Any) -> TextLane:
        return self._divide("%", other)

    def __rmod__(self, other: Any) -> TextLane:
        return self.like(other) % self

    def _divide(self, sign: str, other: Any) -> TextLane:
        """Integer quotient or remainder, rounded down; 0 where `other` is 0."""
        if self.is_float or self.dtype == "bool":
            raise TypeError(f"{sign} of {self.dtype} lanes")
        divisor = self._meet(other)
        form = f"({{0}} {sign} {{1}})"
        if not isinstance(other, TextLane) and other not in (0, -1):
            return self._made(form, divisor)
        zero = divisor == 0
        unsafe = zero
        if self.dtype == "int64":  # dividing by 1 gives what dividing by -1 wraps to
            unsafe = zero | ((self == -(1 << 63)) & (divisor == -1))
        return zero.where(0, self._made(form, unsafe.where(1, divisor)))

    # ---- bits

    def __and__(self, other: Any) -> TextLane:
        return self._bitwise("&", "and", other)

    def __or__(self, other: Any) -> TextLane:
        return self._bitwise("|", "or", other)

    def __xor__(self, other: Any) -> TextLane:
        return self._bitwise("^", "!=", other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def _bitwise(self, sign: str, word: str, other: Any) -> TextLane:
        if self.dtype == "bool":
            return self.writer.lane("bool", f"({{0}} {word} {{1}})", self, self._meet(other))
        return self._made(f"({{0}} {sign} {{1}})", self._meet(other))

    def __invert__(self) -> TextLane:
        if self.dtype == "bool":
            return self.writer.lane("bool", "(not {0})", self)
        return self ^ -1

    def __lshift__(self, other: Any) -> TextLane:
        return self._shift("<<", other, self.like(0))

    def __rshift__(self, other: Any) -> TextLane:
        if self.is_unsigned or self._is_count(other):
            return self._shift(">>", other, self.like(0))
        return self._shift(">>", other, (self < 0).where(-1, self * 0))

    def __rlshift__(self, other: Any) -> TextLane:
        return self.like(other) << self

    def __rrshift__(self, other: Any) -> TextLane:
        return self.like(other) >> self

    def _is_count(self, other: Any) -> bool:
        return not isinstance(other, TextLane) and 0 <= other < BITS[self.dtype]

    def _shift(self, sign: str, other: Any, beyond: TextLane) -> TextLane:
        """The shift; `beyond` where the count is negative, or that of the bits and more."""
        count = self._meet(other)
        form = f"({{0}} {sign} {{1}})"
        if self._is_count(other):
            return self._made(form, count)
        inside = (count >= 0) & (count < BITS[self.dtype])
        return inside.where(self._made(form, inside.where(count, 0)), beyond)

    # ---- comparisons and choice

    def _compare(self, sign: str, other: Any) -> TextLane:
        return self.writer.lane("bool", f"({{0}} {sign} {{1}})", self, self._meet(other))

    def __lt__(self, other: Any) -> TextLane:
        return self._compare("<", other)

    def __le__(self, other: Any) -> TextLane:
        return self._compare("<=", other)

    def __gt__(self, other: Any) -> TextLane:
        return self._compare(">", other)

    def __ge__(self, other: Any) -> TextLane:
        return self._compare(">=", other)

    def __eq__(self, other: object) -> TextLane:  # type: ignore[override]
        return self._compare("==", other)

    def __ne__(self, other: object) -> TextLane:  # type: ignore[override]
        return self._compare("!=", other)

    def where(self, yes: Any, no: Any) -> TextLane:
        """`yes` where this bool lane is true, else `no`; at least one of them is a lane."""
        if self.dtype != "bool":
            raise TypeError(f"where on a {self.dtype} lane; compare it first")
        like = yes if isinstance(yes, TextLane) else no
        yes, no = like._meet(yes), like._meet(no)
        return self.writer.lane(like.dtype, "({1} if {0} else {2})", self, yes, no)

    def seldom(
        self, slow: Callable[..., Any], given: Sequence[TextLane], fast: Sequence[TextLane]
    ) -> list[TextLane]:
        """Lanes `slow(*given)` where this bool lane is true, else `fast`."""
        writer = self.writer
        name = f"{slow.__name__.strip('_')}_{given[0].dtype}"
        names = [(letter, lane.dtype) for letter, lane in zip("xyzuvw", given, strict=False)]
        doc = (slow.__doc__ or "What is seldom needed.").partition("\n")[0]
        writer.functions.define(name, names, slow, doc)
        found = [writer.variable("r", lane) for lane in fast]
        with writer.body.inside("if {0}:", self.value):
            count = len(found)
            call = f"{_slots(0, count)} = {name}({_slots(count, count + len(given))})"
            writer.body.line(call, *_values(found), *_values(given))
        return found

    def repeat(
        self,
        others: Sequence[TextLane],
        limit: int,
        step: Callable[..., Any],
        going: Callable[..., TextLane],
    ) -> tuple[TextLane, ...]:
        """This lane and `others` after at most `limit` times `step`, while `going(*state)`."""
        writer = self.writer
        state = tuple(writer.variable("s", lane) for lane in (self, *others))
        with writer.body.inside(f"for _ in range({limit}):"):
            with writer.body.inside("if not ({0}):", going(*state).value):
                writer.body.line("break")
            writer.assign(state, step(*state))
        return state

    def maximum(self, other: Any) -> TextLane:
        """The larger; NaN where either is NaN."""
        return self._extreme(other, operator.gt)

    def minimum(self, other: Any) -> TextLane:
        """The smaller; NaN where either is NaN."""
        return self._extreme(other, operator.lt)

    def _extreme(self, other: Any, better: Any) -> TextLane:
        if not isinstance(other, TextLane) and other == other:
            bound = self.like(other)
            return better(bound, self).where(bound, self)  # keeps a NaN
        own = better(self, other)
        return ((own | (self != self)) if self.is_float else own).where(self, other)

    # ---- functions that GPUs have

    def sqrt(self) -> TextLane:
        return self._called("math.sqrt")

    def abs(self) -> TextLane:
        if self.is_float:
            return self._called("math.fabs")
        return self if self.dtype == "bool" or self.is_unsigned else (self < 0).where(-self, self)

    def copysign(self, other: Any) -> TextLane:
        return self._called("math.copysign", self._meet(other))

    def floor(self) -> TextLane:
        return self._called("math.floor") if self.is_float else self

    def ceil(self) -> TextLane:
        return self._called("math.ceil") if self.is_float else self

    def trunc(self) -> TextLane:
        return self._called("math.trunc") if self.is_float else self

    def rint(self) -> TextLane:
        return self._called(ROUNDED[self.dtype]) if self.is_float else self

    def inverse_estimate(self) -> TextLane:
        """1 / self: all of its digits."""
        return 1.0 / self

    # ---- conversions

    def bits(self) -> TextLane:
        """The bit pattern: float32 to int32, float64 to int64."""
        form = f"cuda.libdevice.{BITS_OF[self.dtype]}({{0:b}})"
        return self.writer.lane(SIGNED[self.dtype], form, self)

    def from_bits(self) -> TextLane:
        """The float of this bit pattern: int32 to float32, int64 to float64."""
        form = f"cuda.libdevice.{FROM_BITS[self.dtype]}({{0:b}})"
        return self.writer.lane(FLOAT_OF[self.dtype], form, self)

    def cast(self, dtype: str) -> TextLane:
        """As `ndarray.astype`; a float beyond an integer dtype saturates, and NaN becomes 0."""
        if dtype == self.dtype:
            return self
        if dtype == "bool":
            return self != 0
        if self.is_float and dtype not in FLOATS:
            return self._saturated(dtype)
        return self.writer.lane(dtype, f"{dtype}({{0:b}})", self)

    def _saturated(self, dtype: str) -> TextLane:
        unsigned = dtype in UNSIGNED
        bits = BITS[dtype] if unsigned else BITS[dtype] - 1
        low, high = (0, 2**bits) if unsigned else (-(2**bits), 2**bits)
        raised = self.maximum(float(low))
        inside = raised < float(high)
        whole = self.writer.lane(dtype, f"{dtype}({{0:b}})", inside.where(raised, 0))
        return inside.where(whole, (self != self).where(0, whole.like(high - 1)))
