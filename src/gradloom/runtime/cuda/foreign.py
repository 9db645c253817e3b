"""Arrays of other libraries that lie on a GPU, as gradloom's own, without a copy."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, NoReturn

import numpy as np

from gradloom.device_array import GPU, LEGACY_STREAM, UNKNOWN, DeviceArray
from gradloom.errors import DeviceError, DtypeError, GradloomError, message, user_where
from gradloom.ir.types import DTYPES
from gradloom.runtime.cuda.machine import Machine

MANAGED = 13  # DLPack's number of memory that both CPU and GPU reach
ALIGNMENT = 16  # bytes, which kernels may load at once; what lies otherwise is copied on the GPU


class Found(NamedTuple):
    """What another library says of an array on a GPU."""

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None  # None for one that NumPy does not have
    strides: tuple[int, ...] | None  # in bytes
    owner: int  # the stream that it is written on, or UNKNOWN
    held: Any


def is_foreign(value: Any) -> bool:
    """Whether it is an array of another library's that lies on a GPU."""
    if isinstance(value, np.ndarray | np.generic | DeviceArray):
        return False
    return _interface(value) is not None or _has_dlpack(value)


def _interface(value: Any) -> dict[str, Any] | None:
    # PyTorch's class has the attribute, which its tensors on the CPU refuse.
    found: dict[str, Any] | None = getattr(value, "__cuda_array_interface__", None)
    return found


def _has_dlpack(value: Any) -> bool:
    ask = getattr(value, "__dlpack_device__", None)
    return ask is not None and int(ask()[0]) in (GPU, MANAGED)


def adopt(value: Any, machine: Machine) -> DeviceArray:
    """An array of another library's as a program takes it; it is read after what its own library
    has queued.

    Raises `DtypeError`, `DeviceError`, naming the user's line, of what programs cannot take.
    """
    interface = _interface(value)
    # An interface without a stream says nothing of what is queued; DLPack is told our stream.
    if interface is not None and (interface["version"] >= 3 or not _has_dlpack(value)):
        found = _by_interface(value, interface, machine)
    else:
        found = _by_dlpack(value, machine)
    kind = _checked(found, value)
    array = DeviceArray(machine, found.shape, kind, found.held, found.address, found.owner)
    if found.address % ALIGNMENT == 0:
        return array
    copied = array.copied()
    machine.wait()  # whose memory it was may be written again
    return copied


def _by_interface(value: Any, interface: dict[str, Any], machine: Machine) -> Found:
    address = int(interface["data"][0] or 0)
    shape = tuple(int(n) for n in interface["shape"])
    if interface.get("mask") is not None:
        _refuse(value, "has a mask", "fill it in first", DeviceError)
    if math.prod(shape) and not machine.holds(address):
        _refuse(value, "lies on another GPU", "copy it to the first GPU", DeviceError)
    stream = interface.get("stream") if interface["version"] >= 3 else LEGACY_STREAM
    if stream is not None:
        machine.after(stream)
    strides = interface.get("strides")
    return Found(
        address,
        shape,
        np.dtype(interface["typestr"]),
        None if strides is None else tuple(strides),
        UNKNOWN if stream is None else stream,
        value,
    )


def _by_dlpack(value: Any, machine: Machine) -> Found:
    from gradloom.runtime.cuda.dlpack import VERSION, Taken

    kind, ordinal = value.__dlpack_device__()
    if int(kind) == GPU and ordinal != machine.ordinal:
        _refuse(value, f"lies on GPU {ordinal}", f"copy it to GPU {machine.ordinal}", DeviceError)
    try:
        given = value.__dlpack__(stream=machine.stream, max_version=VERSION)
    except TypeError:  # of before version 1
        given = value.__dlpack__(stream=machine.stream)
    taken = Taken(given)
    dtype = taken.dtype()
    size = 0 if dtype is None else dtype.itemsize
    strides = None if taken.strides is None else tuple(n * size for n in taken.strides)
    return Found(taken.address, taken.shape, dtype, strides, UNKNOWN, taken)


def _checked(found: Found, value: Any) -> np.dtype[Any]:
    """The dtype, if gradloom has it and the elements lie in a row."""
    dtype = found.dtype
    if dtype is None or dtype.name not in DTYPES or not dtype.isnative:
        shown = getattr(value, "dtype", dtype)
        _refuse(
            value,
            f"has dtype {shown}, shape {found.shape}",
            f"convert it first; there are {', '.join(DTYPES)}",
            DtypeError,
        )
    if found.strides is not None and not _in_a_row(found, dtype.itemsize):
        _refuse(
            value,
            f"of dtype {dtype}, shape {found.shape} and strides {found.strides} is not contiguous",
            "make it so: cupy.ascontiguousarray(x), or x.contiguous() of PyTorch's",
            DeviceError,
        )
    return dtype


def _in_a_row(found: Found, itemsize: int) -> bool:
    step = itemsize
    assert found.strides is not None
    for length, stride in zip(reversed(found.shape), reversed(found.strides), strict=True):
        if length > 1 and stride != step:
            return not math.prod(found.shape)
        step *= length
    return True


def _refuse(value: Any, what: str, repair: str, error: type[GradloomError]) -> NoReturn:
    name = type(value).__name__
    raise error(message(f"an array of type {name} on a GPU {what}", user_where(), repair))
