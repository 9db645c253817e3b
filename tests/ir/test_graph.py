"""Nodes that are one object when they are one computation, and the graphs that they make."""

import gc

import numpy as np
from tests.fuzz import random_case

import gradloom.numpy  # noqa: F401  (fills the operator table)
from gradloom.ir.graph import Graph, rewrite, topological, users
from gradloom.ir.interpret import evaluate, interpret
from gradloom.ir.node import _interned, make
from gradloom.ir.op import OPS
from gradloom.ir.source import const, constant_of, parameter
from gradloom.ir.types import TensorType

VECTOR = TensorType((3,), "float64")


def add(x, y):
    return make(OPS["add"], x, y)


def test_equal_computations_are_one_node():
    x, y = parameter(VECTOR), parameter(VECTOR)
    assert add(x, y) is add(x, y)
    assert add(x, y) is not add(y, x)
    assert parameter(VECTOR) is not parameter(VECTOR)


def test_constants_are_told_apart_by_their_bits():
    numbers = [0.0, -0.0, 1.0, np.nan]
    nodes = [const(n, "float64") for n in numbers] + [const(1, "int64"), const(1, "bool")]
    assert len(set(nodes)) == 6
    assert const(np.nan, "float64") is nodes[3]
    assert np.signbit(constant_of(nodes[1]["value"], "float64"))


def test_nodes_that_nobody_holds_are_forgotten():
    x = parameter(VECTOR)
    gc.collect()
    before = len(_interned)
    node = add(add(x, x), x)
    assert len(_interned) == before + 2
    del node
    gc.collect()
    assert len(_interned) == before


def test_operands_come_before_their_users():
    for seed in range(40):
        graph = random_case(seed).graph
        order = graph.nodes()
        place = {node: i for i, node in enumerate(order)}
        assert order[: len(graph.inputs)] == list(dict.fromkeys(graph.inputs))
        assert all(place[x] < place[node] for node in order for x in node.inputs)
        assert set(graph.roots) <= set(order)
        for node, readers in users(order).items():
            assert all(node in reader.inputs for reader in readers)


def test_a_deep_graph_needs_no_deep_stack():
    x = parameter(VECTOR)
    node = x
    for _ in range(20000):
        node = add(node, x)
    graph = Graph((x,), (node,))
    assert len(graph.nodes()) == 20001
    assert rewrite(graph, lambda n: None).outputs[0] is node
    (value,) = interpret(graph, np.ones(3))
    np.testing.assert_array_equal(value, 20001)
    del graph, value
    while node is not x:  # else the last reference takes all nodes down at once, one in another
        node = node.inputs[0]


def test_the_fingerprint_is_of_the_computation():
    def graph():
        x, y = parameter(VECTOR), parameter(VECTOR)
        return Graph((x, y), (add(x, y),), ((x, y),))

    assert graph().fingerprint() == graph().fingerprint()
    x, y = parameter(VECTOR), parameter(VECTOR)
    others = [
        Graph((x, y), (add(y, x),), ((x, y),)),
        Graph((x, y), (add(x, y),), ((y, x),)),
        Graph((x, y), (add(x, y),)),
        Graph((y, x), (add(x, y),), ((x, y),)),
    ]
    assert len({g.fingerprint() for g in (graph(), *others)}) == 5


def test_rewrite_rebuilds_what_stands_above_a_change():
    x = parameter(VECTOR)
    two = make(OPS["multiply"], x, const(2, "float64"))
    graph = Graph((x,), (add(two, x), two), ((x, two),))
    done = rewrite(graph, lambda n: add(*n.inputs[:1] * 2) if n is two else None)
    double = add(x, x)
    assert done.outputs == (add(double, x), double)
    assert done.updates == ((x, double),)
    assert rewrite(done, lambda n: None) == done


def test_topological_stops_where_it_is_told():
    x = parameter(VECTOR)
    middle = add(x, x)
    assert topological([add(middle, middle)], [middle]) == [middle, add(middle, middle)]


def test_the_interpreter_gives_every_node_its_type():
    for seed in range(40):
        case = random_case(seed)
        for node, value in evaluate(case.graph, case.arrays).items():
            assert value.shape == node.type.shape
            assert value.dtype.name == node.type.dtype


def test_the_wide_interpreter_computes_in_double_precision():
    x = parameter(TensorType((), "float32"))
    graph = Graph((x,), (add(x, const(1, "float32")),))
    assert interpret(graph, np.float32(1e-9))[0] == 1
    assert interpret(graph, np.float32(1e-9), wide=True)[0] == 1 + np.float64(np.float32(1e-9))
