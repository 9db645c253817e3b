"""Operands of products that are the same in every round: transposed once, before the loop."""

import numpy as np
import pytest

import gradloom as gl

RNG = np.random.default_rng(0)


def loops(program):
    return [n for n in program.graph.nodes() if n.op.flow == "for"]


def both(function, *values):
    found = gl.jit(function)
    got = found(*values)
    with gl.settings(disable=("turn_operands",)):
        plain = gl.jit(function)
        np.testing.assert_allclose(got, plain(*values), rtol=1e-12)
    return found.program(), plain.program()


def carried(w, start, xs, product):
    return gl.scan(lambda h, x: (np.tanh(product(h, w) + x), None), start, xs)[0]


@pytest.mark.parametrize(
    ("product", "turned"),
    [
        (lambda h, w: h @ w.T, True),
        (lambda h, w: np.einsum("ab,cb->ac", h, w), True),
        (lambda h, w: h @ w, False),
        (lambda h, w: h @ (w * 2).T, True),  # what is computed of it leaves the loop anyhow
    ],
)
def test_a_transposed_weight_is_transposed_before_the_loop(product, turned):
    given = RNG.normal(size=(12, 12)), RNG.normal(size=(4, 12)), RNG.normal(size=(5, 4, 12))
    better, _ = both(lambda *v: carried(*v, product), *given)
    (loop,) = loops(better)
    assert any(n.op.name == "transpose" for n in loop.inputs) == turned


def test_once_for_several_products_and_within_loops():
    def function(w, start, xs):
        def outer(h, x):
            twice = gl.scan(lambda k, _: (k @ w.T @ w.T + x, None), h, None, length=3)[0]
            return np.tanh(twice), None

        return gl.scan(outer, start, xs)[0]

    given = RNG.normal(size=(8, 8)), RNG.normal(size=(3, 8)), RNG.normal(size=(4, 3, 8))
    better, _ = both(function, *given)
    (loop,) = loops(better)
    inner = [n for n in loop["body"].nodes() if n.op.flow == "for"]
    assert sum(n.op.name == "transpose" for n in loop.inputs) == 1
    assert not any(i.op.name == "transpose" for n in inner for i in n.inputs)


def test_vectors_and_what_moves_stay():
    w, start, xs = RNG.normal(size=(8, 8)), RNG.normal(size=8), RNG.normal(size=(4, 8))
    better, _ = both(lambda *v: carried(*v, lambda h, w: w @ h), w, start, xs)
    assert not any(n.op.name == "transpose" for n in loops(better)[0].inputs)

    def powers(w, xs):
        return gl.scan(lambda h, x: (np.tanh(h @ h.T) + x, None), w, xs)[0]

    better, _ = both(powers, w, RNG.normal(size=(3, 8, 8)))
    assert not any(n.op.name == "transpose" for n in loops(better)[0].inputs)
