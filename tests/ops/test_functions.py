"""Every public function against NumPy's: on arrays, compiled, and its gradient."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ops.array_cases import CASES as ARRAY_CASES

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.frontend.tensor import FUNCTIONS, NUMPY

RNG = np.random.default_rng(2)
X = RNG.uniform(-2, 2, (3, 4, 5))
Y = RNG.uniform(-2, 2, (3, 4, 5))
P = RNG.uniform(0.1, 0.9, (4, 5))  # where every function of one number is smooth
M = RNG.uniform(-2, 2, (5, 4))
V = RNG.uniform(-2, 2, 5)
F = V.astype("float32")
I = np.array([[2, 0, -1], [1, 1, 2]])  # noqa: E741
B = X > 0


class Theirs:
    """NumPy, and plain formulas for what it lacks."""

    softmax = staticmethod(
        lambda x, axis=-1: np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True),
    )
    log_softmax = staticmethod(lambda x, axis=-1: np.log(Theirs.softmax(x, axis)))
    logsumexp = staticmethod(
        lambda x, axis=None, keepdims=False: np.log(np.exp(x).sum(axis=axis, keepdims=keepdims))
    )
    relu = staticmethod(lambda x: np.maximum(x, 0))
    one_hot = staticmethod(lambda i, n, dtype="float32": np.eye(n, dtype=dtype)[i])
    erf = staticmethod(np.vectorize(math.erf))
    sigmoid = staticmethod(lambda x: 1 / (1 + np.exp(-x)))
    softplus = staticmethod(lambda x: np.log(1 + np.exp(x)))
    rsqrt = staticmethod(lambda x: 1 / np.sqrt(x))
    bincount = staticmethod(
        lambda x, weights=None, length=0: np.bincount(x, weights, length)[:length]
    )

    cummax = staticmethod(lambda x: np.maximum.accumulate(x, -1))
    cummin = staticmethod(lambda x: np.minimum.accumulate(x, -1))
    logcumsumexp = staticmethod(lambda x: np.logaddexp.accumulate(x, -1))
    top_k = staticmethod(
        lambda x, k: (np.sort(x)[..., : -k - 1 : -1], np.argsort(x)[..., : -k - 1 : -1])
    )

    def __getattr__(self, name):
        return getattr(np, name)


# A name, what is called in either namespace, and its operands.  Results may be lists of arrays.
CASES = [
    ("getitem", lambda g, x: x[1], X),
    ("sum", lambda g, x: [g.sum(x), g.sum(x, axis=1), g.sum(x, axis=(0, -1), keepdims=True)], X),
    ("sum", lambda g, i, b: [g.sum(i), g.sum(b, axis=0), g.sum(i, dtype="float32")], I, B),
    ("prod", lambda g, x: [g.prod(x, axis=1), g.prod(x[:2], axis=(0, 2)), g.prod(x[0])], X),
    ("prod", lambda g, x: [g.prod(x * (x > 0), axis=0), g.prod(x[:1, :0]), g.prod(x[:1], 0)], X),
    ("max", lambda g, x: [g.max(x), g.max(x, axis=1), g.max(x, axis=(0, 2), keepdims=True)], X),
    ("min", lambda g, x: [g.min(x), g.min(x, axis=-1), x.min(axis=0)], X),
    ("amax", lambda g, x: g.amax(x, axis=0), X),
    ("amin", lambda g, x: g.amin(x, axis=0), X),
    ("mean", lambda g, x: [g.mean(x), g.mean(x, axis=1), g.mean(x, (0, 2), keepdims=True)], X),
    ("mean", lambda g, i, f: [g.mean(i), g.mean(f), i.mean(axis=0)], I, F),
    ("var", lambda g, x: [g.var(x), g.var(x, axis=1, ddof=1), g.var(x, axis=0, keepdims=True)], X),
    ("std", lambda g, x: [g.std(x), g.std(x, axis=(0, 1)), x.std(axis=2, ddof=1)], X),
    ("any", lambda g, x: [g.any(x > 1), g.any(x > 1, axis=1), (x > 1).any(axis=0)], X),
    ("all", lambda g, x: [g.all(x > -1), g.all(x > -1, axis=1, keepdims=True)], X),
    ("argmax", lambda g, x: [g.argmax(x), g.argmax(x, axis=1), g.argmax(x, 0, keepdims=True)], X),
    ("argmin", lambda g, x: [g.argmin(x), g.argmin(x, axis=-1), g.argmin(x, keepdims=True)], X),
    ("argmax", lambda g, i: [g.argmax(i), g.argmax(i, axis=0), g.argmin(i, 1)], I),
    ("clip", lambda g, x: [g.clip(x, -1, 1), g.clip(x, None, 0.5), x.clip(0.1, None)], X),
    ("ptp", lambda g, x: [g.ptp(x), g.ptp(x, axis=1)], X),
    ("average", lambda g, x, v: [g.average(x), g.average(x, axis=2, weights=v)], X, abs(V)),
    ("count_nonzero", lambda g, x: [g.count_nonzero(x > 0), g.count_nonzero(x > 0, axis=1)], X),
    ("cumsum", lambda g, x: [g.cumsum(x), g.cumsum(x, axis=1), g.cumsum(x, axis=-1)], X),
    ("cumprod", lambda g, x: [g.cumprod(x, axis=1), g.cumprod(x[0], axis=-1)], X),
    ("diff", lambda g, x: [g.diff(x), g.diff(x, axis=0), g.diff(x, n=2, axis=1)], X),
    ("reshape", lambda g, x: [g.reshape(x, (4, -1)), x.reshape(2, 30), x.reshape(-1)], X),
    ("reshape", lambda g, x: [x.T.reshape(3, 20), x[::2, ::-1].reshape(5, 8)], X),
    ("ravel", lambda g, x: [g.ravel(x), x.ravel(), x.flatten()], X),
    (
        "transpose",
        lambda g, x: [g.transpose(x), g.transpose(x, (1, 2, 0)), x.transpose(0, 2, 1)],
        X,
    ),
    ("permute_dims", lambda g, x: g.permute_dims(x, (2, 0, 1)), X),
    ("swapaxes", lambda g, x: [g.swapaxes(x, 0, -1), x.swapaxes(1, 2)], X),
    ("moveaxis", lambda g, x: [g.moveaxis(x, 0, -1), g.moveaxis(x, (0, 1), (2, 0))], X),
    ("matrix_transpose", lambda g, x: g.matrix_transpose(x), X),
    ("expand_dims", lambda g, x: [g.expand_dims(x, 1), g.expand_dims(x, (0, -1))], M),
    ("squeeze", lambda g, x: [g.squeeze(x[:, :1]), g.squeeze(x[None, :, :1], axis=(0, 2))], M),
    ("broadcast_to", lambda g, v: g.broadcast_to(v, (2, 3, 5)), V),
    ("broadcast_arrays", lambda g, x, v: list(g.broadcast_arrays(x, v)), X, V),
    ("flip", lambda g, x: [g.flip(x), g.flip(x, 1), g.flip(x, (0, 2)), x[::-1, ::2]], X),
    ("flipud", lambda g, x: g.flipud(x), X),
    ("fliplr", lambda g, x: g.fliplr(x), X),
    ("roll", lambda g, x: [g.roll(x, 2), g.roll(x, -1, axis=1), g.roll(x, (1, 2), axis=(0, 2))], X),
    ("tile", lambda g, x: [g.tile(x, 2), g.tile(x, (2, 1)), g.tile(x, (2, 1, 3))], M),
    ("repeat", lambda g, x: [g.repeat(x, 3), g.repeat(x, 2, axis=0), g.repeat(x, 2, axis=-1)], M),
    ("tril", lambda g, x: [g.tril(x), g.tril(x, 1)], M),
    ("triu", lambda g, x: [g.triu(x), g.triu(x, -1)], M),
    ("concatenate", lambda g, x, y: [g.concatenate([x, y, x]), g.concatenate((x, y), 2)], X, Y),
    (
        "concatenate",
        lambda g, x, f: [g.concatenate([x[0, 0], f]), g.concatenate([f, f], None)],
        X,
        F,
    ),
    ("concat", lambda g, x, y: g.concat([x, y], axis=1), X, Y),
    ("append", lambda g, x, y: [g.append(x, y), g.append(x, y, axis=1)], X, Y),
    (
        "stack",
        lambda g, x, y: [g.stack([x, y]), g.stack([x, y], axis=-1), g.stack((x, y), 1)],
        X,
        Y,
    ),
    ("vstack", lambda g, x, v: g.vstack([x[0], v, v]), X, V),
    ("hstack", lambda g, x, v: [g.hstack([x, x]), g.hstack([v, v])], X, V),
    ("column_stack", lambda g, v: g.column_stack([v, v]), V),
    ("split", lambda g, x: [*g.split(x, 2, axis=1), *g.split(x, [1, 3], axis=2)], X),
    ("array_split", lambda g, x: g.array_split(x, 3, axis=2), X),
    ("atleast_1d", lambda g, v: [g.atleast_1d(v), g.atleast_1d(v[0])], V),
    ("atleast_2d", lambda g, v: [g.atleast_2d(v), g.atleast_2d(v[0])], V),
    ("pad", lambda g, x: [g.pad(x, 1), g.pad(x, ((0, 1), (2, 0), (1, 1)))], X),
    ("pad", lambda g, x: [g.pad(x, (1, 2), constant_values=3.5), g.pad(x > 0, 1)], X),
    (
        "take",
        lambda g, x, i: [g.take(x, i), g.take(x, i, axis=1), g.take(x, [0, -1], axis=0)],
        X,
        I,
    ),
    ("take", lambda g, x: [g.take(x, 3), g.take(x, 1, axis=2), x.take(np.array(2), axis=1)], X),
    ("take_along_axis", lambda g, x, i: g.take_along_axis(x[:2, 0, :3], i % 3, axis=1), X, I),
    ("diagonal", lambda g, x: g.diagonal(x), M),
    ("diag", lambda g, x: [g.diag(x), g.diag(x[0])], M),
    ("trace", lambda g, x: g.trace(x), M),
    ("matmul", lambda g, x, m, v: [x @ m, v @ m, m @ m.T, g.matmul(x, v), g.matmul(v, v)], X, M, V),
    ("matmul", lambda g, x, y: [x @ y.swapaxes(1, 2), x[:1] @ y.swapaxes(1, 2), x @ y[1].T], X, Y),
    (
        "dot",
        lambda g, x, m, v: [g.dot(x, m), g.dot(v, v), g.dot(v, m), x.dot(v), g.dot(2.0, v)],
        X,
        M,
        V,
    ),
    ("outer", lambda g, x, v: g.outer(x, v), M, V),
    ("tensordot", lambda g, x, y, m: [g.tensordot(x, y, 3), g.tensordot(x, m, 1)], X, Y, M),
    (
        "tensordot",
        lambda g, x, y: [g.tensordot(x, y, ((0, 2), (0, 2))), g.tensordot(x[0], y, 0)],
        X,
        Y,
    ),
    ("einsum", lambda g, x, y: [g.einsum("abc,abc->", x, y), g.einsum("abc,adc->abd", x, y)], X, Y),
    (
        "einsum",
        lambda g, x, m, v: [g.einsum("abc,cd,c->da", x, m, v), g.einsum("ab->ba", m)],
        X,
        M,
        V,
    ),
    (
        "einsum",
        lambda g, m, v: [g.einsum("ab,a", m, v), g.einsum("ab->b", m), g.einsum("a,b", v, v)],
        M,
        V,
    ),
    (
        "where",
        lambda g, b, x, y: [g.where(b, x, y), g.where(b, 1.0, y), g.where(x > y, x, 0)],
        B,
        X,
        Y,
    ),
    ("select", lambda g, x, y: g.select([x > 1, x > 0], [x, y], 7.0), X, Y),
    ("power", lambda g, p: [p**k for k in (0, 1, 2, 3, 5, 0.5, -1, -2, 2.5)] + [2.0**p, p**p], P),
    ("power", lambda g, i: [i**2, g.power(i, 3), i**0, g.power(i, abs(i)), 2 ** abs(i)], I),
    ("reciprocal", lambda g, i: g.reciprocal(i - 3), I),
    ("divmod", lambda g, p, i: [*divmod_(g, p), *divmod_(g, i)], P, I),
    ("arctan2", lambda g, x, y: g.arctan2(x, y), X, Y),
    ("logaddexp", lambda g, x, y: g.logaddexp(x, y), X, Y),
    ("polyval", lambda g, v, x: g.polyval(v, x), V, M),
    ("round", lambda g, x: [g.round(x), g.round(x, 1), x.round()], X),
    ("isclose", lambda g, x, y: [g.isclose(x, y), g.isclose(x, x + 1e-9)], X, Y),
    ("allclose", lambda g, x, y: [g.allclose(x, y), g.allclose(x, x + 1e-9)], X, Y),
    ("array_equal", lambda g, x, y: [g.array_equal(x, y), g.array_equal(x, x)], X, Y),
    (
        "nan_to_num",
        lambda g, x: [g.nan_to_num(x), g.nan_to_num(g.where(x > 0, x, np.nan), nan=2.0)],
        X,
    ),
    ("zeros_like", lambda g, x: [g.zeros_like(x), g.zeros_like(x, dtype="int32")], X),
    ("ones_like", lambda g, f: g.ones_like(f), F),
    ("empty_like", lambda g, f: g.empty_like(f) * 0, F),
    ("full_like", lambda g, f: [g.full_like(f, 2), g.full_like(f, 2, dtype="int64")], F),
    ("full", lambda g, f: g.full((2, 3), 4.0), F),
    ("shape", lambda g, x: np.array(g.shape(x)), X),
    ("ndim", lambda g, x: np.array(g.ndim(x)), X),
    ("size", lambda g, x: np.array([g.size(x), g.size(x, 1)]), X),
    ("result_type", lambda g, x, f: np.zeros(2, g.result_type(x, f)), X, F),
    ("copy", lambda g, x: g.copy(x), X),
    ("linspace", lambda g, x: g.linspace(0.0, 1.0, 5), X),
    ("meshgrid", lambda g, v, m: list(g.meshgrid(v, m[0])), V, M),
    ("softmax", lambda g, x: [g.softmax(x), g.softmax(x, axis=0)], X),
    ("log_softmax", lambda g, x: [g.log_softmax(x), g.log_softmax(x, axis=1)], X),
    ("logsumexp", lambda g, x: [g.logsumexp(x), g.logsumexp(x, axis=1, keepdims=True)], X),
    ("cumulative_sum", lambda g, x: g.cumulative_sum(x, axis=1, include_initial=True), X),
    ("cumulative_prod", lambda g, x: g.cumulative_prod(x, axis=0), X),
    ("cummax", lambda g, x: g.cummax(x), X),
    ("cummin", lambda g, x: g.cummin(x), X),
    ("logcumsumexp", lambda g, x: g.logcumsumexp(x), X),
    ("sort", lambda g, x, i: [g.sort(x), g.sort(x, axis=0), g.sort(i, axis=None)], X, I),
    ("argsort", lambda g, x: [g.argsort(x), g.argsort(x, axis=1)], X),
    ("partition", lambda g, v: g.partition(v, 2)[2], V),
    ("argpartition", lambda g, v: g.argpartition(v, 0)[0], V),
    ("top_k", lambda g, x: list(g.top_k(x, 2)), X),
    ("lexsort", lambda g, i: g.lexsort([i[0], i[1]]), I),
    ("searchsorted", lambda g, v, x: g.searchsorted(g.sort(v), x, side="right"), V, X),
    ("digitize", lambda g, x: g.digitize(x, np.array([-1.0, 0.0, 1.0])), X),
    ("one_hot", lambda g, i: [g.one_hot(i % 3, 3), g.one_hot(i % 3, 4, "float64")], I),
    ("relu", lambda g, x: g.relu(x), X),
    ("astype", lambda g, x: [x.astype("float32"), (x * 3).astype("int32"), x.astype(bool)], X),
]


def words(text):
    return text.split()


OF_ONE = words(
    """
    positive square reciprocal tan sinh cosh arcsinh arctanh arcsin arccos exp2 log2 log10
    acos asin asinh atan atanh cbrt fabs fix isneginf isposinf signbit sinc spacing
    absolute degrees radians deg2rad rad2deg isnan isfinite isinf abs negative sign floor ceil
    rint trunc sqrt rsqrt exp expm1 log log1p sin cos tanh arctan erf sigmoid softplus
    """
)
OF_TWO = words(
    """
    add subtract multiply divide floor_divide remainder maximum minimum less less_equal greater
    greater_equal equal not_equal atan2 copysign fmax fmin fmod heaviside hypot
    logaddexp2 mod nextafter true_divide
    """
)
OF_BITS = words(
    """
    bitwise_and bitwise_or bitwise_xor left_shift right_shift bitwise_left_shift
    bitwise_right_shift gcd lcm
    """
)
OF_TRUTH = words("logical_and logical_or logical_xor")
CASES += [(n, lambda g, p, n=n: [getattr(g, n)(p), getattr(g, n)(p * 0.7)], P) for n in OF_ONE]
CASES += [(n, lambda g, x, p, n=n: getattr(g, n)(x, p), X[:, :1], P) for n in OF_TWO]
CASES += [(n, lambda g, i, n=n: getattr(g, n)(abs(i), abs(i) + 1), I) for n in OF_BITS]
CASES += [
    (n, lambda g, b, i, n=n: [getattr(g, n)(b, b[:1]), getattr(g, n)(i, i - 1)], B, I)
    for n in OF_TRUTH
]
CASES += [
    ("invert", lambda g, i, b: [~i, g.invert(i), ~b], I, B),
    ("bitwise_invert", lambda g, i: g.bitwise_invert(i), I),
    ("bitwise_not", lambda g, i: g.bitwise_not(i), I),
    ("bitwise_count", lambda g, i: g.bitwise_count(i), I),
    ("arccosh", lambda g, p: g.arccosh(p + 1), P),
    ("acosh", lambda g, p: g.acosh(p + 1), P),
    ("float_power", lambda g, p: g.float_power(p, 2.5), P),
    ("float_power", lambda g, i: g.float_power(abs(i) + 1, -i), I),
    ("pow", lambda g, p: g.pow(p, 2.5), P),
    ("ldexp", lambda g, p, i: g.ldexp(p[0, :3], i), P, I),
    ("frexp", lambda g, x: list(g.frexp(x)), X),
    ("modf", lambda g, x: list(g.modf(x * 3)), X),
    ("logical_not", lambda g, b, i: [g.logical_not(b), g.logical_not(i)], B, I),
]
CASES += ARRAY_CASES
WIDE = {"erf"}  # which the standard library has in float64 alone
# Those with tests elsewhere: makers of arrays take traced numbers, some take a size, and the last
# are not NumPy's.
ELSEWHERE = {
    *("array", "asarray", "asanyarray", "ascontiguousarray", "asfortranarray"),
    *("nonzero", "flatnonzero", "argwhere", "union1d", "put_along_axis", "fill_diagonal"),
    *("unique", "unique_all", "unique_counts", "unique_inverse", "unique_values"),
    *("at", "dynamic_slice", "dynamic_update_slice", "stop_gradient", "cast"),
}


def divmod_(g, x):
    return g.divmod(x, 2)


def flat(result):
    return list(result) if isinstance(result, list | tuple) else [result]


def test_every_function_is_tested():
    names = {name for name in FUNCTIONS if "." not in name}  # the others have files of their own
    assert not names - {name for name, *_ in CASES} - ELSEWHERE


def loss(results):
    """All floating-point results as one number, each element with its own weight."""
    total = 0.0
    for k, r in enumerate(results):
        if getattr(r, "dtype", np.dtype(float)).kind == "f":
            size = int(np.prod(tuple(r.shape), dtype=np.int64))
            weights = np.cos(np.arange(size) + k).reshape(tuple(r.shape))
            total = total + (r * weights).sum()
    return total


NAMES = [f"{n}-{k}" for k, (n, *_) in enumerate(CASES)]


def narrowed(arrays):
    return [a.astype("float32") if a.dtype == "float64" else a for a in arrays]


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_functions_are_numpys(case):
    """In float64 and float32, at once on arrays and compiled."""
    name, call, *arrays = case
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wide, narrow = (flat(call(Theirs(), *a)) for a in (arrays, narrowed(arrays)))
        ours = flat(call(gnp, *arrays)) if name != "getitem" else wide
        compiled = gl.jit(lambda *a: flat(call(gnp, *a)))(*arrays)
        with gl.settings(interpret=True):
            traced = gl.jit(lambda *a: flat(call(gnp, *a)))(*narrowed(arrays))
    for found, wanted in ((ours, wide), (compiled, wide), (traced, narrow)):
        assert len(found) == len(wanted)
        for got, want in zip(found, map(np.asarray, wanted), strict=True):
            assert np.shape(got) == want.shape
            assert np.asarray(got).dtype == want.dtype or name in WIDE, name
            tolerance = 1e-12 if wanted is wide and want.dtype != "float32" else 2e-5
            np.testing.assert_allclose(got, want, tolerance, tolerance, err_msg=name)


def slopes(f, arrays, numbers, step):
    """The slope of a function along a random direction, and that direction."""
    rng = np.random.default_rng(8)
    along = {i: rng.uniform(-1, 1, arrays[i].shape) for i in numbers}
    ahead, behind = (
        f(*(a + sign * step * along[i] if i in along else a for i, a in enumerate(arrays)))
        for sign in (1, -1)
    )
    return (float(ahead) - float(behind)) / (2 * step), along


def dot(gradient, along):
    return sum(float(np.sum(along[i] * g)) for i, g in zip(along, gradient, strict=True))


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_gradients_of_functions(case):
    """Compiled and eager gradients agree, and are the differences of NumPy's function; so is the
    gradient of the gradient's."""
    name, call, *arrays = case
    numbers = tuple(i for i, a in enumerate(arrays) if a.dtype == "float64")
    if not numbers:
        return

    def ours(*a):
        return loss(flat(call(gnp, *a))) + 0.0 * gnp.nansum(a[numbers[0]])

    def theirs(*a):
        return loss([np.asarray(r) for r in flat(call(Theirs(), *a))])

    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Of long functions the plan is run without LLVM, at a tenth of the time: their rows'
        # derivatives are compiled in test_every_row.
        with gl.settings(interpret=any(case is c for c in ARRAY_CASES)):
            compiled = gl.grad(ours, numbers)(*arrays)
        with gl.eager():
            eager = gl.grad(ours, numbers)(*arrays)
        for got, want in zip(compiled, eager, strict=True):
            np.testing.assert_allclose(got, want, 1e-6, 1e-7, err_msg=name)
        if "float32" in {np.asarray(r).dtype.name for r in flat(call(Theirs(), *arrays))}:
            return
        slope, along = slopes(theirs, arrays, numbers, 1e-6)
        assert dot(compiled, along) == pytest.approx(slope, rel=1e-5, abs=1e-6)

        def projected(*a):
            found = gl.grad(ours, numbers)(*a)
            return sum(gnp.sum(g * along[i]) for i, g in zip(numbers, found, strict=True))

        with gl.eager():
            second = gl.grad(projected, numbers)(*arrays)
            slope, along = slopes(projected, arrays, numbers, 1e-6)
        size = 1 + max(float(np.nanmax(np.abs(g), initial=0)) for g in compiled)
        assert dot(second, along) == pytest.approx(slope, rel=1e-5, abs=1e-6 * size)


