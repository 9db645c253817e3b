"""The options of everything compiled: accepted, refused with the allowed values, and obeyed."""

import numpy as np
import pytest

import gradloom as gl
from gradloom.codegen.source import run_source
from gradloom.errors import MemoryLimitError, SettingError


def double(x):
    return x + x


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"device": "tpu"}, "device 'tpu' is not there[^$]*\"cuda\""),
        ({"threads": 0}, "threads=0[^$]*a number of threads from 1"),
        ({"threads": "all"}, "threads='all'"),
        ({"precision": "tf32"}, "precision 'tf32'[^$]*highest[^$]*tensorfloat32"),
        ({"memory_limit": "lots"}, "memory_limit='lots'[^$]*64MB"),
        ({"memory_limit": -1}, "memory_limit=-1"),
        ({"speed": 11}, "no option 'speed'[^$]*threads, device, verify"),
    ],
)
def test_wrong_options_are_refused_where_they_are_given(options, text):
    with pytest.raises(SettingError, match=text) as caught:
        gl.jit(double, **options)
    assert "test_options.py" in str(caught.value)
    with pytest.raises(SettingError, match=text):
        gl.train_step(lambda p, x: np.sum(p * x), gl.optim.sgd(0.1), **options)


@pytest.mark.parametrize("threads", [None, 1, 2])
def test_threads_change_nothing(threads):
    np.testing.assert_array_equal(gl.jit(double, threads=threads)(np.ones(3)), [2, 2, 2])


@pytest.mark.parametrize(
    ("limit", "fits"),
    [("8.1KB", True), ("7.9KB", False), (8000, True), (7999, False), ("1GiB", True)],
)
def test_memory_limit_counts_the_bytes_of_the_arena(limit, fits):
    """exp(x) of 1,000 float64 takes 125 cache lines, and the product is written where it goes."""

    def f(x):
        return np.exp(x) @ x

    compiled = gl.jit(f, memory_limit=limit)
    if fits:
        assert compiled(np.zeros(1000)) == 0
        return
    with pytest.raises(MemoryLimitError, match="needs 8000 bytes"):
        compiled(np.zeros(1000))


@pytest.mark.parametrize("precision", ["float32", "tensorfloat32", "bfloat16"])
def test_on_the_cpu_products_are_computed_as_written(precision):
    x = np.random.default_rng(0).normal(size=(20, 30)).astype("f")
    product = gl.jit(lambda x: x @ x.T, precision=precision)(x)
    np.testing.assert_array_equal(product, gl.jit(lambda x: x @ x.T)(x))


# ---- denormal numbers

TINY = {"float32": np.float32(1e-40), "float64": np.float64(1e-310)}


@pytest.mark.parametrize("dtype", TINY)
@pytest.mark.parametrize("size", [7, 1 << 20])  # by one thread; by a team
def test_denormal_numbers_are_zeros_where_that_is_asked_for(dtype, size):
    tiny = np.full(size, TINY[dtype])
    wide = np.full(size, TINY[dtype] * 1e9)
    flushed, exact = gl.jit(scaled, flush_denormals=True), gl.jit(scaled)
    for _ in range(3):
        np.testing.assert_array_equal(flushed(tiny, TINY[dtype] * 0 + 1e9), 0)  # as operands
        np.testing.assert_array_equal(flushed(wide, TINY[dtype] * 0 + 1e-9), 0)  # as results
        np.testing.assert_array_equal(
            exact(tiny, tiny.dtype.type(0.5)), tiny * tiny.dtype.type(0.5)
        )
        assert tiny[0] * tiny.dtype.type(0.5) > 0  # this thread's mode is what it was


def scaled(x, factor):
    return x * factor


def test_a_training_step_flushes_denormal_numbers():
    states = []
    for flush in (False, True):
        step = gl.train_step(lambda w: (w * w).sum(), gl.optim.sgd(0.25), flush_denormals=flush)
        state = step.init(np.full(5, 1e-300))
        for _ in range(40):
            state, _ = step(state)
        states.append(state.params)
    assert np.all(states[0] > 0)
    assert np.all(states[0] < np.finfo(float).tiny)
    np.testing.assert_array_equal(states[1], 0)


def test_the_source_shows_where_denormal_numbers_are_flushed():
    text = gl.jit(double, flush_denormals=True).source(np.ones(3))
    assert "mode = begin_flushing()" in text
    np.testing.assert_array_equal(run_source(text, [np.ones(3)])[0], 2.0)
    with pytest.raises(SettingError, match="flush_denormals=1"):
        gl.jit(double, flush_denormals=1)
