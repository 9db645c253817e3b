"""Pieces of joins: written where they belong by the kernels that compute them."""

import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp

RNG = np.random.default_rng(0)


def copies(function, *values):
    """The kernels that only lay pieces side by side, of a program with right results."""
    found = gl.jit(function, verify=True)
    got = found(*values)
    np.testing.assert_allclose(got, gl.jit(function, threads=2)(*values), rtol=0)
    return [k.name for k in found.program(*values).plan.kernels if "concatenate" in k.name]


def products(x, y, z):
    return gnp.concatenate([x @ y, np.tanh(x @ z), np.exp(x)], axis=-1)


def test_products_and_what_follows_them():
    given = RNG.normal(size=(24, 16)), RNG.normal(size=(16, 32)), RNG.normal(size=(16, 8))
    assert not copies(products, *given)
    assert not copies(lambda *v: np.sin(products(*v)).sum(1), *given)


def test_products_that_are_no_more_than_loops():
    x, y, z = (RNG.normal(size=size) for size in ((3, 2), (2, 2), (2, 4)))
    assert not copies(lambda x, y, z: gnp.concatenate([x @ y, x @ z], axis=-1), x, y, z)
    assert not copies(lambda x, y: gnp.stack([x @ y, (x + 1) @ y]), x, y)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_stacks_of_folded_rows(axis):
    def function(x):
        y = np.exp(x - x.max(-1, keepdims=True))
        return gnp.stack([y / y.sum(-1, keepdims=True), y], axis)

    found = copies(function, RNG.normal(size=(6, 40)))
    assert bool(found) == (axis == 2)  # there neighbours do not stay neighbours


def test_what_others_read_is_copied():
    def function(x, y):
        product = x @ y
        return gnp.concatenate([product, np.exp(x)], axis=1).sum() + (product @ y).sum()

    assert copies(function, RNG.normal(size=(8, 8)), RNG.normal(size=(8, 8)))


def test_a_piece_twice_and_pieces_of_pieces():
    def function(x, y):
        inner = gnp.concatenate([x @ y, np.sin(x @ y + 1)], axis=1)
        return gnp.concatenate([inner, inner, y @ x], axis=1)

    copies(function, RNG.normal(size=(8, 8)), RNG.normal(size=(8, 8)))


def test_a_state_that_is_a_join():
    def loss(params, x):
        return (np.sin(x @ params["w"]) ** 2).mean()

    def step(w, x):
        found = gl.grad(loss)({"w": w}, x)["w"]
        return gnp.concatenate([(w - found)[:4], w[4:] @ x.T @ x], axis=0)

    x, w = RNG.normal(size=(5, 8)), RNG.normal(size=(8, 8))

    def rounds(w, x):
        return gl.scan(lambda v, _: (step(v, x), None), w, None, length=3)[0]

    copies(rounds, w, x)


def test_gates_of_a_recurrent_layer():
    def loss(w, xs):
        def cell(carry, x):
            h, c = carry
            i, f, g, o = np.split(x + h @ w, 4, axis=-1)
            c = gl.nn.sigmoid(f) * c + gl.nn.sigmoid(i) * np.tanh(g)
            return (gl.nn.sigmoid(o) * np.tanh(c), c), None

        zero = np.zeros((3, 8), xs.dtype)
        return gl.scan(cell, (zero, zero), xs)[0][0].sum()

    for dtype in ("float32", "float64"):
        w, xs = RNG.normal(size=(8, 32)).astype(dtype), RNG.normal(size=(5, 3, 32)).astype(dtype)
        assert not copies(lambda w, xs: gl.grad(loss)(w, xs), w, xs)
