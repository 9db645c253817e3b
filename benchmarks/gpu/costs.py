"""What the planner's constants for GPUs stand for: launches, barriers, tiles, and calls."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.gpu import place as places
from benchmarks.gpu.attempts import Attempts
from benchmarks.gpu.calls import COPY, MAKERS
from benchmarks.report import Report, Section
from benchmarks.rounds import Spread, Timing, interleave, number, words
from gradloom.plan import forms

# How a program's stages follow each other: what is switched off for it, and the numbers that are
# gone over, of which a block has 256: a cluster has eight blocks.
FORMS = {
    "one kernel": ("graphs,clusters", 4096),
    "one cluster": ("graphs", 1024),
    "a graph": ("persistent", 4096),
    "launches": ("persistent,graphs", 4096),
}
ROUNDS = (200, 1200)  # of which the difference is what rounds cost
SIZES = (128, 256, 512, 1024, 2048)  # of the products that tiles are compared by
BARE = {
    "a kernel, launched": "launch alone",
    "a cooperative kernel, launched": "launch together",
    "a kernel of a graph": "node",
    "a kernel, launched and waited for": "call_and_wait",
    "eight bytes to the host, waited for": "look",
}
# Constants of `plan/forms.py`, and what of the above they are the nanoseconds of.
CONSTANTS = {
    "BARRIER": "one kernel",
    "CLUSTER_BARRIER": "one cluster",
    "NODE": "a graph",
    "CALL": "a kernel, launched and waited for",
    "LOOK": "eight bytes to the host, waited for",
}


def measure(
    dtype: str = "float32",
    seconds: float = 1.0,
    place: str = "cuda",
    sizes: Iterable[int] = (),
    rounds: tuple[int, int] = ROUNDS,
) -> Report:
    """All of it; about `seconds` for each figure.  Everything is float32."""
    found = Costs(seconds, place)
    with tempfile.TemporaryDirectory() as folder:
        if place != "cpu":
            found.launch(Path(folder))
            found.loop(Path(folder), rounds)
            found.tile(Path(folder), list(sizes) or list(SIZES))
        found.call(Path(folder))
    return report(found)


@dataclass
class Costs:
    """What was measured, in seconds; `absent` is what could not be, and why."""

    seconds: float  # of measuring, for each figure
    place: str
    bare: dict[str, Spread] = field(default_factory=dict)
    stages: dict[str, dict[str, Spread]] = field(default_factory=dict)  # by form
    tiles: dict[int, dict[str, Spread]] = field(default_factory=dict)  # by size, by tile
    calls: Timing = field(default_factory=lambda: Timing({}, {}))
    absent: dict[str, str] = field(default_factory=dict)

    def launch(self, caches: Path) -> None:
        """Launches of kernels that do nothing."""
        with self._launching(caches) as launching:
            found = {name: launching.timed(word, self.seconds) for name, word in BARE.items()}
        self.bare = {name: spread for name, spread in found.items() if spread}

    def loop(self, caches: Path, rounds: tuple[int, int]) -> None:
        """By form, the rounds of a loop: the shorter loop, and a round of the longer beyond it."""
        for form, (disable, numbers) in FORMS.items():
            with self._launching(caches / disable, {"GRADLOOM_DISABLE": disable}) as launching:
                words = (f"rounds {n} {numbers}" for n in rounds)
                few, many = (launching.timed(word, self.seconds) for word in words)
            if not few or not many:
                continue
            more = rounds[1] - rounds[0]
            a_round = Spread(
                (many.median - few.median) / more,
                (many.low - few.high) / more,
                (many.high - few.low) / more,
            )
            self.stages[form] = {"a call": few, "a round more": a_round}
            print(f"{form}: {number(abs(a_round.median) * 1e6)} us a round", flush=True)

    def tile(self, caches: Path, sizes: list[int]) -> None:
        """Products by each tile, and by the planner's choice."""
        from gradloom.plan.tiles import TILES

        chosen = [(0, 0, 0), *((tile.rows, tile.columns, tile.depth) for tile in TILES)]
        # Plans are kept by what is computed, and not by the tiles that there are.
        with self._launching(caches, {"GRADLOOM_CACHE": "0"}) as launching:
            for n in sizes:
                found = {
                    "x".join(map(str, tile)) if any(tile) else "as planned": launching.timed(
                        f"tiled {n} {' '.join(map(str, tile))}", self.seconds
                    )
                    for tile in chosen
                }
                known = {name: spread for name, spread in found.items() if spread}
                if known:
                    self.tiles[n] = known
                    best = min(known, key=lambda name: known[name].median)
                    print(f"{n} cubed: best by {best}", flush=True)

    def call(self, caches: Path) -> None:
        """Everyone's call that adds two numbers, on an array that stays on the GPU."""
        environment = places.environment(self.place)
        with ExitStack() as stack:
            turns = {}
            for name in MAKERS:
                if name != COPY:
                    words = ["benchmarks.gpu.calls", name, self.place]
                    attempts = Attempts(words, caches, environment, name)
                    stack.callback(attempts.close)
                    if attempts.ask("empty") is not None:
                        turns[name] = attempts.turn
                    self.absent |= attempts.absent
            if turns:
                self.calls = interleave(turns, self.seconds)

    def seen(self, constant: str) -> str:
        """What a constant of the planner's is here, in nanoseconds, if it was measured."""
        what = CONSTANTS[constant]
        known = self.stages.get(what, {}).get("a round more") or self.bare.get(what)
        return number(known.median * 1e9) if known else ""

    @contextmanager
    def _launching(self, caches: Path, more: Mapping[str, str] | None = None) -> Iterator[Attempts]:
        environment = places.environment(self.place) | dict(more or {})
        found = Attempts(["benchmarks.gpu.launching", self.place], caches, environment)
        try:
            yield found
        finally:
            found.close()
            self.absent |= found.absent


