"""What launches, barriers and tiles cost, in a process of its own.

`python -m benchmarks.gpu.launching CORES PLACE` answers words that prepare something to be timed,
the methods of `Launching`, and `time`, which times it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.gpu import place as places
from benchmarks.rounds import TURN_SECONDS
from benchmarks.serving import serve

NODES = 200  # kernels of a graph

# Kernels that do nothing: what is timed is getting there.
EMPTY = """
.version 8.0
.target sm_80
.address_size 64
.visible .entry empty(.param .u64 x)
{
  ret;
}
"""


class Launching:
    """Something to be timed: `call`, whose work `wait` waits for, is so many of `units`."""

    def __init__(self, place: str) -> None:
        self.ours = places.of_ours(place)
        self.call: Callable[[], Any] = lambda: None
        self.wait: Callable[[Any], Any] = lambda result: None
        self.repeats = self.units = 1

    def _driver(self) -> tuple[Any, Any, int]:
        from gradloom.runtime.cuda import cubins
        from gradloom.runtime.cuda.driver import device

        found = device()
        stream = found.stream()
        self.wait = lambda result: found.wait(stream)
        return found, found.load(cubins.linked([EMPTY], found.arch)), stream

    # ---- words

    def launch(self, kind: str) -> dict[str, Any]:
        """A kernel that does nothing, given to a stream by the host; `together` as one whose
        blocks are all resident."""
        _, loaded, stream = self._driver()
        prepared = loaded.prepare("empty", 1, 32, (0,), cooperative=kind == "together")
        return self._prepare(lambda: prepared.give(stream))

    def node(self) -> dict[str, Any]:
        """One of the kernels of a graph."""
        device, loaded, stream = self._driver()
        graph = device.graph(
            lambda to: [loaded.launch("empty", 1, 32, (0,), to) for _ in range(NODES)]
        )
        return self._prepare(lambda: graph.launch(stream), units=NODES)

    def call_and_wait(self) -> dict[str, Any]:
        """A kernel that does nothing, and that the host waits for."""
        device, loaded, stream = self._driver()
        prepared = loaded.prepare("empty", 1, 32, (0,))

        def done() -> None:
            prepared.give(stream)
            device.wait(stream)

        return self._prepare(done)

    def look(self) -> dict[str, Any]:
        """A copy of eight bytes to the host, which waits for it."""
        device, _, stream = self._driver()
        at, word = device.allocate(8), np.zeros(1, np.int64)
        device.write(at, word, stream)

        def read() -> None:
            device.read(word, at, stream)
            device.wait(stream)

        return self._prepare(read)

    def rounds(self, count: str, numbers: str) -> dict[str, Any]:
        """A loop of so many rounds over so many numbers, each of one stage that reads what all
        blocks have written: what a stage costs in the form that the process was started with."""
        import gradloom as gl

        def loop(x: Any) -> Any:
            return gl.fori_loop(0, int(count), lambda i, x: x[::-1] * 0.999 + 0.001, x)

        function = gl.jit(loop, device=self.ours)
        x = gl.device_put(np.ones(int(numbers), np.float32), self.ours)
        found = self._prepare(lambda: np.asarray(function(x)))
        program = function.program(x)
        return {**found, "meetings": program.driver.count("meet(control")}

    def tiled(self, n: str, rows: str, columns: str, depth: str) -> dict[str, Any]:
        """A product of `n` x `n` by a tile, or, with zeros, by the one that the planner takes."""
        import gradloom as gl
        from gradloom.plan import tiles

        known = tiles.TILES
        if int(rows):
            tiles.TILES = (tiles.Tile(int(rows), int(columns), int(depth)),)
        try:
            multiply = gl.jit(lambda a, b: a @ b, device=self.ours)
            rng = np.random.default_rng(0)
            drawn = (rng.uniform(-1, 1, (int(n), int(n))).astype("f") for _ in range(2))
            a, b = (gl.device_put(array, self.ours) for array in drawn)
            if self.ours != "cpu":
                self.wait = lambda result: result.block_until_ready()
            return self._prepare(lambda: multiply(a, b))
        finally:
            tiles.TILES = known

    # ---- time

    def _prepare(self, call: Callable[[], Any], units: int = 1) -> dict[str, Any]:
        self.call, self.units, self.repeats = call, units, 1
        self._timed()
        seconds = self._timed() * units
        self.repeats = max(1, round(TURN_SECONDS / max(seconds, 1e-7)))
        return {}

    def time(self) -> dict[str, Any]:
        """A turn: seconds of a unit."""
        before = time.process_time()
        wall = self._timed()
        after = time.process_time()
        cpu = (after - before) / (self.repeats * self.units)
        return {"wall": wall, "cpu": cpu, "before": before, "after": after}

    def _timed(self) -> float:
        start = time.perf_counter()
        result = None
        for _ in range(self.repeats):
            result = self.call()
        self.wait(result)
        return (time.perf_counter() - start) / (self.repeats * self.units)


if __name__ == "__main__":
    serve(lambda: Launching(sys.argv[2]))
