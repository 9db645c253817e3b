"""Arrays of other libraries on a GPU, by both interfaces, and ours as they take them."""

from __future__ import annotations

import ctypes
import gc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.gpus import Simulated

import gradloom as gl
from gradloom.device_array import DeviceArray
from gradloom.errors import DeviceError, DtypeError
from gradloom.ir.types import DTYPES
from gradloom.runtime.cuda import dlpack
from gradloom.runtime.cuda.machine import using

X = np.arange(12, dtype=np.float32).reshape(3, 4)
ARRAYS = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0))
)


class Cupyish:
    """An array of a library with the interface of CUDA arrays, in memory of its own."""

    def __init__(self, machine, array, stream=9, **changes):
        self.machine, self.nbytes = machine, array.nbytes
        self.place = machine.allocate(max(array.nbytes, 1) + 64)
        machine.poke(self.place, array)
        self.interface = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (self.place, False),
            "version": 3,
            "stream": stream,
            **changes,
        }

    @property
    def __cuda_array_interface__(self):
        return self.interface


class Torchish:
    """One with DLPack, of old (no `max_version`) or of now."""

    def __init__(self, machine, array, device=(2, 0), versioned=True):
        self.array = gl.device_put(array, "cuda")
        self.device, self.versioned, self.streams = device, versioned, []

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, *, stream=None, **more):
        if more and not self.versioned:
            raise TypeError("unexpected keyword argument 'max_version'")
        self.streams.append(stream)
        return self.array.__dlpack__(stream=-1, **more)


@pytest.fixture
def machine():
    found = Simulated()
    with using(found):
        yield found


def test_a_call_is_ordered_after_and_before_the_owner_s_stream(machine):
    other = Cupyish(machine, X)
    launched = len(machine.orders)
    out = gl.jit(lambda x: x * 2)(other)
    assert isinstance(out, DeviceArray)
    # Our stream, 7, waits for theirs, 9, then theirs for ours.
    assert machine.orders[launched:] == [(7, 9), (7, 9), (9, 7)]
    assert machine.waits == 0
    np.testing.assert_array_equal(out, X * 2)


def test_a_call_waits_where_the_owner_s_stream_is_not_known(machine):
    for other in (Cupyish(machine, X, stream=None), Torchish(machine, X)):
        waits = machine.waits
        np.testing.assert_array_equal(gl.jit(lambda x: x * 2)(other), X * 2)
        assert machine.waits > waits


def test_an_interface_without_a_stream_is_ordered_after_the_default_one(machine):
    gl.jit(lambda x: x * 2)(Cupyish(machine, X, version=2))
    assert machine.orders[0] == (7, 1)


def test_nothing_is_copied(machine):
    other, sent = Cupyish(machine, X), Torchish(machine, X)
    assert gl.device_put(other, "cuda").address == other.place
    taken = gl.device_put(sent, "cuda")
    assert taken.address == sent.array.address
    assert sent.streams == [machine.stream]
    machine.poke(other.place, X + 1)
    np.testing.assert_array_equal(gl.device_get({"x": other})["x"], X + 1)


def test_a_tensor_is_given_back(machine):
    for versioned in (False, True):
        sent = Torchish(machine, X, versioned=versioned)
        taken = gl.device_put(sent, "cuda")
        held = len(dlpack._given)
        np.testing.assert_array_equal(taken, X)
        del taken
        assert len(dlpack._given) == held - 1
    del sent
    gc.collect()
    assert machine.bytes_held == 0


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"strides": (4, 12)}, DeviceError, r"strides \(4, 12\) is not contiguous[^$]*contiguous"),
        ({"typestr": "<f2"}, DtypeError, r"dtype float16, shape \(3, 4\)[^$]*float32"),
        ({"typestr": ">f4"}, DtypeError, "dtype >f4"),
        ({"data": (8, False)}, DeviceError, "another GPU"),
        ({"mask": object()}, DeviceError, "has a mask"),
    ],
)
def test_what_programs_cannot_take(machine, changes, error, text):
    with pytest.raises(error, match=text) as caught:
        gl.jit(lambda x: x * 2)(Cupyish(machine, X, **changes))
    assert "test_foreign.py" in str(caught.value)


