"""Which form a program for a GPU takes, by estimates: their order counts, not their figures."""

import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.plan.forms import AGAIN, LOOK, NODE, estimate


def estimated(function, *arrays, cluster=False):
    program = gl.jit(function, target="cuda-ptx").program(*arrays)
    return estimate(program.gpu.plan.plan, cluster=cluster)


def square(n):
    return np.ones((n, n), np.float32)


def tall(rows):
    """Of which a product takes long for its memory, not for its operations."""
    return np.ones((rows, 16), np.float32)


def chained(x, w):
    for _ in range(3):
        x = gnp.tanh(x @ w)
        x = x - gnp.sum(x, axis=0)
    return x


def test_small_work_is_one_kernel_and_large_work_launches():
    small, large = (estimated(chained, tall(n), square(16)) for n in (64, 1 << 18))
    assert small.one_kernel
    assert not large.one_kernel
    assert small.meetings > 3
    # Of the small one hardly more than the meetings counts.
    assert small.launched - small.resident > small.meetings * NODE / 4


def test_without_meetings_both_forms_are_the_same_kernel():
    found = estimated(gnp.tanh, square(2048))
    assert found.resident == found.launched
    assert found.one_kernel


def test_where_the_host_has_to_look_it_should_not_lead():
    def doubled(x):
        return gl.while_loop(lambda x: gnp.sum(x) < 1e9, lambda x: x * 2, x)

    found = estimated(doubled, square(2048))
    assert found.launched > LOOK
    assert found.one_kernel


def test_a_loop_counts_as_often_as_it_is_done():
    def looped(times):
        return lambda x: gl.fori_loop(0, times, lambda i, x: x - gnp.sum(x, axis=0), x)

    few, many = (estimated(looped(times), square(32)) for times in (2, 50))
    assert many.meetings > 20 * few.meetings > 0
    assert many.launched > 10 * few.launched


def test_blocks_of_a_cluster_meet_sooner():
    grid, cluster = (estimated(chained, square(32), square(32), cluster=c) for c in (False, True))
    assert cluster.resident < grid.resident
    assert cluster.launched == grid.launched


def test_a_step_of_training_is_one_of_many():
    def loss(p, x):
        return gnp.sum((x @ p) ** 2)

    step = gl.train_step(loss, gl.optim.sgd(0.1), target="cuda-ptx")
    program = step.program(step.init(square(8)), square(8))
    found = estimate(program.gpu.plan.plan)
    assert found.launched - found.resident > AGAIN


@pytest.mark.parametrize(("rows", "form"), [(64, "one kernel"), (1 << 18, "launched as one graph")])
def test_explain_says_which_form_it_is_and_why(rows, form):
    text = gl.jit(chained, target="cuda-ptx").explain(tall(rows), square(16))
    line = next(line for line in text.splitlines() if line.startswith("GPU: "))
    assert form in line
    assert "no GPU has measured" in line
    assert "us in launches" in line


def test_forms_are_chosen_by_settings_too():
    def kernels(rows, *disable):
        with gl.settings(disable=disable):
            made = gl.jit(chained, target="cuda-ptx").program(tall(rows), square(16))
        return "one" if made.gpu.ptx.host is None else "many"

    assert kernels(64, "persistent") == "many"
    assert kernels(1 << 18, "graphs") == "one"


def test_a_cluster_is_for_small_work():
    for rows, better in ((64, True), (1 << 16, False)):
        few, all_ = (estimated(chained, tall(rows), square(16), cluster=c) for c in (True, False))
        assert (few.resident < all_.resident) == better
        assert few.launched == all_.launched
