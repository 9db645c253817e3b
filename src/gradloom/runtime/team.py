"""The thread team: Python threads that live in a small native loop and run what a leader posts.

A worker waits in native code, without the GIL: it looks for a post for a bounded time, then yields
between looks, then returns to Python and parks on a lock.  A leader claims the workers that are
awake, runs as worker 0, and returns when all are done; so a call never waits for a thread that does
not come.  Who finds the team in use runs alone: the bits are the same.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
import time
from collections.abc import Callable, Collection
from functools import cache

from gradloom.runtime.arrays import address, aligned
from gradloom.runtime.cores import cores, elsewhere
from gradloom.runtime.functions import native
from gradloom.runtime.serving import (
    PARKED,
    STATE,
    WAKING,
    WORDS,
    YIELDS,
    lead_text,
    serve_text,
)

MOST = 256  # threads, so that the words of all workers are one block of memory

# Nanoseconds that a leader waits at most for workers that it has woken, which by
# benchmarks/team_costs.py takes 60 to 100 us; and that a thread looks before it yields.
WAKING_NS = 300_000
LOOKING_NS = 10_000


class Team:
    """The workers of this process, made when they are first needed."""

    def __init__(self) -> None:
        self._in_use = threading.Lock()
        self._workers: list[_Worker] = []
        self._words = aligned(8 * WORDS * MOST, 128)
        self._words.fill(0)
        self._place = address(self._words)
        self._states = self._words.data.cast("B").cast("q")  # read faster than an array
        self._lead = native("lead", lead_text(), ("ptr", *("i64",) * 3, *("ptr",) * 4))
        self._look_ns = _look_ns()
        self.looks = int(LOOKING_NS / self._look_ns)

    def run(self, code: int, places: tuple[int, ...], size: int, gain_ns: float) -> bool:
        """Run the entry at address `code` by up to `size` threads, of which this is one; false if
        the team is in use, and nothing was done.  Workers that are parked are waited for as long as
        half of what they would save."""
        if not self._in_use.acquire(blocking=False):
            return False
        try:
            others = size - 1 if size < MOST else MOST - 1
            while len(self._workers) < others:
                self._workers.append(_Worker(self._place, len(self._workers), self.looks))
            states = self._states
            for number in range(others):
                if states[number * WORDS] == PARKED:
                    self._workers[number].wake()
            worth = gain_ns / 2 if gain_ns < 2 * WAKING_NS else WAKING_NS
            patience = int(worth / self._look_ns)
            looks = self.looks if others < cores() else 0  # who waits, waits for this very core
            table, arena, control, _, _ = places
            self._lead(self._place, others, patience, looks, code, table, arena, control)
            return True
        finally:
            self._in_use.release()

    def stop(self) -> None:
        """End all workers, so that none is in native code when the interpreter goes."""
        for worker in self._workers:
            worker.stop()


class _Worker:
    """One thread of the team."""

    def __init__(self, words: int, number: int, looks: int) -> None:
        self._place = words + 8 * WORDS * number
        self._state = ctypes.c_int64.from_address(self._place + 8 * STATE)
        self._state.value = PARKED
        self._looks = looks
        self._cores: Collection[int] = ()  # that it may run on once it is awake
        self._stopped = False
        self._parked = threading.Lock()
        self._parked.acquire()
        self._thread = threading.Thread(target=self._live, name="gradloom", daemon=True)
        self._thread.start()

    def _live(self) -> None:
        self._parked.acquire()
        while not self._stopped:
            if self._cores:
                os.sched_setaffinity(0, self._cores)
            _serve()(self._place, self._looks, YIELDS)
            self._parked.acquire()

    def wake(self) -> None:
        """Let it come back from its lock, if that is where it is, on another core than this: once
        it runs it may run on any.

        Linux often woke it on the core of who woke it, where two threads wait for each other by
        turns of 4 ms, and left it there: two products of 256 x 256 x 256, the team woken every 10
        ms, took 546 to 606 us with 440 to 600 on one thread; so placed 378 to 389.
        """
        if self._state.value == PARKED:
            self._state.value = WAKING
            others = elsewhere()
            if others:
                self._cores = os.sched_getaffinity(0)
                os.sched_setaffinity(self._thread.native_id or 0, others)
            self._parked.release()

    def stop(self) -> None:
        """End it: at once, or when what it runs is done."""
        self._stopped = True
        while self._thread.is_alive():
            self.wake()
            self._thread.join(1e-3)


@cache
def team() -> Team:
    """The team of this process."""
    found = Team()
    atexit.register(found.stop)
    return found


# A child has only the thread that forked.
os.register_at_fork(after_in_child=team.cache_clear)


def _serve() -> Callable[..., int]:
    return native("serve", serve_text(), ("ptr", "i64", "i64"))


def _look_ns() -> float:
    """What a look takes: a processor's pause is 10 to 140 cycles long."""
    line = aligned(8 * WORDS, 128)
    line.fill(0)
    looks, rounds = 1000, 5
    serve = _serve()
    times = []
    for _ in range(rounds):
        start = time.perf_counter_ns()
        serve(address(line), looks, 0)
        times.append(time.perf_counter_ns() - start)
    return max(min(times) / looks, 0.5)
