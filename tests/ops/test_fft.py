"""Fourier transforms of complex and real values against NumPy's."""

import numpy as np
import pytest
from tests.routines import assert_slopes

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.errors import MissingError, ShapeError

RNG = np.random.default_rng(22)
Z = RNG.normal(size=(3, 6, 5)) + 1j * RNG.normal(size=(3, 6, 5))
X = RNG.normal(size=(3, 6, 5))
NORMS = (None, "backward", "ortho", "forward")
OF_ONE = ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")
OF_MORE = ("fftn", "ifftn", "rfftn", "irfftn", "fft2", "ifft2", "rfft2", "irfft2")


def operand(name):
    return X if name.startswith("r") or name == "ihfft" else Z


def assert_numpys(call, x, tolerance=1e-12):
    wanted = call(np.fft, x)
    for found in (call(gnp.fft, x), gl.jit(lambda x: call(gnp.fft, x))(x)):
        for got, want in zip(found, wanted, strict=True):
            assert got.dtype == want.dtype
            np.testing.assert_allclose(got, want, tolerance, tolerance)


@pytest.mark.parametrize("name", OF_ONE)
def test_transforms_along_an_axis(name):
    assert_numpys(
        lambda m, x: [
            *(getattr(m, name)(x, norm=norm) for norm in NORMS),
            getattr(m, name)(x, 4, 1),
            getattr(m, name)(x, n=8),
        ],
        operand(name),
    )


@pytest.mark.parametrize("name", OF_MORE)
def test_transforms_along_several(name):
    assert_numpys(
        lambda m, x: [
            getattr(m, name)(x, norm="ortho"),
            getattr(m, name)(x, s=(4, 8), axes=(0, 2)),
        ],
        operand(name),
    )


def test_shifts_and_frequencies():
    assert_numpys(
        lambda m, x: [
            m.fftshift(x),
            m.ifftshift(x),
            m.fftshift(x, axes=1),
            m.ifftshift(x, axes=(0, 2)),
            m.fftfreq(5, 0.1),
            m.rfftfreq(8),
        ],
        Z,
    )


@pytest.mark.parametrize("dtype", ["float32", "complex64", "int64"])
def test_dtypes_are_numpys(dtype):
    x = (X * 5).astype(dtype)
    assert_numpys(lambda m, x: [m.fft(x), m.ifft(x)], x, 1e-4)


def test_numpys_functions_on_traced_values():
    np.testing.assert_allclose(gl.jit(np.fft.fft)(Z), np.fft.fft(Z), 1e-12, 1e-12)


def test_slopes_through_spectra():
    def power(x):
        spectrum = gnp.fft.fft(x)
        return [gnp.real(spectrum) ** 2, gnp.imag(gnp.fft.rfft(x, norm="ortho")) ** 3]

    assert_slopes(power, X[0])
    assert_slopes(
        lambda x: gnp.fft.irfft(gnp.fft.rfft(x) * np.exp(-1j * np.arange(3)), 5) ** 2, X[0]
    )
    assert_slopes(lambda x: gnp.abs(gnp.fft.fft2(x)) ** 2, X[0])


def test_slopes_by_complex_values_are_jaxs():
    """The gradient of a real function of z = x + iy is df/dx - i df/dy."""
    weights = RNG.normal(size=Z[0].shape)
    slope = gl.grad(lambda z: gnp.sum(weights * gnp.real(gnp.fft.fft(z))))(Z[0])
    np.testing.assert_allclose(slope, np.fft.fft(weights), 1e-12, 1e-12)


def test_what_cannot_be():
    with pytest.raises(MissingError, match="norm='half'"):
        gnp.fft.fft(X, norm="half")
    with pytest.raises(ShapeError, match="rfft of complex128"):
        gl.jit(gnp.fft.rfft)(Z)
    with pytest.raises(ShapeError, match="a transform of 0 points"):
        gnp.fft.fft(X, 0)
    with pytest.raises(ShapeError, match="give one for each"):
        gnp.fft.fftn(X, (3,), (0, 1))


def test_every_function_is_tested():
    others = {"fftshift", "ifftshift", "fftfreq", "rfftfreq"}
    assert {*OF_ONE, *OF_MORE, *others} == set(gnp.fft.__all__)
