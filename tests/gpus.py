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

from gradloom.errors import GradloomError
from gradloom.runtime.cuda.driver import device
from gradloom.runtime.cuda.gpu import Gpu
from gradloom.runtime.cuda.launch import Launch
from tests import ptx

# The forms that a program runs in, by the settings that forbid those before.  What is more than a
# cluster of blocks can share takes one kernel where one cluster is allowed.
FORMS = {
    "one cluster": (),
    "one kernel": ("clusters",),
    "graphs": ("persistent",),
    "launches": ("persistent", "graphs"),
}
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
    except GradloomError as error:
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


@dataclass(eq=False)
class Simulated:
    """What `gradloom.runtime.cuda.machine.using` takes; `launches` are the kernels that have run,
    with the number of their blocks."""

    capability: int = 90
    loops: bool = True
    blocks: int = 3  # an odd number, so that nothing divides evenly
    races: bool = True
    seed: int | None = None  # for an order of blocks that is not the usual one
    memory: ptx.Memory = field(default_factory=lambda: ptx.Memory())
    launches: list[tuple[str, int]] = field(default_factory=list)
    ordinal: int = 0
    stream: int = 7
    held: dict[int, int] = field(default_factory=dict)  # bytes by address, of what is allocated
    allocations: int = 0
    most_held: int = 0
    orders: list[tuple[int, int]] = field(default_factory=list)  # streams: which waits for which
    waits: int = 0
    writes: int = 0
    bytes_written: int = 0
    fetches: int = 0
    bytes_read: int = 0

    def allocate(self, nbytes: int) -> int:
        """Memory in which nothing is written: NaNs, so that nobody counts on zeros."""
        address = self.memory.allocate(nbytes, align=256)
        self.memory.fill(address, np.full(nbytes, 0xFF, np.uint8))
        self.held[address] = nbytes
        self.allocations += 1
        self.most_held = max(self.most_held, self.bytes_held)
        return address

    def free(self, address: int) -> None:
        del self.held[address]
        self.memory.free(address)

    @property
    def bytes_held(self) -> int:
        return sum(self.held.values())

    def wait(self) -> None:
        self.waits += 1

    def fetch(self, address: int, array: np.ndarray) -> None:
        self.fetches += 1
        self.bytes_read += array.nbytes
        self.peek(address, array)

    def poke(self, address: int, array: np.ndarray) -> None:
        self.memory.fill(address, array)

    def after(self, stream: int) -> None:
        self.orders.append((self.stream, stream))

    def before(self, stream: int) -> None:
        self.orders.append((stream, self.stream))

    def settle(self) -> None:
        self.wait()

    def holds(self, address: int) -> bool:
        return any(start <= address < start + size for start, size in self.held.items())

    def write(self, address: int, array: np.ndarray) -> None:
        self.writes += 1
        self.bytes_written += array.nbytes
        self.poke(address, array)

    def read(self, address: int, array: np.ndarray) -> None:
        self.fetch(address, array)
        self.wait()

    def peek(self, address: int, array: np.ndarray) -> None:
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
            seed=self.machine.seed,
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
