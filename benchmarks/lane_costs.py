"""What operations on lanes, accesses to memory and thin products cost: where the constants of the
planner come from.

Everything works on a few thousand numbers that stay in the first-level cache, many passes a call.
An operator is timed in a sum of many independent applications, so its figure is its throughput.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

import gradloom.numpy  # noqa: F401  fills the table of operators
from benchmarks.kernels import random, stage_call
from benchmarks.report import Report, Section
from benchmarks.rounds import Runner, Spread, repeated, take_turns
from gradloom.codegen.cpu.target import host_target
from gradloom.ir.affine import Affine
from gradloom.ir.op import OPS
from gradloom.plan.plan import ANY, Apply, Constant, Fold, Load, Nest, Product, Step, Store

SIZE = 2048
SHORT = 512  # of accesses, so that a stride of 8 still fits in 32 KB
REPEATS = 200
FEW, MANY = 4, 12  # applications an element; the difference leaves out loads, stores and loops
LEAST, MOST = 2, 6  # the same for accesses

# The operators with a cost other than 1, and some with it; the constants' use is in `Op.cost`.
OPERATORS = (
    *("add", "multiply", "subtract", "negative", "abs", "maximum", "minimum", "floor", "rint"),
    *("sign", "divide", "sqrt", "rsqrt", "floor_divide", "remainder"),
    *("exp", "expm1", "log", "log1p", "power", "sin", "cos", "tanh", "arctan", "erf"),
    *("sigmoid", "softplus"),
)
ELEMENT = Affine.axis(1)


@dataclass(frozen=True)
class Costs:
    """Nanoseconds an element by operator, and the same in additions."""

    nanoseconds: dict[str, Spread]
    additions: dict[str, Spread]


def measure(
    dtype: str = "float32", seconds: float = 25.0, operators: tuple[str, ...] = OPERATORS
) -> Report:
    """The tables of operators, accesses and thin products."""
    lanes = host_target().lanes(dtype)
    costs = operator_costs(dtype, seconds * 0.6, operators)
    memory = access_costs(dtype, seconds * 0.15)
    thin = thin_products(dtype, seconds * 0.15)
    ragged = ragged_rows(dtype, seconds * 0.05)
    short = short_rows(dtype, seconds * 0.05)
    report = Report(
        f"lane_costs-{dtype}",
        f"Costs of lane operations, {dtype}, vectors of {lanes}",
        [
            _operators(costs),
            _accesses(memory, costs),
            _microseconds("Thin products", thin),
            _microseconds("Rows that end in a masked vector", ragged),
            _microseconds("Softmax of short rows", short),
        ],
        [
            "An addition is one of many independent ones in registers; `Op.cost` counts in it.",
            "A multiplication that feeds an addition is one instruction with it, and a change of "
            "sign goes into its neighbour: both cost nothing here.",
            "Operands are in the first-level cache. Medians of interleaved rounds.",
        ],
        {
            "operators": {k: v for k, v in costs.nanoseconds.items() if v.low > 0},
            "accesses": memory,
        },
        "nanoseconds an element",
    )
    report.raw = {
        "nanoseconds": {k: asdict(v) for k, v in (costs.nanoseconds | memory).items()},
        "additions": {k: asdict(v) for k, v in costs.additions.items()},
        "microseconds": {k: asdict(v) for k, v in (thin | ragged | short).items()},
    }
    return report


# ---- operators


def operator_costs(dtype: str, seconds: float, operators: tuple[str, ...]) -> Costs:
    """Costs from the difference between many applications and few, less what surrounds them."""
    operands = [random((SIZE,), dtype), random((SIZE,), dtype), random((SIZE,), dtype)]
    names = ["", *operators]
    calls = {
        (name, count): stage_call(_summed(name, count, dtype), REPEATS, operands)
        for name in names
        for count in (FEW, MANY)
    }
    rounds = _nanoseconds(calls, seconds, SIZE)
    slopes = {
        name: (np.array(rounds[name, MANY]) - rounds[name, FEW]) / (MANY - FEW) for name in names
    }
    addition = float(np.median(slopes[""])) / 2  # a bare term is the shift and the sum
    found = {name: slopes[name] - slopes[""] for name in operators}
    return Costs(
        {name: Spread.of(list(values)) for name, values in found.items()},
        {name: Spread.of(list(values / addition)) for name, values in found.items()},
    )


def _summed(name: str, count: int, dtype: str) -> Nest:
    """y = op(x + c1, z) + op(x + c2, z) + ...; without an operator, its first operand."""
    steps: list[Step] = [Load(0, ELEMENT, dtype), Load(1, ELEMENT, dtype)]
    total = 0
    for i in range(count):
        steps.append(Constant(np.array((i + 1) / 64, dtype).tobytes(), dtype))
        steps.append(Apply("add", (0, len(steps) - 1), dtype))
        if name:
            others = (1,) * (OPS[name].operands - 1)
            steps.append(Apply(name, (len(steps) - 1, *others), dtype))
        steps.append(Apply("add", (total, len(steps) - 1), dtype))
        total = len(steps) - 1
    return _passes(f"sum_{name}_{count}", tuple(steps), 2, total, dtype)


def _passes(
    name: str, steps: tuple[Step, ...], target: int, result: int, dtype: str, size: int = SIZE
) -> Nest:
    """Passes over the same elements; the passes are the outermost axis."""
    return Nest(name, (ANY, size), 0, 1, steps, (Store(target, ELEMENT, result, dtype),))


def _nanoseconds(
    calls: dict[tuple[str, int], Callable[[], None]], seconds: float, size: int
) -> dict[tuple[str, int], list[float]]:
    timing = take_turns({f"{n}/{c}": Runner(call) for (n, c), call in calls.items()}, seconds)
    each = 1e9 / (REPEATS * size)
    return {key: [s * each for s in timing.cpu[f"{key[0]}/{key[1]}"]] for key in calls}


# ---- memory


def access_costs(dtype: str, seconds: float) -> dict[str, Spread]:
    """Loads and stores of cached memory: contiguous, and one number a lane at a stride."""
    lanes = host_target().lanes(dtype)
    operands = [random((8 * (SHORT + MOST * lanes),), dtype), random((MOST * 2 * SHORT,), dtype)]
    nests = {
        "a load": lambda count: _loads(count, 1, lanes, dtype),
        "a load at stride 2": lambda count: _loads(count, 2, lanes, dtype),
        "a load at stride 8": lambda count: _loads(count, 8, lanes, dtype),
        "a store": lambda count: _stores(count, lanes, dtype),
    }
    calls = {
        (name, count): stage_call(nest(count), REPEATS, operands)
        for name, nest in nests.items()
        for count in (LEAST, MOST)
    }
    rounds = _nanoseconds(calls, seconds, SHORT)
    return {
        name: Spread.of(list((np.array(rounds[name, MOST]) - rounds[name, LEAST]) / (MOST - LEAST)))
        for name in nests
    }


def _loads(count: int, stride: int, lanes: int, dtype: str) -> Nest:
    """The sum of `count` vectors, each read at a stride from a vector's distance further on."""
    steps: list[Step] = [
        Load(0, ELEMENT * stride + i * lanes * stride, dtype) for i in range(count)
    ]
    for i in range(1, count):
        steps.append(Apply("add", (i, 0 if i == 1 else len(steps) - 1), dtype))
    return _passes(f"load_{stride}_{count}", tuple(steps), 1, len(steps) - 1, dtype, SHORT)


