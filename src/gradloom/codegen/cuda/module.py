"""A device plan as LLVM: its stages, and a kernel to launch each of them on its own."""

from __future__ import annotations

from llvmlite import ir

from gradloom.codegen.cpu.target import Target
from gradloom.codegen.cpu.vectors import I64, POINTER
from gradloom.codegen.cuda import nest, product, threads
from gradloom.plan.dealt import KERNEL, DevicePlan, Spread
from gradloom.plan.tiles import THREADS

GLOBAL = ir.PointerType(addrspace=1)


def stages_module(device: DevicePlan, target: Target, *, called: bool) -> ir.Module:
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
        body = f"{name}_of_block"
        if isinstance(found, Spread):
            function = nest.emit_nest(module, body, found, target)
        else:
            function = product.emit_product(module, body, found, target)
        function.attributes.discard("noinline")
        function.attributes.add("alwaysinline")
        there = _cast(module, f"{name}_in_global_memory", function, GLOBAL)
        there.attributes.add("noinline" if called else "alwaysinline")
        _cast(module, name, there, POINTER).attributes.add("alwaysinline")
    return module


def _cast(module: ir.Module, name: str, called: ir.Function, kind: ir.Type) -> ir.Function:
    """A function that does what another does, with pointers of that kind."""
    start, stop, *pointers = called.function_type.args
    arguments = [start, stop, *(kind for _ in pointers)]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), name)
    function.linkage = "internal"
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
    return found.tile.shared_bytes(found.product.dtype)


def stages_text(device: DevicePlan, target: Target) -> str:
    """The stages alone, as functions that others call."""
    module = stages_module(device, target, called=True)
    for name in device.functions:
        module.globals[name].linkage = ""
    return str(module)


def launches_text(device: DevicePlan, target: Target) -> str:
    """The stages with a kernel each, `launch_name(ptr...)`: its blocks share all of the items."""
    module = stages_module(device, target, called=False)
    for name, found in device.functions.items():
        _kernel(
            module, name, found.count, THREADS // found.lanes if isinstance(found, Spread) else 1
        )
    # llvmlite has no word for kernels.
    return str(module).replace(f'define void @"{KERNEL}', f'define ptx_kernel void @"{KERNEL}')


def _kernel(module: ir.Module, name: str, count: int, grain: int) -> None:
    stage = module.globals[name]
    _, _, *pointers = stage.function_type.args
    kind = ir.FunctionType(ir.VoidType(), pointers)
    kernel = ir.Function(module, kind, KERNEL + name)
    b = ir.IRBuilder(kernel.append_basic_block("entry"))
    grains = -(-count // grain)
    number, blocks = (b.zext(of(b), I64) for of in (threads.block, threads.blocks))

    def cut(at: ir.Value) -> ir.Value:
        """The items before the range of a block: grains as evenly as they go, or the end."""
        before = b.mul(b.udiv(b.mul(at, I64(grains)), blocks), I64(grain))
        return b.select(b.icmp_unsigned("<", before, I64(count)), before, I64(count))

    b.call(stage, [cut(number), cut(b.add(number, I64(1))), *kernel.args])
    b.ret_void()
