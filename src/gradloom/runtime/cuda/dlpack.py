"""DLPack's capsules, given and taken: the structures of `dlpack.h`, versions 0 and 1."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from gradloom.device_array import GPU, DeviceArray

VERSION = (1, 0)
NAME, VERSIONED_NAME = b"dltensor", b"dltensor_versioned"
# DLPack's codes of kinds of numbers, by NumPy's.
CODES = {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}
KINDS = {code: kind for kind, code in CODES.items()}


class Tensor(ctypes.Structure):
    """`DLTensor`."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),  # in elements; none if contiguous
        ("byte_offset", ctypes.c_uint64),
    )


Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Managed(ctypes.Structure):
    """`DLManagedTensor`."""

    _fields_ = (("tensor", Tensor), ("context", ctypes.c_void_p), ("deleter", Deleter))


class Versioned(ctypes.Structure):
    """`DLManagedTensorVersioned`."""

    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", Deleter),
        ("flags", ctypes.c_uint64),
        ("tensor", Tensor),
    )


_python = ctypes.pythonapi
_Destructor = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
_python.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, _Destructor]
_python.PyCapsule_New.restype = ctypes.py_object
_python.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
_python.PyCapsule_GetPointer.restype = ctypes.c_void_p
_python.PyCapsule_GetName.argtypes = [ctypes.py_object]
_python.PyCapsule_GetName.restype = ctypes.c_char_p
_python.PyCapsule_SetName.argtypes = [ctypes.py_object, ctypes.c_char_p]
# For a capsule that is being taken down, which must not be counted as held once more.
_name_of = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.c_void_p)(("PyCapsule_GetName", _python))
_pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", _python)
)

# What others hold: a structure by its address, its shape, and the array whose memory it tells of.
_given: dict[int, tuple[Any, ...]] = {}


@Deleter
def _forget(place: int) -> None:
    """What a consumer calls when it has done with a tensor."""
    _given.pop(place)


@_Destructor
def _unused(pointer: int) -> None:
    """What happens to a capsule that nobody has taken."""
    name = _name_of(pointer)
    if name in (NAME, VERSIONED_NAME):
        _given.pop(_pointer_of(pointer, name))


def capsule(array: DeviceArray, versioned: bool) -> Any:
    """A capsule of an array, which stays alive until its taker calls the deleter."""
    shape = (ctypes.c_int64 * max(array.ndim, 1))(*array.shape)
    strides, step = (ctypes.c_int64 * max(array.ndim, 1))(), 1
    for axis in reversed(range(array.ndim)):
        strides[axis] = step
        step *= array.shape[axis]
    tensor = Tensor(
        array.address if array.size else None,
        *(GPU, array.machine.ordinal, array.ndim),
        *(CODES[array.dtype.kind], 8 * array.dtype.itemsize, 1),
        *(shape, strides, 0),
    )
    made: Managed | Versioned = (
        Versioned(*VERSION, None, _forget, 0, tensor)
        if versioned
        else Managed(tensor, None, _forget)
    )
    place = ctypes.addressof(made)
    _given[place] = made, shape, strides, array
    return _python.PyCapsule_New(place, VERSIONED_NAME if versioned else NAME, _unused)


class Taken:
    """A tensor of another library's, which is given back when nobody holds this."""

    def __init__(self, given: Any) -> None:
        name: bytes = _python.PyCapsule_GetName(given)
        if name not in (NAME, VERSIONED_NAME):
            raise BufferError(f"a capsule named {name!r}, which was taken already, or is no tensor")
        kind = Versioned if name == VERSIONED_NAME else Managed
        place = _python.PyCapsule_GetPointer(given, name)
        self._managed = kind.from_address(place)
        self._place = place
        # Its maker does not give it back any more: that is done here.
        self._name = b"used_" + name
        _python.PyCapsule_SetName(given, self._name)
        self.capsule = given  # which has the name's address
        tensor: Tensor = self._managed.tensor
        self.device = tensor.device_type, tensor.device_id
        self.address = (tensor.data or 0) + tensor.byte_offset
        axes = range(tensor.ndim)
        self.shape = tuple(tensor.shape[axis] for axis in axes)
        self.strides = tuple(tensor.strides[axis] for axis in axes) if tensor.strides else None
        self.typestr = f"{KINDS.get(tensor.code, 'V')}{tensor.bits // 8}"
        if tensor.lanes != 1 or tensor.code not in KINDS:
            self.typestr = ""  # bfloat16, and others that NumPy has no name for

    def dtype(self) -> np.dtype[Any] | None:
        """NumPy's, if it has one."""
        return np.dtype(self.typestr) if self.typestr else None

    def __del__(self) -> None:
        managed = getattr(self, "_managed", None)  # none of a capsule that was refused
        if managed is not None and managed.deleter:
            managed.deleter(self._place)
