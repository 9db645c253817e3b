"""How the passes of a program are launched: by one kernel that runs its driver, or by the host,
which runs the driver and launches what it calls.  Both put their work on the machine's stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gradloom.codegen import words
from gradloom.plan.dealt import DevicePlan
from gradloom.runtime.cuda.kernel import PERSISTENT, Ptx
from gradloom.runtime.cuda.launch import Launch
from gradloom.runtime.cuda.launched import run_launched
from gradloom.runtime.cuda.machine import Machine, Module


@dataclass(frozen=True)
class Call:
    """Passes over a program, by addresses of the device: `table` has those of inputs, state and
    outputs by slot; `order` is where the order of rows lies, or 0.

    `head` are the control words, or the first of them, which `control` on the device has not yet;
    there they are afterwards as the passes have left them.
    """

    table: Sequence[int]
    arena: int
    control: int
    head: np.ndarray
    order: int = 0


class Form(Protocol):
    """One program, ready to run."""

    @property
    def module(self) -> Module:
        """Its kernels."""
        ...

    def start(self, call: Call) -> None:
        """Put all passes of a call on the machine's stream, and return before they are done where
        that is possible; `call.head` may change as soon as this returns."""
        ...


class Persistent:
    """One kernel runs the driver, by blocks that are all resident and wait for each other."""

    def __init__(self, device: DevicePlan, ptx: Ptx, machine: Machine) -> None:
        self.machine = machine
        self.module = machine.load(ptx.text)
        self.shared_bytes = ptx.shared_bytes[PERSISTENT]
        stages = [s for kernel in device.plan.kernels for s in kernel.stages]
        most = max((-(-s.extent // max(s.grain, 1)) for s in stages), default=1)
        self.blocks = max(1, min(machine.blocks, most))
        self._table = np.zeros(0, np.int64)  # as it is on the device
        self._place = 0

    def start(self, call: Call) -> None:
        """One launch."""
        machine = self.machine
        machine.write(call.control, call.head)
        given = (self._placed([*call.table, call.order]), call.arena, call.control)
        self.module.launch(Launch(PERSISTENT, given, self.blocks, self.shared_bytes, together=True))

    def _placed(self, table: Sequence[int]) -> int:
        """Where the table lies on the device."""
        wanted = np.array(table, np.int64)
        if not self._place:
            self._place = self.machine.allocate(wanted.nbytes)
        if not np.array_equal(wanted, self._table):
            self.machine.write(self._place, wanted)
            self._table = wanted
        return self._place


class Launched:
    """The host runs the driver's text, and launches a kernel for each stage."""

    def __init__(self, device: DevicePlan, driver: str, ptx: Ptx, machine: Machine) -> None:
        self.device, self.driver, self.ptx, self.machine = device, driver, ptx, machine
        self.module = machine.load(ptx.text)

    def start(self, call: Call) -> None:
        """As many launches as the driver calls stages."""
        machine = self.machine
        machine.write(call.control, call.head)
        order = np.zeros(int(call.head[words.ROWS]) if call.order else 0, np.int64)
        if call.order:
            machine.read(call.order, order)
        table = [*call.table, order]
        run_launched(
            self.driver, self.device, self.ptx, self.module, machine, table, call.arena, call
        )
        machine.write(call.control, call.head[: words.FAULTS])


def form_of(device: DevicePlan, driver: str, ptx: Ptx, machine: Machine) -> Form:
    """The form that a program's PTX is for."""
    if PERSISTENT in ptx.shared_bytes:
        return Persistent(device, ptx, machine)
    return Launched(device, driver, ptx, machine)


def by_epoch(head: np.ndarray) -> Iterator[np.ndarray]:
    """The control words of the calls that a call consists of: one, or, where rows are shuffled,
    one for each epoch, which gathers its rows by the order that it is given."""
    if head[words.MODE] != words.SHUFFLE:
        yield head.copy()
        return
    start, until, batches = (int(head[w]) for w in (words.START, words.UNTIL, words.BATCHES))
    while start < until:
        epoch = start // batches
        part = head.copy() if start == head[words.START] else head[: words.FAULTS].copy()
        part[words.START], part[words.UNTIL] = start, min(until, (epoch + 1) * batches)
        part[words.MODE], part[words.EPOCH] = words.GATHER, head[words.EPOCH] + epoch
        yield part
        start = int(part[words.UNTIL])
