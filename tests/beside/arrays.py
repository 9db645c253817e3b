"""Functions of whole arrays: reductions, moves, indexing, updates, contractions, sorting."""

from __future__ import annotations

import jax.numpy as jnp

import gradloom.numpy as gnp
from tests.beside.table import Group, I, K, L, M, N, P, T, V, W, X, Y, named, row

REDUCTIONS = [
    *named("sum prod mean max min var std", T),
    row("sum of axes", lambda g, t: [g.sum(t, axis=(0, 2)), g.sum(t, 1, keepdims=True)], T),
    row("prod of an axis", lambda g, t: g.prod(t, axis=1), T),
    row("mean of an axis", lambda g, t: g.mean(t, axis=-1), T),
    row("max of an axis", lambda g, t: [g.max(t, axis=1), g.max(t, axis=(0, 2))], T),
    row("min of an axis", lambda g, t: g.min(t, axis=0), T),
    row("var of an axis", lambda g, t: [g.var(t, axis=1), g.var(t, axis=0, ddof=1)], T),
    row("std of an axis", lambda g, t: g.std(t, axis=2, keepdims=True), T),
    row("average", lambda g, t, p: g.average(t, 0, weights=g.stack([p, p * p])), T, P),
    row("argmax", lambda g, t: [g.argmax(t), g.argmax(t, axis=1)], T),
    row("argmin", lambda g, t: [g.argmin(t), g.argmin(t, axis=2)], T),
    row("any", lambda g, b: [g.any(b), g.any(b, axis=0)], L),
    row("all", lambda g, b: [g.all(b), g.all(b, axis=1)], L),
    row("count_nonzero", lambda g, b: [g.count_nonzero(b), g.count_nonzero(b, axis=1)], L),
]

RUNNING = [
    row("cumsum", lambda g, t: [g.cumsum(t), g.cumsum(t, axis=1)], T),
    row("cumprod", lambda g, t: [g.cumprod(t), g.cumprod(t, axis=0)], T),
    row("cumulative_sum", lambda g, v: g.cumulative_sum(v, include_initial=True), V),
    row("diff", lambda g, t: [g.diff(t), g.diff(t * t, 2, axis=1)], T),
    row("sort", lambda g, t: [g.sort(t), g.sort(t, axis=0), g.sort(t, axis=None)], T),
    row("argsort", lambda g, t: [g.argsort(t), g.argsort(t, axis=1)], T),
    row("lexsort", lambda g, k: g.lexsort((k[0], k[1])), K),
    row("searchsorted", lambda g, v, x: g.searchsorted(g.sort(v), x), V, X),
    row("digitize", lambda g, x: g.digitize(x, g.asarray([-1.0, 0.0, 1.0])), X),
]

MOVES = [
    row("reshape", lambda g, t: [g.reshape(t, (4, 6)) ** 2, t.reshape(-1, 3) ** 3], T),
    row("transpose", lambda g, t: [g.transpose(t) ** 2, g.transpose(t, (1, 2, 0)) ** 3], T),
    row("swapaxes", lambda g, t: g.swapaxes(t, 0, 2) ** 2, T),
    row("moveaxis", lambda g, t: g.moveaxis(t, 0, -1) ** 2, T),
    row("squeeze", lambda g, t: g.squeeze(g.expand_dims(t, (0, 2))) ** 2, T),
    row("broadcast_to", lambda g, v: g.broadcast_to(v, (3, 5)) ** 2, V),
    row("flip", lambda g, t: [g.flip(t) ** 2, g.flip(t, 1) ** 3], T),
    row("roll", lambda g, t: [g.roll(t, 5) ** 2, g.roll(t, (1, -1), (0, 2)) ** 2], T),
    row("tile", lambda g, x: g.tile(x, (2, 2)) ** 2, X),
    row("repeat", lambda g, x: [g.repeat(x, 2) ** 2, g.repeat(x, 3, axis=1) ** 2], X),
    row("ravel", lambda g, t: g.ravel(t) ** 2, T),
    row("concatenate", lambda g, x, n: g.concatenate([x, n.T, x * x]) ** 2, X, N),
    row("stack", lambda g, x, y: g.stack([x, y, x * y], axis=1) ** 2, X, Y),
    row("vstack", lambda g, x, y: g.vstack([x, y]) ** 2, X, Y),
    row("hstack", lambda g, x, y: g.hstack([x, y]) ** 2, X, Y),
    row("split", lambda g, t: [part**2 for part in g.split(t, 2, axis=2)], T),
    row("array_split", lambda g, v: [part**2 for part in g.array_split(v, 3)], V),
    row("pad", lambda g, x: g.pad(x, ((1, 2), (0, 1))) ** 2, X),
    row("triu", lambda g, m: [g.triu(m) ** 2, g.triu(m, 1) ** 2], M),
    row("tril", lambda g, m: [g.tril(m) ** 2, g.tril(m, -1) ** 2], M),
    row("diag", lambda g, m, v: [g.diag(m) ** 2, g.diag(v) ** 2], M, V),
    row("trace", lambda g, m: g.trace(m @ m), M),
    row("meshgrid", lambda g, v, w: [a**2 for a in g.meshgrid(v, w)], V, W),
    row("linspace", lambda g, v: g.linspace(v[0], v[1], 7) ** 2, V),
]

INDEXING = [
    row("slices", lambda g, t: [t[1] ** 2, t[:, ::-2] ** 2, t[..., 1:3] ** 2], T),
    row("new axes", lambda g, x: (x[:, None] * x[None]) ** 2, X),
    row("indices", lambda g, x, i: [x[:, i] ** 2, x[i[:3]] ** 3], X, I),
    row("pairs of indices", lambda g, m, i: m[i, i[::-1]] ** 2, M, I),
    row("take", lambda g, x, i: [g.take(x, i) ** 2, g.take(x, i, axis=1) ** 2], X, I % 3),
    row(
        "take_along_axis",
        lambda g, x: g.take_along_axis(x, g.argsort(-x, axis=1), axis=1) ** 2,
        X,
    ),
    row("x[traced]", lambda g, x, i: x[i[0], i[1]] ** 2, X, I),
]

CONTRACTIONS = [
    row("matmul", lambda g, x, n: [g.matmul(x, n), x @ n @ x], X, N),
    row("batched matmul", lambda g, t, n: g.matmul(t, n) ** 2, T, N),
    row("matrix and vector", lambda g, m, n: [m @ n[:, 0], n[:, 1] @ m], M, N),
    row("dot", lambda g, m, n: [g.dot(m, n) ** 2, g.dot(n[:, 0], n[:, 1])], M, N),
    row("outer", lambda g, v, w: g.outer(v, w) ** 2, V, W),
    row("vdot", lambda g, x, y: g.vdot(x, y) ** 2, X, Y),
    row(
        "tensordot",
        lambda g, t, n: [g.tensordot(t, n, 1), g.tensordot(t, t, ((0, 2), (0, 2)))],
        T,
        N,
    ),
    row("einsum", lambda g, t, m, n: g.einsum("bij,jk,kl->bil", t, m, n), T, M, N),
    row("einsum diagonal", lambda g, m: [g.einsum("ii", m) ** 2, g.einsum("ij->j", m) ** 2], M),
    row("vecdot", lambda g, x, y: g.vecdot(x, y) ** 2, X, Y),
]

ARRAYS = [
    Group("reductions", gnp, jnp, REDUCTIONS),
    Group("running", gnp, jnp, RUNNING),
    Group("moves", gnp, jnp, MOVES),
    Group("indexing", gnp, jnp, INDEXING),
    Group("contractions", gnp, jnp, CONTRACTIONS),
]
