"""How a team shares a plan: nothing is done twice, nothing is read too early, and no barrier stands
in vain."""

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st
from tests.control.random_programs import SIZE, program
from tests.fuzz import random_case
from tests.plan.sharing import RaceError, assert_no_race

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.errors import InternalError
from gradloom.pipeline import run_passes
from gradloom.plan import split as split_module
from gradloom.plan.assemble import make_plan
from gradloom.plan.plan import Kernel, Plan, Product, Region, kernels_of
from gradloom.plan.split import verify_split
from gradloom.settings import settings
from gradloom.tracing import leaf_of, record

SLOW = profile(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def shared(graph, *, finely=True):
    """A plan of which everything is shared that can be, however little it gains; finely, if so, by
    single iterations."""
    grains = dict.fromkeys(("FLAT_GRAIN", "ROW_TILE"), 1) if finely else {"FLAT_GRAIN": 64}
    with settings(disable=("lighten",)), patch.multiple(split_module, **grains):
        return make_plan(run_passes(graph))


def traced(function, *args):
    return record(lambda values: function(*values), tuple(map(leaf_of, args))).graph


def plan_of(function, *args, finely=False):
    return shared(traced(function, *args), finely=finely)


def rows(x, w, v):
    """Everything keeps to its own rows."""
    return np.tanh(np.tanh(x @ w) @ v)


def both(x, w):
    """The second product reads all rows of the first."""
    return x.T @ np.tanh(x @ w)


def scanned(x, w):
    def step(carry, row):
        carry = np.tanh(carry @ w + row)
        return carry, carry * 2.0

    return gl.scan(step, x[0], x)


def searched(x):
    def again(state):
        return np.sum(state) > 1.0

    return gl.while_loop(again, lambda state: state * 0.5 + state[::-1] * 0.1, x)


def chosen(x, n):
    return gl.cond(n > 1, np.tanh, lambda v: v[::-1] * 2.0, x)


RNG = np.random.default_rng(0)
PROGRAMS = {
    "rows": (rows, RNG.normal(size=(64, 20)), np.ones((20, 32)), np.ones((32, 16))),
    "both": (both, RNG.normal(size=(64, 20)), np.ones((20, 24))),
    "scan": (scanned, RNG.normal(size=(5, 32, 8)), np.ones((8, 8))),
    "while": (searched, RNG.uniform(size=512)),
    "branch": (chosen, RNG.uniform(size=512), 1),
    "nested": (lambda x, w: gnp.sum(gl.jacrev(both)(x, w)), np.ones((32, 3)), np.ones((3, 4))),
}


APART = ("rows", "scan")  # what keeps to its rows, round after round too


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("name", PROGRAMS)
def test_no_two_of_a_team_race(name, size):
    plan = plan_of(*PROGRAMS[name])
    verify_split(plan)
    assert_no_race(plan, size)


@SLOW
@given(st.integers(0, 2**32))
def test_no_two_of_a_team_race_in_a_random_program(seed):
    plan = shared(random_case(seed).graph)
    verify_split(plan)
    for size in (2, 3):
        assert_no_race(plan, size, seed)


@pytest.mark.parametrize("seed", range(12))
def test_no_two_of_a_team_race_in_random_loops(seed):
    f = gl.value_and_grad(program(seed), (0, 1))
    plan = plan_of(gl.vmap(f, in_axes=(0, None)), np.ones((4, SIZE)), np.ones(SIZE), finely=True)
    verify_split(plan)
    for size in (2, 3):
        assert_no_race(plan, size, seed)
    for lacking in barriers(plan):
        with pytest.raises(InternalError, match="a barrier is missing"):
            verify_split(lacking)


def without_one(part):
    """The part without one of its barriers, for each."""
    if isinstance(part, Kernel):
        return [
            replace(part, stages=(*part.stages[:n], replace(s, barrier=""), *part.stages[n + 1 :]))
            for n, s in enumerate(part.stages)
            if s.barrier
        ]
    found = [replace(part, init=init) for init in row_without_one(part.init)]
    for n, body in enumerate(part.bodies):
        found += (
            replace(part, bodies=(*part.bodies[:n], other, *part.bodies[n + 1 :]))
            for other in row_without_one(body)
        )
    found += [replace(part, barrier="")] if part.barrier else []
    return found + ([replace(part, again="")] if part.again else [])


def row_without_one(parts):
    return [
        (*parts[:n], other, *parts[n + 1 :])
        for n, part in enumerate(parts)
        for other in without_one(part)
    ]


def barriers(plan: Plan):
    """The plan without one of its barriers, for each."""
    return [replace(plan, parts=parts) for parts in row_without_one(plan.parts)]


@pytest.mark.parametrize("name", [n for n in PROGRAMS if n not in APART])
def test_a_barrier_that_is_gone_is_missed(name):
    lacking = barriers(plan_of(*PROGRAMS[name]))
    assert lacking
    for plan in lacking:
        with pytest.raises(InternalError, match="a barrier is missing"):
            verify_split(plan)


@pytest.mark.parametrize("name", ["both", "while"])
def test_without_a_barrier_there_is_a_race(name):
    """So the tests above would see one."""
    for plan in barriers(plan_of(*PROGRAMS[name])):
        with pytest.raises(RaceError):
            assert_no_race(plan, 3)


@pytest.mark.parametrize("name", APART)
def test_what_keeps_to_its_rows_needs_no_barrier(name):
    plan = plan_of(*PROGRAMS[name])
    assert not barriers(plan)
    assert all(s.grain for k in plan.kernels for s in k.stages)


def test_a_product_is_split_by_whole_tiles():
    plan = plan_of(rows, np.ones((100, 20)), np.ones((20, 24)), np.ones((24, 8)))
    products = [s for k in plan.kernels for s in k.stages if isinstance(s.code, Product)]
    assert {s.grain for s in products} == {16}


def test_what_is_split_wrongly_is_refused():
    plan = plan_of(lambda x: gnp.sum(x), np.ones(1000))
    (kernel,) = plan.kernels
    assert not kernel.stages[0].grain
    stages = (replace(kernel.stages[0], grain=1),)
    with pytest.raises(InternalError, match="cannot be split"):
        verify_split(replace(plan, parts=(replace(kernel, stages=stages),)))


def test_little_work_is_not_shared():
    f = gl.jit(rows)
    few = f.program(np.ones((6, 2)), np.ones((2, 2)), np.ones((2, 2))).plan
    assert not any(s.grain for k in few.kernels for s in k.stages)
    many = f.program(np.ones((512, 256)), np.ones((256, 256)), np.ones((256, 256))).plan
    assert all(s.grain for k in many.kernels for s in k.stages)


def test_loops_meet_where_rounds_need_one_another():
    plan = plan_of(*PROGRAMS["while"])
    (region,) = [part for part in plan.parts if isinstance(part, Region)]
    assert region.barrier


def recurrent(x, u):
    def cell(h, fed):
        h = gnp.tanh(fed + h @ u)
        return h, h

    start = gnp.zeros((x.shape[1], u.shape[0]), x.dtype) + x[0, 0, 0]
    return gl.scan(cell, start, x)[1]


def test_a_team_meets_before_a_loop_rather_than_in_each_round():
    plan = plan_of(recurrent, np.ones((64, 16, 256), "float32"), np.ones((256, 256), "float32"))
    (region,) = [part for part in plan.parts if isinstance(part, Region)]
    assert all(s.grain for k in kernels_of(region.bodies[0]) for s in k.stages)
    assert region.barrier
    assert not region.again
    assert not any(s.barrier for k in kernels_of(region.bodies[0]) for s in k.stages)
    lacking = replace(region, barrier="")
    with pytest.raises(InternalError, match="a barrier is missing"):
        verify_split(replace(plan, parts=tuple(lacking if p is region else p for p in plan.parts)))
