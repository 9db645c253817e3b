"""Memory of a GPU in the order of a stream, so that to give it out and back waits for nothing."""

from __future__ import annotations

from typing import Any

from gradloom.errors import DeviceMemoryError
from gradloom.runtime.cuda.driver import Device
from gradloom.runtime.cuda.faults import INVALID_VALUE, out_of_memory


class Pool:
    """What is given back is kept for the next, while the process lasts."""

    def __init__(self, device: Device, stream: int) -> None:
        self.device, self.stream = device, stream
        self._pool = made(device)

    def allocate(self, nbytes: int) -> int:
        """The address of so many bytes, for what the stream is given from here on and what waits
        for it.

        Raises DeviceMemoryError, and allocates nothing, where they are not free.
        """
        device = self.device
        try:
            return int(device.call("cuMemAllocFromPoolAsync", nbytes, self._pool, self.stream))
        except DeviceMemoryError as error:
            free, total = device.free_bytes(), device.total_bytes
            raise out_of_memory(nbytes, free, total, device.name) from error

    def free(self, place: int) -> None:
        """Give back what `allocate` gave, after what the stream was given before."""
        self.device.call("cuMemFreeAsync", place, self.stream)


def made(device: Device) -> Any:
    """A pool of gradloom's own: what other libraries do with the device's is theirs."""
    found = device._driver
    wanted = found.CUmemPoolProps()
    wanted.allocType = found.CUmemAllocationType.CU_MEM_ALLOCATION_TYPE_PINNED
    wanted.location.type = found.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
    wanted.location.id = device.ordinal
    pool = device.call("cuMemPoolCreate", wanted)
    kept = found.CUmemPool_attribute.CU_MEMPOOL_ATTR_RELEASE_THRESHOLD
    device.call("cuMemPoolSetAttribute", pool, kept, found.cuuint64_t(2**64 - 1))
    return pool


def holds(device: Device, place: int) -> bool:
    """Whether an address is one of the device's, whoever allocated it."""
    kind = device._driver.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
    code, ordinal = device.in_context("cuPointerGetAttribute", kind, place)
    if int(code) == INVALID_VALUE:  # it is of no device
        return False
    return int(device.checked("cuPointerGetAttribute", (code, ordinal))) == device.ordinal
