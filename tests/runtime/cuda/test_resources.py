"""What the kernels of every row, and of every kind, take of a GPU: registers alone.

Linked for each architecture without a GPU.  Nothing here takes stack, or spills registers into it;
a row that had to would be an exception that this file names, with the reason.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
from tests.ops.test_every_row import (
    attrs_of,
    defined,
    draw,
    gradient_cases,
    projected,
    samples,
    smooth_operands,
    takes,
    together,
)
from tests.runtime.cuda.kernels import needs_linker

import gradloom as gl
import gradloom.numpy as gnp
from gradloom import ops
from gradloom.ir.graph import Graph
from gradloom.ir.op import OPS, Kind, Op
from gradloom.pipeline import compile_graph
from gradloom.plan.assemble import undivided_plan
from gradloom.program import Program
from gradloom.runtime.cuda.linker import link
from gradloom.settings import settings

ARCHS = ["sm_80", "sm_90", "sm_120"]
pytestmark = needs_linker


def rows() -> list[Op]:
    """All rows of the table, of modules too that nothing has imported yet."""
    for module in pkgutil.iter_modules(ops.__path__, f"{ops.__name__}."):
        importlib.import_module(module.name)
    return list(OPS.values())


def elementwise() -> Graph:
    """Every elementwise row, in both sizes of numbers."""
    rng = np.random.default_rng(7)
    cases = []
    for row in rows():
        for dtype in sizes_of(row) if row.kind is Kind.ELEMENTWISE else ():
            dtypes = ["bool"] * row.flags + [dtype] * (row.operands - row.flags)
            arrays = [draw(rng, row, i, (17,), d) for i, d in enumerate(dtypes)]
            (*_, attrs) = attrs_of(row, dtype)
            cases.append((row, defined(row, arrays, attrs), attrs))
    return together(cases)[0]


def sizes_of(row: Op) -> list[str]:
    """The floating dtypes of a row, or its first."""
    taken = takes(row)
    return [d for d in ("float32", "float64") if d in taken] or [taken[0]]


def sampled() -> Iterator[Graph]:
    """Every other row, by its samples; of routines only those that need no library of the host."""
    for row in rows():
        if row.samples is not None:
            dtype = sizes_of(row)[0]
            yield together([(row, arrays, attrs) for arrays, attrs in samples(row, dtype)])[0]


def derivatives() -> Iterator[Graph]:
    """The slopes of every differentiable row."""
    for row in rows():
        if row.vjp is not None and row.returns in ("same", "real", "complex") and not row.marker:
            dtype = "float32" if "float32" in takes(row) else "complex64"
            for arrays, attrs in gradient_cases(row, dtype)[-1:]:
                graph, _ = projected(row, arrays, attrs)
                count = 1 + len(smooth_operands(row, arrays))
                yield Graph(graph.inputs, graph.outputs[:count])


def side_by_side(graphs: Iterator[Graph]) -> Graph:
    """One graph of those that can run on a GPU: one link for all."""
    able = [g for g in graphs if not undivided_plan(g).needs.libraries]
    inputs = tuple(n for graph in able for n in graph.inputs)
    return Graph(inputs, tuple(n for graph in able for n in graph.outputs))


GRAPHS = {
    "elementwise": cache(elementwise),
    "sampled": cache(lambda: side_by_side(sampled())),
    "derivatives": cache(lambda: side_by_side(derivatives())),
}


def assert_in_registers(program: Program, arch: str, fewest: int) -> None:
    """Each of its kernels has several stages, one after another."""
    assert len(program.gpu.plan.functions) >= fewest
    found = link([program.gpu.ptx.text], arch).resources
    wrong = {
        name: taken
        for name, taken in found.items()
        if taken.stack_bytes or taken.spill_stores or taken.spill_loads
    }
    assert not wrong


@cache
def program_of(kind: str) -> Program:
    """The oldest PTX, which every GPU takes: to write it takes as long as to link it."""
    with settings(disable=("persistent",)):
        return compile_graph(GRAPHS[kind](), device=f"cuda-ptx:{ARCHS[0]}")


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize(
    ("kind", "fewest"), [("elementwise", 170), ("sampled", 40), ("derivatives", 130)]
)
def test_every_row_takes_registers_alone(kind, fewest, arch):
    assert_in_registers(program_of(kind), arch, fewest)


# ---- kinds of kernels, by programs that have them


def normal(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.ones(shape, dtype)


def block(x, w, v):
    """A product with an epilogue, and one without."""
    return gl.nn.gelu(x @ w) + v, x @ v


def rows_of(x):
    """Softmax, its slope, and sums down the columns."""
    return gnp.sum(gl.grad(lambda x: gnp.sum(gl.nn.softmax(x) ** 2))(x), 0)


def moved(x, y, i):
    return x.at[i].add(y), x[i], gnp.cumsum(gnp.sort(x, 1), 1)


def network(k, w, x):
    x = gl.nn.relu(gl.nn.conv2d(x, k, padding="same"))
    return gnp.sum((gnp.reshape(x, (x.shape[0], -1)) @ w) ** 2)


SQUARES = [16, 64, 512]
KINDS = {
    **{
        f"product of {n} in {dtype}": (block, [normal(n, n, dtype=dtype)] * 3)
        for n in SQUARES
        for dtype in ("float32", "float64")
    },
    "a sum in parts": (lambda x: gnp.exp(x.T @ x), [normal(1 << 14, 16)]),
    **{
        f"rows of {n}": (rows_of, [normal(m, n)])
        for m, n in ((64, 8), (64, 200), (4, 5000), (5000, 100))
    },
    "moves": (moved, [normal(10, 64), normal(3, 64), np.array([1, 2, 1])]),
    "convolutions": (
        gl.grad(network, (0, 1, 2)),
        [normal(3, 3, 4, 8), normal(8 * 36, 5), normal(2, 6, 6, 4)],
    ),
}


@cache
def programs(arch: str) -> list[Program]:
    """Each with a kernel for each group of its stages."""
    with settings(disable=("persistent",)):
        return [
            gl.jit(function, target=f"cuda-ptx:{arch}").program(*arrays)
            for function, arrays in KINDS.values()
        ]


@pytest.mark.parametrize("arch", ARCHS)
def test_every_kind_of_kernel_takes_registers_alone(arch):
    for program in programs(arch):
        assert_in_registers(program, arch, fewest=1)


# The kernel that runs a whole driver calls its stages as functions, by the convention that has the
# arguments beyond the first few on the stack, and there the registers that a function must keep.
STACK_BYTES = 512


@pytest.mark.parametrize("arch", ARCHS)
def test_a_training_step_in_one_kernel(arch):
    step = gl.train_step(
        lambda p, x, y: gl.nn.softmax_cross_entropy(gnp.tanh(x @ p[0] + p[1]) @ p[2], y).mean(),
        gl.optim.adam(1e-3),
        target=f"cuda-ptx:{arch}",
    )
    state = step.init([normal(200, 128), normal(128), normal(128, 10)])
    found = link([step.ptx(state, normal(24, 200), np.zeros(24, np.int64))], arch).resources
    ((name, taken),) = found.items()
    assert name == "persistent"
    assert taken.spill_stores == taken.spill_loads == 0
    assert taken.stack_bytes <= STACK_BYTES
