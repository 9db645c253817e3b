"""A device plan as LLVM: its stages, and a kernel to launch each of them on its own."""

from __future__ import annotations

from llvmlite import ir

from gradloom.codegen.cpu.target import Target
from gradloom.codegen.cpu.vectors import I64
from gradloom.codegen.cuda import nest, product, threads
from gradloom.plan.device import DevicePlan, Spread
from gradloom.plan.tiles import THREADS


def stages_module(device: DevicePlan, target: Target) -> ir.Module:
    """The stages, each a function `void name(i64 start, i64 stop, ptr...)` of items that all of a
    block enters together."""
    module = ir.Module("gradloom")
    module.triple = target.triple
    for name, found in device.functions.items():
        if isinstance(found, Spread):
            function = nest.emit_nest(module, name, found, target)
        else:
            function = product.emit_product(module, name, found, target)
        function.attributes.discard("noinline")
        function.attributes.add("alwaysinline")
    return module


def shared_bytes(device: DevicePlan, name: str) -> int:
    """The shared memory that a stage needs."""
    found = device.functions[name]
    if isinstance(found, Spread):
        return nest.shared_bytes(found)
    return found.tile.shared_bytes(found.product.dtype)


def stages_text(device: DevicePlan, target: Target) -> str:
    """The stages alone, as functions that others call."""
    module = stages_module(device, target)
    for name in device.functions:
        module.globals[name].linkage = ""
    return str(module)
