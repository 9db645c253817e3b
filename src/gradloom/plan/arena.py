"""Lifetimes to offsets: every buffer of a program in one reused block of memory."""

from __future__ import annotations

from collections.abc import Sequence

ALIGNMENT = 64  # bytes: a cache line, and the widest vector


def padded(nbytes: int) -> int:
    """Bytes rounded up to whole cache lines; an empty buffer still has an address."""
    return max(-(-nbytes // ALIGNMENT), 1) * ALIGNMENT


def place(
    sizes: Sequence[int], lives: Sequence[tuple[int, int]], same: dict[int, int] | None = None
) -> tuple[list[int], int]:
    """Offsets for buffers of `sizes` bytes, live from kernel `lives[i][0]` through `lives[i][1]`,
    and the bytes that they take together.

    `same` maps a buffer to an earlier one in whose place it is written.  Larger buffers are placed
    first, each into the smallest gap among those that live at the same time [greedy by size;
    Pisarchyk and Lee, Efficient Memory Management for Deep Neural Net Inference, 2020].

    >>> place([64, 64, 128], [(0, 1), (2, 3), (1, 2)])
    ([128, 128, 0], 192)
    """
    roots = {i: _root(i, same or {}) for i in range(len(sizes))}
    life: dict[int, tuple[int, int]] = {}  # of a buffer and its heirs, who follow without a gap
    need: dict[int, int] = {}
    for i, root in roots.items():
        born, dies = life.get(root, lives[i])
        life[root] = min(born, lives[i][0]), max(dies, lives[i][1])
        need[root] = max(need.get(root, 0), padded(sizes[i]))
    placed: dict[int, int] = {}
    taken: list[tuple[int, int, int, int]] = []
    for root in sorted(need, key=lambda r: (-need[r], life[r][0], r)):
        born, dies = life[root]
        together = sorted((start, end) for b, d, start, end in taken if b <= dies and born <= d)
        placed[root] = _best_gap(together, need[root])
        taken.append((born, dies, placed[root], placed[root] + need[root]))
    total = max((end for *_, end in taken), default=0)
    return [placed[roots[i]] for i in range(len(sizes))], total


def _root(i: int, same: dict[int, int]) -> int:
    while i in same:
        i = same[i]
    return i


def _best_gap(taken: list[tuple[int, int]], need: int) -> int:
    """The start of the smallest free gap of at least `need` bytes; the end if there is none."""
    best, best_size, end = -1, -1, 0
    for start, stop in taken:
        gap = start - end
        if gap >= need and (best_size < 0 or gap < best_size):
            best, best_size = end, gap
        end = max(end, stop)
    return best if best_size >= 0 else end
