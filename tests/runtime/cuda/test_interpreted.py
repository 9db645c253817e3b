"""Kernels through all of it: compiled, assembled, loaded, launched, and run from their PTX."""

import numpy as np
import pytest
from tests.ptx import PtxError
from tests.runtime.cuda.fake import Launched
from tests.runtime.cuda.interpreted import Interpreter, interpreted
from tests.runtime.cuda.kernels import (
    AXPY,
    MANY_PARTS,
    PRIMITIVES,
    SCALE_PTX,
    needs_compiler,
    needs_linker,
)

from gradloom.errors import DeviceError
from gradloom.runtime.cuda import cubins, driver
from gradloom.runtime.cuda.driver import Device
from gradloom.settings import settings

gpu = pytest.fixture(interpreted)
pytestmark = needs_linker
X = np.arange(128, dtype=np.float32)
Y = np.linspace(-1, 1, 128, dtype=np.float32)


@pytest.fixture
def device(gpu: Interpreter):
    with settings(verify=0):
        yield driver.device()


def placed(device: Device, *arrays: np.ndarray) -> list[int]:
    places = [device.allocate(array.nbytes) for array in arrays]
    for place, array in zip(places, arrays, strict=True):
        device.write(place, array)
    return places


def read(device: Device, place: int, stream: int = 0) -> np.ndarray:
    found = np.zeros_like(X)
    device.read(found, place, stream)
    device.wait(stream)
    return found


@needs_compiler
@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_120"])
def test_kernels_in_python(device: Device, arch: str):
    loaded = device.load(cubins.compiled([AXPY, MANY_PARTS], arch, PRIMITIVES))
    x, y = placed(device, X, Y)
    loaded.launch("axpy", 4, 32, (x, y, 2.5, 100))
    wanted = np.where(np.arange(128) < 100, 2.5 * X + Y, Y)
    np.testing.assert_allclose(read(device, y), wanted, rtol=1e-6)
    loaded.launch("many_parts", 2, 64, (x, y, 128))
    turned = X.reshape(2, 64)[:, ::-1].ravel()
    wanted = turned * turned + wanted + 2 + X / 2
    np.testing.assert_allclose(read(device, y), wanted, rtol=1e-6)


def test_a_step_as_a_graph(device: Device):
    loaded = device.load(cubins.linked([SCALE_PTX], "sm_90"))
    (x,) = placed(device, X)
    stream = device.stream()
    graph = device.graph(
        lambda stream: [loaded.launch("scale", 1, 128, (x, 2.0), stream) for _ in range(3)]
    )
    device.wait()
    for _ in range(4):
        graph.launch(stream)
    assert read(device, x, stream).tolist() == (2.0**12 * X).tolist()


def test_a_wait_that_is_missing_shows(device: Device):
    loaded = device.load(cubins.linked([SCALE_PTX], "sm_90"))
    (x,) = placed(device, X)
    device.wait()
    first, second = device.stream(), device.stream()
    loaded.launch("scale", 1, 128, (x, 2.0), first)
    assert read(device, x, second).tolist() == X.tolist()
    device.wait(first)
    assert read(device, x, second).tolist() == (2 * X).tolist()


def test_what_lies_beyond_an_allocation_is_not_touched(gpu: Interpreter, device: Device):
    loaded = device.load(cubins.linked([SCALE_PTX], "sm_90"))
    x, _ = placed(device, X, Y)
    loaded.launch("scale", 1, 160, (x, 2.0))
    with pytest.raises(DeviceError, match="kernel scale failed"):
        device.wait()
    assert isinstance(gpu.fake.raised, PtxError)
    assert "512" in str(gpu.fake.raised)
    gpu.fake.raised = None  # it was wanted


def test_what_calls_the_driver_while_a_kernel_runs_leaves_its_queue_alone(
    gpu: Interpreter, device: Device
):
    """As Python's garbage collector does, when it finds memory that nobody has."""
    loaded = device.load(cubins.linked([SCALE_PTX], "sm_90"))
    x, y = placed(device, X, Y)
    seen = []

    def interrupted(launched: Launched) -> None:
        if not seen:
            device.free(y)
        seen.append(len(gpu.fake.launches))
        gpu.run(launched)

    gpu.fake.execute = interrupted
    loaded.launch("scale", 1, 128, (x, 2.0))
    loaded.launch("scale", 1, 128, (x, 3.0))
    assert read(device, x).tolist() == (6 * X).tolist()
    assert seen == [1, 2]
    assert [at for at, _ in gpu.fake.blocks()] == [x]
