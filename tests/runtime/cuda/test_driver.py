import struct
import threading

import numpy as np
import pytest
from tests.runtime.cuda.fake import Fake, Launched, fresh
from tests.runtime.cuda.kernels import SCALE_PTX

from gradloom.errors import DeviceError, DeviceMemoryError, InternalError
from gradloom.runtime.cuda import driver
from gradloom.runtime.cuda.driver import Device, Loaded
from gradloom.runtime.cuda.kernel import Cubin
from gradloom.settings import settings

X = np.arange(64, dtype=np.float32)
ILLEGAL_ADDRESS = 700
fake = pytest.fixture(fresh)


@pytest.fixture(autouse=True)
def _queues():
    with settings(verify=0):  # at 2, every launch is waited for
        yield


@pytest.fixture
def device(fake: Fake) -> Device:
    return driver.device()


@pytest.fixture
def loaded(fake: Fake, device: Device) -> Loaded:
    """The kernel `scale`, which the fake driver runs by NumPy."""

    def scale(launched: Launched) -> None:
        assert launched.kernel == "scale"
        place, by = struct.unpack("Qf", launched.arguments)
        fake.memory(place, 4 * launched.block[0]).view(np.float32)[:] *= by

    fake.execute = scale
    return device.load(Cubin(SCALE_PTX.encode() + b"\0", "sm_80", (SCALE_PTX,), {}))


def read(device: Device, place: int, stream: int = 0) -> np.ndarray:
    array = np.zeros_like(X)
    device.read(array, place, stream)
    device.wait(stream)
    return array


# ---- the device and its memory


def test_what_a_device_is(fake: Fake, device: Device):
    assert device.name == "Fake GPU"
    assert device.arch == "sm_90"
    assert (device.multiprocessors, device.shared_bytes) == (8, 232448)
    assert device.cooperative
    assert device.driver_version == 13000
    assert driver.count() == 1
    assert driver.device() is device
    with pytest.raises(DeviceError, match="no device of that number"):
        Device(3)


def test_memory(fake: Fake, device: Device):
    before = device.free_bytes()
    place = device.allocate(X.nbytes)
    assert device.free_bytes() == before - X.nbytes
    assert np.isnan(read(device, place)).all()  # what nobody has written
    device.write(place, X)
    other = device.allocate(X.nbytes)
    assert other % 256 == 0
    device.copy(other, place, X.nbytes)
    device.fill(place, 0, 16)
    assert read(device, other).tolist() == X.tolist()
    assert read(device, place).tolist() == [0, 0, 0, 0, *X[4:]]
    device.free(place)
    device.free(other)
    assert device.free_bytes() == before
    device.free(device.allocate(0))
    device.write(0, X[:0])


def test_a_copy_beyond_what_is_allocated_is_refused(device: Device):
    place = device.allocate(X.nbytes)
    with pytest.raises(DeviceError, match="cuMemcpyHtoDAsync"):
        device.write(place + 4, X)
    with pytest.raises(DeviceError, match="cuMemFree"):
        device.free(place + 4)


def test_memory_that_is_not_there(fake: Fake, device: Device):
    wanted = device.free_bytes() + 1
    with pytest.raises(DeviceMemoryError, match=f"{wanted:,} bytes wanted on Fake GPU"):
        device.allocate(wanted)
    assert fake.blocks() == []
    device.free(device.allocate(64))  # the device is as it was


def test_pinned_memory_is_given_back(fake: Fake, device: Device):
    array = device.pinned(256)
    array[:] = np.arange(256)
    part = array[7:9]
    del array
    assert fake.calls("cuMemFreeHost") == 0
    assert part.tolist() == [7, 8]
    del part
    assert fake.calls("cuMemFreeHost") == 1


def test_the_thread_keeps_its_own_context(fake: Fake, device: Device):
    with pytest.raises(DeviceError):
        device.free(1)
    device.free_bytes()
    assert fake.calls("cuCtxPushCurrent") == fake.calls("cuCtxPopCurrent") > 0


# ---- streams


def test_what_a_stream_is_given_is_done_by_the_time_of_wait(device: Device, loaded: Loaded):
    stream = device.stream()
    place = device.allocate(X.nbytes)
    pinned = device.pinned(X.nbytes).view(np.float32)
    pinned[:] = 0
    device.write(place, X, stream)
    loaded.launch("scale", 1, 64, (place, 2.0), stream)
    device.read(pinned, place, stream)
    assert not pinned.any()
    device.wait(stream)
    assert pinned.tolist() == (2 * X).tolist()
    device.forget(stream=stream)


