"""Tests generated from the operator table: every row, in every dtype that it takes."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from tests.interpreting import assert_close, compiled, run

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.frontend.apply import apply, apply_many
from gradloom.frontend.trace import type_of
from gradloom.ir.graph import Graph
from gradloom.ir.interpret import interpret
from gradloom.ir.node import Node, make
from gradloom.ir.op import OPS, Kind, Op
from gradloom.ir.source import IOTA, PARAMETER, const, parameter
from gradloom.ir.types import (
    COMPLEX,
    DTYPES,
    FLOATS,
    INTEGERS,
    UNSIGNED,
    TensorType,
    TupleType,
)
from gradloom.pipeline import compile_graph
from gradloom.tracing import Leaf, record

ULPS = 8  # of NumPy's function and of ours together
STEP = 1e-5
# SciPy's functions that are themselves further off, by `tests/test_special.py`.
ROUGH = {"gammaincc": 16, "gammainc": 16, "betainc": 64, "betaln": 4}

TAKES = {
    "any": ("bool", *INTEGERS, *FLOATS),
    "number": (*INTEGERS, *FLOATS),
    "integer": INTEGERS,
    "whole": INTEGERS,
    "float": FLOATS,
    "real": FLOATS,
    "complex": (),
    "bool": ("bool",),
}
ELEMENTWISE = [row for row in OPS.values() if row.kind is Kind.ELEMENTWISE]
SAMPLED = [row for row in OPS.values() if row.samples is not None]
SMOOTH = [
    row
    for row in OPS.values()
    if row.vjp is not None and row.returns in ("same", "real", "complex") and not row.marker
]
BINARY = [((5,), (3, 5)), ((3, 1), (1, 17)), ((2, 16, 3), (16, 1)), ((), (9,)), ((4, 0), (1,))]
UNARY = [(), (1,), (15,), (16,), (17,), (65,), (0,), (3, 5), (2, 3, 4)]
FLOAT_EXTREMES = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -3.0, 1e-3, 90.0, -1e5)


def takes(row: Op) -> tuple[str, ...]:
    """The dtypes that a row has a meaning for."""
    plain = row.accepts in ("bool", "real", "integer", "whole") or not row.takes_complex
    return TAKES[row.accepts] if plain else (*TAKES[row.accepts], *COMPLEX)


def named(row: Op) -> str:
    return row.name


def test_every_row_is_tested():
    sources = {row for row in OPS.values() if row.kind is Kind.SOURCE}
    markers = {row for row in OPS.values() if row.marker}
    assert {row.name for row in sources} == {"parameter", "const", "iota"}
    whole = {OPS["item"], OPS["call"]}  # tested by what has several results, and by custom rules
    covered = {*ELEMENTWISE, *SAMPLED, *sources, *markers, *whole}
    assert not [row.name for row in OPS.values() if row not in covered]
    assert not [row.name for row in ELEMENTWISE if row.accepts not in TAKES]
    assert not [row.name for row in ELEMENTWISE if not row.lanes and not row.planar]


# ---- values


def draw(rng: np.random.Generator, row: Op, number: int, shape: tuple[int, ...], dtype: str):
    """An operand in the row's domain."""
    low, high = row.domain[min(number, len(row.domain) - 1)]
    if dtype == "bool":
        return rng.integers(0, 2, shape) == 1
    if dtype in COMPLEX:
        return (rng.uniform(low, high, shape) + 1j * rng.uniform(-1.5, 1.5, shape)).astype(dtype)
    if dtype in FLOATS:
        return rng.uniform(low, high, shape).astype(dtype)
    if row.domain == ((-2.0, 2.0),):
        low, high = -9, 9
    low, high = int(max(low, 0) if dtype in UNSIGNED else low), max(int(high), 9)
    return rng.integers(low, high, shape).astype(dtype)


def extremes(row: Op, dtype: str) -> np.ndarray | None:
    """Numbers at the edges of a dtype, as far as NumPy defines the result there."""
    if dtype in FLOATS:
        return np.array(FLOAT_EXTREMES, dtype)
    if dtype == "bool" or dtype in COMPLEX or "shift" in row.name:
        return None
    info = np.iinfo(dtype)
    return np.array([info.min, info.max, 0, 1, 2, 7, info.max - 1, info.min + 1], dtype)


