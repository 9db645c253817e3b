"""A plan run in thought by a team: which bytes each worker touches between two barriers.

It shares no code with `plan/split.py` but the plan itself: every access of every iteration is
enumerated.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from gradloom.ir.types import ITEMSIZE
from gradloom.plan.plan import ANY, Kernel, Load, Nest, Part, Plan, Product, Region, Stage, Store

Bytes = set[tuple[int, int]]  # of which memory, and which byte
ROUNDS = 3  # of a loop


@dataclass
class Touched:
    """What a worker has read and written since the last barrier."""

    read: Bytes = field(default_factory=set)
    written: Bytes = field(default_factory=set)


class RaceError(AssertionError):
    """Two workers touch the same byte between two barriers, one of them writing."""


class Team:
    """The workers of one run."""

    def __init__(self, plan: Plan, size: int, rng: np.random.Generator) -> None:
        self.plan, self.size, self.rng = plan, size, rng
        self.since = [Touched() for _ in range(size)]
        self.rounds: dict[int, int] = {}  # of each row that moves

    def run(self, parts: Sequence[Part]) -> None:
        for part in parts:
            if isinstance(part, Kernel):
                self.kernel(part)
            else:
                self.region(part)

    def meet(self, reason: str) -> None:
        if reason:
            self.since = [Touched() for _ in range(self.size)]

    def kernel(self, kernel: Kernel) -> None:
        units = [kernel.stages] if kernel.in_blocks else [(s,) for s in kernel.stages]
        for unit in units:
            self.meet(unit[0].barrier)
            for stage in unit:
                for worker in range(self.size):
                    start, stop = self.part(stage, worker)
                    for operand, elements, dtype, writes in touched(stage, start, stop):
                        self.touch(worker, stage, operand, elements, dtype, writes)
        self.check(kernel.name)

    def part(self, stage: Stage, worker: int) -> tuple[int, int]:
        if not stage.grain:
            return (0, stage.extent) if worker == 0 else (0, 0)
        grains = -(-stage.extent // stage.grain)
        first, last = (-(-grains * w // self.size) for w in (worker, worker + 1))
        return min(first * stage.grain, stage.extent), min(last * stage.grain, stage.extent)

    def touch(
        self,
        worker: int,
        stage: Stage,
        operand: int,
        elements: np.ndarray,
        dtype: str,
        writes: bool,
    ) -> None:
        place = stage.operands[operand]
        buffers = self.plan.buffers
        memory, first = self.place(place.buffer)
        first += place.offset * ITEMSIZE[buffers[place.buffer].type.dtype]
        item = ITEMSIZE[dtype]
        found = {
            (memory, first + int(e) * item + byte)
            for e in np.unique(elements)
            for byte in (0, item - 1)
        }
        since = self.since[worker]
        (since.written if writes else since.read).update(found)

    def place(self, number: int) -> tuple[int, int]:
        first = 0
        while self.plan.buffers[number].space == "row":
            first += self.plan.buffers[number].offset
            first += self.plan.buffers[number].stride * self.rounds.get(number, 0)
            number = self.plan.buffers[number].of
        buffer = self.plan.buffers[number]
        return (-1, first + buffer.offset) if buffer.space == "arena" else (number, first)

    def check(self, name: str) -> None:
        for one, other in itertools.permutations(self.since, 2):
            if not one.written.isdisjoint(other.read | other.written):
                raise RaceError(name)

    def word(self, region: Region) -> None:
        """Everybody reads the word of a loop or branch."""
        self.meet(region.barrier)
        memory, first = self.place(region.word)
        for since in self.since:
            since.read.add((memory, first))
        self.check(region.name)

    def region(self, region: Region) -> None:
        self.run(region.init)
        if region.flow == "branch":
            self.word(region)
            self.run(region.bodies[self.rng.integers(len(region.bodies))])
            return
        if region.flow == "for":
            self.meet(region.barrier)
        rounds = min(region.length, ROUNDS) if region.flow == "for" else ROUNDS
        for number in range(rounds):
            self.rounds |= dict.fromkeys(region.rows, number)
            if region.flow == "while":
                self.run(region.bodies[0])
                self.word(region)
            self.run(region.bodies[-1])
            self.meet(region.again)
        if region.flow == "while":
            self.run(region.bodies[0])
            self.word(region)


def touched(stage: Stage, start: int, stop: int) -> Iterator[tuple[int, np.ndarray, str, bool]]:
    """Operands, the elements touched in iterations [start, stop), their dtype, and whether they are
    written."""
    code = stage.code
    if start >= stop:
        return
    if isinstance(code, Nest):
        yield from _nest(code, start, stop)
    elif isinstance(code, Product):
        yield from _product(code, start, stop)
    else:
        for number in range(len(stage.operands)):  # any one byte will do: it is not split
            yield number, np.zeros(1), "bool", number in stage.writes


def _nest(nest: Nest, start: int, stop: int) -> Iterator[tuple[int, np.ndarray, str, bool]]:
    kept = len(nest.sizes) > nest.reduced
    sizes = [0 if n == ANY else n for n in nest.sizes]
    axes = [np.arange(n) for n in sizes]
    if kept:
        axes[0] = np.arange(start, stop)
    for step in (*nest.steps, *nest.stores):
        if not isinstance(step, Load | Store):
            continue
        total = np.full((1,), step.at.const)
        for axis, stride in step.at.terms:
            total = np.add.outer(total, axes[axis] * stride).ravel()
        for pick in step.picks:
            total = np.add.outer(total, np.arange(pick.size) * pick.stride).ravel()
        if getattr(step, "guards", ()):
            total = total[total >= 0]  # beyond, zeros are given, and nothing is read
        yield step.operand, total, step.dtype, isinstance(step, Store)


def _product(p: Product, start: int, stop: int) -> Iterator[tuple[int, np.ndarray, str, bool]]:
    batch = [np.arange(n) for n in p.batch]
    rows = np.arange(p.rows)
    if batch:
        batch[0] = np.arange(start, stop)
    else:
        rows = np.arange(start, stop)
    depth, columns = [np.arange(n) for n in p.depth], np.arange(p.columns)
    operands = (
        (p.a_strides, [*batch, rows, *depth]),
        (p.b_strides, [*batch, *depth, columns]),
        (p.c_strides, [*batch, rows, columns]),
    )
    for number, (strides, axes) in enumerate(operands):
        total = np.zeros(1, np.int64)
        for stride, axis in zip(strides, axes, strict=True):
            total = np.unique(np.add.outer(total, axis * stride))
        yield number, total, p.dtype, number == 2


def assert_no_race(plan: Plan, size: int, seed: int = 0) -> None:
    """Raise `RaceError` where a barrier is missing."""
    Team(plan, size, np.random.default_rng(seed)).run(plan.parts)
