"""One thread or the team: by what each was seen to take.

An estimate says whether a team should be faster.  Whether it is depends on who else wants the
cores: a team waits for its last member, so that one busy neighbour can make it many times slower.
So calls are timed, and the way that is not in use is tried now and then.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# Nanoseconds for which a way is used before the other is tried: at first, and at most.  It doubles
# with every trial that it wins, so that trials take less than a hundredth of the time.
FIRST, LAST = 4e6, 1e9
TRIAL = 4  # passes of a trial
CLEARLY = 0.97  # of the other's time, for a change


@dataclass
class Pace:
    """How many threads the passes of one program get: `team`, or one."""

    team: int
    size: int = 0  # in use
    trying: bool = False
    _windows: dict[int, float] = field(default_factory=dict)
    _spent: dict[int, list[float]] = field(default_factory=dict)  # nanoseconds and passes

    def __post_init__(self) -> None:
        self.size = self.team
        self._windows = {1: FIRST, self.team: FIRST}
        self._forget()

    def next(self, most: int = 1) -> tuple[int, int]:
        """Threads for the next passes, and for how many of them, at most `most`."""
        if self.trying:
            return self._other, min(TRIAL, most)
        nanoseconds, passes = self._spent[self.size]
        if not passes:
            return self.size, min(TRIAL, most)
        left = (self._windows[self.size] - nanoseconds) * passes / nanoseconds
        return self.size, max(min(int(left), most), 1)

    def tell(self, size: int, passes: int, nanoseconds: float) -> None:
        """What so many passes took."""
        spent = self._spent[size]
        spent[0] += nanoseconds
        spent[1] += passes
        if size == self.size:
            self.trying |= spent[0] >= self._windows[size] and spent[1] >= TRIAL
        elif spent[1] >= TRIAL:
            self._decide()

    @property
    def _other(self) -> int:
        return self.team if self.size == 1 else 1

    def _decide(self) -> None:
        """After a trial: who was faster stays for longer."""
        used, other = (self._spent[s][0] / self._spent[s][1] for s in (self.size, self._other))
        if other < CLEARLY * used:
            self._windows[self.size] = FIRST
            self.size = self._other
        self._windows[self.size] = min(2 * self._windows[self.size], LAST)
        self.trying = False
        self._forget()

    def _forget(self) -> None:
        self._spent = {1: [0.0, 0.0], self.team: [0.0, 0.0]}
