"""`fit`: shuffled epochs in one native call, ragged batches, validation, interruption."""

import io
import sys

import numpy as np
import pytest

import gradloom as gl
from gradloom.train import loop
from gradloom.train.fit import permutation
from tests.train.models import blobs, cross_entropy, network


def fitted(dtype="float64", rows=70, **options):
    step = gl.train_step(cross_entropy, gl.optim.adam(1e-2))
    state = step.init(network((5, 8, 3), dtype))
    return step.fit(state, blobs(rows, 5, 3, dtype), **options)


@pytest.mark.parametrize("shuffle", [None, 3])
@pytest.mark.parametrize("rows", [64, 70], ids=["whole", "ragged"])
def test_fit_is_the_eager_fit(rows, shuffle):
    key = None if shuffle is None else gl.random.key(shuffle)
    options = {"rows": rows, "batch_size": 16, "epochs": 4, "shuffle": key}
    state, history = fitted(**options)
    with gl.eager():
        meant, meant_history = fitted(**options)
    np.testing.assert_allclose(history["loss"], meant_history["loss"], rtol=1e-10)
    for got, want in zip(state.storage.views, meant.storage.views, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-12)
    assert state.steps == meant.steps == 4 * -(-rows // 16)
    assert history["loss"].shape == (4,)


def test_every_epoch_has_its_own_order_of_all_rows():
    orders = [permutation(gl.random.key(5), epoch, 501) for epoch in range(3)]
    for order in orders:
        assert sorted(order) == list(range(501))
    assert not np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], np.arange(501))
    # Every place is taken by every row about equally often.
    firsts = [permutation(gl.random.key(seed), 0, 8)[0] for seed in range(800)]
    counts = np.bincount(firsts, minlength=8)
    assert counts.min() > 60
    assert counts.max() < 140


def test_the_same_key_gives_the_same_bits():
    (_, one), (_, two) = (
        fitted("float32", batch_size=16, epochs=3, shuffle=gl.random.key(1)) for _ in range(2)
    )
    np.testing.assert_array_equal(one["loss"], two["loss"])


def test_validation_loss_is_the_loss_on_held_out_rows():
    held_out = blobs(33, 5, 3, "float64", seed=9)
    state, history = fitted(batch_size=16, epochs=3, validation=held_out)
    assert history["validation_loss"].shape == (3,)
    with gl.eager():
        meant = cross_entropy(state.params, *held_out)
    np.testing.assert_allclose(history["validation_loss"][-1], meant, rtol=1e-12)


def test_data_may_be_one_array():
    step = gl.train_step(lambda p, x: np.mean((x - p) ** 2), gl.optim.sgd(0.3))
    state, history = step.fit(step.init(np.zeros(2)), np.ones((10, 2)), batch_size=5, epochs=20)
    np.testing.assert_allclose(state.params, [1, 1], atol=1e-3)
    assert history["loss"][-1] < history["loss"][0]


@pytest.mark.parametrize("size", [0, 71])
def test_a_batch_larger_than_the_data_is_refused(size):
    with pytest.raises(gl.ShapeError, match=r"batch_size \d+ with 70 rows.*\n.*\n.*1 to 70"):
        fitted(batch_size=size)


def test_rows_that_do_not_agree_are_refused():
    step = gl.train_step(cross_entropy, gl.optim.sgd(0.1))
    state = step.init(network((5, 3), "float32"))
    with pytest.raises(gl.ShapeError, match="leading axes do not agree"):
        step.fit(state, (np.ones((8, 5), "float32"), np.ones(7, int)))


def test_an_interrupt_stops_between_steps_and_leaves_a_usable_state(monkeypatch):
    """The thread that waits is interrupted; the run ends early and the state goes on from there."""
    x, y = blobs(64, 5, 3, "float64")
    step = gl.train_step(cross_entropy, gl.optim.sgd(1e-2))
    state = step.init(network((5, 8, 3), "float64"))
    before = state.params[0]["w"]
    done = []

    def interrupt(batches):
        done.append(batches)
        if batches:
            raise KeyboardInterrupt

    real = loop.drive

    def watched(executable, course, interruptible=False, watch=None):
        return real(executable, course, interruptible, interrupt)

    monkeypatch.setattr("gradloom.train.fit.drive", watched)
    with pytest.raises(KeyboardInterrupt):
        step.fit(state, (x, y), batch_size=1, epochs=100_000)
    monkeypatch.undo()
    assert 0 < done[-1] < 6_400_000
    assert np.isfinite(state.params[0]["w"]).all()
    assert not np.array_equal(state.params[0]["w"], before)
    state, loss = step(state, x, y)
    assert np.isfinite(loss)


def test_the_bar_is_quiet_unless_asked_for(monkeypatch):
    silent, shown = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", silent)
    fitted(batch_size=16)
    monkeypatch.setattr(sys, "stderr", shown)
    fitted(batch_size=16, progress=True)
    assert silent.getvalue() == ""
    assert "5/5" in shown.getvalue()


def test_a_loss_with_aux_fits_both_ways():
    def loss(p, x):
        error = x - p
        return np.mean(error**2), {"error": error}

    step = gl.train_step(loss, gl.optim.sgd(0.3))
    data = np.arange(14.0).reshape(7, 2)
    _, history = step.fit(step.init(np.zeros(2)), data, batch_size=3, epochs=2)
    with gl.eager():
        _, meant = step.fit(step.init(np.zeros(2)), data, batch_size=3, epochs=2)
    np.testing.assert_allclose(history["loss"], meant["loss"], rtol=1e-12)


def test_no_rows_are_refused():
    step = gl.train_step(cross_entropy, gl.optim.sgd(0.1))
    state = step.init(network((5, 3), "float32"))
    with pytest.raises(gl.ShapeError, match="the data has no rows"):
        step.fit(state, (np.ones((0, 5), "float32"), np.ones(0, int)))
