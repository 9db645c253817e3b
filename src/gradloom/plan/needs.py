"""What it takes to run a plan, without the plan: all that a warm start reads of it."""

from __future__ import annotations

from typing import NamedTuple

from gradloom.errors import Where
from gradloom.ir.types import TensorType

# Nanoseconds of a barrier of two threads on two cores, and to enter a call with a team;
# benchmarks/team_costs.py.
BARRIER = 200.0
ENTER = 1000.0
# A byte that one core has written and another reads: to copy 4 KB from the other thread's memory
# takes 0.7 us more than from its own (benchmarks/team_costs.py).  With it two threads should be 1.9
# times as fast as one for 784-512-256-10, 1.6 for a transformer of two layers and for a residual
# network, 1.4 for a convolutional one and 0.95 for a Gaussian process; they were 1.6, 1.65, 1.6,
# 1.5 and 1.0 times as fast (benchmarks/team.py).
CROSSING_BYTE = 0.18
# A team must be so much faster than one thread by these estimates before it is used: where they say
# 0.79 and 0.82 of the time, for 64-128-64-10 and a loop of 64 steps, it took 0.87 to 1.12 and 0.93
# to 1.01, and where they say 0.69 and 0.70, 0.83 and 0.68.
CLEAR_GAIN = 0.75


class Effort(NamedTuple):
    """What a pass takes: estimated nanoseconds on one thread, by the number of grains that they are
    dealt out in, how often the team meets, and the bytes that are not read as they are written, and
    so by others."""

    split: tuple[tuple[int, float], ...] = ()
    barriers: float = 0.0
    crossing: float = 0.0


class Needs(NamedTuple):
    """The memory of a call, and what its kernels take.

    `faulting` are the numbers of the kernels that may meet an index out of range, and the user's
    lines.
    """

    inputs: int  # the state included
    results: tuple[TensorType, ...]
    arena_bytes: int
    kernels: int
    faulting: tuple[tuple[int, Where], ...]
    effort: Effort
    flops: int
    libraries: bool  # whether a routine calls what other libraries bring


def team_nanoseconds(effort: Effort, size: int) -> float:
    """What a pass takes on a team, who all wait for whoever has most grains."""
    work = sum(ns * -(-grains // size) / grains for grains, ns in effort.split)
    if size == 1:
        return work
    crossing = effort.crossing * (1 - 1 / size) * CROSSING_BYTE
    return work + effort.barriers * BARRIER + crossing + ENTER


def best_team(effort: Effort, most: int) -> int:
    """How many threads a pass is to have: one, where the gain of more is not clear."""
    alone = team_nanoseconds(effort, 1)
    times = {size: team_nanoseconds(effort, size) for size in range(2, most + 1)}
    best = min(times, key=times.__getitem__, default=1)
    return best if best > 1 and times[best] < CLEAR_GAIN * alone else 1


def gain(effort: Effort, size: int) -> float:
    """The nanoseconds that a pass is shorter on a team."""
    return team_nanoseconds(effort, 1) - team_nanoseconds(effort, size)
