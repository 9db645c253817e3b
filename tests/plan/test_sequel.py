"""What follows the folds of rows: loops of its own where it is much, the same numbers anyway."""

import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.plan import sequel

RNG = np.random.default_rng(0)


def stages(function, *arrays):
    (kernel,) = gl.jit(function).program(*arrays).plan.kernels
    return [s.code for s in kernel.stages]


def heavy(x):
    total = x.sum(-1)
    return gnp.tanh(total), gnp.log(abs(total) + 1) / 2


def test_much_that_follows_a_fold_has_rows_across_the_lanes():
    first, last = stages(heavy, np.ones((64, 48), np.float32))
    assert first.vector == 1
    assert first.reduced == 1
    assert (last.reduced, last.vector) == (0, 0)


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (lambda x: x.sum(-1) * 2, (64, 48)),  # little follows
        (heavy, (sequel.LANES - 1, 48)),  # few rows
        (lambda x: gnp.tanh(x.sum(0)), (48, 64)),  # rows are across the lanes already
        (lambda x: gnp.tanh(x.sum()), (48, 64)),  # there is one row
    ],
)
def test_otherwise_there_is_one_nest(function, shape):
    assert len(stages(function, np.ones(shape, np.float32))) == 1


def test_what_the_row_needs_itself_stays_with_it():
    def centred(x):
        level = gnp.log(gnp.exp(x).sum(-1, keepdims=True))
        return x - level, gnp.sin(level)

    first, last = stages(centred, np.ones((32, 40), np.float32))
    assert [s.op for s in last.steps if hasattr(s, "args")] == ["sin"]
    assert "log" in [s.op for s in first.steps if hasattr(s, "args")]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(16, 1), (17, 10), (33, 64), (5, 7, 9), (64, 200)])
def test_numbers_are_the_interpreters(dtype, shape):
    x = RNG.normal(size=shape).astype(dtype)
    x.reshape(-1)[0] = np.inf

    def several(x, y):
        a, b = heavy(x)
        best = x.max(-1)
        return a, b * y, gnp.exp(x - best[..., None]), gnp.where(best > 0, gnp.sin(a), 0), best

    gl.jit(several, verify=True)(x, x[..., 0])


def test_after_a_product_too():
    x, w = RNG.normal(size=(64, 32)), RNG.normal(size=(32, 20))

    def scores(x, w):
        logits = x @ w
        top = logits.max(-1, keepdims=True)
        return gnp.exp(logits - top), gnp.log(gnp.exp(logits - top).sum(-1)) + top[:, 0]

    assert len(stages(scores, x, w)) == 3
    gl.jit(scores, verify=True)(x, w)


def test_a_dot_product_a_row_and_what_follows():
    x, w = RNG.normal(size=(64, 64)), RNG.normal(size=64)
    assert len(stages(lambda x, w: gnp.tanh(x @ w), x, w)) == 2
    gl.jit(lambda x, w: gnp.tanh(x @ w), verify=True)(x, w)
