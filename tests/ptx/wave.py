"""A wave: blocks that are resident together, run as groups of threads that stand at one place.

A group has its own copy of the registers that live where it stands. It is split where its threads
take different ways and joined where they meet again. The group at the lowest position runs first,
which brings threads together again in structured code; now and then the group that has waited
longest runs instead, so that all make progress, as a GPU since sm_70 promises.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tests.ptx.action import DTYPES
from tests.ptx.barriers import Barriers, Party
from tests.ptx.blocks import EXIT, Block, Outcome
from tests.ptx.copies import Copies
from tests.ptx.global_space import Global
from tests.ptx.races import Races
from tests.ptx.shared_space import Shared
from tests.ptx.spaces import WINDOWS, FaultError, Local, Parameters, Space
from tests.ptx.syntax import Instruction, PtxError
from tests.ptx.values import Values, array_of, joined, parts_of

if TYPE_CHECKING:
    from tests.ptx.machine import Launch

# In one of so many rounds the group that has waited longest goes first. Structured kernels do not
# feel it (150 ms with 4, 8, 64 or never); eight blocks that jump anywhere take 32 ms with 4 or 8,
# 44 with 16, 95 with 64 and 238 with never.
PATIENCE = 8
# Rounds without progress after which the wave is watched for standing still: some milliseconds.
SUSPICION = 512
# Of the rounds of a wave in a random order, the part in which any group runs, or some blocks of it.
UNUSUAL = 0.2


@dataclass
class Group:
    threads: np.ndarray  # ascending
    values: Values
    since: int  # the round in which it came here

    def part(self, where: np.ndarray) -> Group:
        return Group(self.threads[where], parts_of(self.values, where), self.since)

    def with_(self, other: Group) -> Group:
        threads = np.concatenate((self.threads, other.threads))
        order = np.argsort(threads, kind="stable")
        values = joined(self.values, other.values, order)
        return Group(threads[order], values, min(self.since, other.since))


class Wave:
    """`blocks` are the numbers of the blocks of the grid that are resident, in any order."""

    def __init__(self, launch: Launch, blocks: np.ndarray) -> None:
        self.launch, self.blocks = launch, blocks
        self.counters = launch.counters
        self.size = int(np.prod(launch.block))
        self.padded = -(-self.size // 32) * 32
        places = np.arange(blocks.size * self.padded)
        threads = places[places % self.padded < self.size]
        self.alive = threads.size
        self.alive_in_block = np.full(blocks.size, self.size)
        self.threads_in_block = self.alive_in_block.copy()
        self.lanes = np.zeros(places.size // 32, np.uint32)  # the lanes of each warp that live
        np.bitwise_or.at(self.lanes, threads >> 5, np.uint32(1) << (threads & 31).astype(np.uint32))
        # What is read before it is written, on some way, begins as zero.
        undefined = launch.kernel.program.live[0]
        zeros = tuple(np.zeros(threads.size, DTYPES[register.type]) for register in undefined)
        self.ready: dict[int, Group] = {0: Group(threads, zeros, 0)}
        self.parked: dict[int, Group] = {}  # waiting for the other lanes of their warps
        self.round = 0
        seed = launch.seed
        self.chance = None if seed is None else np.random.default_rng([seed, int(blocks[0])])
        self.progress = True
        self.specials: dict[str, np.ndarray] = {}
        self.copies = Copies(self)
        self.spaces = self.make_spaces()
        self.barriers = Barriers(self, np.arange(blocks.size))
        _, clusters = np.unique(blocks // launch.cluster, return_inverse=True)
        self.clusters = Barriers(self, clusters)

    def make_spaces(self) -> dict[str, Space]:
        launch, kernel = self.launch, self.launch.kernel
        padded, blocks = self.padded, self.blocks.size
        shared = Shared(
            *(blocks, padded, launch.layout, kernel.cells["shared"], self.counters, self.named),
            launch.races is not False,
        )
        everywhere = Global(launch.memory, self, launch.races == "global")
        self.races: list[Races] = [s.races for s in (shared, everywhere) if s.races is not None]
        return {
            "shared": shared,
            "global": everywhere,
            "const": everywhere,
            "local": Local(blocks * padded, kernel.local_extent),
            "param": Parameters(launch.params),
        }

    # Threads.

    def block_of(self, threads: np.ndarray) -> np.ndarray:
        """The number within the wave of the block of each thread."""
        return threads // self.padded

    def named(self, thread: int) -> str:
        """A thread in the words of its kernel."""
        x, y, _ = self.launch.block
        inside, block = thread % self.padded, int(self.blocks[thread // self.padded])
        gx, gy, _ = self.launch.grid
        here = (inside % x, inside // x % y, inside // (x * y))
        return f"thread {here} of block {(block % gx, block // gx % gy, block // (gx * gy))}"

    def special(self, name: str, threads: np.ndarray) -> np.ndarray:
        """A special register of each thread."""
        if name.startswith(("%clock", "%globaltimer")):
            return np.full(threads.size, self.round, np.uint64)
        if name not in self.specials:
            self.specials[name] = self.launch.special(name, self.blocks, self.padded)
        return self.specials[name][threads]

    def symbol(self, name: str, offset: int, dtype: np.dtype) -> np.generic:
        """The address of a variable."""
        return np.int64(self.launch.symbols[name] + offset).astype(dtype)

    def present(self, these: np.ndarray, threads: np.ndarray) -> np.ndarray:
        """For each of the threads the lanes of its warp that are among `these`, as bits."""
        bits = np.zeros(self.lanes.size, np.uint32)
        np.bitwise_or.at(bits, these >> 5, np.uint32(1) << (these & 31).astype(np.uint32))
        return bits[threads >> 5]

    def window(self, address: int) -> Space:
        return self.spaces[WINDOWS[address]]

    # Control.

    def run(self) -> None:
        """Runs every thread to its end."""
        executed: Counter[tuple[int, int]] = Counter()
        kernel, ready = self.launch.kernel, self.ready
        watch = Watch(self)
        while ready:
            self.round += 1
            position = self.choose()
            watch.look()
            block = kernel.block(position)
            group = self.some_blocks(position, ready.pop(position))
            if block.wide and not self.gather(position, group, block):
                continue
            outcome = self.step(block, group)
            left = EXIT if len(outcome) != 1 else outcome[0][0]
            executed[position, left] += group.threads.size
            for where, threads, values in outcome:
                if where == EXIT:
                    self.end(threads)
                else:
                    self.put(where, threads, values)
        self.counters.rounds += self.round
        self.tally(executed)
        if self.alive:
            raise PtxError(f"{kernel.name}: deadlock: {self.standing()}")

    def tally(self, executed: Counter[tuple[int, int]]) -> None:
        instructions = self.counters.instructions
        for (position, left), threads in executed.items():
            for opcode, count in self.launch.kernel.block(position).opcodes[left].items():
                instructions[opcode] += count * threads

    def choose(self) -> int:
        if len(self.ready) == 1:
            return next(iter(self.ready))
        if self.chance and self.chance.random() < UNUSUAL:
            return int(self.chance.choice(list(self.ready)))
        if self.round % PATIENCE == 0:
            return min(self.ready, key=lambda position: self.ready[position].since)
        return min(self.ready)

    def some_blocks(self, position: int, group: Group) -> Group:
        """Those threads of a group that run now: by chance not those of all of its blocks."""
        if self.chance and self.chance.random() < UNUSUAL:
            goes = self.chance.random(self.blocks.size) < 0.5
            goes = goes[self.block_of(group.threads)]
            if 0 < np.count_nonzero(goes) < goes.size:
                self.ready[position] = group.part(np.nonzero(~goes)[0])
                return group.part(np.nonzero(goes)[0])
        return group

    def gather(self, position: int, group: Group, block: Block) -> bool:
        """Parks the threads whose warps are not together, when the block begins with an
        instruction that needs them so. False if nobody is left to run."""
        if group.threads.size == self.alive or (block.mask is None and block.mask_at is None):
            return True
        mask = block.mask if block.mask_at is None else array_of(group.values[block.mask_at])
        wanted = self.lanes[group.threads >> 5] & np.asarray(mask).astype(np.uint32)
        here = (wanted & ~self.present(group.threads, group.threads)) == 0
        if here.all():
            return True
        for where, home in ((np.nonzero(~here)[0], self.parked), (np.nonzero(here)[0], self.ready)):
            if where.size:
                part = group.part(where)
                home[position] = part.with_(home[position]) if position in home else part
        return False

    def step(self, block: Block, group: Group) -> list[Outcome]:
        threads = group.threads
        whole = not block.wide or threads.size == self.alive or self.is_whole(threads)
        try:
            return block.run(self, threads, whole, group.values)
        except FaultError as fault:
            where = self.instruction_of(fault, block)
            thread = int(threads[0]) if fault.thread is None else fault.thread
            raise PtxError(
                f"{self.launch.kernel.name} line {where.line}: {where.text}\n"
                f"  {self.named(thread)}: {fault.reason}"
            ) from fault

    def instruction_of(self, fault: FaultError, block: Block) -> Instruction:
        """The instruction whose line of the block's source raised a fault."""
        trace = fault.__traceback__
        while trace.tb_frame.f_code is not block.run.__code__:
            trace = trace.tb_next
        return block.lines[trace.tb_lineno]

    def is_whole(self, threads: np.ndarray) -> bool:
        """Whether all living lanes of every warp are among the threads."""
        return bool((self.present(threads, threads) == self.lanes[threads >> 5]).all())

    def put(self, position: int, threads: np.ndarray, values: Values) -> None:
        """Threads come to a place, where others may stand already."""
        group = Group(threads, values, self.round)
        for home in (self.ready, self.parked):
            if position in home:
                group = group.with_(home.pop(position))
        self.ready[position] = group

    def end(self, threads: np.ndarray) -> None:
        self.progress = True
        self.alive -= threads.size
        self.alive_in_block -= np.bincount(self.block_of(threads), minlength=self.blocks.size)
        bits = np.uint32(1) << (threads & 31).astype(np.uint32)
        np.bitwise_and.at(self.lanes, threads >> 5, ~bits)
        parked, self.parked = self.parked, {}
        for position, group in parked.items():
            self.put(position, group.threads, group.values)
        self.barriers.complete_all()
        self.clusters.complete_all()

    # Waiting.

    def wait_for_cluster(
        self, threads: np.ndarray, position: int, values: tuple[np.ndarray, ...]
    ) -> list[Outcome]:
        """Threads come to the barrier of their cluster and wait."""
        self.clusters.come(0, None, Party(threads, position, values))
        return []

    def wait(
        self,
        threads: np.ndarray,
        number: np.ndarray,
        count: np.ndarray | None,
        position: int,
        values: Values,
    ) -> list[Outcome]:
        """Threads come to a barrier and wait; a number for all of them, or one for each."""
        self.come(threads, number, count, position, values)
        return []

    def come(
        self,
        threads: np.ndarray,
        number: np.ndarray,
        count: np.ndarray | None,
        position: int | None,
        values: Values,
    ) -> None:
        asked = None if count is None else int(np.max(count))
        if np.ndim(number) == 0 or np.all(number == number[0]):
            number = int(np.max(number))
            self.barriers.come(number, asked, Party(threads, position, values))
            return
        for one in np.unique(number):
            here = np.nonzero(number == one)[0]
            mine = parts_of(values, here)
            asked = (
                None if count is None else int(np.max(np.broadcast_to(count, number.shape)[here]))
            )
            self.barriers.come(int(one), asked, Party(threads[here], position, mine))

    def standing(self) -> str:
        """Where every thread stands, in words."""
        places = [(at, group.threads, "stand") for at, group in self.ready.items()]
        places += [(at, g.threads, "wait for their warps") for at, g in self.parked.items()]
        barriers = [(f"barrier {n}", one) for n, one in self.barriers.barriers.items()]
        barriers += [("the barrier of their cluster", b) for b in self.clusters.barriers.values()]
        for name, barrier in barriers:
            for party in barrier.parties:
                if party.position is not None:
                    where = (party.position - 1, party.threads, f"wait at {name}")
                    places.append(where)
        return "; ".join(
            f"{threads.size} threads ({self.named(int(threads[0]))}) {what} at "
            f"line {self.launch.kernel.program.instructions[at].line}: "
            f"{self.launch.kernel.program.instructions[at].text}"
            for at, threads, what in places
        )


