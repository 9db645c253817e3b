"""Values of all pairs: their columns are their rows, and none of the pairs is stored."""

import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.ir.graph import Graph
from gradloom.ir.op import OPS, Kind
from gradloom.ir.types import FLOATS
from gradloom.ops.move import TRANSPOSE
from gradloom.passes.symmetry import DEEPEST, fold_symmetric

RNG = np.random.default_rng(0)
EXTREMES = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1.5, 1e38])
N = 40
X, M = RNG.normal(size=N), RNG.normal(size=(N, N))


def same_bits(found, wanted):
    np.testing.assert_array_equal(found, wanted)
    known = ~np.isnan(wanted)
    np.testing.assert_array_equal(np.signbit(found)[known], np.signbit(wanted)[known])


@pytest.mark.parametrize("row", [r for r in OPS.values() if r.negates or r.anticommutative])
@pytest.mark.parametrize("dtype", FLOATS)
def test_signs_are_those_that_the_rows_say(row, dtype):
    x, y = (a.astype(dtype) for a in np.meshgrid(EXTREMES, EXTREMES))
    given = (x, y)[: row.reference.nin]
    with np.errstate(all="ignore"):
        value = row.reference(*given)
        if row.negates == "all":
            found = row.reference(*(-a for a in given))
            np.testing.assert_array_equal(found, -value)  # but for the sign of zero
        if row.negates in ("each", "first"):
            for number in range(len(given) if row.negates == "each" else 1):
                changed = [-a if i == number else a for i, a in enumerate(given)]
                same_bits(row.reference(*changed), -value)
        if row.anticommutative:
            np.testing.assert_array_equal(row.reference(*given[::-1]), -value)


def simple(f, *arrays):
    graph = gl.jit(f).program(*arrays).traced
    return fold_symmetric(graph)


def axes_of(graph: Graph):
    return [n["axes"] for n in graph.nodes() if n.op.kind is Kind.REDUCE]


SYMMETRIC = {
    "distances": lambda x, m: (x[:, None] - x) ** 2,
    "products": lambda x, m: gnp.exp(x[None, :] * x[:, None]),
    "differences": lambda x, m: gnp.tanh(x)[:, None] - gnp.tanh(x)[None],
    "odd times even": lambda x, m: (x[:, None] - x) / (1.0 + (x[:, None] - x) ** 2),
    "a mean of both triangles": lambda x, m: 0.5 * (m + m.T),
    "half their difference": lambda x, m: -(m - m.T) / 2.0,
    "spread": lambda x, m: gnp.broadcast_to(x, (N, N)) * gnp.broadcast_to(x[:, None], (N, N)),
}
OTHERS = {
    "odd and even": lambda x, m: (x[:, None] - x) + (x[:, None] + x),
    "by an odd value": lambda x, m: 1.0 / (x[:, None] - x),
    "another operand": lambda x, m: x[:, None] - 2 * x,
    "an even function of an odd value": lambda x, m: gnp.exp(x[:, None] - x),
    "any matrix": lambda x, m: m * (x[:, None] + x),
    "twice along one axis": lambda x, m: gnp.broadcast_to(x, (N, N)) * gnp.broadcast_to(x, (N, N)),
}


@pytest.mark.parametrize("name", SYMMETRIC)
def test_columns_and_transposes_of_what_is_symmetric_are_rows(name):
    def f(x, m):
        pairs = SYMMETRIC[name](x, m)
        return pairs.sum(0), gnp.tanh(pairs.T)

    graph = simple(f, X, M)
    assert axes_of(graph) == [(1,)]
    turned = [n.inputs[0] for n in graph.nodes() if n.op is TRANSPOSE]
    assert all(n.op.kind is Kind.SOURCE for n in turned)
    pairs = np.asarray(SYMMETRIC[name](X, M))
    found = gl.jit(f)(X, M)
    np.testing.assert_allclose(found[0], pairs.sum(0), atol=1e-12)
    np.testing.assert_allclose(found[1], np.tanh(pairs.T), rtol=1e-12)


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_not_known_to_be_symmetric_stays(name):
    assert axes_of(simple(lambda x, m: OTHERS[name](x, m).sum(0), X, M)) == [(0,)]


@pytest.mark.parametrize("fold", [gnp.max, gnp.min, gnp.prod])
def test_other_folds_are_of_even_values_only(fold):
    assert axes_of(simple(lambda x: fold(x[:, None] * x, 0), X)) == [(1,)]
    assert axes_of(simple(lambda x: fold(x[:, None] - x, 0), X)) == [(0,)]


def test_long_chains_are_looked_through_so_far():
    def f(x, length):
        pairs = x[:, None] * x
        for _ in range(length):
            pairs = gnp.sin(pairs)
        return pairs.sum(0)

    assert axes_of(simple(lambda x: f(x, DEEPEST // 2), X)) == [(1,)]
    simple(lambda x: f(x, 2000), X)


def test_the_forces_of_all_pairs_are_one_pass_that_stores_no_pair():
    def energy(x):
        squares = sum((x[:, i, None] - x[None, :, i]) ** 2 for i in range(3)) + 0.1
        return (1.0 / squares).sum()

    x = RNG.normal(size=(600, 3))
    slope = gl.jit(gl.value_and_grad(energy))
    apart = x[:, None] - x
    squares = (apart**2).sum(-1) + 0.1
    value, found = slope(x)
    np.testing.assert_allclose(value, (1 / squares).sum())
    np.testing.assert_allclose(found, (-4 * apart / squares[..., None] ** 2).sum(1), atol=1e-9)
    plan = slope.program(x).plan
    assert all(b.type.size < 600 * 600 for b in plan.buffers)
