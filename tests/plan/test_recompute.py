"""A memory limit: values computed again instead of kept, to the same bits."""

import re
import subprocess
import sys

import numpy as np
import pytest

import gradloom as gl

RNG = np.random.default_rng(0)
DEPTH = 16
W, X = RNG.normal(size=(DEPTH, 32, 32)) / 6, RNG.normal(size=(128, 32))


def loss(w, x):
    for i in range(DEPTH):
        x = np.tanh(np.sin(x @ w[i]))
    return (x * x).sum()


def gradient(w, x):
    return gl.grad(loss)(w, x)


def arena(function):
    return function.program().plan.arena_bytes


@pytest.fixture(scope="module")
def whole():
    """Without a limit: the function, and its result."""
    function = gl.jit(gradient)
    return function, function(W, X)


@pytest.mark.parametrize("part", [0.7, 0.5, 0.45])
def test_less_memory_to_the_same_bits(whole, part):
    function, wanted = whole
    limit = int(part * arena(function))
    frugal = gl.jit(gradient, memory_limit=limit)
    with gl.settings(verify=2):
        np.testing.assert_array_equal(frugal(W, X), wanted)
    assert arena(frugal) <= limit
    assert frugal.program().executable.flops > function.program().executable.flops


def test_a_limit_that_is_kept_anyway_changes_nothing(whole):
    function, _ = whole
    frugal = gl.jit(gradient, memory_limit=arena(function))
    frugal(W, X)
    assert frugal.program().graph.text() == function.program().graph.text()


def test_the_least_possible_is_named_and_is_possible(whole):
    function, wanted = whole
    with pytest.raises(gl.MemoryLimitError) as found:
        gl.jit(gradient, memory_limit=1000)(W, X)
    text = str(found.value)
    assert "test_recompute.py" in text
    least = int(re.search(r"allow (\d+)", text)[1])
    assert least < arena(function) / 2
    frugal = gl.jit(gradient, memory_limit=least)
    np.testing.assert_array_equal(frugal(W, X), wanted)


def test_a_training_step_within_a_limit():
    def step_loss(w, x, y):
        return ((loss(w, x) - y) ** 2).mean()

    free = gl.train_step(step_loss, gl.optim.sgd(1e-6))
    state, first = free(free.init(W), X, 1.0)
    kept = free.program().plan.arena_bytes
    state_bytes = W.nbytes
    small = gl.train_step(
        step_loss, gl.optim.sgd(1e-6), memory_limit=kept // 2 + state_bytes + X.nbytes + 4096
    )
    frugal, second = small(small.init(W), X, 1.0)
    assert first == second
    np.testing.assert_array_equal(frugal.params, state.params)
    assert small.program().plan.arena_bytes < 0.6 * kept


def test_loops_are_kept_whole():
    def recurrent(w, xs):
        def step(h, x):
            return np.tanh(h @ w[0] + x), None

        last, _ = gl.scan(step, xs[0], xs)
        return loss(w, last)

    xs = RNG.normal(size=(5, 128, 32))
    function = gl.jit(lambda w, xs: gl.grad(recurrent)(w, xs))
    wanted = function(W, xs)
    frugal = gl.jit(lambda w, xs: gl.grad(recurrent)(w, xs), memory_limit=arena(function) * 3 // 4)
    np.testing.assert_array_equal(frugal(W, xs), wanted)


def test_a_process_that_has_no_checkpoint_computes_again_too():
    """What is told apart is a row of its own, which a process may not have met before."""
    text = """
import numpy as np, gradloom as gl, gradloom.numpy as gnp
turn = np.eye(16) * 0.9
def deep(x):
    for _ in range(12):
        x = gnp.tanh(gnp.sin(x @ turn))
    return x.sum()
x = np.ones((64, 16))
whole = gl.jit(gl.grad(deep)).memory(x).arena_bytes
assert gl.jit(gl.grad(deep), memory_limit=whole * 2 // 3).memory(x).arena_bytes < whole
"""
    subprocess.run([sys.executable, "-c", text], check=True)
