"""A plan as code: one LLVM module of stage functions, and the driver that calls them in order."""

from __future__ import annotations

from llvmlite import ir

from gradloom.codegen.cpu.nest import emit_nest
from gradloom.codegen.cpu.product import emit_product
from gradloom.codegen.cpu.target import Target
from gradloom.plan.plan import Nest, Plan, Routine

Signatures = dict[str, tuple[str, ...]]


def kernels_text(plan: Plan, target: Target) -> str:
    """The LLVM text of every distinct stage, each emitted once."""
    module = ir.Module("gradloom")
    module.triple = target.triple
    for code in plan.codes():
        if isinstance(code, Nest):
            function = emit_nest(module, code, target)
        else:
            function = emit_product(module, code, target)
        function.linkage = ""  # until the driver is linked to it
    return str(module)


def routines(plan: Plan) -> dict[str, tuple[str, tuple[str, ...]]]:
    """The text of each routine of a plan, and what it takes."""
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for stage in (stage for kernel in plan.kernels for stage in kernel.stages):
        if isinstance(stage.code, Routine):
            kinds = ("i64",) * (2 + len(stage.numbers)) + ("ptr",) * len(stage.operands)
            found[stage.code.name] = "\n\n".join(stage.code.parts), kinds
    return found


def signatures(plan: Plan) -> Signatures:
    """What each stage function takes, in the types of a driver."""
    found: Signatures = {}
    for kernel in plan.kernels:
        for stage in kernel.stages:
            if isinstance(stage.code, Routine):
                continue  # a function of the driver's own
            pointers = len(stage.operands) + stage.can_fault
            found[stage.code.name] = ("i64", "i64") + ("ptr",) * pointers
    return found
