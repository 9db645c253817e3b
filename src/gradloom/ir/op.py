"""The operator table's row.  After `ops/`, code asks for its kind or a fact, never its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from gradloom.errors import InternalError
from gradloom.ir.table import Table
from gradloom.ir.types import TensorType


class Kind(Enum):
    """Planning and code generation are written once a kind, never once an operator."""

    SOURCE = auto()  # a value from outside, a constant, or an index along an axis
    ELEMENTWISE = auto()  # out[i] depends on x[i], with NumPy's broadcasting
    REDUCE = auto()  # folds some axes with an associative combination
    MOVE = auto()  # out[i] is x[affine(i)], or zero outside of x
    JOIN = auto()  # pieces laid side by side along an axis
    CONTRACT = auto()  # the product of two operands, summed over shared labels
    GATHER = auto()  # out[i] is x[indices[i]]
    SCATTER = auto()  # neutral elements, with updates[i] combined into those at indices[i]
    CONTROL = auto()  # a loop or a branch over graphs, which its attributes hold
    CALL = auto()  # a graph with a rule of its own; in its place once differentiation is over
    ROUTINE = auto()  # sequential code over whole arrays: sorting, factorisations, transforms
    ITEM = auto()  # one of the results of an operation that has several


@dataclass(frozen=True, slots=True, eq=False)
class Op:
    """One operator: its type, meaning, derivative, spelling and facts.

    `vjp(g, out, *inputs, **attrs)` returns one cotangent (or None) an input; it is written with
    public operations and never undoes broadcasting: `autodiff.reverse` does.  Of a row with several
    results, `g` and `out` are tuples, and a cotangent may be None.

    Where a kind does not give them: `jvp(tangents, out, *inputs, **attrs)` returns the tangent (of
    several results a tuple) for those of the inputs, None where an input has none; `batch(size,
    batched, *inputs, **attrs)` returns the result for inputs of which those that are `batched`
    have a leading axis of `size`, and so has the result (of several results: each).

    `planar(*operands, **attrs)` is the row's meaning for complex operands, as `passes.planar` gives
    them: each a pair of its real and imaginary parts, or a value if the operand is real.  It
    returns a pair if the result is complex.  Rows that only put elements elsewhere do so with both
    parts.  A ROUTINE is given, and gives, both parts in one value, on a last axis of two.
    """

    name: str
    kind: Kind
    infer: Callable[..., TensorType]  # (*types, **attrs) -> type of the result
    reference: Callable[..., Any]  # (*arrays, **attrs) -> array; the meaning, in NumPy
    vjp: Callable[..., tuple[Any, ...]] | None = None  # None: has no derivative
    spelling: str = ""  # a Python scalar expression over {0}, {1}, ...
    lanes: Callable[..., Any] | None = None  # the same over SIMD lanes
    accepts: str = "number"  # float, number, integer, whole (no bool), bool, any: promotion's end
    returns: str = "same"  # "same" as the promoted inputs, the "real" dtype of their parts, or one
    operands: int = 1
    casts: bool = False  # its lanes and spelling take the dtype of the result
    flags: int = 0  # how many leading operands are conditions, apart from promotion
    on_bool: str | None = None  # the row that NumPy means by this one when all operands are bool
    unit: float | None = None  # op(x, unit) is x, to the bit
    commutative: bool = False
    anticommutative: bool = False  # op(y, x) is -op(x, y), to the bit
    negates: str = ""  # the result is negated with "each" operand, the "first", or "all" together
    constant: tuple[int, ...] = ()  # operands by which `vjp` has no derivative, and says NaN
    identity: Callable[[str], Any] | None = None  # REDUCE: the neutral element, by dtype
    flow: str = ""  # CONTROL: "for", "while" or "branch"
    factors: tuple[str, str] = ("", "")  # CONTRACT: its product's row and its sum's; SCATTER: 2nd
    spreads: bool = False  # MOVE: every element of the result is one of x, so constants pass
    marker: bool = False  # the identity function, kept only until differentiation is over
    apart: bool = False  # MOVE: the identity, but what is computed of it is computed once more
    cost: int = 1  # in additions; measured by benchmarks/lane_costs.py
    access: Callable[..., Any] | None = None  # MOVE: (index, type of x, **attrs) -> where x is read
    domain: tuple[tuple[float, float], ...] = ((-2.0, 2.0),)  # where tests sample each operand
    instead: str = ""  # what to do where it has no `vjp`
    jvp: Callable[..., Any] | None = None  # None: the kind's, or the transpose of `vjp`
    batch: Callable[..., Any] | None = None  # None: the kind's
    linear: bool = False  # in all floating operands together, so the tangent is op(*tangents)
    routine: Callable[..., Any] | None = None  # ROUTINE: (*types, **attrs) -> `ir.routine.Code`
    blocks: Callable[..., Any] | None = None  # ROUTINE: the same by smaller ones; None: is small
    planar: Callable[..., Any] | None = None  # on pairs (re, im); None: the kind's, or no meaning
    samples: Callable[..., Any] | None = None  # (rng, dtype) -> [(arrays, attrs), ...] for tests
    doc: str = field(default="")

    @property
    def takes_complex(self) -> bool:
        """Whether complex operands have a meaning."""
        by_parts = self.kind in BY_PARTS and (self.kind is not Kind.SCATTER or self.linear)
        return self.planar is not None or by_parts


# Kinds that do to the real and imaginary parts what they do to numbers.
BY_PARTS = (
    *(Kind.MOVE, Kind.JOIN, Kind.GATHER, Kind.SCATTER, Kind.ITEM),
    *(Kind.CONTROL, Kind.CALL),
)


OPS: Table[str, Op] = Table()


def define(op: Op) -> Op:
    """Enter a row in the table."""
    if OPS.has(op.name):
        raise InternalError(f"operator {op.name!r} is defined twice")
    OPS[op.name] = op
    return op
