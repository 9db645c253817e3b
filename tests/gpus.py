"""A GPU for tests: programs run on the interpreter of PTX, through their own launches."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from gradloom.runtime.cuda.launch import Launch
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
        )
