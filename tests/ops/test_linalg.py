"""Linear algebra against NumPy's and SciPy's: values, batches, what is singular, derivatives."""

import numpy as np
import pytest
import scipy.linalg
from tests.routines import assert_same, assert_slopes

import gradloom as gl
import gradloom.linalg as gla
import gradloom.numpy as gnp
from gradloom.errors import MissingError, ShapeError
from gradloom.frontend.tensor import FUNCTIONS

RNG = np.random.default_rng(12)
A = RNG.normal(size=(2, 4, 4)) + 2 * np.eye(4)
S = A @ A.swapaxes(-1, -2) + np.eye(4)  # positive definite
TALL, WIDE = RNG.normal(size=(2, 5, 3)), RNG.normal(size=(3, 5))
B, V = RNG.normal(size=(4, 2)), RNG.normal(size=4)
la = gnp.linalg


def signed(u, vh):
    """Singular vectors with a sign that is the same for everybody."""
    sign = np.sign(u[..., :1, :])
    return u * sign, vh * np.swapaxes(sign, -1, -2)


def columns(v):
    return v * gnp.sign(v[..., :1, :])


def small_svd(m):
    def f(x):
        u, s, vh = m.svd(x, full_matrices=False)
        sign = np.sign(u[..., :1, :])
        return [u * sign, s, vh * np.swapaxes(sign, -1, -2)]

    return f


CASES = {
    "cholesky": (lambda m, x: [m.cholesky(x), m.cholesky(x, upper=True)], S),
    "solve": (
        lambda m, x, b: [m.solve(x, b), m.solve(x[0], b[0, :, 0]), m.solve(x[:, None], b)],
        A,
        np.stack([B, -B]),
    ),
    "inv": (lambda m, x: m.inv(x), A),
    "det": (
        lambda m, x: [m.det(x), m.det(x[:, :3, :3]), m.det(x[:, :2, :2]), m.det(x[0, :1, :1])],
        A,
    ),
    "slogdet": (lambda m, x: list(m.slogdet(x)), A),
    "qr": (lambda m, x, y: [*m.qr(x), *m.qr(y), *m.qr(x[0, :3]), m.qr(x, mode="r")], TALL, WIDE),
    "eigh": (lambda m, x: [m.eigh(x)[0], abs(m.eigh(x).eigenvectors)], S),
    "eigvalsh": (lambda m, x: m.eigvalsh(x), S),
    "svd": (lambda m, x, y: small_svd(m)(x) + small_svd(m)(y), TALL, WIDE),
    "svdvals": (lambda m, x, y: [m.svdvals(x), m.svd(y, compute_uv=False)], TALL, WIDE),
    "pinv": (lambda m, x, y: [m.pinv(x), m.pinv(y)], TALL, WIDE),
    "lstsq": (
        lambda m, x, b: [*m.lstsq(x, b)[:2], m.lstsq(x, b)[3], m.lstsq(x, b[:, 0])[0]],
        TALL[0],
        RNG.normal(size=(5, 2)),
    ),
    "matrix_rank": (lambda m, x: [m.matrix_rank(x), m.matrix_rank(x[0] * [1.0, 0.0, 2.0])], TALL),
    "matrix_power": (lambda m, x: [m.matrix_power(x, n) for n in (-2, 0, 1, 2, 5)], A),
    "norm": (
        lambda m, x: [
            m.norm(x),
            m.norm(x[0, 0]),
            m.norm(x[0, 0], 3),
            m.norm(x, axis=1),
            m.norm(x, 1, axis=-1),
            m.norm(x, axis=(0, 2), keepdims=True),
            m.norm(x[0], "nuc"),
            m.norm(x[0], -2),
            *(m.norm(x[0], k) for k in (1, -1, 2, np.inf, -np.inf)),
            m.norm(x[0, 0], np.inf),
            m.norm(x[0, 0], -np.inf),
            m.norm(x[0, 0], 0),
        ],
        TALL,
    ),
    "vector_norm": (lambda m, x: [m.vector_norm(x), m.vector_norm(x, axis=(0, 1), ord=1)], TALL),
    "matrix_norm": (lambda m, x: [m.matrix_norm(x), m.matrix_norm(x, keepdims=True, ord=2)], TALL),
    "cond": (lambda m, x: [m.cond(x), m.cond(x, -2), m.cond(x, 1), m.cond(x, "fro")], A),
    "multi_dot": (
        lambda m, x, b, v: [
            m.multi_dot([x[0], x[1], b]),
            m.multi_dot([v, x[0], b]),
            m.multi_dot([v, x[0], v]),
        ],
        A,
        B,
        V,
    ),
    "tensorsolve": (lambda m, x, b: m.tensorsolve(x.reshape(4, 2, 2), b), A[0], V),
    "tensorinv": (lambda m, x: m.tensorinv(x.reshape(4, 2, 2), ind=1), A[0]),
    "cross": (lambda m, x: [m.cross(x, x[::-1] + 1), m.cross(x[:, 0], x[:, 1])], TALL),
    "outer": (lambda m, v: m.outer(v, v[:2]), V),
    "vecdot": (lambda m, x: [m.vecdot(x, x + 1), m.vecdot(x, x, axis=1)], TALL),
    "diagonal": (
        lambda m, x: [m.diagonal(x), m.diagonal(x, offset=1), m.diagonal(x, offset=-2)],
        TALL,
    ),
    "trace": (lambda m, x: [m.trace(x), m.trace(x, offset=-1)], TALL),
    "matrix_transpose": (lambda m, x: m.matrix_transpose(x), TALL),
    "tensordot": (lambda m, x: m.tensordot(x[0], x[1], axes=((0,), (0,))), TALL),
    "matmul": (lambda m, x: m.matmul(x, x[0, :3]), TALL),
}
REFUSED = {"eig", "eigvals"}
ROUGH = {"pinv", "lstsq", "cond"}


