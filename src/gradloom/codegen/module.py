"""A plan as code: LLVM functions of its stages, which the driver calls in order."""

from __future__ import annotations

from collections.abc import Iterable

from llvmlite import ir

from gradloom.codegen.avx512 import WideModule
from gradloom.codegen.cpu.nest import emit_nest
from gradloom.codegen.cpu.product import emit_product
from gradloom.codegen.cpu.target import Target
from gradloom.plan.plan import Nest, Plan, Product, Routine

Signatures = dict[str, tuple[str, ...]]


def kernels_text(codes: Iterable[Nest | Product], target: Target) -> str:
    """The LLVM text of these stages, each an external function."""
    module = (WideModule if target.has_avx512 else ir.Module)("gradloom")
    module.triple = target.triple
    for code in codes:
        if isinstance(code, Nest):
            function = emit_nest(module, code, target)
        else:
            function = emit_product(module, code, target)
        function.linkage = ""
    return str(module)


def embedded(plan: Plan) -> list[Nest]:
    """The stages that are written out where the driver calls them."""
    return [code for code in plan.codes() if isinstance(code, Nest) and code.embedded]


def apart(plan: Plan) -> dict[str, Nest | Product]:
    """The stages that are functions of their own, by name."""
    return {
        code.name: code for code in plan.codes() if isinstance(code, Product) or not code.embedded
    }


def routines(plan: Plan) -> dict[str, tuple[str, tuple[str, ...]]]:
    """The text of each routine of a plan, and what it takes."""
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for stage in (stage for kernel in plan.kernels for stage in kernel.stages):
        if isinstance(stage.code, Routine):
            kinds = ("i64",) * (2 + len(stage.numbers)) + ("ptr",) * len(stage.operands)
            found[stage.code.name] = "\n\n".join(stage.code.parts), kinds
    return found


def contents(plan: Plan) -> dict[str, str]:
    """What the machine code of each function outside of the driver is made from."""
    lanes = {name: repr(code) for name, code in apart(plan).items()}
    return lanes | {name: f"{kinds}\n{text}" for name, (text, kinds) in routines(plan).items()}


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
