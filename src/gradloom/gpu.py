"""The compiler's last stages for a GPU: plan -> items and tiles -> PTX -> executable.

What comes before, tracing, differentiation, passes, fusion and the arena, is the CPU's
(`pipeline.compile_graph`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from gradloom.clock import Clock
from gradloom.codegen.cpu.target import Target
from gradloom.codegen.cuda.target import VERSIONS, gpu_target
from gradloom.codegen.driver import program_text, training_text
from gradloom.errors import DeviceError, SettingError, message, user_where
from gradloom.ir.graph import Graph
from gradloom.options import TARGET, Budget
from gradloom.plan.assemble import undivided_plan
from gradloom.plan.device import DevicePlan, for_device
from gradloom.plan.plan import Plan
from gradloom.plan.tiles import THREADS
from gradloom.program import GpuProgram
from gradloom.runtime.cuda.entry import CudaEntry
from gradloom.runtime.cuda.machine import Elsewhere, Machine, the_machine
from gradloom.runtime.cuda.ptx import PERSISTENT, Ptx, launches, persistent
from gradloom.runtime.executable import Executable
from gradloom.runtime.lowering import Unlowered
from gradloom.settings import current as current_settings

CAPABILITY = 90  # unless a target says otherwise


def compile_for_gpu(
    graph: Graph,
    simplified: Callable[[], Graph],
    names: Sequence[str],
    batch: range | None,
    within: Budget | None,
    clock: Clock,
    where: str = "cuda",
) -> GpuProgram:
    """The program of a graph, which the passes make `simplified()`, for the GPU that there is.

    Raises `DeviceError` where there is none, or where a stage needs the host.
    """
    machine = machine_for(where)
    simple = simplified()
    clock.mark("passes")
    plan = undivided_plan(simple, names)
    if within is not None and within.excess(plan) > 0:
        from gradloom.plan.recompute import refitted

        more = within.excess(plan) - plan.arena_bytes
        simple, _ = refitted(simple, lambda arena_bytes: arena_bytes + more)
        plan = undivided_plan(simple, names)
        within.check(plan)
    device = for_device(plan)
    _check_counts(device)
    clock.mark("plan")
    driver = driver_of(device.plan, batch)
    ptx = code_of(device, driver, gpu_target(machine.capability))
    clock.mark("ptx")
    entry = CudaEntry(device, batch, driver, ptx, machine)
    clock.mark("load")
    executable = Executable(device.plan.needs, entry, [node.type for node in graph.outputs])
    return GpuProgram(
        graph,
        lambda: simple,
        lambda: device.plan,
        lambda _: driver,
        executable,
        clock.seconds,
        device_plan=device,
        undealt=plan,
        batch=batch,
        ptx=ptx,
        arch=f"sm_{machine.capability}",
        shape=shape_of(ptx),
    )


def shape_of(ptx: Ptx) -> str:
    """How a program runs, in words."""
    form = "a kernel a stage" if PERSISTENT not in ptx.shared_bytes else "one kernel"
    most = max(ptx.shared_bytes.values(), default=0)
    return f"{form}, {THREADS} threads a block, {most:,} bytes of shared memory"


def machine_for(where: str) -> Machine:
    """The GPU that there is, or, for "cuda-ptx:sm_90", one that is elsewhere."""
    found = TARGET.fullmatch(where)
    if found is None:
        return the_machine()
    capability = int(found[1] or CAPABILITY)
    if capability not in VERSIONS:
        known = ", ".join(f"sm_{number}" for number in VERSIONS)
        raise SettingError(
            message(
                f"sm_{capability} is not among the GPUs to compile for",
                user_where(),
                f"take {known}",
            )
        )
    return cast(Machine, Elsewhere(capability))


def _check_counts(device: DevicePlan) -> None:
    """Raise `DeviceError` where threads, which count in 32 bits, could not count to the end."""
    lines = {s.code.name: k.where for k in device.plan.kernels for s in k.stages}
    for name, found in device.functions.items():
        if found.longest >= 1 << 31:
            raise DeviceError(
                message(
                    f"{found.longest} iterations are more than a GPU's threads count to",
                    next(iter(lines[name]), user_where()),
                    "cut the arrays into parts of less than 2^31 elements",
                )
            )


def driver_of(plan: Plan, batch: range | None) -> str:
    """The text of the driver, which is the CPU's: a block is what there is a thread of a team."""
    return program_text(plan) if batch is None else training_text(batch)(plan)


def code_of(device: DevicePlan, driver: str, target: Target) -> Ptx:
    """The kernels of a program: one that runs the driver, or one a stage."""
    if current_settings().cuda_compiler != "llvm":
        from gradloom.runtime.cuda.numba_ptx import numba_launches  # and kernels as Python text

        return numba_launches(device, target.cpu)
    try:
        if persistent.__name__ in current_settings().disable:
            return launches(device, target)
        return persistent(device, driver, target)
    except Unlowered as error:
        where = next((w for k in device.plan.kernels for w in k.where), user_where())
        raise DeviceError(
            message(
                f"this function cannot run on a GPU: {error}", where, 'take device="cpu" for it'
            )
        ) from error
