"""Runs on a GPU that are watched, and stopped while a kernel runs."""

from __future__ import annotations

import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.errors import DeviceError
from gradloom.runtime.cuda.machine import using
from gradloom.settings import settings
from gradloom.train import loop
from tests.gpus import FORMS, Simulated

RNG = np.random.default_rng(0)
X, Y = RNG.random((8, 3), np.float32), RNG.random((8, 2), np.float32)
W = RNG.random((3, 2), np.float32)
EPOCHS = 3000  # hours of the interpreter


def loss(w, x, y):
    return ((gnp.tanh(x @ w) - y) ** 2).mean()


@pytest.fixture
def step(monkeypatch):
    monkeypatch.setattr(loop, "POLL_SECONDS", 0.002)
    return gl.train_step(loss, gl.optim.sgd(0.1), device="cuda")


def watching(monkeypatch, watch):
    """Let `fit` be watched by a function of ours."""
    real = loop.drive
    monkeypatch.setattr(
        "gradloom.train.fit.drive",
        lambda runner, course, interruptible, watch=None, ours=watch: real(
            runner, course, interruptible, ours
        ),
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shuffle", [False, True])
def test_an_interrupt_stops_a_kernel_between_two_steps(step, monkeypatch, form, shuffle):
    seen = []

    def watch(done):
        seen.append(done)
        if done >= 3:
            raise KeyboardInterrupt

    watching(monkeypatch, watch)
    machine = Simulated(races=False)
    key = gl.random.key(0) if shuffle else None
    with using(machine), settings(disable=FORMS[form], verify=0):
        state = step.init(W)
        with pytest.raises(KeyboardInterrupt):
            step.fit(state, (X, Y), batch_size=2, epochs=EPOCHS, shuffle=key)
        monkeypatch.undo()
        assert seen == sorted(seen)
        assert 3 <= seen[-1] < 4 * EPOCHS
        # It came to the end of a step: so many of the CPU's give the same.
        stopped = state.params
        steps = gl.train_step(loss, gl.optim.sgd(0.1))
        again = steps.init(W)
        orders = [order_of(epoch, key) for epoch in range(1 + (seen[-1] + 64) // 4)]
        for rows in np.concatenate(orders).reshape(-1, 2):
            again, _ = steps(again, X[rows], Y[rows])
            if np.allclose(again.params, stopped, rtol=1e-5):
                break
        np.testing.assert_allclose(again.params, stopped, rtol=1e-5)
        assert again.steps >= seen[-1]
        state, value = step(state, X[:2], Y[:2])
        assert np.isfinite(value)


def order_of(epoch, key):
    from gradloom.train.fit import permutation

    return permutation(key, epoch, len(X))


@pytest.mark.parametrize("form", FORMS)
def test_the_bar_moves_while_a_kernel_runs(step, monkeypatch, form):
    seen = []
    watching(monkeypatch, seen.append)
    with using(Simulated(races=False)), settings(disable=FORMS[form], verify=0):
        state, _ = step.fit(step.init(W), (X, Y), batch_size=2, epochs=8)
    assert seen == sorted(seen)
    assert len(set(seen)) > 3
    assert state.steps == 32


def test_what_goes_wrong_in_the_thread_is_raised(step, monkeypatch):
    watching(monkeypatch, lambda done: None)
    machine = Simulated()

    def fault():
        raise DeviceError("a kernel read memory that is not its own")

    with using(machine):
        state = step.init(W)
        machine.wait = fault
        with pytest.raises(DeviceError, match="not its own"):
            step.fit(state, (X, Y), batch_size=2)
        del machine.wait
        state, _ = step.fit(state, (X, Y), batch_size=2)  # nothing is held by what failed
    assert state.steps == 4
