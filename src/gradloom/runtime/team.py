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
from collections.abc import Callable
from functools import cache

from gradloom.runtime.arrays import address, aligned
from gradloom.runtime.serving import (
    LOOKS,
    PARKED,
    STATE,
    WAKING,
    WORDS,
    YIELDS,
    lead_text,
    serve_text,
)

MOST = 256  # threads, so that the words of all workers are one block of memory

# How often a leader looks for a worker that it has woken, if the work is long enough to wait.
PATIENCE = 4000


class Team:
    """The workers of this process, made when they are first needed."""

    def __init__(self) -> None:
        self._in_use = threading.Lock()
        self._workers: list[_Worker] = []
        self._words = aligned(8 * WORDS * MOST, 128)
        self._words.fill(0)
        self._lead = _native("lead", lead_text(), ("ptr", *("i64",) * 3, *("ptr",) * 4))

    def run(
        self, code: int, places: tuple[int, ...], size: int, patience: int = PATIENCE
    ) -> int | None:
        """The status of the entry at address `code`, run by up to `size` threads, of which this is
        one; None if the team is in use, and nothing was done."""
        if not self._in_use.acquire(blocking=False):
            return None
        try:
            others = min(size, MOST) - 1
            while len(self._workers) < others:
                self._workers.append(_Worker(address(self._words), len(self._workers)))
            for worker in self._workers[:others]:
                worker.wake()
            return self._lead(address(self._words), others, patience, LOOKS, code, *places[:3])
        finally:
            self._in_use.release()

    def stop(self) -> None:
        """End all workers, so that none is in native code when the interpreter goes."""
        for worker in self._workers:
            worker.stop()


class _Worker:
    """One thread of the team."""

    def __init__(self, words: int, number: int) -> None:
        self._place = words + 8 * WORDS * number
        self._state = ctypes.c_int64.from_address(self._place + 8 * STATE)
        self._state.value = WAKING
        self._serve = _native("serve", serve_text(), ("ptr", "i64", "i64"))
        self._stopped = False
        self._parked = threading.Lock()
        self._parked.acquire()
        self._thread = threading.Thread(target=self._live, name="gradloom", daemon=True)
        self._thread.start()

    def _live(self) -> None:
        while not self._stopped:
            self._serve(self._place, LOOKS, YIELDS)
            self._parked.acquire()

    def wake(self) -> None:
        """Let it come back from its lock, if that is where it is."""
        if self._state.value == PARKED:
            self._state.value = WAKING
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


@cache
def _native(entry: str, text: str, arguments: tuple[str, ...]) -> Callable[..., int]:
    """A function of the team's own, from the cache or from LLVM."""
    from gradloom.clock import Clock
    from gradloom.runtime import cache as objects
    from gradloom.runtime.load import load
    from gradloom.runtime.native import make_object

    key = objects.make_key(team=entry, text=text, host=objects.host_key())
    found = objects.fetch(key)
    if found is None:
        native = make_object([text], entry, "", "", Clock()).object
        objects.store(key, native, entry=entry)
    else:
        native = found.object
    return load(native, entry, arguments)
