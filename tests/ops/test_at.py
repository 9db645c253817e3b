"""Updates without assignment are NumPy's assignments; reading and writing at traced places."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ops.test_indexing import keys

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.errors import RangeError, ShapeError, TracingError

RNG = np.random.default_rng(4)
X = RNG.uniform(0.5, 2, (3, 4, 5))
V = RNG.uniform(0.5, 2, 6)
TIED = np.array([4, 1, 1, 0, 4, 1])

UFUNCS = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "min": np.minimum,
    "max": np.maximum,
    "power": np.power,
}


def assigned(x, key, values):
    out = x.copy()
    out[key] = values
    return out


def combined(name, x, key, values):
    out = x.copy()
    UFUNCS[name].at(out, key, values)
    return out


def updates(key, name):
    return lambda x, v: getattr(x.at[key], name)(v)


@settings(max_examples=8)
@given(keys((3, 4, 5)), st.booleans())
def test_updates_are_assignments(key, scalar):
    """All updates at one key, compiled, and on arrays; their slopes are those of differences."""
    shape = X[key].shape
    values = np.asarray(1.5) if scalar else RNG.uniform(0.5, 2, shape)
    names = ["set", *UFUNCS]
    compiled = gl.jit(lambda x, v: [updates(key, n)(x, v) for n in names])(X, values)
    for name, got in zip(names, compiled, strict=True):
        wanted = assigned(X, key, values) if name == "set" else combined(name, X, key, values)
        np.testing.assert_allclose(got, wanted, 1e-12, err_msg=f"x.at[{key}].{name}")
        plain = getattr(gnp.at(X)[key], name)(values)
        np.testing.assert_allclose(plain, wanted, 1e-12)


@pytest.mark.parametrize("name", ["set", *UFUNCS])
@pytest.mark.parametrize(
    "key", [TIED, (slice(1, 4), None), np.array([0, 3]), slice(None, None, -2)], ids=str
)
def test_updates_have_derivatives(name, key):
    """To second order, also where several updates meet in one place."""
    x, values = V[:5], RNG.uniform(0.5, 2, V[:5][key].shape)
    weights = np.cos(np.arange(5.0))

    def f(x, v):
        return gnp.sum(updates(key, name)(x, v) ** 2 * weights)

    along = [RNG.uniform(-1, 1, a.shape) for a in (x, values)]

    def slope(x, v):
        return sum(gnp.sum(g * d) for g, d in zip(gl.grad(f, (0, 1))(x, v), along, strict=True))

    def moved(function, by):
        return function(x + by * along[0], values + by * along[1])

    with gl.eager():
        plain = lambda x, v: float(np.sum(getattr(gnp.at(x)[key], name)(v) ** 2 * weights))  # noqa: E731
        numbers = (moved(plain, 1e-6) - moved(plain, -1e-6)) / 2e-6
        assert float(slope(x, values)) == pytest.approx(numbers, rel=1e-6, abs=1e-7)
        second = gl.grad(slope, (0, 1))(x, values)
        numbers = (float(moved(slope, 1e-6)) - float(moved(slope, -1e-6))) / 2e-6
    found = sum(np.sum(g * d) for g, d in zip(second, along, strict=True))
    assert found == pytest.approx(numbers, rel=1e-6, abs=1e-6)
    compiled = gl.jit(gl.grad(f, (0, 1)))(x, values)
    with gl.eager():
        eager = gl.grad(f, (0, 1))(x, values)
    for got, want in zip(compiled, eager, strict=True):
        np.testing.assert_allclose(got, want, 1e-12, 1e-13)


def test_the_last_of_several_updates_wins_also_at_traced_places():
    f = gl.jit(lambda x, i, v: (x.at[i].set(v), x.at[i].add(v), x.at[i[0]].set(7.0)))
    put, added, one = f(np.zeros(5), TIED, V)
    np.testing.assert_array_equal(put, assigned(np.zeros(5), TIED, V))
    np.testing.assert_allclose(added, combined("add", np.zeros(5), TIED, V))
    np.testing.assert_array_equal(one, [0, 0, 0, 0, 7])


def test_integers_and_booleans_are_updated():
    i = np.arange(6, dtype="int32")
    f = gl.jit(lambda i, b: (i.at[TIED].max(3), i.at[1:3].set(2.7), b.at[::2].set(True)))
    biggest, cast, flags = f(i, i > 9)
    np.testing.assert_array_equal(biggest, combined("max", i, TIED, np.int32(3)))
    np.testing.assert_array_equal(cast, [0, 2, 2, 3, 4, 5])
    assert cast.dtype == "int32"
    assert flags.tolist() == [True, False, True, False, True, False]


def test_places_out_of_range():
    far = np.array([1, 9, -7, -1])
    f = gl.jit(
        lambda x, i, v: [
            x.at[i].set(v, mode="drop"),
            x.at[i].add(v, mode="clip"),
            x.at[i].multiply(v, mode="wrap"),
            x.at[i].get(mode="fill"),
            x.at[i].get(mode="fill", fill_value=2.0),
            x.at[i].get(mode="clip"),
        ]
    )
    x, v = np.arange(5.0), np.arange(1.0, 5)
    dropped, clipped, wrapped, filled, with_two, nearest = f(x, far, v)
    np.testing.assert_array_equal(dropped, [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(clipped, [3 + 4, 2, 2, 3, 6])
    np.testing.assert_array_equal(wrapped, combined("multiply", x, far % 5, v))
    np.testing.assert_array_equal(filled, [1, np.nan, np.nan, 4])
    np.testing.assert_array_equal(with_two, [1, 2, 2, 4])
    np.testing.assert_array_equal(nearest, [1, 4, 0, 0])
    with pytest.raises(IndexError):
        gl.jit(lambda x, i: x.at[i].set(1.0))(x, far)
    with pytest.raises(ShapeError, match="an update mode 'sideways'"):
        gnp.at(x)[far].set(1.0, mode="sideways")
    with pytest.raises(TypeError, match="not speed"):
        gnp.at(x)[far].set(1.0, speed=3)


def test_a_function_of_what_is_there():
    f = gl.jit(lambda x: x.at[1:].apply(lambda part: part * part))
    np.testing.assert_array_equal(f(np.arange(4.0)), [0, 1, 4, 9])


def test_functional_forms_of_what_numpy_does_in_place():
    order = np.argsort(X, axis=1)[:, :2]
    wanted = X.copy()
    np.put_along_axis(wanted, order, -1.0, 1)
    f = gl.jit(
        lambda x, i: (
            gnp.put_along_axis(x, i, -1.0, 1, inplace=False),
            gnp.fill_diagonal(x[0], [1.0, 2.0], inplace=False),
        )
    )
    put, filled = f(X, order)
    np.testing.assert_array_equal(put, wanted)
    wanted = X[0].copy()
    np.fill_diagonal(wanted, [1.0, 2.0])
    np.testing.assert_array_equal(filled, wanted)
    for change in (
        lambda x: np.put_along_axis(x, order, 0.0, 1),
        lambda x: np.fill_diagonal(x, 0.0),
    ):
        with pytest.raises(ShapeError, match="in place"):
            gl.jit(change)(X)
    for shape, wrap in (((6, 3), True), ((6, 3), False), ((3, 6), True), ((3, 3, 3), False)):
        wanted = np.zeros(shape)
        np.fill_diagonal(wanted, [1.0, 2.0, 3.0], wrap=wrap)
        found = gnp.fill_diagonal(np.zeros(shape), [1.0, 2.0, 3.0], wrap, inplace=False)
        np.testing.assert_array_equal(found, wanted)


# ---- slices that begin anywhere


@pytest.mark.parametrize("start", [0, 1, 2, 7, -1, -9])
def test_dynamic_slices(start):
    """Negative starts count from the end, and all are moved inside."""
    first = min(max(start + 4 if start < 0 else start, 0), 2)
    cut = gl.jit(lambda x, i: gl.dynamic_slice(x, [0, i, 1], [3, 2, 3]))
    np.testing.assert_array_equal(cut(X, start), X[:, first : first + 2, 1:4])
    np.testing.assert_array_equal(gl.dynamic_slice(X, [0, start, 1], [3, 2, 3]), cut(X, start))
    update = np.full((3, 2, 5), -1.0)
    put = gl.jit(lambda x, u, i: gl.dynamic_update_slice(x, u, [0, i, 0]))
    wanted = X.copy()
    wanted[:, first : first + 2] = -1
    np.testing.assert_array_equal(put(X, update, start), wanted)
    slope = gl.grad(lambda x, i: gnp.sum(gl.dynamic_slice(x, [0, i, 0], [3, 2, 5]) ** 2))
    kept = np.zeros_like(X)
    kept[:, first : first + 2] = 2 * X[:, first : first + 2]
    np.testing.assert_allclose(slope(X, start), kept)


def test_slices_with_traced_bounds_say_what_to_write():
    with pytest.raises(TracingError, match=r"gl.dynamic_slice\(x, starts, sizes\)"):
        gl.jit(lambda x, i: x[i : i + 2])(X, 1)
    with pytest.raises(ShapeError, match="a slice of"):
        gl.dynamic_slice(X, [0, 0, 0], [4, 1, 1])


# ---- finding

ALL = (True, True, True)  # indices, inverse, counts


def padded(found, size, fill):
    return np.concatenate([found[:size], np.full(max(size - len(found), 0), fill)])


@pytest.mark.parametrize("size", [0, 3, 10, 40])
def test_finding_in_a_fixed_size(size):
    x = np.where(X[:, 0] > 1.2, X[:, 0], 0)
    f = gl.jit(
        lambda x: [
            *gnp.nonzero(x, size=size, fill_value=-1),
            *gnp.where(x > 0, size=size, fill_value=(-1, -2)),
            gnp.flatnonzero(x, size=size),
            gnp.argwhere(x, size=size)[:, 1],
            gnp.compress(x[0] > 0, x, 1, size=size, fill_value=9),
            gnp.extract(x > 0, x, size=size),
        ]
    )
    rows, columns, rows_too, columns_too, flat, second, chosen, values = f(x)
    for got, want, fill in (
        (rows, np.nonzero(x)[0], -1),
        (columns, np.nonzero(x)[1], -1),
        (rows_too, np.nonzero(x)[0], -1),
        (columns_too, np.nonzero(x)[1], -2),
        (flat, np.flatnonzero(x), 0),
        (second, np.nonzero(x)[1], 0),
        (values, x[x > 0], 0),
    ):
        np.testing.assert_array_equal(got, padded(want, size, fill))
        assert got.shape == (size,)
    kept = x[:, x[0] > 0][:, :size]
    np.testing.assert_array_equal(chosen[:, : kept.shape[1]], kept)
    assert (chosen[:, kept.shape[1] :] == 9).all()


@pytest.mark.parametrize("size", [3, 4, 9])
def test_distinct_elements_in_a_fixed_size(size):
    x = np.array([[3.0, 1.0, np.nan], [1.0, 2.0, 3.0]])
    f = gl.jit(
        lambda x: (
            gnp.unique(x, *ALL, size=size),
            gnp.unique_all(x, size=size),
            gnp.unique_counts(x, size=size, fill_value=-1.0),
            gnp.unique_inverse(x, size=size),
            gnp.unique_values(x, size=size),
            gnp.union1d(x, x[0] + 1, size=size),
        )
    )
    (values, first, inverse, counts), whole, pairs, back, alone, union = f(x)
    wanted = np.unique(x, *ALL)
    np.testing.assert_array_equal(values, padded(wanted[0], size, 1.0))
    found = min(size, 4)
    np.testing.assert_array_equal(first[:found], wanted[1][:found])
    np.testing.assert_array_equal(inverse, np.minimum(wanted[2], size - 1))
    np.testing.assert_array_equal(counts, padded(wanted[3], size, 0))
    np.testing.assert_array_equal(whole.values, values)
    np.testing.assert_array_equal(pairs.values, padded(wanted[0], size, -1.0))
    np.testing.assert_array_equal(back.inverse_indices, inverse)
    np.testing.assert_array_equal(alone, values)
    np.testing.assert_array_equal(union[:3], [1, 2, 3])


def test_without_a_size_values_must_be_known():
    x = np.array([0.0, 2.0, 0.0, 3.0])
    for call, offered in (
        (lambda x: gnp.nonzero(x), "gnp.nonzero(x, size=n)"),
        (lambda x: np.nonzero(x), "size=n"),
        (lambda x: x.nonzero(), "size=n"),
        (lambda x: gnp.where(x > 0), "size=n"),
        (lambda x: np.flatnonzero(x), "size=n"),
        (lambda x: gnp.argwhere(x), "size=n"),
        (lambda x: np.unique(x), "gnp.unique(x, size=n)"),
        (lambda x: gnp.compress(x > 0, x), "size=n"),
        (lambda x: np.extract(x > 0, x), "size=n"),
        (lambda x: np.bincount(x.astype(int)), "length=n"),
        (lambda x: gnp.repeat(x, x.astype(int)), "total_repeat_length"),
        (lambda x: x[x > 0], "x[gnp.nonzero(mask, size=n)]"),
    ):
        with pytest.raises(TracingError, match="not known yet") as caught:
            gl.jit(call)(x)
        assert offered in str(caught.value)
    for call in (gnp.nonzero, gnp.flatnonzero, gnp.argwhere, gnp.unique, gnp.unique_counts):
        for got, want in zip(call(x), getattr(np, call.__name__)(x), strict=True):
            np.testing.assert_array_equal(got, want)
    with gl.eager():  # on the tape they are
        np.testing.assert_array_equal(
            gl.grad(lambda x: gnp.sum(x[x > 0] ** 2) + gnp.sum(x[gnp.nonzero(x)]))(x),
            2 * x + (x > 0),
        )


def test_repeats_that_are_traced():
    f = gl.jit(lambda x, n: gnp.repeat(x, n, total_repeat_length=7))
    np.testing.assert_array_equal(f(np.arange(3.0), np.array([2, 0, 3])), [0, 0, 2, 2, 2, 2, 2])


# ---- square brackets


def test_masks_and_truths_as_indices():
    mask = X > 1
    f = gl.jit(lambda x: [x[mask], x[mask[:, 0, 0]], x[True], x[False], x[0, True, 1:]])
    wanted = [X[mask], X[mask[:, 0, 0]], X[True], X[False], X[0, True, 1:]]
    for got, want in zip(f(X), wanted, strict=True):
        np.testing.assert_array_equal(got, want)


def test_arrays_indexed_by_traced_values():
    f = gl.jit(lambda i: (gnp.at(V)[i].get(), gnp.take(V, i)))
    np.testing.assert_array_equal(f(np.array([2, -1]))[0], V[[2, -1]])
    with pytest.raises(TracingError, match=r"gnp\.take"):
        gl.jit(lambda i: V[i])(2)
    with pytest.raises(RangeError, match="do not broadcast"):
        gl.jit(lambda x: x[np.arange(2), np.arange(3)])(X)
    with pytest.raises(TracingError, match=r"x = x.at\[key\].set"):
        gl.jit(lambda x: x.__setitem__(0, 1.0))(X)
