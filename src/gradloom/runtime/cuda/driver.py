"""One NVIDIA GPU: memory, streams, kernels, graphs, with plain integers for addresses and handles.

The only module that calls the driver, by `cuda.bindings`, which is imported when a device is asked
for.  Every call runs in the device's primary context, which it shares with PyTorch, JAX and CuPy,
and leaves the thread's own as it was.  Every error of the driver becomes one of gradloom's.
"""

from __future__ import annotations

import ctypes
import struct
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from gradloom.errors import DeviceError, InternalError
from gradloom.runtime.arrays import address
from gradloom.runtime.cuda.faults import (
    OUT_OF_MEMORY,
    Failure,
    describe,
    no_driver,
    no_package,
    out_of_memory,
)
from gradloom.runtime.cuda.kernel import Cubin, entries
from gradloom.settings import current as current_settings

Shape = int | tuple[int, ...]
# A block may have more shared memory than this only where its kernel has asked for it.
SHARED_BYTES_UNASKED = 48 << 10
# Of a condition of a graph: it has its first value anew at each launch (a macro of cuda.h).
ASSIGN_DEFAULT = 1


@cache
def driver() -> Any:
    """The driver's functions.  Raises DeviceError, with the repair, where there is no driver."""
    try:
        from cuda.bindings import driver as found
    except ImportError as error:
        raise no_package(error) from error
    try:
        code = found.cuInit(0)[0]
    except RuntimeError as error:  # bindings look for the library when it is first called
        raise no_driver(error) from error
    if code:
        raise describe(Failure("cuInit", int(code), _name(found, code)))
    return found


def _name(found: Any, code: Any) -> str:
    said, name = found.cuGetErrorName(code)
    return f"error {int(code)}" if said else name.decode()


def count() -> int:
    """How many GPUs there are; 0 without a driver."""
    try:
        said, number = driver().cuDeviceGetCount()
    except DeviceError:
        return 0
    return 0 if said else int(number)


@cache
def device(ordinal: int = 0) -> Device:
    """The GPU of that number; one object for each."""
    return Device(ordinal)


