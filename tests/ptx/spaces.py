"""Memory as a GPU sees it: every access is checked for bounds and alignment.

Addresses are int64. The global space is an arena whose addresses are places in its buffer. Shared
and local addresses count from the start of the block's or the thread's own part, and as generic
addresses lie in windows of their own.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable

import numpy as np

from tests.ptx.syntax import PtxError

GUARD = 256  # bytes that belong to nobody between two allocations
SHARED_WINDOW = 1 << 56
LOCAL_WINDOW = 1 << 57
PARAM_WINDOW = 1 << 58
WINDOWS = {
    0: "global",
    SHARED_WINDOW: "shared",
    LOCAL_WINDOW: "local",
    PARAM_WINDOW: "param",
}


class FaultError(PtxError):
    """What a GPU would refuse, or should: the machine adds the instruction and the thread."""

    def __init__(self, reason: str, thread: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.thread = thread


def rounded_up(size: int, align: int) -> int:
    return -(-size // align) * align


class Space:
    """A byte buffer with the accesses of vectors of threads."""

    name = ""
    # Threads, addresses and bytes in, places in the buffer out; each space has its own.
    locate: Callable[[np.ndarray, np.ndarray, int], np.ndarray]

    def __init__(self, size: int) -> None:
        # Whole words of 16 bytes, so that it can be looked at as any type.
        self.buffer = np.zeros(rounded_up(size, 16), np.uint8)
        self.views: dict[np.dtype, np.ndarray] = {}

    def view(self, dtype: np.dtype) -> np.ndarray:
        if dtype not in self.views:
            self.views[dtype] = self.buffer.view(dtype)
        return self.views[dtype]

    def touched(
        self, threads: np.ndarray, places: np.ndarray, size: int, writes: bool, strong: bool
    ) -> None:
        """Told of every access. `strong` are atomics and what else orders threads."""

    def strongly(
        self,
        threads: np.ndarray,
        addresses: np.ndarray,
        reads: bool = False,
        writes: bool = False,
        acquires: bool = False,
        releases: bool = False,
    ) -> None:
        """Told of accesses that may order threads, before they are done; in the order in which
        those of one instruction follow each other."""

    def aligned(self, threads: np.ndarray, addresses: np.ndarray, size: int) -> None:
        if np.bitwise_or.reduce(addresses) & (size - 1):
            at = int(np.argmax((addresses & (size - 1)) != 0))
            what = f"{self.name} address {int(addresses[at]):#x} is not a multiple of {size}"
            raise FaultError(what, int(threads[at]))

    def outside(self, threads: np.ndarray, addresses: np.ndarray, at: int, size: int) -> FaultError:
        address = int(addresses[at])
        what = f"{size} bytes at {self.name} address {address:#x}: {self.near(address)}"
        return FaultError(what, int(threads[at]))

    def near(self, address: int) -> str:
        return "outside"

    def read(
        self,
        threads: np.ndarray,
        addresses: np.ndarray,
        dtype: np.dtype,
        count: int = 1,
        strong: bool = False,
    ) -> list[np.ndarray]:
        places = self.places(
            threads, addresses, dtype.itemsize * count, writes=False, strong=strong
        )
        index = places >> (dtype.itemsize.bit_length() - 1)
        view = self.view(dtype)
        return [view[index + part] if part else view[index] for part in range(count)]

    def write(
        self,
        threads: np.ndarray,
        addresses: np.ndarray,
        values: tuple[np.ndarray, ...],
        strong: bool = False,
    ) -> None:
        dtype = values[0].dtype
        places = self.places(
            threads, addresses, dtype.itemsize * len(values), writes=True, strong=strong
        )
        index = places >> (dtype.itemsize.bit_length() - 1)
        view = self.view(dtype)
        for part, value in enumerate(values):
            view[index + part] = value

    def places(
        self, threads: np.ndarray, addresses: np.ndarray, size: int, writes: bool, strong: bool
    ) -> np.ndarray:
        self.aligned(threads, addresses, size)
        places = self.locate(threads, addresses, size)
        self.touched(threads, places, size, writes, strong)
        return places


class Memory(Space):
    """The global memory of a simulated device; it outlives launches.

    >>> memory = Memory()
    >>> pointer = memory.upload(np.arange(4, dtype=np.int32))
    >>> memory.download(pointer, (2,), np.int32)
    array([0, 1], dtype=int32)
    """

    name = "global"

    def __init__(self, size: int = 1 << 16) -> None:
        super().__init__(size)
        self.top = GUARD  # address 0 is nobody's
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.names: dict[int, str] = {}

    def allocate(self, size: int, name: str = "", align: int = GUARD) -> int:
        """A pointer to `size` fresh bytes, which are zero; nothing lies beside them."""
        start = rounded_up(self.top, max(align, 16))
        self.top = start + size + GUARD
        if self.top > self.buffer.size:
            grown = np.zeros(rounded_up(max(self.top, 2 * self.buffer.size), 16), np.uint8)
            grown[: self.buffer.size] = self.buffer
            self.buffer = grown
            self.views.clear()
        self.starts.append(start)
        self.ends.append(start + size)
        self.names[start] = name or f"allocation {len(self.starts)}"
        return start

    def free(self, pointer: int) -> None:
        """Gives an allocation back; whoever touches it later is told."""
        if pointer not in self.starts:
            raise ValueError(f"{pointer:#x} is not the start of an allocation")
        at = self.starts.index(pointer)
        del self.starts[at], self.ends[at], self.names[pointer]

    def upload(self, array: np.ndarray, name: str = "") -> int:
        """A pointer to a copy of an array."""
        pointer = self.allocate(array.nbytes, name)
        self.fill(pointer, array)
        return pointer

    def fill(self, pointer: int, array: np.ndarray) -> None:
        """Writes an array over what lies at a pointer."""
        data = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
        self.require(pointer, data.size)
        self.buffer[pointer : pointer + data.size] = data

    def download(
        self, pointer: int, shape: tuple[int, ...], dtype: np.typing.DTypeLike
    ) -> np.ndarray:
        """A copy of an array that lies at a pointer."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        self.require(pointer, size)
        data = self.buffer[pointer : pointer + size]
        return np.frombuffer(data.tobytes(), dtype).reshape(shape).copy()

    def require(self, pointer: int, size: int) -> None:
        at = bisect.bisect_right(self.starts, pointer) - 1
        if at < 0 or pointer + size > self.ends[at]:
            raise ValueError(f"{size} bytes at {pointer:#x}: {self.near(pointer)}")

    def locate(self, threads: np.ndarray, addresses: np.ndarray, size: int) -> np.ndarray:
        low, high = int(np.minimum.reduce(addresses)), int(np.maximum.reduce(addresses))
        at = bisect.bisect_right(self.starts, low) - 1
        if at < 0 or high + size > self.ends[at]:  # not all in one allocation
            at = np.searchsorted(self.starts, addresses, "right") - 1
            ends = np.array([*self.ends, -1])[at]
            bad = (at < 0) | (addresses + size > ends)
            if bad.any():
                raise self.outside(threads, addresses, int(np.argmax(bad)), size)
        return addresses

    def near(self, address: int) -> str:
        address = int(address)
        at = bisect.bisect_right(self.starts, address) - 1
        if address < GUARD:
            return "a null pointer"
        if at < 0:
            return "before every allocation"
        start, end = self.starts[at], self.ends[at]
        return f"byte {address - start} of {self.names[start]}, which has {end - start}"


class Parameters(Space):
    """The bytes of the arguments of a launch."""

    name = "parameter"

    def __init__(self, data: bytes) -> None:
        super().__init__(len(data))
        self.buffer[: len(data)] = np.frombuffer(data, np.uint8)
        self.extent = len(data)

    def locate(self, threads: np.ndarray, addresses: np.ndarray, size: int) -> np.ndarray:
        bad = (addresses < 0) | (addresses + size > self.extent)
        if bad.any():
            raise self.outside(threads, addresses, int(np.argmax(bad)), size)
        return addresses


class Local(Space):
    """What each thread has for itself: stack and the parameters of calls."""

    name = "local"

    def __init__(self, threads: int, extent: int) -> None:
        self.extent, self.stride = extent, rounded_up(extent, 16)
        super().__init__(threads * self.stride)

    def locate(self, threads: np.ndarray, addresses: np.ndarray, size: int) -> np.ndarray:
        bad = (addresses < 0) | (addresses + size > self.extent)
        if bad.any():
            raise self.outside(threads, addresses, int(np.argmax(bad)), size)
        return addresses + threads * self.stride

    def near(self, address: int) -> str:
        return f"a thread has {self.extent} bytes here"
