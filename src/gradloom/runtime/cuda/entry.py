"""A program on a GPU, called with arrays of the host's or of the GPU's.

All that a call needs is put on the machine's stream, copies too, and waited for once, if anything
comes back to the host.  The state of training stays on the GPU.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gradloom.codegen import words
from gradloom.device_array import OURS, UNKNOWN, DeviceArray, Memory
from gradloom.errors import DeviceError, message, out_of_range, user_where
from gradloom.ir.types import TensorType
from gradloom.plan.arena import padded
from gradloom.plan.needs import Needs
from gradloom.runtime.course import STATELESS, Course, Resident
from gradloom.runtime.cuda.forms import Call, Form
from gradloom.runtime.cuda.machine import Machine
from gradloom.runtime.orders import shuffle
from gradloom.settings import current as current_settings

WORD = 8
# Arrays of the host's up to this size travel together, in one copy each way.  A guess that no GPU
# has measured: beyond it, copying them once more on the host should cost more than a copy saves.
PACKED_BYTES = 1 << 20


class CudaExecutable:
    """Calls a program on a GPU.  Calls from several Python threads follow one another."""

    pace = None  # of threads there is but one

    def __init__(
        self, needs: Needs, form: Form, machine: Machine, results: Sequence[TensorType]
    ) -> None:
        self.needs, self.form, self.machine = needs, form, machine
        self.results = list(results)
        self.flops, self.arena_bytes, self.staging_bytes = needs.flops, needs.arena_bytes, 0
        self.control_words = words.FAULTS + needs.kernels
        self.alone = threading.Lock()  # a program has one arena and one parcel
        self._arena: Memory | None = None
        self._parcel: Memory | None = None

    def reserve(self, staging_bytes: int, extra_slots: int) -> None:
        """Let runs that gather batches have so much behind the arena."""
        self.staging_bytes = staging_bytes

    @property
    def control_bytes(self) -> int:
        """Control words, and the table of addresses."""
        slots = self.needs.inputs + len(self.results) + 1
        return padded(self.control_words * WORD) + slots * WORD

    def transfer_bytes(self, arguments: Sequence[int]) -> int:
        """What arguments of so many bytes each, and the results, take if they are the host's."""
        each = (*arguments, *(kind.nbytes for kind in self.results))
        return sum(padded(n) if n <= PACKED_BYTES else n for n in each)

    def __call__(self, arrays: Sequence[Any], state: Resident = STATELESS) -> list[Any]:
        """Outputs as new arrays: on the GPU if one of `arrays` is, else NumPy's."""
        flight = self._flight(Course(state, arrays, 1), stacked=False)
        try:
            flight.start()
            return flight.finish()
        finally:
            flight.close()

    def flight(self, course: Course) -> CudaFlight:
        """A call over many batches."""
        return self._flight(course, stacked=True)

    def _flight(self, course: Course, *, stacked: bool) -> CudaFlight:
        self.alone.acquire()
        try:
            return CudaFlight(self, course, stacked=stacked)
        except BaseException:
            self.alone.release()
            raise

    def resident(self, arrays: Sequence[Any]) -> Sequence[Any]:
        """The arrays as many calls are best given them: on the GPU."""
        return [a if isinstance(a, DeviceArray) else self._uploaded(a) for a in arrays]

    def _uploaded(self, array: np.ndarray) -> DeviceArray:
        made = DeviceArray(self.machine, array.shape, array.dtype)
        self.machine.write(made.address, array)
        return made

    def leaves(self, state: Resident) -> list[DeviceArray]:
        """The arrays of a state, to be read until the next call."""
        return state.arrays_on(self.machine)

    # ---- memory, which is there from the first call on

    def arena(self, *, gathering: bool) -> int:
        """Where values lie; NaN in every float, where what is read before it is written shows."""
        nbytes = self.arena_bytes + self.staging_bytes * gathering
        self._arena = self._at_least(self._arena, nbytes)
        if current_settings().verify == 2:
            self.machine.write(self._arena.address, np.full(nbytes, 0xFF, np.uint8))
        return self._arena.address

    def parcel(self, nbytes: int) -> int:
        """Where what travels together lies."""
        self._parcel = self._at_least(self._parcel, nbytes)
        return self._parcel.address

    def _at_least(self, memory: Memory | None, nbytes: int) -> Memory:
        if memory is not None and memory.nbytes >= nbytes:
            return memory
        return Memory(self.machine, nbytes)


