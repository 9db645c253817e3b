"""NumPy's array functions, as calls in either namespace: a name, a call, its operands."""

import numpy as np

RNG = np.random.default_rng(12)
X = RNG.uniform(-2, 2, (3, 4, 5))
Y = RNG.uniform(-2, 2, (3, 4, 5))
M = RNG.uniform(-2, 2, (4, 5))
S = RNG.uniform(-2, 2, (4, 4))
V = RNG.uniform(-2, 2, 5)
W = RNG.uniform(0.2, 2, 5)
U = np.sort(RNG.uniform(-2, 2, 6))
N = np.where(np.arange(20).reshape(4, 5) % 7 < 2, np.nan, M)  # in places not a number
I = np.array([[2, 0, -1], [1, 1, 2]])  # noqa: E741
K = np.array([3, 1, 1, 0, 4])
Z = np.zeros((2, 0, 3))
B = np.arange(60).reshape(3, 4, 5) % 7 < 4

# ---- reductions

REDUCTIONS = [
    (
        "sum",
        lambda g, x, b: [
            g.sum(x, where=b),
            g.sum(x, 1, initial=2.5),
            g.sum(x, (0, 2), where=b, keepdims=True),
            g.sum(a=x, axis=-1),
        ],
        X,
        B,
    ),
    ("prod", lambda g, x, b: [g.prod(x, 1, where=b), g.prod(x[0], 0, initial=2.0)], X, B),
    ("max", lambda g, x, b: [g.max(x, 1, initial=0.1), g.max(x, where=b, initial=-9.0)], X, B),
    ("min", lambda g, x, b: [g.min(x, 0, initial=0.1), g.min(x, 2, where=b, initial=9.0)], X, B),
    ("max", lambda g, z: [g.max(z, axis=0), g.max(z, axis=1, initial=3.0)], Z),
    (
        "any",
        lambda g, b, x: [g.any(b, where=x > 0.5), g.any(b, 1, where=x > 0), g.any(b[:0])],
        B,
        X,
    ),
    (
        "all",
        lambda g, b, x: [g.all(b, where=x > 0.5), g.all(b, 1, where=x > 0), g.all(b[:0])],
        B,
        X,
    ),
    ("mean", lambda g, x, b: [g.mean(x, where=b), g.mean(x, (0, 1), where=b, keepdims=True)], X, B),
    (
        "var",
        lambda g, x, b: [
            g.var(x, 1, where=b),
            g.var(x, correction=1),
            g.var(x, 2, mean=g.mean(x, 2, keepdims=True)),
        ],
        X,
        B,
    ),
    ("std", lambda g, x, b: [g.std(x, (0, 2), where=b, ddof=1), g.std(x, 1, correction=1)], X, B),
    ("var", lambda g, i: [g.var(i), g.std(i, 1)], I),
    ("ptp", lambda g, x: [g.ptp(x, keepdims=True), g.ptp(x, (0, 1))], X),
    (
        "average",
        lambda g, x, w: [
            *g.average(x, axis=-1, weights=w, returned=True),
            g.average(x, (0, 1), weights=x[:, :, 0] ** 2 + 1),
            g.average(x, (1, 0), weights=x[:, :, 0].T ** 2 + 1, keepdims=True),
            *g.average(x, 1, returned=True),
        ],
        X,
        W,
    ),
    ("average", lambda g, i: [g.average(i), g.average(i, 1, weights=[1, 2, 3])], I),
    ("count_nonzero", lambda g, i: [g.count_nonzero(i), g.count_nonzero(i, 0, keepdims=True)], I),
    ("nansum", lambda g, n: [g.nansum(n), g.nansum(n, 0), g.nansum(n, 1, keepdims=True)], N),
    ("nanprod", lambda g, n: [g.nanprod(n, 0), g.nanprod(n, 1)], N),
    ("nanmax", lambda g, n: [g.nanmax(n), g.nanmax(n, 0), g.nanmax(n, 1, initial=0.0)], N),
    ("nanmin", lambda g, n: [g.nanmin(n), g.nanmin(n, 0), g.nanmin(n, 1, keepdims=True)], N),
    ("nanmax", lambda g, i: [g.nanmax(i), g.nanmin(i, 1), g.nansum(i), g.nanmean(i)], I),
    ("nanmean", lambda g, n: [g.nanmean(n), g.nanmean(n, 0)], N),
    ("nanvar", lambda g, n: [g.nanvar(n), g.nanvar(n, 0, ddof=1), g.nanvar(n, 1)], N),
    ("nanstd", lambda g, n: [g.nanstd(n), g.nanstd(n, 1, keepdims=True)], N),
    ("nanargmax", lambda g, n: [g.nanargmax(n), g.nanargmax(n, 0), g.nanargmax(n, 1)], N),
    ("nanargmin", lambda g, n: [g.nanargmin(n), g.nanargmin(n, 0, keepdims=True)], N),
    ("nancumsum", lambda g, n: [g.nancumsum(n), g.nancumsum(n, 0)], N),
    ("nancumprod", lambda g, n: [g.nancumprod(n, 1), g.nancumprod(n, 0)], N),
    (
        "cov",
        lambda g, x, v, w: [
            g.cov(x),
            g.cov(x, rowvar=False, bias=True),
            g.cov(v, w),
            g.cov(x, aweights=w),
            g.cov(x, fweights=np.array([1, 2, 1, 3, 1]), aweights=w, ddof=0),
            g.cov(v),
        ],
        M,
        V,
        W,
    ),
    ("corrcoef", lambda g, x, v, w: [g.corrcoef(x), g.corrcoef(v, w), g.corrcoef(v)], M, V, W),
    (
        "histogram",
        lambda g, x: [
            *g.histogram(x, 4, (-2, 2)),
            g.histogram(x, [-1.5, -0.3, 0.9, 2])[0],
            g.histogram(x, 5, (-1.0, 1.0), density=True)[0],
            g.histogram(x, 3, (-2, 2), weights=np.abs(X))[0],
            g.histogram(x, 3)[0],
        ],
        X,
    ),
    ("histogram_bin_edges", lambda g, x: [g.histogram_bin_edges(x, 4)], X),
    (
        "bincount",
        lambda g, k, w: [
            g.bincount(k, length=6),
            g.bincount(k, weights=w, length=5),
            g.bincount(k, length=2),
        ],
        K,
        W,
    ),
    (
        "clip",
        lambda g, x: [g.clip(x, max=0.5), g.clip(x, min=-0.5), g.clip(a=x, a_min=0.1, a_max=1)],
        X,
    ),
]

