"""Complex numbers from end to end: NumPy's values and branch cuts, and derivatives."""

import warnings

import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.errors import DtypeError

RNG = np.random.default_rng(4)
EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, -2.0, 30.0, -800.0, 1e-300, 1e300, np.inf, -np.inf, np.nan]
OF_ONE = [
    *("abs", "angle", "exp", "log", "sqrt", "sin", "cos", "tan", "sinh", "cosh", "tanh", "arcsin"),
    *("arccos", "arctan", "arcsinh", "arccosh", "arctanh", "log2", "log10", "sign", "square"),
    *("negative", "conjugate", "real", "imag", "isfinite", "isinf", "isnan", "isreal", "iscomplex"),
    "rint",
]
DIFFERENT = {"expm1", "log1p", "reciprocal", "exp2"}  # more accurate here, or with other NaN


def drawn(*shape):
    return RNG.normal(size=shape) + 1j * RNG.normal(size=shape)


Z, W, X = drawn(3, 4), drawn(3, 4), RNG.uniform(0.3, 2.0, (3, 4))


def edges():
    re, im = (part.ravel() for part in np.meshgrid(EDGES, EDGES))
    z = np.empty(re.shape, complex)
    z.real, z.imag = re, im
    return z


def same_part(got, want):
    """Equal to the last few bits, zeros of one sign, infinities alike; any NaN for NaN."""
    zero = (got == want) & (np.signbit(got) == np.signbit(want))
    near = (got != 0) & (np.abs(got - want) <= 1e-13 * np.where(np.isfinite(want), abs(want), 0))
    return zero | near | (np.isnan(got) & np.isnan(want))


def parts(z):
    return z.real, z.imag


@pytest.mark.parametrize("name", OF_ONE)
def test_edges_and_branch_cuts_are_numpys(name):
    z = edges()
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = getattr(np, name)(z)
    got = gl.jit(lambda z: getattr(gnp, name)(z))(z)
    assert got.dtype == want.dtype
    if want.dtype == bool:
        np.testing.assert_array_equal(got, want)
        return
    with np.errstate(invalid="ignore"):
        good = same_part(got.real, want.real) & same_part(got.imag, want.imag)
        # Without an angle C99 leaves signs open; where one part is NaN it keeps what can still be
        # known of the other, and the inverse functions here say NaN more often.
        ends = np.isnan(z) | (np.isinf(z.real) & np.isinf(z.imag))
        sizes = [same_part(abs(g), abs(w)) for g, w in zip(parts(got), parts(want), strict=True)]
        good |= ends & ((sizes[0] & sizes[1]) | (np.isnan(got) & np.isnan(want)))
    assert not [(z[i], got[i], want[i]) for i in np.flatnonzero(~good)]


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("name", [*OF_ONE, *sorted(DIFFERENT)])
def test_values_over_many_magnitudes(name, dtype):
    scale = np.exp(2 * RNG.normal(size=(2, 3000)))
    z = (RNG.normal(size=3000) * scale[0] + 1j * RNG.normal(size=3000) * scale[1]).astype(dtype)
    with np.errstate(all="ignore"):
        want = getattr(np, name)(z.astype(complex))
    got = gl.jit(lambda z: getattr(gnp, name)(z))(z)
    if want.dtype == bool:
        np.testing.assert_array_equal(got, want)
        return
    assert np.finfo(got.dtype).dtype == np.finfo(dtype).dtype
    size, info = np.abs(want), np.finfo(dtype)
    fits = (size < float(info.max) / 4) & (size > float(info.tiny) / float(info.eps))
    unit = 16 * float(info.eps) * (50 if name == "exp2" else 1)  # NumPy multiplies by log(2)
    if name == "log1p":  # NumPy's own adds 1 first
        near = np.abs(z) < 1e-3
        want = np.where(near, z.astype(complex) - z.astype(complex) ** 2 / 2, want)
        fits &= ~near | (np.abs(z) < 1e-5)
        unit = max(unit, 1e-9)
    error = np.abs(got[fits] - want[fits]) / np.abs(want[fits])
    assert error.max() <= unit


def test_quotients_neither_overflow_nor_vanish():
    """Smith's quotient at the ends of the range, where |w|**2 is no number."""
    for size in (1e-200, 1e200):
        z, w = size * Z, size * W
        np.testing.assert_allclose(gl.jit(lambda z, w: z / w)(z, w), Z / W, rtol=1e-14)
    zero = gl.jit(lambda z, w: z / w)(np.array([1 + 1j]), np.array([0j]))
    assert np.isinf(zero.real).all()
    assert np.isinf(zero.imag).all()


