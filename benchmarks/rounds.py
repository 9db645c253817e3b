"""Timing side by side: all contenders once a round, in turn, so that a busy moment of the machine
hits all of them; then medians and quartiles over the rounds."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

TURN_SECONDS = 0.02  # one measurement is at least about this long
EPOCHS = 10  # runs through the data, one after another, from the first weights: at most so many


@dataclass(frozen=True)
class Spread:
    """The median and the quartiles of what the rounds gave."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: list[float]) -> Spread:
        """Of at least one number.

        >>> Spread.of([3.0, 1.0, 2.0, 4.0, 5.0])
        Spread(median=3.0, low=2.0, high=4.0)
        """
        if len(values) == 1:
            return Spread(values[0], values[0], values[0])
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
        return Spread(middle, low, high)

    def __mul__(self, factor: float) -> Spread:
        return Spread(self.median * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Timing:
    """Seconds a run of each contender, round by round: on the wall, and of processor time."""

    wall: dict[str, list[float]]
    cpu: dict[str, list[float]]

    def seconds(self, name: str) -> Spread:
        return Spread.of(self.wall[name])

    def ratio(self, name: str, base: str) -> Spread:
        """`name` over `base`, taken within each round."""
        return _ratio(self.wall[name], self.wall[base])

    def cpu_ratio(self, name: str, base: str) -> Spread:
        """The same of processor time, which a neighbour on the same core does not lengthen."""
        return _ratio(self.cpu[name], self.cpu[base])

    def busy(self, name: str) -> float:
        """Processors kept busy: below 1 others had them, above 1 there was a second thread."""
        return sum(self.cpu[name]) / sum(self.wall[name])


def _ratio(over: list[float], under: list[float]) -> Spread:
    return Spread.of([a / b for a, b in zip(over, under, strict=True)])


@dataclass(frozen=True)
class Runner:
    """What is timed, and what puts it back to its beginning, which is not.

    A runner that trains a model has its data when it is made, and parameters and the optimizer's
    state from its first `restart` on, which frees those that were before.  Without a new start
    whoever is faster would train longer, down to gradients so small that denormal numbers slow the
    arithmetic down.
    """

    run: Callable[[], Any]
    restart: Callable[[], None] = lambda: None
    losses: Callable[[Any], np.ndarray] = np.asarray  # of what `run` gave, one number a batch
    planned_bytes: Callable[[], int | None] = lambda: None  # where the library says so beforehand

    def timed(self, starts: int, epochs: int = 1) -> tuple[float, float]:
        """Seconds of one run, on the wall and of the processor, of `epochs` after each start."""
        wall = cpu = 0.0
        for _ in range(starts):
            self.restart()
            cpu_start, start = time.process_time(), time.perf_counter()
            for _ in range(epochs):
                self.run()
            wall += time.perf_counter() - start
            cpu += time.process_time() - cpu_start
        return wall / (starts * epochs), cpu / (starts * epochs)


Turn = Callable[[], tuple[float, float]]  # some runs: seconds of each, on the wall and of cpu


def interleave(turns: Mapping[str, Turn], seconds: float, least: int = 5) -> Timing:
    """Rounds for about `seconds`, and at least `least` of them; everyone has a turn in each."""
    timing = Timing({name: [] for name in turns}, {name: [] for name in turns})
    names = list(turns)
    end = time.perf_counter() + seconds
    done = 0
    while done < least or time.perf_counter() < end:
        for name in names:
            wall, cpu = turns[name]()
            timing.wall[name].append(wall)
            timing.cpu[name].append(cpu)
        names.append(names.pop(0))  # nobody always follows the same neighbour
        done += 1
    return timing


def take_turns(runners: Mapping[str, Runner], seconds: float, least: int = 5) -> Timing:
    """`interleave` of runners in this process, with as many runs a turn as fill one."""
    turns = {n: partial(r.timed, *filling(r)) for n, r in runners.items()}
    return interleave(turns, seconds, least)


def repeated(function: Callable[[], Any], times: int) -> Runner:
    """A runner of many calls, for what is shorter than a look at the clock."""

    def run() -> None:
        for _ in range(times):
            function()

    return Runner(run)


def filling(runner: Runner) -> tuple[int, int]:
    """How many starts, with how many runs after each, take `TURN_SECONDS`.

    What is short runs `EPOCHS` times from one start, as training goes through its data again and
    again: the first run after a start finds caches that the start has filled with other things, for
    which a step of logistic regression took 0.85 us where it takes 0.65.  The second of two runs
    is what counts here.
    """
    runner.timed(1)
    wall, _ = runner.timed(1)
    runs = max(1, round(TURN_SECONDS / max(wall, 1e-7)))
    epochs = min(runs, EPOCHS)
    return round(runs / epochs), epochs


def words(spread: Spread) -> str:
    """'12.3 (12.0 to 13.1)'.

    >>> words(Spread(12.34, 12.0, 1300.0))
    '12.3 (12.0 to 1300)'
    """
    return f"{number(spread.median)} ({number(spread.low)} to {number(spread.high)})"


def number(value: float) -> str:
    """Three digits, without powers of ten.

    >>> number(12345.6), number(0.01234)
    ('12300', '0.0123')
    """
    if value == 0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{round(value, digits):.{max(digits, 0)}f}"