# ---- order statistics

METHODS = (
    *("inverted_cdf", "averaged_inverted_cdf", "closest_observation", "interpolated_inverted_cdf"),
    *("hazen", "weibull", "linear", "median_unbiased", "normal_unbiased"),
    *("lower", "higher", "midpoint", "nearest"),
)
QUANTILES = [
    (
        "quantile",
        lambda g, x: [
            g.quantile(x, 0.3),
            g.quantile(x, [[0.1, 0.5, 1.0]], axis=1),
            g.quantile(x, 0.7, axis=(0, 2), keepdims=True),
            g.quantile(x, [0.0, 0.37], axis=-1, keepdims=True),
            *(g.quantile(x[0], [0.05, 0.25, 0.61, 0.9], 0, method=m) for m in METHODS),
        ],
        X,
    ),
    ("quantile", lambda g, i: [g.quantile(i, 0.5), g.quantile(i, [0.1, 0.9], 1)], I),
    ("percentile", lambda g, x: [g.percentile(x, 40), g.percentile(x, [10, 90.0], 2)], X),
    ("median", lambda g, x: [g.median(x), g.median(x, 1), g.median(x, (0, 1), keepdims=True)], X),
    ("nanmedian", lambda g, n: [g.nanmedian(n), g.nanmedian(n, 0), g.nanmedian(n, 1)], N),
    (
        "nanquantile",
        lambda g, n: [
            g.nanquantile(n, 0.3),
            g.nanquantile(n, [0.2, 0.8], 1),
            g.nanquantile(n, 0.6, 1, keepdims=True, method="weibull"),
        ],
        N,
    ),
    ("nanpercentile", lambda g, n: [g.nanpercentile(n, 30), g.nanpercentile(n, [20.0, 80], 0)], N),
    (
        "interp",
        lambda g, x, u, v: [
            g.interp(x, u, g.convolve(v, [1.0, 2.0])),
            g.interp(x * 2, u[:5], v, left=-1.0, right=7.0),
            g.interp(x * 3, u[::-1][:5], v, period=2.5),
            g.interp(u, u[:5], v),
            g.interp(0.3, u[:5], v),
            g.interp(x, u[:1], v[:1]),
        ],
        X,
        U,
        V,
    ),
    ("pad", lambda g, m: [g.pad(m, 2, "median"), g.pad(m, 1, "median", stat_length=3)], M),
]

