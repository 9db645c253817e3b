"""What a call of a training step's program is given: the state, wherever it is, and the batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from gradloom.codegen import words

if TYPE_CHECKING:
    from gradloom.device_array import DeviceArray
    from gradloom.ir.types import TensorType
    from gradloom.plan.needs import Needs
    from gradloom.runtime.cuda.machine import Machine


class Resident(Protocol):
    """The arrays that a program updates in place."""

    addresses: Sequence[int]  # for native code, if nobody else has written them since

    def at_home(self) -> Sequence[int]:
        """Where they are for native code, from here on."""
        ...

    def newest(self) -> list[np.ndarray]:
        """They themselves, to be read."""
        ...

    def on(self, machine: Machine) -> Sequence[int]:
        """Where they are on a GPU, from here on."""
        ...

    def arrays_on(self, machine: Machine) -> list[DeviceArray]:
        """They themselves on a GPU, to be read."""
        ...


AWAY: Sequence[int] = (0,)  # `addresses` that are nobody's


class Stateless:
    """Of a program that updates nothing."""

    addresses: Sequence[int] = ()

    def at_home(self) -> Sequence[int]:
        """Nowhere."""
        return ()

    def newest(self) -> list[np.ndarray]:
        """None."""
        return []

    def on(self, machine: Machine) -> Sequence[int]:
        """Nowhere."""
        return ()

    def arrays_on(self, machine: Machine) -> list[DeviceArray]:
        """None."""
        return []


STATELESS = Stateless()


@dataclass
class Course:
    """One call over many batches: `epochs` times `batches` of them."""

    state: Resident
    arrays: Sequence[Any]  # the data, then what the loss closed over
    batches: int
    epochs: int = 1
    mode: int = words.IN_PLACE
    order: np.ndarray | None = None  # int64, one entry a row
    key: tuple[int, int] = (0, 0)
    first_epoch: int = 0
    first_row: int = 0
    keep: bool = False  # whether all outputs are kept, or the first alone

    def __post_init__(self) -> None:
        self.passes = self.batches * self.epochs

    def write_head(self, control: Any) -> None:
        """Set the first words of `control`."""
        rows = 0 if self.order is None else len(self.order)
        done = stop = start = until = 0
        batches, mode, (low, high) = self.batches, self.mode, self.key
        epoch, row, keep = self.first_epoch, self.first_row, self.keep
        words.HEAD.pack_into(
            control, 0, done, stop, start, until, batches, mode, rows, low, high, epoch, row, keep
        )


class Flight(Protocol):
    """A call over many batches, ready to go; one at a time has its frame."""

    def start(self) -> None:
        """Run it, or put it where it will run: all of it, or as much as before it is stopped."""
        ...

    def wait(self) -> None:
        """Return when what was started is done."""
        ...

    def done(self) -> int:
        """How many batches are done, while another thread runs it."""
        ...

    def stop(self) -> None:
        """Let it end after the batch that it is at."""
        ...

    def finish(self) -> list[Any]:
        """The results, each with a leading axis of batches; raises what was wrong with indices."""
        ...

    def close(self) -> None:
        """Give back what it used."""
        ...


class Runner(Protocol):
    """What calls a program on arrays: on the CPU, or on a GPU."""

    needs: Needs
    results: list[TensorType]
    flops: int
    arena_bytes: int
    staging_bytes: int  # more, for runs that gather their batches
    pace: Any  # of threads, if calls may have several

    @property
    def control_bytes(self) -> int:
        """Control words, and the table of addresses."""
        ...

    def transfer_bytes(self, arguments: Sequence[int]) -> int:
        """What arguments of so many bytes each, and the results, take elsewhere if they are the
        host's."""
        ...

    def __call__(self, arrays: Sequence[Any], state: Resident = STATELESS, /) -> list[Any]:
        """One pass; of a training step, over one batch."""
        ...

    def reserve(self, staging_bytes: int, extra_slots: int) -> None:
        """Let calls have so much behind the arena, and more table entries."""
        ...

    def resident(self, arrays: Sequence[Any]) -> Sequence[Any]:
        """The arrays as many calls are best given them."""
        ...

    def leaves(self, state: Resident) -> Sequence[Any]:
        """The arrays of a state, to be read until the next call."""
        ...

    def flight(self, course: Course) -> Flight:
        """A call over many batches."""
        ...
