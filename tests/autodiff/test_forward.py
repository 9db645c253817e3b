"""The forward sweep, generated over every row: against differences, and against the reverse one."""

import numpy as np
import pytest
from tests.ops.test_every_row import gradient_cases, smooth_operands

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.autodiff.forward import push
from gradloom.autodiff.reverse import mark, pull
from gradloom.errors import TracingError
from gradloom.frontend.apply import apply, apply_many
from gradloom.frontend.pytree import flatten
from gradloom.frontend.tensor import Tensor
from gradloom.ir.graph import Graph
from gradloom.ir.interpret import interpret
from gradloom.ir.op import OPS, Kind, Op
from gradloom.ir.types import TensorType, TupleType
from gradloom.tracing import Leaf, record

STEP = 1e-5
SMOOTH = [
    row
    for row in OPS.values()
    if row.vjp is not None
    and row.returns in ("same", "real")
    and (row.kind is Kind.ELEMENTWISE or row.samples is not None)
]


def results(row: Op, operands: list, attrs: dict) -> list:
    """The floating results of a row, several or one."""
    kinds = [TensorType(tuple(o.shape), o.dtype.name) for o in operands]
    if isinstance(row.infer(*kinds, **attrs), TupleType):
        found = apply_many(row, *operands, **attrs)
        return [f for f in found if f.dtype.kind == "f"]
    return [apply(row, *operands, **attrs)]


def swept(row: Op, arrays: list[np.ndarray], attrs: dict) -> tuple[Graph, list[np.ndarray], int]:
    """A graph of y = row(x), dy along v, the derivative of dy along v (forward over forward), the
    derivative of x' = vjp(w) along v (forward over reverse), and x' itself; how many y there are.
    """
    rng = np.random.default_rng(5)
    floats = smooth_operands(row, arrays)
    kinds = [TensorType(a.shape, a.dtype.name) for a in arrays]
    out = row.infer(*kinds, **attrs)
    outs = [k for k in (out.types if isinstance(out, TupleType) else (out,)) if k.is_float]
    along = [rng.uniform(-1, 1, arrays[i].shape) for i in floats]
    weights = [rng.uniform(-1, 1, kind.shape) for kind in outs]

    def everything(values):
        count = len(arrays)
        operands = values[:count]
        v, w = values[count : count + len(floats)], values[count + len(floats) :]

        def f(chosen):
            full = list(operands)
            for i, value in zip(floats, chosen, strict=True):
                full[i] = value
            return results(row, full, attrs)

        def forward(chosen):
            marks = mark(chosen)
            ys = f(marks)
            return ys, push(ys, marks, v)

        marks = mark([operands[i] for i in floats])
        ys, dys = forward(marks)
        pulled = pull(f(marks), marks, w)
        return [
            ys,
            [filled(d, y) for d, y in zip(dys, ys, strict=True)],
            [filled(p, m) for p, m in zip(pulled, marks, strict=True)],
            [filled(d, y) for d, y in zip(push(dys, marks, v), ys, strict=True)],
            [filled(d, m) for d, m in zip(push(pulled, marks, v), marks, strict=True)],
        ]

    full = [*arrays, *along, *weights]
    found = record(everything, [Leaf(TensorType(a.shape, a.dtype.name)) for a in full])
    return found.graph, [*full, *found.captured], len(outs)


def filled(value, like):
    return gnp.zeros_like(like) if value is None else gnp.broadcast_to(value, like.shape)


