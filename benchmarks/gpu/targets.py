"""What was asked of a GPU before one was there, beside what is seen on it."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.report import Section
from benchmarks.rounds import number


@dataclass(frozen=True)
class Target:
    """A figure that shall be at least, or at most, another."""

    what: str
    asked: float
    seen: float | None  # nobody looked
    most: bool = False

    @property
    def reached(self) -> bool:
        """Whether it is."""
        if self.seen is None:
            return False
        return self.seen <= self.asked if self.most else self.seen >= self.asked

    def row(self) -> list[str]:
        """As words.

        >>> Target("times as fast as a snail", 10, 12.0).row()
        ['times as fast as a snail', 'at least 10.0', '12.0', 'yes']
        """
        asked = f"at {'most' if self.most else 'least'} {number(self.asked)}"
        if self.seen is None:
            return [self.what, asked, "", "not measured"]
        return [self.what, asked, number(self.seen), "yes" if self.reached else "no"]


def section(targets: list[Target]) -> Section:
    """A table of them."""
    columns = ["", "asked", "seen", "reached"]
    return Section("What was asked, and what is seen", columns, [t.row() for t in targets])
