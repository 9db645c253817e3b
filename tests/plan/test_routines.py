"""Routines whose pieces many threads take at once."""

from __future__ import annotations

import numpy as np
import pytest
from tests.gpus import Simulated

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.plan.plan import Routine
from gradloom.runtime.cuda.machine import using
from gradloom.settings import settings

RNG = np.random.default_rng(3)
FEW, MANY = RNG.normal(size=(7, 20)), RNG.normal(size=(70, 9))
ROUTINES = {
    "sort": lambda x: (gnp.sort(x, axis=1), gnp.argsort(x, axis=1)),
    "cumsum": lambda x: gnp.cumsum(x, axis=1),
    "cumprod": lambda x: gnp.cumprod(x, axis=1),
    "fft": lambda x: gnp.abs(gnp.fft.fft(x, axis=1)),
    "searchsorted": lambda x: gnp.searchsorted(gnp.sort(x[0]), x),
}


def stages_of(function, x):
    program = gl.jit(function, target="cuda-ptx").program(x)
    stages = [s for kernel in program.gpu.plan.plan.kernels for s in kernel.stages]
    return program.gpu.plan, [s for s in stages if isinstance(s.code, Routine)]


@pytest.mark.parametrize("name", ROUTINES)
@pytest.mark.parametrize("x", [FEW, MANY], ids=["a piece a warp", "a piece a thread"])
@pytest.mark.parametrize("form", ["one kernel", "launches"])
def test_pieces_are_shared_and_are_the_same_numbers(name, x, form):
    function = ROUTINES[name]
    wanted = gl.jit(function)(x)
    with settings(disable=("persistent",) if form == "launches" else ()):
        for blocks in (1, 3):
            with using(Simulated(blocks=blocks)):
                got = gl.jit(function, device="cuda")(x)
            pairs = zip(*(v if isinstance(v, tuple) else (v,) for v in (got, wanted)), strict=True)
            for one, other in pairs:
                np.testing.assert_allclose(np.asarray(one), other, rtol=1e-12, atol=1e-12)


def test_each_piece_has_scratch_memory_of_its_own():
    plan, (sort,) = stages_of(lambda x: gnp.sort(x, axis=1), FEW)
    assert (sort.extent, sort.grain) == (7, 1)
    buffers = plan.plan.buffers
    work = [o for o in sort.operands if buffers[o.buffer].name == "scratch_of_pieces"]
    steps = sort.numbers[-2:]
    assert [o.offset for o in work] == [0, 7 * steps[0]]
    assert buffers[work[0].buffer].type.nbytes == 7 * sum(steps)
    assert plan.plan.arena_bytes >= buffers[work[0].buffer].offset + 7 * sum(steps)


def test_one_piece_is_one_threads():
    _, (sort,) = stages_of(gnp.sort, FEW[0])
    assert (sort.extent, sort.grain) == (1, 0)