FUNCTIONS = {
    "add": lambda g, z, w, x: [z + w, z + x, x + 1j, z + 2],
    "subtract": lambda g, z, w, x: [z - w, x - z],
    "multiply": lambda g, z, w, x: [z * w, x * z, 2j * x],
    "divide": lambda g, z, w, x: [z / w, x / z, z / x],
    "power": lambda g, z, w, x: [z**w, x**z, z**x, z**3, z**0.5, z**-1.5],
    "where": lambda g, z, w, x: [g.where(x > 1, z, w), g.where(x > 1, z, x)],
    "equal": lambda g, z, w, x: [z == w, z != w, z == z, z == 1j],
    "matmul": lambda g, z, w, x: [z @ w.T, x @ w.T, w @ x.T],
    "einsum": lambda g, z, w, x: [g.einsum("ij,ik->jk", z, w), g.einsum("ij,ij->i", x, w)],
    "vdot": lambda g, z, w, x: [g.vdot(z, w), g.vdot(x, w), g.vdot(z, x)],
    "outer": lambda g, z, w, x: [g.outer(z[0], w[1]), g.tensordot(z, w, 2), g.dot(z, w.T)],
    "sum": lambda g, z, w, x: [z.sum(), z.sum(axis=0), g.mean(z, axis=1), g.prod(z, axis=0)],
    "var": lambda g, z, w, x: [g.var(z), g.std(z, axis=1), g.var(z, axis=0, ddof=1)],
    "cumsum": lambda g, z, w, x: [g.cumsum(z, axis=1), g.cumprod(z, axis=0)],
    "moves": lambda g, z, w, x: [
        z.T,
        z[::-1, 1:],
        g.concatenate([z, x]),
        g.roll(z, 1),
        g.pad(z, 1),
    ],
    "gather": lambda g, z, w, x: [g.take(z, np.array([0, 2, 1, 1]), axis=1), z[np.array([2, 0])]],
    "parts": lambda g, z, w, x: [z.real, z.imag, z.conj(), g.angle(z), g.abs(z), z.conjugate()],
    "real": lambda g, z, w, x: [g.real(x), g.imag(x), g.conjugate(x), g.angle(-x), g.isreal(x)],
    "round": lambda g, z, w, x: [g.round(z, 1), g.nan_to_num(z), g.isclose(z, z + 1e-12)],
    "logic": lambda g, z, w, x: [g.any(z), g.all(z * 0), g.count_nonzero(z), g.logical_and(z, x)],
    "reciprocal": lambda g, z, w, x: [g.reciprocal(z), g.sign(z), g.square(z), g.exp2(z)],
}


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_numpys(name, dtype):
    call = FUNCTIONS[name]
    z, w = Z.astype(dtype), W.astype(dtype)
    x = X.astype(z.real.dtype)
    wanted = call(np, z, w, x)
    found = gl.jit(lambda z, w, x: call(gnp, z, w, x), verify=True)(z, w, x)
    for got, want in zip(found, wanted, strict=True):
        assert got.dtype == np.asarray(want).dtype
        tolerance = 64 * float(np.finfo(dtype).eps)
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n not in ("equal", "logic", "round")])
def test_gradients_are_differences(name):
    """df/dx - i df/dy of a real function of all results; compiled as eager, and to second order."""
    call = FUNCTIONS[name]

    def loss(g, z, w, x):
        total = 0.0
        for k, r in enumerate(call(g, z, w, x)):
            if r.dtype.kind in "fc":
                size = int(np.prod(tuple(r.shape), dtype=np.int64))
                weights = np.exp(1j * (np.arange(size) + k)).reshape(tuple(r.shape))
                total = total + g.real(g.sum(r * weights))
        return total

    at = (Z, W, X)
    along = (drawn(3, 4), drawn(3, 4), RNG.normal(size=(3, 4)))

    def along_gradient(*a):
        pairs = zip(slopes(*a), along, strict=True)
        return sum(gnp.real(gnp.sum(s * v)) for s, v in pairs)

    slopes = gl.grad(lambda *a: loss(gnp, *a), (0, 1, 2))
    first, second = slopes(*at), gl.grad(along_gradient, (0, 1, 2))(*at)
    with gl.eager():
        taped = slopes(*at)
    for got, want, argument in zip(first, taped, at, strict=True):
        assert got.dtype == argument.dtype
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-11)
    ahead, behind = ([a + s * 1e-6 * v for a, v in zip(at, along, strict=True)] for s in (1, -1))
    for found, f in ((first, lambda *a: loss(np, *a)), (second, along_gradient)):
        slope = sum(np.sum(g * v).real for g, v in zip(found, along, strict=True))
        wanted = (f(*ahead) - f(*behind)) / 2e-6
        assert slope == pytest.approx(float(wanted), rel=1e-5, abs=1e-5)


def test_the_gradient_is_that_of_jax():
    """Of abs(z)**2 it is 2 conj(z): minus it, conjugated, is the way down."""
    z = np.array([3.0 + 4.0j])
    np.testing.assert_allclose(gl.grad(lambda z: gnp.sum(gnp.abs(z) ** 2))(z), 2 * np.conj(z))
    np.testing.assert_allclose(gl.grad(lambda z: gnp.sum(z * z).real)(z), 2 * z)
    assert gl.grad(lambda z: gnp.abs(z))(0j) == 0
    with pytest.raises(DtypeError, match="take its real part"):
        gl.grad(lambda z: z * z)(1j)


