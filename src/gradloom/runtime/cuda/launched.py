"""The driver's text run by the host, which launches a kernel for each stage that it calls.

It is the same text that the persistent kernel was made from; here its words act on addresses of the
GPU, and the blocks of one launch are done before those of the next begin.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from gradloom.codegen.primitives import cut, share
from gradloom.codegen.words import ENTRY
from gradloom.plan.dealt import KERNEL, DevicePlan
from gradloom.plan.plan import Routine, Stage
from gradloom.runtime.cuda.kernel import Ptx
from gradloom.runtime.cuda.launch import Launch
from gradloom.runtime.cuda.machine import Machine, Module


class Control(Protocol):
    """The control words: here, and where kernels report faults."""

    @property
    def head(self) -> np.ndarray: ...

    @property
    def control(self) -> int: ...


def run_launched(
    driver: str,
    device: DevicePlan,
    ptx: Ptx,
    module: Module,
    machine: Machine,
    table: list[Any],
    arena: int,
    control: Control,
) -> int:
    """Run a driver's text.  `table` has addresses of the GPU's, and last the order of rows, which
    lies here."""
    names = _words(machine) | _stages(device, ptx, module, machine)
    exec(compile(driver, "<driver>", "exec"), names)
    names |= _stages(device, ptx, module, machine)  # over the texts of routines
    return int(names[ENTRY](table, arena, control, 0, 1))


def _words(machine: Machine) -> dict[str, Any]:
    def view(base: Any, offset: int) -> int:
        return int((base if isinstance(base, int) else base.control) + offset)

    def get(base: Any, index: int) -> int:
        if not isinstance(base, int):
            return int((base if isinstance(base, np.ndarray) else base.head)[index])
        word = np.zeros(1, np.int64)
        machine.read(base + 8 * index, word)
        return int(word[0])

    def put(control: Control, index: int, value: int) -> None:
        control.head[index] = value

    def copy(target: int, target_byte: int, source: int, source_byte: int, count: int) -> None:
        machine.copy(target + target_byte, source + source_byte, count)

    return {
        "view": view,
        "get": get,
        "put": put,
        "get_ptr": lambda table, index: table[index],
        "copy": copy,
        "cut": cut,
        "share": share,
        "meet": lambda control, team: None,
    }


def _stages(device: DevicePlan, ptx: Ptx, module: Module, machine: Machine) -> dict[str, Any]:
    """A launch for each stage, by its name."""
    stages = {s.code.name: s for kernel in device.plan.kernels for s in kernel.stages}
    return {name: _launch(stage, ptx, module, machine) for name, stage in stages.items()}


def _launch(stage: Stage, ptx: Ptx, module: Module, machine: Machine) -> Callable[..., None]:
    kernel = KERNEL + stage.code.name
    blocks = -(-stage.extent // stage.grain) if stage.grain else 1
    # Of blocks that wait for no others there can be more than are resident; what is beyond is
    # shared among them.
    blocks = max(1, min(blocks, 8 * machine.blocks))
    numbers = 2 + len(stage.numbers) * isinstance(stage.code, Routine)

    def launch(*given: int) -> None:
        module.launch(Launch(kernel, given[numbers:], blocks, ptx.shared_bytes[kernel]))

    return launch