class Device:
    """A GPU.  Addresses in its memory, streams and events are integers; stream 0 is the default.

    What takes a stream is put in its queue and done later: arrays that were given for it stay
    alive and untouched until `wait`, where those of `pinned` are read or written.
    """

    def __init__(self, ordinal: int = 0) -> None:
        self._driver = found = driver()
        self._issued: dict[int, dict[str, None]] = {}  # by stream, kernels not known to be done
        handle = self.checked("cuDeviceGet", found.cuDeviceGet(ordinal))
        self.ordinal = ordinal
        name: bytes = self.checked("cuDeviceGetName", found.cuDeviceGetName(128, handle))
        self.name = name.split(b"\0")[0].decode()
        self.total_bytes = int(self.checked("cuDeviceTotalMem", found.cuDeviceTotalMem(handle)))
        self.driver_version = int(self.checked("cuDriverGetVersion", found.cuDriverGetVersion()))
        kinds = found.CUdevice_attribute

        def attribute(which: str) -> int:
            kind = getattr(kinds, f"CU_DEVICE_ATTRIBUTE_{which}")
            return int(self.checked(which, found.cuDeviceGetAttribute(kind, handle)))

        major = attribute("COMPUTE_CAPABILITY_MAJOR")
        self.arch = f"sm_{major}{attribute('COMPUTE_CAPABILITY_MINOR')}"
        self.multiprocessors = attribute("MULTIPROCESSOR_COUNT")
        self.shared_bytes = attribute("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN")  # most for one block
        self.cooperative = bool(attribute("COOPERATIVE_LAUNCH"))
        # Conditional nodes that repeat: CUDA 12.4.
        self.loops = self.driver_version >= 12040 and hasattr(
            found, "cuGraphConditionalHandleCreate"
        )
        self._context = self.checked(
            "cuDevicePrimaryCtxRetain", found.cuDevicePrimaryCtxRetain(handle)
        )

    # ---- calls and their errors

    def call(self, function: str, *arguments: Any) -> Any:
        """What a function of the driver gives in this device's context."""
        return self.checked(function, self.in_context(function, *arguments))

    def checked(self, function: str, said: tuple[Any, ...]) -> Any:
        """The results of a call, if it did not fail."""
        if said[0]:
            raise describe(self._failure(function, said[0]))
        return said[1] if len(said) == 2 else said[1:]

    def _failure(self, function: str, code: Any) -> Failure:
        kernels = tuple(dict.fromkeys(name for names in self._issued.values() for name in names))
        version = getattr(self, "driver_version", 0)
        return Failure(function, int(code), _name(self._driver, code), kernels, version)

    # ---- memory

    def free_bytes(self) -> int:
        """Bytes that nobody has allocated."""
        free, _ = self.call("cuMemGetInfo")
        return int(free)

    def allocate(self, nbytes: int) -> int:
        """The address of so many bytes on the device, a multiple of 256; give it to `free`.

        Raises DeviceMemoryError, and allocates nothing, where they are not free.
        """
        code, address = self.in_context("cuMemAlloc", max(nbytes, 1))
        if int(code) == OUT_OF_MEMORY:
            raise out_of_memory(nbytes, self.free_bytes(), self.total_bytes, self.name)
        return int(self.checked("cuMemAlloc", (code, address)))

    def in_context(self, function: str, *arguments: Any) -> tuple[Any, ...]:
        """What a function of the driver says: an error or 0, and what it gives."""
        found = self._driver
        self.checked("cuCtxPushCurrent", found.cuCtxPushCurrent(self._context))
        try:
            said: tuple[Any, ...] = getattr(found, function)(*arguments)
        finally:
            found.cuCtxPopCurrent()
        return said

    def free(self, place: int) -> None:
        """Give back what `allocate` gave."""
        self.call("cuMemFree", place)

    def pinned(self, nbytes: int) -> np.ndarray:
        """Bytes of the host that the device copies from and to by itself, while others run."""
        place = int(self.call("cuMemHostAlloc", max(nbytes, 1), 0))
        memory = (ctypes.c_uint8 * max(nbytes, 1)).from_address(place)
        weakref.finalize(memory, self.call, "cuMemFreeHost", place).atexit = False
        return np.ctypeslib.as_array(memory)[:nbytes]

    def write(self, place: int, array: np.ndarray, stream: int = 0) -> None:
        """Copy a contiguous array to the device."""
        if array.nbytes:
            self.call("cuMemcpyHtoDAsync", place, address(array), array.nbytes, stream)

    def read(self, array: np.ndarray, place: int, stream: int = 0) -> None:
        """Copy from the device into a contiguous array, which is whole after `wait`."""
        if array.nbytes:
            self.call("cuMemcpyDtoHAsync", address(array), place, array.nbytes, stream)

    def copy(self, target: int, source: int, nbytes: int, stream: int = 0) -> None:
        """Copy within the device."""
        self.call("cuMemcpyDtoDAsync", target, source, nbytes, stream)

    def fill(self, place: int, byte: int, nbytes: int, stream: int = 0) -> None:
        """Set every byte."""
        self.call("cuMemsetD8Async", place, byte, nbytes, stream)

    # ---- streams and events

    def stream(self) -> int:
        """A new stream, which does not wait for the default one."""
        flags = self._driver.CUstream_flags.CU_STREAM_NON_BLOCKING
        return int(self.call("cuStreamCreate", flags))

    def wait(self, stream: int = 0) -> None:
        """Return when the stream has nothing left to do; a kernel's fault is raised here."""
        self.call("cuStreamSynchronize", stream)
        self._issued.pop(stream, None)

    def event(self) -> int:
        """A new event, for `record`, `after` and `seconds`."""
        return int(self.call("cuEventCreate", 0))

    def record(self, event: int, stream: int = 0) -> None:
        """Let the event happen when the stream has done what is in its queue."""
        self.call("cuEventRecord", event, stream)

    def after(self, event: int, stream: int = 0) -> None:
        """Let what the stream is given from here on wait for the event."""
        self.call("cuStreamWaitEvent", stream, event, 0)

    def seconds(self, start: int, stop: int) -> float:
        """Between two events; waits for the later one."""
        self.call("cuEventSynchronize", stop)
        return float(self.call("cuEventElapsedTime", start, stop)) * 1e-3

    def forget(self, *, stream: int = 0, event: int = 0) -> None:
        """Give back a stream or an event."""
        if stream:
            self.call("cuStreamDestroy", stream)
            self._issued.pop(stream, None)
        if event:
            self.call("cuEventDestroy", event)

    # ---- kernels and graphs

    def load(self, cubin: Cubin) -> Loaded:
        """Put machine code on the device.  Raises DeviceError where it is for other devices."""
        return Loaded(self, cubin)

    def issued(self, stream: int, names: Sequence[str]) -> None:
        """Note what a stream was given, so that a fault can be told of it."""
        self._issued.setdefault(stream, {}).update(dict.fromkeys(names))
        if current_settings().verify == 2 and not self.capturing(stream):
            self.wait(stream)

    def capturing(self, stream: int) -> bool:
        """Whether what the stream is given becomes part of a graph."""
        return bool(int(self.call("cuStreamIsCapturing", stream)))

    def graph(self, give: Callable[[int], None]) -> Graph:
        """What `give(stream)` gives to a stream of its own, to be launched as one."""
        captured, names = self._captured(give)
        return self._made(captured, names)

    def loop(self, give: Callable[[int, int], None]) -> Graph:
        """What `give(stream, handle)` gives to a stream, as one that is done again and again: until
        a kernel has set the condition `handle` to 0, by `cudaGraphSetConditional`."""
        found = self._driver
        whole = self.call("cuGraphCreate", 0)
        try:
            context = self._context
            handle = self.call("cuGraphConditionalHandleCreate", whole, context, 1, ASSIGN_DEFAULT)
            wanted = found.CUgraphNodeParams()
            wanted.type = found.CUgraphNodeType.CU_GRAPH_NODE_TYPE_CONDITIONAL
            wanted.conditional.handle = handle
            wanted.conditional.type = found.CUgraphConditionalNodeType.CU_GRAPH_COND_TYPE_WHILE
            wanted.conditional.size = 1
            wanted.conditional.ctx = context
            self.call("cuGraphAddNode", whole, None, None, 0, wanted)
            (body,) = wanted.conditional.phGraph_out
            _, names = self._captured(lambda stream: give(stream, int(handle)), body)
        except BaseException:
            self.call("cuGraphDestroy", whole)
            raise
        return self._made(whole, names)

    def _captured(
        self, give: Callable[[int], None], into: Any = None
    ) -> tuple[Any, tuple[str, ...]]:
        """A graph, new or one that is there, of what `give(stream)` gives to a stream, and the
        names of its kernels."""
        stream = self.stream()
        mode = self._driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        captured = None
        try:
            if into is None:
                self.call("cuStreamBeginCapture", stream, mode)
            else:
                self.call("cuStreamBeginCaptureToGraph", stream, into, None, None, 0, mode)
            try:
                give(stream)
            except BaseException:
                _, captured = self.in_context("cuStreamEndCapture", stream)
                if into is None and captured is not None and int(captured):
                    self.call("cuGraphDestroy", captured)
                raise
            finally:
                names = tuple(self._issued.pop(stream, ()))
            return self.call("cuStreamEndCapture", stream), names
        finally:
            self.forget(stream=stream)

    def _made(self, graph: Any, names: tuple[str, ...]) -> Graph:
        """What launches a graph, which is needed no longer."""
        try:
            return Graph(self, int(self.call("cuGraphInstantiate", graph, 0)), names)
        finally:
            self.call("cuGraphDestroy", graph)


