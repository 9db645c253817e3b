"""Where the state of training is: on the CPU, on a GPU, or on both; the newest is what counts."""

from __future__ import annotations

import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.errors import DeviceError, DeviceMemoryError
from gradloom.runtime.cuda.machine import using
from gradloom.settings import settings
from tests.gpus import Simulated

RNG = np.random.default_rng(0)
XS, YS = RNG.random((4, 5, 4), np.float32), RNG.random((4, 5, 3), np.float32)
PARAMS = {"w": RNG.random((4, 3), np.float32), "b": np.zeros(3, np.float32)}


def loss(params, x, y):
    return ((gnp.tanh(x @ params["w"] + params["b"]) - y) ** 2).mean()


def step_on(device):
    return gl.train_step(loss, gl.optim.adam(1e-2), device=device)


@pytest.fixture
def machine():
    found = Simulated()
    with using(found), settings(verify=0):
        yield found


@pytest.fixture(scope="module")
def steps():
    """On the CPU; programs for a GPU belong to a machine."""
    return step_on("cpu")


def same(state, wanted):
    for got, want in zip(state.storage.newest(), wanted.storage.newest(), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7)


def test_the_state_moves_once(machine):
    step = step_on("cuda")
    state, _ = step(step.init(PARAMS), XS[0], YS[0])
    uploaded, held, made = machine.bytes_written, machine.bytes_held, machine.allocations
    for _ in range(3):
        state, _ = step(state, XS[0], YS[0])
    a_call = (machine.bytes_written - uploaded) // 3
    assert a_call < XS[0].nbytes + YS[0].nbytes + 1000
    assert (machine.bytes_held, machine.allocations) == (held, made)
    assert machine.bytes_read < 4 * 1000


def test_both_devices_share_a_state(machine, steps):
    there = step_on("cuda")
    state, wanted = steps.init(PARAMS), steps.init(PARAMS)
    for turn, step in enumerate([there, steps, there, there, steps, steps, there]):
        n = turn % 4
        state, one = step(state, XS[n], YS[n])
        wanted, other = steps(wanted, XS[n], YS[n])
        np.testing.assert_allclose(one, other, rtol=1e-6)
        if turn in (1, 3, 5):  # reading it changes nothing
            np.testing.assert_allclose(state.params["w"], wanted.params["w"], rtol=1e-6)
    same(state, wanted)
    state, one = there.run(state, XS, YS)
    wanted, other = steps.run(wanted, XS, YS)
    np.testing.assert_allclose(one, other, rtol=1e-6)
    state, _ = steps.run(state, XS, YS)
    wanted, _ = steps.run(wanted, XS, YS)
    same(state, wanted)
    with gl.eager():
        state, _ = steps(state, XS[0], YS[0])
        wanted, _ = steps(wanted, XS[0], YS[0])
    state, _ = there(state, XS[0], YS[0])
    wanted, _ = steps(wanted, XS[0], YS[0])
    same(state, wanted)


def test_a_replaced_state_is_used_on_the_gpu(machine, steps):
    there = step_on("cuda")
    state, _ = there(there.init(PARAMS), XS[0], YS[0])
    params = {"w": PARAMS["w"] * 2, "b": PARAMS["b"] + 1}
    wanted, _ = steps(steps.init(PARAMS), XS[0], YS[0])
    state, _ = there(state.replace(params=params), XS[1], YS[1])
    wanted, _ = steps(wanted.replace(params=params), XS[1], YS[1])
    same(state, wanted)


def test_the_gpu_s_memory_goes_with_the_state(machine):
    step = step_on("cuda")
    state, _ = step(step.init(PARAMS), XS[0], YS[0])
    before, nbytes = machine.bytes_held, state.nbytes
    del state
    assert before - machine.bytes_held == nbytes


def test_losses_stay_on_the_gpu_with_the_data(machine, steps):
    there = step_on("cuda")
    xs, ys = gl.device_put((XS, YS), "cuda")
    state, wanted = there.init(PARAMS), steps.init(PARAMS)
    waits = machine.waits
    state, losses = there.run(state, xs, ys)
    state, one = there(state, gl.device_put(XS[0], "cuda"), YS[0])
    assert machine.waits == waits
    assert isinstance(losses, gl.DeviceArray)
    wanted, meant = steps.run(wanted, XS, YS)
    wanted, last = steps(wanted, XS[0], YS[0])
    np.testing.assert_allclose(losses, meant, rtol=1e-6)
    np.testing.assert_allclose(float(one), last, rtol=1e-6)
    same(state, wanted)


def test_a_step_without_a_device_goes_where_its_batch_is(machine, steps):
    step = step_on(None)
    state, first = step(step.init(PARAMS), gl.device_put(XS[0], "cuda"), YS[0])
    assert isinstance(first, gl.DeviceArray)
    launched = len(machine.launches)
    state, _ = step(state, XS[1], YS[1])
    assert len(machine.launches) == launched
    with gl.device("cuda"):
        state, third = step(state, XS[2], YS[2])
    assert isinstance(third, np.float32)
    assert len(machine.launches) == launched + 1
    wanted = steps.init(PARAMS)
    wanted, _ = steps.run(wanted, XS[:3], YS[:3])
    same(state, wanted)


@pytest.mark.parametrize("there", [False, True], ids=["host", "device"])
def test_fit_is_the_cpus(machine, steps, there):
    rows = XS.reshape(-1, 4)[:18], YS.reshape(-1, 3)[:18]
    held_out = XS[0], YS[0]
    options = {"batch_size": 5, "epochs": 3, "shuffle": gl.random.key(1)}
    wanted, meant = steps.fit(steps.init(PARAMS), rows, validation=held_out, **options)
    given, checked = gl.device_put((rows, held_out), "cuda") if there else (rows, held_out)
    step = step_on("cuda")
    written = machine.bytes_written
    state, history = step.fit(step.init(PARAMS), given, validation=checked, **options)
    data = sum(array.nbytes for array in (*rows, *held_out))
    # The order of each epoch, control words, and where arrays lie: no data from epoch to epoch.
    epochs = (machine.bytes_written - written - (0 if there else data) - state.nbytes) / 3
    assert epochs < 18 * 8 * 2 + 2000
    for name, losses in meant.items():
        np.testing.assert_allclose(history[name], losses, rtol=1e-5)
    same(state, wanted)


def test_memory_that_is_not_there_leaves_the_state_as_it_was(machine):
    step = step_on("cuda")
    state = step.init(PARAMS)
    before = state.params

    def none(nbytes):
        raise DeviceMemoryError("no memory")

    machine.allocate = none
    with pytest.raises(DeviceMemoryError):
        step(state, XS[0], YS[0])
    np.testing.assert_array_equal(state.params["w"], before["w"])
    del machine.allocate
    state, _ = step(state, XS[0], YS[0])
    assert state.steps == 1


def test_a_fault_leaves_the_cpu_as_it_was(machine, steps):
    step = step_on("cuda")
    kept, _ = steps(steps.init(PARAMS), XS[0], YS[0])
    state, _ = step(step.init(PARAMS), XS[0], YS[0])

    def fault(*arguments):
        raise DeviceError("a kernel read memory that is not its own")

    machine.poke = machine.peek = fault
    x = XS[0].copy()
    with pytest.raises(DeviceError):
        step(state, x, YS[0])
    np.testing.assert_array_equal(x, XS[0])
    with pytest.raises(DeviceError):  # what is newest was on the GPU
        state.params  # noqa: B018
    steps(kept, XS[0], YS[0])