def test_arguments_are_copied_when_a_kernel_is_launched(device: Device, loaded: Loaded):
    place = device.allocate(X.nbytes)
    device.write(place, X)
    source = np.array(X)
    device.write(place, source)
    source[:] = 0  # pageable: the driver has it already
    loaded.launch("scale", 1, 64, (place, 3.0))
    loaded.launch("scale", 1, 64, (place, 0.5))
    assert read(device, place).tolist() == (1.5 * X).tolist()


def test_a_stream_waits_for_an_event_of_another(device: Device, loaded: Loaded):
    first, second = device.stream(), device.stream()
    place, event = device.allocate(X.nbytes), device.event()
    device.write(place, X, first)
    loaded.launch("scale", 1, 64, (place, 2.0), first)
    assert np.isnan(read(device, place, second)).all()  # nobody told it to wait
    device.record(event, first)
    device.after(event, second)
    assert read(device, place, second).tolist() == (2 * X).tolist()
    device.forget(event=event)


def test_time_between_events(device: Device):
    start, stop = device.event(), device.event()
    device.record(start)
    device.record(stop)
    assert device.seconds(start, stop) >= 0


# ---- kernels


def test_a_launch_is_as_it_was_asked_for(fake: Fake, device: Device, loaded: Loaded):
    fake.execute = lambda launched: None
    place = device.allocate(X.nbytes)
    loaded.launch("scale", (3, 2), (32, 2, 2), (place, 2.0), shared_bytes=1000)
    loaded.launch("scale", 16, 64, (place, 2.0), cooperative=True)
    loaded.launch("scale", 16, 64, (place, 2.0), cluster=4)
    device.wait()
    first, second, third = fake.launches
    assert (first.grid, first.block, first.shared_bytes) == ((3, 2, 1), (32, 2, 2), 1000)
    assert struct.unpack("Qf", first.arguments) == (place, 2.0)
    assert [one.cooperative for one in fake.launches] == [False, True, False]
    assert [one.cluster for one in fake.launches] == [1, 1, 4]
    assert second.grid == third.grid == (16, 1, 1)
    assert first.image.startswith(SCALE_PTX.encode())


def test_launches_that_cannot_be(fake: Fake, device: Device, loaded: Loaded):
    place = device.allocate(X.nbytes)
    with pytest.raises(InternalError, match="scale takes 'Qf', not 1"):
        loaded.launch("scale", 1, 64, (place,))
    with pytest.raises(InternalError, match="other takes None"):
        loaded.launch("other", 1, 64, (place,))
    with pytest.raises(DeviceError, match="cuLaunchKernel"):
        loaded.launch("scale", 1, 2048, (place, 1.0))
    most = loaded.resident_blocks("scale", 64)
    assert most == 16
    with pytest.raises(DeviceError, match="do not fit the device at once"):
        loaded.launch("scale", most + 1, 64, (place, 1.0), cooperative=True)
    for cluster in (3, 16):
        with pytest.raises(DeviceError, match="cuLaunchKernelEx"):
            loaded.launch("scale", 16, 64, (place, 1.0), cluster=cluster)
    loaded.launch("scale", 1, 64, (place, 1.0), shared_bytes=100_000)  # asked for by itself
    with pytest.raises(DeviceError, match="cuFuncSetAttribute"):
        loaded.launch("scale", 1, 64, (place, 1.0), shared_bytes=1 << 20)


def test_a_fault_names_the_kernel_and_is_raised_by_wait(fake: Fake, device: Device, loaded: Loaded):
    place = device.allocate(X.nbytes)
    fake.execute = lambda launched: ILLEGAL_ADDRESS
    loaded.launch("scale", 1, 64, (place, 2.0))
    with pytest.raises(DeviceError, match="kernel scale read or wrote memory that is not its own"):
        device.wait()
    with pytest.raises(DeviceError, match="nothing more runs on the device"):
        device.allocate(64)


def test_a_checked_run_waits_for_each_kernel(fake: Fake, device: Device, loaded: Loaded):
    place = device.allocate(X.nbytes)
    fake.execute = lambda launched: ILLEGAL_ADDRESS
    with settings(verify=2), pytest.raises(DeviceError, match="kernel scale read or wrote"):
        loaded.launch("scale", 1, 64, (place, 2.0))


def test_kernels_that_are_done_are_not_named(fake: Fake, device: Device, loaded: Loaded):
    place, stream = device.allocate(X.nbytes), device.stream()
    loaded.launch("scale", 1, 64, (place, 2.0), stream)
    device.wait(stream)
    fake.fail("cuStreamSynchronize", 719)
    with pytest.raises(DeviceError, match=r"^a kernel failed"):
        device.wait(stream)


