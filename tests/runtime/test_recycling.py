"""Large results: each its own while anybody holds it or a view of it, then memory for the next."""

import numpy as np
import pytest

import gradloom as gl
from gradloom.ir.types import TensorType
from gradloom.runtime.recycling import LARGE_BYTES, Reserve

LARGE = TensorType((LARGE_BYTES // 4,), "float32")


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float32", "complex128"])
def test_an_array_is_what_was_asked_for(dtype):
    array = Reserve(TensorType((300, 7), dtype), 1).array()
    assert type(array) is np.ndarray
    assert (array.shape, array.dtype) == ((300, 7), np.dtype(dtype))
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert array.ctypes.data % 64 == 0


def test_memory_comes_back_when_the_last_view_is_gone():
    reserve = Reserve(LARGE, 1)
    first = reserve.array()
    place, view = first.ctypes.data, first.reshape(2, -1)[1:]
    del first
    other = reserve.array()
    assert other.ctypes.data != place
    del view
    assert reserve.array().ctypes.data == place


def test_no_more_is_kept_than_a_call_needs():
    reserve = Reserve(LARGE, 2)
    arrays = [reserve.array() for _ in range(5)]
    assert not reserve.free
    arrays.clear()
    assert len(reserve.free) == 2


def test_results_that_are_held_keep_their_numbers():
    add = gl.jit(lambda x, y: (x + y, x - y, x * 2))
    x = np.arange(LARGE.size, dtype=np.float32)
    held = [add(x, np.float32(k)) for k in range(4)]
    for k, (total, difference, twice) in enumerate(held):
        np.testing.assert_array_equal(total, x + np.float32(k))
        np.testing.assert_array_equal(difference, x - np.float32(k))
        np.testing.assert_array_equal(twice, x * 2)


def test_a_result_that_was_dropped_makes_room_for_the_next():
    twice = gl.jit(lambda x: x * 2)
    x = np.ones(LARGE.size, np.float32)
    result = twice(x)
    places = set()
    for _ in range(6):
        result = twice(result)
        places.add(result.ctypes.data)
    assert len(places) == 2  # one is read while the other is written
    np.testing.assert_array_equal(result, np.full(LARGE.size, 2.0**7, np.float32))


def test_a_result_may_outlive_its_function():
    twice = gl.jit(lambda x: x * 2)
    result = twice(np.ones(LARGE.size, np.float32))
    del twice
    assert result.sum() == 2 * LARGE.size
