"""How the passes of a program are launched: by one kernel that runs its driver, or by the host,
which launches the driver's groups, as one graph where it need not look at what they compute.  All
put their work on the machine's stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from gradloom.codegen import words
from gradloom.codegen.cut import Host
from gradloom.device_array import Memory
from gradloom.plan.tiles import CLUSTER
from gradloom.runtime.cuda.kernel import PERSISTENT, Ptx
from gradloom.runtime.cuda.launch import Launch
from gradloom.runtime.cuda.machine import Graph, Machine, Module
from gradloom.settings import current as current_settings

WORD = 8
GRAPHS = "graphs"  # in `GRADLOOM_DISABLE`: every kernel is launched by itself
# Passes that are launched before the host looks whether it shall stop.
AHEAD = 32
KEPT = 4  # graphs of one program, for as many places of its arena


@dataclass(frozen=True)
class Call:
    """Passes over a program, by addresses of the device: `table` has those of inputs, state and
    outputs by slot; `order` is where the order of rows lies, or 0.

    `head` are the control words, which `control` on the device has too; there they are afterwards
    as the passes have left them.
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
    """One kernel runs the driver, by blocks that are all resident and wait for each other, or, on
    GPUs that have them, by those of one cluster."""

    def __init__(self, ptx: Ptx, machine: Machine) -> None:
        self.machine = machine
        self.module = machine.load(ptx.text)
        self.kernel = _Kernel(PERSISTENT, ptx, self.module)
        self.table = _Table(machine)

    def start(self, call: Call) -> None:
        """One launch."""
        given = self.table.place(call), call.arena, call.control
        self.module.launch(self.kernel.launch(given, together=True))


class Launched:
    """The host launches the groups of the driver's stages.

    The kernels take the addresses of table, arena and control words, so a graph of them is good for
    any arrays and any batch.  A `while_loop` or a branch whose parts wait for each other is taken
    by the host, which reads the word that decides, so these are launched one by one.
    """

    def __init__(self, ptx: Ptx, host: Host, machine: Machine) -> None:
        self.machine, self.host = machine, host
        self.module = machine.load(ptx.text)
        self.table = _Table(machine)
        self.kernels = [_Kernel(name, ptx, self.module) for name in ptx.grains]
        self.graphs = host.straight and GRAPHS not in current_settings().disable
        self._graphs: dict[tuple[int, ...], Graph] = {}

    def start(self, call: Call) -> None:
        """One launch of a graph that repeats itself, or one of a graph, or of every kernel, for
        each pass."""
        place = self.table.place(call)
        if not self.graphs:
            for _ in self._passes(call):
                self._run(call, place, 0, self.module.launch)
            return
        graph = self._graph(call, place)
        if self.repeats:
            graph.launch()
            return
        for _ in self._passes(call):
            graph.launch()

    @property
    def repeats(self) -> bool:
        """Whether a graph goes on to the next pass by itself."""
        return bool(self.host.more) and self.machine.loops

    def _graph(self, call: Call, place: int) -> Graph:
        """The graph of a pass: it differs by what its kernels take, and by what the host knows when
        it launches them."""
        key = place, call.arena, call.control, int(call.head[words.MODE])
        graph = self._graphs.pop(key, None)
        if graph is None:

            def launches(loop: int) -> list[Launch]:
                found: list[Launch] = []
                self._run(call, place, loop, found.append)
                return found

            graph = self.module.graph(launches, self.repeats)
            if len(self._graphs) == KEPT:
                self._graphs.pop(next(iter(self._graphs)))
        self._graphs[key] = graph
        return graph

    def _passes(self, call: Call) -> Iterator[int]:
        """The passes of a call, as far as nobody has set STOP."""
        first, end = (int(call.head[w]) for w in (words.START, words.UNTIL))
        if not self.host.more:
            first, end = 0, 1
        stop = np.zeros(1, np.int64)
        for done in range(first, end):
            if done > first and (done - first) % AHEAD == 0:
                self.machine.read(call.control + WORD * words.STOP, stop)
                if stop[0]:
                    return
            yield done

    def _run(self, call: Call, place: int, loop: int, give: Callable[[Launch], None]) -> None:
        """One pass of what is left of the driver."""
        given = place, call.arena, call.control

        def launch(number: int, *more: int) -> None:
            give(self.kernels[number].launch((*given, *more)))

        def get(base: Any, index: int) -> int:
            if base is call.head:
                return int(base[index])
            word = np.zeros(1, np.int64)
            self.machine.read(base + WORD * index, word)
            return int(word[0])

        names = {
            "launch": launch,
            "get": get,
            "get_ptr": lambda table, index: table[index],
            "view": lambda base, offset: base + offset,
        }
        exec(self._code, names)
        run: Any = names[words.ENTRY]
        run(call.table, call.arena, call.head, *[loop] * len(self.host.more))

    @cached_property
    def _code(self) -> Any:
        return compile(self.host.text, "<driver>", "exec")


class _Kernel:
    """A kernel of a program, with as many blocks as have something to do and are resident."""

    def __init__(self, name: str, ptx: Ptx, module: Module) -> None:
        self.name, self.module = name, module
        self.shared_bytes, self.grains = ptx.shared_bytes[name], ptx.grains[name]
        self.cluster = ptx.cluster

    @cached_property
    def blocks(self) -> int:
        """Asked for when it is launched: a program for a GPU elsewhere never is."""
        resident = self.module.resident(self.name, self.shared_bytes)
        most = max(1, min(self.grains, resident))
        return min(CLUSTER, 1 << most.bit_length() - 1) if self.cluster else most

    def launch(self, given: tuple[int, ...], *, together: bool = False) -> Launch:
        """Of this kernel."""
        together &= not self.cluster
        return Launch(self.name, given, self.blocks, self.shared_bytes, together, self.cluster)


class _Table:
    """A program's table of addresses on the device."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._there = np.zeros(0, np.int64)
        self._place: Memory | None = None

    def place(self, call: Call) -> int:
        """Where it lies, with the addresses of a call in it."""
        wanted = np.array([*call.table, call.order], np.int64)
        if self._place is None:
            self._place = Memory(self.machine, wanted.nbytes)
        if not np.array_equal(wanted, self._there):
            self.machine.write(self._place.address, wanted)
            self._there = wanted
        return self._place.address


def form_of(ptx: Ptx, machine: Machine) -> Form:
    """The form that a program's PTX is for."""
    return Persistent(ptx, machine) if ptx.host is None else Launched(ptx, ptx.host, machine)
