"""Updates of large weights row by row, with what they read fetched while their gradient is made."""

import numpy as np
import pytest
from tests.plan.sharing import assert_no_race
from tests.teams import shared

import gradloom as gl
from gradloom.codegen.driver import program_text
from gradloom.plan import fuse
from gradloom.plan.plan import Product

RNG = np.random.default_rng(0)
SHAPES = {"v": (360, 376), "w": (376, 352)}
WEIGHTS = {name: RNG.normal(size=shape).astype("f4") / 20 for name, shape in SHAPES.items()}
X, Y = (RNG.normal(size=(64, n)).astype("f4") for n in (360, 352))


def loss(p, x, y):
    return ((np.tanh(x @ p["v"]) @ p["w"] - y) ** 2).mean()


@pytest.fixture(autouse=True)
def everything_shared():
    with gl.settings(disable=("lighten",)):
        yield


def trained(optimizer, team=1, steps=3):
    """The plan of a step, and all numbers after some of them."""
    step = gl.train_step(loss, optimizer)
    state = step.init(WEIGHTS)
    program = step.program(state, X, Y)
    if team > 1:
        shared(program.executable, team)
    found = []
    for _ in range(steps):
        state, value = step(state, X, Y)
        found.append(value)
    return program.plan, [*found, *state.params.values()]


def fused(plan):
    """Kernels that make a gradient and use it up."""
    return [k for k in plan.kernels if k.in_blocks and k.stages[0].code.fetched]


@pytest.mark.parametrize(("optimizer", "arrays"), [(gl.optim.sgd(0.1), 1), (gl.optim.adam(), 3)])
def test_weights_and_their_moments_are_fetched_with_the_rows_of_a_gradient(optimizer, arrays):
    plan, _ = trained(optimizer)
    assert len(fused(plan)) == 2
    for kernel in fused(plan):
        product = kernel.stages[0]
        assert product.code.fetched == arrays
        buffers = [plan.buffers[o.buffer] for o in product.operands[3:]]
        shape = product.code.rows, product.code.columns
        assert {(b.space, b.type.shape) for b in buffers} == {("state", shape)}
        written = [plan.buffers[b] for b in kernel.touched()[1]]
        assert [b.space for b in written].count("arena") == 1, "the gradient alone is no state"


@pytest.mark.parametrize("optimizer", [gl.optim.sgd(0.1), gl.optim.adam()])
def test_the_numbers_are_those_of_updates_at_the_end(optimizer, monkeypatch):
    _, found = trained(optimizer)
    monkeypatch.setattr(fuse, "LARGE_BYTES", 1 << 30)
    with gl.settings(cache=False):
        plan, wanted = trained(optimizer)
    assert not fused(plan)
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("size", [2, 3, 8])
def test_the_bits_do_not_depend_on_the_team(size):
    plan, found = trained(gl.optim.adam(), size)
    for got, want in zip(found, trained(gl.optim.adam())[1], strict=True):
        np.testing.assert_array_equal(got, want)
    assert all(k.stages[0].grain for k in fused(plan))


def test_no_two_of_a_team_touch_the_same_bytes():
    plan, _ = trained(gl.optim.sgd(0.1))
    assert_no_race(plan, 3)


def test_each_block_of_a_gradient_is_written_over_the_one_before():
    plan, _ = trained(gl.optim.sgd(0.1))
    text = program_text(plan)
    for kernel in fused(plan):
        product, update = kernel.stages
        made = plan.buffers[product.operands[2].buffer].name
        place = f"view({made}, (top - row) * {4 * product.code.columns})"
        lines = [line for line in text.splitlines() if place in line]
        assert [line.split("(")[0].strip() for line in lines] == [
            product.code.name,
            update.code.name,
        ]


def test_a_gradient_that_is_a_result_is_kept():
    with gl.settings(cache=False):
        graph = gl.jit(lambda p, x, y: gl.grad(loss)(p, x, y))
        found = graph(WEIGHTS, X, Y)
    h = np.tanh(X @ WEIGHTS["v"])
    error = 2 * (h @ WEIGHTS["w"] - Y) / Y.size
    np.testing.assert_allclose(found["w"], h.T @ error, rtol=1e-3, atol=1e-6)


def test_products_name_what_they_fetch_in_plain_python():
    step = gl.train_step(loss, gl.optim.sgd(0.1))
    source = step.source(step.init(WEIGHTS), X, Y)
    assert source.count("fetched into a cache meanwhile") == 2
    assert isinstance(fused(step.program().plan)[0].stages[0].code, Product)