# ---- arrangements

ARRANGEMENTS = [
    ("rollaxis", lambda g, x: [g.rollaxis(x, 2), g.rollaxis(x, 0, 3), g.rollaxis(x, 1, 0)], X),
    ("reshape", lambda g, x: [g.reshape(x, (4, -1), order="F"), g.reshape(x, -1)], X),
    ("ravel", lambda g, x: [g.ravel(x, order="F"), g.ravel(a=x)], X),
    ("dstack", lambda g, x, v: [g.dstack([x, x]), g.dstack([v, v]), g.dstack([x[0], x[1]])], X, V),
    ("atleast_1d", lambda g, v: [*g.atleast_1d(v, v[0])], V),
    ("atleast_2d", lambda g, v: [*g.atleast_2d(v, v[0])], V),
    ("atleast_3d", lambda g, m: [g.atleast_3d(m), *g.atleast_3d(m[0], m[0, 0])], M),
    (
        "block",
        lambda g, m, v: [
            g.block([[m, m], [m[:1, :3], m[:1], m[:1, :2]]]),
            g.block([v, v]),
            g.block([[[m]], [[m + 1]]]),
            g.block(m),
        ],
        M,
        V,
    ),
    ("unstack", lambda g, x: [*g.unstack(x), *g.unstack(x, axis=-1)], X),
    ("vsplit", lambda g, x: g.vsplit(x, [1]), X),
    ("hsplit", lambda g, x: [*g.hsplit(x, 2), *g.hsplit(x[0, 0], [2])], X),
    ("dsplit", lambda g, x: g.dsplit(x, [1, 3]), X),
    (
        "delete",
        lambda g, x: [
            g.delete(x, 1, 1),
            g.delete(x, slice(None, None, 2), axis=2),
            g.delete(x, [0, -1], 0),
            g.delete(x, 3),
        ],
        X,
    ),
    (
        "insert",
        lambda g, m, v: [
            g.insert(m, 1, 7.0, 0),
            g.insert(m, [0, 4], v[:2], axis=1),
            g.insert(m, 1, v, axis=0),
            g.insert(m, [1], m[:, :2], axis=1),
            g.insert(m, 1, m[:, 0], axis=1),
            g.insert(v, [1, 1, -1], v[:3]),
            g.insert(v, slice(0, 4, 2), 3.0),
        ],
        M,
        V,
    ),
    ("tile", lambda g, x: [g.tile(x, ()), g.tile(x, (0, 2)), g.tile(A=x, reps=(1, 2, 1, 1))], X),
    ("repeat", lambda g, x: [g.repeat(x, [2, 0, 1], 0), g.repeat(x, [3], 1), g.repeat(x, 0, 1)], X),
    (
        "roll",
        lambda g, x: [g.roll(x, (1, 2)[1:], (0, 1)), g.roll(x, 7, 1), g.roll(x, 1, (0, 2))],
        X,
    ),
    (
        "rot90",
        lambda g, x: [*(g.rot90(x, k) for k in range(5)), g.rot90(x, 1, (2, 0)), g.rot90(x, -1)],
        X,
    ),
    ("resize", lambda g, m: [g.resize(m, (3, 9)), g.resize(m, 7), g.resize(m, (2, 3))], M),
    (
        "concatenate",
        lambda g, v, i: [
            g.concatenate([v, i[0]], dtype="float32"),
            g.stack([v, v], dtype="float32"),
        ],
        V,
        I,
    ),
    (
        "pad",
        lambda g, m: [
            *(
                g.pad(m, ((2, 1), (0, 3)), mode=mode)
                for mode in (
                    *("edge", "reflect", "symmetric", "wrap", "linear_ramp"),
                    *("maximum", "minimum", "mean"),
                )
            ),
            g.pad(m, 9, "reflect"),
            g.pad(m, 11, "symmetric"),
            g.pad(m, 7, "reflect", reflect_type="odd"),
            g.pad(m, 7, "symmetric", reflect_type="odd"),
            g.pad(m, ((1, 2), (3, 4)), constant_values=((1.0, 2.0), (3.0, 4.0))),
            g.pad(m, (2, 1), "linear_ramp", end_values=(1.0, -1.0)),
            g.pad(m, 2, "mean", stat_length=2),
            g.pad(m, {1: (1, 2)}),
        ],
        M,
    ),
    ("pad", lambda g, i: [g.pad(i, 2, "linear_ramp"), g.pad(i, 1, "mean"), g.pad(i, 3, "wrap")], I),
    (
        "diagonal",
        lambda g, x: [
            *(g.diagonal(x, k) for k in (-5, -1, 0, 2, 7)),
            g.diagonal(x, 1, 2, 0),
            g.diagonal(a=x, axis1=-1, axis2=1),
        ],
        X,
    ),
    ("trace", lambda g, x: [g.trace(x), g.trace(x, 1, 1, 2), g.trace(x, dtype="float32")], X),
    ("diag", lambda g, m, v: [*(g.diag(m, k) for k in (-2, 3)), g.diag(v, 2), g.diag(v, -1)], M, V),
    ("diagflat", lambda g, m: [g.diagflat(m), g.diagflat(m[0], 1)], M),
    ("tril", lambda g, x: [g.tril(x, -1), g.triu(m=x, k=2), g.triu(x > 0)], X),
    ("triu", lambda g, x: [g.triu(x, -1)], X),
    (
        "meshgrid",
        lambda g, v, w: [*g.meshgrid(v, w, sparse=True), *g.meshgrid(v, w[:2], indexing="ij")],
        V,
        W,
    ),
    (
        "linspace",
        lambda g, v, w: [
            g.linspace(v, w, 4, axis=-1),
            g.linspace(v[0], w[0], 5, endpoint=False),
            *g.linspace(v[0], w[0], 3, retstep=True),
            g.linspace(v[0], w[0], 1),
            g.linspace(v, w, 3, dtype="float32"),
        ],
        V,
        W,
    ),
    ("logspace", lambda g, v: [g.logspace(v[0], v[1], 4), g.logspace(v, 1.0, 3, base=2.0)], V),
    ("geomspace", lambda g, w: [g.geomspace(w[0], w[1], 4), g.geomspace(w, 3.0, 3, axis=1)], W),
    ("vander", lambda g, v: [g.vander(v), g.vander(v, 3), g.vander(v, 4, increasing=True)], V),
    ("vander", lambda g, k: [g.vander(k, 3), g.vander(x=k, N=2, increasing=True)], K),
    ("broadcast_shapes", lambda g, v: np.array(g.broadcast_shapes((3, 1), (1, 4), 4)), V),
    ("broadcast_arrays", lambda g, x, v: [*g.broadcast_arrays(x, v, 2.0)], X, V),
    ("array_equal", lambda g, n: [g.array_equal(n, n), g.array_equal(n, n, equal_nan=True)], N),
    (
        "array_equiv",
        lambda g, x, v: [g.array_equiv(x, x), g.array_equiv(v, x), g.array_equiv(x[0], v[:3])],
        X,
        V,
    ),
    (
        "can_cast",
        lambda g, v: np.array([g.can_cast(v.dtype, "float32"), g.can_cast("int32", "int64")]),
        V,
    ),
    (
        "isdtype",
        lambda g, v: np.array([g.isdtype(v.dtype, "real floating"), g.isdtype(v.dtype, "bool")]),
        V,
    ),
    ("iscomplexobj", lambda g, v: np.array(g.iscomplexobj(v)), V),
    ("isrealobj", lambda g, v: np.array(g.isrealobj(v)), V),
    ("isscalar", lambda g, v: np.array([g.isscalar(v), g.isscalar(2.0)]), V),
    ("iterable", lambda g, v: np.array([g.iterable(v), g.iterable(v.sum())]), V),
    ("size", lambda g, x: np.array([g.size(x, (0, 1)), g.size(x, -1)]), X),
    (
        "zeros_like",
        lambda g, v: [g.zeros_like(v, shape=(2, 3)), g.ones_like(v, "int32", shape=2)],
        V,
    ),
    ("full_like", lambda g, v: [g.full_like(v, 3, shape=(2, 2)), g.full_like(v, v * 2)], V),
    ("empty_like", lambda g, v: g.empty_like(v, shape=(2, 2)) * 0, V),
]

