"""Arrays as native code wants them: contiguous, aligned, and known by their address."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.ir.types import DTYPES


def aligned(nbytes: int, alignment: int = 64) -> np.ndarray:
    """Uninitialised bytes at an aligned address."""
    raw = np.empty(nbytes + alignment, np.uint8)
    start = -raw.ctypes.data % alignment
    return raw[start : start + nbytes]


def address(array: np.ndarray) -> int:
    """Where an array's elements are; twice as fast as `array.ctypes.data`."""
    return int(array.__array_interface__["data"][0])


def contiguous(array: Any, dtype: str) -> np.ndarray:
    """A C-contiguous array in this machine's byte order; the array itself if it is one."""
    if type(array) is np.ndarray and array.dtype is NATIVE[dtype]:
        flags = array.flags
        if flags.c_contiguous and flags.aligned:
            return array
    return np.require(array, NATIVE[dtype], ["C", "A"])


def in_parts(array: np.ndarray) -> np.ndarray:
    """A complex array as it is in memory: floats with a last axis of two.  Others as they are."""
    if array.dtype.kind != "c":
        return array
    return array.view(array.real.dtype).reshape(*array.shape, 2)


NATIVE = {name: np.dtype(name) for name in DTYPES}  # each the one object that NumPy has for it