def test_tensors_that_programs_cannot_take(machine):
    with pytest.raises(DeviceError, match="lies on GPU 1"):
        gl.device_put(Torchish(machine, X, device=(2, 1)), "cuda")
    sent = Torchish(machine, X)

    def bfloat16(**more):
        capsule = Torchish.__dlpack__(sent, **more)
        place = dlpack._python.PyCapsule_GetPointer(capsule, dlpack.VERSIONED_NAME)
        tensor = dlpack.Versioned.from_address(place).tensor
        tensor.code, tensor.bits = 4, 16
        return capsule

    class Bfloat(Torchish):
        dtype = "torch.bfloat16"

        def __dlpack__(self, **more):
            return bfloat16(**more)

    with pytest.raises(DtypeError, match=r"torch\.bfloat16"):
        gl.device_put(Bfloat(machine, X), "cuda")


def test_strides_of_a_row_are_a_row(machine):
    for shape, strides in (((3, 4), (16, 4)), ((1, 4), (99, 4)), ((0, 4), (1, 1))):
        array = np.ones(shape, np.float32)
        other = Cupyish(machine, array, strides=strides)
        np.testing.assert_array_equal(gl.device_put(other, "cuda"), array)


def test_what_does_not_lie_at_sixteen_bytes_is_copied_there(machine):
    other = Cupyish(machine, X)
    other.interface["data"] = (other.place + 4, False)
    other.interface["shape"] = (11,)
    taken = gl.device_put(other, "cuda")
    assert taken.address % 16 == 0
    np.testing.assert_array_equal(taken, X.reshape(-1)[1:])


def test_arrays_on_the_cpu_are_what_they_were(machine):
    class OnCpu:
        def __dlpack_device__(self):
            return 1, 0

        def __array__(self, dtype=None, copy=None):
            return X

    assert isinstance(gl.jit(lambda x: x * 2)(OnCpu()), np.ndarray)


# ---- ours, as others take them


@given(ARRAYS, st.booleans())
def test_capsules_tell_what_the_array_is(x, versioned):
    with using(Simulated()):
        ours = gl.device_put(x, "cuda")
    capsule = ours.__dlpack__(stream=-1, max_version=(1, 1) if versioned else None)
    taken = dlpack.Taken(capsule)
    assert (taken.shape, taken.dtype()) == (x.shape, x.dtype)
    assert taken.address == (ours.address if x.size else 0)
    assert taken.device == (2, 0)
    steps = [int(np.prod(x.shape[axis + 1 :], dtype=int)) for axis in range(x.ndim)]
    assert taken.strides == tuple(steps)
    with pytest.raises(BufferError, match="taken already"):
        dlpack.Taken(capsule)


def test_a_capsule_that_nobody_takes_holds_nothing(machine):
    array = gl.device_put(X, "cuda")
    for max_version in (None, (1, 0)):
        held = len(dlpack._given)
        capsule = array.__dlpack__(max_version=max_version)
        assert len(dlpack._given) == held + 1
        del capsule
        assert len(dlpack._given) == held


def test_a_capsule_keeps_the_memory(machine):
    capsule = gl.device_put(X, "cuda").__dlpack__()
    assert machine.bytes_held == X.nbytes
    waits = machine.waits
    del capsule
    assert machine.bytes_held == 0
    assert machine.waits > waits  # others may have had work on it


def test_the_consumer_s_stream_waits(machine):
    array = gl.device_put(X, "cuda")
    for stream, waiting in ((None, [(1, 7)]), (2, [(2, 7)]), (0x5000, [(0x5000, 7)]), (-1, [])):
        machine.orders.clear()
        array.__dlpack__(stream=stream)
        assert machine.orders == waiting
    with pytest.raises(ValueError, match="ambiguous"):
        array.__dlpack__(stream=0)


def test_copies_and_other_devices(machine):
    array = gl.device_put(X, "cuda")
    copied = dlpack.Taken(array.__dlpack__(copy=True))
    assert copied.address != array.address
    found = np.zeros_like(X)
    machine.read(copied.address, found)
    np.testing.assert_array_equal(found, X)
    on_host = array.__dlpack__(dl_device=(1, 0), max_version=(1, 0))
    assert "dltensor" in repr(on_host)
    for wanted in ({"dl_device": (2, 3)}, {"dl_device": (1, 0), "copy": False}):
        with pytest.raises(BufferError):
            array.__dlpack__(**wanted)


def test_numpy_takes_a_copy_on_the_host(machine):
    array = gl.device_put(X, "cuda")
    np.testing.assert_array_equal(np.from_dlpack(array, device="cpu"), X)


def test_the_structures_are_dlpack_s():
    assert ctypes.sizeof(dlpack.Tensor) == 48
    assert ctypes.sizeof(dlpack.Managed) == 64
    assert dlpack.Versioned.tensor.offset == 32
    assert ctypes.sizeof(dlpack.Versioned) == 80