def test_a_module_is_unloaded_when_nobody_has_it(fake: Fake, device: Device):
    loaded = device.load(Cubin(SCALE_PTX.encode() + b"\0", "sm_80", (SCALE_PTX,), {}))
    prepared = loaded.prepare("scale", 1, 64, (0, 1.0))
    del loaded
    assert fake.calls("cuModuleUnload") == 0
    del prepared
    assert fake.calls("cuModuleUnload") == 1


# ---- graphs


def test_a_graph_replays_what_it_was_given(fake: Fake, device: Device, loaded: Loaded):
    place = device.allocate(X.nbytes)
    start = device.pinned(X.nbytes).view(np.float32)
    start[:] = X
    result = np.zeros_like(X)
    twice = loaded.prepare("scale", 1, 64, (place, 2.0))

    def step(stream: int) -> None:
        device.write(place, start, stream)
        twice.give(stream)
        twice.give(stream)
        device.read(result, place, stream)

    graph = device.graph(step)
    assert graph.kernels == ("scale",)
    assert not fake.launches
    for seed in (1, 5):
        start[:] = X + seed
        graph.launch()
        device.wait()
        assert result.tolist() == (4 * (X + seed)).tolist()
    assert len(fake.launches) == 4
    fake.execute = lambda launched: ILLEGAL_ADDRESS
    graph.launch()
    with pytest.raises(DeviceError, match="kernel scale read or wrote"):
        device.wait()


def test_streams_fork_and_join_in_a_graph(fake: Fake, device: Device, loaded: Loaded):
    place, side = device.allocate(X.nbytes), device.stream()
    forked, joined = device.event(), device.event()

    def step(stream: int, *, joins: bool) -> None:
        device.fill(place, 0, X.nbytes, stream)
        device.record(forked, stream)
        device.after(forked, side)
        loaded.launch("scale", 1, 64, (place, 2.0), side)
        device.record(joined, side)
        if joins:
            device.after(joined, stream)

    graph = device.graph(lambda stream: step(stream, joins=True))
    graph.launch()
    assert not read(device, place).any()
    assert len(fake.launches) == 1
    with pytest.raises(DeviceError, match="cuStreamEndCapture"):
        device.graph(lambda stream: step(stream, joins=False))


def test_what_cannot_be_part_of_a_graph(fake: Fake, device: Device):
    with pytest.raises(DeviceError, match="cuMemAlloc"):
        device.graph(lambda stream: device.allocate(64))
    with pytest.raises(DeviceError, match="cuStreamSynchronize"):
        device.graph(device.wait)
    device.free(device.allocate(64))  # no capture is left open


def test_a_graph_is_checked_as_a_whole(fake: Fake, device: Device, loaded: Loaded):
    place = device.allocate(X.nbytes)
    with settings(verify=2):
        graph = device.graph(lambda stream: loaded.launch("scale", 1, 64, (place, 2.0), stream))
        fake.execute = lambda launched: ILLEGAL_ADDRESS
        with pytest.raises(DeviceError, match="kernel scale"):
            graph.launch()


# ---- what can be missing


def test_every_call_that_fails_says_so(fake: Fake, device: Device, loaded: Loaded):
    place = device.allocate(X.nbytes)
    calls = {
        "cuStreamCreate": device.stream,
        "cuEventCreate": device.event,
        "cuMemGetInfo": device.free_bytes,
        "cuMemHostAlloc": lambda: device.pinned(8),
        "cuLaunchKernel": lambda: loaded.launch("scale", 1, 64, (place, 1.0)),
        "cuGraphInstantiate": lambda: device.graph(lambda stream: None),
        "cuModuleLoadData": lambda: device.load(Cubin(b"\0", "sm_90", (), {})),
        "cuMemcpyHtoDAsync": lambda: device.write(place, X),
    }
    for function, call in calls.items():
        fake.fail(function, 209)
        with pytest.raises(DeviceError, match=rf"209 from {function}[\s\S]*repair: the driver"):
            call()
        fake.fail(function, 0)
    assert fake.calls("cuStreamDestroy") == 1  # the capture's


def test_no_device(fake: Fake):
    driver.driver.cache_clear()
    fake.reset(devices=0)
    with pytest.raises(DeviceError, match=r"finds no device[\s\S]*nvidia-smi must list one"):
        driver.device()
    assert driver.count() == 0
    fake.reset()


def test_threads_share_a_device(fake: Fake, device: Device, loaded: Loaded):
    def work(number: int) -> None:
        stream, place = device.stream(), device.allocate(X.nbytes)
        for _ in range(20):
            device.write(place, X, stream)
            loaded.launch("scale", 1, 64, (place, float(number)), stream)
            results[number] = read(device, place, stream)
        device.forget(stream=stream)

    results: dict[int, np.ndarray] = {}
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {n: r.tolist() for n, r in results.items()} == {n: (n * X).tolist() for n in range(4)}
