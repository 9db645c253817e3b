"""Products that leave out zeros: limits of axes of depth, and what of their operands is touched."""

import itertools

import numpy as np
import pytest

import gradloom as gl
from gradloom.codegen.text import stage_text
from gradloom.ir.affine import Affine, Guard
from gradloom.ir.types import TensorType
from gradloom.pipeline import run_passes
from gradloom.plan.assemble import make_plan
from gradloom.plan.limits import as_limit, left_out, never_empty, reached, within
from gradloom.plan.plan import Product
from gradloom.tracing import Leaf, record

SIZES = {"y": 5, "i": 3, "r": 2}


def guard(low, high, const, **factors):
    at = Affine(const, tuple((list(SIZES).index(n), c) for n, c in factors.items()))
    return Guard(at, low, high)


@pytest.mark.parametrize(
    "guarded",
    [
        guard(0, 5, -1, y=1, i=1),
        guard(1, 4, -1, y=1, i=2),
        guard(0, 5, 2, y=1, i=-1),
        guard(0, 3, 0, r=1, i=2),
        guard(0, 9, 3, y=2, i=-3),
    ],
)
def test_a_limit_holds_where_its_guard_does(guarded):
    found = within(guarded, "yir", SIZES)
    assert found is not None
    limit = as_limit(found, "yr", "i")
    assert limit is not None
    for y, r in itertools.product(range(5), range(2)):
        low, high = limit.bounds({0: y, 1: r})
        for i in range(3):
            value = guarded.at.const + sum(c * (y, i, r)[a] for a, c in guarded.at.terms)
            assert (low <= i < high) == (guarded.low <= value < guarded.high)


def test_what_is_no_limit():
    assert within(guard(0, 7, 0, y=1, i=1), "yir", SIZES) is None  # it always holds
    found = within(guard(0, 5, -1, y=1, i=1), "yir", SIZES)
    assert as_limit(found, "r", "i") is None  # y is not of the batch
    assert as_limit(found, "y", "r") is None  # nor is one of them of the depth
    assert as_limit(found, "", "yi") is None
    far = as_limit(within(guard(0, 1, 0, y=1, i=1), "yir", SIZES), "y", "i")
    assert not never_empty([far], (5,), (3,))
    near = as_limit(within(guard(0, 5, -1, y=1, i=1), "yir", SIZES), "y", "i")
    assert never_empty([near], (5,), (3,))


def products(function, *shapes):
    leaves = [Leaf(TensorType(shape, "float32"), weak=False) for shape in shapes]
    plan = make_plan(run_passes(record(lambda v: function(*v), leaves).graph))
    codes = [s.code for kernel in plan.kernels for s in kernel.stages]
    return plan, [code for code in codes if isinstance(code, Product)]


X, W, G = (2, 8, 8, 16), (3, 3, 16, 32), (2, 8, 8, 32)


def reverse(stride, by):
    def function(x, w, g):
        _, pull = gl.vjp(lambda *v: gl.nn.conv2d(*v, stride, "same"), x, w)
        return pull(g)[by]

    return function


def terms(product):
    """How many elements of A each matrix of the batch is multiplied by, added up."""
    total = 0
    for index in itertools.product(*map(range, product.batch)):
        rounds = []
        for axis, size in enumerate(product.depth):
            low, high = 0, size
            for limit in product.limits:
                if limit.axis == axis:
                    a, b = limit.bounds(dict(enumerate(index)))
                    low, high = max(low, a), min(high, b)
            rounds.append(high - low)
        total += int(np.prod(rounds))
    return total


