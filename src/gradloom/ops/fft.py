"""Fourier transforms under NumPy's names: complex values through the row of real pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom.errors import MissingError, message, user_where
from gradloom.ops.arrange import roll
from gradloom.ops.complex import conjugate, from_parts, imag, is_complex, real
from gradloom.ops.composite import zeros_like
from gradloom.ops.elementwise import astype
from gradloom.ops.fourier import fourier
from gradloom.ops.join import concatenate, stack
from gradloom.ops.move import flip, moveaxis
from gradloom.ops.padding import pad
from gradloom.ops.public import as_operand, normal_axis, public, wrong_shape

NORMS = (None, "backward", "ortho", "forward")
_SWAPPED = {None: "forward", "backward": "forward", "ortho": "ortho", "forward": "backward"}


def _scale(n: int, norm: str | None, inverse: bool) -> float:
    """What a transform without a factor is multiplied with."""
    if norm not in NORMS:
        raise MissingError(
            message(f"norm={norm!r}", user_where(), "use 'backward', 'ortho' or 'forward'")
        )
    if norm == "ortho":
        return 1 / math.sqrt(n)
    return 1 / n if inverse == (norm in (None, "backward")) else 1.0


def _floating(x: Any) -> Any:
    x = as_operand(x)
    return x if x.dtype.kind in "fc" else astype(x, "float64")


def _sized(x: Any, n: int) -> Any:
    """Cut, or filled up with zeros, to `n` elements of the last axis."""
    size = x.shape[-1]
    if n < 1:
        raise wrong_shape(f"a transform of {n} points", "there must be one or more")
    if size >= n:
        return x[..., :n]
    return pad(x, ((0, 0),) * (x.ndim - 1) + ((0, n - size),))


def _transformed(x: Any, norm: str | None, inverse: bool) -> Any:
    """The transform along the last axis, of real or complex values."""
    parts = [real(x), imag(x)] if is_complex(x) else [x, zeros_like(x)]
    pairs = fourier(stack(parts, -1), int(inverse))
    scale = _scale(x.shape[-1], norm, inverse)
    if scale != 1:
        pairs = pairs * scale
    return from_parts(pairs[..., 0], pairs[..., 1])


def _along(x: Any, n: int | None, axis: int, norm: str | None, inverse: bool) -> Any:
    x = _floating(x)
    along = normal_axis(axis, x.ndim)
    x = moveaxis(x, along, -1)
    x = _sized(x, x.shape[-1] if n is None else n)
    return moveaxis(_transformed(x, norm, inverse), -1, along)


@public(np.fft.fft, name="fft.fft")
def fft(x: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """The discrete Fourier transform along `axis`, of `n` points: sums of
    `x[j] * exp(-2j * pi * j * k / n)`.  `norm` says which direction is divided by n: the inverse
    ("backward"), this one ("forward"), or each by its root ("ortho").

    >>> import gradloom.numpy as gnp
    >>> gnp.fft.fft([1.0, 2.0])
    array([ 3.+0.j, -1.+0.j])
    """
    return _along(x, n, axis, norm, inverse=False)


@public(np.fft.ifft, name="fft.ifft")
def ifft(x: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """The inverse of `fft`."""
    return _along(x, n, axis, norm, inverse=True)


@public(np.fft.rfft, name="fft.rfft")
def rfft(x: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """The first `n // 2 + 1` results of the transform of real values; the others are conjugates."""
    x = as_operand(x)
    if is_complex(x):
        raise wrong_shape(f"rfft of {x.dtype}", "it takes real values; use fft")
    out = moveaxis(_along(x, n, axis, norm, inverse=False), axis, -1)
    size = x.shape[axis] if n is None else n
    return moveaxis(out[..., : size // 2 + 1], -1, axis)


@public(np.fft.irfft, name="fft.irfft")
def irfft(x: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """The inverse of `rfft`: `n` real values, by default an even number of them."""
    x = _floating(x)
    along = normal_axis(axis, x.ndim)
    x = moveaxis(x, along, -1)
    size = 2 * (x.shape[-1] - 1) if n is None else n
    half = _sized(x, size // 2 + 1)
    rest = flip(conjugate(half[..., 1 : (size + 1) // 2]), -1)
    out = real(_transformed(concatenate([half, rest], -1), norm, inverse=True))
    return moveaxis(out, -1, along)


@public(np.fft.hfft, name="fft.hfft")
def hfft(x: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """The real transform of `n` points of which the first half is given, and whose others are
    conjugates."""
    return irfft(conjugate(as_operand(x)), n, axis, _swapped(norm))


@public(np.fft.ihfft, name="fft.ihfft")
def ihfft(x: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """The inverse of `hfft`."""
    return conjugate(rfft(x, n, axis, _swapped(norm)))


def _swapped(norm: str | None) -> str | None:
    return _SWAPPED.get(norm, norm)


# ---- several axes


def _axes(x: Any, s: Any, axes: Any) -> list[tuple[int, int | None]]:
    """Axes and sizes; without axes, the last ones that sizes are given for."""
    if axes is None:
        axes = range(x.ndim) if s is None else range(x.ndim - len(s), x.ndim)
    sizes: Sequence[Any] = [None] * len(axes) if s is None else s
    if len(sizes) != len(axes):
        raise wrong_shape(f"sizes {tuple(sizes)} for axes {tuple(axes)}", "give one for each")
    return [(a, None if n is None or n == -1 else n) for a, n in zip(axes, sizes, strict=True)]


@public(np.fft.fftn, name="fft.fftn")
def fftn(x: Any, s: Any = None, axes: Any = None, norm: str | None = None) -> Any:
    """The transform along several axes, all if none are given, to sizes `s`."""
    x = as_operand(x)
    for axis, n in reversed(_axes(x, s, axes)):
        x = fft(x, n, axis, norm)
    return x


@public(np.fft.ifftn, name="fft.ifftn")
def ifftn(x: Any, s: Any = None, axes: Any = None, norm: str | None = None) -> Any:
    """The inverse of `fftn`."""
    x = as_operand(x)
    for axis, n in reversed(_axes(x, s, axes)):
        x = ifft(x, n, axis, norm)
    return x


@public(np.fft.rfftn, name="fft.rfftn")
def rfftn(x: Any, s: Any = None, axes: Any = None, norm: str | None = None) -> Any:
    """`rfft` along the last of several axes, `fft` along the others."""
    x = as_operand(x)
    *others, (last, size) = _axes(x, s, axes)
    x = rfft(x, size, last, norm)
    for axis, n in reversed(others):
        x = fft(x, n, axis, norm)
    return x


@public(np.fft.irfftn, name="fft.irfftn")
def irfftn(x: Any, s: Any = None, axes: Any = None, norm: str | None = None) -> Any:
    """The inverse of `rfftn`."""
    x = as_operand(x)
    *others, (last, size) = _axes(x, s, axes)
    for axis, n in others:
        x = ifft(x, n, axis, norm)
    return irfft(x, size, last, norm)


@public(np.fft.fft2, name="fft.fft2")
def fft2(x: Any, s: Any = None, axes: Any = (-2, -1), norm: str | None = None) -> Any:
    """`fftn` along two axes, the last by default."""
    return fftn(x, s, axes, norm)


@public(np.fft.ifft2, name="fft.ifft2")
def ifft2(x: Any, s: Any = None, axes: Any = (-2, -1), norm: str | None = None) -> Any:
    """The inverse of `fft2`."""
    return ifftn(x, s, axes, norm)


@public(np.fft.rfft2, name="fft.rfft2")
def rfft2(x: Any, s: Any = None, axes: Any = (-2, -1), norm: str | None = None) -> Any:
    """`rfftn` along two axes, the last by default."""
    return rfftn(x, s, axes, norm)


@public(np.fft.irfft2, name="fft.irfft2")
def irfft2(x: Any, s: Any = None, axes: Any = (-2, -1), norm: str | None = None) -> Any:
    """The inverse of `rfft2`."""
    return irfftn(x, s, axes, norm)


# ---- what goes with them


@public(np.fft.fftshift, name="fft.fftshift")
def fftshift(x: Any, axes: Any = None) -> Any:
    """The zero frequency moved to the middle of `axes`, of all by default."""
    return _shifted(x, axes, 1)


@public(np.fft.ifftshift, name="fft.ifftshift")
def ifftshift(x: Any, axes: Any = None) -> Any:
    """The inverse of `fftshift`."""
    return _shifted(x, axes, -1)


def _shifted(x: Any, axes: Any, sign: int) -> Any:
    x = as_operand(x)
    chosen = range(x.ndim) if axes is None else ((axes,) if isinstance(axes, int) else axes)
    for axis in chosen:
        half = x.shape[axis] // 2
        x = roll(x, half if sign > 0 else -half, axis)
    return x
