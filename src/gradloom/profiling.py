"""Seconds for each kernel of a program, measured one kernel at a time on made-up data."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gradloom.clock import Clock
from gradloom.codegen import driver
from gradloom.pipeline import native_entry
from gradloom.plan.explain import moved_bytes
from gradloom.plan.plan import Buffer, Plan, calls_out
from gradloom.program import Program
from gradloom.runtime.arrays import address
from gradloom.runtime.executable import Executable
from gradloom.runtime.team import team

# A kernel is repeated until this much time has passed, so that the call itself does not count.
MEASURED_SECONDS = 2e-3
WORTH_NS = 1e9  # a gain for which all of a team are waited for
ROUNDS = 5  # of which the fastest counts: neighbours only ever slow a kernel down


@dataclass(frozen=True)
class Timing:
    """One kernel: seconds a run, its operations, and the bytes that it reads and writes.

    The seconds are None of a kernel that was not run.
    """

    name: str
    seconds: float | None
    flops: int
    moved_bytes: int


@dataclass(frozen=True)
class Profile:
    """Timings in the order of the kernels; as text, a table."""

    timings: tuple[Timing, ...]

    @property
    def seconds(self) -> float:
        return sum(t.seconds or 0.0 for t in self.timings)

    def __str__(self) -> str:
        total = max(self.seconds, 1e-12)
        lines = [f"{'kernel':<28}{'us':>10}{'share':>8}{'Gflop/s':>10}{'GB/s':>8}"]
        for t in self.timings:
            if t.seconds is None:
                lines.append(f"{t.name:<28}  not run: it calls a function of another library")
                continue
            rate, traffic = (x / t.seconds / 1e9 for x in (t.flops, t.moved_bytes))
            share = f"{t.seconds / total:.0%}"
            lines.append(
                f"{t.name:<28}{t.seconds * 1e6:>10.2f}{share:>8}{rate:>10.1f}{traffic:>8.1f}"
            )
        return "\n".join([*lines, f"{'in all':<28}{total * 1e6:>10.2f}"]) + "\n"


def profile(program: Program, threads: int = 1) -> Profile:
    """Run every kernel of a program alone, on ones that are warm in the caches: by one thread, or
    by a team of so many, which meets before each run.

    The state of a training step is not touched: the kernels run on memory of their own.  Those that
    call a function by its address, as LAPACK's, are left out: ones are no addresses.

    >>> import gradloom as gl
    >>> f = gl.jit(lambda x: np.sum(np.tanh(x @ x), 0))
    >>> found = profile(f.program(np.eye(20)))
    >>> [timing.flops >= 0 and timing.seconds > 0 for timing in found.timings]
    [True, True]
    """
    plan = program.plan
    entry, _ = native_entry(plan, _text(plan), Clock())
    executable = Executable(plan.needs, entry)
    arrays = [np.ones(b.type.shape, b.type.dtype) for b in _given(plan)]
    frame = executable.frame()
    frame.arena.fill(0)
    for slot, array in enumerate(arrays):
        frame.table[slot] = address(array)

    def run(kernel: int, repeats: int) -> float:
        frame.control[driver.MODE], frame.control[driver.BATCHES] = kernel, repeats
        start = time.perf_counter()
        if threads == 1 or not team().run(entry.address, frame.addresses, threads, WORTH_NS):
            entry(*frame.addresses)
        return time.perf_counter() - start

    found = []
    for number, kernel in enumerate(plan.kernels):
        seconds = None
        if not any(map(calls_out, kernel.stages)):
            repeats = max(int(MEASURED_SECONDS / max(run(number, 1), 1e-7)), 1)
            seconds = min(run(number, repeats) for _ in range(ROUNDS)) / repeats
        found.append(Timing(kernel.name, seconds, kernel.flops, moved_bytes(plan, kernel)))
    return Profile(tuple(found))


def _given(plan: Plan) -> list[Buffer]:
    """The memory that a call is given, in the order of the table."""
    inputs = [b for b in plan.buffers if b.space in ("input", "state")]
    return inputs + [b for b in plan.buffers if b.space == "output"]


def _text(plan: Plan) -> str:
    """A driver that repeats one kernel."""
    lines = [
        *driver.HEAD,
        f"    mode = get(control, {driver.MODE})",
        f"    batches = get(control, {driver.BATCHES})",
        *(f"    {line}" for line in driver.addresses(plan.buffers)),
        *(f"    {line}" for line in driver.rows(plan)),
        "    for batch in range(batches):",
        "        meet(control, team)",
        *_branches(plan),
    ]
    return driver.routines_text(plan) + "\n".join([*lines, "    return 0"]) + "\n"


def _branches(plan: Plan) -> Iterator[str]:
    for number, kernel in enumerate(plan.kernels):
        calls: Sequence[str] = list(driver.kernel_calls(plan, kernel, number))
        yield f"        if mode == {number}:"
        yield from (f"            {line}" for line in calls)
