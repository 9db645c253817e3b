"""An order for kernels that keeps little alive."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

Needs = Sequence[set[int]]


def reaches(needs: Needs, first: int, last: int) -> bool:
    """Whether kernel `last` must run after `first`, directly or not."""
    seen: set[int] = set()
    stack = [last]
    while stack:
        k = stack.pop()
        if k == first:
            return True
        if k not in seen:
            seen.add(k)
            stack.extend(needs[k])
    return False


def ancestors(needs: Needs) -> list[int]:
    """For each kernel those that must run before it, directly or not, as bits."""
    before = [0] * len(needs)
    for k in in_order(needs, lambda k: (float(k),)):
        for needed in needs[k]:
            before[k] |= before[needed] | 1 << needed
    return before


def in_order(needs: Needs, priority: Callable[[int], tuple[float, ...]]) -> list[int]:
    """All kernels, each after those it needs; among the ready ones the lowest `priority` first."""
    waiting = [len(n) for n in needs]
    followers: list[list[int]] = [[] for _ in needs]
    for k, needed in enumerate(needs):
        for before in needed:
            followers[before].append(k)
    ready = [(priority(k), k) for k in range(len(needs)) if not waiting[k]]
    heapq.heapify(ready)
    order = []
    while ready:
        _, k = heapq.heappop(ready)
        order.append(k)
        for follower in followers[k]:
            waiting[follower] -= 1
            if not waiting[follower]:
                heapq.heappush(ready, (priority(follower), follower))
    assert len(order) == len(needs), "kernels wait for each other"
    return order


def lifetimes(
    order: Sequence[int], touched: Sequence[set[int]], buffers: int
) -> list[tuple[int, int]]:
    """First and last kernel, by place in `order`, that touches each buffer."""
    lives = [(len(order), -1)] * buffers
    for place, k in enumerate(order):
        for b in touched[k]:
            born, dies = lives[b]
            lives[b] = (min(born, place), max(dies, place))
    return lives


def peak(lives: Sequence[tuple[int, int]], sizes: Sequence[int], kernels: int) -> int:
    """Most bytes alive at once: what no placement can go below."""
    change = [0] * (kernels + 1)
    for (born, dies), size in zip(lives, sizes, strict=True):
        if born <= dies:
            change[born] += size
            change[dies + 1] -= size
    alive = most = 0
    for step in change:
        alive += step
        most = max(most, alive)
    return most


def frugal(needs: Needs, touched: Sequence[set[int]], sizes: Sequence[int]) -> list[int]:
    """An order in which, step by step, the kernel that frees most runs first."""
    readers = [0] * len(sizes)
    for found in touched:
        for b in found:
            readers[b] += 1
    left = list(readers)
    waiting = [len(n) for n in needs]
    followers: list[list[int]] = [[] for _ in needs]
    for k, needed in enumerate(needs):
        for before in needed:
            followers[before].append(k)
    ready = {k for k in range(len(needs)) if not waiting[k]}
    order = []
    while ready:
        k = min(ready, key=lambda c: (_growth(touched[c], left, readers, sizes), c))
        ready.remove(k)
        order.append(k)
        for b in touched[k]:
            left[b] -= 1
        for follower in followers[k]:
            waiting[follower] -= 1
            if not waiting[follower]:
                ready.add(follower)
    return order


def _growth(
    found: set[int], left: Sequence[int], readers: Sequence[int], sizes: Sequence[int]
) -> int:
    born = sum(sizes[b] for b in found if left[b] == readers[b])
    freed = sum(sizes[b] for b in found if left[b] == 1)
    return born - freed
