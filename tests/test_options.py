"""The options of everything compiled: accepted, refused with the allowed values, and obeyed."""

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import MemoryLimitError, SettingError


def double(x):
    return x + x


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"device": "cuda"}, "device 'cuda' is not there[^$]*device=\"cpu\""),
        ({"threads": 0}, "threads=0[^$]*a number of threads from 1"),
        ({"threads": "all"}, "threads='all'"),
        ({"precision": "tf32"}, "precision 'tf32'[^$]*highest"),
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
