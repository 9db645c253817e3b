"""A compiled program: one native entry, the memory it needs, and arrays in and out."""

from __future__ import annotations

import ctypes
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from gradloom.codegen.primitives import ARRIVED
from gradloom.codegen.words import BATCHES, DONE, FAULTS, IN_PLACE, START, STOP, UNTIL
from gradloom.errors import out_of_range
from gradloom.frontend.record import failure
from gradloom.ir.types import TensorType
from gradloom.plan.needs import Needs, best_team, gain
from gradloom.runtime.arrays import address, aligned
from gradloom.runtime.cores import cores
from gradloom.runtime.course import STATELESS, Course, Flight, Resident
from gradloom.runtime.pace import Pace
from gradloom.runtime.recycling import LARGE_BYTES, Reserve
from gradloom.runtime.team import team
from gradloom.settings import current as current_settings


class Entry(Protocol):
    """What runs a program: `address` is where its machine code begins, or 0."""

    address: int

    def __call__(self, table: int, arena: int, control: int, worker: int, team: int, /) -> int:
        """Its status."""
        ...


@dataclass(slots=True)
class Frame:
    """The memory of one call in flight: arena, control words, and the table of addresses."""

    arena: np.ndarray
    control: Any  # ctypes arrays: cheaper than NumPy's to fill word by word
    table: Any
    addresses: tuple[int, int, int, int, int]  # of table, arena and control; worker 0, alone
    results: list[np.ndarray | None]  # places for those without axes, which are copied out
    tenant: Any = None  # the addresses of the state that come first in the table


