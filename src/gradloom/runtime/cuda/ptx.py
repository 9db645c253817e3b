"""A device plan as PTX, in two forms of the same stages: a kernel for each stage, which a host
launches one after another, and one kernel that runs the driver, for blocks that are all there."""

from __future__ import annotations

from collections.abc import Sequence

import llvmlite.binding as llvm

from gradloom.clock import Clock
from gradloom.codegen import words
from gradloom.codegen.cpu.target import Target
from gradloom.codegen.cuda.module import launches_text, shared_bytes, stages_text
from gradloom.codegen.cuda.target import gpu_machine
from gradloom.codegen.module import Signatures, signatures
from gradloom.plan.dealt import KERNEL, DevicePlan
from gradloom.plan.plan import Routine, Stage
from gradloom.runtime.cuda.kernel import PERSISTENT, Ptx
from gradloom.runtime.cuda.words import GpuDialect, barrier_text
from gradloom.runtime.lowering import Externals, lower_text
from gradloom.runtime.native import keep_only, optimise


def launches(device: DevicePlan, target: Target, clock: Clock) -> Ptx:
    """A kernel for each stage of the plan, by the name `launch_` and the stage's."""
    names = {KERNEL + name: shared_bytes(device, name) for name in device.functions}
    texts = [launches_text(device, target)]
    for kernel in device.plan.kernels:
        for stage in kernel.stages:
            if isinstance(stage.code, Routine) and KERNEL + stage.code.name not in names:
                names[KERNEL + stage.code.name] = 0
                texts.append(_routine_text(stage, stage.code))
    return Ptx(_assembled(texts, tuple(names), target, clock), names)


def _routine_text(stage: Stage, routine: Routine) -> str:
    """A kernel whose first thread runs a routine over all that it has."""
    pointers = [f"p{n}" for n in range(len(stage.operands))]
    given = ", ".join(["0", str(stage.extent), *map(str, stage.numbers), *pointers])
    head = f"def {words.ENTRY}({', '.join(pointers)}):"
    text = "\n\n".join([*routine.parts, f"{head}\n    {routine.name}({given})\n    return 0\n"])
    lowered = lower_text(text, words.ENTRY, ["ptr"] * len(pointers), {}, GpuDialect())
    entry = f"{routine.name}_alone"
    lowered = lowered.replace(f'@"{words.ENTRY}"', f'@"{entry}"')
    typed = ", ".join(f"ptr %{p}" for p in pointers)
    return f"""{lowered}
define ptx_kernel void @{KERNEL}{routine.name}({typed}) {{
  %status = call i64 @{entry}({typed})
  ret void
}}
"""


def persistent(device: DevicePlan, driver: str, target: Target, clock: Clock) -> Ptx:
    """One kernel `persistent(table, arena, control)` that runs the driver's text.

    All blocks of a launch must be resident at once, for they wait for each other.
    Raises `Unlowered` where a stage needs the host.
    """
    externals: Externals = {n: ("void", kinds) for n, kinds in _signatures(device).items()}
    text = lower_text(driver, words.ENTRY, words.ARGUMENTS, externals, GpuDialect())
    texts = [stages_text(device, target), text, barrier_text(), _ENTRY]
    most = max((shared_bytes(device, name) for name in device.functions), default=0)
    return Ptx(_assembled(texts, (PERSISTENT,), target, clock), {PERSISTENT: most})


def _signatures(device: DevicePlan) -> Signatures:
    return signatures(device.plan)


_ENTRY = f"""
declare i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
declare i32 @llvm.nvvm.read.ptx.sreg.nctaid.x()
declare i64 @{words.ENTRY}(ptr, ptr, ptr, i64, i64)
define ptx_kernel void @{PERSISTENT}(ptr %table, ptr %arena, ptr %control) {{
  %block = call i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
  %blocks = call i32 @llvm.nvvm.read.ptx.sreg.nctaid.x()
  %worker = zext i32 %block to i64
  %team = zext i32 %blocks to i64
  %status = call i64 @{words.ENTRY}(ptr %table, ptr %arena, ptr %control, i64 %worker, i64 %team)
  ret void
}}
"""


def _assembled(texts: Sequence[str], kernels: Sequence[str], target: Target, clock: Clock) -> str:
    """The PTX of LLVM texts, with these kernels."""
    clock.mark("kernels")
    machine = gpu_machine(target)
    module = llvm.parse_assembly(texts[0])
    for text in texts[1:]:
        module.link_in(llvm.parse_assembly(text))
    module.triple = target.triple
    module.data_layout = str(machine.target_data)
    module.verify()
    keep_only(module, kernels)
    clock.mark("link")
    optimise(module, machine)
    clock.mark("optimise")
    found: str = machine.emit_assembly(module)
    clock.mark("emit")
    return found