class Graph:
    """Copies and kernels that one call launches, in the order that their streams had."""

    def __init__(self, device: Device, handle: int, kernels: tuple[str, ...]) -> None:
        self.device = device
        self.kernels = kernels
        self._handle = device._driver.CUgraphExec(handle)
        weakref.finalize(self, device.call, "cuGraphExecDestroy", self._handle).atexit = False

    def launch(self, stream: int = 0) -> None:
        """Put it in the stream's queue, all of it."""
        self.device.call("cuGraphLaunch", self._handle, stream)
        self.device.issued(stream, self.kernels)


class Loaded:
    """Machine code on a device, and what its kernels take."""

    def __init__(self, device: Device, cubin: Cubin) -> None:
        self.device = device
        self.seconds: Mapping[str, float] = cubin.seconds
        self.formats = {name: f for text in cubin.ptx for name, f in entries(text).items()}
        self._handle = device.call("cuModuleLoadData", cubin.code)
        self._functions: dict[str, Any] = {}
        weakref.finalize(self, device.call, "cuModuleUnload", self._handle).atexit = False

    def function(self, name: str) -> Any:
        """The driver's handle of a kernel."""
        if name not in self._functions:
            given = self.device.call("cuModuleGetFunction", self._handle, name.encode())
            self._functions[name] = given
        return self._functions[name]

    def prepare(
        self,
        name: str,
        grid: Shape,
        block: Shape,
        arguments: Sequence[int | float],
        shared_bytes: int = 0,
        *,
        cooperative: bool = False,
        cluster: int = 1,
    ) -> Launch:
        """A launch of a kernel on these arguments, addresses and numbers; it can be given often.

        The blocks of a cooperative one run all at once, so that they may wait for each other; so
        many after one another along x are a cluster.
        """
        if name not in self.formats or len(self.formats[name]) != len(arguments):
            takes = self.formats.get(name)
            raise InternalError(f"kernel {name} takes {takes!r}, not {len(arguments)} arguments")
        function = self.function(name)
        if shared_bytes > SHARED_BYTES_UNASKED:
            kinds = self.device._driver.CUfunction_attribute
            kind = kinds.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            self.device.call("cuFuncSetAttribute", function, kind, shared_bytes)
        packed = struct.pack(self.formats[name], *arguments)
        sizes = (*_three(grid), *_three(block), shared_bytes)
        return Launch(self, name, function, sizes, packed, cooperative, cluster)

    def launch(
        self,
        name: str,
        grid: Shape,
        block: Shape,
        arguments: Sequence[int | float],
        stream: int = 0,
        shared_bytes: int = 0,
        *,
        cooperative: bool = False,
        cluster: int = 1,
    ) -> None:
        """Put a kernel in the stream's queue."""
        self.prepare(
            name, grid, block, arguments, shared_bytes, cooperative=cooperative, cluster=cluster
        ).give(stream)

    def resident_blocks(self, name: str, threads: int, shared_bytes: int = 0) -> int:
        """How many blocks of a kernel the device runs at once: the most of a cooperative launch."""
        function = self.function(name)
        each = self.device.call(
            "cuOccupancyMaxActiveBlocksPerMultiprocessor", function, threads, shared_bytes
        )
        return int(each) * self.device.multiprocessors


