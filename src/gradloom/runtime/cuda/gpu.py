"""A device as a program uses it: memory, and kernels given as PTX, one after another."""

from __future__ import annotations

import numpy as np

from gradloom.runtime.cuda.cubins import linked
from gradloom.runtime.cuda.driver import Loaded, device
from gradloom.runtime.cuda.launch import Launch


class Gpu:
    """The GPU of a number, by one stream of its own.  What it does is done by the next `read`,
    which raises what went wrong."""

    def __init__(self, ordinal: int = 0) -> None:
        self.device = device(ordinal)
        self.stream = self.device.stream()
        self.capability = int(self.device.arch.removeprefix("sm_"))  # 90 for 9.0
        # One of 256 threads with 255 registers each, which are all that a multiprocessor has.
        self.blocks = self.device.multiprocessors

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
        self.loaded.launch(
            launch.kernel,
            launch.blocks,
            launch.threads,
            launch.arguments,
            self.gpu.stream,
            launch.shared_bytes,
            cooperative=launch.together,
        )
