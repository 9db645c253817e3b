"""Whole training runs on a GPU, in every form that they are launched in, against the CPU's.

Interpreted, with every check of the interpreter on: for races, of memory, and for what is waited
for in vain.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from tests.gpus import FORMS
from tests.runtime.cuda.models import MODELS, Model, perceptron, xor

import gradloom as gl
from gradloom.runtime.cuda.machine import using
from gradloom.settings import settings

ULP = 2.0**-23
STEPS = 24
EPOCH = 4  # batches of one


def trained(model: Model, device: str) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """The losses of a run and of an epoch of shuffled batches after it, and the parameters."""
    step = model.step(device)
    state, losses = step.run(step.init(model.params), *model.batches(STEPS))
    rows = tuple(rows[: EPOCH * model.batch] for rows in model.rows)
    key = gl.random.key(7)
    state, history = step.fit(state, rows, model.batch, shuffle=key, progress=False)
    return [np.asarray(losses), np.asarray(history["loss"])], dict(state.params)


def assert_near(model: Model, found: Any, wanted: Any) -> None:
    """Every step rounds the terms of the loss, which are of the size that losses begin with, and
    each parameter, by half a unit in its last place; its update is off by as much of the rate,
    which is what Adam moves by.  What one step has changed the next one keeps, as long as training
    does not diverge, so bounds grow by as much with each."""
    (losses, epoch), params = found
    (want_losses, want_epoch), want_params = wanted
    steps = np.arange(1, STEPS + 1)
    assert (np.abs(losses - want_losses) <= 4 * ULP * steps * want_losses[0]).all()
    assert np.abs(epoch - want_epoch) <= 4 * ULP * (STEPS + EPOCH) * want_losses[0]
    for name, want in want_params.items():
        allowed = ULP * (STEPS + EPOCH) * (np.abs(want).max() / 2 + model.rate)
        np.testing.assert_allclose(params[name], want, rtol=0, atol=allowed, err_msg=name)


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_training_is_the_cpus_in_every_form(make, machine):
    model = make()
    wanted = trained(model, "cpu")
    assert wanted[0][0][-1] < 0.8 * wanted[0][0][0]
    # A cluster differs in its barriers alone, launches are those of a graph: small models show it.
    forms = list(FORMS) if make in (xor, perceptron) else ["one kernel", "graphs"]
    runs = []
    for form, blocks in zip(forms, itertools.cycle((3, 2))):
        with settings(disable=FORMS[form]), using(machine(blocks=blocks)):
            runs.append(trained(model, "cuda"))
    assert_near(model, runs[0], wanted)
    for losses, params in runs[1:]:
        np.testing.assert_array_equal(np.hstack(losses), np.hstack(runs[0][0]))
        for name, array in params.items():
            np.testing.assert_array_equal(array, runs[0][1][name], err_msg=name)


@pytest.mark.parametrize(("precision", "ulp"), [("tensorfloat32", 2.0**-10), ("bfloat16", 2.0**-7)])
def test_training_on_tensor_cores_learns_the_same(precision, ulp, machine):
    """Products round both of their operands by half a unit in the last place, each, and so the
    first loss is off by no more than what that adds up to; what is learned is nearly the same."""
    model = perceptron()
    x, p = model.rows[0][: model.batch], {n: np.abs(v) for n, v in model.params.items()}
    hidden = np.abs(np.tanh(x @ model.params["w"]))
    logits = ulp * (hidden @ p["v"]) + ulp * (x @ p["w"]) @ p["v"]  # tanh has no slope beyond 1
    wanted = model.step("cpu").run(model.step("cpu").init(model.params), *model.batches(STEPS))[1]
    with using(machine()):
        step = model.step("cuda", precision=precision)
        found = step.run(step.init(model.params), *model.batches(STEPS))[1]
    assert 0 < np.abs(found[0] - wanted[0]) <= 2 * logits.max()
    assert found[-1] < 0.5 * found[0]
    np.testing.assert_allclose(found, wanted, rtol=8 * ulp)
