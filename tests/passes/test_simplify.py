"""Rewrites by the facts in the rows: fewer nodes, and not one bit changed."""

import numpy as np
import pytest
from tests.fuzz import random_case

import gradloom.numpy  # noqa: F401  (fills the operator table)
from gradloom.ir.graph import Graph
from gradloom.ir.interpret import interpret
from gradloom.ir.node import make
from gradloom.ir.op import OPS, Kind
from gradloom.ir.source import CONST, MARK, STOP, const, constant_of, parameter
from gradloom.ir.types import FLOATS, TensorType
from gradloom.passes.simplify import drop_markers, simplify
from gradloom.pipeline import run_passes
from gradloom.settings import settings

EXTREMES = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, -1.5])
UNITS = [row for row in OPS.values() if row.unit is not None]
X = parameter(TensorType((3, 4), "float64"))


def simple(node):
    return simplify(Graph((X,), (node,))).outputs[0]


@pytest.mark.parametrize("row", UNITS, ids=lambda row: row.name)
@pytest.mark.parametrize("dtype", FLOATS)
def test_units_change_no_bit(row, dtype):
    x = EXTREMES.astype(dtype)
    with np.errstate(all="ignore"):
        sides = [row.reference(x, np.asarray(row.unit, dtype))]
        sides += [row.reference(np.asarray(row.unit, dtype), x)] * row.commutative
    for side in sides:
        np.testing.assert_array_equal(side, x)
        np.testing.assert_array_equal(np.signbit(side[:-3]), np.signbit(x[:-3]))


@pytest.mark.parametrize("row", UNITS, ids=lambda row: row.name)
def test_units_vanish(row):
    unit = const(row.unit, "float64")
    spread = make(OPS["broadcast"], unit, shape=(3, 4))
    assert simple(make(row, X, unit)) is X
    assert simple(make(row, X, spread)) is X
    assert (simple(make(row, unit, X)) is X) == row.commutative


def test_plus_zero_stays_since_it_is_no_unit_of_minus_zero():
    node = make(OPS["add"], X, const(0.0, "float64"))
    assert simple(node) is node
    whole = parameter(TensorType((2,), "int32"))
    plus = make(OPS["add"], whole, const(0, "int32"))
    assert simplify(Graph((whole,), (plus,))).outputs == (whole,)


def test_a_unit_that_widens_stays():
    one = make(OPS["broadcast"], const(1, "float64"), shape=(2, 3, 4))
    node = make(OPS["multiply"], X, one)
    assert simple(node) is node


def test_constants_are_folded():
    node = make(OPS["exp"], make(OPS["add"], const(1, "float32"), const(2, "float32")))
    folded = simple(node)
    assert folded.op is CONST
    assert constant_of(folded["value"], "float32") == np.exp(np.float32(3))
    nothing = make(OPS["divide"], const(0.0, "float64"), const(0.0, "float64"))
    assert np.isnan(constant_of(simple(nothing)["value"], "float64"))


def test_moves_join():
    turn = {"axes": (1, 0)}
    twice = make(OPS["transpose"], make(OPS["transpose"], X, **turn), **turn)
    assert simple(twice) is X
    there = make(OPS["reshape"], make(OPS["reshape"], X, shape=(12,)), shape=(2, 6))
    assert simple(there) is make(OPS["reshape"], X, shape=(2, 6))
    assert simple(make(OPS["reshape"], there, shape=(3, 4))) is X
    wide = make(OPS["broadcast"], make(OPS["broadcast"], X, shape=(1, 3, 4)), shape=(5, 3, 4))
    assert simple(wide) is make(OPS["broadcast"], X, shape=(5, 3, 4))


def test_moves_that_change_the_order_stay():
    flipped = make(OPS["slice"], X, start=(2, 0), step=(-1, 1), size=(3, 4))
    assert simple(flipped) is flipped
    square = parameter(TensorType((3, 3), "float64"))
    turned = make(OPS["transpose"], square, axes=(1, 0))
    assert simplify(Graph((square,), (turned,))).outputs == (turned,)


def test_markers_go():
    marked = make(STOP, make(MARK, X, serial=1))
    assert drop_markers(Graph((X,), (make(OPS["exp"], marked),))).outputs == (make(OPS["exp"], X),)


def test_a_pass_can_be_switched_off():
    graph = Graph((X,), (make(OPS["add"], X, const(-0.0, "float64")),))
    with settings(disable=("simplify",)):
        assert run_passes(graph) == graph
    assert run_passes(graph).outputs == (X,)


def test_passes_change_no_bit_of_random_programs():
    for seed in range(300):
        case = random_case(seed)
        before, after = (interpret(g, *case.arrays) for g in (case.graph, run_passes(case.graph)))
        for one, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(one, other)
            if one.dtype.kind == "f":
                known = ~np.isnan(one)
                np.testing.assert_array_equal(np.signbit(one[known]), np.signbit(other[known]))


def test_passes_never_grow_a_program():
    for seed in range(300):
        graph = random_case(seed).graph
        before, after = (
            sum(n.op.kind is not Kind.SOURCE for n in g.nodes()) for g in (graph, run_passes(graph))
        )
        assert after <= before


def test_what_follows_joined_axes_is_computed_before_they_are_joined():
    row = parameter(TensorType((12,), "float64"))
    turned = make(OPS["transpose"], make(OPS["exp"], X), axes=(1, 0))
    joined = make(OPS["reshape"], turned, shape=(12,))
    graph = Graph((X, row), (make(OPS["add"], joined, row),))
    found = simplify(graph)
    assert [node.op.name for node in found.nodes()][-2:] == ["add", "reshape"]
    values = np.random.default_rng(0).normal(size=(3, 4)), np.arange(12.0)
    for got, want in zip(interpret(found, *values), interpret(graph, *values), strict=True):
        np.testing.assert_array_equal(got, want)


def test_what_lies_in_memory_is_read_joined():
    joined = make(OPS["reshape"], make(OPS["transpose"], X, axes=(1, 0)), shape=(12,))
    node = make(OPS["exp"], joined)
    assert simple(node) is node
