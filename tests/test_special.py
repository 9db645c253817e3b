"""The special functions against 50-digit arithmetic and SciPy's, and their derivatives."""

import mpmath
import numpy as np
import pytest
from scipy import special as theirs

import gradloom as gl
from gradloom import special
from gradloom.ops import scalar_bessel, scalar_gamma, scalar_incomplete, scalar_normal
from tests.native_lanes import native
from tests.ops.test_scalar import exactly, ulps

RNG = np.random.default_rng(9)


def sizes(low: int, high: int, count: int = 60) -> np.ndarray:
    return np.ldexp(RNG.uniform(1, 2, count), RNG.integers(low, high, count))


POSITIVE = np.concatenate([RNG.uniform(0, 10, 150), RNG.uniform(0, 170, 80), sizes(-300, 0)])
NEGATIVE = -np.concatenate([RNG.uniform(0, 9, 60), RNG.uniform(0, 150, 30)])
TAIL = np.concatenate([RNG.uniform(-6, 26, 200), sizes(-60, 0)])


def inverse_erfc(q):
    """By Newton's method on the logarithm."""
    if q > 1:
        return -inverse_erfc(2 - q)
    if q > 0.1:
        return mpmath.erfinv(1 - q)
    y = mpmath.sqrt(-mpmath.log(q))
    for _ in range(40):
        slope = -2 * mpmath.exp(-y * y) / mpmath.sqrt(mpmath.pi) / mpmath.erfc(y)
        y -= (mpmath.log(mpmath.erfc(y)) - mpmath.log(q)) / slope
    return y


def log_beta(a, b):
    return mpmath.loggamma(a) + mpmath.loggamma(b) - mpmath.loggamma(a + b)


def hurwitz(s, q):
    """With digits to spare: with 40 of them mpmath loses all but 13."""
    with mpmath.workdps(80):
        return mpmath.zeta(s, q)


def upper(a, x):
    return mpmath.gammainc(a, x, mpmath.inf, regularized=True)


def lower(a, x):
    return mpmath.gammainc(a, 0, x, regularized=True)


A = np.concatenate([RNG.uniform(0.1, 20, 40), sizes(-10, 8, 30)])
B = np.concatenate([RNG.uniform(0.1, 20, 40), sizes(-5, 6, 30)])
X = A * np.exp(RNG.normal(size=70) * 0.7)
# Function, exact, operands, and how many units in the last place of float64 it may be off.
EXACT = [
    (scalar_normal.erfc, mpmath.erfc, (TAIL,), 4),
    (scalar_normal.erfcx, lambda x: mpmath.exp(x * x) * mpmath.erfc(x), (TAIL,), 6),
    (scalar_normal.ndtr, mpmath.ncdf, (RNG.uniform(-37, 9, 200),), 4),
    (scalar_normal.log_ndtr, lambda x: mpmath.log(mpmath.ncdf(x)), (RNG.uniform(-60, 4, 150),), 4),
    (scalar_normal.erfinv, mpmath.erfinv, (RNG.uniform(-1, 1, 60),), 4),
    (
        scalar_normal.erfcinv,
        inverse_erfc,
        (np.append(RNG.uniform(0, 2, 40), sizes(-900, 0, 20)),),
        5,
    ),
    (
        scalar_normal.ndtri,
        lambda p: -mpmath.sqrt(2) * inverse_erfc(2 * p),
        (np.append(RNG.uniform(0, 0.5, 40), sizes(-900, -1, 20)),),
        5,
    ),
    (scalar_gamma.lgamma, mpmath.loggamma, (np.append(POSITIVE, sizes(5, 900)),), 3),
    (scalar_gamma.gamma, mpmath.gamma, (np.append(POSITIVE, NEGATIVE),), 5),
    (scalar_gamma.digamma, lambda x: mpmath.psi(0, x), (np.append(POSITIVE, sizes(5, 900)),), 4),
    (scalar_gamma.zeta, hurwitz, (RNG.uniform(1.01, 30, 60), sizes(-5, 6)), 4),
    (scalar_gamma.betaln, log_beta, (RNG.uniform(1.5, 90, 90), RNG.uniform(1.5, 90, 90)), 16),
    (scalar_incomplete.gammainc, lower, (A, X), 16),
    (scalar_incomplete.gammaincc, upper, (A, X), 16),
    (
        scalar_incomplete.betainc,
        lambda a, b, x: mpmath.betainc(a, b, 0, x, regularized=True),
        (np.maximum(A, 0.1), B, RNG.uniform(0.02, 0.98, 70)),
        64,
    ),
    (scalar_bessel.i0, lambda x: mpmath.besseli(0, x), (RNG.uniform(-30, 700, 120),), 4),
    (scalar_bessel.i1, lambda x: mpmath.besseli(1, x), (RNG.uniform(-30, 700, 120),), 4),
    (
        scalar_bessel.i0e,
        lambda x: mpmath.exp(-abs(x)) * mpmath.besseli(0, x),
        (RNG.uniform(-30, 90, 120),),
        4,
    ),
    (
        scalar_bessel.i1e,
        lambda x: mpmath.exp(-abs(x)) * mpmath.besseli(1, x),
        (RNG.uniform(-30, 90, 120),),
        4,
    ),
]


