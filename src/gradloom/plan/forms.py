"""Which form a program for a GPU takes: one kernel, whose blocks meet, or launches one after
another, which are a graph.

Both do the same stages.  One kernel has no gaps between launches; but it has the registers of its
greediest stage, a product if there is one, which leave room for a block on a multiprocessor, and so
few threads keep few accesses to memory under way.  Launches fill the device, each as its own stages
allow.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gradloom.plan.costs import meetings
from gradloom.plan.explain import moved_bytes
from gradloom.plan.plan import Kernel, Part, Plan, Product, rounds_of
from gradloom.plan.tiles import CLUSTER

# Nanoseconds, and bytes and operations a nanosecond, for an H200.  No GPU has measured any of them
# with this code: where one does, these are the numbers to replace.
#
# A grid barrier is an atomic operation and a few looks at a word, each a way to the second-level
# cache and back; that way takes about 270 cycles [Luo et al., Benchmarking and dissecting the
# Nvidia Hopper GPU architecture, 2024, as recalled].
BARRIER = 900.0
CLUSTER_BARRIER = 250.0  # the same paper's way from one multiprocessor to another: about 180 cycles
# From the end of a kernel of a graph to the work of the next, on an H100 [Hazy Research, Look Ma,
# No Bubbles!, 2025, as recalled].  Empty kernels of a graph took 580 each on a laptop's GPU
# (github.com/ahrefs/ocannl/issues/488).
NODE = 1300.0
AGAIN = 3000.0  # of a graph that repeats itself: a guess, between a node and a launch
CALL = 5000.0  # one launch of either: the same issue measured 2,700 to be given, 6,400 to be done
LOOK = 15000.0  # for the host to wait, and to read a word that decides how to go on: a guess
BYTES = 4800.0  # the datasheet's 4.8 TB/s
# Of that, with one block of 256 threads, which is what products have registers for: 4.8 TB/s in
# 700 ns are 25 KB under way on each of 132 multiprocessors [Little's law]; 256 threads with four
# accesses of 4 to 16 bytes have 4 to 16.
RESIDENT_SHARE = 0.4
# What the multiprocessors of a cluster have of both.  Theirs are small arrays, which lie in the
# second-level cache: 36 bytes a nanosecond on each, of up to 110 that it gives.
CLUSTER_SHARE = CLUSTER / 132
OPERATIONS = 33000.0  # half of the datasheet's 67 Tflop/s of float32
# Launches must be so much shorter by these estimates: what is this uncertain is no reason to leave
# the form that is one launch for any number of passes.
CLEAR_GAIN = 0.9


class Estimate(NamedTuple):
    """Nanoseconds of a pass in either form, and how often the blocks of one kernel meet."""

    resident: float
    launched: float
    meetings: float

    @property
    def one_kernel(self) -> bool:
        """Whether one kernel is the form to take."""
        return self.launched >= CLEAR_GAIN * self.resident

    def __str__(self) -> str:
        return (
            "by figures that no GPU has measured a pass takes"
            f" {self.resident / 1e3:,.1f} us in one kernel, whose blocks meet {self.meetings:g}"
            f" times, and {self.launched / 1e3:,.1f} us in launches"
        )


def estimate(plan: Plan, *, cluster: bool = False) -> Estimate:
    """What a pass takes over a plan that is dealt out among blocks; with `cluster`, one kernel's
    blocks are those of a cluster."""
    met = meetings(plan.parts)
    training = any(buffer.space == "state" for buffer in plan.buffers)
    few = met > 0 and any(isinstance(code, Product) for code in plan.codes())
    if cluster:
        resident = met * CLUSTER_BARRIER + _work(plan, CLUSTER_SHARE, CLUSTER_SHARE)
    else:
        resident = met * BARRIER + _work(plan, RESIDENT_SHARE if few else 1.0)
    launched = met * NODE + _looks(plan.parts) * LOOK + _work(plan, 1.0)
    if training:
        return Estimate(resident, launched + AGAIN, met)
    return Estimate(resident + CALL, launched + CALL, met)


def _work(plan: Plan, share: float, operations: float = 1.0) -> float:
    """What the kernels take where they have a share of the memory's bandwidth, and one of the
    `operations`."""
    return sum(
        rounds
        * max(
            kernel.flops / (operations * OPERATIONS),
            moved_bytes(plan, kernel) / (share * BYTES),
        )
        for kernel, rounds in rounds_of(plan.parts)
    )


def _looks(parts: Iterable[Part], rounds: int = 1) -> int:
    """How often the host must know a number of the device's: for each round of a loop of unknown
    length, here one, and for each branch in which stages wait for each other."""
    found = 0
    for part in parts:
        if isinstance(part, Kernel):
            continue
        inside = rounds * part.length if part.flow == "for" else rounds
        asks = part.flow == "while" or (part.flow == "branch" and any(map(meetings, part.bodies)))
        found += rounds * asks + sum(_looks(body, inside) for body in part.bodies)
    return found
