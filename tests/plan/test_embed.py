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


SMALL_STEPS = (
    lambda a, b, x: (a + x * b, gnp.tanh(b - a)),
    lambda a, b, x: (gnp.flip(b, 0) * x[:1], a - x),
    lambda a, b, x: (b, a * 0.5 + gnp.sum(b * x)),
    lambda a, b, x: (gnp.where(a > b, a, x), gnp.maximum(b, gnp.mean(x)) * 0.9),
    lambda a, b, x: (a - 0.1 * gnp.outer(a, b)[0], gnp.cumsum(b)[-1:] * x),
    lambda a, b, x: (gnp.concatenate([b[1:], a[:1]]), gnp.sin(a) * x),
)


@pytest.mark.parametrize("seed", range(12))
def test_random_loops_and_their_gradients_with_and_without(seed):
    """Loops of small steps: the arena poisoned, the same numbers called, embedded and eagerly."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 20))
    chosen = [SMALL_STEPS[i] for i in rng.integers(0, len(SMALL_STEPS), 3)]
    start, xs = rng.normal(size=size), rng.normal(size=(int(rng.integers(1, 6)), size))

    def loss(start, xs):
        def step(carry, x):
            for change in chosen:
                carry = change(*carry, x)
            return carry, carry[1]

        (a, b), ys = gl.scan(step, (start, start * 0.5), xs)
        return gnp.sum(a * b) + gnp.sum(gnp.sin(ys))

    function = gl.value_and_grad(loss, (0, 1))
    with gl.settings(verify=2):
        value, grads = gl.jit(function)(start, xs)
    with gl.settings(disable=("embed",), verify=2):
        called, called_grads = gl.jit(function)(start, xs)
    with gl.eager():
        meant = loss(start, xs)
    np.testing.assert_allclose([value, called], [meant, meant], rtol=1e-11, atol=1e-12)
    for one, other in zip(grads, called_grads, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("rows", [4, 6, 16])
@pytest.mark.parametrize("columns", [3, 10, 16])
def test_short_rows_across_lanes_are_called(rows, columns):
    def softmax(x):
        powers = gnp.exp(x - x.max(-1, keepdims=True))
        return powers / powers.sum(-1, keepdims=True)

    gl.jit(softmax, verify=True)(np.random.default_rng(0).normal(size=(rows, columns)))
