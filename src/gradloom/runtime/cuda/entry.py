"""A program on a GPU, called like native code: by the addresses of tables, arena and control words.

Arrays are copied to the GPU, one kernel runs the driver, and what it has written is copied back.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gradloom.codegen import words
from gradloom.codegen.driver import external_slot
from gradloom.codegen.cuda.target import THREADS
from gradloom.plan.plan import Buffer, Plan
from gradloom.runtime.cuda.machine import Machine
from gradloom.runtime.cuda.ptx import PERSISTENT, Ptx

WORD = 8


@dataclass(frozen=True)
class Extern:
    """An array of the caller's: its place in the table, and its bytes."""

    slot: int
    nbytes: int
    read: bool
    written: bool


class CudaEntry:
    """The entry of a program whose plan is dealt out among the blocks of a GPU.

    `batch` are the inputs that hold the data of a training step.
    """

    address = 0  # it is not native code

    def __init__(self, plan: Plan, batch: range | None, ptx: Ptx, machine: Machine) -> None:
        self.plan, self.batch, self.ptx, self.machine = plan, batch, ptx, machine
        self.module = machine.load(ptx.text)
        self.control_words = words.FAULTS + len(plan.kernels)
        self.slots = 1 + sum(b.space in ("input", "state", "output") for b in plan.buffers)
        most = max((s.extent // max(s.grain, 1) for k in plan.kernels for s in k.stages), default=1)
        self.blocks = max(1, min(machine.blocks, most))
        self._arena = (0, 0)  # address and bytes

    def __call__(self, table: int, arena: int, control: int, worker: int, team: int) -> int:
        """One pass, or the batches that the control words ask for."""
        head = np.ctypeslib.as_array((ctypes.c_int64 * self.control_words).from_address(control))
        places = (ctypes.c_size_t * self.slots).from_address(table)
        machine = self.machine
        externs = list(self._externs(head, places))
        there = np.zeros(self.slots, np.uint64)
        made = []
        try:
            for extern in externs:
                at = machine.allocate(max(extern.nbytes, 1))
                made.append(at)
                there[extern.slot] = at
                if extern.read:
                    machine.write(at, _memory(places[extern.slot], extern.nbytes))
            made += [machine.allocate(there.nbytes), machine.allocate(head.nbytes)]
            own_table, own_control = made[-2:]
            machine.write(own_table, there)
            machine.write(own_control, head)
            pointers = (own_table, self._place(head), own_control)
            shared = self.ptx.shared_bytes[PERSISTENT]
            self.module.launch(PERSISTENT, self.blocks, THREADS, shared, pointers)
            machine.read(own_control, head)
            for extern in externs:
                if extern.written:
                    memory = _memory(places[extern.slot], extern.nbytes)
                    machine.read(int(there[extern.slot]), memory)
        finally:
            for at in made:
                machine.free(at)
        return int(head[words.DONE])

    def _place(self, head: np.ndarray) -> int:
        """The arena on the GPU, with the places of batches behind it."""
        from gradloom.codegen.driver import staging

        nbytes = self.plan.arena_bytes
        if self.batch is not None:
            nbytes = staging(self.plan, self.batch)[-1]
        if self._arena[1] < nbytes or not self._arena[0]:
            if self._arena[0]:
                self.machine.free(self._arena[0])
            self._arena = self.machine.allocate(max(nbytes, 1)), nbytes
        return self._arena[0]

    def _externs(self, head: np.ndarray, places: ctypes.Array[ctypes.c_size_t]) -> Iterator[Extern]:
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
            yield Extern(slot, nbytes, True, buffer.space != "input")
        rows = int(head[words.ROWS]) if self.batch is not None else 0
        if rows and places[self.slots - 1]:
            yield Extern(self.slots - 1, rows * WORD, True, True)

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
    return np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))
