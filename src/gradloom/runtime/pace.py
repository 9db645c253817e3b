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
# milliseconds, had made perceptrons with passes of 2 to 12 ms 0.74 to 0.82 times as fast.  A trial
# ends once it is lost: where for 25 ms another library's thread looks for work on the second core,
# passes of 0.4 ms take 4; after four of them, and 32 times, the team was left alone for 500 ms.
FIRST, LAST = 4e6, 1e9
RARELY = 16
# Passes of a trial: one, or a few where they are so short that the caches count, and that the one
# before, for which somebody may have to wake, does not.
TRIAL = 4
LONG = 1e6
CLEARLY = 0.97  # of the other's time, for a change


@dataclass
class Pace:
    """How many threads the passes of one program get: `team`, or one."""

    team: int
    size: int = 0  # in use
    trying: bool = False
    _fresh: bool = True  # the first call, which meets memory that nobody has touched, is not timed
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
            return self._other, 1 if self._fresh else min(self._trial(), most)
        if not passes:
            return self.size, 1 if self._fresh else min(TRIAL, most)
        left = (self._windows[self.size] - nanoseconds) * passes / nanoseconds
        return self.size, max(min(int(left), most), 1)

    def tell(self, size: int, passes: int, nanoseconds: float) -> None:
        """What so many passes took."""
        if self._fresh:
            self._fresh = False
            return
        spent = self._spent[size]
        spent[0] += nanoseconds
        spent[1] += passes
        if size != self.size:
            self._decide()
        elif spent[0] >= self._windows[size] and spent[1] >= self._trial():
            self.trying, self._fresh = True, self._trial() > 1

    @property
    def _other(self) -> int:
        return self.team if self.size == 1 else 1

    def _trial(self) -> int:
        """Passes of a trial, by those of the way that is in use."""
        nanoseconds, passes = self._spent[self.size]
        return 1 if nanoseconds >= LONG * passes else TRIAL

    def _decide(self) -> None:
        """In a trial, once it is known who is faster: who was stays for longer."""
        trial, passes = self._spent[self._other]
        nanoseconds, others = self._spent[self.size]
        if trial >= self._trial() * CLEARLY * nanoseconds / others:
            longer = max(2 * self._windows[self.size], RARELY * trial)
            self._windows[self.size] = min(longer, max(LAST, RARELY / 4 * trial))
        elif passes >= self._trial():
            self._windows[self.size] = FIRST
            self.size = self._other
        else:
            return
        self.trying = False
        self._forget()

    def _forget(self) -> None:
        self._spent = {1: [0.0, 0.0], self.team: [0.0, 0.0]}
