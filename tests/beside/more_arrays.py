"""More functions of whole arrays: statistics, NaN aside, updates, sized results, polynomials."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

import gradloom.numpy as gnp
from tests.beside.table import Group, I, J, K, L, M, N, P, T, V, W, X, Y, named, row

H = np.where(L, X, np.nan)  # in places not a number
C = np.arange(6.0).reshape(2, 3) / 3 + 0.1
GRID = np.sort(W)

STATISTICS = [
    *named("median ptp", T),
    row("median of an axis", lambda g, t: [g.median(t, axis=1), g.median(t, axis=(0, 2))], T),
    row("quantile", lambda g, t: [g.quantile(t, 0.3), g.quantile(t, np.array([0.1, 0.9]), 1)], T),
    row("percentile", lambda g, t: g.percentile(t, 35.0, axis=2, method="lower"), T),
    row("nan sums", lambda g, h: [g.nansum(h, axis=0), g.nanprod(h), g.nanmean(h, axis=1)], H),
    row("nan spread", lambda g, h: [g.nanvar(h), g.nanstd(h), g.nanmax(h), g.nanmin(h)], H),
    row("nan order", lambda g, h: [g.nanmedian(h), g.nanquantile(h, 0.4), g.nanargmax(h)], H),
    row("nan running", lambda g, h: [g.nancumsum(h), g.nancumprod(h, axis=1)], H),
    row("cov", lambda g, x: [g.cov(x), g.cov(x, rowvar=False, bias=True)], X),
    row("corrcoef", lambda g, x: g.corrcoef(x), X),
    row("convolve", lambda g, v, w: [g.convolve(v, w, m) for m in ("full", "same", "valid")], V, W),
    row("correlate", lambda g, v, w: g.correlate(v, w[:3], "full"), V, W),
    row("histogram", lambda g, v, w: g.histogram(v, 4, (-2, 2), weights=w)[0], V, W),
    row("bincount", lambda g, j, w: g.bincount(j, w, length=9), J[0], W[:4]),
    row("sums where", lambda g, x, b: [g.sum(x, where=b), g.mean(x, 1, where=b)], X, L),
    row("extremes from", lambda g, x, b: g.max(x, 0, where=b, initial=-1.5), X, L),
    row("trapezoid", lambda g, v, w: [g.trapezoid(v, g.cumsum(w)), g.trapezoid(v, dx=0.3)], V, W),
    row("gradient", lambda g, v: [g.gradient(v, 0.5), g.gradient(v * v)], V),
    row("interp", lambda g, x, w, v: g.interp(x, g.cumsum(w), v), X, W, V),
    row("ediff1d", lambda g, v: g.ediff1d(v, v[:2], 1.0), V),
]

UPDATES = [
    row("set", lambda g, x, y: [x.at[1].set(y[0]), x.at[:, ::2].set(y[:, 1:3] ** 2)], X, Y),
    row("add", lambda g, x, y, i: x.at[:, i].add(y**2), X, Y, I % 2),  # some indices twice
    row("subtract", lambda g, x, y: x.at[1:].subtract(y[:2] ** 2), X, Y),
    row("multiply", lambda g, x, y: x.at[:, 1:3].multiply(y[:, :2]), X, Y),
    row("divide", lambda g, x, p: x.at[0].divide(p[0]), X, P),
    row("power", lambda g, p: p.at[0].power(2.5), P),
    row("max", lambda g, x, y, i: x.at[:, i].max(y), X, Y, I),
    row("min", lambda g, x, y, i: x.at[:, i].min(y), X, Y, I),
    row("get", lambda g, x, i: x.at[:, i].get() ** 2, X, I),
    row("set of one", lambda g, x, i: x.at[i[0], i[1]].set(x[0, 0] ** 2), X, I),
]

CHOICES = [
    row("nonzero", lambda g, b: list(g.nonzero(b, size=5, fill_value=0)), L),
    row("argwhere", lambda g, b: g.argwhere(b, size=5, fill_value=0), L),
    row("unique", lambda g, j: g.unique(j, size=7, fill_value=0), J),
    row("compress", lambda g, x: g.compress(x[:, 0] > -9, x, 0, size=3) ** 2, X),
    row("extract", lambda g, x, b: g.extract(b, x, size=4, fill_value=0.0) ** 2, X, L),
    row("choose", lambda g, i, x: g.choose(i % 3, list(x), mode="wrap") ** 2, I, X),
    row("piecewise", lambda g, x: g.piecewise(x, [x < -1, x > 1], [g.sin, g.cos, 0.5]), X),
    row("isin", lambda g, j: [g.isin(j, np.array([2, 5])), g.isin(j, j[0], invert=True)], J),
    row(
        "put_along_axis",
        lambda g, x, i: g.put_along_axis(x, i[None] % 3, 7.0, 0, inplace=False),
        X,
        I,
    ),
    row("fill_diagonal", lambda g, m: g.fill_diagonal(m, m[0, 1] ** 2, inplace=False), M),
    row("delete", lambda g, t: g.delete(t, 1, axis=1) ** 2, T),
    row("insert", lambda g, x: g.insert(x, 1, x[0] ** 2, axis=0), X),
    row("unravel_index", lambda g, k: list(g.unravel_index(k, (6, 10))), K),
    row("ravel_multi_index", lambda g, j: g.ravel_multi_index((j, j - 1), (9, 9), mode="wrap"), J),
]

SHAPES = [
    row("dstack", lambda g, x, y: g.dstack([x, y]) ** 2, X, Y),
    row("column_stack", lambda g, v, w: g.column_stack([v, w]) ** 2, V, W),
    row("block", lambda g, x, y: g.block([[x, y], [y * y, x]]) ** 2, X, Y),
    row("append", lambda g, x, v: [g.append(x, v) ** 2, g.append(x, x * x, 0)], X, V),
    row("splits", lambda g, t: [*g.vsplit(t, 2), *g.hsplit(t, 3), *g.dsplit(t**2, 2)], T),
    row("unstack", lambda g, t: [part**2 for part in g.unstack(t, axis=1)], T),
    row("rot90", lambda g, x: [g.rot90(x) ** 2, g.rot90(x, 2) ** 3], X),
    row("rollaxis", lambda g, t: g.rollaxis(t, 2) ** 2, T),
    row("resize", lambda g, v: g.resize(v, (2, 4)) ** 2, V),
    row("diagflat", lambda g, v: g.diagflat(v, 1) ** 2, V),
    row("pads", lambda g, x: [g.pad(x, 2, mode=m) ** 2 for m in ("edge", "reflect", "wrap")], X),
    row("kron", lambda g, x, c: g.kron(x, c), X, C),
    row("inner", lambda g, x, y: g.inner(x, y) ** 2, X, Y),
    row("vdot", lambda g, x, y: g.vdot(x, y) ** 2, X, Y),
    row("vecdot", lambda g, x, y: g.vecdot(x, y) ** 2, X, Y),
    row("matvec", lambda g, t, x: g.matvec(t, x[0]) ** 2, T, X),
    row("vecmat", lambda g, x, n: g.vecmat(x, n) ** 2, X, N),
    row("cross", lambda g, c: g.cross(c[0], c[1] ** 2), C),
    row("einsum of three", lambda g, t, m, v: g.einsum("bij,jk,i->bk", t, m, v[:3]), T, M, V),
    row("vander", lambda g, v: [g.vander(v), g.vander(v, 3, increasing=True)], V),
    row("geomspace", lambda g, p: g.geomspace(p[0, 0], p[0, 1] + 3, 5), P),
    row("logspace", lambda g, p: g.logspace(p[0, 0], p[0, 1], 5), P),
    row(
        "polynomials", lambda g, v, w: [g.polyadd(v, w[1:]), g.polymul(v, w), g.polysub(v, w)], V, W
    ),
    row("polynomial slopes", lambda g, v: [g.polyder(v), g.polyint(v), g.polyder(v**2, 2)], V),
]

MORE = [
    Group("statistics", gnp, jnp, STATISTICS),
    Group("updates", gnp, jnp, UPDATES),
    Group("choices", gnp, jnp, CHOICES),
    Group("shapes", gnp, jnp, SHAPES),
]