# ---- products

PRODUCTS = [
    (
        "inner",
        lambda g, x, m, v: [g.inner(x, m), g.inner(v, v), g.inner(m, v), g.inner(v, 2.0)],
        X,
        M,
        V,
    ),
    ("vdot", lambda g, x, y: [g.vdot(x, y), g.vdot(x[0, 0], y[0, 0])], X, Y),
    ("vecdot", lambda g, x, v: [g.vecdot(x, v), g.vecdot(x, x, axis=0), g.vecdot(v, v)], X, V),
    ("matvec", lambda g, x, v: [g.matvec(x, v), g.matvec(x, x[:, 0])], X, V),
    ("vecmat", lambda g, x, v: [g.vecmat(x[:, :, 0], x), g.vecmat(v, x.swapaxes(1, 2))], X, V),
    ("kron", lambda g, m, v: [g.kron(m, m[:2]), g.kron(v, v), g.kron(m, v), g.kron(v, m)], M, V),
    ("cross", lambda g, x, y: [g.cross(x, y, axis=0), g.cross(x[0, :, :3], y[1, :, 1:4])], X, Y),
    ("cross", lambda g, x: [g.cross(x[:, 0], x[0, :3].T, axisa=0, axisb=1, axisc=0)], X),
    ("matmul", lambda g, b, i: [b @ b.swapaxes(1, 2), i @ i.T], B, I),
    (
        "einsum",
        lambda g, x, m, s: [
            g.einsum("ii", s),
            g.einsum("ii->i", s),
            g.einsum("iji->j", x[:, :, :3]),
            g.einsum("...ij,...jk", x, m.T),
            g.einsum("...j->...", x),
            g.einsum("i...->...", x),
            g.einsum("a b c -> c a", x),
            g.einsum("ab,cb,cd->ad", m, m, s),
            g.einsum("ab,cb,cd,da->", m, m, s, s),
            g.einsum("ab,ab,ab->b", m, m, m),
            g.einsum("ab,cb,cd->ad", m, m, s, optimize=False),
            g.einsum(m, [0, 1], s, [2, 0], [1, 2]),
            g.einsum(x, [0, 1, Ellipsis], [Ellipsis, 0]),
            g.einsum("ij,ij->ij", m, m[:1]),
            g.einsum("...a,...a->...", x, m),
            g.einsum(",a->a", 2.0, m[0]),
            g.einsum("aab,b->a", x[:, :3], m[0]),
        ],
        X,
        M,
        S,
    ),
    (
        "einsum_path",
        lambda g, m: np.array(len(g.einsum_path("ab,cb,ab->c", m, m, m)[0])),
        M,
    ),
    (
        "convolve",
        lambda g, v, u: [g.convolve(v, u, mode) for mode in ("full", "same", "valid")],
        V,
        U,
    ),
    ("convolve", lambda g, x, v: [g.convolve(x.ravel(), x[0].ravel()), g.convolve(v, v[:1])], X, V),
    (
        "correlate",
        lambda g, v, u: [
            *(g.correlate(v, u, mode) for mode in ("full", "same", "valid")),
            *(g.correlate(u, v[:4], mode) for mode in ("full", "same", "valid")),
            *(g.correlate(v[:4], u, mode) for mode in ("full", "same", "valid")),
            g.correlate(v, v),
        ],
        V,
        U,
    ),
    ("polyval", lambda g, v, x: [g.polyval(v, x[0]), g.polyval(v, 2.0), g.polyval(v[:0], x)], V, X),
    ("polyadd", lambda g, v, u: [g.polyadd(v, u), g.polyadd(u[:2], v)], V, U),
    ("polysub", lambda g, v, u: [g.polysub(v, u), g.polysub(u[:2], v)], V, U),
    ("polymul", lambda g, v, u: [g.polymul(v, u), g.polymul(v, 2.0)], V, U),
    ("polyder", lambda g, v: [g.polyder(v), g.polyder(v, 2), g.polyder(v, 0)], V),
    ("polyint", lambda g, v: [g.polyint(v), g.polyint(v, 2, [1.0, 2.0]), g.polyint(v, k=3.0)], V),
    ("poly", lambda g, v: [g.poly(v), g.poly(v[:1])], V),
]

