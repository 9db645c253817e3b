"""The stages of a device plan as LLVM: functions that kernels are made of."""

from __future__ import annotations

from llvmlite import ir

from gradloom.codegen.cpu.target import Target
from gradloom.codegen.cuda import nest, product
from gradloom.plan.dealt import DevicePlan, Spread


def stages_text(device: DevicePlan, target: Target) -> str:
    """The stages, each a function `void name(i64 start, i64 stop, ptr...)` of items that all of a
    block enters together."""
    module = ir.Module("gradloom")
    module.triple = target.triple
    for name, found in device.functions.items():
        if isinstance(found, Spread):
            function = nest.emit_nest(module, name, found, target)
        else:
            function = product.emit_product(module, name, found, target)
        function.linkage = ""
        function.attributes.discard("noinline")
        function.attributes.add("alwaysinline")
    return str(module)


def shared_bytes(device: DevicePlan, name: str) -> int:
    """The shared memory that a stage needs."""
    found = device.functions[name]
    if isinstance(found, Spread):
        return nest.shared_bytes(found)
    return product.shared_bytes(found)
