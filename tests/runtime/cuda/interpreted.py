"""The fake driver with the interpreter of PTX behind it: a GPU, as far as programs can tell.

    gpu = pytest.fixture(interpreted)

Kernels that are loaded from a `Cubin` are run from its PTX, on the memory of the fake driver, when
the stream that they were launched on comes to them: copies, events, graphs and waits are real.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pytest
from tests import ptx
from tests.gpus import linked
from tests.ptx.spaces import rounded_up
from tests.runtime.cuda.fake import Fake, Launched, fresh

from gradloom.runtime.cuda.driver import Device
from gradloom.runtime.cuda.kernel import Cubin

VARIABLES = 1 << 16  # bytes at the start of the device that the fake driver leaves to modules


class DeviceMemory(ptx.Memory):
    """The fake driver's memory, by its addresses; a module's own variables lie before the rest."""

    def __init__(self, fake: Fake) -> None:
        super().__init__(0)
        self.fake, self.base = fake, fake.base
        self.top = self.base
        self.own: list[tuple[int, int, str]] = []

    def refresh(self) -> None:
        """Look at what is allocated by now."""
        blocks = self.fake.blocks()
        named = [*self.own, *((at, size, f"allocation {n}") for n, (at, size) in enumerate(blocks))]
        self.starts = [at for at, _, _ in named]
        self.ends = [at + size for at, size, _ in named]
        self.names = {at: name for at, _, name in named}
        size = rounded_up(max([*self.ends, self.base + VARIABLES]) - self.base, 16)
        memory = (ctypes.c_uint8 * size).from_address(self.fake.native.fake_storage())
        self.buffer = np.frombuffer(memory, np.uint8)
        self.views.clear()

    def allocate(self, size: int, name: str = "", align: int = 16) -> int:
        start = rounded_up(self.top, max(align, 16))
        self.top = start + size
        assert self.top <= self.base + VARIABLES, "a module has more variables than there is room"
        self.own.append((start, size, name))
        self.refresh()
        return start

    def fill(self, pointer: int, array: np.ndarray) -> None:
        self.require(pointer, array.nbytes)
        start = pointer - self.base
        self.buffer[start : start + array.nbytes] = array.view(np.uint8)

    def locate(self, threads: np.ndarray, addresses: np.ndarray, size: int) -> np.ndarray:
        return super().locate(threads, addresses, size) - self.base


class Interpreter:
    """What the fake driver runs kernels by.  `races="global"` checks global memory too."""

    def __init__(self, fake: Fake) -> None:
        self.fake = fake
        self.memory = DeviceMemory(fake)
        self.races: bool | Literal["global"] = True
        self.modules: dict[bytes, dict[str, ptx.Module]] = {}
        fake.execute = self.run

    def know(self, cubin: Cubin) -> None:
        """Take the kernels of a cubin, which is about to be loaded, from its PTX."""
        modules = [ptx.load(linked(text)) for text in cubin.ptx]
        self.modules[cubin.code] = {name: module for module in modules for name in module.names}

    def run(self, launched: Launched) -> None:
        """One kernel, to its end.  Raises `PtxError`, which the test that launched it ends with."""
        module = self.modules[launched.image][launched.kernel]
        kernel = module.kernel(launched.kernel)
        packed = launched.arguments
        arguments = [
            packed[kernel.offsets[p.name] : kernel.offsets[p.name] + p.size]
            for p in kernel.program.params
        ]
        self.memory.refresh()
        module.launch(
            launched.kernel,
            grid=launched.grid,
            block=launched.block,
            args=arguments,
            shared=launched.shared_bytes,
            memory=self.memory,
            races=self.races,
            cooperative=launched.cooperative,
            cluster=launched.cluster,
        )


def interpreted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Interpreter]:
    """For a fixture: a device that runs kernels."""
    fakes = fresh()
    interpreter = Interpreter(next(fakes))
    load = Device.load

    def known(device: Device, cubin: Cubin) -> Any:
        interpreter.know(cubin)
        return load(device, cubin)

    monkeypatch.setattr(Device, "load", known)
    yield interpreter
    next(fakes, None)
