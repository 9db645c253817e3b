"""Instructions of AVX-512 on lanes of any number of elements, against NumPy."""

import numpy as np
import pytest
from tests.native_lanes import native

from gradloom.codegen.cpu.target import host_target
from gradloom.codegen.lanes_numpy import NumpyLane

DTYPES = ("float32", "float64")
WIDTHS = (None, 2, 3, 4, 8, 10, 16, 40)
needs_avx512 = pytest.mark.skipif(not host_target().has_avx512, reason="the CPU lacks AVX-512")


@needs_avx512
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_scaled_is_rounded_once(dtype: str, width: int | None):
    rng, form = np.random.default_rng(0), np.finfo(dtype)
    x = rng.uniform(-2, 2, 2000).astype(dtype)
    x[:4] = 0, -0.0, np.inf, np.nan
    power = rng.integers(form.minexp - form.nmant - 3, form.maxexp + 3, x.size)
    scale = native(lambda a, n: a.scaled(n), [dtype] * 2, width, wide=True)
    with np.errstate(all="ignore"):
        expected = np.ldexp(x, power)
    np.testing.assert_array_equal(scale(x, power.astype(dtype)), expected)


@needs_avx512
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_inverse_estimate_has_half_of_the_digits(dtype: str, width: int | None):
    rng, form = np.random.default_rng(0), np.finfo(dtype)
    x = np.ldexp(rng.uniform(1, 2, 2000), rng.integers(form.minexp + 1, form.maxexp - 2, 2000))
    x = x.astype(dtype)
    inverse = native(lambda a: a.inverse_estimate(), [dtype], width, wide=True)(x)
    error = np.abs(inverse.astype("float64") * x.astype("float64") - 1)
    assert error.max() < 2.0 ** (-(form.nmant + 1) / 2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_elsewhere_the_estimate_is_the_quotient(dtype: str):
    x = np.array([0.5, 3.0, -7.0], dtype)
    np.testing.assert_array_equal(NumpyLane(x).inverse_estimate().value, 1 / x)
    np.testing.assert_array_equal(native(lambda a: a.inverse_estimate(), [dtype], 4)(x), 1 / x)