def _stores(count: int, lanes: int, dtype: str) -> Nest:
    """A vector, written to `count` places."""
    stores = tuple(Store(1, ELEMENT + i * (SHORT + lanes), 0, dtype) for i in range(count))
    return Nest(f"store_{count}", (ANY, SHORT), 0, 1, (Load(0, ELEMENT, dtype),), stores)


# ---- thin products


def thin_products(dtype: str, seconds: float, size: int = 64) -> dict[str, Spread]:
    """Microseconds of a square matrix times a few columns, as a nest of sums and as a product."""
    calls = {}
    for columns in (1, 2, 4):
        a, b, c = (
            random(shape, dtype) for shape in ((size, size), (size, columns), (size, columns))
        )
        nest, product = _as_nest(size, columns, dtype), _as_product(size, columns, dtype)
        plural = "s" if columns > 1 else ""
        calls[f"{size} x {size} by {columns} column{plural}, nest"] = stage_call(
            nest, size, [a, b, c]
        )
        calls[f"{size} x {size} by {columns} column{plural}, product"] = stage_call(
            product, size, [a, b, c]
        )
    timing = take_turns({name: repeated(call, REPEATS) for name, call in calls.items()}, seconds)
    return {name: timing.seconds(name) * (1e6 / REPEATS) for name in calls}


