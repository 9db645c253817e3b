"""A device as a program uses it: memory, and kernels given as PTX, one after another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from gradloom.plan.tiles import THREADS
from gradloom.runtime.cuda.cubins import linked
from gradloom.runtime.cuda.driver import Graph, Loaded, device
from gradloom.runtime.cuda.launch import Launch
from gradloom.runtime.cuda.pool import Pool, holds

LOADED = 128  # PTX texts whose machine code stays on the GPU when no program has it any more
WINDOW_BYTES = 4096  # most that is peeked at or poked at a time


class Gpu:
    """The GPU of a number, by one stream of its own.  What it does is done by the next `read`,
    which raises what went wrong."""

    def __init__(self, ordinal: int = 0) -> None:
        self.device = device(ordinal)
        self.stream = self.device.stream()
        self.pool = Pool(self.device, self.stream)
        self.capability = int(self.device.arch.removeprefix("sm_"))  # 90 for 9.0
        self.ordinal = ordinal
        self._loaded = lru_cache(LOADED)(self._linked)
        self._order = threading.Lock()
        self._event = self.device.event()
        self._aside = threading.Lock()
        self.loops = self.device.loops
        self.blocks = 1 << 31  # at most, of any kernel: fewer, and the bits are the same

    def _linked(self, ptx: str) -> Loaded:
        return self.device.load(linked([ptx], self.device.arch))

    def allocate(self, nbytes: int) -> int:
        """The address of so many bytes; raises DeviceMemoryError."""
        return self.pool.allocate(nbytes)

    def free(self, place: int) -> None:
        """Give back what `allocate` gave, after all that was launched."""
        self.pool.free(place)

    def write(self, place: int, array: np.ndarray) -> None:
        """Copy a contiguous array there, which may change as soon as this returns."""
        self.device.write(place, array, self.stream)

    def read(self, place: int, array: np.ndarray) -> None:
        """Fill a contiguous array, after all that was launched."""
        self.fetch(place, array)
        self.wait()

    def fetch(self, place: int, array: np.ndarray) -> None:
        """As `read`, but the array may not be filled before the next `wait`."""
        self.device.read(array, place, self.stream)

    def wait(self) -> None:
        """Return when all is done; raises what went wrong."""
        self.device.wait(self.stream)

    def after(self, stream: int) -> None:
        """Let what is launched from here on wait for what another library's stream has."""
        self._ordered(stream, self.stream)

    def before(self, stream: int) -> None:
        """Let another library's stream wait for all that was launched."""
        self._ordered(self.stream, stream)

    def _ordered(self, first: int, then: int) -> None:
        with self._order:  # one event, which is free again as soon as `then` waits for it
            self.device.record(self._event, first)
            self.device.after(self._event, then)

    # ---- while kernels run, by a stream of its own and memory that copies do not wait for

    @cached_property
    def _window(self) -> tuple[int, np.ndarray]:
        return self.device.stream(), self.device.pinned(WINDOW_BYTES)

    def peek(self, place: int, array: np.ndarray) -> None:
        """Fill a small array with what is there while kernels run."""
        with self._aside:
            stream, window = self._window
            self.device.read(window[: array.nbytes], place, stream)
            self.device.wait(stream)
            array.reshape(-1).view(np.uint8)[:] = window[: array.nbytes]

    def poke(self, place: int, array: np.ndarray) -> None:
        """Write a small array there while kernels run."""
        with self._aside:
            stream, window = self._window
            window[: array.nbytes] = array.reshape(-1).view(np.uint8)
            self.device.write(place, window[: array.nbytes], stream)
            self.device.wait(stream)

    def settle(self) -> None:
        """Return when the GPU has done what anybody in this process gave it."""
        self.device.call("cuCtxSynchronize")

    def holds(self, place: int) -> bool:
        """Whether an address is in the memory of this GPU."""
        return holds(self.device, place)

    def copy(self, target: int, source: int, nbytes: int) -> None:
        """Copy within the GPU, after all that was launched."""
        self.device.copy(target, source, nbytes, self.stream)

    def load(self, ptx: str) -> Kernels:
        """The kernels of a PTX text, as machine code, which is kept on disk, and on the GPU for
        the next that has the same."""
        return Kernels(self, self._loaded(ptx))


class Kernels:
    """Kernels on a GPU."""

    def __init__(self, gpu: Gpu, loaded: Loaded) -> None:
        self.gpu, self.loaded = gpu, loaded
        # What is on the GPU already took somebody else's time.
        self.seconds, loaded.seconds = loaded.seconds, {}

    def launch(self, launch: Launch) -> None:
        """Run a kernel, after what was launched before."""
        self._give(launch, self.gpu.stream)

    def _give(self, launch: Launch, stream: int) -> None:
        self.loaded.launch(
            launch.kernel,
            launch.blocks,
            launch.threads,
            launch.arguments,
            stream,
            launch.shared_bytes,
            cooperative=launch.together,
            cluster=launch.blocks if launch.cluster else 1,
        )

    def resident(self, kernel: str, shared_bytes: int) -> int:
        """How many blocks of a kernel the GPU runs at once, with so much shared memory each."""
        found = self.loaded.resident_blocks(kernel, THREADS, shared_bytes)
        return min(found, self.gpu.blocks)

    def graph(self, launches: Callable[[int], Sequence[Launch]], repeats: bool) -> GraphHere:
        """The launches of `launches(loop)`, one after another; what repeats does so until one of
        its kernels says otherwise, as `go_on(loop, 0)`."""

        def give(stream: int, loop: int) -> None:
            for launch in launches(loop):
                self._give(launch, stream)

        device = self.gpu.device
        made = device.loop(give) if repeats else device.graph(lambda stream: give(stream, 0))
        return GraphHere(made, self.gpu.stream)


@dataclass(frozen=True)
class GraphHere:
    """A graph, and the stream that it is for."""

    graph: Graph
    stream: int

    def launch(self) -> None:
        """Do all of it, after what was launched before."""
        self.graph.launch(self.stream)
