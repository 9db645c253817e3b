"""Which stages a GPU runs as one."""

from __future__ import annotations

import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.ir.affine import Affine
from gradloom.ir.types import TensorType
from gradloom.plan.dealt import RESULT, Digit
from gradloom.plan.merge import merged
from gradloom.plan.plan import (
    Apply,
    Buffer,
    Fold,
    Kernel,
    Load,
    Nest,
    Operand,
    Plan,
    Product,
    Stage,
    Store,
)

M, N, K = map(Affine.axis, range(3))
PRODUCT = Product("p", "float32", (), 4, 6, (5,), (5, 1), (6, 1), (6, 1))
A, B, C, Y, Z = range(5)
SHAPES = {A: (4, 5), B: (5, 6), C: (4, 6), Y: (4, 6), Z: (4, 6)}


def buffer(number: int, space: str = "input", offset: int = 0, dies: int = 0) -> Buffer:
    kind = TensorType(SHAPES[number], "float32")
    return Buffer(f"b{number}", space, kind, offset or number, 0, dies, None)


def doubled(load: Affine = M * 6 + N, store: Affine = M * 6 + N, sizes=(4, 6)) -> Nest:
    """What is loaded from operand 0, added to itself, at operand 1."""
    steps = (Load(0, load, "float32"), Apply("add", (0, 0), "float32"))
    return Nest("doubled_0", sizes, 0, 1, steps, (Store(1, store, 1, "float32"),))


def plan_of(*stages: Stage, **buffers: Buffer) -> Plan:
    kept = [buffer(n) for n in SHAPES]
    for number, changed in buffers.items():
        kept["abcyz".index(number)] = changed
    kernel = Kernel("k", stages, 0, (), 0)
    return Plan((kernel,), tuple(kept), 1 << 10, 2)


def stage(code, *buffers: int, writes: int = -1) -> Stage:
    extent = code.rows if isinstance(code, Product) else code.sizes[0]
    last = len(buffers) - 1 if writes < 0 else writes
    return Stage(code, tuple(map(Operand, buffers)), (last,), extent)


FIRST = stage(PRODUCT, A, B, C)


def test_a_nest_that_follows_each_element_is_an_epilogue():
    plan, epilogues = merged(plan_of(FIRST, stage(doubled(), C, Y)))
    ((only,),) = [k.stages for k in plan.kernels]
    nest = epilogues[only.code.name].nest
    assert only.operands == tuple(map(Operand, (A, B, C, Y)))
    assert [s.operand for s in nest.stores] == [RESULT, 3]
    assert only.writes == (RESULT, 3)


def test_a_product_that_nothing_else_reads_is_not_stored():
    plan, epilogues = merged(plan_of(FIRST, stage(doubled(), C, Y), c=buffer(C, "arena", 64)))
    assert [s.operand for s in next(iter(epilogues.values())).nest.stores] == [3]
    assert plan.kernels[0].stages[0].writes == (3,)


def test_it_is_where_a_later_kernel_or_another_stage_reads_it():
    later = buffer(C, "arena", 64, dies=1)
    _, epilogues = merged(plan_of(FIRST, stage(doubled(), C, Y), c=later))
    assert len(next(iter(epilogues.values())).nest.stores) == 2
    steps = Load(0, N * 6 + M, "float32"), Fold("add", 0, "float32")
    total = Nest("sum_0", (6, 4), 1, 0, steps, (Store(1, M, 1, "float32"),))
    other = stage(total, C, Z)
    plan, epilogues = merged(
        plan_of(FIRST, stage(doubled(), C, Y), other, c=buffer(C, "arena", 64))
    )
    assert len(next(iter(epilogues.values())).nest.stores) == 2
    assert plan.kernels[0].stages[1] == other


def test_what_was_written_by_one_nest_is_known_to_the_next():
    """Three stages in one, and neither value between them in memory."""
    kept = {"c": buffer(C, "arena", 64), "y": buffer(Y, "arena", 256)}
    plan, epilogues = merged(plan_of(FIRST, stage(doubled(), C, Y), stage(doubled(), Y, Z), **kept))
    (epilogue,) = epilogues.values()
    assert len(plan.kernels[0].stages) == 1
    assert sum(isinstance(s, Load) for s in epilogue.nest.steps) == 1
    assert len(epilogue.nest.stores) == 1


def test_loops_that_are_merged_and_apart_are_cut_alike():
    """Rows of 6 as one loop over all 24, or as 4 x 3 x 2."""
    whole = doubled(M, M, (24,))
    _, epilogues = merged(plan_of(FIRST, stage(whole, C, Y)))
    (epilogue,) = epilogues.values()
    assert epilogue.digits == (Digit(0, 1, 4), Digit(1, 1, 6))
    assert epilogue.nest.stores[-1].at == M * 6 + N
    at = M * 6 + N * 2 + K
    _, epilogues = merged(plan_of(FIRST, stage(doubled(at, at, (4, 3, 2)), C, Y)))
    (epilogue,) = epilogues.values()
    assert epilogue.digits == (Digit(0, 1, 4), Digit(1, 2, 3), Digit(1, 1, 2))


OTHERS = {
    "another element": (doubled(load=M * 6 + N * -1 + 5), {}),
    "part of them": (doubled(sizes=(4, 5)), {}),
    "more of them": (doubled(sizes=(4, 6, 2), store=M * 12 + N * 2 + K), {}),
    "all into one": (doubled(store=M * 6), {}),
    "over what the product reads": (
        doubled(),
        {"b": buffer(B, "arena", 64), "y": buffer(Y, "arena", 128)},
    ),
}


@pytest.mark.parametrize("why", OTHERS)
def test_what_is_not_for_each_element_alone_is_a_stage_of_its_own(why):
    nest, buffers = OTHERS[why]
    plan, epilogues = merged(plan_of(FIRST, stage(nest, C, Y), **buffers))
    assert not epilogues
    assert len(plan.kernels[0].stages) == 2


def test_sums_are_gone_on_with_too():
    """The parts of a long sum, and the update that follows: one nest."""
    found = gl.jit(lambda x: gnp.exp(x.T @ x), target="cuda-ptx")
    program = found.program(np.ones((1 << 14, 16), np.float32))
    product, total = program.gpu.plan.functions.values()
    assert product.epilogue is None
    assert total.nest.reduced == 1
    assert any(isinstance(s, Apply) and s.op == "exp" for s in total.nest.steps)
