"""A program on a GPU, called like native code: by the addresses of tables, arena and control words.

Arrays are copied to the GPU, one kernel runs the driver, and what it has written is copied back.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gradloom.codegen import words
from gradloom.codegen.driver import external_slot, staging
from gradloom.plan.dealt import DevicePlan
from gradloom.plan.plan import Buffer
from gradloom.runtime.cuda.forms import Call, by_epoch, form_of
from gradloom.runtime.cuda.kernel import Ptx
from gradloom.runtime.cuda.machine import Machine
from gradloom.runtime.orders import shuffle

WORD = 8


@dataclass(frozen=True)
class Extern:
    """An array of the caller's: its place in the table, its bytes, and whether it is written."""

    slot: int
    nbytes: int
    written: bool


class CudaEntry:
    """The entry of a program whose plan is dealt out among the blocks of a GPU.

    `batch` are the inputs that hold the data of a training step.
    """

    address = 0  # it is not native code

    def __init__(
        self,
        device: DevicePlan,
        batch: range | None,
        ptx: Ptx,
        machine: Machine,
    ) -> None:
        self.plan, self.batch, self.machine = device.plan, batch, machine
        self.form = form_of(ptx, machine)
        self.control_words = words.FAULTS + len(self.plan.kernels)
        self.slots = sum(b.space in ("input", "state", "output") for b in self.plan.buffers)
        self._arena = (0, 0)  # address and bytes
        self._alone = threading.Lock()  # an entry has one arena

    def __call__(self, table: int, arena: int, control: int, worker: int, team: int) -> int:
        """One pass, or the batches that the control words ask for."""
        with self._alone:
            return self._call(table, control)

    def _call(self, table: int, control: int) -> int:
        head = np.ctypeslib.as_array((ctypes.c_int64 * self.control_words).from_address(control))
        places = (ctypes.c_size_t * (self.slots + 1)).from_address(table)
        machine = self.machine
        externs = list(self._externs(head))
        there = [0] * self.slots
        made = []

        def allocated(nbytes: int) -> int:
            made.append(machine.allocate(max(nbytes, 1)))
            return made[-1]

        try:
            for extern in externs:
                there[extern.slot] = at = allocated(extern.nbytes)
                machine.write(at, _memory(places[extern.slot], extern.nbytes))
            control_there = allocated(head.nbytes)
            rows = int(head[words.ROWS]) if self.batch is not None else 0
            order = _memory(places[self.slots] if rows else 0, rows * WORD).view(np.int64)
            order_there = allocated(order.nbytes)
            shuffled = head[words.MODE] == words.SHUFFLE
            key = int(head[words.KEY_LOW]), int(head[words.KEY_HIGH])
            for part in by_epoch(head):
                if shuffled:
                    shuffle(order, key, int(part[words.EPOCH]))
                machine.write(order_there, order)
                self.form.start(Call(there, self._place(), control_there, part, order_there))
            machine.read(control_there, head)
            for extern in externs:
                if extern.written:
                    machine.read(there[extern.slot], _memory(places[extern.slot], extern.nbytes))
        finally:
            for at in made:
                machine.free(at)
        return int(head[words.DONE])

    def _place(self) -> int:
        """The arena on the GPU, with the places of batches behind it."""
        nbytes = self.plan.arena_bytes
        if self.batch is not None:
            nbytes = staging(self.plan, self.batch)[-1]
        if self._arena[1] < nbytes or not self._arena[0]:
            if self._arena[0]:
                self.machine.free(self._arena[0])
            self._arena = self.machine.allocate(max(nbytes, 1)), nbytes
        return self._arena[0]

    def _externs(self, head: np.ndarray) -> Iterator[Extern]:
        """The arrays that this call reads and writes."""
        outputs = 0
        for buffer in self.plan.buffers:
            if buffer.space not in ("input", "state", "output"):
                continue
            slot = external_slot(self.plan.buffers, buffer)
            count = 1
            if self.batch is not None and buffer.space == "output":
                keep = outputs == 0 or head[words.KEEP]
                count = int(head[words.UNTIL]) if keep else 1
                outputs += 1
            nbytes = self._data_bytes(buffer, head) if self._is_data(buffer) else 0
            nbytes = nbytes or buffer.type.nbytes * count
            yield Extern(slot, nbytes, buffer.space != "input")

    def _is_data(self, buffer: Buffer) -> bool:
        return self.batch is not None and buffer.space == "input" and buffer.offset in self.batch

    def _data_bytes(self, buffer: Buffer, head: np.ndarray) -> int:
        """All batches of one array of the data, as far as they are used."""
        batches = int(head[words.BATCHES])
        if not buffer.type.ndim:
            return batches * buffer.type.nbytes
        rows = buffer.type.shape[0]
        row_bytes = buffer.type.nbytes // max(rows, 1)
        if head[words.MODE] == words.IN_PLACE:
            return (int(head[words.FIRST]) + batches * rows) * row_bytes
        return int(head[words.ROWS]) * row_bytes


def _memory(address: int, nbytes: int) -> np.ndarray:
    if not nbytes:
        return np.zeros(0, np.uint8)
    return np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))
