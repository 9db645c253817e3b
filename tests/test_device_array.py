"""Arrays on a GPU by themselves, and given to other libraries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import gradloom as gl
from gradloom.ir.types import DTYPES
from gradloom.runtime.cuda.machine import using
from tests.gpus import Simulated

ARRAYS = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0))
)


@given(ARRAYS)
def test_round_trips(x):
    machine = Simulated()
    with using(machine):
        there = gl.device_put(x, "cuda")
    assert (there.shape, there.dtype, there.nbytes) == (x.shape, x.dtype, x.nbytes)
    assert (there.ndim, there.size) == (x.ndim, x.size)
    np.testing.assert_array_equal(np.asarray(there), x)
    np.testing.assert_array_equal(np.asarray(there.copied()), x)
    assert there.block_until_ready() is there
    del there
    assert machine.bytes_held == 0


@pytest.fixture
def there():
    with using(Simulated()):
        yield gl.device_put(np.arange(6, dtype=np.float32).reshape(2, 3), "cuda")


def test_one_number(there):
    one = gl.device_put(np.float32(2.5), "cuda")
    assert (float(one), int(one), bool(one), one.item()) == (2.5, 2, True, 2.5)
    assert f"{one:.2f}" == "2.50"
    assert len(there) == 2
    with pytest.raises(TypeError, match="no length"):
        len(one)
    assert repr(there) == str(there) == "DeviceArray(shape=(2, 3), dtype=float32, device=cuda)"


def test_numpy_downloads_and_says_that_it_copies(there):
    assert np.asarray(there, np.float64).dtype == np.float64
    assert np.sum(there) == 15
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(there, copy=False)


def test_the_interface_of_cuda_arrays(there):
    interface = there.__cuda_array_interface__
    assert interface["data"] == (there.address, False)
    assert (interface["shape"], interface["typestr"], interface["version"]) == ((2, 3), "<f4", 3)
    assert interface["strides"] is None
    assert interface["stream"] == there.machine.stream != 0
    empty = gl.device_put(np.zeros((0, 3)), "cuda")
    assert empty.__cuda_array_interface__["data"][0] == 0


def test_memory_that_others_may_still_use_is_given_back_when_all_is_done(there):
    machine = there.machine
    for shared in (False, True):
        array = gl.device_put(np.ones(3), "cuda")
        if shared:
            array.__cuda_array_interface__  # noqa: B018  asking is enough
        waits = machine.waits
        del array
        assert machine.waits - waits == shared


def test_a_part_keeps_the_memory():
    machine = Simulated()
    with using(machine):
        whole = gl.device_put(np.arange(6.0), "cuda")
    part = whole.part(16, (2,))
    del whole
    assert machine.bytes_held == 48
    np.testing.assert_array_equal(part, [2, 3])
