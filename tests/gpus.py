"""GPUs for tests: the interpreter of PTX, on any machine, and the one that is there.

A test that takes the fixture `machine` runs on both; `-m gpu` leaves the real one.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from gradloom.errors import DeviceError
from gradloom.runtime.cuda.driver import device
from gradloom.runtime.cuda.gpu import Gpu
from gradloom.runtime.cuda.launch import Launch
from tests import ptx

# Seen before a test has put the fake driver in its place.
DRIVER = False
with suppress(OSError):
    DRIVER = bool(ctypes.CDLL("libcuda.so.1"))


@cache
def absent() -> str:
    """Why no test can run on a GPU, or nothing."""
    if not DRIVER:
        return "no GPU: this machine has no driver (libcuda.so.1)"
    try:
        device(0)
    except DeviceError as error:
        return f"no GPU: {str(error).splitlines()[0]}"
    return ""


def real(blocks: int = 0) -> Gpu:
    """The GPU, with its usual number of blocks, or with fewer."""
    gpu = Gpu()
    gpu.blocks = blocks or gpu.blocks
    return gpu


# A condition of a graph is a word of memory here, and its handle the address.
SET_CONDITIONAL = """
.visible .func cudaGraphSetConditional(.param .b64 handle, .param .b32 value)
{
  .reg .b64 %d<2>; .reg .b32 %r<2>;
  ld.param.b64 %d1, [handle];
  ld.param.b32 %r1, [value];
  st.global.b32 [%d1], %r1;
  ret;
}
"""


def linked(text: str) -> str:
    """PTX with the functions of the driver that it calls."""
    return text + SET_CONDITIONAL * ("cudaGraphSetConditional" in text)


@dataclass
class Simulated:
    """What `gradloom.runtime.cuda.machine.using` takes; `launches` are the kernels that have run,
    with the number of their blocks."""

    capability: int = 90
    loops: bool = True
    blocks: int = 3  # an odd number, so that nothing divides evenly
    races: bool = True
    memory: ptx.Memory = field(default_factory=lambda: ptx.Memory())
    launches: list[tuple[str, int]] = field(default_factory=list)

    def allocate(self, nbytes: int) -> int:
        return self.memory.allocate(nbytes)

    def free(self, address: int) -> None:
        self.memory.free(address)

    def write(self, address: int, array: np.ndarray) -> None:
        self.memory.fill(address, array)

    def read(self, address: int, array: np.ndarray) -> None:
        found = self.memory.download(address, (array.nbytes,), np.uint8)
        array.reshape(-1).view(np.uint8)[:] = found

    def copy(self, target: int, source: int, nbytes: int) -> None:
        self.memory.fill(target, self.memory.download(source, (nbytes,), np.uint8))

    def load(self, text: str) -> Loaded:
        return Loaded(ptx.load(linked(text)), self)


@dataclass
class Loaded:
    module: ptx.Module
    machine: Simulated
    seconds: dict[str, float] = field(default_factory=dict)

    def resident(self, kernel: str, shared_bytes: int) -> int:
        return self.machine.blocks

    def graph(self, launches: Callable[[int], Sequence[Launch]], repeats: bool) -> Graph:
        place = self.machine.allocate(4) if repeats else 0
        return Graph(self, launches(place), place)

    def launch(self, launch: Launch) -> None:
        self.machine.launches.append((launch.kernel, launch.blocks))
        self.module.launch(
            launch.kernel,
            grid=launch.blocks,
            block=launch.threads,
            args=list(launch.arguments),
            shared=launch.shared_bytes,
            memory=self.machine.memory,
            races="global" if self.machine.races else False,
            cooperative=launch.together,
            cluster=launch.blocks if launch.cluster else 1,
        )


@dataclass
class Graph:
    """`place` has the word that says whether it is to be done again, or is 0."""

    loaded: Loaded
    launches: Sequence[Launch]
    place: int

    def launch(self) -> None:
        machine, again = self.loaded.machine, np.ones(1, np.int32)
        machine.launches.append(("graph", len(self.launches)))
        if self.place:
            machine.write(self.place, again)
        while again[0]:
            for launch in self.launches:
                self.loaded.launch(launch)
            again[0] = 0
            if self.place:
                machine.read(self.place, again)