class Executable:
    """Calls a native entry on arrays.  Calls from several Python threads have a frame each."""

    def __init__(
        self,
        needs: Needs,
        entry: Entry,
        results: Sequence[TensorType] | None = None,
        threads: int | None = None,
    ) -> None:
        self.needs = needs
        self.entry = entry
        # Complex results have a plan of real numbers, and are arrays of complex ones.
        self.results = list(needs.results if results is None else results)
        # Where the table has the addresses of results, and what is made for those with axes.
        first = needs.inputs
        counts = Counter(self.results)
        reserves = {t: Reserve(t, n) for t, n in counts.items() if t.nbytes >= LARGE_BYTES}
        self._arrays = [
            (
                i,
                first + i,
                reserves[t].array if t in reserves else partial(np.empty, t.shape, t.dtype),
            )
            for i, t in enumerate(self.results)
            if t.ndim
        ]
        self._scalars = [i for i, t in enumerate(self.results) if not t.ndim]
        self.flight: Callable[[Course], Flight] = partial(NativeFlight, self)
        self._frames: list[Frame] = []
        # Threads that run a call; an entry of Python text is run by one.
        self.share_among(best_team(needs.effort, threads or cores()) if entry.address else 1)
        self.flops = needs.flops
        self.arena_bytes = needs.arena_bytes
        self.staging_bytes = 0
        self._slots = needs.inputs + len(needs.results)
        self._calling: Callable[[], AbstractContextManager[None]] = nullcontext
        if needs.libraries:
            from gradloom.runtime.libraries import one_thread

            self._calling = one_thread

    def share_among(self, threads: int) -> None:
        """Let calls be run by so many threads, whenever that is seen to be faster than one."""
        self.pace = Pace(threads) if threads > 1 else None
        self.gain_ns = gain(self.needs.effort, threads)

    def reserve(self, staging_bytes: int, extra_slots: int) -> None:
        """Let frames have so much behind the arena, where batches are gathered, for runs that do
        so, and more table entries."""
        self.staging_bytes = staging_bytes
        self._slots += extra_slots

    @property
    def control_bytes(self) -> int:
        """Control words, and the table of addresses."""
        frame = self.frame()
        self.release(frame)
        return ctypes.sizeof(frame.control) + ctypes.sizeof(frame.table)

    def transfer_bytes(self, arguments: Sequence[int]) -> int:
        """None: they are used where they are."""
        return 0

    def frame(self, gathering: bool = False) -> Frame:
        """A free frame, or a new one; give it back with `release`."""
        try:
            frame = self._frames.pop()
        except IndexError:
            frame = self._new_frame()
        if gathering and frame.arena.nbytes < self.arena_bytes + self.staging_bytes:
            frame.arena = aligned(self.arena_bytes + self.staging_bytes)
            table, _, control, worker, size = frame.addresses
            frame.addresses = (table, address(frame.arena), control, worker, size)
        if current_settings().verify == 2:
            frame.arena.fill(0xFF)  # NaN in every float: what is read before it is written shows
        return frame

    def _new_frame(self) -> Frame:
        words = FAULTS + self.needs.kernels
        raw = aligned(8 * words, 128)  # the words of a barrier have cache lines of their own
        control = (ctypes.c_int64 * words).from_buffer(raw.data)
        ctypes.memset(control, 0, 8 * words)
        table = (ctypes.c_size_t * max(self._slots, 1))()
        arena = aligned(self.arena_bytes)
        places = (ctypes.addressof(table), address(arena), ctypes.addressof(control), 0, 1)
        results = [None if t.ndim else np.empty((), t.dtype) for t in self.results]
        return Frame(arena, control, table, places, results)

    def release(self, frame: Frame) -> None:
        self._frames.append(frame)

    def __call__(self, arrays: Sequence[np.ndarray], state: Resident = STATELESS) -> list[Any]:
        """Outputs, as new arrays, and as NumPy's scalars where they have no axes.  `arrays` are
        contiguous and of the planned types; of a training step, one batch, for its state."""
        frame = self.frame()
        try:
            places = state.addresses
            if frame.tenant is not places:
                places = self._settle(frame, state)
            table, slot = frame.table, len(places)
            for array in arrays:
                table[slot] = address(array)
                slot += 1
            results: list[Any] = frame.results.copy()
            for i, slot, made in self._arrays:
                results[i] = result = made()
                table[slot] = address(result)
            self.run(frame)
            if self.needs.faulting or failure.error is not None:
                self.check(frame)
            for i in self._scalars:
                results[i] = results[i][()]
            return results
        finally:
            self._frames.append(frame)

    def _settle(self, frame: Frame, state: Resident) -> Sequence[int]:
        """Ready a frame for calls of one batch each on a state; where that is."""
        places = state.at_home()
        for word in range(ARRIVED):
            frame.control[word] = word in (UNTIL, BATCHES)
        for slot, place in enumerate(places):
            frame.table[slot] = place
        for slot, result in enumerate(frame.results, self.needs.inputs):
            if result is not None:
                frame.table[slot] = address(result)
        frame.tenant = places
        return places

    def run(self, frame: Frame) -> None:
        """One pass over the kernels."""
        if self.needs.libraries:
            with self._calling():
                self._run(frame)
        else:
            self._run(frame)

    def _run(self, frame: Frame) -> None:
        if self.pace is None:
            self.entry(*frame.addresses)
        else:
            self._timed(frame, self.pace, *self.pace.next())

    def resident(self, arrays: Sequence[Any]) -> Sequence[Any]:
        """The arrays as many calls are best given them: as they are."""
        return arrays

    def leaves(self, state: Resident) -> list[Any]:
        """The arrays of a state, to be read until the next call."""
        return state.newest()

    def run_all(self, frame: Frame, passes: int) -> None:
        """So many batches of a training driver, or fewer, if STOP is set."""
        with self._calling():
            self._run_all(frame, passes)

    def _run_all(self, frame: Frame, passes: int) -> None:
        control, done = frame.control, 0
        while done < passes and not control[STOP]:
            size, count = (1, passes) if self.pace is None else self.pace.next(passes - done)
            control[START], control[UNTIL] = done, done + count
            if self.pace is None:
                self.entry(*frame.addresses)
            else:
                self._timed(frame, self.pace, size, count)
            done += count

    def _timed(self, frame: Frame, pace: Pace, size: int, passes: int) -> None:
        """Passes by one thread or the team, so that the pace sees what they take."""
        start = time.perf_counter_ns()
        if size == 1 or not team().run(
            self.entry.address, frame.addresses, size, self.gain_ns * passes
        ):
            self.entry(*frame.addresses)
            size = 1
        pace.tell(size, passes, time.perf_counter_ns() - start)

    def check(self, frame: Frame) -> None:
        """Raise `RangeError` if a kernel met an index out of range, and what a callback raised."""
        failure.release()
        for number, where in self.needs.faulting:
            if frame.control[FAULTS + number]:
                frame.control[FAULTS + number] = 0
                raise out_of_range(where)


class NativeFlight:
    """A call of native code over many batches."""

    __slots__ = ("course", "executable", "frame", "results")

    def __init__(self, executable: Executable, course: Course) -> None:
        self.executable, self.course = executable, course
        self.frame = frame = executable.frame(gathering=course.mode != IN_PLACE)
        passes, keep = course.passes, course.keep
        self.results = [
            np.empty((passes if keep or not i else 1, *t.shape), t.dtype)
            for i, t in enumerate(executable.results)
        ]
        course.write_head(frame.control)
        frame.tenant = None  # the control words are not those of single batches
        places = [*course.state.at_home(), *map(address, course.arrays)]
        places += map(address, self.results)
        if course.order is not None:
            places.append(address(course.order))
        frame.table[: len(places)] = places

    def start(self) -> None:
        """Run it, to its end or until it is stopped."""
        self.executable.run_all(self.frame, self.course.passes)

    def wait(self) -> None:
        """Nothing: it is done once it has been started."""

    def done(self) -> int:
        """How many batches are done."""
        return int(self.frame.control[DONE])

    def stop(self) -> None:
        """Let it end after the batch that it is at."""
        self.frame.control[STOP] = 1

    def finish(self) -> list[np.ndarray]:
        """The results; raises what was wrong with indices."""
        self.executable.check(self.frame)
        return self.results

    def close(self) -> None:
        """Give back the frame."""
        self.executable.release(self.frame)
