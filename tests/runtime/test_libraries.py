"""OpenBLAS has one thread while a program calls LAPACK, and its own number of them otherwise."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.runtime import libraries
from gradloom.runtime.libraries import one_thread

COUNTS = libraries._counts()
pytestmark = pytest.mark.skipif(COUNTS is None, reason="SciPy has another library than OpenBLAS")


@pytest.fixture
def threads():
    get, put = COUNTS
    before = get()
    put(2)
    yield get
    put(before)


def test_the_count_is_one_inside_and_what_it_was_outside(threads):
    with one_thread():
        assert threads() == 1
        with one_thread():
            assert threads() == 1
        assert threads() == 1
    assert threads() == 2


def test_an_error_gives_it_back(threads):
    with pytest.raises(ValueError, match="wrong"), one_thread():
        raise ValueError("wrong")
    assert threads() == 2


def test_many_at_once_give_it_back(threads):
    def use(_):
        with one_thread():
            return threads()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(use, range(200))) == {1}
    assert threads() == 2


def test_a_program_with_lapack_calls_it_so_and_no_other(threads):
    seen = []

    def note(x):
        seen.append(threads())
        return x

    def factor(x):
        out = gnp.linalg.cholesky(x)
        return gl.pure_callback(note, gl.eval_shape(gnp.linalg.cholesky, x), out)

    gl.jit(factor)(np.eye(3))
    assert seen == [1]
    assert threads() == 2
    assert not gl.jit(gnp.exp).program(np.ones(3)).executable.needs.libraries
