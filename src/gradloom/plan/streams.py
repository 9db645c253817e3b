"""Nests that go through more memory than the caches hold ask for what they will read next.

Processors fetch ahead by themselves, but not beyond a page of 4 KB, of which a loop over several
arrays meets many.  An elementwise chain over arrays of 10^7 float32, five read and three of them
written, in ns an element: 1.68 without, and with lines asked for 1, 2 and 4 KB ahead 1.43, 1.42 and
1.43; a loop that computes nothing takes 1.28.  What is written is asked for too: a million options
and their slopes, five arrays read and five others written, 5.8 ms without that and 5.3 with it, the
chain 18.3 and 17.9.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gradloom.plan.costs import CACHE_BYTES, stage_bytes
from gradloom.plan.nest import named
from gradloom.plan.plan import Buffer, Kernel, Nest, Stage


def streaming(kernel: Kernel, buffers: Sequence[Buffer]) -> Kernel:
    """The kernel, with nests that stream where their operands are large."""
    if kernel.in_blocks:  # each block lies in the cache
        return kernel
    return replace(kernel, stages=tuple(_streaming(stage, buffers) for stage in kernel.stages))


def _streaming(stage: Stage, buffers: Sequence[Buffer]) -> Stage:
    nest = stage.code
    if not isinstance(nest, Nest) or nest.embedded or nest.vector != len(nest.sizes) - 1:
        return stage
    if stage_bytes(stage, buffers) <= CACHE_BYTES:
        return stage
    hint = nest.name.rpartition("_")[0]
    return replace(stage, code=named(replace(nest, streams=True), hint))