def operands_of(row: Op, dtype: str) -> Iterator[list[np.ndarray]]:
    """Lists of operands: in all sizes around the vector's, broadcast, empty, and extreme."""
    rng = np.random.default_rng(7)
    dtypes = ["bool"] * row.flags + [dtype] * (row.operands - row.flags)
    for shape in UNARY:
        yield [draw(rng, row, i, shape, d) for i, d in enumerate(dtypes)]
    if row.operands > 1:
        for shapes in itertools.chain(BINARY, (pair[::-1] for pair in BINARY)):
            sides = [*shapes, shapes[0]]
            yield [draw(rng, row, i, sides[i], d) for i, d in enumerate(dtypes)]
    special = extremes(row, dtype)
    if special is not None:
        grid = np.meshgrid(*(np.array([True, False]) if d == "bool" else special for d in dtypes))
        yield [np.ascontiguousarray(side.ravel()) for side in grid]


def attrs_of(row: Op, dtype: str) -> list[dict[str, str]]:
    return [{"dtype": to} for to in DTYPES if to != dtype] if row.casts else [{}]


def defined(row: Op, arrays: list[np.ndarray], attrs: dict[str, str]) -> list[np.ndarray]:
    """The operands where C defines the result: a cast to an integer must fit."""
    to = attrs.get("dtype")
    if to not in INTEGERS or arrays[0].dtype.kind not in "fc":
        return arrays
    top = 2.0 ** (8 * min(np.dtype(to).itemsize, 4) - 2)
    low, high = (0 if to in UNSIGNED else -top), top
    (x,) = arrays
    return [np.where((x.real >= low) & (x.real < high), x, np.asarray(1.5, x.dtype))]


def together(cases: list[tuple[Op, list[np.ndarray], dict]]) -> tuple[Graph, list[np.ndarray]]:
    """One graph of many applications, so that one compilation serves them all."""
    inputs, outputs, arrays = [], [], []
    for row, operands, attrs in cases:
        nodes = [parameter(TensorType(a.shape, a.dtype.name)) for a in operands]
        inputs += nodes
        arrays += operands
        outputs += results_of(make(row, *nodes, **attrs))
    return Graph(tuple(inputs), tuple(outputs)), arrays


def results_of(node: Node) -> list[Node]:
    """A node, or the items of one that has several results."""
    if not isinstance(node.type, TupleType):
        return [node]
    return [make(OPS["item"], node, index=i) for i in range(len(node.type.types))]


def assert_interpreted(cases: list[tuple[Op, list[np.ndarray], dict]], ulps: float = ULPS) -> None:
    graph, arrays = together(cases)
    wanted = interpret(graph, *arrays)
    named = [
        case
        for case in cases
        for _ in getattr(case[0].infer(*map(type_of, case[1]), **case[2]), "types", [0])
    ]
    for case, got, want in zip(named, compiled(graph, *arrays), wanted, strict=True):
        row, operands, attrs = case
        shown = ", ".join(f"{a.dtype}{list(a.shape)}" for a in operands)
        assert got.dtype == want.dtype, row.name
        assert_close(got, want, ulps, f"{row.name}({shown}, {attrs})")


@pytest.mark.parametrize("row", ELEMENTWISE, ids=named)
def test_elementwise_rows_compiled_are_the_reference(row):
    cases = [
        (row, defined(row, operands, attrs), attrs)
        for dtype in takes(row)
        for attrs in attrs_of(row, dtype)
        for operands in operands_of(row, dtype)
    ]
    assert_interpreted(cases, ULPS * ROUGH.get(row.name, 1))


