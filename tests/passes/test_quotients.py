"""Divisions by a number that divides many others: by its reciprocal, to the same bits."""

import numpy as np
import pytest

import gradloom as gl

RNG = np.random.default_rng(0)
MANY, FEW = 4096, 48


def operators(function, *values):
    return [n.op.name for n in gl.jit(function).program(*values).graph.nodes()]


def same_bits(got, want):
    zeros = np.signbit(got) == np.signbit(want)
    return np.all(np.isnan(got) & np.isnan(want) | (got == want) & zeros)


@pytest.mark.parametrize(("dtype", "powers"), [("float32", 90), ("float64", 900)])
def test_the_bits_are_those_of_a_division(dtype, powers):
    def spread(count, most):
        return (RNG.normal(size=count) * 2.0 ** RNG.uniform(-most, most, count)).astype(dtype)

    tiny = np.finfo(dtype).tiny
    edges = [0.0, -0.0, np.inf, -np.inf, np.nan, tiny, tiny / 4, 1 / tiny, np.finfo(dtype).max]
    x = np.concatenate([spread(MANY, powers), spread(MANY, 2), edges]).astype(dtype)
    y = np.concatenate([spread(FEW, powers / 10), spread(FEW, 2), edges]).astype(dtype)[:, None]
    divided = gl.jit(lambda x, y: x / y)
    with np.errstate(all="ignore"):
        assert same_bits(divided(x, y), x / y)
    assert "quotient" in operators(lambda x, y: x / y, x, y)


def test_only_where_many_share_a_divisor():
    x = RNG.normal(size=(64, 40)).astype("float32")
    rows, columns = x[:, :1] + 3, x[0] + 3
    assert "quotient" in operators(lambda x, y: x / y, x, rows)
    assert "quotient" in operators(lambda x, y: x / y, x, columns)
    assert "quotient" in operators(lambda x: x / 3, x)
    assert "quotient" in operators(
        lambda x, y: x / np.broadcast_to(y[:, None], x.shape), x, x[:, 0]
    )
    assert "quotient" not in operators(lambda x, y: x / y, x, x + 3)
    assert "quotient" not in operators(lambda x, y: x / y, x[:, :8], rows)


def test_derivatives_are_those_of_a_division():
    x, y = RNG.normal(size=(64, 40)), RNG.normal(size=40) + 4

    def loss(x, y):
        return np.sum(np.sin(x / y))

    by_x, by_y = gl.grad(loss, argnums=(0, 1))(x, y)
    slope = np.cos(x / y)
    np.testing.assert_allclose(by_x, slope / y, rtol=1e-12)
    np.testing.assert_allclose(by_y, np.sum(-slope * x / y**2, 0), rtol=1e-12)
