"""A device plan as PTX, in two forms of the same driver: one kernel that runs it, for blocks that
are all there, and a kernel for each group of stages between which nobody waits, which a host
launches one after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import llvmlite.binding as llvm

from gradloom.clock import Clock
from gradloom.codegen import words
from gradloom.codegen.cpu.target import Target
from gradloom.codegen.cuda.module import shared_bytes, stages_text
from gradloom.codegen.cuda.target import gpu_machine
from gradloom.codegen.cut import GIVEN, Group, cut, settled
from gradloom.codegen.module import signatures
from gradloom.plan.dealt import DevicePlan
from gradloom.plan.tiles import THREADS
from gradloom.runtime.cuda.kernel import KERNEL, PERSISTENT, Ptx
from gradloom.runtime.cuda.words import GpuDialect, barrier_text
from gradloom.runtime.lowering import Externals, lower_text
from gradloom.runtime.native import keep_only, link, optimise

Emit = Callable[[llvm.ModuleRef, llvm.TargetMachine], str]  # what is made of an optimised module


def as_ptx(module: llvm.ModuleRef, machine: llvm.TargetMachine) -> str:
    """The PTX of a module."""
    found: str = machine.emit_assembly(module)
    return found


def as_llvm(module: llvm.ModuleRef, machine: llvm.TargetMachine) -> str:
    """The text of a module, for who asks what PTX is made of."""
    return str(module)


# Stages of one kernel that are part of it.  Those of 64-128-64-10 by Adam took 1.17 times as long
# to compile as when they are called, on a busy machine, and no stack where these took 88 bytes.
INLINED = 24


def launches(
    device: DevicePlan,
    driver: str,
    target: Target,
    clock: Clock,
    *,
    stages: bool = True,
    emit: Emit = as_ptx,
) -> Ptx:
    """A kernel for each group of the driver's stages: `launch_name(table, arena, control, ...)`,
    which takes the group's `more` beyond these.  Without `stages` these are left to be defined.

    Raises `Unlowered` where a stage needs the host.
    """
    groups, host = cut(driver)
    externals = _externals(device) | {"go_on": ("void", ("i64", "i64"))}
    texts = [stages_text(device, target, called=False)] if stages else []
    texts.append(GO_ON_TEXT)
    shared, grains = {}, {}
    for group in groups:
        kinds = [*words.ARGUMENTS, *["i64"] * len(group.more)]
        dialect = GpuDialect(group.name, pieces=device.pieces)
        texts.append(lower_text(group.text, group.name, kinds, externals, dialect))
        texts.append(_kernel(KERNEL + group.name, group.name, group.more))
        shared[KERNEL + group.name] = _shared_bytes(device, group)
        grains[KERNEL + group.name] = group.grains
    bodies = {KERNEL + group.name: group.name for group in groups}
    return Ptx(_assembled(texts, bodies, target, clock, emit), shared, grains, host)


def _shared_bytes(device: DevicePlan, group: Group) -> int:
    return max((shared_bytes(device, n) for n in group.stages if n in device.functions), default=0)


# The driver of the GPU knows this function, as nvJitLink does: no library has it to be linked.
GO_ON_TEXT = """
declare void @cudaGraphSetConditional(i64, i32)
define void @go_on(i64 %loop, i64 %more) alwaysinline {
  %value = trunc i64 %more to i32
  call void @cudaGraphSetConditional(i64 %loop, i32 %value)
  ret void
}
"""


def persistent(
    device: DevicePlan,
    driver: str,
    target: Target,
    clock: Clock,
    *,
    stages: bool = True,
    cluster: bool = False,
    emit: Emit = as_ptx,
) -> Ptx:
    """One kernel `persistent(table, arena, control)` that runs the driver's text.

    All blocks of a launch must be resident at once, for they wait for each other, or, with
    `cluster`, be one cluster, whose barrier takes a fraction of the time.
    Raises `Unlowered` where a stage needs the host.
    """
    dialect = GpuDialect(cluster=cluster, pieces=device.pieces)
    text = lower_text(settled(driver), words.ENTRY, words.ARGUMENTS, _externals(device), dialect)
    entry = _kernel(PERSISTENT, words.ENTRY)
    most = max((shared_bytes(device, name) for name in device.functions), default=0)
    texts = [stages_text(device, target, called=_many(device))] if stages else []
    texts += [text, barrier_text(), entry]
    text = _assembled(texts, {PERSISTENT: words.ENTRY}, target, clock, emit)
    return Ptx(text, {PERSISTENT: most}, {PERSISTENT: max(device.width, 1)}, cluster=cluster)


def _many(device: DevicePlan) -> bool:
    """Whether the stages of one kernel are functions that it calls, which costs a thread the
    registers that it has to put aside at each call."""
    return len(device.functions) > INLINED


def _externals(device: DevicePlan) -> Externals:
    return {name: ("void", kinds) for name, kinds in signatures(device.plan).items()}


def _kernel(name: str, function: str, more: Sequence[str] = ()) -> str:
    """A kernel that calls a function with the number of its block, and of all, as a worker's; its
    threads may take no more registers than a block has."""
    kinds = [*(("ptr", n) for n in GIVEN), *(("i64", n) for n in more)]
    given = [f"{kind} %{n}" for kind, n in kinds]
    inner = ", ".join([*given[:3], "i64 %worker", "i64 %team", *given[3:]])
    return f"""
declare i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
declare i32 @llvm.nvvm.read.ptx.sreg.nctaid.x()
declare i64 @{function}({", ".join(["ptr"] * 3 + ["i64"] * (2 + len(more)))})
define ptx_kernel void @{name}({", ".join(given)}) "nvvm.maxntid"="{THREADS}" {{
  %block = call i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
  %blocks = call i32 @llvm.nvvm.read.ptx.sreg.nctaid.x()
  %worker = zext i32 %block to i64
  %team = zext i32 %blocks to i64
  %status = call i64 @{function}({inner})
  ret void
}}
"""


def _assembled(
    texts: Sequence[str], kernels: Mapping[str, str], target: Target, clock: Clock, emit: Emit
) -> str:
    """The PTX of LLVM texts, with these kernels, whose bodies are functions."""
    clock.mark("kernels")
    machine = gpu_machine(target)
    module = link([*texts], machine)
    keep_only(module, kernels)
    for function in module.functions:
        # What a kernel calls once is part of it: a call goes by way of the stack.
        if not function.is_declaration and function.name in kernels.values():
            function.add_function_attribute("alwaysinline")
    clock.mark("link")
    optimise(module, machine)
    clock.mark("optimise")
    found = emit(module, machine)
    clock.mark("emit")
    return found
