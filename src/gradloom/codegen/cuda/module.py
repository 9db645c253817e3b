"""The stages of a device plan as LLVM: functions that kernels are made of."""

from __future__ import annotations

from llvmlite import ir

from gradloom.codegen.cpu.target import Target
from gradloom.codegen.cpu.vectors import POINTER
from gradloom.codegen.cuda import nest, product
from gradloom.plan.dealt import DevicePlan, Spread

GLOBAL = ir.PointerType(addrspace=1)


def stages_text(device: DevicePlan, target: Target, *, called: bool) -> str:
    """The stages, each a function `void name(i64 start, i64 stop, ptr...)` of items that all of a
    block enters together.

    Those that are `called` stay functions, with registers of their own; else they become part of
    who calls them.  All operands lie in global memory, which the code is told: accesses that could
    be to shared memory too take longer, and keep their order among those.

    With a copy for each call, LLVM and nvJitLink took 1.6, 6.4 and 11.4 s for the steps of
    64-128-64-10, 256-1024-1024-1024-1024-10 and a transformer of two layers, with functions 1.4,
    2.2 and 4.1.
    """
    module = ir.Module("gradloom")
    module.triple = target.triple
    for name, found in device.functions.items():
        if isinstance(found, Spread):
            function = nest.emit_nest(module, f"{name}_of_block", found, target)
        else:
            function = product.emit_product(module, f"{name}_of_block", found, target)
        function.attributes.discard("noinline")
        function.attributes.add("alwaysinline")
        there = _cast(module, f"{name}_in_global_memory", function, GLOBAL)
        there.attributes.add("noinline" if called else "alwaysinline")
        there.linkage = "internal"
        _cast(module, name, there, POINTER).attributes.add("alwaysinline")
    return str(module)


def _cast(module: ir.Module, name: str, called: ir.Function, kind: ir.Type) -> ir.Function:
    """A function that does what another does, with pointers of that kind."""
    start, stop, *pointers = called.function_type.args
    arguments = [start, stop, *(kind for _ in pointers)]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), name)
    b = ir.IRBuilder(function.append_basic_block("entry"))
    start, stop, *given = function.args
    b.call(called, [start, stop, *map(b.addrspacecast, given, pointers)])
    b.ret_void()
    return function


def shared_bytes(device: DevicePlan, name: str) -> int:
    """The shared memory that a stage needs."""
    found = device.functions[name]
    if isinstance(found, Spread):
        return nest.shared_bytes(found)
    return product.shared_bytes(found)
