"""Linear algebra of complex matrices: NumPy's values, and derivatives that are differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import gradloom as gl
import gradloom.linalg as gla
import gradloom.numpy as gnp

RNG = np.random.default_rng(31)
la = gnp.linalg


def drawn(*shape):
    return RNG.normal(size=shape) + 1j * RNG.normal(size=shape)


A = drawn(2, 4, 4) + 2 * np.eye(4)
H = A @ A.conj().swapaxes(-1, -2) + np.eye(4) + np.diag(np.arange(4.0))
TALL, WIDE, B, V = drawn(2, 5, 3), drawn(3, 5), drawn(2, 4, 2), drawn(4)


def whole(m, u, s, vh):
    """What singular vectors make, which no choice of their phases changes."""
    k = s.shape[-1]
    u, vh = u[..., :k], vh[..., :k, :]
    return [(u * np.cos(s[..., None, :])) @ vh, abs(u), abs(vh), s]


CASES = {
    "cholesky": (lambda m, x: [m.cholesky(x), m.cholesky(x, upper=True)], H),
    "solve": (lambda m, x, b: [m.solve(x, b), m.solve(x[0], b[0, :, 0])], A, B),
    "solve real": (lambda m, x, b: [m.solve(x, b.real), m.solve(x.real, b)], A, B),
    "inv": (lambda m, x: [m.inv(x)], A),
    "det": (lambda m, x: [m.det(x), m.det(x[:, :3, :3]), m.det(x[:, :2, :2])], A),
    "slogdet": (lambda m, x: [*m.slogdet(x), *m.slogdet(x[0])], A),
    "qr": (lambda m, x, y: [*m.qr(x), *m.qr(y), *m.qr(x[0, :3]), m.qr(x, mode="r")], TALL, WIDE),
    "eigh": (
        lambda m, x: [
            m.eigh(x)[0],
            abs(m.eigh(x)[1]),
            (m.eigh(x)[1] * np.cos(m.eigh(x)[0])[..., None, :]) @ m.eigh(x)[1].conj().swapaxes(1, 2)
            if m is np.linalg
            else (lambda w, v: (v * gnp.cos(w)[..., None, :]) @ gnp.conj(v).swapaxes(1, 2))(
                *m.eigh(x)
            ),
        ],
        H,
    ),
    "eigvalsh": (lambda m, x: [m.eigvalsh(x)], H),
    "svd": (
        lambda m, x, y: [
            *whole(m, *m.svd(x, full_matrices=False)),
            *whole(m, *m.svd(y, full_matrices=False)),
        ],
        TALL,
        WIDE,
    ),
    "svdvals": (lambda m, x, y: [m.svdvals(x), m.svd(y, compute_uv=False)], TALL, WIDE),
    "pinv": (lambda m, x, y: [m.pinv(x), m.pinv(y)], TALL, WIDE),
    "lstsq": (lambda m, x, b: [*m.lstsq(x, b)[:2], m.lstsq(x, b)[3]], TALL[0], drawn(5, 2)),
    "matrix_power": (lambda m, x: [m.matrix_power(x, n) for n in (-2, 0, 1, 3)], A),
    "norm": (
        lambda m, x: [
            m.norm(x),
            m.norm(x[0, 0], 3),
            m.norm(x, axis=1),
            m.norm(x, axis=(0, 2), keepdims=True),
            m.norm(x[0], "nuc"),
            *(m.norm(x[0], k) for k in (1, -1, 2, -2, np.inf)),
            m.norm(x[0, 0], 0),
            m.vecdot(x, x[::-1]),
        ],
        TALL,
    ),
    "cond": (lambda m, x: [m.cond(x), m.cond(x, 1), m.cond(x, "fro")], A),
    "matrix_rank": (lambda m, x: [m.matrix_rank(x), m.matrix_rank(x[0] * [1.0, 0, 2j])], TALL),
}
OF_SCIPY = {
    "triangular": (
        lambda m, x, b: [m.solve_triangular(x[0], b[0], trans=t, lower=t == 1) for t in (0, 1, 2)],
        A,
        B,
    ),
    "cho_solve": (
        lambda m, x, b: [m.cho_solve(m.cho_factor(x[0], low), b[0]) for low in (True, False)],
        H,
        B,
    ),
    "lu": (lambda m, x: [*m.lu(x[0])], A),
    "lu_solve": (
        lambda m, x, b: [m.lu_solve(m.lu_factor(x[0]), b[0], trans=t) for t in (0, 1, 2)],
        A,
        B,
    ),
    "expm": (lambda m, x: [m.expm(x[0]), m.expm(x[0] * 4)], A),
    "toeplitz": (lambda m, v: [m.toeplitz(v), m.toeplitz(v, v[::-1])], V),
}
EVERY = {
    **{name: (la, np.linalg, *case) for name, case in CASES.items()},
    **{name: (gla, scipy.linalg, *case) for name, case in OF_SCIPY.items()},
}


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_values_are_numpys(name, dtype):
    ours, theirs, call, *arrays = EVERY[name]
    arrays = [a.astype(dtype) for a in arrays]
    near = 1e-11 if dtype == "complex128" else 3e-3
    wanted = call(theirs, *arrays)
    with gl.settings(verify=2):
        results = [call(ours, *arrays), gl.jit(lambda *a: call(ours, *a))(*arrays)]
    for found in results:
        for got, want in zip(found, wanted, strict=True):
            assert got.dtype == want.dtype or name == "cond"
            assert got.shape == want.shape
            np.testing.assert_allclose(got, want, near, near * (1 + abs(want).max()))


def loss(ours, call, arrays):
    total = 0.0
    for k, r in enumerate(call(ours, *arrays)):
        if r.dtype.kind in "fc":
            size = int(np.prod(tuple(r.shape), dtype=int))
            weights = np.exp(1j * (np.arange(size) + k)).reshape(tuple(r.shape))
            total = total + gnp.real(gnp.sum(r * weights))
    return total


@pytest.mark.parametrize("name", sorted(set(EVERY) - {"matrix_rank"}))
def test_gradients_are_differences(name):
    """df/dx - i df/dy; compiled as on the tape, and to second order."""
    ours, _, call, *at = EVERY[name]
    numbers = tuple(range(len(at)))
    along = [drawn(*a.shape) for a in at]
    first = gl.grad(lambda *a: loss(ours, call, a), numbers)

    def slope(*a):
        return sum(gnp.real(gnp.sum(g * d)) for g, d in zip(first(*a), along, strict=True))

    found = first(*at)
    with gl.eager():
        taped = first(*at)
    for got, want in zip(found, taped, strict=True):
        np.testing.assert_allclose(got, want, 1e-8, 1e-8 * (1 + abs(want).max()))
    orders = [(found, lambda *a: loss(ours, call, a))]
    if name in ("cholesky", "qr", "eigh", "svd", "slogdet", "pinv"):
        orders.append((gl.grad(slope, numbers)(*at), slope))
    for grads, f in orders:
        jitted = gl.jit(f)
        ahead, behind = (
            jitted(*(a + s * 1e-5 * d for a, d in zip(at, along, strict=True))) for s in (1, -1)
        )
        got = sum(np.sum(g * d).real for g, d in zip(grads, along, strict=True))
        wanted = float(ahead - behind) / 2e-5
        assert got == pytest.approx(wanted, rel=2e-5, abs=2e-5 * (1 + abs(float(jitted(*at)))))


def test_tangents_and_batches():
    """Forward mode, which transposes the rules, and vmap."""
    d = drawn(4, 4)
    for f in (la.inv, lambda x: la.cholesky(x @ gnp.conj(x).T), lambda x: la.qr(x)[0]):
        value, tangent = gl.jvp(f, (A[0],), (d,))
        ahead, behind = (gl.jit(f)(A[0] + s * 1e-6 * d) for s in (1, -1))
        np.testing.assert_allclose(tangent, (ahead - behind) / 2e-6, 1e-6, 1e-6)
        np.testing.assert_allclose(value, gl.jit(f)(A[0]), 1e-12)
        mapped = gl.vmap(f)(A)
        np.testing.assert_allclose(mapped, np.stack([gl.jit(f)(a) for a in A]), 1e-10, 1e-10)


def test_what_has_no_factors_is_nan_alone():
    bad = np.stack([np.eye(3), -np.eye(3)]).astype(complex)
    found = gl.jit(la.cholesky)(bad)
    np.testing.assert_array_equal(found[0], np.eye(3))
    assert np.isnan(found[1]).any()
    singular = np.stack([np.eye(3), np.zeros((3, 3))]).astype(complex)
    found = gl.jit(la.inv)(singular)
    np.testing.assert_array_equal(found[0], np.eye(3))
    assert np.isnan(found[1]).all()
    sign, logs = gl.jit(la.slogdet)(singular)
    np.testing.assert_array_equal(logs, [0, -np.inf])
    np.testing.assert_array_equal(sign, [1, 0])
    none = np.zeros((2, 0, 0), complex)
    sign, logs = gl.jit(la.slogdet)(none)
    assert (sign.dtype, logs.dtype) == ("complex128", "float64")


def test_gradients_are_jaxs():
    """Its convention, and its choice of what the phases of singular vectors do."""

    def hermitian(m, x):
        return 0.5 * (x + m.conj(x).T) + 8 * np.eye(4) + np.diag(np.arange(4.0))

    def f(m, x):
        u, s, vh = m.linalg.svd(x[:, :3], full_matrices=False)
        w, v = m.linalg.eigh(hermitian(m, x))
        found = [
            *((u * m.cos(s)) @ vh, abs(u), s, w, (v * m.sin(w)) @ m.conj(v).T, *m.linalg.qr(x)),
            *(m.linalg.cholesky(hermitian(m, x)), *m.linalg.slogdet(x), m.linalg.pinv(x[:3])),
        ]
        rates = [np.exp(1j * (k + np.arange(r.size))).reshape(r.shape) for k, r in enumerate(found)]
        return sum(m.real(m.sum(r * w)) for r, w in zip(found, rates, strict=True))

    with jax.enable_x64(True):  # noqa: FBT003 (JAX's signature)
        wanted = np.asarray(jax.grad(lambda x: f(jnp, x))(A[0]))
    np.testing.assert_allclose(gl.grad(lambda x: f(gnp, x))(A[0]), wanted, 1e-10, 1e-10)