def test_numpys_functions_are_traced_as_ours():
    """`np.f` of a traced value is ours, for every callable of NumPy that we know."""
    for theirs, ours in NUMPY.items():
        if getattr(gnp, theirs.__name__, None) is not None:
            assert ours in FUNCTIONS.values(), theirs
    f = gl.jit(
        lambda x: [np.sum(x, axis=1), np.exp(x), np.concatenate([x, x]), np.where(x > 0, x, 0)]
    )
    for got, want in zip(
        f(M), (M.sum(1), np.exp(M), np.concatenate([M, M]), np.maximum(M, 0)), strict=True
    ):
        np.testing.assert_allclose(got, want, 1e-14)


def test_arrays_in_any_memory_layout():
    """Strided, reversed, transposed, read-only and byte-swapped arguments."""
    f = gl.jit(lambda x: gnp.cumsum(x, axis=1) * 2)
    frozen = X[0].copy()
    frozen.flags.writeable = False
    for x in (
        X[:, 0],
        X[0].T,
        X[0, ::-1, ::2],
        frozen,
        X[0].astype(">f8"),
        np.asfortranarray(X[0]),
    ):
        np.testing.assert_array_equal(f(x), np.cumsum(x, axis=1) * 2)


def test_python_numbers_as_arguments_are_weak():
    f = gl.jit(lambda x, k: x * k)
    for x in (np.ones(3, "float32"), np.ones(3, "int32"), np.ones(3)):
        for k in (True, 2, 2.5):
            assert f(x, k).dtype == (x * k).dtype
            np.testing.assert_array_equal(f(x, k), x * k)


