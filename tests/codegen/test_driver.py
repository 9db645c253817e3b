"""The driver's text: its random numbers, its shuffle, and its names."""

import numpy as np
import pytest

import gradloom as gl
from gradloom.codegen import driver
from gradloom.codegen.primitives import cut, namespace, share
from gradloom.plan.device import _phase


def loaded():
    scope = namespace()
    exec(driver.SHUFFLE_TEXT, scope)
    return scope


@pytest.mark.parametrize(
    ("key", "counter", "meant"),
    [
        # The known answers of Random123's distribution for threefry2x32, 20 rounds.
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_published_words(key, counter, meant):
    words = loaded()["threefry"](*key, *counter)
    assert ((words >> 32) & 0xFFFFFFFF, words & 0xFFFFFFFF) == meant


def test_the_compiled_shuffle_is_the_text_run_by_python():
    """One batch an epoch, and a loss that tells the order of its rows."""

    def loss(p, x):
        return gl.numpy.sum(p * 0.0) + gl.numpy.sum(x * np.arange(1.0, 33.0))

    step = gl.train_step(loss, gl.optim.sgd(0.0))
    data = np.random.default_rng(0).normal(size=32)
    _, history = step.fit(
        step.init(np.ones(1)), data, batch_size=32, epochs=3, shuffle=gl.random.key(11)
    )
    scope = loaded()
    for epoch, found in enumerate(history["loss"]):
        order = np.zeros(32, np.int64)
        scope["shuffle"](order.view(np.uint8), 32, *map(int, gl.random.key(11)), epoch)
        np.testing.assert_allclose(found, np.sum(data[order] * np.arange(1.0, 33.0)), rtol=1e-12)


@pytest.mark.parametrize("name", ["epoch", "view", "lambda", "all_x", "table", "order", "class"])
def test_a_parameter_may_have_a_name_that_the_driver_uses(name):
    step = gl.train_step(lambda p, x: np.sum((p[name] * x) ** 2), gl.optim.sgd(0.1))
    state, value = step(step.init({name: np.ones(3)}), np.ones(3))
    assert value == 3.0
    compiled = gl.jit(lambda **kwargs: kwargs[name] * 2.0)
    np.testing.assert_array_equal(compiled(**{name: np.ones(2)}), [2.0, 2.0])
    assert state.steps == 1


def test_a_line_of_the_users_is_not_part_of_the_program():
    from gradloom import pipeline

    text = "def program(table):\n    # k0: model.py:3 in loss\n    return 0  # x\n"
    moved = text.replace(":3", ":400")
    assert pipeline.code_only(text) == pipeline.code_only(moved)


@pytest.mark.parametrize("team", [1, 3, 8, 132])
@pytest.mark.parametrize(("extent", "grain"), [(1, 1), (7, 2), (300, 1), (1000, 256)])
def test_stages_that_begin_elsewhere_are_dealt_out_whole(team, extent, grain):
    for turn in range(6):
        phase = _phase(turn, -(-extent // grain))
        cuts = [share(extent, grain, cut(worker, team) + phase) for worker in range(team + 1)]
        assert (cuts[0], cuts[-1]) == (0, extent)
        assert cuts == sorted(cuts)
        assert all(at % grain == 0 or at == extent for at in cuts)


def test_stages_of_a_few_grains_fall_to_different_ones_of_a_team():
    """All the same, they would fall to the same few, one after another."""
    team, grains = 132, 3
    busy: list[int] = []
    for turn in range(12):
        phase = _phase(turn, grains)
        cuts = [share(grains, 1, cut(worker, team) + phase) for worker in range(team + 1)]
        busy += [worker for worker in range(team) if cuts[worker] < cuts[worker + 1]]
    assert len(busy) == 12 * grains
    assert len(set(busy)) > 30
