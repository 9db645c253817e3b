"""`gradloom.numpy.linalg` beside `jax.numpy.linalg`, `gradloom.linalg` beside JAX's SciPy."""

from __future__ import annotations

import jax.numpy as jnp
import jax.scipy.linalg
import numpy as np

import gradloom as gl
import gradloom.numpy as gnp
from tests.beside.table import RNG, Group, M, N, V, X, row

S = RNG.uniform(-1, 1, (2, 3, 3)) + 3 * np.eye(3)  # far from singular
R = RNG.uniform(-1, 1, (2, 3, 2))
G = N.T @ N + np.eye(3)  # symmetric, positive definite
C = RNG.uniform(-1, 1, (4, 3))


def symmetric(a):
    return a + a.mT


LINALG = [
    row("inv", lambda g, s: g.inv(s), S),
    row("det", lambda g, s: g.det(s), S),
    row("slogdet", lambda g, s: g.slogdet(s)[1], S),
    row("solve", lambda g, s, r: g.solve(s, r), S, R),
    row("cholesky", lambda g, h: g.cholesky(symmetric(h)), G),
    row("eigh", lambda g, h: [g.eigh(symmetric(h))[0], abs(g.eigh(symmetric(h))[1])], G),
    row("eigvalsh", lambda g, h: g.eigvalsh(symmetric(h)), G),
    row("svdvals", lambda g, c: g.svdvals(c), C),
    row("svd", lambda g, c: [abs(part) for part in g.svd(c, full_matrices=False)], C),
    row("qr", lambda g, c: [abs(part) for part in g.qr(c)], C, order=1),
    row("pinv", lambda g, c: g.pinv(c), C, order=1),
    row("matrix_power", lambda g, s: [g.matrix_power(s, k) for k in (0, 3, -2)], S),
    row("norm", lambda g, c: [g.norm(c), g.norm(c, axis=0), g.norm(c, 1), g.norm(c[0], 3)], C),
    row("matrix_norm", lambda g, c: [g.matrix_norm(c), g.matrix_norm(c, ord=2)], C),
    row("vector_norm", lambda g, c: [g.vector_norm(c), g.vector_norm(c, axis=1, ord=1)], C),
    row("multi_dot", lambda g, c, h, m: g.multi_dot([m, c, h]), C, G, M),
    row("matrix_rank", lambda g, c: g.matrix_rank(c), C),
    row("cond", lambda g, h: g.cond(h), G, order=1),
    row("lstsq", lambda g, c, v: g.lstsq(c, v[:4])[0], C, V, order=1),
    row("outer", lambda g, v: g.outer(v, v * v), V),
    row("cross", lambda g, c: g.cross(c[:2], c[2:]), C),
    row("tensorinv", lambda g, s: g.tensorinv(s[0], ind=1), S),
    row("tensorsolve", lambda g, s, r: g.tensorsolve(s[0], r[0, :, 0]), S, R, order=1),
    row("trace", lambda g, s: g.trace(s @ s), S),
    row("diagonal", lambda g, s: g.diagonal(s @ s, offset=1), S),
]

SCIPY = [
    row("cholesky", lambda g, h: [g.cholesky(symmetric(h), lower=k) for k in (True, False)], G),
    row("cho_solve", lambda g, h, x: g.cho_solve((g.cholesky(symmetric(h)), False), x), G, X),
    row("lu", lambda g, s: list(g.lu(s[0])), S, order=1),
    row("lu_solve", lambda g, s, r: g.lu_solve(g.lu_factor(s[0]), r[0]), S, R),
    row(
        "solve_triangular",
        lambda g, s, r: [
            g.solve_triangular(s[0], r[0]),
            g.solve_triangular(s[0], r[1], lower=True),
        ],
        S,
        R,
    ),
    row("expm", lambda g, s: g.expm(s[0]), S),
    row("block_diag", lambda g, s, r: g.block_diag(s[0], r[1]) ** 2, S, R),
    row("toeplitz", lambda g, v: g.toeplitz(v) ** 2, V),
]

ALGEBRA = [
    Group("linalg", gnp.linalg, jnp.linalg, LINALG),
    Group("scipy", gl.linalg, jax.scipy.linalg, SCIPY),
]