class CudaFlight:
    """A call, whose arguments are on the GPU once this is made.

    Arrays of the host's that are small travel together, in the executable's parcel: first the
    arguments, then the control words, then the results.
    """

    def __init__(self, executable: CudaExecutable, course: Course, *, stacked: bool) -> None:
        self.executable, self.course, self.stacked = executable, course, stacked
        self.machine = machine = executable.machine
        self.head = np.zeros(executable.control_words, np.int64)
        course.write_head(self.head)
        self.head[words.UNTIL] = course.batches if self._shuffling() else course.passes
        self.head[words.MODE] = min(course.mode, words.GATHER)  # the host shuffles
        self.there = any(isinstance(array, DeviceArray) for array in course.arrays)
        self.owners: set[int] = set()  # streams of other libraries, whose arrays are read
        self.held: list[Memory] = []  # given back with this, in the order of the stream
        table = [*course.state.on(machine)]
        self.results = self._empty()
        control = sum(padded(a.nbytes) for a in course.arrays if _travels(a))
        end = control + padded(self.head.nbytes)
        self.bytes_back = sum(padded(a.nbytes) for a in self.results if _travels(a))
        parcel = executable.parcel(end + self.bytes_back)
        letter, at = np.empty(control + self.head.nbytes, np.uint8), 0
        for array in course.arrays:
            if not _travels(array):
                table.append(self._argument(array))
                continue
            letter[at : at + array.nbytes] = _bytes(array)
            table.append(parcel + at)
            at += padded(array.nbytes)
        letter[control:] = _bytes(self.head)
        machine.write(parcel, letter)
        at = end
        for result in self.results:
            if not _travels(result):
                table.append(self._result(result))
                continue
            table.append(parcel + at)
            at += padded(result.nbytes)
        self.order = None if course.mode == words.IN_PLACE else course.order
        order = 0 if self.order is None else self._memory(self.order.nbytes)
        arena = executable.arena(gathering=self.order is not None)
        self.call = Call(table, arena, parcel + control, self.head, order)

    def _shuffling(self) -> bool:
        return self.course.mode == words.SHUFFLE

    def _empty(self) -> list[Any]:
        """Arrays for the results."""
        found: list[Any] = []
        for number, kind in enumerate(self.executable.results):
            length = self.course.passes if self.course.keep or not number else 1
            shape = (length, *kind.shape) if self.stacked else kind.shape
            found.append(
                DeviceArray(self.machine, shape, kind.dtype)
                if self.there
                else np.empty(shape, kind.dtype)
            )
        return found

    def _argument(self, array: Any) -> int:
        """Where an array lies that does not travel with others."""
        if not isinstance(array, DeviceArray):
            place = self._memory(array.nbytes)
            self.machine.write(place, array)
            return place
        if array.machine is not self.machine:
            raise DeviceError(
                message("an argument lies on another GPU", user_where(), "gl.device_get it first")
            )
        if array.owner > 0 and array.owner not in self.owners:
            self.machine.after(array.owner)
        if array.owner != OURS:
            self.owners.add(array.owner)
        return array.address

    def _result(self, array: Any) -> int:
        """Where a result is to be that does not travel with others."""
        return array.address if isinstance(array, DeviceArray) else self._memory(array.nbytes)

    def _memory(self, nbytes: int) -> int:
        self.held.append(Memory(self.machine, nbytes))
        return self.held[-1].address

    # ---- the call

    def start(self) -> None:
        """Put all of it on the stream, or as much as before it was stopped."""
        if not self.course.passes:
            return
        for _ in self._parts():
            if self.head[words.STOP]:
                return
            self.executable.form.start(self.call)

    def _parts(self) -> Iterator[int]:
        """What is started at a time, ready: all, or, where rows are shuffled, each epoch."""
        course, head = self.course, self.head
        for epoch in range(course.epochs if self._shuffling() else 1):
            if self._shuffling():
                assert course.order is not None
                shuffle(course.order, course.key, course.first_epoch + epoch)
            if epoch:
                self.machine.wait()  # meanwhile it may be stopped
            if self.order is not None:
                self.machine.write(self.call.order, self.order)
            if epoch:
                head[words.START] = epoch * course.batches
                head[words.UNTIL] = head[words.START] + course.batches
                # Not the words before them, by which others see how far it is, and stop it.
                later = head[words.START : words.KEEP + 1]
                self.machine.write(self.call.control + WORD * words.START, later)
            yield epoch

    def wait(self) -> None:
        """Return when it is done."""
        self.machine.wait()

    def done(self) -> int:
        """How many batches are done, while another thread runs it: those that kernels have
        counted, or the host, where it launches them one by one."""
        word = np.zeros(1, np.int64)
        self.machine.peek(self.call.control + WORD * words.DONE, word)
        return max(int(word[0]), int(self.head[words.DONE]))

    def stop(self) -> None:
        """Let it end after the batch that it is at."""
        self.head[words.STOP] = 1
        self.machine.poke(
            self.call.control + WORD * words.STOP, self.head[words.STOP : words.STOP + 1]
        )

    def finish(self) -> list[Any]:
        """The results.  Raises `RangeError`, for which it waits."""
        machine, faulting = self.machine, self.executable.needs.faulting
        words_back = padded(self.head.nbytes)
        letter = np.empty(words_back + self.bytes_back, np.uint8)
        if faulting or self.bytes_back:
            machine.fetch(self.call.control, letter)
        places = self.call.table[len(self.call.table) - len(self.results) :]
        for place, result in zip(places, self.results, strict=True):
            if isinstance(result, np.ndarray) and not _travels(result):
                machine.fetch(place, result)
        if faulting or not self.there or UNKNOWN in self.owners:
            machine.wait()
        for stream in self.owners - {UNKNOWN}:
            machine.before(stream)
        if faulting:
            self._check(letter[: self.head.nbytes].view(np.int64))
        at = words_back
        for result in self.results:
            if _travels(result):
                _bytes(result)[:] = letter[at : at + result.nbytes]
                at += padded(result.nbytes)
        if self.stacked or self.there:
            return self.results
        return [result if result.ndim else result[()] for result in self.results]

    def _check(self, head: np.ndarray) -> None:
        """Raise `RangeError` if a kernel met an index out of range."""
        for number, where in self.executable.needs.faulting:
            if head[words.FAULTS + number]:
                raise out_of_range(where)

    def close(self) -> None:
        """Give back what it used."""
        self.held.clear()
        self.executable.alone.release()


def _travels(array: Any) -> bool:
    """Whether an array is copied together with others."""
    return not isinstance(array, DeviceArray) and array.nbytes <= PACKED_BYTES


def _bytes(array: np.ndarray) -> np.ndarray:
    """A view of an array's bytes."""
    return array.reshape(-1).view(np.uint8)
