"""What it takes to run a plan, without the plan: all that a warm start reads of it."""

from __future__ import annotations

from dataclasses import dataclass

from gradloom.errors import Where
from gradloom.ir.types import TensorType

# Nanoseconds of a barrier of two threads on two cores, and to enter a call with a team;
# benchmarks/team.py.
BARRIER = 200.0
ENTER = 1000.0
# A team must be so much faster than one thread by these estimates before it is used.
CLEAR_GAIN = 0.85


@dataclass(frozen=True, slots=True)
class Effort:
    """What a pass takes: estimated nanoseconds on one thread, by the number of grains that they are
    dealt out in, and how often the team meets."""

    split: tuple[tuple[int, float], ...] = ()
    barriers: float = 0.0


@dataclass(frozen=True, slots=True)
class Needs:
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


def team_nanoseconds(effort: Effort, size: int) -> float:
    """What a pass takes on a team, who all wait for whoever has most grains."""
    work = sum(ns * -(-grains // size) / grains for grains, ns in effort.split)
    return work if size == 1 else work + effort.barriers * BARRIER + ENTER


def best_team(effort: Effort, most: int) -> int:
    """How many threads a pass is to have: one, where the gain of more is not clear."""
    alone = team_nanoseconds(effort, 1)
    times = {size: team_nanoseconds(effort, size) for size in range(2, most + 1)}
    best = min(times, key=times.__getitem__, default=1)
    return best if best > 1 and times[best] < CLEAR_GAIN * alone else 1


def gain(effort: Effort, size: int) -> float:
    """The nanoseconds that a pass is shorter on a team."""
    return team_nanoseconds(effort, 1) - team_nanoseconds(effort, size)