class Launch:
    """A kernel with its arguments packed as the driver takes them."""

    def __init__(
        self,
        loaded: Loaded,
        name: str,
        function: Any,
        sizes: tuple[int, ...],
        packed: bytes,
        cooperative: bool,
        cluster: int,
    ) -> None:
        self.loaded, self.name = loaded, name
        self._function, self._sizes = function, sizes
        self._cooperative, self._cluster = cooperative, cluster
        self._buffer = ctypes.create_string_buffer(packed, max(len(packed), 1))
        self._size = ctypes.c_size_t(len(packed))
        buffer, size = ctypes.addressof(self._buffer), ctypes.addressof(self._size)
        # CU_LAUNCH_PARAM_BUFFER_POINTER, _BUFFER_SIZE, _END
        self._words = (ctypes.c_void_p * 5)(1, buffer, 2, size, 0)
        self._extra = ctypes.addressof(self._words)

    def give(self, stream: int = 0) -> None:
        """Put it in the stream's queue."""
        device = self.loaded.device
        wanted = list(self._attributes())
        if wanted:
            config = self._configured(stream, wanted)
            device.call("cuLaunchKernelEx", config, self._function, 0, self._extra)
        else:
            device.call("cuLaunchKernel", self._function, *self._sizes, stream, 0, self._extra)
        device.issued(stream, (self.name,))

    def _attributes(self) -> Iterator[Any]:
        found = self.loaded.device._driver
        kinds = found.CUlaunchAttributeID
        if self._cooperative:
            one = found.CUlaunchAttribute()
            one.id, one.value.cooperative = kinds.CU_LAUNCH_ATTRIBUTE_COOPERATIVE, 1
            yield one
        if self._cluster > 1:
            one = found.CUlaunchAttribute()
            one.id = kinds.CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION
            size = one.value.clusterDim
            size.x, size.y, size.z = self._cluster, 1, 1
            yield one

    def _configured(self, stream: int, attributes: list[Any]) -> Any:
        found = self.loaded.device._driver
        wanted = found.CUlaunchConfig()
        (wanted.gridDimX, wanted.gridDimY, wanted.gridDimZ) = self._sizes[:3]
        (wanted.blockDimX, wanted.blockDimY, wanted.blockDimZ) = self._sizes[3:6]
        wanted.sharedMemBytes, wanted.hStream = self._sizes[6], found.CUstream(stream)
        wanted.attrs, wanted.numAttrs = attributes, len(attributes)
        return wanted


def _three(shape: Shape) -> tuple[int, ...]:
    sizes = (shape,) if isinstance(shape, int) else shape
    return (*sizes, *(1,) * (3 - len(sizes)))
