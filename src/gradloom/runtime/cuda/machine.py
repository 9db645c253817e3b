"""What gradloom asks of a GPU: memory, kernels and launches, in plain numbers.

`the_machine()` is the one that programs run on: the first GPU, or what `using` has put in its
place, such as an interpreter of PTX.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import NoReturn, Protocol

import numpy as np

from gradloom.errors import DeviceError, message, user_where
from gradloom.runtime.cuda.gpu import Gpu
from gradloom.runtime.cuda.launch import Launch


class Graph(Protocol):
    """Launches that are given at once."""

    def launch(self) -> None:
        """Do all of it, after what was launched before."""
        ...


class Module(Protocol):
    """Kernels that are loaded; `seconds` are what making their machine code took, by stage."""

    @property
    def seconds(self) -> Mapping[str, float]: ...

    def launch(self, launch: Launch) -> None:
        """Run a kernel, after what was launched before."""
        ...

    def resident(self, kernel: str, shared_bytes: int) -> int:
        """How many blocks of a kernel the GPU runs at once, with so much shared memory each."""
        ...

    def graph(self, launches: Callable[[int], Sequence[Launch]], repeats: bool) -> Graph:
        """The launches of `launches(loop)`, one after another; what repeats does so until one of
        its kernels says otherwise, as `go_on(loop, 0)`."""
        ...


class Machine(Protocol):
    """A GPU.  Addresses are integers; an error that it meets is raised by the next `read` or
    `wait`."""

    capability: int  # 90 for compute capability 9.0
    ordinal: int  # its number
    stream: int  # whose queue everything is put in, as other libraries name it
    loops: bool  # whether its graphs can repeat themselves

    def allocate(self, nbytes: int) -> int:
        """Memory, aligned to 256 bytes."""
        ...

    def free(self, address: int) -> None:
        """Give back what `allocate` gave, after all that was launched."""
        ...

    def write(self, address: int, array: np.ndarray) -> None:
        """Copy the bytes of a contiguous array there."""
        ...

    def read(self, address: int, array: np.ndarray) -> None:
        """Fill a contiguous array, after all that was launched."""
        ...

    def fetch(self, address: int, array: np.ndarray) -> None:
        """As `read`, but the array is not filled before the next `wait`."""
        ...

    def wait(self) -> None:
        """Return when all is done that was launched or fetched; raises what went wrong."""
        ...

    def peek(self, address: int, array: np.ndarray) -> None:
        """Fill a small array with what is there while kernels run."""
        ...

    def poke(self, address: int, array: np.ndarray) -> None:
        """Write a small array there while kernels run."""
        ...

    def after(self, stream: int) -> None:
        """Let what is launched from here on wait for what another library's stream has."""
        ...

    def before(self, stream: int) -> None:
        """Let another library's stream wait for all that was launched."""
        ...

    def settle(self) -> None:
        """Return when the GPU has done what anybody in this process gave it."""
        ...

    def holds(self, address: int) -> bool:
        """Whether an address is in the memory of this GPU."""
        ...

    def copy(self, target: int, source: int, nbytes: int) -> None:
        """Copy within the GPU, after all that was launched."""
        ...

    def load(self, ptx: str) -> Module: ...


class Elsewhere:
    """A GPU that is not here: programs are compiled for it, and refuse to run."""

    def __init__(self, capability: int) -> None:
        self.capability = capability
        self.seconds: dict[str, float] = {}

    def load(self, ptx: str) -> Module:
        return self

    def __getattr__(self, name: str) -> NoReturn:
        raise DeviceError(
            message(
                "this was compiled for a GPU without one: it cannot be called",
                user_where(),
                'ask it for .ptx(), or take device="cuda" on a machine with a GPU',
            )
        )


_put: list[Machine] = []
_gpu = cache(Gpu)


def the_machine() -> Machine:
    """What programs run on.  Raises `DeviceError` where there is no GPU."""
    return _put[-1] if _put else _gpu()


@contextmanager
def using(machine: Machine) -> Iterator[None]:
    """Let programs that are compiled inside run on another machine."""
    _put.append(machine)
    try:
        yield
    finally:
        _put.remove(machine)