class Watch:
    """Notices a wave in which threads spin for something that nobody will do.

    If no memory has changed between two moments at which every group stands at the same place with
    the same registers, then it will never change: what runs in between depends on nothing else.
    """

    def __init__(self, wave: Wave) -> None:
        self.wave = wave
        self.rounds = 0  # since the last progress
        self.seen: list[tuple[int, Group]] = []
        self.round = 0  # when that was

    def look(self) -> None:
        if self.wave.round > self.wave.launch.patience:
            raise self.error(f"no end after {self.wave.round} rounds")
        if self.wave.progress:
            self.wave.progress, self.rounds, self.seen = False, 0, []
            return
        self.rounds += 1
        if self.rounds < SUSPICION:
            return
        now = sorted(self.wave.ready.items())
        if self.rounds & (self.rounds - 1) == 0:
            self.seen = now
            self.round = self.wave.round
        elif len(now) == len(self.seen) and all(map(self.stuck, now, self.seen)):
            raise self.error("threads spin for ever")

    def stuck(self, now: tuple[int, Group], then: tuple[int, Group]) -> bool:
        """Whether a group has run and stands where it stood, as it stood."""
        return now[1].since > self.round and same(now, then)

    def error(self, what: str) -> PtxError:
        return PtxError(f"{self.wave.launch.kernel.name}: {what}: {self.wave.standing()}")


def same(one: tuple[int, Group], other: tuple[int, Group]) -> bool:
    (here, now), (there, then) = one, other
    return here == there and all(
        a is b or array_of(a).tobytes() == array_of(b).tobytes()
        for a, b in zip((now.threads, *now.values), (then.threads, *then.values), strict=True)
    )
