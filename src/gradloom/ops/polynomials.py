"""Polynomials as vectors of coefficients, that of the highest power first."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.ops.differences import convolve
from gradloom.ops.elementwise import astype
from gradloom.ops.join import concatenate
from gradloom.ops.move import place, reshape
from gradloom.ops.public import as_operand, public, wrong_shape
from gradloom.ops.shapes import at_least


def _vector(p: Any) -> Any:
    x = as_operand(p)
    if x.ndim > 1:
        raise wrong_shape(f"coefficients of shape {tuple(x.shape)}", "give a vector")
    return at_least(x, 1)


@public(np.polyval)
def polyval(p: Any, x: Any) -> Any:
    """A polynomial at `x`, by Horner's rule."""
    coefficients, x = _vector(p), as_operand(x)
    out: Any = x * 0
    for i in range(coefficients.shape[0]):
        out = out * x + coefficients[i]
    return out


@public(np.polyadd)
def polyadd(a1: Any, a2: Any) -> Any:
    """The sum of two polynomials."""
    x, y = _vector(a1), _vector(a2)
    size = max(x.size, y.size)
    return _widened(x, size) + _widened(y, size)


@public(np.polysub)
def polysub(a1: Any, a2: Any) -> Any:
    """The difference of two polynomials."""
    x, y = _vector(a1), _vector(a2)
    size = max(x.size, y.size)
    return _widened(x, size) - _widened(y, size)


def _widened(x: Any, size: int) -> Any:
    return place(x, (size - x.shape[0],), (size,))


@public(np.polymul)
def polymul(a1: Any, a2: Any) -> Any:
    """The product of two polynomials; leading zeros stay, as values are not looked at."""
    return convolve(_vector(a1), _vector(a2))


@public(np.polyder)
def polyder(p: Any, m: int = 1) -> Any:
    """The coefficients of the `m`-th derivative."""
    x = _vector(p)
    if m < 0:
        raise wrong_shape(f"a derivative of order {m}", "m is 0 or more")
    for _ in range(m):
        powers = np.arange(x.shape[0] - 1, 0, -1)
        x = x[: max(x.shape[0] - 1, 0)] * powers
    return x


@public(np.polyint)
def polyint(p: Any, m: int = 1, k: Any = None) -> Any:
    """The coefficients of the `m`-th antiderivative, `k` its constants of integration."""
    x = _vector(p)
    if m < 0:
        raise wrong_shape(f"an antiderivative of order {m}", "m is 0 or more")
    if x.dtype.kind not in "fc":
        x = astype(x, "float64")
    constants = at_least(np.zeros(m) if k is None else as_operand(k), 1)
    if constants.shape[0] == 1:
        constants = concatenate([constants] * max(m, 1))
    if constants.shape[0] < m:
        raise wrong_shape(f"{constants.shape[0]} constants for {m} integrations", "give m of them")
    for i in range(m):
        powers = np.arange(x.shape[0], 0, -1)
        x = concatenate([x / powers, reshape(constants[i], 1)])
    return x


@public(np.poly)
def poly(seq_of_zeros: Any) -> Any:
    """The coefficients of the polynomial with given zeros and a leading 1."""
    zeros = _vector(seq_of_zeros)
    if zeros.dtype.kind not in "fc":
        zeros = astype(zeros, "float64")
    out: Any = np.ones(1, zeros.dtype)
    for i in range(zeros.shape[0]):
        out = polysub(concatenate([out, np.zeros(1, zeros.dtype)]), out * zeros[i])
    return out
