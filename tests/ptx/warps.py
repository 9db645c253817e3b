"""What the lanes of a warp do together, and the barriers that do not wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tests.ptx.action import Action, builds, parts, type_of, unknown
from tests.ptx.integers import FOLDS
from tests.ptx.spaces import FaultError
from tests.ptx.syntax import Instruction, Literal

if TYPE_CHECKING:
    from tests.ptx.wave import Wave

Array = np.ndarray
ABSENT = 0x7FC0DEAD  # what a shuffle gives from a lane that takes no part: PTX leaves it open
EVERYONE = Literal(0xFFFFFFFF)


def meet(wave: Wave, threads: Array) -> None:
    for races in wave.races:
        races.meet_lanes(threads)


def named_by(mask: Array, threads: Array) -> None:
    """A thread that executes a warp instruction must be in its own mask."""
    absent = (np.asarray(mask) >> (threads & 31).astype(np.uint32)) & np.uint32(1) == 0
    if absent.any():
        at = int(np.argmax(absent))
        raise FaultError("its lane is not in the mask", int(threads[at]))


def by_lane(wave: Wave, threads: Array, values: Array) -> tuple[Array, Array]:
    """The values of all lanes of all warps, and which lanes take part."""
    table = np.zeros(wave.lanes.size * 32, values.dtype)
    taking_part = np.zeros(table.size, np.bool_)
    table[threads], taking_part[threads] = values, True
    return table, taking_part


@builds("shfl")
def shuffle(instruction: Instruction) -> Action:
    if instruction.modifiers[0] != "sync":
        raise unknown(instruction, "without .sync is not supported")
    mode = instruction.modifiers[1]
    target, value, offset, clamp, mask = instruction.operands

    def compute(
        wave: Wave, threads: Array, x: Array, by: Array, control: Array, members: Array
    ) -> Any:
        named_by(members, threads)
        meet(wave, threads)
        table, taking_part = by_lane(wave, threads, x)
        lane = threads & 31
        segment = (control >> np.uint32(8)).astype(np.int64) & 31
        bound = control.astype(np.int64) & 31
        by = by.astype(np.int64) & 31
        limit = (lane & segment) | (bound & ~segment & 31)
        if mode == "up":
            source, inside = lane - by, lane - by >= limit
        elif mode == "down":
            source, inside = lane + by, lane + by <= limit
        elif mode == "bfly":
            source, inside = lane ^ by, (lane ^ by) <= limit
        else:
            source = (by & ~segment & 31) | (lane & segment)
            inside = source <= limit
        place = (threads - lane) + np.where(inside, source, lane)
        found = np.where(taking_part[place], table[place], np.uint32(ABSENT))
        return found if len(targets) == 1 else (found, inside)

    targets = parts(target)
    if mode not in ("up", "down", "bfly", "idx"):
        raise unknown(instruction)
    sources = ((value, "b32"), (offset, "u32"), (clamp, "u32"), (mask, "u32"))
    results = tuple(zip(targets, ("b32", "pred"), strict=False))
    return Action(compute, sources, results, "warp", mask)


def ballots(wave: Wave, threads: Array, holds: Array) -> Array:
    """The lanes of each thread's warp where something holds, as bits."""
    return wave.present(threads[holds], threads)


@builds("vote")
def vote(instruction: Instruction) -> Action:
    if instruction.modifiers[0] != "sync":
        raise unknown(instruction, "without .sync is not supported")
    kind = instruction.modifiers[1]
    target, predicate, mask = instruction.operands

    def compute(wave: Wave, threads: Array, holds: Array, members: Array) -> Array:
        named_by(members, threads)
        meet(wave, threads)
        yes = ballots(wave, threads, holds)
        here = wave.present(threads, threads)
        return {
            "ballot": lambda: yes,
            "any": lambda: yes != 0,
            "all": lambda: yes == here,
            "uni": lambda: (yes == 0) | (yes == here),
        }[kind]()

    if kind not in ("ballot", "any", "all", "uni"):
        raise unknown(instruction)
    result = "b32" if kind == "ballot" else "pred"
    sources = ((predicate, "pred"), (mask, "u32"))
    return Action(compute, sources, ((target, result),), "warp", mask)


