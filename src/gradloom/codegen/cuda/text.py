"""A device plan as Python text: a CUDA kernel a stage, to read and for Numba to compile.

The kernels are those of `codegen.cuda.module.launches_text`, with the same loops, the same threads
for the same elements, and the same order of sums.  They take bare addresses, count items in 32 bits
and address in 64.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gradloom.codegen.cuda.text_lanes import Functions
from gradloom.codegen.cuda.text_nest import nest_kernel
from gradloom.codegen.cuda.text_product import product_kernel
from gradloom.errors import Where
from gradloom.plan.dealt import KERNEL, DevicePlan, Spread
from gradloom.plan.plan import Kernel

LINES = 3  # of the user's that are named beside a kernel

PREAMBLE = '''\
"""{count} kernels, each of {threads} threads a block, as Numba compiles them: see `cuda.compile`.

An argument is the address of an array's first element.
"""

import math

from numba import cuda
from numba.types import float32, float64, int8, int16, int32, int64, uint8, uint16, uint32, uint64
'''


@dataclass(frozen=True)
class KernelText:
    """A kernel: the text of it alone, the types of what it takes, such as "float32*", and the
    functions of its module that it calls, directly or not."""

    name: str
    text: str
    arguments: tuple[str, ...]
    functions: tuple[str, ...]


@dataclass(frozen=True)
class DeviceText:
    """The kernels of a plan by their stages' names, and the functions that they share."""

    kernels: Mapping[str, KernelText]
    functions: Mapping[str, str]

    def source(self, kernel: KernelText) -> str:
        """A kernel with the functions that it calls."""
        return "\n\n".join([*(self.functions[name] for name in kernel.functions), kernel.text])


def device_text(device: DevicePlan) -> DeviceText:
    """The stages of a plan, except those that are routines."""
    functions = Functions()
    kernels = {}
    for name, found in device.functions.items():
        write = nest_kernel if isinstance(found, Spread) else product_kernel
        remark = _remark(device.plan.kernels, name)
        text, arguments = write(KERNEL + name, found, functions, remark)  # type: ignore[arg-type]
        called = _called(text, functions.texts)
        kernels[name] = KernelText(KERNEL + name, text, arguments, called)
    return DeviceText(kernels, functions.texts)


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
