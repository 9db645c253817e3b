"""A device as a program uses it: memory, and kernels given as PTX, one after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gradloom.plan.tiles import THREADS
from gradloom.runtime.cuda.cubins import linked
from gradloom.runtime.cuda.driver import Graph, Loaded, device
from gradloom.runtime.cuda.launch import Launch


class Gpu:
    """The GPU of a number, by one stream of its own.  What it does is done by the next `read`,
    which raises what went wrong."""

    def __init__(self, ordinal: int = 0) -> None:
        self.device = device(ordinal)
        self.stream = self.device.stream()
        self.capability = int(self.device.arch.removeprefix("sm_"))  # 90 for 9.0
        self.loops = self.device.loops
        self.blocks = 1 << 31  # at most, of any kernel: fewer, and the bits are the same

    def allocate(self, nbytes: int) -> int:
        """The address of so many bytes; raises DeviceMemoryError."""
        return self.device.allocate(nbytes)

    def free(self, place: int) -> None:
        """Give back what `allocate` gave; waits for what still uses it."""
        self.device.free(place)

    def write(self, place: int, array: np.ndarray) -> None:
        """Copy a contiguous array there, which may change as soon as this returns."""
        self.device.write(place, array, self.stream)

    def read(self, place: int, array: np.ndarray) -> None:
        """Fill a contiguous array, after all that was launched."""
        self.device.read(array, place, self.stream)
        self.device.wait(self.stream)

    def copy(self, target: int, source: int, nbytes: int) -> None:
        """Copy within the GPU, after all that was launched."""
        self.device.copy(target, source, nbytes, self.stream)

    def load(self, ptx: str) -> Kernels:
        """The kernels of a PTX text, as machine code, which is kept on disk."""
        return Kernels(self, self.device.load(linked([ptx], self.device.arch)))


class Kernels:
    """Kernels on a GPU."""

    def __init__(self, gpu: Gpu, loaded: Loaded) -> None:
        self.gpu, self.loaded = gpu, loaded
        self.seconds = loaded.seconds

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
