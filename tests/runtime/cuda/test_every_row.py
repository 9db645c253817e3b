"""Every row of the operator table on a GPU."""

from __future__ import annotations

import numpy as np
import pytest
from tests.gpus import Simulated
from tests.interpreting import assert_close, run
from tests.ops.test_every_row import (
    ELEMENTWISE,
    ROUGH,
    SAMPLED,
    SMOOTH,
    ULPS,
    attrs_of,
    defined,
    draw,
    extremes,
    gradient_cases,
    named,
    projected,
    samples,
    smooth_operands,
    takes,
    together,
)

from gradloom.errors import DeviceError
from gradloom.ir.graph import Graph
from gradloom.ir.interpret import interpret
from gradloom.ir.op import Op
from gradloom.pipeline import compile_graph
from gradloom.runtime.cuda.machine import using


def assert_on(machine, cases: list[tuple[Op, list[np.ndarray], dict]], ulps: float) -> None:
    graph, arrays = together(cases)
    with using(machine()):
        results = run(compile_graph(graph, device="cuda"), arrays)
    for got, want in zip(results, interpret(graph, *arrays), strict=True):
        assert got.dtype == want.dtype
        assert_close(got, want, ulps, cases[0][0].name)


def cases_of(row: Op) -> list[tuple[Op, list[np.ndarray], dict]]:
    """One size, broadcast where there are several operands, and the extremes, in all dtypes."""
    rng = np.random.default_rng(7)
    found = []
    for dtype in takes(row):
        dtypes = ["bool"] * row.flags + [dtype] * (row.operands - row.flags)
        shapes = [(3, 1), (17,), (3, 1)]
        lists = [[draw(rng, row, i, shapes[i], d) for i, d in enumerate(dtypes)]]
        special = extremes(row, dtype)
        if special is not None and row.operands == 1:
            lists.append([special])
        for attrs in attrs_of(row, dtype)[-2:]:
            found += [(row, defined(row, arrays, attrs), attrs) for arrays in lists]
    return found


@pytest.mark.parametrize("row", ELEMENTWISE, ids=named)
def test_elementwise_rows_on_a_gpu_are_the_reference(row, machine):
    assert_on(machine, cases_of(row), ULPS * ROUGH.get(row.name, 1))


@pytest.mark.parametrize("row", SAMPLED, ids=named)
def test_sampled_rows_on_a_gpu_are_the_reference(row, machine):
    dtype = next(d for d in ("float32", *takes(row)) if d in takes(row) and d != "bool")
    cases = [(row, arrays, attrs) for arrays, attrs in samples(row, dtype)]
    if compile_graph(together(cases)[0]).executable.needs.libraries:
        with pytest.raises(DeviceError, match="libraries of the host"):
            assert_on(machine, cases, 64)
    else:
        assert_on(machine, cases, 64)


@pytest.mark.parametrize("row", SMOOTH, ids=named)
def test_derivatives_of_rows_on_a_gpu_are_the_reference(row, machine):
    """On the GPU to second order."""
    dtype = "float64" if "float64" in takes(row) else "complex128"
    arrays, attrs = gradient_cases(row, dtype)[-1]
    graph, full = projected(row, arrays, attrs)
    if machine is Simulated:
        first = 1 + len(smooth_operands(row, arrays))
        graph = Graph(graph.inputs, graph.outputs[:first])
    if compile_graph(graph).executable.needs.libraries:
        with using(machine()), pytest.raises(DeviceError, match="libraries of the host"):
            compile_graph(graph, device="cuda")
        return
    with using(machine()):
        results = run(compile_graph(graph, device="cuda"), full)
    for got, want in zip(results, interpret(graph, *full), strict=True):
        assert_close(got, want, 64 * max(1.0, float(np.abs(want).max(initial=0))), row.name)