# ---- differences

DIFFERENCES = [
    (
        "diff",
        lambda g, x: [
            g.diff(x, prepend=0.0),
            g.diff(x, 2, 1, append=x[:, :1]),
            g.diff(x > 0, axis=0),
            g.diff(x, 7),
            g.diff(x, 0),
        ],
        X,
    ),
    (
        "unwrap",
        lambda g, x, k: [
            g.unwrap(4 * x),
            g.unwrap(9 * x, axis=0, discont=4.0),
            g.unwrap(k * 3, period=4),
            g.unwrap(k * 3, period=5),
            g.unwrap(x, period=1.5, axis=1),
        ],
        X,
        K,
    ),
    ("i0", lambda g, x: g.i0(x), X),
    *[  # of real numbers; of complex ones, tests/test_complex.py
        (name, lambda g, x, k, name=name: [getattr(g, name)(x), getattr(g, name)(k)], X, K)
        for name in ("real", "imag", "conj", "conjugate", "angle", "isreal", "iscomplex")
    ],
    (
        "around",
        lambda g, x, i: [g.around(x), g.around(x, 1), g.around(90 * x, -1), g.round(9 * i, -1)],
        X,
        I,
    ),
    ("ediff1d", lambda g, m: [g.ediff1d(m), g.ediff1d(m, 1.0, [2.0, 3.0])], M),
    (
        "gradient",
        lambda g, x, w: [
            *g.gradient(x),
            g.gradient(x, axis=1),
            g.gradient(x, 0.5, axis=2, edge_order=2),
            g.gradient(x, g.cumsum(w), axis=-1),
            g.gradient(x, g.cumsum(w), axis=-1, edge_order=2),
            *g.gradient(x, 2.0, g.cumsum(w)[:4], axis=(0, 1)),
            *g.gradient(x[0], 2.0, 3.0),
        ],
        X,
        W,
    ),
    (
        "trapezoid",
        lambda g, x, w: [
            g.trapezoid(x),
            g.trapezoid(x, dx=0.5, axis=0),
            g.trapezoid(x, g.cumsum(w)),
            g.trapezoid(x, x * x, axis=1),
        ],
        X,
        W,
    ),
    (
        "cumulative_sum",
        lambda g, x: [
            g.cumulative_sum(x, axis=1),
            g.cumulative_sum(x[0, 0], include_initial=True),
            g.cumulative_sum(x, axis=0, include_initial=True),
        ],
        X,
    ),
    (
        "cumulative_prod",
        lambda g, x: [g.cumulative_prod(x, axis=0), g.cumulative_prod(x[0, 0] * 2)],
        X,
    ),
    ("cumulative_prod", lambda g, x: [g.cumulative_prod(x, axis=1, include_initial=True)], X),
]

