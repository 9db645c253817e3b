"""What gradloom asks of a GPU: memory, kernels and launches, in plain numbers.

`the_machine()` is the one that programs run on: the first GPU, or what `using` has put in its
place, such as an interpreter of PTX.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Protocol

import numpy as np

from gradloom.runtime.cuda import driver
from gradloom.runtime.cuda.cubins import linked


class Module(Protocol):
    """Kernels that are loaded."""

    def launch(
        self,
        kernel: str,
        blocks: int,
        threads: int,
        shared_bytes: int,
        pointers: Sequence[int],
        together: bool,
    ) -> None:
        """Run a kernel, after what was launched before; if `together`, with all of its blocks
        resident at once."""
        ...


class Machine(Protocol):
    """A GPU.  Addresses are integers; an error that it meets is raised by the next `read`."""

    capability: int  # 90 for compute capability 9.0
    blocks: int  # of 256 threads that are resident at once for certain

    def allocate(self, nbytes: int) -> int:
        """Memory, aligned to 256 bytes."""
        ...

    def free(self, address: int) -> None: ...

    def write(self, address: int, array: np.ndarray) -> None:
        """Copy the bytes of a contiguous array there."""
        ...

    def read(self, address: int, array: np.ndarray) -> None:
        """Fill a contiguous array, after all that was launched."""
        ...

    def copy(self, target: int, source: int, nbytes: int) -> None:
        """Copy within the GPU, after all that was launched."""
        ...

    def load(self, ptx: str) -> Module: ...


class Gpu:
    """A GPU of this computer.  Raises `DeviceError` where the driver or the GPU is not there."""

    def __init__(self, ordinal: int = 0) -> None:
        self._device = driver.device(ordinal)
        self.capability = int(self._device.arch.removeprefix("sm_"))
        # One block a multiprocessor is resident whatever registers and shared memory it takes.
        self.blocks = self._device.multiprocessors

    def allocate(self, nbytes: int) -> int:
        return self._device.allocate(nbytes)

    def free(self, address: int) -> None:
        self._device.free(address)

    def write(self, address: int, array: np.ndarray) -> None:
        self._device.write(address, array)
        self._device.wait()  # the array is the caller's again

    def read(self, address: int, array: np.ndarray) -> None:
        self._device.read(array, address)
        self._device.wait()

    def copy(self, target: int, source: int, nbytes: int) -> None:
        self._device.copy(target, source, nbytes)

    def load(self, ptx: str) -> Module:
        return _Loaded(self._device.load(linked([ptx], self._device.arch)))


class _Loaded:
    """Kernels on a GPU of this computer."""

    def __init__(self, kernels: driver.Loaded) -> None:
        self._kernels = kernels

    def launch(
        self,
        kernel: str,
        blocks: int,
        threads: int,
        shared_bytes: int,
        pointers: Sequence[int],
        together: bool,
    ) -> None:
        self._kernels.launch(
            kernel, blocks, threads, pointers, shared_bytes=shared_bytes, cooperative=together
        )


_put: list[Machine] = []
_gpu = cache(Gpu)


def the_machine() -> Machine:
    """What programs run on.  Raises `DeviceError` where there is no GPU."""
    return _put[-1] if _put else _gpu()


@contextmanager
def using(machine: Machine) -> Iterator[None]:
    """Let programs that are compiled inside run on another machine."""
    _put.append(machine)
    try:
        yield
    finally:
        _put.remove(machine)