@pytest.mark.parametrize("row", ELEMENTWISE, ids=named)
def test_elementwise_rows_read_through_moves(row):
    """Operands read backwards, across rows, and at every other element."""
    rng = np.random.default_rng(3)
    dtype = takes(row)[-1]
    dtypes = ["bool"] * row.flags + [dtype] * (row.operands - row.flags)
    arrays = [draw(rng, row, i, (18, 9), d) for i, d in enumerate(dtypes)]
    inputs = [parameter(TensorType(a.shape, a.dtype.name)) for a in arrays]
    moved = [
        [make(OPS["transpose"], x, axes=(1, 0)) for x in inputs],
        [make(OPS["slice"], x, start=(17, 0), step=(-1, 1), size=(18, 9)) for x in inputs],
        [make(OPS["slice"], x, start=(1, 8), step=(2, -2), size=(8, 5)) for x in inputs],
    ]
    attrs = attrs_of(row, dtype)[0]
    graph = Graph(tuple(inputs), tuple(make(row, *nodes, **attrs) for nodes in moved))
    for got, want in zip(compiled(graph, *arrays), interpret(graph, *arrays), strict=True):
        assert_close(got, want, ULPS, row.name)


def samples(row: Op, dtype: str, seed: int = 11) -> list[tuple[list[np.ndarray], dict]]:
    """A row's own samples; with imaginary parts where they are complex."""
    rng = np.random.default_rng(seed)
    return [
        ([_turned(np.asarray(a), rng) for a in arrays], attrs)
        for arrays, attrs in row.samples(rng, dtype)
    ]