@builds("match")
def match(instruction: Instruction) -> Action:
    kind = type_of(instruction)
    target, value, mask = instruction.operands
    everyone = "all" in instruction.modifiers

    def compute(wave: Wave, threads: Array, x: Array, members: Array) -> Any:
        named_by(members, threads)
        meet(wave, threads)
        table, taking_part = by_lane(wave, threads, x)
        rows = threads & ~31
        same = np.zeros(threads.size, np.uint32)
        for lane in range(32):
            equal = taking_part[rows + lane] & (table[rows + lane] == x)
            same |= equal.astype(np.uint32) << np.uint32(lane)
        if not everyone:
            return same
        agreed = same == wave.present(threads, threads)
        found = np.where(agreed, same, np.uint32(0))
        return found if len(targets) == 1 else (found, agreed)

    targets = parts(target)
    results = tuple(zip(targets, ("b32", "pred"), strict=False))
    return Action(compute, ((value, kind), (mask, "u32")), results, "warp", mask)


@builds("redux")
def reduce(instruction: Instruction) -> Action:
    kind, function = type_of(instruction), FOLDS[instruction.modifiers[1]]
    target, value, mask = instruction.operands
    if kind not in ("u32", "s32", "b32"):
        raise unknown(instruction)

    def compute(wave: Wave, threads: Array, x: Array, members: Array) -> Array:
        named_by(members, threads)
        meet(wave, threads)
        starts = np.nonzero(np.diff(threads >> 5, prepend=-1))[0]
        totals = function.reduceat(x, starts, dtype=x.dtype)
        return totals[np.searchsorted(threads[starts] >> 5, threads >> 5)]

    return Action(compute, ((value, kind), (mask, "u32")), ((target, kind),), "warp", mask)


@builds("activemask")
def active_mask(instruction: Instruction) -> Action:
    def compute(wave: Wave, threads: Array) -> Array:
        return wave.present(threads, threads)

    return Action(compute, (), ((instruction.operands[0], "b32"),), "memory")


@builds("elect")
def elect(instruction: Instruction) -> Action:
    """Picks the lowest lane."""
    target, mask = instruction.operands

    def compute(wave: Wave, threads: Array, members: Array) -> Any:
        named_by(members, threads)
        meet(wave, threads)
        here = wave.present(threads, threads)
        lowest = (np.bitwise_count((here & -here) - np.uint32(1))).astype(np.uint32)
        return lowest, lowest == (threads & 31)

    results = tuple(zip(parts(target), ("b32", "pred"), strict=True))
    return Action(compute, ((mask, "u32"),), results, "warp", mask)


# ---- barriers


@builds("bar", "barrier")
def barrier(instruction: Instruction) -> Action:
    """Those that do not wait for the block; the machine itself knows the others."""
    modifiers = set(instruction.modifiers)
    if "cluster" in modifiers:  # its threads arrive where they wait
        return Action(lambda wave, threads: None, (), (), "memory")
    if "warp" in modifiers:
        mask = instruction.operands[0]

        def together(wave: Wave, threads: Array, members: Array) -> None:
            named_by(members, threads)
            meet(wave, threads)

        return Action(together, ((mask, "u32"),), (), "warp", mask)
    if "arrive" in modifiers:
        return arrive(instruction)
    if "vote" in modifiers:
        return cast_vote(instruction)
    if "collect" in modifiers:
        return collect_votes(instruction)
    raise unknown(instruction)


def arrive(instruction: Instruction) -> Action:
    def compute(wave: Wave, threads: Array, number: Array, count: Array) -> None:
        wave.come(threads, number, count, None, ())

    return Action(compute, tuple((part, "u32") for part in instruction.operands), (), "memory")


def cast_vote(instruction: Instruction) -> Action:
    number, predicate = instruction.operands

    def compute(wave: Wave, threads: Array, numbers: Array, holds: Array) -> None:
        wave.barriers.vote(int(numbers[0]), threads, holds)

    return Action(compute, ((number, "u32"), (predicate, "pred")), (), "memory")


def collect_votes(instruction: Instruction) -> Action:
    verdict = instruction.modifiers[-1]
    target, number = instruction.operands

    def compute(wave: Wave, threads: Array, numbers: Array) -> Array:
        yes, cast = wave.barriers.collect(int(numbers[0]), threads)
        return {
            "popc": lambda: yes.astype(np.uint32),
            "and": lambda: yes == cast,
            "or": lambda: yes > 0,
        }[verdict]()

    result = "u32" if verdict == "popc" else "pred"
    return Action(compute, ((number, "u32"),), ((target, result),), "memory")