@pytest.mark.parametrize("row", SMOOTH, ids=lambda row: row.name)
def test_tangents_of_rows(row):
    for arrays, attrs in gradient_cases(row):
        graph, full, outs = swept(row, arrays, attrs)
        floats = smooth_operands(row, arrays)
        along = full[len(arrays) : len(arrays) + len(floats)]
        weights = full[len(arrays) + len(floats) :][:outs]

        def at(step, full=full, floats=floats, along=along, graph=graph, weights=weights):
            moved = list(full)
            for i, direction in zip(floats, along, strict=True):
                moved[i] = full[i] + step * direction
            found = interpret(graph, *moved)
            n, m = len(weights), len(floats)
            sizes = [n, n, m, n, m]
            return [found[sum(sizes[:k]) : sum(sizes[: k + 1])] for k in range(5)]

        (y, dy, x, ddy, dx), ahead, behind = at(0.0), at(STEP), at(-STEP)
        assert dot(weights, dy) == pytest.approx(dot(x, along), rel=1e-9, abs=1e-9)
        for found, k, what in (
            (dy, 0, "first"),
            (ddy, 1, "twice forward"),
            (dx, 2, "over reverse"),
        ):
            for got, high, low in zip(found, ahead[k], behind[k], strict=True):
                wanted = (high - low) / (2 * STEP)
                size = 1 + float(np.abs(high).max(initial=0))
                np.testing.assert_allclose(
                    got, wanted, rtol=2e-6, atol=2e-6 * size, err_msg=f"{row.name}, {what}"
                )
        assert len(y) == len(dy)


def dot(left: list[np.ndarray], right: list[np.ndarray]) -> float:
    return sum(float(np.sum(a * b)) for a, b in zip(left, right, strict=True))


# Under gl.eager() loops and branches are Python's own, and no tape holds a graph.
TAPED = [row for row in SMOOTH if row.kind is not Kind.CONTROL]


@pytest.mark.parametrize("row", TAPED, ids=lambda row: row.name)
def test_tangents_on_a_tape_are_those_of_a_graph(row):
    for arrays, attrs in gradient_cases(row):
        floats = smooth_operands(row, arrays)
        rng = np.random.default_rng(3)
        chosen = [arrays[i] for i in floats]
        along = [rng.uniform(-1, 1, a.shape) for a in chosen]

        def pushed(values, arrays=arrays, floats=floats, row=row, attrs=attrs):
            marks = mark(values[: len(floats)])
            full = [gnp.asarray(a) for a in arrays]
            for i, m in zip(floats, marks, strict=True):
                full[i] = m
            ys = results(row, full, attrs)
            dys = push(ys, marks, values[len(floats) :])
            return [filled(d, y) for d, y in zip(dys, ys, strict=True)]

        leaves = [Leaf(TensorType(a.shape, a.dtype.name)) for a in (*chosen, *along)]
        found = record(pushed, leaves)
        wanted = interpret(found.graph, *chosen, *along, *found.captured)
        with gl.eager():
            taped = [
                d.node.value if isinstance(d, Tensor) else d for d in pushed([*chosen, *along])
            ]
        for got, want in zip(flatten(taped)[0], wanted, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12, err_msg=row.name)


def test_linear_rows_are_linear():
    """What `Op.linear` says, on samples."""
    rng = np.random.default_rng(2)
    for row in OPS.values():
        for arrays, attrs in row.samples(rng, "float64") if row.linear and row.samples else []:
            arrays = [np.asarray(a) for a in arrays]
            scaled = [3.0 * a if a.dtype.kind == "f" else a for a in arrays]
            got, want = row.reference(*scaled, **attrs), row.reference(*arrays, **attrs)
            np.testing.assert_allclose(got, 3.0 * np.asarray(want), rtol=1e-12)


def test_what_has_no_derivative_says_so():
    def through(x):
        return gl.jvp(lambda y: gnp.sum(y > 0) * 1.0, (x,), (x,))[1]

    np.testing.assert_array_equal(gl.jit(through)(np.ones(3)), 0.0)
    rows = [row for row in OPS.values() if row.vjp is None and row.jvp is None and not row.linear]
    assert all(row.returns != "float" for row in rows)


def test_a_row_without_a_rule_is_refused():
    mystery = Op("mystery", OPS["sin"].kind, OPS["sin"].infer, np.sin, accepts="float")
    with pytest.raises(TracingError, match="mystery has no derivative") as caught:
        gl.jvp(lambda x: apply(mystery, x), (1.0,), (1.0,))
    assert __file__ in str(caught.value)