def _turned(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if array.dtype.kind != "c":
        return array
    return array + (1j * rng.uniform(-1.5, 1.5, array.shape)).astype(array.dtype)


@pytest.mark.parametrize("row", SAMPLED, ids=named)
def test_sampled_rows_compiled_are_the_reference(row):
    dtypes = [d for d in takes(row) if d != "bool"]
    cases = [(row, arrays, a) for dtype in dtypes for arrays, a in samples(row, dtype)]
    assert_interpreted(cases, ulps=64)


@pytest.mark.parametrize("row", [OPS["max"], OPS["min"]], ids=named)
@pytest.mark.parametrize("dtype", TAKES["any"])
def test_extremes_of_rows_with_nan_and_of_booleans(row, dtype):
    special = extremes(row, dtype)
    x = np.array([[True, False], [False, False]]) if special is None else np.stack([special] * 3)
    assert_interpreted([(row, [x], {"axes": axes}) for axes in ((0,), (1,), (0, 1))], ulps=0)


def test_sources():
    shape = (3, 1, 17)
    nodes = [make(IOTA, shape=shape, axis=a, dtype=d) for a in range(3) for d in INTEGERS]
    numbers = [const(value, d) for d in DTYPES for value in (0, 1, 3)]
    numbers += [const(value, d) for d in FLOATS for value in FLOAT_EXTREMES]
    assert OPS["parameter"] is PARAMETER
    graph = Graph((), (*nodes, *numbers))
    for got, want in zip(compiled(graph), interpret(graph), strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)


# ---- derivatives


def gradient_cases(row: Op, dtype: str = "float64") -> list[tuple[list[np.ndarray], dict]]:
    if dtype not in takes(row):
        return []
    if row.samples is not None:
        return samples(row, dtype, seed=23)
    rng = np.random.default_rng(23)
    dtypes = ["bool"] * row.flags + [dtype] * (row.operands - row.flags)
    shapes = [[(7,)] * 3] + ([[(3, 1), (4,), (3, 1)], [(), (5,), (5,)]] if row.operands > 1 else [])
    attrs = {"dtype": dtype} if row.casts else {}
    return [([draw(rng, row, i, s[i], d) for i, d in enumerate(dtypes)], attrs) for s in shapes]


def smooth_operands(row: Op, arrays: list[np.ndarray]) -> list[int]:
    """The operands by which the row has a derivative."""
    return [i for i, a in enumerate(arrays) if a.dtype.kind in "fc" and i not in row.constant]


def weight(rng: np.random.Generator, kind: TensorType) -> np.ndarray:
    real = rng.uniform(-1, 1, kind.shape)
    return np.asarray(real + 1j * rng.uniform(-1, 1, kind.shape) if kind.is_complex else real)


def projected(row: Op, arrays: list[np.ndarray], attrs: dict) -> tuple[Graph, list[np.ndarray]]:
    """A graph of F = re(sum(w * row(x))), its gradient, and the gradient of G = re(sum(v * grad)).

    Its inputs are the operands, and then the arrays w and v.
    """
    rng = np.random.default_rng(5)
    floats = smooth_operands(row, arrays)
    kinds = list(map(type_of, arrays))
    out = row.infer(*kinds, **attrs)
    smooth = [k for k in getattr(out, "types", (out,)) if k.is_inexact]
    weights = [weight(rng, kind) for kind in (*smooth, *(kinds[i] for i in floats))]

    def everything(values):
        operands, ws = values[: len(arrays)], values[len(arrays) : -len(floats)]
        directions = values[-len(floats) :]

        def f(*chosen):
            full = list(operands)
            for i, value in zip(floats, chosen, strict=True):
                full[i] = value
            found = (
                apply_many(row, *full, **attrs)
                if out not in smooth
                else [apply(row, *full, **attrs)]
            )
            found = [r for r in found if r.dtype.kind in "fc"]
            return sum(gnp.real(gnp.sum(r * w)) for r, w in zip(found, ws, strict=True))

        numbers = tuple(range(len(floats)))
        first = gl.grad(f, numbers)

        def g(*chosen):
            pairs = zip(first(*chosen), directions, strict=True)
            return sum(gnp.real(gnp.sum(d * v)) for d, v in pairs)

        chosen = [operands[i] for i in floats]
        return [f(*chosen), *first(*chosen), g(*chosen), *gl.grad(g, numbers)(*chosen)]

    leaves = [Leaf(TensorType(a.shape, a.dtype.name), weak=False) for a in (*arrays, *weights)]
    traced = record(everything, leaves)
    assert all(a.dtype == "int64" for a in traced.captured)  # addresses
    return traced.graph, [*arrays, *weights, *traced.captured]


def assert_slopes(row: Op, graph: Graph, arrays: list[np.ndarray], count: int) -> None:
    """Both gradients against differences along a random direction, in float64."""
    floats = smooth_operands(row, arrays[:count])
    rng = np.random.default_rng(17)
    along = {i: weight(rng, TensorType(arrays[i].shape, arrays[i].dtype.name)) for i in floats}

    def at(step: float) -> list[np.ndarray]:
        moved = [a + step * along[i] if i in along else a for i, a in enumerate(arrays)]
        return interpret(graph, *moved)

    here, ahead, behind = at(0.0), at(STEP), at(-STEP)
    for start in (0, 1 + len(floats)):
        slopes = here[start + 1 : start + 1 + len(floats)]
        pairs = zip(slopes, floats, strict=True)
        slope = sum(float(np.sum(s * along[i]).real) for s, i in pairs)
        wanted = float(ahead[start] - behind[start]) / (2 * STEP)
        order = "first" if start == 0 else "second"
        size = 1 + abs(float(here[start]))
        assert slope == pytest.approx(wanted, rel=1e-6, abs=1e-6 * size), f"{row.name}, {order}"


@pytest.mark.parametrize("row", SMOOTH, ids=named)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_derivatives_of_rows_are_differences(row, dtype):
    """To second order; and compiled they are what they are interpreted."""
    for arrays, attrs in gradient_cases(row, dtype):
        graph, full = projected(row, arrays, attrs)
        assert_slopes(row, graph, full, len(arrays))
        found = run(compile_graph(graph), full)
        for got, want in zip(found, interpret(graph, *full), strict=True):
            assert_close(got, want, 64 * max(1.0, float(np.abs(want).max(initial=0))), row.name)


def test_rows_without_a_derivative_say_so():
    for row in OPS.values():
        if row.vjp is None:
            known = row.kind in (Kind.SOURCE, Kind.ITEM) or row.accepts in ("integer", "whole")
            assert known or row.returns != "same" or row.instead, row


def test_nodes_are_what_the_tests_make():
    x = parameter(TensorType((3,), "float32"))
    assert isinstance(make(OPS["add"], x, x), Node)
    assert make(OPS["add"], x, x) is make(OPS["add"], x, x)
