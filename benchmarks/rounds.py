"""Timing side by side: all contenders once a round, in turn, so that a busy moment of the machine
hits all of them; then medians and quartiles over the rounds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

WARM_SECONDS = 0.02  # one measurement is at least about this long


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
    """Seconds a pass of each contender, round by round: on the wall, and of processor time."""

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


def take_turns(runners: Mapping[str, Callable[[], Any]], seconds: float, least: int = 5) -> Timing:
    """Rounds for about `seconds`, and at least `least` of them.  Everything was run once before."""
    passes = {name: _passes(run) for name, run in runners.items()}
    timing = Timing({name: [] for name in runners}, {name: [] for name in runners})
    names = list(runners)
    end = time.perf_counter() + seconds
    done = 0
    while done < least or time.perf_counter() < end:
        for name in names:
            run, count = runners[name], passes[name]
            cpu, start = time.process_time(), time.perf_counter()
            for _ in range(count):
                run()
            timing.wall[name].append((time.perf_counter() - start) / count)
            timing.cpu[name].append((time.process_time() - cpu) / count)
        names.append(names.pop(0))  # nobody always follows the same neighbour
        done += 1
    return timing


def _passes(run: Callable[[], Any]) -> int:
    """How many passes take `WARM_SECONDS`; the second of two runs is what counts."""
    run()
    start = time.perf_counter()
    run()
    return max(1, round(WARM_SECONDS / max(time.perf_counter() - start, 1e-7)))