def test_zeros_of_a_border_are_neither_kept_nor_multiplied():
    plan, (forward,) = products(lambda x, w: gl.nn.conv2d(x, w, 1, "same"), X, W)
    assert terms(forward) == 2 * (3 * 8 - 2) * 48
    (kernel,) = (k for k in plan.kernels if forward in [s.code for s in k.stages])
    assert kernel.flops == 2 * terms(forward) * forward.rows * forward.columns
    assert all(
        b.type.shape[1] == 8 for b in plan.buffers if b.type.ndim == 4 and b.type.size > 4608
    )
    *_, by_w = products(reverse(1, 1), X, W, G)[1]
    assert terms(by_w) == 2 * (3 * 8 - 2) ** 2
    everything = int(np.prod((*by_w.batch, by_w.rows, by_w.columns, *by_w.depth)))
    assert left_out(by_w) == everything - terms(by_w) * by_w.rows * by_w.columns
    *_, by_w = products(reverse(1, 1), (2, 8, 8, 3), (3, 3, 3, 32), G)[1]
    assert by_w.rows == 9  # rather than 3 at a time


def test_zeros_between_strides_are_not_multiplied():
    *_, by_x = products(reverse(2, 0), X, W, (2, 4, 4, 32))[1]
    assert by_x.columns == 32  # two places at once, rather than one without zeros
    assert by_x.limits


@pytest.mark.parametrize(("stride", "by"), [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1)])
def test_what_is_touched(stride, by):
    count = -(-8 // stride)
    plan, _ = products(reverse(stride, by), X, W, (2, count, count, 32))
    stage = [s for k in plan.kernels for s in k.stages if isinstance(s.code, Product)][-1]
    product = stage.code
    axes = (*product.batch, *product.depth)
    for number, strides in ((0, product.a_strides), (1, product.b_strides)):
        ahead = len(product.batch)
        inner = strides[ahead + 1 :] if number == 0 else strides[ahead:-1]
        seen = set()
        for index in itertools.product(*map(range, axes)):
            known = dict(enumerate(index[:ahead]))
            ends = ((n.axis, n.bounds(known)) for n in product.limits)
            if all(low <= index[ahead + axis] < high for axis, (low, high) in ends):
                steps = zip((*strides[:ahead], *inner), index, strict=True)
                seen.add(product.before[number] + sum(s * n for s, n in steps))
        across = (product.rows, strides[ahead]) if number == 0 else (product.columns, strides[-1])
        sizes = list(axes)
        sizes.insert(ahead if number == 0 else len(axes), across[0])
        low, high = reached(product, number, strides, sizes, split=False)
        assert (low, high) == (min(seen), max(seen) + (across[0] - 1) * across[1])
        offset = stage.operands[number].offset
        assert (
            0
            <= offset + low
            < offset + high
            < plan.buffers[stage.operands[number].buffer].type.size
        )


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", ["same", ((2, 0), (1, 2))])
def test_the_same_as_eager_on_any_number_of_threads(stride, padding):
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(s).astype("float32") for s in ((4, 9, 8, 5), (3, 4, 5, 7)))

    def function(x, w):
        return gl.grad(lambda *v: (gl.nn.conv2d(*v, stride, padding) ** 2).sum(), (0, 1))(x, w)

    with gl.eager():
        expected = function(x, w)
    found = gl.jit(function, threads=1)(x, w)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, 2e-4, 2e-4)
    for a, b in zip(found, gl.jit(function, threads=2)(x, w), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_text_of_a_limited_product():
    _, (product,) = products(
        lambda x, w: gl.nn.conv2d(x, w, 1, "same"), (1, 4, 4, 3), (3, 3, 3, 16)
    )
    assert product.limits
    text = stage_text(product)
    assert "range(max(0, 1 - i), min(3, 5 - i))" in text
    scope = {"np": np}
    exec(text, scope)
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(s).astype("float32") for s in ((1, 4, 6, 3), (3, 3, 3, 16)))
    found = np.zeros(256, "float32")
    scope[product.name](0, product.batch[0], x.ravel(), w.ravel(), found)
    inside = np.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)))
    expected = gl.nn.conv2d(inside, w)
    np.testing.assert_allclose(found.reshape(expected.shape), expected, 1e-5, 1e-5)
