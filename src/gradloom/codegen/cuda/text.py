"""A device plan as Python text, to read and for Numba to compile: its stages as CUDA functions that
all threads of a block enter together, with a kernel to launch each of them on its own.

They have the loops of the functions that `codegen.cuda.module` makes in LLVM, one element at a time
where these take neighbours together; so the order of sums is the same, but for rows that threads
take in neighbours or that lie across, and for thin products.  They take bare addresses, count items
in 32 bits and address in 64.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gradloom.codegen.cuda.text_lanes import Functions
from gradloom.codegen.cuda.text_nest import nest_text
from gradloom.codegen.cuda.text_product import product_text
from gradloom.codegen.cuda.text_threads import SHARE
from gradloom.errors import Where
from gradloom.ir.types import FLOATS, INTEGERS
from gradloom.plan.dealt import DevicePlan, Spread
from gradloom.plan.plan import Kernel
from gradloom.plan.tiles import THREADS

LINES = 3  # of the user's that are named beside a kernel

TYPES = (*INTEGERS, *FLOATS)


@dataclass(frozen=True)
class StageText:
    """A stage: the text of its function alone, the types of the pointers that it takes, such as
    "float32*", the functions of its module that it calls, directly or not, and its items, with how
    many of them a block takes at a time."""

    name: str
    text: str
    pointers: tuple[str, ...]
    functions: tuple[str, ...]
    count: int
    grain: int


@dataclass(frozen=True)
class DeviceText:
    """The stages of a plan by name, and the functions that they share."""

    stages: Mapping[str, StageText]
    functions: Mapping[str, str]

    def source(self, stage: StageText) -> str:
        """A stage with the functions that it calls."""
        return "\n\n".join([*(self.functions[name] for name in stage.functions), stage.text])

    def module(self) -> str:
        """All of it, with a kernel for each stage, as a module for Numba's CUDA target."""
        functions = [SHARE, *self.functions.values()]
        own = [f"@cuda.jit(device=True)\n{text}" for text in functions]
        for stage in self.stages.values():
            own += [f"@cuda.jit(device=True)\n{stage.text}", _kernel(stage)]
        words = set(re.findall(r"\w+", "".join(own)))
        head = ["import math\n", "from numba import cuda"]
        if "carray" in words:
            head.append("from numba.cuda.np.numpy_support import carray")
        head.append(f"from numba.types import {', '.join(t for t in TYPES if t in words)}\n")
        return "\n\n".join(["\n".join(head), *own])


def _kernel(stage: StageText) -> str:
    """A kernel whose blocks share all items of a stage."""
    names = stage.text.partition("(start, stop, ")[2].partition(")")[0]
    return f'''\
@cuda.jit
def launch_{stage.name}({names}):
    """For any number of blocks, of {THREADS} threads each."""
    start, stop = share({stage.count}, {stage.grain})
    {stage.name}(start, stop, {names})
'''


def device_text(device: DevicePlan) -> DeviceText:
    """The stages of a plan, except those that are routines."""
    functions = Functions()
    stages = {}
    for name, found in device.functions.items():
        remark = _remark(device.plan.kernels, name)
        if isinstance(found, Spread):
            text, pointers = nest_text(name, found, functions, remark)
        else:
            text, pointers = product_text(name, found, functions, remark)
        called = _called(text, functions.texts)
        stages[name] = StageText(name, text, pointers, called, found.count, found.grain)
    return DeviceText(stages, functions.texts)


def _remark(kernels: Sequence[Kernel], name: str) -> str:
    """What a stage is part of, and the user's lines."""
    using = [k for k in kernels if any(s.code.name == name for s in k.stages)]
    lines: list[Where] = [w for k in using for w in k.where]
    shown = ", ".join(list(dict.fromkeys(map(str, lines)))[:LINES])
    return ", ".join(dict.fromkeys(k.name for k in using)) + (f": {shown}" if shown else "")


def _called(text: str, functions: Mapping[str, str]) -> tuple[str, ...]:
    """The functions that a text calls, and those that they call, in the order of definition."""
    found: set[str] = set()
    waiting = [text]
    while waiting:
        named = set(re.findall(r"\w+", waiting.pop())) & functions.keys() - found
        found |= named
        waiting += [functions[name] for name in named]
    return tuple(name for name in functions if name in found)