# ---- choices

CHOICES = [
    (
        "take",
        lambda g, x, i: [g.take(x, i + 9, 1, mode="wrap"), g.take(x, i * 9, 0, mode="clip")],
        X,
        I,
    ),
    (
        "take",
        lambda g, x, i: [g.take(x, 2), g.take(x, [[0], [1]], -1), g.take(a=x, indices=i, axis=1)],
        X,
        I,
    ),
    (
        "take_along_axis",
        lambda g, x, i: [
            g.take_along_axis(x, i[:, :1, None] % 3, 0),
            g.take_along_axis(x, i[None, :1] % 3, -1),
            g.take_along_axis(x, i.ravel(), None),
        ],
        X,
        I,
    ),
    (
        "select",
        lambda g, x, y: [g.select([x > 1, x > 0], [x, y], y * y), g.select([x > 0], [x])],
        X,
        Y,
    ),
    (
        "piecewise",
        lambda g, x: [
            g.piecewise(x, [x > 1, x < -1], [lambda t: t * t, -3.0, lambda t: t + 1]),
            g.piecewise(x, [x > 0, x > 1], [lambda t: t * 2, lambda t: t * 3]),
            g.piecewise(x[0, 0], x[0, 0] > 0, [lambda t, k: t * k], 4.0),
        ],
        X,
    ),
    ("compress", lambda g, x: [g.compress([True, False, True], x, 0), g.compress([0, 1, 1], x)], X),
    ("extract", lambda g, x: [g.extract(B, x)], X),
    ("isin", lambda g, i: [g.isin(i, [0, 2, 7]), g.isin(i, i[:1], invert=True)], I),
    (
        "choose",
        lambda g, x, i: [
            g.choose(i % 3, [x[0, 0, :3], 2.0, x[1, :2, :3]]),
            g.choose(i, [1, 2], mode="clip"),
            g.choose(i, [1.0, 2.0], mode="wrap"),
        ],
        X,
        I,
    ),
    ("where", lambda g, b, x: [g.where(b, x, 0.0), g.where(b[0], x[0], x[1])], B, X),
    ("ix_", lambda g, x: [x[g.ix_([0, 2], [True, False, False, True])]], X),
    ("indices", lambda g, x: list(g.indices((2, 3))), X),
    ("tril_indices", lambda g, s: [s[g.tril_indices(4, -1)]], S),
    ("triu_indices", lambda g, s: [s[g.triu_indices(4, 1)]], S),
    ("diag_indices", lambda g, s: [s[g.diag_indices(4)]], S),
    ("mask_indices", lambda g, s: [s[g.mask_indices(4, np.triu)]], S),
    ("tril_indices_from", lambda g, m: [m[g.tril_indices_from(m, 1)]], M),
    ("triu_indices_from", lambda g, m: [m[g.triu_indices_from(m)]], M),
    ("diag_indices_from", lambda g, s: [s[g.diag_indices_from(s)]], S),
    (
        "ravel_multi_index",
        lambda g, i: [
            g.ravel_multi_index((i % 3, i % 2), (3, 2)),
            g.ravel_multi_index((i + 9, i), (4, 5), mode=("wrap", "clip")),
            g.ravel_multi_index((i % 3, i % 2), (3, 2), order="F"),
        ],
        I,
    ),
    (
        "unravel_index",
        lambda g, k: [*g.unravel_index(k, (2, 3)), *g.unravel_index(k, (2, 3), "F")],
        K,
    ),
]

CASES = [*REDUCTIONS, *QUANTILES, *ARRANGEMENTS, *PRODUCTS, *DIFFERENCES, *CHOICES]
