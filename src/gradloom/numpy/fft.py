"""NumPy's Fourier transforms, for traced values and arrays alike: `gnp.fft`.

Sizes with prime factors up to 31 are transformed by passes of these factors, others by a
convolution.  float32 and complex64 give complex64, all else complex128.

>>> import gradloom.numpy as gnp
>>> gnp.fft.rfft([1.0, 2.0, 3.0, 4.0])
array([10.+0.j, -2.+2.j, -2.+0.j])
"""

from numpy.fft import fftfreq, rfftfreq

from gradloom.ops.fft import (
    fft,
    fft2,
    fftn,
    fftshift,
    hfft,
    ifft,
    ifft2,
    ifftn,
    ifftshift,
    ihfft,
    irfft,
    irfft2,
    irfftn,
    rfft,
    rfft2,
    rfftn,
)

__all__ = [
    "fft",
    "fft2",
    "fftfreq",
    "fftn",
    "fftshift",
    "hfft",
    "ifft",
    "ifft2",
    "ifftn",
    "ifftshift",
    "ihfft",
    "irfft",
    "irfft2",
    "irfftn",
    "rfft",
    "rfft2",
    "rfftfreq",
    "rfftn",
]
