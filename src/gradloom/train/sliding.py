"""Windows that slide along the middle axes of (n, ..., c), and the arguments that say how."""

from __future__ import annotations

import operator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from gradloom.ops.public import wrong_shape
from gradloom.ops.windows import frame, windows

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Sliding:
    """How windows lie along the sliding axes of `x`, whose sizes these are; the first window begins
    `low` before it."""

    sizes: Sizes
    count: Sizes
    window: Sizes
    step: Sizes
    dilation: Sizes
    low: Sizes

    @property
    def reach(self) -> Sizes:
        """From the first element of the first window to the last of the last."""
        parts = zip(self.count, self.window, self.step, self.dilation, strict=True)
        return tuple((n - 1) * s + (k - 1) * d + 1 if n else 0 for n, k, s, d in parts)

    def of(self, x: Any) -> Any:
        """The windows of `x`, inside of a border of zeros."""
        framed = bordered(x, 1, tuple(-n for n in self.low), self.reach)
        return windows(framed, 1, self.count, self.window, self.step, self.dilation)

    def along(self, axes: slice) -> Sliding:
        """The same along some of the axes alone."""
        return Sliding(*(getattr(self, each.name)[axes] for each in fields(self)))

    @property
    def borders(self) -> list[tuple[int, int]]:
        """How far windows reach out of `x` on both sides."""
        parts = zip(self.low, self.reach, self.sizes, strict=True)
        return [(low, max(reach - low - n, 0)) for low, reach, n in parts]


def bordered(x: Any, first: int, start: Sizes, size: Sizes) -> Any:
    """`frame`, along the last of the axes before the others: products leave out the zeros beyond
    those rather than read them, unless they lie along the rows (`plan.limits`)."""
    last = first + len(start) - 1
    return frame(frame(x, last, start[-1:], size[-1:]), first, start[:-1], size[:-1])


def sliding(
    shown: str, sizes: Sizes, window: Sizes, stride: Any, padding: Any, dilation: Any
) -> Sliding:
    """Windows as the arguments of a function say, which errors show as `shown`."""
    many = len(sizes)
    step = each(stride, many, f"{shown}: the stride")
    apart = each(dilation, many, f"{shown}: the dilation")
    extent = tuple((k - 1) * d + 1 for k, d in zip(window, apart, strict=True))
    if any(k < 1 for k in window):
        raise wrong_shape(f"{shown}: a window of {window}", "it must have an element")
    if padding == "same":
        count = tuple(-(-n // s) for n, s in zip(sizes, step, strict=True))
        needed = (max((m - 1) * s + e, 0) for m, s, e in zip(count, step, extent, strict=True))
        border = tuple(max(total - n, 0) for total, n in zip(needed, sizes, strict=True))
        low = tuple(n // 2 for n in border)
        return Sliding(sizes, count, window, step, apart, low)
    pairs = [(0, 0)] * many if padding == "valid" else _pairs(shown, padding, many)
    full = tuple(n + sum(pair) for n, pair in zip(sizes, pairs, strict=True))
    if any(e > n for e, n in zip(extent, full, strict=True)):
        raise wrong_shape(
            f"{shown}: a window of {extent} does not fit in {full}", "give it more padding"
        )
    count = tuple((n - e) // s + 1 for n, e, s in zip(full, extent, step, strict=True))
    return Sliding(sizes, count, window, step, apart, tuple(a for a, _ in pairs))


def each(value: Any, many: int, what: str) -> Sizes:
    """One positive number an axis."""
    try:
        found = tuple(int(operator.index(n)) for n in np.broadcast_to(value, many))
    except (TypeError, ValueError):
        found = ()
    if not found or any(n < 1 for n in found):
        raise wrong_shape(f"{what} is {value!r}", f"give one number, or {many}, from 1 on")
    return found


def _pairs(shown: str, padding: Any, many: int) -> list[tuple[int, int]]:
    given = [padding] * many if np.ndim(padding) == 0 else list(padding)
    try:
        sides = (np.broadcast_to(n, 2) for n in given)
        pairs = [(operator.index(a), operator.index(b)) for a, b in sides]
    except (TypeError, ValueError):
        pairs = []
    if len(pairs) != many or any(n < 0 for pair in pairs for n in pair):
        raise wrong_shape(
            f"{shown}: padding {padding!r}",
            'give "valid", "same", or for each axis a number or a pair, from 0 on',
        )
    return pairs
