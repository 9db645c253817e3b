"""Products in groups of columns: when, and that everything after them keeps to the same columns."""

import numpy as np
import pytest
from tests.plan.sharing import assert_no_race
from tests.teams import shared

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.plan import columns
from gradloom.plan.plan import Product

RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 256)).astype("float32")
W, V = (RNG.normal(size=(256, n)).astype("float32") / 16 for n in (384, 512))


@pytest.fixture
def grouped(monkeypatch):
    """Small products, too, and everything shared that can be."""
    monkeypatch.setattr(columns, "LARGE_BYTES", 0)
    with gl.settings(disable=("lighten",), cache=False):
        yield


def layer(x, w, b):
    """A product, what follows it in its kernel, and a sum over its rows."""
    h = gnp.maximum(x @ w + b, 0.0)
    return h, gnp.sum(h, axis=0)


def products(plan):
    return [s for k in plan.kernels for s in k.stages if isinstance(s.code, Product)]


def test_what_follows_a_product_in_groups_needs_no_barrier(grouped):
    compiled = gl.jit(layer)
    compiled(X, W, W[0])
    plan = compiled.program(X, W, W[0]).plan
    (product,) = products(plan)
    assert (product.code.batch, product.code.columns) == ((3,), 128)
    assert {(s.grain, s.extent) for k in plan.kernels for s in k.stages[1:]} == {(1, 3)}
    assert not any(s.barrier for k in plan.kernels for s in k.stages)
    for size in (2, 3, 8):
        assert_no_race(plan, size)


@pytest.mark.parametrize("size", [2, 3, 8])
@pytest.mark.parametrize("transposed", [False, True])
def test_the_bits_are_those_of_the_product_by_rows(grouped, size, transposed):
    w = np.ascontiguousarray(W.T).T if transposed else W
    with gl.settings(disable=("by_columns",)):
        wanted = gl.jit(layer)(X, w, W[0])
    compiled = gl.jit(layer)
    compiled(X, w, W[0])
    shared(compiled.program().executable, size)
    for got, want in zip(compiled(X, w, W[0]), wanted, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("rows", [100, 8])
def test_only_where_b_outweighs_the_rest(rows):
    """A product of many rows, or of a B that the cache holds, is shared by rows."""
    x = np.ones((rows, 256), "float32")
    w = W if rows == 8 else np.ones((256, 1024), "float32")
    compiled = gl.jit(lambda x, w: x @ w)
    compiled(x, w)
    assert [p.code.batch for p in products(compiled.program().plan)] == [()]
