"""Where calls run: `device=`, arrays on a GPU, `gl.device`; and what comes back."""

from __future__ import annotations

import contextvars
import threading

import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.errors import DeviceError, SettingError
from gradloom.runtime.cuda.machine import using
from gradloom.settings import settings
from tests.gpus import Simulated

X = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture
def machine():
    found = Simulated()
    with using(found):
        yield found


def twice(x):
    return x + x


# ---- gl.device


def test_calls_inside_run_on_the_device(machine):
    double = gl.jit(twice)
    with gl.device("cuda"):
        inside = double(X)
        assert len(machine.launches) == 1
        with gl.device("cpu"):
            double(X)
            assert len(machine.launches) == 1
        gl.grad(lambda x: gnp.sum(x * x))(X)
        assert len(machine.launches) == 2
    double(X)
    assert len(machine.launches) == 2
    assert isinstance(inside, np.ndarray)
    np.testing.assert_array_equal(inside, X + X)


def test_a_device_of_its_own_comes_first(machine):
    with gl.device("cuda"):
        gl.jit(twice, device="cpu")(X)
    assert not machine.launches


def test_each_device_has_its_program(machine):
    traces = []

    @gl.jit
    def counted(x):
        traces.append(1)
        return x * 2

    for _ in range(2):
        counted(X)
        with gl.device("cuda"):
            counted(X)
    assert len(traces) == 2
    assert len(machine.launches) == 2


def test_a_device_is_for_its_thread_and_for_contexts_made_inside(machine):
    double = gl.jit(twice)
    with gl.device("cuda"):
        context = contextvars.copy_context()
        other = threading.Thread(target=double, args=(X,))
        other.start()
        other.join()
    assert not machine.launches
    context.run(double, X)  # such as a task that outlives the block
    assert len(machine.launches) == 1


@pytest.mark.parametrize("name", ["tpu", "", None, 0])
def test_devices_that_are_not_there(name):
    text = 'is not there[^$]*test_placement.py[^$]*"cpu" and "cuda"'
    with pytest.raises(SettingError, match=text), gl.device(name):
        pass
    if name is not None:
        with pytest.raises(SettingError, match=text):
            gl.device_put(X, name)


def test_the_device_is_as_before_after_an_error():
    with pytest.raises(KeyError), gl.device("cuda"):
        raise KeyError
    gl.jit(twice)(X)  # there is no GPU to run it on


# ---- arrays on the GPU


def test_programs_run_where_their_arguments_lie(machine):
    double = gl.jit(twice)
    out = double(gl.device_put(X, "cuda"))
    assert isinstance(out, gl.DeviceArray)
    np.testing.assert_array_equal(out, X + X)
    both = gl.jit(lambda x, y: {"sum": x + y, "all": gnp.sum(x)})(X, out)
    assert isinstance(both["all"], gl.DeviceArray)
    assert float(both["all"]) == X.sum()
    np.testing.assert_array_equal(both["sum"], 3 * X)
    assert isinstance(double(X), np.ndarray)


def test_what_stays_on_the_gpu_is_not_waited_for(machine):
    double = gl.jit(twice)
    there = gl.device_put(X, "cuda")
    for _ in range(3):
        there = double(there)
    assert machine.waits == 0
    np.testing.assert_array_equal(gl.device_get({"x": there})["x"], 8 * X)
    assert machine.waits == 1


def test_a_call_on_numpy_arrays_sends_once_and_waits_once(machine):
    several = gl.jit(lambda x, y, n: (x * n, y + x[0, 0], gnp.sum(x), gnp.mean(y)), device="cuda")
    several(X, X.T.copy(), 3.0)
    writes, fetches, waits = machine.writes, machine.fetches, machine.waits
    allocations = machine.allocations
    with settings(verify=0):  # at 2, the arena is filled too
        several(X, X.T.copy(), 4.0)
    assert (machine.writes - writes, machine.fetches - fetches) == (1, 1)
    assert machine.waits - waits == 1
    assert machine.allocations == allocations


