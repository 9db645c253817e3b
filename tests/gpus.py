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
        return Loaded(ptx.load(text), self)


@dataclass
class Loaded:
    module: ptx.Module
    machine: Simulated
    seconds: dict[str, float] = field(default_factory=dict)

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
