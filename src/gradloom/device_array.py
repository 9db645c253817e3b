"""Arrays in a GPU's memory, which programs take and give, and other libraries too."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from gradloom.errors import DeviceError

if TYPE_CHECKING:
    from gradloom.runtime.cuda.machine import Machine

HOST, GPU = 1, 2  # DLPack's numbers of kinds of devices
LEGACY_STREAM = 1  # the number of the default stream in both interfaces
# Whose stream an array's memory is written and read on: gradloom's, or one that is not known.
OURS, UNKNOWN = 0, -1


class Memory:
    """Bytes of a GPU, which are given back when nobody holds them: in the order of the machine's
    stream, so that work which was queued before still finds them."""

    __slots__ = ("address", "machine", "nbytes", "shared")

    def __init__(self, machine: Machine, nbytes: int) -> None:
        self.address = 0
        self.machine, self.nbytes = machine, nbytes
        self.shared = False  # whether other libraries may have work queued on it
        self.address = machine.allocate(max(nbytes, 1))

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if not self.address or ending():  # at whose end the driver takes everything back
            return
        # After a kernel's fault, which was raised where it was met, a GPU takes nothing back.
        with suppress(DeviceError):
            if self.shared:
                self.machine.settle()
            self.machine.free(self.address)


class DeviceArray:
    """An array in the memory of a GPU: contiguous, of one of gradloom's dtypes.

    `gl.device_put(x, "cuda")` makes one, and a program gives them as results when one of its
    arguments was on the GPU.  Results may still be being computed: whoever reads them waits, and
    other libraries' streams are made to.  `np.asarray(a)`, `a.item()` and `float(a)` download;
    CuPy, PyTorch, JAX and Numba take one without a copy (`torch.from_dlpack(a)`,
    `cupy.asarray(a)`).  There is no arithmetic outside of compiled functions.
    """

    __slots__ = ("__weakref__", "address", "dtype", "held", "machine", "owner", "shape")

    def __init__(
        self,
        machine: Machine,
        shape: tuple[int, ...],
        dtype: Any,
        held: Any = None,
        address: int = 0,
        owner: int = OURS,
    ) -> None:
        """Of new memory, or of what lies at `address` and lives as long as `held`."""
        self.machine = machine
        self.shape = shape
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.held = Memory(machine, self.nbytes) if held is None else held
        self.address: int = self.held.address if held is None else address
        self.owner = owner

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes of its elements."""
        return self.size * self.dtype.itemsize

    def block_until_ready(self) -> DeviceArray:
        """Wait until it is computed; raises `DeviceError` if that failed."""
        self.machine.wait()
        return self

    # ---- to the host

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("an array on a GPU cannot become a NumPy array without a copy")
        found = self.queue_download()
        self.machine.wait()
        return found if dtype is None else found.astype(dtype, copy=False)

    def queue_download(self) -> np.ndarray:
        """An array of the host's, which has the elements once `machine.wait` has returned."""
        found = np.empty(self.shape, self.dtype)
        self.machine.fetch(self.address, found)
        return found

    def item(self) -> Any:
        """The only element, as a Python number."""
        return np.asarray(self).item()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        return bool(np.asarray(self))

    def __format__(self, how: str) -> str:
        return format(np.asarray(self)[()], how) if how else str(self)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("an array without axes has no length")
        return self.shape[0]

    def __repr__(self) -> str:
        return f"DeviceArray(shape={self.shape}, dtype={self.dtype}, device=cuda)"

    # ---- to other libraries

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        self.share()
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address if self.size else 0, False),
            "strides": None,
            "stream": self.machine.stream,
            "version": 3,
        }

    def share(self) -> None:
        """Take note that others may work on the memory, so that it is not given back before."""
        if isinstance(self.held, Memory):
            self.held.shared = True

    def __dlpack_device__(self) -> tuple[int, int]:
        return GPU, self.machine.ordinal

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """A capsule, as the Array API standard has it; `stream` waits for what computes it."""
        if dl_device is not None and tuple(dl_device) != self.__dlpack_device__():
            if dl_device[0] != HOST or copy is False:
                raise BufferError(f"an array on device {self.__dlpack_device__()} of DLPack's")
            return np.asarray(self).__dlpack__(max_version=max_version)
        if stream == 0:
            raise ValueError("stream 0 is ambiguous: 1 is the legacy default stream, 2 a thread's")
        from gradloom.runtime.cuda.dlpack import capsule  # which few programs need

        given = self.copied() if copy else self
        given.share()
        if stream != -1:
            self.machine.before(LEGACY_STREAM if stream is None else stream)
        return capsule(given, versioned=max_version is not None and max_version[0] >= 1)

    def part(self, offset: int, shape: tuple[int, ...]) -> DeviceArray:
        """Elements of this array from byte `offset` on, in the same memory."""
        address = self.address + offset
        return DeviceArray(self.machine, shape, self.dtype, self.held, address, self.owner)

    def copied(self) -> DeviceArray:
        """The same elements in memory of their own."""
        made = DeviceArray(self.machine, self.shape, self.dtype)
        self.machine.copy(made.address, self.address, self.nbytes)
        return made
