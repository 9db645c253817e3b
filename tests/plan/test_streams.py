"""Nests over more memory than the caches hold ask for it ahead; what they compute is the same."""

import numpy as np
import pytest

import gradloom as gl
from gradloom.plan.costs import CACHE_BYTES
from gradloom.plan.plan import Nest

LARGE = CACHE_BYTES // 4 + 1003  # of float32: beyond the cache, and in no whole vectors


def _nests(program):
    codes = (s.code for k in program.plan.kernels for s in k.stages)
    return [code for code in codes if isinstance(code, Nest)]


def _shifted(x):
    return 0.5 * x + np.tanh(x)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_what_is_large_streams(dtype):
    x = (np.random.default_rng(0).normal(size=LARGE) * 3).astype(dtype)
    f = gl.jit(_shifted, threads=1)
    result = f(x)
    np.testing.assert_allclose(result, _shifted(x), rtol=1e-5, atol=1e-6)
    assert all(nest.streams for nest in _nests(f.program(x)))
    assert "llvm.prefetch" in f.llvm(x)


def test_what_fits_the_cache_does_not():
    x = np.ones(1000, np.float32)
    f = gl.jit(_shifted, threads=1)
    assert not any(nest.streams for nest in _nests(f.program(x)))
    assert "llvm.prefetch" not in f.llvm(x)


def test_sums_stream_too():
    x = np.random.default_rng(0).normal(size=(8, LARGE)).astype(np.float32)
    f = gl.jit(lambda x: (x * x).sum(1), threads=1)
    np.testing.assert_allclose(f(x), (x.astype(float) ** 2).sum(1), rtol=1e-5)
    assert "llvm.prefetch" in f.llvm(x)