@pytest.mark.parametrize("rows", [3, 4000], ids=["packed", "by itself"])
def test_results_are_the_cpus(machine, rows, monkeypatch):
    monkeypatch.setattr("gradloom.runtime.cuda.entry.PACKED_BYTES", 4096)
    x = np.random.default_rng(0).random((rows, 3), np.float32)

    def several(x, n):
        return x[:, 0] * n, gnp.max(x), (x > 0.5).any(), x[:0], gnp.sum(x) * 1j

    got, wanted = gl.jit(several, device="cuda")(x, 3), gl.jit(several)(x, 3)
    for one, other in zip(got, wanted, strict=True):
        assert type(one) is type(other)
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_a_function_for_the_cpu_refuses_arrays_on_the_gpu(machine):
    there = gl.device_put(X, "cuda")
    text = r"an argument, float32\[3, 4\][^$]*test_placement\.py[^$]*gl\.device_get"
    with pytest.raises(DeviceError, match=text):
        gl.jit(twice, device="cpu")(there)
    closed = gl.jit(lambda x: x + there)
    with pytest.raises(DeviceError, match=r"closes over, float32\[3, 4\]"):
        closed(X)
    with gl.device("cuda"):
        np.testing.assert_array_equal(closed(X), X + X)
    assert isinstance(closed(there), gl.DeviceArray)


def test_transforms_run_where_their_arguments_lie(machine):
    there = gl.device_put(X, "cuda")

    def total(x):
        return gnp.sum(gnp.sin(x) * x)

    found = (
        gl.grad(total)(there),
        gl.vmap(total)(there),
        gl.jvp(total, (there,), (there,))[1],
        gl.vjp(total, there)[1](np.float32(2))[0],
        gl.scan(lambda c, row: (c + row, c), np.zeros(4, np.float32), there)[1],
    )
    wanted = (
        gl.grad(total)(X),
        gl.vmap(total)(X),
        gl.jvp(total, (X,), (X,))[1],
        gl.vjp(total, X)[1](np.float32(2))[0],
        gl.scan(lambda c, row: (c + row, c), np.zeros(4, np.float32), X)[1],
    )
    for got, want in zip(found, wanted, strict=True):
        assert isinstance(got, gl.DeviceArray)
        np.testing.assert_allclose(got, want, rtol=1e-5)
    with gl.eager():  # NumPy's own arithmetic is on the host
        np.testing.assert_allclose(gl.jit(total)(there), total(X), rtol=1e-6)


def test_arrays_of_another_machine_are_refused(machine):
    with using(Simulated()):
        other = gl.device_put(X, "cuda")
    with pytest.raises(DeviceError, match=r"another GPU[^$]*test_placement"):
        gl.jit(twice, device="cuda")(other)
    with pytest.raises(DeviceError, match="another GPU"):
        gl.device_put(other, "cuda")


def test_an_index_out_of_range_is_raised_though_results_stay(machine):
    taken = gl.jit(lambda x, i: x[i])
    with pytest.raises(gl.RangeError, match="test_placement"):
        taken(gl.device_put(X, "cuda"), np.array([1, 99]))


def test_threads_share_a_program_on_a_gpu(machine):
    machine.races = False
    scaled = gl.jit(lambda x, n: x * n, device="cuda")
    scaled(X, 1.0)
    found = {}

    def work(n):
        for _ in range(5):
            found[n] = scaled(X, float(n))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n, got in found.items():
        np.testing.assert_array_equal(got, X * n)


# ---- there and back


def test_trees_there_and_back(machine):
    tree = {"a": [X, 2.5], "b": (np.float64(1), None)}
    there = gl.device_put(tree, "cuda")
    assert isinstance(there["a"][1], gl.DeviceArray)
    assert gl.device_put(there, "cuda")["a"][0] is there["a"][0]
    back = gl.device_get(there)
    np.testing.assert_array_equal(back["a"][0], X)
    assert back["a"][1] == 2.5
    assert back["b"][1] is None
    with gl.device("cuda"):
        assert isinstance(gl.device_put(X), gl.DeviceArray)
    assert gl.device_put(X) is X
    np.testing.assert_array_equal(gl.device_put(there, "cpu")["a"][0], X)
    assert machine.bytes_held > 0
    del there
    assert machine.bytes_held == 0


def test_what_has_no_native_form_is_refused(machine):
    with pytest.raises(gl.DtypeError, match="float16"):
        gl.device_put(X.astype("float16"), "cuda")


def test_traced_values_are_where_their_program_runs(machine):
    out = gl.jit(lambda x: gl.device_put(x, "cuda") * 2)(X)
    np.testing.assert_array_equal(out, 2 * X)
    assert not machine.launches


def test_no_gpu_says_so(monkeypatch):
    def none():
        raise DeviceError("there is no NVIDIA driver")

    monkeypatch.setattr("gradloom.runtime.cuda.machine._gpu", none)
    with pytest.raises(DeviceError, match="no NVIDIA driver"):
        gl.device_put(X, "cuda")
    double = gl.jit(twice)
    with pytest.raises(DeviceError), gl.device("cuda"):
        double(X)
    np.testing.assert_array_equal(double(X), 2 * X)
