"""The reason at each boundary between kernels is the one for which the planner drew it."""

import numpy as np
import pytest
from tests.plan.test_fuse import planned

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.plan.explain import apart, kernel_table
from gradloom.plan.fuse import LARGEST


def long_chain(x):
    for _ in range(3 * LARGEST):
        x = gnp.sin(x) * 1.01
    return x


def between(x):
    """The middle one needs a sum of all, so the two beside it cannot be one."""
    a = gnp.exp(x)
    return a, gnp.sin(a) * gnp.sum(gnp.flip(a) * a)


@pytest.mark.parametrize(
    ("function", "shapes", "reason"),
    [
        (lambda x, w, v: gnp.tanh(x @ w) @ v, [(40, 40)] * 3, "a product reads whole rows"),
        (lambda x, w, v: x @ w + x @ v, [(40, 40)] * 3, "each is a product"),
        (lambda x: gnp.sort(x) + 1.0, [(40,)], "sort is a kernel by itself"),
        (long_chain, [(500,)], f"{LARGEST} operations are enough"),
        (lambda x, w: gnp.flip(t := gnp.tanh(x @ w), 0) + t, [(70, 9), (9, 40)], "other elements"),
        (lambda x: gnp.flip(gnp.exp(x)) * gnp.exp(x), [(500,)], "costs more to compute"),
        (lambda x, y: y * gnp.exp(gnp.tanh(x)), [(30,), (40, 30)], "costs more to compute"),
        (lambda x: gnp.sum(gnp.sum(gnp.exp(x), 1) * 2.0), [(60, 50)], "loops differ"),
        (between, [(500,)], "reads "),
    ],
)
def test_the_reason_of_a_boundary(function, shapes, reason):
    plan = planned(function, *shapes)
    first, *others = plan.kernels
    found = [apart(plan, a, b) for a, b in zip([first, *others], others, strict=False)]
    assert any(reason in why for why in found), found
    assert all(f"| {why}" in kernel_table(plan) for why in found)


def test_every_value_of_another_kernel_has_its_reason():
    """Nothing is made up afterwards: what a kernel reads of another is among its reasons."""

    def model(x, y, w, v):
        h = gnp.tanh(x @ w)
        return gnp.mean(-gnp.sum(gnp.log_softmax(h @ v) * y, 1))

    plan = planned(lambda *a: gl.grad(model, (2, 3))(*a), (64, 20), (64, 9), (20, 30), (30, 9))
    written = {b for k in plan.kernels for b in k.touched()[1]}
    for kernel in plan.kernels:
        read, own = kernel.touched()
        names = {plan.buffers[b].name for b in read & written - own}
        assert names <= {name for name, _ in kernel.reasons}


def test_updates_and_copies_say_what_they_wait_for():
    def loss(params, x):
        return ((x @ params["w"]) ** 2).mean() + (params["v"] ** 2).sum()

    step = gl.train_step(loss, gl.optim.adam(0.1))
    state = step.init({"w": np.ones((40, 30)), "v": np.ones(4000)})
    text = step.explain(state, np.ones((20, 40)))
    assert "updates of state wait for every reader of the old values" in text
    twice = gl.jit(lambda x: (y := gnp.exp(x), y))
    assert "it is a result twice, or as it was given" in twice.explain(np.ones(3))
