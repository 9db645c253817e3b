"""The Fourier transform of pairs against NumPy's, for sizes of every kind of factor."""

import numpy as np
import pytest
from tests.routines import assert_same, assert_slopes

import gradloom as gl
from gradloom.ops.fourier import fourier, largest_prime, table

RNG = np.random.default_rng(21)
SIZES = [1, 2, 3, 4, 5, 6, 7, 8, 12, 15, 16, 30, 31, 37, 49, 60, 97, 128, 210, 1009]


def whole(x):
    return x[..., 0] + 1j * x[..., 1]


def pairs(z):
    return np.stack([z.real, z.imag], -1)


@pytest.mark.parametrize("n", SIZES)
def test_transforms_of_every_size(n):
    x = RNG.normal(size=(3, n, 2))
    assert_same(
        lambda x: [fourier(x), fourier(x, 1)],
        lambda x: [pairs(np.fft.fft(whole(x))), pairs(np.fft.ifft(whole(x), norm="forward"))],
        x,
        tolerance=1e-12,
        uncompiled=n < 50,
    )


def test_single_precision():
    x = RNG.normal(size=(2, 60, 2)).astype("float32")
    found = gl.jit(fourier)(x)
    assert found.dtype == "float32"
    np.testing.assert_allclose(whole(found), np.fft.fft(whole(x)), 1e-4, 1e-5)


def test_a_transform_is_linear_and_so_is_its_slope():
    x = RNG.normal(size=(2, 6, 2))
    assert_slopes(lambda x: fourier(x) ** 2, x)
    assert_slopes(lambda x: fourier(x, 1) * x, RNG.normal(size=(37, 2)))


def test_nothing_is_transformed_to_nothing():
    assert gl.jit(fourier)(np.zeros((0, 4, 2))).shape == (0, 4, 2)


def test_a_table_is_made_once():
    assert table(12) is table(12)
    assert largest_prime(2 * 3 * 37) == 37
    np.testing.assert_array_equal(table(8).view(complex)[2], -1j)  # exact where the angle is
