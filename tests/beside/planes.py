"""Complex numbers made of two real operands, and Fourier transforms."""

from __future__ import annotations

import jax.numpy as jnp

import gradloom.numpy as gnp
from tests.beside.table import RNG, Group, P, Q, X, Y, row

S = RNG.uniform(-1, 1, (2, 6))
R = RNG.uniform(-1, 1, (2, 6))


def of_one(names):
    """Functions of one complex number, by their parts: JAX's gradients are by real operands too."""
    return [
        row(f"complex {name}", lambda g, x, y, name=name: getattr(g, name)(x + 1j * y), P, Q)
        for name in names.split()
    ]


COMPLEX = [
    *of_one("exp log sqrt sin cos tan sinh cosh tanh abs angle conj real imag square reciprocal"),
    *of_one("sum prod mean cumsum"),
    row("arithmetic", lambda g, x, y: (x + 2j * y) * (y - 1j * x) / (3 + 1j * x), X, Y),
    row("complex power", lambda g, x, y: [(x + 1j * y) ** 2, (x + 1j * y) ** (0.5 - 1j)], P, Q),
    row("complex matmul", lambda g, x, y: (x + 1j * y) @ (y - 1j * x).T, X, Y),
    row("complex einsum", lambda g, x, y: g.einsum("ij,kj->ik", x + 1j * y, y * 1j), X, Y),
    row("complex where", lambda g, x, y: g.where(x > 0, x + 1j * y, 2j), X, Y),
]

FOURIER = [
    row("fft", lambda g, s: [g.fft(s), g.fft(s, axis=0), g.fft(s, n=4)], S),
    row("ifft", lambda g, s, r: g.ifft(s + 1j * r), S, R),
    row("rfft", lambda g, s: [g.rfft(s), g.rfft(s, n=5)], S),
    row("irfft", lambda g, s, r: [g.irfft(s + 1j * r), g.irfft(s + 1j * r, n=7)], S, R),
    row("fft2", lambda g, s: g.fft2(s), S),
    row("ifft2", lambda g, s, r: g.ifft2(s + 1j * r), S, R),
    row("fftn", lambda g, s: g.fftn(s, norm="ortho"), S),
    row("rfftn", lambda g, s: g.rfftn(s), S),
    row("irfftn", lambda g, s, r: g.irfftn(s + 1j * r), S, R),
    row("hfft", lambda g, s, r: g.hfft(s + 1j * r), S, R),
    row("ihfft", lambda g, s: g.ihfft(s), S),
    row("fftshift", lambda g, s: [g.fftshift(s) ** 2, g.ifftshift(s, axes=1) ** 2], S),
]

PLANES = [Group("complex", gnp, jnp, COMPLEX), Group("fourier", gnp.fft, jnp.fft, FOURIER)]
