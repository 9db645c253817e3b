"""Random programs, mapped and differentiated: a batch is a loop, and both sweeps agree."""

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tests.fuzz import random_case

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.autodiff.forward import push
from gradloom.autodiff.reverse import mark, pull
from gradloom.frontend.replay import replay
from gradloom.ir.graph import Graph
from gradloom.ir.interpret import interpret
from gradloom.ir.types import TensorType
from gradloom.tracing import Leaf, record

MANY = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


def function(graph: Graph):
    """A graph as a function of values."""
    return lambda *values: replay(list(graph.outputs), dict(zip(graph.inputs, values, strict=True)))


@MANY
@given(st.integers(0, 2**32))
def test_a_batch_is_a_loop(seed):
    case, rng = random_case(seed), np.random.default_rng(seed)
    graph, arrays = case.graph, case.arrays
    flags = [bool(rng.integers(3)) for _ in arrays]
    flags[0] = True
    many = [
        np.stack([a, a[::-1] if a.ndim else a]) if flag else a
        for a, flag in zip(arrays, flags, strict=True)
    ]
    axes = tuple(0 if flag else None for flag in flags)
    leaves = [Leaf(TensorType(a.shape, a.dtype.name)) for a in many]
    traced = record(lambda values: gl.vmap(function(graph), axes)(*values), leaves)
    found = interpret(traced.graph, *many, *traced.captured, wide=True)
    for b in range(2):
        row = [a[b] if flag else a for a, flag in zip(many, flags, strict=True)]
        wanted = interpret(Graph(graph.inputs, graph.outputs), *row, wide=True)
        for got, want in zip(found, wanted, strict=True):
            np.testing.assert_allclose(got[b], want, rtol=1e-9, atol=1e-9)


@MANY
@given(st.integers(0, 2**32))
def test_both_sweeps_agree(seed):
    """<w, J v> = <J' w, v>, in float64 but for casts to float32, which round each term."""
    case, rng = random_case(seed), np.random.default_rng(seed)
    graph = case.graph
    floats = [i for i, a in enumerate(case.arrays) if a.dtype.kind == "f"]
    outs = [i for i, o in enumerate(graph.outputs) if o.type.is_float]
    assume(floats and outs)
    along = [rng.uniform(-1, 1, case.arrays[i].shape) for i in floats]
    weights = [rng.uniform(-1, 1, graph.outputs[i].type.shape) for i in outs]

    def dots(values):
        operands, v = list(values[: len(case.arrays)]), values[len(case.arrays) :][: len(floats)]
        w = values[len(case.arrays) + len(floats) :]
        marks = mark([operands[i] for i in floats])
        for i, m in zip(floats, marks, strict=True):
            operands[i] = m
        results = [function(graph)(*operands)[i] for i in outs]
        forwards, backwards = push(results, marks, v), pull(results, marks, w)
        terms = [None if x is None else gnp.abs(x) for x in forwards]
        return dot(forwards, w), dot(backwards, v), dot(terms, [gnp.abs(x) for x in w])

    kinds = [n.type for n in graph.inputs] + [graph.inputs[i].type for i in floats]
    kinds += [graph.outputs[i].type for i in outs]
    traced = record(dots, list(map(Leaf, kinds)))
    given_ = [*case.arrays, *along, *weights, *traced.captured]
    forward, reverse, terms = interpret(traced.graph, *given_, wide=True)
    assume(np.isfinite(forward) and np.isfinite(reverse))
    np.testing.assert_allclose(forward, reverse, rtol=0, atol=1e-7 * (1 + terms))


def dot(values, others):
    """The sum of products, of values that may be None for zero."""
    total = np.zeros(())
    for value, other in zip(values, others, strict=True):
        if value is not None:
            total = total + gnp.sum(gnp.astype(value, "float64") * gnp.astype(other, "float64"))
    return total
