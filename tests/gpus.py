"""A GPU for tests: programs run on the interpreter of PTX, through their own launches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tests import ptx


@dataclass
class Simulated:
    """What `gradloom.runtime.cuda.machine.using` takes; `launches` are the kernels that have run,
    with the number of their blocks."""

    capability: int = 90
    blocks: int = 3  # an odd number, so that nothing divides evenly
    races: bool = True
    memory: ptx.Memory = field(default_factory=lambda: ptx.Memory())
    launches: list[tuple[str, int]] = field(default_factory=list)
    ordinal: int = 0
    stream: int = 7
    held: dict[int, int] = field(default_factory=dict)  # bytes by address, of what is allocated
    allocations: int = 0
    orders: list[tuple[int, int]] = field(default_factory=list)  # streams: which waits for which
    waits: int = 0

    def allocate(self, nbytes: int) -> int:
        address = self.memory.allocate(nbytes, align=256)
        self.held[address] = nbytes
        self.allocations += 1
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
        self.poke(address, array)

    def read(self, address: int, array: np.ndarray) -> None:
        self.peek(address, array)
        self.wait()

    def peek(self, address: int, array: np.ndarray) -> None:
        found = self.memory.download(address, (array.nbytes,), np.uint8)
        array.reshape(-1).view(np.uint8)[:] = found

    def copy(self, target: int, source: int, nbytes: int) -> None:
        self.memory.fill(target, self.memory.download(source, (nbytes,), np.uint8))

    def load(self, text: str) -> Loaded:
        return Loaded(ptx.load(text), self)


@dataclass
class Loaded:
    module: ptx.Module
    machine: Simulated

    def launch(
        self,
        kernel: str,
        blocks: int,
        threads: int,
        shared_bytes: int,
        pointers: Sequence[int],
        together: bool,
    ) -> None:
        self.machine.launches.append((kernel, blocks))
        self.module.launch(
            kernel,
            grid=blocks,
            block=threads,
            args=list(pointers),
            shared=shared_bytes,
            memory=self.machine.memory,
            races="global" if self.machine.races else False,
            cooperative=together,
        )
