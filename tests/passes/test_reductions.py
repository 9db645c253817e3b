"""Long reductions in two stages."""

import numpy as np
import pytest
from tests.teams import shared

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.passes.reductions import FEWEST, LONG, MOST, _parts

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((1 << 17,), None), ((4096, 40), 0), ((4096, 5, 8), (0, 2)), ((1, 1 << 17), 1)],
)
@pytest.mark.parametrize("fold", [gnp.sum, gnp.max, gnp.min, gnp.mean])
def test_a_long_fold_is_shared_and_has_the_same_value_and_bits(shape, axis, fold):
    x = RNG.normal(size=shape)
    compiled = gl.jit(lambda x: fold(x * x, axis=axis), verify=True)
    found = compiled(x)
    np.testing.assert_allclose(found, fold(x * x, axis=axis), rtol=1e-12)
    with gl.settings(disable=("lighten",)):
        other = gl.jit(lambda x: fold(x * x, axis=axis))
        np.testing.assert_array_equal(other(x), found)
        assert any(s.grain for k in other.program().plan.kernels for s in k.stages)
        for size in (2, 3):
            shared(other.program().executable, size)
            np.testing.assert_array_equal(other(x), found)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((LONG // 2,), None), ((LONG + 1,), None), ((64, 4096), 1), ((512, 512), 0)],
    ids=["short", "prime", "rows", "many results"],
)
def test_other_folds_stay_one(shape, axis):
    compiled = gl.jit(lambda x: gnp.sum(x, axis=axis))
    compiled(np.ones(shape))
    assert len(compiled.program().plan.kernels) == 1


@pytest.mark.parametrize("threads", [1, 2])
def test_a_step_over_many_weights_is_one_pass(threads):
    size = 1 << 17

    def loss(w, x, y):
        error = gnp.tanh(w * x) - y
        return (error * error).mean()

    rng = np.random.default_rng(1)
    w, x, y = rng.normal(size=(3, size)).astype("float32")
    step = gl.train_step(loss, gl.optim.sgd(0.5), threads=threads)
    state, value = step(step.init(w), x, y)
    error = np.tanh(w * x) - y
    np.testing.assert_allclose(value, (error * error).mean(), rtol=1e-5)
    slope = 2 * error * (1 - np.tanh(w * x) ** 2) * x / size
    np.testing.assert_allclose(state.params, w - 0.5 * slope, rtol=1e-6, atol=1e-7)
    plan = step.program().plan
    assert all(b.type.size < size for b in plan.buffers if b.space == "arena")


def test_long_rows_are_folded_by_what_computes_them():
    x = RNG.normal(size=(100, 700)).astype("float32")
    compiled = gl.jit(lambda x: (gnp.tanh(x).sum(), gnp.tanh(x).sum(1)), threads=1)
    total, rows = compiled(x)
    np.testing.assert_allclose(rows, np.tanh(x).sum(1), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(total, np.tanh(x).sum(), rtol=1e-3)
    assert all(b.type.size < x.size for b in compiled.program().plan.buffers if b.space == "arena")


@pytest.mark.parametrize("size", [0, 1, 7, 64, 1000, 4096, 10**6, 10**6 + 3])
def test_parts_divide_an_axis(size):
    parts = _parts(size)
    assert not parts or (size % parts == 0 and FEWEST <= parts <= MOST)