def as_list(found):
    return list(found) if isinstance(found, list | tuple) else [found]


def test_every_function_is_tested():
    names = {name.removeprefix("linalg.") for name in FUNCTIONS if name.startswith("linalg.")}
    assert names == set(CASES) | REFUSED
    assert set(CASES) == set(la.__all__)


@pytest.mark.parametrize("name", CASES)
def test_values_are_numpys(name):
    call, *arrays = CASES[name]
    assert_same(
        lambda *a: as_list(call(la, *a)),
        lambda *a: as_list(call(np.linalg, *a)),
        *arrays,
        tolerance=1e-11,
        uncompiled=name not in ("norm", "matrix_power", "multi_dot"),
    )


@pytest.mark.parametrize("name", sorted(set(CASES) - {"matrix_rank", "tensordot", "matmul"}))
def test_slopes(name):
    call, *arrays = CASES[name]
    assert_slopes(lambda *a: as_list(call(la, *a)), *arrays, rel=1e-5, second=name in SECOND)


SECOND = {"cholesky", "solve", "slogdet", "qr", "eigh", "svd", "pinv", "det", "eigvalsh"}


def test_numpys_functions_on_traced_values():
    f = gl.jit(lambda x: [np.linalg.inv(x), np.linalg.det(x), *np.linalg.qr(x), np.linalg.norm(x)])
    wanted = [np.linalg.inv(A), np.linalg.det(A), *np.linalg.qr(A), np.linalg.norm(A)]
    for got, want in zip(f(A), wanted, strict=True):
        np.testing.assert_allclose(got, want, 1e-12, 1e-12)


def test_single_precision():
    f = gl.jit(
        lambda s, x: [
            la.cholesky(s),
            la.solve(s, x),
            *la.qr(x),
            la.svdvals(x),
            la.eigvalsh(s),
            la.pinv(x),
            la.det(s),
        ]
    )
    s, x = S[0].astype("float32"), A[0].astype("float32")
    m = np.linalg
    wanted = [
        m.cholesky(s),
        m.solve(s, x),
        *m.qr(x),
        m.svdvals(x),
        m.eigvalsh(s),
        m.pinv(x),
        m.det(s),
    ]
    for got, want in zip(f(s, x), wanted, strict=True):
        assert got.dtype == "float32"
        np.testing.assert_allclose(got, want, 2e-4, 2e-4)


def test_what_has_no_factors_is_nan_alone():
    bad = np.stack([np.eye(3), -np.eye(3), np.full((3, 3), np.nan)])
    for f in (la.cholesky, gl.jit(la.cholesky)):
        found = f(bad)
        np.testing.assert_array_equal(found[0], np.eye(3))
        assert np.isnan(found[1:, 0, 0]).all()
    singular = np.stack([np.eye(3), np.zeros((3, 3))])
    for f in (la.inv, gl.jit(la.inv)):
        found = f(singular)
        np.testing.assert_array_equal(found[0], np.eye(3))
        assert np.isnan(found[1]).all()
    for f in (la.slogdet, gl.jit(la.slogdet)):
        sign, logs = f(singular)
        np.testing.assert_array_equal(sign, [1, 0])
        np.testing.assert_array_equal(logs, [0, -np.inf])
    for f in (la.svdvals, gl.jit(la.svdvals), la.eigvalsh, gl.jit(la.eigvalsh)):
        found = f(bad)
        np.testing.assert_allclose(abs(found[:2]), 1)
        assert np.isnan(found[2]).all()


def test_a_determinant_has_a_slope_where_it_is_zero():
    x = np.array([[1.0, 2.0], [2.0, 4.0]])
    np.testing.assert_allclose(gl.grad(la.det)(x), [[4.0, -2.0], [-2.0, 1.0]])


def test_empty_matrices():
    none = np.zeros((0, 3, 3))
    f = gl.jit(lambda x: [la.cholesky(x), la.inv(x), la.det(x), *la.slogdet(x), la.eigvalsh(x)])
    assert [r.shape for r in f(none)] == [(0, 3, 3), (0, 3, 3), (0,), (0,), (0,), (0, 3)]
    nothing = np.zeros((2, 0, 0))
    found = gl.jit(lambda x: [la.cholesky(x), la.inv(x), la.det(x)])(nothing)
    assert [r.shape for r in found] == [(2, 0, 0), (2, 0, 0), (2,)]
    np.testing.assert_array_equal(found[2], [1, 1])


