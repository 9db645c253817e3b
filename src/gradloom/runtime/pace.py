"""One thread or the team: by what each was seen to take.

An estimate says whether a team should be faster.  Whether it is depends on who else wants the
cores: a team waits for its last member, so that one busy neighbour can make it many times slower.
So calls are timed, and the way that is not in use is tried now and then.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# Nanoseconds for which a way is used before the other is tried: at first, and at most.  It doubles
# with every trial that it wins, and is so many times what the trial took, so that trials of passes
# of any length soon take a few hundredths of the time.  Trials of four passes each, every few
# milliseconds, had made perceptrons with passes of 2 to 12 ms 0.74 to 0.82 times as fast.
FIRST, LAST = 4e6, 1e9
RARELY = 32
# Passes of a trial: one, or a few where they are so short that the caches count.
TRIAL = 4
LONG = 1e6
CLEARLY = 0.97  # of the other's time, for a change


@dataclass
class Pace:
    """How many threads the passes of one program get: `team`, or one."""

    team: int
    size: int = 0  # in use
    trying: bool = False
    _warm: bool = False  # the first call, which meets memory that nobody has touched, is not timed
    _windows: dict[int, float] = field(default_factory=dict)
    _spent: dict[int, list[float]] = field(default_factory=dict)  # nanoseconds and passes

    def __post_init__(self) -> None:
        self.size = self.team
        self._windows = {1: FIRST, self.team: FIRST}
        self._forget()

    def next(self, most: int = 1) -> tuple[int, int]:
        """Threads for the next passes, and for how many of them, at most `most`."""
        nanoseconds, passes = self._spent[self.size]
        if self.trying:
            return self._other, min(self._trial(), most)
        if not passes:
            return self.size, min(TRIAL if self._warm else 1, most)
        left = (self._windows[self.size] - nanoseconds) * passes / nanoseconds
        return self.size, max(min(int(left), most), 1)

    def tell(self, size: int, passes: int, nanoseconds: float) -> None:
        """What so many passes took."""
        if not self._warm:
            self._warm = True
            return
        spent = self._spent[size]
        spent[0] += nanoseconds
        spent[1] += passes
        if size == self.size:
            self.trying |= spent[0] >= self._windows[size] and spent[1] >= self._trial()
        elif spent[1] >= self._trial():
            self._decide()

    @property
    def _other(self) -> int:
        return self.team if self.size == 1 else 1

    def _trial(self) -> int:
        """Passes of a trial, by those of the way that is in use."""
        nanoseconds, passes = self._spent[self.size]
        return 1 if nanoseconds >= LONG * passes else TRIAL

    def _decide(self) -> None:
        """After a trial: who was faster stays for longer."""
        trial, passes = self._spent[self._other]
        nanoseconds, others = self._spent[self.size]
        if trial / passes < CLEARLY * nanoseconds / others:
            self._windows[self.size] = FIRST
            self.size = self._other
        else:
            longer = max(2 * self._windows[self.size], RARELY * trial)
            self._windows[self.size] = min(longer, max(LAST, RARELY / 4 * trial))
        self.trying = False
        self._forget()

    def _forget(self) -> None:
        self._spent = {1: [0.0, 0.0], self.team: [0.0, 0.0]}
