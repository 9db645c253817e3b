"""What registers hold: arrays of the threads of a group, or parts of such that nobody has read yet.

Threads that part and come together again have seldom touched most of what they hold. So a part is
only remembered, is copied when it is read, and what was cut into parts is whole again for nothing.
"""

from __future__ import annotations

import numpy as np


class Part:
    """The elements `where`, which ascend, of an array."""

    __slots__ = ("copied", "where", "whole")

    def __init__(self, whole: np.ndarray, where: np.ndarray) -> None:
        self.whole, self.where = whole, where
        self.copied: np.ndarray | None = None

    def array(self) -> np.ndarray:
        if self.copied is None:
            self.copied = self.whole[self.where]
        return self.copied


Value = np.ndarray | Part
Values = tuple[Value, ...]


def array_of(value: Value) -> np.ndarray:
    return value.array() if type(value) is Part else value


def parts_of(values: Values, where: np.ndarray) -> Values:
    """The values of some threads of a group, in their order."""
    within: dict[int, np.ndarray] = {}
    found: list[Value] = []
    for value in values:
        if type(value) is Part:
            at = within.get(id(value.where))
            if at is None:
                at = within[id(value.where)] = value.where[where]
            found.append(Part(value.whole, at))
        else:
            found.append(Part(value, where))
    return tuple(found)


def joined(some: Values, others: Values, order: np.ndarray) -> Values:
    """The values of two groups as one, in a new order."""
    within: dict[tuple[int, int], np.ndarray] = {}
    found: list[Value] = []
    for one, other in zip(some, others, strict=True):
        if type(one) is Part and type(other) is Part and one.whole is other.whole:
            key = id(one.where), id(other.where)
            at = within.get(key)
            if at is None:
                at = within[key] = np.concatenate((one.where, other.where))[order]
            found.append(one.whole if at.size == one.whole.size else Part(one.whole, at))
        else:
            found.append(np.concatenate((array_of(one), array_of(other)))[order])
    return tuple(found)
