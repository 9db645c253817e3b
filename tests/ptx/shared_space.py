"""Shared memory: a part for each block, with checks for races and for bytes that nobody wrote."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.ptx.counters import Counters, bank_conflicts
from tests.ptx.races import RaceError, Races
from tests.ptx.spaces import FaultError, Space, rounded_up
from tests.ptx.syntax import PtxError, Variable

# Of a cell: in no variable, never written, to be written by a copy under way, written.
GAP, RAW, FLYING, READY = range(4)
BETWEEN = 128  # bytes between two variables: one bank line, so that banks stay as they were
STATIC_LIMIT = 48 << 10  # what ptxas takes without dynamic shared memory
LIMIT = 227 << 10  # of a block on sm_90


class Layout:
    """Where the shared variables of a kernel lie, with gaps to catch what runs over."""

    def __init__(self, variables: list[Variable], dynamic: int) -> None:
        shared = [variable for variable in variables if variable.space == "shared"]
        static = sum(rounded_up(variable.size, variable.align) for variable in shared)
        if static > STATIC_LIMIT or static + dynamic > LIMIT:
            raise PtxError(f"{static} + {dynamic} bytes of shared memory are too many")
        self.parts: dict[str, tuple[int, int]] = {}
        self.extent, dynamic_start = 0, None
        for variable in sorted(shared, key=lambda variable: variable.dynamic):
            if not (variable.dynamic and dynamic_start is not None):
                start = rounded_up(self.extent, BETWEEN)
                size = dynamic if variable.dynamic else variable.size
                dynamic_start = start if variable.dynamic else None
                self.extent = start + size + BETWEEN
            self.parts[variable.name] = (start, size)  # all dynamic ones are one


class Shared(Space):
    name = "shared"

    def __init__(
        self,
        blocks: int,
        padded: int,
        layout: Layout,
        cell: int,
        counters: Counters,
        named: Callable[[int], str],
        races: bool,
    ) -> None:
        self.padded, self.layout, self.extent = padded, layout, layout.extent
        self.stride = rounded_up(layout.extent, BETWEEN)
        super().__init__(blocks * self.stride)
        self.shift = cell.bit_length() - 1
        state = np.full(self.stride >> self.shift, GAP, np.uint8)
        for start, size in layout.parts.values():
            state[start >> self.shift : (start + size + cell - 1) >> self.shift] = RAW
        self.state = np.tile(state, blocks)
        self.races = Races(blocks * padded, padded // 32, self.state.size) if races else None
        self.counters, self.named = counters, named

    def locate(self, threads: np.ndarray, addresses: np.ndarray, size: int) -> np.ndarray:
        low, high = int(np.minimum.reduce(addresses)), int(np.maximum.reduce(addresses))
        if low < 0 or high + size > self.extent:
            bad = (addresses < 0) | (addresses + size > self.extent)
            raise self.outside(threads, addresses, int(np.argmax(bad)), size)
        return addresses + (threads // self.padded) * self.stride

    def near(self, address: int) -> str:
        for name, (start, size) in reversed(self.layout.parts.items()):
            if address >= start:
                return f"byte {int(address) - start} of {name}, which has {size}"
        return "before every shared variable"

    def touched(
        self, threads: np.ndarray, places: np.ndarray, size: int, writes: bool, strong: bool
    ) -> None:
        self.counters.shared(size * threads.size, writes)
        if self.counters.profile:
            self.counters.bank_conflicts += bank_conflicts(threads, places, size)
        threads, cells = self.cells(threads, places, size)
        state = self.state[cells]
        if writes:
            self.inside(threads, cells, state == GAP)
            self.state[cells] = READY
        elif int(np.minimum.reduce(state)) != READY:
            self.inside(threads, cells, state == GAP)
            at = int(np.argmax(state != READY))
            why = "which nobody wrote" if state[at] == RAW else "where a cp.async is not waited for"
            raise FaultError(f"reads {self.place(cells[at])}, {why}", int(threads[at]))
        self.check_races(threads, cells, writes, strong)

    def begin_copy(self, threads: np.ndarray, addresses: np.ndarray, size: int) -> None:
        """A cp.async may write from now on, until it has been waited for."""
        self.aligned(threads, addresses, size)
        places = self.locate(threads, addresses, size)
        threads, cells = self.cells(threads, places, size)
        self.inside(threads, cells, self.state[cells] == GAP)
        self.check_races(threads, cells, writes=True, strong=False)
        self.state[cells] = FLYING

    def check_races(
        self, threads: np.ndarray, cells: np.ndarray, writes: bool, strong: bool
    ) -> None:
        if self.races:
            try:
                self.races.access(threads, cells, writes, strong)
            except RaceError as race:
                where = self.place(race.cell)
                raise race.fault(where, self.named(race.other)) from None

    def cells(
        self, threads: np.ndarray, places: np.ndarray, size: int
    ) -> tuple[np.ndarray, np.ndarray]:
        count = size >> self.shift
        cells = places >> self.shift
        if count <= 1:
            return threads, cells
        return np.repeat(threads, count), (cells[:, None] + np.arange(count)).ravel()

    def inside(self, threads: np.ndarray, cells: np.ndarray, gap: np.ndarray) -> None:
        if gap.any():
            at = int(np.argmax(gap))
            raise FaultError(f"touches {self.place(cells[at])}", int(threads[at]))

    def place(self, cell: int) -> str:
        address = (int(cell) << self.shift) % self.stride
        return f"shared address {address:#x} ({self.near(address)})"
