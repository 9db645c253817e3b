"""Sorting and searching against NumPy's: ties, NaN, empty axes, every dtype, both directions."""

import numpy as np
import pytest
from tests.routines import assert_same, assert_slopes

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.errors import ShapeError
from gradloom.ir.types import COMPLEX, DTYPES
from gradloom.profiling import profile

RNG = np.random.default_rng(6)
WITH_NAN = np.where(RNG.uniform(size=(4, 37)) < 0.2, np.nan, np.round(RNG.normal(size=(4, 37)), 1))
SPECIAL = np.array([np.inf, -0.0, np.nan, 0.0, -np.inf, np.nan, 1.0, -1.0])


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d not in COMPLEX])
def test_every_dtype_is_sorted(dtype):
    x = RNG.integers(0, 2 if dtype == "bool" else 9, (3, 30)).astype(dtype)
    assert_same(
        lambda x: [gnp.sort(x), gnp.argsort(x, 0), gnp.sort(x, None)],
        lambda x: [np.sort(x), np.argsort(x, 0, kind="stable"), np.sort(x, None)],
        x,
    )


@pytest.mark.parametrize(
    "x", [WITH_NAN, SPECIAL, np.zeros((3, 0)), np.zeros((0, 3)), RNG.normal(size=70)]
)
def test_nan_is_last_and_equals_stay_in_order(x):
    assert_same(
        lambda x: [gnp.sort(x), gnp.argsort(x)],
        lambda x: [np.sort(x), np.argsort(x, kind="stable")],
        x,
        uncompiled=x.size < 100,
    )


def test_falling_order_keeps_equals_in_order_too():
    x = np.array([2.0, 1.0, np.nan, 2.0, 3.0, 1.0, np.nan])
    assert_same(
        lambda x: [gnp.argsort(x, descending=True), *gnp.top_k(x, 3)],
        lambda x: [np.array([2, 6, 4, 0, 3, 1, 5]), x[[2, 6, 4]], np.array([2, 6, 4])],
        x,
    )


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_sorting_along_any_axis(axis):
    x = RNG.normal(size=(5, 9, 3))
    assert_same(
        lambda x: [
            gnp.sort(x, axis),
            gnp.argsort(x, axis),
            gnp.partition(x, 2, axis),
            gnp.argpartition(x, 2, axis),
            gnp.top_k(x, 2, axis)[0],
        ],
        lambda x: [
            np.sort(x, axis),
            np.argsort(x, axis),
            np.sort(x, axis),
            np.argsort(x, axis),
            np.flip(np.sort(x, axis), axis).take([0, 1], axis),
        ],
        x,
    )


def test_search_on_both_sides():
    x = np.sort(RNG.integers(0, 20, 30).astype(float))
    keys = np.array([[-1.0, 0.0, 5.0], [5.5, 40.0, np.nan]])
    order = RNG.permutation(30)
    assert_same(
        lambda x, k: [gnp.searchsorted(x, k), gnp.searchsorted(x, k, "right")],
        lambda x, k: [np.searchsorted(x, k), np.searchsorted(x, k, "right")],
        x,
        keys,
    )
    assert_same(
        lambda x, k, o: gnp.searchsorted(x, k, "right", o),
        lambda x, k, o: np.searchsorted(x, k, "right", o),
        x[np.argsort(order)],
        keys,
        order,
    )
    assert_same(
        lambda k: [gnp.digitize(k, x), gnp.digitize(k, x[::-1]), gnp.digitize(k, x, right=True)],
        lambda k: [np.digitize(k, x), np.digitize(k, x[::-1]), np.digitize(k, x, right=True)],
        keys[0],
    )
    assert_same(lambda k: gnp.searchsorted(k[:0], k), lambda k: np.searchsorted(k[:0], k), keys[0])


def test_several_keys():
    keys = RNG.integers(0, 3, (3, 40))
    assert_same(lambda k: gnp.lexsort([*k]), lambda k: np.lexsort(k), keys)


def test_numpys_functions_and_methods():
    x = RNG.normal(size=(4, 6))
    f = gl.jit(lambda x: [np.sort(x), x.argsort(0), np.searchsorted(np.sort(x[0]), x[1])])
    wanted = [np.sort(x), x.argsort(0), np.searchsorted(np.sort(x[0]), x[1])]
    for got, want in zip(f(x), wanted, strict=True):
        np.testing.assert_array_equal(got, want)


def test_gradients_go_to_where_elements_came_from():
    x = RNG.normal(size=(4, 6))
    assert_slopes(lambda x: [gnp.sort(x, 0) ** 3, gnp.top_k(x, 2)[0] ** 2, gnp.partition(x, 1)], x)


def test_what_cannot_be():
    with pytest.raises(ShapeError, match="the 9 largest of 6"):
        gnp.top_k(np.zeros(6), 9)
    with pytest.raises(ShapeError, match="kth=7 of 6"):
        gl.jit(lambda x: gnp.partition(x, 7))(np.zeros(6))
    with pytest.raises(ShapeError, match="search a 1-d array"):
        gnp.searchsorted(np.zeros((2, 2)), 1.0)


def test_a_plan_with_routines_can_be_asked():
    f = gl.jit(lambda x: gnp.sort(x * 2)[::-1] + gnp.sort(x))
    x = RNG.normal(size=20)
    np.testing.assert_array_equal(f(x), np.sort(x * 2)[::-1] + np.sort(x))
    assert "in sequence" in f.explain()
    assert "sort" in str(profile(f.program()))
    assert f.source().count("def routine_sort_float64_up") == 1
    with gl.settings(interpret=True):
        np.testing.assert_array_equal(gl.jit(lambda x: gnp.sort(x))(x), np.sort(x))
    with gl.settings(disable=("fuse", "simplify")):
        np.testing.assert_array_equal(gl.jit(lambda x: gnp.sort(x) + 1)(x), np.sort(x) + 1)
    np.testing.assert_array_equal(gl.jit(gnp.sort, verify=True)(x), np.sort(x))


def test_unsigned_numbers_beyond_the_signed_ones_are_in_order():
    most = np.iinfo("uint64").max
    x = np.array([most // 2 + 9, 3, most, 0, most - 1, 0, most // 2, most // 2 + 1], "uint64")

    def f(x):
        ordered = gnp.sort(x)
        return (
            ordered,
            gnp.argsort(x),
            gnp.searchsorted(ordered, x),
            gnp.searchsorted(ordered, x, side="right"),
        )

    for found, wanted in zip(gl.jit(f)(x), f(x), strict=True):
        np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(gl.jit(gnp.cummax)(x), np.maximum.accumulate(x))
    np.testing.assert_array_equal(gl.jit(gnp.cummin)(x), np.minimum.accumulate(x))
