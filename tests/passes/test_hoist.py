"""Sums of a loop's rounds, made after it: the same numbers, and only where it pays."""

import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.frontend.pytree import flatten

RNG = np.random.default_rng(0)
ROUNDS = 12


def recurrent(w, b, start, xs):
    last, _ = gl.scan(lambda h, x: (np.tanh(h @ w + x + b), None), start, xs)
    return (last * last).sum()


def carries(program):
    """How many carries each loop has."""
    return [n["carries"] for n in program.graph.nodes() if n.op.flow == "for"]


def arguments(batch, width):
    w = RNG.normal(size=(width, width)) / width
    return (
        w,
        RNG.normal(size=width),
        *(RNG.normal(size=s) for s in ((batch, width),)),
        RNG.normal(size=(ROUNDS, batch, width)),
    )


def both(function, *values):
    found = gl.jit(function)
    got = found(*values)
    with gl.settings(disable=("hoist_sums",)):
        plain = gl.jit(function)
        meant = plain(*values)
    leaves = [flatten(values)[0] for values in (got, meant)]
    for one, other in zip(*leaves, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)
    return carries(found.program()), carries(plain.program())


def test_the_gradient_of_a_recurrent_layer_is_one_product_after_the_loop():
    given = arguments(4, 24)
    hoisted, plain = both(lambda *v: gl.grad(recurrent, (0, 1))(*v), *given)
    assert sum(hoisted) == sum(plain) - 1  # the bias is still summed round by round


@pytest.mark.parametrize(("batch", "width"), [(32, 40), (12, 3)])
def test_deep_products_and_long_rows_stay_in_the_loop(batch, width):
    hoisted, plain = both(lambda *v: gl.grad(recurrent, (0, 1))(*v), *arguments(batch, width))
    assert hoisted == plain


def test_several_addends_moves_and_invariant_operands():
    w, xs, start = RNG.normal(size=(4, 9)), RNG.normal(size=(ROUNDS, 2, 4)), RNG.normal(size=(9, 9))

    def function(w, xs, start):
        def step(total, x):
            y = np.sin(x @ w)  # 2 x 9
            tiled = np.tile(y[:1], (4, 1))
            return total + (y.T @ y).T + y.T @ (x @ w) + w.T @ tiled, (y, tiled)

        return gl.scan(step, start, xs)

    hoisted, plain = both(function, w, xs, start)
    assert hoisted == [0]
    assert plain == [1]


def test_a_sum_that_the_rounds_read_stays():
    xs, start = RNG.normal(size=(ROUNDS, 2, 9)), RNG.normal(size=(9, 9))

    def function(xs, start):
        def step(total, x):
            total = total + x.T @ x
            return total, total[0, 0]

        return gl.scan(step, start, xs)

    hoisted, plain = both(function, xs, start)
    assert hoisted == plain


def test_backwards_and_in_a_loop_of_loops():
    xs, start = RNG.normal(size=(3, ROUNDS, 2, 9)), RNG.normal(size=(9, 9))

    def function(xs, start):
        def inner(total, x):
            return total + x.T @ np.cos(x), None

        def outer(total, rows):
            total, _ = gl.scan(inner, total * 0.5, rows, reverse=True)
            return total, total[0]

        return gl.scan(outer, start, xs)

    both(function, xs, start)
    np.testing.assert_allclose(gl.jit(function)(xs, start)[0], function(xs, start)[0], rtol=1e-12)


def test_the_gradient_of_the_gradient():
    given = arguments(2, 6)

    def twice(w, b, start, xs):
        return gnp.sum(gl.grad(recurrent)(w, b, start, xs) ** 2)

    both(lambda *v: gl.grad(twice, (0, 1))(*v), *given)