def ragged_rows(dtype: str, seconds: float, rows: int = 64) -> dict[str, Spread]:
    """Microseconds of `x + 1`, row by row, where a row is not a whole number of vectors and where
    it is, into memory of its own and over `x`."""
    calls = {}
    for columns in (10, 16):
        x, out = (random((rows, columns), dtype) for _ in range(2))
        apart, over = _increment(columns, 1, dtype), _increment(columns, 0, dtype)
        calls[f"{rows} rows of {columns}, apart"] = stage_call(apart, rows, [x, out])
        calls[f"{rows} rows of {columns}, in place"] = stage_call(over, rows, [x])
    timing = take_turns({name: repeated(call, REPEATS) for name, call in calls.items()}, seconds)
    return {name: timing.seconds(name) * (1e6 / REPEATS) for name in calls}


def _increment(columns: int, target: int, dtype: str) -> Nest:
    at = Affine.axis(0) * columns + Affine.axis(1)
    one = Constant(np.ones((), dtype).tobytes(), dtype)
    steps: tuple[Step, ...] = (Load(0, at, dtype), one, Apply("add", (0, 1), dtype))
    name = f"increment_{columns}_{target}"
    return Nest(name, (ANY, columns), 0, 1, steps, (Store(target, at, 2, dtype),))


def short_rows(dtype: str, seconds: float, rows: int = 64) -> dict[str, Spread]:
    """Microseconds of the softmax of each row, with lanes along the rows and with the rows across
    lanes, which the planner takes up to `plan.loops.ACROSS` columns."""
    calls = {}
    for columns in (10, 16):
        operands = [random((rows, columns), dtype) for _ in range(2)]
        for axis, how in ((1, "along"), (0, "across")):
            nest = _softmax(columns, axis, dtype)
            calls[f"{rows} rows of {columns}, lanes {how}"] = stage_call(nest, rows, operands)
    timing = take_turns({name: repeated(call, REPEATS) for name, call in calls.items()}, seconds)
    return {name: timing.seconds(name) * (1e6 / REPEATS) for name in calls}


def _softmax(columns: int, vector: int, dtype: str) -> Nest:
    at = Affine.axis(0) * columns + Affine.axis(1)
    steps: tuple[Step, ...] = (
        Load(0, at, dtype),
        Fold("max", 0, dtype),
        Apply("subtract", (0, 1), dtype),
        Apply("exp", (2,), dtype),
        Fold("sum", 3, dtype),
        Constant(np.ones((), dtype).tobytes(), dtype),
        Apply("divide", (5, 4), dtype),
        Apply("multiply", (3, 6), dtype),
    )
    name = f"softmax_{columns}_{vector}"
    return Nest(name, (ANY, columns), 1, vector, steps, (Store(1, at, 7, dtype),))


def _as_nest(size: int, columns: int, dtype: str) -> Nest:
    """Lanes along the sum: rows x columns x depth."""
    row, column, k = Affine.axis(0), Affine.axis(1), Affine.axis(2)
    steps: tuple[Step, ...] = (
        Load(0, row * size + k, dtype),
        Load(1, k * columns + column, dtype),
        Apply("multiply", (0, 1), dtype),
        Fold("sum", 2, dtype),
    )
    store = Store(2, row * columns + column, 3, dtype)
    return Nest(f"nest_{columns}", (ANY, columns, size), 1, 2, steps, (store,))


def _as_product(size: int, columns: int, dtype: str) -> Product:
    return Product(
        name=f"product_{columns}",
        dtype=dtype,
        batch=(),
        rows=size,
        columns=columns,
        depth=(size,),
        a_strides=(size, 1),
        b_strides=(columns, 1),
        c_strides=(columns, 1),
    )


# ---- words


def _operators(costs: Costs) -> Section:
    rows = []
    for name, nanoseconds in costs.nanoseconds.items():
        additions = costs.additions[name]
        rows.append(
            [
                f"`{name}`",
                f"{nanoseconds.median:.3f}",
                f"{additions.median:.1f} ({additions.low:.1f} to {additions.high:.1f})",
                str(OPS[name].cost),
            ]
        )
    return Section("Operators", ["", "ns an element", "additions", "`Op.cost`"], rows)


def _accesses(memory: dict[str, Spread], costs: Costs) -> Section:
    unit = costs.nanoseconds["add"].median / costs.additions["add"].median
    load = memory["a load"].median
    rows = [
        [name, f"{s.median:.3f}", f"{s.median / unit:.1f}", f"{s.median / load:.1f}"]
        for name, s in memory.items()
    ]
    return Section(
        "Accesses to cached memory", ["", "ns an element", "additions", "contiguous loads"], rows
    )


def _microseconds(title: str, found: dict[str, Spread]) -> Section:
    rows = [[name, f"{s.median:.2f}", f"{s.low:.2f} to {s.high:.2f}"] for name, s in found.items()]
    return Section(f"{title}, microseconds", ["", "median", "quartiles"], rows)