@pytest.mark.parametrize("case", EXACT, ids=lambda case: case[0].__name__)
def test_accuracy_in_both_precisions(case):
    function, exact, operands, limit = case
    near, rest = exactly(exact, *operands)
    found = native(function, ["float64"] * len(operands), 8)(*operands)
    distance = ulps(found, near, rest)
    worst = int(np.argmax(distance))
    assert distance[worst] <= limit, [x[worst] for x in operands]
    singles = [x[np.abs(x) < 100].astype("float32")[:30] for x in operands]
    singles = [x[: min(map(len, singles))] for x in singles]
    near, rest = exactly(exact, *singles)
    found = native(function, ["float32"] * len(operands), 8)(*singles)
    assert ulps(found, near, rest).max() <= 0.6


UNIT = np.array([0.02, 0.3, 0.5, 0.7, 0.98])
SMALL = np.array([0.3, 0.9, 1.7, 3.2, 4.6])
ANY = np.array([-2.6, -0.3, 0.0, 0.4, 3.1])
# Those without a row of their own: name, operands.
COMPOSED = [
    ("beta", SMALL, SMALL[::-1]),
    ("beta", np.array([80.0, 0.5, -0.5]), np.array([0.3, 90.0, 0.7])),
    ("betaln", ANY + 0.25, SMALL),
    ("binom", np.array([5.0, 6, 7.5, 60]), np.array([2.0, 0, 2.5, 30])),
    ("comb", np.array([5.0, 3, 3, -1]), np.array([2.0, 3, 4, 0])),
    ("cosm1", ANY),
    ("entr", np.abs(ANY)),
    ("erf", ANY),
    ("expit", ANY),
    ("expm1", ANY),
    ("exprel", np.append(ANY, [1e-9, -40.0, np.inf, -np.inf])),
    ("factorial", np.array([-1.0, 0, 1, 4, 6])),
    ("gammasgn", np.array([1.0, 0, -0.0, -1, -0.5, -1.5, np.nan, np.inf])),
    ("huber", np.array([1.0, 1, 2, 0, -1]), ANY),
    ("kl_div", np.array([0.0, 1, 2, -1, 1]), np.array([1.0, 2, 2, 1, 0])),
    ("log1p", np.abs(ANY)),
    ("log_expit", ANY * 30),
    ("log_softmax", ANY),
    ("logit", UNIT),
    ("logsumexp", ANY),
    ("polygamma", np.array([0, 1, 2, 3, 4]), SMALL),
    ("pseudo_huber", np.array([1.0, 1, 2, 0, -1]), ANY),
    ("psi", ANY + 0.1),
    ("rel_entr", np.array([0.0, 1, 2, -1, 1]), np.array([1.0, 2, 2, 1, 0])),
    ("softmax", ANY),
    ("xlog1py", ANY, SMALL - 1),
    ("xlogy", np.array([0.0, 0, 1, 2, 3]), np.array([0.0, 1, 2, 0, 1])),
]
# By rows, whose values and derivatives `tests/ops/test_every_row.py` compares.
BY_ROWS = {
    *("betainc", "digamma", "erfc", "erfcinv", "erfcx", "erfinv", "gamma", "gammainc", "gammaincc"),
    *("gammaln", "i0", "i0e", "i1", "i1e", "log_ndtr", "ndtr", "ndtri", "zeta"),
}


def test_every_function_is_tested():
    known = {name for name, *_ in COMPOSED} | BY_ROWS | {"multigammaln", "sinc"}
    assert set(special.__all__) == known
    assert all(getattr(special, name).__doc__ for name in special.__all__)


@pytest.mark.parametrize("case", COMPOSED, ids=lambda case: case[0])
def test_composed_functions_are_scipys(case):
    name, *operands = case
    ours = getattr(special, name)
    with np.errstate(all="ignore"):
        wanted = getattr(theirs, name)(*operands)
        plain = ours(*operands)
    for found in (plain, gl.jit(ours)(*operands)):
        np.testing.assert_allclose(found, wanted, 4e-14, 1e-15)


