"""What lies on a GPU, to the byte; what is queued and when it is waited for, by the fake driver."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from tests.gpus import Simulated
from tests.runtime.cuda.interpreted import Interpreter, interpreted
from tests.runtime.cuda.kernels import needs_linker

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.errors import DeviceError, DeviceMemoryError
from gradloom.runtime.cuda.gpu import Gpu
from gradloom.runtime.cuda.machine import using
from gradloom.settings import settings

RNG = np.random.default_rng(0)
X, Y = RNG.random((6, 5), np.float32), RNG.random((6, 3), np.float32)
PARAMS = {"w": RNG.random((5, 3), np.float32)}


def loss(params, x, y):
    return ((gnp.tanh(x @ params["w"]) - y) ** 2).mean()


# ---- bytes


@pytest.mark.parametrize("packed", [1 << 20, 64])
def test_a_function_takes_what_memory_says(packed, monkeypatch):
    monkeypatch.setattr("gradloom.runtime.cuda.entry.PACKED_BYTES", packed)
    machine = Simulated()
    with using(machine):
        f = gl.jit(lambda x, y: (gnp.sum(gl.nn.softmax(x), axis=0), x.T @ y), device="cuda")
        f(X, Y)
        report = f.memory()
        assert report.arena_bytes > 0
        assert report.transfer_bytes > X.nbytes + Y.nbytes
        assert machine.most_held == report.call_bytes
        assert "transfer" in str(report)
        kept = machine.bytes_held
        allocations = machine.allocations
        f(X, Y)
        assert machine.bytes_held == kept
        assert (machine.allocations == allocations) == (packed > 64)
        del f
        gc.collect()  # a compiled function and its program know each other
    assert machine.bytes_held == 0


def test_training_takes_what_memory_says():
    machine = Simulated()
    with using(machine):
        step = gl.train_step(loss, gl.optim.adam(1e-2), device="cuda")
        state = step.init(PARAMS)
        for _ in range(2):
            state, _ = step(state, X, Y)
        report = step.memory()
        assert machine.bytes_held == machine.most_held == report.call_bytes + report.state_bytes
        xs, ys = gl.device_put((X, Y), "cuda")
        before = machine.bytes_held
        allocations = machine.allocations
        for _ in range(3):
            state, value = step(state, xs, ys)
        assert machine.bytes_held == before + value.nbytes
        assert machine.allocations == allocations + 3  # the losses
        del value
        state, _ = step.fit(state, (xs, ys), batch_size=6, epochs=2, shuffle=gl.random.key(0))
        # The arena has grown by the places of batches; the order of rows and losses are gone.
        assert machine.bytes_held == before + report.staging_bytes


# ---- queues

device = pytest.fixture(interpreted)


@pytest.fixture
def gpu(device: Interpreter):
    """Of the fake driver, in whose streams everything lies until somebody waits."""
    with settings(verify=0):
        found = Gpu()
        with using(found):
            yield found


@needs_linker
def test_results_are_right_though_nothing_waits(device, gpu):
    f = gl.jit(lambda x: x @ x.T)
    there = gl.device_put(X, "cuda")
    waits = device.fake.calls("cuStreamSynchronize")
    one = f(there)
    two = f(one)
    del one  # given back behind the kernel that reads it
    assert device.fake.calls("cuStreamSynchronize") == waits
    assert not device.fake.launches
    np.testing.assert_allclose(two, (X @ X.T) @ (X @ X.T).T, rtol=1e-5)
    assert len(device.fake.launches) == 2


@needs_linker
def test_streams_of_others_are_waited_for_and_wait(device, gpu):
    other = gpu.device.stream()
    place = gpu.device.allocate(X.nbytes)
    gpu.device.write(place, X, other)  # is in the other's queue
    gpu.after(other)
    found = np.zeros_like(X)
    gpu.read(place, found)
    np.testing.assert_array_equal(found, X)
    ours = gpu.allocate(X.nbytes)
    gpu.write(ours, X * 2)
    gpu.before(other)
    late = gpu.device.pinned(X.nbytes)
    gpu.device.read(late, ours, other)
    gpu.device.wait(other)
    np.testing.assert_array_equal(late.view(np.float32).reshape(X.shape), X * 2)
    gpu.free(ours)
    gpu.settle()


@needs_linker
def test_words_are_read_and_written_beside_the_queue(device, gpu):
    place = gpu.allocate(16)
    gpu.write(place, np.zeros(2, np.int64))
    gpu.wait()
    late = np.full(2, 7, np.int64)
    gpu.write(place, late)  # queued
    gpu.poke(place + 8, np.array([5], np.int64))
    word = np.zeros(2, np.int64)
    gpu.peek(place, word)
    assert word.tolist() == [0, 5]
    gpu.read(place, word)
    assert word.tolist() == [7, 7]
    assert gpu.holds(place)
    assert not gpu.holds(16)


@needs_linker
def test_the_driver_s_memory_is_given_back(device, gpu):
    before = sum(size for _, size in device.fake.blocks())
    f = gl.jit(lambda x: gnp.tanh(x))
    out = f(gl.device_put(X, "cuda"))
    out.block_until_ready()
    assert sum(size for _, size in device.fake.blocks()) > before
    del f, out
    gc.collect()
    gpu.wait()
    assert sum(size for _, size in device.fake.blocks()) == before


@needs_linker
def test_what_the_driver_refuses_leaves_the_cpu_as_it_was(device, gpu):
    step = gl.train_step(loss, gl.optim.sgd(0.1), device="cuda")
    state = step.init(PARAMS)
    device.fake.fail("cuMemAllocFromPoolAsync", 2)
    with pytest.raises(DeviceMemoryError, match="wanted on Fake GPU"):
        step(state, X, Y)
    np.testing.assert_array_equal(state.params["w"], PARAMS["w"])
    device.fake.fail("cuMemAllocFromPoolAsync", 0)
    state, _ = step(state, X, Y)
    kept = state.params["w"].copy()
    device.fake.execute = lambda launched: 700
    x = X.copy()
    with pytest.raises(DeviceError, match="arrays on the CPU are as they were"):
        step(state, x, Y)
    np.testing.assert_array_equal(x, X)
    with pytest.raises(DeviceError):
        state.params  # noqa: B018  the newest was on the GPU
    cpu = gl.train_step(loss, gl.optim.sgd(0.1))
    cpu(cpu.init({"w": kept}), X, Y)
