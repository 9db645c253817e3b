"""Nests in the driver's own function: which, and what they may say of their memory."""

import numpy as np
import pytest
from tests.plan.test_fuse import planned

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.plan.embed import ROUNDS, SMALL, rounds, work
from gradloom.plan.plan import Nest, Plan


def stages(plan: Plan):
    return [s for k in plan.kernels for s in k.stages if isinstance(s.code, Nest)]


def embedded(plan: Plan):
    return [s for s in stages(plan) if s.code.embedded]


def test_a_few_operations_are_embedded_and_many_are_not():
    assert embedded(planned(lambda x: x * 2.0 + 1.0, (8,)))
    assert not embedded(planned(lambda x: x * 2.0 + 1.0, (4096,)))
    assert not embedded(planned(lambda x: gnp.arctan2(x, x + 1.0), (200,)))
    for shape in ((3,), (16,), (40,), (300,)):
        for stage in stages(planned(lambda x: gnp.sin(x) * x, shape)):
            small = rounds(stage) <= ROUNDS and work(stage) <= SMALL
            assert bool(stage.code.embedded) == small


def test_an_embedded_nest_has_one_set_of_operands_and_a_name_of_its_own():
    def f(x, y):
        return gnp.sum(x * x), gnp.sum(y * y)

    found = embedded(planned(f, (5,), (6,))) + embedded(planned(f, (5,), (5,)))
    assert all(len(s.code.embedded) == len(s.operands) for s in found)
    for plan in (planned(f, (5,), (6,)), planned(f, (5,), (5,))):
        codes = [s.code for s in embedded(plan)]
        assert len({c.name for c in codes}) == len(set(codes))


def test_memory_that_overlaps_is_not_said_to_be_apart():
    """Buffers of the arena that live after one another share bytes."""

    def f(x):
        for _ in range(12):
            x = gnp.flip(gnp.sin(x), 0) + gnp.sum(x)
        return x

    plan = planned(f, (6,))
    numbers = {}
    for stage in embedded(plan):
        for operand, apart in zip(stage.operands, stage.code.embedded, strict=True):
            numbers.setdefault(apart.memory, plan.buffers[operand.buffer])
    shared = 0
    for stage in embedded(plan):
        for operand, apart in zip(stage.operands, stage.code.embedded, strict=True):
            own = plan.buffers[operand.buffer]
            for other in (numbers[n] for n in apart.others if n in numbers):
                assert own.space != "arena" or other.space != "arena" or not _overlap(own, other)
            shared += len(numbers) - 1 - len(apart.others)
    assert shared  # or this test shows nothing


def _overlap(one, other):
    first, second = sorted((one, other), key=lambda b: b.offset)
    return second.offset < first.offset + first.type.nbytes


@pytest.mark.parametrize("size", [1, 2, 3, 5, 17, 33])
def test_carries_of_odd_sizes(size):
    """They stay in registers over the rounds, as vectors of exactly their size."""
    rng = np.random.default_rng(size)
    start, xs = rng.normal(size=size), rng.normal(size=(7, size))

    def f(start, xs):
        def step(carry, x):
            a, b = carry
            a = a + 0.1 * (x - gnp.flip(b, 0))
            return (gnp.tanh(a), b * 0.5 + gnp.sum(a)), a[0] * b[-1]

        return gl.scan(step, (start, start * 2.0), xs)

    with gl.settings(verify=2):
        (a, b), ys = gl.jit(f)(start, xs)
    with gl.settings(disable=("embed",)):
        (c, d), zs = gl.jit(f)(start, xs)
    np.testing.assert_allclose(a, c, rtol=1e-14)
    np.testing.assert_allclose(b, d, rtol=1e-14)
    np.testing.assert_allclose(ys, zs, rtol=1e-14)


def test_a_gather_is_never_embedded():
    """Its fault word belongs to a call."""
    x = np.arange(5.0)
    function = gl.jit(lambda x, i: x[i])
    np.testing.assert_array_equal(function(x, np.array([3, -1])), x[[3, -1]])
    assert not embedded(function.program().plan)
    with pytest.raises(IndexError):
        function(x, np.array([3, 5]))
