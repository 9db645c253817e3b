"""Running folds against NumPy's, on every axis and from either end; derivatives with zeros."""

import numpy as np
import pytest
from tests.routines import assert_same, assert_slopes

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.errors import ShapeError

RNG = np.random.default_rng(9)
X = RNG.normal(size=(3, 4, 5))
Z = np.array([[1.5, 0.0, 2.0, -1.0], [0.0, 0.5, 0.0, 3.0]])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_running_folds_on_every_axis(axis):
    def flipped(f, x):
        return np.flip(f(np.flip(x, axis), axis), axis)

    assert_same(
        lambda x: [
            gnp.cumsum(x, axis),
            gnp.cumprod(x, axis, reverse=True),
            gnp.cummax(x, axis),
            gnp.cummin(x, axis, reverse=True),
            gnp.logcumsumexp(x, axis),
            gnp.cumsum(x, axis, reverse=True),
            gnp.logcumsumexp(x, axis, reverse=True),
        ],
        lambda x: [
            np.cumsum(x, axis),
            flipped(np.cumprod, x),
            np.maximum.accumulate(x, axis),
            flipped(np.minimum.accumulate, x),
            np.logaddexp.accumulate(x, axis),
            flipped(np.cumsum, x),
            flipped(np.logaddexp.accumulate, x),
        ],
        X,
    )


@pytest.mark.parametrize("dtype", ["bool", "int32", "int64", "float32"])
def test_dtypes_are_numpys(dtype):
    x = (X * 3).astype("int64").astype(dtype)
    assert_same(
        lambda x: [gnp.cumsum(x, 0), gnp.cumprod(x), gnp.cumsum(x, 1, "float64")],
        lambda x: [np.cumsum(x, 0), np.cumprod(x), np.cumsum(x, 1, "float64")],
        x,
        tolerance=1e-5 if dtype == "float32" else 0,
    )


def test_nan_infinity_and_nothing():
    special = np.array([[1.0, np.nan, 5.0, 2.0], [-np.inf, -np.inf, 0.0, np.inf]])
    for x in (special, special.T.copy(), np.zeros((3, 0)), np.zeros((0, 3))):
        with np.errstate(invalid="ignore"):
            assert_same(
                lambda x: [gnp.cumsum(x, 1), gnp.cummax(x), gnp.cummin(x), gnp.logcumsumexp(x)],
                lambda x: [
                    np.cumsum(x, 1),
                    np.maximum.accumulate(x, -1),
                    np.minimum.accumulate(x, -1),
                    np.logaddexp.accumulate(x, -1),
                ],
                x,
            )


def test_an_initial_element():
    assert_same(
        lambda x: [
            gnp.cumulative_sum(x, axis=1, include_initial=True),
            gnp.cumulative_prod(x, axis=0, include_initial=True),
            gnp.cumulative_sum(x[0, 0]),
        ],
        lambda x: [
            np.cumulative_sum(x, axis=1, include_initial=True),
            np.cumulative_prod(x, axis=0, include_initial=True),
            np.cumulative_sum(x[0, 0]),
        ],
        X,
    )
    with pytest.raises(ShapeError, match="a running fold over 3 axes"):
        gnp.cumulative_sum(X)


def test_the_product_has_a_derivative_at_zero():
    assert_slopes(lambda x: gnp.cumprod(x, 1), Z)
    assert_slopes(lambda x: gnp.cumprod(x, 0, reverse=True), Z)


def test_slopes_of_the_others():
    assert_slopes(lambda x: [gnp.cummax(x, 0) ** 2, gnp.cummin(x) ** 3], X[0])
    assert_slopes(lambda x: [gnp.logcumsumexp(x), gnp.logcumsumexp(x, 0, reverse=True)], X[0])
    assert_slopes(lambda x: [gnp.cumsum(x, 0) ** 2, gnp.cumulative_prod(x, axis=1)], X[0])


def test_logarithms_of_nothing_have_no_slope():
    x = np.array([-np.inf, -np.inf, 0.0, 1.0])
    slope = gl.grad(lambda x: gnp.logcumsumexp(x)[-1])(x)
    np.testing.assert_allclose(slope, [0, 0, 1 / (1 + np.e), np.e / (1 + np.e)], 1e-12)


def test_small_terms_are_not_lost_beside_large_ones():
    """A shift by the largest of all would give minus infinity for the first."""
    x = np.array([-900.0, -900.0, 900.0])
    np.testing.assert_allclose(gl.jit(gnp.logcumsumexp)(x)[:2], [-900.0, -900.0 + np.log(2)])