def test_full_bases():
    for f in (la, np.linalg):
        u, s, vh = f.svd(WIDE)
        assert u.shape == (3, 3)
        assert vh.shape == (5, 5)
    u, s, vh = gl.jit(la.svd)(WIDE)
    np.testing.assert_allclose(u * s @ vh[:3], WIDE, 1e-12, 1e-12)
    np.testing.assert_allclose(vh @ vh.T, np.eye(5), 0, 1e-12)
    q, r = gl.jit(lambda x: la.qr(x, "complete"))(TALL)
    assert q.shape == (2, 5, 5)
    np.testing.assert_allclose(q @ r, TALL, 1e-12, 1e-12)
    with pytest.raises(MissingError, match="full basis"):
        gl.grad(lambda x: gnp.sum(la.svd(x)[2]))(WIDE)
    with pytest.raises(MissingError, match="complete QR"):
        gl.grad(lambda x: gnp.sum(la.qr(x, "complete")[0]))(TALL)


def test_errors_name_the_repair():
    with pytest.raises(ShapeError, match="square matrices"):
        la.inv(WIDE)
    with pytest.raises(ShapeError, match="as many rows"):
        gl.jit(la.solve)(A, np.ones(3))
    with pytest.raises(MissingError, match="use eigh"):
        gl.jit(np.linalg.eigvals)(A)
    with pytest.raises(MissingError, match="no matrix norm"):
        la.norm(WIDE, 7, axis=(0, 1))
    with pytest.raises(ShapeError, match="one axis, or two"):
        la.norm(A, axis=(0, 1, 2))


# ---- SciPy's


def test_scipys_functions():
    theirs = scipy.linalg
    x, s, b = A[0], S[0], B
    cases = [
        (lambda m, x, b: m.solve_triangular(x, b), x, b),
        (lambda m, x, b: m.solve_triangular(x, b, trans=1, lower=True), x, b),
        (lambda m, x, b: m.solve_triangular(x, b[:, 0], unit_diagonal=True), x, b),
        (
            lambda m, s, b: [
                m.cho_solve(m.cho_factor(s), b),
                m.cho_solve(m.cho_factor(s, lower=True), b[:, 0]),
            ],
            s,
            b,
        ),
        (lambda m, x: list(m.lu(x)), x),
        (lambda m, x: list(m.lu(x, permute_l=True)), RNG.normal(size=(5, 3))),
        (lambda m, x: list(m.lu(x)), WIDE),
        (lambda m, x: list(m.lu_factor(x)), x),
        (lambda m, x, b: [m.lu_solve(m.lu_factor(x), b, trans=t) for t in (0, 1)], x, b),
        (lambda m, x: [m.expm(x), m.expm(x * 30), m.expm(x * 1e-3)], x - 3 * np.eye(4)),
        (lambda m, x, b: m.block_diag(x, b, x[0]), x, b),
        (lambda m, x, b: [m.toeplitz(x[0]), m.toeplitz(x[0], b[0])], x, b),
        (lambda m, s: m.cholesky(s), s),
    ]
    for call, *arrays in cases:
        assert_same(
            lambda *a, call=call: call(gla, *a),
            lambda *a, call=call: call(theirs, *a),
            *arrays,
            tolerance=1e-10,
            uncompiled=False,
        )


@pytest.mark.parametrize(
    "function",
    [
        lambda x, b: gla.solve_triangular(x, b, trans=1, unit_diagonal=True),
        lambda x, b: gla.cho_solve(gla.cho_factor(x @ x.T + np.eye(4)), b),
        lambda x, b: [*gla.lu(x)[1:], gla.lu_solve(gla.lu_factor(x), b, trans=1)],
        lambda x, b: [gla.expm(x), gla.expm(x * 5) * 1e-4],
        lambda x, b: [gla.block_diag(x, b), gla.toeplitz(x[0], b[:, 0])],
    ],
)
def test_slopes_of_scipys_functions(function):
    assert_slopes(function, A[0], B, rel=1e-5)


def test_routines_in_a_loop_and_under_vmap():
    found = gl.vmap(lambda x, b: la.solve(x, b))(A, np.stack([B, B]))
    np.testing.assert_allclose(found, np.linalg.solve(A, np.stack([B, B])), 1e-12)
    f = gl.jit(gl.vmap(lambda x: [la.inv(x), la.cholesky(x @ x.T), gnp.sort(x, 0), *la.slogdet(x)]))
    wanted = [
        np.linalg.inv(A),
        np.linalg.cholesky(A @ A.swapaxes(1, 2)),
        np.sort(A, 1),
        *np.linalg.slogdet(A),
    ]
    for got, want in zip(f(A), wanted, strict=True):
        np.testing.assert_allclose(got, want, 1e-10, 1e-10)