def test_sums_of_weighted_exponentials_are_scipys():
    a = np.array([[1.0, 900.0, -3.0], [-np.inf, 2.0, 2.5]])
    b = np.array([[1.0, 0.0, -2.0], [1.0, -1.0, 0.5]])
    for axis in (None, 0, 1):
        for keep in (False, True):
            wanted = theirs.logsumexp(a, axis, np.abs(b), keepdims=keep)
            found = special.logsumexp(a, axis, np.abs(b), keepdims=keep)
            np.testing.assert_allclose(found, wanted, 1e-14)
            wanted = theirs.logsumexp(a, axis, b, keepdims=keep, return_sign=True)
            found = gl.jit(
                lambda a, b, n=axis, k=keep: special.logsumexp(a, n, b, k, return_sign=True)
            )(a, b)
            for got, want in zip(found, wanted, strict=True):
                np.testing.assert_allclose(got, want, 1e-14)
    found = special.multigammaln(np.array([3.0, 4.5]), 3)
    np.testing.assert_allclose(found, theirs.multigammaln(np.array([3.0, 4.5]), 3), 1e-14)


SMOOTH = [
    ("beta", SMALL, SMALL[::-1]),
    ("betaln", SMALL, SMALL[::-1]),
    ("binom", SMALL + 2, SMALL),
    ("cosm1", ANY),
    ("exprel", ANY),
    ("kl_div", SMALL, SMALL[::-1]),
    ("log_expit", ANY),
    ("logit", UNIT),
    ("logsumexp", ANY),
    ("pseudo_huber", SMALL, ANY),
    ("sinc", ANY),
    ("xlogy", SMALL, SMALL),
    ("xlog1py", SMALL, SMALL),
]


@pytest.mark.parametrize("case", SMOOTH, ids=lambda case: case[0])
def test_gradients_to_second_order(case):
    name, *operands = case
    function, numbers = getattr(special, name), tuple(range(len(operands)))
    weights = np.cos(np.arange(5.0))

    def first(*values):
        with gl.eager():
            slopes = gl.grad(lambda *v: (function(*v) * weights).sum(), numbers)(*values)
        return sum((np.sum(s * weights[::-1]) for s in slopes), 0.0)

    def second(*values):
        def inner(*v):
            slopes = gl.grad(lambda *u: (function(*u) * weights).sum(), numbers)(*v)
            return sum((s * weights[::-1]).sum() for s in slopes)

        with gl.eager():
            return sum(np.sum(s) for s in gl.grad(inner, numbers)(*values))

    step = 1e-5
    ahead, behind = ([x + sign * step for x in operands] for sign in (1, -1))
    shift = (
        [x + step * weights[::-1] for x in operands],
        [x - step * weights[::-1] for x in operands],
    )
    values = [float(np.sum(function(*s) * weights)) for s in shift]
    assert first(*operands) == pytest.approx(
        (values[0] - values[1]) / (2 * step), rel=1e-6, abs=1e-7
    )
    wanted = (first(*ahead) - first(*behind)) / (2 * step)
    assert second(*operands) == pytest.approx(wanted, rel=1e-6, abs=1e-7)


def test_gradients_at_edges_are_finite():
    with gl.eager():
        assert gl.grad(lambda x: special.xlogy(0.0, x))(0.0) == 0
        assert gl.grad(special.sinc)(0.0) == 0
        assert gl.grad(special.exprel)(0.0) == 0.5
        assert gl.grad(special.i1)(0.0) == 0.5
        assert gl.grad(gl.grad(special.sinc))(0.0) == pytest.approx(-(np.pi**2) / 3)
        assert gl.grad(special.log_ndtr)(-1e10) == pytest.approx(1e10)
        assert gl.grad(special.pseudo_huber, 1)(1.0, 0.0) == 0


def test_derivatives_of_gamma_follow_each_other():
    x = np.array([-1.4, -0.3, 0.4, 1.46, 7.0, 30.0])
    with gl.eager():
        slope = gl.grad(lambda x: special.gammaln(x).sum())(x)
        np.testing.assert_allclose(slope, theirs.digamma(x), 1e-13)
        slope = gl.grad(lambda x: special.digamma(x).sum())(x)
        np.testing.assert_allclose(slope, theirs.polygamma(1, x), 1e-13)
        slope = gl.grad(lambda x: special.polygamma(2, x).sum())(x[2:])
        np.testing.assert_allclose(slope, theirs.polygamma(3, x[2:]), 1e-13)


def test_missing_derivatives_are_nan():
    with gl.eager():
        assert np.isnan(gl.grad(special.gammainc)(1.5, 2.0))
        assert np.isfinite(gl.grad(special.gammainc, 1)(1.5, 2.0))