def test_tangents_and_batches():
    e = 1e-6
    v = drawn(3, 4)
    for f in (np.abs, np.sign, np.conjugate, lambda z: np.exp(z) * z.real):
        value, tangent = gl.jvp(f, (Z,), (v,))
        np.testing.assert_allclose(value, f(Z), rtol=1e-14)
        np.testing.assert_allclose(tangent, (f(Z + e * v) - f(Z - e * v)) / (2 * e), 1e-7, 1e-8)
    mapped = gl.vmap(lambda z: np.vdot(z, z) * z)(Z)
    np.testing.assert_allclose(mapped, np.stack([np.vdot(z, z) * z for z in Z]), rtol=1e-14)


def test_python_numbers_are_weak():
    single = np.ones(2, "float32")
    assert gl.jit(lambda x: x * 1j)(single).dtype == "complex64"
    assert gl.jit(lambda x, k: x * k)(single, 2j).dtype == "complex64"
    assert gl.jit(lambda x: x.astype("int32") * 1j)(single).dtype == "complex128"
    f = gl.jit(lambda k: k * 2)
    assert f(1j) == 2j
    assert isinstance(f(1j), np.complex128)


def test_casts():
    z = np.array([1.5 - 2j, 0j, -3j])
    f = gl.jit(
        lambda z: (
            z.astype("float32"),
            z.astype(bool),
            z.astype("complex64"),
            z.imag.astype(complex),
        )
    )
    real, truth, single, imaginary = f(z)
    np.testing.assert_array_equal(real, np.array([1.5, 0, 0], "float32"))
    np.testing.assert_array_equal(truth, [True, False, True])
    assert single.dtype == "complex64"
    np.testing.assert_array_equal(imaginary, [-2, 0, -3])


def test_arguments_in_any_layout_and_results_on_their_own():
    wide = drawn(6, 8)
    f = gl.jit(lambda z: (z, z.sum(), z[0, 0]))
    for z in (wide[::2, ::-1], wide.T, np.asfortranarray(wide), wide.astype(">c16")):
        copy, total, corner = f(z)
        np.testing.assert_array_equal(copy, z)
        assert copy.flags.owndata
        np.testing.assert_allclose(total, z.sum(), rtol=1e-13)
        assert corner == z[0, 0]


def test_empty_arrays():
    f = gl.jit(lambda z: (z * 2, z.sum(), np.prod(z), np.exp(z)))
    double, total, product, grown = f(np.zeros((0, 3), complex))
    assert double.shape == grown.shape == (0, 3)
    assert (total, product) == (0, 1)


def test_without_a_compiler():
    with gl.settings(interpret=True):
        np.testing.assert_allclose(gl.jit(lambda z: np.sqrt(z) * z)(Z), np.sqrt(Z) * Z, rtol=1e-14)


def test_optimizers_take_real_parameters():
    step = gl.train_step(lambda p: gnp.abs(p) ** 2, gl.optim.sgd(0.1))
    with pytest.raises(DtypeError, match="optimizers take real parameters"):
        step.init(1j)


def test_training_through_complex_numbers():
    """A phase fitted to data: complex inside, complex batches, real parameters."""
    angle = 0.7
    data = drawn(64)

    def loss(p, z, w):
        turned = z * gnp.exp(1j * p)
        return gnp.mean(gnp.abs(turned - w) ** 2), turned

    step = gl.train_step(loss, gl.optim.sgd(0.2))
    state = step.init(0.0)
    for _ in range(60):
        state, (_, turned) = step(state, data, data * np.exp(1j * angle))
    assert float(state.params) == pytest.approx(angle, abs=1e-6)
    assert turned.dtype == "complex128"
    state, (values, turned) = step.run(state, np.stack([data] * 3), np.stack([data * 1j] * 3))
    assert values.shape == (3,)
    assert turned.shape == (3, 64)


@pytest.mark.parametrize("jacobian", [gl.jacfwd, gl.jacrev])
def test_jacobians_of_analytic_functions(jacobian):
    z = drawn(3)

    def f(z, w):
        return gnp.exp(z[:2] * w), gnp.sum(z * z) * w

    found = jacobian(f, (0, 1), holomorphic=True)(z, 0.5j)
    e = np.exp(z[:2] * 0.5j)
    wanted = [
        [np.diag(e * 0.5j) @ np.eye(2, 3), e * z[:2]],
        [z * 1j, np.sum(z * z)],
    ]
    for row, expected in zip(found, wanted, strict=True):
        for got, want in zip(row, expected, strict=True):
            np.testing.assert_allclose(got, want, 1e-13, 1e-13)
    with pytest.raises(DtypeError, match="holomorphic=True if"):
        jacobian(f)(z, 0.5j)
    with pytest.raises(DtypeError, match="leave holomorphic away"):
        jacobian(lambda z: gnp.abs(z), holomorphic=True)(z)