@settings(max_examples=60)
@given(st.integers(0, 3), st.integers(0, 3), st.data())
def test_contractions_of_every_rank(rank_x, rank_y, data):
    """einsum and tensordot over random labels, and matmul of random ranks."""
    sizes = dict(zip("abcdef", (2, 3, 1, 4, 5, 17), strict=True))
    x_term = data.draw(st.permutations("abcdef"))[:rank_x]
    y_term = data.draw(st.permutations("abcdef"))[:rank_y]
    labels = list(dict.fromkeys([*x_term, *y_term]))
    out = data.draw(st.permutations(labels))[: data.draw(st.integers(0, len(labels)))]
    rng = np.random.default_rng(1)
    x, y = (rng.uniform(-1, 1, [sizes[n] for n in term]) for term in (x_term, y_term))
    text = f"{''.join(x_term)},{''.join(y_term)}->{''.join(out)}"
    value, slopes = gl.value_and_grad(lambda x, y: gnp.sum(gnp.einsum(text, x, y) ** 2), (0, 1))(
        x, y
    )
    np.testing.assert_allclose(value, np.sum(np.einsum(text, x, y) ** 2), 1e-12)
    for slope, moved in ((slopes[0], (0.5, 0.0)), (slopes[1], (0.0, 0.5))):  # exact, of a parabola
        ahead, behind = (
            np.sum(np.einsum(text, x + sign * moved[0], y + sign * moved[1]) ** 2)
            for sign in (1, -1)
        )
        np.testing.assert_allclose(np.sum(slope), ahead - behind, 1e-10, 1e-10)


@pytest.mark.parametrize(("name", "base"), [("logaddexp", np.e), ("logaddexp2", 2.0)])
def test_a_smooth_maximum_is_smooth_where_its_arguments_are_equal(name, base):
    """f(x, 0) has the slope s = 1 / (1 + base^-x) and the curvature log(base) s (1 - s)."""
    smooth = getattr(gnp, name)
    for x in (0.0, 1.5, -1.5):
        s = 1 / (1 + base**-x)
        first = gl.grad(smooth, argnums=(0, 1))
        np.testing.assert_allclose(first(x, 0.0), (s, 1 - s), rtol=1e-14)
        second = gl.jacrev(first, argnums=(0, 1))(x, 0.0)
        curvature = np.log(base) * s * (1 - s)
        np.testing.assert_allclose(
            second, curvature * np.array([[1, -1], [-1, 1]]), rtol=1e-13, err_msg=f"at {x}"
        )
    np.testing.assert_array_equal(
        smooth(np.array([np.inf, -np.inf]), [np.inf, -np.inf]), [np.inf, -np.inf]
    )
