"""What the team of threads costs by itself: a barrier, a call that a team enters, a worker that is
woken; and what one core moves to and from memory.  The planner's constants come from here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

import gradloom as gl
from benchmarks.report import Report, Section
from benchmarks.rounds import Spread, repeated, take_turns
from gradloom.codegen.primitives import GENERATION
from gradloom.runtime.arrays import address, aligned
from gradloom.runtime.compile import compile_object
from gradloom.runtime.cores import cores
from gradloom.runtime.load import load
from gradloom.runtime.team import team

BARRIERS = 1000
CALLS = 10
PARKED_SECONDS = 2e-3  # after which a worker has parked
WORTH = 1e9  # a gain for which a call waits for all workers
STREAMED = 10**7  # elements that no cache holds

DRIVER = """
def meetings(table, arena, control, worker, team):
    for _ in range(get(control, 0)):
        meet(control, team)
    return team
"""
CROSSED = 4096  # bytes
# Each of two threads copies, in turn, what it wrote the time before, or what the other wrote.
CROSSING = f"""
def copies(table, arena, control, worker, team):
    source = (worker + get(control, 1)) % team
    for i in range(get(control, 0)):
        to = (i & 1) * {2 * CROSSED}
        before = {2 * CROSSED} - to
        copy(arena, to + worker * {CROSSED}, arena, before + source * {CROSSED}, {CROSSED})
        meet(control, team)
    return team
"""
KINDS = ("ptr", "ptr", "ptr", "i64", "i64")


def measure(dtype: str = "float32", seconds: float = 8.0) -> Report:
    """Nanoseconds of each, and bytes a nanosecond."""
    meetings, copies = _loaded(DRIVER, "meetings"), _loaded(CROSSING, "copies")
    words, arena = aligned(16 * GENERATION, 128).view(np.int64), aligned(4 * CROSSED, 4096)
    words.fill(0)
    places = (0, address(arena), address(words), 0, 1)

    def enter(size: int, barriers: int, entry: Any = meetings, crossing: int = 0) -> None:
        words[:2] = barriers, crossing
        if size == 1 or not team().run(entry.address, places, size, WORTH):
            entry(*places)

    sizes = range(2, max(cores(), 2) + 1)
    calls: dict[str, tuple[Callable[[], None], float]] = {
        "a call of one thread, by ctypes": (partial(enter, 1, 0), 1)
    }
    for size in sizes:
        calls[f"a call of {size} threads"] = partial(enter, size, 0), 1
        calls[f"a barrier of {size} threads"] = partial(enter, size, BARRIERS), BARRIERS
    for crossing, whose in enumerate(("its own", "the other's")):
        copy = partial(enter, 2, BARRIERS, copies, crossing)
        calls[f"a barrier of 2 threads that copy 4 KB of {whose}"] = copy, BARRIERS
    timing = take_turns({n: repeated(c, CALLS) for n, (c, _) in calls.items()}, seconds)
    spreads = {n: timing.seconds(n) * (1e9 / CALLS / count) for n, (_, count) in calls.items()}
    spreads["a call that wakes a worker"] = _woken(partial(enter, 2, 0))
    rows = [[n, f"{s.median:,.0f}", f"{s.low:,.0f} to {s.high:,.0f}"] for n, s in spreads.items()]
    moved = _streamed(dtype)
    return Report(
        f"team_costs-{dtype}",
        "What the team of threads costs",
        [
            Section("Nanoseconds", ["", "median", "quartiles"], rows),
            Section("One thread", ["", "bytes a nanosecond"], [["x + x", f"{moved.median:.1f}"]]),
        ],
        ["A worker that has waited long enough is parked; to wake it takes a call of the system."],
        {"nanoseconds": {name: s for name, s in spreads.items() if s.low > 0}},
        "nanoseconds",
        {"nanoseconds": {name: asdict(s) for name, s in spreads.items()}},
    )


def _loaded(text: str, entry: str) -> Any:
    return load(compile_object(text, entry, KINDS, "", {}, "", "").object, entry, KINDS)


def _woken(call: Callable[[], None], rounds: int = 50) -> Spread:
    """Calls so far apart that the worker parks between them."""
    found = []
    for _ in range(rounds):
        time.sleep(PARKED_SECONDS)
        start = time.perf_counter_ns()
        call()
        found.append(float(time.perf_counter_ns() - start))
    return Spread.of(found)


def _streamed(dtype: str) -> Spread:
    """Bytes a nanosecond of a sum of elements that are read once and written once."""
    x = np.ones(STREAMED, dtype)
    double = gl.jit(lambda x: x + x, threads=1)
    result = double(x)
    executable, frame = double.program().executable, double.program().executable.frame()
    for slot, array in enumerate((x, result)):
        frame.table[slot] = address(array)
    found = []
    for _ in range(10):
        start = time.perf_counter_ns()
        executable.entry(*frame.addresses)
        found.append(2 * x.nbytes / (time.perf_counter_ns() - start))
    return Spread.of(found)
