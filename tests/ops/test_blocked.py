"""Large factorisations and systems in blocks: as LAPACK's, with its NaN, and derivatives."""

import numpy as np
import pytest
import scipy.linalg

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.ir.op import Kind
from gradloom.ops import blocked
from gradloom.ops.blocked import LEAF, cut
from gradloom.passes.blocks import cut_into_blocks

RNG = np.random.default_rng(0)
SIZES = (LEAF - 1, LEAF, LEAF + 1, 3 * LEAF - 5)


def positive(n, dtype="float64", batch=()):
    x = RNG.uniform(-1, 1, (*batch, n, n))
    return (x @ np.swapaxes(x, -1, -2) / n + np.eye(n)).astype(dtype)


def lower(n, dtype="float64", batch=()):
    return np.linalg.cholesky(positive(n, "float64", batch)).astype(dtype)


@pytest.mark.parametrize("size", range(1, 400, 13))
def test_a_cut_leaves_something_on_both_sides_and_whole_leaves_before_it(size):
    if size > LEAF:
        assert 0 < cut(size) < size
        assert cut(size) % LEAF == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", SIZES)
def test_a_factor_is_lapacks(n, dtype):
    x = positive(n, dtype)
    found = gl.jit(gnp.linalg.cholesky, verify=True)(x)
    tolerance = 1e-4 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(found, np.linalg.cholesky(x), atol=tolerance)


@pytest.mark.parametrize("trans", [0, 1])
@pytest.mark.parametrize("low", [True, False])
@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("n", SIZES[2:])
def test_a_system_is_lapacks(n, low, trans, unit):
    t = lower(n) if low else lower(n).T.copy()
    t += RNG.uniform(size=t.shape) * (np.triu(np.ones_like(t), 1) if low else 0)  # not to be read
    b = RNG.normal(size=(n, blocked.COLUMNS + 1))
    solve = gl.jit(
        lambda t, b: gl.linalg.solve_triangular(t, b, lower=low, trans=trans, unit_diagonal=unit),
        verify=True,
    )
    wanted = scipy.linalg.solve_triangular(t, b, lower=low, trans=trans, unit_diagonal=unit)
    np.testing.assert_allclose(solve(t, b), wanted, rtol=1e-8, atol=1e-8 * abs(wanted).max())


def test_batches_are_cut_too():
    x = positive(LEAF + 9, batch=(3,))
    found = gl.jit(gnp.linalg.cholesky)(x)
    np.testing.assert_allclose(found, np.linalg.cholesky(x), atol=1e-12)


@pytest.mark.parametrize("wrong", [0, LEAF + 3])
def test_what_has_no_factor_is_nan_all_over_and_zero_above(wrong):
    x = positive(2 * LEAF)
    x[wrong, wrong] = -1.0
    found = gl.jit(gnp.linalg.cholesky)(x)
    below = np.tril(np.ones_like(x)) > 0
    assert np.isnan(found[below]).all()
    assert (found[~below] == 0).all()


def test_derivatives_of_both_orders():
    n = LEAF + 6
    x, v = positive(n), RNG.normal(size=n)

    def likelihood(s):
        factor = gnp.linalg.cholesky(positive_part + s * gnp.eye(n))
        y = gl.linalg.solve_triangular(factor, gnp.stack([v] * blocked.COLUMNS, 1), lower=True)
        return (y * y).sum() + gnp.log(gnp.diagonal(factor)).sum()

    positive_part = x
    s, h = np.float64(0.3), 1e-4
    value = gl.jit(likelihood)
    slope = gl.jit(gl.grad(likelihood))
    np.testing.assert_allclose(slope(s), (value(s + h) - value(s - h)) / (2 * h), rtol=1e-6)
    curve = gl.jit(gl.grad(gl.grad(likelihood)))
    np.testing.assert_allclose(curve(s), (slope(s + h) - slope(s - h)) / (2 * h), rtol=1e-6)


@pytest.mark.parametrize("n", SIZES[1:])
@pytest.mark.parametrize("batch", [(), (2,)])
def test_the_gradient_in_blocks_is_that_of_one_block(n, batch, monkeypatch):
    x, g = positive(n, batch=batch), RNG.normal(size=(*batch, n, n))

    def slope():
        return gl.jit(gl.grad(lambda x: (g * gnp.linalg.cholesky(x)).sum()))(x)

    found = slope()
    monkeypatch.setattr(blocked, "LEAF", 4 * n)
    np.testing.assert_allclose(found, slope(), atol=1e-10)


def test_a_graph_of_small_matrices_stays_as_it_is():
    program = gl.jit(gnp.linalg.cholesky).program(positive(LEAF))
    again = cut_into_blocks(program.traced)
    assert again.text() == program.traced.text()


def test_large_ones_leave_blocks_of_at_most_a_leaf_and_products():
    program = gl.jit(gnp.linalg.cholesky).program(positive(4 * LEAF))
    nodes = cut_into_blocks(program.traced).nodes()
    routines = [n for n in nodes if n.op.kind is Kind.ROUTINE]
    assert len(routines) > 4
    assert all(n.inputs[0].type.shape[-1] <= LEAF for n in routines)
    assert any(n.op.kind is Kind.CONTRACT for n in nodes)
