"""Contenders in processes of their own, driven turn by turn through pipes.

So their imports, memory and thread pools do not meet.  While one has its turn the others are
stopped: tinygrad's threads spin for as long as their process lives, OpenMP's for a while.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.contenders.checks import CannotError
from benchmarks.machine import cores, threads_environment

ROOT = Path(__file__).parent.parent


class Worker:
    """`python -m ARGUMENTS[0] CORES *ARGUMENTS[1:]`, on as many cores as it may have threads, or
    on the cores that are given.

    Raises `CannotError` where it says so, ends, or takes longer than `limit` seconds for an answer.
    """

    def __init__(
        self,
        arguments: list[str],
        threads: int,
        caches: Path,
        python: str = sys.executable,
        limit: float = 90.0,
        on: list[int] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        module, *words = arguments
        mine = cores(threads) if on is None else on
        self.limit = limit
        self.idle = 0.0  # seconds of processor time spent while it was not this one's turn
        self._spent: float | None = None
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by `close`)
        self._process = subprocess.Popen(
            [python, "-m", module, ",".join(map(str, mine)), *words],
            env={
                **os.environ,
                **(threads_environment(threads) if environment is None else environment),
                **cache_environment(caches),
            },
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            start_new_session=True,  # so that compilers it has started end with it
        )
        self._answer()

    def ask(self, word: str) -> dict[str, Any]:
        """The answer to a word, with its arguments after it."""
        assert self._process.stdin is not None
        os.killpg(self._process.pid, signal.SIGCONT)
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        return self._answer()

    def turn(self) -> tuple[float, float]:
        """Seconds of a step, on the wall and of the processor."""
        found = self.ask("time")
        if self._spent is not None:
            self.idle += found["before"] - self._spent
        self._spent = found["after"]
        return found["wall"], found["cpu"]

    def hold_to(self, cores: list[int]) -> None:
        """Move all of its threads to these cores."""
        for task in Path(f"/proc/{self._process.pid}/task").glob("*"):
            os.sched_setaffinity(int(task.name), cores)

    def close(self) -> None:
        """End the process and those that it has started; a second time nothing happens."""
        if self._said.closed:
            return
        with suppress(ProcessLookupError):  # it has ended by itself, and none is left
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()
        self._said.close()

    def _answer(self) -> dict[str, Any]:
        out = self._process.stdout
        assert out is not None
        ready, _, _ = select.select([out], [], [], self.limit)
        line = out.readline() if ready else ""
        found = json.loads(line) if line else {"cannot": self._failure(late=not ready)}
        if "cannot" in found:
            self.close()
            raise CannotError(found["cannot"])
        os.killpg(self._process.pid, signal.SIGSTOP)
        return dict(found)

    def _failure(self, late: bool) -> str:
        if late:
            return f"took longer than {self.limit:.0f} seconds"
        self._said.seek(0)
        lines = [line for line in self._said.read().splitlines() if line.strip()]
        return reason(lines)[:200] if lines else f"ended with status {self._process.wait()}"


def reason(lines: list[str]) -> str:
    """Of what a process said, the line to show: of a traceback that which names the exception,
    since advice may follow it; else the last.

    >>> reason(["Traceback (most recent call last):", "  File ...", "KeyError: 'a'", "Set X=1"])
    "KeyError: 'a'"
    """
    starts = [i for i, line in enumerate(lines) if line.startswith("Traceback ")]
    after = lines[starts[-1] + 1 :] if starts else []
    return next((line for line in after if not line.startswith(" ")), lines[-1])


def cache_environment(folder: Path) -> dict[str, str]:
    """Where each library keeps what it compiled: one folder, which is empty at first."""
    return {
        "GRADLOOM_CACHE_DIR": str(folder / "gradloom"),
        "JAX_COMPILATION_CACHE_DIR": str(folder / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "torch"),
        "CACHEDB": str(folder / "tinygrad.db"),
        "PYTENSOR_FLAGS": f"base_compiledir={folder / 'pytensor'}",
        "NUMBA_CACHE_DIR": str(folder / "numba"),
    }