def report(found: Costs) -> Report:
    """Tables, and the same as numbers."""
    gpu = places.describe(found.place)
    called = {name: found.calls.seconds(name) for name in found.calls.wall}
    bare, stages, tiles = found.bare, found.stages, found.tiles
    names = list(dict.fromkeys(name for one in tiles.values() for name in one))
    return Report(
        "gpu_costs",
        f"Costs on {gpu['name']}",
        [
            Section(
                "Constants of `plan/forms.py`: nanoseconds",
                ["", "there", "seen"],
                [[name, number(getattr(forms, name)), found.seen(name)] for name in CONSTANTS],
            ),
            Section("Microseconds", ["", "us"], [[n, words(s * 1e6)] for n, s in bare.items()]),
            Section(
                "A stage that reads what all blocks have written, and its meeting: us",
                ["", "a call", "a round more"],
                [[form, *(words(s * 1e6) for s in both.values())] for form, both in stages.items()],
            ),
            Section(
                "Products of n x n by each tile (rows x columns x depth): us",
                ["", *names],
                [
                    [str(n), *(words(one[name] * 1e6) if name in one else "" for name in names)]
                    for n, one in tiles.items()
                ],
            ),
            Section("A call: us", ["", "us"], [[n, words(s * 1e6)] for n, s in called.items()]),
        ],
        [
            "What the host gives a stream is waited for after some thousand: a launch counts what "
            "it adds to the queue, on the host or on the GPU, whichever is longer.",
            "A constant of a form is a round more of it, the stage itself included, which is the "
            "same in all of them.",
            "A round more is the difference of two loops: a stage and the grid's barrier in one "
            "kernel, a kernel elsewhere.",
            *(f"Left out: {who}: {why}." for who, why in found.absent.items()),
        ],
        {"a call": {name: spread * 1e6 for name, spread in called.items()}},
        "microseconds",
        {
            "gpu": gpu,
            "bare_seconds": {name: asdict(spread) for name, spread in bare.items()},
            "stage_seconds": {f: {n: asdict(s) for n, s in b.items()} for f, b in stages.items()},
            "tile_seconds": {
                str(n): {tile: asdict(s) for tile, s in one.items()} for n, one in tiles.items()
            },
            "call_seconds": {name: asdict(spread) for name, spread in called.items()},
        },
        kept=found.place == "cuda",
    )
